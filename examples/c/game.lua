-- game - what each Lua state of game.c runs: a few calls in every tick, and never a wait.
--
-- now() -> seconds and polled(seconds) are the host's.
local registry, app, calls, now, polled = ...
local discover = require "discover"

local d = assert(discover.open(registry, { shared = true, calls = { [app] = { timeout = 2 } } }))
local async = d:async()
local pending, ok, failed = 0, 0, 0

local function answered(res)
  pending = pending - 1
  if res.ok then ok = ok + 1 else failed = failed + 1 end
end

local game = {}

-- Called 60 times a second, each time in whatever thread is free.
function game.tick()
  for _ = 1, calls do
    async:get(app, "/"):on(answered)
    pending = pending + 1
  end
  local before = now()
  d:poll{ budget = 0.0005 }
  polled(now() - before)
end

-- No new calls from now on; returns how many are under way.
function game.rest()
  calls = 0
  return pending
end

function game.stop()
  d:stop()
  return ok, failed
end

return game
