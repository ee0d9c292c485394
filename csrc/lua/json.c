/*
** json.c - JSON text to Lua values and back, by yajl: it hands numbers over as raw text, so that no digit is lost,
** checks UTF-8, and is told where its memory comes from. The only file that knows yajl; json_encode.c walks the
** values.
**
** Invariants: all of yajl's memory hangs on a userdata, so that a Lua error may jump over yajl's frames: nothing is
** lost, and yajl is not entered again with that handle. yajl ignores failing allocations, hence these raise.
** Threads: that of the lua_State.
*/
#include "lua/json.h"

#include <math.h>
#include <yajl/yajl_gen.h>
#include <yajl/yajl_parse.h>

#include "base/list.h"
#include "base/mem.h"
#include "lua/json_writer.h"

#define ARENA "discover.json"

typedef struct arena {
  lua_State *L; /* for the time of one call of decode or encode */
  dsc_link blocks;
} arena;

typedef struct block {
  _Alignas(16) dsc_link link;
  _Alignas(16) char bytes[];
} block;

static void *arena_take(arena *a, block *b) {
  if (!b) luaL_error(a->L, "not enough memory");
  dsc_list_init(&b->link);
  dsc_list_push(&a->blocks, &b->link);
  return b->bytes;
}

static void *arena_alloc(void *ctx, size_t size) {
  return arena_take(ctx, dsc_mem_alloc(sizeof(block) + size));
}

static void arena_drop(void *ctx, void *bytes) {
  (void)ctx;
  if (!bytes) return;
  block *b = DSC_LIST_ENTRY(bytes, block, bytes);
  dsc_list_remove(&b->link);
  dsc_mem_free(b);
}

static void *arena_resize(void *ctx, void *bytes, size_t size) {
  arena *a = ctx;
  if (!bytes) return arena_alloc(ctx, size);
  block *b = DSC_LIST_ENTRY(bytes, block, bytes);
  dsc_list_remove(&b->link);
  block *larger = dsc_mem_realloc(b, sizeof(block) + size);
  if (!larger) dsc_list_push(&a->blocks, &b->link);
  return arena_take(a, larger);
}

static void arena_clear(arena *a) {
  dsc_link *link;
  while ((link = dsc_list_pop(&a->blocks))) dsc_mem_free(DSC_LIST_ENTRY(link, block, link));
}

static arena *arena_push(lua_State *L) {
  arena *a = lua_newuserdata(L, sizeof *a);
  a->L = L;
  dsc_list_init(&a->blocks);
  dsc_compat_set_class(L, ARENA);
  return a;
}

static int arena_gc(lua_State *L) {
  arena_clear(luaL_checkudata(L, 1, ARENA));
  return 0;
}

static yajl_alloc_funcs arena_funcs(arena *a) {
  return (yajl_alloc_funcs){arena_alloc, arena_resize, arena_drop, a};
}

/* ---------------------------------------------------------------- decoding */

/* On the Lua stack: per open container its table, per open object also the key that waits for a value. */
typedef struct decoder {
  lua_State *L;
  int depth;
  int array;                         /* index of the metatable of lists */
  int count[DSC_LUA_JSON_DEPTH + 1]; /* items of a list, -1 for an object */
} decoder;

static int decoded(decoder *d) {
  int *count = &d->count[d->depth];
  if (d->depth == 0) return 1;
  if (*count >= 0)
    lua_rawseti(d->L, -2, ++*count);
  else
    lua_rawset(d->L, -3);
  return 1;
}

static int on_null(void *ctx) {
  decoder *d = ctx;
  lua_pushlightuserdata(d->L, NULL);
  return decoded(d);
}

static int on_boolean(void *ctx, int value) {
  decoder *d = ctx;
  lua_pushboolean(d->L, value);
  return decoded(d);
}

static bool is_integer(dsc_str s) {
  for (size_t i = 0; i < s.n; i++)
    if (s.p[i] == '.' || s.p[i] == 'e' || s.p[i] == 'E') return false;
  return true;
}

static bool is_exact(int64_t value) {
#if LUA_VERSION_NUM >= 503
  (void)value;
  return true;
#else
  return value >= -(INT64_C(1) << 53) && value <= INT64_C(1) << 53;
#endif
}

static int on_number(void *ctx, const char *text, size_t n) {
  decoder *d = ctx;
  dsc_str s = {text, n};
  int64_t value;
  if (is_integer(s)) {
    if (dsc_str_to_int(s, &value) && is_exact(value))
      lua_pushinteger(d->L, (lua_Integer)value);
    else
      dsc_compat_push_str(d->L, s);
    return decoded(d);
  }
  /* Lua's own conversion knows about locales with a decimal comma */
  dsc_compat_push_str(d->L, s);
  lua_Number number = lua_tonumber(d->L, -1);
  if (isfinite(number)) {
    lua_pushnumber(d->L, number);
    lua_remove(d->L, -2);
  }
  return decoded(d);
}

static int on_string(void *ctx, const unsigned char *text, size_t n) {
  decoder *d = ctx;
  lua_pushlstring(d->L, (const char *)text, n);
  return decoded(d);
}

static int on_key(void *ctx, const unsigned char *text, size_t n) {
  decoder *d = ctx;
  lua_pushlstring(d->L, (const char *)text, n);
  return 1;
}

static int open_container(decoder *d, int count) {
  if (d->depth == DSC_LUA_JSON_DEPTH) return 0;
  lua_newtable(d->L);
  if (count == 0) {
    lua_pushvalue(d->L, d->array);
    lua_setmetatable(d->L, -2);
  }
  d->count[++d->depth] = count;
  return 1;
}

static int on_map(void *ctx) {
  return open_container(ctx, -1);
}

static int on_list(void *ctx) {
  return open_container(ctx, 0);
}

static int on_end(void *ctx) {
  decoder *d = ctx;
  d->depth--;
  return decoded(d);
}

static dsc_err decode_failed(yajl_handle handle, yajl_status status, dsc_str text, dsc_why *why) {
  int at = (int)yajl_get_bytes_consumed(handle);
  if (status == yajl_status_client_canceled)
    return dsc_fail(why, DSC_EINVALID, "json: more than %d levels at byte %d", DSC_LUA_JSON_DEPTH, at);
  const unsigned char *message = yajl_get_error(handle, 0, (const unsigned char *)text.p, text.n);
  dsc_str sentence = dsc_str_of((const char *)message);
  while (sentence.n && (sentence.p[sentence.n - 1] == '\n' || sentence.p[sentence.n - 1] == '.')) sentence.n--;
  return dsc_fail(why, DSC_EINVALID, "json: %.*s at byte %d", DSC_STR_ARG(sentence), at);
}

dsc_err dsc_lua_json_decode(lua_State *L, dsc_str text, dsc_why *why) {
  static const yajl_callbacks callbacks = {on_null, on_boolean, NULL,   NULL,    on_number, on_string,
                                           on_map,  on_key,     on_end, on_list, on_end};
  int top = lua_gettop(L);
  luaL_checkstack(L, 2 * DSC_LUA_JSON_DEPTH + 10, "json");
  arena *a = arena_push(L);
  luaL_getmetatable(L, DSC_LUA_JSON_ARRAY);
  decoder d = {.L = L, .array = lua_gettop(L)};
  yajl_alloc_funcs funcs = arena_funcs(a);
  yajl_handle handle = yajl_alloc(&callbacks, &funcs, &d);
  yajl_status status = yajl_parse(handle, (const unsigned char *)text.p, text.n);
  if (status == yajl_status_ok) status = yajl_complete_parse(handle);
  dsc_err err = status == yajl_status_ok ? DSC_OK : decode_failed(handle, status, text, why);
  arena_clear(a);
  if (err)
    lua_settop(L, top);
  else {
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
  }
  return err;
}

/* ------------------------------------------------------------- the writer */

struct dsc_json_writer {
  arena *memory;
  yajl_gen gen;
};

dsc_json_writer *dsc_json_writer_push(lua_State *L) {
  arena *a = arena_push(L);
  yajl_alloc_funcs funcs = arena_funcs(a);
  dsc_json_writer *writer = arena_alloc(a, sizeof *writer);
  writer->memory = a;
  writer->gen = yajl_gen_alloc(&funcs);
  yajl_gen_config(writer->gen, yajl_gen_validate_utf8, 1);
  return writer;
}

void dsc_json_writer_finish(lua_State *L, dsc_json_writer *writer) {
  const unsigned char *text;
  size_t n;
  if (L && yajl_gen_get_buf(writer->gen, &text, &n) == yajl_gen_status_ok) lua_pushlstring(L, (const char *)text, n);
  arena_clear(writer->memory);
}

void dsc_json_writer_null(dsc_json_writer *writer) {
  yajl_gen_null(writer->gen);
}

void dsc_json_writer_boolean(dsc_json_writer *writer, bool value) {
  yajl_gen_bool(writer->gen, value);
}

void dsc_json_writer_number(dsc_json_writer *writer, dsc_str text) {
  yajl_gen_number(writer->gen, text.p, text.n);
}

bool dsc_json_writer_string(dsc_json_writer *writer, dsc_str text) {
  return yajl_gen_string(writer->gen, (const unsigned char *)text.p, text.n) != yajl_gen_invalid_string;
}

void dsc_json_writer_open(dsc_json_writer *writer, bool list) {
  if (list)
    yajl_gen_array_open(writer->gen);
  else
    yajl_gen_map_open(writer->gen);
}

void dsc_json_writer_close(dsc_json_writer *writer, bool list) {
  if (list)
    yajl_gen_array_close(writer->gen);
  else
    yajl_gen_map_close(writer->gen);
}

int dsc_lua_json_array(lua_State *L) {
  if (lua_isnoneornil(L, 1))
    lua_newtable(L);
  else if (lua_istable(L, 1))
    lua_settop(L, 1);
  else
    return dsc_compat_type_error(L, 1, "table");
  dsc_compat_set_class(L, DSC_LUA_JSON_ARRAY);
  return 1;
}

void dsc_lua_json_open(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", arena_gc}, {NULL, NULL}};
  dsc_compat_class(L, &(dsc_lua_class){ARENA, meta, NULL, NULL});
  if (luaL_newmetatable(L, DSC_LUA_JSON_ARRAY)) {
    lua_pushstring(L, DSC_LUA_JSON_ARRAY);
    lua_setfield(L, -2, "__name");
  }
  lua_pop(L, 1);
}
