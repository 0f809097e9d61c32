-- Load for the memory service, run inside wrk. The environment says what to do: MODE (read or write), TOKEN,
-- NAMESPACE, MEMORIES (how many keys there are to read), TTL_S and SALT (makes the bodies of one run its own).

local mode, salt = os.getenv("MODE"), os.getenv("SALT")
local memories, ttl_s = tonumber(os.getenv("MEMORIES")), os.getenv("TTL_S")
local path = "/memory/v1/memories"
local count = 0
local thread_count = 0

function setup(thread)
  thread:set("thread_number", thread_count)
  thread_count = thread_count + 1
end

function init(_)
  math.randomseed(thread_number + 1)
  wrk.headers["Authorization"] = "Bearer " .. os.getenv("TOKEN")
  wrk.headers["Memory-Namespace"] = os.getenv("NAMESPACE")
  wrk.headers["Content-Type"] = "application/json"
end

-- Words drawn from a vocabulary, so that the full-text index has honest work; the number makes each body unique.
local function body()
  count = count + 1
  local text = { "run " .. salt .. " fact " .. thread_number .. "-" .. count }
  local length = #text[1]
  while length < 440 do
    local word = "word" .. math.floor(math.random() ^ 2 * 5000)
    text[#text + 1] = word
    length = length + #word + 1
  end
  return '{"content":"' .. table.concat(text, " ") .. '","ttl_seconds":' .. ttl_s .. ',"user_id":"bench"}'
end

function request()
  if mode == "write" then
    return wrk.format("POST", path, nil, body())
  end
  return wrk.format("GET", path .. "/k" .. math.random(0, memories - 1))
end

-- One JSON object on a line of its own, after what wrk prints itself.
function done(summary, latency, _)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format(
    '\n{"requests":%d,"duration_us":%d,"refused":%d,"failed":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests, summary.duration, summary.errors.status, failed,
    latency:percentile(50), latency:percentile(99)))
end
