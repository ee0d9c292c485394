-- A Redis that is none, or ill, or mean: a clear word in the log, no crash, no spinning, and back to work when a real
-- one takes its place.
local discover = require "discover"
local nodes = require "spec.support.nodes"
local redis = require "spec.support.redis"
local scripted = require "spec.support.scripted"
local wait = require "spec.support.wait"

local ADDR = "127.0.0.1:8080"

-- name, script, what the log says
local BEFORE_HELLO = {
  { "closes at once", { "close" }, "cannot be reached" },
  { "resets", { "rst" }, "" },
  { "says nothing", { "drain" }, "no answer within" },
  { "hangs", { "hang" }, "no answer within" },
  { "speaks HTTP", { { "read", 1 },
      { "send", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n" }, "drain" }, "" },
  { "speaks unasked", { { "send", "+hello\r\n+who\r\n+are\r\n+you\r\n+then\r\n" }, "drain" }, "" },
  { "sends noise", { { "send", "\0\1\2\255\r\n\r\n$$$" }, "drain" }, "" },
  { "sends an endless line", { { "read", 1 }, { "flood", "+" .. ("a"):rep(65536) } }, "" },
  { "sends a huge array", { { "read", 1 }, { "send", "*2147483647\r\n" },
      { "flood", ":1\r\n:1\r\n:1\r\n:1\r\n" } }, "" },
  { "sends nested arrays", { { "read", 1 }, { "flood", ("*1\r\n"):rep(1000) } }, "" },
  { "sends a huge bulk", { { "read", 1 }, { "send", "$536870912\r\n" }, { "flood", ("a"):rep(65536) } }, "" },
  { "sends a negative bulk", { { "read", 1 }, { "send", "$-5\r\n" }, "drain" }, "" },
  { "sends a bulk beyond numbers", { { "read", 1 }, { "send", "$99999999999999999999\r\n" }, "drain" }, "" },
  { "wants a password", { { "redis", { PING = "-NOAUTH Authentication required.\r\n",
      CLIENT = "-NOAUTH Authentication required.\r\n",
    SELECT = "-NOAUTH Authentication required.\r\n" } } }, "NOAUTH" },
  { "is loading", { { "redis", { PING = "-LOADING Redis is loading the dataset in memory\r\n" } } }, "LOADING" },
  { "has no such database", { { "redis", { SELECT = "-ERR DB index is out of range\r\n" } } }, "out of range" },
  { "answers numbers", { { "redis", { PING = ":7\r\n" } } }, "odd answer" },
}

-- What it answers to single commands, the greeting being fine.
local AFTER_HELLO = {
  { "is read-only", { SETEX = "-READONLY You can't write against a read only replica.\r\n",
    HSET = "-READONLY You can't write against a read only replica.\r\n" }, "READONLY" },
  { "is out of memory", { SETEX = "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    HSET = "-OOM command not allowed when used memory > 'maxmemory'.\r\n" }, "OOM" },
  { "cannot save", { SETEX = "-MISCONF Redis is configured to save RDB snapshots\r\n",
    HSET = "-MISCONF Redis is configured to save RDB snapshots\r\n" }, "MISCONF" },
  { "has another type under the app's name", { HSET = "-WRONGTYPE Operation against a key\r\n",
    HGETALL = "-WRONGTYPE Operation against a key\r\n" }, "WRONGTYPE" },
  { "reads as a number", { HGETALL = ":5\r\n" }, "" },
  { "reads as a string", { HGETALL = "$3\r\nabc\r\n" }, "" },
  { "reads as nothing", { HGETALL = "*-1\r\n" }, "" },
  { "reads as an odd list", { HGETALL = "*1\r\n$1\r\na\r\n" }, "" },
  { "reads as a list of lists", { HGETALL = "*2\r\n*1\r\n:1\r\n*0\r\n" }, "" },
  { "has fewer keys than fields", { HGETALL = "*2\r\n$12\r\n127.0.0.1:80\r\n$1\r\n5\r\n", MGET = "*0\r\n" }, "" },
  { "has more keys than fields", { HGETALL = "*2\r\n$12\r\n127.0.0.1:80\r\n$1\r\n5\r\n",
      MGET = "*2\r\n$1\r\n1\r\n$1\r\n1\r\n" }, "" },
  { "reads as a huge array", { HGETALL = "*2147483647\r\n" }, "" },
  { "subscribes as a number", { SUBSCRIBE = ":1\r\n" }, "" },
  { "refuses subscriptions",
      { SUBSCRIBE = "-NOPERM this user has no permissions to access the channel\r\n" }, "NOPERM" },
  { "hangs up at every read", { HGETALL = "close" }, "" },
  { "hangs up at every registration", { SETEX = "close" }, "" },
  { "never answers a read", { HGETALL = "silent" }, "" },
  { "answers twice", { PING = "+PONG\r\n+PONG\r\n" }, "" },
}

describe("a hostile Redis", function()
  -- Opens against it, waits for the log line, counts connections for a while, then lets a real Redis take the port.
  local function endure(script, expected)
    local s = scripted.start{ script }
    local log = nodes.log()
    local began = wait.now()
    local d = assert(discover.start("redis://" .. s.addr .. "/15", "web", ADDR,
      nodes.fast{ start_timeout = 0.1, logger = log.logger, calls = { other = {} } }))
    if expected ~= "" then
      wait.until_true(function()
        d:registered()
        return log:count(expected, "error") > 0
      end, 6, "the log to say " .. expected)
    end
    wait.holds(function()
      local res = d:request{ method = "GET", app = "other", path = "/", deadline = 0.2 }
      return res.err ~= nil
    end, 0.25, "an error for every call")
    if expected == "" then s:wait(function() return s:connections() >= 2 end, 5, "both connections") end
    local elapsed = wait.now() - began
    -- Two connections, coming back with a jittered delay that grows from 0.1 s.
    local limit = 2 * (3 + elapsed / 0.1)
    -- Each trouble is told once, for both connections, or for the registration and the app that is followed.
    assert.is_true(#log.records <= 3, log:text())
    assert.is_true(s:connections() <= limit, ("%d connections in %.1f s"):format(s:connections(), elapsed))
    assert.is_true(s.p:alive())
    return s, d, log
  end

  local function recover(s, d)
    s:kill()
    local r = redis.start{ port = s.port }
    wait.until_true(function() return r:hash("web")[ADDR] end, 8, "the registration")
    wait.until_true(function() return d:get("other", "/").err == "no_node" end, 8, "the first read")
    d:stop()
    assert.same({}, r:keys())
    r:kill()
  end

  for _, case in ipairs(BEFORE_HELLO) do
    it("that " .. case[1], function()
      local s, d = endure(case[2], case[3])
      assert.is_false(d:registered())
      s:kill()
      if case[1] == "wants a password" then
        -- Credentials are looked at again after half a minute only.
        d:stop()
        return
      end
      recover(s, d)
    end)
  end

  for _, case in ipairs(AFTER_HELLO) do
    it("that " .. case[1], function()
      local s, d = endure({ { "redis", case[2] } }, case[3])
      if case[2].HSET then assert.is_false(d:registered()) end
      d:stop()
      s:kill()
    end)
  end

  it("that greets and hangs up again and again is told once or twice, not each time", function()
    local s = scripted.redis{ SUBSCRIBE = "close" }
    local log = nodes.log()
    local d = assert(discover.open("redis://" .. s.addr .. "/15",
      { start_timeout = 0.1, logger = log.logger, calls = { other = {} } }))
    s:wait(function() return s:connections() >= 9 end, 20, "eight tries")
    d:registered()
    assert.is_true(#log.records >= 1 and #log.records <= 4, log:text())
    d:stop()
    s:kill()
  end)
end)

describe("#registry a Redis that refuses", function()
  it("is asked again on the same connection", function()
    local r = redis.start()
    r:cli("SET", "web", "a string")
    r:cli("SET", "other", "a string")
    local log = nodes.log()
    local d = assert(discover.start(r:url(), "web", ADDR, nodes.fast{
      start_timeout = 0.3, resync = 0.3, logger = log.logger, calls = { other = {} } }))
    wait.until_true(function() return not d:registered() and log:count("WRONGTYPE", "error") >= 2 end,
      5, "both refusals")
    assert.equal("registry", d:get("other", "/").err)
    assert.matches("WRONGTYPE", d:get("other", "/").why)
    assert.equal(1, log:count("registration of .* failed.*WRONGTYPE", "error"), log:text())
    assert.equal(1, log:count("refuses to have it read.*WRONGTYPE", "error"), log:text())
    local events = nodes.events(d)
    r:cli("DEL", "web", "other")
    events:wait("registered", 4)
    wait.until_true(function() return d:get("other", "/").err == "no_node" end, 4, "the read")
    assert.equal(0, d:stats().registry.disconnects)
    d:stop()
    r:kill()
  end)

  it("an app of the wrong type is no trouble for others", function()
    local r = redis.start()
    r:cli("LPUSH", "bad", "x")
    r:add_node("good", "127.0.0.1:1", 5)
    local d = assert(discover.open(r:url(),
      { calls = { good = {}, bad = {} }, start_timeout = 0.3, log_level = "off" }))
    nodes.await(d, "good", "127.0.0.1:1/5")
    assert.equal("registry", d:get("bad", "/").err)
    d:stop()
    r:kill()
  end)
end)
