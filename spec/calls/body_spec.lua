-- Bodies, both ways: bytes, JSON, sizes, none.
local calls = require "spec.support.calls"
local discover = require "discover"
local proc = require "spec.support.proc"
local scripted = require "spec.support.scripted"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local echo
setup(function() echo = service.start() end)

local function client(opts) return calls.client({ echo }, opts) end

-- What a server was sent by fn(d).
local function sent(fn)
  local s = calls.answering(200, "ok")
  local res = fn(calls.client{ s })
  assert.is_true(res.ok, tostring(res))
  return s:requests()[1]
end

-- Bytes that are no text and do not repeat soon.
local function noise(n)
  local parts, x = {}, 1
  for i = 1, 4096 do
    x = (x * 1103515245 + 12345) % 2147483648
    parts[i] = string.char(math.floor(x / 65536) % 256)
  end
  return table.concat(parts):rep(math.ceil(n / 4096)):sub(1, n)
end

-- A server that answers with a file of its own: large and binary bodies.
local function files(contents, directives)
  local dir, answers = proc.tmpdir(), {}
  for name, text in pairs(contents) do
    proc.write_file(dir .. "/" .. name, text)
    answers["/" .. name] = { "root " .. dir .. "; " .. (directives or "") }
  end
  return service.nginx(answers)
end

describe("a body that is sent #api", function()
  it("is the string's bytes, NUL and all #core", function()
    local text = "a\0b\r\n\r\nc\255\0"
    local d = client()
    local res = d:post("svc", "/digest", text)
    assert.equal(#text .. " " .. calls.digest(text), res.body)
    res = d:post("svc", "/echo", "a\0b")
    assert.equal("a\0b", res:json().body)
  end)

  it("may be empty, or absent", function()
    local request = sent(function(d) return d:post("svc", "/", "") end)
    assert.equal("0", request.headers["content-length"])
    request = sent(function(d) return d:post("svc", "/") end)
    assert.equal("0", request.headers["content-length"])
    for _, method in ipairs{ "get", "head", "delete" } do
      request = sent(function(d) return d[method](d, "svc", "/") end)
      assert.is_nil(request.headers["content-length"], method)
      assert.is_nil(request.headers["content-type"], method)
    end
    request = sent(function(d) return d:put("svc", "/") end)
    assert.equal("0", request.headers["content-length"])
  end)

  it("goes with DELETE, GET and any method", function()
    for _, method in ipairs{ "DELETE", "GET", "PATCH", "PUT", "REPORT" } do
      local request = sent(function(d) return d:request(method, "svc", "/", "data") end)
      assert.equal(method, request.method)
      assert.equal("data", request.body, method)
    end
  end)

  it("has no Content-Type of our making when it is a string", function()
    assert.is_nil(sent(function(d) return d:post("svc", "/", "x") end).headers["content-type"])
    local request = sent(function(d) return d:post("svc", "/", "x", { ["content-type"] = "text/x" }) end)
    assert.equal("text/x", request.headers["content-type"])
  end)

  it("becomes JSON when it is a table: map, list, empty", function()
    local rows = {
      { { a = 1 }, '{"a":1}' },
      { { 1, 2, "x" }, '[1,2,"x"]' },
      { {}, "{}" },
      { discover.array{}, "[]" },
      { { list = discover.array(), none = discover.null }, nil },
      { { 1.5, true, false }, "[1.5,true,false]" },
    }
    for i, row in ipairs(rows) do
      local request = sent(function(d) return d:post("svc", "/", row[1]) end)
      assert.equal("application/json", request.headers["content-type"])
      if row[2] then assert.equal(row[2], request.body, "row " .. i) end
    end
    local value = client():put("svc", "/echo", { id = 7, name = "tea" }):json()
    assert.equal('{"id":7,"name":"tea"}', (value.body:gsub('^{"name":"tea","id":7}$', '{"id":7,"name":"tea"}')))
  end)

  it("keeps the user's Content-Type for a table too", function()
    local request = sent(function(d)
      return d:post("svc", "/", { a = 1 }, { ["content-type"] = "application/vnd.x+json" })
    end)
    assert.equal("application/vnd.x+json", request.headers["content-type"])
    assert.equal(1, select(2, request.head:lower():gsub("content%-type:", "")))
  end)

  it("that is no JSON is invalid, names the place, and sends nothing", function()
    local s = calls.answering()
    local d = calls.client{ s }
    local deep = {}
    for _ = 1, 120 do deep = { deep } end
    local cycle = {}
    cycle.self = cycle
    for path, data in pairs{
      ["a"] = { a = print }, ["b"] = { b = 0 / 0 }, ["c"] = { c = math.huge }, ["levels"] = deep, ["self"] = cycle,
      ["key"] = { [true] = 1 }, ["d"] = { d = { 1, nil, 3, [9] = 1 } }, ["UTF"] = { e = "\255" },
    } do
      local res = d:post("svc", "/", data)
      assert.equal("invalid", res.err, path)
      assert.equal(0, res.attempts)
      assert.matches("json", res.why)
      assert.matches(path, res.why, 1, true)
    end
    assert.equal(0, s:connections())
  end)

  it("of 64 KiB to 8 MiB arrives whole", function()
    local d = client()
    for _, size in ipairs{ 65535, 65536, 65537, 1024 * 1024, 8 * 1024 * 1024 } do
      local text = noise(size)
      local took, res = wait.within(10, function() return d:post("svc", "/digest", text) end)
      assert.equal(size .. " " .. calls.digest(text), res.body)
      assert.is_true(took < wait.scale(10))
    end
    assert.is_nil(sent(function(c) return c:post("svc", "/", ("x"):rep(3000000)) end).headers.expect)
  end)

  it("is left out with no_body", function()
    local request = sent(function(d) return d:request{ method = "POST", app = "svc", path = "/", data = "x",
      no_body = true } end)
    assert.equal("", request.body)
    request = sent(function(d)
      local caller = d:new_caller()
      assert.is_false(caller.no_body)
      caller.no_body = true
      assert.is_true(caller.no_body)
      return caller:put("svc", "/", { a = 1 })
    end)
    assert.equal("", request.body)
    assert.is_nil(request.headers["content-type"])
  end)

  it("can be answered before it was read: defined, and the next call is well", function()
    local s = scripted.start{
      { { "read", 100 }, { "send", "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig" },
        { "sleep", 50 }, "close" },
      { "read_request", { "respond", 200 }, "loop" },
    }
    local d = calls.client({ s }, { calls = { svc = { timeout = 5 } } })
    local _, res = wait.within(5, function() return d:post("svc", "/", noise(4 * 1024 * 1024)) end)
    assert.is_true(res.status == 413 or res.err == "connect", tostring(res))
    assert.equal(1, res.attempts)
    assert.is_true(d:get("svc", "/").ok)
  end)
end)

describe("a body that is received #api", function()
  it("is bytes, NUL and all, again and again the same #core", function()
    local text = noise(3000)
    local n = files{ ["x"] = text }
    local res = calls.client{ n }:get("svc", "/x")
    for _ = 1, 2 do
      assert.is_true(res.body == text)
      assert.is_true(res:string() == text)
      assert.is_true(res:bytes() == text)
    end
  end)

  it("is empty for HEAD, 204 and 304, whatever Content-Length says", function()
    local s = scripted.http("read_request", { "send", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nX-A: b\r\n\r\n" },
      "loop")
    local d = calls.client{ s }
    for _ = 1, 2 do
      local res = d:head("svc", "/")
      assert.equal(200, res.status)
      assert.equal("", res.body)
      assert.equal("1000", res:header "content-length")
    end
    assert.equal(1, s:connections())
    for _, status in ipairs{ 204, 304 } do
      s = scripted.http("read_request", { "send", ("HTTP/1.1 %d X\r\n\r\n"):format(status) }, "loop")
      d = calls.client{ s }
      for _ = 1, 2 do
        local res = d:get("svc", "/")
        assert.equal(status, res.status)
        assert.equal("", res.body)
        assert.is_true(res.ok)
      end
      assert.equal(1, s:connections())
    end
  end)

  it("ends with the connection when no length is told, and may be chunked", function()
    local s = scripted.start{
      { "read_request", { "send", "HTTP/1.0 200 OK\r\n\r\nuntil the end" }, "close" },
      { "read_request", { "send", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nfour\r\n" },
        { "sleep", 20 }, { "send", "3\r\n, 5\r\n0\r\nX-Trailer: t\r\n\r\n" }, "loop" },
    }
    local d = calls.client{ s }
    assert.equal("until the end", d:get("svc", "/").body)
    assert.equal("four, 5", d:get("svc", "/").body)
    assert.equal("four, 5", d:get("svc", "/").body)
    assert.equal(2, s:connections())
  end)

  it("is the final answer's: 1xx answers are skipped", function()
    local s = scripted.http("read_request", { "send", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" },
      { "send", "HTTP/1.1 100 Continue\r\n\r\n" }, { "respond", 201, "made", "X-A: b\r\n" }, "loop")
    local d = calls.client{ s }
    for _ = 1, 2 do
      local res = d:post("svc", "/", "x")
      assert.equal(201, res.status)
      assert.equal("made", res.body)
      assert.is_nil(res:header "link")
      assert.equal("b", res:header "x-a")
    end
  end)

  it("is decoded from gzip", function()
    local text = ("hello gzip "):rep(1000)
    local d = calls.client{ files({ x = text }, "gzip on; gzip_min_length 1; gzip_types *;") }
    local res = d:get("svc", "/x")
    assert.equal("gzip", res:header "content-encoding")
    assert.is_true(res.body == text)
    -- max_body counts what comes out.
    res = d:request{ app = "svc", path = "/x", max_body = 5000 }
    assert.equal("too_large", res.err)
  end)

  it("of 64 KiB to 8 MiB arrives whole", function()
    local sizes, contents = { 65535, 65536, 65537, 1024 * 1024, 8 * 1024 * 1024 }, {}
    for _, size in ipairs(sizes) do contents["f" .. size] = noise(size) end
    local d = calls.client{ files(contents) }
    for _, size in ipairs(sizes) do
      local res = d:get("svc", "/f" .. size)
      assert.is_true(res.body == contents["f" .. size], "the body of " .. size .. " bytes differs")
    end
  end)
end)

describe("max_body #api", function()
  it("ends a call with too_large, is not held against the node and not tried again #core", function()
    local other = calls.answering(200, ("x"):rep(5000))
    local d = calls.client({ { echo, calls.FIRST }, { other, 1 } }, { call_retry_times = 1 })
    for _ = 1, 3 do
      local res = d:request{ app = "svc", path = "/big?bytes=5000", max_body = 4999 }
      assert.equal("too_large", res.err, tostring(res))
      assert.equal(1, res.attempts)
      assert.matches("max_body", res.why)
    end
    assert.equal("up", calls.node(d, echo).state)
    assert.equal(0, calls.node(d, echo).failed_times)
    assert.equal(0, other:connections())
    assert.equal(5000, #d:request{ app = "svc", path = "/big?bytes=5000", max_body = 5000 }.body)
  end)

  it("counts what comes when no length was told", function()
    local s = scripted.http("read_request", { "send", "HTTP/1.1 200 OK\r\n\r\n" }, { "flood", ("x"):rep(10000) })
    local d = calls.client({ s }, { calls = { svc = { max_body = 100000 } } })
    local _, res = wait.within(5, function() return d:get("svc", "/") end)
    assert.equal("too_large", res.err)
    s = scripted.http("read_request", { "send", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" },
      { "flood", "3e8\r\n" .. ("x"):rep(1000) .. "\r\n" })
    d = calls.client({ s }, { calls = { svc = { max_body = 100000 } } })
    _, res = wait.within(5, function() return d:get("svc", "/") end)
    assert.equal("too_large", res.err)
  end)

  it("of the app holds for every call, a request's own wins", function()
    local d = client{ calls = { svc = { max_body = 100 } } }
    assert.equal("too_large", d:get("svc", "/big?bytes=101").err)
    assert.equal(100, #d:get("svc", "/big?bytes=100").body)
    assert.equal(101, #d:request{ app = "svc", path = "/big?bytes=101", max_body = 1000 }.body)
  end)

  it("is no concern of HEAD", function()
    local d = client{ calls = { svc = { max_body = 100 } } }
    assert.equal(200, d:head("svc", "/big?bytes=5000").status)
  end)

  it("of 0 takes an empty body only", function()
    local d = client()
    assert.equal("too_large", d:request{ app = "svc", path = "/big?bytes=1", max_body = 0 }.err)
    assert.is_true(d:request{ app = "svc", path = "/big?bytes=0", max_body = 0 }.ok)
  end)
end)

describe("a query #api", function()
  it("is encoded and appended to the path", function()
    local d = client()
    local res = d:request{ app = "svc", path = "/echo?a=1", query = { b = "x y&z", c = 7, d = { "1", "2" }, e = true } }
    assert.equal("/echo?a=1&b=x%20y%26z&c=7&d=1&d=2&e=true", (res:json().target:gsub("+", "%%20")))
    assert.equal("/echo", d:request{ app = "svc", path = "/echo", query = {} }:json().target)
  end)
end)
