/*
** table_candidates.c - what a host's own balancer sees of a table, and reports for calls that were counted nowhere.
*/
#include "base/mem.h"
#include "model/table_impl.h"

void dsc_table_hold(dsc_table *table, dsc_node *node) {
  pthread_mutex_lock(&table->lock);
  atomic_store_explicit(&node->in_flight, dsc_node_in_flight(node) + 1, memory_order_relaxed);
  if (dsc_table_has_locked(node)) table->in_flight++;
  if (node->in_picker) dsc_table_changed_locked(table, node, -1);
  pthread_mutex_unlock(&table->lock);
}

static bool is_usable_locked(const dsc_node *node, const dsc_pick *pick, uint64_t now_ms) {
  if (node->in_picker) return true;
  return dsc_table_has_locked(node) && pick->repeatable && !pick->probed && dsc_health_probe_due(&node->health, now_ms);
}

/* Marks with `wanted` which of `all` may be chosen; returns how many. */
static size_t choose_locked(const dsc_node_array *all, const dsc_pick *pick, uint64_t now_ms, bool last_resort,
                            bool *wanted) {
  size_t count = 0;
  for (size_t i = 0; i < all->count; i++) {
    const dsc_node *node = all->nodes[i];
    bool usable = last_resort ? dsc_table_has_locked(node) : is_usable_locked(node, pick, now_ms);
    wanted[i] = usable && !dsc_balancer_is_tried(pick, node);
    count += wanted[i];
  }
  return count;
}

static dsc_node_array *collect(const dsc_node_array *all, const bool *wanted, size_t count) {
  dsc_node_array *some = dsc_mem_alloc(sizeof *some + count * sizeof *some->nodes);
  if (!some) return NULL;
  atomic_init(&some->refs, 1);
  some->version = all->version;
  some->count = 0;
  for (size_t i = 0; i < all->count; i++)
    if (wanted[i]) some->nodes[some->count++] = dsc_node_ref(all->nodes[i]);
  return some;
}

dsc_node_array *dsc_table_candidates(dsc_table *table, const dsc_pick *pick, uint64_t now_ms) {
  dsc_node_array *all = dsc_table_snapshot(table);
  if (!all) return NULL;
  bool *wanted = dsc_mem_zalloc(all->count + 1, sizeof *wanted);
  dsc_node_array *some = NULL;
  if (wanted) {
    pthread_mutex_lock(&table->lock);
    dsc_sparing sparing;
    dsc_pick gentle = *pick;
    if (dsc_table_begin_sparing_locked(table, pick, &sparing)) gentle.sparing = &sparing;
    size_t count = choose_locked(all, &gentle, now_ms, false, wanted);
    if (count == 0) count = choose_locked(all, pick, now_ms, false, wanted);
    if (count == 0 && !dsc_table_is_full_locked(table, pick)) count = choose_locked(all, pick, now_ms, true, wanted);
    pthread_mutex_unlock(&table->lock);
    some = count == all->count ? all : collect(all, wanted, count);
  }
  dsc_mem_free(wanted);
  if (some != all) dsc_node_array_unref(all);
  return some;
}
