-- chaos - scripts/demo --chaos: Redis behind three Sentinels, four services, one of them behind a proxy that
-- misbehaves; a client calls without a pause while one thing after the other breaks. A row says what was lost.
--
-- What it starts ends with it. Exit code 0 when no call failed.
local discover = require "discover"
local load = require "spec.support.load"
local proc = require "spec.support.proc"
local proxy = require "spec.support.proxy"
local sentinel = require "spec.support.sentinel"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local bold = os.execute "test -t 1" and "\27[1m==>\27[0m " or "==> "

local function say(...)
  print(bold .. string.format(...))
  io.stdout:flush()
end

local function sum(map)
  local n = 0
  for _, value in pairs(map) do n = n + value end
  return n
end

local function run()
  say "Redis (a master and a replica), three Sentinels, a proxy in front of a Sentinel and of a service"
  local group, gate = sentinel.group { down_after = 1000, failover_timeout = 5000 }, proxy.start()
  local asked = gate:open(group.sentinels[1].port)
  local registry = group:url { hosts = asked.addr .. "," .. group.sentinels[2].addr .. "," .. group.sentinels[3].addr }
  print("    " .. registry)

  say "four services, each a process of its own"
  local services = {}
  for i = 1, 3 do
    services[i] = service.start { app = "hello", registry = registry, opts = { log_level = "off" } }
    print("    " .. services[i].addr)
  end
  local hidden = service.start()
  local line = gate:open(hidden.port)
  local owner = assert(discover.start(registry, "hello", line.addr, { log_level = "off" }))
  print(("    %s, the proxy in front of %s"):format(line.addr, hidden.addr))

  local all = { line.addr, services[1].addr, services[2].addr, services[3].addr }
  local function registered(server, addrs)
    local rows, why = server:hash "hello"
    for _, addr in ipairs(addrs) do
      if not (rows and rows[addr]) then return nil, why or addr .. " is not there" end
    end
    return true
  end

  local client = load.start(registry, "hello", { opts = { calls = { hello = { timeout = 1, deadline = 10 } } } })
  say "one client calls the app \"hello\" without a pause"
  local format = "    %-62s %7s %8s %7s"
  print(format:format("what is broken", "calls", "retried", "lost"))

  -- One thing breaks, is waited for, is put right; the calls of that time are counted.
  local before = client:counts()
  local function row(what, break_it, mend)
    break_it()
    wait.pass(2)
    if mend then mend() end
    -- Until all are in use again: else the next thing would break where nobody looks.
    local mended = client:counts().ok
    local now = wait.until_true(function()
      local counts = client:counts()
      for _, addr in ipairs(all) do
        if (counts.ok[addr] or 0) <= (mended[addr] or 0) then return nil, addr .. " is not called" end
      end
      return counts
    end, 30, "all nodes to be called")
    print(format:format(what, now.calls - before.calls, math.tointeger(sum(now.bad) - sum(before.bad)),
      now.failed - before.failed))
    io.stdout:flush()
    before = now
  end

  local function heal() line:set() end
  row("nothing", function() end)
  row("a node's connections are reset in the middle of each answer", function()
    line:set { down = { cut = 40, how = "reset" } }
    line:now "reset"
  end, heal)
  row("a node is mute: connections stand, no byte comes back", function()
    line:set { accept = "hang" }
    line:now "hang"
  end, function()
    heal()
    line:now "reset"
  end)
  row("a node answers one byte after the other", function()
    line:set { down = { trickle = { 1, 2 } } }
    line:now "close"
  end, heal)
  row("a node refuses connections", function()
    line:set { refuse = true }
    line:now "close"
  end, heal)
  row("a service is killed (kill -9), and starts again", function() services[1]:kill() end, function()
    services[1]:start()
  end)
  row("a service hangs (SIGSTOP), and goes on", function() services[2].p:kill "STOP" end, function()
    services[2].p:kill "CONT"
  end)
  row("a Sentinel is mute, another one is killed (kill -9)", function()
    asked:set { accept = "hang" }
    asked:now "hang"
    group.sentinels[3]:kill()
  end, function()
    group.sentinels[3]:start()
  end)
  row("the Redis master is killed (kill -9): Sentinels name another", function() group.master:kill() end, function()
    group:await_master(group.replica)
  end)
  row("its successor loses all data (FLUSHALL)", function() assert(group.replica:cli "FLUSHALL") end, function()
    wait.until_true(function() return registered(group.replica, all) end, 20, "the services to be back in Redis")
  end)
  row("the old master comes back and is made master by hand", function()
    group.master:start()
    group:await_replica(group.master)
    group.sentinels[2]:call("SENTINEL", "FAILOVER", group.name)
  end, function()
    group:await_master(group.master)
    wait.until_true(function() return registered(group.master, all) end, 20, "the services to be in it")
  end)

  local last = client:finish()
  say("in Redis at the end, as redis-cli hgetall hello says")
  for addr, weight in pairs(group.master:hash "hello") do print(("    %s %s"):format(addr, weight)) end
  owner:stop()
  say("%d calls, %d lost", last.calls, last.failed)
  for _, why in ipairs(last.why) do print("    FAILED: " .. why) end
  return last.failed == 0
end

local ok, well = xpcall(run, debug.traceback)
if not ok then io.stderr:write("demo: ", tostring(well), "\n") end
-- Without it Lua would wait for the processes at its end.
proc.cleanup()
os.exit(ok and well)
