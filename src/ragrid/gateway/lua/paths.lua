-- Which route a path leads to. The table of routes says it (route.find_route is the specification), first match first.
--
-- A cache by path would help only while there are few different ones, and reading the table route by route costs 80 us.
-- So all routes of a service that take a method are one expression: PCRE compiles it, and LuaJIT meets one call and no
-- loop, whatever the path. Behind the path stands a tail of one slash for each route; the n-th route has an empty group
-- after n of them, and where that is says which route it was. All must match up to the end, so the path is matched whole.

local find, rep, sub = string.find, string.rep, string.sub
local re_find = ngx.re.find

local _M = {}

local NAMED = "%(%?P<(%w+)>%[%^/%]%+%)"

-- "^/a/(?P<tenant>[^/]+)/b$" -> {tenant = 3}: how many characters lie between the last name, or the start, and this one.
local function distances(expression)
    local found = {}
    local from = 2
    while true do
        local first, last, name = find(expression, NAMED, from)
        if not first then
            return found
        end
        found[name] = #sub(expression, from, first - 1):gsub("\\(.)", "%1")
        from = last + 1
    end
end

-- Returns what finds the routes that take one method: {expression=, tail=, routes=}.
local function machine(routes)
    local alternatives = {}
    for number, route in ipairs(routes) do
        local path = sub(route.expression, 1, -2):gsub(NAMED, "[^/]+")
        alternatives[number] = path .. "/{" .. number .. "}()/{" .. #routes - number .. "}"
    end
    return {
        routes = routes, tail = rep("/", #routes), expression = "(?|" .. table.concat(alternatives, "|") .. ")\\z",
    }
end

-- Returns what reads the paths of one service: {by_method=, any=}, the latter for whether a path is known at all.
function _M.compile(routes)
    local by_method, reader = {}, { by_method = {}, any = machine(routes) }
    for _, route in ipairs(routes) do
        route.distances = distances(route.expression)
        route.found = { route = route } -- of a path that names nothing
        for method in pairs(route.methods) do
            by_method[method] = by_method[method] or {}
            table.insert(by_method[method], route)
        end
    end
    for method, some in pairs(by_method) do
        reader.by_method[method] = machine(some)
    end
    return reader
end

-- Returns the first route of a machine that matches the whole path, or nil.
local function first(one, path)
    local place = re_find(path .. one.tail, one.expression, "jos", nil, 1)
    return place and one.routes[place - #path - 1]
end

-- What the path names; `distances` says where.
local function named(route, path)
    local away = route.distances
    if not away.tenant then
        return route.found
    end
    local from = away.tenant + 1
    local slash = find(path, "/", from, true)
    local found = { route = route, tenant = sub(path, from, (slash or 0) - 1), database = false, collection = false }
    if away.database then
        from = slash + away.database
        slash = find(path, "/", from, true)
        found.database = sub(path, from, (slash or 0) - 1)
    end
    if away.collection then
        from = slash + away.collection
        slash = find(path, "/", from, true)
        found.collection = sub(path, from, (slash or 0) - 1)
    end
    return found
end

-- Returns {route=, tenant=, database=, collection=} for a decoded path, or nil when no route takes it.
function _M.find(reader, method, path)
    local one = reader.by_method[method]
    local route = one and first(one, path)
    return route and named(route, path)
end

-- Returns the methods that some route takes at this path, as `Allow` has them; nil when none does.
function _M.allowed(reader, path)
    if not first(reader.any, path) then
        return nil
    end
    local methods = {}
    for method, one in pairs(reader.by_method) do
        if first(one, path) then
            methods[#methods + 1] = method
        end
    end
    table.sort(methods)
    return table.concat(methods, ", ")
end

return _M
