-- verify_push: what a message says counts only if the hash says so too.
local discover = require "discover"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

describe("#registry verify_push", function()
  local r, d

  setup(function() r = redis.start() end)

  before_each(function()
    r:cli "FLUSHALL"
    r:add_node("web", "127.0.0.1:1", 100)
    d = assert(discover.open(r:url(), { verify_push = true, resync = 3600, calls = { web = {} } }))
    assert(d:ready(5))
  end)

  after_each(function() d:stop() end)

  local function addresses()
    local list = {}
    for addr in pairs(d:get_app_nodes "web") do list[#list + 1] = addr end
    table.sort(list)
    return table.concat(list, " ")
  end

  -- Waits until the app was read again after what was published before.
  local function read_again()
    local before = d:stats().registry.reads
    r:cli("PUBLISH", "CH_web", "127.0.0.1:9 1")
    wait.until_true(function() return d:stats().registry.reads > before end, 5, "a read")
  end

  it("a node that is only published never comes, one with a row comes at once", function()
    r:cli("PUBLISH", "CH_web", "127.0.0.1:2 100")
    read_again()
    assert.equal("127.0.0.1:1", addresses())
    r:add_node("web", "127.0.0.1:3", 100)
    r:cli("PUBLISH", "CH_web", "127.0.0.1:3 100")
    wait.until_true(function() return addresses() == "127.0.0.1:1 127.0.0.1:3" end, 5, "the node")
  end)

  it("a goodbye without cause is not obeyed, a true one at once", function()
    r:add_node("web", "127.0.0.1:2", 100)
    r:cli("PUBLISH", "CH_web", "127.0.0.1:2 100")
    wait.until_true(function() return addresses() == "127.0.0.1:1 127.0.0.1:2" end, 5, "the node")
    r:cli("PUBLISH", "CH_web", "127.0.0.1:1 0")
    read_again()
    assert.equal("127.0.0.1:1 127.0.0.1:2", addresses())
    r:cli("HDEL", "web", "127.0.0.1:2")
    r:cli("DEL", "web_127.0.0.1:2")
    r:cli("PUBLISH", "CH_web", "127.0.0.1:2 0")
    wait.until_true(function() return addresses() == "127.0.0.1:1" end, 5, "the goodbye")
    assert(d:pick "web")
  end)

  it("weights come from the hash", function()
    r:cli("PUBLISH", "CH_web", "127.0.0.1:1 7")
    read_again()
    assert.equal(100, d:get_app_nodes("web")["127.0.0.1:1"].weight)
  end)

  it("services come and go as ever; a flood of messages is a few reads", function()
    local s = assert(discover.start(r:url(), "web", "127.0.0.1:5"))
    wait.until_true(function() return addresses():match "127.0.0.1:5" end, 5, "the service")
    s:stop()
    wait.until_true(function() return not addresses():match "127.0.0.1:5" end, 5, "its goodbye")
    local before = d:stats().registry
    for i = 1, 300 do r:cli("PUBLISH", "CH_web", ("10.0.0.%d:80 %d"):format(i % 250, i % 3)) end
    wait.until_true(function() return d:stats().registry.messages >= before.messages + 300 end, 10, "the messages")
    read_again()
    assert.is_true(d:stats().registry.reads - before.reads <= 150)
    assert.equal("127.0.0.1:1", addresses())
  end)

  it("is one setting of a shared registry", function()
    local a = assert(discover.open(r:url(), { shared = true, verify_push = true }))
    local b, why, code = discover.open(r:url(), { shared = true })
    assert.is_nil(b)
    assert.equal("invalid", code)
    assert.matches("verify_push", why)
    a:stop()
    assert.error(function() discover.new{ verify_push = 1 } end)
  end)
end)
