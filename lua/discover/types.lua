---@meta discover
-- Editor types (LuaLS) and the reference of every function and method.
--
-- Errors: a wrong type, an unknown option key or an unknown balancer name raises. What is of the right type but wrong, and
-- what goes wrong at run time, returns nil, "code: sentence", "code". A call always returns a result. After stop() or in
-- a forked child, calls give a result with err "stopped" or "forked", other methods nil, message, code; stop, close,
-- is_server, is_client, stats, wait (after stop) and tostring always work.

---@alias discover.time number|string seconds, or a string with a unit: "500ms", "1.5s", "10m", "2h"
---@alias discover.code
---| "app_not_found" | "no_node" | "all_failed" | "timeout" | "connect" | "tls" | "protocol" | "too_large" | "canceled"
---| "closed" | "stopped" | "forked" | "overload" | "invalid" | "route" | "balancer" | "callback" | "registry" | "io"
---| "nomem"
---@alias discover.balancer_name "least_used" | "round_robin" | "random" | "least_in_flight" | "hash"
---@alias discover.headers table<string, string|number|(string|number)[]> names in any case; a list repeats the header
---@alias discover.data string|table|discover.body|fun(): string? a string is sent as it is; a table as JSON, with
--- Content-Type application/json if none is given; a form, file or multipart; a reader: called inside the call until it
--- returns nil, not sent again once a byte of it is gone. A Content-Length header tells how much a reader will give (it
--- is sent in chunks without). Numbers and booleans raise: say tostring() or wrap them.
---@alias discover.field string|number|boolean of a form
---@alias discover.part discover.field|discover.body|{data: string, filename: string?, type: string?} of multipart
---@alias discover.shape string|table "string", "number", "integer", "boolean", "any", each with "?" for optional;
--- {field = shape}; {shape} for a list; {["*"] = shape} for a map

---@class discover
---@field _VERSION string
---@field DEFAULT_REGISTRY string the registry when nothing says otherwise
---@field headers table<string, string> names of the headers that are set and relayed: from_app, from_node, access_token,
--- client_ip, forwarded_for, user_id, device_id, client_app_name, client_app_version, session_id, request_id, host, scheme,
--- user_agent
---@field relay_headers string[] what is relayed of an incoming request by default, in this order
---@field null userdata JSON's null
local discover = {}

--- How calls to one app are made. A call string of older days ("2:500ms:token") may stand in its place.
---@class discover.call_config
---@field timeout? discover.time one attempt; default 10, from 0.001
---@field connect_timeout? discover.time default 1
---@field deadline? discover.time the whole call with all attempts; default 30
---@field token? discover.secret|string sent as Access-Token
---@field http2? boolean default false: HTTP/2, by prior knowledge or, with ssl, by ALPN
---@field ssl? boolean default false: TLS
---@field tls? {ca: string?, cert: string?, key: string?, server_name: string?, verify: boolean?} verify: default true
---@field retry? "idempotent"|"always"|"never" default "idempotent"
---@field max_attempts? integer default: every node once, from 1
---@field max_body? integer bytes, decoded; default 64 MiB
---@field max_in_flight? integer calls of this discoverer to the app at once; 0, the default: no limit
---@field max_in_flight_per_node? integer nodes with so many in flight are not picked; 0, the default: no limit
---@field queue? integer calls that may wait for these limits, others end `overload`; default 0
---@field probe? string a path: isolated nodes are asked for it in the background, so that they come back without traffic

--- Options of start, open and new.
---@class discover.options
---@field weight? integer 0 (standby) to 1,000,000; default 100
---@field calls? table<string, discover.call_config|string> by app; ["*"] for every other app
---@field call_retry_times? integer failures in a row that isolate a node; default 10
---@field balancer? discover.balancer_name|discover.balancer
---@field route? fun(ac: discover.app_client, request: table?)
---@field logger? discover.logger
---@field log_level? "debug"|"info"|"warn"|"error"|"off" default "warn", with a logger "info"
---@field relay_headers? string[] instead of discover.relay_headers
---@field header_names? {from_app: string?, from_node: string?, client_ip: string?, user_agent: string?}
---@field metadata? table<string, string|number> flat; others see it in node.metadata
---@field heartbeat? discover.time default 5, 0.1 to 3600
---@field ttl? discover.time default 10, longer than heartbeat
---@field resync? discover.time default 10, 0.1 to 3600
---@field stale_grace? discover.time default 30
---@field start_timeout? discover.time how long start waits; default 3; 0: not at all
---@field verify_push? boolean a message counts only if the hash, read again, says so too; default false
---@field signals? boolean SIGINT and SIGTERM unregister, then end the process; default false
---@field shared? boolean share registry and nodes with all discoverers of this process and registry string
---@field username? string
---@field password? discover.secret|string

---@class discover.easy_options : discover.options
---@field registry? string
---@field app? string
---@field listen? string "host:port" or "port"
---@field ip_prefix? string

--- A form, file or multipart body: may be sent any number of times.
---@class discover.body
local body = {}

--- application/x-www-form-urlencoded as the WHATWG URL standard says: sorted by name, a blank is "+", letters, digits and
--- *-._ stay, the rest is percent-encoded. Lists repeat their name.
---@param fields table<string, discover.field|discover.field[]>
---@return discover.body
function discover.form(fields) end

--- A file's content. Opened by each call (io if it can't be), read while it is sent; of one that grows meanwhile the size
--- it had is sent, one that becomes shorter ends the call with io.
---@param path string
---@param content_type? string default "application/octet-stream"
---@param filename? string as multipart names it; default: the last part of the path
---@return discover.body? body, string? message, discover.code? code
function discover.file(path, content_type, filename) end

--- multipart/form-data (RFC 7578), sorted by name; lists repeat their name. Files are streamed.
---@param fields table<string, discover.part|discover.part[]>
---@return discover.body? body, string? message, discover.code? code
function discover.multipart(fields) end

--- Registers `addr` under `app` and follows `opts.calls`. Waits up to `start_timeout` until both are done; with the
--- registry down it returns the discoverer all the same and goes on trying.
---@param registry string? "redis://[user][:password]@host:port/db", "redis+sentinel://h1:p1,h2:p2/master/db", "redis+cluster://h1:p1,h2:p2/", "host:port:password:db", "memory://name", "" or nil: none
---@param app string 1 to 255 bytes, no blanks
---@param addr string "host:port" as others reach it
---@param opts? discover.options
---@return discover.discoverer? d, string? message, discover.code? code
function discover.start(registry, app, addr, opts) end

--- A client only.
---@param registry string?
---@param opts? discover.options
---@return discover.discoverer? d, string? message, discover.code? code
function discover.open(registry, opts) end

--- No registry: nodes come by d:set_node().
---@param opts? discover.options
---@return discover.discoverer? d, string? message, discover.code? code
function discover.new(opts) end

--- Finds a free port and this machine's address and starts, configured by the environment and `opts`. Bind to the port
--- next: it was free a moment ago. Without an app: invalid.
---@param opts? discover.easy_options
---@return discover.discoverer? d, string ip_or_message, integer|discover.code port_or_code
function discover.easy_start(opts) end

--- Reads DISCOVER_REGISTRY, _APP, _WEIGHT, _CALLS, _CALLS_<app>, _CALLRETRYTIMES, _LISTEN, _IPPREFIX; names in any case.
---@param vars? table<string, string> instead of the environment of the process
---@return string? registry, string? app, discover.options opts, {listen: string?, ip_prefix: string?} extra
function discover.from_env(vars) end

--- A token or password in guarded memory.
---@param s string
---@return discover.secret
function discover.secret(s) end

--- A secret from a file of at most 64 KiB; one trailing newline is cut off.
---@param path string
---@return discover.secret? secret, string? message, discover.code? code io, too_large
function discover.secret_from_file(path) end

--- A secret from an environment variable.
---@param name string
---@return discover.secret? secret, string? message, discover.code? code invalid: not set
function discover.secret_from_env(name) end

--- An older call string as a call config, with the older defaults (HTTP/2 unless it names a version).
---@param s string
---@return discover.call_config? config, string? message, discover.code? code
function discover.parse_call(s) end

--- Marks a table as a JSON list, also an empty one. Lists in decoded JSON are marked.
---@param t? table
---@return table t
function discover.array(t) end

--- Waits until all futures of a list (of one discoverer) are ready; runs callbacks as future:wait() does.
---@param futures discover.future[]
---@param timeout? discover.time default: the longest deadline among them
---@return true|nil
---@return string? message
---@return string? code "timeout", "invalid", "callback", "forked"
function discover.wait_all(futures, timeout) end

--- Waits until one is ready: the first such of the list.
---@param futures discover.future[] not empty
---@param timeout? discover.time default: the longest deadline among them
---@return discover.future|nil
---@return integer|string index or message
---@return string? code
function discover.wait_any(futures, timeout) end

---@alias discover.logger fun(record: discover.record)|{debug: function, info: function, warn: function, error: function}

--- A log record; tostring(record) is one line. One per attempt has type "discover".
---@class discover.record
---@field type? "discover"
---@field time number seconds since 1970
---@field level "debug"|"info"|"warn"|"error"
---@field msg string
---@field app? string
---@field method? string
---@field path? string
---@field node? string
---@field attempts? integer
---@field used_time? number milliseconds
---@field error? string
---@field request_id? string
---@field line string what tostring() gives

---@class discover.event
---@field name "registered"|"lost"|"unregistered"|"node_added"|"node_removed"|"stale"|"isolated"|"recovered"|"overload"|"retry_budget"|"avoided"|"registry_down"|"registry_up"|"registry_moved"
---@field time number seconds since 1970
---@field app? string
---@field node? string
---@field why? string

---@class discover.balancer
---@field next? fun(ac: discover.app_client, nodes: discover.node[], request: table?): discover.node?
---@field response? fun(ac: discover.app_client, node: discover.node, err: discover.code?, response: {status: integer, headers: table<string, string>}?, seconds: number)

--- Calls on behalf of an incoming request.
---@class discover.incoming
---@field headers? table names in any case, values strings or lists; or an object with :get(name)
---@field remote_addr? string ip, ip:port or [v6]:port
---@field host? string
---@field scheme? string

---@class discover.request
---@field app string
---@field path string begins with "/"
---@field method? string default "GET"
---@field query? table<string, string|number|boolean|table> appended to the path, sorted by key; lists repeat their key
---@field data? discover.data
---@field headers? discover.headers
---@field timeout? discover.time one attempt; default: the app's
---@field deadline? discover.time the whole call; default: the app's
---@field node? string only this address, one attempt
---@field key? string|number for the balancer "hash"
---@field retry? "idempotent"|"always"|"never"
---@field max_attempts? integer from 1
---@field max_body? integer bytes
---@field no_body? boolean send no body, whatever data is
---@field stream? boolean return when the headers are there; the body by read, chunks, save ... of the result
---@field progress? fun(now: integer, total: integer?, direction: "upload"|"download") bytes of a body so far; total nil: not
--- known; from the beginning with each attempt. If it raises, the call ends with callback

--- What open() takes.
---@class discover.opening
---@field app string
---@field path string begins with "/"
---@field headers? discover.headers
---@field protocols? string|string[] subprotocols, the preferred one first: "a, b" or a list
---@field timeout? discover.time one handshake; default: the app's
---@field deadline? discover.time until it is open, with all attempts; default: the app's
---@field node? string only this address, one attempt
---@field key? string|number for the balancer "hash"
---@field max_body? integer bytes of one message, either way; default: the app's
---@field ping? discover.time after so much silence a ping is sent; default 20; 0: never
---@field ping_timeout? discover.time heard nothing for so long after it: the peer is lost; default 10

---@class discover.discoverer
local discoverer = {}

--- GET. The result says how it went.
---@param app string
---@param path string
---@param headers? discover.headers
---@return discover.result
function discoverer:get(app, path, headers) end

--- HEAD.
---@param app string
---@param path string
---@param headers? discover.headers
---@return discover.result
function discoverer:head(app, path, headers) end

--- POST; not repeated once something of it was sent, unless retry is "always".
---@param app string
---@param path string
---@param data? discover.data
---@param headers? discover.headers
---@return discover.result
function discoverer:post(app, path, data, headers) end

--- PUT.
---@param app string
---@param path string
---@param data? discover.data
---@param headers? discover.headers
---@return discover.result
function discoverer:put(app, path, data, headers) end

--- PATCH; repeated as POST is.
---@param app string
---@param path string
---@param data? discover.data
---@param headers? discover.headers
---@return discover.result
function discoverer:patch(app, path, data, headers) end

--- DELETE.
---@param app string
---@param path string
---@param data? discover.data
---@param headers? discover.headers
---@return discover.result
function discoverer:delete(app, path, data, headers) end

--- The general call.
---@param method string|discover.request
---@param app? string
---@param path? string
---@param data? discover.data
---@param headers? discover.headers
---@return discover.result
function discoverer:request(method, app, path, data, headers) end

--- Opens a WebSocket, as a call is made: route (the method is "WS"), pick, next node when one fails. An answer that is
--- not 101 is "protocol".
---@param app string|discover.opening
---@param path? string
---@param headers? discover.headers
---@return discover.websocket? ws, string? message, discover.code? code
function discoverer:open(app, path, headers) end

--- A caller that relays what an incoming request passes on.
---@param request discover.incoming
---@return discover.caller? caller, string? message, discover.code? code
function discoverer:from(request) end

--- As from(). `logger` gets the records of the attempts of this caller, of every level, instead of the logger of the
--- discoverer; route and balancer see it as `ac.logger`.
---@param request? discover.incoming
---@param logger? discover.logger
---@return discover.caller? caller, string? message, discover.code? code
function discoverer:new_caller(request, logger) end

--- A caller whose verbs return futures. Owner's thread.
---@return discover.async_caller
function discoverer:async() end

--- Runs the call loop once and what waits to be told: futures, WebSocket messages, log records, events. Inside a callback
--- it does nothing.
---@param how? discover.time|{timeout: discover.time?, max: integer?, budget: discover.time?} timeout: how long to wait for
--- the first thing to do, default 0; max: steps of calls and callbacks, from 1; budget: begin nothing new after that time
---@return integer|nil n futures that became ready plus callbacks that ran
---@return string? message
---@return string? code "stopped", "forked", "invalid"
function discoverer:poll(how) end

--- A descriptor that is readable whenever poll() has something to do, by input or by time: for cqueues, luv, epoll; only to
--- be waited for. It is made at the first use, stays the same and open as long as the discoverer, and is readable for good
--- once that has stopped.
---@return integer? fd, string? message, discover.code? code "stopped" (and never asked before), "forked", "io"
function discoverer:pollfd() end

--- The same, by the name that LuaSocket's select asks for.
---@return integer? fd, string? message, discover.code? code
function discoverer:getfd() end

--- What cqueues shall wait for.
---@return "r"
function discoverer:events() end

--- Seconds until poll() has something to do without any input, 0: now (also once stopped), nil: never. pollfd() covers it:
--- only cqueues asks.
---@return number? seconds
function discoverer:timeout() end

--- Chooses a node for a call made elsewhere; never waits. Counts it as used and in flight until node:done() or the app's deadline.
---@param app string
---@param request? table for the balancer; its `key` is that of "hash"
---@return discover.node? node, string? message, discover.code? code
function discoverer:pick(app, request) end

--- The state of one call made by hand: one node after the other.
---@param app string
---@return discover.app_client? ac, string? message, discover.code? code
function discoverer:app_client(app) end

--- Adds an app or changes its config; follows and reads it, at most start_timeout.
---@param app string
---@param config? discover.call_config|string
---@return boolean? changed false: it was equal
---@return string? message, discover.code? code
function discoverer:add_external_app(app, config) end

--- Sets a node of your own; registry and stale rules never touch it.
---@param app string
---@param addr string "host:port"
---@param weight integer 1 to 1,000,000; 0 removes the node
---@param metadata? table<string, string|number>
---@return true? ok, string? message, discover.code? code
function discoverer:set_node(app, addr, weight, metadata) end

--- The nodes of an app by address; nil when it is unknown.
---@param app string
---@return table<string, discover.node>? nodes, string? message, discover.code? code
function discoverer:get_app_nodes(app) end

--- Sets the balancer; nil: least_used. A `next` that raises, yields or returns a foreign value is logged and the default
--- picks; one that returns nil ends the call with no_node.
---@param balancer discover.balancer_name|discover.balancer|nil
---@return true? ok, string? message, discover.code? code
function discoverer:set_load_balancer(balancer) end

--- Sets what runs before each call and may change it; nil: none. One that raises or yields ends the call with route.
---@param route fun(ac: discover.app_client, request: table?)|nil
---@return true? ok, string? message, discover.code? code
function discoverer:set_route(route) end

--- Sets where log records go; nil: stderr from warn up. Runs at the end of this thread's next method call.
---@param logger discover.logger|nil
---@return true? ok, string? message, discover.code? code
function discoverer:set_logger(logger) end

--- Sets who is told of events; nil: nobody. Runs at the end of this thread's next method call.
---@param fn fun(event: discover.event)|nil
---@return true? ok, string? message, discover.code? code
function discoverer:on_event(fn) end

--- Changes the own weight, announced at once.
---@param weight integer 0 (standby: taken out, stays known) to 1,000,000
---@return true? ok, string? message, discover.code? code
function discoverer:set_weight(weight) end

--- Changes the own metadata, announced at once.
---@param metadata table<string, string|number>
---@return true? ok, string? message, discover.code? code
function discoverer:set_metadata(metadata) end

--- True when it was started with an app and an address.
---@return boolean
function discoverer:is_server() end

--- True when it follows apps.
---@return boolean
function discoverer:is_client() end

--- Waits until registered, subscribed and every app of `calls` read.
---@param timeout? discover.time default start_timeout; 0: only looks
---@return true? ok, string? message, discover.code? code timeout, registry
function discoverer:ready(timeout) end

--- True when the registry has this node now.
---@return boolean? registered, string? message, discover.code? code
function discoverer:registered() end

--- Everything that is counted: registry, total, apps[name] with nodes[addr]; or as Prometheus text.
---@param format? "prometheus"
---@return table|string? stats, string? message, discover.code? code
function discoverer:stats(format) end

--- Announces this node gone, refuses new calls, ends the rest. In a callback it is finished when the outermost method returns.
---@param drain? discover.time in which outgoing calls in flight may finish; default 0
---@return true? ok, string? message, discover.code? code
function discoverer:stop(drain) end

--- Takes a service out without losing a call: its loop calls it in every turn and goes on serving. The first call
--- announces weight 0; once callers have seen that, it stops and returns true.
---@param seconds? discover.time how long callers are served on, and then outgoing calls may take; default resync + 20 %
---@return boolean|nil over
---@return string? message
---@return string? code "invalid", "forked"
function discoverer:drain(seconds) end

--- stop() without drain; also what `local d <close>` does.
---@return true
function discoverer:close() end

--- Runs until stopped (by a callback or a signal); messages come to on_message in here.
---@param timeout? discover.time default: for ever
---@return true? ok, string? message, discover.code? code timeout
function discoverer:wait(timeout) end

---@class discover.caller
---@field no_body boolean no request body is sent; may be set
local caller = {}

--- As discoverer:get().
---@param app string
---@param path string
---@param headers? discover.headers
---@return discover.result
function caller:get(app, path, headers) end

--- As discoverer:head().
---@param app string
---@param path string
---@param headers? discover.headers
---@return discover.result
function caller:head(app, path, headers) end

--- As discoverer:post().
---@param app string
---@param path string
---@param data? discover.data
---@param headers? discover.headers
---@return discover.result
function caller:post(app, path, data, headers) end

--- As discoverer:put().
---@param app string
---@param path string
---@param data? discover.data
---@param headers? discover.headers
---@return discover.result
function caller:put(app, path, data, headers) end

--- As discoverer:patch().
---@param app string
---@param path string
---@param data? discover.data
---@param headers? discover.headers
---@return discover.result
function caller:patch(app, path, data, headers) end

--- As discoverer:delete().
---@param app string
---@param path string
---@param data? discover.data
---@param headers? discover.headers
---@return discover.result
function caller:delete(app, path, data, headers) end

--- As discoverer:request().
---@param method string|discover.request
---@param app? string
---@param path? string
---@param data? discover.data
---@param headers? discover.headers
---@return discover.result
function caller:request(method, app, path, data, headers) end

--- A call to one certain node, a single attempt; nil or "": any node.
---@param method string
---@param app string
---@param node string? "host:port"
---@param path string
---@param data? discover.data
---@param headers? discover.headers
---@return discover.result result, string? addr the node that answered
function caller:request_with_node(method, app, node, path, data, headers) end

--- The same, but the body of the answer is a stream: as request{stream = true}.
---@param method string
---@param app string
---@param node string? "host:port"
---@param path string
---@param data? discover.data
---@param headers? discover.headers
---@return discover.result result, string? addr the node that answered
function caller:manual_request_with_node(method, app, node, path, data, headers) end

--- As discoverer:open(), with the relayed headers.
---@param app string|discover.opening
---@param path? string
---@param headers? discover.headers
---@return discover.websocket? ws, string? message, discover.code? code
function caller:open(app, path, headers) end

--- The same caller with verbs that return futures.
---@return discover.async_caller
function caller:async() end

---@alias discover.message_kind "text"|"binary"

--- A WebSocket. Its node is in flight until it ends; one that nobody holds is cut by the collector.
---@class discover.websocket
---@field node string the address of its node
---@field state "open"|"closing"|"closed"
---@field protocol? string the subprotocol that the server chose
---@field close_code? integer nil until it ended; 1005: the peer gave none; 1006: no close frame
---@field close_reason? string nil until it ended
local websocket = {}

--- Queues a message, waiting for room.
---@param data string
---@param kind? discover.message_kind default "text", which must be UTF-8
---@param timeout? discover.time default 10
---@return true? ok, string? message, discover.code? code timeout: nothing of it was sent; too_large: more than max_body
function websocket:send(data, kind, timeout) end

--- The next whole message. What came before the end is still given; then the code says how it ended: closed (by a
--- closing handshake), connect, timeout (keep-alive; `state` is "closed" then), protocol, too_large.
---@param timeout? discover.time default 10; 0: only looks
---@return string? data, discover.message_kind|string kind_or_message, discover.code? code
function websocket:receive(timeout) end

--- Sends a ping now.
---@return true? ok, string? message, discover.code? code
function websocket:ping() end

--- Says goodbye after what is queued and waits for the peer's answer, at most 2 s. Idempotent; also what
--- `local ws <close>` does.
---@param code? integer default 1000; 1001, 1003, 1007 to 1014, 3000 to 4999
---@param reason? string up to 123 bytes of UTF-8
---@return true? ok, string? message, discover.code? code invalid
function websocket:close(code, reason) end

--- Hands every message to a function while the owner is in d:wait() (or d:stop(), for what is left), and the end once, as fn(ws, nil, message, code).
--- Keeps the WebSocket alive until then. nil: none.
---@param fn fun(ws: discover.websocket, data: string?, kind_or_message: string, code: discover.code?)|nil
---@return true? ok, string? message, discover.code? code
function websocket:on_message(fn) end

--- A caller whose verbs start a call and return a future at once: made by d:async() and caller:async(). Its methods are
--- get, head, post, put, patch, delete, request, request_with_node, manual_request_with_node and open, with the arguments
--- of discover.caller.
---@class discover.async_caller
---@field no_body boolean writable: true sends no request body
---@field get fun(self, app: string, path: string, headers: discover.headers?): discover.future
---@field head fun(self, app: string, path: string, headers: discover.headers?): discover.future
---@field post fun(self, app: string, path: string, data: any, headers: discover.headers?): discover.future
---@field put fun(self, app: string, path: string, data: any, headers: discover.headers?): discover.future
---@field patch fun(self, app: string, path: string, data: any, headers: discover.headers?): discover.future
---@field delete fun(self, app: string, path: string, data: any, headers: discover.headers?): discover.future
---@field request fun(self, method: string|table, app: string?, path: string?, data: any, headers: any): discover.future
---@field request_with_node fun(self, method: string, app: string, node: string?, path: string, data: any): discover.future
---@field manual_request_with_node fun(self, method: string, app: string, node: string?, path: string): discover.future
---@field open fun(self, app: string|table, path: string?, headers: discover.headers?): discover.future

--- A call, or the opening of a WebSocket, that goes on by itself whenever its discoverer runs its loop. It ends exactly
--- once. Belongs to the thread of its discoverer; kept by that until it is over.
---@class discover.future
local future = {}

--- True when it is over. Does not run the loop.
---@return boolean
function future:ready() end

--- Waits until it is over; runs the loop and, outside of callbacks, what other futures and WebSockets have to tell.
---@param timeout? discover.time default: the call's deadline; 0 only looks
---@return discover.result|discover.websocket|nil value nil: not ready in time, or not opened
---@return string? message of request_with_node: the node's address
---@return string? code "timeout", "callback" (by a callback of its own call), "forked"; of open: why not
function future:wait(timeout) end

--- The same for coroutines: suspends the running one; d:poll(), d:wait() or a wait resumes it.
--- Outside of one it raises, unless it is ready.
---@return discover.result|discover.websocket|nil value
---@return string? message
---@return string? code
function future:await() end

--- Asks to be told: fn gets what wait() returns, once, from d:poll(), d:wait(), d:stop() or a wait, never from inside this
--- method. What it raises is logged. After d:stop() has returned nobody is told.
---@param fn fun(value: discover.result|discover.websocket|nil, message: string?, code: string?)
---@return discover.future self
function future:on(fn) end

--- Ends it with `canceled`; the node is not blamed. Whoever asked is told by the next poll.
---@return boolean canceled false: it was over, or its answer had come; in a callback of its own call: asked for, no more
function future:cancel() end

---@class discover.result
---@field ok boolean no err and status below 400
---@field status integer? nil: never answered
---@field reason string?
---@field http_version string? "1.1"
---@field headers table<string, string> lower-case names, repeated ones joined by ", "
---@field body string? decoded; nil: never answered, or a stream
---@field err discover.code?
---@field why string? a sentence; also of an answer that is the last because the retry budget was used up
---@field node string? the address that answered
---@field attempts integer
---@field trace {node: string, status: integer?, err: discover.code?, seconds: number}[]
---@field elapsed number seconds
local result = {}

--- A header by its name in any case, repeated ones joined by ", ".
---@param name string
---@return string?
function result:header(name) end

--- All values of a header.
---@param name string
---@return string[]
function result:header_list(name) end

--- The body as JSON. Integers are integers; beyond int64 (2^53 on LuaJIT) strings with their digits.
---@return any value
---@return string? message, discover.code? code
function result:json() end

--- The JSON body by a shape: checked, converted, fields that are not named left out.
---@param shape discover.shape raises when it is none
---@return any value
---@return string? message names the path: "invalid: user.age: expected integer, got \"x\""
---@return discover.code? code
function result:to(shape) end

--- The body, "" when there is none; of a stream the rest of it, at most max_body (too_large).
---@return string? text, string? message, discover.code? code
function result:string() end

--- As string().
---@return string? text, string? message, discover.code? code
function result:bytes() end

--- The next `n` bytes of the body, fewer at its end; without `n` what is there, at least one byte. nil: the end, or what
--- failed (err and why of the result say so too).
---@param n? integer
---@return string? bytes, string? message, discover.code? code
function result:read(n) end

--- Iterates over the body as it comes: for chunk in res:chunks() do ... end. After a failure the loop ends and res.err says
--- which.
---@return fun(): string?
function result:chunks() end

--- Ends a stream early; its connection is dropped unless the body is over. Also what `local res <close>` and the
--- collector do.
---@return true
function result:close() end

--- The JSON body, which must be an object.
---@return table? map, string? message, discover.code? code
function result:map() end

--- The JSON body, which must be a list.
---@return table? list, string? message, discover.code? code
function result:arr() end

--- Writes the body to a file of mode 0600, parent folders made, by a temporary file and rename; a stream piece by piece.
--- When it fails the old file stays.
---@param path string
---@return true? ok, string? message, discover.code? code io, or what ended the stream
function result:save(path) end

---@class discover.node
---@field addr string
---@field host string
---@field port integer
---@field weight integer
---@field used_times integer
---@field failed_times integer in a row
---@field in_flight integer
---@field metadata table<string, string>
---@field state "up"|"stale"|"isolated"|"probing"|"gone"
---@field data table for your balancer: one per node and discoverer
local node = {}

--- Reports the outcome of a node that pick or app_client gave.
---@param outcome? integer|boolean an HTTP status (502 to 504 are failures) or whether it went well; nil: it did
---@param seconds? number|string how long it took
---@return true? ok, string? message, discover.code? code
function node:done(outcome, seconds) end

--- What route and balancer see of a call, or the state of one made by hand. Only valid while the callback runs.
---@class discover.app_client
---@field app string may be set in a route
---@field method string may be set in a route
---@field path string may be set in a route
---@field data discover.data? the caller's own value; may be set in a route
---@field headers discover.headers may be set, or changed in place, in a route
---@field attempts integer
---@field logger discover.logger?
local app_client = {}

--- The next node, never one twice. Only for those of discoverer:app_client().
---@param request? table for the balancer
---@return discover.node? node, string? message, discover.code? code
function app_client:next(request) end

--- One certain node.
---@param addr string
---@param request? table
---@return discover.node? node, string? message, discover.code? code
function app_client:next_with_node(addr, request) end

--- Follows and reads the app if nobody did.
---@return true? ok, string? message, discover.code? code
function app_client:check_app() end

--- Writes the log record of one attempt.
---@param where discover.node|string
---@param seconds number|string
---@param err? string
---@return true? ok, string? message, discover.code? code
function app_client:log(where, seconds, err) end

---@class discover.secret
local secret = {}

--- Compares in constant time.
---@param other string|discover.secret
---@return boolean
function secret:equals(other) end

--- The module "discover.nginx": discover in the workers of nginx.
---@class discover.nginx
---@field init_worker fun(registry: string?, opts: discover.nginx_options?): discover.discoverer?, string?, discover.code? makes
--- the worker's discoverer; does not wait. In init_worker_by_lua; elsewhere (a module loaded with lua_code_cache off) as a
--- client only
---@field balance fun(d: discover.discoverer, app: string, request: table?): discover.node?, string?, discover.code? for
--- balancer_by_lua: sets the peer, other ones when nginx tries again; request: `key`, `max_attempts`. No node: 502
---@field log fun(d: discover.discoverer) for log_by_lua: reports how the last attempt of balance() went
---@field call fun(d: discover.discoverer, request: table, caller: discover.caller?): discover.result d:request(request), while
--- other requests are served; not with `stream`
---@field wait fun(d: discover.discoverer, future: discover.future): discover.result|discover.websocket|nil, string?, string?
--- waits for a future as future:wait() does, while other requests are served

--- Those of start(), and these; start_timeout is 0, shared is true unless given.
---@class discover.nginx_options: discover.options
---@field app? string this nginx is a node of that app: worker 0 registers
---@field addr? string under that address

--- The module "discover.ffi" (LuaJIT only): picker(d) -> functions that pick without the Lua C API.
---@class discover.ffi
---@field picker fun(d: discover.discoverer): discover.picker

--- Its nodes are pointers: each is given to done() exactly once and not used after it.
---@class discover.picker
---@field discoverer discover.discoverer
---@field pick fun(app: string, key: string?): ffi.cdata*?, string?, discover.code? "callback": d has callbacks in Lua
---@field addr fun(node: ffi.cdata*): string
---@field host fun(node: ffi.cdata*): string
---@field port fun(node: ffi.cdata*): integer
---@field done fun(node: ffi.cdata*, ok: boolean?) ok: default true

return discover
