-- What a request is (route) and whether its caller may make it (audience, time, revocation, scope and role, tenant).
--
-- The table comes from policy.json, which routes.py wrote; routes.find_route there decides the same and is the
-- specification of `find`. Routes by path are cached, because they are a pure function of the path; decisions are not.

local lrucache = require "resty.lrucache"
local re_find, re_match = ngx.re.find, ngx.re.match

local _M = {}

local CACHE_ITEMS = 4096
local CACHED_PATH_LIMIT = 512
-- Clocks of token service and gateway may differ by this much, in seconds, when a token is young.
local SKEW_S = 60

-- What two programs could read differently: encoded or doubled separators, dot segments, parameters, controls,
-- an escape that would be decoded twice, and a fragment, which nginx cuts off for itself and sends on.
local AMBIGUOUS = [[%(?:2f|5c|2e|3b|[01][0-9a-f]|7f|25[0-9a-f]{2})|[;\\#]|//|\.\.|/\.(?:/|$)|[\x00-\x20\x7f]|%(?![0-9a-f]{2})]]

local services = {}
local found = {} -- service -> method -> cache of raw path -> {route, tenant}

function _M.load(table_of_services)
    for name, service in pairs(table_of_services) do
        services[name] = service
        for _, route in ipairs(service.routes) do
            route.is_admin = route.permission ~= nil and route.permission:sub(-6) == ":admin"
        end
        found[name] = {}
    end
end

function _M.service(name)
    return services[name]
end

function _M.services()
    return services
end

-- Returns {route=, tenant=, database=, collection=}, or nil and the status (400, 404, 405) and the methods that are allowed.
local function search(service, method, raw_path, path)
    if re_find(raw_path, AMBIGUOUS, "joi") then
        return nil, 400
    end
    local allowed = {}
    for _, route in ipairs(service.routes) do
        local match = re_match(path, route.expression, "jos")
        if match then
            if route.methods[method] then
                return {
                    route = route, tenant = match.tenant or nil, database = match.database or nil,
                    collection = match.collection or nil,
                }
            end
            for name in pairs(route.methods) do
                allowed[name] = true
            end
        end
    end
    if next(allowed) == nil then
        return nil, 404
    end
    local names = {}
    for name in pairs(allowed) do
        names[#names + 1] = name
    end
    table.sort(names)
    return nil, 405, table.concat(names, ", ")
end

jit.off(search, true) -- the compiled path must be the one where the route is known; see jwt.lua

function _M.find(service, method, raw_path, path)
    local cache = found[service.name][method]
    if not cache then
        local hit, status, allowed = search(service, method, raw_path, path())
        if not hit then
            return nil, status, allowed
        end
        cache = assert(lrucache.new(CACHE_ITEMS)) -- one for each method that some route takes, so they are few
        found[service.name][method] = cache
    end
    local hit = cache:get(raw_path)
    if hit then
        return hit
    end
    local status, allowed
    hit, status, allowed = search(service, method, raw_path, path())
    if hit and #raw_path <= CACHED_PATH_LIMIT then
        cache:set(raw_path, hit)
    end
    return hit, status, allowed
end

-- Returns nil when the token is good at this moment for this service, else the reason.
function _M.token_fault(caller, service_name, revoked, now)
    if now >= caller.expires_at then
        return "the token has expired"
    end
    if caller.not_before > now + SKEW_S or caller.issued_at > now + SKEW_S then
        return "the token is not valid yet"
    end
    if not caller.audience[service_name] then
        return "the token is not for this service"
    end
    if revoked.tokens[caller.token_id] then
        return "the token was revoked"
    end
    local issued_at = caller.issued_at
    if issued_at < (revoked.subjects[caller.subject] or 0) or issued_at < (revoked.clients[caller.client] or 0)
        or issued_at < revoked.not_before then
        return "the token was revoked"
    end
    return nil
end

-- True when the scope names the permission and a role of the caller allows it.
function _M.is_permitted(caller, permission, roles)
    if not caller.scope[permission] then
        return false
    end
    for role in pairs(caller.roles) do
        local allows = roles[role]
        if allows and allows[permission] then
            return true
        end
    end
    return false
end

return _M
