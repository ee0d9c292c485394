/*
** body.c - the userdata of a body value, and Lua functions presented to the core as readers.
**
** The user value of a body is a table: BODY_* slots. Its strings are borrowed while a call sends them; the result
** of the call keeps the body value.
** Threads: that of the lua_State.
*/
#include "lua/body.h"

#include "lua/flow.h"
#include "lua/hooks.h"

#define BODY          "discover.body"
#define EMPTY_ALLOWED 1000 /* a reader may give "" while it has nothing, but not for ever */

enum { BODY_KINDS = 1, BODY_PIECES, BODY_TYPE, BODY_FILENAME };

/* ------------------------------------------------------------- body values */

int dsc_lua_body_new(lua_State *L) {
  dsc_compat_check_str(L, 1);
  luaL_checktype(L, 2, LUA_TTABLE);
  dsc_compat_check_str(L, 3);
  lua_settop(L, 4);
  lua_newuserdata(L, 1);
  lua_createtable(L, BODY_FILENAME, 0);
  for (int slot = BODY_KINDS; slot <= BODY_FILENAME; slot++) {
    lua_pushvalue(L, slot);
    lua_rawseti(L, -2, slot);
  }
  dsc_compat_set_user(L, -2);
  dsc_compat_set_class(L, BODY);
  return 1;
}

static bool is_body(lua_State *L, int index) {
  return dsc_compat_test(L, index, BODY) != NULL;
}

int dsc_lua_body_parts(lua_State *L) {
  if (!is_body(L, 1)) return 0;
  dsc_compat_get_user(L, 1);
  int slots = lua_gettop(L);
  for (int slot = BODY_KINDS; slot <= BODY_FILENAME; slot++) lua_rawgeti(L, slots, slot);
  return BODY_FILENAME;
}

bool dsc_lua_body_is(lua_State *L, int index) {
  return lua_isfunction(L, index) || is_body(L, index);
}

/* Pushes a slot of the body value at `index`. */
static void push_slot(lua_State *L, int index, int slot) {
  dsc_compat_get_user(L, index);
  lua_rawgeti(L, -1, slot);
  lua_remove(L, -2);
}

const char *dsc_lua_body_type(lua_State *L, int index) {
  if (!is_body(L, index)) return NULL;
  push_slot(L, index, BODY_TYPE);
  const char *type = lua_tostring(L, -1);
  lua_pop(L, 1); /* the body value holds it */
  return type;
}

static int body_tostring(lua_State *L) {
  luaL_checkudata(L, 1, BODY);
  push_slot(L, 1, BODY_TYPE);
  lua_pushfstring(L, "body(%s)", lua_tostring(L, -1));
  return 1;
}

void dsc_lua_body_open(lua_State *L) {
  static const luaL_Reg meta[] = {{"__tostring", body_tostring}, {NULL, NULL}};
  dsc_compat_class(L, &(dsc_lua_class){BODY, meta, NULL, NULL});
}

/* ------------------------------------------------------------- made for a call */

static dsc_err add_piece(dsc_body *body, char kind, dsc_str piece, dsc_why *why) {
  if (kind == 'f') return dsc_body_add_file(body, piece.p, why);
  dsc_err err = dsc_body_add_bytes(body, piece, true);
  return err ? dsc_fail(why, err, "%s", dsc_err_text(err)) : DSC_OK;
}

static dsc_err make_of_pieces(lua_State *L, int index, dsc_lua_flow *flow, dsc_request *request, dsc_why *why) {
  dsc_str kinds, piece;
  dsc_err err = DSC_OK;
  push_slot(L, index, BODY_KINDS);
  push_slot(L, index, BODY_PIECES);
  int pieces = lua_gettop(L);
  kinds.p = lua_tolstring(L, pieces - 1, &kinds.n);
  bool is_string = dsc_str_equal(kinds, DSC_STR_LITERAL("s"));
  dsc_body *body = is_string ? NULL : dsc_lua_flow_make_source(L, flow);
  for (size_t i = 0; i < kinds.n && !err; i++) {
    lua_rawgeti(L, pieces, (int)i + 1);
    piece.p = lua_tolstring(L, -1, &piece.n);
    lua_pop(L, 1); /* the body value holds it */
    if (is_string)
      request->body = piece;
    else
      err = add_piece(body, kinds.p[i], piece, why);
  }
  request->has_body = is_string;
  request->source = body;
  lua_settop(L, pieces - 2);
  return err;
}

/* A Content-Length of the user's says how much a reader will give; -1: there is none. */
static dsc_err announced_size(const dsc_headers *headers, int64_t *size, dsc_why *why) {
  *size = -1;
  const dsc_header *header = headers ? dsc_headers_find(headers, DSC_STR_LITERAL("Content-Length")) : NULL;
  if (!header) return DSC_OK;
  if (dsc_str_to_int(header->value, size) && *size >= 0) return DSC_OK;
  return dsc_fail(why, DSC_EINVALID, "headers: Content-Length: \"%.*s\" is no number of bytes",
                  header->value.n < 40 ? (int)header->value.n : 40, header->value.p);
}

/* What one call of a reader is about. */
typedef struct reading {
  const dsc_lua_flow *flow;
  dsc_buf *out;
} reading;

/* In protected mode, the discoverer's user value at index 1. */
static void read_body(lua_State *L, void *ud) {
  const reading *r = ud;
  dsc_lua_flow_push_result(L, 1, r->flow); /* stays */
  for (int i = 0; i < EMPTY_ALLOWED; i++) {
    dsc_lua_flow_push_slot(L, 1, r->flow, DSC_RESULT_DATA);
    lua_call(L, 0, 1);
    if (lua_isnil(L, -1)) return;
    if (lua_type(L, -1) != LUA_TSTRING)
      luaL_error(L, "data: the reader returned a %s (string or nil expected)", luaL_typename(L, -1));
    dsc_str chunk = dsc_compat_check_str(L, -1);
    if (chunk.n && dsc_buf_add_str(r->out, chunk)) luaL_error(L, "not enough memory");
    if (chunk.n) return;
    lua_pop(L, 1);
  }
  luaL_error(L, "data: the reader returned \"\" %d times in a row (nil ends a body)", EMPTY_ALLOWED);
}

static dsc_err on_read(void *ctx, void *ud, dsc_buf *out, dsc_why *why) {
  dsc_lua_flow *flow = ud;
  reading r = {.flow = flow, .out = out};
  flow->feeding = true;
  dsc_err err = dsc_lua_hooks_protect(ctx, read_body, &r, DSC_ECALLBACK, why);
  flow->feeding = false;
  return err;
}

static dsc_err make_of_reader(lua_State *L, dsc_lua_flow *flow, dsc_request *request, dsc_why *why) {
  int64_t size;
  dsc_err err = announced_size(request->headers, &size, why);
  if (err) return err;
  request->source = dsc_lua_flow_make_source(L, flow);
  return dsc_body_set_reader(request->source, on_read, flow, size);
}

dsc_err dsc_lua_body_make(lua_State *L, int index, int result, dsc_request *request, dsc_why *why) {
  dsc_lua_flow *flow = ((dsc_lua_result *)lua_touserdata(L, result))->flow;
  dsc_lua_result_set_slot(L, result, DSC_RESULT_DATA, index);
  if (is_body(L, index)) return make_of_pieces(L, index, flow, request, why);
  return make_of_reader(L, flow, request, why);
}
