/*
** table_pick.c - picking a node, and what its outcome does to it.
**
** The way of a pick: lock, ask the balancer, count, unlock; the clock is read only while some node is
** isolated. Writers of a node's counters hold the lock, so these are plain additions; readers need no lock.
*/
#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "model/failure_rate.h"
#include "model/table_impl.h"

#define NOT_PICKED_BY_A_BALANCER (-1)

static dsc_node *node_of(dsc_link *link) {
  return DSC_LIST_ENTRY(link, dsc_node, isolated_link);
}

/* ---- choosing ---- */

static dsc_balancer *make_balancer_locked(dsc_table *table, int index) {
  const dsc_balancer_ops *ops = dsc_balancer_all[index];
  dsc_balancer *balancer = ops->create();
  if (!balancer) return NULL;
  if (ops->reserve(balancer, table->slot_cap)) {
    ops->destroy(balancer);
    return NULL;
  }
  size_t at = 0;
  for (dsc_node *node; (node = dsc_map_next(&table->nodes, &at));)
    if (node->in_picker) ops->add(balancer, node);
  return table->balancers[index] = balancer;
}

static dsc_node *better(dsc_node *best, dsc_node *node, const dsc_pick *pick) {
  if ((best && best->load <= node->load) || dsc_balancer_is_tried(pick, node)) return best;
  return node;
}

/* Without memory for a balancer: the least used, by looking at all. */
static dsc_node *scan_picker_locked(dsc_table *table, const dsc_pick *pick) {
  dsc_node *best = NULL;
  size_t at = 0;
  for (dsc_node *node; (node = dsc_map_next(&table->nodes, &at));)
    if (node->in_picker) best = better(best, node, pick);
  return best;
}

static dsc_node *scan_isolated_locked(dsc_table *table, const dsc_pick *pick) {
  dsc_node *best = NULL;
  for (dsc_link *link = table->isolated.next; link != &table->isolated; link = link->next)
    best = better(best, node_of(link), pick);
  return best;
}

static void begin_probe_locked(dsc_table *table, dsc_node *node, const dsc_pick *pick, uint64_t now_ms) {
  dsc_health_begin_probe(&node->health, now_ms + pick->slot_ms);
  dsc_list_remove(&node->isolated_link);
  dsc_list_push(&table->isolated, &node->isolated_link);
  dsc_table_refresh_state_locked(table, node);
}

/* Takes the probe slot of the first node that is due. Looks at the list only when one may be. */
static dsc_node *take_probe_locked(dsc_table *table, const dsc_pick *pick) {
  uint64_t now_ms = dsc_clock_now_ms(), earliest = UINT64_MAX;
  if (now_ms < table->probe_at_ms) return NULL;
  for (dsc_link *link = table->isolated.next; link != &table->isolated; link = link->next) {
    dsc_node *node = node_of(link);
    if (node->health.until_ms < earliest) earliest = node->health.until_ms;
    if (!dsc_health_probe_due(&node->health, now_ms) || dsc_balancer_is_tried(pick, node)) continue;
    begin_probe_locked(table, node, pick, now_ms);
    return node;
  }
  table->probe_at_ms = earliest;
  return NULL;
}

static dsc_node *ask_balancer_locked(dsc_table *table, const dsc_pick *pick, int *index) {
  *index = dsc_balancer_index(pick->balancer);
  if (*index == DSC_BALANCER_HASH && !pick->has_key) *index = DSC_BALANCER_LEAST_USED;
  dsc_balancer *balancer = table->balancers[*index];
  if (!balancer) balancer = make_balancer_locked(table, *index);
  return balancer ? dsc_balancer_all[*index]->next(balancer, pick) : scan_picker_locked(table, pick);
}

/* The balancer's best of those that are not spared, else of all. */
static dsc_node *ask_gently_locked(dsc_table *table, const dsc_pick *pick, int *index) {
  dsc_sparing sparing;
  if (!dsc_table_begin_sparing_locked(table, pick, &sparing)) return ask_balancer_locked(table, pick, index);
  dsc_pick gentle = *pick;
  gentle.sparing = &sparing;
  dsc_node *node = ask_balancer_locked(table, &gentle, index);
  return node ? node : ask_balancer_locked(table, pick, index);
}

static dsc_node *choose_locked(dsc_table *table, const dsc_pick *pick, int *index, bool *is_probe) {
  bool some_isolated = !dsc_list_empty(&table->isolated);
  bool eager = pick->repeatable && !pick->probed;
  dsc_node *node = some_isolated && eager ? take_probe_locked(table, pick) : NULL;
  if ((*is_probe = node != NULL)) return node;
  node = ask_gently_locked(table, pick, index);
  /* nodes that are only busy are waited for: no call goes to an isolated one for their sake */
  if (node || !some_isolated || dsc_table_is_full_locked(table, pick)) return node;
  *index = NOT_PICKED_BY_A_BALANCER;
  if (!eager) node = take_probe_locked(table, pick);
  if ((*is_probe = node != NULL)) return node;
  return scan_isolated_locked(table, pick);
}

/* ---- counting ---- */

static void count_locked(dsc_table *table, dsc_node *node, int index) {
  double step = 1.0 / dsc_node_weight(node);
  table->picked = true;
  table->in_flight++;
  node->load += step;
  atomic_store_explicit(&node->in_flight, dsc_node_in_flight(node) + 1, memory_order_relaxed);
  uint64_t attempts = atomic_load_explicit(&node->attempts, memory_order_relaxed);
  atomic_store_explicit(&node->attempts, attempts + 1, memory_order_relaxed);
  dsc_node_ref(node);
  if (!node->in_picker) return;
  table->load_sum += step;
  dsc_table_changed_locked(table, node, index);
}

dsc_node *dsc_table_pick(dsc_table *table, const dsc_pick *pick, bool *is_probe) {
  dsc_table_trash trash;
  int index = NOT_PICKED_BY_A_BALANCER;
  dsc_table_lock(table, &trash);
  dsc_node *node = choose_locked(table, pick, &index, is_probe);
  if (node) count_locked(table, node, index);
  dsc_table_unlock(table, &trash);
  return node;
}

dsc_node *dsc_table_pick_addr(dsc_table *table, dsc_str addr, const dsc_pick *pick, bool *is_probe) {
  *is_probe = false;
  dsc_addr parsed;
  if (dsc_addr_parse(&parsed, addr, NULL)) return NULL;
  dsc_table_trash trash;
  dsc_table_lock(table, &trash);
  dsc_node *node = dsc_map_get(&table->nodes, dsc_str_of(parsed.text));
  if (node && dsc_balancer_is_tried(pick, node)) node = NULL;
  if (node && !node->in_picker) {
    uint64_t now_ms = dsc_clock_now_ms();
    *is_probe = dsc_health_probe_due(&node->health, now_ms);
    if (*is_probe) begin_probe_locked(table, node, pick, now_ms);
  }
  if (node) count_locked(table, node, NOT_PICKED_BY_A_BALANCER);
  dsc_table_unlock(table, &trash);
  return node;
}

dsc_node *dsc_table_pick_probe(dsc_table *table, uint32_t slot_ms, uint64_t *next_ms) {
  dsc_table_trash trash;
  dsc_pick pick = {.slot_ms = slot_ms};
  dsc_table_lock(table, &trash);
  dsc_node *node = dsc_list_empty(&table->isolated) ? NULL : take_probe_locked(table, &pick);
  if (node) count_locked(table, node, NOT_PICKED_BY_A_BALANCER);
  *next_ms = dsc_list_empty(&table->isolated) ? UINT64_MAX : table->probe_at_ms;
  dsc_table_unlock(table, &trash);
  return node;
}

/* ---- outcomes ---- */

static void add_one(_Atomic uint64_t *counter) {
  atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* What made it isolated, or came before it was well again, shall not isolate it again. */
static void forget_rate_locked(dsc_node *node) {
  if (node->rate) *node->rate = (dsc_window){0};
}

static void isolate_locked(dsc_table *table, dsc_node *node, dsc_change_kind kind, dsc_changes *changes) {
  forget_rate_locked(node);
  dsc_table_unspare_locked(node);
  dsc_table_leave_picker_locked(table, node);
  dsc_list_push(&table->isolated, &node->isolated_link);
  add_one(&table->counters.isolations);
  dsc_changes_add(changes, kind, node);
}

/* Back, but never ahead of those who worked meanwhile. */
static void recover_locked(dsc_table *table, dsc_node *node, uint64_t now_ms, dsc_changes *changes) {
  dsc_list_remove(&node->isolated_link);
  forget_rate_locked(node);
  double mean = dsc_table_mean_locked(table);
  if (node->load < mean) node->load = mean;
  if (table->n_picker) dsc_table_ramp_locked(table, node, now_ms);
  dsc_table_enter_picker_locked(table, node);
  add_one(&table->counters.recoveries);
  dsc_changes_add(changes, DSC_CHANGE_RECOVERED, node);
}

/* Counts the outcome. Returns true when the node fails so often that it is isolated, though never many times in a row:
** memory is the window's, so a node that was never called costs none. */
static bool fails_too_often_locked(dsc_table *table, dsc_node *node, dsc_outcome outcome, uint64_t now_ms) {
  if (outcome == DSC_OUTCOME_NEUTRAL || !node->in_picker) return false;
  if (!node->rate) node->rate = dsc_mem_zalloc(1, sizeof *node->rate);
  if (!node->rate) return false;
  bool failed = outcome == DSC_OUTCOME_FAILURE;
  dsc_window_add(node->rate, failed ? DSC_FAILURE_RATE_FAILED : DSC_FAILURE_RATE_WELL, now_ms);
  if (!failed || !dsc_failure_rate_is_high(node->rate)) return false;
  return dsc_failure_rate_may_isolate(table->nodes.count, table->nodes.count - table->n_picker);
}

static void judge_locked(dsc_table *table, dsc_node *node, dsc_outcome outcome, bool was_probe, uint32_t retry_times,
                         uint64_t now_ms, dsc_changes *changes) {
  double jitter = outcome == DSC_OUTCOME_FAILURE ? dsc_random_unit() : 0;
  dsc_health_change change = dsc_health_apply(&node->health, outcome, was_probe, retry_times, now_ms, jitter);
  dsc_change_kind kind = DSC_CHANGE_ISOLATED;
  if (change == DSC_HEALTH_SAME && fails_too_often_locked(table, node, outcome, now_ms)) {
    change = dsc_health_isolate(&node->health, now_ms, jitter);
    kind = DSC_CHANGE_ISOLATED_BY_RATE;
  }
  atomic_store_explicit(&node->failed_times, node->health.failures, memory_order_relaxed);
  if (change == DSC_HEALTH_WAS_ISOLATED) isolate_locked(table, node, kind, changes);
  if (change == DSC_HEALTH_RECOVERED) recover_locked(table, node, now_ms, changes);
  if (!node->in_picker && node->health.until_ms < table->probe_at_ms) table->probe_at_ms = node->health.until_ms;
  dsc_table_refresh_state_locked(table, node);
}

static void release_locked(dsc_table *table, dsc_node *node) {
  uint32_t in_flight = dsc_node_in_flight(node);
  if (in_flight == 0) return;
  atomic_store_explicit(&node->in_flight, in_flight - 1, memory_order_relaxed);
  if (dsc_table_has_locked(node)) table->in_flight--;
  if (node->in_picker) dsc_table_changed_locked(table, node, NOT_PICKED_BY_A_BALANCER);
}

void dsc_table_done(dsc_table *table, dsc_node *node, dsc_outcome outcome, bool was_probe, uint32_t retry_times,
                    uint64_t now_ms, dsc_changes *changes) {
  dsc_table_trash trash;
  dsc_table_lock(table, &trash);
  release_locked(table, node);
  if (outcome == DSC_OUTCOME_FAILURE) {
    uint64_t failures = atomic_load_explicit(&node->failures, memory_order_relaxed);
    atomic_store_explicit(&node->failures, failures + 1, memory_order_relaxed);
  }
  bool doubted = node->stale_since_ms && dsc_table_has_fresh_locked(table);
  if (dsc_table_has_locked(node) && doubted && outcome == DSC_OUTCOME_FAILURE)
    dsc_table_remove_locked(table, node, &trash, changes);
  else if (dsc_table_has_locked(node))
    judge_locked(table, node, outcome, was_probe, retry_times, now_ms, changes);
  dsc_table_unlock(table, &trash);
}

void dsc_table_lapse(dsc_table *table, dsc_node *node, bool was_probe, uint64_t now_ms) {
  dsc_table_trash trash;
  dsc_table_lock(table, &trash);
  release_locked(table, node);
  if (dsc_table_has_locked(node)) judge_locked(table, node, DSC_OUTCOME_NEUTRAL, was_probe, 1, now_ms, NULL);
  dsc_table_unlock(table, &trash);
}
