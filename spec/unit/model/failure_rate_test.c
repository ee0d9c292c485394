/*
** failure_rate_test.c - isolation by failure rate: the law, and what a table does by it.
*/
#include "model/failure_rate.h"
#include "model/table_impl.h"
#include "model/table_support.h"

static dsc_window window_of(uint32_t well, uint32_t failed) {
  dsc_window window = {0};
  for (uint32_t i = 0; i < well; i++) dsc_window_add(&window, DSC_FAILURE_RATE_WELL, 1);
  for (uint32_t i = 0; i < failed; i++) dsc_window_add(&window, DSC_FAILURE_RATE_FAILED, 1);
  return window;
}

TEST(half_of_enough_attempts_is_too_much) {
  static const struct {
    uint32_t well, failed;
    bool high;
  } cases[] = {{0, 0, false},  {0, 19, false},  {0, 20, true},    {10, 10, true},
               {11, 9, false}, {20, 19, false}, {500, 500, true}, {501, 499, false}};
  for (size_t i = 0; i < COUNT(cases); i++) {
    dsc_window window = window_of(cases[i].well, cases[i].failed);
    assert_int_equal(dsc_failure_rate_is_high(&window), cases[i].high);
  }
}

TEST(at_most_half_and_never_the_last) {
  static const size_t most[] = {0, 0, 1, 1, 2, 2, 3, 3};
  for (size_t nodes = 1; nodes < COUNT(most); nodes++)
    for (size_t isolated = 0; isolated <= nodes; isolated++)
      assert_int_equal(dsc_failure_rate_may_isolate(nodes, isolated), isolated < most[nodes]);
}

/* Fails and succeeds in turn until it is isolated, or `most` times; returns how often. */
static int alternate(dsc_table *table, size_t i, int most, uint64_t now_ms) {
  int n = 0;
  while (n < most && strcmp(state_of(table, i), "isolated") != 0)
    outcome_of(table, i, n++ % 2 ? DSC_OUTCOME_FAILURE : DSC_OUTCOME_SUCCESS, now_ms);
  return n;
}

static dsc_table *four_nodes(void) {
  static const uint32_t weights[] = {10, 10, 10, 10};
  dsc_clock_hold(NOW);
  return table_of(weights, 4);
}

TEST(a_node_that_fails_every_other_call_is_isolated) {
  dsc_table *table = four_nodes();
  assert_int_equal(alternate(table, 0, 100, NOW), DSC_FAILURE_RATE_MIN);
  assert_int_equal(alternate(table, 1, 100, NOW), DSC_FAILURE_RATE_MIN);
  assert_int_equal(alternate(table, 2, 100, NOW), 100); /* half of them are */
  assert_string_equal(state_of(table, 2), "up");
  isolate(table, 2, NOW); /* who fails in a row is dead, however many are */
  isolate(table, 3, NOW);
  assert_int_equal(table->counters.isolations, 4);
  end_table(table);
}

TEST(neutral_outcomes_and_old_ones_do_not_count) {
  dsc_table *table = four_nodes();
  assert_int_equal(alternate(table, 0, 18, NOW), 18);
  for (int i = 0; i < 50; i++) outcome_of(table, 0, DSC_OUTCOME_NEUTRAL, NOW);
  assert_string_equal(state_of(table, 0), "up");
  assert_int_equal(alternate(table, 0, 18, NOW + 12000), 18);
  assert_int_equal(alternate(table, 0, 100, NOW + 12000), 2);
  end_table(table);
}

TEST(whoever_recovered_begins_anew) {
  dsc_table *table = four_nodes();
  assert_int_equal(alternate(table, 0, 100, NOW), DSC_FAILURE_RATE_MIN);
  outcome_of(table, 0, DSC_OUTCOME_SUCCESS, NOW);
  assert_string_equal(state_of(table, 0), "up");
  assert_int_equal(alternate(table, 0, 100, NOW), DSC_FAILURE_RATE_MIN);
  end_table(table);
}

TEST(without_memory_there_is_no_rate) {
  dsc_table *table = four_nodes();
  dsc_mem_fail_at(1, true);
  assert_int_equal(alternate(table, 0, 30, NOW), 30);
  dsc_mem_fail_at(0, false);
  assert_int_equal(alternate(table, 0, 100, NOW), DSC_FAILURE_RATE_MIN);
  end_table(table);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LEAK_FREE(half_of_enough_attempts_is_too_much),
      LEAK_FREE(at_most_half_and_never_the_last),
      LEAK_FREE(a_node_that_fails_every_other_call_is_isolated),
      LEAK_FREE(neutral_outcomes_and_old_ones_do_not_count),
      LEAK_FREE(whoever_recovered_begins_anew),
      LEAK_FREE(without_memory_there_is_no_rate),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
