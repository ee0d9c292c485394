/*
** calls.c - the verbs: arguments in, one call of the core, a result out.
**
** Everything that may raise (wrong types, memory) happens before the core is entered: the result's userdata is there
** before its result. What is only a bad value ends in the result, as `invalid`.
** Threads: that of the lua_State.
*/
#include "lua/calls.h"

#include "lua/app_client.h"
#include "lua/body.h"
#include "lua/caller.h"
#include "lua/flow.h"
#include "lua/future.h"
#include "lua/headers.h"
#include "lua/hooks.h"
#include "lua/json.h"
#include "lua/options.h"
#include "lua/result.h"
#include "lua/websocket.h"

#define STREAM_DEBT DSC_STREAM_WINDOW /* what an open stream may hold */

/* What is called. `data`, `headers`, `progress` are stack indices, 0: none. */
typedef struct call {
  dsc_request request;
  int data, headers, progress;
  bool stream, with_node;
  dsc_err err; /* a bad value: the call is not made */
  dsc_why why;
} call;

static void add_content_type(lua_State *L, dsc_headers *headers, const char *type) {
  const dsc_str name = DSC_STR_LITERAL("Content-Type");
  if (!type || dsc_headers_find(headers, name)) return;
  if (dsc_headers_add(headers, name, dsc_str_of(type))) luaL_error(L, "not enough memory");
}

/* A string as it is; a form, files, a reader; a table as JSON. What may depend on the route waits for it. `result` is
** the index of the result, which keeps what a stream still sends. */
static void prepare_data(lua_State *L, const dsc_lua_target *t, call *c, int result, dsc_headers *headers) {
  if (dsc_lua_body_is(L, c->data)) {
    if (!c->err) c->err = dsc_lua_body_make(L, c->data, result, &c->request, &c->why);
    if (!t->d->has_route) add_content_type(L, headers, dsc_lua_body_type(L, c->data));
    return;
  }
  int text = c->data;
  if (lua_istable(L, text)) {
    if (t->d->has_route || c->err) return;
    c->err = dsc_lua_json_encode(L, text, &c->why);
    if (c->err) return;
    text = lua_gettop(L);
    add_content_type(L, headers, "application/json");
  }
  c->request.body.p = lua_tolstring(L, text, &c->request.body.n);
  c->request.has_body = true;
  if (c->stream) dsc_lua_result_set_slot(L, result, DSC_RESULT_DATA, text);
}

/* Reads the headers; pushes their box; then what is sent. */
static void prepare(lua_State *L, const dsc_lua_target *t, call *c, int result) {
  dsc_headers *headers = NULL;
  if (c->headers || c->data) headers = dsc_lua_headers_push_box(L);
  if (c->headers) dsc_lua_headers_read(L, c->headers, c->headers, "headers", headers);
  c->request.headers = headers;
  if (c->data && !c->request.no_body) prepare_data(L, t, c, result, headers);
  if (c->progress) dsc_lua_result_set_slot(L, result, DSC_RESULT_PROGRESS, c->progress);
  if (c->progress) c->request.on_progress = dsc_lua_flow_on_progress;
  if (c->stream) dsc_lua_result_set_slot(L, result, DSC_RESULT_OWNER, t->self);
}

/* The core part: nothing raises in here. */
static void enter_and_call(lua_State *L, const dsc_lua_target *t, call *c, dsc_lua_result *result) {
  dsc_lua_frame frame;
  if (!c->err) c->err = dsc_lua_discoverer_enter(L, t->self, &frame, &c->why);
  if (c->err) {
    dsc_lua_result_fail(result, c->err, &c->why);
    return;
  }
  if (c->stream)
    result->r = dsc_discoverer_call_stream(&frame.frame, &c->request, &result->flow->stream);
  else
    result->r = dsc_discoverer_call(&frame.frame, &c->request);
  /* a result with an error gives no body: its last answer shall hold neither node nor connection */
  if (c->stream && result->r && result->r->err) dsc_stream_close(result->flow->stream);
  dsc_lua_discoverer_leave(&frame);
}

/* The userdata by which callbacks of the call find what belongs to it; it stays on the stack. */
static dsc_lua_ac *push_app_client(lua_State *L, const dsc_lua_target *t, call *c, dsc_lua_result *result) {
  dsc_lua_ac *ac = dsc_lua_app_client_push(L, t->u, c->data, t->request, t->logger);
  ac->data_pending = c->data && lua_istable(L, c->data) && !c->request.has_body && !c->request.no_body;
  ac->flow = result->flow;
  c->request.ud = ac;
  dsc_lua_app_client_begin(L, t->u, ac);
  return ac;
}

static void call_with_hooks(lua_State *L, const dsc_lua_target *t, call *c, int at) {
  dsc_lua_result *result = lua_touserdata(L, at);
  dsc_lua_ac *ac = push_app_client(L, t, c, result);
  enter_and_call(L, t, c, result);
  if (dsc_lua_result_is_stream(result))
    dsc_lua_app_client_stream(L, t->u, ac, at);
  else
    dsc_lua_app_client_end(L, t->u, ac);
  if (ac->encode_failed) dsc_lua_app_client_blame(result);
}

/* Begins it; the future is on top. What it needs of Lua until it is over is held by the future or by U. */
static int begin(lua_State *L, const dsc_lua_target *t, call *c, int at, bool with_hooks) {
  dsc_lua_result *result = lua_touserdata(L, at);
  dsc_lua_future *future = dsc_lua_future_push(L, t->u, at);
  int me = lua_gettop(L);
  future->result = result;
  future->with_node = c->with_node;
  if (with_hooks) {
    future->ac = push_app_client(L, t, c, result);
    if (c->stream) dsc_lua_app_client_stream(L, t->u, future->ac, at);
  }
  dsc_lua_future_begin(L, t->self, future, &c->request, c->stream, NULL, c->err, &c->why);
  if (c->request.headers) dsc_headers_clear((dsc_headers *)(uintptr_t)c->request.headers);
  lua_settop(L, me);
  dsc_lua_discoverer_account(L, t->d, 0);
  return 1;
}

/* Makes the call; the result (or the future) is on top. */
static int perform(lua_State *L, dsc_lua_target *t, call *c) {
  luaL_checkstack(L, 16, "call");
  if (t->caller) {
    c->request.relayed = &t->caller->relayed;
    c->request.no_body = c->request.no_body || t->caller->no_body;
  }
  dsc_lua_result *result = dsc_lua_result_push(L);
  int at = lua_gettop(L);
  if (c->stream || c->progress || (c->data && dsc_lua_body_is(L, c->data))) dsc_lua_flow_begin(L, t->u, at);
  prepare(L, t, c, at);
  bool has_logger = t->logger && !lua_isnil(L, t->logger);
  if (has_logger) c->request.on_log = dsc_lua_hooks_on_call_log;
  bool with_hooks = has_logger || c->progress || t->d->has_route || t->d->has_next || t->d->has_response;
  if (t->is_async) return begin(L, t, c, at, with_hooks);
  if (with_hooks)
    call_with_hooks(L, t, c, at);
  else
    enter_and_call(L, t, c, result);
  if (c->request.headers) dsc_headers_clear((dsc_headers *)(uintptr_t)c->request.headers);
  lua_settop(L, at);
  bool is_stream = dsc_lua_result_is_stream(result);
  if (result->flow && !is_stream) dsc_lua_flow_forget(L, at);
  dsc_lua_discoverer_account(L, t->d, dsc_lua_result_size(result) + (is_stream ? STREAM_DEBT : 0));
  return 1;
}

#define DATA "string, table, body or function"

static int check_table(lua_State *L, int arg, const char *expected) {
  if (lua_isnoneornil(L, arg)) return 0;
  if (!lua_istable(L, arg)) dsc_compat_type_error(L, arg, expected);
  return arg;
}

static int check_data(lua_State *L, int arg) {
  if (lua_type(L, arg) == LUA_TSTRING || dsc_lua_body_is(L, arg)) return arg;
  return check_table(L, arg, DATA);
}

/* self, app, path [, headers] */
static int call_without_data(lua_State *L, const char *method) {
  dsc_lua_target t;
  call c = {.request = {.method = dsc_str_of(method)}};
  lua_settop(L, 4);
  dsc_lua_caller_target(L, &t);
  c.request.app = dsc_compat_check_str(L, 2);
  c.request.path = dsc_compat_check_str(L, 3);
  c.headers = check_table(L, 4, "table of headers");
  return perform(L, &t, &c);
}

/* self, app, path [, data [, headers]] */
static int call_with_data(lua_State *L, const char *method) {
  dsc_lua_target t;
  call c = {.request = {.method = dsc_str_of(method)}};
  lua_settop(L, 5);
  dsc_lua_caller_target(L, &t);
  c.request.app = dsc_compat_check_str(L, 2);
  c.request.path = dsc_compat_check_str(L, 3);
  c.data = check_data(L, 4);
  c.headers = check_table(L, 5, "table of headers");
  return perform(L, &t, &c);
}

static int call_get(lua_State *L) {
  return call_without_data(L, "GET");
}

static int call_head(lua_State *L) {
  return call_without_data(L, "HEAD");
}

static int call_post(lua_State *L) {
  return call_with_data(L, "POST");
}

static int call_put(lua_State *L) {
  return call_with_data(L, "PUT");
}

static int call_patch(lua_State *L) {
  return call_with_data(L, "PATCH");
}

static int call_delete(lua_State *L) {
  return call_with_data(L, "DELETE");
}

typedef struct request_table {
  dsc_request request;
  dsc_str retry;
  bool stream;
} request_table;

#define AT(field) offsetof(request_table, field)
static const dsc_lua_option request_options[] = {{"method", DSC_OPTION_STR, AT(request.method), 0, 0},
                                                 {"app", DSC_OPTION_STR, AT(request.app), 0, 0},
                                                 {"path", DSC_OPTION_STR, AT(request.path), 0, 0},
                                                 {"query", DSC_OPTION_OTHER, 0, 0, 0},
                                                 {"data", DSC_OPTION_OTHER, 0, 0, 0},
                                                 {"headers", DSC_OPTION_OTHER, 0, 0, 0},
                                                 {"timeout", DSC_OPTION_TIME, AT(request.timeout_ms), 0.001, 0},
                                                 {"deadline", DSC_OPTION_TIME, AT(request.deadline_ms), 0.001, 0},
                                                 {"node", DSC_OPTION_STR, AT(request.node), 0, 0},
                                                 {"key", DSC_OPTION_OTHER, 0, 0, 0},
                                                 {"retry", DSC_OPTION_STR, AT(retry), 0, 0},
                                                 {"max_attempts", DSC_OPTION_COUNT, AT(request.max_attempts), 1, 1e6},
                                                 {"max_body", DSC_OPTION_SIZE, AT(request.max_body), 0, 0x1p53},
                                                 {"no_body", DSC_OPTION_BOOL, AT(request.no_body), 0, 0},
                                                 {"stream", DSC_OPTION_BOOL, AT(stream), 0, 0},
                                                 {"progress", DSC_OPTION_OTHER, 0, 0, 0},
                                                 {NULL, DSC_OPTION_OTHER, 0, 0, 0}};

/* Pushes request[name] and returns its index, 0 if absent; raises unless its type is among two. */
static int push_part(lua_State *L, const char *name, int type, int other, const char *expected) {
  lua_getfield(L, 2, name);
  if (lua_isnil(L, -1)) return 0;
  if (lua_type(L, -1) != type && lua_type(L, -1) != other) {
    luaL_argerror(L, 2, lua_pushfstring(L, "request: '%s': %s expected, got %s", name, expected, luaL_typename(L, -1)));
  }
  return lua_gettop(L);
}

static int push_data(lua_State *L) {
  lua_getfield(L, 2, "data");
  if (dsc_lua_body_is(L, -1)) return lua_gettop(L);
  lua_pop(L, 1);
  return push_part(L, "data", LUA_TSTRING, LUA_TTABLE, DATA);
}

/* Appends the query to the path; the buffer stays on the stack. */
static void add_query(lua_State *L, dsc_request *request) {
  int query = push_part(L, "query", LUA_TTABLE, LUA_TTABLE, "table");
  if (!query) return;
  dsc_buf *pairs = dsc_lua_headers_push_buf(L);
  dsc_lua_headers_encode(L, query, 2, "request.query", true, pairs);
  if (!pairs->len) return;
  dsc_buf *path = dsc_lua_headers_push_buf(L);
  bool has_query = request->path.n && memchr(request->path.p, '?', request->path.n);
  dsc_buf_add_str(path, request->path);
  dsc_buf_add(path, has_query ? "&" : "?", 1);
  if (dsc_buf_add_str(path, dsc_buf_str(pairs))) luaL_error(L, "not enough memory");
  dsc_buf_clear(pairs);
  request->path = dsc_buf_str(path);
}

static void require_part(lua_State *L, dsc_str part, const char *name) {
  if (!part.p) luaL_argerror(L, 2, lua_pushfstring(L, "request: '%s' is missing", name));
}

static int call_request_table(lua_State *L) {
  dsc_lua_target t;
  request_table table = {.request.method = DSC_STR_LITERAL("GET")};
  call c = {0};
  lua_settop(L, 2);
  dsc_lua_caller_target(L, &t);
  c.err = dsc_lua_options_read(L, 2, 2, "request", request_options, &table, &c.why);
  dsc_lua_options_keep(L, 2, request_options);
  c.request = table.request;
  require_part(L, c.request.app, "app");
  require_part(L, c.request.path, "path");
  lua_getfield(L, 2, "max_body");
  c.request.has_max_body = !lua_isnil(L, -1);
  c.request.has_retry = table.retry.p != NULL;
  if (!c.err && table.retry.p) c.err = dsc_lua_options_retry(table.retry, &c.request.retry, &c.why);
  int key = push_part(L, "key", LUA_TSTRING, LUA_TNUMBER, "string");
  if (key) c.request.key.p = lua_tolstring(L, key, &c.request.key.n);
  add_query(L, &c.request);
  c.data = push_data(L);
  c.stream = table.stream;
  c.progress = push_part(L, "progress", LUA_TFUNCTION, LUA_TFUNCTION, "function");
  c.headers = push_part(L, "headers", LUA_TTABLE, LUA_TTABLE, "table");
  return perform(L, &t, &c);
}

/* self, method, app, path [, data [, headers]] or self, {method=, app=, path=, ...} */
static int call_request(lua_State *L) {
  dsc_lua_target t;
  call c = {0};
  if (lua_istable(L, 2)) return call_request_table(L);
  lua_settop(L, 6);
  dsc_lua_caller_target(L, &t);
  c.request.method = dsc_compat_check_str(L, 2);
  c.request.app = dsc_compat_check_str(L, 3);
  c.request.path = dsc_compat_check_str(L, 4);
  c.data = check_data(L, 5);
  c.headers = check_table(L, 6, "table of headers");
  return perform(L, &t, &c);
}

/* self, method, app, node, path [, data [, headers]]; returns the node's address too */
static int call_with_node(lua_State *L, bool stream) {
  dsc_lua_target t;
  call c = {.stream = stream, .with_node = true};
  lua_settop(L, 7);
  dsc_lua_caller_target(L, &t);
  c.request.method = dsc_compat_check_str(L, 2);
  c.request.app = dsc_compat_check_str(L, 3);
  c.request.node = dsc_compat_opt_str(L, 4);
  c.request.path = dsc_compat_check_str(L, 5);
  c.data = check_data(L, 6);
  c.headers = check_table(L, 7, "table of headers");
  perform(L, &t, &c);
  if (t.is_async) return 1;
  lua_getfield(L, -1, "node");
  return 2;
}

static int call_request_with_node(lua_State *L) {
  return call_with_node(L, false);
}

static int call_manual_request_with_node(lua_State *L) {
  return call_with_node(L, true);
}

#define VERBS                                                                                                          \
  {"get", call_get}, {"head", call_head}, {"post", call_post}, {"put", call_put}, {"patch", call_patch},               \
      {"delete", call_delete}, {                                                                                       \
    "request", call_request                                                                                            \
  }

const luaL_Reg dsc_lua_calls_methods[] = {VERBS, {"open", dsc_lua_websocket_new}, {NULL, NULL}};
const luaL_Reg dsc_lua_calls_caller_methods[] = {VERBS,
                                                 {"open", dsc_lua_websocket_new},
                                                 {"request_with_node", call_request_with_node},
                                                 {"manual_request_with_node", call_manual_request_with_node},
                                                 {NULL, NULL}};
