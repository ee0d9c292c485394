/*
** module.c - luaopen_discover_core: what lua/discover/init.lua makes the module `discover` of.
**
** Invariant: idempotent per state: the table is made once and kept in the Lua registry.
** Threads: that of the lua_State.
*/
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/random.h"
#include "lua/app_client.h"
#include "lua/body.h"
#include "lua/caller.h"
#include "lua/discoverer.h"
#include "lua/future.h"
#include "lua/headers.h"
#include "lua/json.h"
#include "lua/node.h"
#include "lua/options.h"
#include "lua/result.h"
#include "lua/secret.h"
#include "lua/wake.h"
#include "lua/websocket.h"
#include "net/host.h"

#define MODULE "discover.core"

/* The name is Lua's. */
int luaopen_discover_core(lua_State *L);

static void release_config(void *config) {
  dsc_call_config_unref(config);
}

/* parse_call(string) -> table */
static int core_parse_call(lua_State *L) {
  dsc_why why = {""};
  dsc_call_config *config = NULL;
  dsc_str text = dsc_compat_check_str(L, 1);
  dsc_lua_holder *holder = dsc_compat_push_holder(L, release_config);
  dsc_err err = dsc_call_config_parse(&config, text, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  holder->object = config;
  dsc_lua_options_push_call(L, config);
  dsc_compat_release(holder);
  return 1;
}

/* environ() -> {NAME = value} of this process */
static int core_environ(lua_State *L) {
  lua_newtable(L);
  for (char **at = environ; at && *at; at++) {
    const char *equals = strchr(*at, '=');
    if (!equals || equals == *at) continue;
    lua_pushlstring(L, *at, (size_t)(equals - *at));
    lua_pushstring(L, equals + 1);
    lua_rawset(L, -3);
  }
  return 1;
}

/* host_list() -> {{ip=, global=}, ...} in the order of the interfaces | nil, msg, code */
static int core_host_list(lua_State *L) {
  dsc_why why = {""};
  dsc_host_addrs *addrs = lua_newuserdata(L, sizeof *addrs);
  dsc_err err = dsc_host_list(addrs, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  lua_newtable(L);
  for (size_t i = 0; i < addrs->count; i++) {
    lua_createtable(L, 0, 2);
    dsc_compat_set_str(L, "ip", addrs->addrs[i]);
    dsc_compat_set_bool(L, "global", addrs->is_global[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  return 1;
}

/* host_probe_port(ip, port) -> the port that is free | nil, msg, code */
static int core_host_probe_port(lua_State *L) {
  dsc_why why = {""};
  uint16_t found = 0;
  uint32_t port = 0;
  dsc_str ip = dsc_compat_check_str(L, 1);
  dsc_err err = dsc_lua_options_count(L, 2, 2, "port", 0, 65535, &port, &why);
  if (!err) err = dsc_host_probe_port(ip.p, (uint16_t)port, &found, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  lua_pushinteger(L, found);
  return 1;
}

/* host_is_global(ip) -> boolean */
static int core_host_is_global(lua_State *L) {
  lua_pushboolean(L, dsc_host_is_global(dsc_compat_check_str(L, 1).p));
  return 1;
}

/* random_hex() -> 32 digits */
static int core_random_hex(lua_State *L) {
  char text[40];
  int n = snprintf(text, sizeof text, "%016" PRIx64 "%016" PRIx64, dsc_random_u64(), dsc_random_u64());
  lua_pushlstring(L, text, (size_t)n);
  return 1;
}

static void open_types(lua_State *L) {
  dsc_compat_open(L);
  dsc_lua_headers_open(L);
  dsc_lua_json_open(L);
  dsc_lua_body_open(L);
  dsc_lua_secret_open(L);
  dsc_lua_options_open(L);
  dsc_lua_node_open(L);
  dsc_lua_app_client_open(L);
  dsc_lua_result_open(L);
  dsc_lua_websocket_open(L);
  dsc_lua_caller_open(L);
  dsc_lua_future_open(L);
  dsc_lua_discoverer_open(L);
}

/* methods = {discoverer = {...}, ...}: for sugar, and for who documents them */
static void push_methods(lua_State *L) {
  static const char *const types[] = {"discoverer", "caller", "result",    "node",
                                      "app_client", "secret", "websocket", "future"};
  lua_newtable(L);
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    lua_pushfstring(L, "discover.%s", types[i]);
    dsc_compat_push_methods(L, lua_tostring(L, -1));
    lua_remove(L, -2);
    lua_setfield(L, -2, types[i]);
  }
}

static void push_relay(lua_State *L) {
  lua_newtable(L);
  for (int i = 0; dsc_headers_relay_default[i]; i++) {
    lua_pushstring(L, dsc_headers_relay_default[i]);
    lua_rawseti(L, -2, i + 1);
  }
}

/* for lua/discover alone: no part of the module `discover` */
static const struct {
  const char *name;
  lua_CFunction function;
} inner[] = {{"json_decode", dsc_lua_json_lua_decode},
             {"json_encode", dsc_lua_json_lua_encode},
             {"body", dsc_lua_body_new},
             {"body_parts", dsc_lua_body_parts},
             {"future_park", dsc_lua_future_park},
             {"future_value", dsc_lua_future_value},
             {"random_hex", core_random_hex},
             {"environ", core_environ},
             {"host_list", core_host_list},
             {"host_probe_port", core_host_probe_port},
             {"host_is_global", core_host_is_global},
             {"wake_open", dsc_lua_wake_open},
             {"wake_accept", dsc_lua_wake_accept},
             {"wake_clear", dsc_lua_wake_clear},
             {"wake_ring", dsc_lua_wake_ring},
             {"wake_close", dsc_lua_wake_close},
             {"hand_over", dsc_lua_discoverer_hand_over}};

static void push_module(lua_State *L) {
  static const luaL_Reg funcs[] = {{"start", dsc_lua_discoverer_start},
                                   {"open", dsc_lua_discoverer_client},
                                   {"new", dsc_lua_discoverer_new},
                                   {"secret", dsc_lua_secret_new},
                                   {"secret_from_file", dsc_lua_secret_from_file},
                                   {"parse_call", core_parse_call},
                                   {"array", dsc_lua_json_array},
                                   {"wait_all", dsc_lua_future_wait_all},
                                   {"wait_any", dsc_lua_future_wait_any},
                                   {NULL, NULL}};
  lua_newtable(L);
  dsc_compat_set_funcs(L, funcs);
  for (size_t i = 0; i < sizeof inner / sizeof *inner; i++) {
    lua_pushcfunction(L, inner[i].function);
    lua_setfield(L, -2, inner[i].name);
  }
  lua_pushlightuserdata(L, NULL);
  lua_setfield(L, -2, "null");
  push_methods(L);
  lua_setfield(L, -2, "methods");
  push_relay(L);
  lua_setfield(L, -2, "relay_headers");
  dsc_compat_set_str(L, "version", DSC_VERSION);
}

int luaopen_discover_core(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, MODULE);
  if (lua_istable(L, -1)) return 1;
  luaL_checkstack(L, 20, MODULE);
  open_types(L);
  push_module(L);
  lua_pushvalue(L, -1);
  lua_setfield(L, LUA_REGISTRYINDEX, MODULE);
  return 1;
}
