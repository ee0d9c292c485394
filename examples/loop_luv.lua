-- loop_luv - calls inside a libuv loop (luv): a uv_poll handle drives the discoverer, coroutines await answers.
--
--   examples/run examples/loop_luv.lua [registry [calls]]
local discover = require "discover"
local uv = require "luv"

local d = assert(discover.open(arg[1] or "redis://127.0.0.1:6379/15", { calls = { hello = {} } }))
local calls, n, polls = d:async(), tonumber(arg[2] or 1000), 0

local driver = assert(uv.new_poll(d:pollfd()))
driver:start("r", function()
  polls = polls + 1
  if not d:poll() then driver:close() end -- nil once d is stopped: then its descriptor is readable for good
end)

local function start_calls()
  local left, ok = n, 0
  for _ = 1, 10 do
    coroutine.wrap(function()
      while left > 0 do
        left = left - 1
        if calls:get("hello", "/"):await().ok then ok = ok + 1 end -- d:poll() resumes this coroutine
        if ok == n then print(("%d calls: %d polls"):format(ok, polls)) d:stop() end
      end
    end)()
  end
end

local timer, before = uv.new_timer(), polls
timer:start(2000, 0, function()
  timer:close()
  print(("idle: %d polls"):format(polls - before))
  start_calls()
end)
uv.run()
