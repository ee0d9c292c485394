-- Streams that are broken off, again and again: nothing stays behind.
local calls = require "spec.support.calls"
local proc = require "spec.support.proc"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

describe("many streams #api", function()
  it("that are broken off leave no descriptor behind", function()
    local count = math.floor(10000 / math.max(1, wait.slow * wait.slow))
    local dir = proc.tmpdir()
    proc.shell(("truncate -s 1000000 %s/big"):format(dir))
    local server = service.nginx{ ["/big"] = { "root " .. dir .. ";" } }
    local d = calls.client{ server }
    local function descriptors() return proc.descriptors() end
    local before
    for i = 1, count do
      local res = d:request{ app = "svc", path = "/big", stream = true }
      assert.is_true(res.ok, tostring(res))
      if i % 3 == 0 then res:read(1) end
      if i % 2 == 0 then res:close() end -- the others are the collector's
      if i == 500 then
        res = nil -- luacheck: ignore 311
        collectgarbage()
        collectgarbage()
        before = descriptors()
      end
    end
    collectgarbage()
    collectgarbage()
    assert.equal(0, calls.node(d, server).in_flight)
    assert.is_true(not before or descriptors() <= before + 2)
  end)
end)
