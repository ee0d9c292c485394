/*
** registry.c - the public face of the registry: open and close, pictures, outcomes, nodes set by hand.
**
** The rest is in the files that registry_impl.h lists.
** Threads: any.
*/
#include <stdio.h>

#include "base/clock.h"
#include "base/fork.h"
#include "base/mem.h"
#include "core/registry_impl.h"

static dsc_err init_locks(dsc_registry *r) {
  pthread_condattr_t attr;
  if (pthread_condattr_init(&attr) != 0) return DSC_ENOMEM;
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  bool failed = pthread_cond_init(&r->told, &attr) != 0;
  pthread_condattr_destroy(&attr);
  if (failed) return DSC_ENOMEM;
  /* plain mutexes of the GNU C library need no resources */
  pthread_mutex_init(&r->own_lock, NULL);
  pthread_mutex_init(&r->ears_lock, NULL);
  return DSC_OK;
}

static dsc_registry *new_registry(const dsc_registry_options *options) {
  dsc_registry *r = dsc_mem_zalloc(1, sizeof *r);
  if (!r) return NULL;
  if (init_locks(r) != DSC_OK) {
    dsc_mem_free(r);
    return NULL;
  }
  r->timing = options->timing;
  r->shared = options->shared;
  /* without a thread nothing of it outlives the process: the signal's own action will do */
  r->verify_push = options->verify_push;
  r->signals = options->signals && dsc_registry_kind_has_servers(options->config.kind);
  r->generation = dsc_fork_generation();
  r->lock = options->config.kind == DSC_REGISTRY_MEMORY ? dsc_store_memory_lock() : &r->own_lock;
  dsc_map_init(&r->owns);
  dsc_map_init(&r->apps);
  dsc_list_init(&r->ears);
  dsc_list_init(&r->link);
  r->directory = dsc_directory_new();
  return r;
}

static dsc_err make(dsc_registry **made, dsc_registry_options *options, dsc_listener *listener, dsc_why *why) {
  dsc_registry *r = new_registry(options);
  if (!r) return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  r->config = options->config;
  /* before the thread starts, which may have something to tell at once */
  dsc_registry_tell_attach(r, listener);
  dsc_err err = r->directory ? dsc_registry_run_start(r, why) : DSC_ENOMEM;
  if (err) {
    dsc_registry_tell_detach(r, listener);
    r->config = (dsc_registry_config){.kind = DSC_REGISTRY_NONE}; /* still the caller's */
    dsc_registry_run_free(r);
    return err;
  }
  options->config = (dsc_registry_config){.kind = DSC_REGISTRY_NONE};
  *made = r;
  return DSC_OK;
}

dsc_err dsc_registry_open(dsc_registry **registry, dsc_registry_options *options, dsc_listener *listener,
                          dsc_why *why) {
  return dsc_registry_shared_open(registry, options, listener, why, make);
}

void dsc_registry_close(dsc_registry *registry, dsc_listener *listener, bool wait) {
  if (!registry || dsc_registry_run_is_forked(registry)) return;
  dsc_registry_tell_detach(registry, listener);
  dsc_registry_shared_close(registry, wait);
}

dsc_directory *dsc_registry_directory(dsc_registry *registry) {
  return registry->directory;
}

dsc_counters *dsc_registry_counters(dsc_registry *registry) {
  return &registry->counters;
}

dsc_registry_kind dsc_registry_get_kind(const dsc_registry *registry) {
  return registry->config.kind;
}

bool dsc_registry_is_up(dsc_registry *registry) {
  if (dsc_registry_run_is_forked(registry)) return false;
  if (registry->config.kind == DSC_REGISTRY_NONE) return true;
  pthread_mutex_lock(registry->lock);
  bool up = registry->commands && registry->messages;
  pthread_mutex_unlock(registry->lock);
  return up;
}

static void fill_locked(dsc_registry *r, dsc_registry_stats *stats) {
  stats->up = r->commands && r->messages;
  stats->messages = r->n_messages;
  stats->bad_messages = r->n_bad_messages;
  stats->reads = r->n_reads;
  stats->resyncs = r->n_resyncs;
  stats->heartbeats = r->n_heartbeats;
  stats->lost = r->n_lost;
  if (r->last_heartbeat_ms) {
    stats->last_heartbeat_age = (double)(dsc_clock_now_ms() - r->last_heartbeat_ms) / 1000.0;
  }
  if (!r->store) return;
  dsc_store_stats counts;
  r->store->ops->get_stats(r->store, &counts);
  stats->connects = counts.connects;
  stats->disconnects = counts.disconnects;
  stats->commands = counts.commands;
  stats->errors = counts.errors;
  snprintf(stats->server, sizeof stats->server, "%s", counts.server);
}

void dsc_registry_get_stats(dsc_registry *registry, dsc_registry_stats *stats) {
  static const char *const kinds[] = {[DSC_REGISTRY_NONE] = "none",
                                      [DSC_REGISTRY_REDIS] = "redis",
                                      [DSC_REGISTRY_MEMORY] = "memory",
                                      [DSC_REGISTRY_SENTINEL] = "sentinel",
                                      [DSC_REGISTRY_CLUSTER] = "cluster"};
  *stats = (dsc_registry_stats){.kind = kinds[registry->config.kind], .last_heartbeat_age = -1};
  snprintf(stats->target, sizeof stats->target, "%s", registry->config.text ? registry->config.text : "");
  if (dsc_registry_run_is_forked(registry)) return;
  pthread_mutex_lock(registry->lock);
  fill_locked(registry, stats);
  pthread_mutex_unlock(registry->lock);
  if (registry->config.kind == DSC_REGISTRY_NONE) stats->up = true;
}

/* Calls of any holder may wait for a node with less in flight. */
static void tell_waiting(dsc_registry *registry, dsc_table *table) {
  if (atomic_load(&dsc_table_counters(table)->waiting) > 0) dsc_registry_tell_change(registry);
}

void dsc_registry_node_lapse(dsc_registry *registry, dsc_node *node, bool was_probe) {
  if (dsc_registry_run_is_forked(registry)) return;
  dsc_table_lapse(node->table, node, was_probe, dsc_clock_now_ms());
  tell_waiting(registry, node->table);
}

void dsc_registry_node_done(dsc_registry *registry, dsc_node *node, dsc_outcome outcome, bool was_probe,
                            uint32_t retry_times) {
  if (dsc_registry_run_is_forked(registry)) return;
  dsc_changes changes;
  dsc_changes_init(&changes);
  dsc_table_done(node->table, node, outcome, was_probe, retry_times, dsc_clock_now_ms(), &changes);
  dsc_registry_tell_changes(registry, node->table, &changes);
  tell_waiting(registry, node->table);
}

dsc_err dsc_registry_set_node(dsc_registry *registry, dsc_str app, dsc_str addr, uint32_t weight, const char *metadata,
                              dsc_why *why) {
  dsc_addr parsed;
  if (dsc_registry_run_is_forked(registry)) return dsc_fail(why, DSC_EFORKED, "%s", dsc_err_text(DSC_EFORKED));
  dsc_err err = dsc_addr_check_app(app, why);
  if (!err) err = dsc_addr_parse(&parsed, addr, why);
  if (err) return err;
  dsc_table *table = dsc_directory_open(registry->directory, app, true, NULL);
  if (!table) return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  dsc_changes changes;
  dsc_changes_init(&changes);
  err = dsc_table_set(table, dsc_str_of(parsed.text), weight, metadata, true, dsc_clock_now_ms(), &changes);
  dsc_registry_tell_changes(registry, table, &changes);
  dsc_table_unref(table);
  return err ? dsc_fail(why, err, "%s", dsc_err_text(err)) : DSC_OK;
}
