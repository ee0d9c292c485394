-- Limits on calls in flight: who is sent away, who waits, and that slots come back.
local calls = require "spec.support.calls"
local service = require "spec.support.service"
local wait = require "spec.support.wait"
local ws = require "spec.support.ws"

local A, B = "127.0.0.1:9001", "127.0.0.1:9002"

local server
setup(function() server = service.start() end)

local function client(config, nodes, opts)
  opts = opts or {}
  opts.calls = { svc = config }
  return calls.client(nodes or { server }, opts)
end

-- A stream whose body is held back until it is closed: it is too large for any buffer.
local function hold(d)
  local res = d:request{ app = "svc", path = "/big?bytes=30000000", stream = true }
  assert(not res.err, tostring(res))
  return res
end

describe("max_in_flight #api", function()
  it("counts a stream until it ends, and says overload", function()
    local d = client{ max_in_flight = 1 }
    local events = {}
    d:on_event(function(event) if event.name == "overload" then events[#events + 1] = event end end)
    local stream = hold(d)
    local before = wait.now()
    for _ = 1, 3 do
      local res = d:get("svc", "/name")
      assert.equal("overload", res.err)
      assert.equal(0, res.attempts)
      assert.equal('app "svc": there are max_in_flight = 1 in flight, and none may wait (queue = 0)', res.why)
    end
    assert.is_true(wait.now() - before < wait.scale(1))
    stream:close()
    assert.is_true(d:get("svc", "/name").ok)
    local svc = d:stats().apps.svc
    assert.equal(3, svc.errors.overload)
    assert.equal(0, svc.waiting)
    -- One event a second is enough.
    assert.equal("svc", events[1].app)
    assert.matches("max_in_flight = 1", events[1].why)
    assert.is_true(#events <= 2)
    assert.matches('discover_calls_total{app="svc",err="overload"} 3', d:stats "prometheus", 1, true)
  end)

  it("is of the app, and each discoverer has its own", function()
    local d, other = client{ max_in_flight = 1 }, client{ max_in_flight = 1 }
    calls.set(d, "other", { server })
    local stream = hold(d)
    assert.equal("overload", d:get("svc", "/name").err)
    assert.is_true(d:get("other", "/name").ok)
    assert.is_true(other:get("svc", "/name").ok)
    stream:close()
  end)

  it("lets a call wait in the queue until a stream has ended #core", function()
    local d = client({ max_in_flight = 1, queue = 1 }, { calls.answering(200, "x") })
    local s = d:request{ app = "svc", path = "/", stream = true }
    assert.is_nil(s.err)
    -- The little that is left of the stream comes while the other waits.
    local res = d:get("svc", "/")
    assert.is_true(res.ok, tostring(res))
    assert.equal(0, d:stats().apps.svc.waiting)
    s:close()
  end)

  it("ends a wait with the deadline: timeout, and why", function()
    local d = client{ max_in_flight = 1, queue = 5 }
    local stream = hold(d)
    local res = d:request{ app = "svc", path = "/name", deadline = 0.1 }
    assert.equal("timeout", res.err)
    assert.matches('^the deadline passed after 0 attempts and 0?%d*%.%d+ s in the queue of app "svc"', res.why)
    assert.equal(0, res.attempts)
    local svc = d:stats().apps.svc
    assert.same({ 1, 0 }, { svc.queued, svc.waiting })
    stream:close()
    assert.is_true(d:get("svc", "/name").ok)
  end)

  it("tells no_node, overload and timeout apart", function()
    local d = client({ max_in_flight = 1 }, {})
    assert(d:set_node("svc", A, 100))
    assert(d:set_node("svc", A, 0))
    assert.equal("no_node", d:get("svc", "/").err)
  end)

  it("is held by a WebSocket until it ends", function()
    local peer = ws.python()
    local d = client({ max_in_flight = 1 }, { peer })
    local socket = assert(d:open("svc", "/echo"))
    local none, why, code = d:open("svc", "/echo")
    assert.same({ nil, "overload" }, { none, code })
    assert.matches("max_in_flight = 1", why)
    socket:close()
    local again = assert(d:open("svc", "/echo"))
    again:close()
  end)

  it("does not let a call in a callback wait for its own caller for ever", function()
    local inner
    local d = client{ max_in_flight = 1, queue = 1, deadline = 10 }
    d:set_load_balancer{ response = function()
      if not inner then inner = d:request{ app = "svc", path = "/name", deadline = 0.1 } end
    end }
    local res = d:get("svc", "/name")
    assert.is_true(res.ok, tostring(res))
    assert.equal("timeout", inner.err)
    assert.matches("in the queue", inner.why)
    assert.is_true(d:get("svc", "/name").ok)
  end)

  it("frees slots of calls that fail in every way", function()
    local d = client({ max_in_flight = 1, timeout = 0.05, max_attempts = 1 })
    for _ = 1, 5 do
      assert.equal("timeout", d:get("svc", "/slow?ms=2000").err)
      assert.equal("invalid", d:get("svc", "/a\nb").err)
      assert.equal("too_large", d:request{ app = "svc", path = "/big?bytes=5000", max_body = 10 }.err)
      d:set_route(function() error "no" end)
      assert.equal("route", d:get("svc", "/").err)
      d:set_route(nil)
    end
    assert.not_equal("overload", d:get("svc", "/name").err)
  end)
end)

describe("max_in_flight_per_node #api", function()
  it("passes a full node by #core", function()
    local d = client({ max_in_flight_per_node = 2 }, { A, B })
    local count, held = {}, {}
    for i = 1, 4 do
      held[i] = assert(d:pick "svc")
      count[held[i].addr] = (count[held[i].addr] or 0) + 1
    end
    assert.same({ [A] = 2, [B] = 2 }, count)
    local node, why, code = d:pick "svc"
    assert.same({ nil, "overload" }, { node, code })
    assert.equal('overload: app "svc": every node has max_in_flight_per_node = 2 in flight', why)
    held[3]:done()
    assert.equal(held[3].addr, assert(d:pick "svc").addr)
    for _, balancer in ipairs{ "round_robin", "random", "least_in_flight", "hash" } do
      assert(d:set_load_balancer(balancer))
      assert.equal("overload", select(3, d:pick("svc", { key = "x" })))
    end
  end)

  it("is what a balancer of the user's sees", function()
    local seen
    local d = client({ max_in_flight_per_node = 1 }, { A, B })
    d:set_load_balancer{ next = function(_, nodes)
      seen = #nodes
      return nodes[1]
    end }
    assert(d:pick "svc")
    assert.equal(2, seen)
    assert(d:pick "svc")
    assert.equal(1, seen)
    assert.equal("overload", select(3, d:pick "svc"))
  end)

  it("never sends a call to an isolated node because the others are busy", function()
    local d = client({ max_in_flight_per_node = 1 }, { A, B }, { call_retry_times = 1 })
    calls.node(d, A):done(false)
    assert.equal("isolated", calls.node(d, A).state)
    assert.equal(B, assert(d:pick "svc").addr)
    assert.equal("overload", select(3, d:pick "svc"))
  end)

  it("sends a call away, or lets it wait for a node", function()
    local d = client{ max_in_flight_per_node = 1 }
    local node = assert(d:pick "svc")
    local res = d:get("svc", "/name")
    assert.equal("overload", res.err)
    assert.matches("every node has max_in_flight_per_node = 1 in flight, and none may wait", res.why)
    assert.equal("overload", d:request{ app = "svc", path = "/name", node = server.addr }.err)
    node:done()
    assert.is_true(d:get("svc", "/name").ok)
    local waiting = client{ max_in_flight_per_node = 1, queue = 1 }
    assert(waiting:pick "svc")
    assert.equal("timeout", waiting:request{ app = "svc", path = "/name", deadline = 0.1 }.err)
  end)

  it("of 0 and of configs without it limits nothing", function()
    local d = client({ max_in_flight_per_node = 0, max_in_flight = 0, queue = 3 }, { A })
    for _ = 1, 100 do assert(d:pick "svc") end
  end)
end)
