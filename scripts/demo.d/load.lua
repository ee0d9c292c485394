-- load - the client of the demo: calls the app "hello" without a pause while things break, and counts.
--
--   load.lua <registry> <folder of the demo> <pid of the service with weight 7>
local discover = require "discover"

local registry, dir, victim = arg[1], arg[2], arg[3]
local root = arg[0]:match "^(.*)/[^/]*$"
local redis = ("%s/redis %s "):format(root, dir)

local total, failed = 0, 0
local bold = os.execute "test -t 1" and "\27[1m==>\27[0m " or "==> "

local function say(...)
  print(bold .. string.format(...))
  io.stdout:flush()
end

-- Wall-clock seconds with a fraction: plain Lua has none, a discoverer's results do.
local clock = 0

local d <close> = assert(discover.open(registry, { calls = { hello = { timeout = 1 } }, log_level = "off" }))
assert(d:ready(5))

local function weights()
  local list = {}
  for addr, node in pairs(d:get_app_nodes "hello") do list[addr] = node.weight end
  return list
end

-- One call, counted into `seen`.
local function call(seen)
  local res = d:get("hello", "/")
  clock = clock + res.elapsed
  total, seen.calls = total + 1, seen.calls + 1
  if res.attempts > 1 then seen.retried = seen.retried + 1 end
  if not res.ok then
    failed = failed + 1
    print("    FAILED: " .. tostring(res))
  else
    seen.nodes[res.node] = (seen.nodes[res.node] or 0) + 1
  end
end

local function show(seen, before)
  local sum, order = 0, {}
  for addr, weight in pairs(before) do
    order[#order + 1] = addr
    sum = sum + weight
  end
  table.sort(order, function(a, b) return before[a] < before[b] end)
  print(("    %-18s %7s %8s %8s %9s"):format("node", "weight", "calls", "share", "expected"))
  for _, addr in ipairs(order) do
    local n = seen.nodes[addr] or 0
    print(("    %-18s %7d %8d %7.1f%% %8.1f%%"):format(addr, before[addr], n, 100 * n / seen.calls,
      100 * before[addr] / sum))
  end
  print(("    %d calls, %d of them needed another node, %d failed so far"):format(seen.calls, seen.retried, failed))
  io.stdout:flush()
end

-- Calls for `seconds` spent in calls, and then on until `done` says so (at most `limit` seconds).
local function load(seconds, done, limit)
  local seen = { calls = 0, retried = 0, nodes = {} }
  local start = clock
  repeat
    call(seen)
    local spent = clock - start
    if spent > (limit or seconds) then break end
  until spent >= seconds and (not done or done())
  return seen
end

say "load: one client calls the app \"hello\" without a pause, for 3 seconds"
local before = weights()
local dead
for addr, weight in pairs(before) do
  if weight == 7 then dead = addr end
end
show(load(3), before)

say("SIGKILL for the busiest service, %s, and on for 5 seconds: its calls go to the others", dead)
os.execute("kill -KILL " .. victim)
local left = weights()
left[dead] = nil
show(load(5), left)

say "Redis is stopped; on for 5 seconds with what is known"
assert(os.execute(redis .. "stop"))
show(load(5), left)

say "Redis is started again, empty; on until the services are back in it by themselves"
assert(os.execute(redis .. "start"))
local db = registry:match "/(%d+)$"
local port = registry:match ":(%d+)/"

-- What an operator sees.
local function rows()
  local pipe = assert(io.popen(("redis-cli -p %s -n %s hgetall hello"):format(port, db)))
  local text = pipe:read "a"
  pipe:close()
  return text
end

local function back()
  local text = rows()
  for addr in pairs(left) do
    if not text:find(addr, 1, true) then return false end
  end
  return true
end

-- Asking Redis takes longer than a call: not after every one.
local asked = clock
show(load(2, function()
  if clock - asked < 0.2 then return false end
  asked = clock
  return back()
end, 20), left)
if back() then
  say "redis-cli hgetall hello"
  print("    " .. rows():gsub("\n(%d+)\n", " %1\n    "):gsub("%s+$", ""))
else
  failed = failed + 1
  print "    FAILED: the services did not come back"
end

say("%d calls, %d failed", total, failed)
os.exit(failed == 0, true)
