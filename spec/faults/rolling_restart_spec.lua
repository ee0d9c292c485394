-- A rolling restart of all nodes of an app under load, on the same addresses, loses no call.
local load = require "spec.support.load"
local redis = require "spec.support.redis"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

describe("a rolling restart", function()
  it("of three services under 500 calls/s: each drains and comes back, twice", function()
    local r = redis.start()
    local services = {}
    for i = 1, 3 do services[i] = service.start{ app = "web", registry = r:url() } end
    local l = load.start(r:url(), "web", { opts = { calls = { web = {} } }, path = "/name", pace = 0.002 })
    l:more(200)
    for _ = 1, 2 do
      for _, s in ipairs(services) do
        s:drain(0.5)
        s:start()
        l:more(50)
      end
    end
    l:more(200)
    local counts = l:finish()
    assert.equal(0, counts.failed, table.concat(counts.why, "\n"))
    for _, s in ipairs(services) do
      assert.is_true((counts.ok[s.addr] or 0) > 0, s.addr .. " never answered")
      assert.equal(0, counts.bad[s.addr] or 0, s.addr .. " was called in vain")
      s:stop()
    end
    r:kill()
  end)

  it("drain: false until the time is over, true for ever after; clients are over at once", function()
    local discover = require "discover"
    local r = redis.start()
    local d = assert(discover.start(r:url(), "web", "127.0.0.1:1"))
    assert.is_false(d:drain(0.2))
    wait.until_true(function() return r:cli("HGET", "app_web", "127.0.0.1:1") == "" or #r:keys() == 0 end, 3, "gone")
    wait.until_true(function() return d:drain(0.2) end, 3, "over")
    assert.is_true(d:drain(0.2))
    assert.equal("invalid", select(3, d:drain(-1)))
    local client = assert(discover.open(r:url()))
    assert.is_true(client:drain(60))
    assert.equal("stopped", select(3, client:pick "web"))
    r:kill()
  end)
end)
