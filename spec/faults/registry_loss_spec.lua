-- What Redis loses and what its messages do, with a hundred registrants: nobody ever sees an empty list, no call fails.
local discover = require "discover"
local load = require "spec.support.load"
local nodes = require "spec.support.nodes"
local redis = require "spec.support.redis"
local remote = require "spec.support.remote"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local COUNT = 100
-- The default heartbeat of 5 s and its jitter; the restart costs them a reconnect, too.
local BACK = 5.5

local function size(map)
  local n = 0
  for _ in pairs(map or {}) do n = n + 1 end
  return n
end

describe("a hundred registrants", function()
  local r, web, crowd, watchers, l

  local function addr_of(i) return ("127.0.2.%d:%d"):format(i, web.port) end

  setup(function()
    r = redis.start{ over = "plain" }
    web = service.nginx({ ["/name"] = "here" }, "0.0.0.0")
    crowd = remote.start()
    crowd:run([[
      local url, port, count = ...
      all = {}
      for i = 1, count do
        all[i] = assert(discover.start(url, "web", ("127.0.2.%d:%d"):format(i, port),
          { start_timeout = 0, log_level = "off" }))
      end
    ]], r:url(), web.port, COUNT)
    wait.until_true(function() return r:cli("HLEN", "web") == COUNT end, 20, "all registrations")
    watchers = {}
    for i = 1, 5 do
      watchers[i] = assert(discover.open(r:url(), { calls = { web = {} }, resync = i < 3 and 1 or 10,
        log_level = "off" }))
    end
    l = load.start(r:url(), "web", { opts = { resync = 1 }, pace = 0.003 })
  end)

  -- Waits until all are back, while nobody loses anything; returns the seconds.
  local function all_back(limit)
    local began = wait.now()
    local back
    local least = COUNT
    wait.until_true(function()
      for _, d in ipairs(watchers) do least = math.min(least, size(d:get_app_nodes "web")) end
      local keys = r:keys "web_*"
      if r:cli("HLEN", "web") == COUNT and keys and #keys == COUNT then back = wait.now() - began end
      return back
    end, limit + 10, "all to be back")
    assert.equal(COUNT, least)
    assert.is_true(back <= limit * wait.slow, ("all back after %.2f s"):format(back))
    for _, d in ipairs(watchers) do
      wait.until_true(function()
        local up = 0
        for _, node in pairs(d:get_app_nodes "web") do
          if node.state == "up" then up = up + 1 end
        end
        return up == COUNT, up .. " up"
      end, 14, "the end of doubt")
    end
    local counts = l:more(50)
    assert.equal(0, counts.failed, table.concat(counts.why, "\n"))
    assert.equal(0, l:event_count "node_removed")
    return back
  end

  it("outlive FLUSHALL: all back within 5.5 s, no empty list, no failed call", function()
    r:cli "FLUSHALL"
    all_back(BACK + 1)
  end)

  it("outlive a restart without data: all back within 5.5 s, no empty list, no failed call", function()
    r:restart()
    all_back(BACK + 1)
  end)

  it("outlive a clock that jumps, 60 of 100 keys gone at once: no node doubted away, no failed call", function()
    for i = 1, 60 do r:cli("DEL", "web_" .. addr_of(i)) end
    all_back(BACK + 1)
  end)

  it("outlive the loss of every field, and of every key: no empty list, no failed call", function()
    r:cli("DEL", "web")
    all_back(BACK + 1)
    for i = 1, COUNT do r:cli("DEL", "web_" .. addr_of(i)) end
    all_back(BACK + 1)
  end)

  it("hear goodbyes that are not theirs, for all of them at once: all back, no failed call", function()
    for i = 1, COUNT do r:cli("PUBLISH", "CH_web", addr_of(i) .. " 0") end
    wait.until_true(function()
      for _, d in ipairs(watchers) do
        local n = size(d:get_app_nodes "web")
        if n ~= COUNT then return nil, n .. " nodes" end
      end
      return true
    end, 5, "their answers")
    assert.equal(COUNT, r:cli("HLEN", "web"))
    local counts = l:more(50)
    -- A table may be empty for the moment in which everybody said to be gone; a call then waits, or is told so.
    for _, why in ipairs(counts.why) do assert.matches("no_node", why) end
  end)

  it("say goodbye, all at once: nothing stays", function()
    l:finish()
    crowd:run "for _, d in ipairs(all) do d:stop() end"
    crowd:finish()
    assert.equal(0, #r:keys())
    for _, d in ipairs(watchers) do
      wait.until_true(function() return size(d:get_app_nodes "web") == 0 end, 5, "the goodbyes")
      d:stop()
    end
    web.kill()
    r:kill()
  end)
end)

describe("messages", function()
  it("twice, late, lost, out of order and malformed, by the thousand: the table is right in the end", function()
    local r = redis.start{ over = "plain" }
    local mine = assert(discover.start(r:url(), "web", "127.0.0.1:1", nodes.fast{ log_level = "off" }))
    local d = assert(discover.open(r:url(), nodes.fast{ calls = { web = {} }, log_level = "off" }))
    math.randomseed(11)
    for i = 1, 3000 do
      local kind, text = i % 6
      if kind == 0 then text = "127.0.0.1:1 100"                        -- twice and more
      elseif kind == 1 then text = "127.0.0.1:2 " .. math.random(1, 99) -- of a node that came and went
      elseif kind == 2 then text = "127.0.0.1:2 0"
      elseif kind == 3 then text = "127.0.0.1:1 0"                      -- late: said before the last registration
      elseif kind == 4 then
        local bytes = {}
        for j = 1, math.random(0, 60) do bytes[j] = string.char(math.random(0, 255)) end
        text = table.concat(bytes)
      else
        text = ("127.0.0.1:1 %s"):format(({ "-1", "1e3", "99999999999999999999", "nan", "1 1" })[math.random(5)])
      end
      r:cli("PUBLISH", "CH_web", text)
      if i % 500 == 0 then assert.equal("table", type(d:get_app_nodes "web")) end
    end
    -- Lost ones: written, and told to nobody.
    r:cli("SETEX", "web_127.0.0.1:3", 600, "1")
    r:cli("HSET", "web", "127.0.0.1:3", 30)
    r:cli("PUBLISH", "CH_web", "127.0.0.1:2 0")
    nodes.await(d, "web", "127.0.0.1:1/100 127.0.0.1:3/30", 8)
    assert.equal("100", r:cli("HGET", "web", "127.0.0.1:1"))
    mine:stop()
    nodes.await(d, "web", "127.0.0.1:3/30", 5)
    d:stop()
    r:kill()
  end)
end)

describe("a registrant", function()
  it("that is stopped for longer than its ttl and goes on: no failed call, back by itself", function()
    local r = redis.start{ over = "plain" }
    local web = service.nginx({ ["/name"] = "here" }, "0.0.0.0")
    local frozen, other = remote.start(), remote.start()
    for i, p in ipairs{ frozen, other } do
      p:run("d = assert(discover.start(...))", r:url(), "web", ("127.0.3.%d:%d"):format(i, web.port), nodes.fast())
    end
    local name = "127.0.3.1:" .. web.port
    local l = load.start(r:url(), "web", { opts = nodes.fast() })
    frozen:kill "STOP"
    -- 12 s of a ttl of 10, in proportion, and until everybody took it out.
    wait.until_true(function() return r:cli("HEXISTS", "web", name) == 0 end, 2 * 2 + 2 * 1.2 + 4, "its removal")
    local before = wait.now()
    frozen:kill "CONT"
    wait.until_true(function()
      return r:hash("web")[name] == "100" and r:cli("EXISTS", "web_" .. name) == 1 and l:counts().nodes[name] == "up"
    end, 5, "its return")
    assert.is_true(wait.now() - before < wait.scale(5))
    local counts = l:finish()
    assert.equal(0, counts.failed, table.concat(counts.why, "\n"))
    frozen:run "assert(d:registered()) d:stop()"
    other:run "d:stop()"
    frozen:finish()
    other:finish()
    assert.same({}, r:keys())
    web.kill()
    r:kill()
  end)
end)
