-- What goes over the wire: byte for byte what the programs that are already there write and read.
local discover = require "discover"
local nodes = require "spec.support.nodes"
local redis = require "spec.support.redis"
local remote = require "spec.support.remote"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local ADDR = "127.0.0.1:8080"

describe("#registry wire", function()
  local r, open

  setup(function() r = redis.start() end)

  before_each(function() open = {} end)

  after_each(function()
    for _, d in ipairs(open) do d:stop() end
    r:cli "FLUSHALL"
  end)

  local function keep(d, why)
    assert(d, why)
    open[#open + 1] = d
    return d
  end

  local function start(app, addr, opts) return keep(discover.start(r:url(), app, addr, opts)) end

  local function follow(app, opts)
    opts = opts or {}
    opts.calls = { [app] = {} }
    local d = keep(discover.open(r:url(), opts))
    assert(d:ready(5))
    return d
  end

  describe("#core of a registration", function()
    it("is the hash field, the key with a TTL, and the message, in an order that no reader can misread", function()
      local app = nodes.app()
      local monitor, channel = r:monitor(), r:subscribe("CH_" .. app)
      start(app, ADDR, { weight = 70 })
      assert.same({ [ADDR] = "70" }, r:hash(app))
      assert.equal("1", r:cli("GET", app .. "_" .. ADDR))
      local ttl = r:cli("TTL", app .. "_" .. ADDR)
      assert.is_true(ttl > 7 and ttl <= 10, ttl)
      assert.equal(ADDR .. " 70", channel:wait "70")
      assert.same({ ADDR .. " 70" }, channel:messages())
      assert.same({
        ("SETEX %s_%s 10 1"):format(app, ADDR),
        ("HSET %s %s 70"):format(app, ADDR),
        ("PUBLISH CH_%s %s 70"):format(app, ADDR),
      }, (function()
        monitor:wait "^PUBLISH"
        local list = {}
        for _, line in ipairs(monitor:lines(app)) do
          if line:find "^SETEX" or line:find "^HSET" or line:find "^PUBLISH" then list[#list + 1] = line end
        end
        -- Once it hears its own channel it looks whether it is still there.
        return { list[1], list[2], list[3] }
      end)())
      assert.same({ app, app .. "_" .. ADDR }, r:keys())
      monitor:close()
      channel:close()
    end)

    it("keeps alive in one round trip, the weight untouched, and publishes nothing when nothing was lost", function()
      local app = nodes.app()
      local d = start(app, ADDR, { ttl = 5, heartbeat = 0.1 })
      local channel, monitor = r:subscribe("CH_" .. app), r:monitor()
      wait.until_true(function() return #monitor:lines("^SETEX " .. app) >= 3 end, 5, "heartbeats")
      assert.is_true(#monitor:lines("^HSETNX " .. app .. " 127.0.0.1:8080 100$") >= 2)
      assert.same({}, monitor:lines "^HSET ")
      assert.same({}, channel:messages())
      assert.is_true(d:registered())
      assert.is_true(d:stats().registry.heartbeats >= 2)
      monitor:close()
      channel:close()
    end)

    it("ends with HDEL, DEL and a weight of 0", function()
      local app = nodes.app()
      local d = start(app, ADDR)
      local monitor, channel = r:monitor(), r:subscribe("CH_" .. app)
      d:stop()
      assert.same({}, r:keys())
      assert.equal(ADDR .. " 0", channel:wait " 0$")
      monitor:wait "^PUBLISH"
      local said = {}
      for _, line in ipairs(monitor:lines(app)) do
        -- The look after the subscription (SETEX, HSETNX) may still be before it; nothing but the three comes after.
        local is_before = #said == 0 and not line:find "^HDEL"
        if not line:find "SUBSCRIBE" and not is_before then said[#said + 1] = line end
      end
      assert.same({
        ("HDEL %s %s"):format(app, ADDR),
        ("DEL %s_%s"):format(app, ADDR),
        ("PUBLISH CH_%s %s 0"):format(app, ADDR),
      }, said)
      monitor:close()
      channel:close()
    end)

    it("uses the database of the string, and no other", function()
      if r.over == "cluster" then return pending "a Cluster has no databases" end
      local app = nodes.app()
      local other = redis.start{ db = 3 }
      local d = keep(discover.start(other:url(), app, ADDR))
      assert.same({ [ADDR] = "100" }, other:hash(app))
      assert.equal(0, other:cli("SELECT", 15) and other:cli "DBSIZE")
      d:stop()
      other:kill()
    end)
  end)

  it("two programs in processes of their own find each other at once", function()
    local app = nodes.app()
    local one, two = remote.start(), remote.start()
    two:run("d = assert(discover.open(..., { calls = { [select(2, ...)] = {} } })) assert(d:ready(5))", r:url(), app)
    two:tell([[
      local app, deadline = ..., socket.gettime() + 10
      repeat
        local node = d:pick(app)
        if node then return node.addr, socket.gettime() end
      until socket.gettime() > deadline
    ]], app)
    local returned = one:run([[
      d = assert(discover.start(...))
      return socket.gettime()
    ]], r:url(), app, ADDR)
    local addr, seen = two:hear()
    assert.equal(ADDR, addr)
    assert.is_true(seen - returned < wait.scale(2), ("seen %.3f s after start returned"):format(seen - returned))
    -- And the one that comes later reads what is there.
    local three = remote.start()
    assert.equal(ADDR, three:run([[
      d = assert(discover.open(..., { calls = { [select(2, ...)] = {} } }))
      return d:pick((select(2, ...))).addr
    ]], r:url(), app))
    one:finish()
    two:finish()
    three:finish()
  end)

  it("a node added by hand is called, one removed by hand is not", function()
    local app = nodes.app()
    local web = service.nginx{ ["/name"] = "by hand" }
    local d = follow(app)
    r:add_node(app, web.addr, 100)
    nodes.await(d, app, web.addr .. "/100", 2)
    local res = d:get(app, "/name")
    assert.equal("by hand", res.body)
    r:remove_node(app, web.addr)
    nodes.await(d, app, "", 2)
    assert.equal("no_node", d:get(app, "/name").err)
    web.kill()
  end)

  it("#core a bare PUBLISH of an unknown node is visible at once", function()
    local app = nodes.app()
    local d = follow(app)
    r:cli("PUBLISH", "CH_" .. app, "10.0.0.1:80 5")
    nodes.await(d, app, "10.0.0.1:80/5", 2)
    r:cli("PUBLISH", "CH_" .. app, "10.0.0.1:80 7")
    nodes.await(d, app, "10.0.0.1:80/7", 2)
    r:cli("PUBLISH", "CH_" .. app, "10.0.0.1:80 0")
    nodes.await(d, app, "", 2)
  end)

  it("#core stop removes the node everywhere at once", function()
    local app = nodes.app()
    local d, a, b = start(app, ADDR), follow(app), follow(app)
    nodes.await(a, app, ADDR .. "/100")
    nodes.await(b, app, ADDR .. "/100")
    d:stop()
    nodes.await(a, app, "", 2)
    nodes.await(b, app, "", 2)
    assert.same({}, r:keys())
  end)

  it("metadata travels: in the key, with the registration and later", function()
    local app = nodes.app()
    local d, c = start(app, ADDR, { metadata = { zone = "eu west", ["k=1"] = "a&b" } }), follow(app)
    nodes.await(c, app, ADDR .. "/100")
    local function metadata() return (c:get_app_nodes(app)[ADDR] or {}).metadata end
    wait.until_true(function() return metadata() and metadata().zone end, 2, "metadata")
    assert.same({ zone = "eu west", ["k=1"] = "a&b" }, metadata())
    local text = r:cli("GET", app .. "_" .. ADDR)
    assert.matches("zone=eu%%20west", text)
    assert.is_true(r:cli("TTL", app .. "_" .. ADDR) > 0)
    assert(d:set_metadata { zone = "us" })
    wait.until_true(function() return (metadata() or {}).zone == "us" end, 2, "new metadata")
    assert.same({ zone = "us" }, metadata())
    -- A peer that knows nothing of metadata writes a 1.
    assert(d:set_metadata {})
    wait.until_true(function() return not (metadata() or {}).zone end, 2, "no metadata")
    assert.equal("1", r:cli("GET", app .. "_" .. ADDR))
  end)

  describe("#core messages that are not 'addr weight'", function()
    local app, d, log

    before_each(function()
      app, log = nodes.app(), nodes.log()
      d = follow(app, { logger = log.logger })
      r:cli("PUBLISH", "CH_" .. app, "10.0.0.1:80 5")
      nodes.await(d, app, "10.0.0.1:80/5")
    end)

    local function marker()
      -- Everything before it has been worked on when this one shows.
      r:cli("PUBLISH", "CH_" .. app, "10.0.0.9:80 1")
      wait.until_true(function() return nodes.show(d, app):find "10%.0%.0%.9:80" end, 2, "the marker")
      r:cli("PUBLISH", "CH_" .. app, "10.0.0.9:80 0")
      wait.until_true(function() return not nodes.show(d, app):find "10%.0%.0%.9:80" end, 2, "the marker to go")
    end

    for _, rest in ipairs { "", " ", " 0", " -1", " x", " 5 5", "  5", " 1.5", " 5x", " +5", " 9999999999999999999" } do
      it(("a goodbye: <addr>%s"):format(rest:gsub(" ", "_")), function()
        r:cli("PUBLISH", "CH_" .. app, "10.0.0.1:80" .. rest)
        nodes.await(d, app, "", 1)
      end)
    end

    it("garbage is skipped and logged once", function()
      for _, text in ipairs { "", " ", "garbage", "10.0.0.1 5", ":80 5", "10.0.0.1:0 5", "10.0.0.1:70000 5", "\0\1\2",
                              ("x"):rep(70000), "10.0.0.1:80\n5", " 10.0.0.1:80 5", "host name:80 5" } do
        r:cli("PUBLISH", "CH_" .. app, text)
      end
      marker()
      assert.equal("10.0.0.1:80/5", nodes.show(d, app))
      assert.equal(1, log:count "begins with no address")
      assert.is_true(d:stats().registry.bad_messages >= 10)
    end)

    it("a weight beyond measure is clamped", function()
      r:cli("PUBLISH", "CH_" .. app, "10.0.0.1:80 1000001")
      nodes.await(d, app, "10.0.0.1:80/1000000", 1)
      r:cli("PUBLISH", "CH_" .. app, "10.0.0.1:80 9223372036854775807")
      marker()
      assert.equal("10.0.0.1:80/1000000", nodes.show(d, app))
    end)

    it("IPv6 and host names are addresses too", function()
      r:cli("PUBLISH", "CH_" .. app, "[::1]:80 5")
      r:cli("PUBLISH", "CH_" .. app, "some.host:80 5")
      nodes.await(d, app, "10.0.0.1:80/5 [::1]:80/5 some.host:80/5", 1)
    end)
  end)

  it("#core rows that make no sense are ignored, and logged once each", function()
    local app, log = nodes.app(), nodes.log()
    local bad = { garbage = "100", ["10.0.0.2:80"] = "heavy", ["10.0.0.3:80"] = "1.5", ["10.0.0.4:80"] = "-3",
                  ["10.0.0.5:80"] = "0", ["10.0.0.6:99999"] = "1", ["x y:80"] = "1", [("h"):rep(400) .. ":80"] = "1",
                  [""] = "5", ["10.0.0.7:80"] = "" }
    local count = 0
    for addr, weight in pairs(bad) do
      r:cli("HSET", app, addr, weight)
      r:cli("SETEX", app .. "_" .. addr, 100, "1")
      count = count + 1
    end
    r:cli("HSET", app, "10.0.0.1:80", "5")
    r:cli("SETEX", app .. "_10.0.0.1:80", 100, "1")
    r:cli("HSET", app, "10.0.0.8:80", "5000000")
    r:cli("SETEX", app .. "_10.0.0.8:80", 100, "1")
    local d = follow(app, { logger = log.logger, resync = 0.2 })
    assert.equal("10.0.0.1:80/5 10.0.0.8:80/1000000", nodes.show(d, app))
    local before = d:stats().registry.reads
    wait.until_true(function() return d:stats().registry.reads >= before + 2 end, 5, "two more reads")
    assert.equal("10.0.0.1:80/5 10.0.0.8:80/1000000", nodes.show(d, app))
    assert.equal(count, log:count "taken as absent")
    -- Foreign rows are not ours to remove.
    assert.equal(count + 2, r:cli("HLEN", app))
  end)

  describe("peers of the older generation", function()
    it("a reader that removes our field and key, unannounced: the entry is back with the next heartbeat", function()
      local app = nodes.app()
      local d, c = start(app, ADDR, { ttl = 2, heartbeat = 0.2 }), follow(app)
      local channel = r:subscribe("CH_" .. app)
      r:cli("HDEL", app, ADDR)
      r:cli("DEL", app .. "_" .. ADDR)
      assert.equal(ADDR .. " 100", channel:wait("100", 2))
      assert.same({ [ADDR] = "100" }, r:hash(app))
      assert.equal(1, r:cli("EXISTS", app .. "_" .. ADDR))
      assert.is_true(d:registered())
      assert.equal(ADDR .. "/100", nodes.show(c, app))
      channel:close()
    end)

    it("their heartbeats (HEXISTS, SETEX) and ours serve the same hash", function()
      local app = nodes.app()
      local d, c = start(app, ADDR, nodes.fast()), follow(app, nodes.fast())
      r:cli("HSET", app, "10.0.0.1:80", 50)
      r:cli("SETEX", app .. "_10.0.0.1:80", 10, "1")
      r:cli("PUBLISH", "CH_" .. app, "10.0.0.1:80 50")
      nodes.await(c, app, "10.0.0.1:80/50 127.0.0.1:8080/100", 1)
      local last, monitor = 0, r:monitor()
      wait.until_true(function()
        if wait.now() - last > 0.5 then
          last = wait.now()
          assert.equal(1, r:cli("HEXISTS", app, "10.0.0.1:80"))
          r:cli("SETEX", app .. "_10.0.0.1:80", 1, "1")
        end
        assert.equal("10.0.0.1:80/50 127.0.0.1:8080/100", nodes.show(c, app))
        return #monitor:lines("^HGETALL " .. app) >= 3
      end, 10, "three reads")
      assert.is_true(d:registered())
      assert.equal(1, r:cli("HEXISTS", app, ADDR))
      assert.equal(1, r:cli("EXISTS", app .. "_" .. ADDR))
      monitor:close()
    end)

    it("an operator sees in CLIENT LIST who is connected, from the start after a reconnect", function()
      local app = nodes.app()
      local function names()
        local list = {}
        for name in r:cli("CLIENT", "LIST"):gmatch "name=(discover%S+)" do
          -- A Cluster has connections of the same name on several servers.
          if r.over ~= "cluster" or not list[name] then list[#list + 1] = name end
          list[name] = true
        end
        table.sort(list)
        return table.concat(list, " ")
      end
      local function await(pattern)
        wait.until_true(function() return names():find(pattern), names() end, 5, "names " .. pattern)
      end
      keep(discover.open(r:url(), { log_level = "off" }))
      await "^discover%-commands%-%d+ discover%-messages%-%d+$"
      open[1]:stop()
      local d = start(app, ADDR, { log_level = "off" })
      await("^discover%-commands%-%d+%-" .. app .. "%-127.0.0.1:8080 discover%-messages%-%d+$")
      for _, kind in ipairs{ "normal", "pubsub" } do r:cli("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes") end
      local who = "%-%d+%-" .. app .. "%-127.0.0.1:8080"
      await("^discover%-commands" .. who .. " discover%-messages" .. who .. "$")
      wait.until_true(function() return d:registered() end, 5, "the registration")
    end)

    it("an app that is no name for Redis gets one, a user without the right none", function()
      local app = "größe\xff" .. nodes.app()
      start(app, ADDR)
      wait.until_true(function()
        return r:cli("CLIENT", "LIST"):find "name=discover%-commands%-%d+%-gr____e_app_%d+_%-127.0.0.1:8080 "
      end, 5, "the name")
      local narrow = redis.start{ acl = { "user svc on >p ~* &* +@all -client" } }
      local log = nodes.log()
      local d = keep(discover.start(narrow:url{ user = "svc", password = "p" }, app, ADDR, { logger = log.logger }))
      assert.is_true(d:registered())
      -- A second answer after it.
      d:set_weight(5)
      wait.until_true(function() return narrow:hash(app)[ADDR] == "5" end, 5, "the weight")
      assert.is_nil(narrow:cli("CLIENT", "LIST"):find "name=discover")
      d:registered()
      assert.equal(0, #log.records, log:text())
      d:stop()
      narrow:kill()
    end)

    it("fault 11: reading 100 nodes takes two commands, reconnects are spread", function()
      local app = nodes.app()
      for i = 1, 100 do
        r:cli("HSET", app, "10.0.1." .. i .. ":80", 100)
        r:cli("SETEX", app .. "_10.0.1." .. i .. ":80", 100, "1")
      end
      -- On a Cluster it is a GET for each, in one pipeline to each server.
      local each = r.over == "cluster"
      local monitor = r:monitor()
      local d = keep(discover.open(r:url()))
      assert(d:add_external_app(app, {}))
      local _, count = nodes.show(d, app):gsub("/100", "")
      assert.equal(100, count)
      monitor:wait(each and "^GET" or "^MGET")
      local read
      -- A second read may be under way: it is counted when it has ended.
      wait.until_true(function()
        local done, begun = d:stats().registry.reads, 0
        read = {}
        for _, line in ipairs(monitor:lines(app)) do
          read[#read + 1] = line:match "^%u+"
          if read[#read] == "HGETALL" then begun = begun + 1 end
        end
        return begun == done, begun .. " reads, counted are " .. done
      end, 5, "the reads to end")
      -- Subscribed, then read: from the connection's coming and from the subscription at most one read each.
      assert.equal("SUBSCRIBE", read[1])
      local reads = 0
      for _, word in ipairs(read) do
        assert.is_true(word == "SUBSCRIBE" or word == "HGETALL" or word == (each and "GET" or "MGET"), word)
        if word == "HGETALL" then reads = reads + 1 end
      end
      assert.equal(1 + reads + reads * (each and 100 or 1), #read)
      monitor:close()
    end)
  end)
end)
