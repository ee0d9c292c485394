-- A discoverer in the loop of another library: its descriptor is readable when poll has something to do, else not.
-- The loops of cqueues, luv and LuaSocket themselves: spec/examples_spec.lua.
local calls = require "spec.support.calls"
local cqueues = require "cqueues"
local discover = require "discover"
local lua_run = require "spec.support.lua_run"
local port = require "spec.support.port"
local redis = require "spec.support.redis"
local service = require "spec.support.service"
local socket = require "socket"
local wait = require "spec.support.wait"
local ws = require "spec.support.ws"

-- True when its descriptor is readable within `seconds`; select takes what has getfd().
local function readable(d, seconds)
  return #socket.select({ d }, nil, seconds) == 1
end

-- Polls only when the descriptor is readable, until the condition holds. Returns how often.
local function await(d, condition, what)
  local rounds, deadline = 0, wait.now() + wait.scale(10)
  while not condition() do
    local left = deadline - wait.now()
    assert(left > 0 and readable(d, left), what .. " did not make it readable")
    assert(d:poll())
    rounds = rounds + 1
  end
  return rounds
end

-- After a few polls there is nothing to do any more.
local function assert_quiet(d)
  for _ = 1, 5 do
    if not readable(d, 0.03) then return end
    d:poll()
  end
  assert.is_false(readable(d, 0.03))
end

describe("loops #api", function()
  local server

  setup(function() server = service.start() end)

  it("the methods that loops ask for", function()
    local d = calls.client{ server }
    local fd = d:pollfd()
    assert.is_number(fd)
    assert.equal(fd, d:pollfd())
    assert.equal(fd, d:getfd())
    assert.equal("r", d:events())
    assert.is_nil(d:timeout())
    assert_quiet(d)
    local future = d:async():get("nobody", "/")
    assert.is_true(future:ready())
    future:on(function() end)
    assert.equal(0, d:timeout())
    assert.is_true(readable(d, 1))
    d:poll()
    assert_quiet(d)
    local slow = d:async():request{ method = "GET", app = "svc", path = "/slow?ms=5000", deadline = 60 }
    assert_quiet(d)
    assert.is_true(d:timeout() > 0 and d:timeout() <= 60)
    slow:cancel()
    d:stop()
  end)

  it("an answer, a deadline, a refusal, a retry: nothing is missed, nothing spins", function()
    local hole, refused = port.blackhole(), port.refused()
    local d = calls.client({ server }, { calls = { ["*"] = { connect_timeout = 10 } } })
    calls.set(d, "mute", { hole })
    calls.set(d, "dead", { refused })
    calls.set(d, "both", { { refused.addr, calls.FIRST }, { server, 1 } })
    local async, told = d:async(), {}
    local function begin(app, more)
      local request = { method = "GET", app = app, path = "/name" }
      for key, value in pairs(more or {}) do request[key] = value end
      async:request(request):on(function(res) told[app] = res end)
      return await(d, function() return told[app] end, app)
    end
    assert.is_true(begin "svc" <= 5)
    assert.is_true(begin("mute", { deadline = 0.1 }) <= 5)
    assert.is_true(begin "dead" <= 5)
    assert.is_true(begin "both" <= 10)
    assert.equal("timeout", told.mute.err)
    assert.equal("connect", told.dead.err)
    assert.is_true(told.svc.ok and told.both.ok)
    assert.equal(2, told.both.attempts)
    assert_quiet(d)
    d:stop()
  end)

  it("a thousand calls, each awaited by the loop alone", function()
    local d = calls.client({ server }, { calls = { ["*"] = { connect_timeout = 10 } } })
    local async, done, rounds = d:async(), 0, 0
    for i = 1, 1000 do
      async:get("svc", "/name"):on(function(res)
        assert(res.ok, tostring(res))
        done = done + 1
      end)
      if i > 500 or i % 100 == 0 then
        rounds = rounds + await(d, function() return done == i end, "call " .. i)
      end
    end
    assert.is_true(rounds <= 3000, rounds)
    assert_quiet(d)
    d:stop()
  end)

  it("a message of a WebSocket, and a call that waits in line", function()
    local echo = ws.python()
    local d = calls.client({ server }, { calls = { svc = { max_in_flight = 1, queue = 5 } } })
    calls.set(d, "chat", { echo })
    local socket_of, got = assert(d:open("chat", "/echo")), nil
    socket_of:on_message(function(_, data) got = data end)
    assert_quiet(d)
    assert(socket_of:send "hello")
    await(d, function() return got end, "a message")
    assert.equal("hello", got)
    local first, second = d:async():get("svc", "/slow?ms=50"), d:async():get("svc", "/name")
    await(d, function() return second:ready() end, "the line")
    assert.is_true(first:wait(0).ok and second:wait(0).ok)
    socket_of:close()
    d:stop()
  end)

  it("what the registry tells from its thread", function()
    local r = redis.start()
    local seen, records = {}, 0
    local d = calls.stop_at_end(assert(discover.open(r:url(), {
      calls = { web = {} }, log_level = "warn", logger = function() records = records + 1 end })))
    assert_quiet(d)
    -- set only now: what happened before does not count
    d:on_event(function(event) seen[event.name .. " " .. tostring(event.node)] = true end)
    for i = 1, 10 do
      local addr = "127.0.0.1:" .. 7000 + i
      r:add_node("web", addr)
      await(d, function() return seen["node_added " .. addr] end, "a node")
    end
    assert_quiet(d)
    r:kill()
    await(d, function() return seen["registry_down nil"] and records > 0 end, "the end of Redis")
    d:stop()
  end)

  it("once it stopped it is readable, so that whoever waits looks", function()
    local d = calls.client()
    local fd, loop, rounds = d:pollfd(), cqueues.new(), 0
    loop:wrap(function()
      while d:poll() do
        rounds = rounds + 1
        cqueues.poll(d)
      end
    end)
    loop:wrap(function()
      cqueues.sleep(0.05)
      d:stop()
    end)
    assert(loop:loop(wait.scale(10)))
    assert.is_true(loop:empty())
    assert.is_true(rounds <= 3)
    assert.equal(fd, d:pollfd())
    assert.equal(0, d:timeout())
    assert.is_true(readable(d, 1))
    assert.equal("stopped", select(3, d:poll()))
    local other = calls.client()
    other:stop()
    assert.equal("stopped", select(3, other:pollfd()))
    assert.is_nil((other:getfd()))
  end)

  it("a logger that calls does not spin", function()
    local records, d = 0, nil
    d = calls.client({ server }, { log_level = "info", logger = function()
      records = records + 1
      if records < 1000 then d:get("svc", "/name") end
    end })
    d:get("svc", "/name")
    local polls, finish = 0, wait.now() + 0.3
    while wait.now() < finish do
      if readable(d, 0.02) then polls = polls + 1 d:poll() end
    end
    assert.is_true(records > 1)
    assert.is_true(polls < 60, polls)
    d:set_logger()
    d:stop()
  end)

  it("descriptors come back, and two do not disturb each other", function()
    local run = lua_run([[
      local discover = require "discover"
      local socket = require "socket"
      local function output(command)
        local p = io.popen(command)
        local text = p:read "*a"
        p:close()
        return text
      end
      local pid = output("echo $PPID"):match "%d+"
      -- No pipes: that of popen is among them, with one end or both.
      local command = "find /proc/" .. pid .. "/fd -type l -printf '%l\\n' 2>/dev/null | grep -vc pipe:"
      local function open() return assert(tonumber(output(command))) end
      local before
      for round = 1, 30 do
        local one, two = discover.new(), discover.new()
        assert(one:pollfd() ~= two:pollfd())
        one:async():get("nobody", "/"):on(function() end)
        local ready = socket.select({ one, two }, nil, 0.5)
        assert(#ready == 1 and ready[1] == one, #ready)
        if round % 2 == 0 then one:stop() end
        one, two, ready = nil, nil, nil
        collectgarbage() collectgarbage()
        before = before or open()
      end
      assert(open() <= before, open() .. " " .. before)
    ]])
    assert.equal("", run.err)
    assert.equal(0, run.code)
  end)
end)
