-- client - calls the app "hello" (examples/service.lua) with retries, and passes headers of an incoming request on.
--
--   examples/run examples/client.lua [registry]
local discover = require "discover"

local d = assert(discover.open(arg[1] or "redis://127.0.0.1:6379/15", {
  calls = {
    hello = {
      timeout = "500ms", -- one attempt
      deadline = 2,      -- the whole call, retries included
      retry = "idempotent", -- GET goes to another node when one fails; POST only if nothing of it was sent
      token = discover.secret_from_env "HELLO_TOKEN", -- nil when it is not set
    },
  },
}))

-- What a web server hands you: calls made through `from` carry the request id, the user, the client's address, ...
local caller = d:from {
  headers = { ["X-Request-Id"] = "r-1", ["X-User-Id"] = "7", Cookie = "never relayed" },
  remote_addr = "203.0.113.9:51000", host = "shop.example", scheme = "https",
}

local res = caller:get("hello", "/", { Accept = "text/plain" })
if res.ok then
  io.write(res.status, " from ", res.node, " after ", res.attempts, " attempt(s): ", res.body)
else
  print("failed", res.err, res.why)
  for i, attempt in ipairs(res.trace) do print(i, attempt.node, attempt.status, attempt.err, attempt.seconds) end
end

-- A table becomes JSON; the answer of any status can be looked at.
local answer = caller:post("hello", "/orders", { item = "tea", count = 2 }, { ["Idempotency-Key"] = "order-1" })
print("POST", answer.status, answer:header "content-type")
d:stop() -- Lua 5.4: or `local d <close> = ...`
