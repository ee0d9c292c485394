-- App names come with requests: they must not grow memory and subscriptions for ever.
local discover = require "discover"
local nodes = require "spec.support.nodes"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

local LOOSE = 1024

local function subscriptions(r)
  local most = 0
  for sub in r:cli("CLIENT", "LIST"):gmatch " sub=(%d+)" do most = math.max(most, tonumber(sub)) end
  return most
end

describe("#registry bounded", function()
  it("fault 9: 5,000 app names leave at most 1,024 loose subscriptions, and memory that stays", function()
    local r = redis.start()
    r:add_node("kept", "127.0.0.1:1", 5)
    local d = assert(discover.open(r:url(), { calls = { kept = {} } }))
    local memory
    for i = 1, 5000 do
      local node, _, code = d:pick("loose-" .. i)
      assert.is_nil(node)
      assert.equal("no_node", code)
      if i == 2500 then
        wait.until_true(function() return subscriptions(r) >= LOOSE end, 10, "subscriptions")
        memory = d:stats().memory_bytes
      end
    end
    wait.until_true(function()
      local n = subscriptions(r)
      return n <= LOOSE + 1 and n >= LOOSE - 1, n
    end, 10, "subscriptions to settle")
    assert.is_true(d:stats().memory_bytes < memory * 1.3 + 65536)
    -- What was configured is never put out, what is called again is followed again.
    assert.equal("127.0.0.1:1/5", nodes.show(d, "kept"))
    r:add_node("loose-1", "127.0.0.1:2", 5)
    wait.until_true(function() return d:pick "loose-1" end, 3, "a name of long ago")
    r:cli("PUBLISH", "CH_kept", "127.0.0.1:1 6")
    nodes.await(d, "kept", "127.0.0.1:1/6", 5)
    d:stop()
    wait.until_true(function() return subscriptions(r) == 0 end, 5, "all to be unsubscribed")
    r:kill()
  end)

  it("least recently called goes first", function()
    local r = redis.start()
    local d = assert(discover.open(r:url(), { log_level = "off" }))
    r:add_node("busy", "127.0.0.1:1", 5)
    wait.until_true(function() return d:pick "busy" end, 3, "the busy one")
    for i = 1, 2 * LOOSE do
      d:pick("loose-" .. i)
      -- Nobody listens there, but called it is.
      if i % 100 == 0 then assert.equal("connect", d:get("busy", "/").err) end
    end
    assert.equal("127.0.0.1:1/5", nodes.show(d, "busy"))
    assert.is_nil(d:get_app_nodes "loose-1")
    d:stop()
    r:kill()
  end)

  it("names that are none are refused before anybody hears of them", function()
    local r = redis.start()
    local d = assert(discover.open(r:url()))
    assert(d:ready(3))
    local monitor = r:monitor()
    for _, name in ipairs{ "", "a b", "a\nb", "a\0b", ("x"):rep(300), "\127" } do
      local node, why, code = d:pick(name)
      assert.is_nil(node)
      assert.equal("invalid", code, why)
      assert.equal("invalid", d:get(name, "/").err)
    end
    assert.is_nil(d:pick(("x"):rep(255)))
    monitor:wait("^SUBSCRIBE CH_xxx", 2)
    assert.equal(1, #monitor:lines "^SUBSCRIBE")
    monitor:close()
    d:stop()
    r:kill()
  end)
end)
