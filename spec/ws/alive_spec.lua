-- Peers that vanish are noticed: killed at once, mute ones within ping + ping_timeout; those that answer stay.
local calls = require "spec.support.calls"
local frames = require "spec.support.frames"
local scripted = require "spec.support.scripted"
local wait = require "spec.support.wait"
local ws = require "spec.support.ws"

describe("alive #api", function()
  local s
  before_each(function() s = ws.python() end)
  after_each(function() s:kill() end)

  local function open(path, options)
    local d = calls.client{ s }
    options = options or {}
    options.app, options.path = "svc", path
    return assert(d:open(options)), d
  end

  local function lost(pattern, data, why, code)
    assert.is_nil(data)
    assert.equal(pattern, code, why)
  end

  it("a server that is killed is noticed at once #core", function()
    local w, d = open "/echo"
    assert(w:send "hi")
    assert(w:receive())
    s.p:kill "KILL"
    wait.within(1, function() lost("connect", w:receive(5)) end)
    assert.equal("closed", w.state)
    assert.equal(1006, w.close_code)
    lost("connect", w:receive(5))
    lost("connect", w:send "x")
    lost("connect", w:ping())
    assert.is_true(w:close())
    assert.equal(0, calls.node(d, s).in_flight)
  end)

  it("a server that is killed while a sender waits", function()
    local w = open("/deaf?until=/nonexistent/file")
    local data = ("x"):rep(65536)
    repeat local ok = w:send(data, "binary", 0.1) until not ok
    s.p:kill "KILL"
    wait.within(1, function() lost("connect", w:send(data, "binary", 5)) end)
  end)

  it("a server that goes mute is noticed within ping + ping_timeout", function()
    local w, d = open("/echo", { ping = 0.2, ping_timeout = 0.3 })
    assert(w:send "hi")
    assert(w:receive())
    s.p:kill "STOP"
    local start = wait.now()
    local data, why, code = w:receive(5)
    local took = wait.now() - start
    assert.is_nil(data)
    assert.equal("timeout", code, why)
    assert.is_true(took >= 0.4 and took < wait.scale(1.5), "took " .. took)
    assert.equal(1006, w.close_code)
    assert.equal("closed", w.state)
    assert.equal(0, calls.node(d, s).in_flight)
  end)

  it("while a sender waits, too", function()
    local w = open("/silent", { ping = 0.2, ping_timeout = 0.3 })
    s.p:kill "STOP"
    local data = ("x"):rep(65536)
    wait.within(2, function()
      local ok, why, code
      repeat ok, why, code = w:send(data, "binary", 5) until not ok
      assert.equal("timeout", code, why)
      assert.matches("ping", why)
    end)
    assert.equal("closed", w.state)
  end)

  it("a server that is mute from the start, too", function()
    local mute = scripted.http({ "ws_accept" }, "hang")
    local d = calls.client{ mute }
    local w = assert(d:open{ app = "svc", path = "/", ping = "100ms", ping_timeout = "200ms" })
    wait.within(1, function() lost("timeout", w:receive(5)) end)
    mute:kill()
  end)

  it("one who only sends is alive, whether or not he answers pings", function()
    local steps = { { "ws_accept" } }
    for _ = 1, 20 do
      steps[#steps + 1] = { "sleep", 50 }
      steps[#steps + 1] = { "ws_hex", frames.hex(frames.text "x") }
    end
    steps[#steps + 1] = "hang"
    local talker = scripted.start{ steps }
    local d = calls.client{ talker }
    local w = assert(d:open{ app = "svc", path = "/", ping = 0.2, ping_timeout = 0.3 })
    for _ = 1, 20 do assert(w:receive(5)) end
    lost("timeout", w:receive(5))
    assert.equal("closed", w.state)
    talker:kill()
  end)

  it("pings keep a quiet conversation alive, and go out only when it is quiet", function()
    local quiet = scripted.http({ "ws_accept" }, "ws_echo")
    local d = calls.client{ quiet }
    local w = assert(d:open{ app = "svc", path = "/", ping = 0.1, ping_timeout = 0.5 })
    assert.equal("timeout", select(3, w:receive(1)))
    assert.equal("open", w.state)
    local pings = 0
    for _, frame in ipairs(quiet:journal "frame") do
      if frame.opcode == 9 then pings = pings + 1 end
    end
    assert.is_true(pings >= 2 and pings <= 11, pings .. " pings")
    assert(w:send "still")
    assert.equal("still", (w:receive()))
    w:close()

    w = assert(d:open{ app = "svc", path = "/", ping = 0 })
    local before = #quiet:journal "frame"
    assert.equal("timeout", select(3, w:receive(0.3)))
    assert.equal(before, #quiet:journal "frame")
    w:close()
    quiet:kill()
  end)

  it("an owner who was away for long does not take the peer for dead", function()
    local w = open("/echo", { ping = 0.1, ping_timeout = 0.4 })
    wait.pass(0.6)
    assert(w:send "back")
    assert.equal("back", (w:receive()))
    wait.pass(0.6)
    assert.equal("timeout", select(3, w:receive(0.05)))
    assert.equal("open", w.state)
    -- A ping was out when he left, and its answer waits for him.
    s.p:kill "STOP"
    assert.equal("timeout", select(3, w:receive(0.15)))
    s.p:kill "CONT"
    wait.pass(0.6)
    assert.equal("timeout", select(3, w:receive(0.05)))
    assert.equal("open", w.state)
    w:close()
  end)

  it("answers the peer's pings", function()
    local w = open "/ping?n=5"
    assert.equal("ponged", (w:receive()))
    w:close()
  end)

  it("pings when asked to", function()
    local peer = scripted.http({ "ws_accept" }, "ws_echo")
    local d = calls.client{ peer }
    local w = assert(d:open{ app = "svc", path = "/", ping = 0 })
    for _ = 1, 3 do assert.is_true(w:ping()) end
    assert(w:close())
    local pings = 0
    for _, frame in ipairs(peer:journal "frame") do
      if frame.opcode == 9 then pings = pings + 1 end
    end
    assert.is_true(pings >= 1 and pings <= 3, pings .. " pings")
    lost("closed", w:ping())
    peer:kill()
  end)

  it("a dead node is held to have failed; the next one serves", function()
    local other = ws.python()
    local d = calls.client{ { s, calls.FIRST }, other }
    local w = assert(d:open("svc", "/echo"))
    assert.equal(s.addr, w.node)
    s:kill()
    assert.equal(0, calls.node(d, s).failed_times)
    lost("connect", w:receive(5))
    assert.equal(1, calls.node(d, s).failed_times)
    w = assert(d:open("svc", "/echo"))
    assert.equal(other.addr, w.node)
    w:close()
    other:kill()
  end)
end)
