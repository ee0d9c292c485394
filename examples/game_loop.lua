-- game_loop - 60 ticks a second that call services and never wait for one.
--
--   examples/run examples/game_loop.lua [registry [ticks]]
--
-- Calls the app "hello" (examples/service.lua). Without a node of it the game goes on all the same.
local discover = require "discover"
local socket = require "socket"
local now = socket.gettime

-- start_timeout 0: the game does not wait for the registry either.
local d = assert(discover.open(arg[1] or "redis://127.0.0.1:6379/15", {
  calls = { hello = { timeout = 2, deadline = 5 } }, start_timeout = 0, log_level = "off",
}))
local async, ticks = d:async(), tonumber(arg[2] or 120)
local saved, failed, busy = 0, 0, 0

local function save(player)
  async:post("hello", "/save", player):on(function(res) -- runs in a later d:poll
    if res.ok then saved = saved + 1 else failed = failed + 1 end
  end)
end

local function tick(n)
  if n % 2 == 0 then save{ name = "Ann", x = n } end
  local start = now()
  d:poll{ budget = "1ms" } -- what does not fit waits for the next tick
  busy = busy + (now() - start)
end

local start = now()
for n = 1, ticks do
  tick(n)
  socket.sleep(math.max(0, start + n / 60 - now())) -- a game would draw its frame here
end
while saved + failed < math.floor(ticks / 2) do d:poll(0.1) end
print(("%d ticks, %d saved, %d failed, %.3f ms a tick in poll"):format(ticks, saved, failed, busy / ticks * 1000))
d:stop()
