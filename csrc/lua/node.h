/*
** node.h - the userdata of a node: one per node and discoverer until the node is gone.
*/
#ifndef DSC_LUA_NODE_H
#define DSC_LUA_NODE_H

#include "lua/discoverer.h"

/* Makes the type. Owner's thread. */
void dsc_lua_node_open(lua_State *L);

/* Pushes the userdata of `node` (takes a reference of its own if it makes one). `u` is the index of the discoverer's
** user value. Owner's thread. */
void dsc_lua_node_push(lua_State *L, int u, dsc_node *node);

/* Makes sure that dsc_lua_node_push_picked() needs no memory before it owns the reference. Owner's thread. */
void dsc_lua_node_prepare(lua_State *L, int u, dsc_lua_discoverer *box);

/* Pushes the userdata of `node` (maybe above other values) and takes its reference over, also when it raises.
** Owner's thread. */
void dsc_lua_node_push_picked(lua_State *L, int u, dsc_lua_discoverer *owner, dsc_node *node);

/* Returns the node of the userdata at `index`, NULL when it is none. Owner's thread. Borrowed while the userdata
** lives. Raises nothing. */
dsc_node *dsc_lua_node_test(lua_State *L, int index);

#endif
