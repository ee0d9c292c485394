local core = require "discover.core"
local discover = require "discover"
local service = require "spec.support.service"

describe("#api calls and callers", function()
  local d, s

  setup(function()
    s = service.start()
    d = assert(discover.new())
    assert(d:set_node("app", s.addr, 1))
  end)
  teardown(function() d:stop() end)

  local function echo(r)
    assert.is_true(r.ok, tostring(r))
    return r:json()
  end

  it("have a logger of their own if they are given one", function()
    local own, common = {}, {}
    assert(d:set_logger(function(record) common[#common + 1] = record end))
    local c = d:new_caller({ headers = { ["X-Request-Id"] = "r1" } }, function(record) own[#own + 1] = record end)
    assert.is_true(c:get("app", "/echo").ok)
    assert.equal(1, #own)
    local r = own[1]
    assert.same({ "discover", "app", "GET", "/echo", s.addr, "info", "r1", 1 },
      { r.type, r.app, r.method, r.path, r.node, r.level, r.request_id, r.attempts })
    assert.equal(0, #common)
    local warned
    local t = setmetatable({}, { __index = { debug = error, info = error, error = error,
                                             warn = function(_, record) warned = record end } })
    assert.equal(503, d:new_caller(nil, t):get("app", "/status/503").status)
    assert.equal("status 503", warned.error)
    assert.is_true(d:get("app", "/echo").ok)
    assert.equal(1, #common)
    -- It may call, and fail, as any callback.
    local nested
    local bold = d:new_caller(nil, function() nested = d:get("app", "/echo") end)
    assert.is_true(bold:get("app", "/echo").ok)
    assert.is_true(nested.ok)
    assert(d:set_logger(nil))
  end)

  it("have a method for each verb", function()
    for _, who in ipairs { d, d:new_caller() } do
      assert.equal("GET", echo(who:get("app", "/echo")).method)
      assert.equal(200, who:head("app", "/echo").status)
      for _, verb in ipairs { "post", "put", "patch", "delete" } do
        local seen = echo(who[verb](who, "app", "/echo", "text", { ["X-One"] = "1" }))
        assert.equal(verb:upper(), seen.method)
        assert.equal("text", seen.body)
        assert.equal("1", seen.headers["x-one"])
        assert.is_nil(seen.headers["content-type"])
      end
      assert.equal("", echo(who:post("app", "/echo")).body)
      assert.equal("OPTIONS", echo(who:request("OPTIONS", "app", "/echo")).method)
      assert.equal("GET", echo(who:request { app = "app", path = "/echo" }).method)
    end
  end)

  it("send tables as JSON", function()
    local seen = echo(d:post("app", "/echo", { a = { 1, 2 }, e = {} }))
    assert.equal("application/json", seen.headers["content-type"])
    assert.same({ a = { 1, 2 }, e = {} }, core.json_decode(seen.body))
    seen = echo(d:post("app", "/echo", { 1, "x" }, { ["content-type"] = "application/vnd+json" }))
    assert.equal("application/vnd+json", seen.headers["content-type"])
    assert.equal('[1,"x"]', seen.body)
    assert.equal("[]", echo(d:post("app", "/echo", discover.array {})).body)
    assert.equal("{}", echo(d:post("app", "/echo", {})).body)
  end)

  it("send headers, repeated ones from lists", function()
    local seen = echo(d:get("app", "/echo", { ["X-List"] = { "a", "b", 3 }, ["X-Number"] = 5 }))
    assert.same({ "a", "b", "3" }, seen.lists["x-list"])
    assert.equal("5", seen.headers["x-number"])
  end)

  it("encode queries", function()
    local query = { b = "x y&=/?", a = { 1, 2 }, ["\195\164"] = true }
    local seen = echo(d:request { app = "app", path = "/echo", query = query })
    assert.equal("/echo?a=1&a=2&b=x%20y%26%3D%2F%3F&%C3%A4=true", seen.target)
    assert.equal("/echo?z=1&a=2", echo(d:request { app = "app", path = "/echo?z=1", query = { a = 2 } }).target)
    assert.equal("/echo", echo(d:request { app = "app", path = "/echo", query = {} }).target)
  end)

  it("send no body when told so", function()
    assert.equal("", echo(d:request { method = "POST", app = "app", path = "/echo", data = "x", no_body = true }).body)
    local c = d:new_caller()
    assert.is_false(c.no_body)
    c.no_body = true
    assert.is_true(c.no_body)
    assert.equal("", echo(c:post("app", "/echo", { a = 1 })).body)
    assert.error_matches(function() c.no_body = 1 end, "boolean expected")
    assert.error_matches(function() c.colour = 1 end, "cannot be set")
  end)

  it("relay what the incoming request passes on", function()
    local seen = echo(d:from {
      headers = { ["x-user-id"] = "u1", ["X-SESSION-ID"] = { "s1" }, cookie = "no", Authorization = "no",
                  ["Access-Token"] = "no", ["x-other"] = "no", ["user-agent"] = "agent", ["X-Device-Id"] = "" },
      remote_addr = "[2001:db8::1]:4711", host = "www.example.com", scheme = "https",
    }:get("app", "/echo", { ["X-Own"] = "mine" }))
    local got = seen.headers
    assert.equal("u1", got["x-user-id"])
    assert.equal("s1", got["x-session-id"])
    assert.equal("agent", got["user-agent"])
    assert.equal("2001:db8::1", got["x-client-ip"])
    assert.equal("2001:db8::1", got["x-forwarded-for"])
    assert.equal("www.example.com", got["x-host"])
    assert.equal("https", got["x-scheme"])
    assert.equal("mine", got["x-own"])
    for _, name in ipairs { "cookie", "authorization", "access-token", "x-other", "x-device-id" } do
      assert.is_nil(got[name])
    end
  end)

  it("let the user's headers win", function()
    local c = d:from { headers = { ["x-user-id"] = "u1", ["X-Forwarded-For"] = "9.9.9.9" }, remote_addr = "1.2.3.4" }
    local got = echo(c:get("app", "/echo", { ["X-User-ID"] = "u2" })).headers
    assert.equal("u2", got["x-user-id"])
    assert.equal("9.9.9.9, 1.2.3.4", got["x-forwarded-for"])
  end)

  it("ask header objects by get", function()
    local asked = {}
    local headers = setmetatable({}, { __index = { get = function(_, name)
      asked[name:lower()] = true
      if name:lower() == "x-user-id" then return "u1", "more" end
    end } })
    local request = { headers = headers, remote_addr = "1.2.3.4:5" }
    local c = d:from(request)
    assert.equal("u1", echo(c:get("app", "/echo")).headers["x-user-id"])
    assert.is_true(asked["traceparent"] and asked["x-forwarded-for"])
    assert.matches("^caller%(", tostring(c))
  end)

  it("use the relay list and names of the options", function()
    local own = assert(discover.new {
      relay_headers = { "X-Mine", "X-Client-Ip" }, header_names = { client_ip = "X-Real-IP" },
    })
    assert(own:set_node("app", s.addr, 1))
    local values = { ["X-Mine"] = "m", ["X-User-Id"] = "u" }
    local headers = { get = function(_, name) return values[name] end }
    local got = echo(own:from { headers = headers, remote_addr = "1.2.3.4" }:get("app", "/echo")).headers
    assert.equal("m", got["x-mine"])
    assert.equal("1.2.3.4", got["x-real-ip"])
    assert.is_nil(got["x-user-id"])
    own:stop()
  end)

  it("go to one node when told so", function()
    local c = d:new_caller()
    local r, addr = c:request_with_node("POST", "app", s.addr, "/echo", { a = 1 })
    assert.equal(s.addr, addr)
    assert.equal('{"a":1}', echo(r).body)
    r, addr = c:request_with_node("GET", "app", nil, "/echo")
    assert.is_true(r.ok)
    assert.equal(s.addr, addr)
    r, addr = c:request_with_node("GET", "app", "127.0.0.1:1", "/echo")
    assert.is_false(r.ok)
    assert.is_nil(addr)
    assert.error_matches(function() c:request_with_node("GET", "app", 5, "/") end, "string expected")
    assert.error_matches(function() c:request_with_node() end, "string expected")
  end)

  it("send the token, which cannot be given by hand", function()
    assert.is_true(d:add_external_app("app", { token = discover.secret "s3cret" }))
    assert.is_false(d:add_external_app("app", { token = "s3cret" }))
    assert.equal("s3cret", echo(d:get("app", "/echo", { ["access-token"] = "mine" })).headers["access-token"])
    assert.is_true(d:add_external_app "app")
    assert.is_nil(echo(d:get("app", "/echo")).headers["access-token"])
  end)

  it("raise on another self", function()
    assert.error_matches(function() d.get(5, "app", "/") end, "discover.discoverer expected")
    assert.error_matches(function() d:new_caller().get(nil, "app", "/") end, "discover.discoverer expected")
  end)
end)
