-- Handlers of a real nginx that call services: the worker goes on meanwhile, nothing is lost, nothing is left.
local http = require "spec.support.http"
local openresty = require "spec.support.openresty"
local proc = require "spec.support.proc"
local redis = require "spec.support.redis"
local service = require "spec.support.service"
local socket = require "socket"
local wait = require "spec.support.wait"

local HTTP = [[
  lua_check_client_abort on;
  init_worker_by_lua_block {
    nginx = require "discover.nginx"
    d = assert(nginx.init_worker("@registry", { calls = { app = { timeout = 5, deadline = 5 } } }))
  }
]]

local SERVER = [[
    location /quick { return 200 quick; }
    location /name {
      content_by_lua_block {
        local res = nginx.call(d, { app = "app", path = "/name" })
        ngx.status = res.status or 500
        ngx.print(res.body or tostring(res))
      }
    }
    location /slow {
      content_by_lua_block {
        local res = nginx.call(d, { app = "app", path = "/slow?ms=" .. ngx.var.arg_ms })
        ngx.print(res.status or tostring(res))
      }
    }
    location /many {
      content_by_lua_block {
        local calls, list = d:async(), {}
        for i = 1, 20 do list[i] = calls:get("app", "/slow?ms=200") end
        local good = 0
        for i = 1, 20 do if nginx.wait(d, list[i]).status == 200 then good = good + 1 end end
        ngx.print(good)
      }
    }
    location /relay {
      content_by_lua_block {
        local caller = d:from{ headers = ngx.req.get_headers(), remote_addr = ngx.var.remote_addr }
        ngx.print(nginx.call(d, { app = "app", path = "/echo" }, caller).body)
      }
    }
    location /wrong {
      content_by_lua_block {
        ngx.say((select(2, pcall(nginx.call, d, { app = "app", path = "/", stream = true }))))
        ngx.say((select(2, pcall(function() return d:async():get("app", "/name"):await() end))))
        ngx.say(tostring(nginx.call(d, { app = "app", path = "/\n" }).err))
      }
    }
    location /log {
      return 200 logged;
      log_by_lua_block { ngx.log(ngx.WARN, "said: ", (select(2, pcall(nginx.call, d, { app = "app", path = "/" })))) }
    }
    location /stop { content_by_lua_block { d:stop() ngx.print "stopped" } }
    location /state {
      content_by_lua_block {
        collectgarbage()
        collectgarbage()
        ngx.print(d:stats().total.in_flight)
      }
    }
]]

local CACHE_OFF = [[
    lua_code_cache off;
    location /name {
      content_by_lua_block {
        local lib = require "lib"
        local res = lib.nginx.call(lib.d, { app = "app", path = "/name" })
        ngx.status = res.status or 500
        ngx.print(res.body or tostring(res))
      }
    }
]]

local LIB = [[
  local nginx = require "discover.nginx"
  local d = assert(nginx.init_worker("@registry", { calls = { app = {} } }))
  d:ready(2)
  return { nginx = nginx, d = d }
]]

describe("calls in handlers of nginx", function()
  if not openresty.usable then
    pending(openresty.why)
    return
  end
  local r, app, n

  local function start(options)
    options.words = { registry = r:url() }
    n = openresty.start(options)
    wait.until_true(function() return (http.get(n.addr, "/name")) == 200 end, 10, "a call\n" .. n:log())
    return n
  end

  before_each(function()
    r = redis.start()
    app = service.start()
    r:add_node("app", app.addr, 100)
  end)

  after_each(function()
    if n and n.p:alive() then n:kill "KILL" end
    n = nil
    app:kill()
    r:kill()
  end)

  local function worker() return n:workers()[1] end

  local function count(what)
    return tonumber(proc.shell(("ls /proc/%d/%s | wc -l"):format(worker(), what)))
  end

  local function ask(path)
    local s = socket.tcp4()
    assert(s:connect(n.host, n.port))
    assert(s:send("GET " .. path .. " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
    s:settimeout(wait.scale(10))
    return s
  end

  it("serves other requests while calls wait, in one worker", function()
    start{ http = HTTP, server = SERVER }
    local began, slow = wait.now(), {}
    for i = 1, 10 do slow[i] = ask "/slow?ms=1000" end
    wait.until_true(function() return app:count "GET /slow" == 10 end, 10, "ten calls under way")
    local quick = 0
    for _ = 1, 50 do
      assert.equal(200, (http.get(n.addr, "/quick")))
      assert.equal(200, (http.get(n.addr, "/name")))
      quick = quick + 1
    end
    for i = 1, 10 do assert.matches("\r\n\r\n.*200", (slow[i]:receive "*a")) end
    local seconds = wait.now() - began
    -- One after the other they would need ten seconds.
    assert.is_true(seconds < wait.scale(8), "took " .. seconds)
    assert.equal(50, quick)
    assert.same({}, n:complaints())
    assert.is_true(n:quit() < wait.scale(5))
  end)

  it("waits for several futures", function()
    start{ http = HTTP, server = SERVER }
    assert.equal("20", (select(2, http.get(n.addr, "/many"))))
  end)

  it("relays headers", function()
    start{ http = HTTP, server = SERVER }
    local _, text = http.get(n.addr, "/relay", { ["X-Request-Id"] = "r-77" })
    assert.is_truthy(text:find("r-77", 1, true), text)
  end)

  it("says what does not go", function()
    start{ http = HTTP, server = SERVER }
    local _, text = http.get(n.addr, "/wrong")
    assert.same({}, n:complaints())
    assert.matches("option 'stream'", text)
    assert.matches("await%(%) is not for nginx", text)
    assert.matches("invalid", text)
    http.get(n.addr, "/log")
    n:wait_log "said: discover: no request can wait in the phase log"
  end)

  it("has no path left, few descriptors and one connection per pump", function()
    start{ http = HTTP, server = SERVER }
    assert.equal("", proc.shell(("ls -d /tmp/discover-%d-* 2>/dev/null"):format(worker())))
    local fds, tasks = count "fd", count "task"
    for _ = 1, 100 do assert.equal(200, (http.get(n.addr, "/name"))) end
    wait.until_true(function() return count "fd" <= fds + 2 end, 10, "descriptors as before")
    assert.equal(tasks, count "task")
  end)

  it("survives clients that go away", function()
    start{ http = HTTP, server = SERVER }
    local fds = count "fd"
    for _ = 1, 5 do
      local gone = {}
      for i = 1, 20 do gone[i] = ask "/slow?ms=300" end
      for i = 1, 20 do gone[i]:close() end
      assert.equal(200, (http.get(n.addr, "/name")))
      wait.until_true(function() return select(2, http.get(n.addr, "/state")) == "0" end, 10, "no call in flight")
    end
    -- Twenty at once: so many connections to the node stay open.
    wait.until_true(function() return count "fd" <= fds + 30 end, 10, "descriptors")
    assert.equal(200, (http.get(n.addr, "/name")))
    assert.is_true(n:quit() < wait.scale(5))
  end)

  it("ends calls under way when the discoverer is stopped", function()
    start{ http = HTTP, server = SERVER }
    local slow = ask "/slow?ms=60000"
    wait.until_true(function() return app:count "GET /slow" == 1 end, 10, "the call")
    assert.equal("stopped", (select(2, http.get(n.addr, "/stop"))))
    assert.matches("stopped", (slow:receive "*a"))
    assert.matches("stopped", (select(2, http.get(n.addr, "/name"))))
    assert.is_true(n:quit() < wait.scale(5))
  end)

  it("makes a pump anew when its connection is cut", function()
    start{ http = HTTP, server = SERVER:gsub("location /quick", [[
      location /cut { content_by_lua_block { require "discover.core".wake_close(d) ngx.print "cut" } }
      location /quick]]) }
    for _ = 1, 3 do
      assert.equal("cut", (select(2, http.get(n.addr, "/cut"))))
      assert.equal(200, (http.get(n.addr, "/slow?ms=100")))
    end
    assert.is_true(n:quit() < wait.scale(5))
  end)

  it("works without code cache: a Lua state per request", function()
    start{ http = "", server = CACHE_OFF, files = { ["lib.lua"] = LIB } }
    for _ = 1, 30 do assert.equal(200, (http.get(n.addr, "/name"))) end
    local fds, tasks = count "fd", count "task"
    for _ = 1, 50 do assert.equal(200, (http.get(n.addr, "/name"))) end
    wait.until_true(function() return count "fd" <= fds + 3 end, 10, "descriptors as before")
    assert.is_true(count "task" <= tasks + 1)
    assert.equal("", proc.shell(("ls -d /tmp/discover-%d-* 2>/dev/null"):format(worker())))
    assert.is_true(n:quit() < wait.scale(10))
  end)
end)
