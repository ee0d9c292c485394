-- The end of a discoverer: soon, once, and clean.
local discover = require "discover"
local lua_run = require "spec.support.lua_run"
local nodes = require "spec.support.nodes"
local port = require "spec.support.port"
local redis = require "spec.support.redis"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local ADDR = "127.0.0.1:8080"

describe("#registry stop", function()
  local r

  setup(function() r = redis.start() end)
  after_each(function() r:cli "FLUSHALL" end)

  it("#core with nothing in flight takes a moment, and says goodbye before it returns", function()
    for _ = 1, 5 do
      local d = assert(discover.start(r:url(), "web", ADDR, { calls = { other = {} } }))
      wait.within(1, d.stop, d)
      assert.same({}, r:keys())
    end
    wait.until_true(function() return r:strangers() == 0 end, 2, "connections to go")
  end)

  it("takes no longer than a second when Redis is mute, a tenth when it is gone", function()
    local own = redis.start()
    local d = assert(discover.start(own:url(), "web", ADDR, { log_level = "off", ttl = 20 }))
    own:pause()
    local took = wait.within(2, d.stop, d)
    assert.is_true(took >= 0.5, took)
    own:resume()
    d = assert(discover.start(own:url(), "web", ADDR, { log_level = "off" }))
    own:kill()
    wait.until_true(function() return not d:stats().registry.up end, 2, "it to be missed")
    wait.within(0.8, d.stop, d)
    local dead = port.refused()
    d = assert(discover.start("redis://" .. dead.addr, "web", ADDR, { log_level = "off", start_timeout = 0 }))
    wait.within(0.8, d.stop, d)
    dead:close()
  end)

  it("#core is idempotent, under every name", function()
    local d = assert(discover.start(r:url(), "web", ADDR))
    assert.is_true(d:stop())
    assert.is_true(d:stop())
    assert.is_true(d:stop(1))
    d:close()
    assert.is_true(d:wait(0))
  end)

  it("#core after it, calls are results, methods nil, and what looks back still works", function()
    local web = service.nginx{ ["/"] = "hello" }
    local d = assert(discover.start(r:url(), "web", web.addr, { calls = { web = {} } }))
    assert.is_true(d:get("web", "/").ok)
    local caller, ac = d:from{ headers = {} }, d:app_client "web"
    d:stop()
    assert.equal("stopped", d:get("web", "/").err)
    assert.equal("stopped", d:request{ method = "GET", app = "web", path = "/" }.err)
    assert.equal("stopped", caller:get("web", "/").err)
    for _, name in ipairs{ "pick", "ready", "set_weight", "add_external_app", "set_node", "set_metadata" } do
      local args = ({ pick = { "web" }, ready = { 0 }, set_weight = { 5 }, add_external_app = { "x" },
                      set_node = { "x", ADDR, 5 }, set_metadata = { {} } })[name]
      local ok, why, code = d[name](d, (table.unpack or unpack)(args))
      assert.is_nil(ok, name)
      assert.equal("stopped", code, name)
      assert.is_string(why)
    end
    local node, _, code = ac:next()
    assert.is_nil(node)
    assert.equal("stopped", code)
    assert.is_true(d:is_server())
    assert.equal(1, d:stats().total.calls)
    assert.matches("discover_", d:stats "prometheus")
    assert.equal("discoverer(stopped)", tostring(d))
    web.kill()
  end)

  it("<close> stops", function()
    if _VERSION ~= "Lua 5.4" then return end
    local run = lua_run([[
      local discover = require "discover"
      local seen = assert(discover.open("memory://x", { calls = { web = {} } }))
      do
        local d <close> = assert(discover.start("memory://x", "web", "127.0.0.1:1"))
        assert(seen:pick "web")
      end
      assert(not seen:pick "web")
      local ok = pcall(function()
        local d <close> = assert(discover.start("memory://x", "web", "127.0.0.1:1"))
        error "out"
      end)
      assert(not ok and not seen:pick "web")
      print "closed"
    ]])
    assert.equal("closed\n", run.out, run.err)
  end)

  it("fault 14: drain lets calls in flight finish, after the node was announced gone", function()
    local s = service.start()
    local d = assert(discover.start(r:url(), "web", ADDR, { calls = { slow = {} } }))
    d:set_node("slow", s.addr, 100)
    local observer = assert(discover.open(r:url(), { calls = { web = {} } }))
    nodes.await(observer, "web", ADDR .. "/100")
    -- The stop comes from a callback of the call that is in flight.
    local seen_gone
    d:set_route(function(ac)
      if ac.app ~= "slow" or seen_gone ~= nil then return end
      d:stop(5)
      seen_gone = wait.poll(function() return nodes.show(observer, "web") == "" end, 2) or false
    end)
    local res = d:get("slow", "/slow?ms=100")
    assert.is_true(res.ok, tostring(res))
    assert.is_true(seen_gone)
    assert.equal("stopped", d:get("slow", "/").err)
    assert.same({}, r:hash "web")
    observer:stop()
    s:stop()
  end)

  it("fault 14: without one, what is in flight ends as stopped", function()
    local s = service.start()
    local d = assert(discover.open(r:url()))
    d:set_node("slow", s.addr, 100)
    local inner
    d:set_route(function(ac)
      if ac.path == "/slow?ms=2000" and not inner then
        inner = true
        d:stop()
      end
    end)
    local took, res = wait.within(1, d.get, d, "slow", "/slow?ms=2000")
    assert.equal("stopped", res.err)
    assert.is_true(took < wait.scale(1))
    s:stop()
  end)

  it("fault 14: a service drains: standby, serve on, stop", function()
    local s = service.start{ registry = r:url(), app = "web" }
    local c = assert(discover.open(r:url(), { calls = { web = {} } }))
    assert.is_true(c:get("web", "/name").ok)
    s:weight(0)
    nodes.await(c, "web", "", 1)
    -- Who still knows it is still served.
    c:set_node("direct", s.addr, 1)
    assert.is_true(c:get("direct", "/name").ok)
    s:stop()
    assert.same({}, r:keys())
    c:stop()
  end)
end)
