-- Whatever is dropped first, nothing crashes, and cycles through callbacks are collected.
local discover = require "discover"
local lua_run = require "spec.support.lua_run"
local service = require "spec.support.service"

local function collect()
  for _ = 1, 3 do collectgarbage() end
end

describe("#api gc", function()
  local s
  setup(function() s = service.start() end)

  local function objects()
    local d = assert(discover.new { log_level = "off" })
    assert(d:set_node("app", s.addr, 1, { a = "b" }))
    return {
      d = d, node = d:pick "app", ac = d:app_client "app", caller = d:from { headers = { ["x-user-id"] = "u" } },
      result = d:get("app", "/echo"), nodes = d:get_app_nodes "app", secret = discover.secret "x",
      websocket = assert(d:open("app", "/ws/echo")),
    }
  end

  local names = { "d", "node", "ac", "caller", "result", "nodes", "secret", "websocket" }

  it("collects in any order", function()
    for first = 1, #names do
      local all = objects()
      all.ac:next()
      for i = 0, #names - 1 do
        all[names[(first + i - 1) % #names + 1]] = nil
        collect()
        if all.result then assert.equal(200, all.result.status) end
        if all.node then assert.equal(s.addr, all.node.addr) end
        if all.caller then assert.is_true(all.caller:get("app", "/echo").ok) end
        if all.websocket then assert.same({ true, "hi" }, { all.websocket:send "hi", (all.websocket:receive()) }) end
      end
    end
  end)

  it("keeps the discoverer for those who need it", function()
    local all = objects()
    all.d, all.nodes = nil, nil
    collect()
    assert.is_true(all.caller:get("app", "/echo").ok)
    assert.is_true(all.node:done())
    assert.is_truthy(all.ac:next())
  end)

  it("collects a discoverer whose callbacks hold it", function()
    local gone = setmetatable({}, { __mode = "k" })
    for _ = 1, 5 do
      local d = assert(discover.new { log_level = "off" })
      gone[d] = true
      assert(d:set_node("app", s.addr, 1))
      d:set_route(function() return d end)
      d:set_load_balancer { next = function(_, nodes) return d and nodes[1] end, response = function() return d end }
      d:set_logger(function() return d end)
      d:on_event(function() return d end)
      d:pick "app".data.d = d
      local c = d:from { headers = {}, d = d }
      assert.is_true(c:get("app", "/echo").ok)
    end
    collect()
    assert.is_nil(next(gone))
  end)

  it("collects during calls and in callbacks", function()
    local d = assert(discover.new { log_level = "off" })
    assert(d:set_node("app", s.addr, 1))
    d:set_route(function(ac)
      collect()
      return ac.headers, ac.data
    end)
    d:set_load_balancer { next = function(_, nodes)
      collect()
      return nodes[1]
    end, response = collect }
    for _ = 1, 3 do assert.is_true(d:post("app", "/echo", { a = 1 }, { ["X-A"] = "1" }).ok) end
    d:stop()
  end)

  it("lets a finalizer call a discoverer that is gone", function()
    local r = lua_run([[
      local discover = require "discover"
      local kept = {}
      local proxy = newproxy and newproxy(true)
      local meta = proxy and getmetatable(proxy) or {}
      local object = proxy or setmetatable({}, meta)
      meta.__gc = function()
        if kept.d then print(kept.d:get("app", "/").err ~= nil, tostring(kept.d), kept.d:stop()) end
      end
      if not proxy then setmetatable(object, meta) end
      kept.d = discover.new()
      kept.node = (kept.d:set_node("app", "127.0.0.1:1", 1) and kept.d:pick "app")
      kept.object = object
      -- Lua 5.4 never finalizes what is made while a state closes: that result is lost, and no mistake of ours.
    ]], { env = { ASAN_OPTIONS = "detect_leaks=0" } })
    assert.is_true(r.ok, r.err)
    assert.equal("", r.err:gsub("[^\n]*discover warn[^\n]*\n", ""))
  end)

  it("ends a program in every way", function()
    for _, ending in ipairs {
      "", "os.exit(0)", "os.exit(0, true)", "d:set_route(function() os.exit(0) end) d:get('app', '/')",
      "d:set_route(function() os.exit(0, true) end) d:get('app', '/')", "d = nil collectgarbage()", "d:stop()",
      "coroutine.wrap(function() d:get('app', '/echo') end)()",
    } do
      local r = lua_run([[
        local d = require "discover".new{ log_level = "off" }
        d:set_node("app", arg[1], 1)
        assert(d:get("app", "/echo").ok)
        K = { d:pick "app", d:app_client "app", d:from{} }
        ]] .. ending, { args = { s.addr } })
      assert.equal(0, r.code, ending .. ": " .. r.err)
      assert.equal("", r.err)
    end
    local r = lua_run [[local d = require "discover".new() error "end"]]
    assert.equal(1, r.code)
  end)

  it("frees what results hold without being told", function()
    local d = assert(discover.new { log_level = "off" })
    assert(d:set_node("app", s.addr, 1))
    d:get("app", "/big?bytes=200000")
    collect()
    local before = d:stats().memory_bytes
    for _ = 1, 200 do d:get("app", "/big?bytes=200000") end
    local after = d:stats().memory_bytes
    -- 40 MB went by; a few of the bodies may still be there
    assert.is_true(after - before < 10e6, ("%d bytes more"):format(after - before))
    d:stop()
  end)

  it("closes by <close> where Lua has it", function()
    if _VERSION ~= "Lua 5.4" then return end
    local code = [[
      local discover = require "discover"
      local kept
      do local d <close> = discover.new() kept = d end
      print(tostring(kept))
      print(pcall(function() local d <close> = discover.new() error "x" end))
    ]]
    local r = lua_run(code)
    assert.matches("^discoverer%(stopped%)\nfalse\t.*: x\n$", r.out)
  end)
end)
