/*
** hooks_set.c - which callbacks a discoverer has: checked, kept in its user value (so that cycles are collected),
** told to the core.
**
** Threads: that of the lua_State.
*/
#include "lua/hooks.h"

#include "model/balancer.h"

void dsc_lua_hooks_check_function(lua_State *L, int index, int arg, const char *what) {
  if (lua_isfunction(L, index)) return;
  luaL_argerror(L, arg, lua_pushfstring(L, "%s: function expected, got %s", what, luaL_typename(L, index)));
}

static void check_balancer_table(lua_State *L, int index, int arg) {
  int found = 0;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
    if (strcmp(name, "next") != 0 && strcmp(name, "response") != 0)
      luaL_argerror(L, arg, lua_pushfstring(L, "balancer: unknown key '%s' (known: next, response)", name));
    if (!lua_isfunction(L, -1)) {
      luaL_argerror(L, arg,
                    lua_pushfstring(L, "balancer: '%s': function expected, got %s", name, luaL_typename(L, -1)));
    }
    found++;
  }
  if (!found) luaL_argerror(L, arg, "balancer: a table with next, response or both expected");
}

void dsc_lua_hooks_check_balancer(lua_State *L, int index, int arg) {
  dsc_why why = {""};
  switch (lua_type(L, index)) {
  case LUA_TSTRING:
    if (!dsc_balancer_find(dsc_compat_check_str(L, index), &why)) luaL_argerror(L, arg, why.text);
    return;
  case LUA_TTABLE: check_balancer_table(L, index, arg); return;
  default:
    luaL_argerror(
        L, arg,
        lua_pushfstring(L, "balancer: name or table {next=, response=} expected, got %s", luaL_typename(L, index)));
  }
}

void dsc_lua_hooks_check_logger(lua_State *L, int index, int arg) {
  static const char *const levels[] = {"debug", "info", "warn", "error"};
  if (lua_isfunction(L, index)) return;
  if (!lua_istable(L, index) && lua_type(L, index) != LUA_TUSERDATA) {
    luaL_argerror(L, arg, lua_pushfstring(L, "logger: function or table expected, got %s", luaL_typename(L, index)));
  }
  int top = lua_gettop(L);
  for (int i = 0; i < 4; i++) {
    lua_getfield(L, index, levels[i]);
    if (!lua_isfunction(L, -1) && !luaL_getmetafield(L, -1, "__call")) {
      luaL_argerror(L, arg, lua_pushfstring(L, "logger: it has no method '%s' (debug, info, warn, error)", levels[i]));
    }
    lua_settop(L, top);
  }
}

static void put(lua_State *L, int self, int slot) {
  dsc_compat_get_user(L, self);
  lua_insert(L, -2);
  lua_rawseti(L, -2, slot);
  lua_pop(L, 1);
}

static bool given(lua_State *L, int index) {
  return index && !lua_isnoneornil(L, index);
}

void dsc_lua_hooks_set(lua_State *L, int self, int slot, int index) {
  dsc_lua_discoverer *box = lua_touserdata(L, self);
  if (given(L, index))
    lua_pushvalue(L, index);
  else
    lua_pushboolean(L, 0);
  put(L, self, slot);
  switch (slot) {
  case DSC_U_ROUTE: box->has_route = given(L, index); break;
  case DSC_U_LOGGER: box->has_logger = given(L, index); break;
  case DSC_U_EVENT: box->has_event = given(L, index); break;
  default: break;
  }
}

static bool set_part(lua_State *L, int self, int index, const char *name, int slot) {
  if (given(L, index) && lua_istable(L, index))
    lua_getfield(L, index, name);
  else
    lua_pushnil(L);
  bool is_set = !lua_isnil(L, -1);
  put(L, self, slot);
  return is_set;
}

void dsc_lua_hooks_set_balancer(lua_State *L, int self, int index) {
  dsc_lua_discoverer *box = lua_touserdata(L, self);
  const dsc_balancer_ops *ops = NULL;
  if (given(L, index) && lua_type(L, index) == LUA_TSTRING)
    ops = dsc_balancer_find(dsc_compat_check_str(L, index), NULL);
  box->has_next = set_part(L, self, index, "next", DSC_U_NEXT);
  box->has_response = set_part(L, self, index, "response", DSC_U_RESPONSE);
  if (box->d) dsc_discoverer_set_balancer(box->d, ops);
}
