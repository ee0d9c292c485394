/*
** secret.h - the userdata of a token or password.
*/
#ifndef DSC_LUA_SECRET_H
#define DSC_LUA_SECRET_H

#include "base/secret.h"
#include "lua/compat.h"

/* Makes the type. Owner's thread. */
void dsc_lua_secret_open(lua_State *L);

/* Returns the secret of the userdata at `index`, NULL when it is none. Owner's thread. Borrowed while the userdata
** lives. Raises nothing. */
dsc_secret *dsc_lua_secret_test(lua_State *L, int index);

/* Pushes a new reference to `secret` as a userdata. Owner's thread. */
void dsc_lua_secret_push(lua_State *L, dsc_secret *secret);

/* Pushes a secret made of the string or secret at `index` and returns it; for anything else pushes nothing, returns
** NULL. Owner's thread. Borrowed while the pushed userdata lives. */
dsc_secret *dsc_lua_secret_make(lua_State *L, int index);

/* discover.secret(s). Owner's thread. */
int dsc_lua_secret_new(lua_State *L);

/* discover.secret_from_file(path). Owner's thread. */
int dsc_lua_secret_from_file(lua_State *L);

#endif
