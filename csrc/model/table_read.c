/*
** table_read.c - whole reads of an app, and what becomes of nodes that a read does not show.
**
** A read travels on another connection than messages do, so what it says about an address that had a message
** since it was sent is older than the message: such addresses are remembered and left alone. If one can't be
** remembered the whole read is not applied; the next one is never far. Under the table's lock.
*/
#include "base/mem.h"
#include "model/config.h"
#include "model/table_impl.h"

#define MAX_TOUCHED 65536u /* so that a read that never ends can't grow memory for ever */

/* ---- the addresses of messages ---- */

void dsc_table_forget_read_locked(dsc_table *table) {
  size_t at = 0;
  for (void *text; (text = dsc_map_next(&table->touched, &at));) dsc_mem_free(text);
  dsc_map_clear(&table->touched);
  table->reading = table->blind = false;
}

void dsc_table_touch_locked(dsc_table *table, dsc_str addr) {
  if (!table->reading || table->blind || dsc_map_get(&table->touched, addr)) return;
  char *copy = table->touched.count < MAX_TOUCHED ? dsc_mem_strdup(addr) : NULL;
  if (copy && !dsc_map_put(&table->touched, (dsc_str){copy, addr.n}, copy, NULL)) return;
  dsc_mem_free(copy);
  dsc_table_forget_read_locked(table);
  table->reading = table->blind = true;
}

static bool was_touched_locked(const dsc_table *table, dsc_str addr) {
  return dsc_map_get(&table->touched, addr) != NULL;
}

void dsc_table_read_begin(dsc_table *table) {
  pthread_mutex_lock(&table->lock);
  dsc_table_forget_read_locked(table);
  table->reading = true;
  pthread_mutex_unlock(&table->lock);
}

/* ---- applying a read ---- */

/* What the steps of a read share. */
struct reading {
  dsc_table *table;
  dsc_table_trash *trash;
  dsc_changes *changes;
  double mean;
  uint64_t now_ms;
  uint64_t ramp_from_ms; /* of new nodes, decided once: a first read makes nobody start slowly */
};

/* Picks change the sum by tiny roundings; once a read it is made anew. */
static void sum_loads_locked(dsc_table *table) {
  double sum = 0;
  size_t at = 0;
  for (dsc_node *node; (node = dsc_map_next(&table->nodes, &at));)
    if (node->in_picker) sum += node->load;
  table->load_sum = sum;
}

static void make_stale_locked(struct reading *r, dsc_node *node) {
  node->stale_since_ms = r->now_ms ? r->now_ms : 1;
  r->table->n_stale++;
  dsc_table_refresh_state_locked(r->table, node);
  dsc_changes_add(r->changes, DSC_CHANGE_STALE, node);
}

/* Finds the node of a row; `addr` is filled only when there is none. False: the row must not be applied. */
static bool look_up_locked(const dsc_table *table, const dsc_row *row, dsc_node **node, dsc_addr *addr) {
  *node = dsc_map_get(&table->nodes, row->addr);
  if (*node) return !was_touched_locked(table, row->addr);
  if (dsc_addr_parse(addr, row->addr, NULL)) return false;
  *node = dsc_map_get(&table->nodes, dsc_str_of(addr->text));
  return !was_touched_locked(table, dsc_str_of(addr->text));
}

static dsc_err apply_row_locked(struct reading *r, const dsc_row *row) {
  dsc_addr addr;
  dsc_node *node;
  if (!look_up_locked(r->table, row, &node, &addr)) return DSC_OK;
  dsc_table_spec spec = {row->weight < DSC_WEIGHT_MAX ? row->weight : DSC_WEIGHT_MAX, &row->metadata, false,
                         r->ramp_from_ms};
  dsc_err err = DSC_OK;
  if (!node)
    err = dsc_table_add_locked(r->table, &addr, &spec, r->mean, r->trash, r->changes, &node);
  else if (!node->by_user)
    err = dsc_table_update_locked(r->table, node, &spec);
  if (node) node->seen = true;
  return err;
}

/* Absence is doubted: whoever no living row spoke of becomes stale. */
static void doubt_unseen_locked(struct reading *r) {
  size_t at = 0;
  for (dsc_node *node; (node = dsc_map_next(&r->table->nodes, &at));) {
    bool seen = node->seen;
    node->seen = false;
    if (seen || node->by_user || node->stale_since_ms) continue;
    if (!was_touched_locked(r->table, dsc_node_addr(node))) make_stale_locked(r, node);
  }
}

/* Every row is dead and nobody else is there: perhaps the keys alone were lost, so they are better than nothing. */
static dsc_err add_dead_row_locked(struct reading *r, const dsc_row *row) {
  dsc_addr addr;
  dsc_node *node;
  if (!look_up_locked(r->table, row, &node, &addr) || node) return DSC_OK;
  dsc_table_spec spec = {row->weight < DSC_WEIGHT_MAX ? row->weight : DSC_WEIGHT_MAX, NULL, false, 0};
  dsc_err err = dsc_table_add_locked(r->table, &addr, &spec, r->mean, r->trash, r->changes, &node);
  if (node) make_stale_locked(r, node);
  return err;
}

static dsc_err apply_rows_locked(struct reading *r, const dsc_row *rows, size_t n, bool alive,
                                 dsc_err (*apply)(struct reading *, const dsc_row *)) {
  dsc_err err = DSC_OK;
  for (size_t i = 0; i < n; i++)
    if (rows[i].alive == alive && rows[i].weight > 0 && apply(r, &rows[i])) err = DSC_ENOMEM;
  return err;
}

dsc_err dsc_table_read_end(dsc_table *table, const dsc_row *rows, size_t n, uint64_t now_ms, dsc_changes *changes) {
  dsc_table_trash trash;
  dsc_table_lock(table, &trash);
  dsc_err err = table->blind ? DSC_ENOMEM : DSC_OK;
  if (table->closed) err = DSC_ECLOSED;
  if (!err) {
    sum_loads_locked(table);
    struct reading r = {
        table, &trash, changes, dsc_table_join_load_locked(table), now_ms, dsc_table_ramp_from_locked(table, now_ms)};
    err = apply_rows_locked(&r, rows, n, true, apply_row_locked);
    doubt_unseen_locked(&r);
    if (!dsc_table_has_fresh_locked(table) && apply_rows_locked(&r, rows, n, false, add_dead_row_locked))
      err = DSC_ENOMEM;
  }
  dsc_table_forget_read_locked(table);
  dsc_table_unlock(table, &trash);
  return err;
}

/* ---- the grace ---- */

uint64_t dsc_table_sweep(dsc_table *table, uint64_t grace_ms, uint64_t now_ms, dsc_changes *changes) {
  dsc_table_trash trash;
  uint64_t next = UINT64_MAX;
  dsc_link doomed;
  dsc_list_init(&doomed);
  dsc_table_lock(table, &trash);
  size_t at = table->n_stale > 0 && dsc_table_has_fresh_locked(table) ? 0 : table->nodes.cap;
  for (dsc_node *node; (node = dsc_map_next(&table->nodes, &at));) {
    if (!node->stale_since_ms) continue;
    uint64_t due = node->stale_since_ms + grace_ms;
    if (due > now_ms) {
      if (due < next) next = due;
      continue;
    }
    dsc_list_remove(&node->isolated_link);
    dsc_list_push(&doomed, &node->isolated_link);
  }
  dsc_table_remove_all_locked(table, &doomed, &trash, changes);
  dsc_table_unlock(table, &trash);
  return next == UINT64_MAX ? 0 : next;
}
