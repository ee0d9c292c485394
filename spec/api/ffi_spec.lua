-- discover.ffi: the same picks without the Lua C API.
local discover = require "discover"

describe("#api discover.ffi", function()
  if not rawget(_G, "jit") then
    it("is for LuaJIT, and says so", function()
      local ok, why = pcall(require, "discover.ffi")
      assert.is_false(ok)
      assert.matches("this is not LuaJIT", why)
    end)
    return
  end

  local picker = require("discover.ffi").picker
  local d

  before_each(function()
    d = assert(discover.new{ call_retry_times = 3 })
    for i = 1, 3 do d:set_node("web", "10.0.0." .. i .. ":80", 100) end
  end)

  after_each(function() d:stop() end)

  it("picks as d:pick does, and reports", function()
    local p, count = picker(d), {}
    for _ = 1, 300 do
      local node = assert(p.pick "web")
      local addr = p.addr(node)
      assert.equal(addr, p.host(node) .. ":" .. p.port(node))
      count[addr] = (count[addr] or 0) + 1
      p.done(node, true)
    end
    for i = 1, 3 do
      local node = d:get_app_nodes("web")["10.0.0." .. i .. ":80"]
      assert.equal(100, count[node.addr])
      assert.equal(100, node.used_times)
      assert.equal(0, node.in_flight)
    end
    local node = p.pick "web"
    assert.equal(1, d:get_app_nodes("web")[p.addr(node)].in_flight)
    local addr = p.addr(node)
    p.done(node, false)
    assert.equal(1, d:get_app_nodes("web")[addr].failed_times)
  end)

  it("keeps the discoverer as long as one of its functions is there", function()
    local function functions()
      local other = assert(discover.new())
      other:set_node("web", "10.0.0.9:80", 1)
      local p = picker(other)
      return p.pick, p.done, p.addr, setmetatable({ other }, { __mode = "v" })
    end
    local pick, done, addr, alive = functions()
    local function collect() for _ = 1, 4 do collectgarbage() end end
    collect()
    local node = assert(pick "web")
    assert.equal("10.0.0.9:80", addr(node))
    pick = nil
    collect()
    done(node)
    assert.is_truthy(alive[1])
    done = nil
    collect()
    assert.is_nil(alive[1])
    assert.is_nil(pick or done)
  end)

  it("keys choose the same node", function()
    d:set_load_balancer "hash"
    local p = picker(d)
    local function of(key)
      local node = p.pick("web", key)
      local addr = p.addr(node)
      p.done(node)
      return addr
    end
    for i = 1, 20 do
      assert.equal(of("k" .. i), of("k" .. i))
      local same = d:pick("web", { key = "k" .. i })
      assert.equal(same.addr, of("k" .. i))
      same:done()
    end
  end)

  it("fails as d:pick does; refuses callbacks; keeps its discoverer", function()
    local p = picker(d)
    local node, why, code = p.pick "nobody"
    assert.is_nil(node)
    assert.equal("app_not_found", code)
    assert.matches("^app_not_found: ", why)
    d:set_load_balancer{ next = function(_, nodes) return nodes[1] end }
    assert.equal("callback", select(3, p.pick "web"))
    d:set_load_balancer(nil)
    assert(p.pick "web")
    assert.error(function() picker{} end)
    assert.error(function() picker() end)
    collectgarbage()
    d:stop()
    assert.equal("stopped", select(3, p.pick "web"))
  end)
end)
