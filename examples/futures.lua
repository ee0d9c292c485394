-- futures - many calls at once from one thread: wait for all, take the first, read on in coroutines.
--
--   examples/run examples/futures.lua [registry]
--
-- Calls the app "hello" (examples/service.lua).
local discover = require "discover"
local d = assert(discover.open(arg[1] or "redis://127.0.0.1:6379/15", { calls = { hello = { timeout = 5 } } }))
local async = d:async()

-- Ten calls are under way before the first answer is there.
local futures = {}
for i = 1, 10 do futures[i] = async:get("hello", "/" .. i) end
assert(discover.wait_all(futures, 10))
local answered = 0
for _, future in ipairs(futures) do
  if future:wait().ok then answered = answered + 1 end
end
print("all", answered .. " of " .. #futures .. " answered")

-- The first answer counts; what is still under way is broken off, and no node is blamed for it.
futures = { async:get("hello", "/left"), async:get("hello", "/right") }
local first = assert(discover.wait_any(futures, 10))
for _, future in ipairs(futures) do future:cancel() end
print("any", first:wait())

-- A coroutine reads as if it waited; d:poll() resumes it when its answer is there.
local working = 2
for name = 1, working do
  coroutine.wrap(function()
    local login = async:post("hello", "/login", { name = name }):await()
    local score = async:get("hello", "/score"):await()
    print("coroutine " .. name, login.status or login.err, score.status or score.err)
    working = working - 1
  end)()
end
while working > 0 do d:poll(1) end
d:stop()
