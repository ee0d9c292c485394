-- Ten thousand WebSockets, one after the other and many at once, leave descriptors and memory as they were.
local remote = require "spec.support.remote"
local wait = require "spec.support.wait"
local ws = require "spec.support.ws"

-- Sanitizers keep freed memory aside on purpose.
local plain = not os.getenv "DISCOVER_TEST_LOADER" and wait.slow == 1

describe("many", function()
  local s
  lazy_setup(function() s = ws.python() end)

  -- Runs the code (with d and n) for a warm-up, a bit and n times in one process; compares what both left behind.
  local function measure(code, n)
    local p = remote.start()
    p:run([[
      d = assert(discover.new{ log_level = "off" })
      assert(d:set_node("svc", (...), 1))]], s.addr)
    local function pass(count)
      p:run("local n = ... " .. code .. " collectgarbage() collectgarbage() d:wait(0.2)", count)
      local bytes, blocks, flying = p:run [[
        local s = d:stats()
        local bytes, blocks, flying = s.memory_bytes, s.memory_blocks, s.total.in_flight
        s = nil
        collectgarbage()
        return bytes, blocks, flying
      ]]
      assert.equal(0, flying)
      return { bytes = bytes, blocks = blocks, fds = p.p:descriptors(), threads = p.p:threads(), rss = p.p:memory() }
    end
    pass(math.min(n, 250))
    local first = pass(math.min(n, 250))
    local last = pass(n)
    p:finish()
    assert.equal(first.fds, last.fds)
    assert.equal(first.threads, last.threads)
    assert.is_true(math.abs(last.blocks - first.blocks) <= 20, first.blocks .. " -> " .. last.blocks)
    assert.is_true(math.abs(last.bytes - first.bytes) <= 4096, first.bytes .. " -> " .. last.bytes)
    if plain then assert.is_true(last.rss - first.rss < 3000, ("RSS %d -> %d KiB"):format(first.rss, last.rss)) end
  end

  local full = wait.slow == 1

  it("10,000 that are opened and closed", function()
    measure([[
      for i = 1, n do
        local w = assert(d:open("svc", "/echo"))
        assert(i % 10 > 0 or w:send "hi" and w:receive() == "hi")
        assert(w:close())
      end]], full and 10000 or 300)
  end)

  it("500 that are forgotten", function()
    measure([[
      for i = 1, n do
        local w = assert(d:open("svc", "/echo"))
        assert(w:send(("x"):rep(10000)))
        if i % 20 == 0 then w = nil collectgarbage() end
      end]], full and 500 or 100)
  end)

  it("500 that the peer ends: by a close frame, by an accident, by a refusal", function()
    measure([[
      for i = 1, n do
        local what = i % 4
        if what == 0 then
          assert(not d:open("svc", "/status/404"))
        elseif what == 1 then
          assert(not d:open{ app = "svc", path = "/slow?ms=1000", timeout = 0.001 })
        else
          local w = assert(d:open("svc", what == 2 and "/close?first=1&code=4000" or "/abort"))
          assert(w:send "x")
          assert(not w:receive())
        end
      end]], full and 500 or 100)
  end)

  it("more than this process or this library can hold is `io`, and not held against the node", function()
    local p = remote.start{ wrap = { "prlimit", "--nofile=48" } }
    local function fill(limit)
      return p:run([[
        local addr, limit = ...
        d = assert(discover.new{ log_level = "off" })
        assert(d:set_node("svc", addr, 1))
        list = {}
        local w, why, code
        repeat
          w, why, code = d:open("svc", "/echo")
          list[#list + 1] = w
        until not w or #list > limit
        local count = #list
        assert(list[1]:send "hi")
        assert(list[1]:receive() == "hi")
        local node = d:get_app_nodes "svc"[addr]
        local failed, flying = node.failed_times, node.in_flight
        for _, one in ipairs(list) do assert(one:close()) end
        list = {}
        assert(assert(d:open("svc", "/echo")):close())
        d:stop()
        return count, code, why, failed, flying]], s.addr, limit)
    end
    local count, code, why, failed, flying = fill(48)
    assert.is_true(count > 10 and count < 48, count)
    assert.equal("io", code, why)
    assert.equal(0, failed)
    assert.equal(count, flying)
    p:finish()
    if not full then return end
    p = remote.start()
    count, code, why, failed, flying = fill(1100)
    assert.equal("io", code, why)
    assert.matches("1024", why)
    assert.equal(1024, count)
    assert.equal(0, failed)
    assert.equal(1024, flying)
    p:finish()
  end)

  it("200 at once, each with its own messages", function()
    measure([[
      local list = {}
      local count = math.min(n, 200)
      for i = 1, count do list[i] = assert(d:open("svc", "/echo")) end
      for round = 1, 3 do
        for i, w in ipairs(list) do assert(w:send(i .. " " .. round)) end
        for i, w in ipairs(list) do
          local data = assert(w:receive())
          assert(data == i .. " " .. round, data)
        end
      end
      for i, w in ipairs(list) do
        if i % 2 == 0 then assert(w:close()) end
      end
      list = nil]], full and 250 or 50)
  end)
end)
