-- What is tried again, where, how often, and what a result says about it.
local calls = require "spec.support.calls"
local port = require "spec.support.port"
local scripted = require "spec.support.scripted"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local FIRST = calls.FIRST

-- libcurl may open a second connection before it is told not to send again: what counts is what was sent.
local function sent_on_first_only(server)
  for _, record in ipairs(server:journal()) do
    local is_sent = record.event == "request" or record.event == "bytes" or (record.pending or 0) > 0
    assert.is_false(is_sent and record.conn > 1, "something was sent on connection " .. record.conn)
  end
end

local function ended(res, err, attempts)
  assert.equal(err, res.err, tostring(res))
  assert.equal(attempts, res.attempts, tostring(res))
end

describe("a dead node #api", function()
  it("is replaced by another one, without a failed call #core", function()
    local dead, well = port.refused(), calls.answering(200, "well")
    local d = calls.client{ { dead.addr, FIRST }, { well, 1 } }
    local res = d:get("svc", "/")
    ended(res, nil, 2)
    assert.is_true(res.ok)
    assert.equal("well", res.body)
    assert.equal(well.addr, res.node)
    assert.equal(dead.addr .. " " .. well.addr, calls.path(res))
    assert.equal("connect", res.trace[1].err)
    assert.is_nil(res.trace[1].status)
    assert.is_nil(res.trace[2].err)
    assert.equal(200, res.trace[2].status)
    for _, attempt in ipairs(res.trace) do assert.is_true(attempt.seconds >= 0 and attempt.seconds < 10) end
  end)

  it("is not waited for when there is no other left", function()
    local d = calls.client{ port.refused().addr, port.refused().addr }
    local waited = 0
    for _ = 1, 40 do
      local res = d:get("svc", "/")
      ended(res, "all_failed", 2)
      waited = waited + res.elapsed - res.trace[1].seconds - res.trace[2].seconds
    end
    -- A back-off of up to 50 ms after the last attempt would make about a second of it.
    assert.is_true(waited < wait.scale(0.2), waited)
  end)

  it("that dies in the middle of many calls fails none of them", function()
    local servers = { service.nginx(), service.nginx(), service.nginx() }
    local d = calls.client(servers)
    calls.gets(d, 300)
    servers[2].kill()
    local count = calls.gets(d, 600)
    assert.is_nil(count[servers[2].addr])
    assert.is_true(math.abs(count[servers[1].addr] - 300) <= 5)
  end)

  it("is met with a body too: everything is sent anew", function()
    local well = scripted.http("read_request", { "respond", 200, "ok" }, "loop")
    local dead = scripted.http("read_request", "close")
    local d = calls.client{ { dead, FIRST }, { well, 1 } }
    local body = ("x"):rep(100000)
    ended(d:put("svc", "/p", body), nil, 2)
    assert.equal(body, well:requests("PUT")[1].body)
    assert.equal(body, dead:requests("PUT")[1].body)
  end)
end)

describe("fault 3: POST", function()
  it("is sent exactly once when the node dies after reading it, on a fresh connection #api #core", function()
    local cruel, well = scripted.http("read_request", "close"), calls.answering()
    local d = calls.client{ { cruel, FIRST }, { well, 1 } }
    local res = d:post("svc", "/order", "tea")
    ended(res, "connect", 1)
    assert.is_false(res.ok)
    assert.equal(cruel.addr, res.node)
    assert.equal(1, #cruel:requests "POST")
    assert.equal(0, #well:requests())
  end)

  it("is sent exactly once when the node dies after reading it, on a kept-alive connection #api #core", function()
    -- The next connections would answer well: whoever sends it again is found out.
    local cruel = scripted.start{
      { "read_request", { "respond", 200 }, "read_request", "close" },
      { "read_request", { "respond", 200 }, "loop" },
    }
    local well = calls.answering()
    local d = calls.client{ { cruel, FIRST }, { well, 1 } }
    assert.is_true(d:get("svc", "/").ok)
    local res = d:post("svc", "/order", "tea")
    ended(res, "connect", 1)
    assert.equal(1, #cruel:requests "POST")
    assert.equal(0, #well:requests())
    sent_on_first_only(cruel)
  end)

  it("is sent exactly once by every kind of death after reading", function()
    local deaths = {
      { "read_request", "rst" },
      { "read_request", { "send", "HTTP/1.1 200 OK\r\nContent-Le" }, "close" },
      { "read_request", { "send", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf" }, "close" },
      { "read_request", { "send", "HTTP/1.1 100 Continue\r\n\r\n" }, "close" },
      { "read_request", { "send", "nonsense\r\n\r\n" }, "close" },
      { { "read", 20 }, "rst" },
    }
    for i, script in ipairs(deaths) do
      local kept = { "read_request", { "respond", 200 } }
      for _, step in ipairs(script) do kept[#kept + 1] = step end
      for _, first in ipairs{ script, kept } do
        local cruel, well = scripted.start{ first, { "read_request", { "respond", 200 }, "loop" } }, calls.answering()
        local d = calls.client{ { cruel, FIRST }, { well, 1 } }
        if first == kept then assert.is_true(d:get("svc", "/").ok) end
        local res = d:post("svc", "/order", ("tea"):rep(1000))
        assert.is_false(res.ok, "death " .. i)
        assert.equal(1, res.attempts, "death " .. i .. " " .. tostring(res))
        sent_on_first_only(cruel)
        assert.equal(0, #well:requests(), "death " .. i)
        d:stop()
        cruel:kill()
        well:kill()
      end
    end
  end)

  it("is sent exactly once when the node does not answer in time", function()
    local mute, well = scripted.http("read_request", "hang"), calls.answering()
    local d = calls.client({ { mute, FIRST }, { well, 1 } }, { calls = { svc = { timeout = 0.1 } } })
    ended(d:post("svc", "/order", "tea"), "timeout", 1)
    assert.equal(1, #mute:requests "POST")
    assert.equal(0, #well:requests())
  end)

  it("goes to another node when the connection is refused, or never made #api #core", function()
    local dead, full, well = port.refused(), port.full(), calls.answering()
    for _, bad in ipairs{ dead, full } do
      local d = calls.client({ { bad.addr, FIRST }, { well, 1 } }, { calls = { svc = { connect_timeout = 0.1 } } })
      local res = d:post("svc", "/order", "tea")
      ended(res, nil, 2)
      assert.equal(well.addr, res.node)
    end
    assert.equal(2, #well:requests "POST")
  end)

  it("uses a fresh connection when the kept-alive one was closed in between", function()
    local s = scripted.start{
      { "read_request", { "respond", 200 }, "close" },
      { "read_request", { "respond", 200 }, "loop" },
    }
    local d = calls.client{ s }
    assert.is_true(d:get("svc", "/").ok)
    s:wait(function() return s:journal "close"[1] end)
    ended(d:post("svc", "/order", "tea"), nil, 1)
    assert.equal(1, #s:requests "POST")
  end)

  it("is tried again on 503, not on 502 and 504 #api", function()
    local well = calls.answering(200, "well")
    for status, attempts in pairs{ [503] = 2, [502] = 1, [504] = 1, [500] = 1, [429] = 1 } do
      local bad = calls.answering(status, "bad")
      local d = calls.client{ { bad, FIRST }, { well, 1 } }
      local res = d:post("svc", "/order", "tea")
      ended(res, nil, attempts)
      assert.equal(attempts == 2 and 200 or status, res.status)
      assert.equal(attempts == 2 and "well" or "bad", res.body)
      assert.equal(attempts == 2, res.ok)
    end
    assert.equal(1, #well:requests "POST")
  end)

  it("with an Idempotency-Key is tried again, in any case of the name #api", function()
    for _, name in ipairs{ "Idempotency-Key", "idempotency-key" } do
      local cruel, well = scripted.http("read_request", "close"), calls.answering()
      local d = calls.client{ { cruel, FIRST }, { well, 1 } }
      ended(d:post("svc", "/order", "tea", { [name] = "order-1" }), nil, 2)
      assert.equal("order-1", well:requests("POST")[1].headers["idempotency-key"])
    end
  end)

  it("and PATCH are the ones that are not repeatable; GET HEAD PUT DELETE OPTIONS are #api", function()
    local expected = { GET = 2, HEAD = 2, PUT = 2, DELETE = 2, OPTIONS = 2, POST = 1, PATCH = 1, LOCK = 1, get = 1 }
    local cruel, well = scripted.http("read_request", "close"), calls.answering()
    for method, attempts in pairs(expected) do
      local d = calls.client{ { cruel, FIRST }, { well, 1 } }
      local res = d:request(method, "svc", "/")
      assert.equal(attempts, res.attempts, method .. " " .. tostring(res))
      d:stop()
    end
  end)
end)

describe("retry = #api", function()
  it("\"always\" sends POST again, as the reference does", function()
    local cruel, well = scripted.http("read_request", "close"), calls.answering()
    local d = calls.client({ { cruel, FIRST }, { well, 1 } }, { calls = { svc = { retry = "always" } } })
    ended(d:post("svc", "/order", "tea"), nil, 2)
    assert.equal(1, #well:requests "POST")
  end)

  it("\"never\" tries nothing again, refused connections neither", function()
    local dead, well = port.refused(), calls.answering()
    local d = calls.client({ { dead.addr, FIRST }, { well, 1 } }, { calls = { svc = { retry = "never" } } })
    ended(d:get("svc", "/"), "connect", 1)
    assert.equal(0, #well:requests())
  end)

  it("of a request wins over the app's", function()
    local cruel, well = scripted.http("read_request", "close"), calls.answering()
    local d = calls.client({ { cruel, FIRST }, { well, 1 } }, { calls = { svc = { retry = "never" } } })
    ended(d:request{ method = "POST", app = "svc", path = "/", retry = "always" }, nil, 2)
    ended(d:request{ app = "svc", path = "/", retry = "idempotent" }, nil, 2)
    ended(d:request{ app = "svc", path = "/" }, "connect", 1)
  end)

  it("\"never\" does not replace a kept-alive connection either", function()
    local s = scripted.start{
      { "read_request", { "respond", 200 }, "read_request", "close" },
      { "read_request", { "respond", 200 }, "loop" },
    }
    local d = calls.client({ s }, { calls = { svc = { retry = "never" } } })
    assert.is_true(d:get("svc", "/").ok)
    ended(d:get("svc", "/"), "connect", 1)
    sent_on_first_only(s)
  end)
end)

describe("a kept-alive connection #api", function()
  it("is used again", function()
    local s = calls.answering()
    local d = calls.client{ s }
    calls.gets(d, 50)
    assert.equal(1, s:connections())
  end)

  it("that dies before an answer is replaced once, on the same node, within one attempt", function()
    local s = scripted.start{
      { "read_request", { "respond", 200 }, "read_request", "close" },
      { "read_request", { "respond", 200, "second" }, "loop" },
    }
    local d = calls.client{ s }
    assert.is_true(d:get("svc", "/").ok)
    local res = d:get("svc", "/")
    ended(res, nil, 1)
    assert.equal("second", res.body)
    assert.equal(2, s:connections())
  end)

  it("that dies again is a failed attempt", function()
    local s = scripted.start{
      { "read_request", { "respond", 200 }, "read_request", "close" },
      { "read_request", "close" },
    }
    local d = calls.client{ s }
    assert.is_true(d:get("svc", "/").ok)
    ended(d:get("svc", "/"), "connect", 1)
    assert.equal(2, s:connections())
  end)
end)

describe("attempts #api", function()
  it("are one per node, each node once, by default", function()
    local nodes = {}
    for i = 1, 5 do nodes[i] = port.refused().addr end
    local d = calls.client(nodes)
    local res = d:get("svc", "/")
    ended(res, "all_failed", 5)
    local seen = {}
    for _, attempt in ipairs(res.trace) do
      assert.is_nil(seen[attempt.node])
      seen[attempt.node] = true
    end
    assert.matches("5 attempts", res.why)
  end)

  it("are bounded by max_attempts, of the app and of the request", function()
    local nodes = {}
    for i = 1, 5 do nodes[i] = port.refused().addr end
    local d = calls.client(nodes, { calls = { svc = { max_attempts = 3 } } })
    ended(d:get("svc", "/"), "all_failed", 3)
    ended(d:request{ app = "svc", path = "/", max_attempts = 2 }, "all_failed", 2)
    ended(d:request{ app = "svc", path = "/", max_attempts = 1 }, "connect", 1)
  end)
end)

describe("result.err #api", function()
  it("is nil for every status of a single answer; ok is what is below 400", function()
    for _, status in ipairs{ 200, 201, 302, 399, 400, 404, 500, 502, 503, 504, 599 } do
      local d = calls.client{ calls.answering(status, "text") }
      local res = d:get("svc", "/")
      ended(res, nil, 1)
      assert.is_nil(res.why)
      assert.equal(status, res.status)
      assert.equal(status < 400, res.ok)
      assert.equal("text", res.body)
      assert.equal("string", type(res.node))
    end
  end)

  it("is the attempt's own code when there was one attempt, and the node is kept", function()
    local dead = port.refused()
    local d = calls.client{ dead.addr }
    local res = d:get("svc", "/")
    ended(res, "connect", 1)
    assert.equal(dead.addr, res.node)
    assert.is_false(res.ok)
    assert.is_nil(res.status)
    assert.is_nil(res.body)
    assert.matches(dead.addr, res.why, 1, true)
  end)

  it("is all_failed when several attempts failed, and node is nil", function()
    local d = calls.client{ port.refused().addr, port.refused().addr }
    local res = d:get("svc", "/")
    ended(res, "all_failed", 2)
    assert.is_nil(res.node)
    assert.equal(2, #res.trace)
  end)

  it("is timeout when the deadline passed, and what was answered before is kept", function()
    local busy, mute = calls.answering(503, "busy"), scripted.http("read_request", "hang")
    local d = calls.client({ { busy, FIRST }, { mute, 1 } }, { calls = { svc = { deadline = 0.3 } } })
    local res = d:get("svc", "/")
    ended(res, "timeout", 2)
    assert.equal(503, res.status)
    assert.equal("busy", res.body)
  end)

  it("is no_node when nobody is there, app_not_found when the app is not known at all", function()
    local d = calls.client{}
    ended(d:get("svc", "/"), "app_not_found", 0)
    assert.matches("svc", d:get("svc", "/").why)
    assert(d:set_node("svc", "127.0.0.1:9", 1))
    assert(d:set_node("svc", "127.0.0.1:9", 0))
    ended(d:get("svc", "/"), "no_node", 0)
  end)
end)

describe("fault 15: the last answer #api", function()
  it("is kept when all nodes fail: status, headers, body", function()
    local a = calls.answering(503, "first busy", "X-Who: a\r\n")
    local b = calls.answering(502, "then broken", "X-Who: b\r\n")
    local d = calls.client{ { a, FIRST }, { b, 1 } }
    local res = d:get("svc", "/")
    ended(res, "all_failed", 2)
    assert.equal(502, res.status)
    assert.equal("then broken", res.body)
    assert.equal("b", res:header "x-who")
    assert.is_nil(res.node)
    assert.same({ 503, 502 }, { res.trace[1].status, res.trace[2].status })
  end)

  it("is kept when a later attempt got none", function()
    local a, dead = calls.answering(503, "busy", "Retry-After: 7\r\n"), port.refused()
    local d = calls.client{ { a, FIRST }, { dead.addr, 1 } }
    local res = d:get("svc", "/")
    ended(res, "all_failed", 2)
    assert.equal(503, res.status)
    assert.equal("busy", res.body)
    assert.equal("7", res:header "Retry-After")
  end)
end)
