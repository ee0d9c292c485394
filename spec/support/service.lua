-- service - HTTP services in processes of their own.
--
--   local s = service.start{ app=, registry=, opts= }   -- lua-http; registers itself when registry is given
--   s.addr s.port  s:count([what])  s:control{fail=503, delay=ms, times=n, path=}  s:reset()
--   s:stop([drain])  s:drain([seconds])  s:kill()  s:restart()  s:weight(n)  s.p (the proc)
--   local n = service.nginx{ ["/"] = "hello" }           -- fast static answers; n.addr n.port n:kill() n:connections()
--
-- Routes: /echo /name /status/<n> /slow?ms= /big?bytes= /digest /headers?name=value / , see service_main.lua.
local http = require "spec.support.http"
local json = require "dkjson"
local lua_run = require "spec.support.lua_run"
local port = require "spec.support.port"
local proc = require "spec.support.proc"
local wait = require "spec.support.wait"

local service = {}
local methods = {}
local meta = { __index = methods }

-- Debian installs lua-http for 5.1 only; it runs under 5.4 as well.
local LUA_HTTP = "/usr/share/lua/5.1/?.lua;/usr/share/lua/5.1/?/init.lua"

local function service_build()
  -- The service is a Lua 5.4 program also when the specs run on another Lua, whose build it cannot load.
  if _VERSION == "Lua 5.4" then return lua_run.build() end
  return proc.root() .. "/" .. (os.getenv "DISCOVER_SERVICE_BUILD" or "build/dev")
end

-- Starts a service and waits until it serves (and, with a registry, until discover.start has returned).
-- Options: port, app, registry, opts (of discover.start: a plain table), env.
function service.start(options)
  local s = setmetatable({ options = options or {}, host = "127.0.0.1" }, meta)
  return s:start()
end

-- Starts it (again); on the port it had.
function methods:start()
  local options = self.options
  local dir = proc.tmpdir()
  local settings = {
    ready = dir .. "/ready", port = self.port or options.port, app = options.app, registry = options.registry,
    opts = options.opts,
  }
  local file = proc.write_file(dir .. "/settings.json", json.encode(settings))
  local root = proc.root()
  local env = {
    LUA_PATH_5_4 = ("%s/lua/?.lua;%s/lua/?/init.lua;;%s"):format(root, root, LUA_HTTP),
    LUA_CPATH_5_4 = service_build() .. "/lua/?.so;;",
  }
  for name, value in pairs(options.env or {}) do env[name] = value end
  -- Only a service that registers loads our module and, when that is sanitized, the sanitizer.
  local words = options.registry and lua_run.interpreter "lua5.4" or { "lua5.4" }
  words[#words + 1], words[#words + 2] = root .. "/spec/support/service_main.lua", file
  words.name, words.env, words.stdout = "service", env, dir .. "/log"
  self.p = proc.start(words)
  wait.until_true(function() return not self.p:alive() or proc.read_file(settings.ready) end, 15, "service to serve")
  assert(self.p:alive(), "the service does not start:\n" .. self.p:output())
  self.port = tonumber(proc.read_file(settings.ready):match "%d+")
  self.addr = self.host .. ":" .. self.port
  return self
end

local function ask(self, method, path, value)
  local status, body = http.request(self.addr, method, path, value and json.encode(value) or nil)
  assert(status == 200, ("%s %s of %s: %s"):format(method, path, self.addr, tostring(body)))
  return json.decode(body)
end

-- How many requests it got: in all, or of one "GET /path".
function methods:count(what)
  local answer = ask(self, "GET", "/count")
  if what then return answer.requests[what] or 0 end
  return answer.total
end

-- How many connections these requests came on.
function methods:connections()
  return ask(self, "GET", "/count").connections
end

-- Sets what happens to requests from now on: {fail=status, delay=ms, times=n, path=only this}; nothing: all well.
function methods:control(control)
  ask(self, "POST", "/control", control or {})
end

function methods:reset()
  ask(self, "POST", "/reset")
end

-- set_weight inside the registered service.
function methods:weight(weight)
  return ask(self, "POST", "/weight", { weight = weight })
end

-- Lets it say goodbye and end.
function methods:stop(drain)
  ask(self, "POST", "/stop", { drain = drain })
  assert(self.p:wait(15), "the service does not end")
end

-- Lets it serve on until its callers have seen that it goes, and end.
function methods:drain(seconds)
  ask(self, "POST", "/drain", { seconds = seconds })
  assert(self.p:wait(15), "the service does not end")
end

-- SIGKILL: no goodbye.
function methods:kill()
  self.p:destroy()
end

-- Kills it and starts it on the same port.
function methods:restart()
  self:kill()
  return self:start()
end

-- What it has written to stdout and stderr.
function methods:log()
  return (self.p:output())
end

local NGINX = [[
daemon off;
master_process off;
pid %s/pid;
error_log stderr warn;
events { worker_connections 2048; }
http {
  access_log off;
  default_type text/plain;
  keepalive_requests 1000000000;
  client_body_temp_path %s/body; proxy_temp_path %s/proxy; fastcgi_temp_path %s/fastcgi;
  uwsgi_temp_path %s/uwsgi; scgi_temp_path %s/scgi;
  server {
    listen %s:%d;
%s
    location = /status { stub_status; }
  }
}
]]

-- Starts a private nginx with static answers: a map of path to text, or to a whole location block's body. `host`
-- "0.0.0.0": every 127.x.y.z on that port is this one.
function service.nginx(answers, host)
  local dir, number = proc.tmpdir(), port.free()
  local locations = {}
  for path, text in pairs(answers or { ["/"] = "hello" }) do
    local body = type(text) == "table" and text[1] or ("return 200 %q;"):format(text)
    locations[#locations + 1] = ("    location = %s { %s }"):format(path, body)
  end
  local text = NGINX:format(dir, dir, dir, dir, dir, dir, host or "127.0.0.1", number, table.concat(locations, "\n"))
  local file = proc.write_file(dir .. "/nginx.conf", text)
  local n = { port = number, host = "127.0.0.1", addr = "127.0.0.1:" .. number }
  n.p = proc.start{ "/usr/sbin/nginx", "-p", dir, "-c", file, "-e", "stderr", name = "nginx" }
  local ok = wait.poll(function() return not n.p:alive() or port.listening(number) end, 10)
  assert(ok and n.p:alive(), "nginx does not start:\n" .. n.p:output())

  -- Requests handled so far (asking counts as well).
  function n.requests()
    local _, body = http.get(n.addr, "/status")
    return tonumber(body:match "%d+ %d+ (%d+)")
  end

  function n.kill() n.p:destroy() end
  function n.stop()
    n.p:kill "QUIT"
    n.p:wait(10)
  end
  return n
end

return service
