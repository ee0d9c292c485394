-- What can be configured and changed, what stays bounded, and what is counted and logged.
local calls = require "spec.support.calls"
local discover = require "discover"
local port = require "spec.support.port"
local redis = require "spec.support.redis"
local scripted = require "spec.support.scripted"
local wait = require "spec.support.wait"

local A, B, C = "127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"

local function registry() return "memory://config-" .. port.free() end

describe("fault 8: options of an app #api", function()
  it("can be changed after its first call #core", function()
    local slow = scripted.http("read_request", { "sleep", 200 }, { "respond", 200 }, "loop")
    local d = calls.client({ slow }, { calls = { svc = { timeout = 5, token = "first" } } })
    assert.is_true(d:get("svc", "/").ok)
    assert.is_true(d:add_external_app("svc", { timeout = 0.05, token = "second" }))
    assert.equal("timeout", d:get("svc", "/").err)
    assert.is_true(d:add_external_app("svc", { timeout = 5, max_body = 1 }))
    assert.is_true(d:get("svc", "/").ok)
    local requests = slow:requests()
    assert.equal("first", requests[1].headers["access-token"])
    assert.equal("second", requests[2].headers["access-token"])
    assert.is_nil(requests[3].headers["access-token"])
  end)

  it("include retries, attempts and the size of bodies", function()
    local cruel, well = scripted.http("read_request", "close"), calls.answering(200, "12345")
    local d = calls.client{ { cruel, calls.FIRST }, { well, 1 } }
    local function attempts(config)
      assert.is_true(d:add_external_app("svc", config))
      return d:post("svc", "/", "x").attempts
    end
    assert.equal(1, attempts{ retry = "never" })
    assert.equal(2, attempts{ retry = "always" })
    assert.equal(1, attempts{ retry = "always", max_attempts = 1 })
    assert.is_true(d:add_external_app("svc", { max_body = 4 }))
    assert.equal("too_large", d:request{ app = "svc", path = "/", node = well.addr }.err)
  end)

  it("keep the app's nodes, counters and connections", function()
    local s = calls.answering()
    local d = calls.client{ s }
    calls.gets(d, 5)
    assert.is_true(d:add_external_app("svc", { timeout = 3 }))
    calls.gets(d, 5)
    assert.equal(10, d:stats().apps.svc.calls)
    assert.equal(1, s:connections())
  end)
end)

describe("add_external_app #api", function()
  it("is true when added or changed, false when equal", function()
    local d = calls.client()
    assert.is_true(d:add_external_app("x"))
    assert.is_false(d:add_external_app("x"))
    assert.is_false(d:add_external_app("x", {}))
    assert.is_false(d:add_external_app("x", { timeout = 10, retry = "idempotent" }))
    assert.is_true(d:add_external_app("x", { timeout = 9 }))
    assert.is_false(d:add_external_app("x", { timeout = "9s" }))
    assert.is_true(d:add_external_app("x", { timeout = 9, token = "t" }))
    assert.is_false(d:add_external_app("x", { timeout = 9, token = discover.secret "t" }))
    assert.is_true(d:add_external_app("x", { timeout = 9, token = "u" }))
    assert.is_true(d:add_external_app("x", "1:500ms"))
    assert.is_false(d:add_external_app("x", "500:1"))
    assert.is_false(d:add_external_app("x", { timeout = 0.5 }))
    assert.is_true(d:add_external_app("y", { timeout = 0.5 }))
  end)

  it("reads the app at once", function()
    local name = registry()
    calls.stop_at_end(assert(discover.start(name, "svc", A)))
    local d = calls.stop_at_end(assert(discover.open(name)))
    assert.is_nil((d:get_app_nodes "svc"))
    assert.is_true(d:add_external_app "svc")
    assert.equal(A, d:get_app_nodes("svc")[A].addr)
    assert.is_true(d:is_client())
  end)
end)

describe("\"*\" #api", function()
  it("configures every app without a config of its own", function()
    local slow = scripted.http("read_request", { "sleep", 200 }, { "respond", 200 }, "loop")
    local d = calls.client({}, { calls = { ["*"] = { timeout = 0.05 }, own = {} } })
    for _, app in ipairs{ "own", "other" } do assert(d:set_node(app, slow.addr, 1)) end
    assert.equal("timeout", d:get("other", "/").err)
    assert.is_true(d:get("own", "/").ok)
    assert.is_true(d:add_external_app("*", { timeout = 5 }))
    assert.is_false(d:add_external_app("*", { timeout = 5 }))
    assert.is_true(d:get("other", "/").ok)
  end)
end)

describe("http2 and ssl #api", function()
  it("are never given up for plain HTTP/1.1", function()
    local s = scripted.http({ "read", 1 }, { "send", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno" }, "drain")
    for _, config in ipairs{ { http2 = true }, { ssl = true }, { http2 = true, ssl = true }, "2:500ms", "s", "h2c",
      "500ms" } do
      local d = calls.client({ s }, { calls = { svc = config } })
      local res = d:get("svc", "/")
      assert.is_truthy(res.err == "protocol" or res.err == "tls", tostring(res))
      assert.is_nil(res.status)
      d:stop()
    end
    assert.equal(7, s:connections())
    local plain = calls.answering()
    for _, config in ipairs{ "1", "http", "1:500ms:token", { http2 = false, ssl = false } } do
      assert.is_true(calls.client({ plain }, { calls = { svc = config } }):get("svc", "/").ok)
    end
    assert.equal(4, #plain:requests())
  end)
end)

describe("fault 10: a call string #api", function()
  local function parsed(text) return assert(discover.parse_call(text)) end

  it("with a duration of any unit is a timeout, never a token", function()
    for text, seconds in pairs{ ["10m"] = 600, ["1.5s"] = 1.5, ["500ms"] = 0.5, ["250"] = 0.25, ["1h"] = 3600,
      ["1m30s"] = 90,
                                ["1500us"] = 0.002, ["1500\194\181s"] = 0.002, ["2s:1"] = 2 } do
      local config = parsed(text)
      assert.is_true(math.abs(config.timeout - seconds) < 1e-9, text .. ": " .. tostring(config.timeout))
      assert.is_nil(config.token, text)
    end
  end)

  it("with what only looks like one is invalid, and is not quoted", function()
    for _, text in ipairs{ "10min", "5 s", "1,5s", "10x", "0", "0s", "-5s", "1s:2s", "99999999999999999999", "5sec" } do
      local config, why, code = discover.parse_call(text)
      assert.is_nil(config, text)
      assert.equal("invalid", code)
      assert.matches("part %d", why)
      assert.is_nil(calls.client():add_external_app("svc", text))
    end
  end)

  it("keeps the older meaning: HTTP/2 unless it says 1, TLS with s, anything else the token", function()
    for text, expected in pairs{
      ["abc"] = { true, false, "abc" }, ["1:abc"] = { false, false, "abc" }, ["s:abc"] = { true, true, "abc" },
      ["https"] = { true, true }, ["http"] = { false, false }, ["h2c:x.y-z"] = { true, false, "x.y-z" },
        ["2:s"] = { true, true },
      ["::1::"] = { false, false },
    } do
      local config = parsed(text)
      assert.equal(expected[1], config.http2, text)
      assert.equal(expected[2], config.ssl, text)
      assert.equal(expected[3] ~= nil, config.token ~= nil, text)
      if expected[3] then assert.is_true(config.token:equals(expected[3])) end
    end
    assert.equal(10, parsed("1").timeout)
  end)

  it("that contradicts itself, repeats itself or is empty is invalid", function()
    for _, text in ipairs{ "1:2", "http:s", "h2c:1", "a:b", "", ":", "h3", "TLS", "a b", "tok\nen", "\1" } do
      local config, why, code = discover.parse_call(text)
      assert.is_nil(config, text)
      assert.equal("invalid", code, text)
      assert.matches("call string", why)
    end
  end)

  it("given as a config works for calls", function()
    local s = calls.answering()
    assert.is_true(calls.client({ s }, { calls = { svc = "http:2s:secret-token" } }):get("svc", "/").ok)
    assert.equal("secret-token", s:requests()[1].headers["access-token"])
  end)
end)

describe("fault 9: app names brought by requests", function()
  -- 5,000 unknown names; returns the bytes held after 2,500 and at the end.
  local function many(d, fn)
    local middle
    for i = 1, 5000 do
      fn("unknown-" .. i)
      if i == 2500 then middle = d:stats().memory_bytes end
    end
    collectgarbage()
    return middle, d:stats().memory_bytes
  end

  local function tables(d)
    local n = 0
    for _ in pairs(d:stats().apps) do n = n + 1 end
    return n
  end

  it("are bounded: memory stays flat, at most 1,024 tables; what is configured stays #api", function()
    local name = registry()
    calls.stop_at_end(assert(discover.start(name, "svc", A)))
    local d = calls.stop_at_end(assert(discover.open(name, { calls = { svc = {} }, log_level = "off" })))
    local middle, last = many(d, function(app) assert.equal("no_node", d:get(app, "/").err) end)
    assert.is_true(tables(d) <= 1025, tables(d) .. " tables")
    assert.is_true(last - middle < 200000, ("grew from %d to %d"):format(middle, last))
    assert.equal(A, calls.node(d, A).addr)
    assert.equal(A, d:pick("svc").addr)
  end)

  it("leave nothing at all without a registry #api", function()
    local d = calls.client{ A }
    local middle, last = many(d, function(app)
      assert.equal("app_not_found", d:get(app, "/").err)
      assert.equal("app_not_found", select(3, d:pick(app)))
      assert.is_nil((d:get_app_nodes(app)))
    end)
    assert.equal(1, tables(d))
    assert.is_true(last - middle < 20000, ("grew from %d to %d"):format(middle, last))
  end)

  it("are bounded with Redis too: subscriptions as well", function()
    local r = redis.start()
    local d = calls.stop_at_end(assert(discover.open(r:url(), { log_level = "off" })))
    for i = 1, 3000 do d:pick("unknown-" .. i) end
    assert.is_true(tables(d) <= 1024)
    local res = d:get("unknown-3001", "/")
    assert.is_true(res.err == "no_node", tostring(res))
    wait.until_true(function()
      local list = r:cli("PUBSUB", "CHANNELS")
      return list and list.n <= 1024, list and list.n
    end, 10, "the old subscriptions to end")
  end)
end)

describe("fault 18: picking #api", function()
  local function client_of(n)
    local d = calls.client()
    for i = 1, n do assert(d:set_node("svc", ("127.%d.%d.1:80"):format(math.floor(i / 250), i % 250), 100)) end
    return d
  end

  local function cost(d, n)
    local start = wait.now()
    for _ = 1, n do d:pick("svc"):done() end
    return (wait.now() - start) / n
  end

  it("does not copy the nodes: it allocates nothing, however many there are", function()
    for _, n in ipairs{ 10, 5000 } do
      local d = client_of(n)
      local kept = d:get_app_nodes "svc" -- the userdata of all nodes
      for _ = 1, 2 * n do d:pick("svc"):done() end
      collectgarbage()
      collectgarbage "stop"
      local before, lua = d:stats(), collectgarbage "count"
      for _ = 1, 10000 do d:pick("svc"):done() end
      local grown = collectgarbage "count" - lua
      local after = d:stats()
      collectgarbage "restart"
      assert.is_true(after.memory_bytes - before.memory_bytes <= 256 * n + 4096, n .. " nodes: C memory grew")
      assert.is_true(grown < 200 + n, ("%d nodes: %.0f KiB of Lua memory for 10,000 picks"):format(n, grown))
      assert.is_table(kept)
    end
  end)

  it("does not cost more and more with the number of nodes", function()
    local few, many = client_of(10), client_of(10000)
    cost(few, 1000)
    cost(many, 20000)
    local a, b = cost(few, 20000), cost(many, 20000)
    assert.is_true(a < wait.scale(3e-6) * 3, ("%.0f ns with 10 nodes"):format(a * 1e9))
    assert.is_true(b < wait.scale(10e-6) * 3, ("%.0f ns with 10,000 nodes"):format(b * 1e9))
    assert.is_true(b < 30 * a, ("%.0f ns with 10 nodes, %.0f ns with 10,000"):format(a * 1e9, b * 1e9))
  end)
end)

describe("pick #api", function()
  it("counts used_times and in_flight, done takes in_flight back, never below 0 #core", function()
    local d = calls.client{ A }
    local node = calls.node(d, A)
    local used = node.used_times
    for i = 1, 5 do
      assert.equal(node, d:pick "svc")
      assert.equal(i, node.in_flight)
    end
    assert.equal(used + 5, node.used_times)
    for i = 4, -3, -1 do
      assert(node:done(200))
      assert.equal(math.max(i, 0), node.in_flight)
    end
    assert.equal(5, d:stats().apps.svc.picks)
  end)

  it("takes the outcome as a status or a boolean", function()
    local d = calls.client({ A }, { call_retry_times = 100 })
    local node = calls.node(d, A)
    for _, bad in ipairs{ false, 502, 503, 504 } do
      local before = node.failed_times
      d:pick "svc"
      node:done(bad)
      assert.equal(before + 1, node.failed_times)
    end
    for _, good in ipairs{ true, 200, 404, 500 } do
      node:done(false)
      node:done(good)
      assert.equal(0, node.failed_times, tostring(good))
    end
    node:done(false)
    node:done()
    assert.equal(0, node.failed_times)
  end)

  it("without done lapses after the app's deadline", function()
    local d = calls.client({ A, B }, { calls = { svc = { deadline = 0.3 } } })
    for _ = 1, 10 do d:pick "svc" end
    local a, b = calls.node(d, A), calls.node(d, B)
    assert.equal(10, a.in_flight + b.in_flight)
    wait.pass(0.45)
    local ac = d:app_client "svc"
    for _, addr in ipairs{ A, B } do ac:next_with_node(addr):done() end
    assert.same({ 0, 0 }, { a.in_flight, b.in_flight })
    -- A late report does not take what is not there.
    a:done()
    assert.equal(0, a.in_flight)
  end)

  it("never waits: an app that is not followed is followed from now on", function()
    local r = redis.start()
    r:add_node("svc", A, 100)
    local d = calls.stop_at_end(assert(discover.open(r:url(), { log_level = "off" })))
    r:pause()
    local took, ok, _, code = wait.within(0.5, function() return d:pick "svc" end)
    assert.is_nil(ok)
    assert.is_true(code == "no_node" or code == "registry", code)
    assert.is_true(took < 0.5)
    r:resume()
    assert.equal(A, wait.until_true(function() return d:pick "svc" end, 5, "the node").addr)
  end)

  it("gives the same value for the same node", function()
    local d = calls.client{ A }
    local node = d:pick "svc"
    node.data.mine = 7
    local nodes = d:get_app_nodes "svc"
    assert.equal(node, nodes[A])
    assert.equal(7, d:pick("svc").data.mine)
    assert.equal("127.0.0.1", node.host)
    assert.equal(9001, node.port)
    assert.equal(100, node.weight)
    assert.equal("up", node.state)
    assert(d:set_node("svc", A, 0))
    assert.equal("gone", node.state)
    assert.equal(A, node.addr)
  end)
end)

describe("app_client #api", function()
  it("gives every node once, then no_node", function()
    local d = calls.client{ A, B, C }
    local ac, seen = d:app_client "svc", {}
    assert.is_true((ac:check_app()))
    for i = 1, 3 do
      local node = assert(ac:next())
      assert.is_nil(seen[node.addr])
      seen[node.addr] = true
      assert.equal(i, ac.attempts)
      assert(ac:log(node, 0.01))
      node:done(false)
    end
    local node, why, code = ac:next()
    assert.is_nil(node)
    assert.equal("no_node", code)
    assert.matches("svc", why)
    assert.equal(3, ac.attempts)
    assert.equal("svc", ac.app)
  end)

  it("gives a certain node, not twice", function()
    local ac = calls.client{ A, B }:app_client "svc"
    assert.equal(B, ac:next_with_node(B).addr)
    assert.equal("no_node", select(3, ac:next_with_node(B)))
    assert.equal("no_node", select(3, ac:next_with_node(C)))
    assert.equal(A, ac:next().addr)
    assert.is_nil((ac:next()))
  end)

  it("logs its attempts", function()
    local journal, logger = calls.journal()
    local d = calls.client({ A }, { logger = logger })
    local ac = d:app_client "svc"
    ac.method, ac.path = "GET", "/x"
    local node = ac:next()
    assert(ac:log(node, 0.25))
    assert(ac:log(node, 0.5, "it broke"))
    d:stats()
    d:pick("svc"):done()
    assert.equal(2, #journal)
    assert.equal("info", journal[1].level)
    assert.equal("discover", journal[1].type)
    assert.equal("svc", journal[1].app)
    assert.equal(A, journal[1].node)
    assert.equal(250, journal[1].used_time)
    assert.equal("warn", journal[2].level)
    assert.equal("it broke", journal[2].error)
  end)

  it("of an unknown app says so", function()
    local ac = calls.client():app_client "nobody"
    local ok, _, code = ac:check_app()
    assert.is_nil(ok)
    assert.equal("app_not_found", code)
    assert.equal("app_not_found", select(3, ac:next()))
  end)
end)

describe("logging #api", function()
  it("is a record per attempt #core", function()
    local journal, logger = calls.journal()
    local dead, well = port.refused(), calls.answering(201)
    local d = calls.client({ { dead, calls.FIRST }, { well, 1 } }, { logger = logger })
    assert.is_true(d:put("svc", "/path?q=1", "x", { ["X-Request-Id"] = "id-1" }).ok)
    assert.equal(2, #journal)
    for i, record in ipairs(journal) do
      assert.equal("discover", record.type)
      assert.equal("svc", record.app)
      assert.equal("PUT", record.method)
      assert.equal("/path?q=1", record.path)
      assert.equal(i, record.attempts)
      assert.equal("id-1", record.request_id)
      assert.is_true(record.used_time >= 0 and record.used_time < 10000)
      assert.is_true(math.abs(record.time - os.time()) < 60)
      assert.is_string(record.msg)
      assert.is_nil(tostring(record):find "[%c]")
      assert.matches("svc", tostring(record))
    end
    assert.same({ dead.addr, "warn", "connect" }, { journal[1].node, journal[1].level, journal[1].error })
    assert.same({ well.addr, "info" }, { journal[2].node, journal[2].level })
    assert.is_nil(journal[2].error)
  end)

  it("goes to a table's methods, by level", function()
    local got = {}
    local logger = {}
    for _, level in ipairs{ "debug", "info", "warn", "error" } do
      logger[level] = function(self, record)
        assert.equal(logger, self)
        assert.equal(level, record.level)
        got[level] = (got[level] or 0) + 1
      end
    end
    local d = calls.client({ { port.refused(), calls.FIRST }, { calls.answering(), 1 } }, {
      logger = logger, call_retry_times = 2 })
    calls.gets(d, 3)
    assert.equal(3, got.info)
    assert.equal(2, got.warn)
    assert.equal(1, got.error) -- the isolation
  end)

  it("leaves out what is below log_level", function()
    for level, expected in pairs{ info = 3, warn = 1, error = 0, off = 0 } do
      local journal, logger = calls.journal()
      local d = calls.client({ { port.refused(), calls.FIRST }, { calls.answering(), 1 } }, {
        logger = logger, log_level = level })
      calls.gets(d, 1)
      calls.gets(d, 1)
      local n = 0
      for _, record in ipairs(journal) do if record.method then n = n + 1 end end
      -- Two calls: a failed attempt and one that is well, then either again.
      if level == "info" then assert.is_true(n >= expected) else assert.is_true(n == expected or n == 2 * expected,
        level) end
    end
  end)

  it("through a queue that is bounded and counts what it drops", function()
    local n = 0
    local d = calls.client({ calls.answering() }, { logger = function() n = n + 1 end })
    d:set_route(function(ac)
      if ac.path ~= "/many" then return end
      for _ = 1, 1500 do d:get("svc", "/one") end -- records wait until the outermost method ends
    end)
    assert.is_true(d:get("svc", "/many").ok)
    assert.equal(1501, n + d:stats().logs_dropped)
    assert.is_true(d:stats().logs_dropped > 0 and n >= 1000)
  end)
end)

describe("stats #api", function()
  local function traffic()
    local dead, busy, well = port.refused(), calls.answering(503), calls.answering()
    local d = calls.client({ { dead, calls.FIRST }, { busy, 1 }, { well, 1 } }, { call_retry_times = 2 })
    for _ = 1, 20 do d:get("svc", "/") end
    for _ = 1, 5 do d:post("svc", "/", "x") end
    d:get("svc", "no path")
    d:get("nobody", "/")
    assert(d:set_node("other", well.addr, 1))
    for _ = 1, 3 do d:get("other", "/") end
    d:pick("other"):done()
    return d
  end

  local function sum(map)
    local n = 0
    for _, value in pairs(map) do n = n + (type(value) == "table" and value.count or value) end
    return n
  end

  it("add up: calls by outcome, attempts by node, latency by bucket #core", function()
    local stats = traffic():stats()
    local total, svc, other = stats.total, stats.apps.svc, stats.apps.other
    assert.equal(30, total.calls)
    for name, counts in pairs{ total = total, svc = svc, other = other } do
      assert.equal(counts.calls, sum(counts.errors), name)
      assert.equal(counts.calls, sum(counts.latency), name)
      assert.equal(0, counts.in_flight, name)
      assert.is_true(counts.latency_sum > 0, name)
      assert.is_true(counts.retries <= counts.attempts, name)
    end
    assert.equal(25, svc.calls)
    assert.equal(3, other.calls)
    assert.equal(1, total.errors.invalid)
    assert.equal(1, total.errors.app_not_found)
    assert.equal(total.attempts, svc.attempts + other.attempts)
    assert.equal(total.retries, svc.retries + other.retries)
    local attempts, failures = 0, 0
    for _, node in pairs(svc.nodes) do
      attempts, failures = attempts + node.attempts, failures + node.failures
    end
    assert.equal(svc.attempts, attempts)
    assert.equal(failures, svc.attempt_errors.connect + svc.statuses["5xx"])
    assert.equal(svc.attempts, sum(svc.statuses) + sum(svc.attempt_errors))
    assert.equal(2, svc.isolations)
    assert.equal(1, other.picks)
    -- A pick counts as an attempt at its node.
    for _, node in pairs(other.nodes) do assert.equal(4, node.attempts) end
    local le = 0
    for _, bucket in ipairs(total.latency) do
      assert.is_true(bucket.le > le)
      le = bucket.le
    end
    assert.equal(math.huge, le)
    assert.equal("none", stats.registry.kind)
  end)

  it("are there after stop, and a picture that later calls do not change", function()
    local d = traffic()
    local before = d:stats()
    d:get("svc", "/")
    assert.equal(30, before.total.calls)
    d:stop()
    assert.equal(31, d:stats().total.calls)
  end)

  it("as Prometheus text parse, and say the same", function()
    local d = traffic()
    assert(d:set_node('a"b\\c', "127.0.0.1:9", 1)) -- a name that must be escaped
    local stats, text = d:stats(), assert(d:stats "prometheus")
    local types, values, seen = {}, {}, {}
    for line in text:gmatch "([^\n]*)\n" do
      local name, kind = line:match "^# TYPE ([%a_:][%w_:]*) (%a+)$"
      if name then
        assert.is_nil(types[name], "two types of " .. name)
        assert.is_truthy(kind == "counter" or kind == "gauge" or kind == "histogram")
        types[name] = kind
      elseif not line:match "^# HELP [%a_:][%w_:]* %S" then
        local metric, labels, value = line:match "^([%a_:][%w_:]*)(%b{}) (%S+)$"
        if not metric then
          metric, value = line:match "^([%a_:][%w_:]*) (%S+)$"
          labels = ""
        end
        assert.is_string(metric, "no sample: " .. line)
        assert.is_number(tonumber(value), line)
        local base = types[metric] and metric or metric:gsub("_bucket$", ""):gsub("_sum$", ""):gsub("_count$", "")
        assert.is_string(types[base], "no type of " .. metric)
        assert.is_nil(seen[metric .. labels], "twice: " .. line)
        seen[metric .. labels] = true
        values[metric .. labels] = tonumber(value)
        local inner = labels:sub(2, -2)
        local rest = inner:gsub('[%a_][%w_]*="[^"\\]*",?', ""):gsub('[%a_][%w_]*="a\\"b\\\\c",?', "")
        assert.equal("", rest, "labels of " .. line)
      end
    end
    assert.equal("\n", text:sub(-1))
    assert.equal(stats.apps.svc.attempts, values['discover_attempts_total{app="svc"}'])
    assert.equal(stats.apps.svc.calls, values['discover_call_duration_seconds_count{app="svc"}'])
    assert.equal(stats.apps.svc.calls, values['discover_call_duration_seconds_bucket{app="svc",le="+Inf"}'])
    assert.equal(stats.apps.svc.errors.ok, values['discover_calls_total{app="svc",err="ok"}'])
    assert.equal(1, values['discover_nodes{app="a\\"b\\\\c"}'])
    for addr, node in pairs(stats.apps.svc.nodes) do
      assert.equal(node.failures, values[('discover_node_failures_total{app="svc",node="%s"}'):format(addr)])
    end
  end)
end)

describe("events #api", function()
  it("tell of nodes that come, are isolated and go", function()
    local seen = {}
    local d = calls.client({}, { call_retry_times = 1 })
    d:on_event(function(event)
      seen[#seen + 1] = event.name
      assert.equal("svc", event.app)
      assert.equal(A, event.node)
      assert.is_number(event.time)
    end)
    assert(d:set_node("svc", A, 1))
    d:pick("svc"):done(false)
    calls.node(d, A):done(true)
    assert(d:set_node("svc", A, 0))
    assert.same({ "node_added", "isolated", "recovered", "node_removed" }, seen)
    d:on_event(nil)
    assert(d:set_node("svc", A, 1))
    assert.equal(4, #seen)
  end)
end)
