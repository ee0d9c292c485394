/*
** balancer_round_robin_test.c - smooth turns: exact shares, spread evenly, whatever other balancers do.
*/
#include "table_support.h"

static dsc_pick turn(void) {
  return any_pick(&dsc_balancer_round_robin);
}

TEST(shares_are_exact) {
  static const uint32_t weights[] = {1, 2, 7};
  dsc_table *table = table_of(weights, COUNT(weights));
  dsc_pick pick = turn();
  size_t counts[3];
  for (int round = 0; round < 5; round++) {
    count_picks(table, &pick, 10000, counts, 3);
    for (size_t i = 0; i < 3; i++) assert_in_range(counts[i], weights[i] * 1000 - 2, weights[i] * 1000 + 2);
  }
  end_table(table);
}

TEST(turns_are_smooth) {
  static const uint32_t weights[] = {1, 2, 7};
  dsc_table *table = table_of(weights, COUNT(weights));
  dsc_pick pick = turn();
  int since[3] = {0}, row_of_third = 0;
  for (int k = 0; k < 10000; k++) {
    dsc_node *node = pick_once(table, &pick);
    for (size_t i = 0; i < 3; i++) since[i] = node == peek(table, i) ? 0 : since[i] + 1;
    row_of_third = node == peek(table, 2) ? row_of_third + 1 : 0;
    assert_true(row_of_third <= 7); /* a burst of all its turns and more would be 8 */
    assert_true(since[0] <= 10 && since[1] <= 6 && since[2] <= 2);
  }
  end_table(table);
}

TEST(equal_weights_go_round) {
  uint32_t weights[20];
  for (size_t i = 0; i < 20; i++) weights[i] = 100;
  dsc_table *table = table_of(weights, 20);
  dsc_pick pick = turn();
  dsc_node *order[20];
  for (int k = 0; k < 20; k++) order[k] = pick_once(table, &pick);
  for (int k = 0; k < 20; k++)
    for (int j = 0; j < k; j++) assert_ptr_not_equal(order[k], order[j]);
  for (int k = 0; k < 2000; k++) assert_ptr_equal(pick_once(table, &pick), order[k % 20]);
  end_table(table);
}

TEST(other_balancers_do_not_take_turns) {
  static const uint32_t weights[] = {5, 5};
  dsc_table *table = table_of(weights, COUNT(weights));
  dsc_pick pick = turn(), other = any_pick(NULL);
  (void)pick_once(table, &pick);
  for (int k = 0; k < 1000; k++) {
    dsc_node *first = pick_once(table, &pick);
    for (int j = 0; j < k % 3; j++) (void)pick_once(table, &other);
    assert_ptr_not_equal(pick_once(table, &pick), first);
  }
  end_table(table);
}

TEST(a_new_weight_does_not_wait_for_the_old_period) {
  static const uint32_t weights[] = {1, 1000};
  dsc_table *table = table_of(weights, COUNT(weights));
  dsc_pick pick = turn();
  size_t counts[2];
  count_picks(table, &pick, 5000, counts, 2);
  set(table, 0, 1000);
  count_picks(table, &pick, 100, counts, 2);
  assert_in_range(counts[0], 48, 52);
  end_table(table);
}

TEST(newcomers_and_returning_nodes_get_no_burst) {
  static const uint32_t weights[] = {10, 10};
  dsc_table *table = table_of(weights, COUNT(weights));
  dsc_pick pick = turn();
  size_t counts[3];
  count_picks(table, &pick, 10000, counts, 2);
  set(table, 2, 20);
  count_picks(table, &pick, 100, counts, 3);
  assert_in_range(counts[2], 48, 52);
  assert_in_range(counts[0], 23, 27);
  end_table(table);
}

/* Lest all processes begin with the same node. */
TEST(the_first_turn_is_not_always_the_same) {
  static const uint32_t weights[] = {1, 1, 1, 1};
  size_t first[4] = {0};
  for (int k = 0; k < 400; k++) {
    dsc_table *table = table_of(weights, COUNT(weights));
    dsc_pick pick = turn();
    dsc_node *node = pick_once(table, &pick);
    for (size_t i = 0; i < 4; i++) first[i] += node == peek(table, i);
    end_table(table);
  }
  for (size_t i = 0; i < 4; i++) assert_true(first[i] > 40);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LEAK_FREE(shares_are_exact),
      LEAK_FREE(turns_are_smooth),
      LEAK_FREE(equal_weights_go_round),
      LEAK_FREE(other_balancers_do_not_take_turns),
      LEAK_FREE(a_new_weight_does_not_wait_for_the_old_period),
      LEAK_FREE(newcomers_and_returning_nodes_get_no_burst),
      LEAK_FREE(the_first_turn_is_not_always_the_same),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
