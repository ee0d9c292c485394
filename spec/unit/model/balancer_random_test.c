/*
** balancer_random_test.c - weighted shares within the noise, also among what was not tried.
*/
#include "table_support.h"

#define PICKS 100000

/* Six standard deviations of a binomial: wrong once in 500 million runs. */
static void assert_share(size_t count, double share) {
  double mean = PICKS * share, variance = mean * (1 - share), off = (double)count - mean;
  if (off * off > 36 * variance) print_error("%zu of %d, expected %.0f\n", count, PICKS, mean);
  assert_true(off * off <= 36 * variance);
}

TEST(shares_follow_the_weights) {
  static const uint32_t weights[] = {1, 2, 7, 90};
  dsc_table *table = table_of(weights, COUNT(weights));
  dsc_pick pick = any_pick(&dsc_balancer_random);
  size_t counts[4];
  count_picks(table, &pick, PICKS, counts, 4);
  for (size_t i = 0; i < 4; i++) assert_share(counts[i], weights[i] / 100.0);
  end_table(table);
}

/* The heavy one is tried: drawing again will not do, it must choose one by one, still by weight. */
TEST(shares_among_the_rest_follow_the_weights) {
  static const uint32_t weights[] = {1, 2, 7, 1000000};
  dsc_table *table = table_of(weights, COUNT(weights));
  dsc_pick pick = any_pick(&dsc_balancer_random);
  dsc_node *tried = peek(table, 3);
  size_t counts[4];
  pick.tried = &tried;
  pick.n_tried = 1;
  count_picks(table, &pick, PICKS, counts, 4);
  for (size_t i = 0; i < 3; i++) assert_share(counts[i], weights[i] / 10.0);
  assert_int_equal(counts[3], 0);
  end_table(table);
}

TEST(changes_of_set_and_weight_are_followed) {
  static const uint32_t weights[] = {50, 50, 100};
  dsc_table *table = table_of(weights, COUNT(weights));
  dsc_pick pick = any_pick(&dsc_balancer_random);
  size_t counts[4];
  (void)pick_once(table, &pick);
  set(table, 0, 300);
  set(table, 2, 0);
  set(table, 3, 650);
  count_picks(table, &pick, PICKS, counts, 4);
  assert_share(counts[0], 0.3);
  assert_share(counts[1], 0.05);
  assert_share(counts[3], 0.65);
  set(table, 3, 50);
  count_picks(table, &pick, PICKS, counts, 4);
  assert_share(counts[0], 0.75);
  end_table(table);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LEAK_FREE(shares_follow_the_weights),
      LEAK_FREE(shares_among_the_rest_follow_the_weights),
      LEAK_FREE(changes_of_set_and_weight_are_followed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
