/*
** balancer_least_used_test.c - exact shares, and loads that survive changes.
*/
#include "table_support.h"

static void assert_near(size_t got, size_t expected, size_t slack) {
  assert_in_range(got, expected > slack ? expected - slack : 0, expected + slack);
}

TEST(shares_are_exact_from_the_beginning) {
  static const uint32_t weights[] = {1, 2, 7};
  dsc_table *table = table_of(weights, COUNT(weights));
  dsc_pick pick = any_pick(NULL);
  size_t counts[COUNT(weights)];
  count_picks(table, &pick, 10000, counts, COUNT(weights));
  for (size_t i = 0; i < COUNT(weights); i++) assert_near(counts[i], weights[i] * 1000u, 9); /* the joining phase */
  for (int round = 0; round < 5; round++) {
    count_picks(table, &pick, 10000, counts, COUNT(weights));
    for (size_t i = 0; i < COUNT(weights); i++) assert_near(counts[i], weights[i] * 1000u, 1);
  }
  end_table(table);
}

TEST(loads_stay_within_one_step) {
  static const uint32_t weights[] = {3, 100, 1, 40, 17, 1000000};
  dsc_table *table = table_of(weights, COUNT(weights));
  dsc_pick pick = any_pick(NULL);
  for (int k = 0; k < 200000; k++) {
    (void)pick_once(table, &pick);
    double least = peek(table, 5)->load;
    for (size_t i = 0; i < 5; i++)
      if (peek(table, i)->load < least) least = peek(table, i)->load;
    if (k % 100) continue;
    for (size_t i = 0; i < 6 && k > 100; i++) assert_true(peek(table, i)->load <= least + 1.0 / weights[i] + 1);
  }
  end_table(table);
}

TEST(the_least_used_comes_first_and_ties_go_by_age) {
  static const uint32_t weights[] = {1, 1, 1};
  dsc_table *table = table_of(weights, COUNT(weights));
  for (size_t i = 0; i < 3; i++) {
    set_user(table, i, 1);
    peek(table, i)->load = 5; /* no balancer was made yet */
  }
  peek(table, 1)->load = 4;
  dsc_pick pick = any_pick(NULL);
  static const size_t order[] = {1, 0, 1, 2, 0, 1, 2};
  for (size_t k = 0; k < COUNT(order); k++) assert_ptr_equal(pick_once(table, &pick), peek(table, order[k]));
  end_table(table);
}

TEST(a_new_weight_counts_from_now_on) {
  static const uint32_t weights[] = {10, 10};
  dsc_table *table = table_of(weights, COUNT(weights));
  dsc_pick pick = any_pick(NULL);
  size_t counts[2];
  count_picks(table, &pick, 10000, counts, 2);
  double load = peek(table, 0)->load;
  uint64_t used = dsc_node_used_times(peek(table, 0));
  set(table, 0, 30);
  assert_true(peek(table, 0)->load == load);
  assert_near((size_t)dsc_node_used_times(peek(table, 0)), (size_t)used * 3, 3);
  count_picks(table, &pick, 10000, counts, 2);
  assert_near(counts[0], 7500, 3);
  assert_near(counts[1], 2500, 3);
  end_table(table);
}

TEST(a_newcomer_takes_its_share_and_no_more) {
  static const uint32_t weights[] = {10, 10};
  dsc_table *table = table_of(weights, COUNT(weights));
  dsc_pick pick = any_pick(NULL);
  size_t counts[3];
  count_picks(table, &pick, 100000, counts, 2);
  set(table, 2, 20);
  count_picks(table, &pick, 100, counts, 3);
  assert_near(counts[2], 50, 4);
  end_table(table);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LEAK_FREE(shares_are_exact_from_the_beginning),           LEAK_FREE(loads_stay_within_one_step),
      LEAK_FREE(the_least_used_comes_first_and_ties_go_by_age), LEAK_FREE(a_new_weight_counts_from_now_on),
      LEAK_FREE(a_newcomer_takes_its_share_and_no_more),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
