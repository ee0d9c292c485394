/*
** discoverer.h - the userdata of a discoverer, its user value, and how a method enters the core.
**
** The user value is a table (in short U) that holds whatever Lua values belong to the discoverer: callbacks, the
** cache of node userdata, the app clients of running calls. Callers, nodes and app clients have U too (or as [1] of
** theirs), and find the discoverer by it.
*/
#ifndef DSC_LUA_DISCOVERER_H
#define DSC_LUA_DISCOVERER_H

#include "core/discover.h"
#include "lua/compat.h"

#define DSC_LUA_DISCOVERER "discover.discoverer"

/* The slots of U. */
enum {
  DSC_U_SELF = 1, /* the discoverer */
  DSC_U_RUN,      /* the function that runs callbacks, made beforehand: 5.1 allocates for it */
  DSC_U_MESSAGE,  /* the message handler */
  DSC_U_NODES,    /* node pointer -> its userdata, until the node is gone */
  DSC_U_SPARE,    /* an empty node userdata for the next pick, or false */
  DSC_U_DATA,     /* node userdata (weak) -> the user's table `data` */
  DSC_U_CALLS,    /* app client box -> its userdata, while its call runs */
  DSC_U_FLOWS,    /* flow -> the userdata of its result (weak); app client box of a stream -> its userdata (weak) */
  DSC_U_ROUTE,
  DSC_U_NEXT,
  DSC_U_RESPONSE,
  DSC_U_LOGGER,
  DSC_U_EVENT,
  DSC_U_WEBSOCKETS, /* box -> its userdata, while it listens */
  DSC_U_FUTURES,    /* box -> its userdata, while it is not ready or somebody waits to be told */
  DSC_U_RELAY,      /* the names to ask a header object for: a list */
  DSC_U_COUNT
};

/* Slots of the stack that a callback's beginning takes, and the books of a future that ended. */
#define DSC_LUA_FRAME_SLOTS 10

typedef struct dsc_lua_discoverer {
  /* owner's thread only */
  dsc_discoverer *d; /* NULL: never opened or collected */
  bool has_route, has_next, has_response, has_logger, has_event;
  bool has_spare; /* DSC_U_SPARE is filled */
  bool has_fd;    /* `fd` is set */
  int fd;         /* of d:pollfd() */
  uint32_t start_timeout_ms;
  uint32_t drain_ms;             /* of drain() without a time: every caller has read the registry by then */
  size_t debt;                   /* bytes of C memory made for Lua objects that the collector was not told of yet */
  struct dsc_wake *wake;         /* the host is woken by it; NULL: not */
  void *job;                     /* of the callback that is being called, see hooks.c */
  uint32_t n_nodes, nodes_sweep; /* entries of DSC_U_NODES, and when to look for gone ones */
} dsc_lua_discoverer;

/* The ctx of a frame: where its callbacks run. */
typedef struct dsc_lua_ctx {
  lua_State *L;
  int self; /* index of the discoverer in the frame of the method */
} dsc_lua_ctx;

typedef struct dsc_lua_frame {
  dsc_frame frame;
  dsc_lua_ctx ctx;
} dsc_lua_frame;

/* Makes the type. Owner's thread. */
void dsc_lua_discoverer_open(lua_State *L);

/* Pushes a new userdata with its user value, without a core object. Owner's thread. */
dsc_lua_discoverer *dsc_lua_discoverer_push(lua_State *L);

/* Returns the discoverer at `index`. Owner's thread. Raises: another type. */
dsc_lua_discoverer *dsc_lua_discoverer_check(lua_State *L, int index);

/* Enters the core with the discoverer at stack index `self`; until dsc_lua_discoverer_leave() nothing may raise
** outside of callbacks, so the stack that those begin with is made here. Owner's thread. Fails: DSC_ESTOPPED,
** DSC_EFORKED with `why`, then not entered. Raises: no memory for the stack, not entered. */
dsc_err dsc_lua_discoverer_enter(lua_State *L, int self, dsc_lua_frame *frame, dsc_why *why);

/* Leaves. Owner's thread. Raises nothing. */
void dsc_lua_discoverer_leave(dsc_lua_frame *frame);

/* Tells the collector of `bytes` of C memory that hang on new userdata; it may run finalizers. Outside of frames.
** Owner's thread. */
void dsc_lua_discoverer_account(lua_State *L, dsc_lua_discoverer *box, size_t bytes);

/* core.start(registry, app, addr, opts). Owner's thread. */
int dsc_lua_discoverer_start(lua_State *L);

/* core.open(registry, opts). Owner's thread. */
int dsc_lua_discoverer_client(lua_State *L);

/* core.new(opts). Owner's thread. */
int dsc_lua_discoverer_new(lua_State *L);

/* The methods that other files give to the type. */
extern const luaL_Reg dsc_lua_discoverer_node_methods[];  /* nodes and apps */
extern const luaL_Reg dsc_lua_discoverer_setup_methods[]; /* callbacks and settings */
extern const luaL_Reg dsc_lua_discoverer_loop_methods[];  /* the loops of others */

/* d:poll([timeout]), d:poll{timeout=, max=, budget=}. Owner's thread. */
int dsc_lua_discoverer_poll(lua_State *L);

/* hand_over(d): another process keeps the own registration from now on. Owner's thread. */
int dsc_lua_discoverer_hand_over(lua_State *L);

/* d:stats([format]). Owner's thread. */
int dsc_lua_discoverer_stats(lua_State *L);

#endif
