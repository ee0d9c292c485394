-- Opening a WebSocket is a call: route, pick, next node on failure, headers, outcome; then its node is in flight.
local calls = require "spec.support.calls"
local discover = require "discover"
local json = require "dkjson"
local nodes = require "spec.support.nodes"
local port = require "spec.support.port"
local scripted = require "spec.support.scripted"
local service = require "spec.support.service"
local wait = require "spec.support.wait"
local ws = require "spec.support.ws"

describe("open #api", function()
  local s, other
  lazy_setup(function()
    s = ws.python{ protocols = { "chat.v2", "chat.v1" } }
    other = ws.python()
  end)

  -- What the server saw of the handshake.
  local function headers_of(w)
    local headers = assert(json.decode((assert(w:receive()))))
    assert(w:close())
    return headers
  end

  local function refused(code, w, why, got)
    assert.is_nil(w)
    assert.equal(code, got, tostring(why))
    assert.matches("^" .. code .. ": ", why)
    return why
  end

  it("gives a WebSocket that says what it is #core", function()
    local d = calls.client{ s }
    local w = assert(d:open("svc", "/echo"))
    assert.equal("open", w.state)
    assert.equal(s.addr, w.node)
    assert.is_nil(w.protocol)
    assert.is_nil(w.close_code)
    assert.is_nil(w.close_reason)
    assert.is_nil(w.nonsense)
    assert.equal("websocket(" .. s.addr .. ", open)", tostring(w))
    assert.is_true(w:send "hi")
    assert.same({ "hi", "text" }, { w:receive() })
    assert.is_true(w:ping())
    assert.is_true(w:close())
    assert.equal("closed", w.state)
    assert.equal(1000, w.close_code)
    assert.equal("", w.close_reason)
    assert.equal("websocket(" .. s.addr .. ", closed: 1000)", tostring(w))
  end)

  it("sends the user's headers, and token, From-App, From-Node and request id", function()
    local app, log = nodes.app "ws", nodes.log()
    local d = calls.stop_at_end(assert(discover.start("memory://" .. app, "me", "127.0.0.1:9", {
      calls = { svc = { token = "s3cret" } }, logger = log.logger, log_level = "debug",
    })))
    calls.set(d, "svc", { s })
    local headers = headers_of(assert(d:open("svc", "/headers", {
      ["X-Mine"] = "1", ["X-List"] = { "a", "b" }, ["Access-Token"] = "another", ["X-Discover-From-App"] = "x",
    })))
    assert.equal("1", headers["x-mine"])
    assert.equal("a, b", headers["x-list"])
    assert.equal("s3cret", headers["access-token"])
    assert.equal("me", headers["x-discover-from-app"])
    assert.equal("127.0.0.1:9", headers["x-discover-from-node"])
    assert.is_string(headers["x-request-id"])
    assert.equal(s.addr, headers.host)
    headers = headers_of(assert(d:open{ app = "svc", path = "/headers?a=b", headers = { ["X-Mine"] = "2" } }))
    assert.equal("2", headers["x-mine"])
    assert.is_nil(select(2, d:open("svc", "/status/403")):find "s3cret")
    assert.is_true(log:count "/headers" >= 2)
    assert.equal(0, log:count "s3cret")
  end)

  it("relays what a caller relays", function()
    local d = calls.client{ s }
    local caller = d:from{
      headers = { ["X-User-Id"] = "7", ["X-Request-Id"] = "r-1", Cookie = "never", Authorization = "never" },
      remote_addr = "203.0.113.9:4711", host = "shop.example", scheme = "https",
    }
    local headers = headers_of(assert(caller:open("svc", "/headers")))
    assert.equal("7", headers["x-user-id"])
    assert.equal("r-1", headers["x-request-id"])
    assert.equal("203.0.113.9", headers["x-client-ip"])
    assert.equal("203.0.113.9", headers["x-forwarded-for"])
    assert.equal("shop.example", headers["x-host"])
    assert.equal("https", headers["x-scheme"])
    assert.is_nil(headers.cookie)
    assert.is_nil(headers.authorization)
    headers = headers_of(assert(caller:open{ app = "svc", path = "/headers", headers = { ["X-User-Id"] = "8" } }))
    assert.equal("8", headers["x-user-id"])
  end)

  it("gives a caller's logger the record, not the discoverer's", function()
    local common, own = nodes.log(), nodes.log()
    local d = calls.client({ s }, { logger = common.logger, log_level = "info" })
    local caller = d:new_caller({ headers = {} }, own.logger)
    assert(assert(caller:open("svc", "/echo")):close())
    assert.equal(1, own:count "/echo", own.text())
    assert.equal(0, common:count "/echo")
    assert(assert(d:open("svc", "/echo")):close())
    assert.equal(1, common:count "/echo")
  end)

  it("takes the subprotocol that the server chooses", function()
    local d = calls.client{ s }
    for _, case in ipairs {
      { { "chat.v1", "other" }, "chat.v1" }, { "other, chat.v2", "chat.v2" }, { "chat.v1", "chat.v1" },
      { { "other" } }, { {} }, { "" }, { { "chat.v1" }, "chat.v1" },
    } do
      local w = assert(d:open{ app = "svc", path = "/echo", protocols = case[1] })
      assert.equal(case[2], w.protocol)
      assert(w:close())
      assert.equal(case[2], w.protocol)
    end
  end)

  it("takes the next node when one fails", function()
    local dead, mute = port.refused(), port.blackhole()
    local busy, odd = calls.answering(503), calls.answering(502)
    local garbage = scripted.http({ "send", "garbage\r\n\r\n" }, "hang")
    for _, first in ipairs { dead, mute, busy, odd, garbage } do
      local d = calls.client({ { first, calls.FIRST }, s })
      local w = assert(d:open{ app = "svc", path = "/echo", timeout = 0.5 })
      assert.equal(s.addr, w.node)
      assert.equal(1, calls.node(d, first).failed_times)
      assert.equal(0, calls.node(d, first).in_flight)
      assert.equal(0, calls.node(d, s).failed_times)
      assert(w:close())
      d:stop()
    end
    for _, server in ipairs { busy, odd, garbage } do assert.equal(1, #server:journal "accept") end
    dead:close()
    mute:close()
  end)

  it("tells when all failed", function()
    local a, b = port.refused(), calls.answering(503)
    local d = calls.client{ a, b }
    refused("all_failed", d:open("svc", "/echo"))
    d = calls.client{ a }
    refused("connect", d:open("svc", "/echo"))
    a:close()
  end)

  it("takes 404 and the like for an answer", function()
    for _, status in ipairs { 200, 301, 400, 401, 403, 404, 426, 500 } do
      local a, b = calls.answering(status), calls.answering(status)
      local d = calls.client{ a, b }
      local why = refused("protocol", d:open("svc", "/"))
      assert.matches(tostring(status), why)
      assert.equal(1, #a:requests() + #b:requests())
      assert.equal(0, calls.node(d, a).failed_times + calls.node(d, b).failed_times)
      a:kill()
      b:kill()
    end
    local d = calls.client{ s }
    assert.matches("403", refused("protocol", d:open("svc", "/status/403")))
    assert.matches("404", refused("protocol", d:open("svc", "/nowhere")))
  end)

  it("ends at its timeout and at its deadline", function()
    local d = calls.client{ s }
    wait.within(1, function()
      refused("timeout", d:open{ app = "svc", path = "/slow?ms=3000", timeout = 0.1 })
    end)
    wait.within(1, function()
      refused("timeout", d:open{ app = "svc", path = "/slow?ms=3000", deadline = "100ms" })
    end)
    assert.equal(0, calls.node(d, s).in_flight)
    -- They are about opening only.
    local w = assert(d:open{ app = "svc", path = "/echo", timeout = 0.3, deadline = 0.3 })
    assert.equal("timeout", select(3, w:receive(0.5)))
    assert(w:send "still")
    assert.equal("still", (w:receive()))
    w:close()
  end)

  it("goes to the node that is asked for, and nowhere else", function()
    local dead = port.refused()
    local d = calls.client({ dead, { s, calls.FIRST }, other })
    for _ = 1, 3 do
      local w = assert(d:open{ app = "svc", path = "/echo", node = other.addr })
      assert.equal(other.addr, w.node)
      w:close()
    end
    refused("connect", d:open{ app = "svc", path = "/echo", node = dead.addr })
    refused("no_node", d:open{ app = "svc", path = "/echo", node = "127.0.0.1:2" })
    dead:close()
  end)

  it("goes by the key with the balancer hash", function()
    local d = calls.client({ s, other }, { balancer = "hash" })
    local first = assert(d:open{ app = "svc", path = "/echo", key = "player-7" })
    for _ = 1, 4 do
      local w = assert(d:open{ app = "svc", path = "/echo", key = "player-7" })
      assert.equal(first.node, w.node)
      w:close()
    end
    first:close()
  end)

  it("asks the route, as method WS", function()
    local seen
    local d = calls.client{}
    calls.set(d, "new", { s })
    d:set_route(function(ac, request)
      seen = { ac.app, ac.method, ac.path, ac.data, ac.headers["X-A"], request }
      ac.app, ac.path, ac.headers = "new", "/headers", { ["X-Routed"] = "yes" }
    end)
    local incoming = { headers = {} }
    local headers = headers_of(assert(d:from(incoming):open("old", "/ws", { ["X-A"] = "a" })))
    assert.equal("old", seen[1])
    assert.equal("WS", seen[2])
    assert.equal("/ws", seen[3])
    assert.is_nil(seen[4])
    assert.equal("a", seen[5])
    assert.equal(incoming, seen[6])
    assert.equal("yes", headers["x-routed"])
    assert.is_nil(headers["x-a"])
    d:set_route(function() error "no way" end)
    assert.matches("no way", refused("route", d:open("old", "/ws")))
  end)

  it("asks the balancer and tells it how it went", function()
    local dead = port.refused()
    local d = calls.client{ dead, s }
    local told = {}
    d:set_load_balancer{
      next = function(ac, list)
        assert(ac.method == "WS")
        for _, node in ipairs(list) do
          if node.addr == dead.addr then return node end
        end
        return list[1]
      end,
      response = function(_, node, err, response, seconds)
        assert(seconds >= 0)
        told[#told + 1] = node.addr .. " " .. tostring(err) .. " " .. tostring(response and response.status)
      end,
    }
    local w = assert(d:open("svc", "/echo"))
    assert.same({ dead.addr .. " connect nil", s.addr .. " nil 101" }, told)
    w:close()
    assert.equal(2, #told)
    d:set_load_balancer{ next = function() return nil end }
    refused("no_node", d:open("svc", "/echo"))
    dead:close()
  end)

  it("keeps its node in flight until it is closed", function()
    local d = calls.client({ s, other }, { balancer = "least_in_flight" })
    local a, b = assert(d:open("svc", "/echo")), assert(d:open("svc", "/echo"))
    assert.not_equal(a.node, b.node)
    local node_a, node_b = calls.node(d, a.node), calls.node(d, b.node)
    assert.equal(1, node_a.in_flight)
    assert.equal(1, node_b.in_flight)
    assert.equal(2, d:stats().apps.svc.in_flight)
    assert(a:close())
    assert.equal(0, node_a.in_flight)
    assert.equal(1, node_b.in_flight)
    assert(a:close())
    assert.equal(0, node_a.in_flight)
    local c = assert(d:open("svc", "/echo"))
    assert.equal(node_a.addr, c.node)
    c:close()
    b:close()
    assert.equal(0, d:stats().apps.svc.in_flight)
  end)

  it("is counted as a call", function()
    local dead = port.refused()
    local d = calls.client{ { dead, calls.FIRST }, s }
    assert(assert(d:open("svc", "/echo")):close())
    local stats = d:stats().apps.svc
    assert.equal(1, stats.calls)
    assert.equal(2, stats.attempts)
    assert.equal(1, stats.attempt_errors.connect)
    assert.equal(1, stats.errors.ok)
    assert.equal(1, stats.statuses["1xx"])
    dead:close()
  end)

  it("does not know every app", function()
    local d = calls.client{}
    refused("app_not_found", d:open("nobody", "/"))
    local dead = port.refused()
    d = calls.stop_at_end(assert(discover.open("redis://" .. dead.addr, { start_timeout = 0.2, log_level = "off" })))
    refused("registry", d:open("nobody", "/"))
    d = calls.stop_at_end(assert(discover.open("memory://" .. nodes.app(), { log_level = "off" })))
    refused("no_node", d:open("nobody", "/"))
    d:stop()
    refused("stopped", d:open("nobody", "/"))
    dead:close()
  end)

  it("finds registered services", function()
    local registry = "memory://" .. nodes.app()
    local server = calls.stop_at_end(assert(discover.start(registry, "chat", s.addr)))
    local d = calls.stop_at_end(assert(discover.open(registry)))
    local w = assert(d:open("chat", "/echo"))
    assert.equal(s.addr, w.node)
    w:close()
    server:stop()
  end)

  it("speaks to lua-http too", function()
    local lua_http = service.start()
    local d = calls.client{ lua_http }
    local w = assert(d:open("svc", "/ws/headers", { ["X-Mine"] = "1" }))
    assert.equal("1", headers_of(w)["x-mine"])
    lua_http:kill()
  end)
end)
