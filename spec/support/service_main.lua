-- service_main - the process behind spec/support/service.lua: a real HTTP/1.1 service on lua-http.
--
--   lua5.4 service_main.lua <settings.json>
--
-- A request to /ws/echo, /ws/headers or /ws/name becomes a WebSocket.
-- Settings: ready (file that gets "port\n" when it serves), port, and optionally app, registry, opts: then it
-- registers itself with discover like any program would.
local cqueues = require "cqueues"
local http_headers = require "http.headers"
local http_server = require "http.server"
local http_websocket = require "http.websocket"
local json = require "dkjson"

local function read_settings(path)
  local file = assert(io.open(path))
  local settings = assert(json.decode(file:read "a"))
  file:close()
  return settings
end

local settings = read_settings(arg[1])
local state = { requests = {}, total = 0, connections = 0, control = {} }
local seen = setmetatable({}, { __mode = "k" })
local discoverer
local port

local function reply(stream, status, body, fields)
  local head = http_headers.new()
  head:append(":status", tostring(status))
  head:append("content-length", tostring(#body))
  for name, value in pairs(fields or {}) do head:append(name, tostring(value)) end
  local without = stream.method_is_head
  assert(stream:write_headers(head, without or #body == 0))
  if not without and #body > 0 then assert(stream:write_body_from_string(body)) end
end

local function reply_json(stream, value, status)
  reply(stream, status or 200, json.encode(value), { ["content-type"] = "application/json" })
end

local function parse_query(text)
  local query = {}
  for name, value in (text or ""):gmatch "([^&=]+)=([^&]*)" do query[name] = tonumber(value) or value end
  return query
end

local routes = {}

-- Everything the service saw of the request.
function routes.echo(stream, request)
  reply_json(stream, request)
end

function routes.name(stream)
  reply(stream, 200, tostring(port), { ["content-type"] = "text/plain" })
end

-- /status/<n>: that status.
function routes.status(stream, request)
  local status = tonumber(request.path:match "^/status/(%d+)") or 400
  reply(stream, status, "status " .. status, { ["content-type"] = "text/plain" })
end

-- /slow?ms=: answers after that time.
function routes.slow(stream, request)
  cqueues.sleep((request.query.ms or 100) / 1000)
  reply(stream, 200, tostring(port))
end

-- /big?bytes=: a body of that size.
function routes.big(stream, request)
  reply(stream, 200, ("x"):rep(math.tointeger(request.query.bytes or 1024)))
end

-- How many bytes came, and a sum over some of them (see calls.digest).
function routes.digest(stream, request)
  local text, sum = request.body, 5381
  for i = 1, #text, math.max(1, #text // 5000) do sum = (sum * 33 + text:byte(i)) % 4294967296 end
  reply(stream, 200, ("%d %d"):format(#text, sum))
end

-- /headers?name=value: an answer with these header fields.
function routes.headers(stream, request)
  reply(stream, 200, "", request.query)
end

-- What was asked for so far, control routes left out.
function routes.count(stream)
  reply_json(stream, { total = state.total, requests = state.requests, connections = state.connections })
end

-- POST /control {fail=503, delay=ms, times=n, path="/x"}: the next n requests (all without times) fail or wait.
function routes.control(stream, request)
  state.control = request.body ~= "" and json.decode(request.body) or {}
  reply_json(stream, state.control)
end

function routes.reset(stream)
  state.requests, state.total, state.connections = {}, 0, 0
  reply_json(stream, {})
end

-- POST /weight {weight=n}: set_weight of the registered service.
function routes.weight(stream, request)
  local ok, why = discoverer:set_weight(json.decode(request.body).weight)
  reply_json(stream, { ok = ok and true or false, why = why })
end

-- POST /stop {drain=s}: says goodbye, then ends.
function routes.stop(stream, request)
  local drain = request.body ~= "" and json.decode(request.body).drain or nil
  if discoverer then discoverer:stop(drain) end
  reply_json(stream, {})
  stream:shutdown()
  cqueues.sleep(0.01)
  os.exit(0)
end

-- POST /drain {seconds=}: goes on serving until its callers have seen that it goes, then ends.
function routes.drain(stream, request)
  local seconds = request.body ~= "" and json.decode(request.body).seconds or nil
  reply_json(stream, {})
  while not discoverer:drain(seconds) do cqueues.sleep(0.02) end
  os.exit(0)
end

local hidden = { count = true, control = true, reset = true, weight = true, stop = true, drain = true }

local function controlled(stream, request)
  local control = state.control
  if control.path and control.path ~= request.path then return false end
  if control.times then
    if control.times <= 0 then return false end
    control.times = control.times - 1
  end
  if control.delay then cqueues.sleep(control.delay / 1000) end
  if not control.fail then return false end
  reply(stream, control.fail, "told to fail")
  return true
end

local function read_request(stream, head)
  local target = head:get ":path"
  local request = {
    method = head:get ":method", target = target, path = target:match "^[^?]*",
    query = parse_query(target:match "%?(.*)$"), headers = {}, lists = {}, port = port,
  }
  stream.method_is_head = request.method == "HEAD"
  for name, value in head:each() do
    if name:sub(1, 1) ~= ":" then
      request.lists[name] = request.lists[name] or {}
      table.insert(request.lists[name], value)
      request.headers[name] = request.headers[name] and request.headers[name] .. ", " .. value or value
    end
  end
  -- lua-http keeps these two apart.
  request.headers.host = request.headers.host or head:get ":authority"
  request.body = assert(stream:get_body_as_string())
  return request
end

-- ---------------------------------------------------------------- WebSockets
local sockets = {}

function sockets.echo(ws)
  while true do
    local data, kind = ws:receive()
    if not data then return end
    assert(ws:send(data, kind))
  end
end

function sockets.headers(ws, request)
  assert(ws:send(json.encode(request.headers), "text"))
  sockets.echo(ws)
end

function sockets.name(ws)
  while ws:receive() do assert(ws:send(tostring(port), "text")) end
end

local function on_websocket(stream, head)
  local target, headers = head:get ":path", {}
  for name, value in head:each() do headers[name] = headers[name] and headers[name] .. ", " .. value or value end
  state.total = state.total + 1
  state.requests["WS " .. target] = (state.requests["WS " .. target] or 0) + 1
  local ws = assert(http_websocket.new_from_stream(stream, head))
  assert(ws:accept())
  sockets[target:match "^/ws/(%w+)" or "echo"](ws, { headers = headers })
  ws:close()
end

local function on_stream(_, stream)
  local head = assert(stream:get_headers())
  if (head:get "upgrade" or ""):lower() == "websocket" then return on_websocket(stream, head) end
  local request = read_request(stream, head)
  local name = request.path:match "^/(%w+)" or ""
  if not hidden[name] then
    if not seen[stream.connection] then
      seen[stream.connection] = true
      state.connections = state.connections + 1
    end
    local key = request.method .. " " .. request.path
    state.total = state.total + 1
    state.requests[key] = (state.requests[key] or 0) + 1
    if controlled(stream, request) then return end
  end
  local route = routes[name]
  if route then return route(stream, request) end
  if name == "" then return reply(stream, 200, "hello from " .. port, { ["content-type"] = "text/plain" }) end
  reply(stream, 404, "no such route")
end

local server = assert(http_server.listen {
  host = settings.host or "127.0.0.1", port = settings.port or 0, tls = false, version = 1.1,
  -- A stopped and restarted service takes its old port again.
  reuseaddr = true,
  onstream = on_stream,
  onerror = function(_, _, op, why)
    io.stderr:write(tostring(op), ": ", tostring(why), "\n")
  end,
})
assert(server:listen())
port = tonumber((select(3, server:localname())))

if settings.registry then
  discoverer = assert(require "discover".start(settings.registry, settings.app, "127.0.0.1:" .. port, settings.opts))
end

local function announce(path)
  local file = assert(io.open(path .. ".new", "w"))
  file:write(port, "\n")
  file:close()
  assert(os.rename(path .. ".new", path))
end

announce(settings.ready)
assert(server:loop())
