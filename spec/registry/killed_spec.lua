-- A service that dies without a goodbye.
local discover = require "discover"
local load = require "spec.support.load"
local nodes = require "spec.support.nodes"
local redis = require "spec.support.redis"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

-- 2 x ttl + 2 x 1.2 x resync, from the kill on.
local GONE = 2 * 2 + 2 * 1.2 * 1

describe("#registry a killed service", function()
  it("fault 6: fails no call, is shunned after its first failure in doubt, and is forgotten by everybody", function()
    local r = redis.start()
    local one = service.start{ registry = r:url(), app = "web", opts = nodes.fast() }
    local two = service.start{ registry = r:url(), app = "web", opts = nodes.fast() }
    local idle = assert(discover.open(r:url(), nodes.fast{ calls = { web = {} }, log_level = "off" }))
    local events = nodes.events(idle)
    local l = load.start(r:url(), "web", { opts = nodes.fast{ call_retry_times = 2 } })
    l:more(100)
    local before = l:counts()
    assert.is_true((before.ok[one.addr] or 0) > 0 and (before.ok[two.addr] or 0) > 0)

    one:kill()
    local killed = wait.now()
    -- Those who call notice by themselves, before anything has expired.
    wait.until_true(function() return l:event_count("isolated", one.addr) > 0 end, 5, "isolation")

    wait.until_true(function()
      return r:cli("HEXISTS", "web", one.addr) == 0 and l:counts().nodes[one.addr] == nil and
        nodes.state(idle, "web", one.addr) == nil
    end, GONE + 1, "the dead node to be gone")
    local took = wait.now() - killed
    assert.is_true(took < GONE * wait.slow + 1, ("gone after %.2f s"):format(took))
    assert.equal(two.addr .. "/100", nodes.show(idle, "web"))
    assert.equal(0, r:cli("EXISTS", "web_" .. one.addr))

    l:more(100)
    local counts = l:finish()
    assert.equal(0, counts.failed, table.concat(counts.why, "\n"))
    assert.is_true(counts.calls > 500)
    -- Two failures isolate it, one probe a second or so, then one failure in doubt ends it.
    assert.is_true(counts.bad[one.addr] >= 2 and counts.bad[one.addr] <= 8, counts.bad[one.addr])
    assert.is_nil(counts.bad_after[one.addr])
    assert.is_nil(counts.bad[two.addr])
    local removed = 0
    for _, event in ipairs(counts.events) do
      if event.name == "node_removed" and event.node == one.addr then removed = removed + 1 end
    end
    assert.equal(1, removed)
    -- The one that never called anybody had to hear of it.
    assert.equal(1, events:count("node_removed", one.addr))
    idle:stop()
    two:stop()
    r:kill()
  end)

  it("in doubt it serves on while it answers, and goes at its first failure", function()
    local r = redis.start()
    local web = service.nginx{ ["/name"] = "alive" }
    r:add_node("web", "127.0.0.1:1", 1)
    r:add_node("web", web.addr, 100)
    local d = assert(discover.open(r:url(),
      nodes.fast{ calls = { web = {} }, ttl = 60, resync = 0.2, log_level = "off" }))
    -- The heartbeats of its owner stopped, its row is dead.
    r:cli("DEL", "web_" .. web.addr)
    wait.until_true(function() return nodes.state(d, "web", web.addr) == "stale" end, 5, "doubt")
    r:cli("SETEX", "web_127.0.0.1:1", 600, "1")
    assert.equal("alive", d:request{ app = "web", method = "GET", path = "/name", node = web.addr }.body)
    assert.equal("stale", nodes.state(d, "web", web.addr))
    web.kill()
    assert.equal("connect", d:request{ app = "web", method = "GET", path = "/name", node = web.addr }.err)
    assert.is_nil(nodes.state(d, "web", web.addr))
    -- Its row is still there, and does not bring it back.
    local reads = d:stats().registry.reads
    wait.until_true(function() return d:stats().registry.reads >= reads + 2 end, 5, "reads")
    assert.is_nil(nodes.state(d, "web", web.addr))
    d:stop()
    r:kill()
  end)

  it("the last one left is kept, however dead it looks", function()
    local r = redis.start()
    r:add_node("web", "127.0.0.1:1", 100)
    local d = assert(discover.open(r:url(), nodes.fast{
      calls = { web = {} }, ttl = 60, resync = 0.2, stale_grace = 0.2, log_level = "off" }))
    r:cli("DEL", "web", "web_127.0.0.1:1")
    wait.until_true(function() return nodes.state(d, "web", "127.0.0.1:1") == "stale" end, 5, "doubt")
    for _ = 1, 3 do assert.equal("connect", d:get("web", "/").err) end
    local reads = d:stats().registry.reads
    wait.until_true(function() return d:stats().registry.reads >= reads + 5 end, 5, "reads")
    assert.equal("127.0.0.1:1/100", nodes.show(d, "web"))
    -- As soon as another one is there, it may go.
    r:add_node("web", "127.0.0.1:2", 100)
    nodes.await(d, "web", "127.0.0.1:2/100", 5)
    d:stop()
    r:kill()
  end)

  it("a dead row is removed by script, checked again, once, with a goodbye", function()
    local r = redis.start()
    r:cli("HSET", "web", "127.0.0.1:1", 100)
    r:add_node("web", "127.0.0.1:2", 100)
    local channel = r:subscribe "CH_web"
    local began = wait.now()
    local d = assert(discover.open(r:url(), nodes.fast{ calls = { web = {} }, ttl = 1, resync = 0.3 }))
    assert.equal("127.0.0.1:1 0", channel:wait("^127.0.0.1:1 0$", 5))
    -- Not before it was dead in two reads at least ttl apart.
    assert.is_true(wait.now() - began >= 0.9)
    assert.equal(0, r:cli("HEXISTS", "web", "127.0.0.1:1"))
    assert.equal(1, r:cli("HEXISTS", "web", "127.0.0.1:2"))
    d:stop()
    r:kill()
  end)
end)
