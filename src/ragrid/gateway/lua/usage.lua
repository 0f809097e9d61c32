-- How many tokens of a language model an answer took: from the `usage` that the model reports, read while the answer
-- passes. An answer may come in any pieces; nothing of it is kept but the end of a figure that is not complete yet.
--
-- A stream reports its usage only when the caller asked for it (`stream_options.include_usage`), and nobody reports it
-- when the caller leaves early. Then the tokens are estimated: one for each event of the stream, which is what vLLM
-- sends, and one for each four bytes of the request.

local find, match, sub = string.find, string.match, string.sub

local _M = {}

local BYTES_FOR_A_TOKEN = 4
-- An unescaped `"usage":` is a member of the answer, never text that the model wrote.
local USAGE = '"usage":%s*{'
local TOTAL = '"total_tokens":%s*(%d+)%s*[,}]'
-- A report that is longer than this is none.
local REPORT_LIMIT = 1024
-- The longest beginning of USAGE that may stand at the end of a piece (with some white space).
local BEGINNING = 16
local EVENT = "\ndata:"

-- A meter for one answer. `request_bytes` is the length of the request's body.
function _M.meter(request_bytes)
    return { request_bytes = request_bytes, events = 0, total = false, rest = "", line = "\n" }
end

local function count_events(meter, piece)
    local text = meter.line .. piece
    local at = 1
    while true do
        local first, last = find(text, EVENT, at, true)
        if not first then
            break
        end
        meter.events = meter.events + 1
        at = last + 1
    end
    meter.line = sub(text, -(#EVENT - 1)) -- too short to hold an event that was counted
end

-- The largest report counts: a caller may get the answer to hold another one, but not a larger one than its own.
local function find_usage(meter, piece)
    local text = meter.rest .. piece
    local at = 1
    while true do
        local first, last = find(text, USAGE, at)
        if not first then
            meter.rest = sub(text, math.max(at, #text - BEGINNING))
            return
        end
        local report = sub(text, last + 1, last + REPORT_LIMIT)
        local total = match(report, TOTAL)
        if not total and #report < REPORT_LIMIT then
            meter.rest = sub(text, first) -- the rest of it may be in the next piece
            return
        end
        meter.total = math.max(meter.total or 0, tonumber(total) or 0)
        at = last + 1
    end
end

-- Takes the next piece of the answer.
function _M.read(meter, piece)
    count_events(meter, piece)
    find_usage(meter, piece)
end

-- Returns what the answer took so far, in tokens.
function _M.so_far(meter)
    return meter.total or meter.events
end

-- Returns what the whole answer took, and whether the model said so.
function _M.at_the_end(meter)
    if meter.total then
        return meter.total, true
    end
    return meter.events + math.ceil(meter.request_bytes / BYTES_FOR_A_TOKEN), false
end

return _M
