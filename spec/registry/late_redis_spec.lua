-- Redis that is not there when a program starts.
local discover = require "discover"
local nodes = require "spec.support.nodes"
local port = require "spec.support.port"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

describe("#registry Redis comes late", function()
  it("#core fault 4: start returns with a discoverer, and registers as soon as Redis is there", function()
    local number = port.free()
    local registry = "redis://127.0.0.1:" .. number .. "/15"
    local log = nodes.log()
    local began = wait.now()
    local d = assert(discover.start(registry, "web", "127.0.0.1:1",
      { start_timeout = 0.5, logger = log.logger, calls = { other = {} } }))
    assert.is_true(wait.now() - began < 0.5 + wait.scale(1.5))
    assert.is_false(d:registered())
    assert.is_true(d:is_server())
    local ok, why, code = d:ready(0.05)
    assert.is_nil(ok)
    assert.is_true(code == "registry" or code == "timeout", why)
    -- A call says what is wrong.
    assert.equal("registry", d:get("other", "/").err)
    assert.equal(1, log:count("cannot be reached", "error"))
    local events = nodes.events(d)

    -- Long enough for the pauses between its tries to have grown.
    wait.pass(2.5)
    local r = redis.start{ port = number, single = true }
    local up = wait.now()
    wait.until_true(function() return r:hash("web")["127.0.0.1:1"] end, 5, "the registration")
    assert.is_true(wait.now() - up < wait.scale(5))
    events:wait("registered", 2)
    assert.is_true(d:ready(2))
    assert.is_true(d:registered())
    assert.equal("no_node", d:get("other", "/").err)
    -- It was said once that it was down, and once that it is back.
    assert.equal(1, log:count("cannot be reached", "error"))
    assert.equal(1, log:count "is back")
    d:stop()
    assert.same({}, r:keys())
    r:kill()
  end)

  it("a host that drops packets holds up neither start nor stop", function()
    local hole = port.full()
    local took, d = wait.within(1.5, discover.start, "redis://" .. hole.addr .. "/15", "web", "127.0.0.1:1",
      { start_timeout = 0.3, log_level = "off" })
    assert.is_true(took >= 0.25)
    wait.within(1, d.stop, d)
    hole:close()
    local mute = port.blackhole()
    took, d = wait.within(1.5, discover.start, "redis://" .. mute.addr .. "/15", "web", "127.0.0.1:1",
      { start_timeout = 0.3, log_level = "off" })
    assert.is_true(took >= 0.25)
    wait.within(1, d.stop, d)
    mute:close()
  end)

  it("a name that does not resolve is a registry that is down", function()
    local log = nodes.log()
    local _, d = wait.within(3, discover.start, "redis://no.such.host.invalid:6379/15", "web", "127.0.0.1:1",
      { start_timeout = 0.3, logger = log.logger })
    wait.until_true(function() return not d:registered() and log:count("cannot be reached") == 1 end,
      10, "the log line")
    wait.within(1, d.stop, d)
  end)

  it("wrong password, then the right one is set on the server: registered, and nothing ever shows it", function()
    local secret = "s3cret-of-the-spec"
    local r = redis.start{ acl = { "user svc on >other ~* &* +@all" } }
    local log = nodes.log()
    local d = assert(discover.start(r:url{ user = "svc", password = secret }, "web", "127.0.0.1:1",
      { start_timeout = 0.5, logger = log.logger }))
    assert.is_false(d:registered())
    wait.until_true(function() return not d:registered() and log:count "refuses the credentials" > 0 end,
      5, "the log line")
    local _, why, code = d:ready(0.05)
    assert.is_true(code == "registry" or code == "timeout", why)
    local said = log:text() .. why .. tostring(d) .. tostring(d:get("x", "/")) .. d:stats("prometheus") ..
      d:stats().registry.target
    assert.is_nil(said:find(secret, 1, true))
    -- Refused credentials are tried again after half a minute: a new one does not have to wait.
    r:cli("ACL", "SETUSER", "svc", ">" .. secret)
    local d2 = assert(discover.start(r:url{ user = "svc" }, "web", "127.0.0.1:2",
      { password = discover.secret(secret) }))
    assert.is_true(d2:registered())
    assert.is_nil((tostring(d2) .. d2:stats().registry.target .. d2:stats "prometheus"):find(secret, 1, true))
    if os.getenv "DISCOVER_TEST_LONG" then
      wait.until_true(function() return d:registered() end, 40, "the other registration")
    end
    d2:stop()
    d:stop()
    r:kill()
  end)

  it("credentials that are refused only after an outage are told", function()
    local r = redis.start()
    local log = nodes.log()
    local d = assert(discover.start(r:url(), "web", "127.0.0.1:1", { logger = log.logger }))
    assert.is_true(d:registered())
    local admin = r:connect()
    admin:call("CONFIG", "SET", "requirepass", "later")
    admin:call("CLIENT", "KILL", "TYPE", "pubsub")
    admin:call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    -- d is asked something each time, so that its logger gets its records.
    wait.until_true(function() return not d:is_client() and d:ready(0) ~= 0 and
      log:count "refuses the credentials" == 1 end, 5, "the log line")
    d:stop()
    r:kill()
  end)

  it("refused credentials are not tried in a hurry", function()
    local r = redis.start{ password = "right" }
    local d = assert(discover.start(r:url{ password = "wrong" }, "web", "127.0.0.1:1",
      { start_timeout = 0.5, log_level = "off" }))
    -- The wrong password, as the server counts it: connections are made by others, too (replicas, Sentinels).
    local function refusals()
      local n, log = 0, r:cli("ACL", "LOG")
      for i = 1, log.n do
        local entry = {}
        for k = 1, log[i].n, 2 do entry[log[i][k]] = log[i][k + 1] end
        if entry.reason == "auth" then n = n + entry.count end
      end
      return n
    end
    wait.until_true(function() return refusals() > 0 end, 5, "the refusal")
    wait.pass(0.5) -- of the second connection, too
    local before = refusals()
    wait.pass(1)
    assert.equal(before, refusals())
    wait.within(1, d.stop, d)
    r:kill()
  end)

  it("rights that are missing for writing: calls go on, the registration says what is wrong and comes later", function()
    local r = redis.start{ acl = { "user svc on >pw ~* &* +@all -hset" } }
    local log = nodes.log()
    local d = assert(discover.start(r:url{ user = "svc", password = "pw" }, "web", "127.0.0.1:1",
      { start_timeout = 0.3, logger = log.logger, calls = { other = {} } }))
    wait.until_true(function() return not d:registered() and log:count("NOPERM", "error") > 0 end, 3, "the log line")
    wait.until_true(function() return d:stats().registry.up end, 5, "both connections")
    wait.until_true(function() return d:get("other", "/").err == "no_node" end, 5, "the first read")
    d:stop()
    r:kill()
  end)

  it("a Redis that goes before anything was read: the call says registry, and works once it is back", function()
    local r = redis.start()
    local d = assert(discover.open(r:url(), { log_level = "off", start_timeout = 0.5 }))
    assert(d:ready(3))
    r:kill()
    wait.until_true(function() return d:registered() == false and not d:stats().registry.up end, 5, "it to be missed")
    assert.equal("registry", d:get("web", "/").err)
    r:start()
    wait.until_true(function() return d:get("web", "/").err == "no_node" end, 5, "the first read")
    d:stop()
    r:kill()
  end)
end)
