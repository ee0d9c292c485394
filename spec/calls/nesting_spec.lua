-- Callbacks of the user: calls inside them, eight deep and deeper; stop inside them; and whatever else they
-- may do wrong.
local calls = require "spec.support.calls"
local discover = require "discover"
local lua_run = require "spec.support.lua_run"
local port = require "spec.support.port"
local wait = require "spec.support.wait"

local server, dead
setup(function()
  server = calls.answering(200, "well")
  dead = port.refused()
end)

-- The ways in which user code runs within a call: install(d, fn) has fn run in every call of the path /in.
local kinds = {
  route = function(d, fn)
    d:set_route(function(ac) if ac.path == "/in" then fn(ac) end end)
  end,
  next = function(d, fn)
    d:set_load_balancer{ next = function(ac, nodes)
      if ac.path == "/in" then fn(ac) end
      return nodes[1]
    end }
  end,
  response = function(d, fn)
    d:set_load_balancer{ response = function(ac) if ac.path == "/in" then fn(ac) end end }
  end,
}

-- These run at the end of the method: what they cause waits for the next one.
local late = {
  logger = function(d, fn) d:set_logger(function(record) if record.path == "/in" then fn(record) end end) end,
  on_event = function(d, fn)
    d:on_event(function(event) if event.name == "isolated" then fn(event) end end)
  end,
}

-- With a dead node that comes first, if asked for: the first call makes an event of it.
local function client(opts, with_dead)
  opts = opts or {}
  opts.call_retry_times = 1
  opts.logger = opts.logger or function() end -- for which records are made
  return calls.client(with_dead and { { dead, calls.FIRST }, { server, 1 } } or { server }, opts)
end

for name, install in pairs(kinds) do
  describe("calls inside " .. name .. " #api", function()
    it("work 8 deep; deeper ones end with `callback` #core", function()
      local d, depth, deepest, errs = client(), 0, 0, {}
      install(d, function()
        depth = depth + 1
        deepest = math.max(deepest, depth)
        local res = d:get("svc", "/in")
        errs[depth] = res.err or "ok"
        if res.err then assert.equal(0, res.attempts) else assert.equal("well", res.body) end
        depth = depth - 1
      end)
      for _ = 1, 3 do
        local res = d:get("svc", "/in")
        assert.is_true(res.ok, tostring(res))
        assert.equal("well", res.body)
        assert.same({ "ok", "ok", "ok", "ok", "ok", "ok", "ok", "ok", "callback" }, errs)
        assert.equal(9, deepest)
      end
      assert.is_true(d:get("svc", "/").ok)
      assert.equal(0, calls.node(d, server).in_flight)
    end)

    it("work many times, with garbage collected in between", function()
      local d, n = client(), 0
      install(d, function()
        n = n + 1
        assert.equal("well", d:post("svc", "/out", { n = n }).body)
        if n % 10 == 0 then collectgarbage() end
      end)
      for _ = 1, 200 do assert.equal("well", d:get("svc", "/in").body) end
      assert.equal(200, n)
      assert.equal(400, d:stats().total.calls)
    end)

    it("may fail without failing the outer one", function()
      local d, errs = client{ calls = { svc = { timeout = 5 } } }, {}
      assert(d:set_node("bad", dead.addr, 1))
      install(d, function()
        errs[1] = d:get("bad", "/").err
        errs[2] = d:get("nobody", "/").err
        errs[3] = d:get("svc", "no path").err
      end)
      assert.is_true(d:get("svc", "/in").ok)
      assert.same({ "connect", "app_not_found", "invalid" }, errs)
    end)

    it("may be picks, hand-made calls, other discoverers, changes of anything", function()
      local d, other = client(), client()
      install(d, function()
        assert(d:pick("svc")):done()
        local ac = d:app_client "svc"
        assert(ac:next()):done()
        assert.is_true(other:get("svc", "/").ok)
        assert(d:set_node("new", server.addr, 1))
        assert.is_boolean(d:add_external_app("added", { timeout = 1 }))
        d:stats()
        d:stats "prometheus"
        assert.is_true(d:new_caller{ headers = {} }:get("new", "/").ok)
        d:set_logger(nil)
        d:on_event(nil)
      end)
      for _ = 1, 3 do assert.is_true(d:get("svc", "/in").ok) end
    end)

    it("may replace the callback that is running", function()
      local d, n = client(), 0
      install(d, function()
        n = n + 1
        d:set_route(nil)
        d:set_load_balancer "round_robin"
        d:set_load_balancer{ next = function(_, nodes) return nodes[1] end, response = function() end }
        d:set_route(function() end)
        collectgarbage()
      end)
      assert.is_true(d:get("svc", "/in").ok)
      assert.is_true(d:get("svc", "/in").ok)
      assert.equal(1, n)
    end)
  end)

  describe("stop inside " .. name .. " #api", function()
    it("ends the outer call, which is defined, and everything after it #core", function()
      local d, inner = client(), nil
      install(d, function()
        d:stop()
        inner = d:get("svc", "/").err
        d:stop()
      end)
      local res = d:get("svc", "/in")
      assert.equal("stopped", inner)
      -- An answer that is there is not thrown away.
      if name == "response" then assert.is_true(res.ok, tostring(res)) else assert.equal("stopped", res.err) end
      assert.equal("stopped", d:get("svc", "/").err)
      assert.equal("stopped", select(3, d:pick "svc"))
      assert.equal("table", type(d:stats()))
      d:stop()
    end)

    it("ends a call that would be tried again", function()
      local d, n = client({}, true), 0
      install(d, function()
        n = n + 1
        d:stop()
      end)
      local res = d:get("svc", "/in")
      assert.equal("stopped", res.err)
      assert.equal(1, n)
      assert.equal(name == "response" and 1 or 0, #res.trace)
    end)

    it("ends all the calls around it", function()
      local d, depth, errs = client(), 0, {}
      install(d, function()
        depth = depth + 1
        if depth == 4 then return d:stop() end
        local err = d:get("svc", "/in").err
        errs[#errs + 1] = err or "ok"
      end)
      local res = d:get("svc", "/in")
      errs[#errs + 1] = res.err or "ok"
      local expected = name == "response" and "ok" or "stopped"
      assert.same({ expected, expected, expected, expected }, errs)
    end)

    it("with a drain lets the outer call finish", function()
      local d = client()
      install(d, function() d:stop(5) end)
      local took, res = wait.within(3, function() return d:get("svc", "/in") end)
      assert.is_true(res.ok, tostring(res))
      assert.is_true(took < wait.scale(3))
      assert.equal("stopped", d:get("svc", "/").err)
    end)
  end)
end

for name, install in pairs(late) do
  describe("calls inside " .. name .. " #api", function()
    it("work, and are not repeated for what they cause #core", function()
      local d, n, errs = client({}, true), 0, {}
      install(d, function()
        n = n + 1
        if n < 50 then errs[n] = d:get("svc", "/in").err or "ok" end
      end)
      local res = d:get("svc", "/in")
      assert.is_true(res.ok, tostring(res))
      assert.is_true(n >= 1 and n <= 3, "called " .. n .. " times")
      for _, err in ipairs(errs) do assert.equal("ok", err) end
      assert.is_true(d:get("svc", "/").ok)
    end)

    it("count for the 8 levels", function()
      local d, depth, errs = client({}, true), 0, {}
      d:set_route(function(ac)
        if ac.path ~= "/deep" then return end
        depth = depth + 1
        errs[depth] = d:get("svc", "/deep").err or "ok"
        depth = depth - 1
      end)
      install(d, function() d:get("svc", "/deep") end)
      assert.is_true(d:get("svc", "/in").ok)
      -- The callback is one level, routes are the other seven.
      assert.same({ "ok", "ok", "ok", "ok", "ok", "ok", "ok", "callback" }, errs)
    end)
  end)

  describe("stop inside " .. name .. " #api", function()
    it("leaves the call that caused it as it was #core", function()
      local d, n = client({}, true), 0
      install(d, function()
        n = n + 1
        d:stop()
      end)
      assert.is_true(d:get("svc", "/in").ok)
      assert.is_true(n >= 1)
      assert.equal("stopped", d:get("svc", "/").err)
    end)
  end)
end

describe("a route #api", function()
  local function ended(fn, err, culprit)
    local d = client()
    d:set_route(fn)
    local before = server:connections()
    local res = d:get("svc", "/")
    assert.equal(err, res.err, tostring(res))
    if culprit then assert.matches(culprit, res.why, 1, true) end
    if err then
      assert.equal(0, res.attempts)
      assert.equal(before, server:connections())
    end
    d:set_route(nil)
    assert.is_true(d:get("svc", "/").ok)
  end

  it("that raises ends the call with `route` and what it raised #core", function()
    ended(function() error "my mistake" end, "route", "my mistake")
    ended(function() error { code = 7 } end, "route", "table")
    ended(function() error(setmetatable({}, { __tostring = function() return "an object" end })) end, "route",
      "an object")
    ended(function() error() end, "route")
    ended(function() local x = nil; return x.y end, "route", "index")
    ended(function(ac) ac.app = 7 end, "route", "app")
    ended(function(ac) ac.attempts = 7 end, "route", "attempts")
    ended(function(ac) ac.data = print end, "route", "data")
    ended(function(ac) ac.headers = { ["X-A"] = true } end, "route", "X-A")
  end)

  it("that yields ends the call with `route`", function()
    ended(function() coroutine.yield(1) end, "route", "yield")
    local d = client()
    d:set_route(function() coroutine.yield(1) end)
    local co = coroutine.create(function() return d:get("svc", "/").err end)
    local ok, err = coroutine.resume(co)
    assert.is_true(ok)
    assert.equal("route", err)
    assert.equal("dead", coroutine.status(co))
  end)

  it("may return what it likes", function()
    for _, value in ipairs{ 1, "x", {}, true } do ended(function() return value, value end, nil) end
  end)

  it("may run coroutines of its own, and collect garbage", function()
    ended(function()
      local co = coroutine.wrap(function() coroutine.yield(1) return 2 end)
      assert(co() == 1 and co() == 2)
      collectgarbage()
    end, nil)
  end)

  it("may empty the table that the call was made with", function()
    local d, request, kept = client(), nil, {}
    local number = server.addr:match "%d+$"
    assert(d:set_node("svc", "localhost:" .. number, 1))
    d:set_route(function()
      for name in pairs(request) do request[name] = nil end
      collectgarbage()
      collectgarbage()
      -- what takes the place of strings that were freed
      for i = 1, 1000 do kept[i] = ("%09d:%s"):format(i, number) end
    end)
    for _ = 1, 5 do
      request = { app = "svc", path = "/in", node = "localhost:" .. number }
      local res = d:request(request)
      assert.is_true(res.ok, tostring(res))
      assert.equal("localhost:" .. number, res.node)
    end
    assert.equal(1000, #kept)
  end)

  it("may change app, method, path, data, headers", function()
    local s = calls.answering()
    local d = calls.client{}
    assert(d:set_node("new", s.addr, 1))
    d:set_route(function(ac, request)
      assert.is_nil(request)
      assert.equal("old", ac.app)
      assert.equal("GET", ac.method)
      ac.app, ac.method, ac.path, ac.data = "new", "PUT", "/changed?x=1", { a = 1 }
      ac.headers["X-Routed"] = "yes"
      assert.equal("new", ac.app)
      assert.equal("/changed?x=1", ac.path)
    end)
    assert.is_true(d:get("old", "/", { ["X-Own"] = "kept" }).ok)
    local request = s:requests()[1]
    assert.equal("PUT", request.method)
    assert.equal("/changed?x=1", request.path)
    assert.equal('{"a":1}', request.body)
    assert.equal("application/json", request.headers["content-type"])
    assert.equal("yes", request.headers["x-routed"])
    assert.equal("kept", request.headers["x-own"])
  end)

  it("sees string bodies too, and the caller's request", function()
    local s = calls.answering()
    local d, seen = calls.client{ s }, {}
    d:set_route(function(ac, request) seen[1], seen[2] = ac.data, request end)
    local request = { headers = { ["X-User-Id"] = "7" } }
    assert.is_true(d:from(request):post("svc", "/", "tea").ok)
    assert.equal("tea", seen[1])
    assert.equal(request, seen[2])
    assert.equal("tea", s:requests()[1].body)
  end)

  it("is run once a call, not once an attempt; the app client is dead afterwards", function()
    local d, n, kept = client({}, true), 0, nil
    d:set_route(function(ac)
      n = n + 1
      kept = ac
    end)
    assert.equal(2, d:get("svc", "/").attempts)
    assert.equal(1, n)
    assert.is_false((pcall(function() return kept.app end)))
    assert.is_false((pcall(function() kept.app = "x" end)))
    assert.is_string(tostring(kept))
  end)
end)

describe("a balancer #api", function()
  -- What the journal says when `next` does wrong; the call is served by the default balancer all the same.
  local function replaced(fn, culprit)
    local journal, logger = calls.journal()
    local d = client{ logger = logger }
    d:set_load_balancer{ next = fn }
    local res = d:get("svc", "/")
    assert.is_true(res.ok, tostring(res))
    local found
    for _, record in ipairs(journal) do found = found or record.msg:find(culprit, 1, true) and record end
    assert.is_table(found, "nothing logged of " .. culprit)
    assert.equal("error", found.level)
    assert.matches("balancer", found.msg)
    -- pick too.
    assert(d:pick "svc"):done()
  end

  it("that raises, yields or returns what is not among the nodes is logged, and the default one picks #core", function()
    local foreign = calls.client{ server }
    local strange = calls.node(foreign, server)
    replaced(function() error "my mistake" end, "my mistake")
    replaced(function() coroutine.yield(1) end, "yield")
    replaced(function() return "127.0.0.1:80" end, "string")
    replaced(function() return 7 end, "number")
    replaced(function() return {} end, "table")
    replaced(function() return strange end, "node")
  end)

  it("that returns nil ends the call with no_node", function()
    local d = client()
    d:set_load_balancer{ next = function() end }
    local res = d:get("svc", "/")
    assert.equal("no_node", res.err)
    assert.equal(0, res.attempts)
    assert.equal("no_node", select(3, d:pick "svc"))
  end)

  it("that returns nil for a retry ends the call with what was", function()
    local d = client({}, true)
    d:set_load_balancer{ next = function(ac, nodes)
      if ac.attempts > 0 then return nil end
      for _, node in ipairs(nodes) do if node.addr == dead.addr then return node end end
    end }
    local res = d:get("svc", "/")
    assert.equal("connect", res.err)
    assert.equal(1, res.attempts)
  end)

  it("is shown only nodes not tried, and told of every attempt", function()
    local d, shown, told = client(), {}, {}
    local other = port.refused()
    assert(d:set_node("svc", dead.addr, 1))
    assert(d:set_node("svc", other.addr, 1))
    d:set_load_balancer{
      next = function(ac, nodes)
        shown[#shown + 1] = #nodes
        assert.equal(#shown - 1, ac.attempts)
        for _, node in ipairs(nodes) do if node.addr ~= server.addr then return node end end
        return nodes[1]
      end,
      response = function(ac, node, err, response, seconds)
        told[#told + 1] = err or response.status
        assert.is_string(node.addr)
        assert.equal("svc", ac.app)
        assert.is_true(seconds >= 0 and seconds < 10)
        if err then assert.is_nil(response) else assert.equal("4", response.headers["content-length"]) end
      end,
    }
    assert.is_true(d:get("svc", "/").ok)
    assert.same({ 3, 2, 1 }, shown)
    assert.same({ "connect", "connect", 200 }, told)
  end)

  it("whose response raises or yields is logged, and the call goes on", function()
    for _, fn in ipairs{ function() error "my mistake" end, function() coroutine.yield() end } do
      local journal, logger = calls.journal()
      local d = client{ logger = logger }
      d:set_load_balancer{ response = fn }
      assert.is_true(d:get("svc", "/").ok)
      local found
      for _, record in ipairs(journal) do found = found or record.msg:find("response", 1, true) end
      assert.is_truthy(found)
    end
  end)
end)

describe("a logger or listener #api", function()
  it("that raises or yields fails no call", function()
    local r = lua_run([[
      local discover = require "discover"
      local d = discover.new{ call_retry_times = 1 }
      d:set_node("svc", arg[1], 1000000)
      d:set_node("svc", arg[2], 1)
      for _, fn in ipairs{ function() error "my mistake" end, function() coroutine.yield() end,
        function() error {} end } do
        d:set_logger(fn)
        d:on_event(fn)
        assert(d:get("svc", "/").ok)
      end
      d:stop()
      print "well"
    ]], { args = { dead.addr, server.addr } })
    assert.equal("well\n", r.out, r.err)
    assert.matches("my mistake", r.err)
  end)

  it("is not called by a discoverer that is collected", function()
    local n = 0
    do
      local d = assert(discover.new{ logger = function() n = n + 1 end, log_level = "debug" })
      d:set_node("svc", server.addr, 1)
      d:set_route(function() return d end) -- a cycle
      assert.is_true(d:get("svc", "/").ok)
    end
    local before = n
    for _ = 1, 3 do collectgarbage() end
    assert.equal(before, n)
  end)

  it("in a coroutine runs in that coroutine's call", function()
    local d = client()
    local co = coroutine.wrap(function()
      local states = {}
      d:set_route(function() states[#states + 1] = coroutine.running() end)
      local res = d:get("svc", "/")
      return res.ok, states[1] ~= nil
    end)
    local ok, ran = co()
    assert.is_true(ok)
    assert.is_true(ran)
    d:set_route(nil)
    collectgarbage()
    assert.is_true(d:get("svc", "/").ok)
  end)
end)
