-- remote - a Lua program in a process of its own that does what a spec tells it, step by step.
--
--   local p = remote.start()                             -- discover, json, socket are there as globals
--   p:run("d = discover.open(...)", registry)            -- globals stay; returns what the chunk returns
--   p:tell("os.exit(3)")                                 -- does not wait for an answer
--   p:kill("TERM")  p:wait(seconds)  p:output()  p.p     -- of the process, see proc.lua
--
-- Values travel as JSON. An error in the chunk is raised here.
local json = require "dkjson"
local lua_run = require "spec.support.lua_run"
local port = require "spec.support.port"
local proc = require "spec.support.proc"
local resp = require "spec.support.resp"
local wait = require "spec.support.wait"

local remote = {}
local methods = {}
local meta = { __index = methods }

local PROGRAM = [==[
json, socket = require "dkjson", require "socket"
discover = require "discover"
local load = loadstring or load
local server = assert(socket.bind("127.0.0.1", tonumber(arg[1])))
local peer = assert(server:accept())
server:close()

local function answer(ok, ...)
  local values = { n = select("#", ...), ... }
  if not ok then values[1] = tostring(values[1]) end
  local text = json.encode { ok = ok, n = values.n, values = values }
  peer:send(#text .. "\n" .. text)
end

while true do
  local size = peer:receive "*l"
  if not size then break end
  local job = json.decode((assert(peer:receive(tonumber(size)))))
  local chunk, why = load(job.code, "=remote")
  if chunk then answer(pcall(chunk, (table.unpack or unpack)(job.args, 1, job.n))) else answer(false, why) end
end
]==]

-- Starts a process. Options as of lua_run.start.
function remote.start(options)
  local copy = {}
  for name, value in pairs(options or {}) do copy[name] = value end
  local number = port.free()
  copy.args = { number }
  local r = setmetatable({ p = lua_run.start(PROGRAM, copy) }, meta)
  r.pid = r.p.pid
  r.connection = wait.until_true(function()
    if not r.p:alive() then return "dead" end
    return resp.connect("127.0.0.1", number, wait.scale(60))
  end, 15, "remote program")
  if r.connection == "dead" then error("the remote program does not start:\n" .. table.concat({ r.p:output() }), 2) end
  return r
end

-- Sends a chunk, returns at once.
function methods:tell(code, ...)
  local text = json.encode { code = code, args = { n = select("#", ...), ... }, n = select("#", ...) }
  return self.connection.socket:send(#text .. "\n" .. text)
end

-- The answer of the chunk that was sent last: nil, "closed" if the program ended.
function methods:hear()
  local size, why = self.connection.socket:receive "*l"
  if not size then return nil, why end
  local list = json.decode((assert(self.connection.socket:receive(tonumber(size)))))
  if not list.ok then error("remote: " .. tostring(list.values[1]), 3) end
  return (table.unpack or unpack)(list.values, 1, list.n)
end

-- Runs a chunk and returns its values.
function methods:run(code, ...)
  assert(self:tell(code, ...))
  return self:hear()
end

function methods:kill(signal) return self.p:kill(signal) end
function methods:wait(seconds) return self.p:wait(seconds) end
function methods:output() return self.p:output() end

-- Closes the connection: the program ends as a program does that is through.
function methods:finish(seconds)
  self.connection:close()
  return self.p:wait(seconds or 10)
end

-- SIGKILL.
function methods:destroy()
  self.connection:close()
  return self.p:destroy()
end

remote.proc = proc

return remote
