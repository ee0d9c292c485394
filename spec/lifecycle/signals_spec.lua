-- signals = true: SIGINT and SIGTERM unregister, then end the process as they always do. Unasked, nothing is touched.
local native = require "spec.support.native"
local redis = require "spec.support.redis"
local remote = require "spec.support.remote"
local wait = require "spec.support.wait"

describe("#registry signals", function()
  local r

  setup(function() r = redis.start() end)
  after_each(function() r:cli "FLUSHALL" end)

  local function handlers(p)
    return p:run [[
      local list = {}
      for i, number in ipairs{ 2, 15, 13, 1, 17, 10 } do list[i] = number .. " " .. native.handler(number) end
      return table.concat(list, ", ")
    ]]
  end

  local function start(addr, opts)
    local p = remote.start(native.options())
    p:run "native = require 'native'"
    p.handlers = handlers(p)
    p:run("d = assert(discover.start(...))", r:url(), "web", addr or "127.0.0.1:1",
      opts or { signals = true })
    return p
  end

  for name, number in pairs{ TERM = 15, INT = 2 } do
    it("SIG" .. name .. " says goodbye and dies by the signal", function()
      local p = start()
      assert.equal(1, r:cli("HLEN", "web"))
      local channel = r:subscribe "CH_web"
      p:kill(name)
      local code, signal = p:wait(3)
      assert.equal(number, signal)
      assert.equal(128 + number, code)
      assert.equal("127.0.0.1:1 0", channel:wait " 0$")
      assert.same({}, r:keys())
      channel:close()
    end)
  end

  it("also while Lua is busy", function()
    local p = start()
    p:tell "while true do end"
    wait.pass(0.05)
    p:kill "TERM"
    local _, signal = p:wait(3)
    assert.equal(15, signal)
    assert.same({}, r:keys())
  end)

  it("every registry of the process says goodbye before it ends", function()
    local p = start()
    p:run("e = assert(discover.start(...))", r:url(), "api", "127.0.0.1:2", { signals = true })
    p:run("f = assert(discover.start(...))", r:url(), "sub", "127.0.0.1:3", { signals = true, shared = true })
    p:kill "TERM"
    local _, signal = p:wait(3)
    assert.equal(15, signal)
    assert.same({}, r:keys())
  end)

  it("with Redis gone it dies all the same, soon", function()
    local own = redis.start()
    local p = remote.start()
    p:run("d = assert(discover.start(...))", own:url(), "web", "127.0.0.1:1", { signals = true, log_level = "off" })
    own:kill()
    p:kill "TERM"
    local took, _, signal = wait.within(2, p.wait, p, 3)
    assert.equal(15, signal)
    assert.is_true(took < wait.scale(2))
  end)

  it("with a mute Redis it dies after a second", function()
    local own = redis.start()
    local p = remote.start()
    p:run("d = assert(discover.start(...))", own:url(), "web", "127.0.0.1:1",
      { signals = true, log_level = "off", ttl = 60 })
    own:pause()
    p:kill "TERM"
    local _, _, signal = wait.within(3, p.wait, p, 5)
    assert.equal(15, signal)
    own:resume()
    own:kill()
  end)

  it("unasked no handler is touched, SIGPIPE least of all", function()
    local p = start(nil, {})
    assert.equal(p.handlers, handlers(p))
    p:run "d:get('web', '/') d:set_node('x', '127.0.0.1:1', 1) d:get('x', '/')"
    assert.equal(p.handlers, handlers(p))
    p:run "d:stop()"
    assert.equal(p.handlers, handlers(p))
    p:finish()
  end)

  it("after the stop the handlers are what they were", function()
    local p = start()
    assert.equal("other", p:run "return native.handler(15)")
    p:run "d:stop()"
    assert.equal(p.handlers, handlers(p))
    assert.matches("15 default", p.handlers)
    p:kill "TERM"
    local _, signal = p:wait(2)
    assert.equal(15, signal)
  end)

  it("threads of the library take no signals of the program", function()
    -- Every signal is blocked in them: they reach the program's own thread.
    local p = start(nil, {})
    local text = p:run [[
      local list = {}
      for task in io.popen("ls /proc/" .. io.open("/proc/self/stat"):read("*n") .. "/task"):lines() do
        local file = io.open("/proc/self/task/" .. task .. "/status")
        local status = file:read "*a"
        file:close()
        list[#list + 1] = status:match "Name:%s*(%S+)" .. " " .. status:match "SigBlk:%s*(%x+)"
      end
      return table.concat(list, "\n")
    ]]
    local name, blocked = text:match "(dsc%-%S+) (%x+)"
    assert.equal("dsc-registry", name)
    assert.matches("^[f]+[%x]*", blocked:gsub("^0*", ""))
    p:finish()
  end)
end)
