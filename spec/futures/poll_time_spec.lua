-- poll(0) never waits: not for a registry that hangs, not for nodes that do, not for names that nobody resolves.
local calls = require "spec.support.calls"
local discover = require "discover"
local port = require "spec.support.port"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

local BOUND = 0.05 -- ten times what is promised: others use this machine too
local TRIES = 4    -- whatever blocks does so every time; whatever else takes the processor away does not

describe("the time of poll(0)", function()
  local r, hole, full, refused, d

  before_each(function()
    r, hole, full, refused = redis.start(), port.blackhole(), port.full(), port.refused()
    d = calls.stop_at_end(assert(discover.start(r:url(), "web", "127.0.0.1:1", {
      calls = { web = {}, ["*"] = { timeout = 0.2, connect_timeout = 0.2, deadline = 0.6 } },
      heartbeat = 0.2, ttl = 1, resync = 0.2, log_level = "off" })))
    calls.set(d, "mute", { hole })
    calls.set(d, "far", { full })
    calls.set(d, "dead", { refused })
    calls.set(d, "nameless", { "no-such-host.invalid:80", "nor-this-one.invalid:81" })
  end)

  after_each(function()
    if r.p:alive() then r:resume() end
    d:stop()
  end)

  -- The longest poll(0) within `seconds`, while calls of every kind go on and new ones start.
  local function worst(seconds)
    local async, longest, polls, next_call = d:async(), 0, 0, 0
    local finish = wait.now() + seconds
    while wait.now() < finish or polls < 20 do
      if wait.now() >= next_call then
        for _, app in ipairs{ "mute", "far", "dead", "nameless", "never-heard-of", "web" } do async:get(app, "/") end
        next_call = wait.now() + 0.1
      end
      local start = wait.now()
      assert(d:poll(0))
      longest, polls = math.max(longest, wait.now() - start), polls + 1
      wait.pass(0.0005)
    end
    return longest
  end

  local function assert_short(what)
    local best = math.huge
    for _ = 1, TRIES do
      best = math.min(best, worst(0.8))
      if best < wait.scale(BOUND) then return end
    end
    error(("%s: poll(0) took %.1f ms"):format(what, best * 1000))
  end

  it("a Redis that is well, one that hangs, one that is gone and comes back", function()
    assert_short "well"
    r:pause()
    assert_short "hangs"
    r:resume()
    assert_short "goes on"
    r:kill()
    assert_short "gone"
    r:start()
    assert_short "comes back"
  end)

  it("with the registry's host not answering from the start", function()
    local lost = calls.stop_at_end(assert(discover.open("redis://" .. full.addr .. "/0", {
      calls = { web = {} }, start_timeout = 0, log_level = "off" })))
    local own = d
    d = lost
    calls.set(d, "mute", { hole })
    assert_short "unreachable"
    lost:stop()
    d = own
  end)
end)
