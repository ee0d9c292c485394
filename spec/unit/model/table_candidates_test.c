/*
** table_candidates_test.c - what a host's balancer is shown, and reports for calls counted nowhere.
*/
#include "table_support.h"

#define TEST(name) static void name(void **state __attribute__((unused)))

static const uint32_t three[] = {1, 1, 1};

static void expect(dsc_table *table, const dsc_pick *pick, uint64_t now_ms, const char *wanted) {
  char text[256] = "";
  dsc_node_array *nodes = dsc_table_candidates(table, pick, now_ms);
  assert_non_null(nodes);
  for (size_t i = 0; i < nodes->count; i++) {
    size_t n = strlen(text);
    snprintf(text + n, sizeof text - n, "%s ", nodes->nodes[i]->addr);
  }
  dsc_node_array_unref(nodes);
  assert_string_equal(text, wanted);
}

TEST(those_not_tried_sorted) {
  dsc_table *table = table_of(three, 3);
  dsc_node *tried[] = {peek(table, 1)};
  dsc_pick pick = any_pick(NULL);
  expect(table, &pick, NOW, "10.0.0.0:8000 10.0.0.1:8000 10.0.0.2:8000 ");
  pick.tried = tried;
  pick.n_tried = 1;
  expect(table, &pick, NOW, "10.0.0.0:8000 10.0.0.2:8000 ");
  end_table(table);
}

TEST(isolated_ones_only_as_probe_or_last_resort) {
  dsc_clock_hold(NOW);
  dsc_table *table = table_of(three, 3);
  dsc_pick pick = any_pick(NULL);
  isolate(table, 0, NOW);
  expect(table, &pick, NOW, "10.0.0.1:8000 10.0.0.2:8000 ");
  expect(table, &pick, NOW + 2000, "10.0.0.0:8000 10.0.0.1:8000 10.0.0.2:8000 ");
  pick.repeatable = false;
  expect(table, &pick, NOW + 2000, "10.0.0.1:8000 10.0.0.2:8000 ");
  isolate(table, 1, NOW);
  isolate(table, 2, NOW);
  expect(table, &pick, NOW, "10.0.0.0:8000 10.0.0.1:8000 10.0.0.2:8000 ");
  end_table(table);
}

TEST(an_empty_table_has_none) {
  dsc_table *table = new_table();
  dsc_pick pick = any_pick(NULL);
  expect(table, &pick, NOW, "");
  end_table(table);
}

TEST(a_report_without_a_pick_takes_nothing_away) {
  dsc_table *table = table_of(three, 1);
  dsc_pick pick = any_pick(NULL);
  bool is_probe;
  dsc_node *node = dsc_table_pick(table, &pick, &is_probe);
  dsc_table_hold(table, node);
  assert_int_equal(atomic_load(&node->in_flight), 2);
  done(table, node, DSC_OUTCOME_FAILURE, false, NOW);
  assert_int_equal(atomic_load(&node->in_flight), 1);
  assert_int_equal(atomic_load(&node->failed_times), 1);
  done(table, node, DSC_OUTCOME_SUCCESS, false, NOW);
  assert_int_equal(atomic_load(&node->in_flight), 0);
  dsc_node_unref(node);
  end_table(table);
}

/* least_in_flight must see what is held. */
TEST(a_hold_counts_for_the_order) {
  dsc_table *table = table_of(three, 2);
  dsc_pick pick = any_pick(&dsc_balancer_least_in_flight);
  assert_non_null(pick_once(table, &pick)); /* makes the balancer */
  dsc_table_hold(table, peek(table, 0));
  for (int i = 0; i < 3; i++) assert_ptr_equal(pick_once(table, &pick), peek(table, 1));
  end_table(table);
}

/* Nodes that are set one by one before anybody calls: each begins somewhere, none behind all others. */
TEST(the_first_call_may_go_to_any) {
  size_t first[2] = {0, 0};
  dsc_pick pick = any_pick(NULL);
  for (int i = 0; i < 400; i++) {
    dsc_table *table = table_of(three, 2);
    first[pick_once(table, &pick) == peek(table, 1)]++;
    end_table(table);
  }
  assert_in_range(first[0], 100, 300);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LEAK_FREE(those_not_tried_sorted),      LEAK_FREE(isolated_ones_only_as_probe_or_last_resort),
      LEAK_FREE(an_empty_table_has_none),     LEAK_FREE(a_report_without_a_pick_takes_nothing_away),
      LEAK_FREE(a_hold_counts_for_the_order), LEAK_FREE(the_first_call_may_go_to_any),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
