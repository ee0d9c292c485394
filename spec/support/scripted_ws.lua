-- scripted_ws - steps of scripted_main that speak WebSocket: the handshake, raw frames, and what the client sends.
--
-- {"ws_accept", {protocol=, accept=, status=, lines=, upgrade=, connection=, version=, tail=}}: reads the handshake and
-- answers it; each part may be wrong; tail: bytes (hex) right behind it. {"ws_hex", hex [, pieces]}: these bytes, in
-- pieces of so many. {"ws_read", n}: n frames, noted as {event="frame", opcode=, fin=, rsv=, masked=, length=, hex=,
-- code=, reason=}. {"ws_close", {answer=false}}: reads frames up to the close frame and answers it by the same code.
-- "ws_echo": answers messages by the same, and the end.
local digest = require "openssl.digest"
local frames = require "spec.support.frames"

local GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local function base64(bytes)
  local text = bytes:gsub("..?.?", function(group)
    local a, b, c = group:byte(1, 3)
    local number = a << 16 | (b or 0) << 8 | (c or 0)
    local out = ""
    for i = 3, 0, -1 do
      local at = (number >> (6 * i)) & 63
      out = out .. ALPHABET:sub(at + 1, at + 1)
    end
    return out:sub(1, #group + 1) .. ("="):rep(3 - #group)
  end)
  return text
end

local function unmask(payload, mask)
  local out = {}
  for i = 1, #payload do out[i] = string.char(payload:byte(i) ~ mask:byte((i - 1) % 4 + 1)) end
  return table.concat(out)
end

-- Adds the steps; `io` has send, take, note, pause and read_request of scripted_main.
return function(steps, io)
  local function read_frame(conn)
    local first, second = io.take(conn, 2):byte(1, 2)
    local length = second & 127
    if length == 126 then length = string.unpack(">I2", io.take(conn, 2)) end
    if length == 127 then length = string.unpack(">I8", io.take(conn, 8)) end
    local mask = second & 128 ~= 0 and io.take(conn, 4)
    local payload = io.take(conn, length)
    if mask then payload = unmask(payload, mask) end
    local frame = {
      opcode = first & 15, fin = first & 128 ~= 0, rsv = first >> 4 & 7, masked = mask and true or false,
      length = length, hex = frames.hex(payload:sub(1, 200)),
    }
    if frame.opcode == 8 and length >= 2 then
      frame.code, frame.reason = string.unpack(">I2", payload), payload:sub(3)
    end
    io.note(conn, "frame", frame)
    return frame, payload
  end

  function steps.ws_accept(conn, options)
    options = options or {}
    local headers = io.read_request(conn)
    local accept = base64(digest.new "sha1":final((headers["sec-websocket-key"] or "") .. GUID))
    local lines = {
      ("HTTP/%s %d Scripted"):format(options.version or "1.1", options.status or 101),
    }
    if options.upgrade ~= "" then lines[#lines + 1] = "Upgrade: " .. (options.upgrade or "websocket") end
    if options.connection ~= "" then lines[#lines + 1] = "Connection: " .. (options.connection or "Upgrade") end
    if options.accept ~= "" then lines[#lines + 1] = "Sec-WebSocket-Accept: " .. (options.accept or accept) end
    if options.protocol then lines[#lines + 1] = "Sec-WebSocket-Protocol: " .. options.protocol end
    io.send(conn, table.concat(lines, "\r\n") .. "\r\n" .. (options.lines or "") .. "\r\n" ..
      frames.bytes(options.tail or ""))
  end

  function steps.ws_hex(conn, hex, pieces)
    local bytes = frames.bytes(hex)
    for at = 1, #bytes, pieces or math.max(1, #bytes) do
      io.send(conn, bytes:sub(at, at + (pieces or #bytes) - 1))
      if pieces then io.pause(0.001) end
    end
  end

  function steps.ws_read(conn, count)
    for _ = 1, count or 1 do read_frame(conn) end
  end

  function steps.ws_close(conn, options)
    local frame
    repeat frame = read_frame(conn) until frame.opcode == 8
    if options and options.answer == false then return end
    io.send(conn, frames.close(frame.code))
  end

  function steps.ws_echo(conn)
    while true do
      local frame, payload = read_frame(conn)
      if frame.opcode == 8 then
        io.send(conn, frames.close(frame.code))
        return
      end
      if frame.opcode == 9 then io.send(conn, frames.pong(payload)) end
      if frame.opcode < 8 then io.send(conn, frames.make(frame.opcode, payload, { fin = frame.fin })) end
    end
  end
end
