-- tls - calls over TLS, with an authority of one's own.
--
--   examples/run examples/tls.lua <registry> <app> <ca.pem> [server_name]
--
-- Nodes are registered by address, certificates carry names: server_name says which name is expected of them.
local discover = require "discover"
local registry, app, ca, server_name = arg[1], arg[2], arg[3], arg[4]
if not ca then
  print("usage: examples/run examples/tls.lua <registry> <app> <ca.pem> [server_name]")
  os.exit(2)
end

-- HTTP/2 where the node speaks it (ALPN), else 1.1; verified by default, TLS 1.2 at least. With `cert` and `key` in
-- `tls` the client shows a certificate of its own.
local d = assert(discover.open(registry, {
  calls = { [app] = { ssl = true, http2 = true, tls = { ca = ca, server_name = server_name } } },
}))

local res = d:get(app, "/")
if res.ok then
  print("HTTP/" .. res.http_version, "from", res.node)
  print(res.body)
else
  -- Who cannot be trusted is an error that says why; nothing falls back to plain.
  print("failed", res.err, res.why)
end
d:stop()
