/*
** app_client_own.c - app clients made by hand: one node after the other, for a call that is made elsewhere.
**
** Threads: that of the lua_State.
*/
#include "lua/app_client.h"
#include "lua/node.h"
#include "lua/options.h"

static dsc_lua_ac *check_own(lua_State *L, const char *method) {
  dsc_lua_ac *box = dsc_lua_app_client_check(L);
  if (!box->own) luaL_error(L, "app client: '%s' is for those that d:app_client() made", method);
  return box;
}

/* Pushes U and the discoverer; returns the index of U. */
static int push_self(lua_State *L) {
  dsc_compat_get_user(L, 1);
  lua_rawgeti(L, -1, DSC_AC_U);
  lua_rawgeti(L, -1, DSC_U_SELF);
  return lua_gettop(L) - 1;
}

static int next_node(lua_State *L, dsc_lua_ac *box, dsc_str addr, int request) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  dsc_node *node = NULL;
  dsc_compat_get_user(L, 1);
  if (lua_istable(L, request))
    lua_pushvalue(L, request);
  else
    lua_pushnil(L);
  lua_rawseti(L, -2, DSC_AC_REQUEST);
  int u = push_self(L);
  dsc_lua_discoverer *owner = lua_touserdata(L, u + 1);
  dsc_lua_node_prepare(L, u, owner);
  lua_pushvalue(L, 1);
  box->own->ud = box;
  dsc_lua_app_client_begin(L, u, box);
  dsc_err err = dsc_lua_discoverer_enter(L, u + 1, &frame, &why);
  if (!err) {
    err = dsc_discoverer_app_client_next(&frame.frame, box->own, addr, &node, &why);
    dsc_lua_discoverer_leave(&frame);
  }
  dsc_lua_app_client_end(L, u, box);
  if (err) return dsc_compat_fail(L, err, &why);
  dsc_lua_node_push_picked(L, u, owner, node);
  return 1;
}

static void check_request(lua_State *L, int arg) {
  if (!lua_isnoneornil(L, arg) && !lua_istable(L, arg)) dsc_compat_type_error(L, arg, "request table");
}

static void set_key(lua_State *L, dsc_app_client *ac, int request) {
  if (!lua_istable(L, request)) return;
  lua_getfield(L, request, "key");
  if (lua_type(L, -1) == LUA_TSTRING || lua_type(L, -1) == LUA_TNUMBER) {
    dsc_str key;
    key.p = lua_tolstring(L, -1, &key.n);
    ac->key = dsc_str_hash(key);
    ac->has_key = true;
  }
  lua_pop(L, 1);
}

static int app_client_next(lua_State *L) {
  dsc_lua_ac *box = check_own(L, "next");
  check_request(L, 2);
  set_key(L, box->own, 2);
  return next_node(L, box, DSC_STR_LITERAL(""), 2);
}

static int app_client_next_with_node(lua_State *L) {
  dsc_lua_ac *box = check_own(L, "next_with_node");
  dsc_str addr = dsc_compat_check_str(L, 2);
  check_request(L, 3);
  return next_node(L, box, addr, 3);
}

static int app_client_check_app(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  dsc_lua_ac *box = dsc_lua_app_client_check(L);
  int u = push_self(L);
  dsc_err err = dsc_lua_discoverer_enter(L, u + 1, &frame, &why);
  if (!err) {
    err = dsc_discoverer_app_client_check(&frame.frame, box->ac, &why);
    dsc_lua_discoverer_leave(&frame);
  }
  return dsc_compat_answer(L, err, &why);
}

static int app_client_log(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  dsc_lua_ac *box = dsc_lua_app_client_check(L);
  dsc_node *node = dsc_lua_node_test(L, 2);
  dsc_str addr = node ? dsc_node_addr(node) : dsc_compat_check_str(L, 2);
  double seconds = 0;
  dsc_err bad = dsc_lua_options_seconds(L, 3, "log", &seconds, &why);
  dsc_str error = dsc_compat_opt_str(L, 4);
  if (bad) return dsc_compat_fail(L, bad, &why);
  int u = push_self(L);
  dsc_err err = dsc_lua_discoverer_enter(L, u + 1, &frame, &why);
  if (!err) {
    dsc_discoverer_app_client_log(&frame.frame, box->ac, addr, seconds, error);
    dsc_lua_discoverer_leave(&frame);
  }
  return dsc_compat_answer(L, err, &why);
}

int dsc_lua_app_client_new(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  dsc_lua_discoverer *d = dsc_lua_discoverer_check(L, 1);
  dsc_str app = dsc_compat_check_str(L, 2);
  dsc_compat_get_user(L, 1);
  dsc_lua_ac *box = dsc_lua_app_client_push(L, lua_gettop(L), 0, 0, 0);
  dsc_err err = dsc_lua_discoverer_enter(L, 1, &frame, &why);
  if (!err) {
    err = dsc_discoverer_app_client_new(d->d, app, &box->own, &why);
    dsc_lua_discoverer_leave(&frame);
  }
  if (err) return dsc_compat_fail(L, err, &why);
  box->ac = box->own;
  return 1;
}

const luaL_Reg dsc_lua_app_client_methods[] = {{"next", app_client_next},
                                               {"next_with_node", app_client_next_with_node},
                                               {"check_app", app_client_check_app},
                                               {"log", app_client_log},
                                               {NULL, NULL}};
