-- A registry on a Redis Cluster of single servers; credentials; TLS; messages that overtake each other.
local discover = require "discover"
local cluster = require "spec.support.cluster"
local cluster_load = require "spec.support.cluster_load"
local nodes = require "spec.support.nodes"
local wait = require "spec.support.wait"

local begin, times = cluster_load.begin, cluster_load.times

describe("a Cluster without replicas", function()
  local t, c

  setup(function()
    t = begin{ node_timeout = 1000 }
    c = t.c
    t:all_well()
  end)

  it("a node that is away is CLUSTERDOWN on all others, and empties no table", function()
    local has = c:node_of "web"
    local other = c.nodes[1] ~= has and c.nodes[1] or c.nodes[2]
    other:kill()
    wait.until_true(function()
      local _, why = has:cli("HGETALL", "web")
      return why and why:find "^CLUSTERDOWN"
    end, 20, "CLUSTERDOWN")
    -- Longer than keys live.
    t:during(3)
    other:start()
    c:await_well(20)
    t:all_well()
  end)

  it("the node that has the app comes back empty", function()
    local has = c:node_of "web"
    has:kill()
    t:during(2)
    has:start()
    c:await_well(20)
    t:all_well()
  end)

  it("all nodes at once, and back empty", function()
    c:kill()
    t:during(2)
    c:start()
    t:all_well()
    t:finish()
  end)
end)

describe("messages in a Cluster", function()
  local c

  setup(function() c = cluster.start() end)
  teardown(function() c:kill() end)

  it("an own node is known to its process as soon as it is registered", function()
    for i = 1, 10 do
      local app = "own" .. i
      local d = assert(discover.start(c:url(), app, "127.0.0.1:1", times{ calls = { [app] = {} }, weight = i }))
      assert.equal("127.0.0.1:1/" .. i, nodes.show(d, app))
      assert.equal("127.0.0.1:1", assert(d:pick(app)).addr)
      d:stop()
    end
  end)

  -- Each comes from the server where it was published: two of them may arrive in any order.
  for _, verify in ipairs{ false, true } do
    it("a goodbye that was overtaken by the registration after it" .. (verify and ", verified" or ""), function()
      local app = verify and "verified" or "overtaken"
      c:add_node(app, "127.0.0.1:1", 5)
      local d = assert(discover.open(c:url(), { calls = { [app] = {} }, verify_push = verify, resync = 60 }))
      assert.equal("127.0.0.1:1/5", nodes.show(d, app))
      local events = nodes.events(d)
      local reads = d:stats().registry.reads
      c:cli("PUBLISH", "CH_" .. app, "127.0.0.1:1 0")
      if not verify then events:wait("node_removed", 2) end
      wait.until_true(function() return d:stats().registry.reads > reads end, 3, "the second look")
      nodes.await(d, app, "127.0.0.1:1/5", 2)
      d:stop()
    end)

    it("a registration that was overtaken by the goodbye after it" .. (verify and ", verified" or ""), function()
      local app = verify and "gone_verified" or "gone"
      c:add_node(app, "127.0.0.1:1", 5)
      local d = assert(discover.open(c:url(), { calls = { [app] = {} }, verify_push = verify, resync = 60 }))
      assert.equal("127.0.0.1:1/5", nodes.show(d, app))
      local reads = d:stats().registry.reads
      c:cli("PUBLISH", "CH_" .. app, "127.0.0.1:2 5")
      wait.until_true(function() return d:stats().registry.reads > reads end, 3, "the second look")
      assert.not_equal("up", nodes.state(d, app, "127.0.0.1:2"))
      assert.equal("up", nodes.state(d, app, "127.0.0.1:1"))
      d:stop()
    end)
  end
end)

describe("a Cluster over TLS", function()
  it("is searched, heard and followed to a promoted replica over TLS alone", function()
    local t = begin{ over = "tls", replicas = 3 }
    t:all_well()
    local has = t.c:node_of "web"
    has:kill()
    wait.until_true(function()
      local now = t.c:node_of "web"
      return now and now ~= has and now:hash "web"
    end, 20, "the promotion")
    t:all_well(15)
    t:during(1)
    for _, node in ipairs(t.c.nodes) do
      if node ~= has then
        for line in node:cli("CLIENT", "LIST"):gmatch "[^\n]+" do
          local to = line:match "name=discover.*" and line:match " laddr=(%S+)"
          assert.is_true(not to or to == node.host .. ":" .. node.tls_port, line)
        end
      end
    end
    t.finish()
    t.c:kill()
  end)

  it("says whose certificate it does not believe", function()
    local c = cluster.start{ over = "tls" }
    local log = nodes.log()
    local d = assert(discover.start(c:url{ ca = require "spec.support.certs".make().foreign_ca }, "web", "127.0.0.1:1",
      { start_timeout = 0.5, logger = log.logger }))
    wait.until_true(function() return not d:registered() and log:count "certificate" > 0 end, 5, "the log line")
    assert.matches(c.host, log:text(), 1, true)
    d:stop()
    assert.same({}, c:keys())
    c:kill()
  end)
end)

describe("a Cluster with a password", function()
  it("refuses the wrong one, says so, and never shows it", function()
    local c = cluster.start{ masters = 1, password = "right" }
    local log = {}
    local d = assert(discover.start(c:url{ password = "wrong-secret" }, "web", "127.0.0.1:1", {
      start_timeout = 0.2, logger = function(record) log[#log + 1] = tostring(record) end,
    }))
    wait.until_true(function()
      d:registered()
      return table.concat(log, "\n"):find "refuses the credentials"
    end, 5, "the refusal in the log")
    assert.is_nil(table.concat(log, "\n"):find("wrong-secret", 1, true))
    assert.is_false(d:registered())
    d:stop()
    d = assert(discover.start(c:url(), "web", "127.0.0.1:1", times()))
    assert.is_true(d:registered())
    d:stop()
  end)

  it("needs no more rights than documented", function()
    local readme = assert(require "spec.support.proc".read_file "README.md")
    local rights = assert(readme:match "ACL SETUSER member [^~]*(~[^\n]*)\n")
    local c = cluster.start{ masters = 3, acl = { "user svc on >p " .. rights:gsub("~%S+", "~*") } }
    local d, why = discover.start(c:url{ user = "svc", password = "p" }, "web", "127.0.0.1:1", times{
      calls = { web = {} }, metadata = { a = "b" },
    })
    assert(d, why)
    assert.is_true(d:registered())
    nodes.await(d, "web", "127.0.0.1:1/100")
    c:cli("HSET", "web", "10.0.0.9:1", 5)
    wait.until_true(function() return c:cli("HEXISTS", "web", "10.0.0.9:1") == 0 end, 10, "a dead row's end")
    for _, node in ipairs(c.nodes) do
      local log = node:cli("ACL", "LOG")
      for i = 1, log.n do
        -- Its own name is a courtesy.
        assert.equal("client|setname", log[i][8], "a right was missed")
      end
    end
    d:stop()
    assert.same({}, c:hash "web")
  end)
end)
