/*
** headers.c - Lua tables to header lists and back; and other flat tables that become text (query, metadata).
**
** Lists and buffers live in userdata, so that nothing is lost when a wrong type raises half-way.
** Threads: that of the lua_State.
*/
#include "lua/headers.h"

#include <stdlib.h>

#include "base/url.h"

#define HEADERS "discover.headers"
#define BUF     "discover.buf"

dsc_headers *dsc_lua_headers_push_box(lua_State *L) {
  dsc_headers *headers = lua_newuserdata(L, sizeof *headers);
  dsc_headers_init(headers);
  dsc_compat_set_class(L, HEADERS);
  return headers;
}

dsc_buf *dsc_lua_headers_push_buf(lua_State *L) {
  dsc_buf *buf = lua_newuserdata(L, sizeof *buf);
  dsc_buf_init(buf, 0);
  dsc_compat_set_class(L, BUF);
  return buf;
}

static int headers_gc(lua_State *L) {
  dsc_headers_clear(luaL_checkudata(L, 1, HEADERS));
  return 0;
}

static int buf_gc(lua_State *L) {
  dsc_buf_clear(luaL_checkudata(L, 1, BUF));
  return 0;
}

/* Value on top: a string or number; leaves its text there. Whole floats have no fraction, as in JSON. */
static bool to_text(lua_State *L, dsc_str *text) {
  int type = lua_type(L, -1);
#if LUA_VERSION_NUM >= 503
  int64_t whole;
  if (type == LUA_TNUMBER && dsc_compat_to_int(L, -1, &whole)) {
    lua_pushinteger(L, (lua_Integer)whole);
    lua_replace(L, -2);
  }
#endif
  if (type != LUA_TSTRING && type != LUA_TNUMBER) return false;
  text->p = lua_tolstring(L, -1, &text->n);
  return true;
}

static void add_header(lua_State *L, int arg, const char *what, dsc_str name, dsc_headers *out) {
  dsc_str value;
  if (!to_text(L, &value)) {
    luaL_argerror(L, arg,
                  lua_pushfstring(L, "%s: header '%s': string or list of strings expected, got %s", what, name.p,
                                  luaL_typename(L, -1)));
  }
  if (dsc_headers_add(out, name, value)) luaL_error(L, "not enough memory");
}

void dsc_lua_headers_read(lua_State *L, int index, int arg, const char *what, dsc_headers *out) {
  index = lua_absindex(L, index);
  luaL_checkstack(L, 6, what);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) {
      luaL_argerror(L, arg, lua_pushfstring(L, "%s: header names are strings, got a %s", what, luaL_typename(L, -2)));
    }
    dsc_str name;
    name.p = lua_tolstring(L, -2, &name.n);
    if (lua_type(L, -1) != LUA_TTABLE) {
      add_header(L, arg, what, name, out);
      continue;
    }
    int n = (int)lua_rawlen(L, -1);
    for (int i = 1; i <= n; i++) {
      lua_rawgeti(L, -1, i);
      add_header(L, arg, what, name, out);
      lua_pop(L, 1);
    }
  }
}

static void push_lower(lua_State *L, dsc_str s) {
  char small[128];
  if (s.n > sizeof small) {
    char *large = lua_newuserdata(L, s.n);
    for (size_t i = 0; i < s.n; i++) large[i] = (char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] + 32 : s.p[i]);
    lua_pushlstring(L, large, s.n);
    lua_remove(L, -2);
    return;
  }
  for (size_t i = 0; i < s.n; i++) small[i] = (char)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] + 32 : s.p[i]);
  lua_pushlstring(L, small, s.n);
}

void dsc_lua_headers_push_table(lua_State *L, const dsc_headers *headers) {
  luaL_checkstack(L, 6, "headers");
  lua_createtable(L, 0, (int)headers->count);
  for (size_t i = 0; i < headers->count; i++) {
    push_lower(L, headers->items[i].name);
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    if (lua_isnil(L, -1)) {
      lua_pop(L, 1);
      dsc_compat_push_str(L, headers->items[i].value);
    } else {
      lua_pushliteral(L, ", ");
      dsc_compat_push_str(L, headers->items[i].value);
      lua_concat(L, 3);
    }
    lua_rawset(L, -3);
  }
}

static int compare(const void *a, const void *b) {
  const dsc_str *x = a, *y = b;
  int order = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
  return order ? order : (x->n > y->n) - (x->n < y->n);
}

/* Pushes a userdata with the keys of the table at `index`, sorted. They stay borrowed: the table holds them. */
static dsc_str *push_keys(lua_State *L, int index, int arg, const char *what, size_t *n) {
  *n = 0;
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING) {
      luaL_argerror(L, arg, lua_pushfstring(L, "%s: keys are strings, got a %s", what, luaL_typename(L, -2)));
    }
    ++*n;
  }
  dsc_str *keys = lua_newuserdata(L, (*n + 1) * sizeof *keys);
  size_t at = 0;
  for (lua_pushnil(L); at < *n && lua_next(L, index); lua_pop(L, 1)) {
    keys[at].p = lua_tolstring(L, -2, &keys[at].n);
    at++;
  }
  if (at == *n && at > 0) qsort(keys, *n, sizeof *keys, compare);
  return keys;
}

static void encode_pair(lua_State *L, int arg, const char *what, bool lists, dsc_str key, dsc_buf *out) {
  dsc_str value;
  if (lists && lua_isboolean(L, -1))
    value = dsc_str_of(lua_toboolean(L, -1) ? "true" : "false");
  else if (!to_text(L, &value)) {
    luaL_argerror(L, arg,
                  lua_pushfstring(L, "%s: '%s': string or number expected, got %s", what, key.p, luaL_typename(L, -1)));
  }
  if (out->len) dsc_buf_add(out, "&", 1);
  dsc_url_encode(out, key);
  dsc_buf_add(out, "=", 1);
  dsc_url_encode(out, value);
  if (out->err) luaL_error(L, "not enough memory");
}

void dsc_lua_headers_encode(lua_State *L, int index, int arg, const char *what, bool lists, dsc_buf *out) {
  index = lua_absindex(L, index);
  luaL_checkstack(L, 8, what);
  size_t n;
  dsc_str *keys = push_keys(L, index, arg, what, &n);
  for (size_t i = 0; i < n; i++) {
    dsc_compat_push_str(L, keys[i]);
    lua_rawget(L, index);
    int count = lists && lua_istable(L, -1) ? (int)lua_rawlen(L, -1) : -1;
    if (count < 0) encode_pair(L, arg, what, lists, keys[i], out);
    for (int at = 1; at <= count; at++) {
      lua_rawgeti(L, -1, at);
      encode_pair(L, arg, what, lists, keys[i], out);
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

void dsc_lua_headers_push_pairs(lua_State *L, dsc_str text) {
  luaL_checkstack(L, 6, "pairs");
  dsc_buf *buf = dsc_lua_headers_push_buf(L);
  lua_newtable(L);
  dsc_str key, value;
  while (dsc_url_next_pair(&text, &key, &value)) {
    dsc_buf_reset(buf);
    bool ok = dsc_url_decode(buf, key) == DSC_OK;
    dsc_compat_push_str(L, ok ? dsc_buf_str(buf) : key);
    dsc_buf_reset(buf);
    ok = dsc_url_decode(buf, value) == DSC_OK;
    dsc_compat_push_str(L, ok ? dsc_buf_str(buf) : value);
    lua_rawset(L, -3);
  }
  lua_remove(L, -2);
}

void dsc_lua_headers_open(lua_State *L) {
  static const luaL_Reg headers[] = {{"__gc", headers_gc}, {NULL, NULL}};
  static const luaL_Reg buf[] = {{"__gc", buf_gc}, {NULL, NULL}};
  dsc_compat_class(L, &(dsc_lua_class){HEADERS, headers, NULL, NULL});
  dsc_compat_class(L, &(dsc_lua_class){BUF, buf, NULL, NULL});
}
