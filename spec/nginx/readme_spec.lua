-- The nginx.conf of README.md, run as it stands there: only addresses and folders are those of the spec.
local http = require "spec.support.http"
local openresty = require "spec.support.openresty"
local proc = require "spec.support.proc"
local redis = require "spec.support.redis"
local service = require "spec.support.service"
local wait = require "spec.support.wait"

local MORE = [[
daemon off; pid @dir/pid; error_log @dir/error info; @user
]]

local MORE_HTTP = [[
http {
  access_log off;
  client_body_temp_path @dir/body; proxy_temp_path @dir/proxy; fastcgi_temp_path @dir/fastcgi;
  uwsgi_temp_path @dir/uwsgi; scgi_temp_path @dir/scgi;
  lua_package_path "@root/lua/?.lua;@root/lua/?/init.lua;;";
  lua_package_cpath "@build/lua/?.so;;";
]]

local function replace(text, what, by)
  local first, last = text:find(what, 1, true)
  assert(first, what .. " is not there")
  return text:sub(1, first - 1) .. by .. text:sub(last + 1)
end

describe("README.md, in nginx", function()
  local conf = proc.read_file(proc.root() .. "/README.md"):match "```nginx\n(.-)```"

  it("shows examples/nginx.conf", function()
    assert.equal(proc.read_file(proc.root() .. "/examples/nginx.conf"), conf)
  end)

  if not openresty.usable then
    pending(openresty.why)
    return
  end

  it("works", function()
    local r, app = redis.start(), service.start()
    r:add_node("hello", app.addr, 100)
    local text = replace(conf, "redis://127.0.0.1:6379/15", r:url())
    text = replace(replace(text, "listen 8080", "listen 127.0.0.1:@port"), "http {\n", MORE_HTTP)
    local n = openresty.start{ conf = MORE .. text }
    wait.until_true(function() return (http.get(n.addr, "/page")) == 200 end, 10, "a page\n" .. n:log())
    wait.until_true(function() return (http.get(n.addr, "/api/name")) == 200 end, 10, "an answer\n" .. n:log())
    assert.matches("^hello says: ", (select(2, http.get(n.addr, "/page"))))
    assert.equal(select(2, http.get(app.addr, "/name")), (select(2, http.get(n.addr, "/api/name"))))
    wait.until_true(function() return r:hash "web"["192.168.1.10:8080"] end, 10, "the node in the registry")
    n:quit()
    assert.is_nil(r:hash "web"["192.168.1.10:8080"])
    app:kill()
    r:kill()
  end)
end)
