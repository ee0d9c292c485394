-- shared = true: one registry, one table, one set of counters for everybody in the process.
local discover = require "discover"
local nodes = require "spec.support.nodes"
local redis = require "spec.support.redis"
local remote = require "spec.support.remote"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local ADDR = "127.0.0.1:8080"

describe("#registry shared", function()
  local r, open, id

  setup(function() r, id = redis.start(), 0 end)

  -- A registry of the test before lives on for a while: every test has an id of its own.
  before_each(function()
    open = {}
    id = id + 1
  end)

  local function url(query) return r:url{ query = query or "id=test" .. id } end

  after_each(function()
    for _, d in ipairs(open) do d:stop() end
    r:cli "FLUSHALL"
  end)

  local function keep(d, why)
    assert(d, why)
    open[#open + 1] = d
    return d
  end

  local function client(opts, query)
    opts = opts or {}
    opts.shared = true
    return keep(discover.open(url(query), opts))
  end

  it("#core one registry, one thread, two connections for all handles; it outlives the last by 5 s", function()
    local p = remote.start()
    local function run(code) return p:run("local url = ... " .. code, r:url()) end
    run "assert(discover.open(url)):stop()" -- with the first thread a sanitizer starts one of its own
    local threads, files = p.p:threads(), p.p:descriptors()
    local function clients()
      local n = 0
      for line in r:cli("CLIENT", "LIST"):gmatch "[^\n]+" do
        if line:find("name=discover%-%a+%-" .. p.pid .. "[ -]") then n = n + 1 end
      end
      return n
    end
    run "list = {} for i = 1, 20 do list[i] = assert(discover.open(url, { shared = true, calls = { web = {} } })) end"
    assert.equal(threads + 1, p.p:threads())
    -- In a Cluster one for messages, and one to each node that serves one of the keys.
    local named = wait.until_true(function()
      local n = clients()
      return (n == 2 or r.nodes and n > 2 and n <= #r.nodes + 1) and n, n
    end, 5, "both connections to be named")
    local with = p.p:descriptors()
    -- The loop of each handle is its own, the registry's is one: far fewer than twenty pairs of connections.
    run "for i = 1, 20 do list[i]:stop() end"
    assert.is_true(with > files)
    assert.equal(threads + 1, p.p:threads())
    -- A new handle finds everything in place.
    run "list = { assert(discover.open(url, { shared = true, calls = { web = {} } })) }"
    assert.equal(named, clients())
    local last = wait.now()
    run "list[1]:stop()"
    wait.until_true(function() return clients() == 0 end, 8, "the end")
    assert.is_true(wait.now() - last >= 4.5, wait.now() - last)
    wait.until_true(function() return p.p:threads() == threads end, 5, "the thread to end")
    p:finish()
  end)

  it("#core tables and counters are common, callbacks are not", function()
    local web = service.nginx{ ["/"] = "hello" }
    r:add_node("web", web.addr, 100)
    local routed = 0
    local a = client{ calls = { web = {} }, route = function() routed = routed + 1 end }
    local b = client{ calls = { web = {} } }
    for _ = 1, 3 do assert.is_true(a:get("web", "/").ok) end
    for _ = 1, 2 do assert.is_true(b:get("web", "/").ok) end
    assert.equal(3, routed)
    assert.equal(5, a:get_app_nodes("web")[web.addr].used_times)
    assert.equal(5, b:get_app_nodes("web")[web.addr].used_times)
    assert.equal(5, b:stats().total.calls)
    web.kill()
  end)

  it("options of the registry must be equal", function()
    client{ ttl = 20, heartbeat = 4 }
    for name, value in pairs{ ttl = 21, heartbeat = 3, resync = 7, stale_grace = 9, signals = true } do
      local opts = { shared = true, ttl = 20, heartbeat = 4 }
      opts[name] = value
      local d, why, code = discover.open(url(), opts)
      assert.is_nil(d)
      assert.equal("invalid", code)
      assert.matches(name, why)
    end
    -- Handle's own ones need not.
    client{ ttl = 20, heartbeat = 4, call_retry_times = 3, balancer = "random", logger = print }
    -- And who does not share is alone.
    local d = keep(discover.open(url(), { ttl = 30, heartbeat = 4 }))
    assert.is_true(d:ready(2))
  end)

  it("#core the same app and address is counted: the last stop unregisters", function()
    local opts = { shared = true }
    local a = keep(discover.start(url(), "web", ADDR, opts))
    local b = keep(discover.start(url(), "web", ADDR, { shared = true, weight = 30 }))
    wait.until_true(function() return r:hash("web")[ADDR] == "30" end, 1, "the last one's weight")
    local channel = r:subscribe "CH_web"
    a:stop()
    assert.is_true(b:registered())
    wait.holds(function() return r:hash("web")[ADDR] == "30" end, 0.2, "the registration")
    -- In a Cluster what was said before may come late.
    for _, text in ipairs(channel:messages()) do assert.is_true(r.nodes and text == ADDR .. " 30", text) end
    b:stop()
    assert.equal(ADDR .. " 0", channel:wait(" 0$", 1))
    assert.same({}, r:keys())
    channel:close()
  end)

  it("id keeps apart, also over memory's sibling names", function()
    local a, b, c = client({ calls = { web = {} } }, "id=1"), client({ calls = { web = {} } }, "id=2"),
      client({}, "id=1")
    a:set_node("web", ADDR, 5)
    assert.equal(ADDR .. "/5", nodes.show(a, "web"))
    assert.equal(ADDR .. "/5", nodes.show(c, "web"))
    assert.equal("", nodes.show(b, "web"))
    -- Other options are no quarrel with another id.
    assert.is_truthy(client({ ttl = 33 }, "id=3"))
  end)

  it("what was learned is there for the next handle, without a word to Redis", function()
    r:add_node("web", ADDR, 100)
    local a = client{ calls = { web = {} } }
    assert.equal(ADDR .. "/100", nodes.show(a, "web"))
    a:stop()
    local monitor = r:monitor()
    local b = client{ calls = { web = {} } }
    assert.equal(ADDR .. "/100", nodes.show(b, "web"))
    assert.same({}, monitor:lines "SUBSCRIBE")
    monitor:close()
  end)

  it("memory:// can be shared as well", function()
    local a = keep(discover.start("memory://shared-spec", "web", ADDR, { shared = true }))
    local b = keep(discover.start("memory://shared-spec", "web", ADDR, { shared = true, calls = { web = {} } }))
    a:stop()
    assert.equal(ADDR .. "/100", nodes.show(b, "web"))
    b:stop()
    local c = keep(discover.open("memory://shared-spec", { calls = { web = {} } }))
    assert.equal("", nodes.show(c, "web"))
  end)

  it("a handle that is collected gives its hold back", function()
    local d = discover.start(url(), "web", ADDR, { shared = true })
    assert.is_true(d:registered())
    d = nil -- luacheck: ignore
    wait.until_true(function()
      collectgarbage()
      return #r:keys() == 0
    end, 3, "the goodbye")
  end)
end)
