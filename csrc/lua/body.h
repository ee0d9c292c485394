/*
** body.h - what `data` may be besides a string and a table: body values (form, file, multipart) and readers.
**
** A body value is a list of pieces, strings and paths, that lua/discover/body.lua made. One that is a single string is
** sent as a string; with files it becomes a dsc_body, made for each call.
*/
#ifndef DSC_LUA_BODY_H
#define DSC_LUA_BODY_H

#include "core/discover.h"
#include "lua/compat.h"

/* Makes the type. Owner's thread. */
void dsc_lua_body_open(lua_State *L);

/* True when the value at `index` is a body value or a function. Owner's thread. Raises nothing. */
bool dsc_lua_body_is(lua_State *L, int index);

/* Borrows the content type of the value at `index`, NULL: none (a function; no body value). Owner's thread. Raises
** nothing. */
const char *dsc_lua_body_type(lua_State *L, int index);

/* Makes request->body or request->source of the body value or function at `index`; opens files. What it is made of
** belongs to the flow of the result at `result`, which keeps the value. A function is of the size that a Content-Length
** of request->headers says. Owner's thread. Fails: as dsc_body_add_file(), DSC_EINVALID (a bad Content-Length) with
** `why`. Raises: memory. */
dsc_err dsc_lua_body_make(lua_State *L, int index, int result, dsc_request *request, dsc_why *why);

/* core.body(kinds, pieces, content_type [, filename]) -> body: kinds "s" (a string) and "f" (a path), one for each
** piece; for lua/discover alone. Owner's thread. */
int dsc_lua_body_new(lua_State *L);

/* core.body_parts(value) -> kinds, pieces, content_type, filename, or nothing when it is no body value; for
** lua/discover alone. Owner's thread. */
int dsc_lua_body_parts(lua_State *L);

#endif
