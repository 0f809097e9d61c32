-- JSON and base64url as security wants them: one reading only, whoever reads (identity/strict.py does the same).
--
-- cjson takes the last of two members, NaN, and bytes that are no text; nginx's base64 ignores what follows a `=`.

local base64 = require "ngx.base64"
local cjson = require "cjson.safe"

local byte, find, sub = string.byte, string.find, string.sub
local error, pcall, setmetatable, tonumber = error, pcall, setmetatable, tonumber
local re_find, re_match = ngx.re.find, ngx.re.match

local _M = {}

-- Our tokens nest once.
local DEPTH_LIMIT = 32
-- LuaJIT reads an exponent of many digits as another one.
local NUMBER = [[-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?]]
local WORDS = { ["true"] = true, ["false"] = false, ["null"] = ngx.null }
-- Marks what was written as a list: an empty one would look like an empty object.
local LIST = {}

local value -- (text, position, depth) -> value, position behind it; raises a reason

local function next_sign(text, position)
    return find(text, "[^ \t\r\n]", position) or #text + 1
end

local function string_at(text, position)
    local from, is_plain = position + 1, true
    while true do
        local at = find(text, '["\\%z\1-\31]', from)
        local sign = at and byte(text, at)
        if sign == 0x22 then
            local literal = sub(text, position, at)
            if is_plain then
                return sub(literal, 2, -2), at + 1
            end
            local decoded = cjson.decode("[" .. literal .. "]") -- it knows every escape, and refuses half a surrogate
            if not decoded then
                error("an escape that is none", 0)
            end
            return decoded[1], at + 1
        elseif sign ~= 0x5c then
            error("a string that does not end", 0)
        end
        is_plain, from = false, at + 2
    end
end

local function object_at(text, position, depth)
    local object = {}
    position = next_sign(text, position + 1)
    if byte(text, position) == 0x7d then
        return object, position + 1
    end
    while true do
        if byte(text, position) ~= 0x22 then
            error("a member without a name", 0)
        end
        local name
        name, position = string_at(text, position)
        if object[name] ~= nil then
            error("a member stands twice", 0)
        end
        position = next_sign(text, position)
        if byte(text, position) ~= 0x3a then
            error("a member without a value", 0)
        end
        object[name], position = value(text, next_sign(text, position + 1), depth)
        position = next_sign(text, position)
        local sign = byte(text, position)
        if sign == 0x7d then
            return object, position + 1
        elseif sign ~= 0x2c then
            error("an object that does not end", 0)
        end
        position = next_sign(text, position + 1)
    end
end

local function list_at(text, position, depth)
    local list, size = setmetatable({}, LIST), 0
    position = next_sign(text, position + 1)
    if byte(text, position) == 0x5d then
        return list, position + 1
    end
    while true do
        size = size + 1
        list[size], position = value(text, position, depth)
        position = next_sign(text, position)
        local sign = byte(text, position)
        if sign == 0x5d then
            return list, position + 1
        elseif sign ~= 0x2c then
            error("a list that does not end", 0)
        end
        position = next_sign(text, position + 1)
    end
end

value = function(text, position, depth)
    local sign = byte(text, position)
    if sign == 0x22 then
        return string_at(text, position)
    end
    if depth == 0 then
        error("nested too deep", 0)
    elseif sign == 0x7b then
        return object_at(text, position, depth - 1)
    elseif sign == 0x5b then
        return list_at(text, position, depth - 1)
    end
    local _, last = find(text, "^%l+", position)
    if last then
        local word = WORDS[sub(text, position, last)]
        if word == nil then
            error("a word that is none", 0)
        end
        return word, last + 1
    end
    local where = { pos = position }
    local number = re_match(text, NUMBER, "ajo", where)
    if not number then
        error("something that is no value", 0)
    end
    return tonumber(number[0]), where.pos
end

local function whole_object(text)
    local position = next_sign(text, 1)
    if byte(text, position) ~= 0x7b then
        error("no object", 0)
    end
    local object
    object, position = object_at(text, position, DEPTH_LIMIT)
    if next_sign(text, position) <= #text then
        error("more than one object", 0)
    end
    return object
end

-- Returns the JSON object in `text` (UTF-8, no member twice, no NaN), or nil and a reason that repeats nothing of it.
function _M.decode_object(text)
    local _, _, fault = re_find(text, "^", "u")
    if fault then
        return nil, "not UTF-8"
    end
    local is_good, found = pcall(whole_object, text)
    if is_good then
        return found
    end
    return nil, found
end

function _M.is_list(found)
    return type(found) == "table" and getmetatable(found) == LIST
end

-- Returns the bytes of unpadded base64url, or nil unless `text` is the only way to write them.
function _M.decode_base64url(text)
    local content = base64.decode_base64url(text)
    if not content or base64.encode_base64url(content) ~= text then
        return nil
    end
    return content
end

return _M
