-- Ten thousand calls in flight on one thread, against a real server.
local calls = require "spec.support.calls"
local discover = require "discover"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local FULL = _VERSION == "Lua 5.4" and 10000 or 2500
local COUNT = math.max(1000, math.floor(FULL / (wait.slow * wait.slow)))

describe("ten thousand futures #api", function()
  local nodes, d

  lazy_setup(function()
    nodes = { service.nginx(), service.nginx() }
    d = calls.client(nodes, { calls = { svc = { timeout = 60, deadline = 120 } } })
  end)

  local function in_flight()
    local sum = 0
    for _, node in ipairs(nodes) do sum = sum + calls.node(d, node).in_flight end
    return sum
  end

  local function check_at_rest()
    assert.equal(0, in_flight())
    assert.equal(0, d:poll())
  end

  it("in flight at once all come back, told once each by on", function()
    local async, told, sum = d:async(), {}, 0
    for i = 1, COUNT do
      async:get("svc", "/"):on(function(res)
        assert(res.body == "hello", tostring(res))
        told[i] = (told[i] or 0) + 1
        sum = sum + 1
      end)
    end
    assert.is_true(in_flight() + sum > COUNT / 2, in_flight() .. " in flight")
    wait.until_true(function()
      d:poll(0.1)
      return sum >= COUNT
    end, 60, "all of them")
    for i = 1, COUNT do if told[i] ~= 1 then error(i .. " was told " .. tostring(told[i]) .. " times") end end
    check_at_rest()
  end)

  it("are waited for together", function()
    local async, futures = d:async(), {}
    for i = 1, COUNT do futures[i] = async:get("svc", "/") end
    assert(discover.wait_all(futures))
    for i = 1, COUNT do
      local res = futures[i]:wait(0)
      if res.body ~= "hello" then error(tostring(res)) end
    end
    check_at_rest()
  end)

  it("are canceled together, and the next call is as fast as ever", function()
    local async, futures = d:async(), {}
    for i = 1, COUNT do futures[i] = async:get("svc", "/") end
    local canceled = 0
    for i = 1, COUNT do if futures[i]:cancel() then canceled = canceled + 1 end end
    assert.is_true(canceled > 0)
    local ends = 0
    for i = 1, COUNT do if futures[i]:wait(0).err == "canceled" then ends = ends + 1 end end
    assert.equal(canceled, ends)
    wait.within(5, function() assert.is_true(d:get("svc", "/").ok) end)
    for _, node in ipairs(nodes) do assert.equal(0, calls.node(d, node).failed_times) end
    check_at_rest()
  end)

  it("a poll with a budget stays short while they are under way", function()
    local async, left = d:async(), COUNT
    for _ = 1, COUNT do async:get("svc", "/"):on(function() left = left - 1 end) end
    local longest, polls = 0, 0
    wait.until_true(function()
      for _ = 1, 100 do
        local start = wait.now()
        d:poll{ budget = "1ms" }
        longest = math.max(longest, wait.now() - start)
        polls = polls + 1
        if left == 0 then break end
      end
      return left == 0
    end, 60, "all of them")
    assert.is_true(polls > 10, polls .. " polls")
    assert.is_true(longest < wait.scale(0.5), longest .. " s in one poll")
    check_at_rest()
  end)
end)
