-- random_main - a program that does everything with futures in a random order, also inside their own callbacks.
--
--   lua random_main.lua SEED ROUNDS SERVICE HOLE   -- the addresses of a service and of a peer that is mute
--
-- Prints what it did, and "done" when no callback came twice and all memory of the library is back.
local discover = require "discover"
local seed, rounds, addr, hole = tonumber(arg[1]), tonumber(arg[2]), arg[3], arg[4]
local random = math.random
math.randomseed(seed)

local MOST_LIVE, DEEPEST, STEPS = 60, 5, 120
local d, async
local live, depth = {}, 0
local made, told, twice, steps = 0, 0, 0, 0
local act

local function some() return live[random(math.max(1, #live))] end

-- A callback that is to come once. It goes on at random, and raises now and then.
local function once()
  made = made + 1
  local came = false
  return function()
    if came then twice = twice + 1 end
    came = true
    told = told + 1
    if random() < 0.4 then act() end
    if random() < 0.02 then error "on purpose" end
  end
end

-- A callback of the library's machinery, which goes on at random.
local function hook()
  if random() < 0.08 then act() end
end

local function reader()
  return random() < 0.5 and ("x"):rep(random(5000)) or nil
end

local STARTS = {
  function() return async:get("svc", "/name") end,
  function() return async:get("svc", "/slow?ms=" .. random(30)) end,
  function() return async:get("mute", "/") end,
  function() return async:get("dead", "/") end,
  function() return async:get("half", "/name") end,
  function() return async:post("svc", "/echo", reader) end,
  function() return async:open("svc", "/ws/echo") end,
  function() return async:manual_request_with_node("GET", "svc", addr, "/big?bytes=300000") end,
  function()
    return async:request { app = "svc", path = "/name", method = "POST", data = { a = 1 }, retry = "always",
      timeout = 0.01 }
  end,
  function()
    return async:request { app = "svc", path = "/big?bytes=200000", stream = random() < 0.5, progress = hook,
      deadline = 0.05 + random() }
  end,
}

local function start()
  local f = STARTS[random(#STARTS)]()
  if random() < 0.5 then f:on(once()) end
  if random() < 0.7 and #live < MOST_LIVE then live[#live + 1] = f end
  if random() < 0.05 then coroutine.wrap(function() pcall(f.await, f) end)() end
end

-- What came of one, used a little.
local function use(f)
  local value = f:ready() and f:wait(0)
  if not value then return end
  pcall(function() value:read(random(100000)) end)
  if random() < 0.5 then pcall(function() value:close() end) end
end

-- Each with how often it is taken.
local ACTIONS = {
  { 30, function(f) f:cancel() end }, { 16, function(f) f:wait(random() < 0.5 and 0 or random() * 0.02) end },
  { 8, function(f) pcall(discover.wait_any, { f, some(), some() }, random() * 0.02) end },
  { 4, function(f) pcall(discover.wait_all, { f, some() }, random() * 0.02) end },
  { 16, function() table.remove(live, random(#live)) end }, { 8, function(f) f:on(once()) end }, { 8, use },
  { 12, function() d:poll(random() * 0.005) end }, { 8, function() d:poll { max = random(3) } end },
  { 4, function() d:poll { budget = 0.0001 } end }, { 4, function() d:get("svc", "/name") end },
  { 2, function() d:get("half", "/name") end },
  { 2, function() collectgarbage(random() < 0.2 and "collect" or "step") end },
  { 1, function() return d:timeout(), d:pollfd() end }, { 1, function() d:wait(random() * 0.01) end },
  { 1, function() d:stop(random() < 0.5 and 0 or random() * 0.05) end },
}
local lots = 0
for _, action in ipairs(ACTIONS) do lots = lots + action[1] end

function act()
  if depth > DEEPEST then return end
  depth = depth + 1
  for _ = 1, random(3) do
    steps = steps + 1
    local f, lot = some(), random(lots)
    if not f or random() < 0.35 then
      start()
    else
      for _, action in ipairs(ACTIONS) do
        lot = lot - action[1]
        if lot <= 0 then
          action[2](f)
          break
        end
      end
    end
  end
  depth = depth - 1
end

local function maybe(share, value)
  if random() < share then return value end
  return nil
end

local function begin()
  d = assert(discover.new {
    log_level = "off", route = maybe(0.5, hook), logger = maybe(0.3, hook),
    balancer = { next = maybe(0.5, function(_, nodes) hook() return nodes[1] end), response = hook },
    calls = {
      ["*"] = { connect_timeout = 5, deadline = 0.5 + random() },
      svc = { max_in_flight = random(6), queue = random(0, 20), deadline = 0.2 + random() * 0.5, timeout = 0.3,
              max_in_flight_per_node = maybe(0.5, random(4)) },
      half = { max_in_flight_per_node = 1, queue = 10, deadline = 0.3 },
      mute = { max_in_flight = 2, queue = 5, deadline = 0.3, probe = maybe(0.5, "/name") },
      dead = { probe = "/name", deadline = 0.3 },
    },
  })
  d:set_node("svc", addr, 10)
  d:set_node("half", addr, 10)
  d:set_node("half", hole, 10)
  d:set_node("mute", hole, 10)
  d:set_node("dead", "127.0.0.1:1", 10)
  async = d:async()
end

local function rest()
  live, d, async = {}, nil, nil
  for _ = 1, 3 do collectgarbage() end
end

local function blocks()
  local one = discover.new()
  local n = one:stats().memory_blocks
  one:stop()
  return n
end

-- What a process keeps once it has made a call.
begin()
d:get("svc", "/name")
d:stop()
rest()
local before = blocks()

for _ = 1, rounds do
  begin()
  for _ = 1, STEPS do
    act()
    if random() < 0.3 then d:poll(0.002) end
  end
  -- Stopped, with or without time for what is under way, or forgotten; its futures may outlive it.
  local how = random(3)
  if how == 1 then d:stop() elseif how == 2 then d:stop(0.1) end
  if random() < 0.5 then live = {} end
  if how == 3 then d, async = nil, nil end
  if random() < 0.5 then collectgarbage() end
end
rest()
local kept = blocks()
print(("%d steps, %d callbacks, %d came"):format(steps, made, told))
assert(twice == 0, twice .. " came twice")
assert(kept <= before, ("%d blocks of memory at first, %d at last"):format(before, kept))
print "done"
