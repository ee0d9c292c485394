/*
** app_client.h - the userdata of an app client: what route and balancer see of a call, or the state of a call made
** by hand.
*/
#ifndef DSC_LUA_APP_CLIENT_H
#define DSC_LUA_APP_CLIENT_H

#include "lua/discoverer.h"

struct dsc_lua_result;

/* The slots of its user value. */
enum {
  DSC_AC_U = 1,   /* the discoverer's user value */
  DSC_AC_DATA,    /* the caller's own value */
  DSC_AC_HEADERS, /* a table once somebody looked, else nil */
  DSC_AC_REQUEST,
  DSC_AC_LOGGER
};

typedef struct dsc_lua_ac {
  /* owner's thread only */
  dsc_app_client *ac;        /* NULL outside of callbacks, unless made by hand */
  dsc_app_client *own;       /* made by hand */
  bool in_route;             /* may be changed now */
  bool data_seen;            /* a route looked at or set `data`: it is encoded again */
  bool data_pending;         /* `data` is a table and not encoded yet: a route runs first */
  bool encode_failed;        /* the caller's data could not be encoded after the route */
  bool of_stream;            /* its call is over but for the body of the answer: it is in DSC_U_FLOWS */
  struct dsc_lua_flow *flow; /* of the call's result, NULL: none */
} dsc_lua_ac;

/* Makes the type. Owner's thread. */
void dsc_lua_app_client_open(lua_State *L);

/* Pushes a userdata for one call; `data`, `request` and `logger` are stack indices, 0 for none. Owner's thread. */
dsc_lua_ac *dsc_lua_app_client_push(lua_State *L, int u, int data, int request, int logger);

/* Notes the userdata on top as that of a running call: callbacks find it by its box. Owner's thread. */
void dsc_lua_app_client_begin(lua_State *L, int u, dsc_lua_ac *box);

/* Forgets it after the call: the box has no core object any more, unless made by hand. Owner's thread. Raises
** nothing. */
void dsc_lua_app_client_end(lua_State *L, int u, dsc_lua_ac *box);

/* The same when the call goes on as a stream: the result at `result` keeps it, callbacks find it weakly. Owner's
** thread. Raises: memory. */
void dsc_lua_app_client_stream(lua_State *L, int u, dsc_lua_ac *box, int result);

/* Makes a result one whose data was no JSON after the route: that is the caller's mistake, not the route's. Owner's
** thread. Raises nothing. */
void dsc_lua_app_client_blame(struct dsc_lua_result *result);

/* Gives the core what a route changed: headers and data; encodes tables. `v` is the index of the user value. In
** protected mode. Owner's thread. Raises: what cannot be sent, except data that is no JSON: DSC_EINVALID with `why`. */
dsc_err dsc_lua_app_client_apply(lua_State *L, dsc_lua_ac *box, int v, dsc_why *why);

/* Returns the app client at index 1, whose core object is there. Owner's thread. Raises: another type, one whose
** callback is over. */
dsc_lua_ac *dsc_lua_app_client_check(lua_State *L);

/* next, next_with_node, check_app, log */
extern const luaL_Reg dsc_lua_app_client_methods[];

/* d:app_client(app). Owner's thread. */
int dsc_lua_app_client_new(lua_State *L);

#endif
