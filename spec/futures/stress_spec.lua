-- A hundred thousand futures with random ends: each completes exactly once, and nothing stays behind.
local calls = require "spec.support.calls"
local discover = require "discover"
local port = require "spec.support.port"
local proc = require "spec.support.proc"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local ROUNDS, WIDE = 10, 300
local FULL = _VERSION == "Lua 5.4" and 100000 or 20000
local TOTAL = math.max(2000, math.floor(FULL / (wait.slow * wait.slow) / ROUNDS) * ROUNDS)

describe("#api many futures", function()
  local random, mute

  -- The same in every run.
  local function generator(seed)
    return function(n)
      seed = (seed * 1103515245 + 12345) % 2147483648
      return math.floor(seed / 65536) % n + 1
    end
  end

  setup(function()
    random = generator(42)
    mute = port.blackhole()
  end)

  local function descriptors() return proc.descriptors() end

  -- How futures ended: by number how often they told, by code how many.
  local function books()
    local b = { told = {}, ends = {}, open = 0, started = 0 }
    function b.note(id, res)
      b.told[id] = (b.told[id] or 0) + 1
      b.open = b.open - 1
      local kind = res.err or (res.ok and "ok" or tostring(res.status))
      b.ends[kind] = (b.ends[kind] or 0) + 1
    end
    return b
  end

  -- Starts one future of a random kind; all of them tell b.note once, by a callback or by a coroutine.
  local function start(b, async)
    local id, kind = b.started + 1, random(20)
    b.started, b.open = id, b.open + 1
    local request = { app = "svc", path = "/" }
    if kind == 1 then
      request = { app = "mute", path = "/", timeout = 0.001 * random(30) }
    elseif kind == 2 then
      request = { app = "mute", path = "/", deadline = 0.001 * random(30) }
    elseif kind == 3 then
      request = { app = "nobody", path = "/" }
    elseif kind == 4 then
      request = { app = "svc", path = "no slash" }
    elseif kind == 5 then
      request = { app = "svc", path = "/", method = "POST", data = { id = id } }
    elseif kind == 6 then
      request = { app = "svc", path = "/", stream = true }
    end
    local future = async:request(request)
    if kind % 3 == 0 then
      coroutine.wrap(function() b.note(id, future:await()) end)()
    else
      future:on(function(res)
        b.note(id, res)
        if res.chunks and kind == 6 and id % 2 == 0 then res:close() end
      end)
    end
    return future, kind
  end

  -- One life of a discoverer: `count` futures, WIDE in flight; a node dies in the middle; at the end it is stopped with
  -- what is left.
  local function round(b, count, nodes)
    local d = assert(discover.new{ log_level = "off" })
    calls.set(d, "svc", nodes)
    calls.set(d, "mute", { mute })
    local async, until_ = d:async(), b.started + count
    while b.started < until_ do
      while b.open < WIDE and b.started < until_ do
        local future = start(b, async)
        if random(10) == 1 then future:cancel() end
        if random(200) == 1 then future:wait(0.001) end
      end
      if nodes[1].p:alive() and b.started > until_ - count / 2 then
        nodes[1].kill()
      end
      d:poll(0.01)
    end
    d:stop()
    assert.equal(0, b.open)
  end

  it("each ends once, memory and descriptors return", function()
    local b = books()
    local first, last
    for i = 1, ROUNDS do
      local nodes = { service.nginx(), service.nginx(), service.nginx() }
      round(b, TOTAL / ROUNDS, nodes)
      for _, node in ipairs(nodes) do node.kill() end
      collectgarbage()
      collectgarbage()
      local s = discover.new()
      local stats = s:stats()
      s:stop()
      last = { blocks = stats.memory_blocks, bytes = stats.memory_bytes, fds = descriptors() }
      if i == 2 then first = last end
    end
    assert.equal(TOTAL, b.started)
    for id = 1, TOTAL do
      if b.told[id] ~= 1 then error(("future %d told %s times"):format(id, tostring(b.told[id]))) end
    end
    for _, kind in ipairs{ "ok", "timeout", "canceled", "stopped", "invalid", "app_not_found" } do
      assert.is_true((b.ends[kind] or 0) > 0, kind .. " never happened")
    end
    assert.is_true(last.blocks - first.blocks <= 20, first.blocks .. " -> " .. last.blocks)
    assert.is_true(last.fds <= first.fds + 2, first.fds .. " -> " .. last.fds)
  end)
end)
