-- Redis goes away in every way it can, and comes back, with what it knew, with less, or with nothing.
--
-- DISCOVER_TEST_LONG: outages of 30 s with the default times instead of short ones.
local discover = require "discover"
local load = require "spec.support.load"
local nodes = require "spec.support.nodes"
local redis = require "spec.support.redis"
local remote = require "spec.support.remote"
local scripted = require "spec.support.scripted"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local long = os.getenv "DISCOVER_TEST_LONG"
local OUTAGE = long and 30 or 5
-- Long enough for every key to have expired.
local TIMES = long and {} or { ttl = 2, heartbeat = 0.5, resync = 1 }

local function times(more)
  local options = { log_level = "off" }
  for name, value in pairs(TIMES) do options[name] = value end
  for name, value in pairs(more or {}) do options[name] = value end
  return options
end

describe("#registry an outage of Redis", function()
  local r, services, l, all

  setup(function()
    r = redis.start()
    services = {}
    for i = 1, 3 do services[i] = service.start{ registry = r:url(), app = "web", opts = times() } end
    l = load.start(r:url(), "web", { opts = times() })
    all = {}
    for i, s in ipairs(services) do all[i] = s.addr end
    table.sort(all)
  end)

  local function known()
    local list = {}
    for addr, state in pairs(l:counts().nodes or {}) do list[#list + 1] = addr .. " " .. state end
    table.sort(list)
    return table.concat(list, ", ")
  end

  -- Everybody registered, everybody known and beyond doubt, calls go on, none has failed.
  local function all_well(seconds)
    wait.until_true(function()
      local hash = r:hash "web"
      if not hash then return nil, "no hash" end
      for _, addr in ipairs(all) do
        if hash[addr] ~= "100" then return nil, addr .. " is not registered" end
        if r:cli("EXISTS", "web_" .. addr) ~= 1 then return nil, addr .. " has no key" end
      end
      local text = known()
      return text == table.concat(all, " up, ") .. " up", text
    end, seconds or 10, "all to be well again")
    local counts = l:more(50)
    assert.equal(0, counts.failed, table.concat(counts.why, "\n"))
    assert.equal(0, l:event_count "node_removed")
    for _, s in ipairs(services) do assert.is_nil(counts.bad[s.addr]) end
  end

  local function during(seconds)
    local deadline = wait.now() + seconds
    while wait.now() < deadline do
      local counts = l:more(20)
      assert.equal(0, counts.failed, table.concat(counts.why, "\n"))
      local n = 0
      for _ in pairs(counts.nodes) do n = n + 1 end
      assert.equal(#all, n)
    end
  end

  it("stopped for a while and started empty: no failed call, all back", function()
    r:stop()
    during(OUTAGE)
    r:start()
    -- A Cluster takes no writes for two seconds, and somebody was first when start() says that it is well.
    if r.over ~= "cluster" then assert.same({}, r:keys()) end
    all_well(12)
  end)

  it("killed and started empty at once", function()
    r:restart()
    all_well(12)
  end)

  it("restarted from an RDB file after every key has expired: fields without keys are doubted, not removed", function()
    r:save()
    r:kill()
    wait.pass(long and 12 or 2.5)
    r:start()
    assert.equal(3, r:cli("HLEN", "web"))
    all_well(12)
  end)

  it("FLUSHALL", function()
    local channel = r:subscribe "CH_web"
    r:cli "FLUSHALL"
    all_well(12)
    -- They said so by themselves.
    assert.is_true(#channel:messages() >= 3)
    channel:close()
  end)

  it("a key lost, a field lost, both lost, one by one", function()
    r:cli("DEL", "web_" .. all[1])
    all_well()
    r:cli("HDEL", "web", all[2])
    all_well()
    r:cli("HDEL", "web", all[3])
    r:cli("DEL", "web_" .. all[3])
    all_well()
  end)

  it("CLIENT KILL of commands and of subscribers", function()
    for _, kind in ipairs { "normal", "pubsub" } do
      for _ = 1, 3 do
        -- Those of the round before may still be on their way back.
        wait.until_true(function() return r:cli("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes") >= 1 end, 5, kind)
        all_well()
      end
    end
  end)

  it("CLIENT PAUSE, longer than a command may take", function()
    local before = l:counts().calls
    r:cli("CLIENT", "PAUSE", long and 12000 or 3000, "ALL")
    during(long and 12 or 3)
    assert.is_true(l:counts().calls > before)
    all_well(15)
  end)

  it("frozen for a while (SIGSTOP): connections stand, nothing answers", function()
    r:pause()
    during(long and 15 or 3)
    r:resume()
    all_well(15)
  end)

  it("nobody was ever unregistered, and no call failed", function()
    local counts = l:finish()
    assert.equal(0, counts.failed, table.concat(counts.why, "\n"))
    assert.is_true(counts.calls > 1000)
    for _, s in ipairs(services) do
      assert.is_true(counts.ok[s.addr] > 100)
      s:stop()
    end
    assert.same({}, r:keys())
    r:kill()
  end)
end)

describe("#registry what outages teach", function()
  it("down and up are events, each once", function()
    local r = redis.start()
    local d = assert(discover.start(r:url(), "web", "127.0.0.1:1", nodes.fast{ log_level = "off" }))
    -- Registered it is with the first connection; that both stand is an event, too, which is not counted here.
    wait.until_true(function() return d:stats().registry.up end, 5, "both connections")
    d:stats()
    local events = nodes.events(d)
    r:kill()
    events:wait("registry_down", 5)
    assert.is_false(d:stats().registry.up)
    wait.until_true(function() return d:stats().registry.disconnects >= 2 end, 2, "both connections to be missed")
    r:start()
    events:wait("registry_up", 10)
    wait.until_true(function() return r:cli("EXISTS", "web_127.0.0.1:1") == 1 end, 5, "the registration")
    assert.equal(1, events:count "registry_down")
    assert.equal(1, events:count "registry_up")
    assert.is_true(d:stats().registry.up)
    d:stop()
    r:kill()
  end)

  it("#core a read that cannot be made leaves the nodes alone", function()
    local r = redis.start()
    r:add_node("web", "127.0.0.1:1", 100)
    local d = assert(discover.open(r:url(), nodes.fast{ calls = { web = {} }, resync = 0.2, log_level = "off" }))
    assert.equal("127.0.0.1:1/100", nodes.show(d, "web"))
    r:cli("DEL", "web")
    r:cli("SET", "web", "a string")
    wait.until_true(function() return d:stats().registry.errors >= 2 end, 5, "refused reads")
    assert.equal("127.0.0.1:1/100", nodes.show(d, "web"))
    assert.equal("up", nodes.state(d, "web", "127.0.0.1:1"))
    d:stop()
    r:kill()
  end)

  it("fault 5: between HSET and SETEX no reader removes a live node, nor when a heartbeat is late", function()
    local r = redis.start()
    local d = assert(discover.open(r:url(), nodes.fast{ calls = { web = {} }, resync = 0.1, ttl = 2 }))
    local monitor = r:monitor()
    local reads = r.nodes and "^GET web_127" or "^MGET web_127"
    -- A peer that writes the field first, and is slow.
    r:cli("HSET", "web", "127.0.0.1:1", 100)
    wait.until_true(function() return #monitor:lines(reads) >= 3 end, 5, "reads that see the field alone")
    assert.equal(1, r:cli("HEXISTS", "web", "127.0.0.1:1"))
    r:cli("SETEX", "web_127.0.0.1:1", 1, "1")
    r:cli("PUBLISH", "CH_web", "127.0.0.1:1 100")
    nodes.await(d, "web", "127.0.0.1:1/100", 1)
    -- Its key expires, its next heartbeat comes late.
    wait.until_true(function() return r:cli("EXISTS", "web_127.0.0.1:1") == 0 end, 3, "the key to expire")
    local seen = #monitor:lines(reads)
    wait.until_true(function() return #monitor:lines(reads) >= seen + 4 end, 5, "reads of a dead row")
    r:cli("SETEX", "web_127.0.0.1:1", 100, "1")
    wait.until_true(function() return nodes.state(d, "web", "127.0.0.1:1") == "up" end, 2, "the end of doubt")
    assert.equal(1, r:cli("HEXISTS", "web", "127.0.0.1:1"))
    assert.same({}, monitor:lines "^HDEL")
    assert.same({}, monitor:lines "^EVAL")
    monitor:close()
    d:stop()
    r:kill()
  end)

  it("fault 11: a thousand clients do not come back in the same moment", function()
    local r = redis.start{ over = "plain" } -- a scripted one takes its place
    local clients = {}
    for i = 1, 12 do clients[i] = assert(discover.open(r:url(), { log_level = "off", calls = { web = {} } })) end
    r:kill()
    local lame = scripted.start({ { { "redis", { SUBSCRIBE = "close", PING = "close" } } } }, { port = r.port })
    lame:wait(function(s) return s:connections() >= 36 end, 20)
    local times_of = {}
    for i, record in ipairs(lame:journal "accept") do times_of[i] = record.time end
    table.sort(times_of)
    local crowds = {}
    for i = 1, #times_of do
      local n = 0
      for j = 1, #times_of do
        if math.abs(times_of[j] - times_of[i]) < 0.02 then n = n + 1 end
      end
      crowds[i] = n
    end
    -- A machine that stands still for a moment makes one crowd; without chance in the pauses all come in crowds.
    table.sort(crowds)
    local crowd = crowds[math.ceil(#crowds / 2)]
    assert.is_true(crowd <= 12, ("%d of %d connections within 20 ms"):format(crowd, #times_of))
    for _, d in ipairs(clients) do d:stop() end
    lame:kill()
  end)

  it("fault 13: a subscriber on a half-open connection is found out and follows again", function()
    -- A server that answers the greeting and the subscription, and is then as mute as a dead line.
    local mute = { "redis", { PING = { "+PONG\r\n", "silent" } } }
    local s = scripted.start{ { mute } }
    local d = assert(discover.open("redis://" .. s.addr .. "/15", { calls = { web = {} }, log_level = "off" }))
    s:wait(function() return #s:commands "SUBSCRIBE" >= 1 end, 5)
    -- It asks after 3 s of silence, and gives up 5 s later.
    s:wait(function() return #s:commands "SUBSCRIBE" >= 2 end, 12, "a second subscription")
    assert.is_true(d:stats().registry.disconnects >= 1)
    d:stop()
    s:kill()
  end)

  it("a command that is not answered within a third of ttl costs the connection", function()
    local s = scripted.redis{ HSETNX = "silent", SETEX = { "+OK\r\n", "silent" } }
    local d = assert(discover.start("redis://" .. s.addr .. "/15", "web", "127.0.0.1:1",
      { ttl = 1, heartbeat = 0.1, resync = 60, log_level = "off" }))
    s:wait(function() return #s:commands "HSETNX" >= 2 end, 8, "heartbeats on a second connection")
    assert.is_true(d:stats().registry.disconnects >= 1)
    d:stop()
    s:kill()
  end)

  it("a message that was lost is made good by the next read", function()
    local r = redis.start()
    local d = assert(discover.open(r:url(), { calls = { web = {} }, resync = 0.3 }))
    r:cli("SETEX", "web_127.0.0.1:1", 100, "1")
    r:cli("HSET", "web", "127.0.0.1:1", 100)
    nodes.await(d, "web", "127.0.0.1:1/100", 2)
    r:cli("HSET", "web", "127.0.0.1:1", 60)
    nodes.await(d, "web", "127.0.0.1:1/60", 2)
    d:stop()
    r:kill()
  end)

  it("many processes outlive it together", function()
    local r = redis.start()
    local peers = {}
    for i = 1, 4 do
      peers[i] = remote.start()
      peers[i]:run([[
        d = assert(discover.start(..., "crowd", "127.0.0.1:" .. select(2, ...),
          { ttl = 2, heartbeat = 0.5, resync = 1, log_level = "off", calls = { crowd = {} } }))
      ]], r:url(), i)
    end
    r:restart()
    wait.until_true(function() return r:cli("HLEN", "crowd") == 4 end, 10, "all registered")
    for i = 1, 4 do
      wait.until_true(function()
        return peers[i]:run [[
          local n = 0
          for _, node in pairs(d:get_app_nodes "crowd") do if node.state == "up" then n = n + 1 end end
          return n == 4
        ]]
      end, 10, "all known")
    end
    for i = 1, 4 do peers[i]:finish() end
    r:kill()
  end)
end)
