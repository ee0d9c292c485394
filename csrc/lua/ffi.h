/*
** ffi.h - picking without the Lua API, for LuaJIT's FFI: lua/discover/ffi.lua declares these functions once more.
**
** A C function that LuaJIT calls through its FFI must not call back into Lua. So these refuse (NULL, "callback") while
** the discoverer has a balancer, a logger or an on_event of the user's; who gets that uses d:pick().
*/
#ifndef DSC_LUA_FFI_H
#define DSC_LUA_FFI_H

#include "lua/discoverer.h"

/* As d:pick(app [, {key =}]): `key` NULL: none. `box` is a discoverer's userdata. Owner's thread. Caller owns one
** reference: dsc_ffi_done(). Fails: NULL: `*code` names the error (static), `why` (of 256 bytes) says it. */
dsc_node *dsc_ffi_pick(dsc_lua_discoverer *box, const char *app, size_t app_len, const char *key, size_t key_len,
                       const char **code, char *why);

/* Borrows the node's address. Owner's thread, until dsc_ffi_done(). */
const char *dsc_ffi_addr(const dsc_node *node);

/* Borrows the node's host, without brackets. Owner's thread, until dsc_ffi_done(). */
const char *dsc_ffi_host(const dsc_node *node);

/* Returns the node's port. Owner's thread, until dsc_ffi_done(). */
int dsc_ffi_port(const dsc_node *node);

/* As node:done(ok), and gives the reference back. Owner's thread. */
void dsc_ffi_done(dsc_lua_discoverer *box, dsc_node *node, bool ok);

#endif
