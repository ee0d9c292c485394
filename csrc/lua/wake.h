/*
** wake.h - what lua/discover/nginx.lua needs to be woken: no part of the module `discover`.
*/
#ifndef DSC_LUA_WAKE_H
#define DSC_LUA_WAKE_H

#include "lua/discoverer.h"

/* wake_open(d) -> path | nil, msg, code: a new path to connect to; one made before is closed. Owner's thread, outside
** of callbacks. */
int dsc_lua_wake_open(lua_State *L);

/* wake_accept(d) -> true | nil, msg, code: the connection stands; from now on a byte comes when d:poll() has something
** to do. Owner's thread. */
int dsc_lua_wake_accept(lua_State *L);

/* wake_clear(d): the byte was read; to be called before d:poll(). Owner's thread. */
int dsc_lua_wake_clear(lua_State *L);

/* wake_ring(d): sends a byte. Owner's thread. */
int dsc_lua_wake_ring(lua_State *L);

/* wake_close(d): no byte comes any more. Owner's thread, outside of callbacks. */
int dsc_lua_wake_close(lua_State *L);

#endif
