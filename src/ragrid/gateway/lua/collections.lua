-- Whose a ChromaDB collection is. ChromaDB finds records by the id of their collection alone and compares it with nothing
-- in the path; only its look-up by id minds the tenant. So the edge makes that look-up before the first request to a
-- collection goes through. A yes is kept: a collection never changes its tenant. A no is never kept.

local ask = require "ask"
local lrucache = require "resty.lrucache"

local _M = {}

local TIMEOUT_MS = 2000
local KNOWN_ITEMS = 8192

local known = assert(lrucache.new(KNOWN_ITEMS)) -- path of the look-up -> true

-- Returns true or false for the collection that a found route names, or nil and why no instance could say.
function _M.belongs(pool, found)
    local escape = ngx.escape_uri
    local path = "/api/v2/tenants/" .. escape(found.tenant) .. "/databases/" .. escape(found.database)
        .. "/collections/by-id/" .. escape(found.collection)
    if known:get(path) then
        return true
    end
    local why
    for _, endpoint in ipairs(pool.available) do
        local status, fault = ask.status(endpoint, path, TIMEOUT_MS)
        if status == 200 then
            known:set(path, true)
            return true
        elseif status and status >= 400 and status < 500 then
            return false
        end
        why = endpoint.address .. ": " .. (status and "status " .. status or fault)
    end
    return nil, why
end

jit.off(_M.belongs, true) -- rare; the compiled path must be the one where the answer is known, see jwt.lua

return _M
