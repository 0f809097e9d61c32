-- A question of the edge's own to an instance: what the health checks and the look-ups of collections send.

local ssl = require "ngx.ssl"

local _M = {}

local function read(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("*a")
    file:close()
    return text
end

-- Returns what `status` proves with that it is the gateway, from the `mutual_tls` of policy.json. In the master, which may
-- read the key.
function _M.load_credentials(files)
    return {
        server_name = files.server_name,
        certificate = assert(ssl.parse_pem_cert(read(files.certificate_file))),
        key = assert(ssl.parse_pem_priv_key(read(files.key_file))),
    }
end

local function shake_hands(socket, credentials)
    local ok, fault = socket:setclientcert(credentials.certificate, credentials.key)
    if ok then
        ok, fault = socket:sslhandshake(false, credentials.server_name, true)
    end
    return ok, fault
end

-- Returns the status of GET `path` at one instance, or nil and why there is none. `timeout_ms` is of each step;
-- `credentials`, if given, are for an instance that speaks TLS and wants to know who asks.
function _M.status(endpoint, path, timeout_ms, credentials)
    local socket = ngx.socket.tcp()
    socket:settimeout(timeout_ms)
    local ok, fault = socket:connect(endpoint.host, endpoint.port)
    if not ok then
        return nil, fault
    end
    if credentials then
        ok, fault = shake_hands(socket, credentials)
    end
    if ok then
        ok, fault = socket:send("GET " .. path .. " HTTP/1.1\r\nHost: " .. endpoint.address
            .. "\r\nUser-Agent: ragrid-gateway\r\nConnection: close\r\n\r\n")
    end
    local line
    if ok then
        line, fault = socket:receive("*l")
    end
    socket:close()
    if not line then
        return nil, fault
    end
    local status = tonumber(line:match("^HTTP/1%.[01] (%d%d%d)"))
    return status, not status and "no status line: " .. line:sub(1, 60) or nil
end

return _M
