-- res:save(path): whole or not at all, whatever breaks.
local calls = require "spec.support.calls"
local lua_run = require "spec.support.lua_run"
local proc = require "spec.support.proc"
local scripted = require "spec.support.scripted"
local sink = require "spec.support.sink"

local s
setup(function() s = sink.start() end)

local function download(path, stream)
  return calls.client{ s }:request{ app = "svc", path = path, stream = stream }
end

local function listing(dir) return proc.shell("cd " .. proc.quote(dir) .. " && find . | sort | tr '\n' ' '") end

for kind, stream in pairs{ ["an answer"] = false, ["a stream"] = true } do
  describe("save of " .. kind .. " #api", function()
    it("makes parent folders, mode 0600, and leaves nothing else #core", function()
      local dir = proc.tmpdir()
      assert.is_true(download("/flow?bytes=300000", stream):save(dir .. "/a/b/c"))
      assert.is_true(proc.read_file(dir .. "/a/b/c") == sink.pattern(300000))
      assert.equal(". ./a ./a/b ./a/b/c ", listing(dir))
      assert.equal("600", proc.shell("stat -c %a " .. dir .. "/a/b/c"))
    end)

    it("replaces a file, and takes an empty body", function()
      local path = proc.write_file(proc.tmpdir() .. "/x", "old")
      assert.is_true(download("/flow?bytes=10", stream):save(path))
      assert.equal(sink.pattern(10), proc.read_file(path))
      assert.is_true(download("/flow?bytes=0", stream):save(path))
      assert.equal("", proc.read_file(path))
    end)

    it("that cannot write leaves the old file and says why", function()
      local dir = proc.tmpdir()
      local path = proc.write_file(dir .. "/x", "old")
      for _, bad in ipairs{ path .. "/y", dir, "", "a\0b", ("x"):rep(5000), dir .. "/" .. ("y"):rep(300) } do
        local ok, why, code = download("/flow?bytes=10", stream):save(bad)
        assert.is_nil(ok)
        assert.equal("io", code)
        assert.matches("^io: save: ", why)
      end
      assert.equal("old", proc.read_file(path))
      assert.equal(". ./x ", listing(dir))
      assert.has_error(function() download("/flow?bytes=10", stream):save() end)
    end)

    it("on a full disk leaves the old file, no other, and no descriptor", function()
      local dir = proc.tmpdir()
      proc.write_file(dir .. "/x", "old")
      local r = lua_run.run(([[
        local discover = require "discover"
        local d = discover.new{ log_level = "off" }
        d:set_node("svc", arg[1], 1)
        local function descriptors()
          local pipe = io.popen "ls /proc/$PPID/fd | wc -l"
          local n = tonumber(pipe:read "*a")
          pipe:close()
          return n
        end
        local function save()
          local res = d:request{ app = "svc", path = "/flow?bytes=1000000", stream = %s }
          local ok, why, code = res:save(arg[2])
          assert(ok == nil and code == "io" and why:find "File too large", tostring(why))
          res:close()
        end
        save()
        local before = descriptors()
        for _ = 1, 20 do save() end
        assert(descriptors() <= before + 1)
        print "refused"
      ]]):format(tostring(stream)), { args = { s.addr, dir .. "/x" },
        wrap = { "bash", "-c", 'trap "" XFSZ; ulimit -f 100; exec "$@"', "limited" } })
      assert.equal("refused\n", r.out, r.err)
      assert.equal("old", proc.read_file(dir .. "/x"))
      assert.equal(". ./x ", listing(dir))
    end)
  end)
end

describe("save of a stream #api", function()
  it("that breaks leaves the old file and no other", function()
    local dir = proc.tmpdir()
    local path = proc.write_file(dir .. "/x", "old")
    local res = download("/flow?bytes=1000000&cut=500000", true)
    local ok, why, code = res:save(path)
    assert.is_nil(ok)
    assert.equal(res.err, code, why)
    assert.is_false(res.ok)
    assert.equal("old", proc.read_file(path))
    assert.equal(". ./x ", listing(dir))
  end)

  it("that falls silent is timeout", function()
    local server = scripted.http("read_request", { "send", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf" }, "hang")
    local d = calls.client({ server }, { calls = { svc = { timeout = 0.2 } } })
    local dir = proc.tmpdir()
    assert.equal("timeout", select(3, d:request{ app = "svc", path = "/", stream = true }:save(dir .. "/x")))
    assert.equal(". ", listing(dir))
  end)

  it("whose beginning was read saves the rest; one that string() read saves that", function()
    local path = proc.tmpdir() .. "/x"
    local res = download("/flow?bytes=1000", true)
    res:read(100)
    assert.is_true(res:save(path))
    assert.equal(sink.pattern(1000):sub(101), proc.read_file(path))
    res = download("/flow?bytes=1000", true)
    res:string()
    for _ = 1, 2 do
      assert.is_true(res:save(path))
      assert.equal(sink.pattern(1000), proc.read_file(path))
    end
  end)

  it("may be ended by its progress", function()
    local dir = proc.tmpdir()
    local d, res = calls.client{ s }, nil
    res = d:request{ app = "svc", path = "/flow?bytes=50000000", stream = true,
      progress = function(now) if res and now > 1000000 then res:close() end end }
    assert.equal("closed", select(3, res:save(dir .. "/x")))
    assert.equal(". ", listing(dir))
  end)
end)
