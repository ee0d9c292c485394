-- websocket - a conversation with the app "echo" over a WebSocket; nodes come from the registry as for any call.
--
--   examples/run examples/websocket_echo.lua [registry]     -- the service, in another terminal
--   examples/run examples/websocket.lua [registry]
local discover = require "discover"

local d = assert(discover.open(arg[1] or "redis://127.0.0.1:6379/15", { calls = { echo = {} } }))

-- Opened as a call is made: the next node when one fails, headers, token, relay (caller:open) and all.
local ws = assert(d:open { app = "echo", path = "/chat", protocols = { "chat" } })
print("open", ws.node, ws.protocol)

assert(ws:send "hello")                    -- text must be UTF-8
assert(ws:send("\0\1\2\255", "binary"))
for _ = 1, 2 do
  local data, kind = ws:receive(5)         -- nil, message, code: "timeout", or how it ended
  print("received", kind, #(data or ""))
end

-- Or let the messages come to a function while the discoverer runs.
local count = 0
ws:on_message(function(_, data, kind, code)
  if not data then return print("ended", code, kind) end
  count = count + 1
  if count == 3 then ws:close(1000, "thanks") end
end)
for i = 1, 3 do assert(ws:send("message " .. i)) end
d:wait(1)
print("closed", ws.state, ws.close_code, count)
d:stop()
