/*
** window_test.c - exact counts of the last 10 s, against a list of all that happened.
*/
#include "base/check.h"

#include "model/window.h"

TEST(what_is_ten_seconds_old_counts_and_what_is_eleven_does_not) {
  for (uint64_t begin = 0; begin < 1000; begin += 333) {
    dsc_window window = {0};
    uint64_t now = 5000 + begin;
    dsc_window_add(&window, 0, now);
    dsc_window_add(&window, 1, now);
    dsc_window_add(&window, 1, now + 1);
    dsc_window_advance(&window, now + 10000);
    assert_int_equal(window.sum[0], 1);
    assert_int_equal(window.sum[1], 2);
    dsc_window_advance(&window, now + 11001);
    assert_int_equal(window.sum[0] + window.sum[1], 0);
  }
}

TEST(a_burst_is_not_forgotten_by_what_follows) {
  dsc_window window = {0};
  for (int i = 0; i < 1000; i++) dsc_window_add(&window, 0, 20500);
  for (uint64_t now = 21000; now < 30500; now += 100) dsc_window_add(&window, 1, now);
  assert_int_equal(window.sum[0], 1000);
  assert_int_equal(window.sum[1], 95);
}

TEST(a_clock_that_goes_back_or_far_ahead_is_harmless) {
  dsc_window window = {0};
  dsc_window_add(&window, 0, 50000);
  dsc_window_add(&window, 0, 10);
  assert_int_equal(window.sum[0], 2);
  dsc_window_add(&window, 0, UINT64_MAX);
  assert_int_equal(window.sum[0], 1);
}

TEST(the_sums_are_those_of_a_list) {
  static uint64_t when[20000];
  static unsigned kinds[20000];
  uint64_t seed = 11, now = 1;
  dsc_window window = {0};
  size_t from = 0;
  for (size_t i = 0; i < COUNT(when); i++) {
    now += pick_below(&seed, 100) == 0 ? pick_below(&seed, 15000) : pick_below(&seed, 40);
    when[i] = now;
    kinds[i] = (unsigned)pick_below(&seed, 2);
    dsc_window_add(&window, kinds[i], now);
    while (when[from] / 1000 + DSC_WINDOW_BUCKETS <= now / 1000) from++;
    uint32_t sum[2] = {0, 0};
    for (size_t k = from; k <= i; k++) sum[kinds[k]]++;
    assert_int_equal(window.sum[0], sum[0]);
    assert_int_equal(window.sum[1], sum[1]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_ten_seconds_old_counts_and_what_is_eleven_does_not),
      cmocka_unit_test(a_burst_is_not_forgotten_by_what_follows),
      cmocka_unit_test(a_clock_that_goes_back_or_far_ahead_is_harmless),
      cmocka_unit_test(the_sums_are_those_of_a_list),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
