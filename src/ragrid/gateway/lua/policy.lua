-- What a request is (route) and whether its caller may make it (audience, time, revocation, scope and role, tenant).
--
-- The table comes from policy.json, which routes.py wrote. Nothing is cached here: a request costs the same, whatever was
-- asked before.

local paths = require "paths"
local re_find = ngx.re.find

local _M = {}

-- Clocks of token service and gateway may differ by this much, in seconds, when a token is young.
local SKEW_S = 60

-- What two programs could read differently: encoded or doubled separators, dot segments, parameters, controls,
-- an escape that would be decoded twice, and a fragment, which nginx cuts off for itself and sends on.
local AMBIGUOUS = [[%(?:2f|5c|2e|3b|[01][0-9a-f]|7f|25[0-9a-f]{2})|[;\\#]|//|/\.{1,2}(?:/|$)|[\x00-\x20\x7f]|%(?![0-9a-f]{2})]]

local services = {}
local readers = {} -- by service; see paths.lua

function _M.load(table_of_services)
    for name, service in pairs(table_of_services) do
        services[name] = service
        for _, route in ipairs(service.routes) do
            route.is_admin = route.permission ~= nil and route.permission:sub(-6) == ":admin"
        end
        readers[name] = paths.compile(service.routes)
    end
end

function _M.service(name)
    return services[name]
end

function _M.services()
    return services
end

-- Takes the path as it came and as nginx decoded it.
-- Returns {route=, tenant=, database=, collection=}, or nil and the status (400, 404, 405) and the methods that are allowed.
function _M.find(service, method, raw_path, path)
    local place, _, fault = re_find(raw_path, AMBIGUOUS, "joi")
    if place or fault then
        return nil, 400
    end
    local reader = readers[service.name]
    local found = paths.find(reader, method, path)
    if found then
        return found
    end
    local allowed = paths.allowed(reader, path)
    return nil, allowed and 405 or 404, allowed
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
