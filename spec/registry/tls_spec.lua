-- Redis over TLS: who is trusted, what is said when nobody is, and that nothing falls back to plain. The other
-- specs of registries run over TLS too, see spec/support/redis.lua.
local certs = require "spec.support.certs"
local discover = require "discover"
local native = require "spec.support.native"
local nodes = require "spec.support.nodes"
local proc = require "spec.support.proc"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

local ADDR = "127.0.0.1:8080"

describe("rediss", function()
  local made, app, open

  setup(function() made = certs.make() end)
  before_each(function() app, open = nodes.app(), {} end)
  after_each(function() for _, d in ipairs(open) do d:stop() end end)

  local function start(url, opts)
    opts = opts or {}
    opts.log_level = opts.log_level or "off"
    opts.start_timeout = opts.start_timeout or wait.scale(3)
    local d = assert(discover.start(url, app, ADDR, opts))
    open[#open + 1] = d
    return d
  end

  -- What d:ready() says of a registry that is never reached.
  local function trouble(url)
    local d = start(url, { start_timeout = 0 })
    local why
    wait.until_true(function()
      local ok, message, code = d:ready(0.6)
      assert.is_nil(ok)
      assert.equal("registry", code)
      why = message
      return why:find("not registered yet: ", 1, true), why
    end, 5, "the reason")
    assert.is_false(d:registered())
    return why
  end

  local function tls(options)
    options = options or {}
    options.over = "tls"
    return redis.start(options)
  end

  describe("#core trusts", function()
    it("a server whose certificate the CA signed, by address", function()
      local r = tls()
      local d = start(r:url())
      assert.is_true(d:registered())
      assert.same({ [ADDR] = "100" }, r:hash(app))
      assert.equal(1, r:cli("CLIENT", "LIST"):match "name=discover%-commands%-%d+" and 1)
      r:kill()
    end)

    it("a server by the name of server_name, dialed by address", function()
      local r = tls{ certificate = made.named }
      assert.matches("not issued for this address", trouble(r:url()), 1, true)
      assert.is_true(start(r:url{ query = "server_name=node.test" }):registered())
      r:kill()
    end)

    it("a server by the name or the address that is asked for: the host, or server_name", function()
      local function url(r, query)
        return ("rediss://localhost:%d/15?ca=%s%s"):format(r.tls_port, made.ca, query or "")
      end
      local r = tls()
      assert.is_true(start(url(r)):registered())
      assert.is_true(start(url(r, "&server_name=127.0.0.1")):registered())
      assert.is_true(start(url(r, "&server_name=::1")):registered())
      assert.matches("not issued for this address", trouble(url(r, "&server_name=127.0.0.2")), 1, true)
      r:kill()
      r = tls{ certificate = made.named }
      assert.matches("localhost:%d+ was issued for another name", trouble(url(r)))
      r:kill()
    end)

    it("anybody with verify=false", function()
      local r = tls{ certificate = made.self_signed }
      assert.is_true(start(r:url{ query = "verify=false" }):registered())
      r:kill()
    end)

    it("nobody's word without a client certificate where one is wanted", function()
      local r = tls{ wants_client = true }
      -- By its alert, which is read although our own write met a reset.
      assert.matches("wants a client certificate that it knows", trouble(r:url()), 1, true)
      local query = ("cert=%s&key=%s"):format(made.foreign.cert, made.foreign.key)
      assert.matches("does not know who signed the client certificate", trouble(r:url{ query = query }), 1, true)
      local d = start(r:url{ query = ("cert=%s&key=%s"):format(made.client.cert, made.client.key) })
      assert.is_true(d:registered())
      r:kill()
    end)
  end)

  for what, row in pairs {
    ["a certificate of another authority"] = { "foreign", "is signed by an unknown authority" },
    ["a certificate for another name"] = { "wrong", "was not issued for this address" },
    ["an expired certificate"] = { "expired", "has expired" },
    ["a certificate that signs itself"] = { "self_signed", "is self-signed" },
  } do
    it("#core refuses " .. what .. ", naming it and the server", function()
      local r = tls{ certificate = made[row[1]] }
      local why = trouble(r:url())
      assert.matches(row[2], why, 1, true)
      assert.matches("127.0.0.1:" .. r.tls_port, why, 1, true)
      assert.same({}, r:keys())
      r:kill()
    end)
  end

  it("refuses a server whose own CA is not the one that is given", function()
    local r = tls()
    assert.matches("unknown authority", trouble(r:url{ ca = made.foreign_ca }), 1, true)
    r:kill()
  end)

  it("says so when the port does not speak TLS, and when a plain string meets TLS; never falls back", function()
    local r = tls()
    local monitor = r:monitor()
    local plain = ("rediss://127.0.0.1:%d/15?connectTimeout=200ms&ca=%s"):format(r.port, made.ca)
    -- A plain Redis is mute, unless the bytes of the handshake happen to hold the end of a line.
    local why = trouble(plain)
    assert.is_truthy(why:find "is it a TLS port%?" or why:find "does not speak TLS on this port", why)
    assert.matches("is it a TLS port? then rediss://", trouble(("redis://127.0.0.1:%d/15"):format(r.tls_port)), 1, true)
    assert.same({}, monitor:lines(app))
    monitor:close()
    r:kill()
  end)

  it("#core a server that is mute in the handshake holds up neither start nor stop", function()
    local r = tls()
    r:pause()
    local took, d = wait.within(1.5, start, r:url(), { start_timeout = 0.3 })
    assert.is_true(took >= 0.25)
    wait.within(1, d.stop, d)
    r:resume()
    r:kill()
  end)

  it("TLS 1.2 will do, 1.1 will not", function()
    local function only(version)
      return tls{ args = { "--tls-protocols", version, "--tls-ciphers", "DEFAULT@SECLEVEL=0" } }
    end
    local r = only "TLSv1.2"
    assert.is_true(start(r:url()):registered())
    r:kill()
    r = only "TLSv1.1"
    assert.matches("no common version", trouble(r:url()), 1, true)
    r:kill()
  end)

  it("does not ask a refused server in a tight loop", function()
    local r = tls{ certificate = made.expired }
    local before = tonumber(r:cli("INFO", "stats"):match "total_connections_received:(%d+)")
    local d = start(r:url(), { start_timeout = 0 })
    wait.pass(1.5)
    d:stop()
    local after = tonumber(r:cli("INFO", "stats"):match "total_connections_received:(%d+)")
    -- Two connections, full jitter from 0.1 s up to 2 s.
    assert.is_true(after - before <= 60, after - before)
    r:kill()
  end)

  it("#core is there again when the server comes back", function()
    local r = tls()
    local d = start(r:url())
    r:restart()
    wait.until_true(function() return r:hash(app)[ADDR] end, 5, "the registration")
    assert.is_true(d:ready(5))
    r:kill()
  end)

  it("#core a child of a fork says forked and leaves the parent's TLS alone", function()
    local r = tls()
    local run = native.run(([[
      local url, app = %q, %q
      local d = assert(discover.start(url, app, "127.0.0.1:1", { heartbeat = 0.1, calls = { [app] = {} } }))
      for i = 1, 3 do
        local pid = native.fork()
        if pid == 0 then
          native._exit(d:get(app, "/").err == "forked" and d:stop() and 0 or 1)
        end
        assert(native.waitpid(pid) == 0)
        assert(d:set_weight(i))
        local other = assert(discover.open(url, { calls = { [app] = {} } }))
        assert(other:pick(app))
        other:stop()
      end
      assert(d:registered())
      print(d:stats().registry.connects)
      io.stdout:flush()
      d:stop()
    ]]):format(r:url(), app))
    assert.equal("", run.err)
    assert.equal("2\n", run.out)
    assert.same({}, r:keys())
    r:kill()
  end)

  it("a server that was refused is trusted once its certificate was renewed", function()
    local r = tls{ certificate = made.expired }
    local d = start(r:url(), { start_timeout = 0.3 })
    assert.is_false(d:registered())
    r.options.certificate = made.server
    r:restart()
    wait.until_true(function() return r:hash(app)[ADDR] end, 5, "the registration")
    assert.is_true(d:ready(5))
    r:kill()
  end)

  describe("files that are no use are found at once:", function()
    local function refused(query)
      local d, why, code = discover.open("rediss://127.0.0.1:1/0?" .. query)
      assert.is_nil(d)
      assert.equal("invalid", code)
      return why
    end

    it("missing", function()
      assert.matches("tls.ca: /no/such.pem cannot be read", refused "ca=/no/such.pem", 1, true)
    end)

    it("not PEM", function()
      local path = proc.write_file(proc.tmpdir() .. "/empty.pem", "nothing")
      assert.matches("holds no certificates in PEM form", refused("ca=" .. path), 1, true)
    end)

    it("the key of another certificate, or behind a pass phrase", function()
      local cert = "cert=" .. made.client.cert
      assert.matches("is not the private key", refused(cert .. "&key=" .. made.server.key), 1, true)
      assert.matches("is encrypted", refused(cert .. "&key=" .. made.encrypted_key), 1, true)
    end)
  end)

  it("#core the password goes over TLS only, and is shown nowhere", function()
    local r = tls{ password = "hunter2hunter2" }
    local lines = {}
    local function logger(record) lines[#lines + 1] = tostring(record) end
    local d = start(r:url(), { log_level = "debug", logger = logger })
    assert.is_true(d:registered())
    r:kill()
    wait.until_true(function()
      d:registered()
      d:stats()
      return table.concat(lines, "\n"):find "cannot be reached"
    end, 5, "the trouble")
    assert.is_nil(table.concat(lines, "\n"):find("hunter2", 1, true))
    assert.is_nil(d:stats "prometheus":find("hunter2", 1, true))
    assert.matches("^rediss://", d:stats().registry.target)
    assert.is_nil(d:stats().registry.target:find("hunter2", 1, true))
  end)
end)
