/*
** table_spared.c - nodes that are spared for a while: new or back (slow start), or asked to be left alone
** (Retry-After); and what bounds calls: the limit per node, the retry budget.
**
** A spared node is in the picker, but as good as tried as long as there is another. Its load falls behind meanwhile,
** so at the end it is raised to the mean: what it was spared it need not make up for. Ends are looked for at most ten
** times a second, and a node is spared until it was seen to end. A key that belongs to one node (hash) is no load to be
** shared out: there is no slow start for it. Under the table's lock.
*/
#include "base/clock.h"
#include "model/slow_start.h"
#include "model/table_impl.h"

#define LOOK_EVERY_MS 100

static dsc_node *node_of(dsc_link *link) {
  return DSC_LIST_ENTRY(link, dsc_node, spared_link);
}

/* ---- sparing ---- */

static uint64_t end_of(const dsc_node *node) {
  uint64_t ramp_ms = node->ramp_from_ms ? node->ramp_from_ms + DSC_SLOW_START_MS : 0;
  return ramp_ms > node->avoid_until_ms ? ramp_ms : node->avoid_until_ms;
}

static void spare_locked(dsc_table *table, dsc_node *node) {
  if (dsc_list_empty(&node->spared_link)) dsc_list_push(&table->spared, &node->spared_link);
  uint64_t end_ms = end_of(node);
  if (end_ms < table->spared_look_ms) table->spared_look_ms = end_ms;
}

void dsc_table_ramp_locked(dsc_table *table, dsc_node *node, uint64_t now_ms) {
  node->ramp_from_ms = now_ms;
  spare_locked(table, node);
}

void dsc_table_unspare_locked(dsc_node *node) {
  dsc_list_remove(&node->spared_link);
  node->ramp_from_ms = node->avoid_until_ms = 0;
}

bool dsc_table_avoid(dsc_table *table, dsc_node *node, uint64_t until_ms) {
  pthread_mutex_lock(&table->lock);
  bool fresh = dsc_table_has_locked(node) && node->in_picker && node->avoid_until_ms == 0;
  if (dsc_table_has_locked(node) && node->in_picker && until_ms > node->avoid_until_ms) {
    node->avoid_until_ms = until_ms;
    spare_locked(table, node);
  }
  pthread_mutex_unlock(&table->lock);
  return fresh;
}

/* Out and in again: every balancer gives it a place as to one that joins. */
static void end_locked(dsc_table *table, dsc_node *node) {
  dsc_table_unspare_locked(node);
  dsc_table_leave_picker_locked(table, node);
  double mean = dsc_table_mean_locked(table);
  if (node->load < mean) node->load = mean;
  dsc_table_enter_picker_locked(table, node);
}

static void look_locked(dsc_table *table, uint64_t now_ms) {
  uint64_t next_ms = UINT64_MAX;
  dsc_link *next;
  for (dsc_link *link = table->spared.next; link != &table->spared; link = next) {
    next = link->next;
    dsc_node *node = node_of(link);
    uint64_t end_ms = end_of(node);
    if (end_ms <= now_ms)
      end_locked(table, node);
    else if (end_ms < next_ms)
      next_ms = end_ms;
  }
  table->spared_look_ms = next_ms < now_ms + LOOK_EVERY_MS ? now_ms + LOOK_EVERY_MS : next_ms;
}

bool dsc_table_begin_sparing_locked(dsc_table *table, const dsc_pick *pick, dsc_sparing *sparing) {
  if (dsc_list_empty(&table->spared)) return false;
  sparing->now_ms = dsc_clock_coarse_ms();
  if (sparing->now_ms >= table->spared_look_ms) look_locked(table, sparing->now_ms);
  sparing->in_flight = table->in_flight;
  sparing->weight = table->weight;
  sparing->keyed = pick->has_key && pick->balancer == &dsc_balancer_hash;
  return !dsc_list_empty(&table->spared);
}

bool dsc_table_is_spared(const dsc_sparing *sparing, const dsc_node *node) {
  if (node->avoid_until_ms > sparing->now_ms) return true;
  if (!node->ramp_from_ms || sparing->keyed) return false;
  uint64_t age_ms = sparing->now_ms > node->ramp_from_ms ? sparing->now_ms - node->ramp_from_ms : 0;
  if (age_ms >= DSC_SLOW_START_MS) age_ms = DSC_SLOW_START_MS - 1; /* not seen to end yet */
  return dsc_slow_start_is_full(age_ms, dsc_node_in_flight(node), dsc_node_weight(node), sparing->in_flight,
                                sparing->weight);
}

/* ---- limits ---- */

static bool is_full(const dsc_pick *pick, const dsc_node *node) {
  dsc_pick without = *pick;
  without.node_limit = 0;
  return dsc_node_in_flight(node) >= pick->node_limit && !dsc_balancer_is_tried(&without, node);
}

bool dsc_table_is_full_locked(const dsc_table *table, const dsc_pick *pick) {
  size_t at = 0;
  for (dsc_node *node; pick->node_limit && (node = dsc_map_next(&table->nodes, &at));)
    if (node->in_picker && is_full(pick, node)) return true;
  return false;
}

static bool is_isolated_full_locked(const dsc_table *table, const dsc_pick *pick) {
  for (dsc_link *link = table->isolated.next; link != &table->isolated; link = link->next)
    if (is_full(pick, DSC_LIST_ENTRY(link, dsc_node, isolated_link))) return true;
  return false;
}

bool dsc_table_is_full(dsc_table *table, dsc_str addr, const dsc_pick *pick) {
  dsc_addr parsed;
  if (!pick->node_limit || (addr.n && dsc_addr_parse(&parsed, addr, NULL))) return false;
  pthread_mutex_lock(&table->lock);
  dsc_node *node = addr.n ? dsc_map_get(&table->nodes, dsc_str_of(parsed.text)) : NULL;
  bool full = node && is_full(pick, node);
  if (!addr.n) full = dsc_table_is_full_locked(table, pick) || is_isolated_full_locked(table, pick);
  pthread_mutex_unlock(&table->lock);
  return full;
}

/* ---- the retry budget ---- */

void dsc_table_count_call(dsc_table *table, uint64_t now_ms) {
  pthread_mutex_lock(&table->lock);
  dsc_budget_call(&table->budget, now_ms);
  pthread_mutex_unlock(&table->lock);
}

bool dsc_table_take_retry(dsc_table *table, uint64_t now_ms) {
  pthread_mutex_lock(&table->lock);
  bool taken = dsc_budget_take(&table->budget, now_ms);
  pthread_mutex_unlock(&table->lock);
  return taken;
}
