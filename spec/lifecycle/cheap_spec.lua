-- What a discoverer costs before it is used: nothing that the system counts.
local lua_run = require "spec.support.lua_run"
local redis = require "spec.support.redis"
local remote = require "spec.support.remote"
local wait = require "spec.support.wait"

describe("#registry cheap", function()
  it("#core new() and memory:// start no thread and open no descriptor", function()
    local p = remote.start()
    local threads, files = p.p:threads(), p.p:descriptors()
    p:run [[
      list = {}
      for i = 1, 50 do
        list[#list + 1] = assert(discover.new())
        list[#list + 1] = assert(discover.start("memory://m", "web", "127.0.0.1:" .. i))
        list[#list + 1] = assert(discover.open("memory://m", { calls = { web = {} } }))
        list[#list]:set_node("other", "127.0.0.1:1", 1)
        assert(list[#list]:pick "other"):done(true)
        assert(list[#list]:pick "web"):done(true)
      end
    ]]
    assert.equal(threads, p.p:threads())
    assert.equal(files, p.p:descriptors())
    p:run "for _, d in ipairs(list) do d:stop() end"
    assert.equal(files, p.p:descriptors())
    p:finish()
  end)

  it("a registry costs one thread and two connections, a stopped one nothing", function()
    local r = redis.start()
    local p = remote.start()
    -- libuv keeps a pipe for signals per process, from the first loop on.
    p:run("discover.open(...):stop()", r:url())
    local threads, files = p.p:threads(), p.p:descriptors()
    p:run("d = assert(discover.start(..., 'web', '127.0.0.1:1', { calls = { web = {} } })) d:get('nobody', '/')",
      r:url())
    assert.equal(threads + 1, p.p:threads())
    local more = p.p:descriptors() - files
    assert.is_true(more <= 16, more)
    -- In a Cluster one for messages, and one to each node that serves one of the keys.
    local most = r.nodes and #r.nodes + 1 or 2
    wait.until_true(function()
      local named = select(2, r:cli("CLIENT", "LIST"):gsub("name=discover", ""))
      return named >= 2 and named <= most, named
    end, 5, "the connections")
    p:run "d:stop()"
    assert.equal(threads, p.p:threads())
    assert.equal(files, p.p:descriptors())
    p:finish()
    r:kill()
  end)

  it("require alone starts nothing and prints nothing", function()
    local run = lua_run [[
      require "discover"
      for task in io.popen("ls /proc/$PPID/task | wc -l"):lines() do print(task) end
    ]]
    assert.equal("1\n", run.out)
    assert.equal("", run.err)
  end)
end)
