/*
** balancer_least_in_flight_test.c - whoever has the least to do for its weight; idle nodes take turns.
*/
#include "table_support.h"

static dsc_pick quiet(void) {
  return any_pick(&dsc_balancer_least_in_flight);
}

static dsc_node *begin(dsc_table *table) {
  bool is_probe;
  dsc_pick pick = quiet();
  dsc_node *node = dsc_table_pick(table, &pick, &is_probe);
  assert_non_null(node);
  return node;
}

static void end(dsc_table *table, dsc_node *node) {
  done(table, node, DSC_OUTCOME_SUCCESS, false, NOW);
  dsc_node_unref(node);
}

TEST(calls_in_flight_are_spread_by_weight) {
  static const uint32_t weights[] = {1, 2, 7};
  dsc_table *table = table_of(weights, COUNT(weights));
  dsc_node *nodes[100];
  for (int k = 0; k < 100; k++) nodes[k] = begin(table);
  assert_int_equal(dsc_node_in_flight(peek(table, 0)), 10);
  assert_int_equal(dsc_node_in_flight(peek(table, 1)), 20);
  assert_int_equal(dsc_node_in_flight(peek(table, 2)), 70);
  for (int k = 0; k < 100; k++) end(table, nodes[k]);
  end_table(table);
}

TEST(a_slow_node_is_spared) {
  static const uint32_t weights[] = {10, 10, 10};
  dsc_table *table = table_of(weights, COUNT(weights));
  dsc_node *slow = begin(table);
  for (int k = 0; k < 100; k++) {
    dsc_node *node = begin(table);
    assert_ptr_not_equal(node, slow);
    end(table, node);
  }
  end(table, slow);
  end_table(table);
}

TEST(idle_nodes_take_turns) {
  static const uint32_t weights[] = {10, 10, 10, 10};
  dsc_table *table = table_of(weights, COUNT(weights));
  dsc_pick pick = quiet();
  size_t counts[4];
  count_picks(table, &pick, 4000, counts, 4);
  for (size_t i = 0; i < 4; i++) assert_in_range(counts[i], 999, 1001);
  end_table(table);
}

TEST(idle_nodes_take_turns_by_weight) {
  static const uint32_t weights[] = {1, 2, 7};
  dsc_table *table = table_of(weights, COUNT(weights));
  dsc_pick pick = quiet();
  size_t counts[3];
  count_picks(table, &pick, 10000, counts, 3);
  assert_in_range(counts[0], 999, 1001);
  assert_in_range(counts[1], 1999, 2001);
  assert_in_range(counts[2], 6999, 7001);
  end_table(table);
}

TEST(calls_of_other_balancers_count) {
  static const uint32_t weights[] = {10, 10};
  dsc_table *table = table_of(weights, COUNT(weights));
  dsc_pick other = any_pick(NULL);
  bool is_probe;
  end(table, begin(table));
  for (int k = 0; k < 50; k++) {
    dsc_node *busy = dsc_table_pick(table, &other, &is_probe);
    dsc_node *node = begin(table);
    assert_ptr_not_equal(node, busy);
    end(table, node);
    dsc_table_lapse(table, busy, false, NOW);
    dsc_node_unref(busy);
  }
  end_table(table);
}

/* Random calls that begin and end, against a search of all. */
TEST(it_agrees_with_a_naive_search) {
  static const uint32_t weights[] = {1, 2, 3, 5, 8, 13, 21, 34};
  dsc_table *table = table_of(weights, COUNT(weights));
  dsc_node *open[64];
  size_t n_open = 0;
  uint64_t seed = 3;
  for (int k = 0; k < 50000; k++) {
    if (n_open == 64 || (n_open > 0 && pick_below(&seed, 2))) {
      size_t at = pick_below(&seed, n_open);
      end(table, open[at]);
      open[at] = open[--n_open];
      continue;
    }
    double least = 1e9;
    for (size_t i = 0; i < COUNT(weights); i++) {
      double key = dsc_node_in_flight(peek(table, i)) / (double)weights[i];
      if (key < least) least = key;
    }
    dsc_node *node = open[n_open++] = begin(table);
    assert_true((dsc_node_in_flight(node) - 1) / (double)dsc_node_weight(node) == least);
  }
  while (n_open > 0) end(table, open[--n_open]);
  end_table(table);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LEAK_FREE(calls_in_flight_are_spread_by_weight),
      LEAK_FREE(a_slow_node_is_spared),
      LEAK_FREE(idle_nodes_take_turns),
      LEAK_FREE(idle_nodes_take_turns_by_weight),
      LEAK_FREE(calls_of_other_balancers_count),
      LEAK_FREE(it_agrees_with_a_naive_search),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
