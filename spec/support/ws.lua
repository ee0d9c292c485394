-- ws - WebSocket servers in processes of their own.
--
--   local s = ws.python{ protocols = {"a"}, cert=, key=, port= }   -- python3-websockets; see ws_service.py
--   local s = ws.scripted{ {"ws_accept"}, {"ws_hex", frames.hex(frames.text "hi")}, ... }  -- spec/support/scripted.lua
--   s.addr s.port  s:journal([event])  s:closes() s:kill() s:restart() s:log() s.p (the proc)
--
-- lua-http's WebSocket server is that of spec/support/service.lua: its route /ws/echo.
local json = require "dkjson"
local proc = require "spec.support.proc"
local scripted = require "spec.support.scripted"
local wait = require "spec.support.wait"

local ws = {}
local methods = {}
local meta = { __index = methods }

-- Debian's interpreter: the one that has Debian's modules.
local PYTHON = "/usr/bin/python3"

function ws.python(options)
  local s = setmetatable({ options = options or {}, host = "127.0.0.1", dir = proc.tmpdir() }, meta)
  s.file = s.dir .. "/journal"
  proc.write_file(s.file, "")
  return s:start()
end

-- A server that plays one script on every connection.
function ws.scripted(...)
  return scripted.start{ { ... } }
end

function methods:start()
  local ready = self.dir .. "/ready"
  os.remove(ready)
  local settings = { ready = ready, journal = self.file, port = self.port }
  for name, value in pairs(self.options) do settings[name] = value end
  local file = proc.write_file(self.dir .. "/settings.json", json.encode(settings))
  self.p = proc.start{
    PYTHON, proc.root() .. "/spec/support/ws_service.py", file, name = "websockets", stdout = self.dir .. "/log",
  }
  wait.until_true(function() return not self.p:alive() or proc.read_file(ready) end, 15, "websockets to serve")
  assert(self.p:alive(), "python3-websockets does not start:\n" .. self.p:output())
  self.port = tonumber(proc.read_file(ready):match "%d+")
  self.addr = self.host .. ":" .. self.port
  return self
end

-- What happened, in order: {event=request|open|message|close, path=, code=, reason=, headers=, protocol=, ...}.
function methods:journal(event)
  local list = {}
  for line in (proc.read_file(self.file) or ""):gmatch "([^\n]*)\n" do
    local record = json.decode(line)
    if record and (not event or record.event == event) then list[#list + 1] = record end
  end
  return list
end

-- Waits until so many connections were closed and returns the last one's record: {code =, reason =, path =}.
function methods:closed(count)
  return wait.until_true(function()
    local list = self:journal "close"
    return #list >= (count or 1) and list[#list]
  end, 5, "the server to see the end")
end

-- The headers of the last handshake.
function methods:headers()
  local list = self:journal "request"
  return list[#list].headers
end

function methods:kill()
  self.p:destroy()
end

function methods:restart()
  self:kill()
  return self:start()
end

function methods:log()
  return (self.p:output())
end

return ws
