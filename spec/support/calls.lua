-- calls - short ways to discoverers, nodes and servers, for the specs of spec/calls.
local discover = require "discover"
local proc = require "spec.support.proc"
local scripted = require "spec.support.scripted"

local calls = {}

-- The weight of a node that surely comes first: others join at 0 to 1 / weight behind it.
calls.FIRST = 1000000

-- A discoverer that is stopped when the spec file ends.
function calls.stop_at_end(d)
  proc.at_end(function() d:stop() end)
  return d
end

-- A discoverer without a registry. Nodes of its app "svc": a list of addresses, servers or {address or server, weight}.
-- It logs to a logger only: failing nodes are what these specs are about.
function calls.client(nodes, opts)
  opts = opts or {}
  if not opts.logger and not opts.log_level then opts.log_level = "off" end
  local d = calls.stop_at_end(assert(discover.new(opts)))
  calls.set(d, "svc", nodes)
  return d
end

-- Sets nodes of an app by hand, in the forms above.
function calls.set(d, app, nodes)
  for _, node in ipairs(nodes or {}) do
    local weight = 100
    if type(node) == "table" and not node.addr then node, weight = node[1], node[2] end
    assert(d:set_node(app, type(node) == "table" and node.addr or node, weight))
  end
end

-- A server that answers every request alike, kept alive.
function calls.answering(status, body, lines)
  return scripted.http("read_request", { "respond", status or 200, body or "", lines }, "loop")
end

-- How often each node was picked in n picks, each done at once.
function calls.picks(d, n, app, request)
  local count = {}
  for _ = 1, n do
    local node = assert(d:pick(app or "svc", request))
    count[node.addr] = (count[node.addr] or 0) + 1
    node:done()
  end
  return count
end

-- How often each node answered in n GETs; every one must succeed.
function calls.gets(d, n, app, path)
  local count = {}
  for _ = 1, n do
    local res = d:get(app or "svc", path or "/")
    if not res.ok then error(tostring(res), 2) end
    count[res.node] = (count[res.node] or 0) + 1
  end
  return count
end

-- The node object of an address.
function calls.node(d, server, app)
  return (assert(d:get_app_nodes(app or "svc"))[type(server) == "table" and server.addr or server])
end

-- The nodes of a result's trace, in order, joined by blanks.
function calls.path(res)
  local list = {}
  for i, attempt in ipairs(res.trace) do list[i] = attempt.node end
  return table.concat(list, " ")
end

-- What the service's route /digest says of these bytes, after their number.
function calls.digest(text)
  local sum = 5381
  for i = 1, #text, math.max(1, math.floor(#text / 5000)) do sum = (sum * 33 + text:byte(i)) % 4294967296 end
  return ("%.0f"):format(sum)
end

-- A logger that keeps its records: list, fn.
function calls.journal()
  local list = {}
  return list, function(record) list[#list + 1] = record end
end

return calls
