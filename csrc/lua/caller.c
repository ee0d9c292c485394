/*
** caller.c - the userdata of a caller: calls on behalf of an incoming request.
**
** What is relayed is worked out once, when the caller is made; the request itself is kept for route and balancer.
** Threads: that of the lua_State.
*/
#include "lua/caller.h"

#include "lua/calls.h"
#include "lua/headers.h"
#include "lua/hooks.h"

#define CALLER "discover.caller"
#define ASYNC  "discover.async_caller"

dsc_lua_caller *dsc_lua_caller_test(lua_State *L, int index) {
  dsc_lua_caller *caller = dsc_compat_test(L, index, CALLER);
  return caller ? caller : dsc_compat_test(L, index, ASYNC);
}

void dsc_lua_caller_target(lua_State *L, dsc_lua_target *t) {
  *t = (dsc_lua_target){0};
  t->caller = dsc_lua_caller_test(L, 1);
  if (!t->caller) {
    t->d = dsc_lua_discoverer_check(L, 1);
    t->self = 1;
    dsc_compat_get_user(L, 1);
    t->u = lua_gettop(L);
    return;
  }
  dsc_compat_get_user(L, 1);
  int v = lua_gettop(L);
  lua_rawgeti(L, v, DSC_CALLER_U);
  lua_rawgeti(L, v + 1, DSC_U_SELF);
  lua_rawgeti(L, v, DSC_CALLER_REQUEST);
  lua_rawgeti(L, v, DSC_CALLER_LOGGER);
  t->u = v + 1;
  t->self = v + 2;
  t->request = v + 3;
  t->logger = v + 4;
  t->is_async = t->caller->is_async;
  t->d = lua_touserdata(L, t->self);
}

/* Asks an object for one header; `headers` is its index. A value that is no string is as good as none. */
static void ask(lua_State *L, int headers, const char *name, dsc_headers *out) {
  lua_getfield(L, headers, "get");
  lua_pushvalue(L, headers);
  lua_pushstring(L, name);
  lua_call(L, 2, 1);
  if (lua_type(L, -1) == LUA_TSTRING) {
    dsc_str value;
    value.p = lua_tolstring(L, -1, &value.n);
    dsc_headers_remove(out, dsc_str_of(name));
    if (dsc_headers_add(out, dsc_str_of(name), value)) luaL_error(L, "not enough memory");
  }
  lua_pop(L, 1);
}

/* Asks for all that may be relayed: U's list of names. */
static void ask_all(lua_State *L, int headers, int u, dsc_headers *out) {
  lua_rawgeti(L, u, DSC_U_RELAY);
  int list = lua_gettop(L);
  int n = (int)lua_rawlen(L, list);
  for (int i = 1; i <= n; i++) {
    lua_rawgeti(L, list, i);
    ask(L, headers, lua_tostring(L, -1), out);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* True when the value at `index` has a method `get`; a header of that name is a string and no method. */
static bool is_object(lua_State *L, int index) {
  if (!lua_istable(L, index) && lua_type(L, index) != LUA_TUSERDATA) return false;
  if (!lua_istable(L, index) && !luaL_getmetafield(L, index, "__index")) return false;
  if (!lua_istable(L, index)) lua_pop(L, 1);
  lua_getfield(L, index, "get");
  bool is_method = lua_isfunction(L, -1);
  lua_pop(L, 1);
  return is_method;
}

static void read_headers(lua_State *L, int request, int u, dsc_headers *out) {
  lua_getfield(L, request, "headers");
  int headers = lua_gettop(L);
  if (is_object(L, headers))
    ask_all(L, headers, u, out);
  else if (lua_istable(L, headers))
    dsc_lua_headers_read(L, headers, 2, "request.headers", out);
  else if (!lua_isnil(L, headers)) {
    luaL_argerror(L, 2,
                  lua_pushfstring(L, "request.headers: table or object with :get(name) expected, got %s",
                                  luaL_typename(L, headers)));
  }
}

/* Leaves the string on the stack, which keeps it. */
static dsc_str read_text(lua_State *L, int request, const char *name) {
  lua_getfield(L, request, name);
  if (lua_isnil(L, -1)) return DSC_STR_LITERAL("");
  if (lua_type(L, -1) != LUA_TSTRING)
    luaL_argerror(L, 2, lua_pushfstring(L, "request.%s: string expected, got %s", name, luaL_typename(L, -1)));
  dsc_str text;
  text.p = lua_tolstring(L, -1, &text.n);
  return text;
}

static dsc_lua_caller *push(lua_State *L, int u, int request, int logger, bool is_async) {
  const int slots[][2] = {{DSC_CALLER_U, u}, {DSC_CALLER_REQUEST, request}, {DSC_CALLER_LOGGER, logger}};
  dsc_lua_caller *caller = lua_newuserdata(L, sizeof *caller);
  caller->no_body = false;
  caller->is_async = is_async;
  dsc_headers_init(&caller->relayed);
  lua_createtable(L, DSC_CALLER_LOGGER, 0);
  for (int i = 0; i < 3; i++) {
    lua_pushvalue(L, slots[i][1]);
    lua_rawseti(L, -2, slots[i][0]);
  }
  dsc_compat_set_user(L, -2);
  dsc_compat_set_class(L, is_async ? ASYNC : CALLER);
  return caller;
}

/* Arguments: discoverer, request or nil, logger or nil. */
static int make(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  dsc_relay_peer peer = {{"", 0}, {"", 0}, {"", 0}};
  dsc_lua_discoverer *d = dsc_lua_discoverer_check(L, 1);
  lua_settop(L, 3);
  if (!lua_isnil(L, 2) && !lua_istable(L, 2)) return dsc_compat_type_error(L, 2, "request table");
  if (!lua_isnil(L, 3)) dsc_lua_hooks_check_logger(L, 3, 3);
  dsc_compat_get_user(L, 1);
  dsc_headers *incoming = dsc_lua_headers_push_box(L);
  if (lua_istable(L, 2)) {
    read_headers(L, 2, 4, incoming);
    peer.remote_addr = read_text(L, 2, "remote_addr");
    peer.host = read_text(L, 2, "host");
    peer.scheme = read_text(L, 2, "scheme");
  }
  dsc_lua_caller *caller = push(L, 4, 2, 3, false);
  dsc_err err = dsc_lua_discoverer_enter(L, 1, &frame, &why);
  if (!err) {
    if (lua_istable(L, 2)) err = dsc_discoverer_relay(d->d, &caller->relayed, incoming, &peer);
    dsc_lua_discoverer_leave(&frame);
  }
  dsc_headers_clear(incoming);
  return err ? dsc_compat_fail(L, err, &why) : 1;
}

int dsc_lua_caller_from(lua_State *L) {
  dsc_lua_discoverer_check(L, 1);
  if (!lua_istable(L, 2)) return dsc_compat_type_error(L, 2, "request table");
  lua_settop(L, 2);
  return make(L);
}

int dsc_lua_caller_new(lua_State *L) {
  return make(L);
}

/* Nothing of the request is asked again: what it relays is copied. */
int dsc_lua_caller_async(lua_State *L) {
  dsc_lua_target t;
  lua_settop(L, 1);
  luaL_checkstack(L, 12, "async");
  dsc_lua_caller_target(L, &t);
  if (!t.caller) {
    lua_pushnil(L);
    t.request = t.logger = lua_gettop(L);
  }
  dsc_lua_caller *own = push(L, t.u, t.request, t.logger, true);
  if (!t.caller) return 1;
  own->no_body = t.caller->no_body;
  if (dsc_headers_copy(&own->relayed, &t.caller->relayed)) luaL_error(L, "not enough memory");
  return 1;
}

static dsc_lua_caller *check(lua_State *L) {
  dsc_lua_caller *caller = dsc_lua_caller_test(L, 1);
  return caller ? caller : luaL_checkudata(L, 1, CALLER);
}

static int get_no_body(lua_State *L) {
  lua_pushboolean(L, check(L)->no_body);
  return 1;
}

static int caller_newindex(lua_State *L) {
  dsc_lua_caller *caller = check(L);
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
  if (strcmp(name, "no_body") != 0) return luaL_error(L, "caller: '%s' cannot be set (what can: no_body)", name);
  if (!lua_isboolean(L, 3)) return luaL_error(L, "caller: no_body: boolean expected, got %s", luaL_typename(L, 3));
  caller->no_body = lua_toboolean(L, 3);
  return 0;
}

static int caller_gc(lua_State *L) {
  dsc_headers_clear(&check(L)->relayed);
  return 0;
}

static int caller_tostring(lua_State *L) {
  const dsc_lua_caller *caller = check(L);
  lua_pushfstring(L, "%s(%d headers relayed)", caller->is_async ? "async caller" : "caller",
                  (int)caller->relayed.count);
  return 1;
}

void dsc_lua_caller_open(lua_State *L) {
  static const luaL_Reg meta[] = {
      {"__gc", caller_gc}, {"__tostring", caller_tostring}, {"__newindex", caller_newindex}, {NULL, NULL}};
  static const dsc_lua_field fields[] = {{"no_body", get_no_body}, {NULL, NULL}};
  static const luaL_Reg async[] = {{"async", dsc_lua_caller_async}, {NULL, NULL}};
  dsc_compat_class(L, &(dsc_lua_class){CALLER, meta, dsc_lua_calls_caller_methods, fields});
  dsc_compat_class(L, &(dsc_lua_class){ASYNC, meta, dsc_lua_calls_caller_methods, fields});
  dsc_compat_push_methods(L, CALLER);
  dsc_compat_set_funcs(L, async);
  lua_pop(L, 1);
}
