-- scripted - a hostile or lame server in a process of its own: plays a script per connection and keeps a journal.
--
--   local s = scripted.start{ { "read_request", { "send", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n" } } }
--   s.addr s.port  s:requests([method])  s:commands([name])  s:connections()  s:journal([event])
--   s:wait(fn [, seconds])  s:kill()  s:restart([scripts])
--
-- A script is a list of steps; connection i plays script i, the last one stays. Steps (a word or {word, ...}):
--   "read_request"  {"read", n}  {"send", bytes}  {"respond", status, body, "Name: value\r\n"}
--   {"trickle", bytes, ms}  {"flood", bytes [, times]}  {"sleep", ms}  "mark"  "hang"  "drain"  "close"  "rst"  "loop"
--   {"redis", {NAME = reply or {first, then...}}}: a Redis that answers as usual but for these; raw reply bytes, or
--   "silent" or "close". For HTTP/2: "h2_greet" "h2_request" {"h2_respond", ...} {"h2_rst", code} {"h2_goaway",
--   last_stream, code} and others, see scripted_h2.lua. WebSocket steps: see scripted_ws.lua.
--   A script that ends closes its connection.
local json = require "dkjson"
local proc = require "spec.support.proc"
local wait = require "spec.support.wait"

local scripted = {}
local methods = {}
local meta = { __index = methods }

-- Starts a server; options.port asks for a port.
function scripted.start(scripts, options)
  assert(type(scripts[1]) == "table", "scripted.start takes a list of scripts")
  local s = setmetatable({ host = "127.0.0.1", port = options and options.port, scripts = scripts }, meta)
  s.dir = proc.tmpdir()
  s.file = s.dir .. "/journal"
  proc.write_file(s.file, "")
  return s:start()
end

-- An HTTP server that plays one script on every connection.
function scripted.http(...)
  return scripted.start{ { ... } }
end

-- A Redis that answers every command as an empty one would, but for these raw replies.
function scripted.redis(replies)
  return scripted.start{ { { "redis", replies or {} } } }
end

function methods:start()
  local ready = self.dir .. "/ready"
  os.remove(ready)
  local settings = { ready = ready, journal = self.file, scripts = self.scripts, port = self.port }
  local file = proc.write_file(self.dir .. "/script.json", json.encode(settings))
  self.p = proc.start{
    "lua5.4", proc.root() .. "/spec/support/scripted_main.lua", file, name = "scripted", stdout = self.dir .. "/log",
    env = { LUA_PATH_5_4 = proc.root() .. "/?.lua;;" },
  }
  wait.until_true(function() return not self.p:alive() or proc.read_file(ready) end, 10, "scripted server to listen")
  assert(self.p:alive(), "the scripted server does not start:\n" .. self.p:output())
  self.port = tonumber(proc.read_file(ready):match "%d+")
  self.addr = self.host .. ":" .. self.port
  return self
end

-- Everything that happened, in order: {event=accept|request|command|bytes|closed|close|rst|end, conn=, time=, ...}.
-- A request has method, path, headers (lower-case), body, head (raw); a command has words.
function methods:journal(event)
  local list = {}
  for line in (proc.read_file(self.file) or ""):gmatch "([^\n]*)\n" do
    local record = json.decode(line)
    if record and (not event or record.event == event) then list[#list + 1] = record end
  end
  return list
end

-- The complete requests it received, those of one method if given; #s:requests() counts them.
function methods:requests(method)
  local list = {}
  for _, record in ipairs(self:journal "request") do
    if not method or record.method == method then list[#list + 1] = record end
  end
  return list
end

-- The Redis commands it received, as lists of words.
function methods:commands(name)
  local list = {}
  for _, record in ipairs(self:journal "command") do
    if not name or record.words[1]:upper() == name then list[#list + 1] = record.words end
  end
  return list
end

-- How many connections it accepted.
function methods:connections()
  return #self:journal "accept"
end

-- Waits until fn(self) is true, see wait.until_true.
function methods:wait(fn, seconds, what)
  return wait.until_true(function() return fn(self) end, seconds, what or "the scripted server")
end

function methods:kill()
  self.p:destroy()
end

-- Kills it and starts it on the same port, with other scripts if given; the journal goes on.
function methods:restart(scripts)
  self:kill()
  self.scripts = scripts or self.scripts
  return self:start()
end

return scripted
