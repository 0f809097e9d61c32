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
local FAST_FIELDS = 32
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

-- True when one of the first `number` names may begin with "x-ragrid-" (they are compared as far as "x-ra").
--
-- Written out for each field instead of looped: LuaJIT does not compile a request's phase as one piece when there is a
-- loop in it, and that costs each request more than all the comparisons.
local function unrolled()
    local lines = { "local fields, least = ...", "return function(number)", "local key, name" }
    for index = 0, FAST_FIELDS - 1 do
        lines[#lines + 1] = string.format([[
            if number == %d then return false end
            key = fields[%d].key
            name = key.data
            if key.len >= least and name[0] == 120 and name[1] == 45 and name[2] == 114 and name[3] == 97 then
                return true
            end]], index, index)
    end
    lines[#lines + 1] = "return true end"
    return assert(loadstring(table.concat(lines, "\n"), "=is_suspect"))(fields, #PREFIX)
end

local is_suspect = unrolled()

function _M.strip()
    local request = get_request()
    local number = C.ngx_http_lua_ffi_req_get_headers_count(request, 0, truncated)
    if number > FAST_FIELDS or C.ngx_http_lua_ffi_req_get_headers(request, fields, number, 0) ~= 0
        or is_suspect(number) then
        clear_all()
    end
end

return _M
