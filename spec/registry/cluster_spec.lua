-- A registry on a Redis Cluster with replicas: everything that may happen to its nodes while services are called.
local discover = require "discover"
local cluster_load = require "spec.support.cluster_load"
local wait = require "spec.support.wait"

local begin, times = cluster_load.begin, cluster_load.times

describe("a Cluster with replicas", function()
  local t, c

  setup(function()
    t = begin{ replicas = 3 }
    c = t.c
    t:all_well()
  end)

  it("holds the keys, fields and messages that one Redis holds", function()
    local channel = c:subscribe "CH_kept"
    local d = assert(discover.start(c:url(), "kept", "127.0.0.1:1", times{ weight = 7, metadata = { zone = "a" } }))
    assert.is_true(d:registered())
    assert.same({ ["127.0.0.1:1"] = "7" }, c:hash "kept")
    assert.equal("zone=a", c:cli("GET", "kept_127.0.0.1:1"))
    assert.equal("127.0.0.1:1 7", channel:wait("127.0.0.1:1 7", 5))
    -- A peer on another node of the Cluster is heard, and its metadata read from whatever node that has it.
    d:add_external_app "other"
    for i, node in ipairs(c.nodes) do
      local addr = "10.0.0." .. i .. ":80"
      c:cli("SETEX", "other_" .. addr, 600, "zone=" .. i)
      c:cli("HSET", "other", addr, i)
      node:cli("PUBLISH", "CH_other", addr .. " " .. i)
      wait.until_true(function()
        local other = (d:get_app_nodes "other" or {})[addr]
        return other and other.weight == i and other.metadata.zone == tostring(i)
      end, 5, addr)
    end
    d:stop()
    assert.same({}, c:hash "kept")
    assert.equal(0, c:cli("EXISTS", "kept_127.0.0.1:1"))
    assert.equal("127.0.0.1:1 0", channel:wait("127.0.0.1:1 0", 5))
    channel:close()
    assert.equal("cluster", discover.open(c:url(), { log_level = "off" }):stats().registry.kind)
  end)

  it("a slot that moves to another node under load", function()
    local from, to = c:node_of "web", nil
    for _, node in ipairs(c.nodes) do
      if node ~= from and node:cli("ROLE")[1] == "master" then to = node end
    end
    local monitor = to:monitor()
    local step = c:migration("web", to)
    step.mark()
    step.move()
    -- The hash has gone, its slot has not: whoever wants it is sent there by ASK.
    monitor:wait("^ASKING", 10)
    monitor:wait("^HGETALL web$", 10)
    t:during(1.5)
    step.settle()
    monitor:close()
    t:all_well()
    assert.equal(to, (c:node_of "web"))
    t:during(1.5)
  end)

  it("kill -9 of the master that has the app: its replica takes over", function()
    local master = c:node_of "web"
    master:kill()
    wait.until_true(function()
      local now = c:node_of "web"
      return now and now ~= master and c:is_well()
    end, 20, "the replica's promotion")
    t:all_well()
    t:during(1)
    master:start()
    c:await_well()
    t:all_well()
  end)

  it("every subscription and every connection is cut, node by node", function()
    for _, node in ipairs(c.nodes) do
      for _, kind in ipairs { "pubsub", "normal" } do node:cli("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes") end
      t:during(0.2)
    end
    t:all_well()
  end)

  it("FLUSHALL", function()
    c:cli "FLUSHALL"
    t:during(1)
    t:all_well()
  end)

  it("at the end nothing was lost", function()
    t:finish()
  end)
end)
