-- A thousand lives, one after the other, leave memory and descriptors as they were.
local redis = require "spec.support.redis"
local remote = require "spec.support.remote"
local wait = require "spec.support.wait"

-- Sanitizers keep freed memory aside on purpose.
local plain = not os.getenv "DISCOVER_TEST_LOADER" and wait.slow == 1

describe("#registry cycles", function()
  -- Runs the code (with n and the registry as a) for a warm-up and twice more; returns what both left behind.
  local function measure(code, n, registry)
    local p = remote.start()
    local function pass(count)
      p:run("local n, a = ... " .. code .. " collectgarbage() collectgarbage()", count, registry)
      local bytes, blocks = p:run [[
        local s = discover.new():stats()
        collectgarbage()
        return s.memory_bytes, s.memory_blocks
      ]]
      return { bytes = bytes, blocks = blocks, fds = p.p:descriptors(), threads = p.p:threads(), rss = p.p:memory() }
    end
    pass(math.floor(n / 5))
    local first = pass(math.floor(n / 5))
    local last = pass(n)
    p:finish()
    assert.equal(first.fds, last.fds)
    assert.equal(first.threads, last.threads)
    assert.is_true(math.abs(last.blocks - first.blocks) <= 20, first.blocks .. " -> " .. last.blocks)
    assert.is_true(math.abs(last.bytes - first.bytes) <= 4096, first.bytes .. " -> " .. last.bytes)
    if plain then assert.is_true(last.rss - first.rss < 3000, ("RSS %d -> %d KiB"):format(first.rss, last.rss)) end
  end

  it("1,000 starts and stops over Redis", function()
    local r = redis.start()
    measure([[
      for i = 1, n do
        local d = assert(discover.start(a, "web", "127.0.0.1:" .. 1 + i % 60000, { calls = { web = {} } }))
        assert(d:registered())
        d:stop()
      end
    ]], wait.slow > 1 and 200 or 1000, r:url())
    assert.same({}, r:keys())
    wait.until_true(function() return select(2, r:cli("CLIENT", "LIST"):gsub("name=discover", "")) == 0 end,
      3, "connections")
    r:kill()
  end)

  it("1,000 forgotten ones over Redis", function()
    local r = redis.start()
    measure([[
      for i = 1, n do
        assert(discover.start(a, "web", "127.0.0.1:" .. 1 + i % 60000))
        if i % 20 == 0 then
          collectgarbage()
          collectgarbage()
        end
      end
      local until_ = socket.gettime() + 5
      repeat
        discover.open("memory://reap"):stop() -- those that have ended by now are freed
        socket.sleep(0.01)
      until discover.new():stats().memory_blocks < 60 or socket.gettime() > until_
    ]], 200, r:url())
    wait.until_true(function() return #r:keys() == 0 end, 3, "the goodbyes")
    r:kill()
  end)

  it("1,000 over memory://, with calls", function()
    measure([[
      for i = 1, n do
        local s = assert(discover.start("memory://m", "web", "127.0.0.1:1"))
        local d = assert(discover.open("memory://m", { calls = { web = {} }, log_level = "off" }))
        if i % 10 == 0 then assert(d:get("web", "/").err == "connect") end
        assert(d:pick "web"):done(true)
        d:stop()
        s:stop()
      end
    ]], 1000)
  end)

  it("1,000 shared handles", function()
    local r = redis.start()
    measure([[
      keep = keep or assert(discover.open(a, { shared = true }))
      for i = 1, n do
        local d = assert(discover.start(a, "web", "127.0.0.1:" .. 1 + i % 60000,
          { shared = true, calls = { web = {} } }))
        d:stop()
      end
    ]], 1000, r:url())
    assert.same({}, r:keys())
    r:kill()
  end)

  it("1,000 against a Redis that is not there", function()
    measure([[
      for i = 1, n do
        discover.start("redis://127.0.0.1:1/0", "web", "127.0.0.1:1", { start_timeout = 0, log_level = "off" }):stop()
      end
    ]], 300)
  end)
end)
