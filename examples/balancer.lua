-- balancer - an own load balancing algorithm in Lua: the node with the best average response time goes first.
--
--   examples/run examples/balancer.lua [registry]
local discover = require "discover"

local d = assert(discover.open(arg[1] or "redis://127.0.0.1:6379/15", { calls = { hello = {} } }))

d:set_load_balancer {
  -- `nodes` holds those not yet tried in this call and not isolated; return one of them.
  next = function(_, nodes)
    local best = nodes[1]
    for _, node in ipairs(nodes) do
      -- node.data is a table of your own per node; a node never tried counts as 0 seconds.
      if (node.data.average or 0) / node.weight < (best.data.average or 0) / best.weight then best = node end
    end
    return best
  end,
  -- Called after every attempt, failed ones too.
  response = function(_, node, err, _, seconds)
    if err then seconds = 10 end
    node.data.average = (node.data.average or seconds) * 0.8 + seconds * 0.2
  end,
}

for _ = 1, 5 do
  local res = d:get("hello", "/")
  print(res.node, res.status, res.err)
end
for addr, node in pairs(d:get_app_nodes "hello") do
  print(addr, ("%.2f ms"):format((node.data.average or 0) * 1000))
end
d:stop()
