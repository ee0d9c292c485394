/*
** hooks.h - Lua functions presented to the core as its callbacks.
*/
#ifndef DSC_LUA_HOOKS_H
#define DSC_LUA_HOOKS_H

#include "lua/discoverer.h"

/* Raises unless the value at `index` is a function; `what` names it. Owner's thread. */
void dsc_lua_hooks_check_function(lua_State *L, int index, int arg, const char *what);

/* Raises unless it is the name of a balancer or a table {next=, response=}. Owner's thread. */
void dsc_lua_hooks_check_balancer(lua_State *L, int index, int arg);

/* Raises unless it is a function or has the methods debug, info, warn and error. Owner's thread. */
void dsc_lua_hooks_check_logger(lua_State *L, int index, int arg);

/* Stores a balancer that was checked (index 0 or nil: the default) in the user value of the discoverer at `self`; takes
** effect with dsc_lua_hooks_apply(). Owner's thread. */
void dsc_lua_hooks_set_balancer(lua_State *L, int self, int index);

/* Stores a callback that was checked (index 0 or nil: none) in slot DSC_U_ROUTE, _LOGGER or _EVENT; takes effect with
** dsc_lua_hooks_apply(). Owner's thread. */
void dsc_lua_hooks_set(lua_State *L, int self, int slot, int index);

/* Returns the callbacks there are, as the core wants them. Owner's thread. Raises nothing. */
dsc_hooks dsc_lua_hooks_get(dsc_lua_discoverer *box);

/* The `on_log` of a request whose app client (`ud`: its box) has a logger. Owner's thread. Raises nothing. */
void dsc_lua_hooks_on_call_log(void *ctx, void *ud, const dsc_log_record *record);

/* Runs body(L, ud) as a callback: in protected mode, with the discoverer's user value at index 1. `ctx` is a frame's.
** Owner's thread. Fails: `err`, `why` says what was raised. Raises nothing. */
dsc_err dsc_lua_hooks_protect(dsc_lua_ctx *ctx, void (*body)(lua_State *L, void *ud), void *ud, dsc_err err,
                              dsc_why *why);

/* Logs, at level error, what a callback raised: "<what>: <text>". Owner's thread. Raises nothing. */
void dsc_lua_hooks_report(dsc_lua_discoverer *box, const char *what, const char *text);

/* Tells the core which callbacks there are. Owner's thread. Raises nothing. */
void dsc_lua_hooks_apply(dsc_lua_discoverer *box);

/* Pushes the functions that a new user value needs (runner, message handler) into the table on top. Owner's thread. */
void dsc_lua_hooks_init(lua_State *L);

#endif
