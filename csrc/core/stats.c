/*
** stats.c - takes the picture of stats.h out of the tables and the registry. Counters are read one by one: the
** picture is consistent per number, not across numbers.
*/
#include "core/stats.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "core/stats_impl.h"

static uint64_t load(const _Atomic uint64_t *counter) {
  return atomic_load_explicit(counter, memory_order_relaxed);
}

static void copy_counts(dsc_stats_counts *to, const dsc_counters *from) {
  to->calls = load(&from->calls);
  to->attempts = load(&from->attempts);
  to->retries = load(&from->retries);
  to->isolations = load(&from->isolations);
  to->recoveries = load(&from->recoveries);
  to->picks = load(&from->picks);
  to->retries_denied = load(&from->retries_denied);
  to->queued = load(&from->queued);
  to->waiting = load(&from->waiting);
  to->latency_sum_us = load(&from->latency_sum_us);
  for (size_t i = 0; i < DSC_ERR_COUNT; i++) to->errors[i] = load(&from->errors[i]);
  for (size_t i = 0; i < DSC_ERR_COUNT; i++) to->attempt_errors[i] = load(&from->attempt_errors[i]);
  for (size_t i = 0; i < 6; i++) to->statuses[i] = load(&from->statuses[i]);
  for (size_t i = 0; i < DSC_COUNTERS_BUCKETS; i++) to->latency[i] = load(&from->latency[i]);
}

static void copy_node(dsc_stats_node *to, dsc_node *node) {
  snprintf(to->addr, sizeof to->addr, "%s", node->addr);
  to->state = dsc_node_state_name(dsc_node_get_state(node));
  to->weight = atomic_load_explicit(&node->weight, memory_order_relaxed);
  to->used_times = dsc_node_used_times(node);
  to->failed_times = atomic_load_explicit(&node->failed_times, memory_order_relaxed);
  to->in_flight = atomic_load_explicit(&node->in_flight, memory_order_relaxed);
  to->attempts = load(&node->attempts);
  to->failures = load(&node->failures);
}

static int by_addr(const void *a, const void *b) {
  return strcmp(((const dsc_stats_node *)a)->addr, ((const dsc_stats_node *)b)->addr);
}

static dsc_err copy_app(dsc_stats_app *to, dsc_table *table) {
  dsc_str app = dsc_table_app(table);
  snprintf(to->app, sizeof to->app, "%.*s", DSC_STR_ARG(app));
  copy_counts(&to->counts, dsc_table_counters(table));
  dsc_node_array *nodes = dsc_table_snapshot(table);
  if (!nodes) return DSC_ENOMEM;
  to->nodes = dsc_mem_zalloc(nodes->count ? nodes->count : 1, sizeof *to->nodes);
  for (size_t i = 0; to->nodes && i < nodes->count; i++) {
    copy_node(&to->nodes[i], nodes->nodes[i]);
    to->counts.in_flight += to->nodes[i].in_flight;
    to->n_nodes++;
  }
  dsc_node_array_unref(nodes);
  if (!to->nodes) return DSC_ENOMEM;
  qsort(to->nodes, to->n_nodes, sizeof *to->nodes, by_addr);
  return DSC_OK;
}

/* The registry counts calls and attempts; what happens to nodes is counted by their tables. */
static void add_to_total(dsc_stats_counts *total, const dsc_stats_counts *app) {
  total->in_flight += app->in_flight;
  total->isolations += app->isolations;
  total->recoveries += app->recoveries;
  total->picks += app->picks;
}

static dsc_err copy_apps(dsc_stats *stats, dsc_registry *registry) {
  size_t count = 0;
  dsc_table **tables = dsc_directory_list(dsc_registry_directory(registry), &count);
  if (!tables) return count ? DSC_ENOMEM : DSC_OK;
  dsc_err err = DSC_OK;
  stats->apps = dsc_mem_zalloc(count, sizeof *stats->apps);
  if (!stats->apps) err = DSC_ENOMEM;
  for (size_t i = 0; i < count; i++) {
    if (!err) err = copy_app(&stats->apps[i], tables[i]);
    if (!err) add_to_total(&stats->total, &stats->apps[stats->n_apps++].counts);
    dsc_table_unref(tables[i]);
  }
  dsc_mem_free(tables);
  return err;
}

dsc_stats *dsc_stats_new(dsc_registry *registry) {
  dsc_stats *stats = dsc_mem_zalloc(1, sizeof *stats);
  if (!stats) return NULL;
  size_t blocks, bytes;
  dsc_mem_usage(&blocks, &bytes);
  stats->memory_blocks = blocks;
  stats->memory_bytes = bytes;
  stats->registry.kind = "none";
  stats->registry.last_heartbeat_age = -1;
  if (!registry) return stats;
  dsc_registry_get_stats(registry, &stats->registry);
  copy_counts(&stats->total, dsc_registry_counters(registry));
  if (copy_apps(stats, registry) == DSC_OK) return stats;
  dsc_stats_free(stats);
  return NULL;
}

void dsc_stats_free(dsc_stats *stats) {
  if (!stats) return;
  for (size_t i = 0; i < stats->n_apps; i++) dsc_mem_free(stats->apps[i].nodes);
  dsc_mem_free(stats->apps);
  dsc_mem_free(stats);
}

dsc_stats *dsc_stats_copy(const dsc_stats *from) {
  dsc_stats *stats = dsc_mem_zalloc(1, sizeof *stats);
  if (!stats) return NULL;
  *stats = *from;
  stats->n_apps = 0;
  stats->apps = dsc_mem_zalloc(from->n_apps ? from->n_apps : 1, sizeof *stats->apps);
  for (size_t i = 0; stats->apps && i < from->n_apps; i++) {
    dsc_stats_app *to = &stats->apps[i];
    *to = from->apps[i];
    to->nodes = dsc_mem_zalloc(to->n_nodes ? to->n_nodes : 1, sizeof *to->nodes);
    if (!to->nodes) break;
    memcpy(to->nodes, from->apps[i].nodes, to->n_nodes * sizeof *to->nodes);
    stats->n_apps++;
  }
  if (stats->apps && stats->n_apps == from->n_apps) return stats;
  dsc_stats_free(stats);
  return NULL;
}
