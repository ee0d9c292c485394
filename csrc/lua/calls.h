/*
** calls.h - the verbs: methods of the discoverer and of the caller alike.
*/
#ifndef DSC_LUA_CALLS_H
#define DSC_LUA_CALLS_H

#include "lua/compat.h"

/* get, head, post, put, patch, delete, request; the caller's has request_with_node too. */
extern const luaL_Reg dsc_lua_calls_methods[];
extern const luaL_Reg dsc_lua_calls_caller_methods[];

#endif
