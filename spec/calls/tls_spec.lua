-- TLS: who is believed, what a failure says, what settings never share, and what comes back from one connection to the
-- next.
local calls = require "spec.support.calls"
local certs = require "spec.support.certs".make()
local discover = require "discover"
local nghttpd = require "spec.support.nghttpd"
local nginx = require "spec.support.nginx"
local port = require "spec.support.port"
local proc = require "spec.support.proc"
local scripted = require "spec.support.scripted"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local FIRST = calls.FIRST
local n, well -- one nginx with a server of every kind, another one that all trust

local function client(nodes, config)
  config = config or {}
  config.ssl = true
  config.tls = config.tls or { ca = certs.ca }
  return calls.client(nodes, { calls = { svc = config } })
end

local function ended(res, err, attempts, name)
  assert.equal(err, res.err, (name or "") .. " " .. tostring(res))
  assert.equal(attempts, res.attempts, (name or "") .. " " .. tostring(res))
end

setup(function()
  n = nginx.start{ servers = {
    plain = {}, tls = { cert = certs.server }, h2 = { cert = certs.server, http2 = true },
    named = { cert = certs.named }, wrong = { cert = certs.wrong }, expired = { cert = certs.expired },
    foreign = { cert = certs.foreign }, self_signed = { cert = certs.self_signed },
    mutual = { cert = certs.server, client_ca = certs.ca },
    old = { cert = certs.server, protocols = "TLSv1.1", conf = "ssl_ciphers ALL:@SECLEVEL=0;" },
    twelve = { cert = certs.server, protocols = "TLSv1.2" },
  } }
  well = nginx.start{ servers = { tls = { cert = certs.server, http2 = true } } }
end)

describe("ssl = true", function()
  it("speaks HTTP/1.1 over TLS, on one connection #core", function()
    local d = client{ n.tls }
    local before = n:connections "tls"
    for _ = 1, 20 do
      local res = d:get("svc", "/x")
      ended(res, nil, 1)
      assert.equal("1.1", res.http_version)
      assert.equal("hello", res.body)
    end
    wait.until_true(function() return #n:log "tls" >= 20 end)
    assert.equal(before + 1, n:connections "tls")
    assert.equal(n.tls.addr, n:first("tls").host)
  end)

  it("with http2 = true speaks HTTP/2 where the node does, on one connection", function()
    local d = client({ n.h2 }, { http2 = true })
    for _ = 1, 20 do assert.equal("2", d:get("svc", "/").http_version) end
    wait.until_true(function() return #n:log "h2" >= 20 end)
    assert.equal(1, n:connections "h2")
  end)

  it("with http2 = true falls back to HTTP/1.1 where it does not", function()
    assert.equal("1.1", client({ n.tls }, { http2 = true }):get("svc", "/").http_version)
  end)

  it("alone speaks HTTP/1.1 with a node that has more", function()
    assert.equal("1.1", client{ n.h2 }:get("svc", "/").http_version)
  end)

  it("speaks TLS 1.2 and no less", function()
    assert.is_true(client{ n.twelve }:get("svc", "/").ok)
    local res = client{ n.old }:get("svc", "/")
    ended(res, "tls", 1)
  end)

  it("checks a name, an address, and names that are looked up", function()
    assert.is_true(client{ "localhost:" .. n.tls.port }:get("svc", "/").ok)
    assert.is_true(client{ n.tls.addr }:get("svc", "/").ok)
  end)
end)

describe("tls.server_name", function()
  it("is sent, checked and the Host, while the connection goes to the node", function()
    local d = client({ n.named }, { tls = { ca = certs.ca, server_name = "node.test" } })
    ended(d:get("svc", "/name"), nil, 1)
    ended(d:get("svc", "/own", { Host = "my.own" }), nil, 1)
    wait.until_true(function() return #n:log "named" == 2 end)
    local first, second = n:log "named"[1], n:log "named"[2]
    assert.equal("node.test", first.sni)
    assert.equal("node.test:" .. n.named.port, first.host)
    assert.equal("my.own", second.host)
    assert.equal(first.connection, second.connection)
  end)

  it("is the same for several nodes, each of which gets its own calls", function()
    local other = nginx.start{ servers = { named = { cert = certs.named } } }
    local d = client({ n.named, other.named }, { http2 = true, tls = { ca = certs.ca, server_name = "node.test" } })
    local count = calls.gets(d, 20)
    assert.equal(10, count[n.named.addr])
    assert.equal(10, count[other.named.addr])
    wait.until_true(function() return #other:log() == 10 end)
    assert.equal(1, other:connections())
  end)

  it("may be an address", function()
    assert.is_true(client({ "localhost:" .. n.tls.port }, { tls = { ca = certs.ca, server_name = "127.0.0.1" } })
      :get("svc", "/").ok)
    assert.is_true(client({ n.tls }, { tls = { ca = certs.ca, server_name = "::1" } }):get("svc", "/").ok)
    local res = client({ n.tls }, { tls = { ca = certs.ca, server_name = "127.0.0.2" } }):get("svc", "/")
    ended(res, "tls", 1)
    assert.matches("was not issued for this address", res.why, 1, true)
  end)

  it("that is none is invalid", function()
    for _, name in ipairs{ "a/b", "a b", "user@node.test", "node.test#", "n\195\182de.test" } do
      local d, why, code = discover.new{ calls = { svc = { ssl = true, tls = { server_name = name } } } }
      assert.is_nil(d)
      assert.equal("invalid", code)
      assert.matches("tls.server_name", why, 1, true)
    end
  end)
end)

describe("a certificate that is not believed", function()
  local cases = {
    foreign = "is signed by an unknown authority", expired = "has expired", self_signed = "is self-signed",
    wrong = "was not issued for this address",
  }

  it("is a tls error that says why, no call is made, and the next node is asked #core", function()
    for name, words in pairs(cases) do
      local res = client{ n[name] }:get("svc", "/secret-path")
      ended(res, "tls", 1, name)
      assert.matches(words, res.why, 1, true)
      assert.matches(n[name].addr, res.why, 1, true)
      res = client({ { n[name], FIRST }, { well.tls, 1 } }):post("svc", "/", "")
      ended(res, nil, 2, name)
      assert.equal("tls", res.trace[1].err)
      assert.equal(0, #n:log(name), name)
    end
  end)

  it("names the wrong name", function()
    local res = client({ n.wrong }, { tls = { ca = certs.ca, server_name = "node.test" } }):get("svc", "/")
    ended(res, "tls", 1)
    assert.matches("was issued for another name", res.why, 1, true)
    ended(client{ "localhost:" .. n.wrong.port }:get("svc", "/"), "tls", 1)
  end)

  it("is so without a word about authorities too: the system's do not know it", function()
    local res = client({ n.tls }, { tls = {} }):get("svc", "/")
    ended(res, "tls", 1)
    assert.matches("unknown authority", res.why, 1, true)
    ended(calls.client({ n.tls }, { calls = { svc = "s" } }):get("svc", "/"), "tls", 1)
  end)

  it("is taken with verify = false, whatever is wrong", function()
    for name in pairs(cases) do
      ended(client({ n[name] }, { tls = { verify = false } }):get("svc", "/"), nil, 1, name)
    end
    ended(client({ n.foreign }, { tls = { ca = certs.foreign_ca } }):get("svc", "/"), nil, 1)
  end)

  it("is met once per node", function()
    local res = client{ n.foreign, n.expired, n.wrong, n.self_signed }:get("svc", "/")
    ended(res, "all_failed", 4)
    for _, attempt in ipairs(res.trace) do assert.equal("tls", attempt.err) end
  end)
end)

describe("TLS where there is none, and the other way round", function()
  it("a plain server on a TLS port is a tls error", function()
    for _, node in ipairs{ n.plain, scripted.http({ "read", 1 }, { "send", "HTTP/1.1 400 Bad\r\n\r\n" }, "drain") } do
      local res = client{ node }:get("svc", "/")
      ended(res, "tls", 1)
      assert.matches("does not speak TLS on this port", res.why, 1, true)
    end
  end)

  it("a server that ends the handshake is a tls error", function()
    local s = scripted.http({ "read", 10 }, "close")
    local res = client{ s }:get("svc", "/")
    ended(res, "tls", 1)
    assert.equal(1, s:connections())
  end)

  it("a plain call to a TLS port fails, and says what may be wrong", function()
    local alert = scripted.http("read_request", { "send", "\21\3\1\0\2\2\70" }, "close")
    local res = calls.client{ alert }:get("svc", "/")
    ended(res, "protocol", 1)
    assert.matches("ssl = true", res.why, 1, true)
    res = calls.client({ n.tls }):get("svc", "/")
    assert.equal(400, res.status)
    res = calls.client({ n.h2 }, { calls = { svc = { http2 = true } } }):get("svc", "/")
    assert.is_truthy(res.err == "protocol" or res.err == "connect", tostring(res))
  end)

  it("a handshake that never ends is within connect_timeout", function()
    local hole = port.blackhole()
    local d = client({ hole.addr }, { connect_timeout = 0.1, timeout = 60 })
    local took, res = wait.within(5, function() return d:get("svc", "/") end)
    ended(res, "timeout", 1)
    assert.is_true(took >= 0.09)
    assert.matches("no TLS connection", res.why, 1, true)
  end)
end)

describe("a client certificate", function()
  local own = { ca = certs.ca, cert = certs.client.cert, key = certs.client.key }

  it("is shown to a node that wants one", function()
    ended(client({ n.mutual }, { tls = own }):get("svc", "/"), nil, 1)
    assert.equal("SUCCESS", n:first("mutual").client)
    -- nginx completes the handshake and refuses the request
    assert.equal(400, client{ n.mutual }:get("svc", "/").status)
  end)

  -- With TLS 1.2 the node judges it within the handshake, so its alert always comes through.
  local function strict_node()
    local number = port.free()
    local p = proc.start{ "openssl", "s_server", "-accept", "127.0.0.1:" .. number, "-cert", certs.server.cert, "-key",
      certs.server.key, "-CAfile", certs.ca, "-Verify", "1", "-verify_return_error", "-tls1_2", "-quiet",
      name = "s_server" }
    wait.until_true(function() return not p:alive() or port.listening(number) end, 10, "openssl s_server")
    return { addr = "127.0.0.1:" .. number }
  end

  it("that is missing is a refused handshake; nothing was processed: POST goes to the next node", function()
    local strict = strict_node()
    local res = client({ strict }, { http2 = true }):get("svc", "/hello")
    ended(res, "tls", 1)
    assert.matches("client certificate", res.why, 1, true)
    res = client({ { strict, FIRST }, { well.tls, 1 } }, { http2 = true }):post("svc", "/", "")
    ended(res, nil, 2)
  end)

  it("that is missing with TLS 1.3: the alert comes after the handshake, or is lost in the reset behind it", function()
    local strict = nghttpd.start{ cert = certs.server, client_cert = true }
    local res = client({ strict }, { http2 = true }):get("svc", "/hello")
    if res.err == "tls" then
      assert.matches("client certificate", res.why, 1, true)
    else
      ended(res, "connect", 1)
    end
  end)
end)

describe("files of TLS", function()
  it("that were renewed are read again when the same config is given again", function()
    local path = proc.tmpdir() .. "/ca.pem"
    local function put(text)
      proc.write_file(path .. ".new", text)
      assert(os.rename(path .. ".new", path))
    end
    local config = { ssl = true, tls = { ca = path } }
    put(proc.read_file(certs.foreign_ca))
    local d = calls.client({ n.tls }, { calls = { svc = config } })
    ended(d:get("svc", "/"), "tls", 1)
    assert.is_false(d:add_external_app("svc", config))
    put(proc.read_file(certs.ca))
    assert.is_true(d:add_external_app("svc", config))
    ended(d:get("svc", "/"), nil, 1)
    assert.is_false(d:add_external_app("svc", config))
    put "nothing"
    assert.equal("invalid", select(3, d:add_external_app("svc", config)))
    ended(d:get("svc", "/"), nil, 1)
  end)

  it("are read when an app is configured, and named when they are no good", function()
    local broken = proc.write_file(proc.tmpdir() .. "/broken.pem", "no certificate")
    local cases = {
      ["tls.ca"] = { ca = "/there/is/no/ca.pem" }, ["tls.cert"] = { cert = broken, key = certs.client.key },
      ["tls.key"] = { cert = certs.client.cert, key = certs.server.key },
    }
    for what, tls in pairs(cases) do
      for _, app in ipairs{ "svc", "*" } do
        local d, why, code = discover.new{ calls = { [app] = { ssl = true, tls = tls } } }
        assert.is_nil(d)
        assert.equal("invalid", code, why)
        assert.matches("^invalid: calls%['" .. (app == "*" and "%*" or app) .. "'%]: " .. what:gsub("%.", "%%."), why)
      end
      local d = calls.client{ n.plain }
      local ok, why, code = d:add_external_app("other", { ssl = true, tls = tls })
      assert.is_nil(ok)
      assert.equal("invalid", code)
      assert.matches(what, why, 1, true)
      assert.is_true(d:get("svc", "/").ok)
    end
  end)

  it("are not needed after that", function()
    local dir = proc.tmpdir()
    local copy = proc.write_file(dir .. "/ca.pem", proc.read_file(certs.ca))
    local d = client({ n.tls }, { tls = { ca = copy } })
    os.remove(copy)
    assert.is_true(d:get("svc", "/").ok)
  end)
end)

describe("two settings", function()
  it("never share: who does not trust the node fails while another's connection is alive #core", function()
    for _, http2 in ipairs{ false, true } do
      local d = calls.client({}, { calls = {
        trusting = { ssl = true, http2 = http2, tls = { ca = certs.ca } },
        doubting = { ssl = true, http2 = http2, tls = { ca = certs.foreign_ca } },
        careless = { ssl = true, http2 = http2, tls = { verify = false } },
      } })
      local node = http2 and n.h2 or n.tls
      for _, app in ipairs{ "trusting", "doubting", "careless" } do assert(d:set_node(app, node.addr, 1)) end
      for _ = 1, 5 do
        assert.is_true(d:get("careless", "/").ok)
        assert.is_true(d:get("trusting", "/").ok)
        ended(d:get("doubting", "/"), "tls", 1)
      end
    end
  end)

  it("that are equal share one, those with another name do not", function()
    local same = { ssl = true, tls = { ca = certs.ca } }
    local d = calls.client({}, { calls = {
      one = same, two = { ssl = true, tls = { ca = certs.ca, verify = true } },
      other = { ssl = true, tls = { ca = certs.ca, server_name = "node.test" } },
    } })
    for _, app in ipairs{ "one", "two", "other" } do assert(d:set_node(app, well.tls.addr, 1)) end
    local before = well:connections()
    for _ = 1, 4 do
      assert.is_true(d:get("one", "/").ok)
      assert.is_true(d:get("two", "/").ok)
    end
    wait.until_true(function() return well:connections() == before + 1 end)
    assert.is_true(d:get("other", "/").ok)
    wait.until_true(function() return well:connections() == before + 2 end)
  end)
end)

describe("a session", function()
  it("comes back on the next connection of a discoverer", function()
    local brief = nginx.start{ servers = {
      one = { cert = certs.server, conf = "keepalive_timeout 0;" },
      two = { cert = certs.server, protocols = "TLSv1.2", conf = "keepalive_timeout 0;" },
    } }
    for _, name in ipairs{ "one", "two" } do
      local d = client{ brief[name] }
      for _ = 1, 6 do assert.is_true(d:get("svc", "/").ok) end
      wait.until_true(function() return #brief:log(name) == 6 end)
      assert.equal(6, brief:connections(name))
      local log = brief:log(name)
      assert.is_false(log[1].resumed)
      for i = 2, 6 do assert.is_true(log[i].resumed, name .. " " .. i) end
      assert.is_true(client{ brief[name] }:get("svc", "/").ok)
      wait.until_true(function() return #brief:log(name) == 7 end)
      assert.is_false(brief:log(name)[7].resumed)
    end
  end)
end)

describe("over TLS", function()
  it("a request that the node did not begin with is sent once more, and connections that ended are replaced", function()
    local servers = { tls = { cert = certs.server, http2 = true, conf = "keepalive_requests 3;" } }
    local short = nginx.start{ upstream = service.start(), servers = servers }
    local d = client({ short.tls }, { http2 = true })
    for i = 1, 30 do ended(d:post("svc", "/", "tea " .. i), nil, 1) end
    short:kill()
    local res = d:get("svc", "/")
    ended(res, "connect", 1)
    short:start()
    wait.until_true(function() return d:get("svc", "/").ok end)
  end)

  it("the token is in the request and in no error", function()
    local d = client({ n.foreign, n.expired }, { token = discover.secret "s3cret-of-tls" })
    local res = d:post("svc", "/", "tea")
    assert.is_nil((tostring(res) .. res.why):find("s3cret", 1, true))
    local s = nginx.start{ upstream = service.start(), servers = { tls = { cert = certs.server, http2 = true } } }
    d = client({ s.tls }, { http2 = true, token = discover.secret "s3cret-of-tls" })
    assert.matches("s3cret%-of%-tls", d:get("svc", "/echo").body)
  end)

  it("many calls leave descriptors and memory as they were", function()
    local function descriptors() return proc.descriptors() end
    local function memory() return tonumber((proc.shell "grep VmRSS /proc/$PPID/status"):match "%d+") end
    local servers = { tls = { cert = certs.server, http2 = true, conf = "keepalive_requests 2;" } }
    local brief = nginx.start{ servers = servers }
    local d = client({ brief.tls, n.foreign }, { http2 = true })
    local function round(count)
      for _ = 1, count do assert.is_true(d:get("svc", "/").ok) end
      collectgarbage()
      collectgarbage()
    end
    round(200)
    local fds, rss = descriptors(), memory()
    round(600)
    assert.is_true(descriptors() <= fds + 2, descriptors() .. " descriptors after " .. fds)
    -- sanitizers keep freed memory for a while
    if wait.slow == 1 then assert.is_true(memory() <= rss + 2048, memory() .. " KiB after " .. rss) end
  end)
end)
