/*
** discoverer.c - the userdata of a discoverer: made, entered, asked, stopped, collected.
**
** Invariants: the core's object lives until the userdata is collected, so that stats() and is_*() answer after
** stop(); a stopped one has given back all that matters. `stop`, `close` and `__close` are one function; `__gc` runs
** no callback and does not wait.
** Threads: one at a time, that of the lua_State.
*/
#include "lua/discoverer.h"

#include "lua/app_client.h"
#include "lua/caller.h"
#include "lua/calls.h"
#include "lua/hooks.h"
#include "lua/options.h"

#define ACCOUNT_STEP 32768 /* bytes after which the collector is told */
#define STOPPED_KB   64    /* a stopped discoverer is garbage soon, and larger than it looks */

static const char type_key = 'd'; /* its address is the key of the metatable in the Lua registry */

static void push_weak(lua_State *L, const char *mode) {
  lua_newtable(L);
  lua_newtable(L);
  dsc_compat_set_str(L, "__mode", mode);
  lua_setmetatable(L, -2);
}

dsc_lua_discoverer *dsc_lua_discoverer_push(lua_State *L) {
  dsc_lua_discoverer *box = lua_newuserdata(L, sizeof *box);
  *box = (dsc_lua_discoverer){.nodes_sweep = 16};
  dsc_compat_set_class(L, DSC_LUA_DISCOVERER);
  lua_createtable(L, DSC_U_COUNT - 1, 0);
  lua_pushvalue(L, -2);
  lua_rawseti(L, -2, DSC_U_SELF);
  dsc_lua_hooks_init(L);
  lua_newtable(L);
  lua_rawseti(L, -2, DSC_U_NODES);
  push_weak(L, "k");
  lua_rawseti(L, -2, DSC_U_DATA);
  push_weak(L, "v");
  lua_rawseti(L, -2, DSC_U_FLOWS);
  lua_newtable(L);
  lua_rawseti(L, -2, DSC_U_CALLS);
  lua_newtable(L);
  lua_rawseti(L, -2, DSC_U_WEBSOCKETS);
  lua_newtable(L);
  lua_rawseti(L, -2, DSC_U_FUTURES);
  dsc_compat_set_user(L, -2);
  return box;
}

/* As luaL_checkudata(), but the metatable is found by a pointer: every method begins here, and a pick is short. */
dsc_lua_discoverer *dsc_lua_discoverer_check(lua_State *L, int index) {
  void *box = lua_touserdata(L, index);
  if (!box || !lua_getmetatable(L, index)) return luaL_checkudata(L, index, DSC_LUA_DISCOVERER);
  dsc_compat_get_ptr(L, LUA_REGISTRYINDEX, &type_key);
  if (!lua_rawequal(L, -1, -2)) return luaL_checkudata(L, index, DSC_LUA_DISCOVERER);
  lua_pop(L, 2);
  return box;
}

dsc_err dsc_lua_discoverer_enter(lua_State *L, int self, dsc_lua_frame *frame, dsc_why *why) {
  dsc_lua_discoverer *box = lua_touserdata(L, self);
  frame->ctx = (dsc_lua_ctx){L, self};
  if (!box->d) return dsc_fail(why, DSC_ESTOPPED, "the discoverer was closed");
  luaL_checkstack(L, DSC_LUA_FRAME_SLOTS, "discover");
  return dsc_discoverer_enter(box->d, &frame->frame, &frame->ctx, why);
}

void dsc_lua_discoverer_leave(dsc_lua_frame *frame) {
  dsc_discoverer_leave(&frame->frame);
}

void dsc_lua_discoverer_account(lua_State *L, dsc_lua_discoverer *box, size_t bytes) {
  box->debt += bytes;
  if (box->debt < ACCOUNT_STEP) return;
  size_t kb = box->debt / 1024;
  box->debt = 0;
  lua_gc(L, LUA_GCSTEP, kb < 1048576 ? (int)kb : 1048576);
}

static int stop(lua_State *L, uint32_t drain_ms) {
  dsc_lua_discoverer *box = dsc_lua_discoverer_check(L, 1);
  dsc_lua_ctx ctx = {L, 1};
  bool was_stopped = !box->d || dsc_discoverer_stopped(box->d);
  luaL_checkstack(L, DSC_LUA_FRAME_SLOTS, "discover");
  if (box->d) dsc_discoverer_stop(box->d, &ctx, drain_ms);
  if (box->wake) dsc_wake_ring(box->wake); /* whoever waits for it shall see the end */
  if (!was_stopped) lua_gc(L, LUA_GCSTEP, STOPPED_KB);
  lua_pushboolean(L, 1);
  return 1;
}

static int discoverer_stop(lua_State *L) {
  uint32_t drain_ms = 0;
  dsc_why why = {""};
  dsc_lua_discoverer_check(L, 1);
  if (!lua_isnoneornil(L, 2)) {
    dsc_err err = dsc_lua_options_time(L, 2, 2, "stop", &drain_ms, &why);
    if (err) return dsc_compat_fail(L, err, &why);
  }
  return stop(L, drain_ms);
}

/* self [, seconds]: false while callers may not have seen yet that this node goes; then it stops and returns true. */
static int discoverer_drain(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  bool over = true;
  dsc_lua_discoverer *box = dsc_lua_discoverer_check(L, 1);
  uint32_t ms = box->drain_ms;
  dsc_err err = lua_isnoneornil(L, 2) ? DSC_OK : dsc_lua_options_time(L, 2, 2, "drain", &ms, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  err = dsc_lua_discoverer_enter(L, 1, &frame, &why);
  if (err == DSC_ESTOPPED) return dsc_compat_answer(L, DSC_OK, NULL);
  if (!err) {
    err = dsc_discoverer_drain(&frame.frame, ms, &over, &why);
    dsc_lua_discoverer_leave(&frame);
  }
  if (err) return dsc_compat_fail(L, err, &why);
  if (over) return stop(L, ms);
  lua_pushboolean(L, 0);
  return 1;
}

static int discoverer_close(lua_State *L) {
  return stop(L, 0);
}

static int discoverer_gc(lua_State *L) {
  dsc_lua_discoverer *box = dsc_lua_discoverer_check(L, 1);
  /* refused inside a frame: lua_close() within a callback; the process ends then */
  if (!dsc_discoverer_free(box->d, false)) return 0;
  box->d = NULL;
  dsc_wake_free(box->wake);
  box->wake = NULL;
  return 0;
}

static int discoverer_ready(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  dsc_lua_discoverer *box = dsc_lua_discoverer_check(L, 1);
  uint32_t timeout_ms = box->start_timeout_ms;
  dsc_err err = DSC_OK;
  if (!lua_isnoneornil(L, 2)) err = dsc_lua_options_time(L, 2, 2, "ready", &timeout_ms, &why);
  if (!err) err = dsc_lua_discoverer_enter(L, 1, &frame, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  err = dsc_discoverer_ready(&frame.frame, timeout_ms, &why);
  dsc_lua_discoverer_leave(&frame);
  return dsc_compat_answer(L, err, &why);
}

static int discoverer_wait(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  uint32_t timeout_ms = 0;
  bool forever = lua_isnoneornil(L, 2);
  dsc_lua_discoverer_check(L, 1);
  dsc_err err = DSC_OK;
  if (!forever) err = dsc_lua_options_time(L, 2, 2, "wait", &timeout_ms, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  err = dsc_lua_discoverer_enter(L, 1, &frame, &why);
  /* what is waited for is there already */
  if (err == DSC_ESTOPPED)
    err = DSC_OK;
  else if (!err) {
    if (!dsc_discoverer_wait(&frame.frame, forever ? -1 : (int64_t)timeout_ms))
      err = dsc_fail(&why, DSC_ETIMEOUT, "not stopped within the time given");
    dsc_lua_discoverer_leave(&frame);
  }
  return dsc_compat_answer(L, err, &why);
}

static int discoverer_is_server(lua_State *L) {
  dsc_lua_discoverer *box = dsc_lua_discoverer_check(L, 1);
  lua_pushboolean(L, box->d && dsc_discoverer_is_server(box->d));
  return 1;
}

static int discoverer_is_client(lua_State *L) {
  dsc_lua_discoverer *box = dsc_lua_discoverer_check(L, 1);
  lua_pushboolean(L, box->d && dsc_discoverer_is_client(box->d));
  return 1;
}

static int discoverer_registered(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  dsc_lua_discoverer *box = dsc_lua_discoverer_check(L, 1);
  dsc_err err = dsc_lua_discoverer_enter(L, 1, &frame, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  bool registered = dsc_discoverer_registered(box->d);
  dsc_lua_discoverer_leave(&frame);
  lua_pushboolean(L, registered);
  return 1;
}

static int discoverer_tostring(lua_State *L) {
  dsc_lua_discoverer *box = dsc_lua_discoverer_check(L, 1);
  if (!box->d || dsc_discoverer_stopped(box->d)) {
    lua_pushliteral(L, "discoverer(stopped)");
  } else if (dsc_discoverer_is_server(box->d)) {
    dsc_compat_push_str(L, dsc_discoverer_own_app(box->d));
    dsc_compat_push_str(L, dsc_discoverer_own_addr(box->d));
    lua_pushfstring(L, "discoverer(%s at %s)", lua_tostring(L, -2), lua_tostring(L, -1));
  } else {
    lua_pushliteral(L, "discoverer(client)");
  }
  return 1;
}

void dsc_lua_discoverer_open(lua_State *L) {
  static const luaL_Reg meta[] = {
      {"__gc", discoverer_gc}, {"__close", discoverer_close}, {"__tostring", discoverer_tostring}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"stop", discoverer_stop},
                                     {"close", discoverer_close},
                                     {"drain", discoverer_drain},
                                     {"ready", discoverer_ready},
                                     {"wait", discoverer_wait},
                                     {"is_server", discoverer_is_server},
                                     {"is_client", discoverer_is_client},
                                     {"registered", discoverer_registered},
                                     {"stats", dsc_lua_discoverer_stats},
                                     {"from", dsc_lua_caller_from},
                                     {"new_caller", dsc_lua_caller_new},
                                     {"async", dsc_lua_caller_async},
                                     {"poll", dsc_lua_discoverer_poll},
                                     {"app_client", dsc_lua_app_client_new},
                                     {NULL, NULL}};
  dsc_compat_class(L, &(dsc_lua_class){DSC_LUA_DISCOVERER, meta, methods, NULL});
  luaL_getmetatable(L, DSC_LUA_DISCOVERER);
  dsc_compat_set_ptr(L, LUA_REGISTRYINDEX, &type_key);
  dsc_compat_push_methods(L, DSC_LUA_DISCOVERER);
  dsc_compat_set_funcs(L, dsc_lua_calls_methods);
  dsc_compat_set_funcs(L, dsc_lua_discoverer_node_methods);
  dsc_compat_set_funcs(L, dsc_lua_discoverer_setup_methods);
  dsc_compat_set_funcs(L, dsc_lua_discoverer_loop_methods);
  lua_pop(L, 1);
}
