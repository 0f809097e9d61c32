-- Requests that wait for an instance which has fallen silent are taken from it, and tried on another one: those that may
-- be repeated and have no byte of an answer yet, and those that have no connection yet. Cutting their connection is enough;
-- what follows is what follows when an instance dies (balancer.lua). A write that was sent stays: it may have happened.
--
-- Silent is who has left a health check unanswered for `suspect_s` and has sent this worker nothing for as long, on any
-- connection. Routes whose callers are used to waiting (streams, long polls) stay until the check has failed for good: what
-- they do is dear, and half a second is nothing to them. An instance that answered such a check after all is believed for a
-- while (health.lua), so one that is merely slow does not have its work done twice again and again.

local base = require "resty.core.base"
local ffi = require "ffi"
local health = require "health"
local metrics = require "metrics"
local socket = require "upstream_socket"
local state = require "state"

local _M = {}

-- How soon a worker notices. It looks at one figure when nothing has changed.
local PERIOD_S = 0.02

local cast, get_request = ffi.cast, base.get_request
local integer = ffi.typeof "uintptr_t"

local requests = {} -- a request's address in memory -> its context, while it is at an instance and there are others
local heard = {}    -- address of an instance -> when a request of this worker was last answered by it
local silent = {}   -- address of an instance -> "suspect" | "hung"
local seen          -- the view that `silent` was read from
local is_blind = false

local function key()
    return tonumber(cast(integer, get_request()))
end

-- The request that runs is sent to `context.endpoint`.
function _M.enter(context)
    context.has_begun, context.is_connected, context.is_released = false, false, false
    requests[key()] = context
end

-- It is there no longer.
function _M.leave()
    requests[key()] = nil
end

-- An instance has answered.
function _M.heard_of(address)
    heard[address] = ngx.now()
end

local function silent_in(view)
    local found = {}
    for _, service in pairs(view.services) do
        for _, endpoint in ipairs(service.endpoints) do
            found[endpoint.address] = health.silence_of(endpoint.address)
        end
    end
    return found
end

-- True when `context` is to be taken from its instance, as far as can be known without a look at its socket.
local function may_be_released(context, silence, can_go_elsewhere)
    local route = context.route
    if context.has_begun or context.is_released or (context.is_connected and not route.idempotent) then
        return false
    end
    return (silence == "hung" or not route.patient) and can_go_elsewhere(context)
end

local function find_socket(request, context)
    local fd, is_connecting = socket.find(request, context.endpoint)
    if fd then
        return fd, is_connecting
    end
    if is_connecting and not is_blind then -- it is the fault
        is_blind = true
        ngx.log(ngx.ERR, "requests on a hung instance will wait for it, because their sockets are not found: ", is_connecting)
    end
    return nil
end

-- True when the instance has sent this worker nothing for `limit_s`.
local function is_silent(address, limit_s)
    if ngx.now() - (heard[address] or 0) < limit_s then
        return false
    end
    for request, context in pairs(requests) do
        local fd = context.address == address and find_socket(request, context)
        if fd and (socket.silent_for_s(fd) or limit_s) < limit_s then
            return false
        end
    end
    return true
end

-- Takes one request from its instance; true when it was.
local function release(request, context)
    local fd, is_connecting = find_socket(request, context)
    if not fd then
        return false
    end
    if not is_connecting then
        context.is_connected = true
        context.has_begun = socket.has_answer(request)
        if context.has_begun or not context.route.idempotent then
            return false
        end
    end
    context.is_released = socket.cut(fd)
    return context.is_released
end

local function release_from(address, candidates)
    local released, number = {}, 0
    for request, context in pairs(candidates) do
        if release(request, context) then
            local service = context.route.service
            released[service], number = (released[service] or 0) + 1, number + 1
        end
    end
    for service, figure in pairs(released) do
        metrics.add("gateway_released_total", 'service="' .. service .. '"', figure)
    end
    if number > 0 then
        metrics.flush() -- seldom enough, and who looks at a failure should see it
        ngx.log(ngx.WARN, "instance ", address, " is silent: ", number, " requests that waited for it are tried elsewhere")
    end
end

local function look(limit_s, can_go_elsewhere)
    local candidates = {}
    for request, context in pairs(requests) do
        local address = context.address
        local silence = silent[address]
        if silence and may_be_released(context, silence, can_go_elsewhere) then
            candidates[address] = candidates[address] or {}
            candidates[address][request] = context
        end
    end
    for address, waiting in pairs(candidates) do
        if is_silent(address, limit_s) then
            release_from(address, waiting)
        end
    end
end

-- Looks after the requests of this worker. `on_change` is called with each new view of the state; `can_go_elsewhere` tells of
-- a request's context whether another instance could take it now.
function _M.start(suspect_s, on_change, can_go_elsewhere)
    assert(ngx.timer.every(PERIOD_S, function(premature)
        local view = not premature and state.view(on_change)
        if view and view ~= seen then
            seen, silent = view, silent_in(view)
        end
        if not premature and next(silent) then
            look(suspect_s, can_go_elsewhere)
        end
    end))
end

return _M
