/*
** options_new.c - the options of start, open and new.
**
** Threads: that of the lua_State.
*/
#include "lua/hooks.h"
#include "lua/headers.h"
#include "lua/options.h"
#include "lua/secret.h"

#define CALLS     "discover.calls"
#define AT(field) offsetof(dsc_lua_opts, field)

typedef struct new_table {
  dsc_lua_opts opts;
  dsc_str log_level;
} new_table;

static const dsc_lua_option new_options[] = {{"weight", DSC_OPTION_COUNT, AT(weight), 0, DSC_WEIGHT_MAX},
                                             {"calls", DSC_OPTION_OTHER, 0, 0, 0},
                                             {"call_retry_times", DSC_OPTION_COUNT, AT(core.call_retry_times), 1, 1e6},
                                             {"balancer", DSC_OPTION_OTHER, 0, 0, 0},
                                             {"route", DSC_OPTION_OTHER, 0, 0, 0},
                                             {"logger", DSC_OPTION_OTHER, 0, 0, 0},
                                             {"log_level", DSC_OPTION_STR, offsetof(new_table, log_level), 0, 0},
                                             {"relay_headers", DSC_OPTION_OTHER, 0, 0, 0},
                                             {"header_names", DSC_OPTION_OTHER, 0, 0, 0},
                                             {"metadata", DSC_OPTION_OTHER, 0, 0, 0},
                                             {"heartbeat", DSC_OPTION_TIME, AT(core.timing.heartbeat_ms), 0.1, 3600},
                                             {"ttl", DSC_OPTION_TIME, AT(core.timing.ttl_ms), 1, 86400},
                                             {"resync", DSC_OPTION_TIME, AT(core.timing.resync_ms), 0.1, 3600},
                                             {"stale_grace", DSC_OPTION_TIME, AT(core.timing.stale_grace_ms), 0, 86400},
                                             {"start_timeout", DSC_OPTION_TIME, AT(core.start_timeout_ms), 0, 0},
                                             {"signals", DSC_OPTION_BOOL, AT(core.signals), 0, 0},
                                             {"verify_push", DSC_OPTION_BOOL, AT(core.verify_push), 0, 0},
                                             {"shared", DSC_OPTION_BOOL, AT(core.shared), 0, 0},
                                             {"username", DSC_OPTION_TEXT, AT(core.user), 0, 0},
                                             {"password", DSC_OPTION_OTHER, 0, 0, 0},
                                             {NULL, DSC_OPTION_OTHER, 0, 0, 0}};

#define NAME_AT(field) offsetof(dsc_header_names, field)
static const dsc_lua_option name_options[] = {{"from_app", DSC_OPTION_TEXT, NAME_AT(from_app), 0, 0},
                                              {"from_node", DSC_OPTION_TEXT, NAME_AT(from_node), 0, 0},
                                              {"client_ip", DSC_OPTION_TEXT, NAME_AT(client_ip), 0, 0},
                                              {"user_agent", DSC_OPTION_TEXT, NAME_AT(user_agent), 0, 0},
                                              {NULL, DSC_OPTION_OTHER, 0, 0, 0}};

/* Pushes opts[name]; true if it is there, raises unless it is a table. */
static bool push_table(lua_State *L, int index, const char *name) {
  lua_getfield(L, index, name);
  if (lua_isnil(L, -1)) return false;
  if (!lua_istable(L, -1)) {
    luaL_argerror(L, index,
                  lua_pushfstring(L, "opts: option '%s': table expected, got %s", name, luaL_typename(L, -1)));
  }
  return true;
}

static int calls_gc(lua_State *L) {
  dsc_lua_calls *calls = luaL_checkudata(L, 1, CALLS);
  for (size_t i = 0; i < calls->n; i++) dsc_call_config_unref(calls->items[i].config);
  calls->n = 0;
  return 0;
}

static dsc_err read_calls(lua_State *L, int index, dsc_lua_opts *opts, dsc_why *why) {
  size_t count = 0;
  dsc_err first = DSC_OK;
  if (!push_table(L, index, "calls")) return DSC_OK;
  int table = lua_gettop(L);
  for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) count++;
  dsc_lua_calls *calls = lua_newuserdata(L, sizeof *calls + count * sizeof calls->items[0]);
  calls->n = 0;
  dsc_compat_set_class(L, CALLS);
  for (lua_pushnil(L); calls->n < count && lua_next(L, table); lua_pop(L, 1)) {
    if (lua_type(L, -2) != LUA_TSTRING)
      luaL_argerror(L, index, lua_pushfstring(L, "opts.calls: app names are strings, got a %s", luaL_typename(L, -2)));
    dsc_str app;
    dsc_call_config *config;
    app.p = lua_tolstring(L, -2, &app.n);
    const char *what = lua_pushfstring(L, "opts.calls['%s']", app.p);
    dsc_err err = dsc_lua_options_call(L, -2, index, what, &config, first ? NULL : why);
    lua_pop(L, 1);
    if (!first) first = err;
    if (err) continue;
    calls->items[calls->n].app = app;
    calls->items[calls->n++].config = config;
  }
  lua_settop(L, table + 1);
  opts->calls = calls;
  return first;
}

static dsc_err read_relay(lua_State *L, int index, dsc_lua_opts *opts, dsc_why *why) {
  if (!push_table(L, index, "relay_headers")) return DSC_OK;
  int table = lua_gettop(L);
  int n = (int)lua_rawlen(L, table);
  const char **list = lua_newuserdata(L, ((size_t)n + 1) * sizeof *list);
  dsc_err first = DSC_OK;
  for (int i = 0; i < n; i++) {
    dsc_str name;
    lua_rawgeti(L, table, i + 1);
    if (lua_type(L, -1) != LUA_TSTRING) {
      luaL_argerror(L, index,
                    lua_pushfstring(L, "opts: option 'relay_headers': list of strings expected, got a %s in it",
                                    luaL_typename(L, -1)));
    }
    name.p = list[i] = lua_tolstring(L, -1, &name.n);
    dsc_err err = dsc_headers_check_name(name, first ? NULL : why);
    if (!first) first = err;
    lua_pop(L, 1);
  }
  list[n] = NULL;
  opts->core.relay = list;
  opts->relay = table;
  return first;
}

static dsc_err read_names(lua_State *L, int index, dsc_lua_opts *opts, dsc_why *why) {
  if (!push_table(L, index, "header_names")) return DSC_OK;
  dsc_header_names *names = &opts->core.header_names;
  dsc_err err = dsc_lua_options_read(L, -1, index, "opts.header_names", name_options, names, why);
  const char *const all[] = {names->from_app, names->from_node, names->client_ip, names->user_agent};
  for (int i = 0; i < 4 && !err; i++) err = dsc_headers_check_name(dsc_str_of(all[i]), why);
  return err;
}

static void read_metadata(lua_State *L, int index, dsc_lua_opts *opts) {
  if (!push_table(L, index, "metadata")) return;
  dsc_buf *buf = dsc_lua_headers_push_buf(L);
  dsc_lua_headers_encode(L, -2, index, "opts.metadata", false, buf);
  opts->metadata = buf->data ? buf->data : "";
}

static void read_password(lua_State *L, int index, dsc_lua_opts *opts) {
  lua_getfield(L, index, "password");
  if (lua_isnil(L, -1)) return;
  opts->core.password = dsc_lua_secret_make(L, lua_gettop(L));
  if (!opts->core.password) {
    luaL_argerror(
        L, index,
        lua_pushfstring(L, "opts: option 'password': secret or string expected, got %s", luaL_typename(L, -1)));
  }
}

/* Pushes opts[name]; returns its index, 0 when it was not given. */
static int push_other(lua_State *L, int index, const char *name) {
  lua_getfield(L, index, name);
  return lua_isnil(L, -1) ? 0 : lua_gettop(L);
}

static void read_callbacks(lua_State *L, int index, dsc_lua_opts *opts) {
  opts->balancer = push_other(L, index, "balancer");
  if (opts->balancer) dsc_lua_hooks_check_balancer(L, opts->balancer, index);
  opts->route = push_other(L, index, "route");
  if (opts->route) dsc_lua_hooks_check_function(L, opts->route, index, "opts: option 'route'");
  opts->logger = push_other(L, index, "logger");
  if (opts->logger) dsc_lua_hooks_check_logger(L, opts->logger, index);
}

static dsc_err read_level(new_table *table, dsc_why *why) {
  if (!table->log_level.p) return DSC_OK;
  table->opts.core.has_log_level = true;
  if (dsc_log_level_find(table->log_level, &table->opts.core.log_level)) return DSC_OK;
  return dsc_fail(why, DSC_EINVALID, "opts: log_level: \"%.*s\" is none of debug, info, warn, error, off",
                  DSC_STR_ARG(table->log_level));
}

dsc_err dsc_lua_options_discoverer(lua_State *L, int index, dsc_lua_opts *opts, dsc_why *why) {
  new_table table = {.opts = {.weight = 100}};
  dsc_options_defaults(&table.opts.core);
  *opts = table.opts;
  if (lua_isnoneornil(L, index)) return DSC_OK;
  if (!lua_istable(L, index)) dsc_compat_type_error(L, index, "table of options");
  luaL_checkstack(L, 30, "opts");
  dsc_err err = dsc_lua_options_read(L, index, index, "opts", new_options, &table, why);
  /* all of them, whatever the first error was: wrong types must raise */
  dsc_err more = read_calls(L, index, &table.opts, err ? NULL : why);
  if (!err) err = more;
  more = read_relay(L, index, &table.opts, err ? NULL : why);
  if (!err) err = more;
  more = read_names(L, index, &table.opts, err ? NULL : why);
  if (!err) err = more;
  read_metadata(L, index, &table.opts);
  read_password(L, index, &table.opts);
  read_callbacks(L, index, &table.opts);
  more = read_level(&table, err ? NULL : why);
  if (!err) err = more;
  *opts = table.opts;
  return err;
}

void dsc_lua_options_open(lua_State *L) {
  static const luaL_Reg meta[] = {{"__gc", calls_gc}, {NULL, NULL}};
  dsc_compat_class(L, &(dsc_lua_class){CALLS, meta, NULL, NULL});
}
