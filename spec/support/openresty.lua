-- openresty - a private nginx with Debian's Lua module, a master and workers, and discover built for LuaJIT.
--
--   if not openresty.usable then pending(openresty.why) ... end
--   local n = openresty.start{ main = "", http = "", server = "", workers = 1 }   -- lines of the configuration
--   n.addr n.port  n:reload() n:quit() n:kill(signal) n:workers() n:log([pattern]) n:wait_log(pattern)
--
-- @lua, @port and other words of `words` are filled in. Only this configuration loads the modules.
local build = require "spec.support.build"
local port = require "spec.support.port"
local proc = require "spec.support.proc"
local wait = require "spec.support.wait"

local openresty = {}
local methods = {}
local meta = { __index = methods }

local MODULES = "/usr/lib/nginx/modules"
local MAIN = [[
load_module @modules/ndk_http_module.so;
load_module @modules/ngx_http_lua_module.so;
daemon off;
@user
worker_processes @workers;
worker_shutdown_timeout 20s;
pid @dir/pid;
error_log @dir/error info;
events { worker_connections 512; }
@main
http {
  access_log off;
  default_type text/plain;
  client_body_temp_path @dir/body; proxy_temp_path @dir/proxy; fastcgi_temp_path @dir/fastcgi;
  uwsgi_temp_path @dir/uwsgi; scgi_temp_path @dir/scgi;
  lua_package_path "@root/lua/?.lua;@root/lua/?/init.lua;@dir/?.lua;;";
  lua_package_cpath "@build/lua/?.so;;";
@http
  server {
    listen 127.0.0.1:@port;
@server
  }
}
]]

-- Why it can't be used here; nil: it can. The module is that for LuaJIT, whichever Lua runs the specs.
local folder = proc.root() .. "/build/luajit"
if (os.getenv "DISCOVER_TEST_LOADER" or "") ~= "" or build.folder:match "san$" then
  openresty.why = "nginx with Lua: not under sanitizers, they are no business of nginx and LuaJIT"
elseif not proc.read_file(MODULES .. "/ngx_http_lua_module.so") then
  openresty.why = "nginx with Lua: libnginx-mod-http-lua is not installed, see scripts/packages"
elseif not proc.read_file(folder .. "/lua/discover/core.so") then
  openresty.why = "nginx with Lua: discover is not built for LuaJIT: scripts/build luajit"
end
openresty.usable = not openresty.why

local function fill(text, words)
  return (text:gsub("@([%l_]+)", function(name)
    local word = words[name]
    return word and tostring(word) or nil
  end))
end

local function configure(self)
  local o, words = self.options, {}
  for name, value in pairs(o.words or {}) do words[name] = value end
  for name, value in pairs{ modules = MODULES, dir = self.dir, root = proc.root(), build = folder, port = self.port,
                            workers = o.workers or 1, user = proc.shell "id -u" == "0" and "user root;" or "" } do
    words[name] = value
  end
  local text = o.conf or MAIN
  for _, part in ipairs{ "main", "http", "server" } do
    text = text:gsub("@" .. part .. "\n", function() return (o[part] or "") .. "\n" end)
  end
  proc.write_file(self.file, fill(text, words))
end

-- Starts it and waits until it listens. `conf`: a whole configuration of one's own, with the same words.
function openresty.start(options)
  local n = setmetatable({ options = options, dir = proc.tmpdir(), port = port.free(), host = "127.0.0.1" }, meta)
  n.addr, n.file = n.host .. ":" .. n.port, n.dir .. "/nginx.conf"
  for name, text in pairs(options.files or {}) do
    proc.write_file(n.dir .. "/" .. name, fill(text, options.words or {}))
  end
  proc.write_file(n.dir .. "/error", "")
  configure(n)
  -- A configuration of one's own may include files that name modules from nginx's own folder.
  n.p = proc.start{ "/usr/sbin/nginx", "-p", options.conf and "/usr/share/nginx" or n.dir, "-c", n.file,
                    "-e", n.dir .. "/error", name = "openresty" }
  proc.at_end(function() n:destroy() end)
  local ok = wait.poll(function() return not n.p:alive() or port.listening(n.port) end, 15)
  assert(ok and n.p:alive(), "nginx does not start:\n" .. n:log() .. n.p:output())
  return n
end

-- The pids of the workers that are there, those that are about to end too.
function methods:workers()
  local list = {}
  local children = proc.read_file(("/proc/%d/task/%d/children"):format(self.p.pid, self.p.pid)) or ""
  for pid in children:gmatch "%d+" do list[#list + 1] = tonumber(pid) end
  return list
end

-- HUP, with the configuration as options are now; waits until all workers are new ones.
function methods:reload(seconds)
  local old = {}
  for _, pid in ipairs(self:workers()) do old[pid] = true end
  configure(self)
  self.p:kill "HUP"
  wait.until_true(function()
    local now = self:workers()
    for _, pid in ipairs(now) do
      if old[pid] then return false end
    end
    return #now > 0
  end, seconds or 15, "new workers after a reload\n" .. self:log())
end

-- Lets what is under way end; returns how long that took.
function methods:quit(seconds)
  local start = wait.now()
  self.p:kill "QUIT"
  assert(self.p:wait(seconds or 15), "nginx does not end")
  return wait.now() - start
end

-- TERM; or KILL for the master and its workers: by itself a master that is killed leaves them behind.
function methods:kill(signal)
  if signal == "KILL" then return self:destroy() end
  self.p:kill(signal or "TERM")
  assert(self.p:wait(15), "nginx does not end")
end

function methods:destroy()
  if not self.p:alive() then return end
  local pids = self:workers()
  self.p:destroy()
  if #pids > 0 then proc.shell("kill -KILL " .. table.concat(pids, " ") .. " 2>/dev/null") end
end

-- The error log.
function methods:log()
  return proc.read_file(self.dir .. "/error") or ""
end

function methods:wait_log(pattern, seconds)
  return wait.until_true(function() return self:log():match(pattern) end, seconds or 10, "in nginx's log: " .. pattern)
end

-- Lines of the log that are worse than what a healthy nginx writes.
function methods:complaints()
  local list = {}
  for line in self:log():gmatch "[^\n]+" do
    if line:find "%[%l+%]" and not line:find "%[notice%]" and not line:find "%[info%]" then list[#list + 1] = line end
  end
  return list
end

return openresty
