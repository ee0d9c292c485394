-- sink - an HTTP/1.1 server for large and odd bodies, see sink.py.
--
--   local s = sink.start()          -- s.addr s.port  s:stats()  s:kill()  s.p (the proc)
--   sink.pattern(n)                 -- the first n bytes of what /flow sends
local http = require "spec.support.http"
local json = require "dkjson"
local proc = require "spec.support.proc"
local wait = require "spec.support.wait"

local sink = {}
local methods = {}
local meta = { __index = methods }

function sink.start(options)
  local s = setmetatable({ port = options and options.port, host = "127.0.0.1" }, meta)
  return s:start()
end

function methods:start()
  local dir = proc.tmpdir()
  local ready = dir .. "/ready"
  local file = proc.write_file(dir .. "/settings.json", json.encode{ ready = ready, port = self.port })
  self.p = proc.start{
    "/usr/bin/python3", proc.root() .. "/spec/support/sink.py", file, name = "sink", stdout = dir .. "/log",
  }
  wait.until_true(function() return not self.p:alive() or proc.read_file(ready) end, 15, "sink to serve")
  assert(self.p:alive(), "the sink does not start:\n" .. self.p:output())
  self.port = tonumber(proc.read_file(ready):match "%d+")
  self.addr = self.host .. ":" .. self.port
  return self
end

-- {requests=, aborted=, open=}; `open` counts this connection too.
function methods:stats()
  local status, body = http.get(self.addr, "/stats")
  assert(status == 200, tostring(body))
  return json.decode(body)
end

function methods:kill()
  self.p:destroy()
end

function sink.pattern(n)
  if not sink.block then
    local bytes = {}
    for i = 0, 65535 do bytes[#bytes + 1] = string.char((i * 7 + math.floor(i / 256)) % 256) end
    sink.block = table.concat(bytes)
  end
  -- The pattern repeats every 65536 bytes.
  return sink.block:rep(math.ceil(n / 65536)):sub(1, n)
end

return sink
