/*
** clock_test.c - monotonic, never 0, and a hand that can be held.
*/
#include "check.h"

#include <math.h>
#include <time.h>

#include "base/clock.h"

TEST(it_runs_and_never_backwards) {
  uint64_t start = dsc_clock_now_ns(), last = start;
  while (last - start < 3000000) {
    uint64_t now = dsc_clock_now_ns();
    assert_true(now >= last);
    last = now;
  }
  assert_true(dsc_clock_now_ms() >= last / 1000000);
}

TEST(both_scales_agree) {
  uint64_t before = dsc_clock_now_ns() / 1000000, ms = dsc_clock_now_ms(), after = dsc_clock_now_ns() / 1000000;
  assert_true(ms > 0);
  assert_in_range(ms, before, after);
}

TEST(a_held_hand_stands_still) {
  uint64_t real = dsc_clock_now_ms();
  dsc_clock_hold(5000);
  assert_int_equal(dsc_clock_now_ms(), 5000);
  assert_true(dsc_clock_now_ns() == UINT64_C(5000000000));
  dsc_clock_hold(5001);
  assert_int_equal(dsc_clock_now_ms(), 5001);
  dsc_clock_hold(0);
  assert_true(dsc_clock_now_ms() >= real);
}

TEST(the_wall_clock_is_the_worlds) {
  dsc_clock_hold(1);
  assert_true(fabs(dsc_clock_wall() - (double)time(NULL)) < 5);
  dsc_clock_hold(0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_runs_and_never_backwards),
      cmocka_unit_test(both_scales_agree),
      cmocka_unit_test(a_held_hand_stands_still),
      cmocka_unit_test(the_wall_clock_is_the_worlds),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
