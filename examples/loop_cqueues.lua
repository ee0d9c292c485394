-- loop_cqueues - calls inside a cqueues loop: one coroutine drives the discoverer, the others wait for answers.
--
--   examples/run examples/loop_cqueues.lua [registry [calls]]
local cqueues, condition = require "cqueues", require "cqueues.condition"
local discover = require "discover"

local d = assert(discover.open(arg[1] or "redis://127.0.0.1:6379/15", { calls = { hello = {} } }))
local calls, n, cq, polls = d:async(), tonumber(arg[2] or 1000), cqueues.new(), 0

cq:wrap(function()
  while d:poll() do -- nil once d is stopped
    cqueues.poll(d) -- asks d:pollfd(), d:events() and d:timeout()
    polls = polls + 1
  end
end)

-- cqueues wakes its coroutines itself: so not future:await().
local function await(future)
  local told = condition.new() -- by a d:poll() to come, even when it is ready already
  future:on(function() told:signal() end)
  told:wait()
  return future:wait(0)
end

cq:wrap(function()
  cqueues.sleep(2)
  print(("idle: %d polls"):format(polls))
  local left, ok = n, 0 -- ten callers
  for _ = 1, 10 do
    cq:wrap(function()
      while left > 0 do
        left = left - 1
        if await(calls:get("hello", "/")).ok then ok = ok + 1 end
        if ok == n then print(("%d calls: %d polls"):format(ok, polls)) d:stop() end
      end
    end)
  end
end)
assert(cq:loop())
