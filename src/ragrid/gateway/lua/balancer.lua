-- Which instance gets a request: least connections (default) or smooth weighted round robin, over instances that are
-- up and not draining. Retries go to another instance; a request that is not idempotent only when none of its bytes
-- were sent.
--
-- Connections are counted by each worker for itself and published as absolute figures, so a worker that dies leaves
-- no count behind for longer than COUNT_TTL_S.

local ngx_balancer = require "ngx.balancer"
local health = require "health"

local _M = {}

local COUNT_TTL_S = 600
-- A request that kills each instance it meets must not meet them all.
local MOST_RETRIES = 2
-- "No live upstream": nginx answers 502. (ngx.ERROR would make it 500.)
local NGX_BUSY = -3

local counts_dict = ngx.shared.ragrid_connections
local counts = {}  -- address -> connections of this worker
local pools = {}   -- service -> {endpoints = all, available = to choose from}
local balances = {} -- service -> "least_conn" | "round_robin"

function _M.load(services)
    for name, service in pairs(services) do
        balances[name] = service.balance
    end
end

-- Up and not draining; else not draining; else all: with every instance ejected, trying beats refusing.
local function choose_available(endpoints)
    local up, staying = {}, {}
    for _, endpoint in ipairs(endpoints) do
        if not endpoint.draining then
            staying[#staying + 1] = endpoint
            if health.is_up(endpoint.address) then
                up[#up + 1] = endpoint
            end
        end
    end
    return #up > 0 and up or #staying > 0 and staying or endpoints
end

-- Takes a new view of the state (endpoints or health changed).
function _M.update(view)
    pools = {}
    for name, service in pairs(view.services) do
        pools[name] = { endpoints = service.endpoints, available = choose_available(service.endpoints) }
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

local function connections(address)
    local total = counts[address] or 0
    local own = ngx.worker.id()
    for worker = 0, ngx.worker.count() - 1 do
        if worker ~= own then
            total = total + (counts_dict:get(worker .. "|" .. address) or 0)
        end
    end
    return total
end

-- Smooth weighted round robin: everybody gains its weight, the richest is chosen and pays the sum.
local function next_in_turn(candidates, tried)
    local best
    local sum = 0
    for index = 1, #candidates do
        local endpoint = candidates[index]
        if not (tried and tried[endpoint.address]) then
            endpoint.credit = (endpoint.credit or 0) + endpoint.weight
            sum = sum + endpoint.weight
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
            local load = connections(endpoint.address) / endpoint.weight
            if not least or load < least then
                least, equal = load, { endpoint }
            elseif load == least then
                equal[#equal + 1] = endpoint
            end
        end
    end
    return next_in_turn(equal)
end

local function count(address, change)
    local figure = math.max(0, (counts[address] or 0) + change)
    counts[address] = figure > 0 and figure or nil
    counts_dict:set(ngx.worker.id() .. "|" .. address, figure, COUNT_TTL_S)
end

-- In the log phase, and when a try failed: the connection to `address` is over.
function _M.release(address)
    count(address, -1)
end

-- Refuses to go on with a request; nginx then answers 502.
local function give_up()
    return ngx.exit(NGX_BUSY)
end

-- The outcome of the try before this one. Returns false when the request may not be sent again.
local function may_retry(context)
    health.eject(context.address, #context.pool.endpoints)
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
    local available = pool.available
    local tried = context.tried
    if context.address then
        tried = tried or {}
        context.tried = tried
        tried[context.address] = true
        if not may_retry(context) then
            return give_up()
        end
    elseif #available > 1 then
        ngx_balancer.set_more_tries(math.min(#available - 1, MOST_RETRIES))
    end
    local endpoint
    if #available == 1 then
        endpoint = not tried and available[1]
    elseif balances[route.service] == "round_robin" then
        endpoint = next_in_turn(available, tried)
    else
        endpoint = least_connected(available, tried)
    end
    if not endpoint then
        return give_up()
    end
    context.address = endpoint.address
    if #available > 1 then
        count(endpoint.address, 1)
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
