-- Refusals in the one shape that all of ragrid uses: RFC 9457 problem details.

local cjson = require "cjson.safe"
local metrics = require "metrics"
local policy = require "policy"

local _M = {}

local KNOWN = {
    [400] = { "bad-request", "the request cannot be read" },
    [401] = { "unauthorized", "a valid access token is needed" },
    [403] = { "forbidden", "the token does not allow this" },
    [404] = { "not-found", "no route leads there" },
    [405] = { "method-not-allowed", "the path does not take this method" },
    [408] = { "request-timeout", "the request did not arrive in time" },
    [411] = { "length-required", "the request must say how long its body is" },
    [413] = { "content-too-large", "the body is larger than this route takes" },
    [414] = { "uri-too-long", "the address is too long" },
    [429] = { "too-many-requests", "this caller is over its limit; slow down and try again" },
    [431] = { "header-too-large", "the header fields are too large" },
    [500] = { "internal-error", "the gateway failed; its error log has the reason" },
    [501] = { "not-implemented", "the gateway does not speak this transfer encoding" },
    [502] = { "bad-gateway", "the service behind the gateway did not answer; try again" },
    [503] = { "unavailable", "the service behind the gateway has no running instance; try again" },
    [504] = { "gateway-timeout", "the service behind the gateway did not answer in time" },
    [505] = { "http-version-not-supported", "the gateway speaks HTTP/1.0, 1.1 and 2" },
}

-- Statuses that only nginx uses, and what callers are told instead.
local NGINX_ONLY = { [494] = 431, [495] = 400, [496] = 400, [497] = 400, [499] = 400 }

-- Returns a refusal; `members` are added at the top level of its object.
function _M.new(status, code, detail, headers, members)
    local body = {
        type = "urn:ragrid:problem:" .. code,
        title = (code:gsub("-", " ")),
        status = status,
        detail = detail,
        code = code,
    }
    for name, value in pairs(members or {}) do
        body[name] = value
    end
    return { status = status, headers = headers, body = body }
end

-- Returns an answer that is no refusal.
function _M.plain(body)
    return { status = 200, body = body }
end

-- Answers the current request with what `new` or `plain` returned, and ends it.
function _M.send(answer)
    local body = answer.body
    ngx.status = answer.status
    ngx.header["Content-Type"] = body.code and "application/problem+json" or "application/json"
    ngx.header["Cache-Control"] = "no-store"
    for name, value in pairs(answer.headers or {}) do
        ngx.header[name] = value
    end
    if body.code then
        body.request_id = ngx.var.ragrid_request_id
    end
    local text = cjson.encode(body) .. "\n"
    ngx.header["Content-Length"] = #text
    ngx.print(text)
    return ngx.exit(ngx.HTTP_OK)
end

function _M.unauthorized(detail, was_sent)
    -- RFC 6750, section 3: a request without credentials gets no error code
    local challenge = 'Bearer realm="ragrid"'
    if was_sent then
        challenge = challenge .. ', error="invalid_token", error_description="' .. detail .. '"'
    end
    return _M.new(401, was_sent and "invalid-token" or "unauthorized", detail, { ["WWW-Authenticate"] = challenge })
end

function _M.forbidden(permission)
    local challenge = 'Bearer realm="ragrid", error="insufficient_scope", scope="' .. permission .. '"'
    return _M.new(403, "insufficient-scope", "the token lacks " .. permission,
        { ["WWW-Authenticate"] = challenge }, { permission = permission })
end

-- What a caller over a limit is told: draft-ietf-httpapi-ratelimit-headers-10. A rate is counted in milliseconds, so the
-- next request may come within a second; a place among the concurrent ones is free when another request ends.
local function limit_headers()
    local service = policy.service(ngx.var.ragrid_service)
    if not service then
        return { ["Retry-After"] = "1" }
    end
    local is_rate = ngx.var.limit_req_status == "REJECTED"
    metrics.add("gateway_refused_total", 'service="' .. service.name .. '",reason="429"')
    return {
        ["Retry-After"] = "1",
        ["RateLimit-Policy"] = service.limits.policy,
        ["RateLimit"] = is_rate and '"rate";r=0;t=1' or '"concurrent";r=0',
    }
end

-- For error_page: turns nginx's own refusal into a problem.
function _M.from_nginx()
    if ngx.var.ragrid_request_id == "" then -- refused before any Lua ran
        ngx.var.ragrid_request_id = ngx.var.request_id
    end
    local status = ngx.status
    status = NGINX_ONLY[status] or status
    local known = KNOWN[status] or KNOWN[500]
    local headers
    if status == 429 then
        headers = limit_headers()
    elseif status == 503 then
        headers = { ["Retry-After"] = "1" }
    end
    return _M.send(_M.new(status, known[1], known[2], headers))
end

return _M
