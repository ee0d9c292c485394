-- source - reads the tree, and C files as far as the rules need: comments, functions, prototypes.
local source = {}

local function read_file(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

-- Blanks comments and the inside of literals, so that what is left is code at its old place; collects the comments.
local function separate(text)
  local out, comments, line, at = {}, {}, 1, 1
  local function blank(piece)
    out[#out + 1] = piece:gsub("[^\n]", " ")
    line = line + select(2, piece:gsub("\n", ""))
  end
  while at <= #text do
    local two = text:sub(at, at + 1)
    local one = two:sub(1, 1)
    if two == "/*" then
      local _, last = text:find("*/", at + 2, true)
      local piece = text:sub(at, last or #text)
      local first = line
      blank(piece)
      comments[#comments + 1] = { first = first, last = line, text = piece }
      at = at + #piece
    elseif two == "//" then
      local piece = text:match("^[^\n]*", at)
      comments[#comments + 1] = { first = line, last = line, text = piece, slashes = true }
      blank(piece)
      at = at + #piece
    elseif one == '"' or one == "'" then
      local last = at + 1
      while last <= #text and text:sub(last, last) ~= one do
        last = last + (text:sub(last, last) == "\\" and 2 or 1)
      end
      out[#out + 1] = one
      blank(text:sub(at + 1, last - 1))
      out[#out + 1] = one
      at = last + 1
    else
      local piece = text:match("^[^/\"'\n]+", at) or one
      if one == "\n" then line = line + 1 end
      out[#out + 1] = piece
      at = at + #piece
    end
  end
  return table.concat(out), comments
end

-- Blanks preprocessor lines with their continuations.
local function without_directives(code)
  local lines, inside = {}, false
  for line in (code .. "\n"):gmatch "(.-)\n" do
    local directive = inside or line:find "^%s*#"
    inside = directive and line:find "\\%s*$" ~= nil
    lines[#lines + 1] = directive and "" or line
  end
  return table.concat(lines, "\n")
end

local function line_counter(text)
  local starts = { 1 }
  for at in text:gmatch "()\n" do starts[#starts + 1] = at + 1 end
  return function(position)
    local low, high = 1, #starts
    while low < high do
      local middle = (low + high + 1) // 2
      if starts[middle] <= position then low = middle else high = middle - 1 end
    end
    return low
  end
end

-- The name of what a declaration declares as a function: the identifier in front of its last parentheses.
local function function_name(declaration)
  local text = declaration:gsub("__attribute__%s*%b()", ""):gsub("%s+$", "")
  return text:match "([%a_][%w_]*)%s*%b()$"
end

-- Finds functions {name, first, last, static} and prototypes {name, first, last, static} at the top level.
local function declarations(code)
  local functions, prototypes, line_of = {}, {}, line_counter(code)
  local start, at = 1, 1
  while true do
    local position, mark = code:match("()([;{}])", at)
    if not position then break end
    local text = code:sub(start, position - 1)
    local record = { first = line_of(start + #text:match "^%s*"), static = text:find "%f[%w_]static%f[^%w_]" ~= nil }
    record.name = function_name(text)
    at = position + 1
    if mark == "{" and text:find 'extern%s*"%s*"%s*$' then
      start = at
    elseif mark == "{" then
      local last = select(2, code:find("%b{}", position)) or #code
      record.last = line_of(last)
      at = last + 1
      if record.name and not text:find "=" then
        functions[#functions + 1] = record
        start = at
      end
    elseif mark == ";" then
      record.last = line_of(position)
      local declares = record.name and record.name:find "%l" and record.name ~= "_Static_assert"
      if declares and not text:find "=" and not text:find "%f[%w_]typedef%f[^%w_]" then
        prototypes[#prototypes + 1] = record
      end
      start = at
    else
      start = at
    end
  end
  return functions, prototypes
end

local function read_c(root, path)
  local file = { path = path, text = read_file(root .. "/" .. path) }
  file.room, file.name = path:match "^csrc/(%w+)/(.+)$"
  file.header = path:find "%.h$" ~= nil
  file.code, file.comments = separate(file.text)
  file.functions, file.prototypes = declarations(without_directives(file.code))
  file.lines = select(2, file.text:gsub("\n", ""))
  return file
end

-- Reads a tree: {root, files (all paths), c (files of csrc, parsed), read(path) -> text or nil}.
function source.read(root)
  local tree = { root = root, files = {}, c = {} }
  local list = io.popen("cd '" .. root .. "' && find . -type f -not -path './.git' -not -path './.git/*' "
    .. "-not -path './build/*' -not -path './build.luarocks/*' | sort")
  for line in list:lines() do tree.files[#tree.files + 1] = line:sub(3) end
  list:close()
  for _, path in ipairs(tree.files) do
    if path:find "^csrc/%w+/[^/]+%.[ch]$" then tree.c[#tree.c + 1] = read_c(root, path) end
  end
  function tree.read(path)
    local ok, text = pcall(read_file, root .. "/" .. path)
    return ok and text or nil
  end
  return tree
end

-- The functions and prototypes {name, first, last, static} of C code without comments.
function source.declarations(code)
  return declarations(without_directives(code))
end

-- The line a position of a text is on.
function source.line_at(text, position)
  return select(2, text:sub(1, position - 1):gsub("\n", "")) + 1
end

return source
