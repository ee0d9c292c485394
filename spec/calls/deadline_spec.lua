-- Time: of an attempt, of a connection, of the whole call.
local calls = require "spec.support.calls"
local port = require "spec.support.port"
local scripted = require "spec.support.scripted"
local wait = require "spec.support.wait"

-- Runs a call whose deadline is 0.2 s; it ends by then, with a slack of ten times.
local function in_time(nodes, method)
  local d = calls.client(nodes, { calls = { svc = { deadline = 0.2 } } })
  local took, res = wait.within(2, function() return d:request(method or "GET", "svc", "/") end)
  assert.is_false(res.ok)
  assert.is_true(math.abs(res.elapsed - took) < 0.5)
  return res, took
end

local function many(n, make)
  local nodes = {}
  for i = 1, n do nodes[i] = make(i) end
  return nodes
end

describe("fault 12: the total deadline holds when", function()
  it("one node after the other hangs #api #core", function()
    local res, took = in_time(many(20, function() return port.blackhole().addr end))
    assert.equal("timeout", res.err)
    assert.is_true(took >= 0.15, "it gave up early")
    assert.matches("deadline", res.why)
  end)

  it("hanging nodes are left by their own timeout", function()
    local nodes = many(20, function() return port.blackhole().addr end)
    local d = calls.client(nodes, { calls = { svc = { timeout = 0.05, deadline = 0.3 } } })
    local _, res = wait.within(3, function() return d:get("svc", "/") end)
    assert.equal("timeout", res.err)
    assert.is_true(res.attempts >= 2 and res.attempts < 20, tostring(res))
  end)

  it("connections are never completed", function()
    local res = in_time(many(10, function() return port.full().addr end))
    assert.equal("timeout", res.err)
  end)

  it("400 nodes refuse", function()
    local res = in_time(many(400, function(i) return "127.0.0.2:" .. 20000 + i end))
    assert.is_true(res.err == "timeout" or res.err == "all_failed", tostring(res))
    assert.is_true(res.attempts >= 2)
  end)

  it("a node trickles its headers #api", function()
    local slow = scripted.http("read_request", { "trickle", "HTTP/1.1 200 OK\r\n" .. ("X: y\r\n"):rep(100), 10 })
    assert.equal("timeout", in_time({ slow }).err)
  end)

  it("a node trickles its body, and headers are kept #api", function()
    local head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nX-Who: slow\r\n\r\n"
    local slow = scripted.http("read_request", { "send", head }, { "trickle", ("x"):rep(1000), 10 })
    local res = in_time{ slow }
    assert.equal("timeout", res.err)
    assert.equal(200, res.status)
    assert.equal("slow", res:header "x-who")
  end)

  it("a node does not read a large body", function()
    local d = calls.client({ scripted.http "hang" }, { calls = { svc = { deadline = 0.2 } } })
    local _, res = wait.within(2, function() return d:put("svc", "/", ("x"):rep(8 * 1024 * 1024)) end)
    assert.equal("timeout", res.err)
  end)

  it("nodes answer 503, each a little late", function()
    local res = in_time(many(8, function()
      return scripted.http("read_request", { "sleep", 60 }, { "respond", 503, "busy" })
    end))
    assert.equal("timeout", res.err)
    assert.equal("busy", res.body)
  end)

  it("the app's nodes are not known yet and the registry is silent", function()
    local redis = scripted.redis{ HGETALL = "silent", SUBSCRIBE = "silent" }
    local d = calls.stop_at_end(assert(require "discover".open("redis://" .. redis.addr .. "/1", {
      log_level = "off", start_timeout = 0.1, calls = { svc = { deadline = 0.2 } } })))
    local _, res = wait.within(2, function() return d:get("svc", "/") end)
    assert.is_true(res.err == "registry" or res.err == "timeout", tostring(res))
    assert.equal(0, res.attempts)
  end)

  it("a request asks for a shorter one", function()
    local d = calls.client{ port.blackhole().addr }
    local _, res = wait.within(2, function() return d:request{ app = "svc", path = "/", deadline = "200ms" } end)
    assert.equal("timeout", res.err)
  end)
end)

describe("timeout #api", function()
  it("of an attempt leaves a hanging node for another one #core", function()
    local hang, well = port.blackhole(), calls.answering(200, "well")
    local config = { timeout = wait.scale(0.1) }
    local d = calls.client({ { hang.addr, calls.FIRST }, { well, 1 } }, { calls = { svc = config } })
    local _, res = wait.within(2, function() return d:get("svc", "/") end)
    assert.equal("well", res.body)
    assert.equal("timeout", res.trace[1].err)
    assert.is_true(res.trace[1].seconds >= 0.08, "left too early")
  end)

  it("is per app, and a request's own wins", function()
    local slow = scripted.http("read_request", { "sleep", 300 }, { "respond", 200, "late" }, "loop")
    local d = calls.client({}, { calls = { quick = { timeout = "100ms" }, patient = { timeout = 5 } } })
    assert(d:set_node("quick", slow.addr, 1))
    assert(d:set_node("patient", slow.addr, 1))
    assert.equal("timeout", d:get("quick", "/").err)
    assert.equal("late", d:get("patient", "/").body)
    assert.equal("timeout", d:request{ app = "patient", path = "/", timeout = 0.1 }.err)
    assert.equal("late", d:request{ app = "quick", path = "/", timeout = "5s" }.body)
  end)

  it("of connecting ends an attempt long before its timeout", function()
    local full = port.full()
    local d = calls.client({ full.addr }, { calls = { svc = { connect_timeout = 0.1, timeout = 20 } } })
    local _, res = wait.within(2, function() return d:get("svc", "/") end)
    assert.equal("timeout", res.err)
    assert.matches(full.addr, res.why, 1, true)
  end)

  it("counts for the node: a hanging one is isolated", function()
    local hang, well = port.blackhole(), calls.answering()
    local d = calls.client({ { hang.addr, calls.FIRST }, { well, 1 } }, {
      call_retry_times = 2, calls = { svc = { timeout = 0.05 } } })
    calls.gets(d, 2)
    assert.equal("isolated", calls.node(d, hang).state)
  end)

  it("of a pinned call to a name that does not resolve ends in time", function()
    local d = calls.client({ "no-such-host.invalid:80" }, { calls = { svc = { timeout = 1, deadline = 1 } } })
    local _, res = wait.within(10, function() return d:get("svc", "/") end)
    assert.is_true(res.err == "connect" or res.err == "timeout", tostring(res))
  end)
end)
