-- Whose a ChromaDB collection is. ChromaDB finds records by the id of their collection alone and compares it with nothing
-- in the path; only its look-up by id minds the tenant. So the edge makes that look-up before the first request to a
-- collection goes through. A yes is kept: a collection never changes its tenant. A no is never kept.

local ask = require "ask"
local lrucache = require "resty.lrucache"

local _M = {}

local TIMEOUT_MS = 2000
-- About 250 bytes each, once they are in use. Beyond so many, some requests wait for the look-up again.
local KNOWN_ITEMS = 65536

local known = assert(lrucache.new(KNOWN_ITEMS)) -- tenant/database/collection, none of which holds a slash -> true

local function name_of(found)
    return found.tenant .. "/" .. found.database .. "/" .. found.collection
end

-- True when the collection that a found route names has already proved to be the tenant's.
function _M.is_known(found)
    return known:get(name_of(found)) == true
end

-- Returns true or false for the collection that a found route names, or nil and why no instance could say.
function _M.belongs(pool, found)
    local escape = ngx.escape_uri
    local path = "/api/v2/tenants/" .. escape(found.tenant) .. "/databases/" .. escape(found.database)
        .. "/collections/by-id/" .. escape(found.collection)
    local why
    for _, endpoint in ipairs(pool.available) do
        local status, fault = ask.status(endpoint, path, TIMEOUT_MS)
        if status == 200 then
            known:set(name_of(found), true)
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
