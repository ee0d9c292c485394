-- easy_start - a service configured by its environment alone; the address and the port are found by themselves.
--
--   DISCOVER_REGISTRY=redis://127.0.0.1:6379/15 DISCOVER_APP=hello DISCOVER_WEIGHT=100 \
--     examples/run examples/easy_start.lua
--
-- Also read: DISCOVER_LISTEN (host:port or port), DISCOVER_IPPREFIX, DISCOVER_CALLS, DISCOVER_CALLS_<app>.
local discover = require "discover"
local http_headers = require "http.headers"
local http_server = require "http.server"

-- Whatever opts say wins over the environment.
local d, ip, port = assert(discover.easy_start { signals = true })

local server = assert(http_server.listen {
  host = "0.0.0.0", port = port, tls = false, version = 1.1,
  onstream = function(_, stream)
    assert(stream:get_headers())
    local answer = http_headers.new()
    answer:append(":status", "204")
    assert(stream:write_headers(answer, true))
  end,
  onerror = function(_, _, op, why) io.stderr:write(op, ": ", tostring(why), "\n") end,
})
assert(server:listen())
print(("serving on %s:%d, registered: %s"):format(ip, port, tostring(d:registered())))
io.stdout:flush()
assert(server:loop())
d:stop()
