-- HTTP/2 without TLS: connections that are shared, and what may be sent again when a node says no.
local calls = require "spec.support.calls"
local json = require "dkjson"
local nginx = require "spec.support.nginx"
local port = require "spec.support.port"
local scripted = require "spec.support.scripted"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local FIRST = calls.FIRST
local H2C = { http2 = true }
local REFUSED, INTERNAL, WANTS_11 = 0x7, 0x2, 0xd

local function client(nodes, config)
  config = config or {}
  config.http2 = true
  return calls.client(nodes, { calls = { svc = config } })
end

-- A server that greets, plays `script`, and on every further connection answers well.
local function peer(...)
  return scripted.start{ { "h2_greet", ... }, { "h2_greet", "h2_request", { "h2_respond", 200, "well" }, "loop" } }
end

-- The same after one good answer on the first connection: it is kept alive then.
local function kept(...)
  return peer("h2_request", { "h2_respond", 200, "first" }, ...)
end

local function well()
  return scripted.start{ { "h2_greet", "h2_request", { "h2_respond", 200, "other" }, "loop" } }
end

local function ended(res, err, attempts, name)
  assert.equal(err, res.err, (name or "") .. " " .. tostring(res))
  assert.equal(attempts, res.attempts, (name or "") .. " " .. tostring(res))
end

describe("http2 = true without TLS", function()
  it("speaks HTTP/2 by prior knowledge, on one connection #core", function()
    local n = nginx.start{ upstream = service.start(), servers = { h2c = H2C } }
    local d = client{ n.h2c }
    for _ = 1, 30 do
      local res = d:get("svc", "/?y=1")
      ended(res, nil, 1)
      assert.equal("2", res.http_version)
      assert.matches("hello", res.body)
    end
    assert.equal("2", d:post("svc", "/", "tea").http_version)
    assert.equal("2", d:head("svc", "/").http_version)
    wait.until_true(function() return #n:log() == 32 end)
    assert.equal(1, n:connections())
    for _, record in ipairs(n:log()) do
      assert.equal("HTTP/2.0", record.protocol)
      assert.equal(n.h2c.addr, record.host)
    end
  end)

  it("sends the user's Host as :authority, and none of HTTP/1.1's connection headers", function()
    local s = service.start()
    local n = nginx.start{ upstream = s, servers = { h2c = H2C } }
    local d = client{ n.h2c }
    local res = d:get("svc", "/echo", {
      Host = "some.where", Connection = "close", ["Keep-Alive"] = "5", ["Transfer-Encoding"] = "chunked", TE = "gzip",
      Upgrade = "h2c", ["X-Mixed-Case"] = "Stays As It Is",
    })
    ended(res, nil, 1)
    local seen = json.decode(res.body).headers
    assert.equal("some.where", seen.host)
    assert.equal("Stays As It Is", seen["x-mixed-case"])
    for _, name in ipairs{ "keep-alive", "transfer-encoding", "te", "upgrade", "expect" } do
      assert.is_nil(seen[name], name)
    end
    assert.equal("close", d:get("svc", "/").headers.connection or "close")
    assert.equal(1, n:connections(nil, 2))
  end)

  it("and calls over HTTP/1.1 to the same node keep apart", function()
    local n = nginx.start{ servers = { h2c = H2C, h1 = {} } }
    local d = calls.client({}, { calls = { two = H2C, one = {} } })
    -- nginx 1.22 takes HTTP/2 and nothing else on such a port
    assert(d:set_node("two", n.h2c.addr, 1))
    assert(d:set_node("one", n.h1.addr, 1))
    for _ = 1, 5 do
      assert.equal("2", d:get("two", "/").http_version)
      assert.equal("1.1", d:get("one", "/").http_version)
    end
    assert.equal(2, n:connections(nil, 10))
  end)

  it("shares the connections of a name that is looked up", function()
    local n = nginx.start{ servers = { h2c = H2C } }
    local d = client{ "localhost:" .. n.h2c.port }
    calls.gets(d, 10)
    assert.equal(1, n:connections(nil, 10))
    assert.equal("localhost:" .. n.h2c.port, n:first().host)
  end)

  it("goes on after nginx has ended the connection on purpose", function()
    local servers = { h2c = { http2 = true, conf = "keepalive_requests 5;" } }
    local n = nginx.start{ upstream = service.start(), servers = servers }
    local d = client{ n.h2c }
    for i = 1, 50 do ended(d:post("svc", "/", "tea " .. i), nil, 1) end
    assert.equal(10, n:connections(nil, 50))
  end)

  it("to a node that died goes to the next, without a failed call", function()
    local dead, n = nginx.start{ servers = { h2c = H2C } }, nginx.start{ servers = { h2c = H2C } }
    local d = client{ dead.h2c, n.h2c }
    calls.gets(d, 20)
    dead:kill()
    assert.equal(40, calls.gets(d, 40)[n.h2c.addr])
    ended(client{ { port.refused().addr, FIRST }, { n.h2c, 1 } }:post("svc", "/", "tea"), nil, 2)
  end)
end)

describe("a request that the node did not begin with", function()
  local ways = {
    ["a refused stream"] = { "h2_request", { "h2_rst", REFUSED }, "drain" },
    ["a refused stream before the body"] = { "h2_headers", { "h2_rst", REFUSED }, "drain" },
    ["GOAWAY before it"] = { "h2_request", { "h2_goaway", 0, 0 }, "drain" },
    ["GOAWAY before it, and the end"] = { "h2_request", { "h2_goaway", 0, 0 }, "close" },
    ["GOAWAY in two steps"] = { "h2_request", { "h2_goaway", 0x7fffffff, 0 }, { "h2_goaway", 0, 0 }, "close" },
  }

  it("is sent once more, POST too, on a fresh connection to the same node #core", function()
    for name, script in pairs(ways) do
      local s = peer((unpack or table.unpack)(script))
      local res = client{ s }:post("svc", "/order", "tea")
      ended(res, nil, 1, name)
      assert.equal("well", res.body, name)
      assert.equal(2, #s:requests "POST", name)
      assert.equal(2, s:connections(), name)
      s:kill()
    end
  end)

  it("is so on a kept-alive connection too", function()
    for name, script in pairs(ways) do
      -- the first request there was stream 1
      local later = {}
      for i, step in ipairs(script) do
        later[i] = step[1] == "h2_goaway" and step[2] == 0 and { "h2_goaway", 1, 0 } or step
      end
      local s = kept((unpack or table.unpack)(later))
      local d = client{ s }
      assert.equal("first", d:get("svc", "/").body)
      local res = d:post("svc", "/order", "tea")
      ended(res, nil, 1, name)
      assert.equal("well", res.body, name)
      assert.equal(2, #s:requests "POST", name)
      s:kill()
    end
  end)

  it("goes to another node when it is refused again", function()
    local script = { "h2_greet", "h2_request", { "h2_rst", REFUSED }, "loop" }
    local full, other = scripted.start{ script }, well()
    local res = client{ { full, FIRST }, { other, 1 } }:post("svc", "/order", "tea")
    ended(res, nil, 2)
    assert.equal("other", res.body)
    assert.equal("connect", res.trace[1].err)
    assert.equal(2, #full:requests "POST")
    assert.equal(1, #other:requests "POST")
  end)

  it("is a failed attempt when there is no other node", function()
    local full = scripted.start{ { "h2_greet", "h2_request", { "h2_rst", REFUSED }, "drain" } }
    for _, verb in ipairs{ "post", "get" } do
      local res = client{ full }[verb](client{ full }, "svc", "/")
      ended(res, "connect", 1, verb)
      assert.matches("without beginning with it", res.why, 1, true)
    end
  end)

  it("is not sent again with retry = \"never\"", function()
    for name, script in pairs(ways) do
      local s, other = peer((unpack or table.unpack)(script)), well()
      local res = client({ { s, FIRST }, { other, 1 } }, { retry = "never" }):post("svc", "/order", "tea")
      ended(res, "connect", 1, name)
      assert.equal(1, #s:requests(), name)
      assert.equal(0, #other:requests(), name)
      s:kill()
      other:kill()
    end
  end)
end)

describe("a POST that the node may have begun with", function()
  local deaths = {
    ["an internal error"] = { "h2_request", { "h2_rst", INTERNAL }, "drain" },
    ["an internal error and the end"] = { "h2_request", { "h2_rst", INTERNAL }, "close" },
    ["the end"] = { "h2_request", "close" },
    ["a reset connection"] = { "h2_request", "rst" },
    ["the end after the head"] = { "h2_headers", "close" },
    ["GOAWAY behind it and the end"] = { "h2_request", { "h2_goaway", 0x7fffffff, 0 }, "close" },
    ["an internal error, GOAWAY behind it"] = { "h2_request", { "h2_rst", INTERNAL }, { "h2_goaway", 99, 2 }, "close" },
    ["half an answer"] = { "h2_request", { "h2_head", 200, 10 }, "close" },
    ["a frame that is none"] = { "h2_request", { "h2_frame", 0, 1, 0, "?" }, "drain" },
    ["HTTP/1.1 wanted"] = { "h2_request", { "h2_rst", WANTS_11 }, "drain" },
  }

  local function check(s, d, other, name)
    local res = d:post("svc", "/order", ("tea"):rep(1000))
    assert.is_truthy(res.err == "connect" or res.err == "protocol", name .. " " .. tostring(res))
    assert.equal(1, res.attempts, name .. " " .. tostring(res))
    assert.equal(1, #s:requests "POST", name .. " " .. tostring(res))
    assert.equal(0, #other:requests(), name)
    d:stop()
    s:kill()
    other:kill()
  end

  it("is sent once, on a fresh connection #core", function()
    for name, script in pairs(deaths) do
      local s, other = peer((unpack or table.unpack)(script)), well()
      check(s, client{ { s, FIRST }, { other, 1 } }, other, name)
    end
  end)

  it("is sent once, on a kept-alive connection", function()
    for name, script in pairs(deaths) do
      local s, other = kept((unpack or table.unpack)(script)), well()
      local d = client{ { s, FIRST }, { other, 1 } }
      assert.equal("first", d:get("svc", "/").body, name)
      check(s, d, other, name)
    end
  end)

  it("is a protocol error with its own words where HTTP/1.1 is wanted", function()
    local s = peer("h2_request", { "h2_rst", WANTS_11 }, "drain")
    assert.matches("wants this request over HTTP/1.1", client{ s }:post("svc", "/", "tea").why, 1, true)
  end)
end)

describe("a GET over HTTP/2", function()
  it("on a kept-alive connection that dies is replaced once, on the same node", function()
    for name, script in pairs{ ["end"] = { "h2_request", "close" }, rst = { "h2_request", "rst" } } do
      local s = kept((unpack or table.unpack)(script))
      local d = client{ s }
      assert.equal("first", d:get("svc", "/").body)
      local res = d:get("svc", "/")
      ended(res, nil, 1, name)
      assert.equal("well", res.body)
      assert.equal(2, s:connections())
    end
  end)

  it("that dies again is a failed attempt", function()
    local s = scripted.start{
      { "h2_greet", "h2_request", { "h2_respond", 200 }, "h2_request", "close" }, { "h2_greet", "h2_request", "close" },
    }
    local d = client{ s }
    assert.is_true(d:get("svc", "/").ok)
    ended(d:get("svc", "/"), "connect", 1)
    assert.equal(2, s:connections())
    assert.equal(3, #s:requests())
  end)

  it("is tried on the next node after an internal error", function()
    local s, other = peer("h2_request", { "h2_rst", INTERNAL }, "drain"), well()
    local res = client{ { s, FIRST }, { other, 1 } }:get("svc", "/")
    ended(res, nil, 2)
    assert.equal("protocol", res.trace[1].err)
    assert.equal("other", res.body)
  end)

  it("uses a fresh connection when the old one was closed in between, POST too", function()
    for _, script in ipairs{ { "close" }, { { "h2_goaway", 1, 0 }, "close" }, { { "h2_goaway", 1, 0 }, "drain" } } do
      local s = kept((unpack or table.unpack)(script))
      local d = client{ s }
      assert.equal("first", d:get("svc", "/").body)
      s:wait(function() return #s:journal() >= (script[#script] == "close" and 3 or 2) end)
      ended(d:post("svc", "/order", "tea"), nil, 1)
      assert.equal(1, #s:requests "POST")
      s:kill()
    end
  end)

  it("in its middle is not tried again, and what came is told", function()
    -- curl forgets headers that come together with the end of their stream
    local s = peer("h2_request", { "h2_head", 200, 10 }, { "sleep", 400 }, { "h2_rst", INTERNAL }, "drain")
    local res = client{ s }:get("svc", "/")
    ended(res, "protocol", 1)
    assert.equal(200, res.status)
  end)
end)

describe("http2 = true to a node that speaks HTTP/1.1 only", function()
  it("is an error that says so, every node once", function()
    local s, n = service.start(), nginx.start{ servers = { h1 = {} } }
    local plain = scripted.start{ { { "read", 24 }, { "respond", 400, "what?" }, "close" } }
    for _, node in ipairs{ n.h1, plain } do
      local res = client{ node }:get("svc", "/")
      -- whether its answer or the end of the connection is seen first is chance
      if res.err ~= "connect" then ended(res, "protocol", 1) end
      assert.matches("does it speak HTTP/2 without TLS", res.why, 1, true)
    end
    local mixed = client{ n.h1, plain, s }:get("svc", "/")
    ended(mixed, "all_failed", 3)
    assert.equal(1, plain:connections() - 1)
  end)

  it("may also end the connection without a word", function()
    local s = scripted.start{ { { "read", 24 }, "close" } }
    local res = client{ s }:get("svc", "/")
    ended(res, "connect", 1)
    assert.matches("does it speak HTTP/2", res.why, 1, true)
  end)
end)

describe("http2 = true to a node that is mute", function()
  it("keeps the times", function()
    local hole, full = port.blackhole(), port.full()
    local d = client({ hole.addr }, { timeout = 0.2 })
    local took, res = wait.within(5, function() return d:get("svc", "/") end)
    ended(res, "timeout", 1)
    assert.is_true(took >= 0.19)
    res = client({ full.addr }, { connect_timeout = 0.1 }):get("svc", "/")
    ended(res, "timeout", 1)
    assert.matches("no connection to", res.why, 1, true)
  end)
end)
