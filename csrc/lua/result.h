/*
** result.h - the userdata of a result.
*/
#ifndef DSC_LUA_RESULT_H
#define DSC_LUA_RESULT_H

#include "lua/compat.h"
#include "model/result.h"

typedef struct dsc_lua_result {
  dsc_result *r; /* NULL: there was no memory for it */
  bool cached;   /* the user value is set */
} dsc_lua_result;

/* The slots of its user value. */
enum { DSC_RESULT_HEADERS = 1, DSC_RESULT_BODY, DSC_RESULT_TRACE };

/* Makes the type. Owner's thread. */
void dsc_lua_result_open(lua_State *L);

/* Pushes a userdata without a result, to be filled in. Owner's thread. */
dsc_lua_result *dsc_lua_result_push(lua_State *L);

/* Makes it one that ended with `err`. Owner's thread. Raises nothing. */
void dsc_lua_result_fail(dsc_lua_result *box, dsc_err err, const dsc_why *why);

/* Returns about how much C memory it holds. Owner's thread. Raises nothing. */
size_t dsc_lua_result_size(const dsc_lua_result *box);

/* Returns the result at index 1. Owner's thread. Raises: another type. */
dsc_lua_result *dsc_lua_result_check(lua_State *L);

/* Pushes the body as a string, or nil when there was never an answer. Owner's thread. */
void dsc_lua_result_push_body(lua_State *L, dsc_lua_result *box);

/* Pushes nil, "code: sentence", "code" of a result that was never answered and returns 3; returns 0 if it was.
** Owner's thread. */
int dsc_lua_result_refuse(lua_State *L, const dsc_lua_result *box);

/* The methods header, header_list, json, string, bytes, map, arr, save. */
extern const luaL_Reg dsc_lua_result_methods[];

#endif
