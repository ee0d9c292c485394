-- cluster_load - two services under load on a Cluster, and what must hold whatever happens to its nodes.
--
--   local t = cluster_load.begin{ replicas = 3 }   t.c  t.l  t:all_well()  t:during(seconds)  t.finish()
local assert = require "luassert"
local cluster = require "spec.support.cluster"
local load = require "spec.support.load"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local cluster_load = {}

-- Short times, and no log.
function cluster_load.times(more)
  local options = { ttl = 2, heartbeat = 0.5, resync = 1, log_level = "off" }
  for name, value in pairs(more or {}) do options[name] = value end
  return options
end

-- Options are those of cluster.start.
function cluster_load.begin(options)
  local t = { c = cluster.start(options), services = {}, all = {} }
  for i = 1, 2 do t.services[i] = service.start{ registry = t.c:url(), app = "web", opts = cluster_load.times() } end
  t.l = load.start(t.c:url(), "web", { opts = cluster_load.times() })
  for i, s in ipairs(t.services) do t.all[i] = s.addr end
  table.sort(t.all)

  local function known()
    local list = {}
    for addr, state in pairs(t.l:counts().nodes or {}) do list[#list + 1] = addr .. " " .. state end
    table.sort(list)
    return table.concat(list, ", ")
  end

  local function no_failure(counts)
    assert.equal(0, counts.failed, table.concat(counts.why, "\n"))
    assert.equal(0, t.l:event_count "node_removed")
    for _, addr in ipairs(t.all) do assert.is_nil(counts.bad[addr]) end
    return counts
  end

  -- Everybody registered, everybody known and beyond doubt, calls go on, none has failed.
  function t.all_well(_, seconds)
    wait.until_true(function()
      local hash, why = t.c:hash "web"
      if not hash then return nil, why end
      for _, addr in ipairs(t.all) do
        if hash[addr] ~= "100" then return nil, addr .. " is not registered" end
        if t.c:cli("EXISTS", "web_" .. addr) ~= 1 then return nil, addr .. " has no key" end
      end
      local text = known()
      return text == table.concat(t.all, " up, ") .. " up", text
    end, seconds or 10, "all to be well again")
    no_failure(t.l:more(50))
  end

  -- Calls go on, to all nodes, whatever the Cluster does.
  function t.during(_, seconds)
    local deadline = wait.now() + seconds
    while wait.now() < deadline do
      local counts, n = no_failure(t.l:more(20)), 0
      for _ in pairs(counts.nodes) do n = n + 1 end
      assert.equal(#t.all, n)
    end
  end

  function t.finish()
    no_failure(t.l:finish())
    for _, s in ipairs(t.services) do s:stop() end
  end

  return t
end

return cluster_load
