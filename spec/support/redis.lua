-- redis - private redis-servers for specs: on a free port, in a folder of their own, gone at the end.
--
--   local r = redis.start{ password=, acl={"user u on >p ..."}, unix=true, args={...}, db=15, port=, replica_of=,
--     files={name=text}, single=true, tls_port= }
--   r:url()  r:cli("HGETALL", "app")  r:hash("app")
--   r:kill() r:pause() r:resume() r:stop() r:start() r:restart()  r:save()
--
-- How discover reaches it: DISCOVER_TEST_REDIS = plain (default), tls, unix, sentinel, cluster; or the option `over`.
-- The specs' own commands always go over the plain port. With sentinel every server gets a replica, and three Sentinels
-- of this process name it as the master; they never put the replica in its place, since specs come back to the same
-- server. With cluster it is a Cluster of three servers instead, see cluster.lua; `single`: one even so, for specs that
-- write a string of one server out.
local certs = require "spec.support.certs"
local port = require "spec.support.port"
local proc = require "spec.support.proc"
local resp = require "spec.support.resp"
local wait = require "spec.support.wait"

local redis = {}
local methods = {}
local meta = { __index = methods }

-- Starts a server and waits until it answers. Fields: host, port, addr, db, dir, password, p (the process).
function redis.start(options)
  options = options or {}
  local over = options.over or os.getenv "DISCOVER_TEST_REDIS" or "plain"
  if over == "cluster" and not options.single then return require "spec.support.cluster".start(options) end
  if over == "cluster" then over = "plain" end
  local r = setmetatable({
    options = options, host = "127.0.0.1", port = options.port or port.free(), db = options.db or 15,
    dir = proc.tmpdir(), password = options.password,
  }, meta)
  r.addr = r.host .. ":" .. r.port
  r.over = over
  assert(({ plain = true, tls = true, unix = true, sentinel = true })[r.over],
    "DISCOVER_TEST_REDIS is plain, tls, unix, sentinel or cluster")
  if r.over == "tls" then r.tls_port = options.tls_port or port.free() end
  if options.acl then
    -- With an ACL file the default user is whatever the file says: keep one for the specs themselves.
    local lines = { "user default on nopass ~* &* +@all" }
    -- Behind Sentinels a client asks for the server's role.
    for _, line in ipairs(options.acl) do lines[#lines + 1] = line .. (r.over == "sentinel" and " +role" or "") end
    proc.write_file(r.dir .. "/users.acl", table.concat(lines, "\n") .. "\n")
  end
  for name, text in pairs(options.files or {}) do proc.write_file(r.dir .. "/" .. name, text) end
  r:start()
  if r.over == "sentinel" then
    local trio = require "spec.support.sentinel".shared()
    r.replica = redis.start{ over = "plain", password = r.password, replica_of = r }
    r.sentinels, r.master_name = trio, trio:watch(r)
  end
  return r
end

-- Starts it (again) on the same port, with what its folder holds; waits until it answers commands.
function methods:start()
  local words = {
    "redis-server", "--port", self.port, "--bind", "127.0.0.1", "--dir", self.dir, "--appendonly", "no",
    "--save", "", "--dbfilename", "dump.rdb", "--daemonize", "no", "--loglevel", "notice",
    name = "redis-" .. self.port, stdout = self.dir .. "/log",
  }
  if self.tls_port then
    local made = certs.make()
    local server = self.options.certificate or made.server
    for _, word in ipairs { "--tls-port", self.tls_port, "--tls-cert-file", server.cert, "--tls-key-file", server.key,
      "--tls-ca-cert-file", made.ca, "--tls-auth-clients", self.options.wants_client and "yes" or "no" } do
      words[#words + 1] = word
    end
  end
  if self.options.unix or self.over == "unix" then
    self.unix = self.dir .. "/redis.sock"
    words[#words + 1], words[#words + 2] = "--unixsocket", self.unix
  end
  if self.password then words[#words + 1], words[#words + 2] = "--requirepass", self.password end
  if self.over == "sentinel" then words[#words + 1], words[#words + 2] = "--repl-diskless-sync-delay", 0 end
  if self.options.replica_of then self:follow(self.options.replica_of, words) end
  if self.options.acl then words[#words + 1], words[#words + 2] = "--aclfile", self.dir .. "/users.acl" end
  for _, word in ipairs(self.options.args or {}) do words[#words + 1] = word end
  self.p = proc.start(words)
  local ok, why = wait.poll(function()
    if not self.p:alive() then return true end
    local answer, problem = self:cli "PING"
    return answer == "PONG", problem
  end, 10)
  assert(ok and self.p:alive(), ("redis-server does not start: %s\n%s"):format(why or "", self.p:output()))
  return self
end

-- Words that make it a replica of another one.
function methods:follow(master, words)
  local over_tls = self.tls_port and master.tls_port
  words[#words + 1], words[#words + 2] = "--replicaof", master.host .. " " .. (over_tls or master.port)
  if over_tls then words[#words + 1], words[#words + 2] = "--tls-replication", "yes" end
  if master.password then words[#words + 1], words[#words + 2] = "--masterauth", master.password end
end

-- The number of connections beside those of this spec.
function methods:strangers()
  return select(2, self:cli("CLIENT", "LIST"):gsub("id=", "")) - 1
end

-- The registry string. { user=, password=, db=, query="a=b" }; without a table the server's own password and db.
function methods:url(options)
  options = options or {}
  local password = options.password or self.password
  local user = (options.user or "") .. (password and ":" .. password or "")
  user = user ~= "" and user .. "@" or ""
  local db, query = options.db or self.db, options.query
  if self.over == "unix" then
    return ("unix://%s%s?db=%d%s"):format(user, self.unix, db, query and "&" .. query or "")
  end
  if self.over == "sentinel" then
    return ("redis+sentinel://%s%s/%s/%d%s"):format(user, self.sentinels:hosts(), self.master_name, db,
      query and "?" .. query or "")
  end
  if self.over == "tls" then
    local ca = "ca=" .. (options.ca or certs.make().ca)
    return ("rediss://%s%s:%d/%d?%s"):format(user, self.host, self.tls_port, db, query and ca .. "&" .. query or ca)
  end
  return ("redis://%s%s:%d/%d%s"):format(user, self.host, self.port, db, query and "?" .. query or "")
end

local function login(self, connection)
  if self.password then
    local ok, why = connection:call("AUTH", self.password)
    if not ok then return nil, why end
  end
  return connection:call("SELECT", self.db)
end

-- A connection of its own, logged in, on the registry's database (see resp.lua), or nil, message.
function methods:connect(seconds)
  local connection, why = resp.connect(self.host, self.port, seconds or wait.scale(5))
  if not connection then return nil, why end
  local ok, problem = login(self, connection)
  if not ok then
    connection:close()
    return nil, problem
  end
  return connection
end

-- What Sentinels and replicas do is not what specs look at: their lines in a list of clients.
local function without_watchers(list)
  local kept = {}
  for line in list:gmatch "[^\n]+" do
    if not line:find "name=sentinel%-" and not line:find "flags=S" then kept[#kept + 1] = line .. "\n" end
  end
  return table.concat(kept)
end

-- Runs one command and returns its reply as Lua values: null is nil, an error nil, "ERR ...", arrays lists with n.
function methods:cli(...)
  local reply, problem = self:command(...)
  local word, second = ...
  if self.over == "sentinel" and word == "CLIENT" and second == "LIST" and reply then
    return without_watchers(reply)
  end
  return reply, problem
end

function methods:command(...)
  local connection = self.connection
  if not connection then
    local why
    connection, why = self:connect()
    if not connection then return nil, why end
    self.connection = connection
  end
  local reply, problem = connection:call(...)
  if reply == nil and (problem == "closed" or problem == "timeout") then
    self.connection = nil
    connection:close()
    -- An idle connection may have died with the server before this one.
    if problem == "closed" and not self.retrying then
      self.retrying = true
      reply, problem = self:command(...)
      self.retrying = nil
    end
  end
  return reply, problem
end

-- A hash as a map; {} when it does not exist.
function methods:hash(key)
  local list, why = self:cli("HGETALL", key)
  if not list then return nil, why end
  local map = {}
  for i = 1, list.n, 2 do map[list[i]] = list[i + 1] end
  return map
end

-- All keys of the database, sorted.
function methods:keys(pattern)
  local list, why = self:cli("KEYS", pattern or "*")
  if not list then return nil, why end
  table.sort(list)
  list.n = nil
  return list
end

-- Registers a node by hand, as an operator or a peer would: SETEX, HSET, PUBLISH.
function methods:add_node(app, addr, weight, ttl)
  assert(self:cli("SETEX", app .. "_" .. addr, ttl or 600, "1"))
  assert(self:cli("HSET", app, addr, weight or 100))
  assert(self:cli("PUBLISH", "CH_" .. app, addr .. " " .. (weight or 100)))
end

-- Takes a node out by hand: HDEL, DEL, PUBLISH 0.
function methods:remove_node(app, addr)
  assert(self:cli("HDEL", app, addr))
  assert(self:cli("DEL", app .. "_" .. addr))
  assert(self:cli("PUBLISH", "CH_" .. app, addr .. " 0"))
end

local function drop_connection(self)
  if self.connection then self.connection:close() end
  self.connection = nil
end

-- Ends it in good order (SIGTERM).
function methods:stop()
  drop_connection(self)
  self.p:kill "TERM"
  assert(self.p:wait(10), "redis-server does not stop")
end

-- Ends it at once (SIGKILL).
function methods:kill()
  drop_connection(self)
  self.p:destroy()
end

-- Freezes it: connections stay, nothing answers (SIGSTOP); resume() lets it go on.
function methods:pause()
  self.p:kill "STOP"
end

function methods:resume()
  self.p:kill "CONT"
end

-- Writes the RDB file now; a later start() comes up with that state.
function methods:save()
  assert(self:cli "SAVE")
end

-- Kills it and starts it: empty unless `keep` (then from the last save()).
function methods:restart(keep)
  self:kill()
  if not keep then os.remove(self.dir .. "/dump.rdb") end
  return self:start()
end

-- A capture of everything the server is told: m:lines(), m:wait(pattern, seconds), m:close().
-- A line is the command's words joined by blanks: "HSET app 127.0.0.1:80 100".
function methods:monitor()
  local connection = assert(self:connect())
  assert(connection:call "MONITOR")
  connection:timeout(0)
  local m, seen, partial = {}, {}, ""

  local function drain()
    while true do
      local line, why, rest = connection.socket:receive("*l", partial)
      if not line then
        partial = rest or ""
        return why
      end
      partial = ""
      local words = {}
      -- Not what Sentinels and replicas say.
      local theirs = self.over == "sentinel" and (line:find "__sentinel__" or line:find '"sentinel%-' or
        line:find '%[0 %S+ "PING"' or line:find '"INFO"$' or line:find '"REPLCONF"' or line:find '"PSYNC"')
      for word in line:gsub("^[^\"]*", "", 1):gmatch '"([^"]*)"' do words[#words + 1] = word end
      local time = tonumber(line:match "^%+?([%d.]+)") or 0
      if not theirs then seen[#seen + 1] = { text = table.concat(words, " "), time = time } end
    end
  end

  -- All commands so far, those matching a Lua pattern only if one is given; m.times: when they were carried out.
  function m.lines(_, pattern)
    drain()
    local list = {}
    m.times = {}
    for _, entry in ipairs(seen) do
      if not pattern or entry.text:find(pattern) then
        list[#list + 1] = entry.text
        m.times[#list] = entry.time
      end
    end
    return list
  end

  function m.wait(_, pattern, seconds)
    return wait.until_true(function() return m:lines(pattern)[1] end, seconds, "command " .. pattern)
  end

  function m.forget()
    drain()
    seen = {}
  end

  function m.close()
    connection:close()
  end

  return m
end

-- A subscriber of its own: s:messages() (all so far), s:wait(pattern, seconds), s:close().
function methods:subscribe(channel)
  local connection = assert(self:connect())
  assert(connection:call("SUBSCRIBE", channel))
  local s, seen = {}, {}

  function s.messages()
    while true do
      -- A message that has begun to arrive is read whole.
      local ready = require("socket").select({ connection.socket }, nil, 0)
      if not ready[1] then return seen end
      local message = connection:read()
      if not message then return seen end
      if message[1] == "message" then seen[#seen + 1] = message[3] end
    end
  end

  function s.wait(_, pattern, seconds)
    return wait.until_true(function()
      for _, text in ipairs(s.messages()) do
        if text:find(pattern) then return text end
      end
    end, seconds, "message " .. pattern)
  end

  function s.close()
    connection:close()
  end

  return s
end

redis.methods = methods

return redis
