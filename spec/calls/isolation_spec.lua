-- Nodes that fail are left alone, probed, and taken back gently.
local calls = require "spec.support.calls"
local discover = require "discover"
local port = require "spec.support.port"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local FIRST = calls.FIRST
local A, B, C = "127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"

-- Reports failures of a node picked by hand until it is isolated; returns when that was.
local function isolate(d, addr)
  local node = calls.node(d, addr)
  repeat node:done(false) until node.state == "isolated"
  return wait.now()
end

-- Picks (each done well at once) until the node comes up again; returns the seconds since `from`.
local function wait_for_return(d, addr, from, seconds)
  wait.until_true(function()
    local node = assert(d:pick "svc")
    node:done()
    return node.addr == addr
  end, seconds, "the node to return")
  return wait.now() - from
end

describe("fault 2: an isolated node", function()
  it("saw at most call_retry_times failures before, and no caller saw one #api #core", function()
    local dead, well = port.refused(), calls.answering()
    for _, times in ipairs{ 1, 3, 10 } do
      local d = calls.client({ { dead.addr, FIRST }, { well, 1 } }, { call_retry_times = times ~= 10 and times or nil })
      local failures = 0
      for _ = 1, 30 do
        local res = d:get("svc", "/")
        assert.is_true(res.ok, tostring(res))
        failures = failures + res.attempts - 1
      end
      assert.equal(times, failures)
      local node = calls.node(d, dead)
      assert.equal("isolated", node.state)
      assert.equal(times, node.failed_times)
      assert.equal(1, d:stats().apps.svc.isolations)
      d:stop()
    end
  end)

  it("is not isolated when a success comes in between #api", function()
    local d = calls.client({ A, B }, { call_retry_times = 3 })
    local node = calls.node(d, A)
    for _ = 1, 5 do
      node:done(false)
      node:done(503)
      assert.equal(2, node.failed_times)
      node:done(404)
      assert.equal(0, node.failed_times)
      assert.equal("up", node.state)
    end
  end)

  it("is back 0.5 to 2.5 s after its first isolation, by the first probe after it recovered", function()
    local s, well = service.start(), calls.answering()
    local events = {}
    local d = calls.client({ { s, FIRST }, { well, 1 } }, { call_retry_times = 3 })
    d:on_event(function(event) events[#events + 1] = event.name .. " " .. (event.node or "") end)
    s:control{ fail = 503 }
    while calls.node(d, s).state ~= "isolated" do assert.is_true(d:get("svc", "/").ok) end
    local from = wait.now()
    s:control() -- well again
    s:reset()
    local res
    wait.until_true(function()
      res = d:get("svc", "/name")
      assert.is_true(res.ok, tostring(res))
      return res.node == s.addr
    end, 10, "the node to return")
    local took = wait.now() - from
    assert.is_true(took >= 0.45 and took <= wait.scale(2.5), "back after " .. took .. " s")
    assert.equal(1, res.attempts)
    assert.equal("up", calls.node(d, s).state)
    assert.equal(0, calls.node(d, s).failed_times)
    assert.same({ "isolated " .. s.addr, "recovered " .. s.addr }, { events[#events - 1], events[#events] })
    assert.equal(1, d:stats().apps.svc.recoveries)
  end)

  it("that fails its probes is probed ever less, and is back within 15 s", function()
    local s, well = service.start(), calls.answering()
    local d = calls.client({ { s, FIRST }, { well, 1 } }, { call_retry_times = 1 })
    s:control{ fail = 502 }
    assert.is_true(d:get("svc", "/").ok)
    s:reset()
    local from = wait.now()
    -- Two probes fail: after 0.5 to 1.5 s, then after 1 to 3 s more.
    local probes = {}
    wait.until_true(function()
      local res = d:get("svc", "/")
      assert.is_true(res.ok, tostring(res))
      if res.attempts > 1 then probes[#probes + 1] = wait.now() - from end
      return #probes == 2
    end, 10, "two probes")
    assert.equal(2, s:count())
    assert.is_true(probes[1] >= 0.45, "the first probe came after " .. probes[1])
    assert.is_true(probes[2] - probes[1] >= 0.95, "the second came " .. probes[2] - probes[1] .. " after the first")
    s:control()
    from = wait.now()
    wait.until_true(function() return d:get("svc", "/").node == s.addr end, 15, "the node to return")
    assert.is_true(wait.now() - from >= 1.5, "the third period is at least 2 s")
  end)

  it("never gets above its share after its return #api #core", function()
    local d = calls.client({ A, B, C }, { call_retry_times = 1 })
    calls.picks(d, 300)
    local from = isolate(d, A)
    -- The others work meanwhile.
    local count = calls.picks(d, 3000)
    assert.is_nil(count[A])
    wait_for_return(d, A, from, 5)
    local first = calls.picks(d, 12)
    assert.is_true((first[A] or 0) <= 5, "it took " .. tostring(first[A]) .. " of the first 12")
    local later = calls.picks(d, 3000)
    assert.is_true(math.abs(later[A] - 1000) <= 10, "it took " .. later[A] .. " of 3000")
  end)

  it("is used when all are isolated #api #core", function()
    local a, b = calls.answering(503, "a"), calls.answering(503, "b")
    local d = calls.client({ a, b }, { call_retry_times = 1 })
    assert.equal("all_failed", d:get("svc", "/").err)
    assert.same({ "isolated", "isolated" }, { calls.node(d, a).state, calls.node(d, b).state })
    for _ = 1, 20 do
      local res = d:get("svc", "/")
      assert.equal("all_failed", res.err)
      assert.equal(2, res.attempts)
    end
    assert.equal(21, #a:requests())
    assert.equal(21, #b:requests())
    -- Whoever answers well is back at once, without waiting for a probe.
    b:restart{ { "read_request", { "respond", 200, "b" }, "loop" } }
    local res = d:get("svc", "/")
    assert.is_true(res.ok, tostring(res))
    assert.equal("up", calls.node(d, b).state)
  end)

  it("alone in its app is used all the same, POST too #api", function()
    local s = calls.answering(503)
    local d = calls.client({ s }, { call_retry_times = 1 })
    for _ = 1, 10 do
      assert.equal(503, d:get("svc", "/").status)
      assert.equal(503, d:post("svc", "/", "x").status)
    end
    s:restart{ { "read_request", { "respond", 200 }, "loop" } }
    assert.is_true(d:post("svc", "/", "x").ok)
    assert.equal("up", calls.node(d, s).state)
  end)

  it("is not tried before the others as long as they are well #api", function()
    local bad, well = calls.answering(503), calls.answering()
    local d = calls.client({ { bad, FIRST }, { well, 1 } }, { call_retry_times = 1 })
    d:get("svc", "/")
    for _ = 1, 50 do assert.equal(1, d:get("svc", "/").attempts) end
    assert.equal(1, #bad:requests())
  end)

  it("is the last resort of a call whose other nodes failed #api", function()
    local bad = service.start()
    local d = calls.client({ { bad, FIRST }, { port.refused().addr, 1 } }, { call_retry_times = 1 })
    bad:control{ fail = 503 }
    assert.equal("all_failed", d:get("svc", "/").err)
    assert(d:set_node("svc", port.refused().addr, 1))
    bad:control()
    local res = d:get("svc", "/")
    assert.is_true(res.ok, tostring(res))
    assert.equal(bad.addr, res.node)
  end)
end)

describe("the probe #api", function()
  it("is one call at a time, and its slot lapses #core", function()
    local d = calls.client({ A, B }, { call_retry_times = 1, calls = { svc = { deadline = 1 } } })
    local from = isolate(d, A)
    local held
    -- Not done: the probe is under way.
    wait.until_true(function()
      local node = d:pick "svc"
      if node.addr == A then
        held = node
        return true
      end
      node:done()
    end, 5, "the probe")
    local begun = wait.now()
    assert.is_true(begun - from >= 0.45)
    assert.equal("probing", held.state)
    assert.is_nil(calls.picks(d, 200)[A])
    -- Nobody reports: another call may probe after the deadline.
    wait_for_return(d, A, begun, 5)
    assert.is_true(wait.now() - begun >= 0.8, "the slot lapsed early")
    assert.equal("up", held.state)
  end)

  it("that fails isolates again", function()
    local d = calls.client({ A, B }, { call_retry_times = 1 })
    isolate(d, A)
    local node = wait.until_true(function()
      local node = d:pick "svc"
      if node.addr == A then return node end
      node:done()
    end, 5, "the probe")
    node:done(false)
    assert.equal("isolated", node.state)
    assert.is_nil(calls.picks(d, 200)[A])
  end)

  it("is never a call that may not be repeated, while another node is usable", function()
    local bad, well = service.start(), calls.answering()
    local d = calls.client({ { bad, FIRST }, { well, 1 } }, { call_retry_times = 1 })
    bad:control{ fail = 503 }
    assert.is_true(d:get("svc", "/").ok)
    bad:control()
    bad:reset()
    local from = wait.now()
    repeat
      local res = d:post("svc", "/order", "tea")
      assert.equal(well.addr, res.node)
      assert.equal(1, res.attempts)
    until wait.now() - from > 1.7 -- a probe is due since 1.5 s at the latest
    assert.equal(0, bad:count())
    -- An order that may be repeated, or a GET, does it.
    local res = d:post("svc", "/order", "tea", { ["Idempotency-Key"] = "1" })
    assert.equal(bad.addr, res.node)
    assert.equal(1, bad:count())
  end)

  it("is for everybody: one of all discoverers that share a registry", function()
    local registry, opts = "memory://isolation-" .. port.free(), { shared = true, call_retry_times = 1 }
    calls.stop_at_end(assert(discover.start(registry, "svc", A)))
    calls.stop_at_end(assert(discover.start(registry, "svc", B)))
    opts.calls, opts.log_level = { svc = {} }, "off"
    local one = calls.stop_at_end(assert(discover.open(registry, opts)))
    local two = calls.stop_at_end(assert(discover.open(registry, opts)))
    isolate(one, A)
    assert.equal("isolated", calls.node(two, A).state)
    local held = wait.until_true(function()
      local node = one:pick "svc"
      if node.addr == A then return node end
      node:done()
    end, 5, "the probe")
    assert.is_nil(calls.picks(two, 200)[A])
    held:done()
    assert.is_true(calls.picks(two, 200)[A] > 50)
  end)

  it("is offered to a balancer of the user's", function()
    local seen = {}
    local d = calls.client({ A, B }, { call_retry_times = 1 })
    isolate(d, A)
    d:set_load_balancer{ next = function(_, nodes)
      for _, node in ipairs(nodes) do
        if node.addr == A then return node end
      end
      seen[#nodes] = true
      return nodes[1]
    end }
    assert.equal(B, d:pick("svc").addr)
    assert.same({ true }, seen)
    local node = wait.until_true(function()
      local node = d:pick "svc"
      if node.addr == A then return node end
      node:done()
    end, 5, "the probe")
    assert.equal("probing", node.state)
    -- While it is probed it is not shown to others.
    assert.equal(B, d:pick("svc").addr)
    node:done()
    assert.equal("up", node.state)
  end)

  it("that ends with a fault of our own frees its slot", function()
    local s, well = service.start(), calls.answering()
    local d = calls.client({ { s, FIRST }, { well, 1 } }, { call_retry_times = 1, calls = { svc = { timeout = 20 } } })
    s:control{ fail = 503, times = 1 }
    assert.is_true(d:get("svc", "/").ok)
    wait.until_true(function()
      -- A body over max_body says nothing about the node.
      local res = d:request{ app = "svc", path = "/big?bytes=5000", max_body = 100 }
      return res.node == s.addr and res.err == "too_large"
    end, 10, "a neutral probe")
    -- The next call probes at once.
    local res = d:get("svc", "/")
    assert.equal(s.addr, res.node)
    assert.equal("up", calls.node(d, s).state)
  end)
end)
