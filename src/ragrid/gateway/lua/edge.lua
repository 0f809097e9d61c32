-- What nginx calls in each phase; the subjects are in the files beside this one.

local balancer = require "balancer"
local cjson = require "cjson.safe"
local collections = require "collections"
local counts = require "counts"
local ffi = require "ffi"
local headers = require "headers"
local health = require "health"
local jwt = require "jwt"
local metrics = require "metrics"
local policy = require "policy"
local problem = require "problem"
local quota = require "quota"
local state = require "state"
local waiting = require "waiting"

ffi.cdef [[
int prctl(int option, unsigned long argument);
int getppid(void);
]]

local _M = {}

local ngx = ngx
local byte, find, sub = string.byte, string.find, string.sub
local get_method = ngx.req.get_method
local settings -- policy.json
local loaded_at -- when this life of the configuration began
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
    -- A whole phase must fit into one trace. The limits on traces are those of OpenResty's own builds, Debian's are lower;
    -- a trace of `decide` has about 1,000 constants, where LuaJIT gives up at 500 and interprets: 8,000 instructions more.
    require("jit.opt").start("maxtrace=8000", "maxrecord=8000", "maxirconst=8000", "maxsnap=2000", "minstitch=3",
        "maxmcode=40960")
    local path = ngx.config.prefix() .. "policy.json"
    local file = assert(io.open(path, "rb"))
    settings = assert(cjson.decode(file:read("*a")))
    file:close()
    policy.load(settings.services)
    balancer.load(settings.services)
    health.load(settings.services, settings.health, settings.mutual_tls)
    quota.load(settings.services)
    state.load_file(settings.state_file)
    ngx.update_time()
    loaded_at = ngx.now()
end

function _M.init_worker()
    -- a worker that outlived its killed master would hold the ports: it ends its requests and goes as well
    ffi.C.prctl(PR_SET_PDEATHSIG, SIGQUIT)
    if ngx.worker.id() == nil then
        return -- a helper process of nginx
    end
    prefix = random_hex(12) .. "-"
    collectgarbage("setpause", 400) -- half the collections for at most twice the memory, of which a worker has few MB
    metrics.start(health.ran)
    counts.start()
    health.start(balancer.update)
    waiting.start(settings.health.suspect_s, balancer.update, balancer.can_go_elsewhere)
end

local function path_of(request_uri)
    local query = find(request_uri, "?", 1, true)
    return query and sub(request_uri, 1, query - 1) or request_uri
end

local function count_refusal(service, reason)
    metrics.add("gateway_refused_total", 'service="' .. service .. '",reason="' .. reason .. '"')
end

local function route_refusal(service, status, allowed)
    count_refusal(service, status)
    if status == 400 then
        return problem.new(400, "ambiguous-path", "the path holds an encoded separator, a dot segment, a double slash, a fragment or a control character")
    elseif status == 404 then
        return problem.new(404, "not-found", "no route leads there")
    end
    return problem.new(405, "method-not-allowed", "the path does not take this method", { Allow = allowed })
end

local function token_refusal(service, reason, was_sent)
    count_refusal(service, "401")
    ngx.log(ngx.INFO, "token refused: ", reason)
    return problem.unauthorized(reason, was_sent)
end

-- What scope and roles allow together changes only with the roles, so it is worked out once for each table of roles.
local function is_permitted(caller, permission, roles)
    if caller.roles_seen ~= roles then
        caller.roles_seen, caller.permitted = roles, {}
    end
    local permitted = caller.permitted[permission]
    if permitted == nil then
        permitted = policy.is_permitted(caller, permission, roles)
        caller.permitted[permission] = permitted
    end
    return permitted
end

-- Returns the caller when it may use `route`; else nil and the answer.
local function authorize(service, route, tenant, view)
    local authorization = ngx.var.http_authorization
    if not authorization then
        return nil, token_refusal(service, "an access token is needed: Authorization: Bearer ...", false)
    end
    local caller, fault = jwt.caller(authorization, view.keys, settings.issuer)
    fault = fault or policy.token_fault(caller, service, view.revoked, ngx.now())
    if fault then
        return nil, token_refusal(service, fault, true)
    end
    if not is_permitted(caller, route.permission, view.roles) then
        count_refusal(service, "403")
        return nil, problem.forbidden(route.permission)
    end
    if route.is_admin and state.is_stale(settings.state_age_limit_s) then
        count_refusal(service, "stale")
        return nil, problem.new(503, "stale-state",
            "the gateway has heard nothing of revocations for too long; administration is closed until it does",
            { ["Retry-After"] = "5" })
    end
    if tenant and tenant ~= caller.tenant then
        count_refusal(service, "tenant")
        return nil, problem.new(403, "wrong-tenant", "the path names a tenant that is not the token's")
    end
    return caller
end

local function identity(caller)
    return problem.plain { user_id = caller.subject, tenant = caller.tenant, databases = { "default_database" } }
end

-- Returns nil when the request may go on to an instance of `context.pool`, or `context.asks` once the collection in the
-- path has proved to be the tenant's; else what the edge answers by itself.
local function answer_to(service_name, context)
    local var = ngx.var
    local method = get_method()
    local found, status, allowed = policy.find(policy.service(service_name), method, path_of(var.request_uri), var.uri)
    if not found then
        return route_refusal(service_name, status, allowed)
    end
    local route = found.route
    context.found, context.route = found, route
    var.ragrid_route = route.name
    metrics.began(service_name)
    local view = state.view(balancer.update)
    if not view then
        return problem.new(503, "no-state", "the gateway has not been told about any service yet; try again",
            { ["Retry-After"] = "1" })
    end
    if route.permission then
        local caller, answer = authorize(service_name, route, found.tenant, view)
        if not caller then
            return answer
        end
        var.ragrid_subject = caller.subject
        if route.answer == "identity" then
            return identity(caller)
        end
    else
        var.ragrid_subject = var.remote_addr
    end
    if method ~= "GET" and (tonumber(var.http_content_length) or 0) > route.body_limit_bytes then
        return problem.new(413, "content-too-large", "this route takes at most " .. route.body_limit_bytes .. " bytes",
            nil, { limit_bytes = route.body_limit_bytes })
    end
    local pool = balancer.pool(service_name)
    if not pool then
        return problem.new(503, "unavailable", "no instance of " .. service_name .. " is registered; try again",
            { ["Retry-After"] = "1" })
    end
    if route.metered then
        local account, refusal = quota.open(service_name, var.ragrid_subject)
        if refusal then
            return refusal
        end
        context.account = account
    end
    if balancer.needs_key(service_name) then
        -- one caller's sessions are spread, and nobody reaches into another caller's
        context.key = var.ragrid_subject .. "\n" .. (var.http_x_session_id or "")
    end
    headers.strip()
    if route.owned and not collections.is_known(found) then
        context.asks = pool
    else
        context.pool = pool
    end
    return nil
end

-- Returns nil when the collection in the path is the tenant's. A refusal is also in ChromaDB's own words, so that its
-- client raises what it raises without a gateway.
local function collection_refusal(service, context)
    local found = context.found
    local owned, why = collections.belongs(context.asks, found)
    if owned then
        context.pool = context.asks
        return nil
    elseif owned == nil then
        ngx.log(ngx.WARN, "nobody could say whose a collection is: ", why)
        return problem.new(503, "unavailable", "no instance of " .. service .. " could say whose the collection is; try again",
            { ["Retry-After"] = "1" })
    end
    count_refusal(service, "collection")
    local detail = "the tenant has no collection with this id in this database"
    return problem.new(404, "collection-not-found", detail, nil, { error = "NotFoundError", message = detail })
end

-- set_by_lua of a service's locations: decides, and returns the id of the request. (rewrite_by_lua could answer by itself
-- and ask others, and costs a coroutine for each request; `aside` is that, for those that need it: $ragrid_aside.)
function _M.decide(service_name)
    -- pool: without it, balance() refuses; address: where the request was sent last; counted: the same, if it is counted;
    -- endpoint, tries_left: the same, and how often it may be sent again; account: who pays for the answer, if it costs
    -- anything; has_begun, is_connected, is_released: what is known of the try that runs (waiting.lua)
    local context = {
        found = false, route = false, answer = false, asks = false, pool = false, key = false, address = false, counted = false,
        endpoint = false, tries_left = 0, account = false, has_begun = false, is_connected = false, is_released = false,
    }
    ngx.ctx = context
    local answer = answer_to(service_name, context)
    if answer then
        context.answer = answer
        ngx.var.ragrid_aside = "answer"
    elseif context.asks then
        ngx.var.ragrid_aside = "ask"
    end
    return next_request_id()
end

-- rewrite_by_lua of the requests that `decide` set aside.
function _M.aside(service_name)
    local context = ngx.ctx
    local answer = context.answer or collection_refusal(service_name, context)
    if answer then
        return problem.send(answer)
    end
end

-- rewrite_by_lua of everything that no service has.
function _M.rewrite_unknown()
    ngx.var.ragrid_request_id = next_request_id()
    return problem.send(route_refusal("none", 404))
end

function _M.balance()
    return balancer.balance()
end

-- body_filter_by_lua of services whose callers have a quota of tokens. The pieces go on as they are.
function _M.read_answer()
    local account = ngx.ctx.account
    if account then
        quota.read(account, ngx.arg[1])
    end
end

-- nginx writes times as "1.234", and for several tries as "0.001, 0.002 : -", of which the last figure counts. The usual
-- form is read digit by digit: tonumber() costs 1,500 instructions more.
local function last_seconds(text)
    if #text == 5 then
        local first, dot, second, third, fourth = byte(text, 1, 5)
        if dot == 46 then
            return first - 48 + ((second - 48) * 100 + (third - 48) * 10 + fourth - 48) / 1000
        end
    end
    return tonumber(text:match("([%d.]+)%D*$"))
end

function _M.log(service_name)
    local var = ngx.var
    local context = ngx.ctx
    local route, peer = context.route, context.counted
    local is_held = route and route.held
    if route then
        route = route.name
    else -- nginx went on to another location, and forgets the context on the way
        route, peer = var.ragrid_route, var.ragrid_peer
        route, peer = route ~= "" and route, peer ~= "" and peer
    end
    if route then
        metrics.ended(service_name)
    end
    if peer then
        balancer.release(peer)
    end
    local status = ngx.status
    local header_time = var.upstream_header_time
    if peer and header_time and byte(header_time, -1) ~= 45 then -- not "-"
        waiting.heard_of(peer)
    end
    if peer and status >= 502 and header_time and find(header_time, "-", 1, true) then
        health.eject(service_name, peer, 2)
    end
    if context.account then
        quota.close(context.account, status)
    end
    if is_held then -- waiting is what was asked for: no response time
        metrics.record(service_name, route, get_method(), status)
    else
        metrics.record(service_name, route or "none", get_method(), status,
            ngx.now() - ngx.req.start_time(), header_time and last_seconds(header_time))
    end
end

-- 1 unless the last attempt to put another configuration in the place of this one failed; the driver notes which.
local function is_reload_good()
    local file = io.open(settings.reload_outcome, "rb")
    if not file then
        return 1
    end
    local outcome = cjson.decode(file:read("*a"))
    file:close()
    return type(outcome) == "table" and outcome.is_successful == false and 0 or 1
end

-- The private metrics port.
function _M.metrics()
    local version, refreshed_at, refused, free_bytes = state.facts()
    local facts = {
        { "gateway_state_version", version },
        { "gateway_state_age_seconds", refreshed_at and ngx.now() - refreshed_at or -1 },
        { "gateway_admin_closed", state.is_stale(settings.state_age_limit_s) and 1 or 0 },
        { "gateway_timers_running", health.timer_fault() and 0 or 1 },
        { "gateway_state_refused_total", refused },
        { "gateway_state_free_bytes", free_bytes },
        { "gateway_config_last_reload_successful", is_reload_good() },
        { "gateway_config_loaded_timestamp_seconds", loaded_at },
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

-- 200 while a state is in force and the timers of every worker run.
function _M.ready()
    local version = state.facts()
    local fault = version == 0 and "no state yet" or health.timer_fault()
    ngx.status = fault and 503 or 200
    ngx.header["Content-Type"] = "application/json"
    ngx.say(cjson.encode {
        status = fault or "ready", state_version = version, admin_closed = state.is_stale(settings.state_age_limit_s),
    })
end

return _M
