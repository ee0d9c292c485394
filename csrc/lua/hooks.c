/*
** hooks.c - Lua functions presented to the core as its callbacks.
**
** Invariants: a callback runs in protected mode, in the state of the method that dispatches it (the frame's ctx), so
** no error leaves a frame and a yield is an error ("attempt to yield"). Between the core and lua_pcall nothing
** allocates: what is pushed was made beforehand, and room on the stack when the frame was entered.
** Threads: that of the lua_State.
*/
#include "lua/hooks.h"

#include <stdio.h>

#include "lua/app_client.h"
#include "lua/headers.h"
#include "lua/node.h"
#include "lua/websocket.h"

/* What one callback is about; `body` runs in protected mode with the user value at index 1. */
typedef struct job {
  void (*body)(lua_State *L, struct job *job);
  dsc_lua_ac *box;
  dsc_node *const *nodes;
  size_t n;
  dsc_node *chosen;
  dsc_node *node;
  dsc_err err;
  int status;
  const dsc_headers *headers;
  double seconds;
  const dsc_event *event;
  const dsc_log_record *record;
  dsc_lua_websocket *websocket;
  const dsc_ws_message *message;         /* NULL: it ended */
  void (*other)(lua_State *L, void *ud); /* of another file, with its ud */
  void *ud;
  dsc_why *why;
} job;

static int run(lua_State *L) {
  lua_rawgeti(L, 1, DSC_U_SELF);
  job *j = ((dsc_lua_discoverer *)lua_touserdata(L, -1))->job;
  lua_settop(L, 1);
  luaL_checkstack(L, LUA_MINSTACK, "callback");
  j->body(L, j);
  return 0;
}

static int message(lua_State *L) {
  if (lua_type(L, 1) == LUA_TSTRING) return 1;
  if (luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING) return 1;
  lua_pushfstring(L, "it raised a value of type %s", luaL_typename(L, 1));
  return 1;
}

/* Runs a job. Fails: `err`, `why` says what was raised. */
static dsc_err protect(dsc_lua_ctx *ctx, job *j, dsc_err err, dsc_why *why) {
  lua_State *L = ctx->L;
  dsc_lua_discoverer *box = lua_touserdata(L, ctx->self);
  void *outer = box->job; /* whose callback called the method that got here */
  int top = lua_gettop(L);
  if (!lua_checkstack(L, 8)) return dsc_fail(why, err, "stack overflow");
  dsc_compat_get_user(L, ctx->self);
  lua_rawgeti(L, top + 1, DSC_U_MESSAGE);
  lua_rawgeti(L, top + 1, DSC_U_RUN);
  lua_pushvalue(L, top + 1);
  j->why = why;
  box->job = j; /* pushed as a light userdata it may need memory: LuaJIT keeps a table of their upper bits */
  int status = lua_pcall(L, 1, 0, top + 2);
  box->job = outer;
  if (status != LUA_OK) {
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "error in error handling";
    dsc_fail(why, err, "%s", text);
  }
  lua_settop(L, top);
  return status == LUA_OK ? DSC_OK : err;
}

static void other_body(lua_State *L, job *j) {
  j->other(L, j->ud);
}

dsc_err dsc_lua_hooks_protect(dsc_lua_ctx *ctx, void (*body)(lua_State *L, void *ud), void *ud, dsc_err err,
                              dsc_why *why) {
  return protect(ctx, &(job){.body = other_body, .other = body, .ud = ud}, err, why);
}

/* Pushes the app client and returns the index of its user value, which is pushed first. */
static int push_ac(lua_State *L, const job *j) {
  lua_rawgeti(L, 1, j->box->of_stream ? DSC_U_FLOWS : DSC_U_CALLS);
  dsc_compat_get_ptr(L, -1, j->box);
  if (lua_isnil(L, -1)) luaL_error(L, "the result was collected");
  lua_remove(L, -2);
  dsc_compat_get_user(L, -1);
  lua_insert(L, -2);
  return lua_gettop(L) - 1;
}

static void route_body(lua_State *L, job *j) {
  lua_rawgeti(L, 1, DSC_U_ROUTE);
  int v = push_ac(L, j);
  lua_rawgeti(L, v, DSC_AC_REQUEST);
  lua_remove(L, v);
  lua_pushvalue(L, v);
  lua_insert(L, 2); /* the app client stays below the call */
  lua_call(L, 2, 0);
  dsc_compat_get_user(L, 2);
  j->err = dsc_lua_app_client_apply(L, j->box, lua_gettop(L), j->why);
}

static dsc_err on_route(void *ctx, void *ud, dsc_app_client *ac, dsc_why *why) {
  (void)ud;
  job j = {.body = route_body, .box = ac->ud};
  if (!j.box) return DSC_OK;
  j.box->ac = ac;
  j.box->in_route = true;
  dsc_err err = protect(ctx, &j, DSC_EROUTE, why);
  j.box->in_route = false;
  j.box->ac = j.box->own;
  if (!err && j.err) j.box->encode_failed = true;
  return err ? err : j.err;
}

static void push_nodes(lua_State *L, const job *j) {
  lua_createtable(L, (int)j->n, 0);
  for (size_t i = 0; i < j->n; i++) {
    dsc_lua_node_push(L, 1, j->nodes[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
}

static void next_body(lua_State *L, job *j) {
  lua_rawgeti(L, 1, DSC_U_NEXT);
  int v = push_ac(L, j);
  push_nodes(L, j);
  lua_rawgeti(L, v, DSC_AC_REQUEST);
  lua_remove(L, v);
  lua_call(L, 3, 1);
  if (lua_isnil(L, -1)) return;
  dsc_node *node = dsc_lua_node_test(L, -1);
  for (size_t i = 0; node && i < j->n; i++)
    if (j->nodes[i] == node) j->chosen = node;
  if (!j->chosen) luaL_error(L, "next returned a %s that is not among the nodes", node ? "node" : luaL_typename(L, -1));
}

static dsc_err on_next(void *ctx, void *ud, dsc_app_client *ac, dsc_node *const *nodes, size_t n, dsc_node **chosen,
                       dsc_why *why) {
  (void)ud;
  job j = {.body = next_body, .box = ac->ud, .nodes = nodes, .n = n};
  *chosen = NULL;
  if (!j.box) return dsc_fail(why, DSC_EBALANCER, "the balancer was set during the call");
  j.box->ac = ac;
  dsc_err err = protect(ctx, &j, DSC_EBALANCER, why);
  j.box->ac = j.box->own;
  if (!err) *chosen = j.chosen;
  return err;
}

static void response_body(lua_State *L, job *j) {
  lua_rawgeti(L, 1, DSC_U_RESPONSE);
  int v = push_ac(L, j);
  lua_remove(L, v);
  dsc_lua_node_push(L, 1, j->node);
  if (j->err)
    lua_pushstring(L, dsc_err_name(j->err));
  else
    lua_pushnil(L);
  if (j->headers) {
    lua_createtable(L, 0, 2);
    dsc_compat_set_int(L, "status", (uint64_t)j->status);
    dsc_lua_headers_push_table(L, j->headers);
    lua_setfield(L, -2, "headers");
  } else {
    lua_pushnil(L);
  }
  lua_pushnumber(L, j->seconds);
  lua_call(L, 5, 0);
}

void dsc_lua_hooks_report(dsc_lua_discoverer *box, const char *what, const char *text) {
  char line[DSC_WHY_MAX + 40];
  snprintf(line, sizeof line, "%s: %s", what, text);
  if (box->d) dsc_discoverer_log(box->d, DSC_LOG_ERROR, line);
}

static void report(dsc_lua_discoverer *box, const char *what, const dsc_why *why) {
  dsc_lua_hooks_report(box, what, why->text);
}

static void on_response(void *ctx, void *ud, dsc_app_client *ac, dsc_node *node, dsc_err err, int status,
                        const dsc_headers *headers, double seconds) {
  dsc_why why = {""};
  job j = {.body = response_body, .box = ac->ud, .node = node, .err = err, .status = status, .seconds = seconds};
  if (!j.box) return;
  if (status) j.headers = headers;
  j.box->ac = ac;
  dsc_err failed = protect(ctx, &j, DSC_EBALANCER, &why);
  j.box->ac = j.box->own;
  if (failed) report(ud, "balancer: response", &why);
}

static void set_text(lua_State *L, const char *name, const char *text) {
  if (text[0]) dsc_compat_set_str(L, name, text);
}

static void event_body(lua_State *L, job *j) {
  lua_rawgeti(L, 1, DSC_U_EVENT);
  lua_createtable(L, 0, 5);
  dsc_compat_set_str(L, "name", dsc_event_name(j->event->kind));
  dsc_compat_set_num(L, "time", j->event->time);
  set_text(L, "app", j->event->app);
  set_text(L, "node", j->event->node);
  set_text(L, "why", j->event->why);
  lua_call(L, 1, 0);
}

static void on_event(void *ctx, void *ud, const dsc_event *event) {
  dsc_why why = {""};
  job j = {.body = event_body, .event = event};
  if (protect(ctx, &j, DSC_ECALLBACK, &why)) report(ud, "callback: on_event", &why);
}

static void message_body(lua_State *L, job *j) {
  if (!dsc_lua_websocket_push_listener(L, 1, j->websocket)) return;
  int at = lua_gettop(L) - 1;
  lua_pushvalue(L, at);
  if (j->message) {
    lua_pushlstring(L, j->message->data, j->message->len);
    lua_pushstring(L, j->message->kind == DSC_WS_TEXT ? "text" : "binary");
    lua_call(L, 3, 0);
    return;
  }
  dsc_lua_websocket_unlisten(L, 1, j->websocket);
  const dsc_ws_end *end = dsc_websocket_end(j->websocket->ws);
  dsc_err err = end ? end->err : DSC_ECLOSED;
  dsc_why why = {""};
  if (end) dsc_fail(&why, err, "%s", end->why);
  dsc_compat_fail(L, err, &why);
  lua_call(L, 4, 0);
}

static void on_message(void *ctx, void *ud, dsc_websocket *ws, void *listener, const dsc_ws_message *message) {
  (void)ws;
  dsc_why why = {""};
  job j = {.body = message_body, .websocket = listener, .message = message};
  if (protect(ctx, &j, DSC_ECALLBACK, &why)) report(ud, "callback: on_message", &why);
}

static int record_tostring(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_pushliteral(L, "line");
  lua_rawget(L, 1);
  return 1;
}

static void push_record(lua_State *L, const dsc_log_record *r) {
  char line[1200];
  lua_createtable(L, 0, 12);
  bool is_attempt = r->method[0] || r->used_time_ms >= 0;
  if (is_attempt) dsc_compat_set_str(L, "type", "discover");
  dsc_compat_set_num(L, "time", r->time);
  dsc_compat_set_str(L, "level", dsc_log_level_name(r->level));
  dsc_compat_set_str(L, "msg", r->msg);
  set_text(L, "app", r->app);
  set_text(L, "method", r->method);
  set_text(L, "path", r->path);
  set_text(L, "node", r->node);
  set_text(L, "request_id", r->request_id);
  set_text(L, "error", r->error);
  if (is_attempt) dsc_compat_set_int(L, "attempts", r->attempts);
  if (r->used_time_ms >= 0) dsc_compat_set_num(L, "used_time", r->used_time_ms);
  lua_pushlstring(L, line, dsc_log_format(r, line, sizeof line));
  lua_setfield(L, -2, "line");
  if (luaL_newmetatable(L, "discover.record")) {
    lua_pushcfunction(L, record_tostring);
    lua_setfield(L, -2, "__tostring");
  }
  lua_setmetatable(L, -2);
}

/* Gives a record to the logger on top. */
static void tell_logger(lua_State *L, const dsc_log_record *record) {
  if (lua_isfunction(L, -1)) {
    push_record(L, record);
    lua_call(L, 1, 0);
    return;
  }
  lua_getfield(L, -1, dsc_log_level_name(record->level));
  lua_insert(L, -2);
  push_record(L, record);
  lua_call(L, 2, 0);
}

static void log_body(lua_State *L, job *j) {
  lua_rawgeti(L, 1, DSC_U_LOGGER);
  tell_logger(L, j->record);
}

static void call_log_body(lua_State *L, job *j) {
  int v = push_ac(L, j);
  lua_rawgeti(L, v, DSC_AC_LOGGER);
  tell_logger(L, j->record);
}

/* Runs a logger; when it fails, both lines go to the default sink: through the queue again they would never end. */
static void log_by(dsc_lua_ctx *ctx, job *j) {
  dsc_why why = {""};
  if (!protect(ctx, j, DSC_ECALLBACK, &why)) return;
  dsc_log_record own = {.time = j->record->time, .level = DSC_LOG_ERROR, .used_time_ms = -1};
  snprintf(own.msg, sizeof own.msg, "callback: logger: %s", why.text);
  dsc_log_default(NULL, &own);
  dsc_log_default(NULL, j->record);
}

static void on_log(void *ctx, void *ud, const dsc_log_record *record) {
  (void)ud;
  log_by(ctx, &(job){.body = log_body, .record = record});
}

void dsc_lua_hooks_on_call_log(void *ctx, void *ud, const dsc_log_record *record) {
  log_by(ctx, &(job){.body = call_log_body, .box = ud, .record = record});
}

dsc_hooks dsc_lua_hooks_get(dsc_lua_discoverer *box) {
  dsc_hooks hooks = {.ud = box};
  hooks.on_message = on_message;
  if (box->has_route) hooks.route = on_route;
  if (box->has_next) hooks.next = on_next;
  if (box->has_response) hooks.response = on_response;
  if (box->has_event) hooks.on_event = on_event;
  if (box->has_logger) hooks.on_log = on_log;
  return hooks;
}

void dsc_lua_hooks_apply(dsc_lua_discoverer *box) {
  dsc_hooks hooks = dsc_lua_hooks_get(box);
  if (box->d) dsc_discoverer_set_hooks(box->d, &hooks);
}

void dsc_lua_hooks_init(lua_State *L) {
  lua_pushcfunction(L, run);
  lua_rawseti(L, -2, DSC_U_RUN);
  lua_pushcfunction(L, message);
  lua_rawseti(L, -2, DSC_U_MESSAGE);
}
