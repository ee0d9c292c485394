-- route - rewrites calls before a node is looked up: an app that was renamed, users who see the next version first.
--
--   examples/run examples/route.lua [registry]
local discover = require "discover"

local d = assert(discover.open(arg[1] or "redis://127.0.0.1:6379/15"))

d:set_route(function(ac, request)
  -- app, method, path, data and headers may be changed. The caller's request is nil for calls made without `from`.
  if ac.app == "greeter" then ac.app = "hello" end
  if request and request.headers["X-User-Id"] == "7" then ac.path = "/next" .. ac.path end
  ac.headers["X-Routed"] = "yes"
end)

print(d:get("greeter", "/"))

local caller = d:from { headers = { ["X-User-Id"] = "7" } }
print(caller:get("greeter", "/"))
d:stop()
