/*
** result.c - the userdata of a result: every field is made when it is asked for.
**
** The body becomes a Lua string at its first use and the C copy goes, so that it is held once. That of a stream is
** fetched by the methods of result_stream.c.
** Threads: that of the lua_State.
*/
#include "lua/result.h"

#include "base/mem.h"
#include "lua/flow.h"
#include "lua/headers.h"

#define RESULT "discover.result"

dsc_lua_result *dsc_lua_result_push(lua_State *L) {
  dsc_lua_result *box = lua_newuserdata(L, sizeof *box);
  *box = (dsc_lua_result){NULL, false, 0, NULL};
  dsc_compat_set_class(L, RESULT);
  return box;
}

void dsc_lua_result_fail(dsc_lua_result *box, dsc_err err, const dsc_why *why) {
  if (!box->r) box->r = dsc_result_new();
  if (box->r) dsc_result_fail(box->r, err, why->text[0] ? why->text : dsc_err_text(err));
}

size_t dsc_lua_result_size(const dsc_lua_result *box) {
  const dsc_result *r = box->r;
  if (!r) return 0;
  return sizeof *r + r->body_len + 96 * r->headers.count + r->trace_cap * sizeof(dsc_trace) + 128;
}

dsc_lua_result *dsc_lua_result_check(lua_State *L) {
  return luaL_checkudata(L, 1, RESULT);
}

/* The result itself, or NULL: then it ended for want of memory. */
static const dsc_result *check(lua_State *L) {
  return dsc_lua_result_check(L)->r;
}

static bool is_answered(const dsc_result *r) {
  return r && r->status > 0;
}

bool dsc_lua_result_is_stream(const dsc_lua_result *box) {
  return box->flow && box->flow->stream;
}

void dsc_lua_result_push_slot(lua_State *L, int result, int slot) {
  const dsc_lua_result *box = lua_touserdata(L, result);
  if (!box->cached) {
    lua_pushnil(L);
    return;
  }
  dsc_compat_get_user(L, result);
  lua_rawgeti(L, -1, slot);
  lua_remove(L, -2);
}

void dsc_lua_result_set_slot(lua_State *L, int result, int slot, int value) {
  dsc_lua_result *box = lua_touserdata(L, result);
  result = lua_absindex(L, result);
  value = lua_absindex(L, value);
  if (!box->cached) {
    lua_createtable(L, DSC_RESULT_TRACE, 0);
    dsc_compat_set_user(L, result);
    box->cached = true;
  }
  dsc_compat_get_user(L, result);
  lua_pushvalue(L, value);
  lua_rawseti(L, -2, slot);
  lua_pop(L, 1);
}

/* Pushes the cached value of a slot; false when there is none. */
static bool push_cached(lua_State *L, int slot) {
  dsc_lua_result_push_slot(L, 1, slot);
  if (!lua_isnil(L, -1)) return true;
  lua_pop(L, 1);
  return false;
}

/* Caches the value on top. */
static void cache(lua_State *L, int slot) {
  dsc_lua_result_set_slot(L, 1, slot, -1);
}

void dsc_lua_result_push_body(lua_State *L, dsc_lua_result *box) {
  dsc_result *r = box->r;
  if (push_cached(L, DSC_RESULT_BODY)) return;
  if (!is_answered(r)) {
    lua_pushnil(L);
    return;
  }
  lua_pushlstring(L, r->body ? r->body : "", r->body ? r->body_len : 0);
  cache(L, DSC_RESULT_BODY);
  dsc_mem_free(r->body);
  r->body = NULL;
}

int dsc_lua_result_refuse(lua_State *L, const dsc_lua_result *box) {
  dsc_why why = {""};
  if (is_answered(box->r)) return 0;
  if (!box->r) return dsc_compat_fail(L, DSC_ENOMEM, NULL);
  if (!box->r->err) return dsc_compat_fail(L, DSC_EINVALID, NULL);
  if (box->r->why) dsc_fail(&why, box->r->err, "%s", box->r->why);
  return dsc_compat_fail(L, box->r->err, &why);
}

static int get_ok(lua_State *L) {
  const dsc_result *r = check(L);
  lua_pushboolean(L, r && dsc_result_ok(r));
  return 1;
}

static int get_status(lua_State *L) {
  const dsc_result *r = check(L);
  if (is_answered(r))
    lua_pushinteger(L, r->status);
  else
    lua_pushnil(L);
  return 1;
}

static int get_reason(lua_State *L) {
  const dsc_result *r = check(L);
  if (is_answered(r))
    lua_pushstring(L, r->reason ? r->reason : "");
  else
    lua_pushnil(L);
  return 1;
}

static int get_http_version(lua_State *L) {
  const dsc_result *r = check(L);
  if (!is_answered(r))
    lua_pushnil(L);
  else if (r->http_major >= 2)
    lua_pushfstring(L, "%d", r->http_major);
  else
    lua_pushfstring(L, "%d.%d", r->http_major, r->http_minor);
  return 1;
}

static int get_headers(lua_State *L) {
  dsc_lua_result *box = dsc_lua_result_check(L);
  if (push_cached(L, DSC_RESULT_HEADERS)) return 1;
  if (box->r)
    dsc_lua_headers_push_table(L, &box->r->headers);
  else
    lua_newtable(L);
  cache(L, DSC_RESULT_HEADERS);
  return 1;
}

static int get_body(lua_State *L) {
  dsc_lua_result *box = dsc_lua_result_check(L);
  if (dsc_lua_result_is_stream(box))
    lua_pushnil(L);
  else
    dsc_lua_result_push_body(L, box);
  return 1;
}

static int get_err(lua_State *L) {
  const dsc_result *r = check(L);
  if (r && !r->err)
    lua_pushnil(L);
  else
    lua_pushstring(L, dsc_err_name(r ? r->err : DSC_ENOMEM));
  return 1;
}

static int get_why(lua_State *L) {
  const dsc_result *r = check(L);
  dsc_err err = r ? r->err : DSC_ENOMEM;
  if (!err && !r->why)
    lua_pushnil(L);
  else
    lua_pushstring(L, r && r->why ? r->why : dsc_err_text(err));
  return 1;
}

static int get_node(lua_State *L) {
  const dsc_result *r = check(L);
  if (r && r->node[0])
    lua_pushstring(L, r->node);
  else
    lua_pushnil(L);
  return 1;
}

static int get_attempts(lua_State *L) {
  const dsc_result *r = check(L);
  lua_pushinteger(L, r ? (lua_Integer)r->attempts : 0);
  return 1;
}

static int get_elapsed(lua_State *L) {
  const dsc_result *r = check(L);
  lua_pushnumber(L, r ? r->elapsed : 0.0);
  return 1;
}

static void push_trace(lua_State *L, const dsc_trace *trace) {
  lua_createtable(L, 0, 4);
  dsc_compat_set_str(L, "node", trace->node);
  if (trace->status) dsc_compat_set_int(L, "status", (uint64_t)trace->status);
  if (trace->err) dsc_compat_set_str(L, "err", dsc_err_name(trace->err));
  dsc_compat_set_num(L, "seconds", trace->seconds);
}

static int get_trace(lua_State *L) {
  dsc_lua_result *box = dsc_lua_result_check(L);
  if (push_cached(L, DSC_RESULT_TRACE)) return 1;
  lua_newtable(L);
  for (size_t i = 0; box->r && i < box->r->n_trace; i++) {
    push_trace(L, &box->r->trace[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  cache(L, DSC_RESULT_TRACE);
  return 1;
}

static int result_tostring(lua_State *L) {
  const dsc_result *r = check(L);
  dsc_why line = {""};
  if (!r) {
    lua_pushliteral(L, "result(nomem)");
    return 1;
  }
  if (r->err)
    dsc_fail(&line, DSC_OK, "result(%s: %s; %u attempt%s, %.1f ms)", dsc_err_name(r->err),
             r->why ? r->why : dsc_err_text(r->err), r->attempts, r->attempts == 1 ? "" : "s", r->elapsed * 1000);
  else if (dsc_lua_result_is_stream(dsc_lua_result_check(L)))
    dsc_fail(&line, DSC_OK, "result(%d %s; a stream from %s, %u attempt%s, %.1f ms)", r->status,
             r->reason ? r->reason : "", r->node, r->attempts, r->attempts == 1 ? "" : "s", r->elapsed * 1000);
  else
    dsc_fail(&line, DSC_OK, "result(%d %s; %zu bytes from %s, %u attempt%s, %.1f ms)", r->status,
             r->reason ? r->reason : "", r->body_len, r->node, r->attempts, r->attempts == 1 ? "" : "s",
             r->elapsed * 1000);
  lua_pushstring(L, line.text);
  return 1;
}

static int result_gc(lua_State *L) {
  dsc_lua_result *box = dsc_lua_result_check(L);
  dsc_result *r = box->r;
  dsc_lua_flow_end(box);
  box->r = NULL;
  dsc_result_free(r);
  return 0;
}

void dsc_lua_result_open(lua_State *L) {
  static const luaL_Reg meta[] = {
      {"__gc", result_gc}, {"__close", dsc_lua_result_close}, {"__tostring", result_tostring}, {NULL, NULL}};
  static const dsc_lua_field fields[] = {{"ok", get_ok},
                                         {"status", get_status},
                                         {"reason", get_reason},
                                         {"http_version", get_http_version},
                                         {"headers", get_headers},
                                         {"body", get_body},
                                         {"err", get_err},
                                         {"why", get_why},
                                         {"node", get_node},
                                         {"attempts", get_attempts},
                                         {"elapsed", get_elapsed},
                                         {"trace", get_trace},
                                         {NULL, NULL}};
  dsc_compat_class(L, &(dsc_lua_class){RESULT, meta, dsc_lua_result_methods, fields});
  dsc_compat_push_methods(L, RESULT);
  dsc_compat_set_funcs(L, dsc_lua_result_stream_methods);
  lua_pop(L, 1);
}
