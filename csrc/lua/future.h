/*
** future.h - the userdata of a future: a call, or the opening of a WebSocket, that goes on by itself.
**
** While it is not ready, and until whoever asked was told, the discoverer's user value holds it (U[DSC_U_FUTURES]): one
** that the program forgot goes on, and is collected when it is over.
**
**     future.c       made, settled, shown; ready, wait, cancel
**     future_tell.c  on and await: who asked, and how they are told
**     future_wait.c  wait_all, wait_any
*/
#ifndef DSC_LUA_FUTURE_H
#define DSC_LUA_FUTURE_H

#include "lua/caller.h"
#include "lua/result.h"
#include "lua/websocket.h"

struct dsc_lua_ac;

/* The slots of its user value. */
enum {
  DSC_FUTURE_U = 1, /* the discoverer's user value */
  DSC_FUTURE_VALUE, /* the userdata of the result, or of the WebSocket */
  DSC_FUTURE_ASKED, /* a list of functions and coroutines, of these also list[coroutine] = place; or nil */
  DSC_FUTURE_TOLD   /* that list while it is gone through */
};

typedef struct dsc_lua_future {
  /* owner's thread only */
  dsc_future *f;                /* NULL: it never began (it is ready then), or was collected */
  dsc_lua_result *result;       /* of a call, kept by the user value */
  dsc_lua_websocket *websocket; /* of an opening, kept by the user value; else NULL */
  struct dsc_lua_ac *ac;        /* of the call under way, NULL: none */
  bool with_node;               /* its value is result, address */
  bool harvested;               /* the value is filled in */
  bool shown;                   /* somebody got the value */
  bool asked;                   /* somebody waits to be told */
  dsc_err err;                  /* of an opening */
  dsc_why why;
} dsc_lua_future;

/* Makes the type. Owner's thread. */
void dsc_lua_future_open(lua_State *L);

/* Pushes one that is not begun, held by U (index `u`); `value` is the index of the userdata that it fills in. Owner's
** thread. Raises: memory. */
dsc_lua_future *dsc_lua_future_push(lua_State *L, int u, int value);

/* Begins a call (`err`: it can't be made, `why`), or with `options` the opening of a WebSocket. `self` is the index of
** the discoverer. Owner's thread. Raises nothing. */
void dsc_lua_future_begin(lua_State *L, int self, dsc_lua_future *box, const dsc_request *request, bool stream,
                          const dsc_websocket_options *options, dsc_err err, const dsc_why *why);

/* Returns the future at `index`. Owner's thread. Raises: another type. */
dsc_lua_future *dsc_lua_future_check(lua_State *L, int index);

/* True when its value is there. Owner's thread. Raises nothing. */
bool dsc_lua_future_is_ready(const dsc_lua_future *box);

/* Pushes the values of the ready future at `index` (result; result, address; WebSocket; nil, msg, code) and returns how
** many. Owner's thread. Raises: memory. */
int dsc_lua_future_show(lua_State *L, int index);

/* Pushes the discoverer of the future at `index`. Owner's thread. Raises nothing but for want of stack. */
void dsc_lua_future_push_owner(lua_State *L, int index);

/* Keeps the future at `index` alive by U. Owner's thread. Raises: memory. */
void dsc_lua_future_hold(lua_State *L, int index);

/* Lets go of it; `u` is the index of U. Owner's thread. Raises nothing but for want of stack. */
void dsc_lua_future_let_go(lua_State *L, int u, const dsc_lua_future *box);

/* future_tell.c: f:on(fn). Owner's thread. */
int dsc_lua_future_on(lua_State *L);

/* future_tell.c: for await in Lua: asks that the running coroutine is resumed; false: it is ready, and the coroutine
** goes on by itself, so what it asked for is taken back. Owner's thread. Raises: outside of a coroutine. */
int dsc_lua_future_park(lua_State *L);

/* Returns the value of a ready future: for await in Lua. Owner's thread. Raises: it is not ready. */
int dsc_lua_future_value(lua_State *L);

/* core.wait_all(futures [, timeout]). Owner's thread. */
int dsc_lua_future_wait_all(lua_State *L);

/* core.wait_any(futures [, timeout]). Owner's thread. */
int dsc_lua_future_wait_any(lua_State *L);

#endif
