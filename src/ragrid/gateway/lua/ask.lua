-- A question of the edge's own to an instance: what the health checks and the look-ups of collections send.

local _M = {}

-- Does `step`, and when it takes longer than `patience_ms`, calls `on_silence` and does it again for the rest of the time.
local function patiently(socket, step, patience)
    if not patience.on_silence then
        socket:settimeout(patience.timeout_ms)
        return step()
    end
    socket:settimeout(patience.patience_ms)
    local result, fault, part = step()
    if result or fault ~= "timeout" then
        return result, fault
    end
    patience.on_silence()
    socket:settimeout(patience.timeout_ms - patience.patience_ms)
    result, fault = step()
    return result and part and part .. result or result, fault
end

-- Returns the status of GET `path` at one instance, or nil and why there is none.
--
-- `patience`: timeout_ms, of each step; and if something is to happen when an instance says nothing for patience_ms,
-- on_silence.
function _M.status(endpoint, path, patience)
    local socket = ngx.socket.tcp()
    local host = endpoint.host:gsub("[%[%]]", "")
    local ok, fault = patiently(socket, function() return socket:connect(host, endpoint.port) end, patience)
    if not ok then
        return nil, fault
    end
    ok, fault = socket:send("GET " .. path .. " HTTP/1.1\r\nHost: " .. endpoint.address
        .. "\r\nUser-Agent: ragrid-gateway\r\nConnection: close\r\n\r\n")
    local line
    if ok then
        line, fault = patiently(socket, function() return socket:receive("*l") end, patience)
    end
    socket:close()
    if not line then
        return nil, fault
    end
    local status = tonumber(line:match("^HTTP/1%.[01] (%d%d%d)"))
    return status, not status and "no status line: " .. line:sub(1, 60) or nil
end

return _M
