-- sentinel - Redis Sentinels for specs, and groups of a master, a replica and three Sentinels.
--
--   local s = sentinel.start{ count=3, password=, acl={"user u on >p ..."}, tls=true }   -- they watch nothing yet
--   s:watch(r, { name=, down_after=1000 })        -- r: a master of redis.lua, its replicas attached
--   s:hosts()  s[1]:call("SENTINEL", ...)  s[1].addr  s[1].p
--
--   local g = sentinel.group{ down_after=1000, password=, acl=, sentinels={...}, tls=true }
--   g:url{ user=, password=, query="a=b" }   g.master  g.replica   (objects of redis.lua; who began as what)
--   g:await_master(r)   waits until all Sentinels that live name r, and r says so itself
--   g:failover([i])     by hand, on the i-th Sentinel; returns who is the master then
--   g:kill()
--
-- sentinel.shared() are three of this process, for every Redis that is started with DISCOVER_TEST_REDIS=sentinel.
local certs = require "spec.support.certs"
local port = require "spec.support.port"
local proc = require "spec.support.proc"
local resp = require "spec.support.resp"
local wait = require "spec.support.wait"

local sentinel = {}
local one, all, group = {}, {}, {}

-- Runs one command on this Sentinel, on a connection of its own.
function one:call(...)
  local c, why = resp.connect(self.host, self.port, wait.scale(5))
  if not c then return nil, why end
  if self.password then
    local ok, problem = c:call("AUTH", self.password)
    if not ok then return nil, problem end
  end
  local reply, problem = c:call(...)
  c:close()
  return reply, problem
end

-- What it says of a master (SENTINEL MASTER) as a map.
function one:info(name)
  local list, why = self:call("SENTINEL", "MASTER", name)
  if not list then return nil, why end
  local map = {}
  for i = 1, list.n, 2 do map[list[i]] = list[i + 1] end
  return map
end

-- "host:port" of the master, as it tells clients.
function one:names(name)
  local pair, why = self:call("SENTINEL", "get-master-addr-by-name", name)
  return pair and pair[1] .. ":" .. pair[2], why
end

local function launch(s, options)
  local lines = {
    "port " .. s.port, "bind 127.0.0.1", "dir " .. s.dir, "daemonize no", "sentinel resolve-hostnames yes",
    "sentinel announce-ip 127.0.0.1",
  }
  if options.password then
    lines[#lines + 1] = "requirepass " .. options.password
    lines[#lines + 1] = "sentinel sentinel-pass " .. options.password
  end
  for _, line in ipairs(options.acl or {}) do lines[#lines + 1] = line end
  if options.tls then
    local made = certs.make()
    for _, line in ipairs { "tls-port " .. s.tls_port, "tls-cert-file " .. made.server.cert,
      "tls-key-file " .. made.server.key, "tls-ca-cert-file " .. made.ca, "tls-auth-clients no",
      "tls-replication yes" } do
      lines[#lines + 1] = line
    end
  end
  proc.write_file(s.conf, table.concat(lines, "\n") .. "\n")
end

-- Starts it (again), with what it knew.
function one:start()
  self.p = proc.start{ "redis-server", self.conf, "--sentinel", name = "sentinel-" .. self.port,
                       stdout = self.dir .. "/log" }
  local ok, why = wait.poll(function()
    if not self.p:alive() then return true end
    local answer, problem = self:call "PING"
    return answer == "PONG", problem
  end, 10)
  assert(ok and self.p:alive(), ("the Sentinel does not start: %s\n%s"):format(why or "", self.p:output()))
  -- They find one another sooner, and a machine that stands still for a moment is no reason to stop judging.
  self:call("SENTINEL", "DEBUG", "PUBLISH-PERIOD", 200, "TILT-TRIGGER", 20000)
end

function one:kill() self.p:destroy() end
function one:pause() self.p:kill "STOP" end
function one:resume() self.p:kill "CONT" end

function sentinel.start(options)
  options = options or {}
  local s = setmetatable({ options = options }, { __index = all })
  for i = 1, options.count or 3 do
    local dir = proc.tmpdir()
    local new = { host = "127.0.0.1", port = port.free(), dir = dir, conf = dir .. "/sentinel.conf",
                  password = options.password }
    if options.tls then new.tls_port = port.free() end
    new.addr = new.host .. ":" .. (new.tls_port or new.port)
    s[i] = setmetatable(new, { __index = one })
    launch(new, options)
    new:start()
  end
  return s
end

-- Their addresses as a registry string has them.
function all:hosts()
  local list = {}
  for i, s in ipairs(self) do list[i] = s.addr end
  return table.concat(list, ",")
end

-- All Sentinels watch this master from now on. Returns the name they know it by.
function all:watch(r, options)
  options = options or {}
  local number = self.options.tls and r.tls_port or r.port
  local name = options.name or "m" .. number
  for _, s in ipairs(self) do
    assert(s:call("SENTINEL", "MONITOR", name, r.host, number, math.floor(#self / 2) + 1))
    if r.password then assert(s:call("SENTINEL", "SET", name, "auth-pass", r.password)) end
    assert(s:call("SENTINEL", "SET", name, "down-after-milliseconds", options.down_after or 60000))
    assert(s:call("SENTINEL", "SET", name, "failover-timeout", options.failover_timeout or 10000))
  end
  return name
end

function all:kill()
  for _, s in ipairs(self) do s:kill() end
end

local shared

function sentinel.shared()
  if not shared then
    shared = sentinel.start()
    proc.at_end(function() shared = nil end)
  end
  return shared
end

-- ---- groups

function sentinel.group(options)
  local redis = require "spec.support.redis"
  options = options or {}
  local function server(of)
    return redis.start{ over = options.tls and "tls" or "plain", password = options.password, acl = options.acl,
                        replica_of = of, args = { "--repl-diskless-sync-delay", 0 } }
  end
  local watchers = options.sentinels or {}
  watchers.tls = options.tls
  local g = setmetatable({ options = options, sentinels = sentinel.start(watchers) }, { __index = group })
  g.master = server()
  g.replica = server(g.master)
  g.name = g.sentinels:watch(g.master, { down_after = options.down_after or 1000, name = options.name,
                                         failover_timeout = options.failover_timeout })
  wait.until_true(function()
    for _, s in ipairs(g.sentinels) do
      local info, why = s:info(g.name)
      if not info then return nil, why end
      if info.flags ~= "master" then return nil, info.flags end
      if tonumber(info["num-slaves"]) < 1 then return nil, "no replica known" end
      if tonumber(info["num-other-sentinels"]) ~= #g.sentinels - 1 then return nil, "Sentinels unknown" end
    end
    return true
  end, 20, "the Sentinels to know all")
  return g
end

function group:url(options)
  options = options or {}
  local password = options.password or self.options.password
  local user = (options.user or "") .. (password and ":" .. password or "")
  local query = options.query
  if self.options.tls then query = "ca=" .. certs.make().ca .. (query and "&" .. query or "") end
  return ("redis%s+sentinel://%s%s/%s/15%s"):format(self.options.tls and "s" or "", user ~= "" and user .. "@" or "",
    options.hosts or self.sentinels:hosts(), options.name or self.name, query and "?" .. query or "")
end

-- The address by which Sentinels name a server of the group.
function group:addr_of(r)
  return r.host .. ":" .. (self.options.tls and r.tls_port or r.port)
end

function group:await_master(r, seconds)
  local addr = self:addr_of(r)
  wait.until_true(function()
    for _, s in ipairs(self.sentinels) do
      if s.p:alive() and not s.paused then
        local named, why = s:names(self.name)
        if named ~= addr then return nil, why or named end
      end
    end
    local role, why = r:cli "ROLE"
    return role and role[1] == "master", why or role and role[1]
  end, seconds or 20, "the new master")
end

-- Waits until a server follows the other one, and all Sentinels know it as a replica in good order.
function group:await_replica(r, seconds)
  local own = self:addr_of(r)
  wait.until_true(function()
    local role, why = r:cli "ROLE"
    if not role then return nil, why end
    if role[1] ~= "slave" or role[4] ~= "connected" then return nil, tostring(role[1]) .. " " .. tostring(role[4]) end
    for _, s in ipairs(self.sentinels) do
      if s.p:alive() and not s.paused then
        local list, problem = s:call("SENTINEL", "REPLICAS", self.name)
        if not list then return nil, problem end
        local good = false
        for i = 1, list.n do
          local map = {}
          for k = 1, list[i].n, 2 do map[list[i][k]] = list[i][k + 1] end
          good = good or (map.name == own and map.flags == "slave" and map["master-link-status"] == "ok")
        end
        if not good then return nil, "a Sentinel does not know it well" end
      end
    end
    return true
  end, seconds or 30, "the replica")
end

-- Has a failover made by a Sentinel (the first); waits until all agree. Returns who is the master now, and who was.
function group:failover(i)
  local by = self.sentinels[i or 1]
  local before = by:names(self.name)
  -- It may need a moment to think well of the replica, and says so.
  wait.until_true(function() return by:call("SENTINEL", "FAILOVER", self.name) end, 20, "a failover to begin")
  local new, old = self.master, self.replica
  if before == self:addr_of(self.master) then new, old = self.replica, self.master end
  self:await_master(new)
  return new, old
end

function group:kill()
  self.sentinels:kill()
  self.replica:kill()
  self.master:kill()
end

return sentinel
