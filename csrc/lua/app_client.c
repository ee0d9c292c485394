/*
** app_client.c - the userdata of an app client: what route and balancer see of a call, or the state of a call made
** by hand.
**
** Invariant: the core's object behind that of a running call is only there while a callback of that call runs;
** whoever keeps the userdata longer gets a clear error, not a dangling pointer.
** Threads: that of the lua_State.
*/
#include "lua/app_client.h"

#include "lua/body.h"
#include "lua/headers.h"
#include "lua/json.h"
#include "lua/result.h"

#define APP_CLIENT "discover.app_client"

dsc_lua_ac *dsc_lua_app_client_push(lua_State *L, int u, int data, int request, int logger) {
  const int slots[][2] = {{DSC_AC_U, u}, {DSC_AC_DATA, data}, {DSC_AC_REQUEST, request}, {DSC_AC_LOGGER, logger}};
  dsc_lua_ac *box = lua_newuserdata(L, sizeof *box);
  *box = (dsc_lua_ac){0};
  lua_createtable(L, DSC_AC_LOGGER, 0);
  for (int i = 0; i < 4; i++) {
    if (!slots[i][1]) continue;
    lua_pushvalue(L, slots[i][1]);
    lua_rawseti(L, -2, slots[i][0]);
  }
  dsc_compat_set_user(L, -2);
  dsc_compat_set_class(L, APP_CLIENT);
  return box;
}

void dsc_lua_app_client_begin(lua_State *L, int u, dsc_lua_ac *box) {
  lua_rawgeti(L, u, DSC_U_CALLS);
  lua_pushvalue(L, -2);
  dsc_compat_set_ptr(L, -2, box);
  lua_pop(L, 1);
}

void dsc_lua_app_client_end(lua_State *L, int u, dsc_lua_ac *box) {
  box->ac = box->own;
  lua_rawgeti(L, u, DSC_U_CALLS);
  lua_pushnil(L);
  dsc_compat_set_ptr(L, -2, box);
  lua_pop(L, 1);
}

/* The userdata is found before the strong reference goes. */
void dsc_lua_app_client_stream(lua_State *L, int u, dsc_lua_ac *box, int result) {
  lua_rawgeti(L, u, DSC_U_CALLS);
  dsc_compat_get_ptr(L, -1, box);
  lua_rawgeti(L, u, DSC_U_FLOWS);
  lua_pushvalue(L, -2);
  dsc_compat_set_ptr(L, -2, box);
  dsc_lua_result_set_slot(L, result, DSC_RESULT_AC, -2);
  box->of_stream = true;
  lua_pop(L, 3);
  dsc_lua_app_client_end(L, u, box);
}

void dsc_lua_app_client_blame(dsc_lua_result *result) {
  dsc_why why = {""};
  if (!result->r) return;
  dsc_fail(&why, DSC_EINVALID, "%s", result->r->why ? result->r->why : "");
  dsc_lua_result_fail(result, DSC_EINVALID, &why);
}

dsc_lua_ac *dsc_lua_app_client_check(lua_State *L) {
  dsc_lua_ac *box = luaL_checkudata(L, 1, APP_CLIENT);
  if (!box->ac) luaL_argerror(L, 1, "the app client was used after its callback");
  return box;
}

/* Pushes the user value's slot. */
static int push_slot(lua_State *L, int slot) {
  dsc_compat_get_user(L, 1);
  lua_rawgeti(L, -1, slot);
  return 1;
}

static int get_app(lua_State *L) {
  dsc_compat_push_str(L, dsc_lua_app_client_check(L)->ac->app.s);
  return 1;
}

static int get_method(lua_State *L) {
  dsc_compat_push_str(L, dsc_lua_app_client_check(L)->ac->method.s);
  return 1;
}

static int get_path(lua_State *L) {
  dsc_compat_push_str(L, dsc_lua_app_client_check(L)->ac->path.s);
  return 1;
}

static int get_attempts(lua_State *L) {
  lua_pushinteger(L, (lua_Integer)dsc_lua_app_client_check(L)->ac->attempts);
  return 1;
}

static int get_data(lua_State *L) {
  dsc_lua_ac *box = dsc_lua_app_client_check(L);
  if (box->in_route) box->data_seen = true;
  return push_slot(L, DSC_AC_DATA);
}

static int get_logger(lua_State *L) {
  push_slot(L, DSC_AC_LOGGER);
  if (!lua_isnil(L, -1)) return 1;
  push_slot(L, DSC_AC_U);
  lua_rawgeti(L, -1, DSC_U_LOGGER);
  if (!lua_toboolean(L, -1)) lua_pushnil(L);
  return 1;
}

/* The user's headers with their names as written; those that repeat as a list. */
static void push_headers(lua_State *L, const dsc_headers *headers) {
  lua_newtable(L);
  for (size_t i = 0; i < headers->count; i++) {
    dsc_compat_push_str(L, headers->items[i].name);
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    if (lua_isnil(L, -1)) {
      lua_pop(L, 1);
      dsc_compat_push_str(L, headers->items[i].value);
      lua_rawset(L, -3);
      continue;
    }
    if (!lua_istable(L, -1)) {
      lua_newtable(L);
      lua_insert(L, -2);
      lua_rawseti(L, -2, 1);
    }
    dsc_compat_push_str(L, headers->items[i].value);
    lua_rawseti(L, -2, (int)lua_rawlen(L, -2) + 1);
    lua_rawset(L, -3);
  }
}

static int get_headers(lua_State *L) {
  dsc_lua_ac *box = dsc_lua_app_client_check(L);
  push_slot(L, DSC_AC_HEADERS);
  if (!lua_isnil(L, -1)) return 1;
  push_headers(L, &box->ac->headers);
  dsc_compat_get_user(L, 1);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, DSC_AC_HEADERS);
  lua_pop(L, 1);
  return 1;
}

static void set_slot(lua_State *L, int slot) {
  dsc_compat_get_user(L, 1);
  lua_pushvalue(L, 3);
  lua_rawseti(L, -2, slot);
}

static void set_headers(lua_State *L, dsc_lua_ac *box) {
  if (lua_isnil(L, 3)) {
    lua_newtable(L);
    lua_replace(L, 3);
  }
  if (!lua_istable(L, 3)) luaL_error(L, "headers: table expected, got %s", luaL_typename(L, 3));
  set_slot(L, DSC_AC_HEADERS);
  if (!box->own) return;
  dsc_why why = {""};
  dsc_headers *headers = dsc_lua_headers_push_box(L);
  dsc_lua_headers_read(L, 3, 3, "headers", headers);
  if (dsc_app_client_set_headers(box->ac, headers, &why)) luaL_error(L, "invalid: %s", why.text);
}

/* A body value or a reader stays what the caller gave: it can be set back, not set. */
static void set_data(lua_State *L, dsc_lua_ac *box) {
  int type = lua_type(L, 3);
  push_slot(L, DSC_AC_DATA);
  bool is_own = dsc_lua_body_is(L, 3) && lua_rawequal(L, 3, -1);
  if (type != LUA_TNIL && type != LUA_TSTRING && type != LUA_TTABLE && !is_own)
    luaL_error(L, "data: string or table expected, got %s", luaL_typename(L, 3));
  box->data_seen = true;
  set_slot(L, DSC_AC_DATA);
}

typedef dsc_err (*text_setter)(dsc_app_client *ac, dsc_str text, dsc_why *why);

static bool set_text(lua_State *L, dsc_lua_ac *box, const char *name) {
  static const struct {
    const char *name;
    text_setter set;
  } setters[] = {
      {"app", dsc_app_client_set_app}, {"method", dsc_app_client_set_method}, {"path", dsc_app_client_set_path}};
  dsc_why why = {""};
  for (int i = 0; i < 3; i++) {
    if (strcmp(name, setters[i].name) != 0) continue;
    if (lua_type(L, 3) != LUA_TSTRING) luaL_error(L, "%s: string expected, got %s", name, luaL_typename(L, 3));
    dsc_err err = setters[i].set(box->ac, dsc_compat_check_str(L, 3), &why);
    if (err) luaL_error(L, "%s: %s", dsc_err_name(err), why.text[0] ? why.text : dsc_err_text(err));
    return true;
  }
  return false;
}

static int app_client_newindex(lua_State *L) {
  dsc_lua_ac *box = dsc_lua_app_client_check(L);
  const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "?";
  if (!box->in_route && !box->own) return luaL_error(L, "app client: '%s' can only be set in a route", name);
  if (strcmp(name, "headers") == 0)
    set_headers(L, box);
  else if (strcmp(name, "data") == 0)
    set_data(L, box);
  else if (!set_text(L, box, name))
    return luaL_error(L, "app client: '%s' cannot be set (what can: app, method, path, data, headers)", name);
  return 0;
}

static void apply_headers(lua_State *L, dsc_lua_ac *box, int v) {
  dsc_why why = {""};
  lua_rawgeti(L, v, DSC_AC_HEADERS);
  if (!lua_istable(L, -1)) return;
  dsc_headers *headers = dsc_lua_headers_push_box(L);
  dsc_lua_headers_read(L, -2, 1, "headers", headers);
  dsc_err err = dsc_app_client_set_headers(box->ac, headers, &why);
  if (err) luaL_error(L, "%s: %s", dsc_err_name(err), why.text);
}

/* A body that is more than a string says what it is, unless the user did. */
static void apply_content_type(lua_State *L, dsc_lua_ac *box, const char *type) {
  const dsc_str name = DSC_STR_LITERAL("Content-Type");
  if (dsc_headers_find(&box->ac->headers, name)) return;
  dsc_headers *headers = dsc_lua_headers_push_box(L);
  dsc_err err = dsc_headers_copy(headers, &box->ac->headers);
  if (!err) err = dsc_headers_add(headers, name, dsc_str_of(type));
  if (!err) err = dsc_app_client_set_headers(box->ac, headers, NULL);
  if (err) luaL_error(L, "not enough memory");
}

dsc_err dsc_lua_app_client_apply(lua_State *L, dsc_lua_ac *box, int v, dsc_why *why) {
  dsc_str body = {"", 0};
  apply_headers(L, box, v);
  if (!box->data_seen && !box->data_pending) return DSC_OK;
  lua_rawgeti(L, v, DSC_AC_DATA);
  if (dsc_lua_body_is(L, -1)) {
    const char *type = dsc_lua_body_type(L, -1);
    if (type) apply_content_type(L, box, type);
    return DSC_OK;
  }
  bool is_table = lua_istable(L, -1);
  bool has_body = !lua_isnil(L, -1);
  if (is_table) {
    dsc_err err = dsc_lua_json_encode(L, -1, why);
    if (err) return err;
  }
  if (has_body) body.p = lua_tolstring(L, -1, &body.n);
  if (dsc_app_client_set_body(box->ac, body, has_body, why)) luaL_error(L, "not enough memory");
  if (is_table) apply_content_type(L, box, "application/json");
  box->data_seen = box->data_pending = false;
  return DSC_OK;
}

static int app_client_gc(lua_State *L) {
  dsc_lua_ac *box = luaL_checkudata(L, 1, APP_CLIENT);
  dsc_app_client *own = box->own;
  box->own = box->ac = NULL;
  dsc_discoverer_app_client_free(own);
  return 0;
}

static int app_client_tostring(lua_State *L) {
  dsc_lua_ac *box = luaL_checkudata(L, 1, APP_CLIENT);
  if (!box->ac)
    lua_pushliteral(L, "app client(its call is over)");
  else if (box->ac->path.s.n == 0) {
    dsc_compat_push_str(L, box->ac->app.s);
    lua_pushfstring(L, "app client(%s)", lua_tostring(L, -1));
  } else {
    dsc_compat_push_str(L, box->ac->method.s);
    dsc_compat_push_str(L, box->ac->app.s);
    dsc_compat_push_str(L, box->ac->path.s);
    lua_pushfstring(L, "app client(%s %s %s)", lua_tostring(L, -3), lua_tostring(L, -2), lua_tostring(L, -1));
  }
  return 1;
}

void dsc_lua_app_client_open(lua_State *L) {
  static const luaL_Reg meta[] = {
      {"__gc", app_client_gc}, {"__tostring", app_client_tostring}, {"__newindex", app_client_newindex}, {NULL, NULL}};
  static const dsc_lua_field fields[] = {
      {"app", get_app},         {"method", get_method},     {"path", get_path},     {"data", get_data},
      {"headers", get_headers}, {"attempts", get_attempts}, {"logger", get_logger}, {NULL, NULL}};
  dsc_compat_class(L, &(dsc_lua_class){APP_CLIENT, meta, dsc_lua_app_client_methods, fields});
}
