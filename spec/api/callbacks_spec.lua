-- What a route, a balancer, a logger and a listener may do, and what comes of what they must not.
local discover = require "discover"
local service = require "spec.support.service"

describe("#api callbacks", function()
  local s, t, d

  setup(function()
    s, t = service.start(), service.start()
  end)
  before_each(function()
    d = assert(discover.new { log_level = "off" })
    assert(d:set_node("app", s.addr, 1))
  end)
  after_each(function() d:stop() end)

  local function route(fn)
    assert.is_true(d:set_route(fn))
  end

  local function balance(next_fn, response)
    assert.is_true(d:set_load_balancer { next = next_fn, response = response })
  end

  -- Collects log records until stop().
  local function listen()
    local records = {}
    assert(d:set_logger(function(record) records[#records + 1] = record end))
    return records
  end

  describe("route", function()
    it("may change everything of the call", function()
      local seen_request
      assert(d:set_node("new", t.addr, 1))
      route(function(ac, request)
        seen_request = request
        assert(ac.app == "app" and ac.method == "POST" and ac.path == "/echo" and ac.attempts == 0)
        assert(ac.data.a == 1 and ac.headers["X-One"] == "1")
        ac.app, ac.method, ac.path = "new", "PUT", "/echo?x=1"
        ac.data = { b = 2 }
        ac.headers["X-Two"] = "2"
        ac.headers["X-One"] = nil
      end)
      local request = { headers = {} }
      local r = d:from(request):post("app", "/echo", { a = 1 }, { ["X-One"] = "1" })
      local seen = assert(r:json())
      assert.equal(t.addr, r.node)
      assert.equal("PUT", seen.method)
      assert.equal("/echo?x=1", seen.target)
      assert.equal('{"b":2}', seen.body)
      assert.equal("2", seen.headers["x-two"])
      assert.is_nil(seen.headers["x-one"])
      assert.equal("application/json", seen.headers["content-type"])
      assert.equal(request, seen_request)
    end)

    it("sees the caller's own data, and may change it in place", function()
      local data, seen = { list = { 1 } }
      route(function(ac)
        seen = ac.data
        if type(seen) == "table" then seen.list[2] = 2 end
      end)
      assert.equal('{"list":[1,2]}', d:post("app", "/echo", data):json().body)
      assert.equal(data, seen)
      assert.equal("text", d:post("app", "/echo", "text"):json().body)
      assert.equal("text", seen)
      d:get("app", "/echo")
      assert.is_nil(seen)
    end)

    it("may turn data into a string, a table or nothing", function()
      route(function(ac) ac.data = "plain" end)
      local seen = d:post("app", "/echo", { 1 }):json()
      assert.equal("plain", seen.body)
      assert.is_nil(seen.headers["content-type"])
      route(function(ac) ac.data = { 1 } end)
      assert.equal("application/json", d:post("app", "/echo", "x"):json().headers["content-type"])
      route(function(ac) ac.data = nil end)
      assert.equal("", d:post("app", "/echo", { 1 }):json().body)
    end)

    it("may leave things alone", function()
      route(function() end)
      assert.equal("[1]", d:post("app", "/echo", { 1 }):json().body)
      assert.equal("x", d:post("app", "/echo", "x"):json().body)
    end)

    it("makes data that JSON does not know the caller's mistake", function()
      route(function() end)
      local r = d:post("app", "/echo", { f = print })
      assert.equal("invalid", r.err)
      assert.matches("json: f: function cannot be encoded", r.why)
      route(function(ac) ac.data.f = nil end)
      assert.equal("{}", d:post("app", "/echo", { f = print }):json().body)
    end)

    it("that raises ends the call", function()
      local object = setmetatable({}, { __tostring = function() return "boom object" end })
      for _, problem in ipairs { "boom", {}, 5, object } do
        route(function() error(problem) end)
        local r = d:get("app", "/echo")
        assert.equal("route", r.err)
        assert.is_string(r.why)
        assert.equal(0, r.attempts)
      end
      route(function() error "boom" end)
      assert.matches("callbacks_spec.lua:%d+: boom", d:get("app", "/echo").why)
      route(function() error() end)
      assert.equal("route", d:get("app", "/echo").err)
    end)

    it("that yields ends the call, inside a coroutine too", function()
      route(function() coroutine.yield(1) end)
      assert.matches("attempt to yield", d:get("app", "/echo").why)
      local co = coroutine.create(function() return d:get("app", "/echo") end)
      local ok, r = coroutine.resume(co)
      assert.is_true(ok)
      assert.equal("route", r.err)
      assert.matches("attempt to yield", r.why)
      assert.equal("dead", coroutine.status(co))
    end)

    it("that sets what cannot be ends the call", function()
      local cases = {
        app = { 5, "", "a b" }, method = { true, "G T" }, path = { {}, "no-slash", "/a\r\nb" },
        data = { 5, true, print }, headers = { "x", { ["a b"] = "x" }, { a = "x\ny" }, { a = true } }, attempts = { 1 },
        colour = { 1 },
      }
      for name, values in pairs(cases) do
        for _, value in ipairs(values) do
          route(function(ac) ac[name] = value end)
          local r = d:get("app", "/echo")
          assert.equal("route", r.err, name)
        end
      end
    end)

    it("cannot use its app client later", function()
      local kept
      route(function(ac) kept = ac end)
      assert.is_true(d:get("app", "/echo").ok)
      assert.error_matches(function() return kept.app end, "used after its callback")
      assert.error_matches(function() kept.app = "x" end, "used after its callback")
      assert.equal("app client(its call is over)", tostring(kept))
      route(function(ac) ac:next() end)
      assert.matches("d:app_client", d:get("app", "/echo").why)
    end)

    it("can be taken away", function()
      route(function() error "no" end)
      route(nil)
      assert.is_true(d:get("app", "/echo").ok)
    end)

    it("is seen by no pick", function()
      route(function() error "no" end)
      assert.is_truthy(d:pick "app")
    end)
  end)

  describe("balancer", function()
    it("chooses, and hears what came of it", function()
      assert(d:set_node("app", t.addr, 1))
      local heard, chosen = {}
      balance(function(ac, nodes, request)
        assert(ac.path == "/echo" and #nodes == 2 and request == nil)
        for _, n in ipairs(nodes) do
          if n.addr == t.addr then chosen = n end
        end
        return chosen
      end, function(ac, node, err, response, seconds)
        heard[#heard + 1] = { ac.app, node, err, response.status, response.headers["content-type"], seconds > 0 }
      end)
      local r = d:get("app", "/echo")
      assert.equal(t.addr, r.node)
      assert.equal("app", heard[1][1])
      assert.equal(chosen, heard[1][2])
      assert.is_nil(heard[1][3])
      assert.equal(200, heard[1][4])
      assert.equal("application/json", heard[1][5])
      assert.is_true(heard[1][6])
    end)

    it("hears of failures", function()
      local heard = {}
      assert(d:set_node("bad", "127.0.0.1:1", 1))
      balance(nil, function(_, node, err, response) heard = { node.addr, err, response } end)
      local r = d:get("bad", "/")
      assert.equal("connect", r.err)
      assert.same({ "127.0.0.1:1", "connect" }, heard)
    end)

    it("is asked again, without the nodes that were tried", function()
      assert(d:set_node("app", "127.0.0.1:1", 1))
      local rounds = {}
      balance(function(ac, nodes)
        rounds[#rounds + 1] = { #nodes, ac.attempts }
        for _, n in ipairs(nodes) do
          if n.port == 1 then return n end
        end
        return nodes[1]
      end)
      local r = d:get("app", "/echo")
      assert.is_true(r.ok)
      assert.equal(2, r.attempts)
      assert.same({ { 2, 0 }, { 1, 1 } }, rounds)
    end)

    it("that returns nil leaves no node", function()
      balance(function() return nil end)
      assert.equal("no_node", d:get("app", "/echo").err)
      assert.equal("no_node", select(3, d:pick "app"))
    end)

    it("that raises, yields or returns something foreign is logged; the default picks", function()
      assert(d:set_node("other", t.addr, 1))
      local foreign = d:get_app_nodes("other")[t.addr]
      local records = listen()
      local own = assert(discover.new { logger = function(record) records[#records + 1] = record end })
      assert(own:set_node("app", s.addr, 1))
      for _, fn in ipairs { function() error "boom" end, function() coroutine.yield() end, function() return 5 end,
                            function() return foreign end, function() return {} end, function() return s.addr end } do
        assert(own:set_load_balancer { next = fn })
        records[1], records[2] = nil, nil
        local r = own:get("app", "/echo")
        assert.is_true(r.ok)
        assert.matches("balancer", records[1].msg)
        assert.is_truthy(own:pick "app")
        for i = #records, 1, -1 do records[i] = nil end
      end
      own:stop()
    end)

    it("whose response raises is logged, and the call goes on", function()
      local records = {}
      assert(d:stop())
      d = assert(discover.new { logger = function(record) records[#records + 1] = record end })
      assert(d:set_node("app", s.addr, 1))
      balance(nil, function() error "boom" end)
      assert.is_true(d:get("app", "/echo").ok)
      local found
      for _, record in ipairs(records) do found = found or record.msg:find "balancer: response: .*boom" end
      assert.is_truthy(found)
    end)

    it("cannot change the call", function()
      balance(function(ac, nodes)
        ac.app = "x"
        return nodes[1]
      end)
      assert.is_true(d:get("app", "/echo").ok)
    end)

    it("can be a name", function()
      for _, name in ipairs { "least_used", "round_robin", "random", "least_in_flight", "hash" } do
        assert.is_true(d:set_load_balancer(name))
        assert.is_true(d:get("app", "/echo").ok)
      end
      assert.is_true(d:set_load_balancer(nil))
      assert.error_matches(function() d:set_load_balancer "fastest" end, "round_robin")
    end)

    it("keeps data per node", function()
      balance(function(_, nodes)
        nodes[1].data.n = (nodes[1].data.n or 0) + 1
        return nodes[1]
      end)
      for _ = 1, 3 do
        d:get("app", "/echo")
        collectgarbage()
      end
      assert.equal(3, d:get_app_nodes("app")[s.addr].data.n)
    end)
  end)

  describe("logger", function()
    it("gets a record per attempt", function()
      d:stop()
      local records = {}
      d = assert(discover.new { logger = function(record) records[#records + 1] = record end })
      assert(d:set_node("app", s.addr, 1))
      local c = d:from { headers = { ["x-request-id"] = "id1" } }
      c:post("app", "/echo", "x")
      local r = records[1]
      assert.equal("discover", r.type)
      assert.equal("info", r.level)
      assert.equal("app", r.app)
      assert.equal("POST", r.method)
      assert.equal("/echo", r.path)
      assert.equal(s.addr, r.node)
      assert.equal(1, r.attempts)
      assert.is_true(r.used_time > 0)
      assert.equal("id1", r.request_id)
      assert.is_nil(r.error)
      assert.is_true(r.time > 1e9)
      assert.is_string(r.msg)
      assert.equal(r.line, tostring(r))
    end)

    it("can have methods", function()
      d:stop()
      local seen = {}
      local logger = {}
      for _, level in ipairs { "debug", "info", "warn", "error" } do
        logger[level] = function(self, record)
          assert(self == logger)
          seen[#seen + 1] = level .. ":" .. record.level
        end
      end
      d = assert(discover.new { logger = logger })
      assert(d:set_node("app", s.addr, 1))
      d:get("app", "/echo")
      d:get("app", "/status/503")
      assert.equal("info:info", seen[1])
      assert.equal("warn:warn", seen[#seen])
    end)

    it("is what ac.logger shows, the caller's own before", function()
      local function a() end
      local function b() end
      local seen
      route(function(ac) seen = ac.logger end)
      d:get("app", "/echo")
      assert.is_nil(seen)
      assert(d:set_logger(a))
      d:get("app", "/echo")
      assert.equal(a, seen)
      d:new_caller(nil, b):get("app", "/echo")
      assert.equal(b, seen)
    end)

    it("may raise", function()
      local r = require "spec.support.lua_run"([[
        local d = require "discover".new{ logger = function() error "boom" end }
        d:set_node("app", arg[1], 1)
        print(d:get("app", "/echo").ok, d:stop())
      ]], { args = { s.addr } })
      assert.equal("true\ttrue\n", r.out)
      assert.matches("callback: logger: .*boom", r.err)
    end)
  end)

  describe("listener", function()
    it("hears of nodes", function()
      local events = {}
      assert(d:on_event(function(event) events[#events + 1] = event.name .. " " .. event.app .. " " .. event.node end))
      assert(d:set_node("e", "127.0.0.1:1", 1))
      assert(d:set_node("e", "127.0.0.1:1", 0))
      assert.same({ "node_added e 127.0.0.1:1", "node_removed e 127.0.0.1:1" }, events)
      assert(d:on_event(nil))
      assert(d:set_node("e", "127.0.0.1:1", 1))
      assert.equal(2, #events)
    end)

    it("may raise and may call", function()
      local results = {}
      assert(d:on_event(function()
        results[#results + 1] = d:get("app", "/echo").ok
        error "boom"
      end))
      assert.is_true(d:set_node("e", "127.0.0.1:1", 1))
      assert.same({ true }, results)
    end)
  end)

  describe("calls within", function()
    it("go 8 deep, and no deeper", function()
      local depth, deepest, results = 0, 0, {}
      route(function()
        depth = depth + 1
        deepest = math.max(deepest, depth)
        if depth < 20 then
          local inner = d:get("app", "/echo")
          results[#results + 1] = inner
        end
        depth = depth - 1
      end)
      local r = d:get("app", "/echo")
      assert.is_true(r.ok)
      assert.is_true(deepest >= 8)
      assert.equal("callback", results[1].err)
      for i = 2, #results do assert.is_true(results[i].ok) end
    end)

    it("work in every callback", function()
      local seen = {}
      local busy
      local function call(what)
        if busy then return end
        busy = true
        seen[what] = d:get("app", "/echo").ok
        busy = false
      end
      d:stop()
      d = assert(discover.new { logger = function() call "logger" end })
      assert(d:set_node("app", s.addr, 1))
      route(function() call "route" end)
      balance(function(_, nodes)
        call "next"
        return nodes[1]
      end, function() call "response" end)
      assert(d:on_event(function() call "event" end))
      assert.is_true(d:get("app", "/echo").ok)
      assert(d:set_node("x", "127.0.0.1:1", 1))
      assert.same({ route = true, next = true, response = true, logger = true, event = true }, seen)
    end)

    it("may be picks, app clients and settings", function()
      route(function(ac)
        local n = assert(d:pick "app")
        assert(n:done())
        assert(ac:check_app())
        assert(d:app_client("app"):next())
        assert(d:set_node("more", "127.0.0.1:1", 1))
        assert(d:set_load_balancer "random")
        assert(d:set_route(nil))
        assert(d:stats().total)
      end)
      assert.is_true(d:get("app", "/echo").ok)
    end)

    it("may belong to another discoverer", function()
      local other = assert(discover.new())
      assert(other:set_node("app", t.addr, 1))
      local r
      route(function() r = other:get("app", "/echo") end)
      assert.is_true(d:get("app", "/echo").ok)
      assert.equal(t.addr, r.node)
      other:stop()
    end)
  end)

  describe("stop within", function()
    local function stops(set)
      set(function() d:stop() end)
      local r = d:get("app", "/echo")
      assert.is_true(r.err == "stopped" or r.ok)
      d:set_node("more", "127.0.0.1:1", 1)
      assert.equal("discoverer(stopped)", tostring(d))
      assert.equal("stopped", d:get("app", "/echo").err)
      return r
    end

    it("a route", function()
      assert.equal("stopped", stops(route).err)
    end)
    it("next", function()
      assert.equal("stopped", stops(function(stop)
        balance(function(_, nodes)
          stop()
          return nodes[1]
        end)
      end).err)
    end)
    it("response", function()
      stops(function(stop) balance(nil, stop) end)
    end)
    it("a listener", function()
      stops(function(stop) assert(d:on_event(stop)) end)
    end)
    it("a logger", function()
      d:stop()
      d = assert(discover.new { logger = function() d:stop() end })
      assert(d:set_node("app", s.addr, 1))
      assert.is_true(d:get("app", "/echo").ok)
      assert.equal("stopped", d:get("app", "/echo").err)
    end)
    it("a nested call's route", function()
      local inner
      local depth = 0
      route(function()
        depth = depth + 1
        if depth == 1 then inner = d:get("app", "/echo") else d:stop() end
      end)
      assert.equal("stopped", d:get("app", "/echo").err)
      assert.equal("stopped", inner.err)
    end)
  end)

  it("run in the coroutine that calls", function()
    local co
    route(function() co = coroutine.running() end)
    local own = coroutine.create(function() return d:get("app", "/echo").ok end)
    assert.same({ true, true }, { coroutine.resume(own) })
    assert.equal(own, co)
    own = nil -- luacheck: ignore
    collectgarbage()
    assert.is_true(d:get("app", "/echo").ok)
  end)
end)
