/*
** answer_fuzz.c - bodies of answers: JSON into Lua, and `to` with shapes of every kind. It never raises, and what it
** accepts has the shape.
**
** Input: the first byte chooses the shape, the rest is the body.
*/
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "fuzz.h"

int luaopen_discover_core(lua_State *L);

static const char program[] =
    "local core, shape = require 'discover.core', require 'discover.shape'\n"
    "local shapes = { 'any', 'string', 'number', 'integer', 'boolean', 'any?', { 'integer' }, { ['*'] = 'string?' },\n"
    "  { id = 'integer', name = 'string?', list = { { a = 'number' } }, map = { ['*'] = 'boolean' } } }\n"
    "return function(choice, text)\n"
    "  local value, why, code = core.json_decode(text)\n"
    "  if value == nil then assert(type(why) == 'string' and code == 'invalid' or code == 'protocol', code) return "
    "end\n"
    "  local what = shapes[choice % #shapes + 1]\n"
    "  local got, problem, kind = shape.convert(value, what)\n"
    "  if got == nil and problem then assert(kind == 'invalid' and #problem > 0) return end\n"
    "  if what == 'string' then assert(type(got) == 'string') end\n"
    "  if what == 'number' then assert(type(got) == 'number') end\n"
    "  if what == 'integer' then assert(math.type(got) == 'integer') end\n"
    "  if what == 'boolean' then assert(type(got) == 'boolean') end\n"
    "  if what ~= 'any' or type(got) ~= 'table' then return end\n"
    "  core.json_encode(got)\n"
    "end\n";

static lua_State *make_state(void) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  luaL_requiref(L, "discover.core", luaopen_discover_core, 0);
  lua_pop(L, 1);
  lua_getglobal(L, "package");
  lua_pushliteral(L, FUZZ_ROOT "/lua/?.lua;" FUZZ_ROOT "/lua/?/init.lua");
  lua_setfield(L, -2, "path");
  lua_pop(L, 1);
  EXPECT(luaL_dostring(L, program) == LUA_OK);
  return L;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static lua_State *L;
  if (!L) L = make_state();
  if (size == 0) return 0;
  lua_pushvalue(L, 1);
  lua_pushinteger(L, data[0]);
  lua_pushlstring(L, (const char *)data + 1, size - 1);
  if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
    lua_writestringerror("%s\n", lua_tostring(L, -1));
    EXPECT(false);
  }
  lua_gc(L, LUA_GCSTEP, 10);
  return 0;
}
