/*
** options_call.c - the config of calls to one app: from a table or a call string, and back into a table.
**
** Threads: that of the lua_State.
*/
#include "lua/options.h"
#include "lua/secret.h"

typedef struct call_table {
  dsc_call_config config;
  dsc_str retry;
  struct {
    const char *ca, *cert, *key, *server_name;
    bool verify;
  } tls;
  const char *probe;
} call_table;

#define AT(field) offsetof(call_table, field)

static const dsc_lua_option call_options[] = {
    {"timeout", DSC_OPTION_TIME, AT(config.timeout_ms), 0.001, 0},
    {"connect_timeout", DSC_OPTION_TIME, AT(config.connect_timeout_ms), 0.001, 0},
    {"deadline", DSC_OPTION_TIME, AT(config.deadline_ms), 0.001, 0},
    {"token", DSC_OPTION_OTHER, 0, 0, 0},
    {"http2", DSC_OPTION_BOOL, AT(config.http2), 0, 0},
    {"ssl", DSC_OPTION_BOOL, AT(config.ssl), 0, 0},
    {"tls", DSC_OPTION_OTHER, 0, 0, 0},
    {"retry", DSC_OPTION_STR, AT(retry), 0, 0},
    {"max_attempts", DSC_OPTION_COUNT, AT(config.max_attempts), 1, 1e6},
    {"max_body", DSC_OPTION_SIZE, AT(config.max_body), 0, 0x1p53},
    {"max_in_flight", DSC_OPTION_COUNT, AT(config.max_in_flight), 0, 1e6},
    {"max_in_flight_per_node", DSC_OPTION_COUNT, AT(config.max_in_flight_per_node), 0, 1e6},
    {"queue", DSC_OPTION_COUNT, AT(config.queue), 0, 1e6},
    {"probe", DSC_OPTION_TEXT, AT(probe), 0, 0},
    {NULL, DSC_OPTION_OTHER, 0, 0, 0}};

static const dsc_lua_option tls_options[] = {
    {"ca", DSC_OPTION_TEXT, AT(tls.ca), 0, 0},         {"cert", DSC_OPTION_TEXT, AT(tls.cert), 0, 0},
    {"key", DSC_OPTION_TEXT, AT(tls.key), 0, 0},       {"server_name", DSC_OPTION_TEXT, AT(tls.server_name), 0, 0},
    {"verify", DSC_OPTION_BOOL, AT(tls.verify), 0, 0}, {NULL, DSC_OPTION_OTHER, 0, 0, 0}};

/* Pushes one value: the secret, which keeps it alive, or nil. */
static void read_token(lua_State *L, int index, int arg, const char *what, call_table *table) {
  lua_getfield(L, index, "token");
  if (lua_isnil(L, -1)) return;
  table->config.token = dsc_lua_secret_make(L, lua_gettop(L));
  if (!table->config.token) {
    luaL_argerror(
        L, arg,
        lua_pushfstring(L, "%s: option 'token': secret or string expected, got %s", what, luaL_typename(L, -1)));
  }
  lua_remove(L, -2);
}

static dsc_err read_tls(lua_State *L, int index, int arg, const char *what, call_table *table, dsc_why *why) {
  dsc_err err = DSC_OK;
  lua_getfield(L, index, "tls");
  if (!lua_isnil(L, -1) && !lua_istable(L, -1)) {
    luaL_argerror(L, arg, lua_pushfstring(L, "%s: option 'tls': table expected, got %s", what, luaL_typename(L, -1)));
  }
  if (lua_istable(L, -1)) {
    const char *name = lua_pushfstring(L, "%s: tls", what);
    err = dsc_lua_options_read(L, lua_gettop(L) - 1, arg, name, tls_options, table, why);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return err;
}

static dsc_err read_table(lua_State *L, int index, int arg, const char *what, dsc_call_config **config, dsc_why *why) {
  call_table table = {.retry = DSC_STR_LITERAL("idempotent"), .tls.verify = true};
  dsc_call_config_defaults(&table.config);
  dsc_err err = dsc_lua_options_read(L, index, arg, what, call_options, &table, why);
  dsc_err tls = read_tls(L, index, arg, what, &table, err ? NULL : why);
  if (!err) err = tls;
  if (!err) err = dsc_lua_options_retry(table.retry, &table.config.retry, why);
  read_token(L, index, arg, what, &table);
  table.config.probe = (char *)(uintptr_t)table.probe;
  table.config.tls =
      (dsc_tls_config){(char *)(uintptr_t)table.tls.ca, (char *)(uintptr_t)table.tls.cert,
                       (char *)(uintptr_t)table.tls.key, (char *)(uintptr_t)table.tls.server_name, !table.tls.verify};
  if (!err) err = dsc_call_config_new(config, &table.config, why);
  lua_pop(L, 1);
  return err;
}

dsc_err dsc_lua_options_call(lua_State *L, int index, int arg, const char *what, dsc_call_config **config,
                             dsc_why *why) {
  dsc_why sentence = {""};
  dsc_err err = DSC_OK;
  *config = NULL;
  index = lua_absindex(L, index);
  luaL_checkstack(L, 8, what);
  switch (lua_type(L, index)) {
  case LUA_TTABLE: err = read_table(L, index, arg, what, config, &sentence); break;
  case LUA_TSTRING: err = dsc_call_config_parse(config, dsc_compat_check_str(L, index), &sentence); break;
  default:
    luaL_argerror(L, arg,
                  lua_pushfstring(L, "%s: table or call string expected, got %s", what, luaL_typename(L, index)));
  }
  if (err && strncmp(sentence.text, what, strlen(what)) != 0)
    dsc_fail(why, err, "%s: %s", what, sentence.text[0] ? sentence.text : dsc_err_text(err));
  else if (err && why)
    *why = sentence;
  return err;
}

void dsc_lua_options_push_call(lua_State *L, const dsc_call_config *config) {
  static const char *const retries[] = {"idempotent", "always", "never"};
  lua_newtable(L);
  dsc_compat_set_num(L, "timeout", config->timeout_ms / 1000.0);
  dsc_compat_set_num(L, "connect_timeout", config->connect_timeout_ms / 1000.0);
  dsc_compat_set_num(L, "deadline", config->deadline_ms / 1000.0);
  dsc_compat_set_bool(L, "http2", config->http2);
  dsc_compat_set_bool(L, "ssl", config->ssl);
  dsc_compat_set_str(L, "retry", retries[config->retry]);
  dsc_compat_set_int(L, "max_body", config->max_body);
  if (config->max_attempts) dsc_compat_set_int(L, "max_attempts", config->max_attempts);
  if (config->max_in_flight) dsc_compat_set_int(L, "max_in_flight", config->max_in_flight);
  if (config->max_in_flight_per_node) dsc_compat_set_int(L, "max_in_flight_per_node", config->max_in_flight_per_node);
  if (config->queue) dsc_compat_set_int(L, "queue", config->queue);
  if (config->probe) dsc_compat_set_str(L, "probe", config->probe);
  if (config->token) {
    dsc_lua_secret_push(L, config->token);
    lua_setfield(L, -2, "token");
  }
}
