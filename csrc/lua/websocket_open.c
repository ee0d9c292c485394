/*
** websocket_open.c - d:open and caller:open: arguments in, a WebSocket of the core out.
**
** As in calls.c everything that may raise happens before the core is entered: the userdata is there before its
** WebSocket.
** Threads: that of the lua_State.
*/
#include "lua/app_client.h"
#include "lua/caller.h"
#include "lua/future.h"
#include "lua/headers.h"
#include "lua/hooks.h"
#include "lua/options.h"
#include "lua/websocket.h"

#define SIZE_IN_C 16384 /* a connection and its buffers: what the collector is told */

/* What is opened; also what the table of options is read into. */
typedef struct opening {
  dsc_request request;
  dsc_websocket_options options;
  int headers; /* stack index, 0: none */
  dsc_err err; /* a bad value: nothing is opened */
  dsc_why why;
} opening;

#define AT(field) offsetof(opening, field)
static const dsc_lua_option open_options[] = {{"app", DSC_OPTION_STR, AT(request.app), 0, 0},
                                              {"path", DSC_OPTION_STR, AT(request.path), 0, 0},
                                              {"headers", DSC_OPTION_OTHER, 0, 0, 0},
                                              {"protocols", DSC_OPTION_OTHER, 0, 0, 0},
                                              {"timeout", DSC_OPTION_TIME, AT(request.timeout_ms), 0.001, 0},
                                              {"deadline", DSC_OPTION_TIME, AT(request.deadline_ms), 0.001, 0},
                                              {"node", DSC_OPTION_STR, AT(request.node), 0, 0},
                                              {"key", DSC_OPTION_OTHER, 0, 0, 0},
                                              {"max_body", DSC_OPTION_SIZE, AT(request.max_body), 0, 0x1p53},
                                              {"ping", DSC_OPTION_TIME, AT(options.ping_ms), 0, 0},
                                              {"ping_timeout", DSC_OPTION_TIME, AT(options.ping_timeout_ms), 0.001, 0},
                                              {NULL, DSC_OPTION_OTHER, 0, 0, 0}};

/* The core part: nothing raises in here. */
static void enter_and_open(lua_State *L, const dsc_lua_target *t, opening *o, dsc_lua_websocket *box) {
  dsc_lua_frame frame;
  if (!o->err) o->err = dsc_lua_discoverer_enter(L, t->self, &frame, &o->why);
  if (o->err) return;
  o->err = dsc_websocket_open(&frame.frame, &o->request, &o->options, &box->ws, &o->why);
  dsc_lua_discoverer_leave(&frame);
}

/* Begins to open it; the future is on top. */
static int begin(lua_State *L, const dsc_lua_target *t, opening *o, int at, bool with_hooks) {
  dsc_lua_future *future = dsc_lua_future_push(L, t->u, at);
  int me = lua_gettop(L);
  future->websocket = lua_touserdata(L, at);
  if (with_hooks) {
    o->request.ud = future->ac = dsc_lua_app_client_push(L, t->u, 0, t->request, t->logger);
    dsc_lua_app_client_begin(L, t->u, future->ac);
  }
  dsc_lua_future_begin(L, t->self, future, &o->request, false, &o->options, o->err, &o->why);
  if (o->request.headers) dsc_headers_clear((dsc_headers *)(uintptr_t)o->request.headers);
  lua_settop(L, me);
  dsc_lua_discoverer_account(L, t->d, SIZE_IN_C);
  return 1;
}

static void open_with_hooks(lua_State *L, const dsc_lua_target *t, opening *o, dsc_lua_websocket *box) {
  dsc_lua_ac *ac = dsc_lua_app_client_push(L, t->u, 0, t->request, t->logger);
  o->request.ud = ac;
  dsc_lua_app_client_begin(L, t->u, ac);
  enter_and_open(L, t, o, box);
  dsc_lua_app_client_end(L, t->u, ac);
}

/* Opens it; the userdata (or the future) is on top. */
static int perform(lua_State *L, const dsc_lua_target *t, opening *o) {
  luaL_checkstack(L, 12, "open");
  dsc_headers *headers = NULL;
  if (t->caller) o->request.relayed = &t->caller->relayed;
  dsc_lua_websocket *box = dsc_lua_websocket_push(L, t->u);
  int at = lua_gettop(L);
  if (o->headers) {
    headers = dsc_lua_headers_push_box(L);
    dsc_lua_headers_read(L, o->headers, o->headers, "headers", headers);
    o->request.headers = headers;
  }
  bool has_logger = t->logger && !lua_isnil(L, t->logger);
  if (has_logger) o->request.on_log = dsc_lua_hooks_on_call_log;
  bool with_hooks = has_logger || t->d->has_route || t->d->has_next || t->d->has_response;
  if (t->is_async) return begin(L, t, o, at, with_hooks);
  if (with_hooks)
    open_with_hooks(L, t, o, box);
  else
    enter_and_open(L, t, o, box);
  if (headers) dsc_headers_clear(headers);
  if (o->err) return dsc_compat_fail(L, o->err, &o->why);
  lua_settop(L, at);
  dsc_lua_discoverer_account(L, t->d, SIZE_IN_C);
  return 1;
}

/* Pushes table[name] and returns its index, 0 if absent; raises unless its type is among two. */
static int push_part(lua_State *L, const char *name, int type, int other, const char *expected) {
  lua_getfield(L, 2, name);
  if (lua_isnil(L, -1)) return 0;
  if (lua_type(L, -1) != type && lua_type(L, -1) != other) {
    luaL_argerror(L, 2, lua_pushfstring(L, "open: '%s': %s expected, got %s", name, expected, luaL_typename(L, -1)));
  }
  return lua_gettop(L);
}

/* Makes "a, b" of the list at `list`; pushes it. */
static const char *join_protocols(lua_State *L, opening *o, int list) {
  luaL_Buffer text;
  int n = (int)lua_rawlen(L, list);
  luaL_checkstack(L, LUA_MINSTACK, "protocols");
  luaL_buffinit(L, &text);
  for (int i = 1; i <= n; i++) {
    lua_rawgeti(L, list, i);
    if (lua_type(L, -1) != LUA_TSTRING)
      luaL_argerror(L, 2, lua_pushfstring(L, "open: 'protocols': strings expected, got %s", luaL_typename(L, -1)));
    const char *name = lua_tostring(L, -1);
    if (!o->err && (!name[0] || strpbrk(name, ", \t")))
      o->err = dsc_fail(&o->why, DSC_EINVALID, "open: protocols: \"%.40s\" is no token", name);
    luaL_addvalue(&text);
    if (i < n) luaL_addstring(&text, ", ");
  }
  luaL_pushresult(&text);
  return lua_tostring(L, -1);
}

/* A string "a, b" or a list; what is no token is the core's to refuse. */
static void read_protocols(lua_State *L, opening *o) {
  int at = push_part(L, "protocols", LUA_TSTRING, LUA_TTABLE, "string or list");
  if (!at) return;
  const char *text = lua_istable(L, at) ? join_protocols(L, o, at) : lua_tostring(L, at);
  if (strlen(text) != lua_rawlen(L, -1) && !o->err)
    o->err = dsc_fail(&o->why, DSC_EINVALID, "open: protocols: a NUL byte");
  o->options.protocols = text[0] ? text : NULL;
}

static void require_part(lua_State *L, dsc_str part, const char *name) {
  if (!part.p) luaL_argerror(L, 2, lua_pushfstring(L, "open: '%s' is missing", name));
}

/* self, {app=, path=, ...} */
static int open_table(lua_State *L, opening *o) {
  dsc_lua_target t;
  lua_settop(L, 2);
  dsc_lua_caller_target(L, &t);
  o->err = dsc_lua_options_read(L, 2, 2, "open", open_options, o, &o->why);
  dsc_lua_options_keep(L, 2, open_options);
  require_part(L, o->request.app, "app");
  require_part(L, o->request.path, "path");
  lua_getfield(L, 2, "max_body");
  o->request.has_max_body = !lua_isnil(L, -1);
  int key = push_part(L, "key", LUA_TSTRING, LUA_TNUMBER, "string");
  if (key) o->request.key.p = lua_tolstring(L, key, &o->request.key.n);
  read_protocols(L, o);
  o->headers = push_part(L, "headers", LUA_TTABLE, LUA_TTABLE, "table");
  return perform(L, &t, o);
}

int dsc_lua_websocket_new(lua_State *L) {
  dsc_lua_target t;
  opening o = {.request = {.method = DSC_STR_LITERAL("GET")}};
  dsc_websocket_options_defaults(&o.options);
  if (lua_istable(L, 2)) return open_table(L, &o);
  lua_settop(L, 4);
  dsc_lua_caller_target(L, &t);
  o.request.app = dsc_compat_check_str(L, 2);
  o.request.path = dsc_compat_check_str(L, 3);
  if (!lua_isnil(L, 4) && !lua_istable(L, 4)) dsc_compat_type_error(L, 4, "table of headers");
  if (lua_istable(L, 4)) o.headers = 4;
  return perform(L, &t, &o);
}
