/*
** table_walk_test.c - a long random walk over everything a table can be asked, against a naive model.
**
** The model keeps an array of addresses with what must be true of them; orders are searched for by looking at
** all nodes. After each step what was asked is compared; every few steps the inside is checked as well.
*/
#include <math.h>

#include "table_support.h"

#include "model/heap.h"
#include "model/table_impl.h"

#define ADDRS 24
#define USER  4 /* the first ones may be set by the user */
#define OPEN  40
#define LIMIT 3

struct naive {
  dsc_node *node; /* borrowed; NULL: not there */
  uint32_t weight, in_flight;
  bool by_user, stale, touched;
};

struct mark {
  dsc_node *node; /* a reference */
  int at;         /* index of its address while it is the node there, else -1 */
  bool is_probe;
};

struct walk {
  dsc_table *table;
  struct naive all[ADDRS];
  struct mark open[OPEN];
  size_t n_open;
  uint64_t seed, now;
};

static size_t roll(struct walk *w, size_t limit) {
  return pick_below(&w->seed, limit);
}

static bool is_in(const struct naive *a) {
  return a->node && a->node->health.state == DSC_HEALTH_UP;
}

static bool has_fresh(const struct walk *w) {
  for (int i = 0; i < ADDRS; i++)
    if (w->all[i].node && !w->all[i].stale) return true;
  return false;
}

static void forget(struct walk *w, int i) {
  if (!w->all[i].node) return;
  for (size_t k = 0; k < w->n_open; k++)
    if (w->open[k].at == i) w->open[k].at = -1;
  w->all[i] = (struct naive){.touched = w->all[i].touched};
}

/* Learns which node now stands at an address; a new one must have joined at the mean. */
static void learn(struct walk *w, int i, uint32_t weight, bool by_user, double mean) {
  struct naive *a = &w->all[i];
  if (!a->node) {
    a->node = peek(w->table, (size_t)i);
    assert_non_null(a->node);
    assert_true(a->node->load >= mean - 1e-6 && a->node->load <= mean + 1.0 / weight + 1e-6);
  }
  a->weight = weight;
  a->by_user = a->by_user || by_user;
  a->stale = false;
}

static double mean_of(const struct walk *w) {
  double sum = 0;
  int n = 0;
  for (int i = 0; i < ADDRS; i++)
    if (is_in(&w->all[i])) sum += w->all[i].node->load, n++;
  return n ? sum / n : 0;
}

/* Where newcomers join: at the mean of the isolated while there are no others. */
static double join_of(const struct walk *w) {
  double sum = 0;
  int n = 0;
  for (int i = 0; i < ADDRS; i++) {
    if (is_in(&w->all[i])) return mean_of(w);
    if (w->all[i].node) sum += w->all[i].node->load, n++;
  }
  return n ? sum / n : 0;
}

/* ---- steps ---- */

static void step_set(struct walk *w) {
  int i = (int)roll(w, ADDRS);
  bool by_user = i < USER && roll(w, 2);
  uint32_t weight = (uint32_t)roll(w, 8);
  double mean = join_of(w);
  assert_int_equal(dsc_table_set(w->table, addr_of((size_t)i), weight, NULL, by_user, w->now, NULL), DSC_OK);
  w->all[i].touched |= !by_user;
  if (w->all[i].by_user && !by_user) return;
  if (weight == 0)
    forget(w, i);
  else
    learn(w, i, weight, by_user, mean);
}

static void step_goodbye(struct walk *w) {
  int i = (int)roll(w, ADDRS);
  bool expected = w->all[i].node && !w->all[i].by_user;
  assert_int_equal(dsc_table_goodbye(w->table, addr_of((size_t)i), NULL), expected);
  w->all[i].touched = true;
  if (expected) forget(w, i);
}

static void step_read_begin(struct walk *w) {
  dsc_table_read_begin(w->table);
  for (int i = 0; i < ADDRS; i++) w->all[i].touched = false;
}

static void step_read_end(struct walk *w) {
  dsc_row rows[ADDRS];
  char texts[ADDRS][32];
  int shown[ADDRS]; /* 0: no row, 1: dead, 2: alive */
  size_t n = 0;
  bool reading = w->table->reading;
  double mean = join_of(w);
  for (int i = 0; i < ADDRS; i++) {
    shown[i] = roll(w, 4) ? 2 : (int)roll(w, 2);
    dsc_str addr = addr_of((size_t)i);
    memcpy(texts[i], addr.p, addr.n);
    if (shown[i]) rows[n++] = (dsc_row){{texts[i], addr.n}, (uint32_t)i + 1, shown[i] == 2, {NULL, 0}};
  }
  assert_int_equal(dsc_table_read_end(w->table, rows, n, w->now, NULL), DSC_OK);
  for (int i = 0; i < ADDRS; i++) {
    struct naive *a = &w->all[i];
    if (a->by_user || (reading && a->touched)) continue;
    if (shown[i] == 2) learn(w, i, (uint32_t)i + 1, false, mean);
    if (shown[i] < 2 && a->node) a->stale = true;
  }
  for (int i = 0; i < ADDRS; i++) w->all[i].touched = false;
}

static void step_sweep(struct walk *w) {
  uint64_t grace = roll(w, 3000);
  bool expected[ADDRS];
  for (int i = 0; i < ADDRS; i++)
    expected[i] = w->all[i].stale && has_fresh(w) && w->all[i].node->stale_since_ms + grace <= w->now;
  (void)dsc_table_sweep(w->table, grace, w->now, NULL);
  for (int i = 0; i < ADDRS; i++)
    if (expected[i]) forget(w, i);
}

static int at_of(const struct walk *w, const dsc_node *node) {
  for (int i = 0; i < ADDRS; i++)
    if (w->all[i].node == node) return i;
  return -1;
}

/* What the heap ones must choose. */
static double key_of(const dsc_node *node, int balancer) {
  return balancer == DSC_BALANCER_LEAST_IN_FLIGHT ? dsc_node_in_flight(node) / (double)dsc_node_weight(node)
                                                  : node->load;
}

static void check_choice(struct walk *w, const dsc_pick *pick, const dsc_node *node, bool is_probe, const double *keys,
                         int balancer) {
  bool due = false, usable = false, any = false;
  int at = node ? at_of(w, node) : -1;
  for (int i = 0; i < ADDRS; i++) {
    const struct naive *a = &w->all[i];
    if (!a->node || dsc_balancer_is_tried(pick, a->node)) continue;
    bool is_this_probe = i == at && is_probe; /* its slot is already taken */
    any = true;
    usable |= is_in(a);
    due |= !is_in(a) && (is_this_probe || w->now >= a->node->health.until_ms);
  }
  assert_int_equal(node != NULL, any);
  assert_int_equal(is_probe, due && (pick->repeatable || !usable));
  if (!node) return;
  assert_false(dsc_balancer_is_tried(pick, node));
  assert_true(is_probe || is_in(&w->all[at]) == usable);
  bool ordered = balancer == DSC_BALANCER_LEAST_USED || balancer == DSC_BALANCER_LEAST_IN_FLIGHT;
  for (int i = 0; i < ADDRS && ordered && usable && !is_probe; i++)
    if (is_in(&w->all[i]) && !dsc_balancer_is_tried(pick, w->all[i].node))
      assert_true(keys[at] <= keys[i] || keys[at] == INFINITY);
}

static void step_pick(struct walk *w) {
  if (w->n_open == OPEN) return;
  int balancer = (int)roll(w, DSC_BALANCER_COUNT);
  dsc_pick pick = any_pick(dsc_balancer_all[balancer]);
  dsc_node *tried[ADDRS];
  double keys[ADDRS] = {0};
  pick.tried = tried;
  pick.has_key = true;
  pick.key = w->seed * UINT64_C(0x9e3779b97f4a7c15);
  pick.repeatable = roll(w, 2);
  size_t odds = roll(w, 4) ? 6 : 2;
  for (int i = 0; i < ADDRS; i++) {
    if (!w->all[i].node) continue;
    keys[i] = key_of(w->all[i].node, balancer);
    if (w->all[i].node->ramp_from_ms) keys[i] = INFINITY; /* a node that starts slowly may be passed by */
    if (roll(w, odds) == 0) tried[pick.n_tried++] = w->all[i].node;
  }
  bool is_probe;
  dsc_node *node = dsc_table_pick(w->table, &pick, &is_probe);
  check_choice(w, &pick, node, is_probe, keys, balancer);
  if (!node) return;
  int at = at_of(w, node);
  w->all[at].in_flight++;
  w->open[w->n_open++] = (struct mark){node, at, is_probe};
}

static void step_done(struct walk *w) {
  if (w->n_open == 0) return;
  size_t k = roll(w, w->n_open);
  struct mark mark = w->open[k];
  w->open[k] = w->open[--w->n_open];
  dsc_outcome outcome = (dsc_outcome)roll(w, 3);
  bool lapse = roll(w, 8) == 0;
  bool goes = mark.at >= 0 && w->all[mark.at].stale && has_fresh(w) && outcome == DSC_OUTCOME_FAILURE && !lapse;
  double own = mark.node->load, mean = mean_of(w);
  bool was_in = mark.node->in_picker;
  if (lapse)
    dsc_table_lapse(w->table, mark.node, mark.is_probe, w->now);
  else
    dsc_table_done(w->table, mark.node, outcome, mark.is_probe, LIMIT, w->now, NULL);
  if (mark.at >= 0) w->all[mark.at].in_flight--;
  if (goes) forget(w, mark.at);
  if (mark.at >= 0 && !goes && !was_in && mark.node->in_picker) {
    double expected = own > mean ? own : mean;
    assert_true(mark.node->load > expected - 1e-6 && mark.node->load < expected + 1e-6);
  }
  if (mark.at < 0 || goes) assert_int_equal(dsc_node_get_state(mark.node), DSC_NODE_GONE);
  dsc_node_unref(mark.node);
}

/* ---- the inside ---- */

static void check_heap(const struct walk *w, int index) {
  const dsc_balancer *heap = w->table->balancers[index];
  if (!heap) return;
  assert_int_equal(heap->count, w->table->n_picker);
  for (uint32_t i = 0; i < heap->count; i++) {
    const dsc_heap_entry *entry = &heap->entries[i];
    const dsc_node *node = heap->nodes[entry->slot];
    assert_int_equal(heap->positions[entry->slot], i);
    assert_true(node->in_picker && node->slot == entry->slot);
    if (i > 0) assert_true(heap->entries[(i - 1) / 4].key <= entry->key);
    if (index != DSC_BALANCER_ROUND_ROBIN) assert_true(entry->key == key_of(node, index));
  }
}

static void check_node(const struct walk *w, const struct naive *a) {
  const dsc_node *node = a->node;
  unsigned held = 0;
  for (size_t k = 0; k < w->n_open; k++) held += w->open[k].node == node;
  assert_int_equal(atomic_load(&node->refs), 1 + held);
  assert_int_equal(dsc_node_weight(node), a->weight);
  assert_int_equal(dsc_node_in_flight(node), a->in_flight);
  assert_int_equal(node->by_user, a->by_user);
  assert_int_equal(node->stale_since_ms != 0, a->stale);
  assert_int_equal(node->in_picker, is_in(a));
  assert_int_equal(dsc_list_empty(&node->isolated_link), is_in(a));
  assert_int_equal(atomic_load(&node->failed_times), node->health.failures);
  assert_true(node->slot < w->table->next_slot && !node->seen);
  dsc_node_state up = a->stale ? DSC_NODE_STALE : DSC_NODE_UP;
  dsc_node_state down = node->health.state == DSC_HEALTH_PROBING ? DSC_NODE_PROBING : DSC_NODE_ISOLATED;
  assert_int_equal(dsc_node_get_state(node), is_in(a) ? up : down);
}

static void check_inside(const struct walk *w) {
  const dsc_table *table = w->table;
  size_t count = 0, in = 0, up = 0, stale = 0;
  bool slots[2 * ADDRS] = {false};
  double sum = 0;
  uint64_t in_flight = 0, weight = 0;
  for (int i = 0; i < ADDRS; i++) {
    const struct naive *a = &w->all[i];
    assert_ptr_equal(dsc_map_get(&table->nodes, addr_of((size_t)i)), a->node);
    if (!a->node) continue;
    check_node(w, a);
    assert_false(slots[a->node->slot]);
    slots[a->node->slot] = true;
    count++;
    stale += a->stale;
    up += is_in(a) && !a->stale;
    in += is_in(a);
    if (is_in(a)) sum += a->node->load, weight += a->weight;
    in_flight += a->in_flight;
    assert_int_equal(dsc_list_empty(&a->node->spared_link), a->node->ramp_from_ms == 0);
    if (!is_in(a)) assert_int_equal(a->node->ramp_from_ms, 0);
  }
  for (uint32_t i = 0; i < table->n_free; i++) {
    assert_false(slots[table->free_slots[i]]);
    slots[table->free_slots[i]] = true;
  }
  assert_int_equal(table->nodes.count, count);
  assert_int_equal(table->n_free + count, table->next_slot);
  assert_true(table->next_slot <= table->slot_cap);
  assert_true(table->n_picker == in && table->n_up == up && table->n_stale == stale);
  assert_true(table->load_sum > sum - 1e-5 && table->load_sum < sum + 1e-5);
  assert_int_equal(table->in_flight, in_flight);
  assert_int_equal(table->weight, weight);
  check_heap(w, DSC_BALANCER_LEAST_USED);
  check_heap(w, DSC_BALANCER_LEAST_IN_FLIGHT);
  check_heap(w, DSC_BALANCER_ROUND_ROBIN);
}

TEST(a_random_walk_agrees_with_the_model) {
  for (uint64_t seed = 1; seed <= 5; seed++) {
    struct walk w = {.table = new_table(), .seed = seed, .now = NOW};
    for (int step = 0; step < 20000; step++) {
      size_t kind = roll(&w, 100);
      w.now += roll(&w, 60);
      dsc_clock_hold(w.now);
      if (kind < 8) step_set(&w);
      if (kind >= 8 && kind < 12) step_goodbye(&w);
      if (kind >= 12 && kind < 14) step_read_begin(&w);
      if (kind >= 14 && kind < 16) step_read_end(&w);
      if (kind >= 16 && kind < 18) step_sweep(&w);
      if (kind >= 18 && kind < 60) step_pick(&w);
      if (kind >= 60) step_done(&w);
      if (step % 5 == 0) check_inside(&w);
    }
    while (w.n_open > 0) step_done(&w);
    check_inside(&w);
    end_table(w.table);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {LEAK_FREE(a_random_walk_agrees_with_the_model)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
