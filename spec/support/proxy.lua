-- proxy - a TCP proxy in a process of its own that misbehaves as it is told, while it runs: for Redis, HTTP, WebSocket.
--
--   local p = proxy.start()
--   local line = p:open(redis.port [, port, rule])           -- a listener in front of that port; line.port line.addr
--   line:set{ down = { cut = 17, how = "reset" }, first = 1 }
--   line:now "close"                          -- the connections that stand: "close", "reset", "hang"
--   line:stats() -> { accepted, hits, live = { {up=bytes, down=bytes}, ... } }   line:times() -> when each came
--   p:finish()
--
-- A rule: refuse = true (nobody listens), accept = "close" | "reset" | "hang" (what connections get at once), up and
-- down (what happens to bytes to the server and to the client): cut = after so many bytes, how = "close" (default),
-- "reset", "hang"; corrupt = this byte (from 0), mask = how (255); twice = from this byte on what came with it is sent
-- again; delay = ms; trickle = {bytes, ms}. only = n: for the n-th connection from now on; first = n: for the first n.
-- A rule is for connections to come; with `live` it is for those that stand, its bytes counted from now. Nothing:
-- behaves well.
local json = require "dkjson"
local proc = require "spec.support.proc"
local resp = require "spec.support.resp"
local wait = require "spec.support.wait"

local proxy = {}
local methods, line_methods = {}, {}
local meta, line_meta = { __index = methods }, { __index = line_methods }

-- Starts the process; one is enough for many lines.
function proxy.start()
  local dir = proc.tmpdir()
  local ready = dir .. "/ready"
  local p = setmetatable({}, meta)
  p.p = proc.start{ "/usr/bin/python3", proc.root() .. "/spec/support/proxy_main.py", ready, name = "proxy",
                    stdout = dir .. "/log" }
  wait.until_true(function() return not p.p:alive() or proc.read_file(ready) end, 15, "the proxy to listen")
  assert(p.p:alive(), "the proxy does not start:\n" .. p.p:output())
  p.control = assert(resp.connect("127.0.0.1", tonumber(proc.read_file(ready):match "%d+"), wait.scale(30)))
  return p
end

local function ask(self, job)
  assert(self.control.socket:send(json.encode(job) .. "\n"))
  local text, why = self.control.socket:receive "*l"
  if not text then error("the proxy: " .. tostring(why) .. "\n" .. self.p:output(), 3) end
  return (json.decode(text))
end

-- A new listener in front of a port of this machine; at a port of its own choice, and well behaved, unless told else.
function methods:open(target, number, rule)
  number = ask(self, { ["do"] = "open", target = target, port = number, rule = rule }).port
  return setmetatable({ proxy = self, port = number, addr = "127.0.0.1:" .. number }, line_meta)
end

function methods:finish()
  self.control:close()
  return self.p:wait(10)
end

-- An empty table would become a list.
local function rule_of(rule)
  return rule and next(rule) and rule or setmetatable({}, { __jsontype = "object" })
end

function line_methods:set(rule, live)
  return ask(self.proxy, { ["do"] = "set", port = self.port, rule = rule_of(rule), live = live == "live" })
end

function line_methods:now(how)
  return ask(self.proxy, { ["do"] = "now", port = self.port, how = how })
end

function line_methods:target(port)
  return ask(self.proxy, { ["do"] = "target", port = self.port, target = port })
end

function line_methods:stats()
  return ask(self.proxy, { ["do"] = "stats", port = self.port })
end

function line_methods:times()
  return ask(self.proxy, { ["do"] = "times", port = self.port }).times
end

return proxy
