-- Calls that do not wait: every verb, what a future can do, and who is told when.
local calls = require "spec.support.calls"
local discover = require "discover"
local native = require "spec.support.native"
local port = require "spec.support.port"
local service = require "spec.support.service"
local wait = require "spec.support.wait"
local ws = require "spec.support.ws"

describe("futures #api", function()
  local server, hole, d, async

  setup(function()
    server, hole = service.start(), port.blackhole()
  end)

  before_each(function()
    server:reset()
    server:control()
    d = calls.client({ server }, { calls = { ["*"] = { connect_timeout = 10 } } })
    calls.set(d, "mute", { hole })
    async = d:async()
  end)

  after_each(function() d:stop() end)

  -- Runs the loop until the condition holds.
  local function poll_until(condition, what)
    wait.until_true(function()
      d:poll(0.01)
      return condition()
    end, 10, what)
  end

  it("every verb gives what it gives when it waits", function()
    local same = { "status", "reason", "body", "err", "why", "node", "attempts", "http_version" }
    for _, verb in ipairs{ "get", "head", "post", "put", "patch", "delete" } do
      local data = (verb ~= "get" and verb ~= "head") and { a = 1 } or nil
      local now = d[verb](d, "svc", "/echo", data)
      local later = assert(async[verb](async, "svc", "/echo", data):wait())
      assert.equal(200, later.status)
      for _, field in ipairs(same) do
        if field ~= "body" then assert.same(now[field], later[field], verb .. " " .. field) end
      end
      if verb == "post" then
        assert.same("POST", later:json().method)
        assert.same('{"a":1}', later:json().body)
      end
    end
    assert.equal(404, async:request("OPTIONS", "svc", "/nowhere"):wait().status)
    assert.equal("PUT", async:request{ method = "PUT", app = "svc", path = "/echo", data = "x" }:wait():json().method)
    local res, addr = async:request_with_node("GET", "svc", server.addr, "/name"):wait()
    assert.equal(server.addr, addr)
    assert.is_true(res.ok)
    res, addr = async:manual_request_with_node("GET", "svc", server.addr, "/big?bytes=100000"):wait()
    assert.equal(server.addr, addr)
    assert.equal(100000, #res:string())
  end)

  it("bad arguments raise at once, bad values are in the result", function()
    assert.error(function() async:get() end)
    assert.error(function() async:request{ app = "svc", path = "/", unknown = 1 } end)
    local f = async:get("svc", "no slash")
    assert.is_true(f:ready())
    assert.equal("invalid", f:wait().err)
    assert.equal("invalid", async:request{ app = "svc", path = "/", timeout = -1 }:wait().err)
    assert.equal("invalid", async:post("svc", "/", { 0 / 0 }):wait().err)
    assert.equal("app_not_found", async:get("nobody", "/"):wait().err)
  end)

  it("a caller's relays too, and keeps its no_body", function()
    local caller = d:from{ headers = { ["X-User-Id"] = "7" }, remote_addr = "10.0.0.9" }
    caller.no_body = true
    local own = caller:async()
    assert.is_true(own.no_body)
    local seen = own:post("svc", "/echo", "body"):wait():json()
    assert.equal("7", seen.headers["x-user-id"])
    assert.equal("", seen.body or "")
    own.no_body = false
    assert.equal("body", own:post("svc", "/echo", "body"):wait():json().body)
    assert.is_true(caller.no_body)
  end)

  it("on is called once, by poll, in order, with what wait gives", function()
    local order = {}
    local f = async:get("svc", "/name")
    assert.equal(f, f:on(function(res) order[#order + 1] = "a" .. res.status end))
    f:on(function(res) order[#order + 1] = "b" .. res.status end)
    assert.same({}, order)
    poll_until(function() return #order == 2 end, "both told")
    d:poll()
    assert.same({ "a200", "b200" }, order)
    f:on(function(res) order[#order + 1] = "c" .. res.status end) -- it is ready already
    assert.equal(2, #order)
    d:poll()
    assert.equal("c200", order[3])
    local got
    async:request_with_node("GET", "svc", server.addr, "/name"):on(function(res, addr) got = { res.ok, addr } end)
    poll_until(function() return got end, "told")
    assert.same({ true, server.addr }, got)
    assert.error(function() f:on() end)
  end)

  it("a synchronous call lets it go on and tells nobody", function()
    local told = 0
    local f = async:get("svc", "/name"):on(function() told = told + 1 end)
    wait.until_true(function()
      d:get("svc", "/name")
      return f:ready()
    end, 10, "ready")
    assert.equal(0, told)
    assert.equal(1, d:poll())
    assert.equal(1, told)
  end)

  it("await suspends its coroutine, whoever resumes it too early", function()
    local log = {}
    local co = coroutine.create(function()
      for i = 1, 3 do
        local res = async:get("svc", "/name"):await()
        log[i] = res.status
      end
      local res, addr = async:request_with_node("GET", "svc", server.addr, "/name"):await()
      log[4] = res.ok and addr
    end)
    assert(coroutine.resume(co))
    assert(coroutine.resume(co, "too early"))
    assert.same({}, log)
    poll_until(function() return coroutine.status(co) == "dead" end, "the coroutine's end")
    assert.same({ 200, 200, 200, server.addr }, log)
    -- on the main thread there is nothing to suspend
    local done = native.run(([[
      local d = discover.new()
      d:set_node("svc", %q, 1)
      local ok, why = pcall(function() return d:async():get("svc", "/"):await() end)
      print(ok, (why:gsub("^.*: await", "await")))
    ]]):format(hole.addr))
    assert.equal("false\tawait: outside of a coroutine; wait() is for that\n", done.out)
  end)

  it("many coroutines await one future; dead ones are passed over", function()
    local f, count = async:get("svc", "/name"), 0
    for i = 1, 5 do
      local co = coroutine.create(function()
        f:await()
        count = count + 1
        if i == 2 then error "after it" end
      end)
      coroutine.resume(co)
    end
    local gone = coroutine.create(function() pcall(f.await, f) end)
    coroutine.resume(gone)
    poll_until(function() return count == 5 end, "all")
    assert.equal(5, count)
  end)

  it("errors of callbacks are logged, the others are told all the same", function()
    local lines, told = {}, 0
    d = calls.client({ server }, { logger = function(record) lines[#lines + 1] = record.msg end })
    async = d:async()
    async:get("svc", "/name"):on(function() error "first" end):on(function() told = told + 1 end)
      :on(function() error(setmetatable({}, { __tostring = function() return "an object" end })) end)
    coroutine.wrap(function()
      async:get("svc", "/name"):await()
      error "in a coroutine"
    end)()
    poll_until(function()
      local text = table.concat(lines, "\n")
      return text:match "callback: on: .*first" and text:match "callback: on: an object"
        and text:match "callback: await: .*in a coroutine"
    end, "the records")
    assert.equal(1, told)
  end)

  it("wait gives up in time; the call goes on", function()
    server:control{ delay = 300, path = "/name" }
    local f = async:get("svc", "/name")
    local res, why, code = f:wait(0.001)
    assert.is_nil(res)
    assert.equal("timeout", code)
    assert.matches("^timeout: ", why)
    assert.is_false(f:ready())
    assert.is_nil((f:wait(0)))
    assert.is_true(f:wait().ok)
    assert.is_true(f:wait(0).ok)
    assert.error(function() f:wait{} end)
    assert.equal("invalid", select(3, f:wait(-1)))
  end)

  it("what is under way when its discoverer stops is no news for stderr", function()
    local run = native.run(([[
      local d = discover.new()
      d:set_node("mute", %q, 1)
      local async = d:async()
      for _ = 1, 20 do async:get("mute", "/") end
      d:poll(0.01)
      d:stop()
      d = discover.new()
      d:set_node("mute", %q, 1)
      d:async():get("mute", "/")
      d:poll(0)
    ]]):format(hole.addr, hole.addr))
    assert.is_true(run.ok)
    assert.equal("", run.err)
  end)

  it("cancel ends it at once, and blames nobody", function()
    local told
    local f = async:get("mute", "/"):on(function(res) told = res.err end)
    assert.is_true(f:cancel())
    assert.is_true(f:ready())
    assert.is_false(f:cancel())
    assert.equal("canceled", f:wait().err)
    d:poll()
    assert.equal("canceled", told)
    local node = d:get_app_nodes("mute")[hole.addr]
    assert.equal(0, node.failed_times)
    assert.equal(0, node.in_flight)
  end)

  it("wait_all and wait_any", function()
    local list = {}
    for i = 1, 20 do list[i] = async:get("svc", "/name") end
    list[21] = async:get("mute", "/")
    local first, index = assert(discover.wait_any(list))
    assert.equal(list[index], first)
    assert.is_true(first:ready())
    local ok, why, code = discover.wait_all(list, 0.05)
    assert.is_nil(ok)
    assert.equal("timeout", code, why)
    list[21]:cancel()
    assert.is_true(discover.wait_all(list))
    assert.is_true(discover.wait_all({}))
    assert.equal("invalid", select(3, discover.wait_any({})))
    assert.error(function() discover.wait_all({ 1 }) end)
    assert.error(function() discover.wait_any() end)
    local other = assert(discover.new())
    assert.equal("invalid", select(3, discover.wait_all({ async:get("mute", "/"), other:async():get("x", "/") })))
    other:stop()
  end)

  it("poll is bounded by max, and by a budget", function()
    local told, list = 0, {}
    for i = 1, 10 do list[i] = async:get("mute", "/"):on(function() told = told + 1 end) end
    for i = 1, 10 do list[i]:cancel() end
    assert.equal(2, d:poll{ max = 2 })
    assert.equal(2, told)
    assert.equal(3, d:poll{ max = 3, timeout = 1 })
    assert.equal(5, d:poll{ budget = "1s" })
    assert.equal(0, d:poll{ timeout = "1ms" })
    assert.error(function() d:poll{ most = 1 } end)
    assert.error(function() d:poll{ budget = true } end)
    assert.equal("invalid", select(3, d:poll{ budget = 0 }))
    assert.equal("invalid", select(3, d:poll(-1)))
  end)

  it("inside a callback poll does nothing, and a wait lets only its own go on", function()
    local seen
    local held = async:get("mute", "/")
    local other = async:get("svc", "/name")
    local own
    own = async:get("svc", "/name"):on(function()
      local polled = d:poll(0.01)
      seen = { polled, other:wait().ok, held:ready(), own:ready() }
    end)
    poll_until(function() return seen end, "told")
    assert.same({ 0, true, false, true }, seen)
    d:set_load_balancer{
      next = function(_, nodes) return nodes[1] end,
      response = function() seen = select(3, own:wait(0.1)) end,
    }
    own = async:get("svc", "/name")
    own:wait()
    assert.equal("callback", seen)
  end)

  it("route, balancer and the caller's logger belong to the call until its end", function()
    local records, routed = {}, 0
    d:set_route(function(ac)
      routed = routed + 1
      ac.path = "/name"
    end)
    local caller = d:new_caller({ headers = {} }, function(record) records[#records + 1] = record end)
    local f = caller:async():post("svc", "/elsewhere", { a = { 1, 2 } })
    collectgarbage()
    collectgarbage()
    assert.is_true(f:wait().ok)
    assert.equal(1, routed)
    poll_until(function() return #records == 1 end, "the record")
    assert.equal("/name", records[1].path)
  end)

  it("a forgotten one goes on, and is collected when it is over", function()
    local before = server:count "GET /name"
    for _ = 1, 20 do async:get("svc", "/name") end
    collectgarbage()
    collectgarbage()
    poll_until(function() return calls.node(d, server).in_flight == 0 end, "all over")
    assert.equal(before + 20, server:count "GET /name")
    local weak = setmetatable({}, { __mode = "k" })
    weak[async:get("nobody", "/")] = true
    weak[async:get("svc", "/name")] = true
    for _ = 1, 50 do d:get("svc", "/name") end -- not even poll is needed
    collectgarbage()
    collectgarbage()
    assert.is_nil((next(weak)))
  end)

  it("stop ends what is left, and tells", function()
    local ends = {}
    for i = 1, 5 do async:get("mute", "/"):on(function(res) ends[i] = res.err end) end
    local waiting = coroutine.create(function() ends[6] = async:get("mute", "/"):await().err end)
    coroutine.resume(waiting)
    local silent = async:get("mute", "/")
    d:stop()
    assert.same({ "stopped", "stopped", "stopped", "stopped", "stopped", "stopped" }, ends)
    assert.equal("stopped", silent:wait().err)
    assert.equal("stopped", async:get("svc", "/name"):wait().err)
    assert.is_nil((d:poll()))
    assert.equal("stopped", select(3, d:poll()))
  end)

  it("streams: ready with the headers", function()
    local f = async:request{ app = "svc", path = "/big?bytes=3000000", stream = true }
    local res = f:wait()
    local size = 0
    for piece in res:chunks() do size = size + #piece end
    assert.equal(3000000, size)
    local progress = 0
    res = async:request{ app = "svc", path = "/echo", method = "POST", data = ("x"):rep(300000),
                         progress = function(now) progress = now end }:wait()
    assert.is_true(res.ok, tostring(res))
    assert.is_true(progress > 0)
    local parts = { "a", "b", "c" }
    res = async:request{ app = "svc", path = "/echo", method = "POST",
                         data = function() return table.remove(parts, 1) end }:wait()
    assert.equal("abc", res:json().body)
    async:request{ app = "svc", path = "/big?bytes=3000000", stream = true }:wait() -- nobody reads it
    collectgarbage()
    collectgarbage()
    assert.equal(0, calls.node(d, server).in_flight)
  end)

  it("open: a WebSocket, or why not", function()
    local echo = ws.python()
    calls.set(d, "echo", { echo })
    local socket = assert(async:open("echo", "/echo"):wait())
    assert(socket:send "hello")
    assert.equal("hello", (socket:receive()))
    socket:close()
    local got
    async:open{ app = "echo", path = "/echo" }:on(function(...) got = { ... } end)
    poll_until(function() return got end, "told")
    assert.equal("open", got[1].state)
    got[1]:close()
    calls.set(d, "plain", { calls.answering(404) })
    local none, why, code = async:open("plain", "/"):wait()
    assert.is_nil(none)
    assert.equal("protocol", code, why)
    assert.equal("canceled", select(3, (function()
      local f = async:open("mute", "/")
      f:cancel()
      return f:wait()
    end)()))
  end)
end)

describe("futures and the end of things", function()
  it("#core states end with futures in flight, in any order", function()
    local hole = port.blackhole()
    for _, order in ipairs{ "d, a, f = nil", "f, a, d = nil", "keep = f; d, a = nil", "" } do
      local done = native.run(([[
        local d = discover.new{ log_level = "off" }
        d:set_node("svc", %q, 1)
        d:set_route(function() end)
        local a, f, keep = d:async(), {}, nil
        for i = 1, 30 do
          f[i] = a:request{ app = "svc", path = "/", stream = i %% 3 == 0, progress = i %% 4 == 0 and print or nil,
                            data = i %% 5 == 0 and function() return "x" end or nil }
          f[i]:on(print)
        end
        f[31] = a:open("svc", "/")
        coroutine.wrap(function() f[1]:await() end)()
        d:poll()
        %s
        collectgarbage()
        collectgarbage()
        print "end"
      ]]):format(hole.addr, order))
      assert.equal("end\n", done.out, done.err)
      assert.equal(0, done.code, done.err)
    end
  end)

  it("a child has nothing to do with its parent's", function()
    local hole = port.blackhole()
    local done = native.run(([[
      local d = discover.new{ log_level = "off" }
      d:set_node("svc", %q, 1)
      local a = d:async()
      local f = a:get("svc", "/")
      local pid = native.fork()
      if pid == 0 then
        local ok, why, code = f:wait(1)
        local new = a:get("svc", "/")
        local list = { tostring(ok), code, tostring(f:cancel()), new:wait().err, select(3, d:poll()) }
        io.stdout:write(table.concat(list, " "), "\n")
        io.stdout:flush()
        f, new, a, d = nil
        collectgarbage()
        native._exit(0)
      end
      native.waitpid(pid)
      print(f:cancel(), f:wait().err)
    ]]):format(hole.addr), { forks = true })
    assert.equal("nil forked false forked forked\ntrue\tcanceled\n", done.out, done.err)
  end)

  it("a child that was made in a callback hears of no other call, also where its parent stops", function()
    local slow = service.start()
    for _, ending in ipairs{ "d:poll()", "d:stop(5)" } do
      local done = native.run(([[
        local pid, told = nil, 0
        local d = discover.new{ log_level = "off" }
        d:set_node("svc", %q, 1)
        d:set_load_balancer{ response = function()
          told = told + 1
          if pid then return end
          pid = native.fork()
          if pid == 0 then told = 0 end
        end }
        local list = {}
        for i = 1, 10 do list[i] = d:async():get("svc", "/slow?ms=200") end
        d:poll(0.1)
        os.execute("sleep 1") -- all answers are there now
        %s
        if pid == 0 then
          io.stdout:write("the child heard of ", told, "\n")
          io.stdout:flush()
          list, d = nil
          collectgarbage()
          native._exit(0)
        end
        native.waitpid(pid)
        while told < 10 do d:poll(0.1) end
        print "the parent of all"
        d:stop()
      ]]):format(slow.addr, ending), { forks = true })
      assert.equal("the child heard of 0\nthe parent of all\n", done.out, done.err)
      assert.equal(0, done.code, done.err)
    end
  end)
end)
