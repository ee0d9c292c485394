-- Servers that call themselves a Cluster and say odd things: where slots are, where to go.
local discover = require "discover"
local cluster = require "spec.support.cluster"
local nodes = require "spec.support.nodes"
local redis = require "spec.support.redis"
local scripted = require "spec.support.scripted"
local wait = require "spec.support.wait"

local function bulk(text)
  return ("$%d\r\n%s\r\n"):format(#text, text)
end

-- An answer to CLUSTER SLOTS: everything is served by host:port.
local function slots(host, port)
  return "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n" .. bulk(host) .. (":%d\r\n"):format(port)
end

-- A one-node Cluster that answers as an empty Redis would, but for these.
local function fake(replies, host)
  local s = scripted.start{ { { "redis", {} } } }
  replies.CLUSTER = replies.CLUSTER or slots(host or "127.0.0.1", s.port)
  s:kill()
  s.scripts = { { { "redis", replies } } }
  return s:start()
end

local function url(s)
  return "redis+cluster://" .. s.addr .. "/"
end

local function open(registry, log, more)
  local options = { start_timeout = 0, ttl = 1, heartbeat = 0.3, resync = 1,
    logger = function(record) log[#log + 1] = tostring(record) end }
  for name, value in pairs(more or {}) do options[name] = value end
  return assert(discover.start(registry, "web", "127.0.0.1:1", options))
end

-- Waits for a sentence in the log.
local function said(d, log, sentence, seconds)
  wait.until_true(function()
    d:registered()
    local text = table.concat(log, "\n")
    return text:find(sentence, 1, true), text
  end, seconds or 8, sentence)
end

describe("a hostile Cluster", function()
  local d

  after_each(function()
    if d then
      wait.within(2, d.stop, d)
      d = nil
    end
  end)

  it("sends everybody round in a circle", function()
    local s = fake{}
    s:kill()
    s.scripts = { { { "redis", { CLUSTER = slots("127.0.0.1", s.port), SETEX = "-MOVED 1 127.0.0.1:1\r\n" } } } }
    -- The slot of the key is what it says, so that only the number of redirects ends it.
    local c = cluster.start{ masters = 1 }
    local slot = c:cli("CLUSTER", "KEYSLOT", "web_127.0.0.1:1")
    s.scripts[1][1][2].SETEX = ("-MOVED %d 127.0.0.1:%d\r\n"):format(slot, s.port)
    s:start()
    local log = {}
    d = open(url(s), log)
    said(d, log, "redirected more than 5 times")
    assert.is_false(d:registered())
    -- Six times for a command, and then not at once again: no storm.
    local before = #s:commands "SETEX"
    assert.is_true(before >= 6)
    require("socket").sleep(1)
    assert.is_true(#s:commands "SETEX" - before <= 6 * 12, #s:commands "SETEX" - before)
    assert.is_true(#s:commands "CLUSTER" <= 30)
  end)

  it("redirects to what is no address", function()
    for _, text in ipairs { "MOVED 99999 127.0.0.1:1", "MOVED 1", "MOVED x y", "ASK -1 h:1", "MOVED 5 a b:1",
      "MOVED 1 127.0.0.1:70000", "ASK 1 [::1:5", "MOVED 0 http://x:1", "MOVED 1 " .. ("h"):rep(5000) .. ":1" } do
      local s, log = fake{ SETEX = "-" .. text .. "\r\n" }, {}
      d = open(url(s), log)
      said(d, log, "an odd redirect")
      assert.is_false(d:registered())
      d:stop()
      d = nil
      s:kill()
    end
  end)

  it("does not know who serves what", function()
    for name, reply in pairs {
      ["it cannot say"] = "*0\r\n",
      ["it cannot say which"] = "*1\r\n*3\r\n:5\r\n:99999\r\n*2\r\n$1\r\nh\r\n:1\r\n",
      ["it cannot say which node"] = "*1\r\n*3\r\n:5\r\n:4\r\n*2\r\n$1\r\nh\r\n:1\r\n",
      ["it cannot say which node serves"] = ":7\r\n",
      ["it cannot say which node serves which"] = "*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$3\r\na b\r\n:1\r\n",
      ["it cannot say which node serves which slots"] = "*1\r\n*2\r\n:0\r\n:1\r\n",
    } do
      local s, log = fake{ CLUSTER = reply }, {}
      d = open(url(s), log)
      said(d, log, name)
      d:stop()
      d = nil
      s:kill()
    end
  end)

  it("is no Cluster at all", function()
    local r, log = redis.start{ over = "plain" }, {}
    d = open("redis+cluster://" .. r.addr .. "/", log)
    said(d, log, "cluster support disabled")
    r:stop()
  end)

  it("names itself by nothing, or by a question mark: it is who was asked", function()
    for _, host in ipairs { "", "?" } do
      local s = fake({}, host)
      d = open(url(s), {})
      wait.until_true(function() return d:registered() end, 5, "registered at '" .. host .. "'")
      d:stop()
      d = nil
      s:kill()
    end
  end)

  it("redirects to itself by a bare port, as Redis does that does not know its name", function()
    local c = cluster.start()
    local s = fake{}
    s:kill()
    local key = c:cli("CLUSTER", "KEYSLOT", "web_127.0.0.1:1")
    s.scripts = { { { "redis", { CLUSTER = slots("", s.port),
      SETEX = { ("-MOVED %d :%d\r\n"):format(key, s.port), "+OK\r\n" } } } } }
    s:start()
    d = open(url(s), {})
    wait.until_true(function() return d:registered() end, 5, "registered")
  end)

  it("says CLUSTERDOWN and nothing else: the table stays, and calls go on", function()
    local s = fake{ HGETALL = { "*2\r\n" .. bulk "10.0.0.1:80" .. bulk "5", "-CLUSTERDOWN The cluster is down\r\n" },
      GET = "$1\r\n1\r\n" }
    d = open(url(s), {}, { calls = { other = {} } })
    nodes.await(d, "other", "10.0.0.1:80/5")
    wait.until_true(function() return #s:commands "HGETALL" >= 12 end, 10, "reads that fail")
    assert.equal("10.0.0.1:80/5", nodes.show(d, "other"))
    assert.equal("up", nodes.state(d, "other", "10.0.0.1:80"))
    assert.equal("10.0.0.1:80", d:pick("other").addr)
  end)

  it("does not answer: start returns, stop does not wait", function()
    local s = fake{ CLUSTER = "silent" }
    local _, made = wait.within(2, discover.start, url(s), "web", "127.0.0.1:1",
      { start_timeout = 0.2, log_level = "off" })
    d = assert(made)
    assert.is_false(d:registered())
  end)
end)

describe("a string of a Cluster", function()
  it("has no database but 0", function()
    local d, why, code = discover.open "redis+cluster://127.0.0.1:1/15"
    assert.is_nil(d)
    assert.equal("invalid", code)
    assert.matches("database", why)
  end)

  it("may begin with hosts that are dead or mute", function()
    local port = require "spec.support.port"
    local c, hole, refused = cluster.start(), port.full(), port.refused()
    local hosts = table.concat({ hole.addr, refused.addr, c.addr }, ",")
    local took, d = wait.within(3, discover.start, c:url{ hosts = hosts }, "web", "127.0.0.1:1", { log_level = "off" })
    assert.is_true(d:registered(), took)
    d:stop()
    hole:close()
    refused:close()
  end)
end)
