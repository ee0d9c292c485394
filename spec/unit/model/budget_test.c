/*
** budget_test.c - retries are at most a fifth of the calls and ten a second, over any ten seconds.
*/
#include "base/check.h"

#include "model/budget.h"

TEST(a_hundred_retries_are_free_and_then_one_for_five_calls) {
  dsc_budget budget = {{0}};
  for (int i = 0; i < 100; i++) assert_true(dsc_budget_take(&budget, 5000));
  assert_false(dsc_budget_take(&budget, 5000));
  for (int i = 0; i < 4; i++) dsc_budget_call(&budget, 5500);
  assert_false(dsc_budget_take(&budget, 5500));
  dsc_budget_call(&budget, 5500);
  assert_true(dsc_budget_take(&budget, 5500));
  assert_false(dsc_budget_take(&budget, 5500));
}

TEST(what_was_taken_comes_back_after_the_window) {
  dsc_budget budget = {{0}};
  for (int i = 0; i < 100; i++) assert_true(dsc_budget_take(&budget, 5000));
  assert_false(dsc_budget_take(&budget, 15000));
  for (int i = 0; i < 100; i++) assert_true(dsc_budget_take(&budget, 16000));
  assert_false(dsc_budget_take(&budget, 16000));
}

/* Whatever the traffic: over any ten seconds no more than allowed, and all that is allowed. */
TEST(an_app_that_is_down_sees_little_more_than_its_calls) {
  static unsigned calls[600], retries[600];
  dsc_budget budget = {{0}};
  uint64_t seed = 3;
  for (uint64_t second = 0; second < COUNT(calls); second++) {
    uint64_t n = pick_below(&seed, second % 100 < 50 ? 1000 : 20);
    for (uint64_t i = 0; i < n; i++) {
      uint64_t now = second * 1000 + i * 1000 / n;
      dsc_budget_call(&budget, now);
      calls[second]++;
      for (int k = 0; k < 3; k++) retries[second] += dsc_budget_take(&budget, now);
    }
  }
  for (size_t from = 10; from + 10 < COUNT(calls); from++) {
    unsigned all_calls = calls[from - 1] + calls[from + 9], all_retries = 0;
    for (size_t i = from; i < from + 9; i++) all_calls += calls[i], all_retries += retries[i];
    all_retries += retries[from + 9];
    assert_true(all_retries <= all_calls / 5 + 100);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_hundred_retries_are_free_and_then_one_for_five_calls),
      cmocka_unit_test(what_was_taken_comes_back_after_the_window),
      cmocka_unit_test(an_app_that_is_down_sees_little_more_than_its_calls),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
