-- How many requests each instance has, in all workers. A worker counts in a table of its own, which costs a request
-- nothing; a timer shows the others the least that it had during the last PERIOD_S, and reads theirs. The least, because
-- an old snapshot of short requests would send everything elsewhere until the next one: each worker spreads its own
-- evenly, and long ones (streams) are what the others must know. What a worker showed is forgotten soon after its death.

local cjson = require "cjson.safe"

local _M = {}

local PERIOD_S = 0.1
-- A worker shows its figures again after so many periods although nothing changed, and others forget them after TTL_S.
local RENEW_PERIODS = 10
local TTL_S = 5

local shared = ngx.shared.ragrid_connections
local own = {}       -- address -> requests of this worker
local least = {}     -- address -> the least of them since they were shown
local elsewhere = {} -- address -> requests of the other workers
local has_changed = false
local periods = 0

function _M.of(address)
    return (own[address] or 0) + (elsewhere[address] or 0)
end

function _M.add(address, change)
    local figure = math.max(0, (own[address] or 0) + change)
    own[address] = figure > 0 and figure or nil
    if figure < (least[address] or 0) then
        least[address] = figure
    end
    has_changed = true
end

local function show(worker)
    periods = periods + 1
    if has_changed or periods % RENEW_PERIODS == 0 then
        has_changed = false
        shared:set(worker, cjson.encode(least), TTL_S)
    end
    least = {}
    for address, figure in pairs(own) do
        has_changed = true -- what is still there at the end of the next period must be shown
        least[address] = figure
    end
end

local function look(worker)
    local sums = {}
    for other = 0, ngx.worker.count() - 1 do
        local text = other ~= worker and shared:get(other)
        for address, figure in pairs(text and cjson.decode(text) or {}) do
            sums[address] = (sums[address] or 0) + figure
        end
    end
    elsewhere = sums
end

-- Begins to exchange figures with the other workers.
function _M.start()
    local worker = ngx.worker.id()
    assert(ngx.timer.every(PERIOD_S, function(premature)
        if not premature then
            show(worker)
            look(worker)
        end
    end))
end

return _M
