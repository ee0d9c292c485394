--- discover.shape - decoded JSON, checked and converted by the shape that the caller expects.
--
-- A shape is "string", "number", "integer", "boolean" or "any" (with "?" appended: may be absent or null), a table of
-- fields {name = shape} (others are left out), a list {shape}, or a map {["*"] = shape}. "12" becomes 12 where a number
-- is expected and 12 becomes "12" where a string is, without losing a digit.
local core = require "discover.core"

local shape = {}

local null = core.null
local floor = math.floor
local tointeger = math.tointeger -- 5.3 and later
local EXACT = 2 ^ 53

local function show(value)
  if value == nil or value == null then return "nothing" end
  if type(value) == "string" then
    if #value > 40 then value = value:sub(1, 37) .. "..." end
    return '"' .. value:gsub("%c", "?") .. '"'
  end
  if type(value) == "table" then return getmetatable(value) and "a list" or "an object" end
  return tostring(value)
end

-- Errors travel as tables, so that a mistake in this file is not taken for one in the data.
local function fail(path, expected, value)
  error({ why = ("%s%sexpected %s, got %s"):format(path, path == "" and "" or ": ", expected, show(value)) }, 0)
end

local function digits(number)
  if floor(number) == number and number > -EXACT and number < EXACT then return ("%d"):format(number) end
  local text = ("%.14g"):format(number)
  if tonumber(text) == number then return text end
  return ("%.17g"):format(number)
end

local converters = {}

function converters.any(value)
  return value
end

function converters.boolean(value, path)
  if type(value) ~= "boolean" then fail(path, "boolean", value) end
  return value
end

function converters.string(value, path)
  if type(value) == "string" then return value end
  if type(value) ~= "number" then fail(path, "string", value) end
  if tointeger and math.type(value) == "integer" then return ("%d"):format(value) end
  return digits(value)
end

-- True when the number writes down to the same digits: nothing was lost.
local function keeps(number, text)
  local whole = text:match "^%-?0*(%d-)$"
  if not whole then return true end
  if tointeger then return math.type(number) == "integer" end
  return number > -EXACT and number < EXACT
end

function converters.number(value, path)
  if type(value) == "number" then return value end
  if type(value) == "string" and value:match "^%-?%d+%.?%d*[eE]?[+-]?%d*$" then
    local number = tonumber(value)
    if number and number - number == 0 and keeps(number, value) then return number end
  end
  return fail(path, "number", value)
end

function converters.integer(value, path)
  local number = value
  if type(value) == "string" and value:match "^%-?%d+$" then
    number = tonumber(value)
    if not keeps(number, value) then number = nil end
  end
  if type(number) == "number" and floor(number) == number then
    if tointeger then
      number = tointeger(number) -- nil beyond 64 bits
    elseif number < -EXACT or number > EXACT then
      number = nil
    end
    if number then return number end
  end
  return fail(path, "integer", value)
end

local function check_name(name, path)
  local kind = name:match "^(%l+)%??$"
  if not converters[kind] then
    error(("bad shape at %s: %s (known: string, number, integer, boolean, any, each with ?)"):format(
      path == "" and "the top" or path, show(name)), 0)
  end
end

-- Raises what is no shape, whether or not the data reaches that part of it.
local function check(what, path, depth)
  if depth > 100 then error("bad shape: more than 100 levels", 0) end
  if type(what) == "string" then return check_name(what, path) end
  if type(what) ~= "table" then
    error(("bad shape at %s: string or table expected, got %s"):format(path == "" and "the top" or path, type(what)), 0)
  end
  for key, inner in pairs(what) do
    if key ~= 1 and type(key) ~= "string" then error("bad shape: keys are field names, \"*\" or the 1 of a list", 0) end
    if (key == 1 or key == "*") and next(what, next(what)) ~= nil then
      error("bad shape: a list {shape} and a map {[\"*\"] = shape} have nothing else in them", 0)
    end
    check(inner, key == 1 and path .. "[]" or (path == "" and key or path .. "." .. key), depth + 1)
  end
end

local convert

local function convert_list(value, what, path)
  if type(value) ~= "table" or not getmetatable(value) then fail(path, "a list", value) end
  local list = core.array {}
  for i, item in ipairs(value) do
    local converted = convert(item, what, path .. "[" .. i .. "]")
    -- An optional item that is null stays null: a list has no holes.
    if converted == nil then converted = null end
    list[i] = converted
  end
  return list
end

local function convert_object(value, what, path)
  if type(value) ~= "table" or getmetatable(value) then fail(path, "an object", value) end
  local object, inner = {}, what["*"]
  for key, part in pairs(inner and value or what) do
    object[key] = convert(value[key], inner or part, path == "" and key or path .. "." .. key)
  end
  return object
end

function convert(value, what, path)
  if type(what) == "table" then
    if what[1] ~= nil then return convert_list(value, what[1], path) end
    return convert_object(value, what, path)
  end
  if value == nil or value == null then
    if what:sub(-1) == "?" then return nil end
    if what ~= "any" or value == nil then return fail(path, what, value) end
  end
  return converters[what:match "^%l+"](value, path)
end

--- convert(value, shape) -> value | nil, msg, code. Raises when the shape itself is wrong.
function shape.convert(value, what)
  local good, why = pcall(check, what, "", 0)
  if not good then error(why, 3) end
  local ok, answer = pcall(convert, value, what, "")
  if ok then return answer end
  if type(answer) ~= "table" then error(answer, 0) end
  return nil, "invalid: " .. answer.why, "invalid"
end

--- res:to(shape) -> value | nil, msg, code: the JSON body of a result by a shape.
function shape.to(res, what)
  local good, problem = pcall(check, what, "", 0)
  if not good then error(problem, 2) end
  local value, why, code = res:json()
  if value == nil then return nil, why, code end
  return shape.convert(value, what)
end

return shape
