/*
** future_tell.c - who asked for a future (functions by `on`, coroutines by `await`), and how they are told.
**
** They are told by a method that dispatches, each in protected mode: what one raises is logged, the others are told all
** the same. A coroutine that is not suspended any more, or was resumed by somebody else and went on, is passed over: it
** may be suspended for another reason by now.
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
  lua_pushvalue(L, 4);
  lua_rawseti(L, 3, DSC_FUTURE_TOLD);
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
    else if (lua_isfunction(L, -1))
      call_one(L, 5, last - n + 1, last);
    else
      lua_pop(L, 1); /* withdrawn */
  }
  lua_pushnil(L);
  lua_rawseti(L, 3, DSC_FUTURE_TOLD);
}

static void on_told(void *ctx, void *ud, dsc_future *f) {
  dsc_lua_ctx *at = ctx;
  dsc_why why = {""};
  (void)f;
  if (dsc_lua_hooks_protect(at, tell, ud, DSC_ECALLBACK, &why))
    dsc_lua_hooks_report(lua_touserdata(at->L, at->self), "callback: on", why.text);
}

/* Pushes the place of the value at `index` in the list on top; nil: it is not there, or is a function. */
static void push_place(lua_State *L, int index) {
  lua_pushvalue(L, index);
  lua_rawget(L, -2);
}

/* Appends the value at `index` to the list on top: a coroutine once, for it asks again after each false alarm. */
static void append(lua_State *L, int index) {
  int n = (int)lua_rawlen(L, -1) + 1;
  push_place(L, index);
  bool is_listed = lua_isthread(L, index) && !lua_isnil(L, -1);
  lua_pop(L, 1);
  if (is_listed) return;
  lua_pushvalue(L, index);
  lua_rawseti(L, -2, n);
  if (!lua_isthread(L, index)) return;
  lua_pushvalue(L, index);
  lua_pushinteger(L, n);
  lua_rawset(L, -3);
}

/* Strikes the coroutine at `index` from the list in a slot of the future at index 1. */
static void withdraw(lua_State *L, int index, int slot) {
  dsc_compat_get_user(L, 1);
  lua_rawgeti(L, -1, slot);
  if (lua_istable(L, -1)) {
    push_place(L, index);
    int place = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    lua_pushboolean(L, 0);
    if (place)
      lua_rawseti(L, -2, place);
    else
      lua_pop(L, 1);
  }
  lua_pop(L, 2);
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
  append(L, index);
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
  bool is_main = lua_pushthread(L), is_ready = dsc_lua_future_is_ready(box);
  if (is_ready) {
    withdraw(L, 2, DSC_FUTURE_ASKED);
    withdraw(L, 2, DSC_FUTURE_TOLD);
  } else if (is_main) {
    return luaL_error(L, "await: outside of a coroutine; wait() is for that");
  } else {
    ask(L, box, 2);
  }
  lua_pushboolean(L, !is_ready);
  return 1;
}
