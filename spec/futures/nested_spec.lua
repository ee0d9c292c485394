-- Futures inside callbacks and coroutines: what may be done there, and what comes of it.
local calls = require "spec.support.calls"
local discover = require "discover"
local port = require "spec.support.port"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

describe("futures inside callbacks #api", function()
  local server, hole, d, async

  lazy_setup(function()
    server = service.nginx{ ["/"] = "hello", ["/late"] = "late" }
    hole = port.blackhole()
  end)

  before_each(function()
    d = calls.client({ server }, { calls = { ["*"] = { connect_timeout = 10 } } })
    calls.set(d, "mute", { hole })
    async = d:async()
  end)

  after_each(function() d:stop() end)

  local function poll_until(condition, what)
    local deadline = wait.now() + wait.scale(10)
    while not condition() do
      if wait.now() > deadline then error("waited too long for " .. what, 2) end
      d:poll(0.01)
    end
  end

  it("on may start the next call, again and again", function()
    local n = 0
    local function again(res)
      assert(res.ok, tostring(res))
      n = n + 1
      if n < 200 then async:get("svc", "/"):on(again) end
    end
    async:get("svc", "/"):on(again)
    poll_until(function() return n == 200 end, "the chain's end")
    assert.equal(0, calls.node(d, server).in_flight)
  end)

  it("on may ask for the same future again, and is told later", function()
    local order = {}
    local f = async:get("svc", "/")
    f:on(function()
      order[#order + 1] = "first"
      f:on(function() order[#order + 1] = "second" end)
      order[#order + 1] = "end of first"
    end):on(function() order[#order + 1] = "next" end)
    poll_until(function() return #order == 4 end, "all told")
    assert.same({ "first", "end of first", "next", "second" }, order)
  end)

  it("on may cancel others: they are told after it", function()
    local order, others = {}, {}
    for i = 1, 5 do
      others[i] = async:get("mute", "/"):on(function(res) order[#order + 1] = i .. res.err end)
    end
    async:get("svc", "/"):on(function()
      for _, other in ipairs(others) do assert(other:cancel()) end
      assert.same({}, order)
    end)
    poll_until(function() return #order == 5 end, "all told")
    table.sort(order)
    assert.same({ "1canceled", "2canceled", "3canceled", "4canceled", "5canceled" }, order)
  end)

  it("on may stop the discoverer: everything else ends stopped, and is told, once", function()
    local ends = {}
    for i = 1, 20 do async:get("mute", "/"):on(function(res) ends[#ends + 1] = i .. tostring(res.err) end) end
    async:get("svc", "/"):on(function()
      d:stop()
      assert.equal("stopped", async:get("svc", "/"):wait().err)
      assert.is_true(#ends == 0)
    end)
    wait.until_true(function()
      local n, _, code = d:poll(0.01)
      return not n and code == "stopped"
    end, 10, "the end")
    table.sort(ends)
    local expected = {}
    for i = 1, 20 do expected[i] = i .. "stopped" end
    table.sort(expected)
    assert.same(expected, ends)
  end)

  it("on may wait for all, for any and for one; the others are told afterwards", function()
    local seen, told = nil, 0
    local held = async:get("mute", "/")
    async:get("svc", "/"):on(function()
      local list = {}
      for i = 1, 20 do list[i] = async:get("svc", "/"):on(function() told = told + 1 end) end
      local ok = discover.wait_all(list)
      local first, index = discover.wait_any{ held, list[7] }
      local none, _, code = discover.wait_any({ held }, 0.01)
      seen = { ok, first == list[7], index, none == nil, code, told, list[20]:wait().body, held:ready() }
    end)
    poll_until(function() return seen end, "told")
    assert.same({ true, true, 2, true, "timeout", 0, "hello", false }, seen)
    poll_until(function() return told == 20 end, "the others")
  end)

  it("waits nest 8 deep, deeper ones give `callback`", function()
    local depth, deepest, code = 0, 0, nil
    d:set_route(function(ac)
      if ac.path ~= "/" then return end
      depth = depth + 1
      deepest = math.max(deepest, depth)
      local f = async:get("svc", "/late")
      local res, _, why = f:wait()
      if not res then code = why end
      if depth < 20 then
        res = async:get("svc", "/"):wait()
        code = code or (res and res.err)
      end
      depth = depth - 1
    end)
    local res = async:get("svc", "/"):wait()
    assert.equal("hello", res.body)
    assert.is_true(deepest >= 4 and deepest <= 9, "depth " .. deepest)
    assert.equal("callback", code)
    d:set_route(nil)
    assert.is_true(d:get("svc", "/").ok)
    poll_until(function() return calls.node(d, server).in_flight == 0 end, "all over")
  end)

  it("balancer and response may start calls that do not wait", function()
    local told, started = 0, 0
    d:set_load_balancer{
      next = function(_, nodes) return nodes[1] end,
      response = function(ac)
        if ac.path ~= "/" then return end
        started = started + 1
        async:get("svc", "/late"):on(function(res) told = told + (res.ok and 1 or 0) end)
      end,
    }
    for _ = 1, 5 do assert.is_true(d:get("svc", "/").ok) end
    async:get("svc", "/"):wait()
    assert.equal(6, started)
    poll_until(function() return told == 6 end, "all told")
  end)

  it("a route that raises ends the future, and is asked once", function()
    local asked = 0
    d:set_route(function()
      asked = asked + 1
      error "no way"
    end)
    local f = async:get("svc", "/")
    local res = f:wait()
    assert.equal("route", res.err)
    assert.matches("no way", res.why)
    assert.equal(1, asked)
    local ws, why, code = async:open("svc", "/"):wait()
    assert.is_nil(ws)
    assert.equal("route", code, why)
  end)

  it("cancel in its own response leaves the answer that is there", function()
    local own, canceled
    d:set_load_balancer{
      next = function(_, nodes) return nodes[1] end,
      response = function() canceled = own:cancel() end,
    }
    own = async:get("svc", "/")
    assert.equal("hello", own:wait().body)
    assert.is_true(canceled)
    assert.is_false(own:cancel())
    assert.equal(0, calls.node(d, server).in_flight)
  end)

  it("a node that the balancer picks after the deadline is given back", function()
    d:set_load_balancer{
      next = function(_, nodes)
        local start = wait.now()
        while wait.now() - start < 0.06 do end
        return nodes[1]
      end,
    }
    assert.equal("timeout", d:request{ app = "svc", path = "/", deadline = 0.05 }.err)
    assert.equal("timeout", async:request{ app = "svc", path = "/", deadline = 0.05 }:wait(1).err)
    assert.equal(0, calls.node(d, server).in_flight)
  end)

  it("the response that a cancel causes may cancel again and wait: neither goes on with the call", function()
    local own, again, code
    local told = 0
    d:set_load_balancer{
      response = function()
        told = told + 1
        again = own:cancel()
        code = select(3, own:wait(0.1))
      end,
    }
    own = async:get("mute", "/")
    poll_until(function() return calls.node(d, hole, "mute").in_flight == 1 end, "sent")
    assert.is_true(own:cancel())
    assert.same({ 1, true, "callback" }, { told, again, code })
    assert.equal("canceled", own:wait().err)
    assert.equal(0, calls.node(d, hole, "mute").in_flight)
  end)

  it("cancel says what becomes of it, also when the answer has come and nobody looked", function()
    for round = 1, 20 do
      local list = {}
      for i = 1, 30 do list[i] = async:get("svc", "/") end
      for _ = 1, round do d:poll{ timeout = 0.01, max = 1 } end
      for _, f in ipairs(list) do
        if not f:ready() then
          local canceled = f:cancel()
          assert.is_true(f:ready())
          assert.equal(canceled, f:wait().err == "canceled", tostring(f:wait()))
        end
      end
    end
  end)

  it("await inside on is an error that is logged, and the rest goes on", function()
    local lines, told = {}, false
    d = calls.client({ server }, { logger = function(record) lines[#lines + 1] = record.msg end })
    calls.set(d, "mute", { hole })
    async = d:async()
    local other = async:get("mute", "/")
    async:get("svc", "/"):on(function() other:await() end):on(function() told = true end)
    poll_until(function() return told and table.concat(lines):match "callback: on: " end, "the record")
    assert.is_true(other:cancel())
    d:poll()
  end)

  it("garbage is collected in callbacks without harm", function()
    local told = 0
    for i = 1, 50 do
      async:get("svc", "/"):on(function(res)
        collectgarbage()
        told = told + 1
        if i % 5 == 0 then async:post("svc", "/", { res.body }) end
      end)
    end
    collectgarbage()
    poll_until(function() return told == 50 end, "all told")
  end)
end)

describe("coroutines #api", function()
  local server, hole, d, async

  lazy_setup(function()
    server = service.nginx()
    hole = port.blackhole()
  end)

  before_each(function()
    d = calls.client({ server }, { calls = { ["*"] = { connect_timeout = 10 } } })
    calls.set(d, "mute", { hole })
    async = d:async()
  end)

  after_each(function() d:stop() end)

  local function poll_until(condition, what)
    local deadline = wait.now() + wait.scale(10)
    while not condition() do
      if wait.now() > deadline then error("waited too long for " .. what, 2) end
      d:poll(0.01)
    end
  end

  local function ready_by_calls(f)
    wait.until_true(function()
      d:get("svc", "/")
      return f:ready()
    end, 10, "the future")
  end

  -- One that its own scheduler resumed when the future was ready may be suspended for another reason when poll tells.
  it("that went on already are left alone", function()
    local f, log = async:get("svc", "/"), {}
    local co = coroutine.create(function()
      log[1] = f:await().body
      log[2] = coroutine.yield "for another reason"
    end)
    assert(coroutine.resume(co))
    ready_by_calls(f)
    assert.same({ true, "for another reason" }, { coroutine.resume(co, "early") })
    d:poll()
    assert.same({ "hello" }, log)
    assert(coroutine.resume(co, "what it waits for"))
    assert.same({ "hello", "what it waits for" }, log)
  end)

  it("that went on because another one that is told resumed them are left alone", function()
    local f, log, second = async:get("svc", "/"), {}, nil
    local first = coroutine.create(function()
      f:await()
      assert(coroutine.resume(second))
    end)
    second = coroutine.create(function()
      log[1] = f:await().body
      log[2] = coroutine.yield()
    end)
    assert(coroutine.resume(first))
    assert(coroutine.resume(second))
    poll_until(function() return log[1] end, "told")
    d:poll()
    assert.same({ "hello" }, log)
    assert.equal("suspended", coroutine.status(second))
  end)

  it("that are resumed too early many times are told once", function()
    local f, count = async:get("mute", "/"), 0
    local co = coroutine.create(function()
      f:await()
      count = count + 1
      coroutine.yield()
      count = count + 1
    end)
    for _ = 1, 50 do assert(coroutine.resume(co)) end
    f:cancel()
    d:poll()
    d:poll()
    assert.equal(1, count)
  end)

  it("by the hundred, each with calls one after the other", function()
    local sum, ended = 0, 0
    for _ = 1, 100 do
      coroutine.wrap(function()
        for _ = 1, 5 do
          local body = async:get("svc", "/"):await().body
          sum = sum + #body -- read after the coroutine went on
        end
        ended = ended + 1
      end)()
    end
    poll_until(function() return ended == 100 end, "all ended")
    assert.equal(2500, sum)
    assert.equal(0, d:poll())
  end)

  it("may poll themselves, wait and make synchronous calls", function()
    local log = {}
    coroutine.wrap(function()
      log[1] = async:get("svc", "/"):await().body
      log[2] = d:poll(0.01)
      log[3] = async:get("svc", "/"):wait().body
      log[4] = d:get("svc", "/").body
      log[5] = discover.wait_all{ async:get("svc", "/"), async:get("svc", "/") }
      log[6] = async:get("svc", "/"):await().body
    end)()
    poll_until(function() return log[6] end, "its end")
    assert.same({ "hello", 0, "hello", "hello", true, "hello" }, log)
    local co = coroutine.create(function() -- outside of callbacks
      local f = async:get("svc", "/")
      while not f:ready() do d:poll(0.01) end
      log[7] = f:await().body
    end)
    assert(coroutine.resume(co))
    assert.equal("hello", log[7])
    assert.equal("dead", coroutine.status(co))
  end)

  it("that nobody holds but a future under way go on", function()
    local done
    coroutine.wrap(function()
      local res = async:get("svc", "/"):await()
      collectgarbage()
      done = res.body
    end)()
    collectgarbage()
    collectgarbage()
    poll_until(function() return done end, "its end")
    assert.equal("hello", done)
  end)

  it("are resumed by stop, and may see it", function()
    local log = {}
    coroutine.wrap(function()
      log[1] = async:get("mute", "/"):await().err
      log[2] = async:get("mute", "/"):await().err
      log[3] = select(3, async:open("mute", "/"):await())
    end)()
    coroutine.wrap(function() log[4] = select(3, async:open("mute", "/"):await()) end)()
    d:stop()
    assert.same({ "stopped", "stopped", "stopped", "stopped" }, log)
  end)
end)
