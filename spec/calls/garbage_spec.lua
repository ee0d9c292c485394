-- Nodes that answer what no HTTP server should.
local calls = require "spec.support.calls"
local redis = require "spec.support.redis"
local scripted = require "spec.support.scripted"
local wait = require "spec.support.wait"

local OK = "HTTP/1.1 200 OK\r\n"

-- name, the code of a single attempt, steps after the request was read
local rows = {
  { "garbage", "protocol", { "send", "blah blah blah\r\n\r\n" }, "close" },
  { "binary garbage", "protocol", { "send", ("\1\2\3\127\0"):rep(50) .. "\r\n" }, "close" },
  { "a greeting of another protocol", "protocol", { "send", "+PONG\r\n" }, "close" },
  { "an HTML page without headers", "protocol", { "send", "<html>hello</html>" }, "close" },
  { "half a status line", nil, { "send", "HTTP/1.1 20" }, "close" },
  { "half a header", "protocol", { "send", OK .. "Content-Le" }, "close" },
  { "headers without their end", "protocol", { "send", OK .. "Content-Length: 2\r\n" }, "close" },
  { "a status line that is none", "protocol", { "send", "HTTP/1.1 abc OK\r\nContent-Length: 0\r\n\r\n" }, "close" },
  { "a status beyond 999", nil, { "send", "HTTP/1.1 99999 OK\r\nContent-Length: 0\r\n\r\n" }, "close" },
  { "HTTP/9.9", "protocol", { "send", "HTTP/9.9 200 OK\r\nContent-Length: 0\r\n\r\n" }, "close" },
  { "a negative Content-Length", "protocol", { "send", OK .. "Content-Length: -1\r\n\r\nbody" }, "close" },
  { "a Content-Length that is no number", "protocol", { "send", OK .. "Content-Length: ten\r\n\r\nbody" }, "close" },
  { "a Content-Length beyond all numbers", nil,
    { "send", OK .. "Content-Length: 99999999999999999999999\r\n\r\nbody" }, "close" },
  { "two Content-Lengths that differ", "protocol",
    { "send", OK .. "Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody!" }, "close" },
  { "less than its Content-Length", nil, { "send", OK .. "Content-Length: 100\r\n\r\nbody" }, "close" },
  { "an endless run of headers", "protocol", { "send", OK }, { "flood", ("X-A: %s\r\n"):format(("b"):rep(1000)) } },
  { "one endless header", "protocol", { "send", OK .. "X-A: " }, { "flood", ("b"):rep(1000) } },
  { "an endless status line", "protocol", { "send", "HTTP/1.1 200 " }, { "flood", ("b"):rep(1000) } },
  { "endless 1xx answers", "protocol", { "flood", "HTTP/1.1 100 Continue\r\nX-A: b\r\n\r\n" } },
  { "a header without a colon", "protocol", { "send", OK .. "nonsense\r\nContent-Length: 0\r\n\r\n" }, "close" },
  { "a header without a name", "protocol", { "send", OK .. ": value\r\nContent-Length: 0\r\n\r\n" }, "close" },
  { "a NUL in a header", "protocol", { "send", OK .. "X-A: a\0b\r\nContent-Length: 0\r\n\r\n" }, "close" },
  { "a chunk size that is none", "protocol", { "send", OK .. "Transfer-Encoding: chunked\r\n\r\nzz\r\nbody" },
  "close" },
  { "a chunk that is cut off", nil, { "send", OK .. "Transfer-Encoding: chunked\r\n\r\n64\r\nbody" }, "close" },
  { "a chunk of a negative size", "protocol",
    { "send", OK .. "Transfer-Encoding: chunked\r\n\r\n-5\r\nbody\r\n0\r\n\r\n" }, "close" },
  { "chunks without an end", nil, { "send", OK .. "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n" }, "close" },
  { "gzip that is none", "protocol",
    { "send", OK .. "Content-Encoding: gzip\r\nContent-Length: 8\r\n\r\nnot gzip" }, "close" },
  { "nothing", "connect", "close" },
  { "a reset", "connect", "rst" },
  { "a reset within its headers", nil, { "send", OK .. "X-A" }, { "sleep", 20 }, "rst" },
  { "a reset within its body", "connect", { "send", OK .. "Content-Length: 100\r\n\r\nbody" }, { "sleep", 20 }, "rst" },
}

local function script(row)
  local list = { "read_request" }
  for i = 3, #row do list[#list + 1] = row[i] end
  return list
end

describe("a node that answers #api", function()
  -- One server for all: connection i plays row i.
  local scripts, bad, well = {}, nil, nil

  local function serve(n)
    scripts = {}
    for _, row in ipairs(rows) do
      for _ = 1, n do scripts[#scripts + 1] = script(row) end
    end
    bad = scripted.start(scripts)
  end

  it("garbage of any kind: a clear code, one attempt each for GET and POST, no crash #core", function()
    serve(2)
    for i, row in ipairs(rows) do
      for j, method in ipairs{ "POST", "GET" } do
        local d = calls.client({ bad }, { call_retry_times = 1, calls = { svc = { timeout = 5, deadline = 5 } } })
        local name = row[1] .. ", " .. method
        local _, res = wait.within(5, function() return d:request(method, "svc", "/",
          method == "POST" and "x" or nil) end)
        assert.is_false(res.ok, name .. ": " .. tostring(res))
        assert.equal(1, res.attempts, name)
        assert.equal((i - 1) * 2 + j, bad:connections(), name)
        assert.is_true(res.err == "protocol" or res.err == "connect" or (row[2] == nil and res.err == "too_large"),
          name .. ": " .. tostring(res))
        if row[2] then assert.equal(row[2], res.err, name .. ": " .. tostring(res)) end
        assert.matches(bad.addr, res.why, 1, true)
        assert.is_nil(res.why:find "%c", name)
        assert.equal(bad.addr, res.node)
        -- It is the node's fault, but for a body that is only too large.
        if res.err ~= "too_large" then assert.equal(1, calls.node(d, bad).failed_times, name) end
        d:stop()
      end
    end
  end)

  it("garbage is left for another one by GET, never by POST", function()
    serve(2)
    well = calls.answering(200, "well")
    for _, row in ipairs(rows) do
      local d = calls.client({ { bad, calls.FIRST }, { well, 1 } }, { calls = { svc = { max_body = 1000 } } })
      local res = d:post("svc", "/", "x")
      assert.equal(1, res.attempts, row[1])
      d:stop()
      d = calls.client{ { bad, calls.FIRST }, { well, 1 } }
      res = d:get("svc", "/")
      if res.err ~= "too_large" then assert.equal("well", res.body, row[1] .. ": " .. tostring(res)) end
      d:stop()
    end
    assert.equal(0, #well:requests "POST")
  end)
end)

describe("a lying node #api", function()
  it("that sends more than its Content-Length does not spoil the next answer", function()
    local s = scripted.start{
      { "read_request", { "send", OK .. "Content-Length: 4\r\n\r\nbody" .. OK .. "Content-Length: 4\r\n\r\nevil" },
        "read_request", { "respond", 200, "third" }, "loop" },
      { "read_request", { "respond", 200, "good" }, "loop" },
    }
    local d = calls.client{ s }
    assert.equal("body", d:get("svc", "/").body)
    for _ = 1, 3 do assert.equal("good", d:get("svc", "/").body) end
  end)

  it("that answers before it is asked does not spoil the next answer", function()
    local s = scripted.start{
      { "read_request", { "respond", 200, "first" }, { "sleep", 20 }, { "send", OK .. "Content-Length: 4\r\n\r\nevil" },
        "mark", "read_request", { "respond", 200, "third" }, "loop" },
      { "read_request", { "respond", 200, "good" }, "loop" },
    }
    local d = calls.client{ s }
    assert.equal("first", d:get("svc", "/").body)
    s:wait(function() return #s:journal "mark" == 1 end, 5) -- the unasked answer is there
    assert.equal("good", d:get("svc", "/").body)
  end)

  it("that folds lines, ends them with LF alone, repeats a Content-Length is understood or refused", function()
    for _, text in ipairs{
      OK .. "Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody", OK .. "X-A: a\r\n b\r\nContent-Length: 4\r\n\r\nbody",
      "HTTP/1.1 200 OK\nContent-Length: 4\n\nbody", "HTTP/1.1 200\r\nContent-Length: 4\r\n\r\nbody",
      OK .. "Content-Length:4\r\n\r\nbody", OK .. "Content-Length: 4 \r\nX-\255: \255\r\n\r\nbody",
    } do
      local s = scripted.http("read_request", { "send", text }, "close")
      local res = calls.client{ s }:get("svc", "/")
      assert.is_true(res.body == "body" or res.err ~= nil, tostring(res))
      s:kill()
    end
  end)

  it("that is silent after a part of its body ends by the timeout", function()
    local s = scripted.http("read_request", { "send", OK .. "Content-Length: 100\r\n\r\nbody" }, "hang")
    local d = calls.client({ s }, { calls = { svc = { timeout = 0.1 } } })
    local _, res = wait.within(2, function() return d:post("svc", "/", "x") end)
    assert.equal("timeout", res.err)
  end)

  it("that is no HTTP server at all: a Redis, an echo", function()
    local r = redis.start()
    local d = calls.client({ r.addr }, { calls = { svc = { timeout = 1 } } })
    local _, res = wait.within(5, function() return d:get("svc", "/") end)
    assert.is_true(res.err == "protocol" or res.err == "connect" or res.err == "timeout", tostring(res))
    assert.equal("PONG", r:cli "PING")
  end)

  it("whose reason and headers hold odd bytes gives them as they are, and a readable result", function()
    local s = scripted.http("read_request", { "send",
      "HTTP/1.1 404 N\195\182t h\27[31mere\r\nX-A: \27[31m\r\nContent-Length: 0\r\n\r\n" }, "loop")
    local res = calls.client{ s }:get("svc", "/")
    assert.equal(404, res.status)
    assert.is_nil(tostring(res):find "%c")
  end)

  it("among many fails no idempotent call", function()
    local nodes = {}
    for i, row in ipairs(rows) do
      if row[2] and i % 3 == 0 then nodes[#nodes + 1] = scripted.start{ script(row) } end
    end
    nodes[#nodes + 1] = calls.answering(200, "well")
    local d = calls.client(nodes, { call_retry_times = 2 })
    for _ = 1, 30 do assert.equal("well", d:get("svc", "/").body) end
  end)
end)
