-- A registry on a Redis Cluster: everything that may happen to its nodes while services are called.
local discover = require "discover"
local cluster = require "spec.support.cluster"
local load = require "spec.support.load"
local nodes = require "spec.support.nodes"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local function times(more)
  local options = { ttl = 2, heartbeat = 0.5, resync = 1, log_level = "off" }
  for name, value in pairs(more or {}) do options[name] = value end
  return options
end

-- Two services under load on a Cluster: t.c, t.l, t:all_well(), t:during(seconds).
local function begin(options)
  local t = { c = cluster.start(options), services = {}, all = {} }
  for i = 1, 2 do t.services[i] = service.start{ registry = t.c:url(), app = "web", opts = times() } end
  t.l = load.start(t.c:url(), "web", { opts = times() })
  for i, s in ipairs(t.services) do t.all[i] = s.addr end
  table.sort(t.all)

  local function known()
    local list = {}
    for addr, state in pairs(t.l:counts().nodes or {}) do list[#list + 1] = addr .. " " .. state end
    table.sort(list)
    return table.concat(list, ", ")
  end

  local function no_failure(counts)
    assert.equal(0, counts.failed, table.concat(counts.why, "\n"))
    assert.equal(0, t.l:event_count "node_removed")
    for _, addr in ipairs(t.all) do assert.is_nil(counts.bad[addr]) end
    return counts
  end

  -- Everybody registered, everybody known and beyond doubt, calls go on, none has failed.
  function t.all_well(_, seconds)
    wait.until_true(function()
      local hash, why = t.c:hash "web"
      if not hash then return nil, why end
      for _, addr in ipairs(t.all) do
        if hash[addr] ~= "100" then return nil, addr .. " is not registered" end
        if t.c:cli("EXISTS", "web_" .. addr) ~= 1 then return nil, addr .. " has no key" end
      end
      local text = known()
      return text == table.concat(t.all, " up, ") .. " up", text
    end, seconds or 10, "all to be well again")
    no_failure(t.l:more(50))
  end

  -- Calls go on, to all nodes, whatever the Cluster does.
  function t.during(_, seconds)
    local deadline = wait.now() + seconds
    while wait.now() < deadline do
      local counts, n = no_failure(t.l:more(20)), 0
      for _ in pairs(counts.nodes) do n = n + 1 end
      assert.equal(#t.all, n)
    end
  end

  function t.finish()
    no_failure(t.l:finish())
    for _, s in ipairs(t.services) do s:stop() end
  end

  return t
end

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
