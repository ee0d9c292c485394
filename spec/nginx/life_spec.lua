-- A worker's life in a real nginx: what init_worker says, who registers, reload, exit, the wrong phase.
local http = require "spec.support.http"
local openresty = require "spec.support.openresty"
local proc = require "spec.support.proc"
local redis = require "spec.support.redis"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local NODE = [[
  lua_shared_dict discover 64k;
  init_by_lua_block { nginx = require "discover.nginx" }
  init_worker_by_lua_block {
    if ngx.shared.discover:get "late" then os.execute "sleep 0.5" end
    d = assert(nginx.init_worker("@registry", { app = "web", addr = "127.0.0.1:@port", calls = { app = {} } }))
  }
]]

local SERVER = [[
    location /late { content_by_lua_block { ngx.shared.discover:set("late", true) ngx.print "late" } }
    location /slow { content_by_lua_block { ngx.sleep(1) ngx.say "slow" } }
    location /call { content_by_lua_block { ngx.print(nginx.call(d, { app = "app", path = "/name" }).status) } }
    location /wait { content_by_lua_block { ngx.print(nginx.call(d, { app = "app", path = "/slow?ms=1500" }).status) } }
    location /threads {
      content_by_lua_block {
        for line in io.lines "/proc/self/status" do
          local n = line:match "Threads:%s*(%d+)"
          if n then ngx.print(n) end
        end
      }
    }
]]

describe("a worker of nginx", function()
  if not openresty.usable then
    pending(openresty.why)
    return
  end
  local r, n

  before_each(function() r = redis.start() end)

  after_each(function()
    if n and n.p:alive() then n:kill "KILL" end
    n = nil
    r:kill()
  end)

  local function start(options)
    options.words = options.words or { registry = r:url() }
    n = openresty.start(options)
    return n
  end

  local function registered(is)
    local addr = n.addr
    wait.until_true(function() return (r:hash "web"[addr] ~= nil) == is end, 10, is and "to be there" or "to be gone")
  end

  it("registers in the first of them alone, and says goodbye when nginx quits", function()
    local monitor = r:monitor()
    start{ http = NODE, server = SERVER, workers = 4 }
    registered(true)
    assert.is_true(n:quit() < wait.scale(5))
    assert.is_nil(r:hash "web"[n.addr])
    local setters, goodbyes = 0, 0
    for _, line in ipairs(monitor:lines "^HSET web ") do setters = setters + (line and 1 or 0) end
    for _, line in ipairs(monitor:lines "^HDEL web ") do goodbyes = goodbyes + (line and 1 or 0) end
    assert.same({ 1, 1 }, { setters, goodbyes })
    assert.same({}, n:complaints())
    monitor:close()
  end)

  it("says goodbye when nginx is told to end at once", function()
    start{ http = NODE, server = SERVER, workers = 2 }
    registered(true)
    n:kill "TERM"
    registered(false)
  end)

  it("hands the registration over in a reload: nobody hears a goodbye", function()
    start{ http = NODE, server = SERVER, workers = 2 }
    registered(true)
    local monitor = r:monitor()
    for i = 1, 3 do
      -- New workers that begin late, after the old ones were told to end.
      if i == 3 then assert.equal("late", (select(2, http.get(n.addr, "/late")))) end
      n:reload()
      registered(true)
      assert.same({}, monitor:lines "^HDEL")
      assert.same({}, monitor:lines "^DEL")
    end
    assert.is_true(n:quit() < wait.scale(5))
    assert.is_nil(r:hash "web"[n.addr])
    monitor:close()
  end)

  it("is announced gone at once when it ends for good, and serves on to the end of its requests", function()
    local app = service.start()
    r:add_node("app", app.addr, 100)
    start{ http = NODE, server = SERVER }
    registered(true)
    wait.until_true(function() return select(2, http.get(n.addr, "/call")) == "200" end, 10, "a call")
    local out = n.dir .. "/answer"
    local client = proc.start{ "curl", "-s", "http://" .. n.addr .. "/wait", stdout = out }
    wait.until_true(function() return app:count "GET /slow" == 1 end, 10, "the call")
    n.p:kill "QUIT"
    registered(false)
    assert.is_true(n.p:alive(), "it ended before its request")
    assert.equal(0, client:wait(10))
    assert.equal("200", proc.read_file(out))
    assert(n.p:wait(10), "nginx does not end")
    app:kill()
  end)

  it("loses no request in reloads under load", function()
    local app = service.start()
    r:add_node("app", app.addr, 100)
    start{ http = NODE, server = SERVER, workers = 2 }
    wait.until_true(function() return select(2, http.get(n.addr, "/call")) == "200" end, 10, "a call")
    local out = n.dir .. "/answers"
    local load = proc.start{ "sh", "-c", ("while ! [ -e %s/enough ]; do curl -s -o /dev/null -w '%%{http_code}\n' " ..
      "http://%s/call; done"):format(n.dir, n.addr), stdout = out }
    for _ = 1, 3 do n:reload() end
    wait.until_true(function() return #proc.read_file(out) > 0 end, 10, "an answer")
    proc.write_file(n.dir .. "/enough", "")
    assert.equal(0, load:wait(15))
    local good, all = 0, 0
    for status in proc.read_file(out):gmatch "%d+" do
      all = all + 1
      if status == "200" then good = good + 1 end
    end
    assert.is_true(all > 0)
    assert.equal(all, good)
    app:kill()
  end)

  it("can't be made before the fork", function()
    start{ http = [[
      init_by_lua_block {
        nginx, discover = require "discover.nginx", require "discover"
        early = discover.open("@registry", { start_timeout = 0, calls = { app = {} } })
        _, said = nginx.init_worker("@registry")
      }]], server = [[
      location /said { return 200 x; content_by_lua_block { ngx.print(said) } }
      location /words { content_by_lua_block { ngx.print(said) } }
      location /used { content_by_lua_block { ngx.print(nginx.call(early, { app = "app", path = "/" }).err) } }
      location /picked { content_by_lua_block { ngx.print((select(2, early:pick "app"))) } }
    ]] }
    assert.matches("^forked: .*init_worker_by_lua", (select(2, http.get(n.addr, "/words"))))
    assert.equal("forked", (select(2, http.get(n.addr, "/used"))))
    assert.matches("^forked: ", (select(2, http.get(n.addr, "/picked"))))
    n:quit()
  end)

  it("says what is wrong with its options", function()
    start{ http = "", server = [[
      location /words {
        content_by_lua_block {
          local nginx = require "discover.nginx"
          ngx.say((select(2, nginx.init_worker("@registry", { app = "web", addr = "127.0.0.1:1" }))))
          ngx.say((select(2, nginx.init_worker("@registry", { app = "web" }))))
          ngx.say((select(2, nginx.init_worker("@registry", { signals = true }))))
          ngx.say((select(2, pcall(nginx.init_worker, "@registry", { sockets = 1 }))))
        }
      }]] }
    local _, text = http.get(n.addr, "/words")
    assert.matches("invalid: option 'app': a node is registered in init_worker_by_lua, not in content\n", text)
    assert.matches("invalid: options 'app' and 'addr' belong together\n", text)
    assert.matches("invalid: option 'signals'", text)
    assert.matches("sockets", text)
  end)
end)
