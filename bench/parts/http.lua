-- http - one GET at a time, kept alive, of a small static answer of a local nginx, over HTTP/1.1 and h2c.
local discover = require "discover"
local http_client = require "http.client"
local http_headers = require "http.headers"
local measure = require "bench.measure"
local nginx = require "spec.support.nginx"
local peers = require "discover_bench_peers"
local socket_http = require "socket.http"

local function with_discover(addr, config)
  local d = assert(discover.new { calls = { bench = config or {} } })
  assert(d:set_node("bench", addr, 100))
  return function(n)
    for _ = 1, n do
      local res = d:get("bench", "/")
      assert(res.ok, res.why)
    end
  end
end

-- LuaSocket's own client: a connection per request, it knows no other way.
local function with_luasocket(addr)
  local url = "http://" .. addr .. "/"
  return function(n)
    for _ = 1, n do
      local body, status = socket_http.request(url)
      assert(body and status == 200, status)
    end
  end
end

-- lua-http's client on one connection that is kept.
local function with_lua_http(addr)
  local host, port = addr:match "^(.*):(%d+)$"
  local connection = assert(http_client.connect { host = host, port = tonumber(port), version = 1.1 })
  local head = http_headers.new()
  head:append(":method", "GET")
  head:append(":scheme", "http")
  head:append(":authority", addr)
  head:append(":path", "/")
  return function(n)
    for _ = 1, n do
      local stream = assert(connection:new_stream())
      assert(stream:write_headers(head, true))
      local answer = assert(stream:get_headers())
      assert(answer:get ":status" == "200")
      assert(stream:get_body_as_string())
    end
  end
end

return function(settings)
  local conf = ("    access_log off; location = / { return 200 %s; }"):format(("x"):rep(100))
  local server = nginx.start { servers = { h1 = { conf = conf }, h2c = { conf = conf, http2 = true } } }
  local h1, h2c = server.h1.addr, server.h2c.addr
  -- Short rounds, many of them: what else the machine does then hits ours and the peer alike.
  local n = settings.count(1000, 300)
  local few = math.max(50, n // 4)
  local ours, ours_h2c = with_discover(h1), with_discover(h2c, { http2 = true })
  local luasocket, lua_http = with_luasocket(h1), with_lua_http(h1)

  local cpu = setmetatable({}, { __index = function(t, name)
    t[name] = {}
    return t[name]
  end })

  -- Microseconds of one call, and aside the processor time that this process spends on it.
  local function per_call(name, fn, count)
    return { name, function()
      local start = os.clock()
      local figure = measure.seconds(fn, count) / count * 1e6
      table.insert(cpu[name], (os.clock() - start) / count * 1e6)
      return figure
    end }
  end

  local figures = measure.rounds(settings.rounds, {
    per_call("curl", function() peers.curl("plain", "http://" .. h1 .. "/", n) end, n),
    per_call("core", function() peers.core(h1, "/", n) end, n),
    per_call("same", function() peers.curl("same", "http://" .. h1 .. "/", n) end, n),
    per_call("lua", ours, n),
    per_call("curl_h2c", function() peers.curl("h2c", "http://" .. h2c .. "/", n) end, n),
    per_call("lua_h2c", ours_h2c, n),
    per_call("luasocket", luasocket, few),
    per_call("lua_http", lua_http, few),
  })
  -- The first round warms up.
  for _, list in pairs(cpu) do table.remove(list, 1) end

  local function row(what, mine, theirs, peer_name, target, of)
    of = of or figures
    return {
      what = what, unit = "us", ours = measure.median(of[mine]), peer = measure.median(of[theirs]),
      ratio = measure.ratio(of[mine], of[theirs]), peer_name = peer_name, target = target,
    }
  end
  local target = measure.at_most(1.10, "ratio", "<= 1.10 x peer")
  local plain, same = "curl_easy_perform in C, handle reused", "it sends the same headers"
  return {
    row("GET, d:get from Lua", "lua", "curl", plain, target),
    row("GET, the core from C", "core", "curl", plain, target),
    row("GET, d:get from Lua", "lua", "same", same),
    row("GET, the core from C", "core", "same", same),
    row("its processor time, from Lua", "lua", "same", "the same", nil, cpu),
    row("its processor time, from C", "core", "same", "the same", nil, cpu),
    row("GET over h2c, d:get from Lua", "lua_h2c", "curl_h2c", same),
    row("GET, d:get from Lua", "lua", "luasocket", "LuaSocket's http.request (does not keep alive)"),
    row("GET, d:get from Lua", "lua", "lua_http", "lua-http, connection kept"),
  }
end
