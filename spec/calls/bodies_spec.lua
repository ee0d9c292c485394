-- Request bodies that are more than a string: forms, multipart, files, readers. What arrived is told by parsers of
-- another project (spec/support/sink.py).
local calls = require "spec.support.calls"
local core = require "discover.core"
local discover = require "discover"
local port = require "spec.support.port"
local proc = require "spec.support.proc"
local scripted = require "spec.support.scripted"
local sink = require "spec.support.sink"
local wait = require "spec.support.wait"

local s, dir
setup(function()
  s = sink.start()
  dir = proc.tmpdir()
end)

local function client(opts) return calls.client({ s }, opts) end

local function hex(text) return (text:gsub(".", function(c) return ("%02x"):format(c:byte()) end)) end

local function crc_of(path)
  local code = "import sys,zlib; print(zlib.crc32(open(sys.argv[1],'rb').read()))"
  return tonumber(proc.shell(("/usr/bin/python3 -c %s %s"):format(proc.quote(code), proc.quote(path))))
end

local function file_of(name, text) return proc.write_file(dir .. "/" .. name, text) end

-- A reader that gives the items of a list, one by one.
local function reader(list)
  local i = 0
  return function()
    i = i + 1
    return list[i]
  end
end

-- An address where nobody listens: refused at once, before the first byte.
local function nobody() return "127.0.0.1:" .. port.free() end

-- How many descriptors this process has.
local function descriptors() return proc.descriptors() end

describe("a form #api", function()
  local function sent(t, headers) return client():post("svc", "/form", discover.form(t), headers):json() end

  it("is urlencoded as browsers do, with sorted names #core", function()
    local answer = sent{ b = "x y&z=1", a = 7, ["ü/ñ"] = "~*-._", c = { "1", 2, true }, d = false, e = "" }
    assert.equal("a=7&b=x+y%26z%3D1&c=1&c=2&c=true&d=false&e=&%C3%BC%2F%C3%B1=%7E*-._", answer.text)
    assert.equal("application/x-www-form-urlencoded", answer.type)
  end)

  it("comes back as it was, whatever the bytes", function()
    local all = {}
    for i = 0, 255 do all[#all + 1] = string.char(i) end
    local text = table.concat(all)
    local answer = sent{ [text] = text }
    assert.equal(1, #answer.pairs)
    for i = 1, 2 do
      -- JSON gave Latin-1 as UTF-8
      local back = answer.pairs[1][i]:gsub("[\194\195][\128-\191]", function(two)
        return string.char((two:byte(1) - 192) * 64 + two:byte(2) - 128)
      end)
      assert.is_true(back == text)
    end
  end)

  it("of numbers has no fraction where there is none", function()
    assert.equal("a=3&b=0.5&c=-2&d=9007199254740991", sent{ a = 3.0, b = 0.5, c = -2, d = 2 ^ 53 - 1 }.text)
  end)

  it("may be empty", function()
    assert.equal("", sent{}.text)
    assert.equal("", sent{ a = {} }.text)
  end)

  it("leaves the Content-Type to the user", function()
    assert.equal("text/x-form", sent({ a = 1 }, { ["content-type"] = "text/x-form" }).type)
  end)

  it("raises for what it cannot be made of", function()
    for _, bad in ipairs{ { a = print }, { a = { {} } }, { 1, 2 }, { a = { print } }, { [true] = 1 } } do
      local ok, why = pcall(discover.form, bad)
      assert.is_false(ok)
      assert.matches("form", why)
    end
    assert.has_error(function() discover.form "a=1" end,
      "bad argument #1 to 'form' (table expected, got string)")
    assert.has_error(function() discover.form() end)
  end)

  it("is sent again by another call, and by every verb", function()
    local d, form = client(), discover.form{ a = 1 }
    for _ = 1, 3 do assert.equal("a=1", d:post("svc", "/form", form):json().text) end
    for _, verb in ipairs{ "put", "patch", "delete" } do
      assert.equal("a=1", d[verb](d, "svc", "/form", form):json().text, verb)
    end
    assert.equal("a=1", d:request("POST", "svc", "/form", form):json().text)
    assert.equal("a=1", d:request{ method = "POST", app = "svc", path = "/form", data = form }:json().text)
    assert.equal("a=1", d:new_caller():post("svc", "/form", form):json().text)
    assert.equal("body(application/x-www-form-urlencoded)", tostring(form))
  end)
end)

describe("multipart #api", function()
  -- The parts as another parser sees them.
  local function parts(t)
    local body = assert(discover.multipart(t))
    local res = client():post("svc", "/parts", body)
    assert.is_true(res.ok, tostring(res))
    local answer = res:json()
    assert.equal(0, #answer.defects)
    return answer.parts
  end

  it("has fields in the order of their names #core", function()
    local list = parts{ b = "two", a = 1, c = { "x", true } }
    assert.equal(4, #list)
    for i, row in ipairs{ { "a", "1" }, { "b", "two" }, { "c", "x" }, { "c", "true" } } do
      assert.equal(row[1], list[i].name)
      assert.equal(hex(row[2]), list[i].hex)
      assert.is_nil(list[i].head["content-type"])
      assert.is_nil(list[i].filename)
    end
  end)

  it("carries any bytes, line ends and dashes included", function()
    local noise = { "", "\r\n", "--", "\r\n--\r\n", "\0\1\2\255", "----discover", ("x\r\n"):rep(1000) }
    local list = parts{ n = noise }
    assert.equal(#noise, #list)
    for i, text in ipairs(noise) do assert.equal(hex(text), list[i].hex, "item " .. i) end
  end)

  it("has parts with a file name and a type", function()
    local list = parts{ a = { data = "{}", type = "application/json" }, b = { data = "x", filename = "x.bin" },
      c = { { data = "1", filename = "1.txt", type = "text/plain; charset=utf-8" }, "2" } }
    assert.equal("application/json", list[1].head["content-type"])
    assert.is_nil(list[1].filename)
    assert.equal("x.bin", list[2].filename)
    assert.equal("application/octet-stream", list[2].head["content-type"])
    assert.equal("1.txt", list[3].filename)
    assert.matches('^text/plain; charset="?utf%-8"?$', list[3].head["content-type"])
    assert.equal(hex "2", list[4].hex)
  end)

  it("escapes names as browsers do", function()
    local server = calls.answering(200, "ok")
    local d = calls.client{ server }
    d:post("svc", "/", discover.multipart{ ['a"b\r\nc'] = { data = "x", filename = 'ü"\n\0\\.txt' } })
    local body = server:requests()[1].body
    assert.matches('name="a%22b%0D%0Ac"; filename="ü%22%0A%00\\.txt"', body, 1, true)
    assert.equal(1, select(2, body:gsub("Content%-Disposition", "")))
  end)

  it("has a boundary that is in none of the texts", function()
    local digits = { ("a"):rep(32), ("b"):rep(32), ("c"):rep(32) }
    local asked, real = 0, core.random_hex
    finally(function() core.random_hex = real end)
    function core.random_hex()
      asked = asked + 1
      return digits[asked]
    end
    local body = discover.multipart{ x = "----discover" .. digits[1],
      y = { data = "", filename = "----discover" .. digits[2] } }
    assert.equal(3, asked)
    assert.equal("body(multipart/form-data; boundary=----discover" .. digits[3] .. ")", tostring(body))
  end)

  it("may be empty", function()
    local server = calls.answering(200, "ok")
    calls.client{ server }:post("svc", "/", discover.multipart{})
    assert.matches("^%-%-%-%-%-%-discover%x+%-%-\r\n$", server:requests()[1].body)
  end)

  it("leaves the Content-Type to the user", function()
    local server = calls.answering(200, "ok")
    calls.client{ server }:post("svc", "/", discover.multipart{ a = 1 }, { ["Content-Type"] = "multipart/mixed" })
    assert.equal("multipart/mixed", server:requests()[1].headers["content-type"])
  end)

  it("raises for what it cannot be made of; bad values are invalid", function()
    for _, bad in ipairs{ { a = print }, { { data = "x" } }, { a = { data = 1 } }, { a = { data = "", name = "x" } },
      { a = discover.form{} }, { a = { b = 1, data = "" } } } do
      local ok, why = pcall(discover.multipart, bad)
      assert.is_false(ok)
      assert.matches("multipart", why)
    end
    local body, why, code = discover.multipart{ a = { data = "x", type = "text/plain\r\nX: y" } }
    assert.is_nil(body)
    assert.equal("invalid", code)
    assert.matches("'a'", why)
  end)
end)

describe("a file #api", function()
  it("is sent as it is, with its length #core", function()
    local text = sink.pattern(1000000)
    local path = file_of("plain", text)
    local answer = client():post("svc", "/digest", discover.file(path)):json()
    assert.equal(#text, answer.length)
    assert.equal(crc_of(path), answer.crc)
    assert.equal("length", answer.framing)
    assert.equal("application/octet-stream", answer.type)
    answer = client():put("svc", "/digest", discover.file(path, "text/x"), { ["X-A"] = "b" }):json()
    assert.equal("text/x", answer.type)
    assert.equal("PUT", answer.method)
  end)

  it("may be empty", function()
    local answer = client():post("svc", "/digest", discover.file(file_of("empty", ""))):json()
    assert.equal(0, answer.length)
  end)

  it("is opened by each call: the same value sends what the file holds then", function()
    local d, path = client(), file_of("changing", "one")
    local file = discover.file(path)
    assert.equal(3, d:post("svc", "/digest", file):json().length)
    file_of("changing", "longer")
    assert.equal(6, d:post("svc", "/digest", file):json().length)
    os.remove(path)
    local res = d:post("svc", "/digest", file)
    assert.equal("io", res.err)
    assert.equal(0, res.attempts)
    assert.matches("changing: No such file", res.why)
  end)

  it("that is a folder or missing is io, nothing is sent, no descriptor stays", function()
    local d, before = client(), descriptors()
    local n = s:stats().requests
    for _ = 1, 10 do
      local rows = { [dir] = "folder", [dir .. "/none"] = "No such file", ["/dev/null"] = "no ordinary file" }
      for path, says in pairs(rows) do
        local res = d:post("svc", "/digest", discover.file(path))
        assert.equal("io", res.err)
        assert.matches(says, res.why)
        assert.matches(path, res.why, 1, true)
        res = d:post("svc", "/parts", discover.multipart{ a = "x", f = discover.file(path) })
        assert.equal("io", res.err)
      end
    end
    assert.equal(n, s:stats().requests)
    assert.is_true(descriptors() <= before + 1)
  end)

  it("closes its descriptor when the call is over", function()
    local d, path = client(), file_of("closed", "x")
    d:post("svc", "/digest", discover.file(path))
    local before = descriptors()
    for _ = 1, 20 do d:post("svc", "/digest", discover.file(path)) end
    assert.is_true(descriptors() <= before + 1)
  end)

  it("checks its arguments", function()
    assert.has_error(function() discover.file() end)
    assert.has_error(function() discover.file("x", 1) end)
    assert.has_error(function() discover.file("x", "a/b", {}) end)
    for _, bad in ipairs{ { "" }, { "a\0b" }, { "x", "a\r\nb" } } do
      local body, _, code = discover.file(bad[1], bad[2])
      assert.is_nil(body)
      assert.equal("invalid", code)
    end
  end)

  it("goes into multipart, beside strings, several times", function()
    local text = sink.pattern(300000)
    local path = file_of("photo.jpg", text)
    local body = discover.multipart{ a = "before", photo = discover.file(path, "image/jpeg"),
      z = { discover.file(path, nil, "other.bin"), "after" } }
    for _ = 1, 2 do
      local answer = client():post("svc", "/parts", body):json()
      local list = answer.parts
      assert.equal(4, #list)
      assert.equal("photo.jpg", list[2].filename)
      assert.equal("image/jpeg", list[2].head["content-type"])
      assert.is_true(list[2].hex == hex(text))
      assert.equal("other.bin", list[3].filename)
      assert.equal("application/octet-stream", list[3].head["content-type"])
      assert.equal(#text, #list[3].hex / 2)
      assert.equal(hex "after", list[4].hex)
    end
  end)

  it("is sent again to another node", function()
    local text = sink.pattern(100000)
    local path = file_of("again", text)
    local bad = calls.answering(503, "busy")
    local d = calls.client{ { bad, calls.FIRST }, { s, 1 } }
    local res = d:put("svc", "/digest", discover.file(path))
    assert.equal(2, res.attempts, tostring(res))
    assert.equal(#text, res:json().length)
    assert.equal(#text, #bad:requests()[1].body)
  end)

  it("that becomes shorter while it is sent ends the call with io, tried once, not held against the node", function()
    local path = file_of("shrinks", ("x"):rep(64 * 1024 * 1024))
    local slow = scripted.start{ { { "read", 1000 }, { "sleep", 1500 }, "drain" } }
    local d = calls.client({ { slow, calls.FIRST }, { s, 1 } }, { call_retry_times = 1 })
    local begun = "until grep -q '\"bytes\"' %s; do sleep 0.01; done; truncate -s 5 %s"
    local cut = proc.start{ "bash", "-c", begun:format(proc.quote(slow.file), proc.quote(path)), name = "cut" }
    local _, res = wait.within(10, function() return d:put("svc", "/digest", discover.file(path)) end)
    cut:wait(10)
    assert.equal("io", res.err, tostring(res))
    assert.matches("shrinks: became shorter", res.why)
    assert.equal(1, res.attempts)
    assert.equal(0, calls.node(d, slow).failed_times)
  end)

  it("and other bodies are not kept by the result", function()
    local d, gone = client(), setmetatable({}, { __mode = "k" })
    local results = {}
    for i = 1, 3 do
      local text = { "data" }
      local function give() return table.remove(text) end
      local data = ({ discover.form{ a = 1 }, discover.file(dir .. "/plain"), give })[i]
      gone[data] = true
      results[i] = d:post("svc", "/digest", data)
      assert.is_true(results[i].ok)
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(gone))
  end)

  it("is left out with no_body", function()
    local answer = client():request{ method = "POST", app = "svc", path = "/digest", no_body = true,
      data = discover.file(dir .. "/none") }:json()
    assert.equal(0, answer.length)
  end)
end)

describe("a reader #api", function()
  it("gives the body chunk by chunk, of unknown size #core", function()
    local answer = client():post("svc", "/digest", reader{ "one", "", "two", ("x"):rep(100000) }):json()
    assert.equal(100006, answer.length)
    assert.equal("chunked", answer.framing)
    assert.is_nil(answer.type)
  end)

  it("may give nothing", function()
    assert.equal(0, client():post("svc", "/digest", function() end):json().length)
  end)

  it("of a size that Content-Length tells is sent with it", function()
    local answer = client():post("svc", "/digest", reader{ "12345", "678" }, { ["Content-Length"] = "8",
      ["Content-Type"] = "text/x" }):json()
    assert.equal("length", answer.framing)
    assert.equal(8, answer.length)
    assert.equal("text/x", answer.type)
    for length, says in pairs{ ["7"] = "more than the 7", ["9"] = "8 of the 9" } do
      local _, res = wait.within(5, function()
        return client():post("svc", "/digest", reader{ "12345", "678" }, { ["Content-Length"] = length })
      end)
      assert.equal("callback", res.err, tostring(res))
      assert.matches(says, res.why)
    end
    for _, length in ipairs{ "-1", "x", "1.5", "99999999999999999999" } do
      local res = client():post("svc", "/digest", reader{ "1" }, { ["Content-Length"] = length })
      assert.equal("invalid", res.err)
    end
  end)

  it("that raises, yields or returns no string ends the call with callback", function()
    local d = client()
    local rows = {
      { function() error "no more milk" end, "no more milk" },
      { function() return 7 end, "number" },
      { function() return {} end, "table" },
      { function() return false end, "boolean" },
      { function() return "" end, "1000 times" },
      { function() coroutine.yield() end, "yield" },
      { function() error{} end, "table" },
    }
    for i, row in ipairs(rows) do
      local n, first = 0, row[1]
      local function fn()
        n = n + 1
        if n == 1 and i ~= 5 then return "first" end
        return first()
      end
      local res
      wait.within(5, function()
        local co = coroutine.create(function() res = d:put("svc", "/digest", fn) end)
        assert(coroutine.resume(co))
      end)
      assert.equal("callback", res.err, i .. ": " .. tostring(res))
      assert.matches(row[2], res.why)
      assert.equal(1, res.attempts)
      assert.equal(0, calls.node(d, s).failed_times)
    end
    assert.is_true(d:get("svc", "/digest").ok)
  end)

  it("is tried once when a byte of it is gone, though the method may be repeated", function()
    local bad = calls.answering(503, "busy")
    local d = calls.client{ { bad, calls.FIRST }, { s, 1 } }
    local res = d:put("svc", "/digest", reader{ "data" })
    assert.equal(1, res.attempts, tostring(res))
    assert.equal(503, res.status)
    assert.is_false(res.ok)
  end)

  it("goes to the next node when the first refused the connection", function()
    local d = calls.client{ { nobody(), calls.FIRST }, { s, 1 } }
    local res = d:post("svc", "/digest", reader{ "data" })
    assert.equal(2, res.attempts, tostring(res))
    assert.equal(4, res:json().length)
  end)

  it("may make calls of its own", function()
    local d = client()
    local n = 0
    local res = d:post("svc", "/digest", function()
      n = n + 1
      if n <= 3 then return tostring(d:post("svc", "/digest", ("x"):rep(n)):json().length) end
    end)
    assert.equal(3, res:json().length)
  end)

  it("may stop the discoverer", function()
    local d = client()
    local _, res = wait.within(5, function()
      return d:post("svc", "/digest", function()
        d:stop()
        return "x"
      end)
    end)
    assert.equal("stopped", res.err, tostring(res))
  end)

  it("is not asked further when the node has answered already", function()
    local d, n = client{ calls = { svc = { timeout = 5 } } }, 0
    local _, res = wait.within(5, function()
      return d:post("svc", "/early?status=413", function()
        n = n + 1
        return ("x"):rep(65536)
      end)
    end)
    assert.is_true(res.status == 413 or res.err == "connect", tostring(res))
    assert.is_true(n < 100000)
  end)
end)

describe("bodies and routes #api", function()
  local function routed(fn, data)
    local d, seen = client(), {}
    d:set_route(function(ac) seen[1] = fn(ac) end)
    return d:post("svc", "/digest", data):json(), seen[1]
  end

  it("a route sees the caller's own value and leaves it as it is", function()
    local path = file_of("routed", "content")
    local list = { discover.form{ a = "1" }, discover.file(path), reader{ "con", "tent" },
      discover.multipart{ a = discover.file(path) } }
    local types = { "^application/x%-www", "^application/octet", nil, "^multipart/form%-data; boundary=" }
    for i = 1, 4 do
      local answer, seen = routed(function(ac)
        ac.data = ac.data
        return ac.data
      end, list[i])
      assert.equal(list[i], seen)
      if types[i] then assert.matches(types[i], answer.type) else assert.is_nil(answer.type) end
      assert.is_true(answer.length > 2)
    end
  end)

  it("a route sets another body in its place", function()
    local path = file_of("routed", "content")
    for i = 1, 3 do
      for value, row in pairs{ ["other"] = { 5, nil }, [{ a = 1 }] = { 7, "application/json" } } do
        local data = ({ discover.form{ a = "1" }, discover.file(path), reader{ "con", "tent" } })[i]
        local answer = routed(function(ac) ac.data = value end, data)
        assert.equal(row[1], answer.length)
        assert.equal(row[2], answer.type)
        answer = routed(function(ac) ac.data = nil end, data)
        assert.equal(0, answer.length)
      end
    end
  end)

  it("a route cannot set such a body", function()
    local d = client()
    d:set_route(function(ac) ac.data = discover.form{ a = 1 } end)
    local res = d:post("svc", "/digest", "x")
    assert.equal("route", res.err)
    assert.matches("string or table expected", res.why)
  end)

  it("a wrong type raises and says what can be sent", function()
    local d = client()
    for _, bad in ipairs{ 7, true, coroutine.create(function() end), d } do
      assert.error_matches(function() d:post("svc", "/", bad) end, "string, table, body or function expected")
      assert.error_matches(function() d:request{ app = "svc", path = "/", data = bad } end,
        "'data': string, table, body or function expected")
    end
  end)
end)

describe("a query #api", function()
  it("is percent-encoded by RFC 3986: unreserved characters stay, a blank is %20", function()
    local server = calls.answering(200, "ok")
    calls.client{ server }:request{ app = "svc", path = "/p", query = {
      ["a b"] = "AZaz09-._~", ["c"] = { "x+y", "&=?/#", 3.0, 0.5, true, "ü" }, ["d"] = {}, ["e"] = "" } }
    assert.equal("/p?a%20b=AZaz09-._~&c=x%2By&c=%26%3D%3F%2F%23&c=3&c=0.5&c=true&c=%C3%BC&e=",
      server:requests()[1].path)
  end)
end)
