-- Consistent hashing: the same key finds the same instance, and when an instance comes or goes only its own keys move.
-- Each instance has points on a ring, in proportion to its weight; a key belongs to the next point. The points are
-- a pure function of addresses and weights, so all workers and all gateways agree.

local _M = {}

-- One MD5 gives four points; 40 of them keep equal shares within about 10 % of one another.
local DIGESTS = 40
-- With very many instances (or weights) each has fewer.
local MOST_DIGESTS = 2048

local function signature_of(endpoints)
    local parts = {}
    for index, endpoint in ipairs(endpoints) do
        parts[index] = endpoint.address .. "*" .. endpoint.weight
    end
    table.sort(parts)
    return table.concat(parts, ",")
end

local function add_points(points, endpoint, digests)
    for index = 1, digests do
        local digest = ngx.md5_bin(endpoint.address .. "-" .. index)
        for first = 1, 13, 4 do
            local a, b, c, d = digest:byte(first, first + 3)
            points[#points + 1] = { place = ((a * 256 + b) * 256 + c) * 256 + d, address = endpoint.address }
        end
    end
end

-- Returns the ring of `endpoints`; `old` itself when they are the same.
function _M.of(endpoints, old)
    local signature = signature_of(endpoints)
    if old and old.signature == signature then
        return old
    end
    local weights = 0
    for _, endpoint in ipairs(endpoints) do
        weights = weights + endpoint.weight
    end
    local digests = math.min(DIGESTS, MOST_DIGESTS / math.max(1, weights))
    local points = {}
    for _, endpoint in ipairs(endpoints) do
        add_points(points, endpoint, math.max(1, math.floor(digests * endpoint.weight)))
    end
    table.sort(points, function(one, other)
        if one.place == other.place then
            return one.address < other.address
        end
        return one.place < other.place
    end)
    return { signature = signature, points = points }
end

-- Returns the first true value of `take(address)` in the order of the ring from `key` on, or nil.
function _M.find(ring, key, take)
    local points = ring.points
    local place = ngx.crc32_long(key)
    local low, high = 1, #points + 1
    while low < high do
        local middle = math.floor((low + high) / 2)
        if points[middle].place < place then
            low = middle + 1
        else
            high = middle
        end
    end
    for step = 0, #points - 1 do
        local taken = take(points[(low - 1 + step) % #points + 1].address)
        if taken then
            return taken
        end
    end
    return nil
end

return _M
