-- Weights: the operator's, the program's own, and none at all.
local discover = require "discover"
local nodes = require "spec.support.nodes"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

local ADDR = "127.0.0.1:8080"

describe("#registry weight", function()
  local r, app, d, c

  setup(function() r = redis.start() end)

  before_each(function()
    app = nodes.app()
    d = assert(discover.start(r:url(), app, ADDR, { ttl = 5, heartbeat = 0.1, resync = 0.3 }))
    c = assert(discover.open(r:url(), { calls = { [app] = {} }, resync = 0.3 }))
    nodes.await(c, app, ADDR .. "/100")
  end)

  after_each(function()
    d:stop()
    c:stop()
  end)

  local function heartbeats(n)
    local before = d:stats().registry.heartbeats
    wait.until_true(function() return d:stats().registry.heartbeats >= before + n end, 10, "heartbeats")
  end

  it("#core an operator's hset outlives heartbeats, and is seen with the next read", function()
    r:cli("HSET", app, ADDR, 30)
    heartbeats(5)
    assert.same({ [ADDR] = "30" }, r:hash(app))
    nodes.await(c, app, ADDR .. "/30", 3)
  end)

  it("#core set_weight is announced at once", function()
    local channel = r:subscribe("CH_" .. app)
    assert.is_true(d:set_weight(40))
    nodes.await(c, app, ADDR .. "/40", 2)
    -- In a Cluster another subscriber may have heard it before this one.
    channel:wait(" 40$", 2)
    assert.same({ [ADDR] = "40" }, r:hash(app))
    assert.same({ ADDR .. " 40" }, channel:messages())
    heartbeats(3)
    assert.same({ ADDR .. " 40" }, channel:messages())
    channel:close()
  end)

  it("weight 0 is standby: taken out, no heartbeats, and back when a weight comes", function()
    local events = nodes.events(d)
    assert.is_true(d:set_weight(0))
    nodes.await(c, app, "", 2)
    wait.until_true(function() return #r:keys(app .. "*") == 0 end, 2, "no trace")
    events:wait("unregistered", 2)
    local monitor = r:monitor()
    wait.holds(function() return #monitor:lines(app .. "127.0.0.1:8080") == 0 end, 0.5, "silence")
    assert.same({}, r:keys(app .. "*"))
    assert.is_true(d:is_server())
    assert.is_true(d:set_weight(5))
    nodes.await(c, app, ADDR .. "/5", 2)
    assert.same({ [ADDR] = "5" }, r:hash(app))
    heartbeats(2)
    monitor:close()
  end)

  it("a standby is known to nobody from the start", function()
    local other = nodes.app()
    local monitor = r:monitor()
    local standby = assert(discover.start(r:url(), other, ADDR, { weight = 0 }))
    assert.is_true(standby:is_server())
    assert.same({}, r:keys(other .. "*"))
    assert.is_true(standby:set_weight(10))
    wait.until_true(function() return r:hash(other)[ADDR] == "10" end, 1, "the registration")
    monitor:wait("^PUBLISH CH_" .. other .. " 127.0.0.1:8080 10", 1)
    assert.same({}, monitor:lines("^HDEL " .. other))
    standby:stop()
    assert.same({}, r:keys(other .. "*"))
    monitor:close()
  end)

  it("stopped while in standby says nothing more", function()
    d:set_weight(0)
    nodes.await(c, app, "", 1)
    wait.until_true(function() return #r:keys(app .. "*") == 0 end, 2, "no trace")
    local monitor = r:monitor()
    d:stop()
    assert.same({}, monitor:lines("^PUBLISH CH_" .. app .. ".* [1-9]"))
    assert.same({}, monitor:lines "^SETEX")
    monitor:close()
  end)

  it("a weight set while Redis is away arrives when it is back", function()
    local own = redis.start()
    local s = assert(discover.start(own:url(), app, ADDR, nodes.fast{ log_level = "off" }))
    own:kill()
    assert.is_true(s:set_weight(7))
    own:start()
    wait.until_true(function() return own:hash(app)[ADDR] == "7" end, 5, "the weight")
    own:kill()
    assert.is_true(s:set_weight(0))
    own:start()
    wait.until_true(function() return s:stats().registry.up end, 5, "the connection")
    wait.holds(function() return #own:keys() == 0 end, 0.5, "standby")
    s:stop()
    own:kill()
  end)

  it("set_metadata keeps the operator's weight", function()
    r:cli("HSET", app, ADDR, 33)
    assert.is_true(d:set_metadata{ zone = "a" })
    wait.until_true(function() return r:cli("GET", app .. "_" .. ADDR) == "zone=a" end, 1, "the metadata")
    assert.same({ [ADDR] = "33" }, r:hash(app))
    wait.until_true(function()
      local node = c:get_app_nodes(app)[ADDR]
      return node and node.metadata and node.metadata.zone == "a"
    end, 1, "the metadata at the client")
    heartbeats(3)
    assert.equal("zone=a", r:cli("GET", app .. "_" .. ADDR))
    assert.same({ [ADDR] = "33" }, r:hash(app))
    nodes.await(c, app, ADDR .. "/33", 3)
  end)

  it("wrong weights are errors, of the right kind", function()
    for _, weight in ipairs { -1, 1.5, 0 / 0, 1e9, 2 ^ 53 } do
      local ok, why, code = d:set_weight(weight)
      assert.is_nil(ok)
      assert.equal("invalid", code)
      assert.matches("weight", why)
    end
    assert.has_error(function() d:set_weight "many" end)
    assert.has_error(function() d:set_weight() end)
    local ok, why, code = c:set_weight(5)
    assert.is_nil(ok)
    assert.equal("invalid", code)
    assert.matches("not registered", why)
    assert.same({ [ADDR] = "100" }, r:hash(app))
  end)
end)
