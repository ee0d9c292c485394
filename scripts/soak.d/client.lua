-- client - the program that is watched: it keeps 64 calls in flight, checks every answer, and counts.
--
--   client.lua <settings.json>      settings: registry, counts (file written twice a second), stop (file that ends it)
--
-- Counts are sums since the start; latencies in buckets that grow by 5 %, the first ends at 0.1 ms. A call to "soak" is
-- answered with what was asked, one to "quick" with its number only; one in eight is a POST.
local discover = require "discover"
local json = require "dkjson"

local IN_FLIGHT, STEP, FIRST = 64, math.log(1.05), 0.0001

local function read(path)
  local file = io.open(path)
  if not file then return nil end
  local text = file:read "a"
  file:close()
  return text
end

local settings = json.decode(assert(read(arg[1])))
local counts = { calls = 0, failed = 0, failed_gets = 0, wrong = 0, attempts = 0, codes = {}, why = {}, buckets = {} }
local bodies, flying, number = { "", ("s"):rep(3000), ("l"):rep(70000) }, 0, 0

-- What its descriptors are; the pipe that is read here is none of them.
local function descriptors()
  local pipe, list = assert(io.popen("readlink /proc/self/fd/1; exec ls -l /proc/$PPID/fd")), {}
  local own = pipe:read "l"
  for line in pipe:lines() do
    if not line:find(own, 1, true) then list[#list + 1] = line:match "%d+ %-> .*" end
  end
  pipe:close()
  return list
end

local function write()
  counts.written = (counts.written or 0) + 1
  local out = assert(io.open(settings.counts .. ".new", "w"))
  out:write(json.encode(counts))
  out:close()
  assert(os.rename(settings.counts .. ".new", settings.counts))
end

-- Every number in the answer is the one of this call, and it is there; its body came back as it went.
local function is_right(ask, text)
  local seen = 0
  for id in text:gmatch "id(%d+)x" do
    if tonumber(id) ~= ask.number then return false end
    seen = seen + 1
  end
  return seen > 0 and (ask.body == nil or text:find('"' .. ask.body .. '"', 1, true) ~= nil)
end

local function note(ask, res)
  flying = flying - 1
  counts.calls, counts.attempts = counts.calls + 1, counts.attempts + res.attempts
  local bucket = math.max(0, math.floor(math.log(math.max(res.elapsed, FIRST) / FIRST) / STEP))
  counts.buckets[tostring(bucket)] = (counts.buckets[tostring(bucket)] or 0) + 1
  if not res.ok then
    counts.failed = counts.failed + 1
    if ask.method == "get" then counts.failed_gets = counts.failed_gets + 1 end
    local code = tostring(res.err or res.status)
    counts.codes[code] = (counts.codes[code] or 0) + 1
    if #counts.why < 10 then counts.why[#counts.why + 1] = ask.method .. " " .. ask.path .. ": " .. tostring(res) end
  elseif not is_right(ask, res.body) then
    counts.wrong = counts.wrong + 1
    if #counts.why < 10 then counts.why[#counts.why + 1] = ask.path .. " got: " .. res.body:sub(1, 200) end
  end
end

local function begin(calls)
  number, flying = number + 1, flying + 1
  local ask = { number = number, method = "get", path = ("/echo?id=id%dx"):format(number) }
  local app = number % 4 == 0 and "soak" or "quick"
  if number % 8 == 0 then
    ask.method, ask.body = "post", ("id%dx%s"):format(number, bodies[number // 8 % #bodies + 1])
  end
  calls[ask.method](calls, app, ask.path, ask.body):on(function(res) note(ask, res) end)
end

local function open()
  local config = { timeout = 5, deadline = 30 }
  local d = assert(discover.open(settings.registry, { calls = { soak = config, quick = config }, log_level = "off" }))
  assert(d:ready(15))
  return d
end

-- The first one of a process leaves a pipe of libuv behind, for signals; that is not what is looked for.
open():stop()
local before = descriptors()
local d = open()
local calls = d:async()
local written = os.time()
write()
while not read(settings.stop) do
  -- A second has many turns; a look at a file in each would be seen in the figures.
  for _ = 1, 50 do
    while flying < IN_FLIGHT do begin(calls) end
    d:poll(0.01)
  end
  if os.time() ~= written then
    written = os.time()
    write()
  end
end
while flying > 0 do d:poll(0.1) end
d:stop()
collectgarbage()
local after = descriptors()
counts.left = #after - #before
if counts.left > 0 then counts.why[#counts.why + 1] = "open at the end: " .. table.concat(after, ", ") end
counts.over = true
write()
