-- What nginx calls in each phase; the subjects are in the files beside this one.

local balancer = require "balancer"
local cjson = require "cjson.safe"
local collections = require "collections"
local ffi = require "ffi"
local headers = require "headers"
local health = require "health"
local jwt = require "jwt"
local metrics = require "metrics"
local policy = require "policy"
local problem = require "problem"
local state = require "state"

ffi.cdef [[
int prctl(int option, unsigned long argument);
int getppid(void);
]]

local _M = {}

local ngx = ngx
local find, sub = string.find, string.sub
local get_method = ngx.req.get_method
local settings -- policy.json
local prefix, counter = "", 0

local PR_SET_PDEATHSIG = 1
local SIGQUIT = 3

local function random_hex(bytes)
    local file = assert(io.open("/dev/urandom", "rb"))
    local text = file:read(bytes)
    file:close()
    return (text:gsub(".", function(character) return string.format("%02x", character:byte()) end))
end

-- A random prefix for each worker and a counter: unique, and a tenth of what $request_id's random bytes cost.
local function next_request_id()
    counter = counter + 1
    return prefix .. counter -- not string.format, which LuaJIT does not compile
end

-- In the master, before there are workers.
function _M.init()
    -- a whole phase must fit into one trace; the limits are those that OpenResty's own LuaJIT ships with, Debian's are lower
    require("jit.opt").start("maxtrace=8000", "maxrecord=8000", "minstitch=3", "maxmcode=40960")
    local path = ngx.config.prefix() .. "policy.json"
    local file = assert(io.open(path, "rb"))
    settings = assert(cjson.decode(file:read("*a")))
    file:close()
    policy.load(settings.services)
    balancer.load(settings.services)
    health.load(settings.services, settings.health)
    state.load_file(settings.state_file)
end

function _M.init_worker()
    -- a worker that outlived its killed master would hold the ports: it ends its requests and goes as well
    ffi.C.prctl(PR_SET_PDEATHSIG, SIGQUIT)
    if ngx.worker.id() == nil then
        return -- a helper process of nginx
    end
    prefix = random_hex(12) .. "-"
    metrics.start()
    health.start(balancer.update)
end

local function path_of(request_uri)
    local query = find(request_uri, "?", 1, true)
    return query and sub(request_uri, 1, query - 1) or request_uri
end

local function decoded_path()
    return ngx.var.uri
end

local function refuse_route(service, status, allowed)
    metrics.add("gateway_refused_total", 'service="' .. service .. '",reason="' .. status .. '"')
    if status == 400 then
        return problem.send(400, "ambiguous-path", "the path holds an encoded separator, a dot segment, a double slash or a control character")
    elseif status == 404 then
        return problem.send(404, "not-found", "no route leads there")
    end
    return problem.send(405, "method-not-allowed", "the path does not take this method", { Allow = allowed })
end

local function refuse_token(service, reason, was_sent)
    metrics.add("gateway_refused_total", 'service="' .. service .. '",reason="401"')
    ngx.log(ngx.INFO, "token refused: ", reason)
    return problem.unauthorized(reason, was_sent)
end

local function refuse_permission(service, permission)
    metrics.add("gateway_refused_total", 'service="' .. service .. '",reason="403"')
    return problem.forbidden(permission)
end

-- Returns the caller when it may use `route`; else the request has been answered.
local function authorize(service, route, tenant, view)
    local authorization = ngx.var.http_authorization
    if not authorization then
        return refuse_token(service, "an access token is needed: Authorization: Bearer ...", false)
    end
    local caller, fault = jwt.caller(authorization, view.keys, settings.issuer)
    fault = fault or policy.token_fault(caller, service, view.revoked, ngx.now())
    if fault then
        return refuse_token(service, fault, true)
    end
    -- what scope and roles allow together changes only with the roles, so it is worked out once for each table of roles
    if caller.roles_seen ~= view.roles then
        caller.roles_seen, caller.permitted = view.roles, {}
    end
    local permitted = caller.permitted[route.permission]
    if permitted == nil then
        permitted = policy.is_permitted(caller, route.permission, view.roles)
        caller.permitted[route.permission] = permitted
    end
    if not permitted then
        return refuse_permission(service, route.permission)
    end
    if tenant and tenant ~= caller.tenant then
        metrics.add("gateway_refused_total", 'service="' .. service .. '",reason="tenant"')
        return problem.send(403, "wrong-tenant", "the path names a tenant that is not the token's")
    end
    return caller
end

-- Also in ChromaDB's own words, so that its client raises what it raises without a gateway.
local function refuse_collection(service, owned, why)
    if owned == nil then
        ngx.log(ngx.WARN, "nobody could say whose a collection is: ", why)
        return problem.send(503, "unavailable", "no instance of " .. service .. " could say whose the collection is; try again",
            { ["Retry-After"] = "1" })
    end
    metrics.add("gateway_refused_total", 'service="' .. service .. '",reason="collection"')
    local detail = "the tenant has no collection with this id in this database"
    return problem.send(404, "collection-not-found", detail, nil, { error = "NotFoundError", message = detail })
end

local function send_identity(caller)
    ngx.header["Content-Type"] = "application/json"
    ngx.header["Cache-Control"] = "no-store"
    ngx.say(cjson.encode { user_id = caller.subject, tenant = caller.tenant, databases = { "default_database" } })
    return ngx.exit(ngx.HTTP_OK)
end

-- rewrite_by_lua of a service's locations.
function _M.rewrite(service_name)
    local var = ngx.var
    local service = policy.service(service_name)
    var.ragrid_request_id = next_request_id()
    local method = get_method()
    local found, status, allowed = policy.find(service, method, path_of(var.request_uri), decoded_path)
    if not found then
        return refuse_route(service_name, status, allowed)
    end
    local route = found.route
    var.ragrid_route = route.name
    metrics.began(service_name)
    local view = state.view(balancer.update)
    if not view then
        return problem.send(503, "no-state", "the gateway has not been told about any service yet; try again",
            { ["Retry-After"] = "1" })
    end
    if route.permission then
        local caller = authorize(service_name, route, found.tenant, view)
        if not caller then
            return
        end
        var.ragrid_subject = caller.subject
        if route.answer == "identity" then
            return send_identity(caller)
        end
    else
        var.ragrid_subject = var.remote_addr
    end
    if method ~= "GET" and (tonumber(var.http_content_length) or 0) > route.body_limit_bytes then
        return problem.send(413, "content-too-large", "this route takes at most " .. route.body_limit_bytes .. " bytes",
            nil, { limit_bytes = route.body_limit_bytes })
    end
    local pool = balancer.pool(service_name)
    if not pool then
        return problem.send(503, "unavailable", "no instance of " .. service_name .. " is registered; try again",
            { ["Retry-After"] = "1" })
    end
    if route.owned and not found.is_owned then
        local owned, why = collections.belongs(pool, found)
        if not owned then
            return refuse_collection(service_name, owned, why)
        end
        found.is_owned = true -- `found` is kept for this path, and the path names tenant and collection
    end
    headers.strip()
    local context = ngx.ctx
    context.route, context.pool = route, pool
end

-- rewrite_by_lua of everything that no service has.
function _M.rewrite_unknown()
    ngx.var.ragrid_request_id = next_request_id()
    return refuse_route("none", 404)
end

function _M.balance()
    return balancer.balance()
end

-- The last figure of a list like "0.001, 0.002 : -".
local function last_seconds(text)
    return text and (tonumber(text) or tonumber(text:match("([%d.]+)%D*$")))
end

function _M.log(service_name)
    local var = ngx.var
    local route = var.ragrid_route
    if route ~= "" then
        metrics.ended(service_name)
    end
    local peer = var.ragrid_peer
    if peer ~= "" then
        balancer.release(peer)
    end
    local status = ngx.status
    local header_time = var.upstream_header_time
    if status >= 502 and header_time and find(header_time, "-", 1, true) and peer ~= "" then
        health.eject(peer, 2)
    end
    metrics.record(service_name, route ~= "" and route or "none", get_method(), status,
        ngx.now() - ngx.req.start_time(), last_seconds(header_time))
end

-- The private metrics port.
function _M.metrics()
    local version, refreshed_at, refused, free_bytes = state.facts()
    local facts = {
        { "gateway_state_version", version },
        { "gateway_state_age_seconds", refreshed_at and ngx.now() - refreshed_at or -1 },
        { "gateway_state_refused_total", refused },
        { "gateway_state_free_bytes", free_bytes },
    }
    local view = state.view(balancer.update)
    if view then
        local keys = 0
        for _ in pairs(view.keys) do
            keys = keys + 1
        end
        facts[#facts + 1] = { "gateway_keys", keys }
        for _, fact in ipairs(health.facts(view)) do
            facts[#facts + 1] = {
                string.format('gateway_instance_up{service="%s",instance=%s}', fact.service, cjson.encode(fact.id)), fact.up,
            }
        end
    end
    return metrics.expose(facts)
end

-- 200 once a state is in force.
function _M.ready()
    local version = state.facts()
    ngx.status = version > 0 and 200 or 503
    ngx.header["Content-Type"] = "application/json"
    ngx.say(cjson.encode { status = version > 0 and "ready" or "no state yet", state_version = version })
end

return _M
