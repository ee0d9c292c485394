-- The helpers of the specs, tried on themselves.
local http = require "spec.support.http"
local json = require "dkjson"
local lua_run = require "spec.support.lua_run"
local port = require "spec.support.port"
local proc = require "spec.support.proc"
local redis = require "spec.support.redis"
local scripted = require "spec.support.scripted"
local service = require "spec.support.service"
local socket = require "socket"
local wait = require "spec.support.wait"

describe("#support wait", function()
  it("returns what the function returned", function()
    local n = 0
    assert.equal(3, wait.until_true(function()
      n = n + 1
      return n == 3 and n
    end))
  end)

  it("raises with what it waited for", function()
    local ok, why = pcall(wait.until_true, function() return nil, "not yet" end, 0.02, "the moon")
    assert.is_false(ok)
    assert.matches("the moon %(last: not yet%)", why)
  end)

  it("measures", function()
    local took, answer = wait.within(1, function() return "x" end)
    assert.is_true(took < 1)
    assert.equal("x", answer)
    assert.is_false((pcall(wait.within, 0.01, wait.pass, 0.02 * wait.slow)))
  end)

  it("notices when a thing does not hold", function()
    local n = 0
    assert.is_false((pcall(wait.holds, function()
      n = n + 1
      return n < 3
    end, 5)))
    wait.holds(function() return true end, 0.02)
  end)
end)

describe("#support proc", function()
  it("tells the exit code", function()
    local p = proc.start{ "sh", "-c", "exit 7" }
    assert.equal(7, (p:wait()))
    assert.is_false(p:alive())
  end)

  it("tells the signal", function()
    local p = proc.start{ "sleep", "100" }
    assert.is_true(p:alive())
    p:kill "TERM"
    local code, signal = p:wait()
    assert.equal(143, code)
    assert.equal(15, signal)
  end)

  it("passes words, environment and folder unharmed", function()
    local p = proc.start{ "sh", "-c", "printf '%s|' \"$@\" \"$A\" \"${B-unset}\" \"$PWD\"", "sh", "it's", "a b", "$x",
                          env = { A = "x'y", B = false }, cwd = "/" }
    p:wait()
    assert.equal("it's|a b|$x|x'y|unset|/|", (p:output()))
  end)

  it("keeps stdout and stderr apart when asked to", function()
    local dir = proc.tmpdir()
    local p = proc.start{ "sh", "-c", "echo out; echo err >&2", stdout = dir .. "/o", stderr = dir .. "/e" }
    p:wait()
    local out, err = p:output()
    assert.equal("out\n", out)
    assert.equal("err\n", err)
  end)

  it("lets no descriptor leak into a child", function()
    local s = socket.bind("127.0.0.1", 0)
    local p = proc.start{ "sleep", "100" }
    wait.until_true(function() return p:descriptors() == 3 end, 5, "three descriptors")
    s:close()
  end)

  it("gives up waiting", function()
    local p = proc.start{ "sleep", "100" }
    assert.same({ nil, "timeout" }, { p:wait(0.02) })
    p:destroy()
    assert.is_false(p:alive())
  end)

  it("kills what is left behind, and removes the folders", function()
    local dir, ran = proc.tmpdir(), false
    local p = proc.start{ "sleep", "100" }
    proc.at_end(function() ran = true end)
    proc.cleanup()
    assert.is_false(p:alive())
    assert.equal(137, p.code)
    assert.is_true(ran)
    assert.equal("", proc.shell("ls -d " .. dir .. " 2>/dev/null"))
  end)

  it("has its children killed when the specs are killed", function()
    local r = lua_run.start([[
      local proc = require "spec.support.proc"
      print(proc.start{ "sleep", "100" }.pid)
      io.stdout:flush()
      require "socket".sleep(100)
    ]], { cwd = proc.root(), env = { TMPDIR = proc.tmpdir() } })
    local pid = wait.until_true(function() return tonumber((r:output():match "(%d+)\n")) end, 10, "the child")
    -- Before it is setpriv, which has not told the kernel yet.
    wait.until_true(function() return proc.read_file("/proc/" .. pid .. "/comm") == "sleep\n" end, 10, "the program")
    r:destroy()
    wait.until_true(function()
      local text = proc.read_file("/proc/" .. pid .. "/stat")
      return not text or text:match "%) ([ZX])"
    end, 5, "the grandchild to die")
  end)
end)

describe("#support port", function()
  it("finds different free ports", function()
    local a, b = port.free(), port.free()
    assert.not_equal(a, b)
    assert.is_false(port.listening(a))
  end)

  it("finds free ports among those that Linux gives to nobody by itself", function()
    assert.is_true(port.free() < 32768)
  end)

  it("refuses", function()
    local r = port.refused()
    local c = socket.tcp4()
    c:settimeout(1)
    assert.same({ nil, "connection refused" }, { c:connect(r.host, r.port) })
    r:close()
  end)

  it("accepts and never answers", function()
    local b = port.blackhole()
    local c = socket.tcp4()
    c:settimeout(0.05)
    assert.equal(1, c:connect(b.host, b.port))
    c:send "hello\r\n"
    assert.same({ nil, "timeout", "" }, { c:receive() })
    b:close()
  end)

  it("never completes a connection", function()
    local f = port.full()
    local c = socket.tcp4()
    c:settimeout(0.2)
    assert.same({ nil, "timeout" }, { c:connect(f.host, f.port) })
    c:close()
    f:close()
  end)
end)

describe("#support redis", function()
  it("answers with Lua values", function()
    local r = redis.start()
    assert.equal("OK", r:cli("SET", "k", "v"))
    assert.equal("v", r:cli("GET", "k"))
    assert.is_nil(r:cli("GET", "none"))
    assert.equal(2, r:cli("HSET", "h", "a", "1", "b", "2"))
    assert.same({ a = "1", b = "2" }, r:hash "h")
    assert.same({ "h", "k" }, r:keys())
    local none, why = r:cli("HGET", "k", "x")
    assert.is_nil(none)
    assert.matches("^WRONGTYPE", why)
    assert.equal("redis://127.0.0.1:" .. r.port .. "/15", r:url())
  end)

  it("dies, comes back empty, or as it was saved", function()
    local r = redis.start()
    r:cli("SET", "k", "v")
    r:save()
    r:restart "keep"
    assert.equal("v", r:cli("GET", "k"))
    r:restart()
    assert.is_nil((r:cli("GET", "k")))
    r:stop()
    assert.is_false(port.listening(r.port))
    assert.is_nil((r:cli "PING"))
    r:start()
    assert.equal("PONG", r:cli "PING")
  end)

  it("freezes", function()
    local r = redis.start()
    local c = r:connect()
    r:pause()
    c:timeout(0.05)
    assert.same({ nil, "timeout" }, { c:call "PING" })
    r:resume()
    c:timeout(5)
    assert.equal("PONG", c:read())
  end)

  it("asks for a password, or an ACL user's", function()
    local r = redis.start{ password = "s3cret" }
    assert.equal("PONG", r:cli "PING")
    assert.equal("redis://:s3cret@127.0.0.1:" .. r.port .. "/15", r:url())
    local c = require "spec.support.resp".connect(r.host, r.port)
    local _, why = c:call "PING"
    assert.matches("^NOAUTH", why)
    r = redis.start{ acl = { "user app on >pw ~app* &CH_* +get +auth" } }
    c = require "spec.support.resp".connect(r.host, r.port)
    assert.equal("OK", c:call("AUTH", "app", "pw"))
    _, why = c:call("SET", "app", "1")
    assert.matches("^NOPERM", why)
  end)

  it("shows what it is told and what is published", function()
    local r = redis.start()
    local m, s = r:monitor(), r:subscribe "CH_app"
    r:add_node("app", "127.0.0.1:80", 100)
    assert.equal("127.0.0.1:80 100", s:wait "100$")
    m:wait "^PUBLISH"
    assert.same({ "SETEX app_127.0.0.1:80 600 1", "HSET app 127.0.0.1:80 100", "PUBLISH CH_app 127.0.0.1:80 100" },
      m:lines "127%.0%.0%.1:80")
    r:remove_node("app", "127.0.0.1:80")
    s:wait " 0$"
    assert.same({}, r:keys())
  end)
end)

describe("#support service", function()
  it("answers, counts, fails on demand", function()
    local s = service.start()
    local status, body = http.post(s.addr, "/echo?x=1", "data", { ["X-One"] = "1" })
    assert.equal(200, status)
    local seen = json.decode(body)
    assert.equal("POST", seen.method)
    assert.equal("/echo", seen.path)
    assert.equal(1, seen.query.x)
    assert.equal("data", seen.body)
    assert.equal("1", seen.headers["x-one"])
    assert.equal(404, (http.get(s.addr, "/status/404")))
    assert.equal(tostring(s.port), select(2, http.get(s.addr, "/name")))
    assert.equal(5000, #select(2, http.get(s.addr, "/big?bytes=5000")))
    assert.equal("v", select(3, http.get(s.addr, "/headers?x-h=v"))["x-h"])
    assert.equal(200, (http.request(s.addr, "HEAD", "/echo")))
    assert.equal(6, s:count())
    assert.equal(1, s:count "POST /echo")
    s:control{ fail = 503, times = 1 }
    assert.equal(503, (http.get(s.addr, "/")))
    assert.equal(200, (http.get(s.addr, "/")))
    s:reset()
    assert.equal(0, s:count())
  end)

  it("is slow on demand", function()
    local s = service.start()
    local start = wait.now()
    assert.equal(200, (http.get(s.addr, "/slow?ms=60")))
    assert.is_true(wait.now() - start >= 0.06)
  end)

  it("dies and comes back on its port", function()
    local s = service.start()
    local before = s.port
    s:kill()
    assert.is_false(port.listening(before))
    s:restart()
    assert.equal(before, s.port)
    assert.equal(200, (http.get(s.addr, "/")))
    s:stop()
    assert.equal(0, s.p.code)
  end)

  it("can be nginx", function()
    local n = service.nginx{ ["/"] = "hello", ["/no"] = { "return 503 busy;" } }
    local status, body = http.get(n.addr, "/")
    assert.equal(200, status)
    assert.equal("hello", body)
    assert.equal(503, (http.get(n.addr, "/no")))
    assert.is_true(n.requests() >= 3)
    n.stop()
    assert.is_false(port.listening(n.port))
  end)
end)

describe("#support scripted", function()
  local function talk(s, text, seconds)
    local c = socket.tcp4()
    c:settimeout(seconds or 5)
    c:connect(s.host, s.port)
    c:send(text)
    local all, why, partial = c:receive "*a"
    c:close()
    return all or partial, why
  end

  local GET = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
  local POST = "POST /y HTTP/1.1\r\nContent-Length: 4\r\n\r\nbody"

  it("plays another script on each connection", function()
    local s = scripted.start{
      { "close" },
      { "read_request", { "send", "garbage" }, "close" },
      { "read_request", { "respond", 200, "fine" }, "loop" },
    }
    assert.equal("", (talk(s, "")))
    assert.equal("garbage", (talk(s, GET)))
    assert.matches("fine.*fine", (talk(s, GET .. POST, 0.3)))
    s:wait(function() return #s:requests() == 3 end)
    assert.equal(1, #s:requests "POST")
    assert.equal("body", s:requests("POST")[1].body)
    assert.equal("h", s:requests("GET")[1].headers.host)
    assert.equal(3, s:connections())
  end)

  it("resets, hangs, trickles and floods", function()
    local s = scripted.start{
      { "read_request", "rst" },
      { "hang" },
      { { "trickle", "abc", 20 } },
      { { "flood", ("x"):rep(1000), 100 } },
    }
    -- 56: reset; 52 would be an orderly close.
    assert.equal("56", proc.shell("curl -s -o /dev/null http://" .. s.addr .. "/; echo $?"))
    assert.same({ "", "timeout" }, { talk(s, GET, 0.05) })
    local start = wait.now()
    assert.equal("abc", (talk(s, "")))
    assert.is_true(wait.now() - start >= 0.05)
    assert.equal(100000, #talk(s, ""))
  end)

  it("counts only whole requests", function()
    local s = scripted.http("read_request", { "respond", 200 }, "loop")
    talk(s, POST:sub(1, -3), 0.05)
    s:wait(function() return s:journal "closed"[1] end)
    assert.equal(0, #s:requests())
  end)

  it("can be a Redis that lies", function()
    local s = scripted.redis{ HGETALL = { "*1\r\n", "-LOADING\r\n" }, GET = "close" }
    local c = require "spec.support.resp".connect(s.host, s.port)
    assert.equal("PONG", c:call "PING")
    assert.same({ "subscribe", "CH_a", 1, n = 3 }, c:call("SUBSCRIBE", "CH_a"))
    assert.same({ n = 2 }, c:call("MGET", "a", "b"))
    c:send("HGETALL", "a")
    c:timeout(0.05)
    assert.same({ nil, "timeout" }, { c:read() })
    c:timeout(5)
    assert.same({ nil, "LOADING" }, { c:call("HGETALL", "a") })
    assert.same({ nil, "closed" }, { c:call("GET", "a") })
    assert.same({ "GET", "a" }, s:commands("GET")[1])
  end)

  it("comes back on its port with another script", function()
    local s = scripted.http("close")
    local before = s.port
    s:restart{ { { "send", "new" } } }
    assert.equal(before, s.port)
    assert.equal("new", (talk(s, "")))
  end)
end)

describe("#support lua_run", function()
  it("tells code, output and errors", function()
    local r = lua_run([[io.write(arg[1], os.getenv "X"); io.stderr:write "e"; os.exit(3)]],
      { args = { "a" }, env = { X = "x" } })
    assert.equal(3, r.code)
    assert.equal("ax", r.out)
    assert.equal("e", r.err)
    assert.is_false(r.ok)
  end)

  it("runs the interpreter of the specs", function()
    local r = lua_run "print(_VERSION, jit and jit.version)"
    assert.equal(_VERSION .. "\t" .. tostring(rawget(_G, "jit") and jit.version) .. "\n", r.out)
    assert.is_true(r.ok)
  end)

  it("survives a crash and an endless loop", function()
    -- Not SIGSEGV: a sanitizer catches that one.
    local r = lua_run "os.execute('kill -ABRT $PPID')"
    assert.equal(6, r.signal)
    r = lua_run("while true do end", { timeout = 0.1 })
    assert.is_true(r.timeout)
  end)
end)
