-- Memory runs out for a moment, once, at each place of the library that asks for it, in the course of a whole session
-- with Redis, HTTP, streams and WebSockets, plain and over TLS: see memory_session.c.
local build = require "spec.support.build"
local certs = require "spec.support.certs"
local nginx = require "spec.support.nginx"
local proc = require "spec.support.proc"
local redis = require "spec.support.redis"
local service = require "spec.support.service"
local wait = require "spec.support.wait"
local ws = require "spec.support.ws"

local WRAPPED = { "dsc_mem_alloc", "dsc_mem_zalloc", "dsc_mem_realloc", "dsc_mem_strdup" }
local PARTS = 2

describe("our allocator", function()
  local program

  setup(function()
    program = proc.tmpdir() .. "/memory_session"
    local flags = { "-std=gnu11 -O1 -g -DDSC_TESTING -I csrc" }
    for _, name in ipairs(WRAPPED) do flags[#flags + 1] = "-Wl,--wrap=" .. name end
    local command = "cc %s -o %s spec/faults/memory_session.c %s/libdiscover.a " ..
      "$(pkg-config --libs libsodium libuv hiredis libcurl libcares libssl libcrypto) -lm -pthread 2>&1"
    local said = proc.shell(command:format(table.concat(flags, " "), program, build.folder))
    assert(proc.read_file(program), "memory_session.c does not compile: " .. said)
  end)

  -- Runs it in parts at once; each place's first and last allocation fails.
  local function survives(r, ca)
    local parts = {}
    for i = 1, PARTS do parts[i] = proc.start{ program, r:url(), ca, i - 1, PARTS, name = "memory" .. i } end
    local tried, struck = 0, 0
    for _, part in ipairs(parts) do
      local code = part:wait(280)
      local said = part:output()
      assert.equal(0, code, said)
      local t, s = said:match "tried (%d+) struck (%d+) broken 0"
      tried, struck = tried + tonumber(t), struck + tonumber(s)
    end
    -- Threads do not always go the same way, most do.
    assert.is_true(tried > 200, tried .. " tried")
    assert.is_true(struck > tried * 0.7, struck .. " of " .. tried .. " were met")
    wait.until_true(function() return r:cli("HLEN", "me") == 0 end, 5, "the goodbyes")
  end

  it("fails once at each of its places of a session, first and last hit: no crash, no leak, well again", function()
    local r = redis.start{ over = "plain" }
    local web = service.nginx{ ["/"] = "here", ["/big"] = ("x"):rep(2000) }
    local chat = ws.python()
    r:add_node("web", web.addr, 100, 3600)
    r:add_node("chat", chat.addr, 100, 3600)
    survives(r, "")
    web.kill()
    chat:kill()
    r:kill()
  end)

  it("fails once at each of its places of a session over TLS: no crash, no leak, well again", function()
    local made = certs.make()
    local r = redis.start{ over = "tls" }
    local web = nginx.start{ servers = { tls = { cert = made.server } } }
    local chat = ws.python{ cert = made.server.cert, key = made.server.key }
    r:add_node("web", web.tls.addr, 100, 3600)
    r:add_node("chat", chat.addr, 100, 3600)
    survives(r, made.ca)
    web:kill()
    chat:kill()
    r:kill()
  end)
end)
