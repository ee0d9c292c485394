-- What RFC 6455 asks of a client, against a server that sends what real ones will not: each row is the bytes it sends
-- after the handshake, and then how the connection ends and which close code the client sent.
local calls = require "spec.support.calls"
local frames = require "spec.support.frames"
local scripted = require "spec.support.scripted"

local TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
local MAX = 100000

-- A server that sends these bytes, in pieces of so many, and then reads up to the client's close frame.
local function server(bytes, pieces)
  return scripted.http({ "ws_accept" }, { "ws_hex", frames.hex(bytes), pieces }, { "ws_close" })
end

local function open(s)
  local d = calls.client{ s }
  return assert(d:open{ app = "svc", path = "/", max_body = MAX, ping = 0 }), d
end

-- Receives to the end; returns the messages as "kind:data" and the end: its message and code.
local function drain(w)
  local list = {}
  while true do
    local data, kind, code = w:receive(5)
    if not data then return list, kind, code end
    list[#list + 1] = kind .. ":" .. data
  end
end

-- The close frame that the client sent on a connection (any): its record, or nil.
local function closing(s, number)
  for _, frame in ipairs(s:journal "frame") do
    if frame.opcode == CLOSE and (not number or frame.conn == number) then return frame end
  end
end

-- row: {name, bytes, code that the client sends (nil: none), err =, messages = those before, close_code =, reason =}
local function check(s, d, number, row)
  local w = assert(d:open{ app = "svc", path = "/", max_body = MAX, ping = 0 })
  local messages, why, code = drain(w)
  assert.same(row.messages or {}, messages, row[1])
  assert.equal(row.err, code, row[1] .. ": " .. tostring(why))
  assert.matches("^" .. row.err .. ": ", why)
  assert.equal("closed", w.state)
  if row.close_code then assert.equal(row.close_code, w.close_code, row[1]) end
  if row.reason then assert.equal(row.reason, w.close_reason, row[1]) end
  local frame = s:wait(function() return closing(s, number) end, 5, row[1] .. ": close frame of the client")
  assert.equal(row[3], frame.code, row[1])
  assert.is_true(#(frame.reason or "") <= 123)
  for _, one in ipairs(s:journal "frame") do
    assert.is_true(one.masked, row[1] .. ": an unmasked frame")
    assert.equal(0, one.rsv, row[1])
  end
end

-- One server for all rows: connection i plays row i.
local function rows(name, list)
  it(name, function()
    local scripts = {}
    for i, row in ipairs(list) do
      scripts[i] = { { "ws_accept" }, { "ws_hex", frames.hex(row[2]), row.pieces }, { "ws_close" } }
    end
    local s = scripted.start(scripts)
    local d = calls.client{ s }
    for i, row in ipairs(list) do check(s, d, i, row) end
    assert.equal(0, calls.node(d, s).in_flight)
    s:kill()
  end)
end

-- Rows that break the protocol: 1002.
local function broken(name, bytes, messages)
  return { name, bytes, 1002, err = "protocol", messages = messages }
end

local function not_utf8(name, bytes)
  return { name, bytes, 1007, err = "protocol" }
end

describe("conformance", function()
  local reserved = {}
  for bits = 1, 7 do reserved[bits] = broken("bits " .. bits, frames.text("x", { rsv = bits })) end
  reserved[8] = broken("bits of a ping", frames.ping("x", { rsv = 4 }))
  reserved[9] = broken("after a good message", frames.text "good" .. frames.text("x", { rsv = 4 }), { "text:good" })
  rows("reserved bits", reserved)

  local opcodes = {}
  for _, opcode in ipairs { 3, 4, 5, 6, 7, 11, 12, 13, 14, 15 } do
    opcodes[#opcodes + 1] = broken("opcode " .. opcode, frames.make(opcode, "x"))
  end
  rows("reserved opcodes", opcodes)

  rows("control frames that are fragmented or too long", {
    broken("a ping in fragments", frames.ping("x", { fin = false }) .. frames.continuation "y"),
    broken("a close in fragments", frames.close(1000, "", { fin = false })),
    broken("a pong in fragments", frames.pong("x", { fin = false })),
    broken("a ping of 126 bytes", frames.ping(("x"):rep(126))),
    broken("a pong of 126 bytes", frames.pong(("x"):rep(126))),
    broken("a close of 126 bytes", frames.close(1000, ("x"):rep(124))),
    broken("a ping of 70000 bytes", frames.ping(("x"):rep(70000))),
  })

  rows("masked frames of a server #core", {
    broken("text", frames.text("hello", { mask = "abcd" })),
    broken("a mask of zeros", frames.text("hello", { mask = "\0\0\0\0" })),
    broken("a ping", frames.ping("x", { mask = "abcd" })),
  })

  rows("fragments out of order", {
    broken("a continuation of nothing", frames.continuation "x"),
    broken("one that goes on", frames.continuation("x", { fin = false })),
    broken("after a whole message", frames.text "a" .. frames.continuation "b", { "text:a" }),
    broken("a message within a message", frames.text("a", { fin = false }) .. frames.text "b"),
    broken("binary within text", frames.text("a", { fin = false }) .. frames.binary("b", { fin = false })),
  })

  rows("text that is not UTF-8", {
    not_utf8("a lone byte", frames.text "\255"),
    not_utf8("a continuation byte", frames.text "a\128"),
    not_utf8("cut off at the end", frames.text "\195"),
    not_utf8("overlong", frames.text "\192\175"),
    not_utf8("overlong in three", frames.text "\224\128\175"),
    not_utf8("overlong in four", frames.text "\240\128\128\175"),
    not_utf8("a surrogate", frames.text "\237\160\128"),
    not_utf8("beyond U+10FFFF", frames.text "\244\144\128\128"),
    not_utf8("five bytes", frames.text "\248\136\128\128\128"),
    not_utf8("in the second fragment", frames.text("good", { fin = false }) .. frames.continuation "\255"),
    not_utf8("cut off in fragments", frames.text("\226", { fin = false }) .. frames.continuation "\130"),
  })

  rows("bytes that are what they should be #core", {
    { "characters cut between fragments",
      frames.text("\226", { fin = false }) .. frames.continuation("\130", { fin = false }) ..
      frames.continuation "\172" .. frames.close(1000), 1000, err = "closed", messages = { "text:\226\130\172" } },
    { "the last code point, the last before the surrogates, a noncharacter",
      frames.text "\244\143\191\191\237\159\191\239\191\191" .. frames.close(1000), 1000, err = "closed",
      messages = { "text:\244\143\191\191\237\159\191\239\191\191" } },
    { "binary is anything", frames.binary "\255\254\0" .. frames.close(1000), 1000, err = "closed",
      messages = { "binary:\255\254\0" } },
    { "empty messages", frames.text "" .. frames.binary "" .. frames.text("", { fin = false }) ..
      frames.continuation("", { fin = false }) .. frames.continuation "" .. frames.close(1000), 1000, err = "closed",
      messages = { "text:", "binary:", "text:" } },
    { "a zero byte in text", frames.text "a\0b" .. frames.close(1000), 1000, err = "closed",
      messages = { "text:a\0b" } },
  })

  rows("close codes that nobody may send", (function()
    local list = {}
    for _, code in ipairs { 0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535 } do
      list[#list + 1] = broken("code " .. code, frames.close(code))
    end
    list[#list + 1] = broken("half a code", frames.make(CLOSE, "\3"))
    list[#list + 1] = not_utf8("a reason that is not UTF-8", frames.close(1000, "\255"))
    return list
  end)())

  rows("close codes that are answered", (function()
    local list = {}
    for _, code in ipairs { 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1014, 3000, 3999, 4999 } do
      list[#list + 1] = { "code " .. code, frames.close(code, "why"), code, err = "closed", close_code = code,
                          reason = "why" }
    end
    list[#list + 1] = { "no code", frames.close(), nil, err = "closed", close_code = 1005, reason = "" }
    list[#list + 1] = { "a long reason", frames.close(1000, ("x"):rep(123)), 1000, err = "closed",
                        close_code = 1000, reason = ("x"):rep(123) }
    list[#list + 1] = { "nothing counts after it", frames.text "a" .. frames.close(4000) .. frames.text "b", 4000,
                        err = "closed", messages = { "text:a" }, close_code = 4000 }
    return list
  end)())

  rows("messages that are too large #core", {
    { "in one frame", frames.binary(("x"):rep(MAX + 1)), 1009, err = "too_large" },
    { "by what its header says", frames.binary("x", { length = MAX + 1 }), 1009, err = "too_large" },
    { "by far", frames.binary("x", { length = 2 ^ 40 }), 1009, err = "too_large" },
    { "in fragments", frames.text(("x"):rep(MAX - 10), { fin = false }) .. frames.continuation(("x"):rep(11)), 1009,
      err = "too_large" },
    { "just not", frames.text(("x"):rep(MAX)) .. frames.close(1000), 1000, err = "closed",
      messages = { "text:" .. ("x"):rep(MAX) } },
    { "just not, in fragments", frames.text(("x"):rep(MAX - 10), { fin = false }) ..
      frames.continuation(("x"):rep(10)) .. frames.close(1000), 1000, err = "closed",
      messages = { "text:" .. ("x"):rep(MAX) } },
  })

  rows("lengths in a form too long", {
    broken("16 bits for one byte", frames.text("x", { form = 16 })),
    broken("64 bits for one byte", frames.text("x", { form = 64 })),
    broken("64 bits for 65535 bytes", frames.binary(("x"):rep(65535), { form = 64 })),
    broken("a sign bit", "\130\127\128\0\0\0\0\0\0\1x"),
  })

  rows("bytes that come one by one", {
    { "all kinds", frames.text("a", { fin = false }) .. frames.ping "p" .. frames.continuation "b" ..
      frames.binary(("y"):rep(130)) .. frames.close(1000, "bye"), 1000, err = "closed", pieces = 1,
      messages = { "text:ab", "binary:" .. ("y"):rep(130) }, close_code = 1000, reason = "bye" },
  })

  it("an end without a close frame is 1006", function()
    for _, bytes in ipairs { "", frames.text "a", frames.text("a", { fin = false }), "\129", frames.text("abc",
      { length = 100 }) } do
      local s = scripted.http({ "ws_accept" }, { "ws_hex", frames.hex(bytes) }, "close")
      local w = open(s)
      local messages, why, code = drain(w)
      assert.same(bytes == frames.text "a" and { "text:a" } or {}, messages)
      assert.equal("connect", code, why)
      assert.equal(1006, w.close_code)
      assert.equal("", w.close_reason)
      s:kill()
    end
  end)

  it("whatever comes, there is an end", function()
    local seed = 4711
    local function random(n)
      seed = (seed * 1103515245 + 12345) % 2147483648
      return math.floor(seed / 65536) % n
    end
    local scripts = {}
    for i = 1, 60 do
      local parts = {}
      for _ = 1, 1 + random(8) do
        local payload = {}
        for k = 1, random(random(4) == 0 and 300 or 20) do payload[k] = string.char(random(256)) end
        local opcode = random(4) == 0 and random(16) or ({ 0, 1, 2, 8, 9, 10 })[1 + random(6)]
        parts[#parts + 1] = frames.make(opcode, table.concat(payload), {
          fin = random(3) > 0, rsv = random(10) == 0 and 1 + random(7) or 0, form = random(10) == 0 and 16 or nil,
          mask = random(10) == 0 and "mask" or nil, length = random(15) == 0 and random(70000) or nil,
        })
      end
      local bytes = table.concat(parts)
      if i % 3 == 0 then bytes = bytes:gsub("..", function(two) return random(20) == 0 and two:reverse() or two end) end
      scripts[i] = { { "ws_accept" }, { "ws_hex", frames.hex(bytes), i % 5 == 0 and 3 or nil } }
    end
    local s = scripted.start(scripts)
    local d = calls.client{ s }
    for _ = 1, #scripts do
      local w = assert(d:open{ app = "svc", path = "/", max_body = MAX, ping = 0 })
      local _, _, code = drain(w)
      assert.is_truthy(({ closed = 1, protocol = 1, too_large = 1, connect = 1 })[code], code)
      assert.is_number(w.close_code)
    end
    assert.equal(0, calls.node(d, s).in_flight)
    s:kill()
  end)

  it("pings are answered by the same bytes, within fragments too; pongs nobody asked for are not", function()
    local long = ("p"):rep(125)
    local s = server(frames.ping "" .. frames.ping(long) .. frames.pong "unasked" ..
      frames.text("a", { fin = false }) .. frames.ping "inside" .. frames.pong "inside too" ..
      frames.continuation("b", { fin = false }) ..
      frames.ping "again" .. frames.continuation "c" .. frames.close(1000))
    local messages = drain(open(s))
    assert.same({ "text:abc" }, messages)
    s:wait(function() return closing(s) end)
    local pongs = {}
    for _, frame in ipairs(s:journal "frame") do
      if frame.opcode == PONG then pongs[#pongs + 1] = frames.bytes(frame.hex) end
      assert.is_true(frame.fin)
    end
    -- An older ping may be passed over for a newer one (RFC 6455, 5.5.3), but the last is answered.
    assert.equal("again", pongs[#pongs])
    local order = { [""] = 1, [long] = 2, inside = 3, again = 4 }
    local last = 0
    for _, pong in ipairs(pongs) do
      assert.is_true(order[pong] and order[pong] > last, "pong out of order: " .. pong)
      last = order[pong]
    end
    s:kill()
  end)

  it("what comes together with the handshake counts", function()
    local tail = frames.hex(frames.text "early" .. frames.text("x", { fin = false }))
    local s = scripted.http({ "ws_accept", { tail = tail } }, { "ws_hex", frames.hex(frames.continuation "y" ..
      frames.close(1000)) }, { "ws_close" })
    local messages, _, code = drain(open(s))
    assert.same({ "text:early", "text:xy" }, messages)
    assert.equal("closed", code)
    s:kill()
  end)

  it("what the client sends is masked, whole and of the kind that was asked for", function()
    local s = scripted.http({ "ws_accept" }, "ws_echo")
    local w = open(s)
    local sizes = { 0, 1, 125, 126, 65535, MAX }
    for i, size in ipairs(sizes) do
      local kind = i % 2 == 0 and "binary" or "text"
      local data = ("z"):rep(size)
      assert(w:send(data, kind))
      local back, what = w:receive(5)
      assert.equal(data, back)
      assert.equal(kind, what)
    end
    assert(w:ping())
    assert(w:close(4001, "bye"))
    local seen, continued = {}, 0
    for _, frame in ipairs(s:journal "frame") do
      if frame.opcode == 0 then continued = continued + 1 end
      assert.is_true(frame.masked)
      assert.equal(0, frame.rsv)
      if frame.opcode ~= 0 then seen[#seen + 1] = frame.opcode end
    end
    assert.same({ TEXT, BINARY, TEXT, BINARY, TEXT, BINARY, PING, CLOSE }, seen)
    assert.is_true(continued > 0, "nothing was fragmented")
    local frame = closing(s)
    assert.equal(4001, frame.code)
    assert.equal("bye", frame.reason)
    s:kill()
  end)

  describe("handshake", function()
    local function refused(name, step, pattern)
      it(name, function()
        local bad = scripted.http(step, "hang")
        local d = calls.client{ bad }
        local w, why, code = d:open{ app = "svc", path = "/", protocols = "a, b", timeout = 5 }
        assert.is_nil(w, name)
        assert.equal("protocol", code, name .. ": " .. tostring(why))
        if pattern then assert.matches(pattern, why) end
        assert.equal(0, calls.node(d, bad).in_flight)
        bad:kill()
      end)
    end

    refused("a wrong key", { "ws_accept", { accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" } })
    refused("no key", { "ws_accept", { accept = "" } })
    refused("another upgrade", { "ws_accept", { upgrade = "h2c" } })
    refused("no upgrade", { "ws_accept", { upgrade = "" } })
    refused("another connection", { "ws_accept", { connection = "close" } })
    refused("a subprotocol that nobody asked for", { "ws_accept", { protocol = "c" } })
    refused("an extension that nobody asked for",
      { "ws_accept", { lines = "Sec-WebSocket-Extensions: permessage-deflate\r\n" } })
    refused("200", { "ws_accept", { status = 200 } }, "200")
    refused("no HTTP", { "send", "SSH-2.0-OpenSSH_9.2\r\n\r\n" })
    refused("an endless header", { "flood", "X: y\r\n", 200000 })

    it("says what a client has to say", function()
      local s = scripted.http({ "ws_accept", { protocol = "b" } }, "ws_echo")
      local d = calls.client{ s }
      local w = assert(d:open{ app = "svc", path = "/a?b=c", protocols = "a, b" })
      assert.equal("b", w.protocol)
      local request = s:requests()[1]
      assert.equal("GET", request.method)
      assert.equal("/a?b=c", request.path)
      assert.matches("^GET /a%?b=c HTTP/1%.1\r\n", request.head)
      assert.equal(s.addr, request.headers.host)
      assert.equal("websocket", request.headers.upgrade:lower())
      assert.matches("upgrade", request.headers.connection:lower())
      assert.equal("13", request.headers["sec-websocket-version"])
      assert.matches("^[%w+/]+==$", request.headers["sec-websocket-key"])
      assert.equal(24, #request.headers["sec-websocket-key"])
      assert.equal("a, b", request.headers["sec-websocket-protocol"])
      assert.is_nil(request.headers["sec-websocket-extensions"])
      assert.equal("", request.body)
      assert(w:close())
      s:kill()
    end)
  end)
end)
