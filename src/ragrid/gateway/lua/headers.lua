-- X-Ragrid-* is the edge's to set: what a client sends under such a name goes no further.
--
-- Every request pays for the look, so it reads the names where nginx has them, without making a Lua string of each; the
-- declarations are those of resty.core.request. Only a request that does send such a name pays for more.

local ffi = require "ffi"
require "resty.core.request"
local base = require "resty.core.base"

local C = ffi.C
local get_request = base.get_request

local _M = {}

-- More fields than this are looked at the slow way.
local FAST_FIELDS = 64
local PREFIX = "x-ragrid-"

local fields = ffi.new("ngx_http_lua_ffi_table_elt_t[?]", FAST_FIELDS)
local truncated = ffi.new("int[1]")

local function clear_all()
    for name in pairs(ngx.req.get_headers(0)) do
        if name:sub(1, #PREFIX) == PREFIX then
            ngx.req.clear_header(name)
        end
    end
end

-- True when some name may begin with "x-ragrid-"; lets through too much rather than too little.
local function is_suspect(request, number)
    if number > FAST_FIELDS or C.ngx_http_lua_ffi_req_get_headers(request, fields, number, 0) ~= 0 then
        return true
    end
    for index = 0, number - 1 do
        local key = fields[index].key
        local name = key.data
        -- "x-ra"
        if key.len >= #PREFIX and name[0] == 120 and name[1] == 45 and name[2] == 114 and name[3] == 97 then
            return true
        end
    end
    return false
end

function _M.strip()
    local request = get_request()
    if is_suspect(request, C.ngx_http_lua_ffi_req_get_headers_count(request, 0, truncated)) then
        clear_all()
    end
end

return _M
