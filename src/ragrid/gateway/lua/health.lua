-- Which instances answer. One worker asks each of them every interval (a hung instance is not seen otherwise); a
-- request that found no connection ejects its instance at once; both are in force in every worker with its next request.
--
-- FALL 1: one bad answer takes an instance out. RISE 2: two good ones in a row, begun after it went out, bring it back.

local state = require "state"

local _M = {}

local RISE = 2
local LEADER_TTL_S = 1
-- A timer that has not run for so long does not run.
local TIMER_LIMIT_S = 10

local shared = ngx.shared.ragrid_health
local settings
local paths = {}     -- service -> path to ask
local rises = {}     -- address -> {since = when it went down, count = good answers since}
local is_checking = false

function _M.load(services, configured)
    settings = configured
    for name, service in pairs(services) do
        paths[name] = service.health_path
    end
end

function _M.is_up(address)
    return not shared:get(address)
end

local function take_out(address, why)
    if shared:add(address, ngx.now()) then
        ngx.log(ngx.WARN, "instance ", address, " is out: ", why)
        state.changed()
    end
end

local function bring_back(address)
    shared:delete(address)
    rises[address] = nil
    ngx.log(ngx.NOTICE, "instance ", address, " is back")
    state.changed()
end

-- Passive: a try failed. The last instance of a pool is never taken out by this, as there is nothing to spare it for.
function _M.eject(address, pool_size)
    if pool_size > 1 then
        take_out(address, "a request could not be sent to it or was cut off")
    end
end

local function ask(endpoint, path)
    local socket = ngx.socket.tcp()
    socket:settimeout(settings.timeout_s * 1000)
    local ok, fault = socket:connect((endpoint.host:gsub("[%[%]]", "")), endpoint.port)
    if not ok then
        return false, fault
    end
    ok, fault = socket:send("GET " .. path .. " HTTP/1.1\r\nHost: " .. endpoint.address
        .. "\r\nUser-Agent: ragrid-gateway\r\nConnection: close\r\n\r\n")
    local line
    if ok then
        line, fault = socket:receive("*l")
    end
    socket:close()
    if not line then
        return false, fault
    end
    if not line:find("^HTTP/1%.[01] 2%d%d") then
        return false, line:sub(1, 60)
    end
    return true
end

local function check(endpoint, path)
    local began = ngx.now()
    local ok, why = ask(endpoint, path)
    local address = endpoint.address
    if not ok then
        rises[address] = nil
        return take_out(address, "health check: " .. tostring(why))
    end
    local since = shared:get(address)
    if not since or since > began then
        return
    end
    local rise = rises[address]
    if not rise or rise.since ~= since then
        rise = { since = since, count = 0 }
        rises[address] = rise
    end
    rise.count = rise.count + 1
    if rise.count >= RISE then
        bring_back(address)
    end
end

local function is_leader()
    local own = ngx.worker.pid()
    if shared:add("leader", own, LEADER_TTL_S) then
        return true
    end
    if shared:get("leader") ~= own then
        return false
    end
    shared:set("leader", own, LEADER_TTL_S)
    return true
end

local function check_all(view)
    local threads = {}
    for name, service in pairs(view.services) do
        if paths[name] then
            for _, endpoint in ipairs(service.endpoints) do
                threads[#threads + 1] = ngx.thread.spawn(check, endpoint, paths[name])
            end
        end
    end
    for _, thread in ipairs(threads) do
        ngx.thread.wait(thread)
    end
end

-- Notes that a timer ran, in shared memory, because any worker may be asked.
function _M.ran(timer)
    shared:set("ran " .. timer, ngx.now())
end

local function tick(premature, on_change)
    if premature or is_checking then
        return
    end
    if not is_leader() then
        return
    end
    _M.ran("health checks")
    local view = state.view(on_change)
    if not view then
        return
    end
    is_checking = true
    local ok, fault = pcall(check_all, view)
    is_checking = false
    if not ok then
        ngx.log(ngx.ERR, "health checks failed: ", fault)
    end
end

-- Returns nil while the timers of all workers run, else which one does not.
function _M.timer_fault()
    local timers = { "health checks" }
    for worker = 0, ngx.worker.count() - 1 do
        timers[#timers + 1] = "figures of worker " .. worker
    end
    for _, timer in ipairs(timers) do
        if ngx.now() - (shared:get("ran " .. timer) or 0) > TIMER_LIMIT_S then
            return "a timer does not run: " .. timer
        end
    end
    return nil
end

-- Starts the checks in this worker; whichever worker holds the lock does them.
function _M.start(on_change)
    assert(ngx.timer.every(settings.interval_s, tick, on_change))
end

-- address -> 1 (up) or 0, for the metrics.
function _M.facts(view)
    local facts = {}
    for name, service in pairs(view.services) do
        for _, endpoint in ipairs(service.endpoints) do
            facts[#facts + 1] = { service = name, id = endpoint.id, up = _M.is_up(endpoint.address) and 1 or 0 }
        end
    end
    return facts
end

return _M
