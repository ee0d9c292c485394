-- README.md is run: every Lua block in a process of its own, against a private Redis and a service "hello". And what it
-- says about names is compared with the module.
local lua_run = require "spec.support.lua_run"
local proc = require "spec.support.proc"
local redis = require "spec.support.redis"
local service = require "spec.support.service"

local text = proc.read_file(proc.root() .. "/README.md")

-- {line =, code =} of every block ```lua
local function blocks()
  local list, line, current = {}, 0, nil
  for row in text:gmatch "([^\n]*)\n" do
    line = line + 1
    if row == "```lua" then
      current = { line = line + 1 }
      list[#list + 1] = current
    elseif row == "```" then
      if current then current.code = table.concat(current, "\n") .. "\n" end
      current = nil
    elseif current then
      current[#current + 1] = row
    end
  end
  return list
end

-- Other Luas know no <close>; README says to leave it out there.
local function for_this_lua(code)
  return _VERSION == "Lua 5.4" and code or (code:gsub(" <close>", ""))
end

describe("README.md #api", function()
  local r, s

  lazy_setup(function()
    r = redis.start()
    s = service.start()
    r:add_node("hello", s.addr, 100)
  end)

  for _, block in ipairs(blocks()) do
    it("runs: line " .. block.line, function()
      local code = for_this_lua(block.code):gsub("redis://127%.0%.0%.1:6379/15", (r:url():gsub("%%", "%%%%")))
      local done = lua_run(code)
      assert.is_true(done.ok, ("line %d: exit %s\n%s%s"):format(block.line, tostring(done.code), done.out, done.err))
      assert.equal("", done.err)
      -- What is written down as the way it is done must not print a failure.
      assert.is_nil(done.out:match "no_node" or done.out:match "result%(%l", done.out)
    end)
  end

  it("has blocks", function()
    assert.is_true(#blocks() >= 8)
  end)

  it("names every function of the module and every method", function()
    local discover = require "discover"
    local core = require "discover.core"
    for name in pairs(discover) do
      assert.is_truthy(text:find("discover." .. name, 1, true), "discover." .. name .. " is not in README.md")
    end
    for kind, methods in pairs(core.methods) do
      for name in pairs(methods) do
        assert.is_truthy(text:find(":" .. name, 1, true), kind .. ":" .. name .. " is not in README.md")
      end
    end
  end)

  it("names no method that does not exist", function()
    local core = require "discover.core"
    local owners = { d = "discoverer", caller = "caller", res = "result", node = "node", ac = "app_client",
                     secret = "secret", ws = "websocket" }
    for owner, name in text:gmatch "%f[%w](%l+):([%l_]+)[(`]" do
      local kind = owners[owner]
      if kind then
        assert.is_truthy(core.methods[kind][name], ("README.md: %s:%s does not exist"):format(owner, name))
      end
    end
    for name in text:gmatch "discover%.([%l_]+)%(" do
      assert.is_truthy(require "discover"[name], "README.md: discover." .. name .. " does not exist")
    end
  end)

  it("names every option", function()
    local names = {}
    for _, file in ipairs { "options_new", "options_call" } do
      local source = proc.read_file(proc.root() .. "/csrc/lua/" .. file .. ".c")
      for name in source:gmatch '{"([%l_]+)", DSC_OPTION' do names[name] = true end
    end
    for name in pairs(names) do
      assert.is_truthy(text:find("`" .. name .. "`", 1, true) or text:find("`" .. name .. " ", 1, true) or
        name:match "^ca$" or name:match "^cert$" or name:match "^key$" or name:match "^verify$" or
        name:match "^server_name$", "option " .. name .. " is not in README.md")
    end
  end)

  it("names every error code and event", function()
    local source = proc.read_file(proc.root() .. "/csrc/base/err.h")
    for name in source:gmatch "XX%(%u[%u_]*, ([%l_]+)," do
      assert.is_truthy(text:find("`" .. name .. "`", 1, true), "error " .. name .. " is not in README.md")
    end
    source = proc.read_file(proc.root() .. "/csrc/core/event.h")
    for name in source:gmatch "XX%(%u[%u_]*, ([%l_]+)%)" do
      assert.is_truthy(text:find("`" .. name .. "`", 1, true), "event " .. name .. " is not in README.md")
    end
  end)

  it("shows the table of stats() as it is", function()
    local shown = text:match "```text\nregistry = {\n(.-)\n```"
    assert.is_truthy(shown, "README.md shows no table of stats()")
    shown = "registry = {\n" .. shown
    local done = lua_run(([[
      local discover = require "discover"
      local d = assert(discover.start(%q, "shown", "127.0.0.1:8080", { calls = { hello = {} } }))
      d:get("hello", "/")
      local names = {}
      local function collect(t)
        for key, value in pairs(t) do
          if type(key) == "string" and not key:find "[:.]" then names[#names + 1] = key end
          if type(value) == "table" then collect(value) end
        end
      end
      collect(d:stats())
      d:stop()
      print(table.concat(names, "\n"))]]):format(r:url()))
    assert.is_true(done.ok, done.err)
    for name in done.out:gmatch "[^\n]+" do
      -- Error codes, by which two of its tables are keyed, are listed below it.
      assert.is_truthy(shown:find(name, 1, true) or text:find("`" .. name .. "`", 1, true),
        "stats(): " .. name .. " is not shown in README.md")
    end
  end)

  it("links to what is there", function()
    local anchors = {}
    for title in text:gmatch "\n#+ ([^\n]+)" do
      anchors[title:lower():gsub("[^%w%- ]", ""):gsub(" ", "-")] = true
    end
    for target in text:gsub("`[^`\n]*`", ""):gmatch "%]%(([^)]+)%)" do
      if target:sub(1, 1) == "#" then
        assert.is_true(anchors[target:sub(2)], "no section " .. target)
      elseif not target:find "://" then
        assert.is_truthy(proc.read_file(proc.root() .. "/" .. target), "no file " .. target)
      end
    end
  end)
end)

describe("csrc/README.md", function()
  it("names every source file", function()
    local map = proc.read_file(proc.root() .. "/csrc/README.md")
    for path in proc.shell("ls csrc/*/*.c"):gmatch "csrc/(%S+)%.c" do
      local known = map:find(path .. ".c", 1, true) or path:match "^model/balancer_" or map:find(path .. ".h", 1, true)
      assert.is_truthy(known, path .. ".c is not in csrc/README.md")
    end
  end)
end)
