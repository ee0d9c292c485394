-- Trouble of the process itself: no descriptors left, the end of the process at any moment, forks at any moment.
local certs = require "spec.support.certs"
local lua_run = require "spec.support.lua_run"
local native = require "spec.support.native"
local nginx = require "spec.support.nginx"
local proc = require "spec.support.proc"
local proxy = require "spec.support.proxy"
local redis = require "spec.support.redis"
local remote = require "spec.support.remote"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

describe("without descriptors", function()
  it("registry, calls and WebSockets fail with their word, no node is blamed, and all is well afterwards", function()
    local r = redis.start{ over = "plain" }
    local web = service.start{ app = "web" }
    local other = service.nginx{ ["/"] = "other" }
    local relay = proxy.start()
    local lines = { relay:open(web.port), relay:open(other.port) }
    r:add_node("web", lines[1].addr, 100, 3600)
    r:add_node("other", lines[2].addr, 100, 3600)
    local p = remote.start(native.options())
    p:run([[
      native = require "native"
      url, fresh = ...
      d = assert(discover.start(url, "mine", "127.0.0.1:8001", { ttl = 2, heartbeat = 0.3, resync = 0.5,
        log_level = "off", call_retry_times = 1, calls = { web = { timeout = 2 }, other = { timeout = 2 } } }))
      assert(d:get("web", "/name").ok)
      assert(native.limit_files(150) == 0)
      held = {}
      -- Leaves so many descriptors.
      function leave(n)
        while true do
          local file = io.open "/dev/null"
          if not file then break end
          held[#held + 1] = file
        end
        for _ = 1, n do table.remove(held):close() end
      end
      function free()
        for _, file in ipairs(held) do file:close() end
        held = {}
      end
      -- What calls on fresh and on kept-alive connections end with.
      function try()
        local list = {}
        for _, app in ipairs{ "web", "other" } do
          local res = d:get(app, "/")
          list[#list + 1] = res.ok and "ok" or res.err
        end
        -- A node that was never connected to.
        round = (round or 0) + 1
        assert(d:set_node("fresh" .. round, fresh, 1))
        local res = d:get("fresh" .. round, "/")
        list[#list + 1] = res.ok and "ok" or res.err
        for _, node in pairs(d:get_app_nodes("fresh" .. round)) do
          assert(node.failed_times == 0 and node.state == "up", "a fresh node was blamed")
        end
        local w, _, code = d:open("web", "/ws/echo")
        list[#list + 1] = w and "ok" or code
        if w then w:close() end
        local e, _, why = discover.open(url, { start_timeout = 0.05, log_level = "off" })
        list[#list + 1] = e and "ok" or why
        if e then e:stop() end
        return table.concat(list, " ")
      end
      function blamed()
        local n = 0
        for _, app in ipairs{ "web", "other" } do
          for _, node in pairs(d:get_app_nodes(app)) do
            n = n + node.failed_times + (node.state == "up" and 0 or 1)
          end
        end
        return n
      end
    ]], r:url(), other.addr)
    local words = {}
    for left = 0, 12 do
      -- The registry has to come back meanwhile, and cannot.
      r:cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
      if left % 2 == 0 then r:cli("CLIENT", "KILL", "TYPE", "pubsub") end
      -- Half of the time calls need connections of their own.
      for _, line in ipairs(lines) do
        if left % 4 < 2 then line:now "close" end
      end
      p:run("leave(...)", left)
      for word in p:run("return try()"):gmatch "%S+" do words[word] = (words[word] or 0) + 1 end
      assert.equal(0, p:run "return blamed()", "blamed with " .. left .. " left")
      p:run "free()"
      wait.until_true(function()
        return p:run [[
          return d:registered() and d:stats().registry.up and d:get("web", "/").ok and d:get("other", "/").ok
        ]]
      end, 10, "all to be well after " .. left .. " left")
    end
    -- It was felt, and said so.
    assert.is_true((words.io or 0) >= 3, require "dkjson".encode(words))
    for word in pairs(words) do assert.is_true(({ ok = 1, io = 1, nomem = 1 })[word] == 1, word) end
    assert.equal(0, p:run "return blamed()")
    p:run "d:stop()"
    assert.equal(0, #r:keys "mine*")
    p:finish()
    web:kill()
    other.kill()
    relay:finish()
    r:kill()
  end)
end)

describe("os.exit", function()
  it("200 times with TLS to Redis, to nodes and to a WebSocket, at any moment: no crash, no word, nothing stays",
    function()
      local made = certs.make()
      local r = redis.start{ over = "tls" }
      local n = nginx.start{ servers = { tls = { cert = made.server } } }
      local dir = proc.tmpdir()
      local program = proc.write_file(dir .. "/program.lua", ([[
        local discover = require "discover"
        local i = tonumber(arg[1])
        local moment = i %% 8
        local d = assert(discover.start(%q, "mine", "127.0.0.1:" .. 2000 + i, {
          start_timeout = moment == 0 and 0 or 10, calls = { web = { ssl = true, tls = { ca = %q }, timeout = 10 } } }))
        if moment >= 2 then assert(d:get("web", "/").ok) end
        if moment == 3 then stream = d:request{ app = "web", method = "GET", path = "/", stream = true } end
        if moment == 4 then d:stop() end
        if moment == 5 then second = assert(discover.open(%q)) end
        if moment == 6 then d:set_route(function() os.exit(0) end) d:get("web", "/") end
        local from = os.clock()
        repeat until os.clock() - from > (i %% 10) / 1000
        os.exit(0, moment == 7)
      ]]):format(r:url(), made.ca, r:url()))
      r:add_node("web", n.tls.addr, 100, 3600)
      local environment = {}
      for name, value in pairs(lua_run.paths()) do
        environment[#environment + 1] = value and name .. "=" .. proc.quote(value) or "-u " .. name
      end
      table.sort(environment) -- those to be unset come first
      local runner = proc.write_file(dir .. "/run.sh", ("env %s timeout 30 %s %s $1 >%s/said.$1 2>&1; echo $1 $?\n")
        :format(table.concat(environment, " "), table.concat(lua_run.interpreter(), " "), program, dir))
      local ends = proc.shell(("seq 200 | xargs -P 4 -n 1 sh %s"):format(runner))
      local count = 0
      for i, code in ends:gmatch "(%d+) (%d+)" do
        count = count + 1
        local said = proc.read_file(dir .. "/said." .. i)
        assert.equal("0", code, ("number %s ended with %s: %s"):format(i, code, said))
        assert.equal("", said)
      end
      assert.equal(200, count)
      wait.until_true(function() return #r:keys "mine*" == 0 end, 3, "the goodbyes")
      n:kill()
      r:kill()
    end)
end)

describe("fork", function()
  it("200 times at any moment of heartbeats, reads, calls and connections that come and go: parent and children well",
    function()
      local r = redis.start{ over = "plain" }
      local web = service.nginx{ ["/"] = "here" }
      r:add_node("web", web.addr, 100, 3600)
      local run = native.run(([[
        local socket = require "socket"
        local url = %q
        math.randomseed(7)
        local options = { ttl = 1, heartbeat = 0.1, resync = 0.1, log_level = "off", calls = { web = {} } }
        local d = assert(discover.start(url, "mine", "127.0.0.1:1", options))
        local e = assert(discover.open(url, { shared = true, resync = 0.1, calls = { web = {} }, log_level = "off" }))
        local children, failed = {}, 0
        local function reap()
          local code, signal = native.waitpid(table.remove(children, 1))
          assert(code == 0, "a child: " .. tostring(code) .. " " .. tostring(signal))
        end
        for i = 1, 200 do
          local passing
          if i %% 3 == 0 then passing = discover.open(url, { start_timeout = 0, log_level = "off" }) end
          for _ = 1, math.random(0, 3) do
            if not d:get("web", "/").ok then failed = failed + 1 end
          end
          if i %% 4 == 0 then socket.sleep(math.random() * 0.01) end
          local pid = native.fork()
          if pid == 0 then
            -- No child hangs on a lock that somebody held.
            if d:get("web", "/").err ~= "forked" or e:get("web", "/").err ~= "forked" then native._exit(9) end
            if i %% 10 == 0 then
              local mine = assert(discover.start(url, "child", "127.0.0.1:" .. 1000 + i, options))
              if not mine:get("web", "/").ok then native._exit(8) end
              if i %% 20 == 0 or os.getenv "DISCOVER_TEST_LOADER" then mine:stop() end
            end
            if i %% 5 == 0 then d, e, passing = nil, nil, nil collectgarbage() end
            -- What is the parent's is forgotten, not freed: a leak to those who count.
            if i %% 2 == 0 and not os.getenv "DISCOVER_TEST_LOADER" then os.exit(0, i %% 4 == 0) end
            native._exit(0)
          end
          children[#children + 1] = pid
          if #children > 8 then reap() end
          if passing then passing:stop() end
        end
        while #children > 0 do reap() end
        assert(failed == 0, failed .. " calls failed")
        assert(d:registered() and e:get("web", "/").ok)
        d:stop()
        e:stop()
        print "done"
      ]]):format(r:url()), { timeout = 60 })
      assert.equal("done\n", run.out, run.err)
      wait.until_true(function() return #r:keys "child*" == 0 and #r:keys "mine*" == 0 end, 3, "the goodbyes")
      web.kill()
      r:kill()
    end)
end)
