-- on_message: messages and the end come to a function while the owner waits.
local calls = require "spec.support.calls"
local discover = require "discover"
local native = require "spec.support.native"
local nodes = require "spec.support.nodes"
local wait = require "spec.support.wait"
local ws = require "spec.support.ws"

describe("on_message #api", function()
  local s
  lazy_setup(function() s = ws.python() end)

  local function open(path, d)
    d = d or calls.client{ s }
    return assert(d:open("svc", path)), d
  end

  -- Waits in small steps until fn is true.
  local function wait_for(d, fn, what)
    wait.until_true(function()
      d:wait(0.01)
      return fn()
    end, 5, what)
  end

  it("gets every message in order, and the end once #core", function()
    local w, d = open "/count?n=100"
    local got, ends = {}, {}
    assert.is_true(w:on_message(function(from, data, kind, code)
      assert(from == w)
      if data then
        assert(kind == "text" and code == nil)
        got[#got + 1] = data
        if #got == 100 then assert(w:close(4000)) end
      else
        ends[#ends + 1] = { kind, code }
      end
    end))
    wait_for(d, function() return #ends > 0 end, "the end")
    d:wait(0.05)
    assert.equal(100, #got)
    for i = 1, 100 do assert.equal(i .. ":", got[i]) end
    assert.equal(1, #ends)
    assert.equal("closed", ends[1][2])
    assert.matches("^closed: ", ends[1][1])
    assert.equal("closed", w.state)
    assert.equal(4000, w.close_code)
  end)

  it("is called by nothing but wait", function()
    local w, d = open "/count?n=3"
    local got = 0
    w:on_message(function() got = got + 1 end)
    assert.equal("timeout", select(3, open("/silent", d):receive(0.1)))
    d:registered()
    assert(w:ping())
    assert.equal(0, got)
    wait_for(d, function() return got == 3 end)
    w:close()
    assert.equal(3, got)
    wait_for(d, function() return got == 4 end)
  end)

  it("may send, receive, open and close others, and make calls", function()
    local d = calls.client{ s }
    local a, b = open("/echo", d), open("/echo", d)
    local got = {}
    a:on_message(function(w, data)
      if not data then return end
      got[#got + 1] = data
      if data == "1" then
        assert(w:send "2")
        assert(b:send "x")
        got[#got + 1] = assert(b:receive())
      elseif data == "2" then
        local c = assert(d:open("svc", "/echo"))
        assert(c:send "c")
        got[#got + 1] = assert(c:receive())
        assert(c:close())
        assert(b:close())
        got[#got + 1] = tostring(d:get("svc", "/status/204").status)
        assert(w:send "3")
      end
    end)
    assert(a:send "1")
    wait_for(d, function() return got[#got] == "3" end)
    assert.same({ "1", "x", "2", "c", "204", "3" }, got)
    a:close()
  end)

  it("that raises or yields is logged, and goes on", function()
    local log = nodes.log()
    local d = calls.client({ s }, { logger = log.logger })
    local w = open("/count?n=3", d)
    local got = 0
    w:on_message(function(_, data)
      got = got + 1
      if data == "1:" then error "first" end
      if data == "2:" then error(setmetatable({}, { __tostring = function() return "second" end })) end
      if data == "3:" then coroutine.yield() end
      if not data then error "the end" end
    end)
    wait_for(d, function() return got == 3 end)
    w:close()
    wait_for(d, function() return got == 4 end)
    d:registered()
    assert.equal(1, log:count("callback: on_message: .*first", "error"), log.text())
    assert.equal(1, log:count("callback: on_message: .*second", "error"), log.text())
    assert.equal(1, log:count("callback: on_message: .*yield", "error"), log.text())
    assert.equal(1, log:count("callback: on_message: .*the end", "error"), log.text())
  end)

  it("may be changed and taken off", function()
    local w, d = open "/echo"
    local got = {}
    local function take(name)
      return function(_, data) got[#got + 1] = name .. ":" .. tostring(data) end
    end
    w:on_message(take "a")
    assert(w:send "1")
    wait_for(d, function() return #got == 1 end)
    w:on_message(take "b")
    assert(w:send "2")
    wait_for(d, function() return #got == 2 end)
    assert.is_true(w:on_message(nil))
    assert(w:send "3")
    d:wait(0.05)
    assert.equal("3", (w:receive()))
    assert.same({ "a:1", "b:2" }, got)
    -- Set with messages waiting, it gets them.
    assert(w:send "4")
    d:wait(0.1)
    w:on_message(take "c")
    wait_for(d, function() return #got == 3 end)
    assert.equal("c:4", got[3])
    w:close()
  end)

  it("hears of the end however it comes", function()
    for path, expected in pairs { ["/close?code=4001"] = "closed", ["/abort"] = "connect" } do
      local w, d = open(path)
      local code
      if path == "/abort" then assert(w:send "x") end
      w:on_message(function(_, data, _, err) code = not data and err or nil end)
      wait_for(d, function() return code end)
      assert.equal(expected, code)
      assert.equal("closed", w.state)
    end
    -- Set after the end.
    local w, d = open "/close?code=4001"
    assert.equal("closed", select(3, w:receive()))
    local code
    w:on_message(function(_, data, _, err) code = not data and err or nil end)
    wait_for(d, function() return code end)
    assert.equal("closed", code)
    -- Once is enough, whoever asks.
    w:on_message(function() code = "told again" end)
    d:wait(0.05)
    assert.equal("closed", code)
  end)

  it("may fork: the child comes back from wait and has nothing to do with it", function()
    local run = native.run(([[
      local d = assert(discover.new())
      assert(d:set_node("svc", %q, 1))
      local w = assert(d:open("svc", "/count?n=5"))
      local got, ends, pid = 0, 0, nil
      w:on_message(function(_, data)
        if data then got = got + 1 else ends = ends + 1 end
        if got == 2 and not pid then pid = native.fork() end
        if got == 5 then w:close() end
      end)
      for _ = 1, 100 do
        d:wait(0.05)
        if ends > 0 or pid == 0 then break end
      end
      if pid == 0 then
        local ok, why, code = w:receive(0)
        native._exit(ok == nil and code == "forked" and got == 2 and ends == 0 and 0 or 99)
      end
      local code, signal = native.waitpid(pid)
      print(got, ends, code, signal)]]):format(s.addr))
    assert.equal("", (run.err:gsub("==%d+==Running thread %d+ was not suspended[^\n]*\n", "")))
    assert.matches("^5\t1\t0\t", run.out)
  end)

  it("is not called by a wait inside a callback", function()
    local w, d = open "/count?n=3"
    local got, depth, deepest = 0, 0, 0
    w:on_message(function()
      got, depth = got + 1, depth + 1
      deepest = math.max(deepest, depth)
      d:wait(0.02)
      depth = depth - 1
    end)
    wait_for(d, function() return got == 3 end)
    assert.equal(1, deepest)
    d:stop()
  end)

  it("runs in the coroutine that waits", function()
    local w, d = open "/count?n=1"
    local co, seen
    w:on_message(function() seen = seen or coroutine.running() end)
    co = coroutine.create(function() wait_for(d, function() return seen end) end)
    assert(coroutine.resume(co))
    assert.equal(co, seen)
    w:close()
  end)

  it("may stop the discoverer", function()
    local w, d = open "/count?n=5"
    local got, ends = 0, 0
    w:on_message(function(_, data)
      if data then got = got + 1 else ends = ends + 1 end
      d:stop()
    end)
    wait.within(2, function() assert.is_true(d:wait(5)) end)
    -- What had come is still given; then the end, once.
    assert.is_true(got >= 1 and got <= 5)
    assert.equal(1, ends)
    assert.equal("stopped", select(3, w:receive()))
  end)

  it("keeps the WebSocket while it listens, and no longer", function()
    local d = calls.client{ s }
    local node = calls.node(d, s)
    local got = 0
    open("/count?n=2", d):on_message(function() got = got + 1 end)
    collectgarbage()
    collectgarbage()
    wait_for(d, function() return got == 2 end)
    assert.equal(1, node.in_flight)
    local weak = setmetatable({}, { __mode = "v" })
    weak.w = open("/close?code=1000", d)
    weak.w:on_message(function(_, data) if not data then got = got + 1 end end)
    wait_for(d, function() return got == 3 end)
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak.w)
    weak.w = open("/silent", d)
    weak.w:on_message(print)
    weak.w:on_message(nil)
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak.w)
    assert.equal(1, node.in_flight)
    d:stop()
  end)

  it("makes no cycle that is never collected", function()
    local weak = setmetatable({}, { __mode = "v" })
    do
      local d = assert(discover.new{ log_level = "off" })
      calls.set(d, "svc", { s })
      local w = assert(d:open("svc", "/silent"))
      w:on_message(function() return d, w end)
      weak.d, weak.w = d, w
    end
    for _ = 1, 3 do collectgarbage() end
    assert.is_nil(weak.d)
    assert.is_nil(weak.w)
  end)

  it("leaves a turn to others: a flood does not hold wait up", function()
    local w, d = open "/count?n=100000"
    local got = 0
    w:on_message(function() got = got + 1 end)
    local start = wait.now()
    d:wait(0.3)
    assert.is_true(wait.now() - start < wait.scale(1))
    assert.is_true(got > 100, "got " .. got)
    w:on_message(nil)
    d:stop()
  end)
end)
