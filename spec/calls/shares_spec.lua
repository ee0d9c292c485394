-- Who gets how much: weights, weights that change, nodes that come late, and every balancer.
local calls = require "spec.support.calls"
local discover = require "discover"
local port = require "spec.support.port"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local A, B, C, D = "127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003", "127.0.0.1:9004"

-- Each node's share of `total` is its weight's, within `slack` of the total.
local function check_shares(count, weights, total, slack)
  local sum = 0
  for _, weight in pairs(weights) do sum = sum + weight end
  for addr, weight in pairs(weights) do
    local share, expected = (count[addr] or 0) / total, weight / sum
    assert.is_true(math.abs(share - expected) <= slack,
      ("%s: %.4f of all, expected %.4f +- %.4f"):format(addr, share, expected, slack))
  end
end

local function weighted(balancer)
  local d = calls.client({ { A, 100 }, { B, 200 }, { C, 700 } }, balancer and { balancer = balancer })
  return d, { [A] = 100, [B] = 200, [C] = 700 }
end

describe("shares #api", function()
  it("follow weights 1:2:7 within 1 % over 10,000 calls", function()
    local servers, weights, d = {}, {}, calls.client()
    for i, weight in ipairs{ 1, 2, 7 } do
      servers[i] = service.nginx{ ["/"] = "hello" }
      weights[servers[i].addr] = weight
      assert(d:set_node("svc", servers[i].addr, weight))
    end
    check_shares(calls.gets(d, 10000), weights, 10000, 0.01)
    -- The servers say the same.
    local requests = {}
    for _, s in ipairs(servers) do requests[s.addr] = s.requests() end
    check_shares(requests, weights, 10000, 0.01)
  end)

  it("follow weights 1:2:7 within 1 % over 10,000 picks #core", function()
    local d, weights = weighted()
    check_shares(calls.picks(d, 10000), weights, 10000, 0.01)
  end)

  it("are even within a few picks, not only in the long run", function()
    local d = weighted()
    for _ = 1, 20 do
      local count = calls.picks(d, 10)
      assert.is_true(math.abs(count[C] - 7) <= 1, "7 of 10 expected, got " .. count[C])
    end
  end)

  it("change with a weight that is changed live #core", function()
    local d = weighted()
    calls.picks(d, 1000)
    assert(d:set_node("svc", A, 700))
    check_shares(calls.picks(d, 8000), { [A] = 700, [B] = 200, [C] = 700 }, 8000, 0.01)
    -- No catching up in the first picks either.
    assert(d:set_node("svc", B, 1400))
    check_shares(calls.picks(d, 280), { [A] = 700, [B] = 1400, [C] = 700 }, 280, 0.02)
  end)

  it("change with a weight that a registered node changes", function()
    local registry = "memory://shares-" .. port.free()
    local one = calls.stop_at_end(assert(discover.start(registry, "svc", A, { weight = 100 })))
    calls.stop_at_end(assert(discover.start(registry, "svc", B, { weight = 100 })))
    local d = calls.stop_at_end(assert(discover.open(registry, { calls = { svc = {} } })))
    check_shares(calls.picks(d, 1000), { [A] = 1, [B] = 1 }, 1000, 0.01)
    assert(one:set_weight(300))
    wait.until_true(function() return calls.node(d, A).weight == 300 end, 5, "the weight")
    check_shares(calls.picks(d, 1000), { [A] = 3, [B] = 1 }, 1000, 0.01)
    -- Standby: out, and back.
    assert(one:set_weight(0))
    wait.until_true(function() return not calls.node(d, A) end, 5, "standby")
    assert.same({ [B] = 100 }, calls.picks(d, 100))
    assert(one:set_weight(100))
    wait.until_true(function() return calls.node(d, A) end, 5, "the node to return")
    check_shares(calls.picks(d, 1000), { [A] = 1, [B] = 1 }, 1000, 0.01)
  end)

  it("of a node added late are its own, not all #core", function()
    local d = calls.client{ A, B }
    calls.picks(d, 2000)
    assert(d:set_node("svc", C, 100))
    local first = calls.picks(d, 12)
    assert.is_true((first[C] or 0) <= 6, "the newcomer took " .. tostring(first[C]) .. " of 12")
    check_shares(calls.picks(d, 3000), { [A] = 1, [B] = 1, [C] = 1 }, 3000, 0.01)
  end)

  it("of nodes joining one after the other never starve the old ones", function()
    local d = calls.client{ A }
    for i = 1, 50 do
      assert(d:set_node("svc", "127.0.0.1:" .. 9100 + i, 100))
      calls.picks(d, 100)
    end
    local count, nodes = calls.picks(d, 5100), 0
    for addr, n in pairs(count) do
      nodes = nodes + 1
      assert.is_true(n >= 95 and n <= 105, addr .. " got " .. n .. ", expected about 100")
    end
    assert.equal(51, nodes)
  end)

  it("of short-lived programs do not all begin at the same node", function()
    local registry, first = "memory://shares-" .. port.free(), {}
    for _, addr in ipairs{ A, B, C } do calls.stop_at_end(assert(discover.start(registry, "svc", addr))) end
    for _ = 1, 60 do
      local d = assert(discover.open(registry, { calls = { svc = {} } }))
      local node = assert(d:pick "svc")
      first[node.addr] = (first[node.addr] or 0) + 1
      d:stop()
    end
    for _, addr in ipairs{ A, B, C } do
      assert.is_true((first[addr] or 0) >= 3, addr .. " came first " .. tostring(first[addr]) .. " times of 60")
    end
  end)
end)

describe("balancer #api", function()
  it("least_used is the default and counts used_times", function()
    local d, weights = weighted "least_used"
    check_shares(calls.picks(d, 1000), weights, 1000, 0.01)
    local used = 0
    for addr, node in pairs(d:get_app_nodes "svc") do
      used = used + node.used_times
      assert.equal(0, node.in_flight, addr)
    end
    assert.is_true(used >= 1000)
  end)

  it("round_robin is weighted and smooth", function()
    local d, weights = weighted "round_robin"
    check_shares(calls.picks(d, 10000), weights, 10000, 0.001)
    for _ = 1, 50 do
      local count = calls.picks(d, 10)
      assert.is_true((count[A] or 0) <= 2 and count[C] >= 6, "a burst")
    end
  end)

  it("round_robin does not care how long nodes are held", function()
    local d = calls.client({ A, B }, { balancer = "round_robin" })
    local count = {}
    for _ = 1, 100 do
      local node = d:pick "svc"
      count[node.addr] = (count[node.addr] or 0) + 1
      if node.addr == B then node:done() end
    end
    assert.same({ [A] = 50, [B] = 50 }, count)
  end)

  it("random follows the weights", function()
    local d, weights = weighted "random"
    check_shares(calls.picks(d, 100000), weights, 100000, 0.01)
    -- and is not a fixed order: three of the lightest in a row happen in 100,000 picks
    local run, longest = 0, 0
    for _ = 1, 20000 do
      local node = d:pick "svc"
      run = node.addr == A and run + 1 or 0
      longest = math.max(longest, run)
      node:done()
    end
    assert.is_true(longest >= 2, "never twice in a row the lightest")
  end)

  it("least_in_flight fills by weight and refills what is done", function()
    local d = weighted "least_in_flight"
    local held = {}
    for _ = 1, 100 do held[#held + 1] = d:pick "svc" end
    local nodes = d:get_app_nodes "svc"
    assert.same({ 10, 20, 70 }, { nodes[A].in_flight, nodes[B].in_flight, nodes[C].in_flight })
    for _ = 1, 5 do nodes[B]:done() end
    assert.equal(15, nodes[B].in_flight)
    for _ = 1, 5 do assert.equal(B, d:pick("svc").addr) end
    for _, node in ipairs(held) do node:done() end
    assert.same({ 0, 0, 0 }, { nodes[A].in_flight, nodes[B].in_flight, nodes[C].in_flight })
  end)

  it("hash keeps a key at its node, whoever asks and in whatever order nodes came", function()
    local one = calls.client({ A, B, C, D }, { balancer = "hash" })
    local two = calls.client({ D, B, A, C }, { balancer = "hash" })
    local where = {}
    for i = 1, 2000 do
      local key = "player-" .. i
      where[key] = one:pick("svc", { key = key }).addr
      assert.equal(where[key], two:pick("svc", { key = key }).addr)
    end
    -- Only the keys of a node that goes move; they come back with it.
    assert(one:set_node("svc", B, 0))
    for key, addr in pairs(where) do
      local now = one:pick("svc", { key = key }).addr
      if addr == B then assert.not_equal(B, now) else assert.equal(addr, now) end
    end
    assert(one:set_node("svc", B, 100))
    for key, addr in pairs(where) do assert.equal(addr, one:pick("svc", { key = key }).addr) end
  end)

  it("hash follows the weights over many keys, and without a key is least_used", function()
    local d, weights = weighted "hash"
    local count = {}
    for i = 1, 10000 do
      local node = d:pick("svc", { key = "k" .. i })
      count[node.addr] = (count[node.addr] or 0) + 1
      node:done()
    end
    check_shares(count, weights, 10000, 0.02)
    check_shares(calls.picks(d, 1000), weights, 1000, 0.05)
  end)

  it("hash serves calls: a key's node while it lives, else the same other one", function()
    local a, b, c = service.nginx(), service.nginx(), service.nginx()
    local d = calls.client({ a, b, c }, { balancer = "hash" })
    local function call() return d:request{ app = "svc", path = "/", key = "player-7" } end
    local home = call().node
    for _ = 1, 20 do assert.equal(home, call().node) end
    for _, s in ipairs{ a, b, c } do if s.addr == home then s.kill() end end
    local res = call()
    assert.is_true(res.ok, tostring(res))
    assert.equal(2, res.attempts)
    local other = res.node
    for _ = 1, 20 do assert.equal(other, call().node) end
  end)

  it("least_in_flight lets idle nodes of one weight take turns", function()
    local d = calls.client({ A, B, C }, { balancer = "least_in_flight" })
    check_shares(calls.picks(d, 900), { [A] = 1, [B] = 1, [C] = 1 }, 900, 0.01)
  end)

  it("can be changed while nodes are in use", function()
    local d = calls.client{ A, B, C }
    local held = {}
    for _, name in ipairs{ "round_robin", "least_in_flight", "least_used", "random", "hash", "round_robin" } do
      d:set_load_balancer(name)
      for _ = 1, 3 do held[#held + 1] = d:pick "svc" end
      if name ~= "random" then check_shares(calls.picks(d, 900), { [A] = 1, [B] = 1, [C] = 1 }, 900, 0.05) end
    end
    d:set_load_balancer(nil)
    for _, node in ipairs(held) do node:done() end
    for addr, node in pairs(d:get_app_nodes "svc") do assert.equal(0, node.in_flight, addr) end
  end)

  it("of an unknown name raises and lists the known ones", function()
    local ok, why = pcall(discover.new, { balancer = "best" })
    assert.is_false(ok)
    assert.matches("least_used", why)
    assert.matches("best", why)
    local d = calls.client()
    assert.error_matches(function() d:set_load_balancer "worst" end, "round_robin")
  end)

  it("of the user sees used nodes with their counters and own data", function()
    local d = calls.client({ A, B })
    d:set_load_balancer{ next = function(_, nodes)
      local best = nodes[1]
      for _, node in ipairs(nodes) do
        if (node.data.n or 0) < (best.data.n or 0) then best = node end
      end
      best.data.n = (best.data.n or 0) + 1
      return best
    end }
    local count = calls.picks(d, 100)
    collectgarbage()
    assert.same({ [A] = 50, [B] = 50 }, count)
    assert.equal(50, calls.node(d, A).data.n)
  end)
end)
