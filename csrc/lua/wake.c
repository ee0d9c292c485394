/*
** wake.c - a discoverer whose host is woken by a byte on a unix socket.
**
** Invariants: the wake-up of the core is set only while `box->wake` has its connection, and is taken back before that
** is freed. What a stopped discoverer still has is freed with it: a stop may not be over yet. Threads: that of the
** lua_State; the byte is sent by the watcher's.
*/
#include "lua/wake.h"

static void ring(void *ud) {
  dsc_wake_ring(ud);
}

static void drop(dsc_lua_discoverer *box, dsc_frame *frame) {
  dsc_discoverer_set_wakeup(frame, NULL, NULL, NULL);
  dsc_wake_free(box->wake);
  box->wake = NULL;
}

int dsc_lua_wake_open(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  dsc_lua_discoverer *box = dsc_lua_discoverer_check(L, 1);
  dsc_err err = dsc_lua_discoverer_enter(L, 1, &frame, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  drop(box, &frame.frame);
  err = dsc_wake_new(&box->wake, &why);
  dsc_lua_discoverer_leave(&frame);
  if (err) return dsc_compat_fail(L, err, &why);
  lua_pushstring(L, dsc_wake_path(box->wake));
  return 1;
}

int dsc_lua_wake_accept(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  dsc_lua_discoverer *box = dsc_lua_discoverer_check(L, 1);
  if (!box->wake) return luaL_error(L, "wake_accept without wake_open");
  dsc_err err = dsc_lua_discoverer_enter(L, 1, &frame, &why);
  if (!err) {
    err = dsc_wake_accept(box->wake, &why);
    if (!err) err = dsc_discoverer_set_wakeup(&frame.frame, ring, box->wake, &why);
    dsc_lua_discoverer_leave(&frame);
  }
  return dsc_compat_answer(L, err, &why);
}

int dsc_lua_wake_clear(lua_State *L) {
  const dsc_lua_discoverer *box = dsc_lua_discoverer_check(L, 1);
  if (box->wake) dsc_wake_clear(box->wake);
  return 0;
}

int dsc_lua_wake_ring(lua_State *L) {
  const dsc_lua_discoverer *box = dsc_lua_discoverer_check(L, 1);
  if (box->wake) dsc_wake_ring(box->wake);
  return 0;
}

int dsc_lua_wake_close(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why;
  dsc_lua_discoverer *box = dsc_lua_discoverer_check(L, 1);
  if (!box->wake || dsc_lua_discoverer_enter(L, 1, &frame, &why)) return 0;
  drop(box, &frame.frame);
  dsc_lua_discoverer_leave(&frame);
  return 0;
}
