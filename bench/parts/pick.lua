-- pick - what choosing a node costs, by the number of nodes; beside the obvious loop in Lua over all nodes.
--
-- A pick never waits, so its time is that of the processor: what else runs on the machine is left out.
local discover = require "discover"
local measure = require "bench.measure"
local proc = require "spec.support.proc"

local function address(i)
  return ("10.%d.%d.%d:8080"):format(i // 65536, i // 256 % 256, i % 256)
end

-- The node with the smallest used/weight, found by looking at all of them.
local function scan(nodes)
  local best, least = nil, math.huge
  for i = 1, #nodes do
    local node = nodes[i]
    local load = node.used / node.weight
    if load < least then best, least = node, load end
  end
  best.used = best.used + 1
  return best
end

local function with_nodes(n)
  local d, nodes = assert(discover.new()), {}
  for i = 1, n do
    assert(d:set_node("bench", address(i), 100))
    nodes[i] = { addr = address(i), weight = 100, used = 0 }
  end
  return d, nodes
end

-- Nanoseconds of processor time that each of fn's `count` turns takes.
local function cost(fn, count)
  return function()
    local start = os.clock()
    fn()
    return (os.clock() - start) / count * 1e9
  end
end

local function rows_of(n, settings, target)
  local d, nodes = with_nodes(n)
  local count = settings.count(100000, 20000)
  local scans = math.max(20, math.min(count, settings.count(2000000, 400000) // n))

  local function pick()
    for _ = 1, count do d:pick "bench" end
  end

  local function pick_done()
    for _ = 1, count do d:pick("bench"):done(true) end
  end

  local function all()
    for _ = 1, scans do scan(nodes) end
  end

  local figures = measure.rounds(settings.rounds, {
    { "pick", cost(pick, count) },
    { "done", cost(pick_done, count) },
    { "scan", cost(all, scans) },
  })
  d:stop()
  local function row(what, name, aim)
    return {
      what = ("%s, %d nodes"):format(what, n), unit = "ns", ours = measure.median(figures[name]),
      peer = measure.median(figures.scan), ratio = measure.ratio(figures[name], figures.scan),
      peer_name = "a loop over all nodes in Lua", target = aim,
    }
  end
  return row("d:pick", "pick", target), row("d:pick and node:done", "done")
end

-- On LuaJIT the peer is our own other way. Needs build/luajit; without it these rows are left out.
local function luajit_rows(settings)
  local build = proc.root() .. "/build/luajit"
  if not proc.read_file(build .. "/lua/discover/core.so") then return {} end
  local root = proc.root()
  local text = proc.shell(("LUA_PATH='%s/lua/?.lua;%s/lua/?/init.lua' LUA_CPATH='%s/lua/?.so' luajit %s %d %d 10 10000")
    :format(root, root, build, root .. "/bench/pick_luajit.lua", settings.count(100000, 20000), settings.rounds))
  local rows = {}
  for n, api, ffi in text:gmatch "(%d+)%s+([%d.]+)%s+([%d.]+)" do
    rows[#rows + 1] = {
      what = ("pick and done by FFI, %s nodes"):format(n), unit = "ns", ours = tonumber(ffi), peer = tonumber(api),
      ratio = ffi / api, peer_name = "d:pick and node:done on LuaJIT",
    }
  end
  return rows
end

return function(settings)
  local rows, more = {}, {}
  for _, case in ipairs { { 2 }, { 10, 300 }, { 1000 }, { 10000, 1000 } } do
    local n, most = case[1], case[2]
    local target = most and measure.at_most(most, "ours", ("<= %d ns"):format(most))
    rows[#rows + 1], more[#more + 1] = rows_of(n, settings, target)
  end
  table.move(more, 1, #more, #rows + 1, rows)
  local others = luajit_rows(settings)
  return table.move(others, 1, #others, #rows + 1, rows)
end
