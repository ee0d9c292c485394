/*
** discoverer_loop.c - a discoverer in the loops of others: the methods that cqueues, luv and LuaSocket ask.
**
** The descriptor is kept by the core as long as the discoverer; after stop() it is readable for ever, so it is still
** given: whoever waits for it looks, and d:poll() says `stopped`. Threads: that of the lua_State.
*/
#include "lua/discoverer.h"

/* Returns the descriptor, or -1 with `*err` and `why`. */
static int get_fd(lua_State *L, dsc_err *err, dsc_why *why) {
  dsc_lua_frame frame;
  dsc_lua_discoverer *box = dsc_lua_discoverer_check(L, 1);
  *err = dsc_lua_discoverer_enter(L, 1, &frame, why);
  if (*err) return *err == DSC_ESTOPPED && box->d && box->has_fd ? box->fd : -1;
  int fd = dsc_discoverer_pollfd(&frame.frame, why);
  if (fd < 0) *err = DSC_EIO;
  box->has_fd = fd >= 0;
  box->fd = fd;
  dsc_lua_discoverer_leave(&frame);
  return fd;
}

/* d:pollfd() -> integer | nil, msg, code */
static int discoverer_pollfd(lua_State *L) {
  dsc_why why = {""};
  dsc_err err;
  int fd = get_fd(L, &err, &why);
  if (fd < 0) return dsc_compat_fail(L, err, &why);
  lua_pushinteger(L, fd);
  return 1;
}

/* d:events() -> "r": what cqueues shall wait for */
static int discoverer_events(lua_State *L) {
  dsc_lua_discoverer_check(L, 1);
  lua_pushliteral(L, "r");
  return 1;
}

/* d:timeout() -> seconds | nil: never | nil, msg, code. A stopped one has always something to say. */
static int discoverer_timeout(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  dsc_lua_discoverer_check(L, 1);
  dsc_err err = dsc_lua_discoverer_enter(L, 1, &frame, &why);
  int64_t ms = 0;
  if (err && err != DSC_ESTOPPED) return dsc_compat_fail(L, err, &why);
  if (!err) {
    ms = dsc_discoverer_timeout(&frame.frame);
    dsc_lua_discoverer_leave(&frame);
  }
  if (ms < 0)
    lua_pushnil(L);
  else
    lua_pushnumber(L, (lua_Number)ms / 1000);
  return 1;
}

const luaL_Reg dsc_lua_discoverer_loop_methods[] = {{"pollfd", discoverer_pollfd},
                                                    {"getfd", discoverer_pollfd},
                                                    {"events", discoverer_events},
                                                    {"timeout", discoverer_timeout},
                                                    {NULL, NULL}};
