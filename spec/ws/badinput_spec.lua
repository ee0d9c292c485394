-- What open and the methods of a WebSocket do not take: wrong types raise, bad values are nil, message, "invalid", and
-- the conversation goes on.
local calls = require "spec.support.calls"
local ws = require "spec.support.ws"

describe("#api bad input", function()
  local s, d, w
  lazy_setup(function()
    s = ws.python()
    d = calls.client{ s }
    w = assert(d:open("svc", "/echo"))
  end)

  local function raises(pattern, fn, ...)
    local ok, why = pcall(fn, ...)
    assert.is_false(ok, "does not raise: " .. pattern)
    assert.matches(pattern, why)
  end

  local function invalid(pattern, ok, why, code)
    assert.is_nil(ok, pattern)
    assert.equal("invalid", code, tostring(why))
    assert.matches("^invalid: ", why)
    assert.matches(pattern, why)
    assert.is_nil(why:find "%c")
    assert.is_true(#why < 520)
  end

  it("of open: wrong types raise", function()
    raises("string expected, got n", d.open, d)
    raises("string expected, got number", d.open, d, 1, "/")
    raises("string expected, got n", d.open, d, "svc")
    raises("table of headers expected, got number", d.open, d, "svc", "/", 1)
    raises("'app' is missing", d.open, d, {})
    raises("'path' is missing", d.open, d, { app = "svc" })
    raises("unknown option 'method' %(known: app, path, headers, protocols", d.open, d,
      { app = "svc", path = "/", method = "GET" })
    for name, value in pairs {
      app = 1, path = true, headers = "x", protocols = 1, timeout = {}, deadline = true, node = 1, key = {},
      max_body = "1", ping = true, ping_timeout = {},
    } do
      local options = { app = "svc", path = "/" }
      options[name] = value
      raises("'" .. name .. "'.*expected, got", d.open, d, options)
    end
    raises("'protocols': strings expected, got number", d.open, d, { app = "svc", path = "/", protocols = { 1 } })
    raises("expected, got", d.open, d, "svc", "/", { ["X-A"] = true })
    raises("discoverer", d.open, {}, "svc", "/")
    assert.equal(1, #s:journal "request")
  end)

  it("of open: bad values are told", function()
    local function open(name, value)
      local options = { app = "svc", path = "/" }
      options[name] = value
      return d:open(options)
    end
    invalid("path", d:open("svc", "no-slash"))
    invalid("path", d:open("svc", ""))
    invalid("path", d:open("svc", "/a b"))
    invalid("path", d:open("svc", "/a\r\nX: y"))
    invalid("path", d:open("svc", "/a\0b"))
    invalid("", d:open("", "/"))
    invalid("", d:open("two words", "/"))
    invalid("header", d:open("svc", "/", { ["X-A"] = "a\r\nX-B: b" }))
    invalid("header", d:open("svc", "/", { ["X A"] = "a" }))
    for _, bad in ipairs { "a b", "a,,b", "a, b,", ",", "a\0b", "a\r\nb", "(a)", { "a b" }, { "" }, { "a", "" },
                           { "a,b" }, "a, a" } do
      invalid("protocol", open("protocols", bad))
    end
    for _, name in ipairs { "timeout", "deadline", "ping", "ping_timeout" } do
      invalid(name, open(name, -1))
      invalid(name, open(name, "soon"))
      invalid(name, open(name, 0 / 0))
    end
    invalid("timeout", open("timeout", 0))
    invalid("deadline", open("deadline", 0))
    invalid("ping_timeout", open("ping_timeout", 0))
    invalid("max_body", open("max_body", -1))
    invalid("max_body", open("max_body", 1.5))
    invalid("address", open("node", "somewhere"))
    assert.equal(1, #s:journal "request")
  end)

  it("of headers: those of the handshake itself are left out", function()
    local other = assert(d:open("svc", "/echo", {
      ["Sec-WebSocket-Key"] = "x", ["sec-websocket-version"] = "12", ["Sec-WebSocket-Protocol"] = "p",
      ["Sec-WebSocket-Extensions"] = "permessage-deflate", Upgrade = "h2c", Connection = "close",
      ["Content-Length"] = "5", ["Transfer-Encoding"] = "chunked", ["X-Mine"] = "1",
    }))
    local headers = s:headers()
    assert.equal("1", headers["x-mine"])
    assert.equal("13", headers["sec-websocket-version"])
    assert.equal(24, #headers["sec-websocket-key"])
    assert.equal("websocket", headers.upgrade)
    assert.equal("upgrade", headers.connection:lower())
    for _, name in ipairs { "protocol", "extensions" } do assert.is_nil(headers["sec-websocket-" .. name]) end
    assert.is_nil(headers["content-length"])
    assert.is_nil(headers["transfer-encoding"])
    assert(other:close())
  end)

  it("of the methods", function()
    raises("string expected, got n", w.send, w)
    raises("string expected, got number", w.send, w, 1)
    raises("string expected, got table", w.send, w, {})
    raises("string expected, got number", w.send, w, "x", 1)
    raises("seconds or a string with a unit expected, got table", w.send, w, "x", "text", {})
    raises("seconds or a string with a unit expected, got boolean", w.receive, w, true)
    raises("number expected, got string", w.close, w, "1000")
    raises("string expected, got number", w.close, w, 1000, 1)
    raises("function expected, got number", w.on_message, w, 1)
    raises("websocket", w.send, {}, "x")
    raises("websocket", w.receive, d)
    invalid("blob", w:send("x", "blob"))
    invalid("send", w:send("x", "text", -1))
    invalid("send", w:send("x", "text", "x"))
    invalid("receive", w:receive(-1))
    invalid("receive", w:receive "soon")
    for _, code in ipairs { -1, 0, 1, 999, 1002, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536, 1.5, 0 / 0 } do
      invalid("close", w:close(code))
    end
    invalid("reason", w:close(1000, ("x"):rep(124)))
    invalid("UTF%-8", w:close(1000, "\255"))
    assert.equal("open", w.state)
    assert(w:send "still")
    assert.equal("still", (w:receive()))
  end)

  it("of who writes a field", function()
    raises("", function() w.state = "closed" end)
    assert.equal("open", w.state)
  end)
end)
