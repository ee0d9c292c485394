-- loop_socket - calls beside LuaSocket: socket.select waits for sockets and for the discoverer.
--
--   examples/run examples/loop_socket.lua [registry [calls]]
local discover = require "discover"
local socket = require "socket"

local d = assert(discover.open(arg[1] or "redis://127.0.0.1:6379/15", { calls = { hello = {} } }))
local calls, n, polls = d:async(), tonumber(arg[2] or 1000), 0
local server = assert(socket.bind("127.0.0.1", 0)) -- whatever else the program waits for

-- One round: select asks d:getfd(); what is readable is served.
local function round(seconds)
  for _, readable in ipairs((socket.select({ d, server }, nil, seconds))) do
    if readable == d then
      polls = polls + 1
      d:poll()
    else
      assert(readable:accept()):close()
    end
  end
end

local before, finish = polls, socket.gettime() + 2
while socket.gettime() < finish do round(finish - socket.gettime()) end
print(("idle: %d polls"):format(polls - before))

local left, ok = n, 0
local function call_again(res)
  if res and res.ok then ok = ok + 1 end
  if left == 0 then return end
  left = left - 1
  calls:get("hello", "/"):on(call_again)
end
for _ = 1, 10 do call_again() end
while ok < n do round(10) end
print(("%d calls: %d polls"):format(ok, polls))
d:stop()
