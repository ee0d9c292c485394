-- service - an HTTP service (lua-http), a node of the app "hello"; /echo gives back what it is sent.
--   examples/run examples/service.lua [registry [weight [host:port]]]
--
-- Heartbeats go on in a thread of the discoverer, whatever the service is busy with.
local discover = require "discover"
local http_headers = require "http.headers"
local http_server = require "http.server"

local registry = arg[1] or "redis://127.0.0.1:6379/15"
local host, port = (arg[3] or "127.0.0.1:0"):match "^(.*):(%d+)$" -- port 0: any free one
local addr

local server = assert(http_server.listen {
  host = host, port = tonumber(port), tls = false, version = 1.1,
  onstream = function(_, stream)
    local request = assert(stream:get_headers())
    -- Read whatever is sent: what is left over would be taken for the next request on the connection.
    local body, kind = assert(stream:get_body_as_string()), request:get "content-type"
    if request:get ":path" ~= "/echo" then
      body, kind = ("hello %s, this is %s\n"):format(request:get "x-discover-from-app" or "stranger", addr), nil
    end
    local answer, is_head = http_headers.new(), request:get ":method" == "HEAD"
    answer:append(":status", "200")
    answer:append("content-type", kind or "text/plain")
    answer:append("content-length", tostring(#body))
    assert(stream:write_headers(answer, is_head))
    if not is_head then assert(stream:write_body_from_string(body)) end
  end,
  onerror = function(_, _, op, why) io.stderr:write(op, ": ", tostring(why), "\n") end,
})
assert(server:listen())
addr = host .. ":" .. select(3, server:localname())

-- Registered once it listens. signals: SIGTERM and Ctrl-C take the node out before the process ends.
local d = assert(discover.start(registry, "hello", addr, { weight = tonumber(arg[2] or 100), signals = true }))
print(("serving on %s, registered: %s"):format(addr, tostring(d:registered())))
io.stdout:flush()
assert(server:loop())
d:stop()
