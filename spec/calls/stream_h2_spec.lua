-- Bodies and streams over HTTP/2, with and without TLS: nginx in front of the sink. The same as over HTTP/1.1.
local calls = require "spec.support.calls"
local certs = require "spec.support.certs"
local discover = require "discover"
local nginx = require "spec.support.nginx"
local proc = require "spec.support.proc"
local sink = require "spec.support.sink"
local wait = require "spec.support.wait"

local UNBUFFERED = "proxy_request_buffering off; proxy_buffering off;"
local n, s, ca

setup(function()
  s = sink.start()
  ca = certs.make()
  n = nginx.start{ upstream = s, servers = {
    h1 = { conf = UNBUFFERED }, h2c = { http2 = true, conf = UNBUFFERED },
    h2 = { http2 = true, cert = ca.server, conf = UNBUFFERED },
  } }
end)

local configs = {
  h1 = function() return {} end,
  h2c = function() return { http2 = true } end,
  h2 = function() return { http2 = true, ssl = true, tls = { ca = ca.ca } } end,
}

for _, kind in ipairs{ "h1", "h2c", "h2" } do
  describe("over " .. kind .. " #api", function()
    local function client(more)
      local config = configs[kind]()
      for name, value in pairs(more or {}) do config[name] = value end
      return calls.client({ n[kind] }, { calls = { svc = config } })
    end

    local function open(d, path, more)
      local request = { app = "svc", path = path, stream = true }
      for name, value in pairs(more or {}) do request[name] = value end
      return d:request(request)
    end

    it("bodies of every kind arrive #core", function()
      local d, path = client(), proc.write_file(proc.tmpdir() .. "/f", sink.pattern(500000))
      local list = { "one", "two", ("x"):rep(200000) }
      local rows = {
        { "", 0 }, { "abc", 3 }, { { a = 1 }, 7 }, { discover.form{ a = "b c" }, 5 }, { discover.file(path), 500000 },
        { function() return table.remove(list) end, 200006 }, { ("x"):rep(3000000), 3000000 },
      }
      for i, row in ipairs(rows) do
        local res = d:post("svc", "/digest", row[1])
        assert.is_true(res.ok, i .. ": " .. tostring(res))
        assert.equal(row[2], res:json().length)
        assert.equal(kind == "h1" and "1.1" or "2", res.http_version)
      end
      local parts = d:post("svc", "/parts", discover.multipart{ a = "x", f = discover.file(path) }):json().parts
      assert.equal(2, #parts)
      assert.equal(1000000, #parts[2].hex)
    end)

    local beside = 10

    it("a stream gives the body chunk by chunk, " .. beside .. " side by side", function()
      local d, list = client(), {}
      for i = 1, beside do list[i] = open(d, "/flow?bytes=2000000") end
      for i = beside, 1, -1 do
        local parts = {}
        for chunk in list[i]:chunks() do parts[#parts + 1] = chunk end
        assert.is_true(list[i].ok, tostring(list[i]))
        assert.is_true(table.concat(parts) == sink.pattern(2000000))
      end
      assert.equal(0, calls.node(d, n[kind]).in_flight)
    end)

    it("a stream that is closed early harms no other", function()
      local d = client()
      local other = open(d, "/flow?bytes=3000000")
      for _ = 1, 20 do
        local res = open(d, "/flow?bytes=100000000")
        assert.equal(1000, #res:read(1000))
        res:close()
        assert.is_true(d:get("svc", "/flow?bytes=10").ok)
      end
      assert.equal(3000000, #other:string())
      assert.equal(0, calls.node(d, n[kind]).in_flight)
      assert.equal(0, calls.node(d, n[kind]).failed_times)
    end)

    it("a stream that breaks off says so, and is saved not at all", function()
      local dir = proc.tmpdir()
      local d = client()
      local res = open(d, "/flow?bytes=1000000&cut=400000")
      assert.is_true(res.ok)
      assert.is_nil(res:save(dir .. "/x"))
      assert.is_false(res.ok)
      assert.is_true(res.err == "protocol" or res.err == "connect", tostring(res))
      assert.equal("", proc.shell("ls " .. dir))
      assert.equal(1, calls.node(d, n[kind]).failed_times)
      assert.is_true(open(d, "/flow?bytes=1000000"):save(dir .. "/x"))
      assert.is_true(proc.read_file(dir .. "/x") == sink.pattern(1000000))
    end)

    it("silence is timeout, a trickle goes on", function()
      local d = client{ timeout = 0.5, deadline = 0.7 }
      assert.equal(10, #open(d, "/flow?bytes=10&piece=1&pause=100"):string())
      local res = open(d, "/flow?bytes=10&piece=5&pause=1500")
      assert.equal(5, #res:read(5))
      local _, _, _, code = wait.within(5, function() return res:read() end)
      assert.equal("timeout", code)
    end)

    it("a reader that fails ends the call, the connection serves on", function()
      local d, i = client(), 0
      local res = d:post("svc", "/digest", function()
        i = i + 1
        if i == 3 then error "no more milk" end
        return ("x"):rep(10000)
      end)
      assert.equal("callback", res.err, tostring(res))
      assert.matches("no more milk", res.why)
      assert.is_true(d:get("svc", "/flow?bytes=10").ok)
    end)

    it("progress tells of both directions", function()
      local last = {}
      local res = client():request{ method = "POST", app = "svc", path = "/flow?bytes=1000000",
        data = ("x"):rep(1000000), progress = function(now, _, direction)
          assert(now >= (last[direction] or 0))
          last[direction] = now
        end }
      assert.is_true(res.ok, tostring(res))
      assert.same({ upload = 1000000, download = 1000000 }, last)
    end)
  end)
end
