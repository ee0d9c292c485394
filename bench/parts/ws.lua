-- ws - WebSocket messages of 64 bytes echoed over one connection: one at a time, and with many on their way.
local discover = require "discover"
local measure = require "bench.measure"
local peer = require "discover_bench_ws"
local port = require "spec.support.port"
local proc = require "spec.support.proc"
local wait = require "spec.support.wait"

local WINDOW = 64
local TEXT = ("0123456789abcdef"):rep(4)

local function start_server()
  local number = port.free()
  local p = proc.start{ assert(os.getenv "DISCOVER_BENCH_PROGRAMS") .. "/ws_echo", tostring(number), name = "ws_echo" }
  local ok = wait.poll(function() return not p:alive() or port.listening(number) end, 10)
  assert(ok and p:alive(), "ws_echo does not start:\n" .. p:output())
  return number
end

local function open(number)
  local d = assert(discover.new())
  assert(d:set_node("bench", "127.0.0.1:" .. number, 100))
  return assert(d:open("bench", "/")), d
end

-- As the peer's echo(): at most `window` messages are on their way, until all came back.
local function echo(ws, n, window)
  local sent = 0
  for got = 1, n do
    while sent < n and sent - got + 1 < window do
      assert(ws:send(TEXT, "binary"))
      sent = sent + 1
    end
    assert(ws:receive() == TEXT)
  end
end

return function(settings)
  local number = start_server()
  local ws, d = open(number)
  peer.connect(number)
  local one, many = settings.count(1000, 300), settings.count(10000, 2000)

  -- Messages a second.
  local function rate(name, n, fn)
    return { name, function() return n / measure.seconds(fn, n) end }
  end
  local figures = measure.rounds(settings.rounds, {
    rate("peer_one", one, function(n) peer.echo(TEXT, n, 1) end),
    rate("ours_one", one, function(n) echo(ws, n, 1) end),
    rate("peer_many", many, function(n) peer.echo(TEXT, n, WINDOW) end),
    rate("ours_many", many, function(n) echo(ws, n, WINDOW) end),
  })
  ws:close()
  d:stop()

  local function row(what, mine, theirs)
    return {
      what = what, unit = "msg/s", ours = measure.median(figures[mine]), peer = measure.median(figures[theirs]),
      ratio = measure.ratio(figures[mine], figures[theirs]), peer_name = "a libwebsockets client in C, same server",
    }
  end
  return {
    row("WebSocket echo, one at a time", "ours_one", "peer_one"),
    row("WebSocket echo, 64 on their way", "ours_many", "peer_many"),
  }
end
