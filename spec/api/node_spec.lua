local discover = require "discover"

describe("#api node", function()
  local d

  before_each(function()
    d = assert(discover.new())
    assert(d:set_node("app", "127.0.0.1:81", 2, { zone = "a b", ["k&="] = "\195\164", n = 3 }))
  end)
  after_each(function() d:stop() end)

  it("has the fields it should", function()
    local n = assert(d:pick "app")
    assert.equal("127.0.0.1:81", n.addr)
    assert.equal("127.0.0.1", n.host)
    assert.equal(81, n.port)
    assert.equal(2, n.weight)
    assert.equal(0, n.failed_times)
    assert.equal(1, n.in_flight)
    assert.is_number(n.used_times)
    assert.equal("up", n.state)
    assert.same({ zone = "a b", ["k&="] = "\195\164", n = "3" }, n.metadata)
    assert.is_nil(n.colour)
    assert.equal("node(127.0.0.1:81 up, weight 2)", tostring(n))
    assert.has_error(function() n.weight = 5 end)
  end)

  it("is the same value wherever it comes from", function()
    local n = d:pick "app"
    assert.is_true(rawequal(n, d:pick "app"))
    assert.is_true(rawequal(n, d:get_app_nodes("app")["127.0.0.1:81"]))
  end)

  it("is picked while a callback of the same pick picks another for the first time", function()
    local nested
    d:on_event(function(e)
      -- An event of the callback's own waits for the next method: that is the pick below.
      if e.node == "127.0.0.1:83" then nested = d:pick "other" end
      if e.node == "127.0.0.1:84" then assert(d:set_node("second", "127.0.0.1:83", 1)) end
    end)
    assert(d:set_node("other", "127.0.0.1:82", 1))
    assert(d:set_node("fresh", "127.0.0.1:85", 1))
    assert(d:set_node("first", "127.0.0.1:84", 1))
    local n = d:pick "fresh"
    assert.equal("127.0.0.1:85", n.addr)
    assert.equal("127.0.0.1:82", nested.addr)
    assert.is_true(rawequal(n, d:pick "fresh"))
  end)

  it("can be an IPv6 address or a name", function()
    assert(d:set_node("six", "[::1]:80", 1))
    local n = d:pick "six"
    assert.equal("[::1]:80", n.addr)
    assert.equal("::1", n.host)
    assert(d:set_node("name", "localhost:80", 1))
    assert.equal("localhost", d:pick "name".host)
  end)

  it("keeps data while it lives, whether or not somebody holds the node", function()
    d:pick "app".data.seen = 5
    collectgarbage()
    collectgarbage()
    assert.equal(5, d:pick "app".data.seen)
    assert(d:set_node("app", "127.0.0.1:81", 3))
    assert.equal(5, d:pick "app".data.seen)
    assert(d:set_node("app", "127.0.0.1:81", 0))
    assert(d:set_node("app", "127.0.0.1:81", 1))
    assert.is_nil(d:pick "app".data.seen)
  end)

  it("does not pile up the data of nodes that are gone", function()
    local alive = setmetatable({}, { __mode = "v" })
    for i = 1, 500 do
      assert(d:set_node("churn", "127.0.0.1:" .. i, 1))
      alive[i] = d:pick "churn".data
      assert(d:set_node("churn", "127.0.0.1:" .. i, 0))
    end
    for _ = 1, 4 do collectgarbage() end -- 5.1: finalizer, key, value, each a cycle of its own
    local left = 0
    for _ in pairs(alive) do left = left + 1 end
    assert.is_true(left < 50, left .. " are left")
  end)

  it("can be read after it has gone", function()
    local n = d:pick "app"
    assert(d:set_node("app", "127.0.0.1:81", 0))
    assert.equal("gone", n.state)
    assert.equal("127.0.0.1:81", n.addr)
    assert.is_true(n:done())
    d:stop()
    assert.equal("127.0.0.1:81", n.addr)
    assert.equal("stopped", select(3, n:done()))
  end)

  it("takes reports", function()
    local n
    for _, outcome in ipairs { 200, 500, true } do
      n = d:pick "app"
      assert.is_true(n:done(outcome))
      assert.equal(0, n.in_flight)
      assert.equal(0, n.failed_times)
    end
    local failures = 0
    for _, outcome in ipairs { 502, 503, 504, false } do
      n = d:pick "app"
      assert.is_true(n:done(outcome, 0.5))
      failures = failures + 1
      assert.equal(failures, n.failed_times)
    end
    assert.is_true(n:done())
    assert.equal(0, n.failed_times)
    assert.equal(0, n.in_flight)
  end)

  it("refuses odd reports", function()
    local n = d:pick "app"
    for _, status in ipairs { 0, 99, 1000, 200.5, 0 / 0 } do assert.equal("invalid", select(3, n:done(status))) end
    assert.equal("invalid", select(3, n:done(200, -1)))
    assert.equal("invalid", select(3, n:done(200, 0 / 0)))
    assert.error_matches(function() n:done "x" end, "status or boolean expected")
    assert.equal("invalid", select(3, n:done(200, "x")))
    assert.error_matches(function() n:done(200, {}) end, "seconds or a string with a unit expected")
    assert.is_true(n:done(200, "5ms"))
    assert.has_error(function() n.done(5) end)
  end)

  it("is picked by what is asked for", function()
    assert.equal("app_not_found", select(3, d:pick "unknown"))
    assert(d:set_load_balancer "hash")
    for i = 1, 5 do assert(d:set_node("many", "127.0.0.1:" .. i, 1)) end
    local first = d:pick("many", { key = "player-1" })
    for _ = 1, 20 do assert.equal(first, d:pick("many", { key = "player-1" })) end
  end)
end)

describe("#api app_client", function()
  local d

  before_each(function()
    d = assert(discover.new { log_level = "off" })
    for i = 1, 3 do assert(d:set_node("app", "127.0.0.1:" .. i, 1)) end
  end)
  after_each(function() d:stop() end)

  it("gives each node once", function()
    local ac = assert(d:app_client "app")
    assert.equal("app", ac.app)
    assert.is_true(ac:check_app())
    local seen = {}
    for i = 1, 3 do
      local n = assert(ac:next())
      assert.is_nil(seen[n.addr])
      seen[n.addr] = true
      assert.equal(i, ac.attempts)
      assert.is_true(n:done(503))
    end
    assert.equal("no_node", select(3, ac:next()))
  end)

  it("gives a certain node once", function()
    local ac = d:app_client "app"
    assert.equal("127.0.0.1:2", ac:next_with_node "127.0.0.1:2".addr)
    assert.equal("no_node", select(3, ac:next_with_node "127.0.0.1:2"))
    assert.equal("no_node", select(3, ac:next_with_node "127.0.0.1:9"))
  end)

  it("asks the balancer, with the request", function()
    local seen
    assert(d:set_load_balancer { next = function(ac, nodes, request)
      seen = { ac, request }
      return nodes[#nodes]
    end })
    local ac, request = d:app_client "app", { user = 1 }
    assert(ac:next(request))
    assert.is_true(rawequal(ac, seen[1]))
    assert.equal(request, seen[2])
  end)

  it("writes log records", function()
    local records = {}
    assert(d:set_logger(function(record) records[#records + 1] = record end))
    local quiet = assert(discover.new { logger = function(record) records[#records + 1] = record end })
    assert(quiet:set_node("app", "127.0.0.1:1", 1))
    local ac = quiet:app_client "app"
    local n = ac:next()
    assert.is_true(ac:log(n, 0.25))
    assert.is_true(ac:log("127.0.0.1:7", 1, "timeout"))
    assert.equal(2, #records)
    assert.equal("discover", records[1].type)
    assert.equal("app", records[1].app)
    assert.equal("127.0.0.1:1", records[1].node)
    assert.equal(250, records[1].used_time)
    assert.equal("info", records[1].level)
    assert.equal("timeout", records[2].error)
    assert.matches("127.0.0.1:7", tostring(records[2]))
    assert.equal("invalid", select(3, ac:log(n, -1)))
    assert.has_error(function() ac:log(n) end)
    assert.has_error(function() ac:log(5, 1) end)
    quiet:stop()
  end)

  it("raises on wrong types", function()
    local ac = d:app_client "app"
    assert.has_error(function() ac:next(5) end)
    assert.has_error(function() ac:next_with_node() end)
    assert.has_error(function() ac.colour = 5 end)
    assert.has_error(function() ac.app = 5 end)
    assert.error_matches(function() ac.app = "a b" end, "invalid: ")
    ac.app, ac.method, ac.path = "other", "PUT", "/x"
    assert.equal("app client(PUT other /x)", tostring(ac))
  end)
end)
