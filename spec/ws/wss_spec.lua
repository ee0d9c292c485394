-- WebSockets over TLS: with an own authority, and every way in which trust fails: its own clear error, no second try at
-- the same node, nothing in plain text.
local calls = require "spec.support.calls"
local certs = require "spec.support.certs"
local port = require "spec.support.port"
local proc = require "spec.support.proc"
local scripted = require "spec.support.scripted"
local wait = require "spec.support.wait"
local ws = require "spec.support.ws"

describe("wss", function()
  local pki
  lazy_setup(function() pki = certs.make() end)

  local function server(pair, more)
    local options = { cert = pair.cert, key = pair.key }
    for name, value in pairs(more or {}) do options[name] = value end
    return ws.python(options)
  end

  local function client(nodes, tls)
    tls = tls or {}
    if not tls.ca and tls.verify == nil then tls.ca = pki.ca end
    return calls.client(nodes, { calls = { svc = { ssl = true, tls = tls, token = "s3cret" } } })
  end

  local function refused(pattern, d, s)
    local w, why, code
    wait.within(3, function() w, why, code = d:open("svc", "/echo") end)
    assert.is_nil(w)
    assert.equal("tls", code, why)
    assert.matches(pattern, why)
    assert.is_nil(why:find "s3cret")
    local node = calls.node(d, s)
    assert.equal(0, node.in_flight)
    assert.equal(1, node.used_times, "it was tried again")
    return why
  end

  it("talks as without TLS #api #core", function()
    local s = server(pki.server)
    local d = client{ s }
    local w = assert(d:open("svc", "/echo"))
    assert.equal("s3cret", s:headers()["access-token"])
    for _, size in ipairs { 0, 1, 125, 126, 16384, 65536, 1000000 } do
      local data = ("0123456789abcdef"):rep(math.ceil(size / 16)):sub(1, size)
      assert(w:send(data))
      assert.is_true(w:receive() == data)
      assert(w:send(data, "binary"))
      assert.is_true(w:receive() == data)
    end
    assert(w:close(4000, "bye"))
    assert.equal(4000, s:closed().code)
    assert.equal(4000, w.close_code)
    w = assert(d:open("svc", "/close?code=4001&reason=theirs"))
    assert.equal("closed", select(3, w:receive()))
    assert.equal(4001, w.close_code)
    assert.equal("theirs", w.close_reason)
    s:kill()
  end)

  it("keeps the order of many messages", function()
    local s = server(pki.server)
    local w = assert(client{ s }:open("svc", "/echo"))
    local count = math.floor(3000 / wait.slow)
    local sent, got = 0, 0
    local function message(i) return i .. ":" .. ("x"):rep(i * 7919 % 3000) end
    while got < count do
      while sent < count and sent - got < 100 do
        sent = sent + 1
        assert(w:send(message(sent)))
      end
      got = got + 1
      assert.is_true(w:receive() == message(got))
    end
    w:close()
    s:kill()
  end)

  it("holds up a sender and the peer, as without TLS", function()
    local s = server(pki.server)
    local d = client{ s }
    local w = assert(d:open("svc", "/deaf?until=/nonexistent/file"))
    local data, sent = ("x"):rep(65536), 0
    while w:send(data, "binary", 0.1) do sent = sent + 1 end
    assert.is_true(sent < 500)
    assert.is_true(d:stats().memory_bytes < 6000000)
    w:close()
    w = assert(d:open("svc", "/count?n=1000&bytes=10000"))
    d:wait(0.2)
    assert.is_true(d:stats().memory_bytes < 6000000)
    for i = 1, 1000 do assert.matches("^" .. i .. ":", (assert(w:receive()))) end
    w:close()
    s:kill()
  end)

  it("notices a server that is killed", function()
    local s = server(pki.server)
    local w = assert(client{ s }:open("svc", "/echo"))
    s.p:kill "KILL"
    wait.within(1, function()
      local data, why, code = w:receive(5)
      assert.is_nil(data)
      assert.equal("connect", code, why)
    end)
    assert.equal(1006, w.close_code)
  end)

  it("checks the name that it was told", function()
    local s = server(pki.named)
    assert(assert(client({ s }, { server_name = "node.test" }):open("svc", "/echo")):close())
    -- With the port, as browsers do: 443 alone goes without saying.
    assert.equal("node.test:" .. s.port, s:headers().host)
    refused("address", client{ s }, s)
    refused("name", client({ s }, { server_name = "other.test" }), s)
    s:kill()
    local wrong = server(pki.wrong)
    refused("name", client({ wrong }, { server_name = "node.test" }), wrong)
    wrong:kill()
  end)

  it("refuses unknown authorities, expired and self-signed certificates", function()
    for name, pattern in pairs { foreign = "authority", expired = "expired", self_signed = "self%-signed" } do
      local s = server(pki[name])
      refused(pattern, client{ s }, s)
      assert.equal(0, #s:journal "request")
      s:kill()
    end
    local s = server(pki.server)
    refused("authority", client({ s }, { ca = pki.foreign_ca }), s)
    refused("authority", client({ s }, { verify = true }), s)
    s:kill()
  end)

  it("takes any certificate when told so", function()
    local s = server(pki.self_signed)
    assert(assert(client({ s }, { verify = false }):open("svc", "/echo")):close())
    s:kill()
  end)

  it("shows its own certificate", function()
    local s = server(pki.server, { client_ca = pki.ca })
    assert(assert(client({ s }, { ca = pki.ca, cert = pki.client.cert, key = pki.client.key })
      :open("svc", "/echo")):close())
    s:kill()
    -- asyncio hangs up without an alert when there is none; openssl says what it wants.
    local number = port.free()
    local p = proc.start{ "openssl", "s_server", "-accept", "127.0.0.1:" .. number, "-cert", pki.server.cert, "-key",
                          pki.server.key, "-CAfile", pki.ca, "-Verify", "1", "-verify_return_error", "-www" }
    wait.until_true(function() return port.listening(number) end, 5, "openssl s_server")
    local addr = "127.0.0.1:" .. number
    local w, why, code = client{ addr }:open("svc", "/echo")
    assert.is_nil(w)
    assert.equal("tls", code, why)
    assert.matches("client certificate", why)
    p:destroy()
  end)

  it("a plain server is told from a TLS one, both ways", function()
    local plain = ws.python()
    refused("does not speak TLS", client{ plain }, plain)
    assert.equal(0, #plain:journal "request")
    plain:kill()
    local s = server(pki.server)
    local w, why, code = calls.client{ s }:open("svc", "/echo")
    assert.is_nil(w)
    assert.is_true(code == "protocol" or code == "connect", why)
    assert.matches(s.addr:gsub("%p", "%%%0"), why)
    s:kill()
  end)

  it("goes to the next node", function()
    local bad, mute, good = server(pki.expired), scripted.http "hang", server(pki.server)
    for _, first in ipairs { bad, mute } do
      local d = client{ { first, calls.FIRST }, good }
      local w = assert(d:open{ app = "svc", path = "/echo", timeout = 0.5 })
      assert.equal(good.addr, w.node)
      assert.equal(1, calls.node(d, first).failed_times)
      w:close()
    end
    for _, s in ipairs { bad, mute, good } do s:kill() end
  end)
end)
