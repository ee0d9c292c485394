/*
** discoverer_poll.c - d:poll: the call loop runs, callbacks are dispatched, as much as the caller allows.
**
** Threads: that of the lua_State.
*/
#include "lua/discoverer.h"
#include "lua/options.h"

typedef struct poll_table {
  uint32_t timeout_ms, max;
} poll_table;

#define AT(field) offsetof(poll_table, field)
static const dsc_lua_option poll_options[] = {{"timeout", DSC_OPTION_TIME, AT(timeout_ms), 0, 0},
                                              {"max", DSC_OPTION_COUNT, AT(max), 1, 1e9},
                                              {"budget", DSC_OPTION_OTHER, 0, 0, 0},
                                              {NULL, DSC_OPTION_OTHER, 0, 0, 0}};

/* A budget is often less than a millisecond. */
static dsc_err read_budget(lua_State *L, uint32_t *budget_us, dsc_why *why) {
  double seconds = 0;
  lua_getfield(L, 2, "budget");
  lua_replace(L, 3);
  if (lua_isnil(L, 3)) return DSC_OK;
  if (lua_type(L, 3) != LUA_TNUMBER && lua_type(L, 3) != LUA_TSTRING)
    luaL_argerror(L, 2,
                  lua_pushfstring(L, "poll: option 'budget': seconds or a string with a unit expected, got %s",
                                  luaL_typename(L, 3)));
  dsc_err err = dsc_lua_options_seconds(L, 3, "poll: budget", &seconds, why);
  if (err) return err;
  if (!(seconds > 0 && seconds <= 3600))
    return dsc_fail(why, DSC_EINVALID, "poll: budget: out of range: more than 0 to 3600 seconds");
  double us = seconds * 1e6;
  *budget_us = us < 1 ? 1 : (uint32_t)us;
  return DSC_OK;
}

static dsc_err read_poll(lua_State *L, dsc_poll *poll, dsc_why *why) {
  poll_table table = {0};
  dsc_err err = DSC_OK;
  *poll = (dsc_poll){0};
  if (lua_istable(L, 2)) {
    err = dsc_lua_options_read(L, 2, 2, "poll", poll_options, &table, why);
    dsc_err trouble = read_budget(L, &poll->budget_us, err ? NULL : why);
    if (!err) err = trouble;
  } else if (!lua_isnil(L, 2)) {
    err = dsc_lua_options_time(L, 2, 2, "poll", &table.timeout_ms, why);
  }
  poll->timeout_ms = table.timeout_ms;
  poll->max = table.max;
  return err;
}

int dsc_lua_discoverer_poll(lua_State *L) {
  dsc_lua_frame frame;
  dsc_poll poll;
  dsc_why why = {""};
  dsc_lua_discoverer *box = dsc_lua_discoverer_check(L, 1);
  lua_settop(L, 3);
  dsc_err err = read_poll(L, &poll, &why);
  if (!err) err = dsc_lua_discoverer_enter(L, 1, &frame, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  uint32_t n = dsc_discoverer_poll(&frame.frame, &poll);
  dsc_lua_discoverer_leave(&frame);
  dsc_lua_discoverer_account(L, box, 0);
  lua_pushinteger(L, (lua_Integer)n);
  return 1;
}
