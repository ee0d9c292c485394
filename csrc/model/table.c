/*
** table.c - nodes come, change and go; what others may ask about them.
**
** One mutex per table; nothing that can wait is done under it. The table owns one reference to each of its nodes and
** each node one to the table: dsc_table_clear() ends that cycle. The invariants are told in table_impl.h. Any thread.
*/
#include <stdlib.h>

#include "model/table_impl.h"

#include "base/mem.h"
#include "base/random.h"
#include "model/config.h"

#define FIRST_SLOTS   8u
#define TELL_EVERY_MS 1000

dsc_table *dsc_table_new(dsc_str app) {
  dsc_table *table = dsc_mem_zalloc(1, sizeof *table + app.n + 1);
  if (!table) return NULL;
  atomic_init(&table->refs, 1);
  pthread_mutex_init(&table->lock, NULL);
  dsc_map_init(&table->nodes);
  dsc_map_init(&table->touched);
  dsc_list_init(&table->isolated);
  dsc_list_init(&table->spared);
  table->spared_look_ms = UINT64_MAX;
  table->probe_at_ms = UINT64_MAX;
  table->version = 1;
  table->app_len = app.n;
  if (app.n > 0) memcpy(table->app, app.p, app.n);
  return table;
}

dsc_table *dsc_table_ref(dsc_table *table) {
  atomic_fetch_add_explicit(&table->refs, 1, memory_order_relaxed);
  return table;
}

void dsc_table_unref(dsc_table *table) {
  if (!table || atomic_fetch_sub_explicit(&table->refs, 1, memory_order_acq_rel) != 1) return;
  /* no node is left, each would hold a reference; a snapshot can only be an empty one */
  dsc_table_forget_read_locked(table);
  dsc_node_array_unref(table->snapshot);
  for (int i = 0; i < DSC_BALANCER_COUNT; i++)
    if (table->balancers[i]) dsc_balancer_all[i]->destroy(table->balancers[i]);
  dsc_map_clear(&table->nodes);
  dsc_mem_free(table->free_slots);
  pthread_mutex_destroy(&table->lock);
  dsc_mem_free(table);
}

void dsc_table_empty_trash(dsc_table_trash *trash) {
  dsc_node_array_unref(trash->snapshot);
  for (dsc_link *link; (link = dsc_list_pop(&trash->nodes));)
    dsc_node_unref(DSC_LIST_ENTRY(link, dsc_node, isolated_link));
}

dsc_str dsc_table_app(const dsc_table *table) {
  return (dsc_str){table->app, table->app_len};
}

dsc_counters *dsc_table_counters(dsc_table *table) {
  return &table->counters;
}

bool dsc_table_may_tell(dsc_table *table, unsigned kind, uint64_t now_ms) {
  _Atomic uint64_t *told_ms = &table->told_ms[kind % DSC_TABLE_TOLD];
  uint64_t last_ms = atomic_load_explicit(told_ms, memory_order_relaxed);
  if (last_ms && now_ms < last_ms + TELL_EVERY_MS) return false;
  return atomic_compare_exchange_strong(told_ms, &last_ms, now_ms);
}

size_t dsc_table_count(dsc_table *table, size_t *usable) {
  pthread_mutex_lock(&table->lock);
  size_t count = table->nodes.count;
  if (usable) *usable = table->n_up;
  pthread_mutex_unlock(&table->lock);
  return count;
}

uint64_t dsc_table_version(dsc_table *table) {
  pthread_mutex_lock(&table->lock);
  uint64_t version = table->version;
  pthread_mutex_unlock(&table->lock);
  return version;
}

/* ---- the picker and the state ---- */

void dsc_table_changed_locked(dsc_table *table, dsc_node *node, int by) {
  for (int i = 0; i < DSC_BALANCER_COUNT; i++) {
    if (!table->balancers[i]) continue;
    const dsc_balancer_ops *ops = dsc_balancer_all[i];
    void (*tell)(dsc_balancer *, dsc_node *) = i == by ? ops->picked : ops->changed;
    if (tell) tell(table->balancers[i], node);
  }
}

void dsc_table_enter_picker_locked(dsc_table *table, dsc_node *node) {
  node->in_picker = true;
  table->n_picker++;
  table->load_sum += node->load;
  table->weight += dsc_node_weight(node);
  for (int i = 0; i < DSC_BALANCER_COUNT; i++)
    if (table->balancers[i]) dsc_balancer_all[i]->add(table->balancers[i], node);
}

void dsc_table_leave_picker_locked(dsc_table *table, dsc_node *node) {
  if (!node->in_picker) return;
  node->in_picker = false;
  table->n_picker--;
  table->weight -= dsc_node_weight(node);
  table->load_sum = table->n_picker ? table->load_sum - node->load : 0;
  for (int i = 0; i < DSC_BALANCER_COUNT; i++)
    if (table->balancers[i]) dsc_balancer_all[i]->remove(table->balancers[i], node);
}

static void set_state_locked(dsc_table *table, dsc_node *node, dsc_node_state state) {
  dsc_node_state old = dsc_node_get_state(node);
  if (old == state) return;
  if (old == DSC_NODE_UP) table->n_up--;
  if (state == DSC_NODE_UP) table->n_up++;
  atomic_store_explicit(&node->state, state, memory_order_relaxed);
  table->version++;
}

void dsc_table_refresh_state_locked(dsc_table *table, dsc_node *node) {
  dsc_node_state state = node->stale_since_ms ? DSC_NODE_STALE : DSC_NODE_UP;
  if (node->health.state == DSC_HEALTH_ISOLATED) state = DSC_NODE_ISOLATED;
  if (node->health.state == DSC_HEALTH_PROBING) state = DSC_NODE_PROBING;
  set_state_locked(table, node, state);
}

/* ---- coming ---- */

double dsc_table_join_load_locked(const dsc_table *table) {
  if (table->n_picker || !table->picked) return dsc_table_mean_locked(table);
  double sum = 0;
  size_t count = 0;
  for (const dsc_link *link = table->isolated.next; link != &table->isolated; link = link->next, count++)
    sum += DSC_LIST_ENTRY(link, const dsc_node, isolated_link)->load;
  return count ? sum / (double)count : 0;
}

static dsc_err reserve_slot_locked(dsc_table *table) {
  if (table->n_free > 0 || table->next_slot < table->slot_cap) return DSC_OK;
  uint32_t cap = table->slot_cap ? table->slot_cap * 2 : FIRST_SLOTS;
  if (cap < table->slot_cap) return DSC_ENOMEM;
  uint32_t *slots = dsc_mem_realloc(table->free_slots, cap * sizeof *slots);
  if (!slots) return DSC_ENOMEM;
  table->free_slots = slots;
  for (int i = 0; i < DSC_BALANCER_COUNT; i++)
    if (table->balancers[i] && dsc_balancer_all[i]->reserve(table->balancers[i], cap)) return DSC_ENOMEM;
  table->slot_cap = cap;
  return DSC_OK;
}

static uint32_t take_slot_locked(dsc_table *table) {
  return table->n_free > 0 ? table->free_slots[--table->n_free] : table->next_slot++;
}

static bool same_metadata(const dsc_node *node, dsc_str metadata) {
  return dsc_str_equal(dsc_str_of(node->metadata), metadata);
}

dsc_err dsc_table_set_metadata_locked(dsc_table *table, dsc_node *node, dsc_str metadata) {
  if (same_metadata(node, metadata)) return DSC_OK;
  char *copy = NULL;
  if (metadata.n > 0 && !(copy = dsc_mem_strdup(metadata))) return DSC_ENOMEM;
  dsc_mem_free(node->metadata);
  node->metadata = copy;
  table->version++;
  return DSC_OK;
}

/* All that can fail about a new node. */
static dsc_err prepare_locked(dsc_table *table, dsc_node *node, const dsc_table_spec *spec) {
  if (spec->metadata && dsc_table_set_metadata_locked(table, node, *spec->metadata)) return DSC_ENOMEM;
  if (reserve_slot_locked(table)) return DSC_ENOMEM;
  return dsc_map_put(&table->nodes, dsc_node_addr(node), node, NULL);
}

dsc_err dsc_table_add_locked(dsc_table *table, const dsc_addr *addr, const dsc_table_spec *spec, double mean,
                             dsc_table_trash *trash, dsc_changes *changes, dsc_node **made) {
  *made = NULL;
  dsc_node *node = dsc_node_new(table, addr, spec->weight);
  if (!node) return DSC_ENOMEM;
  if (prepare_locked(table, node, spec)) {
    dsc_list_push(&trash->nodes, &node->isolated_link);
    return DSC_ENOMEM;
  }
  node->slot = take_slot_locked(table);
  node->by_user = spec->by_user;
  node->load = mean + dsc_random_unit() / spec->weight;
  set_state_locked(table, node, DSC_NODE_UP);
  if (spec->ramp_from_ms) dsc_table_ramp_locked(table, node, spec->ramp_from_ms);
  dsc_table_enter_picker_locked(table, node);
  dsc_changes_add(changes, DSC_CHANGE_ADDED, node);
  *made = node;
  return DSC_OK;
}

dsc_err dsc_table_update_locked(dsc_table *table, dsc_node *node, const dsc_table_spec *spec) {
  if (spec->metadata && dsc_table_set_metadata_locked(table, node, *spec->metadata)) return DSC_ENOMEM;
  if (spec->by_user) node->by_user = true;
  if (node->stale_since_ms) {
    node->stale_since_ms = 0;
    table->n_stale--;
    dsc_table_refresh_state_locked(table, node);
  }
  if (dsc_node_weight(node) == spec->weight) return DSC_OK;
  /* the load is per weight already: it stays */
  if (node->in_picker) table->weight += spec->weight, table->weight -= dsc_node_weight(node);
  atomic_store_explicit(&node->weight, spec->weight, memory_order_relaxed);
  table->version++;
  if (node->in_picker) dsc_table_changed_locked(table, node, -1);
  return DSC_OK;
}

/* ---- going ---- */

void dsc_table_remove_locked(dsc_table *table, dsc_node *node, dsc_table_trash *trash, dsc_changes *changes) {
  dsc_table_unspare_locked(node);
  dsc_table_leave_picker_locked(table, node);
  dsc_list_remove(&node->isolated_link);
  table->in_flight -= dsc_node_in_flight(node);
  (void)dsc_map_take(&table->nodes, dsc_node_addr(node));
  table->free_slots[table->n_free++] = node->slot;
  if (node->stale_since_ms) table->n_stale--;
  node->stale_since_ms = 0;
  set_state_locked(table, node, DSC_NODE_GONE);
  dsc_changes_add(changes, DSC_CHANGE_REMOVED, node);
  dsc_list_push(&trash->nodes, &node->isolated_link);
}

void dsc_table_remove_all_locked(dsc_table *table, dsc_link *doomed, dsc_table_trash *trash, dsc_changes *changes) {
  for (dsc_link *link; (link = dsc_list_pop(doomed));)
    dsc_table_remove_locked(table, DSC_LIST_ENTRY(link, dsc_node, isolated_link), trash, changes);
}

void dsc_table_clear(dsc_table *table, dsc_changes *changes) {
  dsc_table_trash trash;
  dsc_link doomed;
  dsc_list_init(&doomed);
  dsc_table_lock(table, &trash);
  table->closed = true;
  size_t at = 0;
  for (dsc_node *node; (node = dsc_map_next(&table->nodes, &at));) {
    dsc_list_remove(&node->isolated_link);
    dsc_list_push(&doomed, &node->isolated_link);
  }
  dsc_table_remove_all_locked(table, &doomed, &trash, changes);
  dsc_table_unlock(table, &trash);
}

/* ---- messages and the user ---- */

static dsc_err set_locked(dsc_table *table, const dsc_addr *addr, const dsc_table_spec *spec, dsc_table_trash *trash,
                          dsc_changes *changes) {
  dsc_str key = dsc_str_of(addr->text);
  if (table->closed) return DSC_ECLOSED;
  if (!spec->by_user) dsc_table_touch_locked(table, key);
  dsc_node *node = dsc_map_get(&table->nodes, key);
  if (node && node->by_user && !spec->by_user) return DSC_OK;
  if (node && spec->weight > 0) return dsc_table_update_locked(table, node, spec);
  if (node) dsc_table_remove_locked(table, node, trash, changes);
  if (node || spec->weight == 0) return DSC_OK;
  return dsc_table_add_locked(table, addr, spec, dsc_table_join_load_locked(table), trash, changes, &node);
}

dsc_err dsc_table_set(dsc_table *table, dsc_str addr, uint32_t weight, const char *metadata, bool by_user,
                      uint64_t now_ms, dsc_changes *changes) {
  dsc_addr parsed;
  if (dsc_addr_parse(&parsed, addr, NULL)) return DSC_EINVALID;
  dsc_str text = dsc_str_of(metadata);
  dsc_table_spec spec = {weight < DSC_WEIGHT_MAX ? weight : DSC_WEIGHT_MAX, metadata ? &text : NULL, by_user, 0};
  dsc_table_trash trash;
  dsc_table_lock(table, &trash);
  spec.ramp_from_ms = dsc_table_ramp_from_locked(table, now_ms);
  dsc_err err = set_locked(table, &parsed, &spec, &trash, changes);
  dsc_table_unlock(table, &trash);
  return err;
}

dsc_err dsc_table_set_metadata(dsc_table *table, dsc_str addr, dsc_str metadata) {
  dsc_addr parsed;
  if (dsc_addr_parse(&parsed, addr, NULL)) return DSC_OK;
  dsc_table_trash trash;
  dsc_table_lock(table, &trash);
  dsc_node *node = dsc_map_get(&table->nodes, dsc_str_of(parsed.text));
  dsc_err err = node && !node->by_user ? dsc_table_set_metadata_locked(table, node, metadata) : DSC_OK;
  dsc_table_unlock(table, &trash);
  return err;
}

bool dsc_table_goodbye(dsc_table *table, dsc_str addr, dsc_changes *changes) {
  dsc_addr parsed;
  if (dsc_addr_parse(&parsed, addr, NULL)) return false;
  dsc_table_trash trash;
  dsc_table_lock(table, &trash);
  dsc_table_touch_locked(table, dsc_str_of(parsed.text));
  dsc_node *node = dsc_map_get(&table->nodes, dsc_str_of(parsed.text));
  if (node && node->by_user) node = NULL;
  if (node) dsc_table_remove_locked(table, node, &trash, changes);
  dsc_table_unlock(table, &trash);
  return node != NULL;
}

/* ---- looking ---- */

dsc_node *dsc_table_find(dsc_table *table, dsc_str addr) {
  dsc_addr parsed;
  if (dsc_addr_parse(&parsed, addr, NULL)) return NULL;
  pthread_mutex_lock(&table->lock);
  dsc_node *node = dsc_map_get(&table->nodes, dsc_str_of(parsed.text));
  if (node) dsc_node_ref(node);
  pthread_mutex_unlock(&table->lock);
  return node;
}

static int by_addr(const void *a, const void *b) {
  dsc_node *const *left = a, *const *right = b;
  return strcmp((*left)->addr, (*right)->addr);
}

static dsc_node_array *collect_locked(dsc_table *table) {
  dsc_node_array *array = dsc_mem_alloc(sizeof *array + table->nodes.count * sizeof *array->nodes);
  if (!array) return NULL;
  atomic_init(&array->refs, 1);
  array->version = table->version;
  array->count = 0;
  size_t at = 0;
  for (dsc_node *node; (node = dsc_map_next(&table->nodes, &at));) array->nodes[array->count++] = dsc_node_ref(node);
  return array;
}

/* Keeps a list for the next who asks, if it is still true. */
static void publish(dsc_table *table, dsc_node_array *array) {
  pthread_mutex_lock(&table->lock);
  if (!table->snapshot && array->version == table->version) {
    atomic_fetch_add_explicit(&array->refs, 1, memory_order_relaxed);
    table->snapshot = array;
  }
  pthread_mutex_unlock(&table->lock);
}

dsc_node_array *dsc_table_snapshot(dsc_table *table) {
  pthread_mutex_lock(&table->lock);
  dsc_node_array *array = table->snapshot;
  if (array) atomic_fetch_add_explicit(&array->refs, 1, memory_order_relaxed);
  dsc_node_array *fresh = array ? NULL : collect_locked(table);
  pthread_mutex_unlock(&table->lock);
  if (!fresh) return array;
  /* sorted, because hosts show it; not under the lock, because picks would wait */
  qsort(fresh->nodes, fresh->count, sizeof *fresh->nodes, by_addr);
  publish(table, fresh);
  return fresh;
}
