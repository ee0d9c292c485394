-- quickstart - discovery and load balancing in one process, with no server at all.
--
--   examples/run examples/quickstart.lua
--
-- "memory://name" is a registry inside this process; put "redis://127.0.0.1:6379/15" there and the same
-- program finds nodes on other machines.
local discover = require "discover"
local registry = "memory://quickstart"

-- Three nodes of the app "hello", with weights 1, 2 and 7.
local nodes = {}
for i, weight in ipairs { 1, 2, 7 } do
  nodes[i] = assert(discover.start(registry, "hello", "127.0.0.1:" .. 8080 + i, { weight = weight }))
end

-- A client follows the app and picks the node for each call.
local client = assert(discover.open(registry, { calls = { hello = {} } }))
local count = {}
for _ = 1, 1000 do
  local node = assert(client:pick "hello")
  count[node.addr] = (count[node.addr] or 0) + 1
  node:done(true)
end
for i = 1, 3 do
  local addr = "127.0.0.1:" .. 8080 + i
  print(addr, count[addr])
end

-- A node that stops is gone for everybody at once.
nodes[3]:stop()
for addr in pairs(client:get_app_nodes "hello") do print("still there", addr) end

for i = 1, 2 do nodes[i]:stop() end
client:stop()
