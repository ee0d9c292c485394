-- What a call carries besides its body: identity, token, what is relayed, and what never is.
local calls = require "spec.support.calls"
local discover = require "discover"
local lua_run = require "spec.support.lua_run"
local port = require "spec.support.port"
local scripted = require "spec.support.scripted"
local service = require "spec.support.service"

local echo
setup(function() echo = service.start() end)

-- What the service saw of a call that was made with fn(target).
local function seen(res)
  assert.is_true(res.ok, tostring(res))
  local request = assert(res:json())
  return request.headers, request
end

local function client(opts) return calls.client({ echo }, opts) end

-- A client that is itself a registered node.
local function server(opts)
  opts = opts or {}
  opts.log_level = "off"
  local d = calls.stop_at_end(assert(discover.start("memory://headers-" .. port.free(), "my-app", "10.1.2.3:80", opts)))
  calls.set(d, "svc", { echo })
  return d
end

describe("identity #api", function()
  it("of a registered caller replaces what the user gave #core", function()
    local d = server()
    local headers, request = seen(d:get("svc", "/echo", {
      ["X-Discover-From-App"] = "liar", ["x-discover-from-node"] = "6.6.6.6:6" }))
    assert.equal("my-app", headers["x-discover-from-app"])
    assert.equal("10.1.2.3:80", headers["x-discover-from-node"])
    assert.equal(1, #request.lists["x-discover-from-app"])
  end)

  it("is there before the node is registered", function()
    local d = calls.stop_at_end(assert(discover.start("redis://127.0.0.1:" .. port.free(), "my-app", "10.1.2.3:80",
      { start_timeout = 0, log_level = "off" })))
    calls.set(d, "svc", { echo })
    assert.is_false(d:registered())
    assert.equal("my-app", seen(d:get("svc", "/echo"))["x-discover-from-app"])
  end)

  it("is absent when the caller is no server", function()
    local headers = seen(client():get("svc", "/echo"))
    assert.is_nil(headers["x-discover-from-app"])
    assert.is_nil(headers["x-discover-from-node"])
  end)

  it("bears other names when header_names says so", function()
    local d = server{ header_names = { from_app = "X-From-App", from_node = "X-From-Node", client_ip = "X-Real-IP",
                                       user_agent = "X-User-Agent" } }
    local caller = d:from{ remote_addr = "203.0.113.9:1", headers = { ["User-Agent"] = "browser" } }
    local headers = seen(caller:get("svc", "/echo", { ["X-From-App"] = "liar" }))
    assert.equal("my-app", headers["x-from-app"])
    assert.equal("10.1.2.3:80", headers["x-from-node"])
    assert.equal("203.0.113.9", headers["x-real-ip"])
    assert.equal("browser", headers["x-user-agent"])
    for _, name in ipairs{ "x-discover-from-app", "x-discover-from-node", "x-client-ip" } do
      assert.is_nil(headers[name], name)
    end
  end)
end)

describe("the token #api", function()
  it("of the app's config replaces the user's Access-Token #core", function()
    local d = client{ calls = { svc = { token = "s3cret" } } }
    local headers, request = seen(d:get("svc", "/echo", { ["access-token"] = "mine" }))
    assert.equal("s3cret", headers["access-token"])
    assert.equal(1, #request.lists["access-token"])
    d = client{ calls = { svc = { token = discover.secret "guarded" } } }
    assert.equal("guarded", seen(d:post("svc", "/echo", "x"))["access-token"])
  end)

  it("of the user is sent when none is configured", function()
    assert.equal("mine", seen(client():get("svc", "/echo", { ["Access-Token"] = "mine" }))["access-token"])
  end)

  it("follows the app after the route", function()
    local d = calls.client({}, { calls = { old = { token = "old-token" }, new = { token = "new-token" }, plain = {} } })
    for _, app in ipairs{ "old", "new", "plain" } do calls.set(d, app, { echo }) end
    local target
    d:set_route(function(ac) ac.app = target or ac.app end)
    assert.equal("old-token", seen(d:get("old", "/echo"))["access-token"])
    target = "new"
    assert.equal("new-token", seen(d:get("old", "/echo"))["access-token"])
    target = "plain"
    assert.is_nil(seen(d:get("old", "/echo"))["access-token"])
  end)

  it("is in every attempt, and in no log line and no error", function()
    local journal, logger = calls.journal()
    local s, well = calls.answering(503), calls.answering()
    local d = calls.client({ { s, calls.FIRST }, { well, 1 } }, {
      logger = logger, log_level = "debug", calls = { svc = { token = "s3cret" } } })
    assert.is_true(d:get("svc", "/").ok)
    assert.equal("s3cret", s:requests()[1].headers["access-token"])
    assert.equal("s3cret", well:requests()[1].headers["access-token"])
    assert.is_true(#journal > 0)
    for _, record in ipairs(journal) do assert.is_nil(tostring(record):find("s3cret", 1, true)) end
  end)
end)

describe("relaying #api", function()
  local listed = {
    ["X-Client-Ip"] = "203.0.113.7", ["X-User-Id"] = "7", ["X-Device-Id"] = "d7", ["X-Client-App-Name"] = "app",
    ["X-Client-App-Version"] = "1.2", ["X-Session-Id"] = "s7", ["X-Request-Id"] = "r7", ["X-Host"] = "shop.example",
    ["X-Scheme"] = "https", ["User-Agent"] = "browser/1", traceparent = "00-aa-bb-01", tracestate = "a=1",
      baggage = "b=2",
  }

  it("passes on the names of the list, in any case #core", function()
    local d = client()
    for _, change in ipairs{ string.lower, string.upper, function(s) return s end } do
      local headers = {}
      for name, value in pairs(listed) do headers[change(name)] = value end
      local got = seen(d:from{ headers = headers }:get("svc", "/echo"))
      for name, value in pairs(listed) do assert.equal(value, got[name:lower()], name) end
    end
  end)

  it("never passes on cookies, authorization, tokens, nor what is not on the list", function()
    local forbidden = { "Cookie", "Authorization", "Access-Token", "Proxy-Authorization", "Set-Cookie", "X-Other",
                        "X-Discover-From-App", "Content-Type", "Accept-Language", "Connection", "X-Forwarded-Host" }
    local headers = {}
    for _, name in ipairs(forbidden) do headers[name] = "relayed" end
    local got = seen(client():from{ headers = headers }:get("svc", "/echo"))
    for name, value in pairs(got) do assert.not_equal("relayed", value, name) end
  end)

  it("never passes on credentials, even if the list names them", function()
    local d = client{ relay_headers = { "Cookie", "authorization", "Access-Token", "X-Own" } }
    local got = seen(d:from{ headers = {
      Cookie = "c=1", Authorization = "Basic x", ["Access-Token"] = "t", ["X-Own"] = "yes", ["X-User-Id"] = "7",
    } }:get("svc", "/echo"))
    assert.equal("yes", got["x-own"])
    for _, name in ipairs{ "cookie", "authorization", "access-token", "x-user-id" } do assert.is_nil(got[name],
      name) end
  end)

  it("skips what is empty or blank", function()
    local got = seen(client():from{ headers = { ["X-User-Id"] = "", ["X-Device-Id"] = "  " } }:get("svc", "/echo"))
    assert.is_nil(got["x-user-id"])
    assert.is_nil(got["x-device-id"])
  end)

  it("gives way to a header of the call, in any case", function()
    local caller = client():from{ headers = { ["X-User-Id"] = "7", ["User-Agent"] = "browser" } }
    local got, request = seen(caller:get("svc", "/echo", { ["x-user-ID"] = "8", ["user-agent"] = "mine" }))
    assert.equal("8", got["x-user-id"])
    assert.equal(1, #request.lists["x-user-id"])
    assert.equal("mine", got["user-agent"])
    -- Only that call's.
    assert.equal("7", seen(caller:get("svc", "/echo"))["x-user-id"])
  end)

  it("asks an object with :get(name)", function()
    local request = { headers = { get = function(_, name) return name:lower() == "x-user-id" and "9" or nil end } }
    assert.equal("9", seen(client():from(request):get("svc", "/echo"))["x-user-id"])
  end)

  it("takes host and scheme of the request for X-Host and X-Scheme, if these are absent", function()
    local d = client()
    local got = seen(d:from{ host = "shop.example", scheme = "https", headers = {} }:get("svc", "/echo"))
    assert.equal("shop.example", got["x-host"])
    assert.equal("https", got["x-scheme"])
    got = seen(d:from{ host = "inner", scheme = "http", headers = {
      ["X-Host"] = "outer", ["X-Scheme"] = "https" } }:get("svc", "/echo"))
    assert.equal("outer", got["x-host"])
    assert.equal("https", got["x-scheme"])
  end)

  it("skips values that would break the message", function()
    local got = seen(client():from{ headers = {
      ["X-User-Id"] = "7\r\nX-Evil: 1", ["X-Device-Id"] = "a\0b", ["X-Session-Id"] = "fine" } }:get("svc", "/echo"))
    assert.is_nil(got["x-evil"])
    assert.is_nil(got["x-user-id"])
    assert.is_nil(got["x-device-id"])
    assert.equal("fine", got["x-session-id"])
  end)
end)

describe("fault 17: X-Forwarded-For #api", function()
  -- given, remote_addr, expected, X-Client-Ip
  local rows = {
    { nil, "203.0.113.9:51000", "203.0.113.9", "203.0.113.9" },
    { nil, "203.0.113.9", "203.0.113.9", "203.0.113.9" },
    { "198.51.100.1", "203.0.113.9:51000", "198.51.100.1, 203.0.113.9", "203.0.113.9" },
    { "198.51.100.1, 10.0.0.1", "203.0.113.9:1", "198.51.100.1, 10.0.0.1, 203.0.113.9", "203.0.113.9" },
    { nil, "[2001:db8::1]:443", "2001:db8::1", "2001:db8::1" },
    { nil, "[2001:db8::1]", "2001:db8::1", "2001:db8::1" },
    { nil, "2001:db8::1", "2001:db8::1", "2001:db8::1" },
    { "2001:db8::2", "[2001:db8::1]:443", "2001:db8::2, 2001:db8::1", "2001:db8::1" },
    { nil, "[fe80::1%eth0]:443", "fe80::1", "fe80::1" },
    { nil, "[::ffff:203.0.113.9]:80", "203.0.113.9", "203.0.113.9" },
    { "198.51.100.1", nil, "198.51.100.1", nil },
    { "198.51.100.1", "unix:/run/x.sock", "198.51.100.1", nil },
    { nil, "nonsense", nil, nil },
    { nil, "", nil, nil },
  }

  it("appends the peer, IPv6 too, and never a port or brackets", function()
    local d = client()
    for i, row in ipairs(rows) do
      local caller = d:from{ remote_addr = row[2], headers = { ["X-Forwarded-For"] = row[1] } }
      local got = seen(caller:get("svc", "/echo"))
      assert.equal(row[3], got["x-forwarded-for"], "row " .. i)
      assert.equal(row[4], got["x-client-ip"], "row " .. i)
    end
  end)

  it("joins several lines, and keeps an X-Client-Ip that came", function()
    local got = seen(client():from{ remote_addr = "203.0.113.9:1", headers = {
      ["X-Forwarded-For"] = { "198.51.100.1", "198.51.100.2" }, ["X-Client-Ip"] = "198.51.100.1" } }:get("svc",
        "/echo"))
    assert.equal("198.51.100.1, 198.51.100.2, 203.0.113.9", got["x-forwarded-for"])
    assert.equal("198.51.100.1", got["x-client-ip"])
  end)
end)

describe("X-Request-Id #api", function()
  it("is made for a call without one, another for each call", function()
    local d, known = client(), {}
    for _ = 1, 20 do
      local id = seen(d:get("svc", "/echo"))["x-request-id"]
      assert.matches("^%x+$", id)
      assert.is_true(#id >= 16)
      assert.is_nil(known[id])
      known[id] = true
    end
  end)

  it("of the user or of the incoming request stays", function()
    local d = client()
    assert.equal("mine", seen(d:get("svc", "/echo", { ["x-request-id"] = "mine" }))["x-request-id"])
    local caller = d:from{ headers = { ["X-Request-Id"] = "theirs" } }
    assert.equal("theirs", seen(caller:get("svc", "/echo"))["x-request-id"])
  end)

  it("is the same in all attempts of a call", function()
    local bad, well = calls.answering(503), calls.answering()
    local d = calls.client{ { bad, calls.FIRST }, { well, 1 } }
    assert.is_true(d:get("svc", "/").ok)
    assert.equal(bad:requests()[1].headers["x-request-id"], well:requests()[1].headers["x-request-id"])
  end)
end)

describe("headers of the user #api", function()
  it("are sent as they are: repeated ones, numbers, bytes above 127", function()
    local got, request = seen(client():get("svc", "/echo", {
      ["X-List"] = { "a", "b", "c" }, ["X-Number"] = 7, ["X-Empty"] = "", ["X-Bytes"] = "gr\195\188n",
        ["X-Tab"] = "a\tb" }))
    assert.same({ "a", "b", "c" }, request.lists["x-list"])
    assert.equal("7", got["x-number"])
    assert.equal("", got["x-empty"])
    assert.equal("gr\195\188n", got["x-bytes"])
    assert.equal("a\tb", got["x-tab"])
  end)

  it("include Host, which is the node's address otherwise", function()
    local s = calls.answering()
    local d = calls.client{ s }
    assert.is_true(d:get("svc", "/").ok)
    assert.is_true(d:get("svc", "/", { host = "shop.example" }).ok)
    local requests = s:requests()
    assert.equal(s.addr, requests[1].headers.host)
    assert.equal("shop.example", requests[2].headers.host)
    assert.equal(1, select(2, requests[2].head:gsub("[Hh]ost:", "")))
  end)

  it("cannot change how the body is framed", function()
    local s = calls.answering()
    local d = calls.client{ s }
    assert.is_true(d:post("svc", "/", "four", { ["Content-Length"] = "100", ["Transfer-Encoding"] = "chunked" }).ok)
    local request = s:requests()[1]
    assert.equal("4", request.headers["content-length"])
    assert.is_nil(request.headers["transfer-encoding"])
    assert.equal("four", request.body)
  end)

  it("can be many", function()
    local headers = {}
    for i = 1, 200 do headers["X-H" .. i] = ("v"):rep(100) end
    local s = calls.answering()
    local d = calls.client{ s }
    assert.is_true(d:get("svc", "/", headers).ok)
    for i = 1, 200 do assert.equal(100, #s:requests()[1].headers["x-h" .. i]) end
  end)

  it("with a CR, LF or NUL are invalid, and nothing is sent", function()
    local s = calls.answering()
    local d = calls.client{ s }
    for _, bad in ipairs{ "a\rb", "a\nb", "a\0b", "a\r\nX-Evil: 1" } do
      local res = d:get("svc", "/", { ["X-Mine"] = bad })
      assert.equal("invalid", res.err)
      assert.matches("X-Mine", res.why, 1, true)
      res = d:get("svc", "/", { [bad] = "x" })
      assert.equal("invalid", res.err)
      assert.matches("header name", res.why)
    end
    assert.equal(0, s:connections())
  end)
end)

describe("fault 16: a cookie", function()
  it("that a node sets is not sent by the next call #api", function()
    local s = calls.answering(200, "", "Set-Cookie: user=alice; Path=/\r\n")
    local d = calls.client{ s }
    for _ = 1, 3 do
      local res = d:get("svc", "/")
      assert.equal("user=alice; Path=/", res:header "set-cookie")
    end
    for _, request in ipairs(s:requests()) do assert.is_nil(request.headers.cookie) end
    -- The user's own is.
    assert.is_true(d:get("svc", "/", { Cookie = "mine=1" }).ok)
    assert.equal("mine=1", s:requests()[4].headers.cookie)
  end)
end)

describe("redirects and proxies", function()
  it("a redirect is an answer, not followed #api", function()
    local other = calls.answering(200, "other")
    local s = calls.answering(302, "", "Location: http://" .. other.addr .. "/\r\n")
    local res = calls.client{ s }:get("svc", "/")
    assert.equal(302, res.status)
    assert.is_true(res.ok)
    assert.equal("http://" .. other.addr .. "/", res:header "location")
    assert.equal(0, other:connections())
  end)

  it("proxies of the environment are not used", function()
    local proxy, s = calls.answering(200, "proxy"), calls.answering(200, "direct")
    local r = lua_run([[
      local d = require "discover".new()
      d:set_node("svc", arg[1], 1)
      io.write(d:get("svc", "/").body)
    ]], { args = { s.addr }, env = { http_proxy = "http://" .. proxy.addr, ALL_PROXY = "http://" .. proxy.addr } })
    assert.equal("direct", r.out, r.err)
    assert.equal(0, proxy:connections())
  end)

  it("what a node says it will upgrade to is not done #api", function()
    local s = scripted.http("read_request", { "respond", 200, "x", "Alt-Svc: h2=\":1\"\r\nUpgrade: h2c\r\n" }, "loop")
    local d = calls.client{ s }
    for _ = 1, 3 do assert.equal("x", d:get("svc", "/").body) end
    assert.is_nil(s:requests()[1].headers.upgrade)
  end)
end)
