-- Clients in trouble of their own making: a wall clock that jumps, and a thousand that lose Redis in one moment.
local proc = require "spec.support.proc"
local proxy = require "spec.support.proxy"
local redis = require "spec.support.redis"
local remote = require "spec.support.remote"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

describe("a wall clock that jumps", function()
  local folder, shim, file

  setup(function()
    folder = proc.tmpdir()
    shim, file = folder .. "/clock.so", folder .. "/offset"
    local said = proc.shell(("cc -O1 -shared -fPIC -o %s %s/spec/support/clock_shim.c -ldl 2>&1"):format(shim,
      proc.root()))
    assert(proc.read_file(shim), "clock_shim.c does not compile: " .. said)
  end)

  -- Others read the file at any moment: it is replaced, never half written.
  local function set_clock(seconds)
    proc.write_file(file .. ".new", tostring(seconds))
    assert(os.rename(file .. ".new", file))
  end

  it("by an hour, there and back: heartbeats, reads, time limits and calls go on, no failed call", function()
    local r = redis.start{ over = "plain" }
    local slow = { "limit_rate 1; return 200 '" .. ("x"):rep(999) .. "';" }
    local web = service.nginx{ ["/name"] = "here", ["/slow"] = slow }
    r:add_node("web", web.addr, 100, 3600)
    set_clock(0)
    local p = remote.start{ env = { LD_PRELOAD = shim, CLOCK_SHIM = file } }
    p:run([[
      d = assert(discover.start(select(1, ...), "mine", "127.0.0.1:8001",
        { ttl = 2, heartbeat = 0.5, resync = 0.5, log_level = "off", calls = { web = { deadline = 3 } } }))
      events = {}
      d:on_event(function(e) events[#events + 1] = e.name end)
      function round()
        local failed, calls, last = 0, 0, ""
        local from = d:stats().registry.reads
        -- Until some reads have passed: by their count, since no clock can be trusted here.
        repeat
          local res = d:get("web", "/name")
          calls = calls + 1
          if not res.ok then failed, last = failed + 1, tostring(res) end
          socket.sleep(0.001)
        until d:stats().registry.reads >= from + 4 or calls > 30000
        return failed, calls, last, d:registered(), os.time()
      end
    ]], r:url())
    local monitor = r:monitor()
    local real = os.time()
    for _, hours in ipairs{ 0, 1, -1, 0, 24 * 365, 0 } do
      set_clock(hours * 3600)
      monitor:forget()
      local failed, calls, last, registered, now = p:run "return round()"
      assert.equal(0, failed, last)
      assert.is_true(calls > 20 and calls < 30000, calls .. " calls")
      assert.is_true(registered)
      -- The shim did its work: the program lives in another hour.
      assert.is_true(math.abs(now - real - hours * 3600) < 600, "the clock did not jump")
      assert.is_true(#monitor:lines "^HSETNX mine" >= 2, "heartbeats at " .. hours)
      assert.equal(0, #monitor:lines "^HSET mine")
      assert.equal(1, r:cli("EXISTS", "mine_127.0.0.1:8001"))
    end
    -- A jump in the middle of a call does not end it early, nor keep it for ever.
    p:tell("local res = d:request{ method = 'GET', app = 'web', path = '/slow', timeout = 2 } return res.err")
    local began = wait.now()
    wait.pass(0.2)
    set_clock(3600)
    assert.equal("timeout", p:hear())
    local took = wait.now() - began
    assert.is_true(took > 1.5 and took < wait.scale(4), ("a time limit of 2 s took %.2f s"):format(took))
    set_clock(0)
    assert.equal(0, p:run [[
      local n = 0
      for _, name in ipairs(events) do n = n + (name == "lost" and 1 or 0) end
      return n
    ]])
    p:run "d:stop()"
    p:finish()
    assert.equal(0, #r:keys "mine*")
    monitor:close()
    web.kill()
    r:kill()
  end)
end)

describe("a thousand clients", function()
  local COUNT = 1000

  -- The largest number of `times` within `window` seconds.
  local function crowd(times, window)
    table.sort(times)
    local most, first = 0, 1
    for i, at in ipairs(times) do
      while at - times[first] > window do first = first + 1 end
      most = math.max(most, i - first + 1)
    end
    return most
  end

  it("that lose Redis in one moment: no 100 ms with more than a quarter of them, all back", function()
    local r = redis.start{ over = "plain", args = { "--maxclients", "4000" } }
    local relay = proxy.start()
    local p = remote.start()
    p:run([[
      local url, count = ...
      all = {}
      for i = 1, count do
        all[i] = assert(discover.open(url, { start_timeout = 0, log_level = "off", calls = { web = {} } }))
      end
      function up()
        local n = 0
        for _, d in ipairs(all) do n = n + (d:stats().registry.up and 1 or 0) end
        return n
      end
    ]], r:url(), COUNT)
    local function all_up()
      wait.until_true(function()
        local n = p:run "return up()"
        return n == COUNT, n .. " are up"
      end, 60, "all to be connected")
    end
    all_up()
    -- In its place somebody who takes connections and says nothing: each is counted once, two a client.
    local function come_back()
      r:kill()
      local line = relay:open(0, r.port, { accept = "hang" })
      -- Asking it keeps it from its work, and the work is to note the time.
      wait.pass(1.5)
      local times = wait.until_true(function()
        local list = line:times()
        return #list >= 2 * COUNT and list, #list .. " came"
      end, 30, "all to come back")
      local first = {}
      for i = 1, 2 * COUNT do first[i] = times[i] end
      line:set{ refuse = true }
      line:now "close"
      r:start()
      all_up()
      return crowd(first, 0.1) / #first
    end
    -- A machine that stands still for a moment pushes them together by itself, but not three times.
    local most = 1
    for _ = 1, 3 do
      most = math.min(most, come_back())
      if most <= 0.25 then break end
    end
    assert.is_true(most <= 0.25, ("%.0f %% of the connections within 100 ms"):format(most * 100))
    p:destroy()
    relay:finish()
    r:kill()
  end)
end)
