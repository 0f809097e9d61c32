-- How many requests each instance has, in all workers. A worker counts in a table of its own, which costs a request
-- nothing; a timer shows it to the others and reads theirs, so what others do is known PERIOD_S late at most. What a
-- worker showed is forgotten soon after its death.

local cjson = require "cjson.safe"

local _M = {}

local PERIOD_S = 0.1
-- A worker shows its figures again after so many periods although nothing changed, and others forget them after TTL_S.
local RENEW_PERIODS = 10
local TTL_S = 5

local shared = ngx.shared.ragrid_connections
local own = {}       -- address -> requests of this worker
local elsewhere = {} -- address -> requests of the other workers
local has_changed = false
local periods = 0

function _M.of(address)
    return (own[address] or 0) + (elsewhere[address] or 0)
end

function _M.add(address, change)
    local figure = (own[address] or 0) + change
    own[address] = figure > 0 and figure or nil
    has_changed = true
end

local function show(worker)
    periods = periods + 1
    if has_changed or periods % RENEW_PERIODS == 0 then
        has_changed = false
        shared:set(worker, cjson.encode(own), TTL_S)
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
