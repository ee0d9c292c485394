-- memory://name: the registry inside one process, for trying things, tests and single-process programs.
local discover = require "discover"
local native = require "spec.support.native"
local nodes = require "spec.support.nodes"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local ADDR = "127.0.0.1:8080"
local count = 0

-- How many entries a folder of this process has in /proc. popen may still be busy closing its own pipe when ls looks,
-- and files that nobody closed may be collected at any time: the lowest of several counts.
local function entries(path)
  local lowest = math.huge
  for _ = 1, 5 do
    collectgarbage()
    local pipe = io.popen("ls /proc/$PPID/" .. path .. " | wc -l")
    lowest = math.min(lowest, tonumber((pipe:read "*a")))
    pipe:close()
  end
  return lowest
end

describe("#registry #api memory", function()
  local registry, open

  before_each(function()
    count = count + 1
    registry = "memory://spec-" .. count
    open = {}
  end)

  after_each(function()
    for _, d in ipairs(open) do d:stop() end
  end)

  local function keep(d, why)
    assert(d, why)
    open[#open + 1] = d
    return d
  end

  local function start(addr, opts) return keep(discover.start(registry, "web", addr, opts)) end
  local function follow(opts)
    opts = opts or {}
    opts.calls = { web = {} }
    return keep(discover.open(registry, opts))
  end

  it("#core all discoverers that name it see each other at once", function()
    local a = follow()
    assert.equal("", nodes.show(a, "web"))
    local d = start(ADDR, { weight = 30 })
    assert.is_true(d:registered())
    assert.equal(ADDR .. "/30", nodes.show(a, "web"))
    local b = follow()
    assert.equal(ADDR .. "/30", nodes.show(b, "web"))
    d:set_weight(50)
    assert.equal(ADDR .. "/50", nodes.show(a, "web"))
    d:set_metadata{ zone = "x" }
    assert.same({ zone = "x" }, b:get_app_nodes("web")[ADDR].metadata)
    d:set_weight(0)
    assert.equal("", nodes.show(a, "web"))
    d:set_weight(7)
    assert.equal(ADDR .. "/7", nodes.show(b, "web"))
    d:stop()
    assert.equal("", nodes.show(a, "web"))
    assert.equal("", nodes.show(b, "web"))
    assert.equal("memory", a:stats().registry.kind)
  end)

  it("other names are other registries", function()
    start(ADDR)
    local other = keep(discover.open("memory://elsewhere", { calls = { web = {} } }))
    assert.equal("", nodes.show(other, "web"))
  end)

  it("#core starts no thread and opens nothing", function()
    local threads, files = entries "task", entries "fd"
    start(ADDR)
    local a = follow()
    assert.equal(ADDR, a:pick("web").addr)
    assert.equal(threads, entries "task")
    assert.equal(files, entries "fd")
  end)

  it("calls go to the nodes", function()
    local web = service.nginx{ ["/"] = "hello" }
    start(web.addr)
    local a = follow()
    for _ = 1, 5 do assert.equal("hello", a:get("web", "/").body) end
    web.kill()
  end)

  it("start, ready, events and stop as over Redis", function()
    local a = follow()
    local events = nodes.events(a)
    assert.is_true(a:ready(0))
    local d = start(ADDR)
    assert.is_true(d:ready(0))
    assert.equal(1, events:count("node_added", ADDR))
    d:stop()
    assert.equal(1, events:count("node_removed", ADDR))
    assert.is_false(d:registered() or false)
    assert.equal("no_node", a:get("web", "/").err)
  end)

  it("the same address twice: the first goodbye does not take it away for good", function()
    local a, d, e = follow(), start(ADDR), start(ADDR, { weight = 5 })
    d:stop()
    assert.equal(ADDR .. "/5", nodes.show(a, "web"))
    assert.is_true(e:registered())
    e:stop()
    assert.equal("", nodes.show(a, "web"))
  end)

  it("a discoverer that was forgotten says goodbye when it is collected", function()
    local a = follow()
    do
      local d = discover.start(registry, "web", ADDR)
      assert.is_true(d:registered())
    end
    wait.until_true(function()
      collectgarbage()
      return nodes.show(a, "web") == ""
    end, 2, "the goodbye")
  end)

  it("many come and go", function()
    local a = follow()
    for round = 1, 20 do
      local list = {}
      for i = 1, 20 do list[i] = discover.start(registry, "web", "10.0." .. round .. "." .. i .. ":80") end
      local _, n = nodes.show(a, "web"):gsub("/100", "")
      assert.equal(20, n)
      for i = 1, 20 do list[i]:stop() end
      assert.equal("", nodes.show(a, "web"))
    end
  end)

  it("several Lua states see each other, also when they close in any order", function()
    local r = native.run [[
      local function fresh(code)
        local s = native.state()
        s:run("package.path = " .. ("%q"):format(package.path) .. " package.cpath = " .. ("%q"):format(package.cpath))
        local ok, why = s:run("discover = require 'discover' " .. code .. " return true")
        assert(ok, why)
        return s
      end
      local a = fresh "d = assert(discover.start('memory://m', 'web', '127.0.0.1:1'))"
      local b = fresh "d = assert(discover.open('memory://m', { calls = { web = {} } }))"
      local c = fresh "d = assert(discover.start('memory://m', 'web', '127.0.0.1:2'))"
      local function seen() return assert(b:run [=[
        local list = {}
        for addr in pairs(d:get_app_nodes 'web') do list[#list + 1] = addr end
        table.sort(list)
        return table.concat(list, ' ') .. '.'
      ]=]) end
      assert(seen() == "127.0.0.1:1 127.0.0.1:2.", seen())
      -- A state that closes with its discoverer alive says goodbye.
      a:close()
      assert(seen() == "127.0.0.1:2.", seen())
      c:run "d:stop()"
      assert(seen() == ".", seen())
      b:close()
      c:close()
      print "done"
    ]]
    assert.equal("done\n", r.out, r.err)
    assert.is_true(r.ok)
  end)

  it("threads with states of their own share it", function()
    local r = native.run [[
      local head = ("package.path = %q package.cpath = %q "):format(package.path, package.cpath)
      local body = [=[
        local discover = require "discover"
        for i = 1, 200 do
          -- Two on one address would quarrel.
          local d = assert(discover.start("memory://m", "web", "127.0.0.1:" .. 1000 * id + i % 7))
          local c = assert(discover.open("memory://m", { calls = { web = {} } }))
          local node = assert(c:pick "web")
          node:done(true)
          d:stop()
          c:stop()
        end
      ]=]
      local function nth(id) return head .. "local id = " .. id .. body end
      assert(native.threads(nth(1), nth(2), nth(3)))
      print "done"
    ]]
    assert.equal("done\n", r.out, r.err)
  end)
end)
