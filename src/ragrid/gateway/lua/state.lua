-- What the controller knows, as each worker sees it: keys, endpoints, roles, revocations.
--
-- One document in a shared dictionary holds it; a counter beside it tells workers that something changed, so a change
-- is in force with the next request of every worker. A document is checked whole before any of it is used; an older
-- version is refused; a pool that has endpoints is only emptied by a document that says `confirmed`.

local cjson = require "cjson.safe"
local jwt = require "jwt"
local problem = require "problem"

local _M = {}

local shared = ngx.shared.ragrid_state
local current -- this worker's reading of the document
local current_generation = 0

local function fail(...)
    return nil, string.format(...)
end

local function is_integer(value, least, most)
    return type(value) == "number" and value == math.floor(value) and value >= least and value <= most
end

local function is_address(host)
    if type(host) ~= "string" then
        return false
    end
    local octets = { host:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$") }
    if #octets == 4 then
        for _, octet in ipairs(octets) do
            if tonumber(octet) > 255 then
                return false
            end
        end
        return true
    end
    return host:find(":", 1, true) ~= nil and host:find("^[%x:.]+$") ~= nil
end

local function read_endpoint(service, endpoint)
    if type(endpoint) ~= "table" or type(endpoint.id) ~= "string" then
        return fail("service %s: an endpoint needs an id", service)
    end
    if not is_address(endpoint.host) or not is_integer(endpoint.port, 1, 65535) then
        return fail("service %s: endpoint %s: wanted an IP address and a port", service, endpoint.id)
    end
    if not is_integer(endpoint.weight, 1, 1000) or type(endpoint.draining) ~= "boolean" then
        return fail("service %s: endpoint %s: wanted weight 1 to 1000 and draining", service, endpoint.id)
    end
    local host = endpoint.host:find(":", 1, true) and "[" .. endpoint.host .. "]" or endpoint.host
    return {
        id = endpoint.id, host = host, port = endpoint.port, weight = endpoint.weight,
        draining = endpoint.draining, address = host .. ":" .. endpoint.port,
    }
end

local function read_services(document)
    if type(document.services) ~= "table" then
        return fail("services: wanted an object")
    end
    local services = {}
    for name, service in pairs(document.services) do
        if type(name) ~= "string" or type(service) ~= "table" or type(service.endpoints) ~= "table" then
            return fail("services: wanted objects with endpoints")
        end
        local endpoints = {}
        for _, entry in ipairs(service.endpoints) do
            local endpoint, fault = read_endpoint(name, entry)
            if not endpoint then
                return nil, fault
            end
            endpoints[#endpoints + 1] = endpoint
        end
        services[name] = { name = name, endpoints = endpoints, confirmed = service.confirmed == true }
    end
    return services
end

local function read_keys(document, known)
    if type(document.keys) ~= "table" or #document.keys == 0 then
        return fail("keys: wanted at least one key")
    end
    local keys = {}
    for _, entry in ipairs(document.keys) do
        local key, fault = jwt.load_key(entry)
        if not key then
            return nil, fault
        end
        if keys[key.kid] then
            return fail("key %s: given twice", key.kid)
        end
        -- the same object for the same key keeps the verdicts that were given with it
        local old = known and known[key.kid]
        keys[key.kid] = old and old.fingerprint == key.fingerprint and old or key
    end
    return keys
end

local function read_roles(document)
    if type(document.roles) ~= "table" then
        return fail("roles: wanted an object")
    end
    local roles = {}
    for role, permissions in pairs(document.roles) do
        if type(role) ~= "string" or type(permissions) ~= "table" then
            return fail("roles: wanted lists of permissions")
        end
        roles[role] = {}
        for _, permission in ipairs(permissions) do
            if type(permission) ~= "string" then
                return fail("roles: %s: wanted strings", role)
            end
            roles[role][permission] = true
        end
    end
    return roles
end

local function read_numbers(object, what)
    if type(object) ~= "table" then
        return fail("%s: wanted an object", what)
    end
    for name, value in pairs(object) do
        if type(name) ~= "string" or type(value) ~= "number" then
            return fail("%s: wanted numbers", what)
        end
    end
    return object
end

local function read_revoked(document)
    local revoked = document.revoked
    if type(revoked) ~= "table" or type(revoked.not_before) ~= "number" then
        return fail("revoked: wanted tokens, subjects and not_before")
    end
    local tokens, fault = read_numbers(revoked.tokens, "revoked.tokens")
    if not tokens then
        return nil, fault
    end
    local subjects
    subjects, fault = read_numbers(revoked.subjects, "revoked.subjects")
    if not subjects then
        return nil, fault
    end
    local clients
    clients, fault = read_numbers(revoked.clients or {}, "revoked.clients")
    if not clients then
        return nil, fault
    end
    return { tokens = tokens, subjects = subjects, clients = clients, not_before = revoked.not_before }
end

-- Returns the checked document, or nil and the first fault.
local function read(text, known_keys)
    local document = cjson.decode(text)
    if type(document) ~= "table" then
        return fail("wanted a JSON object")
    end
    if not is_integer(document.version, 1, 1e14) then
        return fail("version: wanted an integer of 1 or more")
    end
    local result, fault = { version = document.version, document = document }, nil
    for name, reader in pairs { keys = read_keys, services = read_services, roles = read_roles, revoked = read_revoked } do
        result[name], fault = reader(document, known_keys)
        if fault then
            return nil, fault
        end
    end
    return result
end

-- Services that would lose their last endpoint without a word keep those they have. Returns the names.
local function keep_pools(new, old)
    local kept = {}
    for name, service in pairs(old and old.services or {}) do
        local replacement = new.services[name]
        if #service.endpoints > 0 and (not replacement or (#replacement.endpoints == 0 and not replacement.confirmed)) then
            new.document.services[name] = old.document.services[name]
            kept[#kept + 1] = name
        end
    end
    table.sort(kept)
    return kept
end

-- Tells every worker to look again before its next request.
function _M.changed()
    shared:incr("generation", 1, 0)
end

-- The state is as old as what it says of keys and revocations: the controller tells with it how many seconds ago a token
-- service last confirmed that, in `?age_s=`; "unknown" leaves its age as it is.
local function note_age()
    local age_s = tonumber(ngx.var.arg_age_s or 0)
    if age_s then
        local refreshed_at = ngx.now() - math.max(0, age_s)
        shared:set("refreshed_at", math.max(refreshed_at, shared:get("refreshed_at") or 0))
    end
end

local function store(new, old)
    local kept = keep_pools(new, old)
    local text = cjson.encode(new.document)
    -- safe_set: a full dictionary must never push out something else. It frees the old value before it finds that there
    -- is no room for the new one, so the old one is put back.
    local before = shared:get("document")
    local stored, fault = shared:safe_set("document", text)
    if not stored then
        if before then
            assert(shared:safe_set("document", before))
        end
        return nil, fault
    end
    shared:set("version", new.version)
    _M.changed()
    return kept
end

-- Called once in the master, before there are workers: the last good state makes nginx serve with all else dead.
function _M.load_file(path)
    local file = io.open(path, "rb")
    if not file then
        ngx.log(ngx.NOTICE, "no last good state at ", path, "; answering 503 until the controller sends one")
        return
    end
    local text = file:read("*a")
    file:close()
    local new, fault = read(text)
    if not new then
        ngx.log(ngx.WARN, path, ": not a state: ", fault, "; waiting for the controller")
        return
    end
    if new.version > (shared:get("version") or 0) then
        store(new, nil) -- its age is unknown
    end
end

local function read_again(generation, on_change)
    local text = shared:get("document")
    if not text then
        return current -- it is being replaced at this moment, or has never come
    end
    local new, fault = read(text, current and current.keys)
    if not new then
        ngx.log(ngx.CRIT, "the stored state cannot be read: ", fault)
        return current
    end
    current, current_generation = new, generation
    on_change(new)
    return current
end
jit.off(read_again, true) -- the compiled path must be the one where nothing changed; see jwt.lua

-- Returns this worker's view, or nil while no state has ever come. `on_change` is called with each new view.
function _M.view(on_change)
    local generation = shared:get("generation")
    if generation == current_generation then
        return current
    end
    return read_again(generation, on_change)
end

function _M.facts()
    return shared:get("version") or 0, shared:get("refreshed_at"), shared:get("refused") or 0, shared:free_space()
end

-- True when keys and revocations were not confirmed for `limit_s`, or not since nginx started: who lost a right is unknown.
function _M.is_stale(limit_s)
    local refreshed_at = shared:get("refreshed_at")
    return not refreshed_at or ngx.now() - refreshed_at > limit_s
end

local function respond(status, object)
    ngx.status = status
    ngx.header["Content-Type"] = "application/json"
    ngx.say(cjson.encode(object))
end

local function body()
    ngx.req.read_body()
    local text = ngx.req.get_body_data()
    if text then
        return text
    end
    local name = ngx.req.get_body_file()
    local file = name and io.open(name, "rb")
    if not file then
        return ""
    end
    text = file:read("*a")
    file:close()
    return text
end

local function put()
    local version = shared:get("version") or 0
    local old = version > 0 and read(shared:get("document") or "") or nil
    local new, fault = read(body(), old and old.keys)
    if not new then
        shared:incr("refused", 1, 0)
        return problem.send(problem.new(422, "invalid-state", fault))
    end
    if new.version < version then
        shared:incr("refused", 1, 0)
        return problem.send(problem.new(409, "older-version", "a newer state is in force", nil, { current_version = version }))
    end
    if new.version == version then -- sent again so that a lost dictionary heals and the age is known
        note_age()
        return respond(200, { version = version, applied = false })
    end
    local kept
    kept, fault = store(new, old)
    if not kept then
        shared:incr("refused", 1, 0)
        return problem.send(problem.new(507, "no-room", fault))
    end
    note_age()
    return respond(200, { version = new.version, applied = true, kept = #kept > 0 and kept or nil })
end

-- The admin socket: PUT /state, GET /state (its version).
function _M.admin()
    local method = ngx.req.get_method()
    if method == "PUT" then
        return put()
    end
    if method ~= "GET" then
        return problem.send(problem.new(405, "method-not-allowed", "wanted GET or PUT", { Allow = "GET, PUT" }))
    end
    local version, refreshed_at = _M.facts()
    return respond(200, { version = version, refreshed_at = refreshed_at })
end

return _M
