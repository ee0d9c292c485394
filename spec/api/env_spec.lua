local discover = require "discover"
local lua_run = require "spec.support.lua_run"

local function invalid(pattern, vars)
  local registry, why, code = discover.from_env(vars)
  assert.is_nil(registry)
  assert.matches(pattern, why)
  assert.equal("invalid", code)
end

describe("#api env", function()
  it("reads what there is", function()
    local registry, app, opts, extra = discover.from_env {
      DISCOVER_REGISTRY = "memory://env", discover_app = "users", Discover_Weight = "50",
      DISCOVER_CALLS = '{"auth":"1:500ms","mail":"http"}', DISCOVER_CALLS_auth = "1:2s:token",
      DISCOVER_CALLRETRYTIMES = "3", DISCOVER_LISTEN = "127.0.0.1:0", DISCOVER_IPPREFIX = "10.", OTHER = "x",
    }
    assert.equal("memory://env", registry)
    assert.equal("users", app)
    assert.equal(50, opts.weight)
    assert.equal(3, opts.call_retry_times)
    assert.equal(2, opts.calls.auth.timeout)
    assert.is_true(opts.calls.auth.token:equals "token")
    assert.is_false(opts.calls.mail.http2)
    assert.same({ listen = "127.0.0.1:0", ip_prefix = "10." }, extra)
    local d = assert(discover.start(registry, app, "127.0.0.1:1", opts))
    d:stop()
  end)

  it("is empty without any", function()
    local registry, app, opts, extra = discover.from_env {}
    assert.is_nil(registry)
    assert.is_nil(app)
    assert.same({}, opts)
    assert.same({}, extra)
    assert.is_nil(select(3, discover.from_env { DISCOVER_CALLRETRYTIMES = "0" }).call_retry_times)
  end)

  it("says what is wrong", function()
    invalid('DISCOVER_WEIGHT: a whole number expected, got "heavy"', { DISCOVER_WEIGHT = "heavy" })
    invalid("DISCOVER_CALLRETRYTIMES", { DISCOVER_CALLRETRYTIMES = "1.5" })
    invalid("DISCOVER_CALLS: json: ", { DISCOVER_CALLS = "{" })
    invalid("DISCOVER_CALLS: a JSON object", { DISCOVER_CALLS = "[]" })
    invalid("DISCOVER_CALLS: x: a call string expected", { DISCOVER_CALLS = '{"x":{}}' })
    invalid("DISCOVER_CALLS: x: ", { DISCOVER_CALLS_x = "has blank" })
    assert.error_matches(function() discover.from_env(5) end, "table expected, got number")
    assert.error_matches(function() discover.from_env { DISCOVER_APP = 5 } end, "string expected")
  end)

  it("reads the environment of the process", function()
    local r = lua_run([[
      local registry, app, opts = require "discover".from_env()
      print(registry, app, opts.weight, opts.calls.x.timeout)
    ]], { env = {
      DISCOVER_REGISTRY = "memory://e", discover_app = "a b", DISCOVER_WEIGHT = "7", DISCOVER_CALLS_x = "1:5s",
    } })
    assert.matches("^memory://e\ta b\t7\t5", r.out, nil, nil, r.err)
  end)
end)

describe("#api easy_start", function()
  it("finds a port and announces an address", function()
    local d, ip, port = assert(discover.easy_start {
      registry = "memory://easy", app = "easy", signals = false, metadata = { zone = "a" },
    })
    assert.is_string(ip)
    assert.is_true(port > 0)
    local c = assert(discover.open "memory://easy")
    c:add_external_app "easy"
    local nodes = assert(c:get_app_nodes "easy")
    local node = nodes[ip .. ":" .. port] or nodes["[" .. ip .. "]:" .. port]
    assert.equal("a", node.metadata.zone)
    d:stop()
    c:stop()
  end)

  it("takes the port it is told", function()
    local port = require "spec.support.port".free()
    local opts = { registry = "memory://easy", app = "easy", listen = tostring(port) }
    local d, ip, found = assert(discover.easy_start(opts))
    assert.equal(port, found)
    assert.is_string(ip)
    d:stop()
  end)

  it("says what is wrong", function()
    local function bad(pattern, opts, code)
      local d, why, got = discover.easy_start(opts)
      assert.is_nil(d)
      assert.matches(pattern, why)
      assert.equal(code or "invalid", got)
    end
    bad("no app", { registry = "memory://easy" })
    bad("listen: host:port or port expected", { registry = "memory://easy", app = "a", listen = "x" })
    bad("listen: host:port or port expected", { registry = "memory://easy", app = "a", listen = "70000" })
    local taken = require "spec.support.port".blackhole()
    bad("^io: ", { registry = "memory://easy", app = "a", listen = taken.addr }, "io")
    taken:close()
    assert.error_matches(function() discover.easy_start { app = 5 } end, "option 'app': string expected")
    assert.error_matches(function() discover.easy_start(5) end, "table expected")
    local ok, why = pcall(function() discover.easy_start { app = "a", colour = 1 } end)
    assert.is_false(ok)
    assert.matches("bad argument #1 to 'easy_start' %(opts: unknown option 'colour' %(known: app, ", why)
  end)
end)
