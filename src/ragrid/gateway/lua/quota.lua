-- What a caller may take of a service in a minute when a request's cost is known only afterwards: tokens of a language
-- model. Each caller has a bucket that fills at the quota's rate and holds one minute of it. A request passes while there
-- is something in the bucket; what its answer takes is taken out, below nothing if need be, and the next request waits.
--
-- All that is kept of a bucket is the time at which it will be full again: a bucket that is full needs no memory, and
-- what is kept outlives a reload.

local metrics = require "metrics"
local problem = require "problem"
local usage = require "usage"

local _M = {}

local WINDOW_S = 60
-- Longest time that a bucket's time to live may need to settle, in looks; each look more is another worker's request.
local MOST_LOOKS = 100
local LEAST_S = 0.001 -- 0 would be "for ever"

local shared = ngx.shared.ragrid_quotas
local quotas = {}   -- service -> tokens in a minute
local policies = {} -- service -> its RateLimit-Policy

function _M.load(services)
    for name, service in pairs(services) do
        quotas[name], policies[name] = service.limits.tokens_per_minute, service.limits.policy
    end
end

-- A bucket that is full is forgotten. Two workers may spend at once: whoever looks last sees the sum, and sets the time.
local function spend(key, seconds)
    local full_at, fault = shared:incr(key, seconds, ngx.now(), math.max(LEAST_S, seconds))
    if not full_at then
        ngx.log(ngx.ERR, "quota: ", fault)
        return
    end
    for _ = 1, MOST_LOOKS do
        shared:expire(key, math.max(LEAST_S, full_at - ngx.now()))
        local seen = shared:get(key)
        if not seen or seen == full_at then
            return
        end
        full_at = seen
    end
end

-- draft-ietf-httpapi-ratelimit-headers-10: what is left, and in how many seconds there is more.
local function field(left, seconds)
    return '"tokens";r=' .. left .. ";t=" .. seconds
end

-- Returns the account that the request's answer is charged to, to be kept in its context; or nil and the refusal. nil
-- alone when the service has no quota.
function _M.open(service, subject)
    local quota = quotas[service]
    if not quota then
        return nil
    end
    local var = ngx.var
    local key = service .. "\n" .. subject
    local owed_s = math.max(0, (shared:get(key) or 0) - ngx.now())
    if owed_s < WINDOW_S then
        var.ragrid_quota = field(math.floor((WINDOW_S - owed_s) * quota / WINDOW_S), math.ceil(owed_s))
        local request_bytes = tonumber(var.http_content_length) or tonumber(var.request_length) or 0
        return { service = service, key = key, quota = quota, charged = 0, meter = usage.meter(request_bytes) }
    end
    metrics.add("gateway_refused_total", 'service="' .. service .. '",reason="tokens"')
    local wait_s = math.max(1, math.ceil(owed_s - WINDOW_S))
    return nil, problem.new(429, "too-many-requests",
        "this caller has had its " .. quota .. " tokens a minute; try again in " .. wait_s .. " s",
        { ["Retry-After"] = tostring(wait_s), ["RateLimit-Policy"] = policies[service], ["RateLimit"] = field(0, wait_s) })
end

local function charge(account, tokens)
    if tokens ~= account.charged then
        spend(account.key, (tokens - account.charged) * WINDOW_S / account.quota)
        account.charged = tokens
    end
end

-- Takes a piece of the answer; a long stream is charged while it runs.
function _M.read(account, piece)
    usage.read(account.meter, piece)
    charge(account, usage.so_far(account.meter))
end

-- The answer is over. What the backend refused costs nothing.
function _M.close(account, status)
    local is_refusal = status >= 400 and status ~= 499 -- 499: the caller left, but the model had begun
    local tokens, is_reported = 0, true
    if not is_refusal then
        tokens, is_reported = usage.at_the_end(account.meter)
    end
    charge(account, tokens)
    metrics.add("gateway_model_tokens_total",
        'service="' .. account.service .. '",counted="' .. (is_reported and "reported" or "estimated") .. '"', tokens)
end

return _M
