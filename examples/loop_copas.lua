-- loop_copas - calls beside Copas: for it a discoverer is one more socket, of which one task receives for ever.
--
--   examples/run examples/loop_copas.lua [registry [calls]]
local copas, discover, socket = require "copas", require "discover", require "socket"

local d = assert(discover.open(arg[1] or "redis://127.0.0.1:6379/15", { calls = { hello = {} } }))
local calls, n, polls = d:async(), tonumber(arg[2] or 1000), 0

-- Copas calls receive() whenever d:getfd() is readable; "timeout" makes it wait for that again.
local pollable = { getfd = function() return d:getfd() end, close = function() end }
function pollable.receive()
  polls = polls + 1
  return nil, d:poll() and "timeout" or "closed" -- closed: d is stopped
end
copas.addthread(function()
  repeat local _, why = copas.receive(pollable) until why == "closed"
end)

-- Whatever else the program serves.
copas.addserver(assert(socket.bind("127.0.0.1", 0)), function(client) client:close() end)

local before, finish = polls, socket.gettime() + 2
while socket.gettime() < finish do copas.step(finish - socket.gettime()) end
print(("idle: %d polls"):format(polls - before))

local left, ok = n, 0
local function call_again(res)
  if res and res.ok then ok = ok + 1 end
  if left == 0 then return end
  left = left - 1
  calls:get("hello", "/"):on(call_again)
end
for _ = 1, 10 do call_again() end
while ok < n do copas.step(10) end
print(("%d calls: %d polls"):format(ok, polls))
d:stop()
