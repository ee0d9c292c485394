-- registry - how fast a message reaches pick, and what reading a large app costs.
local discover = require "discover"
local measure = require "bench.measure"
local redis = require "spec.support.redis"

local NODES = 10000

-- Milliseconds from sending PUBLISH until pick shows it; every second message is a goodbye. A subscriber in this
-- process gets the same message; pick is asked only after it has it, so that no busy loop disturbs Redis.
local function latencies(r, count)
  local publisher, subscriber = assert(r:connect()), assert(r:connect())
  local d = assert(discover.open(r:url(), { calls = { pub = {} } }))
  assert(d:ready(5))
  assert(subscriber:call("SUBSCRIBE", "CH_pub"))
  local ours, plain = {}, {}
  for i = 1, count do
    local arrives = i % 2 == 1
    local start = measure.now()
    publisher:send("PUBLISH", "CH_pub", "127.0.0.1:9 " .. (arrives and 100 or 0))
    subscriber:read()
    plain[i] = (measure.now() - start) * 1000
    repeat
      local node = d:pick "pub"
      if node then node:done() end
    until (node ~= nil) == arrives
    ours[i] = (measure.now() - start) * 1000
    publisher:read()
  end
  d:stop()
  publisher:close()
  subscriber:close()
  return ours, plain
end

local function latency_rows(r, settings)
  local ours, plain = latencies(r, settings.count(20000, 2000))
  local rows = {}
  for _, p in ipairs { 50, 99 } do
    local mine, theirs = measure.percentile(ours, p / 100), measure.percentile(plain, p / 100)
    rows[#rows + 1] = {
      what = ("PUBLISH to visible in pick, p%d"):format(p), unit = "ms", ours = mine, peer = theirs,
      ratio = mine / theirs, peer_name = "a plain subscriber receives it (LuaSocket)",
      target = p == 99 and measure.at_most(5, "ours", "<= 5 ms") or nil,
    }
  end
  return rows
end

local function address(i)
  return ("10.1.%d.%d:8080"):format(i // 256, i % 256)
end

local function fill(r)
  local connection = assert(r:connect(60))
  for first = 1, NODES, 500 do
    local keys, fields = {}, {}
    for i = first, first + 499 do
      keys[#keys + 1], keys[#keys + 2] = "big_" .. address(i), "1"
      fields[#fields + 1], fields[#fields + 2] = address(i), "100"
    end
    assert(connection:call("MSET", table.unpack(keys)))
    assert(connection:call("HSET", "big", table.unpack(fields)))
  end
  connection:close()
end

-- Milliseconds of the first read, and bytes that a node takes after it.
local function read_app(r)
  local d = assert(discover.open(r:url(), { calls = { small = {} }, start_timeout = 10 }))
  assert(d:ready(5))
  collectgarbage()
  local before = d:stats().memory_bytes
  local start = measure.now()
  assert(d:add_external_app("big", {}))
  local took = (measure.now() - start) * 1000
  assert(d:pick "big"):done()
  local bytes = (d:stats().memory_bytes - before) / NODES
  d:stop()
  return took, bytes
end

-- HGETALL and an EXISTS for each node, one after the other: how it is done without MGET.
local function read_one_by_one(r)
  local connection = assert(r:connect(60))
  local start = measure.now()
  local list = assert(connection:call("HGETALL", "big"))
  for i = 1, list.n, 2 do connection:call("EXISTS", "big_" .. list[i]) end
  local took = (measure.now() - start) * 1000
  connection:close()
  return took
end

local function read_rows(r, settings)
  fill(r)
  local bytes = {}
  local figures = measure.rounds(settings.rounds, {
    { "ours", function()
      local took, per_node = read_app(r)
      bytes[#bytes + 1] = per_node
      return took
    end },
    { "plain", function() return read_one_by_one(r) end },
  })
  return {
    {
      what = "reading an app of 10,000 nodes", unit = "ms", ours = measure.median(figures.ours),
      peer = measure.median(figures.plain), ratio = measure.ratio(figures.ours, figures.plain),
      peer_name = "HGETALL and 10,000 EXISTS (LuaSocket)", target = measure.at_most(100, "ours", "<= 100 ms"),
    },
    {
      what = "memory of a node after that", unit = "bytes", ours = measure.median(bytes),
      target = measure.at_most(400, "ours", "<= 400 bytes"),
    },
  }
end

return function(settings)
  local r = redis.start()
  local rows = latency_rows(r, settings)
  for _, row in ipairs(read_rows(r, settings)) do rows[#rows + 1] = row end
  return rows
end
