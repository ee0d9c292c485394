-- A discoverer belongs to the process that made it: a child may not use, stop or unregister it.
local native = require "spec.support.native"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

describe("#registry fork", function()
  local r

  setup(function() r = redis.start() end)
  after_each(function() r:cli "FLUSHALL" end)

  -- `child` runs in a child of a process with the registered discoverer `d`; the parent then goes on as if nothing
  -- had happened, and says so.
  local function family(child, how, opts)
    local run = native.run(([[
      local url, web = %q, "127.0.0.1:1"
      local d = assert(discover.start(url, "web", web, { calls = { web = {} }, %s }))
      local node, caller, ac = assert(d:pick "web"), d:from{ headers = {} }, d:app_client "web"
      d:get("nobody", "/") -- the call loop is there
      local pid = native.fork()
      if pid == 0 then
        local ok, why = pcall(function() %s end)
        if not ok then io.stderr:write(tostring(why), "\n") native._exit(99) end
        %s
      end
      local code, signal = native.waitpid(pid)
      assert(d:registered(), "the parent is not registered any more")
      assert(d:pick "web", "the parent knows nobody")
      assert(d:set_weight(55))
      local other = assert(discover.open(url, { calls = { web = {} } }))
      assert(other:pick "web")
      other:stop()
      print(tostring(code) .. " " .. tostring(signal))
      io.stdout:flush()
      d:stop()
    ]]):format(r:url(), opts or "", child, how or "native._exit(0)"), { forks = true })
    assert.equal("", run.err)
    assert.equal(0, run.code)
    assert.same({}, r:keys())
    return (run.out:gsub("\n$", ""))
  end

  it("#core in the child calls are results, methods nil, 'forked'", function()
    local out = family [[
      local function forked(x, why, code)
        assert(x == nil and code == "forked", tostring(x) .. " " .. tostring(why) .. " " .. tostring(code))
      end
      assert(d:get("web", "/").err == "forked")
      assert(d:request{ method = "GET", app = "web", path = "/" }.err == "forked")
      assert(caller:get("web", "/").err == "forked")
      forked(d:pick "web")
      forked(ac:next())
      forked(d:ready(0))
      forked(d:pollfd())
      forked(d:getfd())
      forked(d:timeout())
      forked(d:set_weight(1))
      forked(d:add_external_app("x", {}))
      forked(d:set_node("x", "127.0.0.1:1", 1))
      assert(not d:registered())
      assert(d:is_server() and d:is_client())
      assert(type(d:stats()) == "table" and type(d:stats "prometheus") == "string")
      assert(tostring(d))
      node:done(true)
      assert(node.addr == web)
      assert(d:stop() and d:stop() and d:close())
    ]]
    assert.equal("0 nil", out)
  end)

  for name, how in pairs{ ["_exit"] = "native._exit(0)", ["os.exit"] = "os.exit(0)",
                          ["os.exit with the state closed"] = "os.exit(0, true)",
                          ["exit from C"] = "native.exit(0)" } do
    it("the child ends by " .. name .. " and unregisters nobody", function()
      assert.equal("0 nil", family("", how))
    end)
  end

  it("the child collects, stops and closes, and unregisters nobody", function()
    assert.equal("0 nil", family("d:stop() d, node, caller, ac = nil collectgarbage() collectgarbage()",
      "os.exit(0, true)"))
    assert.equal("0 nil", family("d, node, caller, ac = nil collectgarbage() collectgarbage()", "os.exit(0, true)"))
  end)

  it("shared registries, signals and memory:// are no different", function()
    assert.equal("0 nil", family("assert(d:get('web', '/').err == 'forked')", "os.exit(0, true)", "shared = true"))
    assert.equal("0 nil", family("", "os.exit(0, true)", "signals = true"))
    local run = native.run [[
      local d = assert(discover.start("memory://f", "web", "127.0.0.1:1", { calls = { web = {} } }))
      local pid = native.fork()
      if pid == 0 then
        local _, _, code = d:pick "web"
        -- What is the parent's is forgotten, not freed: a leak to those who count.
        if os.getenv "DISCOVER_TEST_LOADER" then native._exit(code == "forked" and 3 or 1) end
        os.exit(code == "forked" and 3 or 1, true)
      end
      print(native.waitpid(pid), d:pick("web") ~= nil)
    ]]
    assert.matches("^3%s+true", run.out, run.err)
  end)

  it("the child makes a new one, registers itself, and calls", function()
    local out = family([[
      local mine = assert(discover.start(url, "web", "127.0.0.1:2", { calls = { web = {} } }))
      assert(mine:registered())
      local n = 0
      for _ in pairs(mine:get_app_nodes "web") do n = n + 1 end
      assert(n == 2, n)
      assert(mine:get("nobody", "/").err == "no_node")
      mine:stop()
      local shared = assert(discover.open(url, { shared = true, calls = { web = {} } }))
      assert(shared:pick "web")
    ]], "os.exit(0, true)", "shared = true")
    assert.equal("0 nil", out)
  end)

  it("many children, while the parent calls and registers", function()
    local run = native.run(([[
      local url = %q
      local d = assert(discover.start(url, "web", "127.0.0.1:1", { calls = { web = {} }, ttl = 5, heartbeat = 0.1 }))
      local children = {}
      for i = 1, 20 do
        d:get("nobody", "/")
        local pid = native.fork()
        if pid == 0 then
          local e = assert(discover.start(url, "child", "127.0.0.1:" .. 1000 + i))
          if d:get("web", "/").err ~= "forked" or not e:registered() then native._exit(9) end
          os.exit(0, i %% 2 == 0)
        end
        children[i] = pid
      end
      for i = 1, 20 do
        local code, signal = native.waitpid(children[i])
        assert(code == 0, tostring(code) .. " " .. tostring(signal))
      end
      assert(d:registered())
      d:stop()
      print "done"
    ]]):format(r:url()), { forks = true })
    assert.equal("done\n", run.out, run.err)
    wait.until_true(function() return #r:keys() == 0 end, 3, "the children's goodbyes")
  end)

  it("io.popen's children inherit no descriptor", function()
    local run = native.run(([[
      local d = assert(discover.start(%q, "web", "127.0.0.1:1", { calls = { web = {} } }))
      d:get("nobody", "/")
      local pipe = io.popen "ls -l /proc/self/fd | grep -E 'socket|anon_inode|eventfd' | wc -l"
      print((pipe:read "*a"))
      pipe:close()
      d:stop()
    ]]):format(r:url()))
    assert.matches("^0", run.out, run.err)
  end)
end)
