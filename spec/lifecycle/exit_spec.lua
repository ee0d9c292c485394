-- How programs end, and what Redis is left with.
local native = require "spec.support.native"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

describe("#registry exit", function()
  local r

  setup(function() r = redis.start() end)
  after_each(function() r:cli "FLUSHALL" end)

  local START = [[
    d = assert(discover.start(url, "web", "127.0.0.1:1", { ttl = 1, heartbeat = 0.2, calls = { web = {} } }))
    assert(d:pick "web")
  ]]

  local function run(code, options)
    local began = wait.now()
    local result = native.run(("local url = %q "):format(r:url()) .. code, options)
    assert.is_true(wait.now() - began < wait.scale(5), "it took its time")
    return result
  end

  local function gone() wait.until_true(function() return #r:keys() == 0 end, 3, "the goodbye") end

  for name, case in pairs{
    ["the end of the main chunk"] = { "", 0 },
    ["os.exit()"] = { "os.exit()", 0 },
    ["os.exit(0)"] = { "os.exit(0)", 0 },
    ["os.exit(3)"] = { "os.exit(3)", 3 },
    ["os.exit(0, true)"] = { "os.exit(0, true)", 0 },
    ["os.exit(false, true)"] = { "os.exit(false, true)", 1 },
    ["exit() from C"] = { "native.exit(7)", 7 },
    ["an error"] = { "error 'boom'", 1 },
    ["an error in a callback that nobody catches"] =
      { "d:on_event(function() error 'boom' end) d:set_weight(3) d:wait(0.2) os.exit(4)", 4 },
    ["os.exit in a callback"] = { "d:set_route(function() os.exit(5) end) d:get('web', '/')", 5 },
    ["os.exit(6, true) in a callback"] = { "d:set_route(function() os.exit(6, true) end) d:get('web', '/')", 6 },
    ["os.exit in a coroutine"] = { "coroutine.wrap(function() d:get('nobody', '/') os.exit(8, true) end)()", 8 },
    ["os.exit after stop"] = { "d:stop() os.exit(0)", 0 },
  } do
    it(name .. " says goodbye", function()
      local result = run(START .. case[1])
      assert.equal(0, result.signal, result.err)
      assert.equal(case[2], result.code, result.err)
      assert.is_falsy(result.timeout)
      gone()
    end)
  end

  it("does not wait for a Redis that is mute, longer than a second", function()
    local own = redis.start()
    local code = ("local url = %q "):format(own:url()) .. START .. [[
      os.execute("kill -STOP ]] .. own.p.pid .. [[")
      os.exit(0)
    ]]
    local took, result = wait.within(4, native.run, code)
    assert.equal(0, result.code)
    assert.is_true(took < wait.scale(4))
    own:resume()
    own:kill()
  end)

  for name, code in pairs{
    ["_exit()"] = "native._exit(0)", ["abort()"] = "native.abort()",
    ["SIGKILL"] = "os.execute('kill -KILL $PPID')",
    ["SIGTERM without signals = true"] = "os.execute('kill -TERM $PPID') while true do end",
  } do
    it(name .. " cannot say anything: the key expires", function()
      local result = run(START .. code)
      assert.is_false(result.ok and name ~= "_exit()")
      if name:find "TERM" then assert.equal(15, result.signal) end
      if name == "abort()" then assert.equal(6, result.signal) end
      assert.equal(1, r:cli("HEXISTS", "web", "127.0.0.1:1"))
      wait.until_true(function() return r:cli("EXISTS", "web_127.0.0.1:1") == 0 end, 3, "the key to expire")
    end)
  end

  it("without a registry or with memory:// there is nothing to wait for", function()
    local result = run [[
      d = discover.new()
      m = discover.start("memory://x", "web", "127.0.0.1:1", { shared = true })
      os.exit(0, true)
    ]]
    assert.equal(0, result.code, result.err)
  end)
end)
