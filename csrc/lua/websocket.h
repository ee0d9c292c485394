/*
** websocket.h - the userdata of a WebSocket.
*/
#ifndef DSC_LUA_WEBSOCKET_H
#define DSC_LUA_WEBSOCKET_H

#include "lua/discoverer.h"

/* The slots of its user value. */
enum { DSC_WEBSOCKET_U = 1, DSC_WEBSOCKET_LISTENER };

typedef struct dsc_lua_websocket {
  /* owner's thread only */
  dsc_websocket *ws; /* NULL: not opened, or collected */
} dsc_lua_websocket;

/* Makes the type. Owner's thread. */
void dsc_lua_websocket_open(lua_State *L);

/* Pushes a userdata without a WebSocket; `u` is the index of the discoverer's user value. Owner's thread. */
dsc_lua_websocket *dsc_lua_websocket_push(lua_State *L, int u);

/* Finds the userdata of a box that listens by U (index `u`); pushes it and its listener. Owner's thread. Raises nothing
** but for want of stack. Returns false, with nothing pushed: it does not listen any more. */
bool dsc_lua_websocket_push_listener(lua_State *L, int u, const dsc_lua_websocket *box);

/* Lets go of a box that listened: it may be collected again. Owner's thread. Raises nothing. */
void dsc_lua_websocket_unlisten(lua_State *L, int u, const dsc_lua_websocket *box);

/* d:open(app, path [, headers]), d:open{app=, path=, ...}; the caller's too. Owner's thread. */
int dsc_lua_websocket_new(lua_State *L);

#endif
