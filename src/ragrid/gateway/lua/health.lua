-- Which instances answer. One worker asks each of them every interval (a hung instance is not seen otherwise); a
-- request that found no connection ejects its instance at once; both are in force in every worker with its next request.
--
-- FALL 1: one bad answer takes an instance out. RISE 2: two good ones in a row, begun after it went out, bring it back.
-- One that is slow to answer is not out yet, but suspect: while others of its service are up, it gets nothing new until
-- it has answered. So a hung one is left alone soon, and a busy one loses nothing but a moment. What waits on one that
-- leaves a check unanswered is `waiting.lua`'s.

local ask = require "ask"
local metrics = require "metrics"
local state = require "state"

local _M = {}

local RISE = 2
local LEADER_TTL_S = 1
-- A timer that has not run for so long does not run.
local TIMER_LIMIT_S = 10
-- One that was suspect and then answered the same check is merely slow: so long nothing is taken from it on suspicion.
local TRUST_S = 10

local shared = ngx.shared.ragrid_health
local settings
local paths = {}     -- service -> path to ask
local credentials = {} -- service -> what it is asked with, when it speaks TLS
local rises = {}     -- address -> {since = when it went down, count = good answers since}
local checking = {}  -- service and address -> true while a check of it runs

function _M.load(services, configured, mutual_tls)
    settings = configured
    local own = mutual_tls and ask.load_credentials(mutual_tls)
    for name, service in pairs(services) do
        paths[name] = service.health_path
        credentials[name] = service.mutual_tls and own or nil
    end
end

function _M.is_up(address)
    return not shared:get(address)
end

function _M.is_suspect(address)
    return shared:get("suspect " .. address) ~= nil
end

-- How an instance leaves a check unanswered: "hung" for all of the check's time, "suspect" for a while; nil when it does not.
function _M.silence_of(address)
    if shared:get("hung " .. address) then
        return "hung"
    end
    return _M.is_suspect(address) and not shared:get("slow " .. address) and "suspect" or nil
end

local function mark(name)
    if shared:add(name, true) then
        state.changed()
    end
end

local function clear(name)
    if shared:get(name) then
        shared:delete(name)
        state.changed()
    end
end

local function suspect(address)
    if _M.is_up(address) then
        mark("suspect " .. address)
    end
end

-- Takes note of how a check ended.
local function answered(address)
    if _M.is_suspect(address) then
        shared:set("slow " .. address, true, TRUST_S)
        clear("suspect " .. address)
    end
    clear("hung " .. address)
end

local function take_out(service, address, cause, why)
    if shared:add(address, ngx.now()) then
        metrics.add("gateway_ejections_total", 'service="' .. service .. '",cause="' .. cause .. '"')
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
function _M.eject(service, address, pool_size)
    if pool_size > 1 then
        take_out(service, address, "passive", "a request could not be sent to it or was cut off")
    end
end

-- Asks an instance; meanwhile another thread loses its patience.
local function status_of(service, endpoint)
    local patience = ngx.thread.spawn(function()
        ngx.sleep(settings.suspect_s)
        suspect(endpoint.address)
    end)
    local status, why = ask.status(endpoint, paths[service], settings.timeout_s * 1000, credentials[service])
    ngx.thread.kill(patience)
    return status, why
end

local function check(service, endpoint)
    local began = ngx.now()
    local address = endpoint.address
    local status, why = status_of(service, endpoint)
    if not status or status < 200 or status > 299 then
        rises[address] = nil
        take_out(service, address, "active", "health check: " .. tostring(status or why))
        if why == "timeout" then
            mark("hung " .. address)
            return clear("suspect " .. address)
        end
        return answered(address)
    end
    answered(address)
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

local function check_safely(service, endpoint, name)
    local ok, fault = pcall(check, service, endpoint)
    checking[name] = nil
    if not ok then
        ngx.log(ngx.ERR, "a health check failed: ", fault)
    end
end

-- Begins a check of each instance; one that is still being checked, because it is slow, delays nobody else's.
local function check_all(view)
    for service, pool in pairs(view.services) do
        for _, endpoint in ipairs(paths[service] and pool.endpoints or {}) do
            local name = service .. " " .. endpoint.address
            if not checking[name] then
                checking[name] = true
                ngx.thread.spawn(check_safely, service, endpoint, name)
            end
        end
    end
end

-- Notes that a timer ran, in shared memory, because any worker may be asked.
function _M.ran(timer)
    shared:set("ran " .. timer, ngx.now())
end

local function tick(premature, on_change)
    if premature or not is_leader() then
        return
    end
    _M.ran("health checks")
    local view = state.view(on_change)
    if view then
        check_all(view)
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
