--- discover - service discovery, client-side load balancing and service calls over Redis.
--
--     local discover = require "discover"
--     local d = discover.start("redis://127.0.0.1:6379/15", "user-service", "192.168.1.10:8080")
--     local res = d:get("auth-service", "/api/verify")
--     if res.ok then print(res:json().name) else print(res.err, res.why) end
--     d:stop()
--
-- A wrong type or an unknown option raises. What goes wrong at run time returns nil, "code: sentence", "code"; a call
-- always returns a result. Times are seconds, or strings with a unit ("500ms"). Every function and method is described
-- in discover/types.lua.
local body = require "discover.body"
local core = require "discover.core"
local env = require "discover.env"
local future = require "discover.future"
local shape = require "discover.shape"

local discover = {
  _VERSION = core.version,

  --- The registry when nothing says otherwise.
  DEFAULT_REGISTRY = "redis://127.0.0.1:6379/15",

  --- Names of the headers that discover sets and relays.
  headers = {
    from_app = "X-Discover-From-App", from_node = "X-Discover-From-Node", access_token = "Access-Token",
    client_ip = "X-Client-Ip", forwarded_for = "X-Forwarded-For", user_id = "X-User-Id", device_id = "X-Device-Id",
    client_app_name = "X-Client-App-Name", client_app_version = "X-Client-App-Version",
    session_id = "X-Session-Id", request_id = "X-Request-Id", host = "X-Host", scheme = "X-Scheme",
    user_agent = "User-Agent",
  },

  --- The headers of an incoming request that are relayed by default, in their order.
  relay_headers = core.relay_headers,

  --- start(registry, app, addr [, opts]) -> d | nil, msg, code: registers `addr` under `app` and follows `opts.calls`.
  start = core.start,

  --- open(registry [, opts]) -> d | nil, msg, code: client only.
  open = core.open,

  --- new([opts]) -> d | nil, msg, code: no registry; nodes by d:set_node().
  new = core.new,

  --- secret(s) -> secret: a token in guarded memory.
  secret = core.secret,

  --- secret_from_file(path) -> secret | nil, msg, code: without the trailing newline.
  secret_from_file = core.secret_from_file,

  --- parse_call(s) -> call config | nil, msg, code: an older call string ("2:500ms:token") with the older defaults.
  parse_call = core.parse_call,

  --- wait_all(futures [, timeout]) -> true | nil, msg, code: until all futures of a list (of one discoverer) are ready,
  --- by default as long as the longest deadline. Runs callbacks, as future:wait() does.
  wait_all = core.wait_all,

  --- wait_any(futures [, timeout]) -> future, index | nil, msg, code: until one is ready: the first such of the list.
  wait_any = core.wait_any,

  --- array([t]) -> t: marks a table as a JSON list, also when it is empty.
  array = core.array,

  --- JSON's null.
  null = core.null,

  --- form(t) -> body: application/x-www-form-urlencoded. t: strings, numbers, booleans or lists of them by name.
  form = body.form,

  --- file(path [, content_type [, filename]]) -> body | nil, msg, code: a file's content, read while it is sent.
  file = body.file,

  --- multipart(t) -> body | nil, msg, code: multipart/form-data. t: strings, numbers, booleans, files,
  --- {data=, filename=, type=} or lists of them by name.
  multipart = body.multipart,
}

--- secret_from_env(name) -> secret | nil, msg, code: from an environment variable.
function discover.secret_from_env(name)
  return env.secret(name)
end

--- from_env([table]) -> registry or nil, app or nil, opts, extra | nil, msg, code
--
-- Reads DISCOVER_REGISTRY, DISCOVER_APP, DISCOVER_WEIGHT, DISCOVER_CALLS (a JSON object app: call string),
-- DISCOVER_CALLS_<app>, DISCOVER_CALLRETRYTIMES, DISCOVER_LISTEN and DISCOVER_IPPREFIX, names in any case, from `table`
-- or the environment of the process. `opts` suits start() and open(); `extra` has `listen` and `ip_prefix`.
function discover.from_env(vars)
  return env.read(vars)
end

--- easy_start([opts]) -> d, ip, port | nil, msg, code
--
-- Finds a free port and this machine's address, then starts: all from the environment (see from_env), or from `opts`,
-- which wins: the options of start(), and `registry`, `app`, `listen` ("host:port" or "port"), `ip_prefix`. The port
-- was free a moment ago: bind to it next. `signals` is true unless given.
function discover.easy_start(opts)
  return env.easy_start(opts, discover.DEFAULT_REGISTRY)
end

core.methods.result.to = shape.to
core.methods.future.await = future.await(core.future_park, core.future_value)

return discover
