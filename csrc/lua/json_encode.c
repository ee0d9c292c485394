/*
** json_encode.c - Lua values to JSON text: what is a list, what an object, which digits a number needs, and what is
** refused.
**
** Threads: that of the lua_State.
*/
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "lua/json.h"
#include "lua/json_writer.h"

typedef struct encoder {
  lua_State *L;
  dsc_json_writer *writer;
  dsc_why *why;
  int depth;
  struct {
    const char *key; /* NULL: a list */
    int index;
  } path[DSC_LUA_JSON_DEPTH + 1];
} encoder;

static dsc_err refuse(encoder *e, const char *what, const char *rest) {
  char path[300];
  size_t n = 0;
  path[0] = '\0';
  for (int i = 1; i <= e->depth && n < sizeof path - 2; i++) {
    int more = e->path[i].key ? snprintf(path + n, sizeof path - n, "%s%s", n ? "." : "", e->path[i].key)
                              : snprintf(path + n, sizeof path - n, "[%d]", e->path[i].index);
    n += more > 0 ? (size_t)more : 0;
  }
  return dsc_fail(e->why, DSC_EINVALID, "json: %s%s%s%s", path, path[0] ? ": " : "", what, rest);
}

static dsc_err encode_value(encoder *e);

static dsc_err encode_raw(encoder *e, char *text, int n) {
  for (int i = 0; i < n; i++)
    if (text[i] == ',') text[i] = '.';
  dsc_json_writer_number(e->writer, (dsc_str){text, (size_t)n});
  return DSC_OK;
}

static dsc_err encode_number(encoder *e) {
  char text[40];
  int64_t integer;
#if LUA_VERSION_NUM >= 503
  bool whole = lua_isinteger(e->L, -1);
#else
  bool whole = false;
#endif
  double number = (double)lua_tonumber(e->L, -1);
  if (!isfinite(number)) return refuse(e, isnan(number) ? "NaN" : "infinity", " is no JSON number");
  whole = whole || fabs(number) <= 0x1p53;
  if (whole && dsc_compat_to_int(e->L, -1, &integer))
    return encode_raw(e, text, snprintf(text, sizeof text, "%lld", (long long)integer));
  int n = 0;
  for (int digits = 14; digits <= 17; digits += 1) {
    n = snprintf(text, sizeof text, "%.*g", digits, number);
    if (strtod(text, NULL) == number) break;
  }
  return encode_raw(e, text, n);
}

static dsc_err encode_string(encoder *e) {
  dsc_str text;
  text.p = lua_tolstring(e->L, -1, &text.n);
  return dsc_json_writer_string(e->writer, text) ? DSC_OK : refuse(e, "the string is not UTF-8", "");
}

typedef enum shape { SHAPE_OBJECT, SHAPE_LIST, SHAPE_BAD } shape;

/* Table on top. What it is: list, object or neither; `*n` items. */
static shape look(encoder *e, int *n, dsc_err *err) {
  lua_State *L = e->L;
  int64_t index, largest = 0;
  int numbers = 0, names = 0;
  bool is_array = false;
  if (lua_getmetatable(L, -1)) {
    luaL_getmetatable(L, DSC_LUA_JSON_ARRAY);
    is_array = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
  }
  for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
    if (lua_type(L, -2) == LUA_TSTRING) {
      names++;
    } else if (dsc_compat_to_int(L, -2, &index) && index >= 1) {
      numbers++;
      if (index > largest) largest = index;
    } else {
      *err = refuse(e, "a key is neither a string nor a list index, but a ", luaL_typename(L, -2));
      lua_pop(L, 2);
      return SHAPE_BAD;
    }
  }
  *n = numbers;
  if (!is_array && numbers == 0) return SHAPE_OBJECT;
  if (names)
    *err = refuse(e, is_array ? "a list with string keys" : "string keys and list indices are mixed", "");
  else if (largest != numbers)
    *err = refuse(e, "a list with holes", "");
  return *err ? SHAPE_BAD : SHAPE_LIST;
}

static dsc_err encode_list(encoder *e, int n) {
  dsc_err err = DSC_OK;
  dsc_json_writer_open(e->writer, true);
  for (int i = 1; i <= n && !err; i++) {
    e->path[e->depth].key = NULL;
    e->path[e->depth].index = i;
    lua_rawgeti(e->L, -1, i);
    err = encode_value(e);
    lua_pop(e->L, 1);
  }
  dsc_json_writer_close(e->writer, true);
  return err;
}

static dsc_err encode_object(encoder *e) {
  dsc_err err = DSC_OK;
  dsc_json_writer_open(e->writer, false);
  for (lua_pushnil(e->L); lua_next(e->L, -2); lua_pop(e->L, 1)) {
    dsc_str key;
    key.p = lua_tolstring(e->L, -2, &key.n);
    bool ok = dsc_json_writer_string(e->writer, key);
    e->path[e->depth].key = ok ? key.p : "?";
    err = ok ? encode_value(e) : refuse(e, "the key is not UTF-8", "");
    if (err) {
      lua_pop(e->L, 2);
      break;
    }
  }
  dsc_json_writer_close(e->writer, false);
  return err;
}

static dsc_err encode_table(encoder *e) {
  dsc_err err = DSC_OK;
  int n = 0;
  if (e->depth == DSC_LUA_JSON_DEPTH) return refuse(e, "more than 100 levels", "");
  luaL_checkstack(e->L, 8, "json");
  shape what = look(e, &n, &err);
  if (what == SHAPE_BAD) return err;
  e->depth++;
  err = what == SHAPE_LIST ? encode_list(e, n) : encode_object(e);
  e->depth--;
  return err;
}

/* Value on top; stays there. */
static dsc_err encode_value(encoder *e) {
  switch (lua_type(e->L, -1)) {
  case LUA_TBOOLEAN: dsc_json_writer_boolean(e->writer, lua_toboolean(e->L, -1)); return DSC_OK;
  case LUA_TNUMBER: return encode_number(e);
  case LUA_TSTRING: return encode_string(e);
  case LUA_TTABLE: return encode_table(e);
  case LUA_TLIGHTUSERDATA:
    if (lua_touserdata(e->L, -1)) break;
    dsc_json_writer_null(e->writer);
    return DSC_OK;
  default: break;
  }
  return refuse(e, luaL_typename(e->L, -1), " cannot be encoded");
}

dsc_err dsc_lua_json_encode(lua_State *L, int index, dsc_why *why) {
  index = lua_absindex(L, index);
  luaL_checkstack(L, 8, "json");
  encoder e = {.L = L, .writer = dsc_json_writer_push(L), .why = why};
  lua_pushvalue(L, index);
  dsc_err err = encode_value(&e);
  lua_pop(L, 1);
  dsc_json_writer_finish(err ? NULL : L, e.writer);
  lua_remove(L, err ? -1 : -2);
  return err;
}

int dsc_lua_json_lua_decode(lua_State *L) {
  dsc_why why = {""};
  dsc_err err = dsc_lua_json_decode(L, dsc_compat_check_str(L, 1), &why);
  return err ? dsc_compat_fail(L, err, &why) : 1;
}

int dsc_lua_json_lua_encode(lua_State *L) {
  luaL_checkany(L, 1);
  dsc_why why = {""};
  dsc_err err = dsc_lua_json_encode(L, 1, &why);
  return err ? dsc_compat_fail(L, err, &why) : 1;
}
