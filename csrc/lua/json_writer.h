/*
** json_writer.h - JSON text in the making; the seam between json_encode.c, which knows values, and json.c, which
** knows the library.
*/
#ifndef DSC_LUA_JSON_WRITER_H
#define DSC_LUA_JSON_WRITER_H

#include "lua/compat.h"

typedef struct dsc_json_writer dsc_json_writer;

/* Pushes a userdata that owns a new writer. Owner's thread. Whatever writes may raise for want of memory; nothing is
** lost then. */
dsc_json_writer *dsc_json_writer_push(lua_State *L);

/* Pushes the text (L NULL: does not) and frees the writer's memory. Owner's thread. */
void dsc_json_writer_finish(lua_State *L, dsc_json_writer *writer);

/* Writes null. Owner's thread. */
void dsc_json_writer_null(dsc_json_writer *writer);

/* Writes true or false. Owner's thread. */
void dsc_json_writer_boolean(dsc_json_writer *writer, bool value);

/* Writes a number as it is spelled. Owner's thread. */
void dsc_json_writer_number(dsc_json_writer *writer, dsc_str text);

/* Writes a string or a key. Owner's thread. Fails: false: it is not UTF-8. */
bool dsc_json_writer_string(dsc_json_writer *writer, dsc_str text);

/* Begins a list or an object. Owner's thread. */
void dsc_json_writer_open(dsc_json_writer *writer, bool list);

/* Ends it. Owner's thread. */
void dsc_json_writer_close(dsc_json_writer *writer, bool list);

#endif
