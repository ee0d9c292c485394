-- Every program in examples/ is run here, as its first lines say, against a private Redis.
local certs = require "spec.support.certs"
local http = require "spec.support.http"
local lua_run = require "spec.support.lua_run"
local nginx = require "spec.support.nginx"
local proc = require "spec.support.proc"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

local function run(name, args, env)
  local lua = table.concat(lua_run.interpreter(), " ")
  local words = { proc.root() .. "/examples/run", proc.root() .. "/examples/" .. name .. ".lua",
                  name = name, sanitize = true, env = { DISCOVER_BUILD = lua_run.build(), LUA = lua } }
  for _, word in ipairs(args or {}) do words[#words + 1] = word end
  for key, value in pairs(env or {}) do words.env[key] = value end
  return proc.start(words)
end

-- Runs one to its end and returns what it printed.
local function output(name, args, env)
  local p = run(name, args, env)
  local code = p:wait(20)
  assert.equal(0, code, name .. " failed:\n" .. p:output())
  return (p:output())
end

-- Starts a service and returns its proc and address once it serves.
local function serve(name, args, env)
  local p = run(name, args, env)
  local addr = wait.until_true(function()
    return not p:alive() or p:output():match "serving on (%S+:%d+), registered: true"
  end, 15, name .. " to serve")
  assert(p:alive(), name .. " ended:\n" .. p:output())
  return p, addr
end

describe("examples #api", function()
  local r, service, addr

  lazy_setup(function()
    r = redis.start()
    service, addr = serve("service", { r:url(), "100" })
  end)

  it("quickstart: no server at all", function()
    local text = output "quickstart"
    local counts = {}
    for node, count in text:gmatch "(127%S+)%s+(%d+)\n" do counts[node] = tonumber(count) end
    assert.is_true(math.abs(counts["127.0.0.1:8081"] - 100) <= 10, text)
    assert.is_true(math.abs(counts["127.0.0.1:8082"] - 200) <= 10, text)
    assert.is_true(math.abs(counts["127.0.0.1:8083"] - 700) <= 10, text)
    local _, left = text:gsub("still there", "")
    assert.equal(2, left)
  end)

  it("service: registers itself, answers, and says goodbye on SIGTERM", function()
    assert.equal("100", r:hash "hello"[addr])
    assert.equal("1", r:cli("GET", "hello_" .. addr))
    assert.equal("hello stranger, this is " .. addr .. "\n", select(2, http.get(addr, "/")))
    local p, other = serve("service", { r:url(), "7" })
    assert.equal("7", r:hash "hello"[other])
    p:kill "TERM"
    p:wait(10)
    assert.equal(15, p.signal)
    assert.is_nil(r:hash "hello"[other])
  end)

  it("client: retries, relay, POST", function()
    local text = output("client", { r:url() })
    assert.matches("200 from " .. addr:gsub("%p", "%%%0") .. " after 1 attempt", text)
    assert.matches("POST\t200\ttext/plain", text)
  end)

  it("client: shows what failed", function()
    local empty = redis.start()
    local text = output("client", { empty:url() })
    assert.matches("failed\tno_node", text)
  end)

  it("balancer", function()
    local text = output("balancer", { r:url() })
    local _, calls = text:gsub(addr:gsub("%p", "%%%0") .. "\t200\tnil", "")
    assert.equal(5, calls, text)
    assert.matches("%d+%.%d%d ms", text)
  end)

  it("route", function()
    local _, answered = output("route", { r:url() }):gsub("result%(200 ", "")
    assert.equal(2, answered)
  end)

  it("download: a stream into a file, with progress", function()
    local file = proc.tmpdir() .. "/deep/page"
    local text = output("download", { r:url(), "/", file })
    assert.matches("hello stranger", proc.read_file(file))
    assert.matches("download %d+ bytes %(100 %%%)", text)
    assert.matches("saved " .. file:gsub("%p", "%%%0"), text)
    assert.matches("failed\tno_node", output("download", { redis.start():url() }))
  end)

  it("tls: with an authority of one's own", function()
    local made = certs.make()
    local n = nginx.start{ servers = { node = { http2 = true, cert = made.named } } }
    r:add_node("secure", n.node.addr)
    local text = output("tls", { r:url(), "secure", made.ca, "node.test" })
    assert.matches("HTTP/2\tfrom\t" .. n.node.addr:gsub("%p", "%%%0"), text)
    local stranger = output("tls", { r:url(), "secure", made.foreign_ca, "node.test" })
    assert.matches("failed\ttls\t.*unknown authority", stranger)
    assert.matches("failed\ttls\t", output("tls", { r:url(), "secure", made.ca }))
    n:kill()
  end)

  it("easy_start: all from the environment", function()
    local p, where = serve("easy_start", {}, { DISCOVER_REGISTRY = r:url(), DISCOVER_APP = "easy",
                                               DISCOVER_WEIGHT = "42", DISCOVER_LISTEN = "127.0.0.1:0" })
    local nodes = r:hash "easy"
    assert.equal("42", nodes[where])
    assert.equal(204, (http.get(where, "/")))
    p:kill "TERM"
    p:wait(10)
    assert.same({}, r:hash "easy")
  end)

  it("futures: all, any, coroutines", function()
    local text = output("futures", { r:url() })
    assert.matches("all\t10 of 10 answered\n", text)
    assert.matches("any\tresult%(200 ", text)
    for name = 1, 2 do assert.matches("coroutine " .. name .. "\t200\t200\n", text) end
    local failed = output("futures", { redis.start():url() })
    assert.matches("all\t0 of 10 answered\n", failed)
    assert.matches("coroutine 1\tno_node\tno_node\n", failed)
  end)

  it("game_loop: a tick never waits", function()
    assert.matches("^60 ticks, 30 saved, 0 failed, [%d.]+ ms", output("game_loop", { r:url(), "60" }))
    local empty = redis.start()
    assert.matches("^20 ticks, 0 saved, 10 failed, [%d.]+ ms", output("game_loop", { empty:url(), "20" }))
  end)

  it("websocket, websocket_echo: a conversation", function()
    local p, where = serve("websocket_echo", { r:url() })
    local text = output("websocket", { r:url() })
    assert.matches("open\t" .. where:gsub("%p", "%%%0") .. "\tchat\n", text)
    assert.matches("received\ttext\t5\n", text)
    assert.matches("received\tbinary\t4\n", text)
    assert.matches("ended\tclosed\t", text)
    assert.matches("closed\tclosed\t1000\t3\n", text)
    p:kill "TERM"
    p:wait(10)
  end)

  -- No busy wait: in two idle seconds hardly a poll. No missed wake-up: every call is answered.
  for _, name in ipairs{ "loop_copas", "loop_cqueues", "loop_luv", "loop_socket" } do
    it(name, function()
      local text = output(name, { r:url(), "1000" })
      assert.is_true(tonumber(text:match "idle: (%d+) polls\n") <= 10, text)
      local polls = tonumber(text:match "1000 calls: (%d+) polls\n")
      assert.is_true(polls <= 4000, text)
    end)
  end

  it("all are short, and all are here", function()
    local source = proc.read_file(proc.root() .. "/spec/examples_spec.lua")
    for name in proc.shell("ls examples/*.lua"):gmatch "examples/([%w_]+)%.lua" do
      local _, lines = proc.read_file(proc.root() .. "/examples/" .. name .. ".lua"):gsub("\n", "\n")
      assert.is_true(lines < 40, name .. " has " .. lines .. " lines")
      assert.is_truthy(source:find('"' .. name .. '"', 1, true), name .. " is not run by this spec")
    end
  end)

  lazy_teardown(function() service:kill "TERM" end)
end)
