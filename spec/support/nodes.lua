-- nodes - what specs of registries ask a discoverer about: its nodes, its events, its log.
--
--   nodes.show(d, "app") == "127.0.0.1:8001/100 127.0.0.1:8002/50"
--   nodes.await(d, "app", "127.0.0.1:8001/100")
local wait = require "spec.support.wait"

local nodes = {}

local count = 0

-- An app name that nobody used in this process.
function nodes.app(prefix)
  count = count + 1
  -- Without anything that means something in a pattern.
  return ("%s_%d_"):format(prefix or "app", count)
end

-- Options with short times: ttl 2, heartbeat 0.5, resync 1; those of `more` come on top.
function nodes.fast(more)
  local options = { ttl = 2, heartbeat = 0.5, resync = 1 }
  for name, value in pairs(more or {}) do options[name] = value end
  return options
end

-- Every node with its weight, sorted, in one line; "" without nodes.
function nodes.show(d, app)
  local list = {}
  for addr, node in pairs(d:get_app_nodes(app) or {}) do list[#list + 1] = addr .. "/" .. node.weight end
  table.sort(list)
  return table.concat(list, " ")
end

-- Waits until exactly these nodes are known.
function nodes.await(d, app, expected, seconds)
  return wait.until_true(function()
    local shown = nodes.show(d, app)
    return shown == expected, shown
  end, seconds or 5, ("nodes of %s: '%s'"):format(app, expected))
end

-- The state of one node, or nil.
function nodes.state(d, app, addr)
  local node = (d:get_app_nodes(app) or {})[addr]
  return node and node.state
end

-- Collects events: e = nodes.events(d); e:count("lost"); e:wait("lost", seconds). Events arrive with any method call.
function nodes.events(d)
  local list = {}
  local e = { list = list }
  d:on_event(function(event)
    list[#list + 1] = event
  end)

  function e.count(_, name, node)
    d:registered()
    local n = 0
    for _, event in ipairs(list) do
      if event.name == name and (not node or event.node == node) then n = n + 1 end
    end
    return n
  end

  function e.wait(self, name, seconds)
    return wait.until_true(function() return self:count(name) > 0 end, seconds or 5, "event " .. name)
  end

  return e
end

-- A logger that keeps its lines: log = nodes.log(); opts.logger = log.logger; log:count(pattern [, level]).
function nodes.log()
  local records = {}
  local log = { records = records }

  function log.logger(record)
    records[#records + 1] = { msg = record.msg, level = record.level, text = tostring(record) }
  end

  function log.count(_, pattern, level)
    local n = 0
    for _, record in ipairs(records) do
      if record.text:find(pattern) and (not level or record.level == level) then n = n + 1 end
    end
    return n
  end

  function log.text()
    local lines = {}
    for i, record in ipairs(records) do lines[i] = record.text end
    return table.concat(lines, "\n")
  end

  return log
end

-- Options as the text of a Lua table, for programs in other processes.
function nodes.literal(value)
  if type(value) ~= "table" then return type(value) == "string" and ("%q"):format(value) or tostring(value) end
  local parts = {}
  for name, item in pairs(value) do
    parts[#parts + 1] = ("[%s]=%s"):format(nodes.literal(name), nodes.literal(item))
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

return nodes
