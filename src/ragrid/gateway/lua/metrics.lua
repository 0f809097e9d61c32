-- Figures for Prometheus, named gateway_*. Labels are service, route, method and status class: never a subject or a path.
--
-- A worker counts in tables of its own and adds them to the shared dictionary once a second and when it ends, so a
-- request costs no lock; a scrape is at most a second behind for the other workers.

local _M = {}

local FLUSH_S = 1
local BUCKETS = { 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300 }
local METHODS = { GET = "GET", HEAD = "HEAD", POST = "POST", PUT = "PUT", PATCH = "PATCH", DELETE = "DELETE" }
local CLASSES = { "1xx", "2xx", "3xx", "4xx", "5xx" }

local shared = ngx.shared.ragrid_metrics
local pending = {}   -- shared name -> amount to add
local requests = {}  -- service -> route -> method -> class -> count
local durations, first_bytes = {}, {} -- service -> {bucket counts, sum, count}
local in_flight = {} -- service -> requests of this worker

local function child(table_, name)
    local found = table_[name]
    if not found then
        found = {}
        table_[name] = found
    end
    return found
end

local function search_bucket(seconds)
    local index = 1
    while BUCKETS[index] and seconds > BUCKETS[index] do
        index = index + 1
    end
    return index
end

-- Whole milliseconds to bucket: nginx's clock is no finer, and LuaJIT compiles a phase best when it has no loop in it.
local BUCKET_OF_MS = {}
for milliseconds = 0, 1000 do
    BUCKET_OF_MS[milliseconds] = search_bucket(milliseconds / 1000)
end

local function observe(histograms, service, seconds)
    local histogram = histograms[service]
    if not histogram then
        histogram = { sum = 0 }
        for index = 1, #BUCKETS + 1 do
            histogram[index] = 0
        end
        histograms[service] = histogram
    end
    local index = BUCKET_OF_MS[math.floor(seconds * 1000 + 0.5)] or search_bucket(seconds)
    histogram[index] = histogram[index] + 1
    histogram.sum = histogram.sum + seconds
end

function _M.began(service)
    in_flight[service] = (in_flight[service] or 0) + 1
end

function _M.ended(service)
    in_flight[service] = (in_flight[service] or 1) - 1
end

-- Counts one finished request. `first_byte_s` is nil when no upstream answered, `duration_s` when it was held open.
function _M.record(service, route, method, status, duration_s, first_byte_s)
    local by_method = child(child(child(requests, service), route), METHODS[method] or "other")
    local class = CLASSES[math.floor(status / 100)] or "other"
    by_method[class] = (by_method[class] or 0) + 1
    if duration_s then
        observe(durations, service, duration_s)
    end
    if first_byte_s then
        observe(first_bytes, service, first_byte_s)
    end
end

-- Counts one event that is rare enough to need no table (refusals by reason, ejections), or `amount` of it.
function _M.add(name, labels, amount)
    local key = "c|" .. name .. "{" .. labels .. "}"
    pending[key] = (pending[key] or 0) + (amount or 1)
end

local function collect_histograms(name, histograms)
    for service, histogram in pairs(histograms) do
        local cumulative = 0
        for index = 1, #BUCKETS + 1 do
            cumulative = cumulative + histogram[index]
            local le = BUCKETS[index] and string.format("%g", BUCKETS[index]) or "+Inf"
            local key = string.format('h|%s_bucket{service="%s",le="%s"}', name, service, le)
            pending[key] = (pending[key] or 0) + cumulative
        end
        local labels = '{service="' .. service .. '"}'
        pending["h|" .. name .. "_count" .. labels] = cumulative
        pending["h|" .. name .. "_sum" .. labels] = histogram.sum
        histograms[service] = nil
    end
end

local function collect_requests()
    for service, routes in pairs(requests) do
        for route, methods in pairs(routes) do
            for method, classes in pairs(methods) do
                for class, number in pairs(classes) do
                    local key = string.format('c|gateway_requests_total{service="%s",route="%s",method="%s",status="%s"}',
                        service, route, method, class)
                    pending[key] = (pending[key] or 0) + number
                end
            end
        end
    end
    requests = {}
end

function _M.flush()
    collect_requests()
    collect_histograms("gateway_request_duration_seconds", durations)
    collect_histograms("gateway_first_byte_seconds", first_bytes)
    for key, amount in pairs(pending) do
        local _, fault = shared:incr(key, amount, 0)
        if fault then
            ngx.log(ngx.ERR, "metrics: ", fault)
        end
    end
    pending = {}
    local worker = ngx.worker.id()
    for service, number in pairs(in_flight) do
        shared:set(string.format('g|%d|gateway_in_flight{service="%s"}', worker, service), number, 10 * FLUSH_S)
    end
end

-- Flushes from now on, and calls `ran` each time with the timer's name.
function _M.start(ran)
    local name = "figures of worker " .. ngx.worker.id()
    assert(ngx.timer.every(FLUSH_S, function()
        _M.flush()
        ran(name)
    end))
end

local HELP = {
    { "gateway_requests_total", "counter", "Requests by service, route, method and class of the status." },
    { "gateway_request_duration_seconds", "histogram", "From the first byte of the request to the last of the answer." },
    { "gateway_first_byte_seconds", "histogram", "From sending a request on to the header of the answer." },
    { "gateway_refused_total", "counter", "Requests that the edge refused, by reason." },
    { "gateway_model_tokens_total", "counter", "Tokens charged to callers' quotas: as reported by the model, or estimated." },
    { "gateway_in_flight", "gauge", "Requests that are being answered." },
    { "gateway_retries_total", "counter", "Tries of a request after its first one, each on another instance." },
    { "gateway_released_total", "counter", "Requests taken from an instance that had fallen silent, to be tried on another." },
    { "gateway_ejections_total", "counter", "Instances taken out, because a check (active) or a request (passive) failed." },
    { "gateway_instance_up", "gauge", "1 while an instance gets requests." },
    { "gateway_state_version", "gauge", "Version of the state in force; 0 means none has ever come." },
    { "gateway_state_age_seconds", "gauge", "Since keys and revocations were last confirmed; -1 means not since the start." },
    { "gateway_admin_closed", "gauge", "1 while the state is too old for routes that need an :admin permission." },
    { "gateway_timers_running", "gauge", "1 while health checks and figures are looked after in every worker." },
    { "gateway_state_refused_total", "counter", "States that were refused as wrong or old." },
    { "gateway_state_free_bytes", "gauge", "Room left for the state." },
    { "gateway_keys", "gauge", "Verification keys in force." },
    { "gateway_config_last_reload_successful", "gauge", "0 when the last new configuration was refused and the old one stays." },
    { "gateway_config_loaded_timestamp_seconds", "gauge", "When the configuration in force was read." },
}

local function family_of(sample)
    local name = sample:match("^[%w_]+")
    return (name:gsub("_bucket$", ""):gsub("_sum$", ""):gsub("_count$", ""))
end

local function stored_samples()
    local lines, gauges = {}, {}
    for _, key in ipairs(shared:get_keys(0)) do
        local value = shared:get(key)
        local kind = key:sub(1, 1)
        if value and (kind == "c" or kind == "h") then
            lines[#lines + 1] = { key:sub(3), value }
        elseif value then
            local sample = key:match("^g|%d+|(.+)$")
            gauges[sample] = (gauges[sample] or 0) + value
        end
    end
    for sample, value in pairs(gauges) do
        lines[#lines + 1] = { sample, value }
    end
    return lines
end

-- Writes the exposition; `facts` are samples that others know: {sample, value} pairs.
function _M.expose(facts)
    _M.flush()
    local families = {}
    for _, source in ipairs { stored_samples(), facts } do
        for _, line in ipairs(source) do
            local family = child(families, family_of(line[1]))
            family[#family + 1] = line[1] .. " " .. string.format("%.14g", line[2])
        end
    end
    ngx.header["Content-Type"] = "text/plain; version=0.0.4; charset=utf-8"
    for _, entry in ipairs(HELP) do
        local name, kind, help = entry[1], entry[2], entry[3]
        ngx.say("# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind)
        local lines = families[name] or {}
        table.sort(lines)
        for _, line in ipairs(lines) do
            ngx.say(line)
        end
    end
end

return _M
