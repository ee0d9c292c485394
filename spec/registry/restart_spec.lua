-- Registered again at once when somebody says it is gone; never again once it said so itself.
local discover = require "discover"
local nodes = require "spec.support.nodes"
local redis = require "spec.support.redis"
local remote = require "spec.support.remote"
local wait = require "spec.support.wait"

local ADDR = "127.0.0.1:8080"

describe("#registry restart", function()
  local r, app, soon

  setup(function()
    r = redis.start()
    -- Long before the next heartbeat. In a Cluster a message may overtake the one before it; who was misled looks
    -- again.
    soon = 2
  end)
  before_each(function() app = nodes.app() end)
  after_each(function() r:cli "FLUSHALL" end)

  it("#core a service on the same address, the old process's goodbye last, is back at once", function()
    local old = assert(discover.start(r:url(), app, ADDR))
    local c = assert(discover.open(r:url(), { calls = { [app] = {} } }))
    local new = assert(discover.start(r:url(), app, ADDR, { weight = 60 }))
    local events = nodes.events(new)
    local channel = r:subscribe("CH_" .. app)
    old:stop()
    assert.equal(ADDR .. " 0", channel:wait " 0$")
    assert.equal(ADDR .. " 60", channel:wait(" 60$", soon))
    nodes.await(c, app, ADDR .. "/60", soon)
    assert.same({ [ADDR] = "60" }, r:hash(app))
    assert.equal(1, r:cli("EXISTS", app .. "_" .. ADDR))
    -- The message may be here before the answer to the registration is.
    wait.until_true(function() return new:registered() end, soon, "the answer to the registration")
    events:wait("lost", 1)
    channel:close()
    new:stop()
    c:stop()
    assert.same({}, r:keys())
  end)

  it("in processes of their own, the old one ended by a signal", function()
    local old, new = remote.start(), remote.start()
    old:run("d = assert(discover.start(...))", r:url(), app, ADDR, { signals = true })
    new:run("d = assert(discover.start(...))", r:url(), app, ADDR)
    local channel = r:subscribe("CH_" .. app)
    old:kill "TERM"
    channel:wait " 0$"
    channel:wait(" 100$", soon)
    assert.same({ [ADDR] = "100" }, r:hash(app))
    assert.equal(143, (old:wait(5)))
    wait.until_true(function() return new:run "return d:registered()" end, soon, "the answer to the registration")
    channel:close()
    new:finish()
  end)

  it("a goodbye right behind the registration does not stay unanswered", function()
    -- The old process's goodbye may fall anywhere into the new one's start.
    for i = 1, 25 do
      local name = app .. i
      local old = assert(discover.start(r:url(), name, ADDR))
      local new = assert(discover.start(r:url(), name, ADDR, { start_timeout = 0, heartbeat = 60, ttl = 120 }))
      old:stop()
      wait.until_true(function() return r:hash(name)[ADDR] and r:cli("EXISTS", name .. "_" .. ADDR) == 1 end, 2,
        "the registration of round " .. i)
      new:stop()
    end
    assert.same({}, r:keys())
  end)

  it("two that quarrel about one address do not flood Redis", function()
    local a = assert(discover.start(r:url(), app, ADDR))
    local monitor = r:monitor()
    local last = 0
    local deadline = wait.now() + 1
    while wait.now() < deadline do
      -- Somebody says goodbye for it all the time.
      r:cli("PUBLISH", "CH_" .. app, ADDR .. " 0")
      last = last + 1
    end
    local puts = #monitor:lines("^SETEX " .. app)
    assert.is_true(last > 100)
    assert.is_true(puts >= 1 and puts <= 15, ("%d registrations for %d goodbyes"):format(puts, last))
    wait.until_true(function() return r:hash(app)[ADDR] and a:registered() end, 3, "the registration")
    monitor:close()
    a:stop()
  end)

  it("fault 7: after stop no command registers it again, heartbeats in flight or not", function()
    local monitor = r:monitor()
    for i = 1, 20 do
      local d = assert(discover.start(r:url(), app, ADDR, { ttl = 1, heartbeat = 0.1, resync = 1 }))
      -- At any moment between two heartbeats.
      wait.pass(0.006 * i)
      d:stop()
      assert.same({}, r:keys(), "round " .. i)
    end
    local lines = monitor:lines(app)
    local last = lines[#lines]
    wait.holds(function() return #monitor:lines(app) == #lines end, 3 * 0.1 + 0.2, "silence after " .. last)
    -- Between the goodbye and the next start nothing puts it back.
    local gone = true
    for _, line in ipairs(lines) do
      if line:find "^HDEL" then gone = true end
      if line:find "^HSET " then gone = false end
      assert.is_false(gone and line:find "^HSETNX" ~= nil, line)
    end
    monitor:close()
  end)

  it("fault 7: nor does a Redis that answers late", function()
    local own = redis.start()
    local d = assert(discover.start(own:url(), app, ADDR, { ttl = 2, heartbeat = 0.1, log_level = "off" }))
    own:pause()
    -- A heartbeat is under way now, its answer will come after the stop.
    wait.pass(0.15)
    wait.within(3, d.stop, d)
    own:resume()
    -- What was not said goodbye for expires; nobody puts it back.
    local monitor = own:monitor()
    wait.until_true(function() return own:cli("EXISTS", app .. "_" .. ADDR) == 0 end, 8, "the key to go")
    wait.holds(function() return #monitor:lines "^SETEX" == 0 and #monitor:lines "^HSET" == 0 end, 0.3, "silence")
    monitor:close()
    own:kill()
  end)

  it("hearing its own removal by a reader, a node that lives is back at once", function()
    local d = assert(discover.start(r:url(), app, ADDR))
    local c = assert(discover.open(r:url(), { calls = { [app] = {} } }))
    for _ = 1, 3 do
      r:remove_node(app, ADDR)
      wait.until_true(function() return r:hash(app)[ADDR] end, soon, "the registration")
      nodes.await(c, app, ADDR .. "/100", soon)
    end
    d:stop()
    c:stop()
  end)
end)
