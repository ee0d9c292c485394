-- Calls that may only go to one node.
local calls = require "spec.support.calls"
local port = require "spec.support.port"
local scripted = require "spec.support.scripted"
local wait = require "spec.support.wait"

local function ended(res, err, attempts)
  assert.equal(err, res.err, tostring(res))
  assert.equal(attempts, res.attempts, tostring(res))
end

describe("fault 1: a call pinned to a failing node #api", function()
  it("is one attempt, whatever the node does and whatever retry says #core", function()
    local well = calls.answering()
    local kinds = {
      { port.refused(), "connect" },
      { scripted.http("read_request", "close"), "connect" },
      { scripted.http("read_request", "rst"), "connect" },
      { scripted.http("read_request", { "send", "nonsense\r\n\r\n" }, "close"), "protocol" },
      { port.blackhole(), "timeout" },
      { calls.answering(503, "busy"), nil },
      { calls.answering(502, "busy"), nil },
    }
    for _, kind in ipairs(kinds) do
      local bad, err = kind[1], kind[2]
      local d = calls.client({ { bad, 1 }, { well, 100 } }, {
        calls = { svc = { timeout = wait.scale(0.1), retry = "always" } } })
      wait.within(3, function()
        ended(d:request{ app = "svc", path = "/", node = bad.addr }, err, 1)
        ended(d:request{ method = "POST", app = "svc", path = "/", node = bad.addr, data = "x" }, err, 1)
      end)
      d:stop()
    end
    assert.equal(0, #well:requests())
  end)

  it("ends after it was isolated, too", function()
    local dead = port.refused()
    local d = calls.client({ dead.addr, calls.answering() }, { call_retry_times = 3 })
    wait.within(5, function()
      for _ = 1, 50 do
        local res = d:request{ app = "svc", path = "/", node = dead.addr }
        ended(res, "connect", 1)
        assert.equal(dead.addr, res.node)
      end
    end)
    assert.equal("isolated", calls.node(d, dead).state)
  end)
end)

describe("a pinned call #api", function()
  it("goes to its node, whatever the others weigh", function()
    local a, b = calls.answering(200, "a"), calls.answering(200, "b")
    local d = calls.client{ { a, 1 }, { b, calls.FIRST } }
    for _ = 1, 20 do
      local res = d:request{ app = "svc", path = "/", node = a.addr }
      assert.equal("a", res.body)
      assert.equal(a.addr, res.node)
    end
    assert.equal(0, #b:requests())
  end)

  it("to a node that is not there is no_node, to what is no address invalid", function()
    local d = calls.client{ calls.answering() }
    local res = d:request{ app = "svc", path = "/", node = "127.0.0.1:1" }
    ended(res, "no_node", 0)
    assert.matches("127.0.0.1:1", res.why, 1, true)
    res = d:request{ app = "svc", path = "/", node = "nonsense" }
    ended(res, "invalid", 0)
    assert.matches("nonsense", res.why)
  end)

  it("of a caller returns result and address", function()
    local a, b = calls.answering(200, "a"), calls.answering(200, "b")
    local d = calls.client{ a, b }
    local caller = d:new_caller()
    local res, addr = caller:request_with_node("GET", "svc", b.addr, "/")
    assert.equal("b", res.body)
    assert.equal(b.addr, addr)
    res, addr = caller:request_with_node("POST", "svc", a.addr, "/x", "data", { ["X-One"] = "1" })
    assert.equal("a", res.body)
    assert.equal(a.addr, addr)
    local request = a:requests("POST")[1]
    assert.equal("data", request.body)
    assert.equal("1", request.headers["x-one"])
    -- Without a node it is an ordinary call.
    res, addr = caller:request_with_node("GET", "svc", nil, "/")
    assert.is_true(res.ok)
    assert.equal(res.node, addr)
  end)

  it("counts as used and reports its node's health", function()
    local busy = calls.answering(503)
    local d = calls.client({ busy, calls.answering() }, { call_retry_times = 2 })
    local node = calls.node(d, busy)
    local before = node.used_times
    d:request{ app = "svc", path = "/", node = busy.addr }
    assert.equal(before + 1, node.used_times)
    assert.equal(1, node.failed_times)
    assert.equal(0, node.in_flight)
    d:request{ app = "svc", path = "/", node = busy.addr }
    assert.equal("isolated", node.state)
  end)
end)
