-- start, open, new, easy_start: what they promise when they return.
local discover = require "discover"
local nodes = require "spec.support.nodes"
local port = require "spec.support.port"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

local ADDR = "127.0.0.1:8080"

describe("#registry start", function()
  local r

  setup(function() r = redis.start() end)
  after_each(function() r:cli "FLUSHALL" end)

  it("#core returns registered, and with every app of calls read", function()
    for i = 1, 30 do r:add_node("other", "127.0.0.1:" .. i, i) end
    local d = assert(discover.start(r:url(), "web", ADDR, { calls = { other = {}, empty = {} }, weight = 7 }))
    assert.is_true(d:registered())
    assert.is_true(d:ready(0))
    assert.is_true(d:is_server())
    assert.is_true(d:is_client())
    assert.same({ [ADDR] = "7" }, r:hash "web")
    local _, n = nodes.show(d, "other"):gsub("127", "")
    assert.equal(30, n)
    assert.equal("", nodes.show(d, "empty"))
    assert.is_nil(d:get_app_nodes "unknown")
    assert.equal("discoverer(web at 127.0.0.1:8080)", tostring(d))
    d:stop()
  end)

  it("open is a client, new is alone", function()
    local d = assert(discover.open(r:url(), { calls = { web = {} } }))
    assert.is_false(d:is_server())
    assert.is_true(d:is_client())
    assert.is_false(d:registered())
    assert.same({}, r:keys())
    d:stop()
    d = assert(discover.new())
    assert.is_false(d:is_server())
    assert.is_true(d:ready(0))
    d:set_node("web", ADDR, 5)
    assert.equal(ADDR, d:pick("web").addr)
    d:stop()
  end)

  it("start_timeout 0 does not wait, ready does", function()
    local _, d = wait.within(1.5, discover.start, r:url(), "web", ADDR, { start_timeout = 0, calls = { other = {} } })
    assert.is_true(d:ready(3))
    assert.is_true(d:registered())
    d:stop()
    -- Against something that never answers as well.
    local mute = port.blackhole()
    _, d = wait.within(1.5, discover.start, "redis://" .. mute.addr, "web", ADDR,
      { start_timeout = 0, log_level = "off" })
    local took, ok, _, code = wait.within(1, d.ready, d, 0.1)
    assert.is_true(took >= 0.09)
    assert.is_nil(ok)
    assert.is_true(code == "timeout" or code == "registry", code)
    wait.within(1, d.stop, d)
    mute:close()
  end)

  it("ready without an argument waits as start did", function()
    local mute = port.blackhole()
    local d = assert(discover.open("redis://" .. mute.addr,
      { start_timeout = 0.2, calls = { web = {} }, log_level = "off" }))
    local took, ok = wait.within(1.5, d.ready, d)
    assert.is_true(took >= 0.15, took)
    assert.is_nil(ok)
    d:stop()
    mute:close()
  end)

  it("addresses that nobody could call are refused, pointing at easy_start", function()
    wait.until_true(function() return r:strangers() == 0 end, 5, "the connections before to go")
    for _, addr in ipairs{ "0.0.0.0:80", "[::]:80", ":80" } do
      local d, why, code = discover.start(r:url(), "web", addr)
      assert.is_nil(d)
      assert.equal("invalid", code)
      assert.matches("easy_start", why)
    end
    for _, addr in ipairs{ "", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000", "127.0.0.1:x", "a b:80", "::1:80" } do
      local d, why, code = discover.start(r:url(), "web", addr)
      assert.is_nil(d, addr)
      assert.equal("invalid", code, why)
    end
    for _, app in ipairs{ "", "a b", "a\0b", ("x"):rep(256) } do
      local d, _, code = discover.start(r:url(), app, ADDR)
      assert.is_nil(d)
      assert.equal("invalid", code)
    end
    assert.same({}, r:keys())
    assert.equal(0, r:strangers())
  end)

  it("IPv6 is registered in brackets", function()
    local d = assert(discover.start(r:url(), "web", "[::1]:80"))
    assert.same({ ["[::1]:80"] = "100" }, r:hash "web")
    assert.equal(1, r:cli("EXISTS", "web_[::1]:80"))
    d:stop()
    assert.same({}, r:keys())
  end)

  it("easy_start finds a port and an address, and registers them", function()
    local d, ip, number = discover.easy_start{ registry = r:url(), app = "web", weight = 3 }
    assert.is_truthy(d, ip)
    assert.same({ [ip .. ":" .. number] = "3" }, r:hash "web")
    assert.is_nil(ip:find "^127%.")
    assert.is_false(port.listening(number))
    d:stop()
    d, ip, number = discover.easy_start{ registry = r:url(), app = "web", listen = "127.0.0.1:" .. port.free(),
                                         ip_prefix = "127." }
    assert.is_truthy(d, ip)
    assert.same({ [ip .. ":" .. number] = "100" }, r:hash "web")
    d:stop()
    local none, why, code = discover.easy_start{ registry = r:url() }
    assert.is_nil(none)
    assert.equal("invalid", code, why)
  end)

  it("wait runs until stopped, at most so long", function()
    local d = assert(discover.open(r:url()))
    local took, ok, _, code = wait.within(1, d.wait, d, 0.1)
    assert.is_true(took >= 0.09)
    assert.is_nil(ok)
    assert.equal("timeout", code)
    -- Stopped by a callback while it waits.
    d:add_external_app("web", {})
    d:on_event(function(event)
      if event.name == "node_added" then d:stop() end
    end)
    r:add_node("web", ADDR, 5)
    local _, stopped = wait.within(3, d.wait, d, 5)
    assert.is_true(stopped)
    assert.is_true(d:wait(0))
  end)
end)
