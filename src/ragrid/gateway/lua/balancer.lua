-- Which instance gets a request: least connections (default), smooth weighted round robin, or consistent hashing on the
-- caller and its session, over instances that are up and not draining. Weights count in all three. An instance that joins
-- others begins with a share of its weight. Retries go to another instance; a request that is not idempotent only when
-- none of its bytes were sent.
--
-- Connections are counted by each worker for itself and shown to the others by a timer (`counts.lua`).

local ngx_balancer = require "ngx.balancer"
local counts = require "counts"
local health = require "health"
local metrics = require "metrics"
local ring = require "ring"
local waiting = require "waiting"

local _M = {}

-- What an instance gets of its weight when it has just joined.
local FIRST_SHARE = 0.1
-- A request that kills each instance it meets must not meet them all.
local MOST_RETRIES = 2
-- "No live upstream": nginx answers 502. (ngx.ERROR would make it 500.)
local NGX_BUSY = -3

-- service -> {endpoints = all, up =, available = to choose from, is_sound = all of these are up and answer, by_address = the
-- same by address, ring =}
local pools = {}
local balances = {} -- service -> "least_conn" | "round_robin" | "hash"
local ramps = {}    -- service -> seconds that an instance which joins others takes to get its full share

function _M.load(services)
    for name, service in pairs(services) do
        balances[name], ramps[name] = service.balance, service.slow_start_s
    end
end

-- True when `balance` wants a key in the context of the request.
function _M.needs_key(service_name)
    return balances[service_name] == "hash"
end

local function staying(endpoints)
    local found = {}
    for _, endpoint in ipairs(endpoints) do
        if not endpoint.draining then
            found[#found + 1] = endpoint
        end
    end
    return #found > 0 and found or endpoints
end

-- Those that pass, and true; else all: with every instance ejected, trying beats refusing.
local function those(endpoints, passes)
    local found = {}
    for _, endpoint in ipairs(endpoints) do
        if passes(endpoint.address) then
            found[#found + 1] = endpoint
        end
    end
    if #found > 0 then
        return found, true
    end
    return endpoints, false
end

local function is_not_suspect(address)
    return not health.is_suspect(address)
end

local function by_address(endpoints)
    local found = {}
    for _, endpoint in ipairs(endpoints) do
        found[endpoint.address] = endpoint
    end
    return found
end

-- What a new reading of the same instances must not forget: whose turn it is, and who has just joined.
local function carry_over(up, before, ramp_s)
    for _, endpoint in ipairs(up) do
        local old = before and before[endpoint.address]
        if old then
            endpoint.credit, endpoint.joined_at, endpoint.ramp_s = old.credit, old.joined_at, old.ramp_s
        elseif before and next(before) and ramp_s > 0 then
            endpoint.joined_at, endpoint.ramp_s = ngx.now(), ramp_s
        end
    end
end

-- Takes a new view of the state (endpoints or health changed).
function _M.update(view)
    local old = pools
    pools = {}
    for name, service in pairs(view.services) do
        local before = old[name]
        local up, some_are_up = those(staying(service.endpoints), health.is_up)
        carry_over(up, before and before.up, ramps[name] or 0)
        local available, some_answer = those(up, is_not_suspect)
        pools[name] = {
            endpoints = service.endpoints,
            up = by_address(up),
            available = available,
            is_sound = some_are_up and some_answer,
            by_address = by_address(available),
            ring = _M.needs_key(name) and ring.of(staying(service.endpoints), before and before.ring),
        }
    end
end

-- Returns the pool of a service, or nil when it has no instance.
function _M.pool(service_name)
    local pool = pools[service_name]
    if pool and #pool.endpoints > 0 then
        return pool
    end
    return nil
end

local function weight_of(endpoint)
    local joined_at = endpoint.joined_at
    if not joined_at then
        return endpoint.weight
    end
    local share = (ngx.now() - joined_at) / endpoint.ramp_s
    if share >= 1 then
        endpoint.joined_at = nil
        return endpoint.weight
    end
    return endpoint.weight * math.max(FIRST_SHARE, share)
end

-- Smooth weighted round robin: everybody gains its weight, the richest is chosen and pays the sum.
local function next_in_turn(candidates, tried)
    local best
    local sum = 0
    for index = 1, #candidates do
        local endpoint = candidates[index]
        if not (tried and tried[endpoint.address]) then
            local weight = weight_of(endpoint)
            endpoint.credit = (endpoint.credit or 0) + weight
            sum = sum + weight
            if not best or endpoint.credit > best.credit then
                best = endpoint
            end
        end
    end
    if best then
        best.credit = best.credit - sum
    end
    return best
end

-- Fewest connections for its weight; those that are equal take turns.
local function least_connected(available, tried)
    local least
    local equal = {}
    for index = 1, #available do
        local endpoint = available[index]
        if not (tried and tried[endpoint.address]) then
            local load = counts.of(endpoint.address) / weight_of(endpoint)
            if not least or load < least then
                least, equal = load, { endpoint }
            elseif load == least then
                equal[#equal + 1] = endpoint
            end
        end
    end
    return next_in_turn(equal)
end

-- (By itself because of the closure: LuaJIT compiles no function that has one and other ways to return.)
local function hashed(pool, key, tried)
    return ring.find(pool.ring, key, function(address)
        return not (tried and tried[address]) and pool.by_address[address]
    end)
end

-- Returns an instance of `pool` that was not tried, or nil.
local function choose(pool, context, tried)
    local available = pool.available
    if #available == 1 then
        return not (tried and tried[available[1].address]) and available[1]
    end
    local balance = balances[context.route.service]
    if balance == "hash" then
        return hashed(pool, context.key, tried)
    elseif balance == "round_robin" then
        return next_in_turn(available, tried)
    end
    return least_connected(available, tried)
end

-- In the log phase, and when a try failed: the connection to `address` is over.
function _M.release(address)
    counts.add(address, -1)
    waiting.leave()
end

-- True when a request that waits for its instance could have another one now, which is up and answers.
function _M.can_go_elsewhere(context)
    local pool = pools[context.route.service]
    if context.tries_left < 1 or not pool or not pool.is_sound then
        return false
    end
    for _, endpoint in ipairs(pool.available) do
        local address = endpoint.address
        if address ~= context.address and not (context.tried and context.tried[address]) then
            return true
        end
    end
    return false
end

-- Refuses to go on with a request; nginx then answers 502.
local function give_up()
    return ngx.exit(NGX_BUSY)
end

-- The outcome of the try before this one. Returns false when the request may not be sent again.
local function may_retry(context)
    if not context.is_released then -- then it was the edge that cut the connection
        health.eject(context.route.service, context.address, #context.pool.endpoints)
    end
    if context.counted then
        _M.release(context.address)
        context.counted = false
        ngx.var.ragrid_peer = ""
    end
    if context.route.idempotent then
        return true
    end
    local sent = tonumber((ngx.var.upstream_bytes_sent or ""):match("(%d+)%D*$"))
    return sent == 0
end

-- balancer_by_lua: called for the first try and for every retry.
function _M.balance()
    local context = ngx.ctx
    local pool, route = context.pool, context.route
    if not pool then
        return ngx.exit(ngx.ERROR) -- nothing goes on that decide() has not let through, whatever went wrong there
    end
    local tried = context.tried
    if context.address then
        tried = tried or {}
        context.tried = tried
        tried[context.address] = true
        if not may_retry(context) then
            return give_up()
        end
        pool = pools[route.service] or pool -- it may have waited for long
        context.pool, context.tries_left = pool, context.tries_left - 1
    elseif #pool.available > 1 then
        context.tries_left = math.min(#pool.available - 1, MOST_RETRIES)
        ngx_balancer.set_more_tries(context.tries_left)
    end
    local endpoint = choose(pool, context, tried)
    if not endpoint then
        return give_up()
    end
    if tried then
        metrics.add("gateway_retries_total", 'service="' .. route.service .. '"')
    end
    context.address, context.endpoint = endpoint.address, endpoint
    if tried or #pool.available > 1 then
        counts.add(endpoint.address, 1)
        waiting.enter(context)
        context.counted = endpoint.address
        ngx.var.ragrid_peer = endpoint.address -- outlives ngx.ctx when nginx redirects to its error page
    end
    if route.read_timeout_s then -- else what nginx.conf says holds
        ngx_balancer.set_timeouts(nil, nil, route.read_timeout_s)
    end
    local ok, fault = ngx_balancer.set_current_peer(endpoint.host, endpoint.port)
    if not ok then
        ngx.log(ngx.ERR, "cannot use ", endpoint.address, ": ", fault)
        return give_up()
    end
end

return _M
