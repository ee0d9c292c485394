/*
** flow.h - what a result holds besides its result: the body that is sent by pieces, the open stream of the answer, how
** far both are.
**
** A flow belongs to the userdata of its result, which keeps in slots of its user value what the flow needs of Lua. The
** discoverer's user value finds the result by the flow's address, weakly: a forgotten stream is collected although its
** `progress` may know it.
*/
#ifndef DSC_LUA_FLOW_H
#define DSC_LUA_FLOW_H

#include "lua/discoverer.h"
#include "lua/result.h"

typedef struct dsc_lua_flow {
  /* owner's thread only */
  dsc_stream *stream;      /* NULL: none was opened */
  dsc_body *source;        /* NULL: none; the stream may still send it */
  uint64_t sent, received; /* as `progress` was told */
  bool over;               /* the whole stream was read */
  bool closed;             /* by close() */
  bool reading;            /* a read is under way: a callback may ask for another */
  bool feeding;            /* the reader of `source` is under way: it may close the stream */
  char *piece;             /* DSC_LUA_FLOW_PIECE bytes, made at the first read */
  dsc_buf rest;            /* what is being put together */
} dsc_lua_flow;

#define DSC_LUA_FLOW_PIECE ((size_t)64 * 1024)

/* Gives the result at `result` a flow; `u` is the index of the discoverer's user value. Owner's thread. Raises:
** memory. */
dsc_lua_flow *dsc_lua_flow_begin(lua_State *L, int u, int result);

/* Makes the body of a flow. Owner's thread. Raises: memory. */
dsc_body *dsc_lua_flow_make_source(lua_State *L, dsc_lua_flow *flow);

/* Frees the stream, then the body, then the flow of a result; without one it does nothing. Owner's thread. Raises
** nothing. */
void dsc_lua_flow_end(dsc_lua_result *box);

/* What was sent is over: a result that is kept must not keep it. `result` is its index. Owner's thread. Raises nothing
** but for want of stack. */
void dsc_lua_flow_forget(lua_State *L, int result);

/* Pushes the flow's result; `u` as above. Who runs a callback about a flow keeps it on the stack: collected meanwhile,
** it would take flow and body along. Owner's thread. Raises: it was collected. */
void dsc_lua_flow_push_result(lua_State *L, int u, const dsc_lua_flow *flow);

/* Pushes a slot of the user value of the flow's result; `u` as above. Owner's thread. Raises: it was collected. */
void dsc_lua_flow_push_slot(lua_State *L, int u, const dsc_lua_flow *flow, int slot);

/* The `on_progress` of a request whose app client's box (`ud`) has a flow. Owner's thread. Raises nothing. */
dsc_err dsc_lua_flow_on_progress(void *ctx, void *ud, const dsc_http_progress *progress, dsc_why *why);

/* Makes ready for reading: what follows raises nothing. Without a stream it does nothing. Owner's thread. Raises:
** memory. */
void dsc_lua_flow_prepare(lua_State *L, dsc_lua_result *box);

/* Reads at least one and at most `max` bytes (and DSC_LUA_FLOW_PIECE) into flow->piece; `*n` 0: the end. `result` is
** the index of the userdata. Runs the loop. A failure becomes that of the result. Owner's thread. Fails: as
** dsc_stream_read(). Raises: memory, unless prepared. */
dsc_err dsc_lua_flow_read(lua_State *L, int result, size_t max, size_t *n, dsc_why *why);

/* Closes the stream of a result, if one is open. Owner's thread. Raises nothing. */
void dsc_lua_flow_close(dsc_lua_result *box);

#endif
