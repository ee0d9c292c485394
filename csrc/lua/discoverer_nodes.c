/*
** discoverer_nodes.c - methods of the discoverer about nodes and apps.
**
** Threads: that of the lua_State.
*/
#include "lua/app_client.h"
#include "lua/discoverer.h"
#include "lua/headers.h"
#include "lua/node.h"
#include "lua/options.h"

/* `key` is left on the stack if it had to be made. */
static dsc_str read_key(lua_State *L, int request) {
  dsc_str key = {NULL, 0};
  lua_getfield(L, request, "key");
  if (lua_type(L, -1) == LUA_TSTRING || lua_type(L, -1) == LUA_TNUMBER) key.p = lua_tolstring(L, -1, &key.n);
  return key;
}

/* With a balancer in Lua: it wants an app client. `u` is the index of the user value. */
static dsc_err pick_with_hooks(lua_State *L, int u, dsc_str app, dsc_str key, dsc_node **node, dsc_why *why) {
  dsc_lua_frame frame;
  dsc_lua_ac *ac = dsc_lua_app_client_push(L, u, 0, lua_istable(L, 3) ? 3 : 0, 0);
  dsc_lua_app_client_begin(L, u, ac);
  dsc_err err = dsc_lua_discoverer_enter(L, 1, &frame, why);
  if (!err) {
    err = dsc_discoverer_pick(&frame.frame, app, key, ac, node, why);
    dsc_lua_discoverer_leave(&frame);
  }
  dsc_lua_app_client_end(L, u, ac);
  return err;
}

static int discoverer_pick(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why;
  dsc_node *node = NULL;
  dsc_err err;
  dsc_lua_discoverer *box = dsc_lua_discoverer_check(L, 1);
  dsc_str app = dsc_compat_check_str(L, 2);
  dsc_str key = {NULL, 0};
  if (lua_istable(L, 3))
    key = read_key(L, 3);
  else if (!lua_isnoneornil(L, 3))
    return dsc_compat_type_error(L, 3, "request table");
  /* not all of it: half a kilobyte is much beside a pick */
  why.text[0] = '\0';
  dsc_compat_get_user(L, 1);
  int u = lua_gettop(L);
  dsc_lua_node_prepare(L, u, box);
  if (box->has_next) {
    err = pick_with_hooks(L, u, app, key, &node, &why);
  } else {
    err = dsc_lua_discoverer_enter(L, 1, &frame, &why);
    if (!err) {
      err = dsc_discoverer_pick(&frame.frame, app, key, NULL, &node, &why);
      dsc_lua_discoverer_leave(&frame);
    }
  }
  if (err) return dsc_compat_fail(L, err, &why);
  dsc_lua_node_push_picked(L, u, box, node);
  return 1;
}

/* Metadata of argument `arg`: NULL if none was given; the buffer stays on the stack. */
static const char *read_metadata(lua_State *L, int arg) {
  if (lua_isnoneornil(L, arg)) return NULL;
  if (!lua_istable(L, arg)) dsc_compat_type_error(L, arg, "table of strings");
  dsc_buf *buf = dsc_lua_headers_push_buf(L);
  dsc_lua_headers_encode(L, arg, arg, "metadata", false, buf);
  return buf->data ? buf->data : "";
}

static int discoverer_set_node(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  uint32_t weight = 0;
  dsc_lua_discoverer_check(L, 1);
  dsc_str app = dsc_compat_check_str(L, 2);
  dsc_str addr = dsc_compat_check_str(L, 3);
  dsc_err err = dsc_lua_options_count(L, 4, 4, "weight", 0, DSC_WEIGHT_MAX, &weight, &why);
  const char *metadata = read_metadata(L, 5);
  if (!err) err = dsc_lua_discoverer_enter(L, 1, &frame, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  err = dsc_discoverer_set_node(&frame.frame, app, addr, weight, metadata, &why);
  dsc_lua_discoverer_leave(&frame);
  return dsc_compat_answer(L, err, &why);
}

static void release_array(void *array) {
  dsc_node_array_unref(array);
}

static int discoverer_get_app_nodes(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  dsc_lua_discoverer *box = dsc_lua_discoverer_check(L, 1);
  dsc_str app = dsc_compat_check_str(L, 2);
  lua_settop(L, 2);
  dsc_compat_get_user(L, 1);
  dsc_lua_holder *holder = dsc_compat_push_holder(L, release_array);
  dsc_err err = dsc_lua_discoverer_enter(L, 1, &frame, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  dsc_node_array *array = dsc_discoverer_nodes(box->d, app);
  holder->object = array;
  dsc_lua_discoverer_leave(&frame);
  if (!array) {
    dsc_fail(&why, DSC_EAPP_NOT_FOUND, "no such app: %.*s", app.n < 255 ? (int)app.n : 255, app.p);
    return dsc_compat_fail(L, DSC_EAPP_NOT_FOUND, &why);
  }
  size_t count = dsc_node_array_count(array);
  lua_createtable(L, 0, (int)count);
  for (size_t i = 0; i < count; i++) {
    dsc_node *node = dsc_node_array_get(array, i);
    dsc_compat_push_str(L, dsc_node_addr(node));
    dsc_lua_node_push(L, 3, node);
    lua_rawset(L, -3);
  }
  dsc_compat_release(holder);
  return 1;
}

static void release_config(void *config) {
  dsc_call_config_unref(config);
}

static int discoverer_add_external_app(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  dsc_call_config *config = NULL;
  bool changed = false;
  dsc_lua_discoverer *box = dsc_lua_discoverer_check(L, 1);
  dsc_str app = dsc_compat_check_str(L, 2);
  lua_settop(L, 3);
  if (lua_isnil(L, 3)) {
    lua_newtable(L);
    lua_replace(L, 3);
  }
  dsc_lua_holder *holder = dsc_compat_push_holder(L, release_config);
  dsc_err err = dsc_lua_options_call(L, 3, 3, "config", &config, &why);
  holder->object = config;
  if (!err) err = dsc_lua_discoverer_enter(L, 1, &frame, &why);
  if (!err) {
    err = dsc_discoverer_configure(&frame.frame, app, config, &changed, &why);
    if (!err && changed) dsc_discoverer_await_app(&frame.frame, app, box->start_timeout_ms);
    dsc_lua_discoverer_leave(&frame);
  }
  dsc_compat_release(holder);
  if (err) return dsc_compat_fail(L, err, &why);
  lua_pushboolean(L, changed);
  return 1;
}

const luaL_Reg dsc_lua_discoverer_node_methods[] = {{"pick", discoverer_pick},
                                                    {"set_node", discoverer_set_node},
                                                    {"get_app_nodes", discoverer_get_app_nodes},
                                                    {"add_external_app", discoverer_add_external_app},
                                                    {NULL, NULL}};
