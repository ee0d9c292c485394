-- 1 GiB in each direction: memory stays bounded. In a process of its own, whose peak is asked of the kernel.
local lua_run = require "spec.support.lua_run"
local proc = require "spec.support.proc"
local service = require "spec.support.service"
local sink = require "spec.support.sink"
local wait = require "spec.support.wait"

local SIZE = 1024 * 1024 * 1024
-- A sanitizer's shadow and quarantine count as memory: there only the way is tried.
local size = wait.slow > 1 and math.floor(SIZE / 16) or SIZE

local PROGRAM = [==[
local discover = require "discover"
local d = discover.new{ log_level = "off" }
d:set_node("svc", arg[1], 1)
local size = tonumber(arg[2])

local function peak()
  local file = assert(io.open "/proc/self/status")
  local kb = tonumber(file:read "*a":match "VmHWM:%s*(%d+)")
  file:close()
  return kb
end

local function request(t)
  t.app, t.timeout, t.deadline = "svc", 60, 120
  return d:request(t)
end

request{ path = arg[3], no_body = true, method = "HEAD" } -- whatever is made at first use
local before = peak()
local function work() BODY end
work()
assert(peak() - before < 32 * 1024 or arg[5] == "sanitized", "the peak grew by " .. peak() - before .. " KiB")
print "done"
]==]

local function run(code, addr, path, file, bytes)
  local took, r = wait.within(60, function()
    return lua_run.run((PROGRAM:gsub("BODY", function() return code end)), { timeout = 100,
      args = { addr, ("%d"):format(bytes or size), path, file or "", wait.slow > 1 and "sanitized" or "plain" } })
  end)
  assert.equal("done\n", r.out, r.err)
  assert.is_true(took < wait.scale(30), ("took %.1f s"):format(took))
end

describe("1 GiB", function()
  local dir, file, n, s

  setup(function()
    dir = proc.tmpdir()
    file = dir .. "/big"
    proc.shell(("truncate -s %d %s"):format(size, proc.quote(file)))
    -- what is written to a disk is less: a slow disk is none of our concern
    proc.shell(("truncate -s %d %s/part"):format(size / 4, proc.quote(dir)))
    n = service.nginx{ ["/big"] = { "root " .. dir .. ";" }, ["/part"] = { "root " .. dir .. ";" } }
    s = sink.start()
  end)

  it("down, chunk by chunk", function()
    run([==[
      local res, got = request{ path = "/big", stream = true }, 0
      for chunk in res:chunks() do got = got + #chunk end
      assert(got == size and res.ok, tostring(res))
    ]==], n.addr, "/")
  end)

  it("(a quarter of it) down, into a file", function()
    run([==[
      local res = request{ path = "/part", stream = true }
      assert(res:save(arg[4]))
      local file = io.open(arg[4])
      assert(file:seek "end" == size)
      file:close()
      os.remove(arg[4])
    ]==], n.addr, "/", dir .. "/copy", size / 4)
  end)

  it("up, of a file", function()
    run([==[
      local res = request{ method = "PUT", path = "/digest", data = discover.file(arg[4]) }
      assert(res.ok and res:json().length == size, tostring(res))
    ]==], s.addr, "/digest", file)
  end)

  it("up, of a file in multipart", function()
    run([==[
      local body = assert(discover.multipart{ a = "x", f = discover.file(arg[4]) })
      local res = request{ method = "POST", path = "/digest", data = body }
      assert(res.ok and res:json().length > size, tostring(res))
      assert(res:json().framing == "length")
    ]==], s.addr, "/digest", file)
  end)

  it("up, of a reader", function()
    run([==[
      local left, chunk = size, ("x"):rep(256 * 1024)
      local res = request{ method = "POST", path = "/digest", data = function()
        if left == 0 then return nil end
        left = left - #chunk
        return chunk
      end }
      assert(res.ok and res:json().length == size, tostring(res))
    ]==], s.addr, "/digest")
  end)
end)
