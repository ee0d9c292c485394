/*
** discoverer_setup.c - methods of the discoverer that set callbacks, weight and metadata.
**
** Threads: that of the lua_State.
*/
#include "lua/discoverer.h"
#include "lua/headers.h"
#include "lua/hooks.h"
#include "lua/options.h"

/* Nothing is set on one that was stopped or made before a fork. */
static dsc_err look(lua_State *L, dsc_why *why) {
  dsc_lua_frame frame;
  dsc_err err = dsc_lua_discoverer_enter(L, 1, &frame, why);
  if (!err) dsc_lua_discoverer_leave(&frame);
  return err;
}

static int set(lua_State *L, int slot) {
  dsc_why why = {""};
  dsc_err err = look(L, &why);
  if (!err) {
    dsc_lua_hooks_set(L, 1, slot, 2);
    dsc_lua_hooks_apply(dsc_lua_discoverer_check(L, 1));
  }
  return dsc_compat_answer(L, err, &why);
}

static int discoverer_set_route(lua_State *L) {
  dsc_lua_discoverer_check(L, 1);
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) dsc_lua_hooks_check_function(L, 2, 2, "route");
  return set(L, DSC_U_ROUTE);
}

static int discoverer_on_event(lua_State *L) {
  dsc_lua_discoverer_check(L, 1);
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) dsc_lua_hooks_check_function(L, 2, 2, "on_event");
  return set(L, DSC_U_EVENT);
}

static int discoverer_set_logger(lua_State *L) {
  dsc_lua_discoverer_check(L, 1);
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) dsc_lua_hooks_check_logger(L, 2, 2);
  return set(L, DSC_U_LOGGER);
}

static int discoverer_set_load_balancer(lua_State *L) {
  dsc_why why = {""};
  dsc_lua_discoverer *box = dsc_lua_discoverer_check(L, 1);
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) dsc_lua_hooks_check_balancer(L, 2, 2);
  dsc_err err = look(L, &why);
  if (!err) {
    dsc_lua_hooks_set_balancer(L, 1, 2);
    dsc_lua_hooks_apply(box);
  }
  return dsc_compat_answer(L, err, &why);
}

static int discoverer_set_weight(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  uint32_t weight = 0;
  dsc_lua_discoverer_check(L, 1);
  dsc_err err = dsc_lua_options_count(L, 2, 2, "weight", 0, DSC_WEIGHT_MAX, &weight, &why);
  if (!err) err = dsc_lua_discoverer_enter(L, 1, &frame, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  err = dsc_discoverer_set_weight(&frame.frame, weight, &why);
  dsc_lua_discoverer_leave(&frame);
  return dsc_compat_answer(L, err, &why);
}

static int discoverer_set_metadata(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  dsc_lua_discoverer_check(L, 1);
  if (!lua_istable(L, 2)) return dsc_compat_type_error(L, 2, "table of strings");
  dsc_buf *metadata = dsc_lua_headers_push_buf(L);
  dsc_lua_headers_encode(L, 2, 2, "metadata", false, metadata);
  dsc_err err = dsc_lua_discoverer_enter(L, 1, &frame, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  err = dsc_discoverer_set_metadata(&frame.frame, metadata->data ? metadata->data : "", &why);
  dsc_lua_discoverer_leave(&frame);
  return dsc_compat_answer(L, err, &why);
}

int dsc_lua_discoverer_hand_over(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  dsc_lua_discoverer_check(L, 1);
  dsc_err err = dsc_lua_discoverer_enter(L, 1, &frame, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  dsc_discoverer_hand_over(&frame.frame);
  dsc_lua_discoverer_leave(&frame);
  return dsc_compat_answer(L, DSC_OK, NULL);
}

const luaL_Reg dsc_lua_discoverer_setup_methods[] = {{"set_route", discoverer_set_route},
                                                     {"set_load_balancer", discoverer_set_load_balancer},
                                                     {"set_logger", discoverer_set_logger},
                                                     {"on_event", discoverer_on_event},
                                                     {"set_weight", discoverer_set_weight},
                                                     {"set_metadata", discoverer_set_metadata},
                                                     {NULL, NULL}};
