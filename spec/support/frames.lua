-- frames - frames of RFC 6455 made by hand, also those that nobody should send.
--
--   frames.text("hi")  frames.binary(s)  frames.close(1000, "bye")  frames.ping(s)  frames.pong(s)
--   frames.make(opcode, payload, { fin = false, rsv = 4, mask = "abcd", length = n, form = 16 or 64 })
--   frames.hex(bytes)  frames.bytes(hex)
local frames = {}

local char, floor = string.char, math.floor

local function big_endian(number, bytes)
  local list = {}
  for i = bytes, 1, -1 do
    list[i] = char(number % 256)
    number = floor(number / 256)
  end
  return table.concat(list)
end
frames.big_endian = big_endian

local function xor(a, b)
  local result, bit = 0, 1
  while a > 0 or b > 0 do
    if a % 2 ~= b % 2 then result = result + bit end
    a, b, bit = floor(a / 2), floor(b / 2), bit * 2
  end
  return result
end

local function masked(payload, mask)
  local list = {}
  for i = 1, #payload do list[i] = char(xor(payload:byte(i), mask:byte((i - 1) % 4 + 1))) end
  return table.concat(list)
end

-- Options: fin (true), rsv (0..7), mask (4 bytes; servers send none), length (what the header claims), form (16 or
-- 64: the length is written so, however small).
function frames.make(opcode, payload, options)
  options = options or {}
  payload = payload or ""
  local length = options.length or #payload
  local first = (options.fin == false and 0 or 128) + (options.rsv or 0) * 16 + opcode
  local second, more = length, ""
  if options.form == 64 or length > 65535 then
    second, more = 127, big_endian(length, 8)
  elseif options.form == 16 or length > 125 then
    second, more = 126, big_endian(length, 2)
  end
  if options.mask then
    second, more = second + 128, more .. options.mask
    payload = masked(payload, options.mask)
  end
  return char(first, second) .. more .. payload
end

local function named(opcode)
  return function(payload, options) return frames.make(opcode, payload, options) end
end

frames.continuation = named(0)
frames.text = named(1)
frames.binary = named(2)
frames.ping = named(9)
frames.pong = named(10)

-- A close frame; without a code an empty one.
function frames.close(code, reason, options)
  return frames.make(8, code and big_endian(code, 2) .. (reason or "") or "", options)
end

function frames.hex(bytes)
  return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

function frames.bytes(hex)
  return (hex:gsub("%x%x", function(pair) return char(tonumber(pair, 16)) end))
end

return frames
