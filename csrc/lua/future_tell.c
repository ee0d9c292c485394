/*
** future_tell.c - who asked for a future (functions by `on`, coroutines by `await`), and how they are told.
**
** They are told by a method that dispatches, each in protected mode: what one raises is logged, the others are told all
** the same. A coroutine that is not suspended any more, or was resumed by somebody else and ended, is passed over.
** Threads: that of the lua_State.
*/
#include "lua/future.h"
#include "lua/hooks.h"

#if LUA_VERSION_NUM >= 504
static int resume(lua_State *co, lua_State *from) {
  int n = 0;
  return lua_resume(co, from, 0, &n);
}
#elif LUA_VERSION_NUM >= 502
static int resume(lua_State *co, lua_State *from) {
  return lua_resume(co, from, 0);
}
#else
static int resume(lua_State *co, lua_State *from) {
  (void)from;
  return lua_resume(co, 0);
}
#endif

static void report(lua_State *L, const char *what, lua_State *of) {
  const char *text = lua_type(of, -1) == LUA_TSTRING ? lua_tostring(of, -1) : "the error is no string";
  lua_rawgeti(L, 1, DSC_U_SELF);
  dsc_lua_hooks_report(lua_touserdata(L, -1), what, text);
  lua_pop(L, 1);
}

/* The values lie from `first` to `last`; the message handler at `handler`. The function is on top. */
static void call_one(lua_State *L, int handler, int first, int last) {
  for (int i = first; i <= last; i++) lua_pushvalue(L, i);
  if (lua_pcall(L, last - first + 1, 0, handler) == LUA_OK) return;
  report(L, "callback: on", L);
  lua_pop(L, 1);
}

/* It asks for the value itself when it goes on. The coroutine is on top. */
static void resume_one(lua_State *L) {
  lua_State *co = lua_tothread(L, -1);
  if (lua_status(co) == LUA_YIELD) {
    int status = resume(co, L);
    if (status != LUA_OK && status != LUA_YIELD)
      report(L, "callback: await", co);
    else
      lua_settop(co, 0);
  }
  lua_pop(L, 1);
}

/* In protected mode, U at index 1. */
static void tell(lua_State *L, void *ud) {
  dsc_lua_future *box = ud;
  lua_rawgeti(L, 1, DSC_U_FUTURES);
  dsc_compat_get_ptr(L, -1, box);
  if (!lua_isuserdata(L, -1)) return; /* collected, or told */
  lua_replace(L, 2);
  dsc_compat_get_user(L, 2);
  lua_rawgeti(L, 3, DSC_FUTURE_ASKED);
  lua_pushnil(L);
  lua_rawseti(L, 3, DSC_FUTURE_ASKED);
  box->asked = false;
  dsc_lua_future_let_go(L, 1, box);
  if (!lua_istable(L, 4)) return;
  lua_rawgeti(L, 1, DSC_U_MESSAGE);
  int n = dsc_lua_future_show(L, 2), last = lua_gettop(L);
  for (int i = 1, count = (int)lua_rawlen(L, 4); i <= count; i++) {
    luaL_checkstack(L, LUA_MINSTACK, "on");
    lua_rawgeti(L, 4, i);
    if (lua_isthread(L, -1))
      resume_one(L);
    else
      call_one(L, 5, last - n + 1, last);
  }
}

static void on_told(void *ctx, void *ud, dsc_future *f) {
  dsc_lua_ctx *at = ctx;
  dsc_why why = {""};
  (void)f;
  if (dsc_lua_hooks_protect(at, tell, ud, DSC_ECALLBACK, &why))
    dsc_lua_hooks_report(lua_touserdata(at->L, at->self), "callback: on", why.text);
}

/* True when the value at `index` is in the list on top already: a coroutine asks again after each false alarm. */
static bool is_listed(lua_State *L, int index) {
  for (int i = (int)lua_rawlen(L, -1); i >= 1; i--) {
    lua_rawgeti(L, -1, i);
    bool same = lua_rawequal(L, -1, index);
    lua_pop(L, 1);
    if (same) return true;
  }
  return false;
}

/* Appends the value at `index` to those who asked for the future at index 1. */
static void ask(lua_State *L, dsc_lua_future *box, int index) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  dsc_compat_get_user(L, 1);
  lua_rawgeti(L, -1, DSC_FUTURE_ASKED);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, DSC_FUTURE_ASKED);
  }
  if (lua_isthread(L, index) && is_listed(L, index)) return;
  lua_pushvalue(L, index);
  lua_rawseti(L, -2, (int)lua_rawlen(L, -2) + 1);
  dsc_lua_future_hold(L, 1);
  box->asked = true;
  dsc_lua_future_push_owner(L, 1);
  if (!box->f || dsc_lua_discoverer_enter(L, lua_gettop(L), &frame, &why)) return; /* nobody is left who would tell */
  dsc_future_on(box->f, on_told, box);
  dsc_lua_discoverer_leave(&frame);
}

int dsc_lua_future_on(lua_State *L) {
  dsc_lua_future *box = dsc_lua_future_check(L, 1);
  if (!lua_isfunction(L, 2)) return dsc_compat_type_error(L, 2, "function");
  lua_settop(L, 2);
  ask(L, box, 2);
  lua_settop(L, 1);
  return 1;
}

int dsc_lua_future_park(lua_State *L) {
  dsc_lua_future *box = dsc_lua_future_check(L, 1);
  lua_settop(L, 1);
  if (dsc_lua_future_is_ready(box)) {
    lua_pushboolean(L, 0);
    return 1;
  }
  if (lua_pushthread(L)) return luaL_error(L, "await: outside of a coroutine; wait() is for that");
  ask(L, box, 2);
  lua_pushboolean(L, 1);
  return 1;
}
