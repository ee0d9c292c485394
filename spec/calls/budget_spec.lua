-- What trying again may cost an app, and what a node may ask for.
local calls = require "spec.support.calls"
local port = require "spec.support.port"
local wait = require "spec.support.wait"

local FIRST = calls.FIRST

-- So many nodes on which nobody listens.
local function dead_nodes(n)
  local nodes = {}
  for i = 1, n do nodes[i] = port.refused().addr end
  return nodes
end

describe("the retry budget #api", function()
  it("bounds what an app that is down is asked #core", function()
    local d = calls.client(dead_nodes(2), { call_retry_times = 1 })
    local events = {}
    d:on_event(function(event) if event.name == "retry_budget" then events[#events + 1] = event end end)
    local from, denied, last = wait.now(), 0, nil
    for _ = 1, 300 do
      local res = d:get("svc", "/")
      if res.err == "connect" then denied, last = denied + 1, res else assert.equal("all_failed", res.err) end
    end
    local svc, windows = d:stats().apps.svc, 1 + math.floor((wait.now() - from) / 10)
    assert.equal(300, svc.calls)
    assert.is_true(svc.retries <= 60 + 100 * windows, svc.retries .. " retries")
    assert.equal(svc.attempts, svc.calls + svc.retries)
    assert.equal(denied, svc.retries_denied)
    assert.is_true(denied >= 140 - 100 * (windows - 1))
    local expected = 'the retry budget of app "svc" is used up (20 % of its calls and 10 a second); '
    assert.equal(1, last.why:find(expected, 1, true))
    assert.equal(last.trace[#last.trace].node, last.node)
    assert.equal("svc", events[1].app)
    assert.matches("budget", events[1].why)
    assert.is_true(#events <= 1 + wait.now() - from)
    assert.matches('discover_retries_denied_total{app="svc"} ' .. denied, d:stats "prometheus", 1, true)
  end)

  it("leaves the last real answer to the call", function()
    local busy = calls.answering(503, "busy")
    local dead = dead_nodes(2)
    local d = calls.client(dead, { call_retry_times = 1000 })
    repeat local res = d:get("svc", "/") until res.why:find("budget", 1, true)
    -- Others in their place: the busy one comes first, and there would be another.
    for _, addr in ipairs(dead) do assert(d:set_node("svc", addr, 0)) end
    calls.set(d, "svc", { { busy, FIRST }, { port.refused(), 1 } })
    local res = d:get("svc", "/")
    assert.is_nil(res.err)
    assert.is_false(res.ok)
    assert.same({ 503, "busy", busy.addr, 1 }, { res.status, res.body, res.node, res.attempts })
    assert.matches("^the retry budget .* the last: 127%.0%.0%.1:%d+ answered 503$", res.why)
  end)

  it("is one for each app", function()
    local well = calls.answering()
    local d = calls.client(dead_nodes(2), { call_retry_times = 1000 })
    repeat local res = d:get("svc", "/") until res.why:find("budget", 1, true)
    calls.set(d, "other", { { port.refused(), FIRST }, { well, 1 } })
    local res = d:get("other", "/")
    assert.is_true(res.ok, tostring(res))
    assert.equal(2, res.attempts)
  end)

  it("is not touched by calls that have nobody else to ask", function()
    local d = calls.client(dead_nodes(1), { call_retry_times = 1000 })
    for _ = 1, 150 do assert.is_nil(d:get("svc", "/").why:find("budget", 1, true)) end
    assert.equal(0, d:stats().apps.svc.retries_denied)
  end)
end)

describe("Retry-After #api", function()
  -- A node that comes first and asks for this, one that is well; and a discoverer.
  local function with(status, lines)
    local busy, well = calls.answering(status, "", lines), calls.answering()
    return calls.client{ { busy, FIRST }, { well, 1 } }, busy, well
  end

  it("of 503 and 429 lets others be preferred #core", function()
    for _, status in ipairs{ 503, 429 } do
      local d, busy, well = with(status, "Retry-After: 20\r\n")
      local events = {}
      d:on_event(function(event) if event.name == "avoided" then events[#events + 1] = event end end)
      local first = d:get("svc", "/")
      if status == 503 then assert.is_true(first.ok) else assert.equal(429, first.status) end
      for _ = 1, 20 do assert.equal(well.addr, d:get("svc", "/").node) end
      assert.equal(1, #busy:requests())
      assert.equal("up", calls.node(d, busy).state)
      assert.equal(1, #events)
      assert.equal(busy.addr, events[1].node)
      assert.equal(("node %s answered %d and asks to be left alone for 20 s"):format(busy.addr, status), events[1].why)
      -- Picks by hand and pinned calls: the latter do as they are told.
      for _ = 1, 20 do assert.equal(well.addr, d:pick("svc").addr) end
      assert.equal(busy.addr, d:request{ app = "svc", path = "/", node = busy.addr }.node)
    end
  end)

  it("is a bias only: a node without others is called", function()
    local busy = calls.answering(503, "", "Retry-After: 30\r\n")
    local d = calls.client{ busy }
    for _ = 1, 3 do assert.equal(503, d:get("svc", "/").status) end
    assert.equal(3, #busy:requests())
    -- It is the next one of a call whose other node fails.
    calls.set(d, "svc", { { port.refused(), FIRST } })
    assert.equal(busy.addr, d:get("svc", "/").node or busy.addr)
    assert.equal(4, #busy:requests())
  end)

  it("is over after its time", function()
    local d, busy = with(503, "Retry-After: 1\r\n")
    local from = wait.now()
    assert.is_true(d:get("svc", "/").ok)
    assert.is_true(d:get("svc", "/").ok)
    wait.until_true(function()
      assert.is_true(d:get("svc", "/").ok)
      return #busy:requests() == 2
    end, 10, "the node to be called again")
    assert.is_true(wait.now() - from >= 0.9)
  end)

  it("may be a date, measured by the node's own clock", function()
    local lines = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:49:57 GMT\r\n"
    local d, busy, well = with(503, lines)
    for _ = 1, 5 do assert.equal(well.addr, d:get("svc", "/").node) end
    assert.equal(1, #busy:requests())
  end)

  it("of other answers, and nonsense, is ignored", function()
    for _, case in ipairs{ { 200, "20" }, { 500, "20" }, { 429, "soon" }, { 429, "-5" }, { 429, "0" } } do
      local d, busy = with(case[1], "Retry-After: " .. case[2] .. "\r\n")
      for _ = 1, 3 do assert.equal(busy.addr, d:get("svc", "/").node) end
    end
  end)
end)
