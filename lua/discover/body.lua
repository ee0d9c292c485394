--- discover.body - request bodies that are more than a string: forms, files, multipart. The module uses it as form(),
-- file() and multipart().
--
-- A body is made once and may be sent many times. Files are opened by each call and read while it is sent.
local core = require "discover.core"

local body = {}

local math_type = math.type or function() end

local BINARY = "application/octet-stream"

local function wrong(name, what, expected, value)
  error(("bad argument #1 to '%s' (%s: %s expected, got %s)"):format(name, what, expected, type(value)), 4)
end

-- The text of a field's value, nil when it is of another type. Whole floats have no fraction, as in JSON.
local function text_of(value)
  local kind = type(value)
  if kind == "number" and value % 1 == 0 and math_type(value) ~= "integer" then return ("%.0f"):format(value) end
  if kind == "string" or kind == "number" or kind == "boolean" then return tostring(value) end
end

-- The fields as a list of {name, value}: names in order, lists one after the other.
local function fields_of(name, fields, is_one)
  if type(fields) ~= "table" then
    error(("bad argument #1 to '%s' (table expected, got %s)"):format(name, type(fields)), 3)
  end
  local keys, list = {}, {}
  for key in pairs(fields) do
    if type(key) ~= "string" then wrong(name, "names of fields", "string", key) end
    keys[#keys + 1] = key
  end
  table.sort(keys)
  for _, key in ipairs(keys) do
    local value = fields[key]
    if is_one(value) or type(value) ~= "table" then value = { value } end
    for _, item in ipairs(value) do list[#list + 1] = { key, item } end
  end
  return list
end

-- ---------------------------------------------------------------------- form

local function percent(char) return ("%%%02X"):format(char:byte()) end

-- WHATWG URL 5.2: letters, digits and *-._ stay, a blank becomes "+".
local function encode(text)
  return (text:gsub("[^0-9A-Za-z*%-._ ]", percent):gsub(" ", "+"))
end

function body.form(fields)
  local pairs_of = fields_of("form", fields, text_of)
  for i, field in ipairs(pairs_of) do
    local text = text_of(field[2])
    if not text then wrong("form", "'" .. field[1] .. "'", "string, number, boolean or list of them", field[2]) end
    pairs_of[i] = encode(field[1]) .. "=" .. encode(text)
  end
  return core.body("s", { table.concat(pairs_of, "&") }, "application/x-www-form-urlencoded")
end

-- ---------------------------------------------------------------------- file

local function invalid(text)
  return nil, "invalid: " .. text, "invalid"
end

local function check_string(arg, value)
  if type(value) == "string" then return end
  error(("bad argument #%d to 'file' (string expected, got %s)"):format(arg, type(value)), 3)
end

local function is_clean(text) return not text:find "%c" end

function body.file(path, content_type, filename)
  check_string(1, path)
  if content_type ~= nil then check_string(2, content_type) end
  if filename ~= nil then check_string(3, filename) end
  if path == "" or path:find "%z" then return invalid "file: the path is empty or holds a NUL byte" end
  if content_type and not is_clean(content_type) then return invalid "file: a control character in the content type" end
  return core.body("f", { path }, content_type or BINARY, filename or path:match "[^/]*$")
end

-- ----------------------------------------------------------------- multipart

-- HTML 4.10.21.8: only these are escaped, as browsers do; all other bytes go as they are.
local function escape(name) return (name:gsub('[%z\r\n"]', percent)) end

local function is_part(value)
  if core.body_parts(value) then return true end
  return type(value) == "table" and value.data ~= nil
end

local PART = { data = "string", filename = "string", type = "string" }

-- kind and piece, content type, filename of one value.
local function part_of(name, value)
  local what = "'" .. name .. "'"
  local text = text_of(value)
  if text then return "s", text end
  local kinds, pieces, content_type, filename = core.body_parts(value)
  if kinds == "f" then return kinds, pieces[1], content_type, filename end
  if kinds or type(value) ~= "table" or value.data == nil then
    wrong("multipart", what, "string, number, boolean, file, {data=, filename=, type=} or list of them", value)
  end
  for key, item in pairs(value) do
    if not PART[key] then
      error(("bad argument #1 to 'multipart' (%s: unknown key '%s' (known: data, filename, type))"):format(what,
        tostring(key)), 3)
    end
    if type(item) ~= "string" then wrong("multipart", what .. "." .. key, "string", item) end
  end
  return "s", value.data, value.type or (value.filename and BINARY), value.filename
end

local function head_of(name, content_type, filename)
  local lines = { ('Content-Disposition: form-data; name="%s"'):format(escape(name)) }
  if filename then lines[1] = lines[1] .. ('; filename="%s"'):format(escape(filename)) end
  if content_type then lines[2] = "Content-Type: " .. content_type end
  return table.concat(lines, "\r\n") .. "\r\n\r\n"
end

-- A line that none of the texts has; what files hold is not known, 128 random bits are.
local function boundary_for(texts)
  while true do
    local boundary, clash = "----discover" .. core.random_hex(), false
    for _, text in ipairs(texts) do clash = clash or text:find(boundary, 1, true) end
    if not clash then return boundary end
  end
end

-- Pieces with neighbouring strings made one.
local function joined(parts, boundary)
  local kinds, pieces, run = {}, {}, {}
  local function flush()
    if #run == 0 then return end
    kinds[#kinds + 1], pieces[#pieces + 1] = "s", table.concat(run)
    run = {}
  end
  for _, part in ipairs(parts) do
    run[#run + 1] = "--" .. boundary .. "\r\n" .. part.head
    if part.kind == "f" then
      flush()
      kinds[#kinds + 1], pieces[#pieces + 1] = "f", part.piece
    else
      run[#run + 1] = part.piece
    end
    run[#run + 1] = "\r\n"
  end
  run[#run + 1] = "--" .. boundary .. "--\r\n"
  flush()
  return table.concat(kinds), pieces
end

function body.multipart(fields)
  local parts, texts = {}, {}
  for i, field in ipairs(fields_of("multipart", fields, is_part)) do
    local kind, piece, content_type, filename = part_of(field[1], field[2])
    if content_type and not is_clean(content_type) then
      return invalid(("multipart: '%s': the content type holds a control character"):format(field[1]))
    end
    parts[i] = { kind = kind, piece = piece, head = head_of(field[1], content_type, filename) }
    texts[#texts + 1] = parts[i].head
    if kind == "s" then texts[#texts + 1] = piece end
  end
  local boundary = boundary_for(texts)
  local kinds, pieces = joined(parts, boundary)
  return core.body(kinds, pieces, "multipart/form-data; boundary=" .. boundary)
end

return body
