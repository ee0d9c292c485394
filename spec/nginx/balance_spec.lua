-- balancer_by_lua in a real nginx: peers by pick, retries on other nodes, outcomes, keep-alive, what is aborted.
local http = require "spec.support.http"
local json = require "dkjson"
local openresty = require "spec.support.openresty"
local port = require "spec.support.port"
local redis = require "spec.support.redis"
local service = require "spec.support.service"
local socket = require "socket"
local wait = require "spec.support.wait"

local HTTP = [[
  init_worker_by_lua_block {
    nginx = require "discover.nginx"
    d = assert(nginx.init_worker("@registry", { calls = { app = { deadline = 20 }, slow = {}, bad = {}, gone = {} } }))
  }
  upstream app { server 0.0.0.1; balancer_by_lua_block { nginx.balance(d, "app") } keepalive 16; }
  upstream keyed { server 0.0.0.1; balancer_by_lua_block { nginx.balance(d, "app", { key = ngx.var.arg_key }) } }
  upstream once { server 0.0.0.1; balancer_by_lua_block { nginx.balance(d, "app", { max_attempts = 1 }) } }
  upstream gone { server 0.0.0.1; balancer_by_lua_block { nginx.balance(d, "gone") } }
  proxy_http_version 1.1;
  proxy_set_header Connection "";
]]

local SERVER = [[
    log_by_lua_block { nginx.log(d) }
    location /app/ {
      proxy_next_upstream error timeout http_502 http_503;
      add_header X-Upstream $upstream_addr always;
      proxy_pass http://app/;
    }
    location /once/ { proxy_next_upstream error http_503; proxy_pass http://once/; }
    location /handled/ {
      proxy_next_upstream error;
      proxy_pass http://once/;
      proxy_intercept_errors on;
      error_page 502 503 = @fallback;
    }
    location @fallback { return 200 fallback; }
    location /keyed { proxy_pass http://keyed/name; }
    location /gone { proxy_pass http://gone/; }
    location /nodes {
      content_by_lua_block {
        local list = {}
        for addr, node in pairs(d:get_app_nodes(ngx.var.arg_app or "app") or {}) do
          list[#list + 1] = ('%q:{"used":%d,"failed":%d,"in_flight":%d,"state":%q}'):format(addr, node.used_times,
            node.failed_times, node.in_flight, node.state)
        end
        ngx.say("{", table.concat(list, ","), "}")
      }
    }
]]

describe("balancer_by_lua", function()
  if not openresty.usable then
    pending(openresty.why)
    return
  end
  local r, one, two, n

  local function nodes()
    return json.decode((select(2, http.get(n.addr, "/nodes"))))
  end

  local function wait_for_nodes(count)
    wait.until_true(function()
      local list, found = nodes(), 0
      for _ in pairs(list) do found = found + 1 end
      return found == count
    end, 10, count .. " nodes in nginx")
  end

  local function calm()
    wait.until_true(function()
      for _, node in pairs(nodes()) do
        if node.in_flight ~= 0 then return false end
      end
      return true
    end, 10, "nothing in flight")
  end

  before_each(function()
    r = redis.start()
    one, two = service.start(), service.start()
    r:add_node("app", one.addr, 100)
    r:add_node("app", two.addr, 100)
    n = openresty.start{ http = HTTP, server = SERVER, words = { registry = r:url() } }
    wait_for_nodes(2)
  end)

  after_each(function()
    if n.p:alive() then n:kill() end
    one:kill()
    two:kill()
    r:kill()
  end)

  it("shares requests out, counts and reports them", function()
    for _ = 1, 20 do assert.equal(200, (http.get(n.addr, "/app/name"))) end
    calm()
    local list = nodes()
    assert.equal(20, list[one.addr].used + list[two.addr].used)
    assert.is_true(math.abs(list[one.addr].used - list[two.addr].used) <= 2)
    assert.equal(0, list[one.addr].failed + list[two.addr].failed)
    assert.same({}, n:complaints())
  end)

  it("keeps connections to nodes alive", function()
    for _ = 1, 20 do assert.equal(200, (http.get(n.addr, "/app/name"))) end
    -- One more for the question itself.
    assert.is_true(one:connections() <= 3, "connections: " .. one:connections())
  end)

  it("goes on to another node, and a node that fails is isolated", function()
    one:control{ fail = 503 }
    for _ = 1, 60 do assert.equal(200, (http.get(n.addr, "/app/name"))) end
    calm()
    local list = nodes()
    assert.equal(0, list[two.addr].failed)
    assert.is_true(list[one.addr].failed >= 10, "failed: " .. list[one.addr].failed)
    assert.equal("isolated", list[one.addr].state)
    assert.is_true(one:count "GET /name" < 30, "asked all the same: " .. one:count "GET /name")
  end)

  it("goes on when a node is dead", function()
    one:kill()
    for _ = 1, 20 do assert.equal(200, (http.get(n.addr, "/app/name"))) end
    calm()
    local list = nodes()
    assert.equal(0, list[two.addr].failed)
    assert.is_true(list[one.addr].failed > 0)
  end)

  it("passes the last answer on when every node has failed", function()
    one:control{ fail = 503 }
    two:control{ fail = 503 }
    local status, _, headers = http.get(n.addr, "/app/name")
    assert.equal(503, status)
    assert.is_truthy(headers["x-upstream"]:find(one.addr, 1, true))
    assert.is_truthy(headers["x-upstream"]:find(two.addr, 1, true))
    calm()
    local list = nodes()
    assert.equal(1, list[one.addr].failed)
    assert.equal(1, list[two.addr].failed)
  end)

  it("obeys max_attempts", function()
    one:control{ fail = 503 }
    two:control{ fail = 503 }
    assert.equal(503, (http.get(n.addr, "/once/name")))
    assert.equal(1, one:count "GET /name" + two:count "GET /name")
  end)

  it("reports what an internal redirect hides", function()
    one:control{ fail = 503 }
    two:control{ fail = 503 }
    for _ = 1, 4 do assert.equal("fallback", (select(2, http.get(n.addr, "/handled/name")))) end
    calm()
    local list = nodes()
    assert.equal(4, list[one.addr].failed + list[two.addr].failed)
  end)

  it("answers 502 when there is no node", function()
    assert.equal(502, (http.get(n.addr, "/gone")))
    n:wait_log "discover: no node of gone: no_node"
  end)

  it("leaks no pick when the client goes away, and blames nobody", function()
    for _ = 1, 10 do
      local s = socket.tcp4()
      assert(s:connect(n.host, n.port))
      s:send("GET /app/slow?ms=60000 HTTP/1.1\r\nHost: a\r\n\r\n")
      wait.until_true(function()
        local list = nodes()
        return list[one.addr].in_flight + list[two.addr].in_flight > 0
      end, 10, "a pick")
      s:close()
      calm()
    end
    local list = nodes()
    assert.equal(0, list[one.addr].failed + list[two.addr].failed)
  end)

  it("sees nodes come and go", function()
    r:remove_node("app", one.addr)
    wait_for_nodes(1)
    local before = one:count "GET /name"
    for _ = 1, 10 do assert.equal(200, (http.get(n.addr, "/app/name"))) end
    assert.equal(before, one:count "GET /name")
    r:add_node("app", one.addr, 100)
    wait_for_nodes(2)
    local free = port.free()
    r:add_node("app", "127.0.0.1:" .. free, 100)
    wait_for_nodes(3)
    for _ = 1, 30 do assert.equal(200, (http.get(n.addr, "/app/name"))) end
  end)
end)
