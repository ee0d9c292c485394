/*
** options.c - tables of options, read strictly: an unknown key or a wrong type raises, a bad value is an error.
**
** A table is read to its end even after a bad value, so that a wrong type raises in whatever order the keys come.
** Threads: that of the lua_State.
*/
#include "lua/options.h"

#include <math.h>

#define TIME_MAX_S 4294967.0

static void *field_of(void *target, const dsc_lua_option *option) {
  return (char *)target + option->offset;
}

static int wrong(lua_State *L, int arg, const char *what, const char *name, const char *expected) {
  return luaL_argerror(
      L, arg, lua_pushfstring(L, "%s: option '%s': %s expected, got %s", what, name, expected, luaL_typename(L, -1)));
}

static int unknown(lua_State *L, int arg, const char *what, const dsc_lua_option *known) {
  luaL_Buffer list;
  if (lua_type(L, -2) != LUA_TSTRING)
    return luaL_argerror(L, arg,
                         lua_pushfstring(L, "%s: option names are strings, got a %s", what, luaL_typename(L, -2)));
  const char *name = lua_tostring(L, -2);
  luaL_buffinit(L, &list);
  for (const dsc_lua_option *option = known; option->name; option++) {
    if (option != known) luaL_addstring(&list, ", ");
    luaL_addstring(&list, option->name);
  }
  luaL_pushresult(&list);
  return luaL_argerror(L, arg,
                       lua_pushfstring(L, "%s: unknown option '%s' (known: %s)", what, name, lua_tostring(L, -1)));
}

/* A time in milliseconds, rounded up so that nothing above zero becomes zero. Value on top. */
static dsc_err read_time(lua_State *L, int arg, const char *what, const char *name, double *ms, dsc_why *why) {
  if (lua_type(L, -1) == LUA_TNUMBER) {
    double seconds = (double)lua_tonumber(L, -1);
    /* the small step back keeps 0.01 s at 10 ms, not 11 */
    *ms = ceil(seconds * 1000 - 1e-6);
    return DSC_OK;
  }
  if (lua_type(L, -1) != LUA_TSTRING) wrong(L, arg, what, name, "seconds or a string with a unit");
  dsc_str text;
  dsc_why sentence = {""};
  uint64_t value = 0;
  text.p = lua_tolstring(L, -1, &text.n);
  dsc_err err = dsc_config_duration(text, &value, &sentence);
  *ms = (double)value;
  return err ? dsc_fail(why, err, "%s: %s: %s", what, name, sentence.text) : DSC_OK;
}

static dsc_err read_number(lua_State *L, int arg, const char *what, const char *name, double min, double max,
                           int64_t *value, dsc_why *why) {
  if (lua_type(L, -1) != LUA_TNUMBER) wrong(L, arg, what, name, "number");
  if (!dsc_compat_to_int(L, -1, value) || (double)*value < min || (double)*value > max)
    return dsc_fail(why, DSC_EINVALID, "%s: %s: a whole number from %.0f to %.0f expected, got %.17g", what, name, min,
                    max, (double)lua_tonumber(L, -1));
  return DSC_OK;
}

static dsc_err read_string(lua_State *L, int arg, const char *what, const dsc_lua_option *option, void *field,
                           dsc_why *why) {
  dsc_str s;
  if (lua_type(L, -1) != LUA_TSTRING) wrong(L, arg, what, option->name, "string");
  s.p = lua_tolstring(L, -1, &s.n);
  if (option->kind == DSC_OPTION_STR)
    *(dsc_str *)field = s;
  else if (strlen(s.p) != s.n)
    return dsc_fail(why, DSC_EINVALID, "%s: %s: a NUL byte", what, option->name);
  else
    *(const char **)field = s.p;
  return DSC_OK;
}

static dsc_err read_ms(lua_State *L, int arg, const char *what, const dsc_lua_option *option, uint32_t *field,
                       dsc_why *why) {
  double ms = 0;
  dsc_err err = read_time(L, arg, what, option->name, &ms, why);
  double max = option->max > 0 ? option->max : TIME_MAX_S;
  if (!err && !(ms >= ceil(option->min * 1000) && ms <= max * 1000))
    err = dsc_fail(why, DSC_EINVALID, "%s: %s: %.10g is not in %.10g..%.10g seconds", what, option->name,
                   isnan(ms) ? fabs(ms) : ms / 1000 + 0.0, /* no "-0" */ option->min, max);
  if (!err) *field = (uint32_t)ms;
  return err;
}

/* Value on top. */
static dsc_err read_option(lua_State *L, int arg, const char *what, const dsc_lua_option *option, void *target,
                           dsc_why *why) {
  void *field = field_of(target, option);
  int64_t number = 0;
  dsc_err err;
  switch (option->kind) {
  case DSC_OPTION_BOOL:
    if (!lua_isboolean(L, -1)) wrong(L, arg, what, option->name, "boolean");
    *(bool *)field = lua_toboolean(L, -1);
    return DSC_OK;
  case DSC_OPTION_COUNT:
    err = read_number(L, arg, what, option->name, option->min, option->max, &number, why);
    if (!err) *(uint32_t *)field = (uint32_t)number;
    return err;
  case DSC_OPTION_SIZE:
    err = read_number(L, arg, what, option->name, option->min, option->max, &number, why);
    if (!err) *(uint64_t *)field = (uint64_t)number;
    return err;
  case DSC_OPTION_TIME: return read_ms(L, arg, what, option, field, why);
  case DSC_OPTION_STR:
  case DSC_OPTION_TEXT: return read_string(L, arg, what, option, field, why);
  case DSC_OPTION_OTHER: break;
  }
  return DSC_OK;
}

dsc_err dsc_lua_options_read(lua_State *L, int index, int arg, const char *what, const dsc_lua_option *known,
                             void *target, dsc_why *why) {
  dsc_err first = DSC_OK;
  index = lua_absindex(L, index);
  luaL_checkstack(L, 8, what);
  for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
    const dsc_lua_option *option = known;
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
    while (name && option->name && strcmp(option->name, name) != 0) option++;
    if (!name || !option->name) unknown(L, arg, what, known);
    dsc_err err = read_option(L, arg, what, option, target, first ? NULL : why);
    if (!first) first = err;
  }
  return first;
}

void dsc_lua_options_keep(lua_State *L, int index, const dsc_lua_option *known) {
  index = lua_absindex(L, index);
  for (; known->name; known++) {
    if (known->kind != DSC_OPTION_STR && known->kind != DSC_OPTION_TEXT) continue;
    luaL_checkstack(L, 1, known->name);
    lua_pushstring(L, known->name);
    lua_rawget(L, index);
  }
}

dsc_err dsc_lua_options_time(lua_State *L, int index, int arg, const char *what, uint32_t *ms, dsc_why *why) {
  int type = lua_type(L, index);
  if (type != LUA_TNUMBER && type != LUA_TSTRING) dsc_compat_type_error(L, arg, "seconds or a string with a unit");
  lua_pushvalue(L, index);
  dsc_err err = read_ms(L, arg, what, &(dsc_lua_option){"time", DSC_OPTION_TIME, 0, 0, 0}, ms, why);
  lua_pop(L, 1);
  return err;
}

dsc_err dsc_lua_options_seconds(lua_State *L, int arg, const char *what, double *seconds, dsc_why *why) {
  uint32_t ms = 0;
  if (lua_type(L, arg) != LUA_TNUMBER) {
    dsc_err err = dsc_lua_options_time(L, arg, arg, what, &ms, why);
    *seconds = ms / 1000.0;
    return err;
  }
  *seconds = (double)lua_tonumber(L, arg);
  if (*seconds >= 0 && *seconds < 1e9) return DSC_OK;
  return dsc_fail(why, DSC_EINVALID, "%s: %.10g is not in 0..1e9 seconds", what,
                  isnan(*seconds) ? fabs(*seconds) : *seconds);
}

dsc_err dsc_lua_options_count(lua_State *L, int index, int arg, const char *what, uint32_t min, uint32_t max,
                              uint32_t *value, dsc_why *why) {
  int64_t number = 0;
  if (lua_type(L, index) != LUA_TNUMBER) dsc_compat_type_error(L, arg, "number");
  if (!dsc_compat_to_int(L, index, &number) || number < (int64_t)min || number > (int64_t)max)
    return dsc_fail(why, DSC_EINVALID, "%s: a whole number from %u to %u expected, got %.17g", what, min, max,
                    (double)lua_tonumber(L, index));
  *value = (uint32_t)number;
  return DSC_OK;
}

dsc_err dsc_lua_options_retry(dsc_str name, dsc_retry *retry, dsc_why *why) {
  static const char *const names[] = {"idempotent", "always", "never"};
  for (int i = 0; i < 3; i++) {
    if (!dsc_str_equal(name, dsc_str_of(names[i]))) continue;
    *retry = (dsc_retry)i;
    return DSC_OK;
  }
  return dsc_fail(why, DSC_EINVALID, "retry: \"%.*s\" is none of idempotent, always, never", DSC_STR_ARG(name));
}
