-- Hosts of their own, as network namespaces, and a network between them that loses every packet one way: nothing is
-- refused, nothing is reset, it is just silent. Needs root (ip netns); skipped where that is not allowed.
local json = require "dkjson"
local lua_run = require "spec.support.lua_run"
local proc = require "spec.support.proc"
local wait = require "spec.support.wait"

local TAG = ("dsc%d"):format(tonumber((proc.shell "echo $PPID")) % 100000)
local HERE, THERE = TAG .. "a", TAG .. "b" -- clients; servers
local REDIS, ONE, TWO = "10.213.0.1", "10.213.0.2", "10.213.0.3"

local function try(command) return (os.execute(command .. " >/dev/null 2>&1")) end

local function works(command)
  local ok = try(command)
  return ok == true or ok == 0
end

local function remove_hosts()
  works("ip netns del " .. HERE)
  works("ip netns del " .. THERE)
end

-- Two hosts with a cable between them; nothing of it touches this machine's own network.
local function make_hosts()
  local commands = {
    "ip netns add " .. HERE, "ip netns add " .. THERE,
    ("ip -n %s link add c0 type veth peer name c1 netns %s"):format(HERE, THERE),
    ("ip -n %s addr add 10.213.0.100/24 dev c0"):format(HERE),
    ("ip -n %s link set c0 up"):format(HERE), ("ip -n %s link set lo up"):format(HERE),
    ("ip -n %s link set c1 up"):format(THERE), ("ip -n %s link set lo up"):format(THERE),
  }
  for _, addr in ipairs{ REDIS, ONE, TWO } do
    commands[#commands + 1] = ("ip -n %s addr add %s/24 dev c1"):format(THERE, addr)
  end
  for _, command in ipairs(commands) do
    if not works(command) then
      remove_hosts()
      return nil, command
    end
  end
  return true
end

-- What that address sends is lost from now on, or not any more.
local function silence(addr, on)
  local command = ("ip -n %s rule %s from %s priority 10 blackhole"):format(THERE, on and "add" or "del", addr)
  assert(works(command), command)
end

local CLIENT = [==[
local json, socket = require "dkjson", require "socket"
local discover = require "discover"
local state, redis = arg[1], arg[2]
local d = assert(discover.start("redis://" .. redis, "mine", "10.213.0.100:80", {
  ttl = 2, heartbeat = 0.4, resync = 0.5, log_level = "off", call_retry_times = 2,
  calls = { web = { timeout = 0.3, connect_timeout = 0.3, deadline = 10 } } }))
local counts = { calls = 0, failed = 0, ok = {}, why = "" }
local written = 0
while true do
  local res = d:get("web", "/name")
  counts.calls = counts.calls + 1
  if res.ok then
    counts.ok[res.body] = (counts.ok[res.body] or 0) + 1
  else
    counts.failed, counts.why = counts.failed + 1, tostring(res)
  end
  socket.sleep(0.002)
  if socket.gettime() - written > 0.02 then
    written = socket.gettime()
    counts.registered, counts.up = d:registered(), d:stats().registry.up
    local out = assert(io.open(state .. ".new", "w"))
    out:write(json.encode(counts))
    out:close()
    assert(os.rename(state .. ".new", state))
  end
end
]==]

local NGINX = [[
daemon off;
master_process off;
pid @dir/pid;
error_log stderr warn;
events { worker_connections 512; }
http {
  access_log off;
  client_body_temp_path @dir/body; proxy_temp_path @dir/proxy; fastcgi_temp_path @dir/fastcgi;
  uwsgi_temp_path @dir/uwsgi; scgi_temp_path @dir/scgi;
  server { listen @one:8000; location / { return 200 one; } }
  server { listen @two:8000; location / { return 200 two; } }
}
]]

describe("a partition", function()
  local allowed, why = make_hosts()
  if not allowed then
    pending("needs network namespaces, which this machine does not allow: " .. why)
    return
  end
  proc.at_end(remove_hosts)

  local dir, server, web, client, socket

  local function inside(host, words)
    local all = { "ip", "netns", "exec", host }
    for name, word in pairs(words) do
      if type(name) == "number" then all[#all + 1] = word else all[name] = word end
    end
    return proc.start(all)
  end

  local function cli(...)
    local words = {}
    for i, word in ipairs{ ... } do words[i] = proc.quote(word) end
    return proc.shell(("redis-cli -s %s %s 2>&1"):format(socket, table.concat(words, " ")))
  end

  local function counts()
    local text = proc.read_file(dir .. "/state")
    return text and json.decode(text)
  end

  local function more(n, seconds)
    local before = counts().calls
    wait.until_true(function() return counts().calls >= before + n end, seconds, "more calls")
  end

  setup(function()
    dir = proc.tmpdir()
    socket = dir .. "/redis.sock"
    server = inside(THERE, { "redis-server", "--bind", REDIS, "--port", "6379", "--unixsocket", socket, "--save", "",
                             "--protected-mode", "no", "--dir", dir, name = "redis" })
    wait.until_true(function() return cli "PING" == "PONG" end, 10, "Redis")
    local conf = NGINX:gsub("@(%w+)", { dir = dir, one = ONE, two = TWO })
    web = inside(THERE, { "/usr/sbin/nginx", "-p", dir, "-c", proc.write_file(dir .. "/conf", conf), "-e", "stderr",
                          name = "nginx" })
    for _, addr in ipairs{ ONE, TWO } do
      cli("SETEX", "web_" .. addr .. ":8000", 3600, "1")
      cli("HSET", "web", addr .. ":8000", 100)
    end
    client = lua_run.start(CLIENT, { args = { dir .. "/state", REDIS .. ":6379" },
                                     wrap = { "ip", "netns", "exec", HERE } })
    wait.until_true(function()
      assert(client:alive(), table.concat({ client:output() }))
      local now = counts()
      return now and now.registered and (now.ok.one or 0) > 5 and (now.ok.two or 0) > 5
    end, 15, "the client")
  end)

  teardown(function()
    client:destroy()
    web:destroy()
    server:destroy()
  end)

  it("from Redis, longer than ttl: no failed call, registered again within seconds after it", function()
    silence(REDIS, true)
    wait.until_true(function() return cli("EXISTS", "mine_10.213.0.100:80") == "0" end, 10, "the key to expire")
    wait.until_true(function() return not counts().up end, 12, "the client to notice")
    more(300, 20)
    silence(REDIS, false)
    wait.until_true(function()
      return cli("EXISTS", "mine_10.213.0.100:80") == "1" and cli("HGET", "mine", "10.213.0.100:80") == "100" and
        counts().up and counts().registered
    end, 12, "the return")
    assert.equal(0, counts().failed, counts().why)
  end)

  it("from one of two nodes: no failed call, and it is used again after it", function()
    silence(ONE, true)
    more(300, 60)
    assert.equal(0, counts().failed, counts().why)
    silence(ONE, false)
    local before = counts().ok.one
    wait.until_true(function() return counts().ok.one > before + 20 end, 20, "the way back")
    assert.equal(0, counts().failed, counts().why)
  end)

  it("from everything, by a cable that is pulled: calls end in time, all well when it is back", function()
    assert(works(("ip -n %s link set c1 down"):format(THERE)))
    wait.until_true(function() return counts().failed > 0 end, 30, "calls that fail")
    assert(works(("ip -n %s link set c1 up"):format(THERE)))
    local failed
    wait.until_true(function()
      local now = counts()
      local quiet = failed == now.failed and now.up and now.registered
      failed = now.failed
      return quiet and cli("EXISTS", "mine_10.213.0.100:80") == "1"
    end, 20, "the return")
    more(50, 20)
  end)
end)
