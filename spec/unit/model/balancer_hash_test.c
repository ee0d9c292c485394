/*
** balancer_hash_test.c - the same key to the same node: agreement, shares, and keys that stay when others go.
*/
#include "table_support.h"

#define KEYS 20000

static dsc_pick keyed(uint64_t k) {
  char text[32];
  dsc_pick pick = any_pick(&dsc_balancer_hash);
  pick.has_key = true;
  pick.key = dsc_str_hash((dsc_str){text, (size_t)snprintf(text, sizeof text, "player%llu", (unsigned long long)k)});
  return pick;
}

/* The number of the node (its last address byte) that each key goes to. */
static void owners(dsc_table *table, int *who) {
  for (uint64_t k = 0; k < KEYS; k++) {
    dsc_pick pick = keyed(k);
    dsc_node *node = pick_once(table, &pick);
    assert_int_equal(sscanf(node->addr, "10.0.0.%d", &who[k]), 1);
  }
}

static int before[KEYS], after[KEYS];

TEST(a_key_stays_with_its_node) {
  static const uint32_t weights[] = {1, 2, 7, 4};
  static const uint32_t order[] = {2, 0, 3, 1};
  dsc_table *one = table_of(weights, COUNT(weights)), *two = new_table();
  for (size_t i = 0; i < COUNT(order); i++) set(two, order[i], weights[order[i]]);
  owners(one, before);
  owners(two, after); /* made in another order, as in another process */
  assert_memory_equal(before, after, sizeof before);
  end_table(one);
  end_table(two);
}

/* So that clients of different versions agree: these must never change. */
TEST(the_choice_is_the_same_for_ever) {
  static const uint32_t weights[] = {100, 100, 100, 100, 100};
  static const int expected[] = {2, 3, 4, 1, 4, 0, 2, 3, 1, 4, 3, 3, 2, 2, 4, 2, 4, 4, 0, 3, 2, 4, 1, 4};
  dsc_table *table = table_of(weights, COUNT(weights));
  owners(table, before);
  for (size_t k = 0; k < COUNT(expected); k++) assert_int_equal(before[k], expected[k]);
  end_table(table);
}

TEST(shares_follow_the_weights) {
  static const uint32_t weights[] = {1, 2, 7};
  size_t counts[3] = {0};
  dsc_table *table = table_of(weights, COUNT(weights));
  owners(table, before);
  for (int k = 0; k < KEYS; k++) counts[before[k]]++;
  for (size_t i = 0; i < 3; i++) assert_in_range(counts[i], KEYS / 10 * weights[i] - 250, KEYS / 10 * weights[i] + 250);
  end_table(table);
}

TEST(a_node_that_goes_takes_only_its_keys) {
  static const uint32_t weights[] = {3, 3, 3, 5, 1, 3, 3, 3, 3, 3};
  dsc_table *table = table_of(weights, COUNT(weights));
  owners(table, before);
  set(table, 3, 0);
  owners(table, after);
  for (int k = 0; k < KEYS; k++) assert_true(before[k] == 3 ? after[k] != 3 : after[k] == before[k]);
  set(table, 3, 5);
  owners(table, after);
  assert_memory_equal(before, after, sizeof before);
  end_table(table);
}

TEST(more_weight_only_draws_keys_to_the_node) {
  static const uint32_t weights[] = {3, 3, 3};
  int moved = 0;
  dsc_table *table = table_of(weights, COUNT(weights));
  owners(table, before);
  set(table, 1, 6);
  owners(table, after);
  for (int k = 0; k < KEYS; k++) {
    assert_true(after[k] == before[k] || after[k] == 1);
    moved += after[k] != before[k];
  }
  assert_in_range(moved, KEYS / 6 - 250, KEYS / 6 + 250); /* from 1/3 to 1/2 */
  end_table(table);
}

/* The second choice of a key is the first of the table without its node: retries agree as well. */
TEST(a_tried_node_is_as_good_as_gone) {
  static const uint32_t weights[] = {3, 5, 1, 3};
  dsc_table *table = table_of(weights, COUNT(weights));
  dsc_node *tried = peek(table, 1);
  for (uint64_t k = 0; k < 2000; k++) {
    dsc_pick pick = keyed(k);
    pick.tried = &tried;
    pick.n_tried = 1;
    before[k] = pick_once(table, &pick)->addr[7];
  }
  set(table, 1, 0);
  for (uint64_t k = 0; k < 2000; k++) {
    dsc_pick pick = keyed(k);
    assert_int_equal(pick_once(table, &pick)->addr[7], before[k]);
  }
  end_table(table);
}

TEST(without_a_key_it_is_least_used) {
  static const uint32_t weights[] = {1, 2, 7};
  dsc_table *table = table_of(weights, COUNT(weights));
  dsc_pick pick = any_pick(&dsc_balancer_hash);
  size_t counts[3];
  count_picks(table, &pick, 1000, counts, 3);
  count_picks(table, &pick, 1000, counts, 3);
  for (size_t i = 0; i < 3; i++) assert_in_range(counts[i], weights[i] * 100 - 1, weights[i] * 100 + 1);
  end_table(table);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LEAK_FREE(a_key_stays_with_its_node),
      LEAK_FREE(the_choice_is_the_same_for_ever),
      LEAK_FREE(shares_follow_the_weights),
      LEAK_FREE(a_node_that_goes_takes_only_its_keys),
      LEAK_FREE(more_weight_only_draws_keys_to_the_node),
      LEAK_FREE(a_tried_node_is_as_good_as_gone),
      LEAK_FREE(without_a_key_it_is_least_used),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
