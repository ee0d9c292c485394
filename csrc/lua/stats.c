/*
** stats.c - d:stats(): the core's picture as a table, or as Prometheus' text.
**
** Threads: that of the lua_State.
*/
#include <math.h>

#include "lua/discoverer.h"
#include "lua/headers.h"

static void push_errors(lua_State *L, const uint64_t errors[DSC_ERR_COUNT], int first) {
  lua_createtable(L, 0, DSC_ERR_COUNT);
  for (int i = first; i < DSC_ERR_COUNT; i++) dsc_compat_set_int(L, dsc_err_name((dsc_err)i), errors[i]);
}

static void push_statuses(lua_State *L, const uint64_t statuses[6]) {
  static const char *const names[] = {"other", "1xx", "2xx", "3xx", "4xx", "5xx"};
  lua_createtable(L, 0, 6);
  for (int i = 0; i < 6; i++) dsc_compat_set_int(L, names[i], statuses[i]);
}

static void push_latency(lua_State *L, const uint64_t latency[DSC_COUNTERS_BUCKETS]) {
  lua_createtable(L, DSC_COUNTERS_BUCKETS, 0);
  for (int i = 0; i < DSC_COUNTERS_BUCKETS; i++) {
    bool is_last = i == DSC_COUNTERS_BUCKETS - 1;
    lua_createtable(L, 0, 2);
    dsc_compat_set_num(L, "le", is_last ? HUGE_VAL : (double)dsc_counters_bounds_us[i] / 1e6);
    dsc_compat_set_int(L, "count", latency[i]);
    lua_rawseti(L, -2, i + 1);
  }
}

static void push_counts(lua_State *L, const dsc_stats_counts *counts) {
  lua_createtable(L, 0, 20);
  dsc_compat_set_int(L, "calls", counts->calls);
  dsc_compat_set_int(L, "attempts", counts->attempts);
  dsc_compat_set_int(L, "retries", counts->retries);
  dsc_compat_set_int(L, "isolations", counts->isolations);
  dsc_compat_set_int(L, "recoveries", counts->recoveries);
  dsc_compat_set_int(L, "picks", counts->picks);
  dsc_compat_set_int(L, "in_flight", counts->in_flight);
  dsc_compat_set_int(L, "retries_denied", counts->retries_denied);
  dsc_compat_set_int(L, "queued", counts->queued);
  dsc_compat_set_int(L, "waiting", counts->waiting);
  push_errors(L, counts->errors, DSC_OK);
  lua_setfield(L, -2, "errors");
  push_errors(L, counts->attempt_errors, DSC_OK + 1);
  lua_setfield(L, -2, "attempt_errors");
  push_statuses(L, counts->statuses);
  lua_setfield(L, -2, "statuses");
  push_latency(L, counts->latency);
  lua_setfield(L, -2, "latency");
  dsc_compat_set_num(L, "latency_sum", (double)counts->latency_sum_us / 1e6);
}

static void push_registry(lua_State *L, const dsc_registry_stats *registry) {
  lua_createtable(L, 0, 16);
  dsc_compat_set_str(L, "kind", registry->kind);
  dsc_compat_set_str(L, "target", registry->target);
  if (registry->server[0]) dsc_compat_set_str(L, "server", registry->server);
  dsc_compat_set_bool(L, "up", registry->up);
  dsc_compat_set_int(L, "connects", registry->connects);
  dsc_compat_set_int(L, "disconnects", registry->disconnects);
  dsc_compat_set_int(L, "commands", registry->commands);
  dsc_compat_set_int(L, "errors", registry->errors);
  dsc_compat_set_int(L, "messages", registry->messages);
  dsc_compat_set_int(L, "bad_messages", registry->bad_messages);
  dsc_compat_set_int(L, "reads", registry->reads);
  dsc_compat_set_int(L, "resyncs", registry->resyncs);
  dsc_compat_set_int(L, "heartbeats", registry->heartbeats);
  dsc_compat_set_int(L, "lost", registry->lost);
  if (registry->last_heartbeat_age >= 0) dsc_compat_set_num(L, "last_heartbeat_age", registry->last_heartbeat_age);
}

static void push_node(lua_State *L, const dsc_stats_node *node) {
  lua_createtable(L, 0, 7);
  dsc_compat_set_str(L, "state", node->state);
  dsc_compat_set_int(L, "weight", node->weight);
  dsc_compat_set_int(L, "used_times", node->used_times);
  dsc_compat_set_int(L, "failed_times", node->failed_times);
  dsc_compat_set_int(L, "in_flight", node->in_flight);
  dsc_compat_set_int(L, "attempts", node->attempts);
  dsc_compat_set_int(L, "failures", node->failures);
}

static void push_app(lua_State *L, const dsc_stats_app *app) {
  push_counts(L, &app->counts);
  lua_createtable(L, 0, (int)app->n_nodes);
  for (size_t i = 0; i < app->n_nodes; i++) {
    push_node(L, &app->nodes[i]);
    lua_setfield(L, -2, app->nodes[i].addr);
  }
  lua_setfield(L, -2, "nodes");
}

static void push_stats(lua_State *L, const dsc_stats *stats) {
  lua_createtable(L, 0, 8);
  push_registry(L, &stats->registry);
  lua_setfield(L, -2, "registry");
  push_counts(L, &stats->total);
  lua_setfield(L, -2, "total");
  lua_createtable(L, 0, (int)stats->n_apps);
  for (size_t i = 0; i < stats->n_apps; i++) {
    push_app(L, &stats->apps[i]);
    lua_setfield(L, -2, stats->apps[i].app);
  }
  lua_setfield(L, -2, "apps");
  dsc_compat_set_int(L, "logs_dropped", stats->logs_dropped);
  dsc_compat_set_int(L, "events_dropped", stats->events_dropped);
  dsc_compat_set_int(L, "memory_blocks", stats->memory_blocks);
  dsc_compat_set_int(L, "memory_bytes", stats->memory_bytes);
}

static void release(void *stats) {
  dsc_stats_free(stats);
}

static int push_text(lua_State *L, const dsc_stats *stats) {
  dsc_buf *text = dsc_lua_headers_push_buf(L);
  dsc_err err = dsc_stats_prometheus(stats, text);
  if (err) return dsc_compat_fail(L, err, NULL);
  dsc_compat_push_str(L, dsc_buf_str(text));
  return 1;
}

int dsc_lua_discoverer_stats(lua_State *L) {
  dsc_why why = {""};
  dsc_lua_discoverer *box = dsc_lua_discoverer_check(L, 1);
  dsc_str format = dsc_compat_opt_str(L, 2);
  bool is_text = dsc_str_equal(format, DSC_STR_LITERAL("prometheus"));
  if (format.n && !is_text)
    return dsc_compat_fail(L, dsc_fail(&why, DSC_EINVALID, "stats: the only format is \"prometheus\""), &why);
  dsc_lua_holder *holder = dsc_compat_push_holder(L, release);
  if (box->d) holder->object = dsc_discoverer_stats(box->d);
  if (!holder->object) return dsc_compat_fail(L, box->d ? DSC_ENOMEM : DSC_ESTOPPED, NULL);
  int pushed = 1;
  if (is_text)
    pushed = push_text(L, holder->object);
  else
    push_stats(L, holder->object);
  dsc_compat_release(holder);
  return pushed;
}
