-- futures - many GETs in flight from one thread, kept alive, against a local nginx: futures of the core and of Lua, a
-- plain curl_multi loop in C, lua-http on cqueues; wrk shows what the server gives at most. And what an idle poll
-- costs.
local cqueues = require "cqueues"
local discover = require "discover"
local http_client = require "http.client"
local http_headers = require "http.headers"
local measure = require "bench.measure"
local multi = require "discover_bench_multi"
local nginx = require "spec.support.nginx"
local ports = require "spec.support.port"
local proc = require "spec.support.proc"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

local function client(addr)
  local d = assert(discover.new { calls = { bench = { timeout = 600, deadline = 600 } } })
  assert(d:set_node("bench", addr, 100))
  return d
end

-- n GETs, `wide` of them in flight; each that ends starts the next.
local function with_futures(d)
  local calls = d:async()
  return function(wide, n)
    local left, ended = n, 0
    local function next_call(res)
      if res then
        assert(res.ok, res.why)
        ended = ended + 1
      end
      if left == 0 then return end
      left = left - 1
      calls:get("bench", "/"):on(next_call)
    end
    for _ = 1, wide do next_call() end
    while ended < n do d:poll(1) end
  end
end

-- The same with a coroutine for each.
local function with_coroutines(d)
  local calls = d:async()
  return function(wide, n)
    local left, ended = n, 0
    for _ = 1, wide do
      coroutine.wrap(function()
        while left > 0 do
          left = left - 1
          assert(calls:get("bench", "/"):await().ok)
          ended = ended + 1
        end
      end)()
    end
    while ended < n do d:poll(1) end
  end
end

-- lua-http: a connection and a coroutine for each of `wide`, in a controller of cqueues.
local function with_lua_http(addr)
  local host, port = addr:match "^(.*):(%d+)$"
  local head = http_headers.new()
  head:append(":method", "GET")
  head:append(":scheme", "http")
  head:append(":authority", addr)
  head:append(":path", "/")
  return function(wide, n)
    local left, loop = n, cqueues.new()
    for _ = 1, wide do
      loop:wrap(function()
        local connection = assert(http_client.connect { host = host, port = tonumber(port), version = 1.1 })
        while left > 0 do
          left = left - 1
          local stream = assert(connection:new_stream())
          assert(stream:write_headers(head, true))
          assert(assert(stream:get_headers()):get ":status" == "200")
          assert(stream:get_body_as_string())
        end
        connection:close()
      end)
    end
    assert(loop:loop())
  end
end

-- Microseconds of a request by wrk, one thread of it.
local function with_wrk(addr, wide)
  local text = proc.shell(("wrk -t1 -c%d -d1s http://%s/ 2>&1"):format(wide, addr))
  return 1e6 / tonumber(text:match "Requests/sec:%s*([%d.]+)")
end

local function rows_of(settings, addr, wide)
  local n = settings.count(20000, 5 * wide)
  local few = math.max(wide, n // 5)
  local ours, suspended, lua_http = with_futures(client(addr)), with_coroutines(client(addr)), with_lua_http(addr)
  local url = "http://" .. addr .. "/"

  local function per_call(name, fn, count)
    return { name, function() return measure.seconds(fn, wide, count) / count * 1e6 end }
  end

  local variants = {
    per_call("curl", function(w, count) multi.curl(url, w, count) end, n),
    per_call("core", function(w, count) multi.core(addr, "/", w, count) end, n),
    per_call("lua", ours, n),
    per_call("await", suspended, n),
    { "wrk", function() return with_wrk(addr, wide) end },
  }
  if wide <= 64 then variants[#variants + 1] = per_call("lua_http", lua_http, few) end
  local figures = measure.rounds(math.ceil(settings.rounds / 3), variants)

  local function row(what, mine, theirs, peer_name, target)
    return {
      what = ("%s, %d in flight"):format(what, wide), unit = "us", ours = measure.median(figures[mine]),
      peer = measure.median(figures[theirs]), ratio = measure.ratio(figures[mine], figures[theirs]),
      peer_name = peer_name, target = target,
    }
  end
  -- 0.90 and 0.80 of its throughput, said as times.
  local core_target = wide == 64 and measure.at_most(1 / 0.90, "ratio", "<= 1.11 x peer") or nil
  local lua_target = wide == 64 and measure.at_most(1 / 0.80, "ratio", "<= 1.25 x peer") or nil
  local plain = "a plain curl_multi loop in C"
  local rows = {
    row("GET, futures of the core from C", "core", "curl", plain, core_target),
    row("GET, futures from Lua, on", "lua", "curl", plain, lua_target),
    row("GET, futures from Lua, await", "await", "curl", plain),
    row("GET, futures from Lua, on", "lua", "wrk", "wrk, one thread: the server's ceiling"),
  }
  if figures.lua_http then
    rows[#rows + 1] = row("GET, futures from Lua, on", "lua", "lua_http", "lua-http on cqueues, connections kept")
  end
  return rows
end

-- A poll with nothing to do, for a game loop that calls it each tick; `fd`: a loop of another library waits for it too.
local function idle_row(settings, addr, fd)
  local d = client(addr)
  assert(d:get("bench", "/").ok)
  if fd then assert(d:pollfd()) end
  local n = settings.count(100000, 10000)
  local figures = measure.rounds(settings.rounds, {
    { "idle", function()
      return measure.seconds(function()
        for _ = 1, n do d:poll() end
      end) / n * 1e6
    end },
  })
  d:stop()
  return { what = "an idle d:poll()" .. (fd and ", d:pollfd() used" or ""), unit = "us",
           ours = measure.median(figures.idle) }
end

-- The longest poll of many, while calls to a node that is mute and to names that nobody resolves begin and end, and
-- Redis hangs.
local function worst_row(settings)
  local r, hole = redis.start(), ports.blackhole()
  local d = assert(discover.open(r:url(), {
    calls = { web = {}, ["*"] = { timeout = 0.05, connect_timeout = 0.05, deadline = 0.1 } }, log_level = "off" }))
  assert(d:set_node("mute", hole.addr, 100))
  assert(d:set_node("nameless", "no-such-host.invalid:80", 100))
  r:pause()
  local calls, n = d:async(), settings.count(2000, 200)
  local figures = measure.rounds(settings.rounds, {
    { "worst", function()
      local worst = 0
      for i = 1, n do
        if i % 20 == 1 then
          for _, app in ipairs{ "mute", "nameless", "unheard-of" } do calls:get(app, "/") end
        end
        worst = math.max(worst, measure.seconds(d.poll, d))
        wait.pass(0.0001)
      end
      return worst * 1000
    end },
  })
  r:resume()
  d:stop()
  return { what = "the longest d:poll() of " .. n .. ", all peers hang", unit = "ms",
           ours = measure.median(figures.worst), target = measure.at_most(5, "ours", "<= 5 ms") }
end

return function(settings)
  local conf = ("    access_log off; location = / { return 200 %s; }"):format(("x"):rep(100))
  local server = nginx.start { servers = { h1 = { conf = conf } } }
  local addr, rows = server.h1.addr, {}
  for _, wide in ipairs { 64, 1000 } do
    for _, row in ipairs(rows_of(settings, addr, wide)) do rows[#rows + 1] = row end
  end
  rows[#rows + 1] = idle_row(settings, addr)
  rows[#rows + 1] = idle_row(settings, addr, true)
  rows[#rows + 1] = worst_row(settings)
  return rows
end
