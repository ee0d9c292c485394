/*
** result_stream.c - the body of a result piece by piece: read, chunks, close; and all of it at once.
**
** Results whose body is there already offer the same: a cursor over it.
** Threads: that of the lua_State.
*/
#include "lua/flow.h"
#include "lua/options.h"
#include "lua/result.h"

/* Pushes the next `n` bytes (0: all) of a body that is there, nil at its end. */
static int read_body(lua_State *L, dsc_lua_result *box, size_t n) {
  dsc_str body;
  int refused = dsc_lua_result_refuse(L, box);
  if (refused) return refused;
  dsc_lua_result_push_body(L, box);
  body.p = lua_tolstring(L, -1, &body.n);
  size_t left = body.n - box->offset;
  if (n == 0 || n > left) n = left;
  if (n == 0)
    lua_pushnil(L);
  else
    lua_pushlstring(L, body.p + box->offset, n);
  box->offset += n;
  return 1;
}

/* Inside a callback of a read: what that one has put together so far is not to be touched. */
static int refuse_nested(lua_State *L, const dsc_lua_flow *flow) {
  dsc_why why;
  if (!flow->reading) return 0;
  dsc_fail(&why, DSC_ECALLBACK, "read inside a callback of a read of the same stream");
  return dsc_compat_fail(L, DSC_ECALLBACK, &why);
}

/* Whatever is there, at least one byte. */
static int read_some(lua_State *L, dsc_lua_result *box) {
  dsc_why why = {""};
  size_t n;
  dsc_err err = dsc_lua_flow_read(L, 1, DSC_LUA_FLOW_PIECE, &n, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  if (n == 0)
    lua_pushnil(L);
  else
    lua_pushlstring(L, box->flow->piece, n);
  return 1;
}

/* Appends to flow->rest until it has `n` bytes, the stream ends or fails. */
static dsc_err collect(lua_State *L, dsc_lua_flow *flow, size_t n, dsc_why *why) {
  dsc_err err = DSC_OK;
  size_t got = 1;
  while (!err && got > 0 && flow->rest.len < n) {
    err = dsc_lua_flow_read(L, 1, n - flow->rest.len, &got, why);
    if (!err && got && dsc_buf_add(&flow->rest, flow->piece, got)) err = dsc_fail(why, flow->rest.err, "%s", "");
  }
  return err;
}

/* What was read before a failure is handed out first: the failure is there for the next read. */
static int read_exactly(lua_State *L, dsc_lua_result *box, size_t n) {
  dsc_why why = {""};
  dsc_lua_flow *flow = box->flow;
  int refused = refuse_nested(L, flow);
  if (refused) return refused;
  dsc_err err = collect(L, flow, n, &why);
  if (flow->rest.err) luaL_error(L, "not enough memory");
  if (flow->rest.len > 0)
    lua_pushlstring(L, flow->rest.data, flow->rest.len);
  else if (err)
    return dsc_compat_fail(L, err, &why);
  else
    lua_pushnil(L);
  dsc_buf_clear(&flow->rest);
  return 1;
}

/* read([n]) -> bytes | nil at the end | nil, msg, code */
static int result_read(lua_State *L) {
  dsc_why why = {""};
  dsc_lua_result *box = dsc_lua_result_check(L);
  uint32_t n = 0;
  dsc_err err = DSC_OK;
  if (!lua_isnoneornil(L, 2)) err = dsc_lua_options_count(L, 2, 2, "read", 1, UINT32_MAX, &n, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  lua_settop(L, 1);
  if (!dsc_lua_result_is_stream(box)) return read_body(L, box, n);
  return n ? read_exactly(L, box, n) : read_some(L, box);
}

/* The result is the upvalue. A failure ends the loop: the result says which. */
static int next_chunk(lua_State *L) {
  lua_settop(L, 0);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_pushcfunction(L, result_read);
  lua_insert(L, 1);
  lua_call(L, 1, 1);
  return 1;
}

static int result_chunks(lua_State *L) {
  dsc_lua_result_check(L);
  lua_settop(L, 1);
  lua_pushcclosure(L, next_chunk, 1);
  return 1;
}

int dsc_lua_result_close(lua_State *L) {
  dsc_lua_flow_close(dsc_lua_result_check(L));
  lua_pushboolean(L, 1);
  return 1;
}

/* ------------------------------------------------------------- all at once */

/* One that is too large to keep is of no more use, here. */
static int refuse_large(lua_State *L, dsc_lua_result *box, uint64_t limit) {
  dsc_why why;
  dsc_fail(&why, DSC_ETOO_LARGE, "the rest of the stream is larger than max_body, %llu bytes",
           (unsigned long long)limit);
  dsc_lua_flow_close(box);
  dsc_buf_clear(&box->flow->rest);
  dsc_result_fail(box->r, DSC_ETOO_LARGE, why.text);
  return dsc_compat_fail(L, DSC_ETOO_LARGE, &why);
}

int dsc_lua_result_load(lua_State *L, dsc_lua_result *box) {
  dsc_why why = {""};
  if (!dsc_lua_result_is_stream(box)) return 0;
  dsc_lua_flow *flow = box->flow;
  dsc_lua_result_push_slot(L, 1, DSC_RESULT_BODY);
  bool loaded = !lua_isnil(L, -1);
  lua_pop(L, 1);
  int refused = loaded ? 0 : refuse_nested(L, flow);
  if (loaded || refused) return refused;
  uint64_t limit = dsc_stream_max_body(flow->stream);
  dsc_err err = collect(L, flow, limit < SIZE_MAX / 2 ? (size_t)limit + 1 : SIZE_MAX / 2, &why);
  if (flow->rest.err) luaL_error(L, "not enough memory");
  if (!err && flow->rest.len > limit) return refuse_large(L, box, limit);
  if (!err) {
    lua_pushlstring(L, flow->rest.data ? flow->rest.data : "", flow->rest.len);
    dsc_lua_result_set_slot(L, 1, DSC_RESULT_BODY, -1);
    lua_pop(L, 1);
  }
  dsc_buf_clear(&flow->rest);
  return err ? dsc_compat_fail(L, err, &why) : 0;
}

const luaL_Reg dsc_lua_result_stream_methods[] = {
    {"read", result_read}, {"chunks", result_chunks}, {"close", dsc_lua_result_close}, {NULL, NULL}};
