-- How a conversation ends: by either side, with code and reason; by an accident; by stop, fork, garbage collection.
local calls = require "spec.support.calls"
local discover = require "discover"
local frames = require "spec.support.frames"
local lua_run = require "spec.support.lua_run"
local native = require "spec.support.native"
local proc = require "spec.support.proc"
local scripted = require "spec.support.scripted"
local wait = require "spec.support.wait"
local ws = require "spec.support.ws"

describe("close", function()
  local s
  before_each(function() s = ws.python() end)
  after_each(function() s:kill() end)

  local function open(path, options)
    local d = calls.client{ s }
    options = options or {}
    options.app, options.path = "svc", path or "/echo"
    return assert(d:open(options)), d
  end

  local function ended(expected, value, why, code)
    assert.is_nil(value)
    assert.equal(expected, code, why)
    assert.matches("^" .. expected .. ": ", why)
  end

  it("by us, with code and reason #api #core", function()
    local reason = "r\195\169ason \226\130\172"
    for i, code in ipairs { 1000, 1001, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4000, 4999 } do
      local w = open()
      assert.is_true(w:close(code, reason))
      local record = s:closed(i)
      assert.equal(code, record.code)
      assert.equal(reason, record.reason)
      assert.equal("closed", w.state)
      assert.equal(code, w.close_code)
    end
  end)

  it("by us, without a code it is 1000; twice is once #api", function()
    local w, d = open()
    assert.is_true(w:close())
    assert.equal(1000, s:closed().code)
    assert.is_true(w:close())
    assert.is_true(w:close(4000, "too late"))
    assert.equal(1000, w.close_code)
    ended("closed", w:send "x")
    ended("closed", w:receive())
    ended("closed", w:ping())
    assert.equal(0, calls.node(d, s).in_flight)
    assert.equal(1, #s:journal "close")
  end)

  it("by us, after what was sent #api", function()
    local peer = scripted.http({ "ws_accept" }, "ws_echo")
    local d = calls.client{ peer }
    local w = assert(d:open{ app = "svc", path = "/", ping = 0 })
    for i = 1, 50 do assert(w:send(("%d"):format(i):rep(1000))) end
    assert(w:close(4001))
    local seen = 0
    for _, frame in ipairs(peer:journal "frame") do
      if frame.opcode == 1 then seen = seen + 1 end
    end
    assert.equal(50, seen)
    peer:kill()
  end)

  it("by the peer, with code and reason #api #core", function()
    for _, case in ipairs { { 1000, "" }, { 1001, "away" }, { 1011, "oops" }, { 4001, "bye \195\169" } } do
      local w, d = open(("/close?code=%d&reason=%s"):format(case[1], case[2]:gsub("[^%w]", function(c)
        return ("%%%02X"):format(c:byte())
      end)))
      local data, why, code = w:receive()
      ended("closed", data, why, code)
      assert.matches(tostring(case[1]), why)
      assert.equal(case[1], w.close_code)
      assert.equal(case[2], w.close_reason)
      assert.equal("closed", w.state)
      ended("closed", w:send "x")
      ended("closed", w:receive())
      assert.is_true(w:close())
      assert.equal(0, calls.node(d, s).in_flight)
      -- What counts for the node is that it answered.
      assert.equal(0, calls.node(d, s).failed_times)
    end
    for _, record in ipairs(s:journal "close") do assert.is_not.equal(1006, record.code) end
  end)

  it("by the peer, without a code #api", function()
    local peer = scripted.http({ "ws_accept" }, { "ws_hex", frames.hex(frames.close()) }, { "ws_read" })
    local d = calls.client{ peer }
    local w = assert(d:open("svc", "/"))
    ended("closed", w:receive())
    assert.equal(1005, w.close_code)
    assert.equal("", w.close_reason)
    peer:wait(function() return #peer:journal "frame" == 1 end)
    assert.equal(8, peer:journal "frame"[1].opcode)
    peer:kill()
  end)

  it("what came before the end is still given #api", function()
    local peer = scripted.http({ "ws_accept" }, { "ws_hex", frames.hex(frames.text "one" .. frames.binary "two" ..
      frames.close(4000, "over")) }, { "ws_close" })
    local d = calls.client{ peer }
    local w = assert(d:open("svc", "/"))
    d:wait(0.1)
    ended("closed", w:send "x")
    assert.same({ "one", "text" }, { w:receive() })
    assert.same({ "two", "binary" }, { w:receive() })
    ended("closed", w:receive())
    assert.equal("over", w.close_reason)
    peer:kill()
  end)

  it("by an accident it is 1006 #api", function()
    local w, d = open "/abort"
    assert(w:send "now")
    ended("connect", w:receive())
    assert.equal(1006, w.close_code)
    assert.equal("", w.close_reason)
    assert.equal("closed", w.state)
    assert.equal(0, calls.node(d, s).in_flight)
    ended("connect", w:send "x")
    assert.is_true(w:close())
    assert.equal(1006, w.close_code)
  end)

  it("a peer that does not answer ours is cut in time", function()
    local peer = scripted.http({ "ws_accept" }, "drain")
    local d = calls.client{ peer }
    local w = assert(d:open("svc", "/"))
    local took = wait.within(3, function() assert.is_true(w:close(1000)) end)
    assert.is_true(took > 1)
    assert.equal(1006, w.close_code)
    assert.equal(0, calls.node(d, peer).in_flight)
    peer:wait(function() return #peer:journal "closed" == 1 end)
    peer:kill()
  end)

  it("a peer that reads nothing any more cannot hold up close", function()
    local w = open "/deaf?until=/nonexistent/file"
    repeat local ok = w:send(("x"):rep(65536), "binary", 0.05) until not ok
    wait.within(3, function() assert.is_true(w:close()) end)
    assert.equal("closed", w.state)
  end)

  it("stop says 1001 to all #api #core", function()
    local w, d = open()
    local other = assert(d:open("svc", "/silent"))
    wait.within(1, function() d:stop() end)
    for i = 1, 2 do assert.equal(1001, s:closed(2) and s:journal "close"[i].code) end
    for _, one in ipairs { w, other } do
      ended("stopped", one:send "x")
      ended("stopped", one:receive())
      ended("stopped", one:ping())
      ended("stopped", one:on_message(print))
      assert.is_true(one:close())
      assert.equal("closed", one.state)
      assert.equal(s.addr, one.node)
      assert.matches("^websocket%(", tostring(one))
    end
  end)

  it("stop does not wait for a peer that is mute", function()
    local peer = scripted.http({ "ws_accept" }, "hang")
    local d = calls.client{ peer }
    assert(d:open("svc", "/"))
    wait.within(1.5, function() d:stop() end)
    peer:kill()
  end)

  it("a forgotten one is cut by the collector, and its node is free #api #core", function()
    local w, d = open() -- luacheck: ignore
    local fds = proc.descriptors()
    local node = calls.node(d, s)
    assert.equal(1, node.in_flight)
    w = nil
    collectgarbage()
    collectgarbage()
    assert.equal(0, node.in_flight)
    assert.equal(1006, s:closed().code)
    -- The descriptor goes when the loop next runs.
    wait.until_true(function()
      d:wait(0.02)
      return proc.descriptors() < fds
    end, 5, "the descriptor to go")
    assert.equal(0, d:stats().total.in_flight)
  end)

  it("it keeps its discoverer, and both go together #api", function()
    local d = assert(discover.new{ log_level = "off" })
    calls.set(d, "svc", { s })
    local w = assert(d:open("svc", "/echo"))
    d = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert(w:send "hi")
    assert.equal("hi", (w:receive()))
    w = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    s:closed()
  end)

  it("the end of a program is a clean one, whatever is open #api #core", function()
    for _, last in ipairs { "", "d:stop()", "w:close()", "os.exit(0)", "os.exit(0, true)", "w:send(('x'):rep(1e6))" } do
      local run = lua_run(([[
        local discover = require "discover"
        local d = assert(discover.new())
        assert(d:set_node("svc", %q, 1))
        w = assert(d:open("svc", "/echo"))
        v = assert(d:open("svc", "/echo"))
        v:on_message(function() end)
        assert(w:send "hi" and w:receive() == "hi")
        %s]]):format(s.addr, last))
      assert.equal("", run.err, last)
      assert.equal(0, run.code, last)
    end
    s:closed(12)
  end)

  it("<close> closes", function()
    if _VERSION ~= "Lua 5.4" then return pending "Lua 5.4 only" end
    local d = calls.client{ s }
    local program = assert(load([[
      local d = ...
      local w <close> = assert(d:open("svc", "/echo"))
      assert(w:send "hi")
      return w, w:receive()]]))
    local w, data = program(d)
    assert.equal("hi", data)
    assert.equal("closed", w.state)
    assert.equal(1000, s:closed().code)
    program = assert(load [[
      local d = ...
      local w <close> = assert(d:open("svc", "/echo"))
      error "oops"]])
    assert.is_false(pcall(program, d))
    assert.equal(1000, s:closed(2).code)
  end)

  it("a forked child has nothing to do with it #api", function()
    local run = native.run(([[
      local d = assert(discover.new())
      assert(d:set_node("svc", %q, 1))
      local w = assert(d:open("svc", "/echo"))
      local v = assert(d:open("svc", "/echo"))
      assert(w:send "before" and w:receive() == "before")
      local pid = native.fork()
      if pid == 0 then
        local ok, why = pcall(function()
          local function forked(x, why, code) assert(x == nil and code == "forked", tostring(why)) end
          forked(w:send "x")
          forked(w:receive())
          forked(w:ping())
          forked(w:on_message(print))
          forked(d:open("svc", "/echo"))
          assert(w:close())
          assert(w.node == %q and tostring(w))
          w, v = nil, nil
          collectgarbage()
          collectgarbage()
        end)
        if not ok then io.stderr:write(tostring(why), "\n") native._exit(99) end
        native._exit(0)
      end
      local code, signal = native.waitpid(pid)
      assert(w:send "after" and w:receive() == "after")
      assert(v:send "after" and v:receive() == "after")
      assert(w:close() and v:close())
      print(tostring(code) .. " " .. tostring(signal))]]):format(s.addr, s.addr))
    assert.equal("", (run.err:gsub("==%d+==Running thread %d+ was not suspended[^\n]*\n", "")))
    assert.equal(0, run.code)
    assert.matches("^0 ", run.out)
    s:closed(2)
  end)
end)
