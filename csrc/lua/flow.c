/*
** flow.c - the body that is sent by pieces and the open stream of an answer, as a result holds them.
**
** Invariants: the stream goes before the body that it may still send; a stream that failed fails the same again, and
** what was read to its end stays at its end, also when the discoverer is stopped.
** Threads: that of the lua_State.
*/
#include "lua/flow.h"

#include "base/mem.h"
#include "lua/app_client.h"
#include "lua/hooks.h"

dsc_lua_flow *dsc_lua_flow_begin(lua_State *L, int u, int result) {
  dsc_lua_result *box = lua_touserdata(L, result);
  box->flow = dsc_mem_zalloc(1, sizeof *box->flow);
  if (!box->flow) luaL_error(L, "not enough memory");
  dsc_buf_init(&box->flow->rest, 0);
  lua_rawgeti(L, u, DSC_U_FLOWS);
  lua_pushvalue(L, result);
  dsc_compat_set_ptr(L, -2, box->flow);
  lua_pop(L, 1);
  return box->flow;
}

dsc_body *dsc_lua_flow_make_source(lua_State *L, dsc_lua_flow *flow) {
  flow->source = dsc_body_new();
  if (!flow->source) luaL_error(L, "not enough memory");
  return flow->source;
}

void dsc_lua_flow_end(dsc_lua_result *box) {
  dsc_lua_flow *flow = box->flow;
  box->flow = NULL;
  if (!flow) return;
  dsc_stream_free(flow->stream);
  dsc_body_free(flow->source);
  dsc_mem_free(flow->piece);
  dsc_buf_clear(&flow->rest);
  dsc_mem_free(flow);
}

void dsc_lua_flow_forget(lua_State *L, int result) {
  dsc_lua_flow_end(lua_touserdata(L, result));
  lua_pushnil(L);
  dsc_lua_result_set_slot(L, result, DSC_RESULT_DATA, -1);
  dsc_lua_result_set_slot(L, result, DSC_RESULT_PROGRESS, -1);
  dsc_lua_result_set_slot(L, result, DSC_RESULT_OWNER, -1);
  lua_pop(L, 1);
}

void dsc_lua_flow_push_result(lua_State *L, int u, const dsc_lua_flow *flow) {
  lua_rawgeti(L, u, DSC_U_FLOWS);
  dsc_compat_get_ptr(L, -1, flow);
  if (lua_isnil(L, -1)) luaL_error(L, "the result was collected");
  lua_remove(L, -2);
}

void dsc_lua_flow_push_slot(lua_State *L, int u, const dsc_lua_flow *flow, int slot) {
  dsc_lua_flow_push_result(L, u, flow);
  dsc_compat_get_user(L, -1);
  lua_rawgeti(L, -1, slot);
  lua_replace(L, -3);
  lua_pop(L, 1);
}

/* ---------------------------------------------------------------- progress */

typedef struct report {
  dsc_lua_flow *flow;
  const dsc_http_progress *progress;
} report;

static void tell(lua_State *L, const dsc_lua_flow *flow, uint64_t now, int64_t total, const char *direction) {
  dsc_lua_flow_push_slot(L, 1, flow, DSC_RESULT_PROGRESS);
  lua_pushinteger(L, (lua_Integer)now);
  if (total < 0)
    lua_pushnil(L);
  else
    lua_pushinteger(L, (lua_Integer)total);
  lua_pushstring(L, direction);
  lua_call(L, 3, 0);
}

/* In protected mode. Noted before it is told: the function may make calls that come back here. */
static void progress_body(lua_State *L, void *ud) {
  const report *r = ud;
  dsc_http_progress now = *r->progress;
  dsc_lua_flow_push_result(L, 1, r->flow); /* stays */
  bool has_sent = now.sent != r->flow->sent, has_received = now.received != r->flow->received;
  r->flow->sent = now.sent;
  r->flow->received = now.received;
  if (has_sent) tell(L, r->flow, now.sent, now.to_send, "upload");
  if (has_received) tell(L, r->flow, now.received, now.to_receive, "download");
}

dsc_err dsc_lua_flow_on_progress(void *ctx, void *ud, const dsc_http_progress *progress, dsc_why *why) {
  report r = {((const dsc_lua_ac *)ud)->flow, progress};
  return dsc_lua_hooks_protect(ctx, progress_body, &r, DSC_ECALLBACK, why);
}

/* ----------------------------------------------------------------- reading */

/* The files of a body that nobody sends any more are closed before the collector comes. */
static void release(dsc_lua_flow *flow) {
  if (flow->feeding || !dsc_stream_ended(flow->stream)) return;
  dsc_body_free(flow->source);
  flow->source = NULL;
}

/* One stay in the core. The discoverer is on top. */
static dsc_err read_some(lua_State *L, dsc_lua_flow *flow, size_t max, size_t *n, dsc_why *why) {
  dsc_lua_frame frame;
  dsc_err err = dsc_lua_discoverer_enter(L, lua_gettop(L), &frame, why);
  if (err) return err;
  flow->reading = true;
  err = dsc_stream_read(&frame.frame, flow->stream, flow->piece, max, n, why);
  dsc_lua_discoverer_leave(&frame); /* it may call a logger, which must not read what is in `piece` away */
  flow->reading = false;
  return err;
}

void dsc_lua_flow_prepare(lua_State *L, dsc_lua_result *box) {
  dsc_lua_flow *flow = box->flow;
  if (!flow || !flow->stream) return;
  luaL_checkstack(L, 8, "read");
  if (!flow->piece) flow->piece = dsc_mem_alloc(DSC_LUA_FLOW_PIECE);
  if (!flow->piece) luaL_error(L, "not enough memory");
}

dsc_err dsc_lua_flow_read(lua_State *L, int result, size_t max, size_t *n, dsc_why *why) {
  dsc_lua_result *box = lua_touserdata(L, result);
  dsc_lua_flow *flow = box->flow;
  *n = 0;
  if (box->r->err) return dsc_fail(why, box->r->err, "%s", box->r->why ? box->r->why : dsc_err_text(box->r->err));
  if (flow->over) return DSC_OK;
  if (flow->closed) return dsc_fail(why, DSC_ECLOSED, "the stream was closed");
  if (flow->reading) return dsc_fail(why, DSC_ECALLBACK, "read inside a callback of a read of the same stream");
  dsc_lua_flow_prepare(L, box);
  dsc_lua_result_push_slot(L, result, DSC_RESULT_OWNER);
  dsc_err err = read_some(L, flow, max < DSC_LUA_FLOW_PIECE ? max : DSC_LUA_FLOW_PIECE, n, why);
  lua_pop(L, 1);
  flow->over = !err && *n == 0;
  if (err && !flow->closed) dsc_result_fail(box->r, err, why->text);
  release(flow);
  return err;
}

void dsc_lua_flow_close(dsc_lua_result *box) {
  dsc_lua_flow *flow = box->flow;
  if (!flow || !flow->stream || flow->closed) return;
  flow->closed = true;
  dsc_stream_close(flow->stream);
  if (!flow->reading) release(flow);
}
