-- Sentinels that are dead, hanging, behind the others, wrong or hostile; their credentials, rights and TLS.
local certs = require "spec.support.certs"
local discover = require "discover"
local nodes = require "spec.support.nodes"
local port = require "spec.support.port"
local proc = require "spec.support.proc"
local redis = require "spec.support.redis"
local scripted = require "spec.support.scripted"
local sentinel = require "spec.support.sentinel"
local wait = require "spec.support.wait"

local ADDR = "127.0.0.1:8080"

-- What README.md says that a user needs, for apps that begin with "app".
local function rights_of(user)
  local text = proc.read_file "README.md":match("ACL SETUSER " .. user .. " on >secret ([^\n]+)")
  return (text:gsub("~hello%*", "~app*"))
end

describe("Sentinels", function()
  local g, app, open, fakes

  setup(function() g = sentinel.group() end)

  before_each(function() app, open, fakes = nodes.app(), {}, {} end)

  after_each(function()
    for _, d in ipairs(open) do d:stop() end
    for _, f in ipairs(fakes) do if f.kill then f:kill() else f:close() end end
  end)

  teardown(function() g:kill() end)

  local function start(url, opts)
    opts = opts or {}
    opts.log_level = opts.log_level or "off"
    opts.start_timeout = opts.start_timeout or wait.scale(3)
    local d = assert(discover.start(url, app, ADDR, opts))
    open[#open + 1] = d
    return d
  end

  local function keep(fake)
    fakes[#fakes + 1] = fake
    return fake
  end

  -- Where it is registered now.
  local function is_on(r) return r:hash(app) and r:hash(app)[ADDR] == "100" end

  -- What d:ready() says of a registry that is not reached, and what the log says of it.
  local function trouble(url, opts)
    local log = nodes.log()
    opts = opts or {}
    opts.start_timeout, opts.logger, opts.log_level = 0, log.logger, "info"
    local d = start(url, opts)
    local why
    wait.until_true(function()
      local ok, message, code = d:ready(0.1)
      assert.is_nil(ok)
      assert.equal("registry", code)
      why = message
      return log:count "the registry" > 0
    end, 5, "the trouble to be told")
    assert.is_false(d:registered())
    return why, log:text()
  end

  -- A Sentinel that names this address whatever it is asked.
  local function naming(host, number)
    number = tostring(number)
    return keep(scripted.redis{ SENTINEL = ("*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n"):format(#host, host, #number, number) })
  end

  local function names_of(list) return table.concat(list, ",") end

  describe("tell apart", function()
    it("that none of them answers", function()
      local one, two = keep(port.refused()), keep(port.refused())
      local why = trouble(g:url{ hosts = names_of{ one.addr, two.addr } })
      assert.matches("no Sentinel answers; the last of 2 was " .. two.addr .. ": connection refused", why, 1, true)
    end)

    it("that none of them knows the name", function()
      local dead = keep(port.refused())
      local why = trouble(g:url{ name = "nobody", hosts = g.sentinels:hosts() .. "," .. dead.addr })
      assert.matches("no Sentinel knows a master named nobody (3 of 4 answered)", why, 1, true)
    end)

    it("that the master refuses", function()
      local dead = keep(port.refused())
      local why = trouble(g:url{ hosts = naming(dead.host, dead.port).addr })
      assert.matches("the master " .. dead.addr .. ": connection refused", why, 1, true)
    end)

    it("that it is no master", function()
      local why = trouble(g:url{ hosts = naming(g.replica.host, g.replica.port).addr })
      assert.matches(("the master %s: it is no master (its role is slave)"):format(g.replica.addr), why, 1, true)
    end)

    it("that the master wants other credentials", function()
      g.master:cli("ACL", "LOG", "RESET")
      local why, log = trouble(g:url{ user = "bob", password = "hunter2" })
      assert.matches("the master " .. g.master.addr .. ": WRONGPASS", why, 1, true)
      assert.matches("refuses the credentials", log)
      assert.is_nil(log:find("hunter2", 1, true))
      -- Both connections were refused; the next try is in 30 s.
      wait.pass(1)
      local tries = 0
      for _, entry in ipairs(g.master:cli("ACL", "LOG")) do tries = tries + entry[2] end
      assert.is_true(tries <= 2, tries)
    end)
  end)

  describe("are passed by", function()
    it("when they are dead or hang: each costs 0.3 s at most", function()
      local dead, hole = keep(port.refused()), keep(port.blackhole())
      local mute = keep(scripted.redis{ SENTINEL = "silent" })
      local took = wait.within(3, function()
        start(g:url{ hosts = names_of{ dead.addr, hole.addr, mute.addr, g.sentinels[1].addr } })
      end)
      assert.is_true(is_on(g.master))
      assert.is_true(took >= 0.5 and took < 1.5 * wait.slow, took)
      -- A lost master is doubted, so all are asked again: a pause of up to 1 s, then the same two.
      wait.within(3, function()
        g.master:cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        wait.until_true(function() return g.master:cli("CLIENT", "LIST"):find "discover%-commands" end, 5, "a return")
      end)
    end)

    it("when what they name is no master, or is dead, and another one names a better", function()
      local dead = keep(port.refused())
      for _, fake in ipairs { naming(g.replica.host, g.replica.port), naming(dead.host, dead.port) } do
        app = nodes.app()
        start(g:url{ hosts = names_of{ fake.addr, g.sentinels:hosts() } })
        wait.until_true(function() return is_on(g.master) end, 5, "the registration")
      end
    end)

    it("when one names a master of long ago that still thinks so: the others are asked", function()
      local old = redis.start{ over = "plain" }
      local fake = naming(old.host, old.port)
      local d = start(g:url{ hosts = names_of{ fake.addr, g.sentinels:hosts() } })
      wait.until_true(function() return is_on(g.master) end, 8, "the move to the master of the others")
      wait.until_true(function() return not old:cli("CLIENT", "LIST"):find "name=discover" end, 2, "it to be left")
      assert.is_true(d:registered())
      old:kill()
    end)

    for what, bytes in pairs {
      ["an integer"] = ":1\r\n", ["a status"] = "+OK\r\n", ["an error"] = "-ERR hunter\r\n",
      ["HTTP"] = "HTTP/1.1 200 OK\r\n", ["an empty list"] = "*0\r\n", ["a list of lists"] = "*2\r\n*0\r\n*0\r\n",
      ["no port"] = "*2\r\n$1\r\nh\r\n$0\r\n\r\n",
      ["a huge port"] = "*2\r\n$9\r\n127.0.0.1\r\n$5\r\n99999\r\n", ["a huge count"] = "*2147483647\r\n",
      ["no host"] = "*2\r\n$0\r\n\r\n$4\r\n6379\r\n", ["half a reply"] = "*2\r\n$9\r\n127.0.0.1\r\n",
      ["a host with blanks"] = "*2\r\n$3\r\na b\r\n$4\r\n6379\r\n",
    } do
      it("when they answer " .. what, function()
        local fake = keep(scripted.redis{ SENTINEL = bytes })
        start(g:url{ hosts = names_of{ fake.addr, g.sentinels[1].addr } })
        wait.until_true(function() return is_on(g.master) end, 5, "the registration")
        -- Its message means as little as its answer.
        assert.is_true(#fake:commands "SENTINEL" >= 1)
      end)
    end

    it("when they announce nonsense", function()
      local said = "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n"
      for _, text in ipairs { g.name, g.name .. " ", g.name .. " a 1 b", g.name .. " a 1 b x", g.name .. " a 1  6379",
                              "other 127.0.0.1 1 127.0.0.1 2", "", "    ", g.name .. " a 1 b 6379 c" } do
        said = said .. ("*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$%d\r\n%s\r\n"):format(#text, text)
      end
      local number = tostring(g.master.port)
      local fake = keep(scripted.redis{
        SENTINEL = ("*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%s\r\n"):format(#number, number), SUBSCRIBE = said })
      local d = start(g:url{ hosts = fake.addr })
      fake:wait(function() return #fake:commands "SENTINEL" >= 6 end, 5)
      assert.equal(2, d:stats().registry.connects)
      assert.is_true(d:stats().registry.up)
    end)
  end)

  it("are asked again at once when their master takes no writes", function()
    local tired = keep(scripted.redis{ ROLE = "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n",
      SETEX = "-READONLY You can't write against a read only replica.\r\n", SUBSCRIBE = "silent" })
    local fake = naming(tired.host, tired.port)
    local d = start(g:url{ hosts = fake.addr }, { start_timeout = 0 })
    tired:wait(function() return tired:connections() >= 6 end, 10)
    -- Each time both connections are dropped after one refusal.
    assert.is_true(#tired:commands "SETEX" <= tired:connections())
    assert.is_true(d:stats().registry.disconnects >= 2)
    assert.is_false(d:registered())
  end)

  it("that come late are found", function()
    local number = port.free()
    local d = start(g:url{ hosts = "127.0.0.1:" .. number }, { start_timeout = 0 })
    wait.until_true(function() return not d:ready(0.1) end, 2)
    local late = scripted.start({ { { "redis", {
      SENTINEL = ("*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n"):format(#tostring(g.master.port), g.master.port) } } } },
      { port = number })
    keep(late)
    wait.until_true(function() return d:registered() end, 8, "the registration")
  end)

  it("may all be dead while the master lives: nothing is lost", function()
    local fake = naming(g.master.host, g.master.port)
    local d = start(g:url{ hosts = fake.addr }, { heartbeat = 0.1, ttl = 10 })
    fake:wait(function() return #fake:commands "SUBSCRIBE" >= 1 end, 5)
    fake.p:destroy()
    local beats = d:stats().registry.heartbeats
    wait.until_true(function() return d:stats().registry.heartbeats > beats + 20 end, 10, "heartbeats")
    assert.is_true(d:stats().registry.up)
    assert.equal(2, d:stats().registry.connects)
  end)

  it("end a stop in no more time than others", function()
    local hole = keep(port.blackhole())
    local d = start(g:url{ hosts = hole.addr }, { start_timeout = 0 })
    wait.within(1, d.stop, d)
    local busy = start(g:url())
    wait.within(1, busy.stop, busy)
    for _, s in ipairs(g.sentinels) do
      wait.until_true(function()
        return not s:call("CLIENT", "LIST"):find "discover%-sentinel"
      end, 3, "connections to be closed")
    end
  end)

  it("are the same shared registry in any order, with equal passwords", function()
    local list = {}
    for i, s in ipairs(g.sentinels) do list[#g.sentinels + 1 - i] = s.addr end
    local one = assert(discover.open(g:url(), { shared = true, calls = { [app] = {} } }))
    local two = assert(discover.open(g:url{ hosts = table.concat(list, ",") }, { shared = true }))
    open[1], open[2] = one, two
    wait.until_true(function()
      return select(2, g.master:cli("CLIENT", "LIST"):gsub("name=discover%-commands", "")) == 1
    end, 5, "one connection for commands")
    assert.equal(one:stats().registry.target, two:stats().registry.target)
    assert.equal("sentinel", one:stats().registry.kind)
    local three, why, code = discover.open(g:url{ query = "sentinelPassword=hunter2" }, { shared = true })
    assert.is_nil(three)
    assert.equal("invalid", code)
    assert.matches("sentinelPassword", why)
    assert.is_nil(why:find("hunter2", 1, true))
  end)

  it("with a password of their own, and a user with no more rights than documented", function()
    local rights = rights_of "asker"
    local guarded = sentinel.group{ down_after = 60000, acl = {
      "user hello on >secret " .. rights_of "hello" .. " +role" },
      sentinels = { count = 1, password = "s-pass", acl = { "user asker on >p%ss " .. rights } } }
    local url = function(query) return guarded:url{ user = "hello", password = "secret", query = query } end
    local why, log = trouble(url())
    assert.matches("no Sentinel answers; the last of 1 was " .. guarded.sentinels[1].addr .. ": NOAUTH", why, 1, true)
    assert.matches("refuses the credentials", log)
    why, log = trouble(url "sentinelPassword=wrong-pass")
    assert.matches("WRONGPASS", why)
    assert.is_nil((why .. log):find("wrong-pass", 1, true))
    for _, query in ipairs { "sentinelPassword=s-pass", "sentinelUser=asker&sentinelPassword=p%25ss" } do
      app = nodes.app()
      local seen = nodes.log()
      guarded.sentinels[1]:call("ACL", "LOG", "RESET")
      start(url(query), { logger = seen.logger, log_level = "warn" })
      assert.is_true(is_on(guarded.master))
      -- The watch stands, too.
      wait.until_true(function()
        return guarded.sentinels[1]:call("CLIENT", "LIST"):find "name=discover%-sentinel%-%d+ .-sub=1"
      end, 5, "the subscription")
      assert.equal("", seen:text())
      assert.equal(0, guarded.sentinels[1]:call("ACL", "LOG").n)
    end
    guarded:kill()
  end)

  it("over TLS, as the master; both are verified", function()
    local made = certs.make()
    local safe = sentinel.group{ down_after = 60000, tls = true, sentinels = { count = 1 } }
    start(safe:url())
    assert.is_true(is_on(safe.master))
    local url = safe:url():gsub("ca=[^&]*", "ca=" .. made.foreign_ca)
    local why = trouble(url)
    assert.matches("unknown authority", why)
    assert.matches(safe.sentinels[1].addr, why, 1, true)
    -- Sentinels that are trusted name a master that is not.
    local wrong = redis.start{ over = "tls", certificate = made.wrong }
    local name = safe.sentinels:watch(wrong)
    why = trouble(safe:url{ name = name })
    assert.matches("the master " .. wrong.host .. ":" .. wrong.tls_port, why, 1, true)
    assert.matches("was not issued for", why, 1, true)
    -- By hand: the replica is followed over TLS, too.
    local new = safe:failover()
    wait.until_true(function()
      return is_on(new) and new:cli("CLIENT", "LIST"):find "discover%-commands"
    end, 10, "the move")
    wrong:kill()
    safe:kill()
  end)

  it("that nobody named are learned: the only one of the string hangs, and a failover is followed", function()
    local d = start(g:url{ hosts = g.sentinels[1].addr })
    local function watched_by(s) return s:call("CLIENT", "LIST"):find "name=discover%-sentinel%-%d+ .-sub=1" end
    wait.until_true(function() return watched_by(g.sentinels[1]) end, 5, "the watch")
    g.sentinels[1]:pause()
    g.sentinels[1].paused = true
    wait.until_true(function() return watched_by(g.sentinels[2]) or watched_by(g.sentinels[3]) end, 15, "another watch")
    assert.equal(g.replica, g:failover(2))
    wait.until_true(function()
      return g.replica:cli("CLIENT", "LIST"):find "discover%-commands"
    end, 10, "the move")
    assert.is_true(d:registered())
    g.sentinels[1]:resume()
  end)
end)
