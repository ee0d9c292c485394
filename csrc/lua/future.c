/*
** future.c - the userdata of a future: made, settled, shown.
**
** Invariants: what the core borrows of a call under way (the app client's box, the flow of the result) is held by U or
** by the future's user value until it is settled; the core tells of that in a step (on_settled), where nothing may
** raise, so only pointers are moved there. The value is handed over outside. Threads: that of the lua_State.
*/
#include "lua/future.h"

#include "lua/app_client.h"
#include "lua/flow.h"
#include "lua/hooks.h"
#include "lua/options.h"

#define FUTURE    "discover.future"
#define SIZE_IN_C 4096 /* of one in the core: what the collector is told */

dsc_lua_future *dsc_lua_future_check(lua_State *L, int index) {
  return luaL_checkudata(L, index, FUTURE);
}

bool dsc_lua_future_is_ready(const dsc_lua_future *box) {
  return box->harvested || !box->f || dsc_future_is_ready(box->f);
}

/* -------------------------------------------------------------- made and held */

static void push_futures(lua_State *L, int u) {
  lua_rawgeti(L, u, DSC_U_FUTURES);
}

void dsc_lua_future_hold(lua_State *L, int index) {
  index = lua_absindex(L, index);
  dsc_compat_get_user(L, index);
  lua_rawgeti(L, -1, DSC_FUTURE_U);
  push_futures(L, lua_gettop(L));
  lua_pushvalue(L, index);
  dsc_compat_set_ptr(L, -2, lua_touserdata(L, index));
  lua_pop(L, 3);
}

void dsc_lua_future_let_go(lua_State *L, int u, const dsc_lua_future *box) {
  push_futures(L, u);
  lua_pushnil(L);
  dsc_compat_set_ptr(L, -2, box); /* a key that is there, or nothing to do: no memory is needed */
  lua_pop(L, 1);
}

dsc_lua_future *dsc_lua_future_push(lua_State *L, int u, int value) {
  dsc_lua_future *box = lua_newuserdata(L, sizeof *box);
  *box = (dsc_lua_future){0};
  lua_createtable(L, DSC_FUTURE_TOLD, 0);
  lua_pushvalue(L, u);
  lua_rawseti(L, -2, DSC_FUTURE_U);
  lua_pushvalue(L, value);
  lua_rawseti(L, -2, DSC_FUTURE_VALUE);
  dsc_compat_set_user(L, -2);
  dsc_compat_set_class(L, FUTURE);
  dsc_lua_future_hold(L, -1);
  return box;
}

/* ------------------------------------------------------------------- settled */

static void harvest_call(dsc_lua_future *box) {
  dsc_lua_result *result = box->result;
  result->r = dsc_future_take_result(box->f);
  if (!result->r) dsc_lua_result_fail(result, DSC_ENOMEM, &(dsc_why){""});
  if (!result->flow) return;
  result->flow->stream = dsc_future_take_stream(box->f);
  /* a result with an error gives no body: its last answer shall hold neither node nor connection */
  if (result->r && result->r->err) dsc_stream_close(result->flow->stream);
}

/* Fills the value in. Raises nothing. */
static void harvest(dsc_lua_future *box) {
  if (box->harvested || !box->f || !dsc_future_is_ready(box->f)) return;
  box->harvested = true;
  if (box->websocket)
    box->err = dsc_future_take_websocket(box->f, &box->websocket->ws, &box->why);
  else
    harvest_call(box);
  if (box->ac && box->ac->encode_failed) dsc_lua_app_client_blame(box->result);
}

/* Its call is over: the books of the binding are closed. Raises nothing. */
static void settle(lua_State *L, int self, dsc_lua_future *box) {
  dsc_lua_ac *ac = box->ac;
  harvest(box);
  box->ac = NULL;
  if (!lua_checkstack(L, 8)) return; /* then the discoverer holds it a little longer */
  int top = lua_gettop(L);
  dsc_compat_get_user(L, self);
  if (ac && !ac->of_stream) dsc_lua_app_client_end(L, top + 1, ac);
  if (!box->asked) dsc_lua_future_let_go(L, top + 1, box);
  lua_settop(L, top);
}

static void on_settled(void *ctx, void *ud, dsc_future *f) {
  const dsc_lua_ctx *at = ctx;
  (void)f;
  settle(at->L, at->self, ud);
}

/* One that could not begin is ready, too. */
static void fail(dsc_lua_future *box, dsc_err err, const dsc_why *why) {
  box->harvested = true;
  box->err = err;
  box->why = *why;
  if (box->result) dsc_lua_result_fail(box->result, err, why);
}

void dsc_lua_future_begin(lua_State *L, int self, dsc_lua_future *box, const dsc_request *request, bool stream,
                          const dsc_websocket_options *options, dsc_err err, const dsc_why *why) {
  dsc_lua_frame frame;
  dsc_why own = {""};
  dsc_err refused = dsc_lua_discoverer_enter(L, self, &frame, &own);
  if (refused) {
    fail(box, err ? err : refused, err ? why : &own);
    settle(L, self, box);
    return;
  }
  if (err)
    box->f = dsc_discoverer_async_failed(&frame.frame, err, why);
  else if (options)
    box->f = dsc_discoverer_open_async(&frame.frame, request, options);
  else
    box->f = dsc_discoverer_async(&frame.frame, request, stream);
  if (!box->f) fail(box, DSC_ENOMEM, &own);
  if (dsc_lua_future_is_ready(box))
    settle(L, self, box);
  else
    dsc_future_on_settled(box->f, on_settled, box);
  dsc_lua_discoverer_leave(&frame);
}

/* --------------------------------------------------------------------- shown */

void dsc_lua_future_push_owner(lua_State *L, int index) {
  dsc_compat_get_user(L, index);
  lua_rawgeti(L, -1, DSC_FUTURE_U);
  lua_rawgeti(L, -1, DSC_U_SELF);
  lua_replace(L, -3);
  lua_pop(L, 1);
}

static void push_value(lua_State *L, int index) {
  dsc_compat_get_user(L, index);
  lua_rawgeti(L, -1, DSC_FUTURE_VALUE);
  lua_remove(L, -2);
}

/* What the value owes to the collector, and what it needs no more. */
static void show_first(lua_State *L, int index, dsc_lua_future *box, int value) {
  if (box->shown) return;
  box->shown = true;
  dsc_lua_future_push_owner(L, index);
  dsc_lua_discoverer *d = lua_touserdata(L, -1);
  d->debt += SIZE_IN_C;
  if (box->result) {
    bool is_stream = dsc_lua_result_is_stream(box->result);
    d->debt += dsc_lua_result_size(box->result) + (is_stream ? DSC_STREAM_WINDOW : 0);
    if (box->result->flow && !is_stream) dsc_lua_flow_forget(L, value);
  }
  lua_pop(L, 1);
}

int dsc_lua_future_show(lua_State *L, int index) {
  dsc_lua_future *box = lua_touserdata(L, index);
  index = lua_absindex(L, index);
  luaL_checkstack(L, 8, "future");
  harvest(box);
  push_value(L, index);
  show_first(L, index, box, lua_gettop(L));
  if (!box->result && box->err) return dsc_compat_fail(L, box->err, &box->why);
  if (!box->with_node) return 1;
  lua_getfield(L, -1, "node");
  return 2;
}

/* ------------------------------------------------------------------- methods */

static int future_ready(lua_State *L) {
  lua_pushboolean(L, dsc_lua_future_is_ready(dsc_lua_future_check(L, 1)));
  return 1;
}

int dsc_lua_future_value(lua_State *L) {
  if (!dsc_lua_future_is_ready(dsc_lua_future_check(L, 1))) return luaL_error(L, "the future is not ready");
  return dsc_lua_future_show(L, 1);
}

/* self [, timeout] */
static int future_wait(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  uint32_t timeout_ms = 0;
  dsc_err err = DSC_OK;
  dsc_lua_future *box = dsc_lua_future_check(L, 1);
  lua_settop(L, 2);
  if (!lua_isnil(L, 2)) err = dsc_lua_options_time(L, 2, 2, "wait", &timeout_ms, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  dsc_lua_future_push_owner(L, 1);
  if (!dsc_lua_future_is_ready(box)) {
    if (lua_isnil(L, 2)) timeout_ms = dsc_future_deadline_ms(box->f);
    err = dsc_lua_discoverer_enter(L, 3, &frame, &why);
    if (!err) {
      err = dsc_future_wait(&frame.frame, box->f, timeout_ms, &why);
      dsc_lua_discoverer_leave(&frame);
    }
  }
  if (err && !dsc_lua_future_is_ready(box)) return dsc_compat_fail(L, err, &why);
  int n = dsc_lua_future_show(L, 1);
  dsc_lua_discoverer_account(L, lua_touserdata(L, 3), 0);
  return n;
}

static int future_cancel(lua_State *L) {
  dsc_lua_frame frame;
  dsc_why why = {""};
  bool canceled = false;
  dsc_lua_future *box = dsc_lua_future_check(L, 1);
  dsc_lua_future_push_owner(L, 1);
  if (!dsc_lua_future_is_ready(box) && !dsc_lua_discoverer_enter(L, lua_gettop(L), &frame, &why)) {
    canceled = dsc_future_cancel(&frame.frame, box->f);
    dsc_lua_discoverer_leave(&frame);
  }
  lua_pushboolean(L, canceled);
  return 1;
}

static int future_tostring(lua_State *L) {
  lua_pushfstring(L, "future(%s)", dsc_lua_future_is_ready(dsc_lua_future_check(L, 1)) ? "ready" : "under way");
  return 1;
}

/* One that is not ready is collected only together with its discoverer, which ends its call without asking it. */
static int future_gc(lua_State *L) {
  dsc_lua_future *box = dsc_lua_future_check(L, 1);
  dsc_future *f = box->f;
  box->f = NULL;
  if (f && !dsc_future_is_ready(f)) fail(box, DSC_ESTOPPED, &(dsc_why){""});
  dsc_future_free(f);
  return 0;
}

void dsc_lua_future_open(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", future_gc}, {"__tostring", future_tostring}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"ready", future_ready},
                                     {"wait", future_wait},
                                     {"cancel", future_cancel},
                                     {"on", dsc_lua_future_on},
                                     {NULL, NULL}};
  dsc_compat_class(L, &(dsc_lua_class){FUTURE, meta, methods, NULL});
}
