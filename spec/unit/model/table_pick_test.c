/*
** table_pick_test.c - picks, isolation, probes and outcomes; threads that do all of it at once.
*/
#include "table_support.h"

#include <pthread.h>

static dsc_node *begin(dsc_table *table, const dsc_pick *pick, bool *is_probe) {
  dsc_node *node = dsc_table_pick(table, pick, is_probe);
  if (node) assert_true(dsc_node_in_flight(node) > 0);
  return node;
}

static void end(dsc_table *table, dsc_node *node, dsc_outcome outcome, bool was_probe, uint64_t now_ms) {
  done(table, node, outcome, was_probe, now_ms);
  dsc_node_unref(node);
}

/* A table of two where node 0 is isolated, and a probe due at `*due_ms`; the clock is held at NOW. */
static dsc_table *one_isolated(uint64_t *due_ms) {
  static const uint32_t weights[] = {10, 10};
  dsc_table *table = table_of(weights, 2);
  dsc_clock_hold(NOW);
  isolate(table, 0, NOW);
  *due_ms = peek(table, 0)->health.until_ms;
  assert_in_range(*due_ms, NOW + 500, NOW + 1500);
  return table;
}

TEST(a_pick_counts) {
  static const uint32_t weights[] = {4};
  dsc_table *table = table_of(weights, 1);
  dsc_pick pick = any_pick(NULL);
  bool is_probe = true;
  double load = peek(table, 0)->load;
  dsc_node *one = begin(table, &pick, &is_probe), *two = begin(table, &pick, &is_probe);
  assert_true(one == two && !is_probe);
  assert_int_equal(dsc_node_in_flight(one), 2);
  assert_int_equal(atomic_load(&one->attempts), 2);
  assert_true(one->load > load + 0.499 && one->load < load + 0.501);
  end(table, one, DSC_OUTCOME_SUCCESS, false, NOW);
  dsc_table_lapse(table, two, false, NOW);
  assert_int_equal(dsc_node_in_flight(two), 0);
  dsc_table_lapse(table, two, false, NOW);
  end(table, two, DSC_OUTCOME_SUCCESS, false, NOW);
  assert_int_equal(dsc_node_in_flight(peek(table, 0)), 0);
  end_table(table);
}

TEST(an_empty_table_has_nothing) {
  dsc_table *table = new_table();
  dsc_pick pick = any_pick(NULL);
  bool is_probe = true;
  assert_null(dsc_table_pick(table, &pick, &is_probe));
  assert_false(is_probe);
  assert_null(dsc_table_pick_addr(table, addr_of(0), &pick, &is_probe));
  assert_null(dsc_table_pick_addr(table, L("?"), &pick, &is_probe));
  end_table(table);
}

TEST(failures_in_a_row_isolate_and_others_are_picked) {
  uint64_t due;
  dsc_table *table = one_isolated(&due);
  size_t usable;
  assert_int_equal(dsc_table_count(table, &usable), 2);
  assert_int_equal(usable, 1);
  assert_int_equal(dsc_table_counters(table)->isolations, 1);
  assert_int_equal(atomic_load(&peek(table, 0)->failed_times), 3);
  for (int b = 0; b < DSC_BALANCER_COUNT; b++) {
    dsc_pick pick = any_pick(dsc_balancer_all[b]);
    pick.has_key = true;
    for (pick.key = 0; pick.key < 20; pick.key++) assert_ptr_equal(pick_once(table, &pick), peek(table, 1));
  }
  end_table(table);
}

TEST(one_probe_at_a_time_and_only_what_may_be_repeated) {
  uint64_t due;
  dsc_table *table = one_isolated(&due);
  dsc_pick pick = any_pick(NULL), once = any_pick(NULL);
  bool is_probe;
  once.repeatable = false;
  dsc_clock_hold(due - 1);
  assert_ptr_equal(pick_once(table, &pick), peek(table, 1));
  dsc_clock_hold(due);
  assert_ptr_equal(pick_once(table, &once), peek(table, 1));
  dsc_node *probe = begin(table, &pick, &is_probe);
  assert_ptr_equal(probe, peek(table, 0));
  assert_true(is_probe);
  assert_string_equal(state_of(table, 0), "probing");
  for (int k = 0; k < 10; k++) assert_ptr_equal(pick_once(table, &pick), peek(table, 1));
  dsc_clock_hold(due + SLOT); /* the slot lapses: another probe */
  dsc_node *second = begin(table, &pick, &is_probe);
  assert_true(second == probe && is_probe);
  end(table, second, DSC_OUTCOME_NEUTRAL, true, due + SLOT); /* frees the slot */
  assert_string_equal(state_of(table, 0), "isolated");
  second = begin(table, &pick, &is_probe);
  assert_true(second == probe && is_probe);
  end(table, second, DSC_OUTCOME_FAILURE, true, due + SLOT);
  assert_string_equal(state_of(table, 0), "isolated");
  assert_ptr_equal(pick_once(table, &pick), peek(table, 1));
  end(table, probe, DSC_OUTCOME_SUCCESS, true, due + SLOT);
  assert_string_equal(state_of(table, 0), "up");
  assert_int_equal(dsc_table_counters(table)->recoveries, 1);
  assert_int_equal(dsc_table_counters(table)->isolations, 1);
  end_table(table);
}

TEST(a_lapsed_mark_frees_the_slot) {
  uint64_t due;
  dsc_table *table = one_isolated(&due);
  dsc_pick pick = any_pick(NULL);
  bool is_probe;
  dsc_clock_hold(due);
  dsc_node *probe = begin(table, &pick, &is_probe);
  assert_true(is_probe);
  dsc_table_lapse(table, probe, true, due);
  dsc_node_unref(probe);
  probe = begin(table, &pick, &is_probe);
  assert_true(is_probe && probe == peek(table, 0));
  end(table, probe, DSC_OUTCOME_SUCCESS, true, due);
  end_table(table);
}

TEST(a_call_that_may_not_be_repeated_probes_when_nothing_else_is_left) {
  uint64_t due;
  dsc_table *table = one_isolated(&due);
  dsc_node *tried = peek(table, 1);
  dsc_pick once = {.tried = &tried, .n_tried = 1, .slot_ms = SLOT};
  bool is_probe;
  dsc_node *node = begin(table, &once, &is_probe);
  assert_true(node == peek(table, 0) && !is_probe); /* not due: as the last resort, without the slot */
  end(table, node, DSC_OUTCOME_NEUTRAL, false, NOW);
  dsc_clock_hold(due);
  node = begin(table, &once, &is_probe);
  assert_true(node == peek(table, 0) && is_probe);
  end(table, node, DSC_OUTCOME_FAILURE, true, due);
  end_table(table);
}

TEST(if_every_node_is_isolated_all_are_used) {
  static const uint32_t weights[] = {10, 10, 10};
  dsc_table *table = table_of(weights, 3);
  dsc_clock_hold(NOW);
  for (size_t i = 0; i < 3; i++) isolate(table, i, NOW);
  dsc_node *tried[3];
  bool is_probe;
  size_t counts[3];
  dsc_pick pick = any_pick(NULL);
  pick.tried = tried;
  for (; pick.n_tried < 3; pick.n_tried++) {
    tried[pick.n_tried] = begin(table, &pick, &is_probe);
    assert_non_null(tried[pick.n_tried]);
    assert_false(is_probe);
  }
  assert_null(begin(table, &pick, &is_probe));
  for (size_t i = 0; i < 3; i++) end(table, tried[i], DSC_OUTCOME_FAILURE, false, NOW);
  pick.n_tried = 0;
  for (size_t i = 0; i < 3; i++) counts[i] = 0;
  for (int k = 0; k < 300; k++) {
    dsc_node *node = begin(table, &pick, &is_probe);
    for (size_t i = 0; i < 3; i++) counts[i] += node == peek(table, i);
    end(table, node, DSC_OUTCOME_FAILURE, is_probe, NOW);
  }
  for (size_t i = 0; i < 3; i++) assert_in_range(counts[i], 97, 103); /* the least used of them */
  end(table, begin(table, &pick, &is_probe), DSC_OUTCOME_SUCCESS, is_probe, NOW);
  size_t usable;
  (void)dsc_table_count(table, &usable);
  assert_int_equal(usable, 1);
  end_table(table);
}

TEST(a_recovered_node_is_not_ahead_of_the_others) {
  static const struct { double own, mean, expected; } cases[] = {{5, 100, 100}, {100, 5, 100}, {7, 7, 7}};
  for (size_t i = 0; i < COUNT(cases); i++) {
    static const uint32_t weights[] = {10, 10, 10};
    dsc_table *table = table_of(weights, 3);
    for (size_t k = 1; k < 3; k++) peek(table, k)->load = cases[i].mean + (k == 1 ? 1 : -1);
    read_rows(table, (dsc_row[]){row(0, 10, true), row(1, 10, true), row(2, 10, true)}, 3, NOW); /* sums anew */
    dsc_clock_hold(NOW);
    isolate(table, 0, NOW);
    peek(table, 0)->load = cases[i].own;
    done(table, peek(table, 0), DSC_OUTCOME_SUCCESS, false, NOW);
    assert_true(peek(table, 0)->load > cases[i].expected - 1e-6 && peek(table, 0)->load < cases[i].expected + 1e-6);
    end_table(table);
  }
}

/* While all the others are isolated there is no load in the picker to join at: theirs counts, or the newcomer would be
** behind by all that they ever had, and take every call once they are back. */
TEST(a_newcomer_during_an_outage_does_not_take_all_afterwards) {
  static const uint32_t weights[] = {10, 10};
  dsc_table *table = table_of(weights, 2);
  dsc_pick pick = any_pick(NULL);
  size_t counts[3];
  dsc_clock_hold(NOW);
  for (int k = 0; k < 1000; k++) pick_once(table, &pick);
  isolate(table, 0, NOW);
  isolate(table, 1, NOW);
  set(table, 2, 10);
  for (size_t i = 0; i < 2; i++) outcome_of(table, i, DSC_OUTCOME_SUCCESS, NOW);
  count_picks(table, &pick, 30, counts, 3);
  for (size_t i = 0; i < 3; i++) assert_in_range(counts[i], 8, 12);
  /* the same by a read, where the mean is taken once */
  isolate(table, 0, NOW);
  isolate(table, 1, NOW);
  isolate(table, 2, NOW);
  dsc_row rows[] = {row(0, 10, true), row(1, 10, true), row(2, 10, true), row(3, 10, true)};
  read_rows(table, rows, 4, NOW);
  assert_true(peek(table, 3)->load > peek(table, 0)->load - 1);
  end_table(table);
}

TEST(a_pinned_pick_takes_that_node_or_none) {
  uint64_t due;
  dsc_table *table = one_isolated(&due);
  dsc_pick pick = any_pick(NULL);
  bool is_probe;
  dsc_node *node = dsc_table_pick_addr(table, addr_of(0), &pick, &is_probe);
  assert_true(node == peek(table, 0) && !is_probe);
  end(table, node, DSC_OUTCOME_NEUTRAL, false, NOW);
  dsc_clock_hold(due);
  node = dsc_table_pick_addr(table, addr_of(0), &pick, &is_probe);
  assert_true(node == peek(table, 0) && is_probe);
  assert_int_equal(dsc_node_in_flight(node), 1);
  pick.tried = (dsc_node *[]){node};
  pick.n_tried = 1;
  assert_null(dsc_table_pick_addr(table, addr_of(0), &pick, &is_probe));
  end(table, node, DSC_OUTCOME_SUCCESS, true, due);
  assert_null(dsc_table_pick_addr(table, addr_of(7), &pick, &is_probe));
  end_table(table);
}

TEST(many_isolated_nodes_are_probed_in_turn) {
  dsc_table *table = new_table();
  dsc_pick pick = any_pick(NULL);
  for (size_t i = 0; i < 50; i++) set(table, i, 10);
  dsc_clock_hold(NOW);
  for (size_t i = 0; i < 49; i++) isolate(table, i, NOW);
  dsc_clock_hold(NOW + 2000); /* all are due */
  dsc_node *probes[49];
  bool is_probe;
  for (size_t i = 0; i < 49; i++) {
    probes[i] = begin(table, &pick, &is_probe);
    assert_true(is_probe);
    assert_int_equal(dsc_node_in_flight(probes[i]), 1);
  }
  for (int k = 0; k < 5; k++) assert_ptr_equal(pick_once(table, &pick), peek(table, 49));
  for (size_t i = 0; i < 49; i++)
    end(table, probes[i], i % 2 ? DSC_OUTCOME_SUCCESS : DSC_OUTCOME_FAILURE, true, NOW + 2000);
  size_t usable;
  (void)dsc_table_count(table, &usable);
  assert_int_equal(usable, 25);
  end_table(table);
}

/* ---- threads ---- */

static void *hammer(void *ud) {
  dsc_table *table = ud;
  uint64_t seed = (uint64_t)(size_t)&seed;
  dsc_changes changes;
  dsc_changes_init(&changes);
  for (int k = 0; k < 20000; k++) {
    dsc_pick pick = any_pick(dsc_balancer_all[pick_below(&seed, DSC_BALANCER_COUNT)]);
    bool is_probe;
    char text[32];
    dsc_str addr = {text, (size_t)snprintf(text, sizeof text, "10.0.0.%zu:80", pick_below(&seed, 20))};
    dsc_node *node = dsc_table_pick(table, &pick, &is_probe);
    if (pick_below(&seed, 4) == 0)
      (void)dsc_table_set(table, addr, (uint32_t)pick_below(&seed, 5), "a=b", false, NOW, &changes);
    dsc_row one = {addr, 3, true, {NULL, 0}};
    if (pick_below(&seed, 50) == 0) dsc_table_read_begin(table);
    if (pick_below(&seed, 50) == 0) (void)dsc_table_read_end(table, &one, 1, NOW, &changes);
    if (pick_below(&seed, 50) == 0) (void)dsc_table_sweep(table, 0, NOW + (uint64_t)k, &changes);
    if (pick_below(&seed, 20) == 0) dsc_node_array_unref(dsc_table_snapshot(table));
    if (node && pick_below(&seed, 20) == 0) dsc_mem_free(dsc_node_copy_metadata(node));
    dsc_outcome outcome = pick_below(&seed, 3) ? DSC_OUTCOME_FAILURE : DSC_OUTCOME_SUCCESS;
    if (node) dsc_table_done(table, node, outcome, is_probe, 3, NOW + (uint64_t)k, &changes);
    dsc_node_unref(node);
    dsc_changes_clear(&changes);
  }
  return NULL;
}

TEST(threads_pick_set_read_and_end_at_once) {
  pthread_t threads[4];
  dsc_table *table = new_table();
  set_user(table, 1000, 1);
  dsc_node *kept = dsc_table_find(table, addr_of(1000));
  for (size_t i = 0; i < COUNT(threads); i++) assert_int_equal(pthread_create(&threads[i], NULL, hammer, table), 0);
  for (size_t i = 0; i < COUNT(threads); i++) pthread_join(threads[i], NULL);
  assert_int_equal(dsc_node_in_flight(kept), 0);
  assert_true(atomic_load(&kept->attempts) > 0);
  dsc_node_unref(kept);
  end_table(table);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LEAK_FREE(a_pick_counts),
      LEAK_FREE(an_empty_table_has_nothing),
      LEAK_FREE(failures_in_a_row_isolate_and_others_are_picked),
      LEAK_FREE(one_probe_at_a_time_and_only_what_may_be_repeated),
      LEAK_FREE(a_lapsed_mark_frees_the_slot),
      LEAK_FREE(a_call_that_may_not_be_repeated_probes_when_nothing_else_is_left),
      LEAK_FREE(if_every_node_is_isolated_all_are_used),
      LEAK_FREE(a_recovered_node_is_not_ahead_of_the_others),
      LEAK_FREE(a_newcomer_during_an_outage_does_not_take_all_afterwards),
      LEAK_FREE(a_pinned_pick_takes_that_node_or_none),
      LEAK_FREE(many_isolated_nodes_are_probed_in_turn),
      LEAK_FREE(threads_pick_set_read_and_end_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
