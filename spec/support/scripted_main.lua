-- scripted_main - the process behind spec/support/scripted.lua: a TCP server that plays a script per connection.
--
--   lua5.4 scripted_main.lua <script.json>
--
-- Every connection is a coroutine over select; what it met is appended to the journal, one JSON object a line.
local json = require "dkjson"
local socket = require "socket"

local function read_json(path)
  local file = assert(io.open(path))
  local value = assert(json.decode(file:read "a", 1, nil))
  file:close()
  return value
end

local settings = read_json(arg[1])
local journal = assert(io.open(settings.journal, "a"))
journal:setvbuf "line"

local function note(conn, event, fields)
  local record = fields or {}
  record.conn, record.event, record.time = conn.number, event, socket.gettime()
  journal:write(json.encode(record), "\n")
end

-- ------------------------------------------------------------ the scheduler
local sleeping, reading, writing = {}, {}, {}

local function run(conn)
  local ok, what, value = coroutine.resume(conn.thread)
  if not ok then
    -- A peer that goes away ends the script, and that is worth a line.
    note(conn, "end", { why = tostring(what) })
    conn.socket:close()
  elseif coroutine.status(conn.thread) == "dead" then
    conn.socket:close()
  elseif what == "read" then
    reading[conn.socket] = conn
  elseif what == "write" then
    writing[conn.socket] = conn
  else
    sleeping[conn] = value
  end
end

-- --------------------------------------------------------- what scripts use
local function fill(conn)
  while true do
    local data, why, partial = conn.socket:receive(65536)
    data = data or partial
    if data and #data > 0 then
      conn.buffer = conn.buffer .. data
      return
    end
    if why == "closed" then
      note(conn, "closed", { pending = #conn.buffer })
      error("closed by peer", 0)
    end
    coroutine.yield "read"
  end
end

local function take(conn, count)
  while #conn.buffer < count do fill(conn) end
  local data = conn.buffer:sub(1, count)
  conn.buffer = conn.buffer:sub(count + 1)
  return data
end

local function take_through(conn, mark)
  while true do
    local _, last = conn.buffer:find(mark, 1, true)
    if last then return take(conn, last) end
    fill(conn)
  end
end

local function send(conn, data)
  local at = 1
  while at <= #data do
    local last, why, partial = conn.socket:send(data, at)
    if last then return end
    if why ~= "timeout" then
      note(conn, "closed", { pending = #conn.buffer })
      error("closed by peer", 0)
    end
    at = partial + 1
    coroutine.yield "write"
  end
end

local function pause(seconds)
  coroutine.yield("sleep", socket.gettime() + seconds)
end

local function read_request(conn)
  local head = take_through(conn, "\r\n\r\n")
  local method, path = head:match "^(%S+) (%S+)"
  local headers = {}
  for name, value in head:gmatch "\r\n([^:\r\n]+):[ \t]*([^\r\n]*)" do headers[name:lower()] = value end
  local body = ""
  if headers["content-length"] then
    body = take(conn, tonumber(headers["content-length"]))
  elseif (headers["transfer-encoding"] or ""):lower():find "chunked" then
    repeat
      local size = tonumber(take_through(conn, "\r\n"):match "^%x+", 16)
      body = body .. take(conn, size)
      take_through(conn, "\r\n")
    until size == 0
  end
  note(conn, "request", { method = method, path = path, headers = headers, body = body, head = head })
  return headers
end

local function read_command(conn)
  local count = tonumber(take_through(conn, "\r\n"):match "^%*(%d+)")
  local words = {}
  for i = 1, count or 0 do
    local size = tonumber(take_through(conn, "\r\n"):match "^%$(%d+)")
    words[i] = take(conn, size)
    take(conn, 2)
  end
  note(conn, "command", { words = words })
  return words
end

-- ---------------------------------------------------- a Redis that behaves
local function bulk(text) return ("$%d\r\n%s\r\n"):format(#text, text) end

local usual = {
  PING = function(conn) return conn.subscribed and "*2\r\n$4\r\npong\r\n$0\r\n\r\n" or "+PONG\r\n" end,
  HSET = ":1\r\n", HSETNX = ":0\r\n", HDEL = ":1\r\n", DEL = ":1\r\n", PUBLISH = ":0\r\n", EXISTS = ":1\r\n",
  HEXISTS = ":1\r\n", HGETALL = "*0\r\n", GET = "$-1\r\n", EVAL = ":0\r\n", EVALSHA = ":0\r\n",
  ROLE = "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n",
  MGET = function(_, words) return ("*%d\r\n"):format(#words - 1) .. ("$-1\r\n"):rep(#words - 1) end,
  SUBSCRIBE = function(conn, words)
    local parts = {}
    for i = 2, #words do
      conn.subscribed = (conn.subscribed or 0) + 1
      parts[#parts + 1] = "*3\r\n$9\r\nsubscribe\r\n" .. bulk(words[i]) .. ":" .. conn.subscribed .. "\r\n"
    end
    return table.concat(parts)
  end,
  UNSUBSCRIBE = function(_, words)
    return "*3\r\n$11\r\nunsubscribe\r\n" .. bulk(words[2] or "") .. ":0\r\n"
  end,
}

local function play_redis(conn, replies)
  while true do
    local words = read_command(conn)
    local name = words[1]:upper()
    local answer = replies and replies[name]
    -- A list is used up one by one; its last stays.
    if type(answer) == "table" then
      conn.used = conn.used or {}
      conn.used[name] = math.min((conn.used[name] or 0) + 1, #answer)
      answer = answer[conn.used[name]]
    end
    answer = answer or usual[name] or "+OK\r\n"
    if type(answer) == "function" then answer = answer(conn, words) end
    if answer == "close" then return "close" end
    if answer ~= "silent" then send(conn, answer) end
  end
end

-- ------------------------------------------------------------------- steps
local steps = {}

function steps.read_request(conn) read_request(conn) end

-- Waits for so many bytes of whatever kind.
function steps.read(conn, count) note(conn, "bytes", { data = take(conn, count) }) end

function steps.send(conn, data) send(conn, data) end

-- data, byte by byte, ms apart.
function steps.trickle(conn, data, ms)
  for i = 1, #data do
    send(conn, data:sub(i, i))
    pause((ms or 10) / 1000)
  end
end

-- data, count times (endless without), as fast as it goes.
function steps.flood(conn, data, count)
  for _ = 1, count or math.huge do
    send(conn, data)
    conn.flooded = (conn.flooded or 0) + #data
  end
end

-- Notes that the steps before it are done.
function steps.mark(conn) note(conn, "mark") end

function steps.sleep(_, ms) pause(ms / 1000) end

-- Says nothing more, reads nothing more, stays open.
function steps.hang() while true do pause(3600) end end

-- Reads on and answers nothing.
function steps.drain(conn)
  while true do
    fill(conn)
    conn.buffer = ""
  end
end

function steps.close(conn)
  note(conn, "close")
  conn.socket:close()
  return "stop"
end

function steps.rst(conn)
  note(conn, "rst")
  conn.socket:setoption("linger", { on = true, timeout = 0 })
  conn.socket:close()
  return "stop"
end

-- A status, a body, further header lines: a proper answer, kept alive.
function steps.respond(conn, status, body, lines)
  body = body or ""
  send(conn, ("HTTP/1.1 %d Scripted\r\nContent-Length: %d\r\n%s\r\n%s"):format(status or 200, #body, lines or "", body))
end

function steps.redis(conn, replies)
  if play_redis(conn, replies) == "close" then return steps.close(conn) end
end

local here = arg[0]:match "^(.*)/" or "."
dofile(here .. "/scripted_h2.lua").add(steps, { take = take, send = send, note = note })

-- Back to the first step.
function steps.loop() return "again" end

require "spec.support.scripted_ws"(steps, {
  send = send, take = take, note = note, pause = pause, read_request = read_request,
})

local function play(conn, script)
  note(conn, "accept")
  local again
  repeat
    again = false
    for _, step in ipairs(script) do
      if type(step) == "string" then step = { step } end
      local what = assert(steps[step[1]], "no such step: " .. tostring(step[1]))(conn, table.unpack(step, 2, 5))
      if what == "stop" then return end
      if what == "again" then
        again = true
        break
      end
    end
  until not again
end

-- ---------------------------------------------------------------- the loop
local listener = assert(socket.tcp4())
assert(listener:setoption("reuseaddr", true))
assert(listener:bind("127.0.0.1", settings.port or 0))
assert(listener:listen(128))
listener:settimeout(0)
local accepted = 0

local function accept()
  local s = listener:accept()
  if not s then return end
  s:settimeout(0)
  s:setoption("tcp-nodelay", true)
  accepted = accepted + 1
  local script = settings.scripts[math.min(accepted, #settings.scripts)]
  local conn = { socket = s, number = accepted, buffer = "" }
  conn.thread = coroutine.create(function() play(conn, script) end)
  run(conn)
end

local function announce(path)
  local file = assert(io.open(path .. ".new", "w"))
  file:write((select(2, listener:getsockname())), "\n")
  file:close()
  assert(os.rename(path .. ".new", path))
end

announce(settings.ready)

while true do
  local readers, writers, due = { listener }, {}, nil
  for s in pairs(reading) do readers[#readers + 1] = s end
  for s in pairs(writing) do writers[#writers + 1] = s end
  for _, at in pairs(sleeping) do due = math.min(due or at, at) end
  local readable, writable = socket.select(readers, writers, due and math.max(0, due - socket.gettime()))
  local ready = {}
  for _, s in ipairs(readable) do
    if s == listener then accept() else ready[#ready + 1] = { reading, s } end
  end
  for _, s in ipairs(writable) do ready[#ready + 1] = { writing, s } end
  for _, pair in ipairs(ready) do
    local conn = pair[1][pair[2]]
    pair[1][pair[2]] = nil
    if conn then run(conn) end
  end
  local now, awake = socket.gettime(), {}
  for conn, at in pairs(sleeping) do
    if at <= now then awake[#awake + 1] = conn end
  end
  for _, conn in ipairs(awake) do
    sleeping[conn] = nil
    run(conn)
  end
end
