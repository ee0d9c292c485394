-- port - loopback ports of every kind: free, refused, mute, full.
local socket = require "socket"

local port = {}

local function bound()
  local s = assert(socket.tcp4())
  assert(s:setoption("reuseaddr", true))
  assert(s:bind("127.0.0.1", 0))
  local _, number = s:getsockname()
  return s, tonumber(number)
end

local function handle(s, number)
  return {
    port = number, host = "127.0.0.1", addr = "127.0.0.1:" .. number,
    close = function(self)
      for _, one in ipairs(self) do one:close() end
      s:close()
    end,
  }
end

-- Below the range that the kernel gives out, so that nobody gets one by chance while its server is down. Stages of
-- scripts/test that run side by side are told to begin at different ones. Each process goes on from a random place.
local FIRST, MANY = tonumber(os.getenv "DISCOVER_TEST_PORTS") or 12000, 9000
local at

local function somewhere()
  local file = assert(io.open("/dev/urandom", "rb"))
  local high, low = file:read(2):byte(1, 2)
  file:close()
  return (high * 256 + low) % MANY
end

-- A port number that nobody listens on right now.
function port.free()
  at = at or somewhere()
  for _ = 1, MANY do
    at = (at + 1) % MANY
    local s = assert(socket.tcp4())
    local ok = s:bind("127.0.0.1", FIRST + at)
    s:close()
    if ok then return FIRST + at end
  end
  error "no free port"
end

-- An address that refuses connections and that nobody else can take until close(): {port, host, addr, close()}.
function port.refused()
  return handle(bound())
end

-- An address that completes connections and never answers: {port, host, addr, close()}.
function port.blackhole()
  local s, number = bound()
  assert(s:listen(128))
  return handle(s, number)
end

-- An address whose connections are never completed, as with a host that drops packets (the queue of a
-- listening socket is full): {port, host, addr, close()}.
function port.full()
  local s, number = bound()
  assert(s:listen(0))
  local h = handle(s, number)
  for i = 1, 8 do
    local c = socket.tcp4()
    c:settimeout(0)
    c:connect("127.0.0.1", number)
    h[i] = c
  end
  -- Only those that fit into the queue become writable; the rest go on asking, as a newcomer would.
  socket.sleep(0.01)
  return h
end

-- True when something accepts connections there.
function port.listening(number, host)
  local c = socket.tcp4()
  c:settimeout(0.5)
  local ok = c:connect(host or "127.0.0.1", number)
  c:close()
  return ok == 1
end

return port
