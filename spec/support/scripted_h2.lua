-- scripted_h2 - HTTP/2 frames for scripted servers: steps that say what no well-behaved server would.
--
-- Raw frames (RFC 9113, 4.1) and no HPACK (RFC 7541) but fields of the static table: indexed, or literal and never
-- indexed; so neither side needs a state. Of a request only its stream, its method and its length are understood.
--
-- Steps (a word or {word, ...}); `stream` may be left out everywhere: that of the last request.
--   "h2_greet"                             reads the client's preface, sends SETTINGS
--   "h2_request"                           reads until a request is complete and notes it: {event="request",
--                                          stream=, method=, bytes=}; pings and settings are answered
--   "h2_headers"                           the same, but does not wait for the request's body
--   {"h2_respond", status, body, stream}   an answer
--   {"h2_head", status, length, stream}    only the header fields of one
--   {"h2_rst", code, stream}               RST_STREAM
--   {"h2_goaway", last_stream, code}       GOAWAY
--   {"h2_frame", type, flags, stream, payload}
local h2 = {}

local PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
local DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
local END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20

-- Indexed fields of the static table that stand for a whole answer or for a method (RFC 7541, appendix A).
local STATUS = { [200] = "\x88", [204] = "\x89", [404] = "\x8d", [500] = "\x8e" }
local METHODS = { [0x82] = "GET", [0x83] = "POST" }

local function frame(kind, flags, stream, payload)
  return string.pack(">I3BBI4", #payload, kind, flags, stream) .. payload
end

-- A literal field that is never indexed, with the name at `index` of the static table, not compressed.
local function literal(index, value)
  assert(#value < 127)
  if index < 15 then return string.char(0x10 + index, #value) .. value end
  return string.char(0x1f, index - 15, #value) .. value
end

local function status_field(status)
  return STATUS[status] or literal(8, tostring(status))
end

-- Adds the steps to `steps`; `tools`: take(conn, n), send(conn, bytes), note(conn, event, fields).
function h2.add(steps, tools)
  local take, send, note = tools.take, tools.send, tools.note

  local function read_frame(conn)
    local length, kind, flags, stream = string.unpack(">I3BBI4", take(conn, 9))
    local payload = take(conn, length)
    if kind == SETTINGS and flags & ACK == 0 then send(conn, frame(SETTINGS, ACK, 0, "")) end
    if kind == PING and flags & ACK == 0 then send(conn, frame(PING, ACK, 0, payload)) end
    if kind == RST then note(conn, "rst_stream", { stream = stream, code = string.unpack(">I4", payload) }) end
    if kind == GOAWAY then note(conn, "goaway", { code = string.unpack(">I4", payload, 5) }) end
    return kind, flags, stream & 0x7fffffff, payload
  end

  -- The first byte of the header block is the method: curl says it first, from the static table.
  local function method_of(flags, payload)
    local at = 1
    if flags & PADDED ~= 0 then at = at + 1 end
    if flags & PRIORITY ~= 0 then at = at + 5 end
    return METHODS[payload:byte(at)] or "?"
  end

  local function read_request(conn, with_body)
    local method, bytes = nil, 0
    while true do
      local kind, flags, stream, payload = read_frame(conn)
      if kind == HEADERS then
        conn.stream, method = stream, method_of(flags, payload)
      elseif kind == DATA and stream == conn.stream then
        bytes = bytes + #payload
      end
      local ends = (kind == HEADERS or kind == DATA) and flags & END_STREAM ~= 0
      if kind == HEADERS and ends then conn.ended = stream end
      local whole_head = (kind == HEADERS or kind == CONTINUATION) and flags & END_HEADERS ~= 0
      if method and (ends or (whole_head and (not with_body or conn.ended == conn.stream))) then break end
    end
    note(conn, "request", { stream = conn.stream, method = method, bytes = bytes })
  end

  function steps.h2_greet(conn)
    local preface = take(conn, #PREFACE)
    assert(preface == PREFACE, "not HTTP/2")
    send(conn, frame(SETTINGS, 0, 0, ""))
  end

  function steps.h2_request(conn) read_request(conn, true) end
  function steps.h2_headers(conn) read_request(conn, false) end

  function steps.h2_respond(conn, status, body, stream)
    stream, body = stream or conn.stream, body or ""
    local head = status_field(status or 200) .. literal(28, tostring(#body))
    send(conn, frame(HEADERS, END_HEADERS, stream, head) .. frame(DATA, END_STREAM, stream, body))
  end

  function steps.h2_head(conn, status, length, stream)
    local head = status_field(status or 200) .. literal(28, tostring(length or 0))
    send(conn, frame(HEADERS, END_HEADERS, stream or conn.stream, head))
  end

  function steps.h2_rst(conn, code, stream)
    send(conn, frame(RST, 0, stream or conn.stream, string.pack(">I4", code)))
  end

  function steps.h2_goaway(conn, last, code)
    send(conn, frame(GOAWAY, 0, 0, string.pack(">I4I4", last or conn.stream, code or 0)))
  end

  function steps.h2_frame(conn, kind, flags, stream, payload)
    send(conn, frame(kind, flags or 0, stream or conn.stream, payload or ""))
  end
end

return h2
