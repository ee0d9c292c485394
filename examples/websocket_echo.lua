-- websocket_echo - a WebSocket server (lua-http) that registers itself as a node of the app "echo".
--
--   examples/run examples/websocket_echo.lua [registry [host:port]]
local discover = require "discover"
local http_server = require "http.server"
local http_websocket = require "http.websocket"

local host, port = (arg[2] or "127.0.0.1:0"):match "^(.*):(%d+)$" -- port 0: any free one

local server = assert(http_server.listen {
  host = host, port = tonumber(port), tls = false, version = 1.1,
  onstream = function(_, stream)
    local ws = assert(http_websocket.new_from_stream(stream, (assert(stream:get_headers()))))
    assert(ws:accept { protocols = { "chat" } })
    while true do
      local data, kind = ws:receive()
      if not data then return end
      assert(ws:send(data, kind))
    end
  end,
  onerror = function(_, _, op, why) io.stderr:write(op, ": ", tostring(why), "\n") end,
})
assert(server:listen())
local addr = host .. ":" .. select(3, server:localname())

local d = assert(discover.start(arg[1] or "redis://127.0.0.1:6379/15", "echo", addr, { signals = true }))
print(("serving on %s, registered: %s"):format(addr, tostring(d:registered())))
io.stdout:flush()
assert(server:loop())
d:stop()
