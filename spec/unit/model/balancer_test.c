/*
** balancer_test.c - the list of algorithms, and what all of them must keep, whatever their order.
*/
#include "table_support.h"

TEST(algorithms_are_found_by_name) {
  static const char *const names[] = {"least_used", "round_robin", "random", "least_in_flight", "hash"};
  dsc_why why;
  for (int i = 0; i < DSC_BALANCER_COUNT; i++) {
    const dsc_balancer_ops *ops = dsc_balancer_find(dsc_str_of(names[i]), &why);
    assert_ptr_equal(ops, dsc_balancer_all[i]);
    assert_int_equal(dsc_balancer_index(ops), i);
  }
  assert_int_equal(dsc_balancer_index(NULL), DSC_BALANCER_LEAST_USED);
}

TEST(an_unknown_name_is_answered_with_the_known_ones) {
  dsc_why why;
  assert_null(dsc_balancer_find(L("least_use"), &why));
  assert_non_null(strstr(why.text, "\"least_use\""));
  for (int i = 0; i < DSC_BALANCER_COUNT; i++) assert_non_null(strstr(why.text, dsc_balancer_all[i]->name));
  assert_null(dsc_balancer_find((dsc_str){NULL, 0}, NULL));
}

TEST(a_tried_node_never_comes_back_and_the_rest_do) {
  static const uint32_t weights[] = {1, 1000, 3, 50, 7, 100000};
  for (int b = 0; b < DSC_BALANCER_COUNT; b++) {
    dsc_table *table = table_of(weights, COUNT(weights));
    for (uint64_t round = 0; round < 200; round++) {
      dsc_node *tried[COUNT(weights)];
      dsc_pick pick = any_pick(dsc_balancer_all[b]);
      pick.tried = tried;
      pick.has_key = true;
      pick.key = round * UINT64_C(0x9e3779b97f4a7c15);
      for (; pick.n_tried < COUNT(weights); pick.n_tried++) {
        dsc_node *node = pick_once(table, &pick);
        assert_non_null(node);
        assert_false(dsc_balancer_is_tried(&pick, node));
        tried[pick.n_tried] = node;
      }
      assert_null(pick_once(table, &pick));
    }
    end_table(table);
  }
}

TEST(sets_that_change_are_followed) {
  for (int b = 0; b < DSC_BALANCER_COUNT; b++) {
    dsc_table *table = new_table();
    dsc_pick pick = any_pick(dsc_balancer_all[b]);
    uint64_t seed = (uint64_t)b + 1;
    pick.has_key = true;
    assert_null(pick_once(table, &pick));
    for (int step = 0; step < 5000; step++) {
      pick.key = (uint64_t)step * UINT64_C(0x9e3779b97f4a7c15);
      set(table, pick_below(&seed, 30), (uint32_t)pick_below(&seed, 4));
      dsc_node *node = pick_once(table, &pick);
      assert_int_equal(node != NULL, dsc_table_count(table, NULL) > 0);
      if (node) assert_int_equal(dsc_node_get_state(node), DSC_NODE_UP);
    }
    end_table(table);
  }
}

static int one_balancer;

static bool build_and_grow(void) {
  dsc_balancer *balancer = dsc_balancer_all[one_balancer]->create();
  if (!balancer) return false;
  bool ok = true;
  for (uint32_t slots = 8; ok && slots <= 64; slots *= 2)
    ok = !dsc_balancer_all[one_balancer]->reserve(balancer, slots);
  dsc_balancer_all[one_balancer]->destroy(balancer);
  return ok;
}

TEST(every_allocation_may_fail) {
  for (one_balancer = 0; one_balancer < DSC_BALANCER_COUNT; one_balancer++)
    assert_true(fail_each_allocation(build_and_grow) >= 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LEAK_FREE(algorithms_are_found_by_name),
      LEAK_FREE(an_unknown_name_is_answered_with_the_known_ones),
      LEAK_FREE(a_tried_node_never_comes_back_and_the_rest_do),
      LEAK_FREE(sets_that_change_are_followed),
      LEAK_FREE(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
