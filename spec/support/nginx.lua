-- nginx - a private nginx that speaks what services speak: HTTP/1.1, HTTP/2 by prior knowledge, both over TLS.
--
--   local n = nginx.start{
--     upstream = service,                       -- asked for everything, over HTTP/1.1; without it: "hello"
--     servers = { h1 = {}, h2c = { http2 = true }, tls = { cert = certs.server, http2 = true, client_ca = certs.ca } },
--   }
--   n.h1.addr  n.tls.port  n:log([name])  n:first([name])  n:connections([name [, requests]])  n:kill()  n:stop()
--
-- Further fields of a server: port, conf (lines of its block). One process in the foreground, no master, a folder of
-- its own; it runs as root and as anybody else.
local port = require "spec.support.port"
local proc = require "spec.support.proc"
local wait = require "spec.support.wait"

local nginx = {}
local methods = {}
local meta = { __index = methods }

local MAIN = [[
daemon off;
master_process off;
pid @dir/pid;
error_log stderr warn;
events { worker_connections 2048; }
http {
  log_format spec '$server_port $server_protocol $connection $ssl_session_reused $ssl_server_name $http_host '
                  '$request_method $uri $status $ssl_client_verify';
  access_log @dir/access spec;
  default_type text/plain;
  client_max_body_size 0;
  client_body_buffer_size 1m;
  client_body_temp_path @dir/body; proxy_temp_path @dir/proxy; fastcgi_temp_path @dir/fastcgi;
  uwsgi_temp_path @dir/uwsgi; scgi_temp_path @dir/scgi;
  keepalive_requests 1000000000;
@servers
}
]]

local SERVER = [[
  server {
    listen 127.0.0.1:@port @words;
@tls
@conf
    location / { @answer }
  }
]]

local PROXY = "proxy_pass http://%s; proxy_http_version 1.1; proxy_set_header Connection \"\"; "
  .. "proxy_set_header Host $http_host; proxy_max_temp_file_size 0;"

local function fill(text, values)
  return (text:gsub("@(%l+)", function(name) return tostring(values[name] or "") end))
end

local function server_block(server, answer)
  local words, tls = {}, {}
  if server.cert then
    words[1] = "ssl"
    tls[1] = ("    ssl_certificate %s; ssl_certificate_key %s;"):format(server.cert.cert, server.cert.key)
    tls[2] = "    ssl_session_cache shared:spec:1m; ssl_protocols " .. (server.protocols or "TLSv1.2 TLSv1.3") .. ";"
    if server.client_ca then
      tls[3] = ("    ssl_client_certificate %s; ssl_verify_client on;"):format(server.client_ca)
    end
  end
  if server.http2 then words[#words + 1] = "http2" end
  return fill(SERVER, {
    port = server.port, words = table.concat(words, " "), tls = table.concat(tls, "\n"), conf = server.conf,
    answer = answer,
  })
end

-- Starts it and waits until all its ports listen.
function nginx.start(options)
  local dir, blocks = proc.tmpdir(), {}
  local n = setmetatable({ dir = dir, servers = {} }, meta)
  local answer = options.upstream and PROXY:format(options.upstream.addr) or "return 200 hello;"
  for name, server in pairs(options.servers) do
    local number = server.port or port.free()
    blocks[#blocks + 1] = server_block({
      port = number, cert = server.cert, http2 = server.http2, client_ca = server.client_ca, conf = server.conf,
      protocols = server.protocols,
    }, answer)
    n[name] = { port = number, host = "127.0.0.1", addr = "127.0.0.1:" .. number }
    n.servers[#n.servers + 1] = n[name]
  end
  proc.write_file(dir .. "/access", "")
  n.file = proc.write_file(dir .. "/nginx.conf", fill(MAIN, { dir = dir, servers = table.concat(blocks) }))
  return n:start()
end

-- Starts it (again) on the same ports.
function methods:start()
  self.p = proc.start{ "/usr/sbin/nginx", "-p", self.dir, "-c", self.file, "-e", "stderr", name = "nginx" }
  local ok = wait.poll(function()
    if not self.p:alive() then return true end
    for _, server in ipairs(self.servers) do
      if not port.listening(server.port) then return false end
    end
    return true
  end, 10)
  assert(ok and self.p:alive(), "nginx does not start:\n" .. self.p:output())
  return self
end

-- What it answered, in order, at one server or at all: {port, protocol, connection, resumed, sni, host, method, uri,
-- status, client}.
function methods:log(name)
  local list = {}
  for line in (proc.read_file(self.dir .. "/access") or ""):gmatch "([^\n]+)\n" do
    local word = {}
    for one in line:gmatch "%S+" do word[#word + 1] = one end
    local record = {
      port = tonumber(word[1]), protocol = word[2], connection = word[3], resumed = word[4] == "r", sni = word[5],
      host = word[6], method = word[7], uri = word[8], status = tonumber(word[9]), client = word[10],
    }
    if not name or record.port == self[name].port then list[#list + 1] = record end
  end
  return list
end

-- The first record of a server (of all without a name): a line is written only after the answer went out.
function methods:first(name)
  return wait.until_true(function() return self:log(name)[1] end, 2, "a line in nginx's log")
end

-- On how many connections the requests came that it answered; waits until there are as many requests.
function methods:connections(name, requests)
  local seen, count = {}, 0
  if requests then
    wait.until_true(function() return #self:log(name) >= requests end, 2, requests .. " lines in nginx's log")
  end
  for _, record in ipairs(self:log(name)) do
    if not seen[record.connection] then count = count + 1 end
    seen[record.connection] = true
  end
  return count
end

function methods:kill()
  self.p:destroy()
end

-- Lets what is under way end.
function methods:stop()
  self.p:kill "QUIT"
  assert(self.p:wait(10), "nginx does not end")
end

return nginx
