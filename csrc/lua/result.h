/*
** result.h - the userdata of a result.
*/
#ifndef DSC_LUA_RESULT_H
#define DSC_LUA_RESULT_H

#include "lua/compat.h"
#include "model/result.h"

struct dsc_lua_flow;

typedef struct dsc_lua_result {
  /* owner's thread only */
  dsc_result *r;             /* NULL: there was no memory for it */
  bool cached;               /* the user value is set */
  size_t offset;             /* of read() in a body that is there */
  struct dsc_lua_flow *flow; /* NULL: nothing is sent by pieces or streamed */
} dsc_lua_result;

/* The slots of its user value. */
enum {
  DSC_RESULT_HEADERS = 1,
  DSC_RESULT_BODY,
  DSC_RESULT_TRACE,
  DSC_RESULT_DATA,     /* the body value or reader that is sent */
  DSC_RESULT_PROGRESS, /* a function */
  DSC_RESULT_OWNER,    /* the discoverer, of a stream */
  DSC_RESULT_AC        /* the app client of its call */
};

/* Makes the type. Owner's thread. */
void dsc_lua_result_open(lua_State *L);

/* Pushes a userdata without a result, to be filled in. Owner's thread. */
dsc_lua_result *dsc_lua_result_push(lua_State *L);

/* Makes it one that ended with `err`. Owner's thread. Raises nothing. */
void dsc_lua_result_fail(dsc_lua_result *box, dsc_err err, const dsc_why *why);

/* Returns about how much C memory it holds. Owner's thread. Raises nothing. */
size_t dsc_lua_result_size(const dsc_lua_result *box);

/* Returns the result at index 1. Owner's thread. Raises: another type. */
dsc_lua_result *dsc_lua_result_check(lua_State *L);

/* True when the body of the answer is a stream. Owner's thread. Raises nothing. */
bool dsc_lua_result_is_stream(const dsc_lua_result *box);

/* Stores the value at `value` in a slot of the user value of the result at `result`. Owner's thread. Raises: memory. */
void dsc_lua_result_set_slot(lua_State *L, int result, int slot, int value);

/* Pushes a slot of the user value of the result at `result`, nil when it is empty. Owner's thread. Raises nothing. */
void dsc_lua_result_push_slot(lua_State *L, int result, int slot);

/* Pushes the body as a string, or nil when there was never an answer. Of a stream: what
** dsc_lua_result_load() read. Owner's thread. */
void dsc_lua_result_push_body(lua_State *L, dsc_lua_result *box);

/* Pushes nil, "code: sentence", "code" of a result that was never answered and returns 3; returns 0 if it was.
** Owner's thread. */
int dsc_lua_result_refuse(lua_State *L, const dsc_lua_result *box);

/* Reads the rest of the stream of the result at index 1, which becomes its body; at most as much as max_body allows.
** Runs the loop. Owner's thread. Returns 0, or pushes nil, "code: sentence", "code" and returns 3. */
int dsc_lua_result_load(lua_State *L, dsc_lua_result *box);

/* res:save(path). Owner's thread. */
int dsc_lua_result_save(lua_State *L);

/* res:close(), also the metamethod. Owner's thread. */
int dsc_lua_result_close(lua_State *L);

/* The methods header, header_list, json, string, bytes, map, arr, save; those of streams: read, chunks, close. */
extern const luaL_Reg dsc_lua_result_methods[];
extern const luaL_Reg dsc_lua_result_stream_methods[];

#endif
