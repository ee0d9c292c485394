-- Messages there and back: sizes, kinds, order, back-pressure, time limits; against two servers by others.
local calls = require "spec.support.calls"
local frames = require "spec.support.frames"
local port = require "spec.support.port"
local proc = require "spec.support.proc"
local scripted = require "spec.support.scripted"
local service = require "spec.support.service"
local wait = require "spec.support.wait"
local ws = require "spec.support.ws"

-- Numbers that look random and are the same every time.
local function numbers(seed)
  return function(n)
    seed = (seed * 1103515245 + 12345) % 2147483648
    return math.floor(seed / 65536) % n
  end
end

local BLOCK = {}
for i = 1, 4096 do BLOCK[i] = string.char((i * 7 + math.floor(i / 256)) % 256) end
BLOCK = table.concat(BLOCK)

-- Bytes of all values, different for each number.
local function bytes(number, size)
  local head = ("%d:"):format(number)
  if size <= #head then return head:sub(1, size) end
  local at = number % 1000 + 1
  return head .. BLOCK:rep(math.ceil((size + at) / #BLOCK)):sub(at, at + size - #head - 1)
end

-- Text of one to four bytes a character.
local function text(number, size)
  local unit = "a\195\188\226\130\172\240\159\152\128" .. number % 10
  return unit:rep(math.ceil(size / #unit))
end

describe("talk", function()
  local s, lua_http
  lazy_setup(function()
    s = ws.python()
    lua_http = service.start()
  end)

  local function open(path, options)
    local d = calls.client{ s }
    options = options or {}
    options.app, options.path = "svc", path
    return assert(d:open(options)), d
  end

  it("echoes text and binary of every size #api #core", function()
    local w = open "/echo"
    for i, size in ipairs { 0, 1, 2, 125, 126, 127, 4095, 4096, 65535, 65536, 65537, 1000000 } do
      local data = bytes(i, size)
      assert(w:send(data, "binary"))
      local back, kind = w:receive()
      assert.is_true(back == data, size .. " bytes came back otherwise")
      assert.equal("binary", kind)
      data = text(i, size)
      assert(w:send(data))
      back, kind = w:receive()
      assert.is_true(back == data, size .. " bytes of text came back otherwise")
      assert.equal("text", kind)
    end
    assert.is_true(w:close())
    assert.equal(1000, s:closed().code)
  end)

  it("puts the fragments of the peer together #api", function()
    local w = open "/fragments?size=7"
    for i, size in ipairs { 0, 1, 7, 8, 1000, 20000 } do
      assert(w:send(text(i, size)))
      assert.is_true(w:receive() == text(i, size))
      assert(w:send(bytes(i, size), "binary"))
      assert.is_true(w:receive() == bytes(i, size))
    end
    w:close()
  end)

  it("takes and sends as much as max_body, and no more", function()
    local size = 1000000
    local w = open("/echo", { max_body = size })
    assert(w:send(bytes(1, size), "binary"))
    assert.is_true(w:receive() == bytes(1, size))
    local ok, why, code = w:send(bytes(1, size + 1), "binary")
    assert.is_nil(ok)
    assert.equal("too_large", code, why)
    assert.equal("open", w.state)
    assert(w:send "still here")
    assert.equal("still here", (w:receive()))
    w:close()

    w = open("/big?bytes=" .. size, { max_body = size })
    assert.equal(size, #w:receive())
    w:close()
    w = open("/big?kind=text&bytes=" .. size + 1, { max_body = size })
    local data
    data, why, code = w:receive()
    assert.is_nil(data)
    assert.equal("too_large", code, why)
    assert.equal("closed", w.state)
    local record = wait.until_true(function()
      local list = s:journal "close"
      return list[#list].path:find("kind=text", 1, true) and list[#list]
    end)
    assert.equal(1009, record.code)
  end)

  it("takes 64 MiB in one message, which is the default", function()
    if wait.slow > 1 then return pending "too slow here" end
    local w, d = open "/big?bytes=67108864"
    local data = assert(w:receive())
    assert.equal(67108864, #data)
    assert(w:send(data, "binary", 20))
    assert.equal(67108864, #assert(w:receive(20)))
    w:close()
    assert.is_true(d:stats().memory_bytes < 4000000, "memory: " .. d:stats().memory_bytes)
    w = open "/big?bytes=67108865"
    assert.equal("too_large", select(3, w:receive()))
  end)

  local function in_order(w, count, size_of)
    local next_size, next_back = numbers(7), numbers(7)
    local sent, got, ahead = 0, 0, 0
    local kinds = { [0] = "binary", "text" }
    local function message(i, number)
      if i % 2 == 0 then return bytes(i, size_of(number)) end
      return text(i, size_of(number))
    end
    while got < count do
      while sent < count and ahead < 100000 do
        local data = message(sent + 1, next_size)
        assert(w:send(data, kinds[(sent + 1) % 2]))
        sent, ahead = sent + 1, ahead + #data + 20
      end
      local back, kind = assert(w:receive())
      got = got + 1
      local data = message(got, next_back)
      if back ~= data then error(("message %d came back otherwise: %d bytes for %d"):format(got, #back, #data)) end
      assert(kind == kinds[got % 2])
      ahead = ahead - #data - 20
    end
    assert.equal("timeout", select(3, w:receive(0)))
    assert(w:close())
  end

  it("10,000 messages of mixed sizes in order: python3-websockets", function()
    in_order(open "/echo", math.floor(10000 / wait.slow), function(number)
      local what = number(100)
      if what < 1 then return 60000 + number(20000) end
      if what < 10 then return number(5000) end
      return number(200)
    end)
  end)

  it("10,000 messages of mixed sizes in order: lua-http", function()
    local d = calls.client{ lua_http }
    -- It unmasks byte by byte in Lua.
    in_order(assert(d:open("svc", "/ws/echo")), math.floor(10000 / wait.slow), function(number)
      local what = number(1000)
      if what < 2 then return 66000 end
      return number(what < 50 and 1000 or 100)
    end)
  end)

  it("holds a sender up while the peer does not read, and keeps little", function()
    local file = proc.tmpdir() .. "/read-on"
    local w, d = open("/deaf?until=" .. file, { ping = 0 })
    local sent, data = 0, ("x"):rep(65536)
    local ok, why, code
    repeat
      local start = wait.now()
      ok, why, code = w:send(data, "binary", 0.2)
      if ok then sent = sent + 1 else assert.is_true(wait.now() - start >= 0.19) end
    until not ok or sent > 1000
    assert.equal("timeout", code, why)
    assert.is_true(sent >= 16, "the queue holds " .. sent .. " messages only")
    assert.equal("open", w.state)
    assert.is_true(d:stats().memory_bytes < 4000000, "memory: " .. d:stats().memory_bytes)
    assert.equal("timeout", select(3, w:send(data, "binary", 0)))
    -- It reads again: whoever waits goes on, nothing is lost and nothing doubled.
    proc.write_file(file, "")
    assert(w:send("last", "binary", 10))
    for i = 1, sent do
      local back = assert(w:receive(10))
      assert.equal("65536", back, "message " .. i)
    end
    assert.equal("4", (w:receive(10)))
    assert(w:close())
  end)

  it("holds the peer up while nobody takes what came, and keeps little", function()
    local w, d = open("/count?n=3000&bytes=10000", { ping = 0 })
    d:wait(0.5)
    assert.is_true(d:stats().memory_bytes < 6000000, "memory: " .. d:stats().memory_bytes)
    local tail = ":" .. ("x"):rep(10000)
    for i = 1, 3000 do
      local data = assert(w:receive())
      if data ~= i .. tail then error("message " .. i .. " is " .. data:sub(1, 20)) end
    end
    w:close()
  end)

  it("waits for a message as long as it is told #api", function()
    local w = open "/silent"
    for _, limit in ipairs { 0.05, "50ms" } do
      local start = wait.now()
      local data, why, code = w:receive(limit)
      assert.is_nil(data)
      assert.equal("timeout", code)
      assert.matches("^timeout: ", why)
      local took = wait.now() - start
      assert.is_true(took >= 0.045 and took < wait.scale(1), took)
    end
    wait.within(0.5, function() assert.equal("timeout", select(3, w:receive(0))) end)
    assert.equal("open", w.state)
    w:close()
  end)

  it("sees what has come without waiting", function()
    local late = scripted.http({ "ws_accept" }, { "sleep", 100 }, { "ws_hex", frames.hex(frames.text "late") },
      "ws_echo")
    local w = assert(calls.client{ late }:open("svc", "/"))
    assert.equal("timeout", select(3, w:receive(0)))
    wait.until_true(function() return w:receive(0) == "late" end)
    w:close()
    late:kill()
  end)

  it("goes on beside others: WebSockets and calls #api", function()
    local d = calls.client{ s }
    calls.set(d, "http", { lua_http })
    local a, b = assert(d:open("svc", "/echo")), assert(d:open("svc", "/count?n=3"))
    local c = assert(d:open{ app = "http", path = "/ws/name" })
    assert(a:send "one")
    assert(c:send "who")
    assert.equal(200, d:get("http", "/echo").status)
    assert.equal(tostring(lua_http.port), (c:receive()))
    assert.equal("1:", (b:receive()))
    assert.equal("one", (a:receive()))
    assert.equal("2:", (b:receive()))
    assert(a:close())
    assert.equal("3:", (b:receive()))
    assert(b:close())
    assert(c:close())
  end)

  it("refuses text that is not UTF-8, and sends nothing of it #api", function()
    local w = open "/echo"
    for _, bad in ipairs { "\255", "a\192\175", "\237\160\128", "\244\144\128\128", "cut \195" } do
      local ok, why, code = w:send(bad)
      assert.is_nil(ok)
      assert.equal("invalid", code)
      assert.matches("UTF%-8", why)
    end
    assert(w:send("\255", "binary"))
    assert.equal("\255", (w:receive()))
    w:close()
  end)

  it("a closed port and a vanished one need no time", function()
    local refused = port.refused()
    local d = calls.client{ refused }
    wait.within(1, function()
      local w, why, code = d:open("svc", "/")
      assert.is_nil(w)
      assert.equal("connect", code, why)
    end)
    refused:close()
  end)
end)
