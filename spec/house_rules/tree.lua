-- tree - the rules for the tree as a whole. Same form as in c.lua.
local line_at = require "source".line_at

local rules = {}
local function rule(name, unit, says, check)
  rules[#rules + 1] = { name = name, unit = unit, says = says, check = check }
end

-- Calls fn(path, position's line, method) for every public name in the luaL_Reg tables of csrc/lua.
local function each_method(tree, fn)
  local count = 0
  for _, file in ipairs(tree.c) do
    if file.room == "lua" then
      for body_at, body in file.text:gmatch "luaL_Reg%s+[%w_]+%s*%[%s*%]%s*=%s*()(%b{})" do
        for at, name in body:gmatch '{%s*()"([^"]+)"' do
          -- Metamethods and names with an underscore in front are not for users.
          if name:sub(1, 1) ~= "_" then
            count = count + 1
            fn(file.path, line_at(file.text, body_at + at - 1), name)
          end
        end
      end
    end
  end
  return count
end

-- A rule over every method, silent as long as the document does not exist.
local function documented(document, has)
  return function(tree, offend)
    local text = tree.read(document)
    if not text then return 0, document .. " does not exist" end
    return each_method(tree, function(path, line, name)
      if not has(text, name) then offend(path, line, ("%s is not in %s"):format(name, document)) end
    end)
  end
end

rule("methods-in-readme", "methods", "every Lua method is in README.md", documented("README.md", function(text, name)
  return text:find("[`:%.]" .. name .. "%f[^%w_]") ~= nil
end))

rule("methods-in-types", "methods", "every Lua method is in lua/discover/types.lua",
  documented("lua/discover/types.lua", function(text, name)
    return text:find("function%s+[%w_]+[%.:]" .. name .. "%s*%(") ~= nil
      or text:find("%-%-%-@field%s+" .. name .. "%??%f[^%w_]") ~= nil
  end))

rule("types-are-meta", "files", "lua/discover/types.lua is a ---@meta file", function(tree, offend)
  local text = tree.read "lua/discover/types.lua"
  if not text then return 0, "does not exist" end
  if not text:find "%-%-%-@meta" then offend("lua/discover/types.lua", 1, "no ---@meta") end
  return 1
end)

rule("lua-file-size", "files", "at most 400 lines in lua/", function(tree, offend)
  local count = 0
  for _, path in ipairs(tree.files) do
    if path:find "^lua/.*%.lua$" and path ~= "lua/discover/types.lua" then
      count = count + 1
      local lines = select(2, tree.read(path):gsub("\n", ""))
      if lines > 400 then offend(path, nil, lines .. " lines") end
    end
  end
  return count
end)

-- What users get and copy must run on every Lua. One run of luac for all files: it stops at the first that is wrong.
rule("lua-51", "files", "lua/ and examples/ are Lua 5.1 (luac5.1 -p)", function(tree, offend)
  local names = {}
  for _, path in ipairs(tree.files) do
    if path:find "^lua/.*%.lua$" or path:find "^examples/.*%.lua$" then names[#names + 1] = "'" .. path .. "'" end
  end
  if #names == 0 then return 0 end
  local pipe = io.popen(("cd '%s' && command -v luac5.1 && luac5.1 -p %s 2>&1"):format(tree.root,
    table.concat(names, " ")))
  local said = pipe:read "a"
  pipe:close()
  if said == "" then return 0, "luac5.1 is not installed" end
  local path, line, what = said:match "\nluac5.1: ([^\n]-):(%d+): ([^\n]*)"
  if path then offend(path, line, what) end
  return #names
end)

-- Written apart, so that this file does not offend.
local LEFTOVERS = { "TO" .. "DO", "FIX" .. "ME", "XX" .. "X%f[^%w_]" }
local FOLDERS = { "/wo" .. "rk%f[^%w_]", "/tmp/bash" .. "_jobs", "/ho" .. "me/%w", "/ro" .. "ot/" }

local function each_text(tree, fn)
  local count = 0
  for _, path in ipairs(tree.files) do
    local text = tree.read(path)
    if text and not text:find "%z" then
      count = count + 1
      fn(path, text)
    end
  end
  return count
end

rule("leftovers", "files", "nothing is left to do in a comment", function(tree, offend)
  return each_text(tree, function(path, text)
    for _, word in ipairs(LEFTOVERS) do
      for at in text:gmatch("()%f[%w_]" .. word .. "%f[^%w_]") do
        offend(path, line_at(text, at), text:match("^[%w_]+", at))
      end
    end
  end)
end)

rule("machine-paths", "files", "no path of one machine", function(tree, offend)
  return each_text(tree, function(path, text)
    for _, folder in ipairs(FOLDERS) do
      for at in text:gmatch("()%f[/%w]" .. folder) do offend(path, line_at(text, at), text:match("^%S+", at)) end
    end
  end)
end)

return rules
