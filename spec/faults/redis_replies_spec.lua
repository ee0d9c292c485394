-- Replies that no client wants, from a Redis that was well before: whatever it says, calls go on with what is known,
-- the log has a word about it and not a thousand, and as soon as a real Redis is there the node is registered again.
--
-- What a Redis may say before it was ever well is in spec/registry/hostile_spec.lua.
local discover = require "discover"
local nodes = require "spec.support.nodes"
local redis = require "spec.support.redis"
local scripted = require "spec.support.scripted"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local WORDS = {
  loading = "-LOADING Redis is loading the dataset in memory\r\n",
  busy = "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n",
  oom = "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
  noauth = "-NOAUTH Authentication required.\r\n",
  wrongpass = "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
  noperm = "-NOPERM this user has no permissions to run the command\r\n",
  wrongtype = "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
  readonly = "-READONLY You can't write against a read only replica.\r\n",
  masterdown = "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
  clusterdown = "-CLUSTERDOWN The cluster is down\r\n",
  moved = "-MOVED 3999 127.0.0.1:6381\r\n",
  maxclients = "-ERR max number of clients reached\r\n",
  nothing_to_say = "-\r\n",
  long_error = "-ERR " .. ("x"):rep(60000) .. "\r\n",
  control_bytes = "-ERR \27[2J\1\2\3\r\n",
}

local ODD = {
  a_status = "+OK\r\n", a_number = ":-5\r\n", a_bulk = "$2\r\nhi\r\n", a_null = "$-1\r\n", an_empty_list = "*0\r\n",
  a_null_list = "*-1\r\n", a_list_of_lists = "*2\r\n*1\r\n:1\r\n*0\r\n", a_list_of_errors = "*1\r\n-ERR no\r\n",
  resp3_map = "%1\r\n+a\r\n:1\r\n", resp3_set = "~1\r\n+a\r\n", resp3_push = ">2\r\n+message\r\n+x\r\n",
  resp3_null = "_\r\n", resp3_double = ",1.5\r\n", resp3_boolean = "#t\r\n", resp3_big = "(12345678901234567890\r\n",
  resp3_verbatim = "=7\r\ntxt:abc\r\n", resp3_error = "!5\r\nERR x\r\n", resp3_attribute = "|1\r\n+a\r\n+b\r\n:1\r\n",
  http = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
  two_at_once = ":1\r\n:1\r\n", huge_count = "*2147483647\r\n", more_than_huge = "*99999999999999999999\r\n",
  huge_bulk = "$536870912\r\nabc", endless_line = "+" .. ("a"):rep(1200000), noise = "\0\1\2\255\r\n$$$\r\n",
  half = "$100\r\nab", tls_alert = "\21\3\1\0\2\2\40",
}

describe("a Redis that was well and then says", function()
  local web

  setup(function() web = service.nginx{ ["/name"] = "here" } end)
  teardown(function() web.kill() end)

  -- Well once, then `reply` to these commands for ever.
  local function server(reply, commands)
    local rows = ("*2\r\n$%d\r\n%s\r\n$3\r\n100\r\n"):format(#web.addr, web.addr)
    local well = { SETEX = "+OK\r\n", HSET = ":1\r\n", HSETNX = ":0\r\n", PUBLISH = ":0\r\n", HGETALL = rows,
                   MGET = "*1\r\n$1\r\n1\r\n", PING = "+PONG\r\n" }
    local replies = { HGETALL = rows, MGET = well.MGET }
    for _, name in ipairs(commands) do
      -- Two connections greet before it turns.
      replies[name] = name == "PING" and { well.PING, well.PING, reply } or { well[name], reply }
    end
    return scripted.start{ { { "redis", replies } } }
  end

  local function begin(name, reply, commands)
    local case = { name = name, s = server(reply, commands), log = nodes.log() }
    case.d = assert(discover.start("redis://" .. case.s.addr .. "/15", "mine", "127.0.0.1:8001", {
      ttl = 1.5, heartbeat = 0.2, resync = 0.3, start_timeout = 2, logger = case.log.logger,
      log_level = "warn", calls = { web = {} } }))
    assert.equal(web.addr .. "/100", nodes.show(case.d, "web"), name)
    return case
  end

  local function goes_on(cases, seconds)
    local deadline, calls = wait.now() + seconds, 0
    repeat
      for _, case in ipairs(cases) do
        local res = case.d:get("web", "/name")
        assert.is_true(res.ok, case.name .. ": " .. tostring(res))
        calls = calls + 1
      end
    until wait.now() > deadline
    assert.is_true(calls >= #cases)
  end

  local function comes_back(cases, expects_log)
    for _, case in ipairs(cases) do
      local log = case.log
      local max = 2 * (4 + (wait.now() - case.began) / 0.1)
      assert.is_true(case.s:connections() <= max, case.name .. ": " .. case.s:connections() .. " connections")
      assert.is_true(#log.records <= 6, case.name .. ":\n" .. log:text())
      assert.is_true(not expects_log or #log.records >= 1, case.name .. " left no word")
      assert.is_nil(log:text():find "%c%[2J", case.name)
      for _, record in ipairs(log.records) do assert.is_true(#record.text < 2000, case.name) end
      case.s:kill()
      case.r = redis.start{ port = case.s.port, over = "plain" }
    end
    for _, case in ipairs(cases) do
      wait.until_true(function()
        return case.d:registered() and case.r:cli("HGET", "mine", "127.0.0.1:8001") == "100"
      end, 8, case.name .. ": the registration")
      assert.is_true(case.d:get("web", "/name").ok)
      case.d:stop()
      assert.same({}, case.r:keys(), case.name)
      case.r:kill()
    end
  end

  local function endure(words, commands, expects_log)
    local cases = {}
    for name, reply in pairs(words) do cases[#cases + 1] = begin(name, reply, commands) end
    for _, case in ipairs(cases) do case.began = wait.now() end
    goes_on(cases, 1.2)
    comes_back(cases, expects_log)
  end

  it("an error to every read: calls go on, nothing lost", function()
    endure(WORDS, { "HGETALL", "MGET" }, true)
  end)

  it("an error to every write and heartbeat: calls go on, nothing lost", function()
    endure(WORDS, { "SETEX", "HSETNX", "HSET", "PUBLISH" }, true)
  end)

  it("an odd reply to every read: calls go on, nothing lost", function()
    endure(ODD, { "HGETALL" })
  end)

  it("an odd reply to the keys that were read: calls go on, nothing lost", function()
    endure(ODD, { "MGET" })
  end)

  it("an odd reply to every heartbeat: calls go on, nothing lost", function()
    endure(ODD, { "HSETNX" })
  end)

  it("things unasked, to a subscriber: calls go on, the connection is made anew, nothing lost", function()
    local cases = {}
    for name, reply in pairs(ODD) do
      -- What comes behind the answer to a subscription has no question.
      local answer = "*3\r\n$9\r\nsubscribe\r\n$6\r\nCH_web\r\n:1\r\n"
      local well = { HGETALL = ("*2\r\n$%d\r\n%s\r\n$3\r\n100\r\n"):format(#web.addr, web.addr),
                     MGET = "*1\r\n$1\r\n1\r\n" }
      well.SUBSCRIBE = answer .. reply
      local case = { name = name, s = scripted.redis(well), log = nodes.log() }
      case.began = wait.now()
      case.d = assert(discover.start("redis://" .. case.s.addr .. "/15", "mine", "127.0.0.1:8001", {
        ttl = 1.5, heartbeat = 0.2, resync = 0.3, start_timeout = 2, logger = case.log.logger,
      log_level = "warn", calls = { web = {} } }))
      wait.until_true(function() return case.d:get("web", "/name").ok end, 5, name)
      cases[#cases + 1] = case
    end
    goes_on(cases, 1.2)
    comes_back(cases)
  end)
end)
