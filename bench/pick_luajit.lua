-- pick_luajit - run by bench/parts/pick.lua in a LuaJIT: nanoseconds of a pick and its report, by the Lua C API and by
-- the FFI, in turns; prints "<nodes> <C API> <FFI>" for each number of nodes given.
local discover = require "discover"
local ffi_picker = require("discover.ffi").picker

local count, rounds = tonumber(arg[1]), tonumber(arg[2])

local function cost(fn)
  local start = os.clock()
  fn()
  return (os.clock() - start) / count * 1e9
end

local function median(list)
  table.sort(list)
  return list[math.floor(#list / 2) + 1]
end

for i = 3, #arg do
  local d, n = assert(discover.new()), tonumber(arg[i])
  for k = 1, n do
    assert(d:set_node("bench", ("10.%d.%d.%d:80"):format(k / 65536, k / 256 % 256, k % 256), 100))
  end
  local picker = ffi_picker(d)
  local pick, done = picker.pick, picker.done
  local function by_api() for _ = 1, count do d:pick("bench"):done(true) end end
  local function by_ffi() for _ = 1, count do done(pick "bench", true) end end
  local api, ffi = {}, {}
  cost(by_api)
  cost(by_ffi)
  for round = 1, rounds do
    api[round], ffi[round] = cost(by_api), cost(by_ffi)
  end
  print(n, median(api), median(ffi))
  d:stop()
end
