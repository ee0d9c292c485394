/*
** result_body.c - what a result's methods make of headers and body.
**
** Threads: that of the lua_State.
*/
#include "lua/json.h"
#include "lua/result.h"

static int result_header(lua_State *L) {
  dsc_lua_result *box = dsc_lua_result_check(L);
  dsc_str name = dsc_compat_check_str(L, 2);
  int found = 0;
  for (size_t i = 0; box->r && i < box->r->headers.count; i++) {
    const dsc_header *header = &box->r->headers.items[i];
    if (!dsc_str_equal_nocase(header->name, name)) continue;
    if (found) lua_pushliteral(L, ", ");
    dsc_compat_push_str(L, header->value);
    if (found) lua_concat(L, 3);
    found = 1;
  }
  if (!found) lua_pushnil(L);
  return 1;
}

static int result_header_list(lua_State *L) {
  dsc_lua_result *box = dsc_lua_result_check(L);
  dsc_str name = dsc_compat_check_str(L, 2);
  int n = 0;
  lua_newtable(L);
  for (size_t i = 0; box->r && i < box->r->headers.count; i++) {
    const dsc_header *header = &box->r->headers.items[i];
    if (!dsc_str_equal_nocase(header->name, name)) continue;
    dsc_compat_push_str(L, header->value);
    lua_rawseti(L, -2, ++n);
  }
  return 1;
}

/* Pushes the value of the body and returns 1, or what failed and returns 3. */
static int push_json(lua_State *L) {
  dsc_lua_result *box = dsc_lua_result_check(L);
  dsc_why why = {""};
  lua_settop(L, 1);
  int refused = dsc_lua_result_refuse(L, box);
  if (!refused) refused = dsc_lua_result_load(L, box);
  if (refused) return refused;
  dsc_lua_result_push_body(L, box);
  dsc_err err = dsc_lua_json_decode(L, dsc_compat_check_str(L, 2), &why);
  return err ? dsc_compat_fail(L, err, &why) : 1;
}

static int result_json(lua_State *L) {
  return push_json(L);
}

/* The body as text; "" when nobody answered. */
static int result_string(lua_State *L) {
  dsc_lua_result *box = dsc_lua_result_check(L);
  int refused = dsc_lua_result_load(L, box);
  if (refused) return refused;
  dsc_lua_result_push_body(L, box);
  if (lua_isnil(L, -1)) lua_pushliteral(L, "");
  return 1;
}

static int push_table(lua_State *L, bool list) {
  dsc_why why = {""};
  int pushed = push_json(L);
  if (pushed != 1) return pushed;
  bool is_list = lua_istable(L, -1) && lua_getmetatable(L, -1);
  if (is_list) lua_pop(L, 1);
  if (lua_istable(L, -1) && is_list == list) return 1;
  dsc_fail(&why, DSC_EINVALID, "json: the body is not %s", list ? "a list" : "an object");
  return dsc_compat_fail(L, DSC_EINVALID, &why);
}

static int result_map(lua_State *L) {
  return push_table(L, false);
}

static int result_arr(lua_State *L) {
  return push_table(L, true);
}

const luaL_Reg dsc_lua_result_methods[] = {{"header", result_header},
                                           {"header_list", result_header_list},
                                           {"json", result_json},
                                           {"string", result_string},
                                           {"bytes", result_string},
                                           {"map", result_map},
                                           {"arr", result_arr},
                                           {"save", dsc_lua_result_save},
                                           {NULL, NULL}};
