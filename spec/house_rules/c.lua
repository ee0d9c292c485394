-- c - the rules for C files. Each rule: name, unit, says, check(tree, offend) -> how many things it looked at.
local line_at = require "source".line_at

local ROOMS = { base = 1, model = 2, net = 3, core = 4, lua = 5 }

-- Header (a Lua pattern), and the file that may include it. A door that outgrew one file has its other parts beside it:
-- net/http.c, net/http_watch.c, net/http_impl.h; its public header, net/http.h, never shows the library.
local DOORS = {
  { "^hiredis", "net/redis" },
  { "^curl/", "net/http" },
  { "^ares", "net/resolve" },
  { "^uv[%./]", "net/" },
  { "^sodium", "base/secret" },
  { "^yajl", "lua/json" },
  { "^openssl/", "net/tls" },
}

local function is_door(path, door)
  local rest = path:match("^csrc/" .. door .. "(.*)$")
  if not rest or door:find "/$" then return rest ~= nil end
  return rest:find "^[_%w]*%.c$" ~= nil and (rest == ".c" or rest:sub(1, 1) == "_") or rest == "_impl.h"
end

local BANNED = {
  "strcpy", "strcat", "sprintf", "vsprintf", "strtok", "gets", "system", "exit", "abort", "printf", "vprintf", "puts",
  "putchar", "assert", "signal", "getenv", "secure_getenv", "rand", "srand", "alloca",
}
local ALLOCATORS = { "malloc", "calloc", "realloc", "free", "strdup", "strndup", "asprintf", "vasprintf" }

local FILE_LINES, FUNCTION_LINES, FUNCTION_LINES_WITH_REASON, COLUMNS = 400, 40, 80, 120

-- Calls fn(file, what was included, line, "<" or '"') for every include.
local function each_include(tree, fn)
  local count = 0
  for _, file in ipairs(tree.c) do
    local number = 0
    for line in (file.text .. "\n"):gmatch "(.-)\n" do
      number = number + 1
      local kind, what = line:match '^%s*#%s*include%s*([<"])([^>"]+)'
      if kind then
        count = count + 1
        fn(file, what, number, kind)
      end
    end
  end
  return count
end

-- Counts what fn(file) says it looked at.
local function each_file(tree, fn)
  local count = 0
  for _, file in ipairs(tree.c) do count = count + (fn(file) or 1) end
  return count
end

local function comment_ending_at(file, line)
  for _, comment in ipairs(file.comments) do
    if comment.last == line then return comment end
  end
end

local rules = {}
local function rule(name, unit, says, check)
  rules[#rules + 1] = { name = name, unit = unit, says = says, check = check }
end

rule("include-direction", "includes", "own room or rooms to the left, as \"room/file.h\"", function(tree, offend)
  return each_include(tree, function(file, what, line, kind)
    local room = what:match "^(%w+)/"
    if kind == "<" then
      if ROOMS[room] and tree.read("csrc/" .. what) then offend(file.path, line, "own header in <>: " .. what) end
      return
    end
    if not ROOMS[room] then
      offend(file.path, line, ('"%s" names no room'):format(what))
    elseif ROOMS[room] > (ROOMS[file.room] or 0) then
      offend(file.path, line, ("%s includes %s, to its right"):format(file.room, what))
    end
  end)
end)

rule("seam", "includes", "csrc/lua sees of core only core/discover.h", function(tree, offend)
  return each_include(tree, function(file, what, line)
    if file.room == "lua" and what:find "^core/" and what ~= "core/discover.h" then
      offend(file.path, line, what .. " is behind the seam")
    end
  end)
end)

rule("lua-headers", "includes", "Lua's headers only in csrc/lua", function(tree, offend)
  return each_include(tree, function(file, what, line, kind)
    local lua = what:find "^lua" or what:find "^lauxlib" or what:find "/lua[%w]*%.h" or what:find "^lua[%d%.]*/"
    if kind == "<" and lua and file.room ~= "lua" then offend(file.path, line, what .. " outside csrc/lua") end
  end)
end)

rule("one-door", "includes", "each foreign library is spoken to in one place", function(tree, offend)
  return each_include(tree, function(file, what, line)
    for _, door in ipairs(DOORS) do
      if what:find(door[1]) and not is_door(file.path, door[2]) then
        offend(file.path, line, ("%s belongs to csrc/%s"):format(what, door[2]))
      end
    end
  end)
end)

rule("file-size", "files", "at most 400 lines", function(tree, offend)
  return each_file(tree, function(file)
    if file.lines > FILE_LINES then offend(file.path, nil, file.lines .. " lines") end
  end)
end)

rule("function-size", "functions", "over 40 lines with a comment \"reason:\", never over 80", function(tree, offend)
  return each_file(tree, function(file)
    for _, f in ipairs(file.functions) do
      local lines = f.last - f.first + 1
      local reason = false
      for _, comment in ipairs(file.comments) do
        local near = comment.last == f.first - 1 or (comment.first >= f.first and comment.last <= f.last)
        if near and comment.text:find "reason:" then reason = true end
      end
      if lines > FUNCTION_LINES_WITH_REASON or (lines > FUNCTION_LINES and not reason) then
        offend(file.path, f.first, ("%s has %d lines"):format(f.name, lines))
      end
    end
    return #file.functions
  end)
end)

rule("banned-calls", "files", "no call that copies blindly, ends the process or prints", function(tree, offend)
  local function find_calls(file, names)
    for _, name in ipairs(names) do
      for before, position in file.code:gmatch("([^%w_]?)()%f[%w_]" .. name .. "%f[^%w_]%s*%(") do
        local through = before == "." or file.code:sub(position - 2, position - 1) == "->"
        if not through then offend(file.path, line_at(file.code, position), name .. "()") end
      end
    end
  end
  return each_file(tree, function(file)
    find_calls(file, BANNED)
    if file.path ~= "csrc/base/mem.c" then find_calls(file, ALLOCATORS) end
    for position in file.code:gmatch "()%f[%w_]stdout%f[^%w_]" do
      offend(file.path, line_at(file.code, position), "stdout")
    end
  end)
end)

rule("comments", "files", "only /* */", function(tree, offend)
  return each_file(tree, function(file)
    for _, comment in ipairs(file.comments) do
      if comment.slashes then offend(file.path, comment.first, comment.text) end
    end
  end)
end)

rule("prefix", "functions", "dsc_ on every function that is not static", function(tree, offend)
  local function check(file, list)
    for _, f in ipairs(list) do
      local entry = file.room == "lua" and f.name:find "^luaopen_"
      if not f.static and not entry and not f.name:find "^dsc_" then offend(file.path, f.first, f.name) end
    end
  end
  return each_file(tree, function(file)
    check(file, file.functions)
    check(file, file.prototypes)
    return #file.functions + #file.prototypes
  end)
end)

rule("type-names", "files", "no type called _t", function(tree, offend)
  return each_file(tree, function(file)
    for position, text in file.code:gmatch "()%f[%w_]typedef%f[^%w_]([^;]*);" do
      local body = text:gsub("%b{}", "")
      local name = body:match "%(%s*%*%s*([%w_]+_t)%s*%)" or body:match "([%w_]+_t)%s*$"
      if name then offend(file.path, line_at(file.code, position), name) end
    end
    for position, name in file.code:gmatch "()%f[%w_]%l+%s+([%w_]+_t)%s*{" do
      offend(file.path, line_at(file.code, position), name)
    end
  end)
end)

rule("header-guard", "headers", "DSC_<ROOM>_<FILE>_H", function(tree, offend)
  return each_file(tree, function(file)
    if not file.header then return 0 end
    local guard = ("DSC_%s_%s_H"):format(file.room, file.name:match "^(.*)%.h$"):upper():gsub("[^%w]", "_")
    if not file.text:find("\n#ifndef " .. guard .. "\n#define " .. guard .. "\n", 1, true) then
      offend(file.path, nil, "no guard " .. guard)
    end
  end)
end)

rule("contract", "prototypes", "a comment directly above, naming the thread or lock", function(tree, offend)
  return each_file(tree, function(file)
    if not file.header then return 0 end
    for _, prototype in ipairs(file.prototypes) do
      local comment = comment_ending_at(file, prototype.first - 1)
      if not comment then
        offend(file.path, prototype.first, prototype.name .. " has no contract")
      elseif not comment.text:lower():find "thread" and not comment.text:lower():find "lock%f[%W]" then
        offend(file.path, prototype.first, prototype.name .. ": the contract names no thread")
      end
    end
    return #file.prototypes
  end)
end)

rule("file-head", "files", "starts with \"** file - what it is\"", function(tree, offend)
  return each_file(tree, function(file)
    local start = "/*\n** " .. file.name .. " - "
    if file.text:sub(1, #start) ~= start then offend(file.path, 1, "does not start with ** " .. file.name .. " - ") end
  end)
end)

rule("layout", "files", "no tab, no trailing blank, at most 120 columns", function(tree, offend)
  return each_file(tree, function(file)
    local number = 0
    for line in file.text:gmatch "(.-)\n" do
      number = number + 1
      if line:find "\t" then offend(file.path, number, "tab") end
      if line:find "%s$" then offend(file.path, number, "trailing blank") end
      if (utf8.len(line) or #line) > COLUMNS then offend(file.path, number, "over 120 columns") end
    end
    if file.text:sub(-1) ~= "\n" then offend(file.path, number, "no newline at the end") end
  end)
end)

return rules
