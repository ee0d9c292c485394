/*
** compat.c - one Lua API for 5.1 to 5.4 and LuaJIT, and what every userdata type here needs.
**
** Invariant: a userdata has at most one user value, and that is a table: 5.1 knows nothing else (its "environment").
** Threads: that of the lua_State.
*/
#include "lua/compat.h"

#include <math.h>

#define HOLDER "discover.holder"

void dsc_compat_set_funcs(lua_State *L, const luaL_Reg *funcs) {
  for (; funcs && funcs->name; funcs++) {
    lua_pushcfunction(L, funcs->func);
    lua_setfield(L, -2, funcs->name);
  }
}

/* upvalues: methods, {name = number}, the fields */
static int class_index(lua_State *L) {
  lua_settop(L, 2);
  lua_pushvalue(L, 2);
  lua_rawget(L, lua_upvalueindex(1));
  if (!lua_isnil(L, -1)) return 1;
  lua_pushvalue(L, 2);
  lua_rawget(L, lua_upvalueindex(2));
  if (lua_isnil(L, -1)) return 1;
  const dsc_lua_field *fields = lua_touserdata(L, lua_upvalueindex(3));
  lua_Integer number = lua_tointeger(L, -1);
  lua_settop(L, 2);
  return fields[number].get(L);
}

static void push_index(lua_State *L, const dsc_lua_field *fields) {
  lua_newtable(L);
  for (int i = 0; fields[i].name; i++) {
    lua_pushinteger(L, i);
    lua_setfield(L, -2, fields[i].name);
  }
  lua_pushlightuserdata(L, (void *)(uintptr_t)fields);
  lua_pushcclosure(L, class_index, 3);
}

void dsc_compat_class(lua_State *L, const dsc_lua_class *class) {
  if (luaL_newmetatable(L, class->name)) {
    lua_pushstring(L, class->name);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "__name");
    lua_setfield(L, -2, "__metatable");
    dsc_compat_set_funcs(L, class->meta);
    lua_newtable(L);
    dsc_compat_set_funcs(L, class->methods);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "methods");
    if (class->fields) push_index(L, class->fields);
    lua_setfield(L, -2, "__index");
  }
  lua_pop(L, 1);
}

void dsc_compat_push_methods(lua_State *L, const char *name) {
  luaL_getmetatable(L, name);
  lua_getfield(L, -1, "methods");
  lua_remove(L, -2);
}

void dsc_compat_set_class(lua_State *L, const char *name) {
  luaL_getmetatable(L, name);
  lua_setmetatable(L, -2);
}

void *dsc_compat_test(lua_State *L, int index, const char *name) {
  void *p = lua_touserdata(L, index);
  if (!p || lua_islightuserdata(L, index) || !lua_getmetatable(L, index)) return NULL;
  luaL_getmetatable(L, name);
  if (!lua_rawequal(L, -1, -2)) p = NULL;
  lua_pop(L, 2);
  return p;
}

#if LUA_VERSION_NUM >= 504
void dsc_compat_set_user(lua_State *L, int index) {
  lua_setiuservalue(L, index, 1);
}

void dsc_compat_get_user(lua_State *L, int index) {
  lua_getiuservalue(L, index, 1);
}
#elif LUA_VERSION_NUM >= 502
void dsc_compat_set_user(lua_State *L, int index) {
  lua_setuservalue(L, index);
}

void dsc_compat_get_user(lua_State *L, int index) {
  lua_getuservalue(L, index);
}
#else
void dsc_compat_set_user(lua_State *L, int index) {
  lua_setfenv(L, index);
}

void dsc_compat_get_user(lua_State *L, int index) {
  lua_getfenv(L, index);
}
#endif

#if LUA_VERSION_NUM >= 502
void dsc_compat_get_ptr(lua_State *L, int index, const void *p) {
  lua_rawgetp(L, index, p);
}

void dsc_compat_set_ptr(lua_State *L, int index, const void *p) {
  lua_rawsetp(L, index, p);
}
#else
void dsc_compat_get_ptr(lua_State *L, int index, const void *p) {
  index = lua_absindex(L, index);
  lua_pushlightuserdata(L, (void *)(uintptr_t)p);
  lua_rawget(L, index);
}

void dsc_compat_set_ptr(lua_State *L, int index, const void *p) {
  index = lua_absindex(L, index);
  lua_pushlightuserdata(L, (void *)(uintptr_t)p);
  lua_insert(L, -2);
  lua_rawset(L, index);
}
#endif

bool dsc_compat_to_int(lua_State *L, int index, int64_t *value) {
  if (lua_type(L, index) != LUA_TNUMBER) return false;
#if LUA_VERSION_NUM >= 503
  if (lua_isinteger(L, index)) {
    *value = (int64_t)lua_tointeger(L, index);
    return true;
  }
#endif
  double number = (double)lua_tonumber(L, index);
  if (!(number >= -0x1p63 && number < 0x1p63) || floor(number) != number) return false;
  *value = (int64_t)number;
  return true;
}

int dsc_compat_type_error(lua_State *L, int arg, const char *expected) {
  return luaL_argerror(L, arg, lua_pushfstring(L, "%s expected, got %s", expected, luaL_typename(L, arg)));
}

dsc_str dsc_compat_check_str(lua_State *L, int arg) {
  if (lua_type(L, arg) != LUA_TSTRING) dsc_compat_type_error(L, arg, "string");
  dsc_str s;
  s.p = lua_tolstring(L, arg, &s.n);
  return s;
}

dsc_str dsc_compat_opt_str(lua_State *L, int arg) {
  if (lua_isnoneornil(L, arg)) return DSC_STR_LITERAL("");
  return dsc_compat_check_str(L, arg);
}

int dsc_compat_fail(lua_State *L, dsc_err err, const dsc_why *why) {
  lua_pushnil(L);
  lua_pushfstring(L, "%s: %s", dsc_err_name(err), why && why->text[0] ? why->text : dsc_err_text(err));
  lua_pushstring(L, dsc_err_name(err));
  return 3;
}

int dsc_compat_answer(lua_State *L, dsc_err err, const dsc_why *why) {
  if (err) return dsc_compat_fail(L, err, why);
  lua_pushboolean(L, 1);
  return 1;
}

void dsc_compat_push_str(lua_State *L, dsc_str s) {
  lua_pushlstring(L, s.p ? s.p : "", s.n);
}

void dsc_compat_set_str(lua_State *L, const char *name, const char *value) {
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
}

void dsc_compat_set_int(lua_State *L, const char *name, uint64_t value) {
  lua_pushinteger(L, (lua_Integer)value);
  lua_setfield(L, -2, name);
}

void dsc_compat_set_num(lua_State *L, const char *name, double value) {
  lua_pushnumber(L, (lua_Number)value);
  lua_setfield(L, -2, name);
}

void dsc_compat_set_bool(lua_State *L, const char *name, bool value) {
  lua_pushboolean(L, value);
  lua_setfield(L, -2, name);
}

void dsc_compat_release(dsc_lua_holder *holder) {
  void *object = holder->object;
  holder->object = NULL;
  if (object) holder->release(object);
}

static int holder_gc(lua_State *L) {
  dsc_compat_release(luaL_checkudata(L, 1, HOLDER));
  return 0;
}

dsc_lua_holder *dsc_compat_push_holder(lua_State *L, void (*release)(void *object)) {
  dsc_lua_holder *holder = lua_newuserdata(L, sizeof *holder);
  *holder = (dsc_lua_holder){NULL, release};
  dsc_compat_set_class(L, HOLDER);
  return holder;
}

void dsc_compat_open(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", holder_gc}, {NULL, NULL}};
  dsc_compat_class(L, &(dsc_lua_class){HOLDER, meta, NULL, NULL});
}
