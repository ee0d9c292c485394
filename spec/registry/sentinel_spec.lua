-- A master that Sentinels watch fails in every way; nothing is lost, and everybody follows the new one.
--
-- The Sentinels wait 1 s before they call a master down; what they need after that is theirs (1 to 3 s). With
-- DISCOVER_TEST_FIGURES the times are printed.
local discover = require "discover"
local load = require "spec.support.load"
local nodes = require "spec.support.nodes"
local sentinel = require "spec.support.sentinel"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local TIMES = { ttl = 10, heartbeat = 0.1, resync = 1, log_level = "off" }

local function figure(format, ...)
  if os.getenv "DISCOVER_TEST_FIGURES" then io.stderr:write("      ", format:format(...), "\n") end
end

describe("Sentinel, when the master fails:", function()
  local g, services, l, added

  setup(function()
    g = sentinel.group()
    services = {}
    for i = 1, 2 do services[i] = service.start{ registry = g:url(), app = "web", opts = TIMES } end
    l = load.start(g:url(), "web", { opts = TIMES })
    added = 0
  end)

  -- On this server from now on: registered with keys, heard by subscribers; no call failed and no node was missed.
  local function all_well(r, seconds)
    wait.until_true(function()
      local hash, why = r:hash "web"
      if not hash then return nil, why end
      for _, s in ipairs(services) do
        if hash[s.addr] ~= "100" then return nil, s.addr .. " is not registered" end
      end
      local clients = r:cli("CLIENT", "LIST")
      if not clients then return nil, "no clients" end
      local _, commands = clients:gsub("name=discover%-commands", "")
      return commands == 4, commands .. " clients came"
    end, seconds or 20, "all to be registered on the new master")
    local took = wait.now()
    -- A subscriber that follows hears of a node that is announced there alone.
    added = added + 1
    local peer = "127.0.0.2:" .. added
    r:add_node("idle", peer, 5)
    nodes.await(g.idle, "idle", peer .. "/5", 10)
    r:remove_node("idle", peer)
    nodes.await(g.idle, "idle", "", 5)
    local counts = l:more(50)
    assert.equal(0, counts.failed, table.concat(counts.why, "\n"))
    assert.equal(0, l:event_count "node_removed")
    assert.is_true(counts.calls > 50)
    return took
  end

  setup(function()
    g.log = nodes.log()
    g.idle = assert(discover.open(g:url(), { calls = { idle = {} }, resync = 3600, logger = g.log.logger }))
    g.events = nodes.events(g.idle)
  end)

  -- What a server was told by registrants, in a file of lines that grows until the server cuts it.
  local function beats(monitor) return #monitor:lines "^SETEX web_" end

  it("killed (kill -9)", function()
    all_well(g.master)
    local began = wait.now()
    assert.equal(g.master.addr, g.idle:stats().registry.server)
    assert.equal(0, g.events:count "registry_moved")
    g.master:kill()
    g:await_master(g.replica)
    local promoted = wait.now()
    local back = all_well(g.replica)
    figure("kill -9: Sentinels name the new master after %.2f s, all registered there after %.2f s", promoted - began,
      back - began)
    assert.equal(1, g.events:count("registry_moved", g.replica.addr))
    assert.equal(1, g.log:count("has moved: Sentinels name " .. g.replica.addr .. " as the master", "warn"))
    assert.equal(g.replica.addr, g.idle:stats().registry.server)
    -- Sentinels may need 4 s themselves; the rest is ours.
    assert.is_true(back - promoted < 5 * wait.slow, ("%.2f s after the new master"):format(back - promoted))
  end)

  it("and comes back, as a replica now: nobody goes there", function()
    local connects = g.idle:stats().registry.connects
    g.master:start()
    for _, s in ipairs(g.sentinels) do s:call("SENTINEL", "DEBUG", "INFO-PERIOD", 1000) end
    g:await_replica(g.master)
    g.master, g.replica = g.replica, g.master
    all_well(g.master)
    assert.equal(connects, g.idle:stats().registry.connects)
    assert.equal(0, select(2, g.replica:cli("CLIENT", "LIST"):gsub("name=discover", "")))
  end)

  it("replaced by hand (SENTINEL FAILOVER): the old one, which takes writes for a while, gets none", function()
    local old = g.master
    local monitor = old:monitor()
    assert.is_true(wait.until_true(function() return beats(monitor) > 5 end, 5, "heartbeats"))
    -- So long do the Sentinels let it go on as a master.
    for _, s in ipairs(g.sentinels) do s:call("SENTINEL", "DEBUG", "INFO-PERIOD", 10000) end
    local new = g:failover()
    assert.not_equal(old, new)
    local switched, last, seen = wait.now(), wait.now(), beats(monitor)
    local began = switched
    wait.until_true(function()
      local now_seen = beats(monitor)
      if now_seen > seen then seen, last = now_seen, wait.now() end
      return wait.now() - began > 1.5 * wait.slow
    end, 5, "the old master to be left alone")
    figure("FAILOVER: the last heartbeat to the old master %.2f s after all named the new one", last - switched)
    assert.is_true(last - switched < 1 * wait.slow, ("heartbeats for %.2f s"):format(last - switched))
    monitor:close()
    all_well(new)
    g.master, g.replica = new, old
  end)

  it("twice in a row", function()
    for _, s in ipairs(g.sentinels) do s:call("SENTINEL", "DEBUG", "INFO-PERIOD", 500) end
    for _ = 1, 2 do
      g:await_replica(g.replica)
      g.master, g.replica = g:failover()
    end
    all_well(g.master)
  end)

  it("frozen (SIGSTOP), and awake again", function()
    g:await_replica(g.replica)
    local old, began = g.master, wait.now()
    old:pause()
    g:await_master(g.replica)
    local promoted = wait.now()
    local back = all_well(g.replica)
    figure("SIGSTOP: named after %.2f s, registered after %.2f s", promoted - began, back - began)
    old:resume()
    g.master, g.replica = g.replica, old
    g:await_replica(old)
    all_well(g.master)
    assert.equal(0, select(2, old:cli("CLIENT", "LIST"):gsub("name=discover", "")))
  end)

  it("made a replica under our feet: READONLY is no reason to wait", function()
    -- By its own operator, behind the Sentinels' back: they put it right, or replace it.
    local old = g.master
    old:cli("REPLICAOF", g.replica.host, g.replica.port)
    wait.until_true(function()
      for _, r in ipairs { g.master, g.replica } do
        local role = r:cli "ROLE"
        local named = g.sentinels[1]:names(g.name)
        if role and role[1] == "master" and named == g:addr_of(r) then
          if r ~= g.master then g.master, g.replica = r, g.master end
          return true
        end
      end
    end, 30, "a master again")
    all_well(g.master)
  end)

  it("nobody was ever unregistered, and no call failed", function()
    g.idle:stop()
    local counts = l:finish()
    assert.equal(0, counts.failed, table.concat(counts.why, "\n"))
    assert.is_true(counts.calls > 1000)
    for _, s in ipairs(services) do
      assert.is_true(counts.ok[s.addr] > 100)
      assert.is_nil(counts.bad[s.addr])
      s:stop()
    end
    assert.same({}, g.master:keys())
    g:kill()
  end)
end)
