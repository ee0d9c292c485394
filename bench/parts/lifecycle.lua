-- lifecycle - start (registered and following one app) and stop (nothing in flight) over a local Redis.
local discover = require "discover"
local measure = require "bench.measure"
local redis = require "spec.support.redis"

-- The bare commands of a start and a stop, on two fresh connections, one reply after the other.
local function plain(r)
  local start = measure.now()
  local commands, messages = assert(r:connect()), assert(r:connect())
  assert(messages:call("SUBSCRIBE", "CH_peer"))
  assert(commands:call("HGETALL", "peer"))
  assert(commands:call("SETEX", "own_127.0.0.1:9", 10, "1"))
  assert(commands:call("HSET", "own", "127.0.0.1:9", 100))
  assert(commands:call("PUBLISH", "CH_own", "127.0.0.1:9 100"))
  local middle = measure.now()
  assert(commands:call("HDEL", "own", "127.0.0.1:9"))
  assert(commands:call("DEL", "own_127.0.0.1:9"))
  assert(commands:call("PUBLISH", "CH_own", "127.0.0.1:9 0"))
  commands:close()
  messages:close()
  return (middle - start) * 1000, (measure.now() - middle) * 1000
end

local function ours(r)
  local start = measure.now()
  local d = assert(discover.start(r:url(), "own", "127.0.0.1:9", { calls = { peer = {} } }))
  local middle = measure.now()
  assert(d:registered())
  d:stop()
  return (middle - start) * 1000, (measure.now() - middle) * 1000
end

return function(settings)
  local r = redis.start()
  local n = settings.count(50, 10)
  local stops = { ours = {}, plain = {} }
  local function many(name, fn)
    return { name, function()
      local starts, ends = 0, 0
      for _ = 1, n do
        local a, b = fn(r)
        starts, ends = starts + a, ends + b
      end
      local list = stops[name]
      list[#list + 1] = ends / n
      return starts / n
    end }
  end
  local starts = measure.rounds(settings.rounds, { many("ours", ours), many("plain", plain) })
  -- The first round warms up.
  table.remove(stops.ours, 1)
  table.remove(stops.plain, 1)

  local function row(what, figures, target)
    return {
      what = what, unit = "ms", ours = measure.median(figures.ours), peer = measure.median(figures.plain),
      ratio = measure.ratio(figures.ours, figures.plain), peer_name = "the bare commands (LuaSocket)", target = target,
    }
  end
  return {
    row("start: registered, one app read", starts),
    row("stop: nothing in flight", stops, measure.at_most(100, "ours", "<= 100 ms")),
  }
end
