-- What no call and no method takes: each a clear error that names the culprit, and nothing is sent.
--
-- Calls end with result.err == "invalid"; methods return nil, "invalid: sentence", "invalid"; wrong types raise.
local calls = require "spec.support.calls"
local discover = require "discover"
local port = require "spec.support.port"

local nan = 0 / 0
local server, d
setup(function()
  server = calls.answering()
  d = calls.client{ server }
end)

local function quoted(value)
  local text = type(value) == "string" and ("%q"):format(value:sub(1, 60)) or tostring(value)
  return (text:gsub("%c", "?"))
end

-- A call that was refused before anything was tried; its sentence holds `culprit` (plain).
local function refused(res, culprit, name)
  assert.equal("invalid", res.err, (name or "") .. " " .. tostring(res))
  assert.is_false(res.ok)
  assert.equal(0, res.attempts)
  assert.is_nil(res.status)
  assert.is_true(res.why:find(culprit, 1, true) ~= nil, ("%s: %q does not name %q"):format(name or "", res.why,
    culprit))
  assert.is_nil(res.why:find "%c", "control characters in " .. quoted(res.why))
  assert.is_true(#res.why < 512)
end

-- A method that returned nil, msg, "invalid".
local function failed(culprit, name, ok, why, code)
  assert.is_nil(ok, name)
  assert.equal("invalid", code, name .. ": " .. tostring(why))
  assert.equal("string", type(why), name)
  assert.is_true(why:find("^invalid: ") ~= nil, why)
  assert.is_true(why:find(culprit, 1, true) ~= nil, ("%s: %q does not name %q"):format(name, why, culprit))
  assert.is_nil(why:find "%c", "control characters in " .. quoted(why))
end

local function raises(culprit, fn, ...)
  local ok, why = pcall(fn, ...)
  assert.is_false(ok, "nothing was raised; expected was: " .. culprit)
  why = tostring(why)
  assert.is_true(why:find(culprit, 1, true) ~= nil, ("%q does not name %q"):format(why, culprit))
end

local bad_apps = {
  { "", "empty" }, { " ", "blanks" }, { "a b", "a b" }, { "a\tb", "control" }, { "a\0b", "control" }, { "a\r\nb",
  "control" },
  { "\127", "control" }, { ("x"):rep(300), "255" }, { ("x"):rep(256), "255" }, { " app", "blanks" }, { "app\n",
  "control" },
}

local bad_addrs = {
  { "", "no port" }, { "127.0.0.1", "no port" }, { "host", "no port" }, { "127.0.0.1:", "port" }, { "127.0.0.1:0",
  "port" },
  { "127.0.0.1:70000", "port" }, { "127.0.0.1:-1", "port" }, { "127.0.0.1:80x", "port" }, { "127.0.0.1:080", "port" },
  { ":80", "host" }, { "[::1]", "no port" }, { "::1:80", "brackets" }, { "2001:db8::1", "brackets" }, { "[::1:80",
  "brackets" },
  { "[zz]:80", "host" }, { "a b:80", "host" }, { "a\0b:80", "host" }, { "a\r\nb:80", "host" }, { "127.0.0.1:80 ",
  "port" },
  { "http://a:80", "brackets" }, { "1.2.3:80", "host" }, { ("a"):rep(300) .. ":80", "host" }, { "a..b:80", "host" },
  { "127.0.0.1:80/path", "port" }, { "user@host:80", "host" },
}

local bad_weights = { -1, 1.5, 1e9, nan, math.huge, -math.huge, 1000001 }

local bad_paths = {
  { "", "path" }, { "x", "path" }, { " /", "path" }, { "http://evil/", "path" }, { "/a b", "path" },
  { "/a\r\nX-Evil: 1", "path" },
  { "/a\nb", "path" }, { "/a\0b", "path" }, { "/a\127", "path" }, { "/a#b", "path" }, { "/" .. ("x"):rep(65536),
  "path" },
  { "/x HTTP/1.1\r\nHost: evil\r\n\r\n", "path" },
}

local bad_methods = { "", "G T", "GET ", "GET\r\n", "G\0T", "GE:T", ("X"):rep(40), "GET / HTTP/1.1\r\n" }

local bad_names = { "", "a b", "a:b", "a\r\nb", "a\0b", "a\tb", "(a)", "a\195\188", ("x"):rep(300), "a\n" }

local bad_values = { "a\rb", "a\nb", "a\0b", "a\r\nb: c", "a\127", "\1", ("x"):rep(65537) }

describe("app names #api", function()
  it("in calls #core", function()
    for _, row in ipairs(bad_apps) do
      refused(d:get(row[1], "/"), row[2], quoted(row[1]))
      refused(d:request{ app = row[1], path = "/" }, row[2], quoted(row[1]))
      refused(d:new_caller():post(row[1], "/", "x"), row[2], quoted(row[1]))
    end
  end)

  it("in methods", function()
    for _, row in ipairs(bad_apps) do
      local app, culprit, name = row[1], row[2], quoted(row[1])
      failed(culprit, name, d:pick(app))
      failed(culprit, name, d:set_node(app, "127.0.0.1:80", 1))
      failed(culprit, name, d:app_client(app))
      failed(culprit, name, d:add_external_app(app, {}))
      failed(culprit, name, discover.start("memory://bad-input", app, "127.0.0.1:80"))
      failed(culprit, name, discover.new{ calls = { [app] = {} } })
      assert.is_nil((d:get_app_nodes(app)))
    end
  end)

  it("that are unusual but good are taken", function()
    for _, app in ipairs{ "a", ("x"):rep(255), "a/b", "a:b", "a_b-c.d", "gr\195\188n", "*a", "%d", "{}" } do
      assert.equal("app_not_found", d:get(app, "/").err, app)
      assert(d:set_node(app, server.addr, 1))
      assert.is_true(d:get(app, "/").ok, app)
      assert(d:set_node(app, server.addr, 0))
    end
  end)

  it("of wrong types raise", function()
    for _, app in ipairs{ 7, true, {}, print } do
      raises("string", d.get, d, app, "/")
      raises("string", d.pick, d, app)
      raises("string", d.set_node, d, app, "127.0.0.1:80", 1)
      raises("string", d.get_app_nodes, d, app)
      raises("string", d.add_external_app, d, app, {})
      raises("app", d.request, d, { app = app, path = "/" })
    end
    raises("string", d.get, d, nil, "/")
    raises("'app'", d.request, d, { path = "/" })
  end)
end)

describe("addresses #api", function()
  it("in set_node, in pinned calls, in start #core", function()
    for _, row in ipairs(bad_addrs) do
      local addr, culprit, name = row[1], row[2], quoted(row[1])
      failed(culprit, name, d:set_node("svc", addr, 1))
      failed(culprit, name, d:set_node("svc", addr, 0))
      failed(culprit, name, discover.start("memory://bad-input", "svc", addr))
      if addr ~= "" then refused(d:request{ app = "svc", path = "/", node = addr }, culprit, name) end
    end
  end)

  it("that nobody can call are refused by start, which points at easy_start", function()
    for _, addr in ipairs{ "0.0.0.0:80", "[::]:80", ":80", "[0:0:0:0:0:0:0:0]:80", "[::ffff:0.0.0.0]:80" } do
      failed("easy_start", addr, discover.start("memory://bad-input", "svc", addr))
    end
  end)

  it("that are unusual but good are taken", function()
    local x = calls.client()
    for _, addr in ipairs{ "[::1]:80", "[2001:db8::1]:65535", "host:1", "a-b.example:80", "127.0.0.1:65535",
      "[::ffff:1.2.3.4]:80",
                           "under_score:80" } do
      assert(x:set_node("svc", addr, 1))
      assert.equal(addr, x:get_app_nodes("svc")[addr].addr)
    end
    assert.equal("::1", x:get_app_nodes("svc")["[::1]:80"].host)
    assert.equal(80, x:get_app_nodes("svc")["[::1]:80"].port)
  end)

  it("of IPv6 are called", function()
    local socket = require "socket"
    local listener = socket.tcp6 and socket.tcp6()
    if not (listener and listener:bind("::1", 0)) then
      pending "no IPv6 here"
      return
    end
    local number = select(2, listener:getsockname())
    listener:close()
    local x = calls.client{ ("[::1]:%d"):format(number) }
    local res = x:get("svc", "/")
    assert.equal("connect", res.err)
    assert.equal(("[::1]:%d"):format(number), res.node)
  end)

  it("of wrong types raise", function()
    for _, addr in ipairs{ 80, true, {} } do
      raises("string", d.set_node, d, "svc", addr, 1)
      raises("node", d.request, d, { app = "svc", path = "/", node = addr })
      raises("string", discover.start, "memory://bad-input", "svc", addr)
    end
  end)
end)

describe("weights #api", function()
  it("in set_node, set_weight, start", function()
    local registry = "memory://weights-" .. port.free()
    local s = calls.stop_at_end(assert(discover.start(registry, "svc", "127.0.0.1:80")))
    for _, weight in ipairs(bad_weights) do
      local name = tostring(weight)
      failed("weight", name, d:set_node("svc", "127.0.0.1:80", weight))
      failed("weight", name, s:set_weight(weight))
      failed("weight", name, discover.start(registry, "svc", "127.0.0.1:81", { weight = weight }))
    end
    assert.is_nil(d:get_app_nodes("svc")["127.0.0.1:80"])
    for _, weight in ipairs{ "7", true, {} } do
      raises("number", d.set_node, d, "svc", "127.0.0.1:80", weight)
      raises("number", s.set_weight, s, weight)
      raises("weight", discover.start, registry, "svc", "127.0.0.1:81", { weight = weight })
    end
  end)

  it("of 0 remove a node, or let one stand by", function()
    local x = calls.client{ "127.0.0.1:80" }
    assert(x:set_node("svc", "127.0.0.1:80", 0))
    assert.same({}, x:get_app_nodes "svc")
    assert(x:set_node("svc", "127.0.0.1:80", 0))
    assert(x:set_node("svc", "127.0.0.1:80", 1000000))
    assert.equal(1000000, calls.node(x, "127.0.0.1:80").weight)
    failed("not registered", "set_weight", x:set_weight(1))
  end)
end)

describe("paths #api", function()
  it("in calls #core", function()
    local before = server:connections()
    for _, row in ipairs(bad_paths) do
      refused(d:get("svc", row[1]), row[2], quoted(row[1]))
      refused(d:post("svc", row[1], "x"), row[2], quoted(row[1]))
      refused(d:request{ app = "svc", path = row[1] }, row[2], quoted(row[1]))
      refused(d:from{}:get("svc", row[1]), row[2], quoted(row[1]))
    end
    assert.equal(before, server:connections())
  end)

  it("set by a route: the call ends with `route`", function()
    local x = calls.client{ server }
    for _, row in ipairs(bad_paths) do
      x:set_route(function(ac) ac.path = row[1] end)
      local res = x:get("svc", "/")
      assert.equal("route", res.err, quoted(row[1]))
      assert.matches(row[2], res.why, 1, true)
    end
  end)

  it("that are long or odd but good are taken", function()
    local s = calls.answering()
    local x = calls.client{ s }
    for _, path in ipairs{ "/", "/?", "//", "/a%20b?c=d&e", "/gr\195\188n", "/" .. ("x"):rep(60000), "/../..",
      "/a;b=c,d'\"<>|" } do
      assert.is_true(x:get("svc", path).ok, quoted(path))
      local requests = s:requests()
      assert.equal(path, requests[#requests].path)
    end
  end)

  it("of wrong types raise", function()
    for _, path in ipairs{ 7, true, {} } do
      raises("string", d.get, d, "svc", path)
      raises("path", d.request, d, { app = "svc", path = path })
    end
    raises("'path'", d.request, d, { app = "svc" })
  end)
end)

describe("methods #api", function()
  it("in calls", function()
    for _, method in ipairs(bad_methods) do
      refused(d:request(method, "svc", "/"), "method", quoted(method))
      refused(d:request{ method = method, app = "svc", path = "/" }, "method", quoted(method))
    end
    raises("method", d.request, d, { method = 7, app = "svc", path = "/" })
    raises("string", d.request, d, true, "svc", "/")
  end)
end)

describe("headers #api", function()
  it("with bad names #core", function()
    for _, name in ipairs(bad_names) do
      refused(d:get("svc", "/", { [name] = "x" }), "header", quoted(name))
      refused(d:post("svc", "/", "x", { [name] = "x" }), "header", quoted(name))
    end
  end)

  it("with bad values name the header", function()
    for _, value in ipairs(bad_values) do
      refused(d:get("svc", "/", { ["X-Mine"] = value }), "X-Mine", quoted(value))
      refused(d:get("svc", "/", { ["X-Mine"] = { "good", value } }), "X-Mine", quoted(value))
    end
  end)

  it("set by a route: the call ends with `route`", function()
    local x = calls.client{ server }
    x:set_route(function(ac) ac.headers["X-Mine"] = "a\r\nb" end)
    local res = x:get("svc", "/")
    assert.equal("route", res.err)
    assert.matches("X-Mine", res.why, 1, true)
  end)

  it("of wrong types raise and name the header", function()
    raises("table", d.get, d, "svc", "/", "X-Mine: 1")
    raises("X-Mine", d.get, d, "svc", "/", { ["X-Mine"] = true })
    raises("X-Mine", d.get, d, "svc", "/", { ["X-Mine"] = { {} } })
    raises("strings", d.get, d, "svc", "/", { "X-Mine: 1" })
    raises("headers", d.request, d, { app = "svc", path = "/", headers = 7 })
  end)

  it("in the options", function()
    failed("header", "relay", discover.new{ relay_headers = { "a b" } })
    failed("header", "names", discover.new{ header_names = { from_app = "a\r\nb" } })
    raises("from_ap", discover.new, { header_names = { from_ap = "x" } })
    raises("relay_headers", discover.new, { relay_headers = "X-A" })
    raises("relay_headers", discover.new, { relay_headers = { 7, {} } })
  end)
end)

describe("data #api", function()
  it("of wrong types raises", function()
    for _, data in ipairs{ 7, true, coroutine.create(function() end), io.stdout } do
      raises("table", d.post, d, "svc", "/", data)
      raises("data", d.request, d, { app = "svc", path = "/", data = data })
    end
  end)
end)

describe("requests #api", function()
  it("with unknown keys raise and list the known ones", function()
    raises("timeuot", d.request, d, { app = "svc", path = "/", timeuot = 1 })
    raises("timeout", d.request, d, { app = "svc", path = "/", timeuot = 1 })
    raises("number", d.request, d, { "svc", "/" })
    raises("discover", d.get)
    raises("discover", d.get, {}, "svc", "/")
  end)

  it("with values out of range are invalid and name them", function()
    local rows = {
      timeout = { 0, -1, nan, math.huge, 1e10, "5", "abc", "", "-1s" }, deadline = { 0, -1, nan, math.huge, "10 m" },
      max_attempts = { 0, -1, 1.5, nan, 1e9 }, max_body = { -1, 1.5, nan, 1e300 }, retry = { "sometimes", "" },
    }
    for key, values in pairs(rows) do
      for _, value in ipairs(values) do
        refused(d:request{ app = "svc", path = "/", [key] = value }, key, key .. " = " .. quoted(value))
      end
    end
    for key, value in pairs{ timeout = true, deadline = {}, max_attempts = "3", max_body = "1", retry = 7,
      no_body = 1, key = {},
                             query = "a=b" } do
      raises(key, d.request, d, { app = "svc", path = "/", [key] = value })
    end
  end)
end)

describe("options #api", function()
  it("that are unknown or of wrong types raise and name the key", function()
    raises("wieght", discover.new, { wieght = 1 })
    raises("weight", discover.new, { wieght = 1 })
    for key, value in pairs{ weight = "1", calls = "x", call_retry_times = "3", balancer = 7, route = "x", logger = 7,
                             log_level = 7, metadata = "x", heartbeat = {}, ttl = true, start_timeout = {}, signals = 1,
                             shared = "yes", username = 7, password = 7 } do
      raises(key, discover.new, { [key] = value })
    end
    raises("table", discover.new, "x")
    raises("timeuot", discover.new, { calls = { svc = { timeuot = 1 } } })
    raises("svc", discover.new, { calls = { svc = 7 } })
    raises("verfy", discover.new, { calls = { svc = { tls = { verfy = true } } } })
    raises("token", discover.new, { calls = { svc = { token = 7 } } })
  end)

  it("out of range are invalid and name the key", function()
    for key, values in pairs{ call_retry_times = { 0, -1, 1.5, nan }, heartbeat = { 0, -1, nan }, ttl = { 0, 0.5 },
                              log_level = { "loud" }, resync = { 0, -1 }, start_timeout = { -1, nan } } do
      for _, value in ipairs(values) do
        failed(key, key .. " = " .. tostring(value), discover.new{ [key] = value })
      end
    end
    for key, values in pairs{ timeout = { 0, -1, nan, 1e9 }, deadline = { 0 }, connect_timeout = { 0, "x" },
      retry = { "no" },
                              max_attempts = { 0, 1.5 }, max_in_flight = { -1 } } do
      for _, value in ipairs(values) do
        local name = key .. " = " .. quoted(value)
        failed(key, name, discover.new{ calls = { svc = { [key] = value } } })
        failed(key, name, d:add_external_app("svc", { [key] = value }))
      end
    end
    failed("Access-Token", "token", discover.new{ calls = { svc = { token = "a\r\nb" } } })
  end)
end)

describe("other methods #api", function()
  it("refuse what they do not know", function()
    failed("prometheus", "stats", d:stats "json")
    raises("string", d.stats, d, {})
    raises("function", d.set_route, d, "x")
    raises("logger", d.set_logger, d, 7)
    raises("logger", d.set_logger, d, { info = print })
    raises("function", d.on_event, d, {})
    raises("nxt", d.set_load_balancer, d, { nxt = print })
    raises("next", d.set_load_balancer, d, { next = 7 })
    raises("next", d.set_load_balancer, d, {})
    raises("table", d.from, d, nil)
    raises("table", d.from, d, "x")
    raises("headers", d.from, d, { headers = "x" })
    raises("remote_addr", d.from, d, { remote_addr = 7 })
    raises("table", d.pick, d, "svc", "key")
  end)

  it("of a node check what is reported", function()
    local x = calls.client{ "127.0.0.1:80" }
    local node = x:pick "svc"
    failed("status", "done", node:done(7))
    failed("status", "done", node:done(1e9))
    failed("seconds", "done", node:done(200, -1))
    raises("status", node.done, node, "well")
    failed("\"x\"", "done", node:done(true, "x"))
    raises("seconds", node.done, node, true, {})
    assert.equal(1, node.in_flight)
    assert(node:done(200, 0.1))
    assert.equal(0, node.in_flight)
    raises("node", function() node.addr = "x" end)
  end)

  it("of a discoverer that was stopped say so", function()
    local x = calls.client{ server }
    local node, caller, ac = x:pick "svc", x:new_caller(), x:app_client "svc"
    x:stop()
    local res = x:get("svc", "/")
    assert.equal("stopped", res.err)
    assert.equal("stopped", caller:get("svc", "/").err)
    for name, args in pairs{ pick = { "svc" }, set_node = { "svc", "127.0.0.1:80", 1 }, get_app_nodes = { "svc" },
                             add_external_app = { "svc", {} }, set_weight = { 1 }, app_client = { "svc" } } do
      local ok, why, code = x[name](x, (unpack or table.unpack)(args))
      assert.is_nil(ok, name)
      assert.equal("stopped", code, name)
      assert.matches("^stopped: ", why)
    end
    assert.equal("stopped", select(3, node:done()))
    assert.equal("stopped", select(3, ac:next()))
    x:stop()
    assert.equal("table", type(x:stats()))
    assert.is_false(x:is_server())
    assert.equal("string", type(tostring(x)))
  end)
end)
