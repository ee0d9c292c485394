/*
** discoverer_new.c - start, open and new: options in, a discoverer out.
**
** Threads: that of the lua_State, which becomes the owner.
*/
#include "lua/discoverer.h"
#include "lua/hooks.h"
#include "lua/options.h"

/* What an object of headers is asked for: the relay list and what relaying itself looks at. Pushes a list. */
static void push_relay(lua_State *L, const dsc_lua_opts *opts) {
  const dsc_header_names *names = &opts->core.header_names, *standard = &dsc_headers_default_names;
  const char *const extra[] = {"X-Forwarded-For",   "X-Request-Id",      "X-Host",
                               "X-Scheme",          names->client_ip,    names->user_agent,
                               standard->client_ip, standard->user_agent};
  const char *const *list = opts->core.relay ? opts->core.relay : dsc_headers_relay_default;
  int n = 0;
  lua_newtable(L);
  for (; *list; list++) {
    lua_pushstring(L, *list);
    lua_rawseti(L, -2, ++n);
  }
  for (size_t i = 0; i < sizeof extra / sizeof *extra; i++) {
    lua_pushstring(L, extra[i]);
    lua_rawseti(L, -2, ++n);
  }
}

static void set_callbacks(lua_State *L, int self, dsc_lua_opts *opts) {
  if (opts->balancer && lua_type(L, opts->balancer) == LUA_TSTRING)
    opts->core.balancer = dsc_balancer_find(dsc_compat_check_str(L, opts->balancer), NULL);
  dsc_lua_hooks_set_balancer(L, self, opts->balancer);
  dsc_lua_hooks_set(L, self, DSC_U_ROUTE, opts->route);
  dsc_lua_hooks_set(L, self, DSC_U_LOGGER, opts->logger);
  dsc_lua_hooks_set(L, self, DSC_U_EVENT, 0);
  dsc_compat_get_user(L, self);
  push_relay(L, opts);
  lua_rawseti(L, -2, DSC_U_RELAY);
  lua_pop(L, 1);
}

/* In a frame: calls, registration, and the wait for both. A registry that does not answer is no failure. */
static dsc_err set_up(dsc_lua_frame *frame, const dsc_lua_opts *opts, dsc_str app, dsc_str addr, dsc_why *why) {
  dsc_err err = DSC_OK;
  for (size_t i = 0; opts->calls && i < opts->calls->n && !err; i++)
    err = dsc_discoverer_configure(&frame->frame, opts->calls->items[i].app, opts->calls->items[i].config, NULL, why);
  if (!err && app.p) err = dsc_discoverer_register(&frame->frame, app, addr, opts->weight, opts->metadata, why);
  if (!err && opts->core.start_timeout_ms) dsc_discoverer_ready(&frame->frame, opts->core.start_timeout_ms, NULL);
  return err;
}

/* `app.p` NULL: client only. */
static int open_discoverer(lua_State *L, dsc_str registry, dsc_str app, dsc_str addr, int options) {
  dsc_lua_opts opts;
  dsc_lua_frame frame;
  dsc_why why = {""};
  dsc_err err = dsc_lua_options_discoverer(L, options, &opts, &why);
  luaL_checkstack(L, 10, "new");
  dsc_lua_discoverer *box = dsc_lua_discoverer_push(L);
  int self = lua_gettop(L);
  set_callbacks(L, self, &opts);
  box->start_timeout_ms = opts.core.start_timeout_ms;
  box->drain_ms = opts.core.timing.resync_ms / 5 * 6; /* resync + 20 % */
  opts.core.registry = registry;
  dsc_hooks hooks = dsc_lua_hooks_get(box);
  opts.core.hooks = &hooks;
  if (!err) err = dsc_discoverer_new(&box->d, &opts.core, &why);
  if (err) return dsc_compat_fail(L, err, &why);
  err = dsc_lua_discoverer_enter(L, self, &frame, &why);
  if (!err) {
    err = set_up(&frame, &opts, app, addr, &why);
    dsc_lua_discoverer_leave(&frame);
  }
  if (err) {
    if (dsc_discoverer_free(box->d, true)) box->d = NULL;
    return dsc_compat_fail(L, err, &why);
  }
  lua_settop(L, self);
  return 1;
}

int dsc_lua_discoverer_start(lua_State *L) {
  lua_settop(L, 4);
  dsc_str registry = dsc_compat_opt_str(L, 1);
  dsc_str app = dsc_compat_check_str(L, 2);
  dsc_str addr = dsc_compat_check_str(L, 3);
  return open_discoverer(L, registry, app, addr, 4);
}

int dsc_lua_discoverer_client(lua_State *L) {
  lua_settop(L, 2);
  return open_discoverer(L, dsc_compat_opt_str(L, 1), (dsc_str){NULL, 0}, (dsc_str){NULL, 0}, 2);
}

int dsc_lua_discoverer_new(lua_State *L) {
  lua_settop(L, 1);
  return open_discoverer(L, DSC_STR_LITERAL(""), (dsc_str){NULL, 0}, (dsc_str){NULL, 0}, 1);
}
