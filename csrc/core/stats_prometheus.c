/*
** stats_prometheus.c - a picture as Prometheus text, format 0.0.4. Names follow its conventions: base units, _total for
** counters, a histogram in seconds.
*/
#include "core/stats.h"

#include <stdio.h>

static void label(dsc_buf *text, const char *value) {
  for (; *value; value++) {
    if (*value == '"' || *value == '\\')
      dsc_buf_addf(text, "\\%c", *value);
    else if (*value == '\n')
      dsc_buf_addf(text, "\\n");
    else
      dsc_buf_add(text, value, 1);
  }
}

static void head(dsc_buf *text, const char *name, const char *type, const char *help) {
  dsc_buf_addf(text, "# HELP discover_%s %s\n# TYPE discover_%s %s\n", name, help, name, type);
}

static void open_app(dsc_buf *text, const char *name, const dsc_stats_app *app) {
  dsc_buf_addf(text, "discover_%s{app=\"", name);
  label(text, app->app);
  dsc_buf_addf(text, "\"");
}

typedef uint64_t (*app_value)(const dsc_stats_app *app);

static void per_app(dsc_buf *text, const dsc_stats *stats, const char *name, const char *type, const char *help,
                    app_value value) {
  head(text, name, type, help);
  for (size_t i = 0; i < stats->n_apps; i++) {
    open_app(text, name, &stats->apps[i]);
    dsc_buf_addf(text, "} %llu\n", (unsigned long long)value(&stats->apps[i]));
  }
}

static uint64_t app_attempts(const dsc_stats_app *app) {
  return app->counts.attempts;
}
static uint64_t app_retries(const dsc_stats_app *app) {
  return app->counts.retries;
}
static uint64_t app_isolations(const dsc_stats_app *app) {
  return app->counts.isolations;
}
static uint64_t app_recoveries(const dsc_stats_app *app) {
  return app->counts.recoveries;
}
static uint64_t app_picks(const dsc_stats_app *app) {
  return app->counts.picks;
}
static uint64_t app_in_flight(const dsc_stats_app *app) {
  return app->counts.in_flight;
}
static uint64_t app_queued(const dsc_stats_app *app) {
  return app->counts.queued;
}
static uint64_t app_denied(const dsc_stats_app *app) {
  return app->counts.retries_denied;
}
static uint64_t app_waiting(const dsc_stats_app *app) {
  return app->counts.waiting;
}
static uint64_t app_nodes(const dsc_stats_app *app) {
  return app->n_nodes;
}

static void by_error(dsc_buf *text, const dsc_stats *stats, const char *name, const char *help, bool of_calls) {
  head(text, name, "counter", help);
  for (size_t i = 0; i < stats->n_apps; i++) {
    const uint64_t *counts = of_calls ? stats->apps[i].counts.errors : stats->apps[i].counts.attempt_errors;
    for (int err = 0; err < DSC_ERR_COUNT; err++) {
      if (counts[err] == 0 && err != DSC_OK) continue;
      open_app(text, name, &stats->apps[i]);
      dsc_buf_addf(text, ",err=\"%s\"} %llu\n", dsc_err_name((dsc_err)err), (unsigned long long)counts[err]);
    }
  }
}

/* By hand: printf would write a comma where the host's locale has one. */
static void seconds(dsc_buf *text, uint64_t us) {
  char digits[8];
  snprintf(digits, sizeof digits, ".%06u", (unsigned)(us % 1000000));
  size_t n = strlen(digits);
  while (digits[n - 1] == '0') n--;
  dsc_buf_addf(text, "%llu%.*s", (unsigned long long)(us / 1000000), n > 1 ? (int)n : 0, digits);
}

static void latency(dsc_buf *text, const dsc_stats *stats) {
  const char *name = "call_duration_seconds";
  head(text, name, "histogram", "Time of whole calls, retries included.");
  for (size_t i = 0; i < stats->n_apps; i++) {
    const dsc_stats_app *app = &stats->apps[i];
    uint64_t sum = 0;
    for (size_t b = 0; b < DSC_COUNTERS_BUCKETS; b++) {
      sum += app->counts.latency[b];
      open_app(text, "call_duration_seconds_bucket", app);
      dsc_buf_addf(text, ",le=\"");
      if (b + 1 < DSC_COUNTERS_BUCKETS)
        seconds(text, dsc_counters_bounds_us[b]);
      else
        dsc_buf_addf(text, "+Inf");
      dsc_buf_addf(text, "\"} %llu\n", (unsigned long long)sum);
    }
    open_app(text, "call_duration_seconds_sum", app);
    dsc_buf_addf(text, "} ");
    seconds(text, app->counts.latency_sum_us);
    dsc_buf_addf(text, "\n");
    open_app(text, "call_duration_seconds_count", app);
    dsc_buf_addf(text, "} %llu\n", (unsigned long long)sum);
  }
}

static void node_value(dsc_buf *text, const char *name, const dsc_stats_app *app, const dsc_stats_node *node,
                       uint64_t value) {
  open_app(text, name, app);
  dsc_buf_addf(text, ",node=\"");
  label(text, node->addr);
  dsc_buf_addf(text, "\"} %llu\n", (unsigned long long)value);
}

static void node_states(dsc_buf *text, const dsc_stats *stats) {
  head(text, "node_state", "gauge", "1 for the state a node is in.");
  for (size_t i = 0; i < stats->n_apps; i++) {
    for (size_t n = 0; n < stats->apps[i].n_nodes; n++) {
      const dsc_stats_node *node = &stats->apps[i].nodes[n];
      open_app(text, "node_state", &stats->apps[i]);
      dsc_buf_addf(text, ",node=\"");
      label(text, node->addr);
      dsc_buf_addf(text, "\",state=\"%s\"} 1\n", node->state);
    }
  }
}

typedef uint64_t (*node_value_of)(const dsc_stats_node *node);

static void per_node(dsc_buf *text, const dsc_stats *stats, const char *name, const char *type, const char *help,
                     node_value_of value) {
  head(text, name, type, help);
  for (size_t i = 0; i < stats->n_apps; i++)
    for (size_t n = 0; n < stats->apps[i].n_nodes; n++)
      node_value(text, name, &stats->apps[i], &stats->apps[i].nodes[n], value(&stats->apps[i].nodes[n]));
}

static uint64_t node_attempts(const dsc_stats_node *node) {
  return node->attempts;
}
static uint64_t node_failures(const dsc_stats_node *node) {
  return node->failures;
}
static uint64_t node_in_flight(const dsc_stats_node *node) {
  return node->in_flight;
}
static uint64_t node_weight(const dsc_stats_node *node) {
  return node->weight;
}

static void one(dsc_buf *text, const char *name, const char *type, const char *help, uint64_t value) {
  head(text, name, type, help);
  dsc_buf_addf(text, "discover_%s %llu\n", name, (unsigned long long)value);
}

static void registry(dsc_buf *text, const dsc_stats *stats) {
  const dsc_registry_stats *r = &stats->registry;
  one(text, "registry_up", "gauge", "1 while the registry answers.", r->up);
  one(text, "registry_connects_total", "counter", "Connections made to the registry.", r->connects);
  one(text, "registry_disconnects_total", "counter", "Connections lost.", r->disconnects);
  one(text, "registry_commands_total", "counter", "Commands sent.", r->commands);
  one(text, "registry_errors_total", "counter", "Commands answered by an error.", r->errors);
  one(text, "registry_messages_total", "counter", "Messages received.", r->messages);
  one(text, "registry_bad_messages_total", "counter", "Messages that named no address.", r->bad_messages);
  one(text, "registry_reads_total", "counter", "Apps read whole.", r->reads);
  one(text, "registry_heartbeats_total", "counter", "Heartbeats answered.", r->heartbeats);
  one(text, "registry_lost_total", "counter", "Times the own entry was found gone.", r->lost);
  one(text, "log_records_dropped_total", "counter", "Log records the host did not fetch in time.", stats->logs_dropped);
  one(text, "events_dropped_total", "counter", "Events the host did not fetch in time.", stats->events_dropped);
  one(text, "memory_bytes", "gauge", "Bytes held by the library in this process.", stats->memory_bytes);
}

dsc_err dsc_stats_prometheus(const dsc_stats *stats, dsc_buf *text) {
  by_error(text, stats, "calls_total", "Finished calls by error code.", true);
  per_app(text, stats, "attempts_total", "counter", "Attempts made.", app_attempts);
  by_error(text, stats, "attempt_errors_total", "Attempts by error code.", false);
  per_app(text, stats, "retries_total", "counter", "Attempts after a call's first.", app_retries);
  per_app(text, stats, "retries_denied_total", "counter", "Attempts that the retry budget did not allow.", app_denied);
  per_app(text, stats, "isolations_total", "counter", "Times a node was isolated.", app_isolations);
  per_app(text, stats, "recoveries_total", "counter", "Times an isolated node came back.", app_recoveries);
  per_app(text, stats, "picks_total", "counter", "Nodes picked by hand.", app_picks);
  per_app(text, stats, "in_flight", "gauge", "Attempts and picks under way.", app_in_flight);
  per_app(text, stats, "queued_total", "counter", "Times a call waited for a limit on calls in flight.", app_queued);
  per_app(text, stats, "waiting", "gauge", "Calls that wait for such a limit.", app_waiting);
  per_app(text, stats, "nodes", "gauge", "Nodes known.", app_nodes);
  latency(text, stats);
  per_node(text, stats, "node_attempts_total", "counter", "Attempts made at a node.", node_attempts);
  per_node(text, stats, "node_failures_total", "counter", "Attempts that failed.", node_failures);
  per_node(text, stats, "node_in_flight", "gauge", "Attempts and picks under way.", node_in_flight);
  per_node(text, stats, "node_weight", "gauge", "Weight.", node_weight);
  node_states(text, stats);
  registry(text, stats);
  return text->err;
}
