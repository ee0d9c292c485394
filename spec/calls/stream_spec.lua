-- Answers piece by piece: what is read when, how it ends, what it keeps alive.
local calls = require "spec.support.calls"
local discover = require "discover"
local lua_run = require "spec.support.lua_run"
local native = require "spec.support.native"
local port = require "spec.support.port"
local proc = require "spec.support.proc"
local scripted = require "spec.support.scripted"
local sink = require "spec.support.sink"
local wait = require "spec.support.wait"

local s
setup(function() s = sink.start() end)

local function client(opts) return calls.client({ s }, opts) end

local function open(d, path, more)
  local request = { app = "svc", path = path, stream = true }
  for name, value in pairs(more or {}) do request[name] = value end
  return d:request(request)
end

local function in_flight(d, server) return calls.node(d, server or s).in_flight end

-- A server that sends headers, then these steps.
local function sends(lines, ...)
  return scripted.http("read_request", { "send", "HTTP/1.1 200 OK\r\n" .. lines .. "\r\n" }, ...)
end

describe("a stream #api", function()
  it("gives the body chunk by chunk #core", function()
    local d = client()
    for _, path in ipairs{ "/flow?bytes=1000000", "/flow?bytes=1000000&chunked=1&piece=777" } do
      local res, parts = open(d, path), {}
      assert.is_true(res.ok, tostring(res))
      assert.equal(200, res.status)
      assert.is_nil(res.body)
      assert.equal(1, in_flight(d))
      for chunk in res:chunks() do
        assert.is_true(#chunk > 0)
        parts[#parts + 1] = chunk
      end
      assert.is_true(table.concat(parts) == sink.pattern(1000000))
      assert.is_true(res.ok)
      assert.is_nil(res.err)
      assert.equal(0, in_flight(d))
      assert.is_nil(res:read())
      assert.is_nil(res:read(10))
      assert.equal(1, res.attempts)
    end
  end)

  it("is read in pieces of the size asked for #core", function()
    local d, text = client(), sink.pattern(300000)
    for _, n in ipairs{ 1000, 65536, 65537, 299999, 300000, 300001 } do
      local res, at = open(d, "/flow?bytes=300000"), 1
      while true do
        local bytes = res:read(n)
        if not bytes then break end
        assert.equal(math.min(n, 300000 - at + 1), #bytes)
        assert.is_true(bytes == text:sub(at, at + #bytes - 1))
        at = at + #bytes
      end
      assert.equal(300001, at)
    end
  end)

  it("gives what is there without waiting for more", function()
    local server = sends("Content-Length: 8\r\n", { "send", "four" }, { "sleep", 1500 }, { "send", "more" }, "loop")
    local res = open(calls.client{ server }, "/")
    local took, bytes = wait.within(5, function() return res:read() end)
    assert.equal("four", bytes)
    assert.is_true(took < 1 * wait.slow)
    assert.equal("more", res:read())
    assert.is_nil(res:read())
  end)

  it("may be empty", function()
    local d = client()
    local res = open(d, "/flow?bytes=0")
    assert.is_nil(res:read())
    assert.equal(0, in_flight(d))
    assert.equal("", open(d, "/flow?bytes=0"):string())
    res = open(d, "/flow?bytes=100", { method = "HEAD" })
    assert.equal("100", res:header "content-length")
    assert.is_nil(res:read())
  end)

  it("checks its arguments", function()
    local res = open(client(), "/flow?bytes=10")
    for _, bad in ipairs{ 0, -1, 1.5, 2 ^ 40 } do
      local bytes, why, code = res:read(bad)
      assert.is_nil(bytes)
      assert.equal("invalid", code, why)
    end
    assert.has_error(function() res:read "10" end)
    assert.error_matches(function() client():request{ app = "svc", path = "/", stream = 1 } end, "'stream'")
    assert.error_matches(function() client():request{ app = "svc", path = "/", progress = 1 } end,
      "'progress': function expected")
    assert.equal(10, #res:read(10))
  end)

  it("leaves its connection to the next call when it was read to its end", function()
    local server = calls.answering(200, ("x"):rep(100000))
    local d = calls.client{ server }
    for _ = 1, 5 do assert.equal(100000, #open(d, "/"):string()) end
    assert.is_true(d:get("svc", "/").ok)
    assert.equal(1, server:connections())
  end)

  it("that is closed early ends there: the node is free, later reads say closed", function()
    local d = client()
    local res = open(d, "/flow?bytes=100000000")
    assert.equal(10, #res:read(10))
    assert.equal(1, in_flight(d))
    assert.is_true(res:close())
    assert.is_true(res:close())
    assert.equal(0, in_flight(d))
    local bytes, why, code = res:read()
    assert.is_nil(bytes)
    assert.equal("closed", code, why)
    assert.is_nil(res.err)
    for _ in res:chunks() do error "a chunk" end
    assert.equal("closed", select(3, res:string()))
    assert.equal("closed", select(3, res:save(os.tmpname())))
    wait.until_true(function() return s:stats().aborted >= 1 end, 5, "the server to notice")
    assert.is_true(d:get("svc", "/flow?bytes=1").ok)
    assert.equal(0, calls.node(d, s).failed_times)
  end)

  it("is read to its end by string, bytes, json, map, arr, to", function()
    local server = calls.answering(200, '{"a":1}')
    local d = calls.client{ server }
    assert.equal('{"a":1}', open(d, "/"):string())
    assert.equal('{"a":1}', open(d, "/"):bytes())
    assert.equal(1, open(d, "/"):json().a)
    assert.equal(1, open(d, "/"):map().a)
    assert.equal("invalid", select(3, open(d, "/"):arr()))
    assert.equal(1, open(d, "/"):to{ a = "integer" }.a)
    local res = open(d, "/")
    assert.equal("{", res:read(1))
    assert.equal('"a":1}', res:string())
    assert.equal('"a":1}', res:string())
    assert.is_nil(res:read())
    assert.is_nil(res.body)
  end)

  it("that is read at once is bounded by max_body, else not", function()
    local d = client{ calls = { svc = { max_body = 1000 } } }
    assert.equal("too_large", select(3, open(d, "/flow?bytes=1001"):string()))
    local res = open(d, "/flow?bytes=100000000")
    local text, why, code = res:string()
    assert.is_nil(text)
    assert.equal("too_large", code)
    assert.matches("max_body", why)
    assert.equal("too_large", res.err)
    assert.is_false(res.ok)
    assert.equal(0, in_flight(d))
    assert.equal(1000, #open(d, "/flow?bytes=1000"):string())
    local n = 0
    for chunk in open(d, "/flow?bytes=500000"):chunks() do n = n + #chunk end
    assert.equal(500000, n)
    -- one of the request's own holds for the stream
    res = open(d, "/flow?bytes=500000&chunked=1", { max_body = 100000 })
    n = 0
    for chunk in res:chunks() do n = n + #chunk end
    assert.is_true(n <= 100000)
    assert.equal("too_large", res.err)
    assert.equal(0, calls.node(d, s).failed_times)
  end)

  it("is decoded like any answer", function()
    local path = proc.write_file(proc.tmpdir() .. "/x", ("hello "):rep(50000))
    proc.shell("gzip -k " .. path)
    local gz = proc.read_file(path .. ".gz")
    local server = sends(("Content-Encoding: gzip\r\nContent-Length: %d\r\n"):format(#gz), { "send", gz }, "loop")
    assert.is_true(open(calls.client{ server }, "/"):string() == proc.read_file(path))
  end)

  it("tells its kind", function()
    assert.matches("result%(200 OK; a stream from ", tostring(open(client(), "/flow?bytes=1")))
  end)
end)

describe("results that are no streams #api", function()
  it("offer the same over their body", function()
    local d = calls.client{ calls.answering(200, "0123456789") }
    local res = d:get("svc", "/")
    assert.equal("012", res:read(3))
    assert.equal("3456", res:read(4))
    assert.equal("789", res:read())
    assert.is_nil(res:read())
    assert.is_nil(res:read(3))
    assert.equal("0123456789", res.body)
    local list = {}
    for chunk in d:get("svc", "/"):chunks() do list[#list + 1] = chunk end
    assert.same({ "0123456789" }, list)
    assert.is_true(res:close())
    res = d:request{ app = "none", path = "/" }
    local bytes, _, code = res:read()
    assert.is_nil(bytes)
    assert.equal(res.err, code)
  end)
end)

describe("a stream that fails #api", function()
  it("before its headers is tried again; its trace and result are as usual", function()
    local bad = calls.answering(503, "busy")
    local d = calls.client{ { bad, calls.FIRST }, { "127.0.0.1:" .. port.free(), calls.FIRST - 1 }, { s, 1 } }
    local res = open(d, "/flow?bytes=1000")
    assert.equal(3, res.attempts, tostring(res))
    assert.equal(s.addr, res.node)
    assert.equal(1000, #res:string())
    assert.equal(0, in_flight(d, bad))
  end)

  it("altogether has no stream", function()
    local d = calls.client{ "127.0.0.1:" .. port.free() }
    local res = open(d, "/")
    assert.equal("connect", res.err)
    assert.equal("connect", select(3, res:read()))
    for _ in res:chunks() do error "a chunk" end
    assert.equal("connect", select(3, res:save "/nonexistent/x"))
    d = calls.client{ calls.answering(503, "busy") }
    res = open(d, "/")
    assert.is_false(res.ok)
    assert.equal(503, res.status)
    assert.equal("busy", res:string())
  end)

  it("with answers of several nodes holds neither node nor connection", function()
    local head = { "send", "HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nabc" }
    local bad, worse = scripted.http("read_request", head, "hang"), scripted.http("read_request", head, "hang")
    local d = calls.client{ bad, worse }
    local res = open(d, "/")
    assert.equal("all_failed", res.err)
    assert.equal(503, res.status)
    assert.equal("all_failed", select(3, res:read()))
    assert.equal("all_failed", select(3, res:string()))
    assert.equal(0, in_flight(d, bad))
    assert.equal(0, in_flight(d, worse))
    assert.is_true(res:close())
  end)

  it("after its headers ends there: not tried again, held against the node, err says why", function()
    local other = calls.answering(200, "other")
    local d = calls.client{ { s, calls.FIRST }, { other, 1 } }
    local res = open(d, "/flow?bytes=100000&cut=5000")
    assert.is_true(res.ok)
    local n = 0
    for chunk in res:chunks() do n = n + #chunk end
    assert.equal(5000, n)
    assert.is_false(res.ok)
    assert.is_true(res.err == "connect" or res.err == "protocol", res.err)
    assert.is_string(res.why)
    assert.equal(0, other:connections())
    assert.equal(1, calls.node(d, s).failed_times)
    assert.equal(0, in_flight(d))
    for _ = 1, 2 do
      local bytes, why, code = res:read()
      assert.is_nil(bytes)
      assert.equal(res.err, code)
      assert.equal(res.err .. ": " .. res.why, why)
    end
    assert.equal(200, res.status)
  end)

  it("in the middle of read(n) hands out first what came", function()
    local res = open(client(), "/flow?bytes=100000&cut=5000")
    assert.equal(5000, #res:read(6000))
    assert.is_nil(res:read(1))
    assert.is_false(res.ok)
  end)

  it("by silence ends with timeout, a slow trickle goes on", function()
    local d = client{ calls = { svc = { timeout = 2, deadline = 1 } } }
    local res = open(d, "/flow?bytes=12&piece=1&pause=100")
    local _, text = wait.within(5, function() return res:string() end)
    assert.equal(12, #text, tostring(res))
    local server = sends("Content-Length: 8\r\n", { "send", "four" }, "hang")
    d = calls.client({ server }, { calls = { svc = { timeout = 0.3 } } })
    res = open(d, "/")
    assert.equal("four", res:read())
    local took, _, why, code = wait.within(3, function() return res:read() end)
    assert.equal("timeout", code, why)
    assert.is_true(took >= 0.25)
    assert.equal("timeout", res.err)
    assert.equal(1, calls.node(d, server).failed_times)
  end)

  it("is not timed out while nobody reads", function()
    local d = client{ calls = { svc = { timeout = 0.2 } } }
    local res = open(d, "/flow?bytes=1000000")
    wait.pass(0.5)
    d:get("svc", "/flow?bytes=1")
    assert.equal(1000000, #res:string(), tostring(res))
  end)

  it("by broken framing is protocol", function()
    local server = sends("Transfer-Encoding: chunked\r\n", { "send", "4\r\nfour\r\nzzz\r\n" }, "close")
    local res = open(calls.client{ server }, "/")
    assert.equal("four", res:read(10))
    assert.equal("protocol", select(3, res:read()))
  end)
end)

describe("progress #api", function()
  local function recorder()
    local list = {}
    return list, function(now, total, direction) list[#list + 1] = { now, total, direction } end
  end

  -- A total that is not told beforehand may be known at the end.
  local function check(list, direction, last, total)
    local before, n = 0, 0
    for _, row in ipairs(list) do
      if row[3] == direction then
        n = n + 1
        assert.is_true(row[1] > before)
        assert.is_true(row[2] == total or (not total and row[1] == last and row[2] == last))
        if math.type then assert.equal("integer", math.type(row[1])) end
        before = row[1]
      end
    end
    assert.equal(last, before)
    return n
  end

  it("tells of a download, streamed or not", function()
    local d = client()
    for _, stream in ipairs{ true, false } do
      local list, fn = recorder()
      local res = d:request{ app = "svc", path = "/flow?bytes=20000000", progress = fn, stream = stream }
      assert.equal(20000000, #res:string())
      -- all of it may come in one turn of the loop; a stream's window is smaller
      assert.is_true(check(list, "download", 20000000, 20000000) >= (stream and 2 or 1))
    end
    local list, fn = recorder()
    d:request{ app = "svc", path = "/flow?bytes=100000&chunked=1", progress = fn }
    check(list, "download", 100000, nil)
  end)

  it("tells of an upload", function()
    local d, n = client(), 3000000
    local path = proc.write_file(proc.tmpdir() .. "/up", ("x"):rep(n))
    local list, fn = recorder()
    local res = d:request{ method = "POST", app = "svc", path = "/digest", data = discover.file(path), progress = fn }
    assert.equal(n, res:json().length)
    check(list, "upload", n, n)
    list, fn = recorder()
    local left = 10
    d:request{ method = "POST", app = "svc", path = "/digest", progress = fn, data = function()
      left = left - 1
      if left >= 0 then return ("x"):rep(100000) end
    end }
    check(list, "upload", 1000000, nil)
    list, fn = recorder()
    d:request{ method = "POST", app = "svc", path = "/digest", progress = fn, data = ("x"):rep(n) }
    check(list, "upload", n, n)
  end)

  it("that raises or yields ends the call, or the stream, with callback", function()
    local d = client()
    local fns = { function() error "enough" end, function() coroutine.yield() end }
    for i, says in ipairs{ "enough", "yield" } do
      local function fn(_, _, direction) if direction == "download" then fns[i]() end end
      local co = coroutine.wrap(function()
        local res = d:request{ app = "svc", path = "/flow?bytes=3000000", progress = fn }
        assert.equal("callback", res.err, tostring(res))
        assert.matches(says, res.why)
        res = open(d, "/flow?bytes=3000000", { progress = fn })
        if res.ok then
          for _ in res:chunks() do end
        end
        assert.equal("callback", res.err, tostring(res))
        assert.matches(says, res.why)
      end)
      co()
    end
    assert.equal(0, calls.node(d, s).failed_times)
    assert.equal(0, in_flight(d))
  end)

  it("may close its stream, read it and make calls", function()
    local d, res, n = client(), nil, 0
    res = open(d, "/flow?bytes=3000000", { progress = function(now)
      if not res then return end
      n = n + 1
      local bytes, _, code = res:read()
      assert.is_nil(bytes)
      assert.equal("callback", code)
      assert.is_true(d:get("svc", "/flow?bytes=10").ok)
      if now > 1000000 then res:close() end
    end })
    local got = 0
    for chunk in res:chunks() do got = got + #chunk end
    assert.is_true(n > 0)
    assert.is_true(got < 3000000)
    assert.equal("closed", select(3, res:read()))
  end)
end)

describe("the life of a stream #api", function()
  it("ends with stop: stopped", function()
    local d = client()
    local res = open(d, "/flow?bytes=100000000")
    local done = open(d, "/flow?bytes=5")
    assert.equal(5, #done:string())
    assert.equal(10, #res:read(10))
    wait.within(3, function() d:stop() end)
    assert.equal("stopped", select(3, res:read()))
    assert.equal("stopped", res.err)
    assert.is_nil(done:read())
    assert.is_nil(done.err)
    assert.is_true(res:close())
    assert.equal("stopped", open(d, "/flow?bytes=5").err)
  end)

  it("ends when a callback of its own stops the discoverer", function()
    local d = client()
    local res = open(d, "/flow?bytes=100000000", { progress = function(now) if now > 100000 then d:stop() end end })
    wait.within(5, function() for _ in res:chunks() do end end)
    assert.equal("stopped", res.err)
  end)

  it("keeps its discoverer", function()
    local d = assert(discover.new{ log_level = "off" })
    calls.set(d, "svc", { s })
    local weak = setmetatable({ d }, { __mode = "v" })
    local res = open(d, "/flow?bytes=1000000")
    d = nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    assert.is_truthy(weak[1])
    assert.equal(1000000, #res:string())
    res = nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak[1])
  end)

  it("is closed by the collector, whatever its functions know", function()
    local d = client()
    do
      local holder = {}
      holder.res = open(d, "/flow?bytes=100000000", { progress = function() return holder.res end })
      assert.equal(10, #holder.res:read(10))
      assert.equal(1, in_flight(d))
    end
    collectgarbage()
    collectgarbage()
    assert.equal(0, in_flight(d))
    assert.is_true(d:get("svc", "/flow?bytes=1").ok)
  end)

  if _VERSION == "Lua 5.4" then
    it("is closed by <close>", function()
      local d = client()
      assert(load([[local open, d = ...; local res <close> = open(d, "/flow?bytes=100000000"); res:read(1)]]))(open, d)
      assert.equal(0, in_flight(d))
    end)
  end

  it("stands beside other calls and streams", function()
    local d, list = client(), {}
    for i = 1, 20 do list[i] = open(d, "/flow?bytes=" .. 1000000 + i) end
    assert.equal(20, in_flight(d))
    for i = 20, 1, -1 do
      assert.is_true(d:get("svc", "/flow?bytes=10").ok)
      assert.equal(1000000 + i, #list[i]:string())
    end
    assert.equal(0, in_flight(d))
  end)

  it("can be read inside a callback", function()
    local d = client()
    local res, got = open(d, "/flow?bytes=100000"), nil
    d:set_route(function(ac)
      if ac.path == "/flow?bytes=7" then got = #res:string() end
    end)
    assert.is_true(d:get("svc", "/flow?bytes=7").ok)
    assert.equal(100000, got)
  end)

  it("cannot be read by a logger that its own read calls", function()
    local d, step, codes = client{ log_level = "warn", logger = function() end }, 0, {}
    local dead = port.refused()
    assert(d:set_node("dead", dead.addr, 1))
    local res = open(d, "/flow?bytes=100000")
    d:set_logger(function()
      step = step + 1
      if step == 1 then d:get("dead", "/") end -- its record is told by the next method
      if step == 2 then codes[1], codes[2] = select(3, res:read(7)), select(3, res:string()) end
    end)
    local text = res:read(10)
    d:get("dead", "/")
    assert.equal(1, step)
    for chunk in res:chunks() do text = text .. chunk end
    assert.is_true(step >= 2)
    assert.same({ "callback", "callback" }, codes)
    assert.is_true(text == sink.pattern(100000))
  end)

  it("tells response and logger as any call", function()
    local list, logger = calls.journal()
    local d = client{ logger = logger, log_level = "info" }
    local told = {}
    d:set_load_balancer{ response = function(_, node, err) told[#told + 1] = { node.addr, err } end }
    local caller = d:new_caller({}, logger)
    local res = caller:manual_request_with_node("GET", "svc", s.addr, "/flow?bytes=1000")
    assert.equal(1000, #res:string())
    res = nil -- luacheck: ignore 311
    collectgarbage()
    d:get("svc", "/flow?bytes=1")
    assert.is_true(#told >= 1)
    assert.equal(s.addr, told[1][1])
    assert.is_true(#list >= 1)
  end)

  it("of a caller relays and is pinned", function()
    local d = client()
    local caller = d:from{ headers = { ["X-User-Id"] = "7" } }
    local res, addr = caller:manual_request_with_node("POST", "svc", s.addr, "/digest", "data", { ["X-A"] = "b" })
    assert.equal(s.addr, addr)
    assert.is_nil(res.body)
    assert.equal(4, res:json().length)
    res, addr = caller:manual_request_with_node("GET", "svc", "127.0.0.1:1", "/")
    assert.is_false(res.ok)
    assert.is_true(addr == nil or addr == "127.0.0.1:1")
  end)

  it("sends a body of any kind", function()
    local d = client()
    local path = proc.write_file(proc.tmpdir() .. "/up", ("x"):rep(100000))
    local file = discover.file(path)
    for data, length in pairs{ ["abc"] = 3, [{ a = 1 }] = 7, [discover.form{ a = 1 }] = 3, [file] = 100000 } do
      local res = open(d, "/digest", { method = "POST", data = data })
      collectgarbage()
      assert.equal(length, res:json().length)
    end
    local n = 0
    local res = open(d, "/digest", { method = "POST", data = function()
      n = n + 1
      if n <= 3 then return "abc" end
    end })
    assert.equal(9, res:json().length)
  end)

  it("may answer before its request body is through", function()
    local d = client{ calls = { svc = { timeout = 5 } } }
    local n = 0
    local res = open(d, "/early?linger=300", { method = "POST", data = function()
      n = n + 1
      if n <= 5 then return ("x"):rep(200000) end
    end })
    collectgarbage()
    local _, text = wait.within(5, function() return res:string() end)
    assert.equal('{"early": true}', text, tostring(res))
  end)

  -- Reads the head of a request, answers, then reads on.
  local function answers_first()
    local answer = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"
    return scripted.start{ { { "read", 60 }, { "send", answer }, "drain" } }
  end

  -- Runs the loop by calls of another app until the reader was called once more.
  local function run_until(d, called)
    calls.set(d, "other", { s })
    wait.until_true(function()
      assert.is_true(d:get("other", "/flow?bytes=1000").ok)
      return called()
    end)
  end

  it("that was forgotten is not collected inside its own callbacks #core", function()
    for _, where in ipairs{ "data", "progress" } do
      local d, forgotten, n = calls.client{ answers_first() }, false, 0
      local function callback(name)
        if forgotten and name == where then
          collectgarbage()
          collectgarbage()
          n = n + 1
        end
      end
      local res = open(d, "/", { method = "POST", progress = function() callback "progress" end, data = function()
        callback "data"
        return ("x"):rep(20000)
      end })
      assert.is_true(res.ok, tostring(res))
      res, forgotten = nil, true -- luacheck: ignore
      run_until(d, function() return n > 0 end)
    end
  end)

  it("may be closed by the reader of its request's body #core", function()
    local d, res, closed = calls.client{ answers_first() }, nil, false
    res = open(d, "/", { method = "POST", data = function()
      if res then closed = res:close() end
      return ("x"):rep(20000)
    end })
    assert.is_true(res.ok, tostring(res))
    run_until(d, function() return closed end)
    assert.equal("closed", select(3, res:read()))
  end)

  it("loses nothing when a callback of a read asks for another", function()
    for _, read in ipairs{ function(res) return res:string() end, function(res) return res:read(1000000) end } do
      local d, res, code = client(), nil, nil
      res = open(d, "/flow?bytes=1000000", { progress = function()
        if res then code = select(3, read(res)) end
      end })
      assert.is_true(read(res) == sink.pattern(1000000))
      assert.equal("callback", code)
    end
  end)

  it("may be open when the program ends", function()
    for _, finish in ipairs{ "", "os.exit(0)", "os.exit(0, true)", "d = nil collectgarbage() collectgarbage()",
      "error 'as it is'" } do
      local r = lua_run.run([[
        discover = require "discover"
        d = discover.new{ log_level = "off" }
        d:set_node("svc", arg[1], 1)
        local n = 0
        res = d:request{ app = "svc", path = "/flow?bytes=1000000", stream = true,
          progress = function() return res, d end }
        other = d:request{ app = "svc", path = "/flow?bytes=1000000", stream = true }
        assert(#res:read(10) == 10)
        io.stdout:write "open"
        io.stdout:flush()
      ]] .. finish, { args = { s.addr } })
      assert.equal("open", r.out, r.err)
      assert.equal(0, r.signal)
    end
  end)

  it("after a fork is forked in the child, goes on in the parent", function()
    local r = native.run([[
      local d = discover.new{ log_level = "off" }
      d:set_node("svc", arg[1], 1)
      local res = d:request{ app = "svc", path = "/flow?bytes=1000000", stream = true }
      assert(#res:read(10) == 10)
      local pid = native.fork()
      if pid == 0 then
        local bytes, why, code = res:read()
        assert(bytes == nil and code == "forked", tostring(why))
        assert(res:close())
        res = nil
        collectgarbage()
        native._exit(0)
      end
      assert(native.waitpid(pid) == 0)
      assert(#res:string() == 999990)
      print "both well"
    ]], { args = { s.addr } })
    assert.is_true(r.ok, r.out .. r.err)
    assert.matches("both well", r.out)
  end)
end)
