-- Background probes: isolated nodes come back without traffic.
local calls = require "spec.support.calls"
local certs = require "spec.support.certs"
local discover = require "discover"
local lua_run = require "spec.support.lua_run"
local nginx = require "spec.support.nginx"
local port = require "spec.support.port"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local function client(nodes, config, opts)
  opts = opts or {}
  opts.call_retry_times, opts.calls = opts.call_retry_times or 1, { svc = config }
  return calls.client(nodes, opts)
end

local function isolate(d, s)
  calls.node(d, s):done(false)
  assert.equal("isolated", calls.node(d, s).state)
  return wait.now()
end

local function wait_for_state(d, s, state)
  wait.until_true(function() return calls.node(d, s).state == state end, 15, "the node to be " .. state)
end

describe("probe #api", function()
  it("brings a node back that nobody calls, after its period #core", function()
    local s, events = calls.answering(), {}
    local d = client({ s }, { probe = "/health?deep=1", token = "secret" })
    d:on_event(function(event) events[#events + 1] = event.name end)
    local from = isolate(d, s)
    wait_for_state(d, s, "up")
    assert.is_true(wait.now() - from >= 0.45)
    local requests = s:requests()
    assert.equal(1, #requests)
    assert.same({ "GET", "/health?deep=1" }, { requests[1].method, requests[1].path })
    assert.is_nil(requests[1].headers["access-token"])
    d:poll(0)
    assert.equal("recovered", events[#events])
    assert.same({ 1, 1 }, { d:stats().apps.svc.isolations, d:stats().apps.svc.recoveries })
    assert.equal(0, calls.node(d, s).in_flight)
  end)

  it("goes on until the node is well, and asks no node that is not isolated", function()
    local bad, well = service.start(), service.start()
    local d = client({ bad, well }, { probe = "/name" })
    bad:control{ fail = 500 }
    isolate(d, bad)
    wait.until_true(function() return bad:count() == 1 end, 15, "a probe")
    assert.not_equal("up", calls.node(d, bad).state)
    bad:control()
    wait_for_state(d, bad, "up")
    assert.equal(2, bad:count())
    assert.equal(0, well:count())
  end)

  it("spares the calls: none of them is the probe while a node is usable", function()
    local bad, well = service.start(), calls.answering()
    local d = client({ bad, well }, { probe = "/name" })
    bad:control{ fail = 503 }
    isolate(d, bad)
    wait.until_true(function()
      local res = d:get("svc", "/")
      assert.same({ well.addr, 1 }, { res.node, res.attempts })
      return bad:count() >= 1
    end, 15, "a probe")
    assert.equal(bad:count(), bad:count "GET /name")
  end)

  it("of a node that does not answer ends by its own time limit", function()
    local dead = port.refused()
    local mute = require "spec.support.scripted".http("read_request", "hang")
    local d = client({ mute, dead }, { probe = "/", timeout = 0.1 })
    isolate(d, mute)
    isolate(d, dead)
    wait.until_true(function() return #mute:requests() >= 1 end, 20, "a probe")
    wait_for_state(d, mute, "isolated")
    wait_for_state(d, dead, "isolated")
    mute:restart{ { "read_request", { "respond", 204, "" }, "loop" } }
    wait_for_state(d, mute, "up")
  end)

  it("goes over TLS as calls do", function()
    local set = certs.make()
    local s = nginx.start{ servers = { tls = { cert = set.server } } }.tls
    local d = client({ s }, { probe = "/", ssl = true, tls = { ca = set.ca } })
    local other = client({ s }, { probe = "/", ssl = true })
    isolate(d, s)
    isolate(other, s)
    wait_for_state(d, s, "up")
    wait.until_true(function() return calls.node(other, s).failed_times >= 2 end, 15, "a probe that fails")
    assert.not_equal("up", calls.node(other, s).state)
  end)

  it("of \"*\" is for all apps without a config of their own", function()
    local one, two = calls.answering(), calls.answering()
    local d = calls.client(nil, { call_retry_times = 1, calls = { ["*"] = { probe = "/" }, own = {} } })
    calls.set(d, "loose", { one })
    calls.set(d, "own", { two })
    for app, s in pairs{ loose = one, own = two } do calls.node(d, s, app):done(false) end
    wait.until_true(function() return calls.node(d, one, "loose").state == "up" end, 15, "the node to be up")
    assert.equal("isolated", calls.node(d, two, "own").state)
    assert.equal(0, #two:requests())
  end)

  it("may be changed and taken away", function()
    local s = calls.answering()
    local d = client({ s }, { probe = "/old" })
    assert(d:add_external_app("svc", { probe = "/new" }))
    isolate(d, s)
    wait_for_state(d, s, "up")
    assert.equal("/new", s:requests()[1].path)
    assert(d:add_external_app("svc", {}))
    isolate(d, s)
    d:wait(1.7)
    assert.equal(1, #s:requests())
  end)

  it("is bad input if it is no path", function()
    for _, bad in ipairs{ "", "health", "/a b", "/a\n" } do
      local d, why, code = discover.new{ calls = { svc = { probe = bad } } }
      assert.same({ nil, "invalid" }, { d, code })
      assert.matches("probe", why)
    end
  end)

  it("survives stops, collection and exits in its midst", function()
    local s = require "spec.support.scripted".http("read_request", "hang")
    for _ = 1, 20 do
      local d = client({ s }, { probe = "/" })
      isolate(d, s)
      d:stop()
    end
    local script = [[
      local discover = require "discover"
      for i = 1, 5 do
        local d = discover.new{ call_retry_times = 1, log_level = "off", calls = { svc = { probe = "/" } } }
        d:set_node("svc", "]] .. s.addr .. [[", 1)
        d:get_app_nodes("svc")["]] .. s.addr .. [["]:done(false)
        if i % 2 == 0 then d = nil; collectgarbage() end
        kept = d
      end
      os.exit(0)
    ]]
    local res = lua_run(script)
    assert.is_true(res.ok, res.err)
  end)
end)
