/*
** json.h - JSON text to Lua values and back.
**
** Decoding: an object becomes a table, a list a table with the `array` metatable, null `discover.null` (a light
** userdata). An integer that the Lua at hand holds exactly is a number (an integer on 5.3+), beyond that (int64, or
** 2^53 where all numbers are doubles) it is a string with its digits; so is a number too large for a double. Text
** must be UTF-8.
**
** Encoding: a table with the `array` metatable or with keys 1..n is a list, one with string keys or none an object.
** Integral floats are written without a fraction, other floats with the fewest digits that read back the same.
** Refused, naming the path: sparse lists, mixed keys, keys that are neither, NaN, infinities, functions, userdata,
** threads, strings that are not UTF-8, more than 100 levels.
*/
#ifndef DSC_LUA_JSON_H
#define DSC_LUA_JSON_H

#include "lua/compat.h"

#define DSC_LUA_JSON_DEPTH 100
#define DSC_LUA_JSON_ARRAY "discover.array" /* the metatable of lists */

/* Makes the metatables. Owner's thread. */
void dsc_lua_json_open(lua_State *L);

/* Pushes the value of `text`, or nothing when it fails. Owner's thread. Fails: DSC_EINVALID with `why` ("json: ...
** at byte N"). Raises: memory. */
dsc_err dsc_lua_json_decode(lua_State *L, dsc_str text, dsc_why *why);

/* Pushes the text of the value at `index`, or nothing when it fails. Owner's thread. Fails: DSC_EINVALID with `why`
** ("json: <path>: ..."). Raises: memory. */
dsc_err dsc_lua_json_encode(lua_State *L, int index, dsc_why *why);

/* discover.array([t]): marks a table (a new one without) as a list and returns it. Owner's thread. */
int dsc_lua_json_array(lua_State *L);

/* core.json_decode(text) -> value | nil, msg, code: for lua/discover. Owner's thread. */
int dsc_lua_json_lua_decode(lua_State *L);

/* core.json_encode(value) -> text | nil, msg, code: for lua/discover. Owner's thread. */
int dsc_lua_json_lua_encode(lua_State *L);

#endif
