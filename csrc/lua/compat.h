/*
** compat.h - one Lua API for 5.1 to 5.4 and LuaJIT, and what every userdata type here needs.
**
** compat-5.3 is not used: of its 1,300 lines five functions would serve here, user values of 5.4 and lua_yieldk on 5.1
** are not among them, and each Lua would need it as a package. Nothing in C yields.
**
** Every function may raise unless it says otherwise, and is called with the state of the running method: no
** lua_State is kept anywhere.
*/
#ifndef DSC_LUA_COMPAT_H
#define DSC_LUA_COMPAT_H

#include <lauxlib.h>
#include <lua.h>

#include "base/err.h"
#include "base/str.h"

#if LUA_VERSION_NUM < 502
#define lua_rawlen(L, index)   lua_objlen(L, index)
#define lua_absindex(L, index) ((index) > 0 || (index) <= LUA_REGISTRYINDEX ? (index) : lua_gettop(L) + (index) + 1)
#ifndef LUA_OK /* LuaJIT has it */
#define LUA_OK 0
#endif
#endif

/* A field of a userdata: `get` finds the userdata at index 1, pushes one value and returns 1. */
typedef struct dsc_lua_field {
  const char *name;
  int (*get)(lua_State *L);
} dsc_lua_field;

/* What a userdata type consists of; `fields` may be NULL, lists end with a NULL name. */
typedef struct dsc_lua_class {
  const char *name;
  const luaL_Reg *meta;
  const luaL_Reg *methods;
  const dsc_lua_field *fields;
} dsc_lua_class;

/* Makes the metatable of a type unless this state has it already. Owner's thread. Raises: memory. */
void dsc_compat_class(lua_State *L, const dsc_lua_class *class);

/* Pushes the table of methods of a type. Owner's thread. The type exists. */
void dsc_compat_push_methods(lua_State *L, const char *name);

/* Gives the value on top the metatable of a type. Owner's thread. */
void dsc_compat_set_class(lua_State *L, const char *name);

/* Returns the userdata at `index` if it is of that type, else NULL. Owner's thread. Raises nothing. */
void *dsc_compat_test(lua_State *L, int index, const char *name);

/* Fills the table on top with functions. Owner's thread. */
void dsc_compat_set_funcs(lua_State *L, const luaL_Reg *funcs);

/* Pops a table and makes it the one user value of the userdata at `index`; pushes that table. The second raises
** nothing; a userdata without one gives anything. Owner's thread. */
void dsc_compat_set_user(lua_State *L, int index);

/* Pushes the user value of a userdata; of one without, anything. Owner's thread. Raises nothing. */
void dsc_compat_get_user(lua_State *L, int index);

/* Pushes t[p], raw, with a pointer as key. Owner's thread. Raises nothing. */
void dsc_compat_get_ptr(lua_State *L, int index, const void *p);

/* Pops a value into t[p], raw, with a pointer as key. Owner's thread. Raises: memory, for a new key. */
void dsc_compat_set_ptr(lua_State *L, int index, const void *p);

/* True for a number without a fraction that fits into 64 bits (never for a string). Owner's thread. Raises nothing. */
bool dsc_compat_to_int(lua_State *L, int index, int64_t *value);

/* Returns argument `arg`, which must be a string (numbers are none). Owner's thread. Borrowed while it is on the
** stack. Raises. */
dsc_str dsc_compat_check_str(lua_State *L, int arg);

/* The same, "" for none and nil. Owner's thread. Raises. */
dsc_str dsc_compat_opt_str(lua_State *L, int arg);

/* Raises "bad argument #arg to 'f' (<expected> expected, got <type>)". Owner's thread. */
int dsc_compat_type_error(lua_State *L, int arg, const char *expected);

/* Pushes nil, "code: sentence", "code" and returns 3; without a sentence the general one. Owner's thread. */
int dsc_compat_fail(lua_State *L, dsc_err err, const dsc_why *why);

/* Pushes true and returns 1, or fails as above if `err` is one. Owner's thread. */
int dsc_compat_answer(lua_State *L, dsc_err err, const dsc_why *why);

/* Pushes a borrowed string. Owner's thread. */
void dsc_compat_push_str(lua_State *L, dsc_str s);

/* Sets t[name] of the table on top to a string. Owner's thread. */
void dsc_compat_set_str(lua_State *L, const char *name, const char *value);

/* Sets t[name] of the table on top to a whole number. Owner's thread. */
void dsc_compat_set_int(lua_State *L, const char *name, uint64_t value);

/* Sets t[name] of the table on top to a number. Owner's thread. */
void dsc_compat_set_num(lua_State *L, const char *name, double value);

/* Sets t[name] of the table on top to a boolean. Owner's thread. */
void dsc_compat_set_bool(lua_State *L, const char *name, bool value);

/* Pushes a userdata that owns a C object: `release(object)` runs when it is collected, or when the holder is told to.
** Owner's thread. The object is set afterwards, so that nothing is lost when this raises. */
typedef struct dsc_lua_holder {
  void *object;
  void (*release)(void *object);
} dsc_lua_holder;

/* Pushes a holder. Owner's thread. */
dsc_lua_holder *dsc_compat_push_holder(lua_State *L, void (*release)(void *object));

/* Releases what a holder owns now. Owner's thread. Raises nothing. */
void dsc_compat_release(dsc_lua_holder *holder);

/* Makes the holder's type. Owner's thread. */
void dsc_compat_open(lua_State *L);

#endif
