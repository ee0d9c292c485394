-- Nodes that fail too often, though never many times in a row; and the connections to a node that is isolated.
local calls = require "spec.support.calls"
local discover = require "discover"
local port = require "spec.support.port"
local wait = require "spec.support.wait"

local A, B, C = "127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"

-- Reports a success and a failure in turn, n times in all.
local function alternate(node, n)
  for i = 1, n do
    if i % 2 == 1 then node:done() else node:done(false) end
  end
end

describe("a node that fails half of its attempts #api", function()
  it("is isolated after 20 of them, and comes back #core", function()
    local d, events, errors = calls.client({ A, B, C }, { log_level = "error", logger = function() end }), {}, {}
    d:set_logger(function(record) errors[#errors + 1] = record.msg end)
    d:on_event(function(event)
      if event.name == "isolated" or event.name == "recovered" then events[#events + 1] = event end
    end)
    local node = calls.node(d, A)
    alternate(node, 19)
    assert.equal("up", node.state)
    node:done(false)
    assert.equal("isolated", node.state)
    assert.equal(1, node.failed_times)
    for _ = 1, 20 do assert.not_equal(A, d:pick("svc").addr) end
    node:done()
    assert.equal("up", node.state)
    d:poll(0)
    assert.same({ "isolated", "recovered" }, { events[1].name, events[2].name })
    assert.equal("half of its attempts within 10 s failed, or more", events[1].why)
    assert.equal("svc: node " .. A .. " is isolated: half of its attempts within 10 s failed, or more", errors[1])
    local svc = d:stats().apps.svc
    assert.same({ 1, 1 }, { svc.isolations, svc.recoveries })
  end)

  it("is not isolated if half of the others are, nor if it is alone", function()
    local d = calls.client{ A, B, C }
    alternate(calls.node(d, A), 20) -- a success would bring it back
    for _, addr in ipairs{ B, C } do alternate(calls.node(d, addr), 100) end
    local states = { calls.node(d, A).state, calls.node(d, B).state, calls.node(d, C).state }
    assert.same({ "isolated", "up", "up" }, states)
    local alone = calls.client{ A }
    alternate(calls.node(alone, A), 100)
    assert.equal("up", calls.node(alone, A).state)
    -- Failures in a row isolate however many are isolated.
    for _, addr in ipairs{ B, C } do
      for _ = 1, 10 do calls.node(d, addr):done(false) end
      assert.equal("isolated", calls.node(d, addr).state)
    end
  end)

  it("costs calls nothing", function()
    local script = {}
    for _ = 1, 60 do
      script[#script + 1], script[#script + 2] = "read_request", { "respond", 200, "well" }
      script[#script + 1], script[#script + 2] = "read_request", { "respond", 503, "" }
    end
    local flaky, well = require "spec.support.scripted".http((table.unpack or unpack)(script)), calls.answering()
    local d = calls.client{ { flaky, calls.FIRST }, { well, 1 } }
    local other = 0
    for _ = 1, 60 do
      local res = d:get("svc", "/")
      assert.is_true(res.ok, tostring(res))
      if res.attempts == 1 and res.node == well.addr then other = other + 1 end
    end
    assert.equal("isolated", calls.node(d, flaky).state)
    assert.equal(20, #flaky:requests())
    assert.is_true(other >= 30)
  end)
end)

describe("connections kept alive to a node that is isolated", function()
  -- The node answers, the connection is kept; then it is isolated.
  local function kept(d, s)
    assert.is_true(d:request{ app = "svc", path = "/", node = s.addr }.ok)
    assert.equal(0, #s:journal "closed")
    for _ = 1, 10 do calls.node(d, s):done(false) end
    assert.equal("isolated", calls.node(d, s).state)
  end

  it("are closed; others are not; it is reached again on a new one #api", function()
    local s, other = calls.answering(), calls.answering()
    local d = calls.client{ s, other }
    assert.is_true(d:request{ app = "svc", path = "/", node = other.addr }.ok)
    kept(d, s)
    d:poll(0)
    wait.until_true(function() return #s:journal "closed" == 1 end, 5, "the connection to be closed")
    assert.equal(0, #other:journal "closed")
    local res = d:request{ app = "svc", path = "/", node = s.addr }
    assert.is_true(res.ok, tostring(res))
    assert.equal(1, res.attempts)
    assert.equal(2, #s:journal "accept")
    assert.equal(1, #other:journal "accept")
  end)

  it("are closed by all who share the registry", function()
    local s = calls.answering()
    local registry, opts = "memory://rate-" .. port.free(), { shared = true, calls = { svc = {} }, log_level = "off" }
    calls.stop_at_end(assert(discover.start(registry, "svc", s.addr)))
    local one = calls.stop_at_end(assert(discover.open(registry, opts)))
    local two = calls.stop_at_end(assert(discover.open(registry, opts)))
    assert.is_true(two:get("svc", "/").ok)
    kept(one, s)
    one:poll(0)
    two:poll(0)
    wait.until_true(function() return #s:journal "closed" == 2 end, 5, "both connections to be closed")
  end)
end)
