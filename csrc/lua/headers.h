/*
** headers.h - Lua tables to header lists and back; and other flat tables that become text (query, metadata).
*/
#ifndef DSC_LUA_HEADERS_H
#define DSC_LUA_HEADERS_H

#include "base/buf.h"
#include "lua/compat.h"
#include "model/headers.h"

/* Pushes a userdata that owns an empty list of headers. Owner's thread. The list lives as long as the userdata. */
dsc_headers *dsc_lua_headers_push_box(lua_State *L);

/* Pushes a userdata that owns an empty buffer. Owner's thread. The buffer lives as long as the userdata. */
dsc_buf *dsc_lua_headers_push_buf(lua_State *L);

/* Appends the table at `index` (name = string, number or a list of them) to `out`, unchecked as to content. Owner's
** thread. `what` names the table in messages, `arg` its argument. Raises: wrong types, memory. */
void dsc_lua_headers_read(lua_State *L, int index, int arg, const char *what, dsc_headers *out);

/* Pushes a plain table: lower-case names, repeated ones joined by ", ". Owner's thread. */
void dsc_lua_headers_push_table(lua_State *L, const dsc_headers *headers);

/* Appends the table at `index` as "key=value&...", percent-encoded, sorted by key. With `lists` a value may be a
** list, then its key is repeated. Owner's thread. Raises: keys that are no strings; values that are no strings,
** numbers (with `lists`: booleans); memory. */
void dsc_lua_headers_encode(lua_State *L, int index, int arg, const char *what, bool lists, dsc_buf *out);

/* Pushes the table that "key=value&..." stands for. Owner's thread. */
void dsc_lua_headers_push_pairs(lua_State *L, dsc_str text);

/* Makes the types. Owner's thread. */
void dsc_lua_headers_open(lua_State *L);

#endif
