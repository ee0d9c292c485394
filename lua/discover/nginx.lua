--- discover.nginx - discover in the workers of nginx (OpenResty, or nginx with the Lua module and lua-resty-core).
--
--     init_worker_by_lua_block {
--       nginx = require "discover.nginx"
--       d = assert(nginx.init_worker("redis://127.0.0.1:6379/15", { calls = { hello = {} } }))
--     }
--     upstream hello { server 0.0.0.1; balancer_by_lua_block { nginx.balance(d, "hello") } keepalive 32; }
--     location /a { proxy_pass http://hello; log_by_lua_block { nginx.log(d) } }
--     location /b { content_by_lua_block { ngx.say(nginx.call(d, { app = "hello", path = "/" }).body) } }
--
-- A worker has no loop that could wait for a descriptor of ours. So a light thread (the pump) waits on a cosocket for a
-- byte; a thread of the process sends it when d:poll() has something to do, once until the pump has looked. A request
-- that waits for a call sleeps on a semaphore, which the end of its future posts.
local core = require "discover.core"
local discover = require "discover"

local ngx = ngx or error "discover.nginx: works inside nginx only"
local balancer = require "ngx.balancer"
local base = require "resty.core.base"
local ffi = require "ffi"
local semaphore = require "ngx.semaphore"

local nginx = {}

local LONG = 2147483             -- seconds: what an epoll of nginx can wait at most
local POLL = { budget = 0.002 }  -- other requests have their turn after that
local LOOK = 1                   -- seconds after which one that waits looks whether there is a pump
local TICK = 0.005               -- seconds between polls when there can be no pump
local FEW = 16                   -- nodes that are counted anew each time
local ABORTED = 499              -- says nothing about the node
local NO_NODE = -3               -- for ngx.exit: no live upstream, answered 502
local DICT = "discover"          -- the lua_shared_dict, and in it the number of times this module was loaded
local LOADS = "loads"
local SUCCESSION = 3             -- seconds in which the new worker of a reload must register
local CAN_WAIT = { rewrite = true, server_rewrite = true, access = true, content = true, timer = true,
                   ssl_cert = true, ssl_session_fetch = true, ssl_client_hello = true }

-- What belongs to a discoverer: {active = calls under way, pump =, resident = the pump stays, counts = by app}. It must
-- not refer to the discoverer: values of such a table keep their keys.
local states = setmetatable({}, { __mode = "k" })

local function state_of(d)
  local state = states[d]
  if not state then
    state = { active = 0, counts = {} }
    states[d] = state
  end
  return state
end

local function fail(code, text)
  return nil, code .. ": " .. text, code
end

-- ------------------------------------------------------------------------ life

-- A reload loads the configuration (and, in init_by_lua, this module) once more in the master, starts new workers and
-- ends the old ones. Who registered last owns the registration.
local function is_owned_by_another(own)
  return own.dict ~= nil and own.dict:get(own.key) ~= ngx.worker.pid()
end

local function count_load()
  local dict = ngx.shared[DICT]
  if dict then dict:incr(LOADS, 1, 0) end
end

-- The new worker of a reload may be slow to begin. It may also never come: when the new configuration was refused.
local function has_successor(own)
  local till = ngx.now() + SUCCESSION
  while not is_owned_by_another(own) and own.dict and own.dict:get(LOADS) ~= own.loads and ngx.now() < till do
    ngx.sleep(TICK)
  end
  return is_owned_by_another(own)
end

local function leave(d, own)
  if own and has_successor(own) then
    core.hand_over(d)
  elseif own then
    d:set_weight(0)
  end
  core.wake_ring(d)
end

-- A timer that is far away is run at once when the worker begins to exit.
local function watch_exit(d, own)
  local function on_timer(premature)
    if premature or ngx.worker.exiting() then return leave(d, own) end
    watch_exit(d, own)
  end
  local ok, why = ngx.timer.at(LONG, on_timer)
  if not ok then ngx.log(ngx.ERR, "discover: no timer to watch the worker's exit: ", why) end
end

local function claim(app, addr)
  local dict = ngx.shared[DICT]
  local own = { dict = dict, key = "own " .. app .. " " .. addr, loads = dict and dict:get(LOADS) }
  if not dict then return own end
  local ok, why = dict:set(own.key, ngx.worker.pid())
  if ok then return own end
  ngx.log(ngx.WARN, "discover: lua_shared_dict ", DICT, ": ", why)
  return { key = own.key }
end

local function copy(options)
  local opts = {}
  for key, value in pairs(options or {}) do opts[key] = value end
  opts.app, opts.addr = nil, nil
  opts.start_timeout = 0
  if opts.shared == nil then opts.shared = true end
  return opts
end

local function open(registry, app, addr, opts)
  if app then return discover.start(registry, app, addr, opts) end
  opts.weight, opts.metadata = nil, nil
  return discover.open(registry, opts)
end

--- init_worker(registry [, opts]) -> d | nil, msg, code
--
-- Makes the worker's discoverer; does not wait: calls and picks find nodes as soon as the registry has answered. opts:
-- those of discover.start(), `shared` is true unless given; `app` and `addr`: this nginx is a node, registered by
-- worker 0 alone. With a lua_shared_dict "discover", and this module loaded in init_by_lua, a reload hands the
-- registration over without a gap.
-- At the worker's exit the node is announced gone at once, while requests go on to their end.
function nginx.init_worker(registry, options)
  local phase, opts = ngx.get_phase(), copy(options)
  local app, addr = options and options.app, options and options.addr
  if phase == "init" then
    return fail("forked", "init_worker() was called in init_by_lua: nginx forks its workers after that, and what was "
      .. "made before is of no use to them; call it in init_worker_by_lua")
  end
  if opts.signals then return fail("invalid", "option 'signals': in nginx the signals are nginx's") end
  if (app == nil) ~= (addr == nil) then return fail("invalid", "options 'app' and 'addr' belong together") end
  if app and phase ~= "init_worker" then
    return fail("invalid", "option 'app': a node is registered in init_worker_by_lua, not in " .. phase)
  end
  local is_node = app and ngx.worker.id() == 0
  local own = is_node and claim(app, addr) or nil
  local d, why, code = open(registry, is_node and app, addr, opts)
  if not d then return nil, why, code end
  if phase == "init_worker" then
    state_of(d).resident = true
    watch_exit(d, own)
  end
  return d
end

-- -------------------------------------------------------------------- balancing

-- What a request has from us, by its address in nginx: unlike ngx.ctx that lasts through internal redirects. One that
-- is never logged is forgotten when its place is used again, or it is an hour old.
local requests, n_requests, sweep_at = {}, 0, 1024

local function request_key()
  local r = base.get_request()
  return r and tonumber(ffi.cast("uintptr_t", r))
end

local function forget_old()
  local oldest = ngx.now() - 3600
  n_requests = 0
  for key, entry in pairs(requests) do
    if entry.begun < oldest then requests[key] = nil else n_requests = n_requests + 1 end
  end
  sweep_at = math.max(1024, 2 * n_requests)
end

local function remember(key, entry)
  if not requests[key] then n_requests = n_requests + 1 end
  requests[key] = entry
  if n_requests > sweep_at then forget_old() end
  return entry
end

local function forget(key)
  if requests[key] then n_requests = n_requests - 1 end
  requests[key] = nil
end

-- How many nodes an app has. Of many it is only known as it was a moment ago: they are enough for any retry.
local function node_count(d, app)
  local counts, now = state_of(d).counts, ngx.now()
  local known = counts[app]
  if known and now < known.till then return known.n end
  local n = 0
  for _ in pairs(d:get_app_nodes(app) or {}) do n = n + 1 end
  counts[app] = n > FEW and { n = n, till = now + 1 + n / 1000 } or nil
  return n
end

-- Another node than those tried before. The first pick knew of no other: only a retry needs to remember.
local function pick_again(d, entry, app, request)
  if not entry.ac then
    local ac, why, code = d:app_client(app)
    if not ac then return nil, why, code end
    entry.ac = ac
    local first = ac:next_with_node(entry.first, request)
    if first then first:done(ABORTED) end
  end
  return entry.ac:next(request)
end

local function report(entry, status, seconds)
  local node = entry.node
  entry.node = nil
  if node then node:done(status, seconds) end
end

local function pick_for(d, entry, app, request)
  local failed, status = balancer.get_last_failure()
  if not failed then
    local node, why, code = d:pick(app, request)
    entry.first = node and node.addr
    return node, why, code
  end
  report(entry, failed == "next" and status and status >= 100 and status or false)
  return pick_again(d, entry, app, request)
end

--- balance(d, app [, request]) -> node | nil, msg, code
--
-- For balancer_by_lua: sends the request to a node of `app`; when that fails in a way that proxy_next_upstream names,
-- to another one, until every node was tried once (or request.max_attempts, or nginx's own limits are reached). Without
-- a node the request ends with 502. `request`: for the balancer; its `key` is that of "hash".
function nginx.balance(d, app, request)
  local key, started = request_key(), ngx.req.start_time()
  local entry = requests[key]
  if not entry or entry.started ~= started or not balancer.get_last_failure() then
    entry = remember(key, { d = d, started = started, begun = ngx.now() })
    local tries = math.min(request and request.max_attempts or math.huge, node_count(d, app))
    if tries > 1 then balancer.set_more_tries(tries - 1) end
  end
  local node, why, code = pick_for(d, entry, app, request)
  local ok = node
  if node then
    entry.node = node
    ok, why = balancer.set_current_peer(node.host, node.port)
    if not ok then
      report(entry, ABORTED)
      why, code = ("invalid: %s is no address for nginx: %s"):format(node.addr, why), "invalid"
    end
  end
  if ok then return node end
  ngx.log(ngx.ERR, "discover: no node of ", app, ": ", why)
  ngx.exit(NO_NODE)
  return nil, why, code
end

-- The last one of "502, 200" or "0.001, 0.002 : 0.003".
local function last(list)
  return list and tonumber((list:match "[^,%s:]+%s*$"))
end

--- log(d): for log_by_lua of the same location: reports how the last attempt of balance() went.
function nginx.log(d)
  local key = request_key()
  local entry = requests[key]
  if not entry or entry.d ~= d then return end
  forget(key)
  if entry.started ~= ngx.req.start_time() then return end
  local status = last(ngx.var.upstream_status)
  if ngx.status == ABORTED or not status or status < 100 then status = ABORTED end
  report(entry, status, last(ngx.var.upstream_response_time) or 0)
end

-- ---------------------------------------------------------------------- calling

local function is_wanted(state)
  return state.active > 0 or (state.resident and not ngx.worker.exiting())
end

local function run_pump(d, state)
  local path = assert(core.wake_open(d))
  local socket = assert(ngx.socket.tcp())
  socket:settimeouts(1000, 1000, LONG * 1000)
  assert(socket:connect("unix:" .. path))
  assert(core.wake_accept(d))
  local alive = d:poll(POLL)
  while alive and is_wanted(state) do
    local byte, why = socket:receive(1)
    core.wake_clear(d)
    alive = (byte or why == "timeout") and d:poll(POLL)
  end
  socket:close()
end

local function pump(_, d, state)
  local ok, why = pcall(run_pump, d, state)
  core.wake_close(d)
  state.pump = false
  if not ok then ngx.log(ngx.ERR, "discover: the light thread that waits for calls has ended: ", why) end
end

local function start_pump(d, state)
  if state.pump then return end
  local ok, why = ngx.timer.at(0, pump, d, state)
  state.pump = ok
  if not ok then ngx.log(ngx.WARN, "discover: no timer for the light thread that waits for calls: ", why) end
end

-- Made in a function that returns: the coroutine of an aborted request is used again for another one, and functions
-- that share variables with it would see those of the other.
local function waker(state, woken)
  return function()
    state.active = state.active - 1
    woken:post(1)
  end
end

--- wait(d, future) -> what future:wait() returns
--
-- Waits for a future of d:async() and lets other requests be served meanwhile. When the request is aborted the call
-- goes on to its end, and nobody hears of it.
function nginx.wait(d, future)
  local phase = ngx.get_phase()
  if not CAN_WAIT[phase] then error("discover: no request can wait in the phase " .. phase, 2) end
  local state = state_of(d)
  if not future:ready() then
    local woken = semaphore.new(0)
    state.active = state.active + 1
    future:on(waker(state, woken))
    d:poll(POLL) -- what can go on goes on now: the byte would come later
    while not future:ready() do
      start_pump(d, state)
      if state.pump then woken:wait(LOOK) else ngx.sleep(TICK) end
      if not future:ready() and not d:poll(POLL) then break end
    end
    if state.pump and not is_wanted(state) then core.wake_ring(d) end
  end
  return future:wait(0)
end

--- call(d, request [, caller]) -> result
--
-- d:request(request) for handlers: other requests are served meanwhile. `caller`: of d:from(), to relay headers.
function nginx.call(d, request, caller)
  if type(request) == "table" and request.stream then
    error("discover: call: option 'stream': a body read piece by piece would block the worker", 2)
  end
  return nginx.wait(d, (caller or d):async():request(request))
end

if ngx.get_phase() == "init" then count_load() end

-- A coroutine of nginx must be resumed by nginx alone.
function core.methods.future.await()
  error("discover: await() is not for nginx: use wait(d, future) of discover.nginx", 2)
end

return nginx
