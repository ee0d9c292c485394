/*
** caller.h - the userdata of a caller: calls on behalf of an incoming request.
*/
#ifndef DSC_LUA_CALLER_H
#define DSC_LUA_CALLER_H

#include "lua/discoverer.h"

/* The slots of its user value. */
enum { DSC_CALLER_U = 1, DSC_CALLER_REQUEST, DSC_CALLER_LOGGER };

typedef struct dsc_lua_caller {
  /* owner's thread only */
  dsc_headers relayed;
  bool no_body;
  bool is_async; /* its verbs return futures; constant */
} dsc_lua_caller;

/* Who calls: a discoverer, or a caller of one. */
typedef struct dsc_lua_target {
  dsc_lua_discoverer *d;
  bool is_async;                /* futures are wanted */
  int self;                     /* stack index of the discoverer */
  int u;                        /* of its user value */
  int request, logger;          /* of the caller's, 0: none */
  const dsc_lua_caller *caller; /* NULL: the discoverer itself */
} dsc_lua_target;

/* Makes the type. Owner's thread. */
void dsc_lua_caller_open(lua_State *L);

/* Returns the caller at `index`, NULL when it is none. Owner's thread. Raises nothing. */
dsc_lua_caller *dsc_lua_caller_test(lua_State *L, int index);

/* Finds out who calls, at index 1; pushes what that consists of. Owner's thread. Raises: another type. */
void dsc_lua_caller_target(lua_State *L, dsc_lua_target *t);

/* d:from(request). Owner's thread. */
int dsc_lua_caller_from(lua_State *L);

/* d:new_caller([request [, logger]]). Owner's thread. */
int dsc_lua_caller_new(lua_State *L);

/* d:async(), caller:async(): a caller of the same kind whose verbs return futures. Owner's thread. */
int dsc_lua_caller_async(lua_State *L);

#endif
