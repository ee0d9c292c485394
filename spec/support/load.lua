-- load - calls without a pause from a process of its own, counted: did any fail, who answered, who was tried in vain.
--
--   local l = load.start(registry, "app", { opts = {...}, path = "/name", pace = 0.001 })
--   l:counts() -> { calls, failed, why = {...}, ok = {addr = n}, bad = {addr = n}, events = { {name, node, calls} } }
--   l:more(n)                      -- waits until n more calls were made
--   local c = l:finish()           -- the same after its end
local json = require "dkjson"
local lua_run = require "spec.support.lua_run"
local proc = require "spec.support.proc"
local wait = require "spec.support.wait"

local load = {}
local methods = {}
local meta = { __index = methods }

local PROGRAM = [==[
local json, socket = require "dkjson", require "socket"
local discover = require "discover"
local file = assert(io.open(arg[1]))
local settings = json.decode(file:read "*a")
file:close()
local counts = { calls = 0, failed = 0, why = {}, ok = {}, bad = {}, bad_after = {}, events = {} }
local gone = {}

local function write()
  local out = assert(io.open(settings.counts .. ".new", "w"))
  out:write(json.encode(counts))
  out:close()
  assert(os.rename(settings.counts .. ".new", settings.counts))
end

local function is_over()
  local stop = io.open(settings.stop)
  if stop then stop:close() end
  return stop ~= nil
end

local d = assert(discover.open(settings.registry, settings.opts))
d:on_event(function(event)
  counts.events[#counts.events + 1] = { name = event.name, node = event.node, calls = counts.calls, why = event.why }
  if event.name == "node_removed" then gone[event.node] = counts.calls end
  if event.name == "node_added" then gone[event.node] = nil end
end)

local written = 0
repeat
  local res = d:get(settings.app, settings.path)
  counts.calls = counts.calls + 1
  if res.ok then
    counts.ok[res.node] = (counts.ok[res.node] or 0) + 1
  else
    counts.failed = counts.failed + 1
    if #counts.why < 10 then counts.why[#counts.why + 1] = tostring(res) end
  end
  for _, attempt in ipairs(res.trace) do
    if attempt.err then
      counts.bad[attempt.node] = (counts.bad[attempt.node] or 0) + 1
      -- The call that brought the end itself does not count.
      if gone[attempt.node] and gone[attempt.node] < counts.calls - 1 then
        counts.bad_after[attempt.node] = (counts.bad_after[attempt.node] or 0) + 1 end
    end
  end
  if settings.pace > 0 then socket.sleep(settings.pace) end
  local now = socket.gettime()
  local over = false
  if now - written > 0.02 then
    over = is_over()
    counts.nodes = {}
    for addr, node in pairs(d:get_app_nodes(settings.app) or {}) do counts.nodes[addr] = node.state end
    write()
    written = now
  end
until over
d:stop()
write()
]==]

-- Starts calling GET path of the app; returns when the first calls were made.
function load.start(registry, app, options)
  options = options or {}
  local dir = proc.tmpdir()
  local l = setmetatable({ file = dir .. "/counts", stop_file = dir .. "/stop" }, meta)
  local opts = { calls = { [app] = { timeout = 5, deadline = 20 } }, log_level = "off" }
  for name, value in pairs(options.opts or {}) do opts[name] = value end
  local settings = proc.write_file(dir .. "/settings.json", json.encode {
    registry = registry, app = app, opts = opts, path = options.path or "/name", pace = options.pace or 0.001,
    counts = l.file, stop = l.stop_file,
  })
  l.p = lua_run.start(PROGRAM, { args = { settings } })
  wait.until_true(function()
    if not l.p:alive() then error("the load does not start:\n" .. table.concat({ l.p:output() })) end
    return (l:counts() or {}).calls
  end, 15, "the load to begin")
  return l
end

-- What it has counted so far.
function methods:counts()
  local text = proc.read_file(self.file)
  return text and json.decode(text)
end

-- Waits until it has made n more calls (100), or has failed.
function methods:more(n, seconds)
  local before = self:counts().calls
  return wait.until_true(function()
    local counts = self:counts()
    return counts.calls >= before + (n or 100) and counts
  end, seconds or 20, "more calls")
end

-- How often an event came, of one node if given.
function methods:event_count(name, node)
  local n = 0
  for _, event in ipairs(self:counts().events) do
    if event.name == name and (not node or event.node == node) then n = n + 1 end
  end
  return n
end

-- Ends it and returns the last counts.
function methods:finish()
  proc.write_file(self.stop_file, "")
  local code = self.p:wait(30)
  local out, err = self.p:output()
  assert(code == 0, ("the load ended with %s:\n%s%s"):format(tostring(code), out, err or ""))
  return self:counts()
end

return load
