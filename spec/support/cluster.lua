-- cluster - private Redis Clusters for specs: some masters, replicas if wanted, gone at the end.
--
--   local c = cluster.start{ masters=3, replicas=0, password=, acl=, args=, node_timeout=2000, over="tls" }
--   c:url()  c:cli("HGETALL", "app")  c:node_of("app")  c.nodes[1]
--   c:kill() c:start() c:restart() ...: as a single server of redis.lua, all nodes together
--
-- The nodes know each other from the start, by their configuration files. A command goes to the node that serves its
-- second word; KEYS, CLIENT, CONFIG and others that are about servers go to all of them.
local proc = require "spec.support.proc"
local port = require "spec.support.port"
local wait = require "spec.support.wait"

local cluster = {}
local methods = {}
local meta = { __index = methods }

local SLOTS = 16384

local function node_id(i)
  return ("%040x"):format(0xd15c0000 + i)
end

-- What every node has in its configuration file: all nodes, itself marked.
local function configuration(c, self)
  local lines = {}
  for i, node in ipairs(c.layout) do
    local flags = (i == self and "myself," or "") .. (node.master and "slave" or "master")
    local slots = node.first and (" %d-%d"):format(node.first, node.last) or ""
    lines[#lines + 1] = ("%s 127.0.0.1:%d@%d %s %s 0 0 %d connected%s"):format(node_id(i), node.tls_port or node.port,
      node.bus, flags,
      node.master and node_id(node.master) or "-", node.master or i, slots)
  end
  lines[#lines + 1] = ("vars currentEpoch %d lastVoteEpoch 0\n"):format(#c.layout)
  return table.concat(lines, "\n")
end

-- With TLS the servers talk and are announced by that port; this spec's own commands go over the plain one.
local function lay_out(masters, replicas, tls)
  local layout = {}
  for i = 1, masters do
    layout[i] = { port = port.free(), bus = port.free(), first = math.floor(SLOTS * (i - 1) / masters),
      last = math.floor(SLOTS * i / masters) - 1 }
  end
  for i = 1, replicas do
    layout[masters + i] = { port = port.free(), bus = port.free(), master = (i - 1) % masters + 1 }
  end
  for _, node in ipairs(layout) do node.tls_port = tls and port.free() or nil end
  return layout
end

local function server_options(c, i)
  local options, node = c.options, c.layout[i]
  local args = { "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", node.bus,
    "--cluster-node-timeout", options.node_timeout or 2000, "--repl-diskless-sync-delay", 0,
    "--cluster-replica-validity-factor", 0 }
  if options.password then args[#args + 1], args[#args + 2] = "--masterauth", options.password end
  for _, word in ipairs(options.args or {}) do args[#args + 1] = word end
  local acl
  for _, line in ipairs(options.acl or {}) do
    -- Beside the rights on one server, a client asks who serves what, and follows a key that is being moved.
    acl = acl or {}
    acl[#acl + 1] = line .. " +cluster|slots +asking"
  end
  if node.tls_port then args[#args + 1], args[#args + 2] = "--tls-cluster", "yes" end
  if node.tls_port then args[#args + 1], args[#args + 2] = "--tls-replication", "yes" end
  return { over = node.tls_port and "tls" or "plain", tls_port = node.tls_port, db = 0, port = node.port,
    password = options.password, acl = acl, args = args,
    files = { ["nodes.conf"] = configuration(c, i) } }
end

-- True when every node that runs thinks that the Cluster is well and knows all the others.
function methods:is_well()
  for _, node in ipairs(self.nodes) do
    if node.p:alive() then
      local info, why = node:cli("CLUSTER", "INFO")
      if not info or not info:find "cluster_state:ok" then return false, why or info end
    end
  end
  return true
end

function methods:await_well(seconds)
  wait.until_true(function() return self:is_well() end, seconds or 15, "the Cluster is well")
  return self
end

local function begin(options)
  local redis = require "spec.support.redis"
  local c = setmetatable({ options = options, host = "127.0.0.1", db = 0, over = "cluster", nodes = {},
    password = options.password }, meta)
  c.layout = lay_out(options.masters or 3, options.replicas or 0, options.over == "tls")
  for i = 1, #c.layout do c.nodes[i] = redis.start(server_options(c, i)) end
  c.port, c.addr, c.dir, c.p = c.nodes[1].port, c.nodes[1].addr, c.nodes[1].dir, c.nodes[1].p
  return c
end

-- Masters do not take writes in their first two seconds: one plain Cluster is kept ready for whoever comes next.
local spare

-- Starts one and waits until it is well.
function cluster.start(options)
  options = options or {}
  local is_plain = true
  for name in pairs(options) do is_plain = is_plain and name == "db" end
  local c
  if is_plain and spare then
    c, spare = spare, nil
  else
    c = begin(options)
  end
  c:await_well()
  if is_plain then spare = begin{} end
  proc.at_end(function() spare = nil end)
  return c
end

function methods:hosts()
  local list = {}
  for i, node in ipairs(self.nodes) do list[i] = node.host .. ":" .. (node.tls_port or node.port) end
  return table.concat(list, ",")
end

-- The registry string; as redis.lua's, without a database.
function methods:url(options)
  options = options or {}
  local password = options.password or self.password
  local user = (options.user or "") .. (password and ":" .. password or "")
  local tls = self.options.over == "tls"
  local query = {}
  if options.query then query[1] = options.query end
  if tls then query[#query + 1] = "ca=" .. (options.ca or require "spec.support.certs".make().ca) end
  return ("%s+cluster://%s%s/%s"):format(tls and "rediss" or "redis", user ~= "" and user .. "@" or "",
    options.hosts or self:hosts(), query[1] and "?" .. table.concat(query, "&") or "")
end

-- A node that runs.
function methods:any()
  for _, node in ipairs(self.nodes) do
    if node.p:alive() then return node end
  end
  return self.nodes[1]
end

-- The master that serves a key, for all that a living node knows.
function methods:node_of(key)
  local slot = self:any():cli("CLUSTER", "KEYSLOT", key)
  for _, range in ipairs(self:any():cli("CLUSTER", "SLOTS") or {}) do
    if slot >= range[1] and slot <= range[2] then
      for _, node in ipairs(self.nodes) do
        if node.port == range[3][2] then return node, slot end
      end
    end
  end
  return nil, "nobody serves it"
end

local ALL = { KEYS = true, CLIENT = true, CONFIG = true, INFO = true, FLUSHALL = true, SAVE = true, SCRIPT = true,
  ACL = true, DEBUG = true, DBSIZE = true }
-- Of masters only.
local ONCE = { KEYS = true, FLUSHALL = true, DBSIZE = true }

-- The answers of all servers as one: numbers are added, texts and lists joined.
local function join(answers)
  local first = answers[1]
  if type(first) == "number" then
    local sum = 0
    for _, n in ipairs(answers) do sum = sum + n end
    return sum
  elseif type(first) == "table" then
    local list = { n = 0 }
    for _, one in ipairs(answers) do
      for i = 1, one.n do list.n, list[list.n + 1] = list.n + 1, one[i] end
    end
    return list
  elseif first and #first > 3 then
    return table.concat(answers)
  end
  return first
end

local function ask_all(self, ...)
  local answers = {}
  for _, node in ipairs(self.nodes) do
    if node.p:alive() then
      local is_replica = ONCE[(...)] and node:cli("ROLE")[1] ~= "master"
      if not is_replica then
        local reply, why = node:cli(...)
        if reply == nil and why then return nil, why end
        answers[#answers + 1] = reply
      end
    end
  end
  return join(answers)
end

local function ask_one(self, ...)
  local node = self:any()
  for _ = 1, 5 do
    local reply, why = node:cli(...)
    local number = reply == nil and type(why) == "string" and why:match "^MOVED %d+ .*:(%d+)$"
    if not number then return reply, why end
    for _, other in ipairs(self.nodes) do
      if other.port == tonumber(number) then node = other end
    end
  end
  return nil, "too many redirects"
end

-- Runs one command; see redis.lua.
function methods:cli(name, ...)
  if ALL[name] then return ask_all(self, name, ...) end
  if name ~= "DEL" then return ask_one(self, name, ...) end
  local deleted = 0
  for i = 1, select("#", ...) do
    local n, why = ask_one(self, name, (select(i, ...)))
    if not n then return nil, why end
    deleted = deleted + n
  end
  return deleted
end

function methods:keys(pattern)
  local list, why = self:cli("KEYS", pattern or "*")
  if not list then return nil, why end
  table.sort(list)
  list.n = nil
  return list
end

-- One connection to each server, for commands that are about servers.
function methods:connect(seconds)
  local all = {}
  for i, node in ipairs(self.nodes) do
    local one, why = node:connect(seconds)
    if not one then return nil, why end
    all[i] = one
  end
  return {
    call = function(_, ...)
      local reply, why
      for _, one in ipairs(all) do reply, why = one:call(...) end
      return reply, why
    end,
    close = function()
      for _, one in ipairs(all) do one:close() end
    end,
  }
end

-- The number of connections beside those of this spec, one to each server.
function methods:strangers()
  return select(2, self:cli("CLIENT", "LIST"):gsub("id=", "")) - #self.nodes
end

local function each(method)
  return function(self, ...)
    for _, node in ipairs(self.nodes) do node[method](node, ...) end
  end
end

methods.kill, methods.pause, methods.resume = each "kill", each "pause", each "resume"

function methods:stop()
  for _, node in ipairs(self.nodes) do node:stop() end
end

function methods:save()
  for _, node in ipairs(self.nodes) do node:save() end
end

-- All of them again, with what their folders hold: the layout stays.
function methods:start()
  for _, node in ipairs(self.nodes) do node:start() end
  self.p = self.nodes[1].p
  return self:await_well()
end

function methods:restart(keep)
  self:kill()
  for _, node in ipairs(self.nodes) do
    if not keep then os.remove(node.dir .. "/dump.rdb") end
  end
  return self:start()
end

-- What all servers are told; see redis.lua.
function methods:monitor()
  local all = {}
  for i, node in ipairs(self.nodes) do all[i] = node:monitor() end
  local m = {}

  -- In the order in which they were carried out, whichever server did it.
  function m.lines(_, pattern)
    local seen, list = {}, {}
    for _, one in ipairs(all) do
      for i, line in ipairs(one:lines(pattern)) do seen[#seen + 1] = { line = line, time = one.times[i], n = #seen } end
    end
    table.sort(seen, function(a, b)
      if a.time ~= b.time then return a.time < b.time end
      return a.n < b.n
    end)
    for i, entry in ipairs(seen) do list[i] = entry.line end
    return list
  end

  function m.wait(_, pattern, seconds)
    return wait.until_true(function() return m:lines(pattern)[1] end, seconds, "command " .. pattern)
  end

  function m.forget()
    for _, one in ipairs(all) do one:forget() end
  end

  function m.close()
    for _, one in ipairs(all) do one:close() end
  end

  return m
end

function methods:subscribe(channel)
  return self:any():subscribe(channel)
end

-- A slot's way from its node to another one: c:migrate("app", to), in steps:
--   mark (both know), move (the keys), settle (all know the new owner).
function methods:migration(key, to)
  local from, slot = self:node_of(key)
  local step = {}

  function step.mark()
    assert(to:cli("CLUSTER", "SETSLOT", slot, "IMPORTING", (from:cli("CLUSTER", "MYID"))))
    assert(from:cli("CLUSTER", "SETSLOT", slot, "MIGRATING", (to:cli("CLUSTER", "MYID"))))
  end

  function step.move()
    while true do
      local keys = from:cli("CLUSTER", "GETKEYSINSLOT", slot, 100)
      if keys.n == 0 then return end
      for i = 1, keys.n do assert(from:cli("MIGRATE", to.host, to.port, keys[i], 0, 5000)) end
    end
  end

  function step.settle()
    local id = to:cli("CLUSTER", "MYID")
    for _, node in ipairs { to, from } do assert(node:cli("CLUSTER", "SETSLOT", slot, "NODE", id)) end
    for _, node in ipairs(self.nodes) do node:cli("CLUSTER", "SETSLOT", slot, "NODE", id) end
  end

  step.from, step.slot = from, slot
  return step
end

-- What is the same over one server and many.
for _, name in ipairs { "hash", "add_node", "remove_node" } do
  methods[name] = function(...)
    return require "spec.support.redis".methods[name](...)
  end
end

return cluster
