-- Discoverers that nobody stopped: collected in any order, or left to the end of the state.
local native = require "spec.support.native"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

describe("#registry collection", function()
  local r

  setup(function() r = redis.start() end)
  after_each(function() r:cli "FLUSHALL" end)

  local function clean(code, options)
    local run = native.run(("local url = %q "):format(r:url()) .. code, options)
    assert.equal("", run.err)
    assert.equal(0, run.code, run.err)
    assert.equal("done\n", run.out)
    wait.until_true(function() return #r:keys() == 0 end, 3, "the goodbye")
    wait.until_true(function() return not r:cli("CLIENT", "LIST"):find "name=discover" end, 3, "connections to go")
    return run
  end

  it("#core a forgotten discoverer says goodbye, and its thread ends", function()
    clean [[
      local function threads()
        local n = 0
        for _ in io.popen("ls /proc/$PPID/task"):lines() do n = n + 1 end
        return n
      end
      assert(discover.open(url)):stop() -- with the first thread a sanitizer starts one of its own
      local before = threads()
      do
        local d = assert(discover.start(url, "web", "127.0.0.1:1", { calls = { x = {} } }))
        assert(d:registered())
      end
      for _ = 1, 3 do collectgarbage() end
      local until_ = os.time() + 5
      while threads() > before and os.time() < until_ do end
      assert(threads() <= before, threads())
      print "done"
    ]]
  end)

  it("#core everything alive when the state closes", function()
    clean [[
      d = assert(discover.start(url, "web", "127.0.0.1:1", { calls = { web = {} } }))
      node = assert(d:pick "web")
      caller = d:from{ headers = { ["X-Request-Id"] = "1" } }
      ac = d:app_client "web"
      acnode = assert(ac:next())
      list = d:get_app_nodes "web"
      res = d:get("none", "/")
      secret = discover.secret "x"
      d:on_event(function() error "not in the end" end)
      d:set_logger(function() end)
      d:set_load_balancer{ next = function(_, all) return all[1] end, response = function() end }
      -- What is made while a state closes is never finalized by Lua 5.4: no calls where leaks are counted.
      local calls = not os.getenv "DISCOVER_TEST_LOADER"
      setmetatable({}, { __gc = function()
        pcall(function() return node.addr, res.err, d:registered(), calls and d:get("web", "/") end)
      end })
      print "done"
    ]]
  end)

  it("in any order, cycles included", function()
    clean [[
      math.randomseed(7)
      for round = 1, 150 do
        local d = assert(discover.new())
        d:set_node("web", "127.0.0.1:1", 1)
        local parts = {
          d, assert(d:pick "web"), d:from{ headers = {} }, d:app_client "web", d:get_app_nodes "web",
          d:request{ method = "GET", app = "no", path = "/" },
        }
        parts[2].data.owner = d
        d:set_route(function() return d, parts end)
        d:on_event(function() return d end)
        d:set_logger(function() return d end)
        d = nil
        while #parts > 0 do
          table.remove(parts, math.random(#parts))
          if round % 3 == 0 then collectgarbage "step" end
          if round % 10 == 0 then collectgarbage() end
        end
      end
      collectgarbage()
      collectgarbage()
      local d = discover.new()
      assert(d:stats().memory_blocks < 500, d:stats().memory_blocks)
      print "done"
    ]]
  end)

  it("parts outlive their discoverer, and say so", function()
    clean [[
      local node, caller, ac
      do
        local d = assert(discover.new())
        d:set_node("web", "127.0.0.1:1", 1)
        node, caller, ac = assert(d:pick "web"), d:from{ headers = {} }, d:app_client "web"
        d:stop()
      end
      collectgarbage()
      collectgarbage()
      assert(node.addr == "127.0.0.1:1")
      node:done(true)
      assert(caller:get("web", "/").err == "stopped")
      assert(not ac:next())
      print "done"
    ]]
  end)

  it("a state that closes inside a program that goes on", function()
    clean [[
      for i = 1, 20 do
        local s = native.state()
        s:run("package.path = " .. ("%q"):format(package.path) .. " package.cpath = " .. ("%q"):format(package.cpath))
        assert(s:run(("d = require 'discover'.start(%q, 'web', '127.0.0.1:1') return d:registered()"):format(url)))
        s:close()
      end
      collectgarbage()
      print "done"
    ]]
  end)

  it("shared ones as well", function()
    clean [[
      for i = 1, 5 do discover.start(url, "web", "127.0.0.1:" .. i, { shared = true }) end
      collectgarbage()
      d = discover.start(url, "web", "127.0.0.1:9", { shared = true })
      print "done"
    ]]
  end)

  it("an error in the main chunk", function()
    local run = native.run(("d = discover.start(%q, 'web', '127.0.0.1:1') error 'out'"):format(r:url()))
    assert.equal(1, run.code)
    assert.matches("out", run.err)
    wait.until_true(function() return #r:keys() == 0 end, 3, "the goodbye")
  end)
end)
