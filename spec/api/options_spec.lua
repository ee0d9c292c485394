-- Every wrong type and unknown key raises and names the culprit; every bad value is nil, message, "invalid".
local discover = require "discover"

local function raises(pattern, fn, ...)
  local ok, why = pcall(fn, ...)
  assert.is_false(ok, "did not raise: " .. pattern)
  assert.matches(pattern, why)
end

local function invalid(pattern, fn, ...)
  local value, why, code = fn(...)
  assert.is_nil(value)
  assert.matches("^invalid: ", why)
  assert.matches(pattern, why)
  assert.equal("invalid", code)
end

local d

before_each(function() d = assert(discover.new()) end)
after_each(function() d:stop() end)

describe("#api options of new", function()
  local wrong = {
    weight = { "1", true, {} }, calls = { 1, "x", true }, call_retry_times = { "1", {} }, balancer = { 1, true, print },
    route = { 1, "x", {} }, logger = { 1, "x", {}, { info = print } }, log_level = { 1, true },
    relay_headers = { "x", 1, { 1 }, { true } }, header_names = { "x", { from_app = 1 }, { other = "x" } },
    metadata = { "x", { 1 }, { a = true }, { a = {} } }, heartbeat = { true, {} }, ttl = { true, {} },
    resync = { true }, stale_grace = { {} }, start_timeout = { false }, signals = { 1, "true" }, shared = { 1 },
    username = { 1 }, password = { 1, true },
  }
  for name, values in pairs(wrong) do
    it("raises on wrong types of " .. name, function()
      for _, value in ipairs(values) do
        raises(name == "route" and "route" or name:gsub("_", "[_ .]") .. "", discover.new, { [name] = value })
        raises("", discover.open, nil, { [name] = value })
        raises("", discover.start, nil, "app", "127.0.0.1:1", { [name] = value })
      end
    end)
  end

  it("raises on unknown keys, naming what is known", function()
    raises("unknown option 'wieght' %(known: weight, calls,", discover.new, { wieght = 1 })
    raises("option names are strings, got a number", discover.new, { 1 })
    raises("opts.calls%['x'%]: unknown option 'tmeout' %(known: timeout,", discover.new,
      { calls = { x = { tmeout = 1 } } })
    raises("opts.calls%['x'%]: tls: unknown option 'cafile' %(known: ca,", discover.new,
      { calls = { x = { tls = { cafile = "x" } } } })
    raises("opts.calls: app names are strings", discover.new, { calls = { {} } })
    raises("unknown key 'nxt' %(known: next, response%)", discover.new, { balancer = { nxt = print } })
    raises("least_used", discover.new, { balancer = "fastest" })
    raises("table of options expected", discover.new, 5)
  end)

  it("raises on wrong types in call configs", function()
    local values = {
      timeout = true, connect_timeout = {}, deadline = false, token = 1, http2 = 1, ssl = "x", tls = true, retry = 1,
      max_attempts = "1", max_body = true, max_in_flight = "x", queue = {}, probe = 1,
    }
    for name, value in pairs(values) do
      raises("opts.calls%['x'%]: option '" .. name .. "'", discover.new, { calls = { x = { [name] = value } } })
      raises("config: option '" .. name .. "'", d.add_external_app, d, "x", { [name] = value })
    end
    raises("opts.calls%['x'%]: table or call string expected, got number", discover.new, { calls = { x = 5 } })
  end)

  it("refuses bad values", function()
    local nan = 0 / 0
    local values = {
      weight = { -1, 1.5, 1e9, nan }, call_retry_times = { 0, -1, 0.5 }, log_level = { "loud", "" },
      heartbeat = { 0, -1, nan, 1 / 0, "5", "x", "5 parsecs" }, ttl = { 0, 1, "0s" }, resync = { 0, 1e9 },
      stale_grace = { -1 }, start_timeout = { -0.001, "1" }, relay_headers = { { "a b" }, { "" } },
      header_names = { { client_ip = "a b" } },
      calls = { { x = { timeout = 0 } }, { x = { timeout = -1 } }, { x = { deadline = nan } },
                { x = { retry = "maybe" } }, { x = { max_attempts = 0 } }, { x = { max_body = -1 } },
                { x = "has blank" }, { ["a b"] = {} }, { [""] = {} } },
    }
    for name, list in pairs(values) do
      for _, value in ipairs(list) do invalid("", discover.new, { [name] = value }) end
    end
    invalid("timeout", discover.new, { calls = { auth = { timeout = 0 } } })
    invalid("opts.calls%['auth'%]", discover.new, { calls = { auth = { retry = "maybe" } } })
    invalid("weight: a whole number from 0 to 1000000 expected, got 1.5", discover.new, { weight = 1.5 })
    -- The culprit, what it was and what is allowed: the same range, whatever is wrong with it.
    for text, value in pairs{ ["0"] = 0, ["%-1"] = -1, ["nan"] = nan, ["inf"] = 1 / 0, ["0%.05"] = 0.05,
                              ["7200"] = "2h" } do
      invalid("heartbeat: " .. text .. " is not in 0%.1%.%.3600 seconds", discover.new, { heartbeat = value })
    end
  end)

  it("raises on a wrong type even beside a bad value", function()
    raises("signals", discover.new, { weight = -1, signals = 5 })
    raises("'route'", discover.new, { weight = -1, route = 5 })
  end)

  it("takes what is right", function()
    local good = assert(discover.new {
      weight = 0,
      calls = {
        ["*"] = { timeout = "500ms", deadline = 1.5, retry = "always", max_attempts = 3, max_body = 10, http2 = true,
                  ssl = true, tls = { verify = false }, max_in_flight = 5, queue = 5, connect_timeout = 0.1,
                  probe = "/health" },
        old = "2:5s",
      },
      call_retry_times = 3, balancer = "hash", route = print, logger = print, log_level = "debug",
      relay_headers = { "X-One" }, header_names = { client_ip = "X-Real-IP" }, metadata = { zone = "a", shard = 3 },
      heartbeat = "1s", ttl = 10, resync = 1, stale_grace = 0, start_timeout = 0, signals = false, shared = false,
      username = "u", password = "p",
    })
    assert.is_true(good:stop())
  end)
end)

describe("#api start and open", function()
  it("raise on wrong types", function()
    raises("string expected, got number", discover.start, 5, "a", "127.0.0.1:1")
    raises("string expected, got nil", discover.start, "memory://o", nil, "127.0.0.1:1")
    raises("string expected, got boolean", discover.start, "memory://o", "a", true)
    raises("string expected, got table", discover.open, {})
  end)

  it("refuse names", function()
    for _, app in ipairs { "", "a b", "a\n", "a\0b", ("x"):rep(300) } do
      invalid("", discover.start, "memory://o", app, "127.0.0.1:1")
    end
  end)

  it("refuse addresses", function()
    for _, addr in ipairs {
      "", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:70000", "::1:80", "[::1]", "a b:80", ":80",
    } do
      invalid("", discover.start, "memory://o", "app", addr)
    end
    for _, addr in ipairs { "0.0.0.0:80", "[::]:80", ":80" } do
      invalid("easy_start", discover.start, "memory://o", "app", addr)
    end
  end)

  it("refuse registries", function()
    for _, registry in ipairs { "http://x", "redis://h/1?ca=/x", "somename", "redis://h:99999/1", "memory://" } do
      invalid("", discover.open, registry)
    end
  end)
end)

describe("#api methods", function()
  local methods = {
    get = { { 1, "/" }, { "a" }, { "a", 1 }, { "a", "/", "x" }, { "a", "/", { [1] = "x" } },
            { "a", "/", { x = true } } },
    head = { { {} }, { "a", {} }, { "a", "/", 1 } },
    post = { { 1, "/" }, { "a", "/", 5 }, { "a", "/", true }, { "a", "/", io.stdout }, { "a", "/", "", 1 },
             { "a", "/", nil, { x = {{}} } } },
    put = { { "a", "/", 5 } }, patch = { { "a", "/", 5 } }, delete = { { "a", "/", 5 } },
    request = { { 1 }, { "GET", 1 }, { "GET", "a" }, { "GET", "a", "/", 5 }, { {} }, { { app = "a" } },
                { { app = 1, path = "/" } }, { { app = "a", path = "/", colour = 1 } },
                { { app = "a", path = "/", timeout = true } },
                { { app = "a", path = "/", query = "x" } }, { { app = "a", path = "/", query = { x = print } } },
                { { app = "a", path = "/", query = { 1 } } }, { { app = "a", path = "/", data = 5 } },
                { { app = "a", path = "/", headers = "x" } }, { { app = "a", path = "/", key = {} } },
                { { app = "a", path = "/", no_body = 1 } }, { { app = "a", path = "/", node = 1 } },
                { { app = "a", path = "/", stream = 1 } } },
    from = { {}, { 1 }, { { headers = 1 } }, { { remote_addr = 1 } }, { { host = {} } },
             { { headers = { x = true } } } },
    new_caller = { { 1 }, { {}, 1 } },
    pick = { {}, { 1 }, { "a", 1 } },
    app_client = { {}, { 1 } },
    add_external_app = { {}, { 1 }, { "a", 1 }, { "a", { colour = 1 } } },
    set_node = { {}, { "a" }, { "a", 1, 1 }, { "a", "127.0.0.1:1" }, { "a", "127.0.0.1:1", "1" },
                 { "a", "127.0.0.1:1", 1, "x" } },
    get_app_nodes = { {}, { 1 } },
    set_load_balancer = { { 1 }, { "fastest" }, { {} }, { { next = 1 } }, { { colour = print } }, { print } },
    set_route = { { 1 }, { "x" }, { {} } }, set_logger = { { 1 }, { {} } }, on_event = { { 1 }, { {} } },
    set_weight = { {}, { "1" } }, set_metadata = { {}, { "x" }, { { a = true } } },
    ready = { { true }, { {} } }, wait = { { true } }, stats = { { 1 } }, stop = { { true } },
  }
  for name, calls in pairs(methods) do
    it("raise on wrong types: " .. name, function()
      for i, arguments in ipairs(calls) do
        local n = 0
        for at in pairs(arguments) do n = math.max(n, at) end
        local ok, why = pcall(d[name], d, (unpack or table.unpack)(arguments, 1, n))
        assert.is_false(ok, name .. ", case " .. i .. " did not raise")
        assert.is_string(why)
      end
      raises("", d[name], nil)
      raises("", d[name], io.stdout)
    end)
  end

  it("refuse bad values", function()
    for _, weight in ipairs { -1, 1.5, 1e9, 0 / 0 } do
      invalid("weight", d.set_node, d, "a", "127.0.0.1:1", weight)
      invalid("weight", d.set_weight, d, weight)
    end
    invalid("", d.set_node, d, "a b", "127.0.0.1:1", 1)
    invalid("", d.set_node, d, "a", "127.0.0.1", 1)
    invalid("", d.ready, d, -1)
    invalid("", d.wait, d, "1 fortnight")
    invalid("", d.stop, d, -1)
    invalid("prometheus", d.stats, d, "xml")
    invalid("", d.pick, d, "a b")
    invalid("", d.app_client, d, "")
    invalid("", d.add_external_app, d, "", {})
    invalid("", d.add_external_app, d, "a", { timeout = 0 })
  end)

  it("put a call's bad values into its result", function()
    local function bad(pattern, ...)
      local r = d:request(...)
      assert.equal("invalid", r.err)
      assert.matches(pattern, r.why)
      assert.is_false(r.ok)
      assert.equal(0, r.attempts)
    end
    assert(d:set_node("a", "127.0.0.1:1", 1))
    bad("path", "GET", "a", "no-slash")
    bad("path", "GET", "a", "/a\r\nX: y")
    bad("path", "GET", "a", "/a\0b")
    bad("path", "GET", "a", "/" .. ("x"):rep(70000))
    bad("", "GET", "", "/")
    bad("", "GET", "a b", "/")
    bad("", "GET", ("x"):rep(300), "/")
    bad("method", "G T", "a", "/")
    bad("", "", "a", "/")
    bad("header", "GET", "a", "/", nil, { ["a b"] = "x" })
    bad("", "GET", "a", "/", nil, { a = "x\r\ny" })
    bad("", "GET", "a", "/", nil, { a = "x\0y" })
    bad("", "GET", "a", "/", nil, { a = ("x"):rep(70000) })
    bad("json: f: function cannot be encoded", "POST", "a", "/", { f = print })
    bad("timeout", { app = "a", path = "/", timeout = 0 })
    bad("retry", { app = "a", path = "/", retry = "maybe" })
    bad("max_attempts", { app = "a", path = "/", max_attempts = 0 })
    bad("", { app = "a", path = "/", node = "nowhere" })
  end)

  it("answer nil, message, stopped after stop", function()
    local c = d:from {}
    local ac = d:app_client "a"
    d:stop()
    local calls = {
      { "pick", "a" }, { "app_client", "a" }, { "add_external_app", "a" }, { "set_node", "a", "127.0.0.1:1", 1 },
      { "get_app_nodes", "a" }, { "set_load_balancer", "random" }, { "set_route", print }, { "set_logger", print },
      { "on_event", print }, { "set_weight", 1 }, { "set_metadata", {} }, { "ready" }, { "registered" }, { "from", {} },
      { "new_caller" }, { "poll" }, { "pollfd" },
    }
    for _, call in ipairs(calls) do
      local value, why, code = d[call[1]](d, (unpack or table.unpack)(call, 2))
      assert.is_nil(value, call[1])
      assert.matches("^stopped: ", why)
      assert.equal("stopped", code)
    end
    assert.equal("stopped", d:get("a", "/").err)
    assert.equal("stopped", c:post("a", "/", {}).err)
    assert.equal("stopped", select(3, ac:next()))
    assert.is_false(d:is_server())
    assert.is_boolean(d:is_client())
    assert.is_table(d:stats())
    assert.is_string(d:stats "prometheus")
    assert.equal("discoverer(stopped)", tostring(d))
    assert.is_true(d:wait())
    assert.is_true(d:close())
    assert.is_true(d:stop())
  end)
end)
