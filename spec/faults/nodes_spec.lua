-- Nodes that are killed, hang, lie and break connections anywhere: idempotent calls do not fail while one is well,
-- every call is back in time, and no answer is another call's.
local calls = require "spec.support.calls"
local discover = require "discover"
local load = require "spec.support.load"
local nodes = require "spec.support.nodes"
local port = require "spec.support.port"
local proc = require "spec.support.proc"
local proxy = require "spec.support.proxy"
local redis = require "spec.support.redis"
local scripted = require "spec.support.scripted"
local service = require "spec.support.service"
local wait = require "spec.support.wait"
local ws = require "spec.support.ws"

local FIRST = calls.FIRST

local function descriptors()
  return proc.descriptors()
end

describe("ten nodes under load", function()
  local r, web, loads

  before_each(function()
    r = redis.start{ over = "plain" }
    web, loads = {}, {}
    for i = 1, 10 do
      web[i] = service.nginx{ ["/name"] = "node " .. i }
      r:add_node("web", web[i].addr, 100)
    end
    for i = 1, 3 do loads[i] = load.start(r:url(), "web", { opts = nodes.fast() }) end
  end)

  local function all_served(least)
    for _, l in ipairs(loads) do
      local counts = l:finish()
      assert.equal(0, counts.failed, table.concat(counts.why, "\n"))
      assert.is_true(counts.calls > least, counts.calls .. " calls")
    end
    for _, one in ipairs(web) do one.kill() end
    r:kill()
  end

  it("one killed -9: 0 failed calls", function()
    for _, l in ipairs(loads) do l:more(100) end
    web[4].kill()
    for _, l in ipairs(loads) do l:more(1500) end
    all_served(1500)
  end)

  it("eight killed -9, one after the other: 0 failed calls", function()
    for i = 1, 8 do
      for _, l in ipairs(loads) do l:more(50) end
      web[i].kill()
    end
    for _, l in ipairs(loads) do l:more(1000) end
    all_served(1000)
  end)

  it("eight killed -9 in the same moment: 0 failed calls", function()
    for _, l in ipairs(loads) do l:more(100) end
    local pids = {}
    for i = 1, 8 do pids[i] = web[i].p.pid end
    proc.shell("kill -KILL " .. table.concat(pids, " "))
    for _, l in ipairs(loads) do l:more(1000) end
    all_served(1000)
  end)

  it("eight stopped (SIGSTOP), they hang: 0 failed calls", function()
    for _, l in ipairs(loads) do l:finish() end
    for i = 1, 8 do web[i].p:kill "STOP" end
    local d = assert(discover.open(r:url(), { log_level = "off", call_retry_times = 1,
      calls = { web = { timeout = 0.2, deadline = 10 } } }))
    for _ = 1, 200 do
      local res = d:get("web", "/name")
      assert.is_true(res.ok, tostring(res))
    end
    d:stop()
    for i = 1, 8 do web[i].p:kill "CONT" end
    loads = {}
    all_served(0)
  end)
end)

describe("a whole app dead", function()
  local function all_back(addrs, limit, seconds)
    local d = calls.client(addrs, { calls = { svc = { timeout = 0.3, deadline = limit } } })
    local deadline, count = wait.now() + seconds, 0
    repeat
      local took, res = wait.within(limit + 1, d.get, d, "svc", "/")
      assert.is_false(res.ok)
      assert.is_true(took <= limit + wait.scale(0.5), ("%.2f s: %s"):format(took, tostring(res)))
      count = count + 1
    until wait.now() > deadline
    d:stop()
    assert.is_true(count >= seconds / (limit + 0.5) - 1)
  end

  it("that refuses, hangs, takes no connection, resets: every call back within its deadline", function()
    local refused, mute, full = {}, {}, {}
    for i = 1, 5 do refused[i], mute[i], full[i] = port.refused(), port.blackhole(), port.full() end
    local resets = scripted.start{ { "read_request", "rst" } }
    all_back(refused, 1, 1)
    all_back(mute, 1, 3)
    all_back(full, 1, 3)
    all_back({ resets }, 1, 1)
    all_back({ refused[1], mute[1], full[1], resets }, 1, 3)
    for i = 1, 5 do
      refused[i]:close()
      mute[i]:close()
      full[i]:close()
    end
  end)
end)

describe("an HTTP connection", function()
  local web, well, p, line

  setup(function()
    web = service.nginx{ ["/"] = ("a"):rep(60) }
    well = service.nginx{ ["/"] = ("a"):rep(60) }
    p = proxy.start()
    line = p:open(web.port)
  end)

  local function pair(options)
    options = options or { timeout = 5, deadline = 20 }
    local d = assert(discover.new{ log_level = "off", calls = { svc = options } })
    calls.set(d, "svc", { { line, FIRST }, { well, 1 } })
    return d
  end

  local function measure()
    line:set()
    local d = pair()
    assert.is_true(d:get("svc", "/").ok)
    local live = line:stats().live[1]
    d:stop()
    return live
  end

  it("closed or reset after every byte of request and answer: 0 failed calls", function()
    local bytes, before, count = measure(), descriptors(), 0
    for _, way in ipairs{ "up", "down" } do
      for at = 0, bytes[way] - 1 do
        line:set{ first = 1, [way] = { cut = at, how = at % 2 == 0 and "close" or "reset" } }
        local d = pair()
        local res = d:get("svc", "/")
        assert.is_true(res.ok and res.body == ("a"):rep(60), ("%s %d: %s"):format(way, at, tostring(res)))
        assert.is_true(res.attempts <= 2)
        d:stop()
        count = count + 1
      end
    end
    assert.is_true(count > 250, count .. " cuts")
    collectgarbage()
    collectgarbage()
    assert.is_true(descriptors() <= before)
  end)

  it("that was kept alive and dies, thirty times: 0 failed calls", function()
    line:set()
    local d = pair()
    for i = 1, 30 do
      assert.is_true(d:get("svc", "/").ok)
      line:now(i % 2 == 0 and "close" or "reset")
      local res = d:get("svc", "/")
      assert.is_true(res.ok, tostring(res))
    end
    d:stop()
  end)

  it("that was kept alive and is mute from now on: 0 failed calls", function()
    line:set()
    local d = pair{ timeout = 0.2, deadline = 10 }
    for _ = 1, 5 do
      assert.is_true(d:get("svc", "/").ok)
      line:now "hang"
      local res = d:get("svc", "/")
      assert.is_true(res.ok, tostring(res))
      line:now "close"
    end
    d:stop()
  end)

  it("mute after every tenth byte, slow byte by byte, late: 0 failed calls", function()
    local bytes = measure()
    for _, way in ipairs{ "up", "down" } do
      for at = 0, bytes[way] - 1, 10 do
        line:set{ first = 1, [way] = { cut = at, how = "hang" } }
        local d = pair{ timeout = 0.15, deadline = 10 }
        local res = d:get("svc", "/")
        assert.is_true(res.ok, ("%s %d: %s"):format(way, at, tostring(res)))
        d:stop()
      end
    end
    line:set{ up = { trickle = { 1, 1 } }, down = { trickle = { 1, 1 }, delay = 100 } }
    local d = pair()
    assert.equal(line.addr, d:get("svc", "/").node)
    d:stop()
    line:set()
  end)

  it("with every byte of an answer wrong or twice: every call back in time, the next one well", function()
    local bytes = measure()
    for _, what in ipairs{ "corrupt", "twice" } do
      for at = 0, bytes.down - 1, 2 do
        line:set{ first = 1, down = { [what] = at, mask = 1 } }
        local d = pair{ timeout = 0.3, deadline = 2 }
        local res = wait.within(3, function() return select(2, wait.within(3, d.get, d, "svc", "/")) end)
        assert.is_not_nil(res)
        line:set()
        for _ = 1, 2 do
          local after = d:get("svc", "/")
          assert.is_true(after.ok and after.body == ("a"):rep(60), ("%s %d: %s"):format(what, at, tostring(after)))
        end
        d:stop()
      end
    end
  end)
end)

describe("a node that lies about its length", function()
  it("too short: no answer is the rest of another one's", function()
    local first, forged = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
      "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
    for _, script in ipairs{ { { "send", first .. "def" } }, { { "send", first .. forged } },
                             { { "send", first }, { "sleep", 3 }, { "send", forged }, "mark" } } do
      script[#script + 1] = "loop"
      local liar = scripted.http("read_request", table.unpack(script))
      local d = calls.client({ liar }, { calls = { svc = { timeout = 2 } } })
      for i = 1, 20 do
        local res = d:get("svc", "/" .. i)
        assert.is_true(res.ok, tostring(res))
        assert.equal("abc", res.body)
        -- What comes while nothing is asked finds nobody either.
        if script[4] then liar:wait(function(s) return #s:journal "mark" == i end, 5) end
        if i % 3 == 0 then wait.pass(0.03) end
      end
      d:stop()
      liar:kill()
    end
  end)

  it("too long: the attempt fails and the next node answers, 0 failed calls", function()
    local liar = scripted.start{ { "read_request", { "send", "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nabc" } } }
    local good = calls.answering(200, "good")
    for _ = 1, 10 do
      local d = calls.client{ { liar, FIRST }, { good, 1 } }
      local res = d:get("svc", "/")
      assert.equal("good", res.body, tostring(res))
      assert.equal(2, res.attempts)
      d:stop()
    end
    liar:kill()
    good:kill()
  end)
end)

describe("a WebSocket", function()
  local s, well, p, line

  setup(function()
    s, well = ws.python(), ws.python()
    p = proxy.start()
    line = p:open(s.port)
  end)
  teardown(function()
    s:kill()
    well:kill()
  end)

  local function client(targets)
    return calls.client(targets or { { line, FIRST }, { well, 1 } })
  end

  it("cut after any byte of its opening: opened on the next node, nothing lost", function()
    line:set()
    local d = client()
    local w = assert(d:open("svc", "/echo"))
    local bytes = line:stats().live[1]
    w:close()
    d:stop()
    local before = descriptors()
    for _, way in ipairs{ "up", "down" } do
      for at = 0, bytes[way] - 1, 7 do
        line:set{ first = 1, [way] = { cut = at, how = at % 2 == 0 and "close" or "reset" } }
        d = client()
        local one, why = d:open("svc", "/echo")
        assert.is_not_nil(one, ("%s %d: %s"):format(way, at, tostring(why)))
        assert(one:send "hi")
        assert.equal("hi", (one:receive()))
        one:close()
        assert.equal(0, calls.node(d, line).in_flight)
        d:stop()
      end
    end
    collectgarbage()
    collectgarbage()
    assert.is_true(descriptors() <= before)
  end)

  it("that stood and is closed, reset or mute: told at once, or after ping_timeout; the node is free", function()
    for how, limit in pairs{ close = 1, reset = 1, hang = 3 } do
      line:set()
      local d = client{ line }
      local w = assert(d:open{ app = "svc", path = "/echo", ping = 0.2, ping_timeout = 0.3 })
      assert(w:send "hi")
      assert.equal("hi", (w:receive()))
      line:now(how)
      local took, data, _, code = wait.within(limit, w.receive, w, 10)
      assert.is_nil(data)
      assert.is_true(code == "connect" or code == "timeout", how .. ": " .. tostring(code))
      assert.is_true(took < wait.scale(limit))
      assert.equal("closed", w.state)
      assert.equal(0, calls.node(d, line).in_flight)
      d:stop()
      line:now "close"
    end
  end)

  it("with a byte wrong, missing or twice: whole messages or an end with its word, never a crash", function()
    for _, what in ipairs{ "corrupt", "twice", "cut" } do
      for _, way in ipairs{ "up", "down" } do
        for at = 0, 40, 4 do
          line:set()
          local d = client{ line }
          local w = assert(d:open{ app = "svc", path = "/echo", ping = 0.1, ping_timeout = 0.2 })
          line:set({ [way] = { [what] = at, mask = 129, how = "reset" } }, "live")
          assert(w:send(("x"):rep(30)))
          local _, data, _, code = wait.within(3, w.receive, w, 1)
          assert.is_true(data ~= nil or ({ protocol = 1, connect = 1, timeout = 1, closed = 1 })[code] == 1,
            ("%s %s %d: %s"):format(what, way, at, tostring(code)))
          wait.within(3, w.close, w)
          assert.equal(0, calls.node(d, line).in_flight)
          d:stop()
        end
      end
    end
  end)
end)
