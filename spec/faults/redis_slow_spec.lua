-- A Redis that answers after 1.5 s and after 3 s, and one with no room for another client: calls do not notice.
local discover = require "discover"
local nodes = require "spec.support.nodes"
local proxy = require "spec.support.proxy"
local redis = require "spec.support.redis"
local resp = require "spec.support.resp"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

describe("a slow Redis", function()
  local r, web, p

  setup(function()
    r = redis.start{ over = "plain" }
    web = service.nginx{ ["/name"] = "here" }
    r:add_node("web", web.addr, 100, 3600)
    p = proxy.start()
  end)

  it("of 1.5 s and of 3 s an answer: calls as fast as ever, no connection lost, nobody unregistered", function()
    local cases = {}
    for i, ms in ipairs{ 1500, 3000 } do
      local line = p:open(r.port)
      local app = "slow" .. ms
      local case = { app = app, line = line, key = app .. "_127.0.0.1:800" .. i }
      -- The times of a default installation: a connection is given up after a third of ttl.
      case.d = assert(discover.start("redis://" .. line.addr .. "/15", app, "127.0.0.1:800" .. i,
        { resync = 2, log_level = "off", calls = { web = {} } }))
      assert.is_true(case.d:registered())
      line:set({ down = { delay = ms } }, "live")
      cases[i] = case
    end
    local deadline, slowest, calls = wait.now() + 12, 0, 0
    while wait.now() < deadline do
      for _, case in ipairs(cases) do
        local took, res = wait.within(1, case.d.get, case.d, "web", "/name")
        assert.is_true(res.ok, tostring(res))
        slowest, calls = math.max(slowest, took), calls + 1
        assert.is_true(case.d:registered())
        wait.pass(0.002)
      end
    end
    assert.is_true(calls > 500, calls .. " calls")
    assert.is_true(slowest < wait.scale(0.5), ("the slowest call took %.3f s"):format(slowest))
    for _, case in ipairs(cases) do
      assert.equal(1, r:cli("EXISTS", case.key))
      -- More than a ttl has passed: heartbeats came through. Reads did, too.
      assert.is_true(r:cli("TTL", case.key) >= 3)
      local stats = case.d:stats().registry
      assert.equal(0, stats.disconnects)
      assert.is_true(stats.reads >= 2)
      -- News is late by as much, not lost.
      r:add_node("web", "127.0.0.1:7", 1, 3600)
      wait.until_true(function() return nodes.state(case.d, "web", "127.0.0.1:7") end, 6, "the news")
      r:remove_node("web", "127.0.0.1:7")
      wait.within(1.8, case.d.stop, case.d)
    end
    -- A goodbye waits for the answer to a heartbeat under way, and stop for neither longer than a second.
    for _, case in ipairs(cases) do
      wait.until_true(function() return r:cli("EXISTS", case.key) == 0 end, 12, "the goodbye, or the end of the key")
    end
  end)

  it("is reached by those who give it the time: connectTimeout", function()
    local line = p:open(r.port)
    line:set{ down = { delay = 1500 } }
    local d = assert(discover.start("redis://" .. line.addr .. "/15?connectTimeout=5s", "patient", "127.0.0.1:8001",
      { start_timeout = 0, log_level = "off", calls = { web = {} } }))
    wait.until_true(function() return d:registered() and d:get("web", "/name").ok end, 15, "the registration")
    d:stop()
    line:set()
    wait.until_true(function() return r:cli("EXISTS", "patient_127.0.0.1:8001") == 0 end, 12, "the end of the key")
  end)

  it("without room for another client: calls go on with what is known, in as soon as there is room", function()
    local full = redis.start{ over = "plain" }
    full:add_node("web", web.addr, 100, 3600)
    local log = nodes.log()
    local d = assert(discover.start(full:url(), "mine", "127.0.0.1:8001",
      nodes.fast{ logger = log.logger, log_level = "warn", calls = { web = {} } }))
    local guest = assert(full:connect())
    assert(full:cli("CONFIG", "SET", "maxclients", 4))
    -- Their places are taken while they are away.
    full:cli("CLIENT", "KILL", "TYPE", "pubsub")
    full:cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    local guests = { guest }
    wait.until_true(function()
      local one = resp.connect("127.0.0.1", full.port, 1)
      if one and one:call "PING" then guests[#guests + 1] = one elseif one then one:close() end
      return not d:stats().registry.up and d:get("web", "/name").ok and log:count "cannot be reached" > 0, log:text()
    end, 10, "the word that it is full")
    wait.holds(function() return d:get("web", "/name").ok end, 1.5, "calls")
    for _, one in ipairs(guests) do one:close() end
    wait.until_true(function() return d:stats().registry.up and d:registered() end, 8, "a place")
    wait.until_true(function() return full:hash("mine")["127.0.0.1:8001"] == "100" end, 5, "the registration")
    assert.is_true(#log.records <= 4, log:text())
    d:stop()
    full:kill()
  end)
end)
