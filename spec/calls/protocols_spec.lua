-- One call has the same result over every wire: HTTP/1.1, HTTP/2 by prior knowledge, both over TLS.
local calls = require "spec.support.calls"
local certs = require "spec.support.certs".make()
local json = require "dkjson"
local nghttpd = require "spec.support.nghttpd"
local nginx = require "spec.support.nginx"
local service = require "spec.support.service"

local WIRES = { "h1", "h2c", "tls", "h2" }
local VERSION = { h1 = "1.1", h2c = "2", tls = "1.1", h2 = "2" }
local n, d

setup(function()
  n = nginx.start{ upstream = service.start(), servers = {
    h1 = {}, h2c = { http2 = true }, tls = { cert = certs.server }, h2 = { cert = certs.server, http2 = true },
  } }
  local tls = { ca = certs.ca }
  d = calls.client({}, { calls = {
    h1 = { timeout = 60 }, h2c = { http2 = true, timeout = 60 }, tls = { ssl = true, tls = tls, timeout = 60 },
    h2 = { http2 = true, ssl = true, tls = tls, timeout = 60 },
  } })
  for _, wire in ipairs(WIRES) do assert(d:set_node(wire, n[wire].addr, 1)) end
end)

-- What must be the same: everything but the node, the times, and the reason, which HTTP/2 does not have.
local function essence(res)
  local headers = {}
  for name, value in pairs(res.headers or {}) do
    if name ~= "date" and name ~= "connection" and name ~= "keep-alive" then headers[name] = value end
  end
  local trace = {}
  for i, attempt in ipairs(res.trace) do trace[i] = { status = attempt.status, err = attempt.err } end
  return {
    ok = res.ok, status = res.status, err = res.err, body = res.body, headers = headers, attempts = res.attempts,
    trace = trace,
  }
end

-- Makes the call on every wire; fn(wire, res) looks closer at each.
local function everywhere(what, call, fn)
  local first
  for _, wire in ipairs(WIRES) do
    local name = what .. " over " .. wire
    local res = call(wire)
    assert.is_nil(res.err, name .. ": " .. tostring(res))
    assert.equal(VERSION[wire], res.http_version, name)
    assert.equal(n[wire].addr, res.node, name)
    assert.equal(1, res.attempts, name)
    assert.equal("string", type(res.reason), name)
    if VERSION[wire] == "2" then assert.equal("", res.reason, name) end
    local seen = essence(res)
    -- what the service says about the request: all but the names of the wire itself
    if fn then fn(wire, res, seen) end
    if first then assert.same(first, seen, name) else first = seen end
  end
end

local BODIES = {
  none = { nil, "" }, empty = { "", "" }, string = { "plain text \0 with all \255 bytes", nil },
  table = { { list = { 1, 2, 3 }, text = "h\195\169" }, nil },
}

-- Of what /echo says only what the caller decides.
local function decode_echo(_, res, seen)
  local said = json.decode(res.body)
  if not said then return end
  for _, name in ipairs{ "host", "x-request-id", "connection" } do said.headers[name], said.lists[name] = nil, nil end
  said.port = nil
  seen.body = said
  seen.headers["content-length"] = nil
end

describe("every verb and kind of body", function()
  it("arrives alike over every wire #core", function()
    for _, verb in ipairs{ "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS" } do
      for kind, body in pairs(BODIES) do
        everywhere(verb .. " " .. kind, function(wire)
          return d:request(verb, wire, "/echo?a=b%20c&d=", body[1], { ["X-One"] = "1", ["X-Two"] = { "a", "b" } })
        end, function(wire, res, seen)
          decode_echo(wire, res, seen)
          if verb == "HEAD" then
            assert.equal("", res.body)
          else
            assert.equal(verb, seen.body.method)
            assert.equal("/echo?a=b%20c&d=", seen.body.target)
            assert.equal("1", seen.body.headers["x-one"])
            local sent = body[1] or ""
            if type(sent) == "table" then
              assert.same(sent, json.decode(seen.body.body))
            else
              assert.equal(sent, seen.body.body)
            end
          end
        end)
      end
    end
  end)

  it("has its own method", function()
    for _, wire in ipairs(WIRES) do
      assert.equal("hello from", d:get(wire, "/").body:sub(1, 10))
      assert.equal("", d:head(wire, "/").body)
      for _, verb in ipairs{ "post", "put", "patch" } do
        local said = json.decode(d[verb](d, wire, "/echo", { a = 1 }).body)
        assert.equal(verb:upper(), said.method)
        assert.equal("application/json", said.headers["content-type"]:match "^[^;]*")
      end
      assert.equal("DELETE", json.decode(d:delete(wire, "/echo").body).method)
    end
  end)
end)

describe("a status", function()
  it("is the same over every wire", function()
    for _, status in ipairs{ 200, 201, 204, 301, 304, 400, 401, 404, 500, 502, 503 } do
      everywhere("GET " .. status, function(wire) return d:get(wire, "/status/" .. status) end, function(_, res, seen)
        if res.body == "" then seen.headers["content-length"] = nil end -- nginx leaves it out over HTTP/2
        assert.equal(status, res.status)
        assert.equal(status < 400, res.ok)
      end)
    end
  end)

  it("comes with header fields in lower case, repeated ones joined", function()
    everywhere("headers", function(wire) return d:get(wire, "/headers?x-some=Value&x-empty=") end, function(_, res)
      assert.equal("Value", res.headers["x-some"])
      assert.equal("Value", res:header "X-SOME")
      for name in pairs(res.headers) do assert.equal(name:lower(), name) end
    end)
  end)
end)

describe("a body of every size", function()
  local sizes = { 0, 1, 65536, 1048576, 67108864 }

  it("comes whole", function()
    for _, size in ipairs(sizes) do
      for _, wire in ipairs(WIRES) do
        local res = d:get(wire, "/big?bytes=" .. size)
        assert.equal(200, res.status, wire .. " " .. size .. " " .. tostring(res))
        assert.equal(size, #res.body, wire .. " " .. tostring(res) .. " " .. tostring(res.why))
        assert.is_true(size == 0 or res.body:find("^x+$") == 1)
        assert.equal(tostring(size), res.headers["content-length"])
      end
      collectgarbage()
    end
  end)

  it("arrives whole", function()
    for _, size in ipairs(sizes) do
      local parts = {}
      for i = 1, 64 do parts[i] = ("%c"):format(32 + i):rep(math.ceil(size / 64)) end
      local body = table.concat(parts):sub(1, size)
      local expected = size .. " " .. calls.digest(body)
      for _, wire in ipairs(WIRES) do
        local res = d:put(wire, "/digest", body)
        assert.equal(expected, res.body, wire .. " " .. size .. " " .. tostring(res))
      end
      collectgarbage()
    end
  end)

  it("that is too large is refused alike", function()
    for _, wire in ipairs(WIRES) do
      local res = d:request{ app = wire, path = "/big?bytes=100000", max_body = 99999 }
      assert.equal("too_large", res.err, wire)
      assert.equal(1, res.attempts)
    end
  end)
end)

describe("against nghttpd too", function()
  it("GET, HEAD and POST of every size are whole, with and without TLS", function()
    local plain, tls = nghttpd.start(), nghttpd.start{ cert = certs.server }
    local c = calls.client({}, { calls = {
      plain = { http2 = true, timeout = 60 }, tls = { http2 = true, ssl = true, tls = { ca = certs.ca }, timeout = 60 },
    } })
    assert(c:set_node("plain", plain.addr, 1))
    assert(c:set_node("tls", tls.addr, 1))
    for _, app in ipairs{ "plain", "tls" } do
      local res = c:get(app, "/hello")
      assert.equal("hello", res.body, tostring(res))
      assert.equal("2", res.http_version)
      assert.equal("", c:head(app, "/hello").body)
      assert.equal(404, c:get(app, "/nothing").status)
      for _, size in ipairs{ 1, 65536, 1048576, 16777216 } do
        local body = ("0123456789abcdef"):rep(math.ceil(size / 16)):sub(1, size)
        res = c:post(app, "/", body)
        assert.equal(200, res.status, app .. " " .. size .. " " .. tostring(res))
        assert.is_true(res.body == body, app .. " " .. size)
      end
    end
  end)
end)
