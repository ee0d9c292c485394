/*
** random_test.c - bounds, spread, and different streams in threads and children.
*/
#include "check.h"

#include <math.h>
#include <pthread.h>

#include "base/random.h"

TEST(units_are_even_and_below_one) {
  double sum = 0;
  unsigned tenth[10] = {0};
  for (int i = 0; i < 100000; i++) {
    double unit = dsc_random_unit();
    assert_true(unit >= 0 && unit < 1);
    tenth[(int)(unit * 10)]++;
    sum += unit;
  }
  assert_true(fabs(sum / 100000 - 0.5) < 0.01);
  for (int i = 0; i < 10; i++) assert_in_range(tenth[i], 9000, 11000);
}

TEST(every_bit_is_used) {
  int ones[64] = {0};
  for (int i = 0; i < 4096; i++) {
    uint64_t bits = dsc_random_u64();
    for (int b = 0; b < 64; b++) ones[b] += (int)(bits >> b & 1);
  }
  for (int b = 0; b < 64; b++) assert_in_range(ones[b], 1700, 2400);
}

/* Least and greatest of many draws. */
struct range {
  uint64_t low, high;
};

static struct range draw_jitter(uint64_t ms, double part) {
  struct range r = {UINT64_MAX, 0};
  for (int i = 0; i < 5000; i++) {
    uint64_t drawn = dsc_random_jitter_ms(ms, part);
    if (drawn < r.low) r.low = drawn;
    if (drawn > r.high) r.high = drawn;
  }
  return r;
}

TEST(jitter_reaches_its_bounds_and_no_further) {
  static const struct {
    uint64_t ms;
    double part;
    struct range bounds;
  } rows[] = {
      {0, 0.5, {0, 0}},    {1, 0, {1, 1}},   {1, 1, {0, 1}},   {5, 0.1, {5, 5}},   {100, 0.1, {90, 109}},
      {10, 0.25, {8, 12}}, {10, 1, {0, 19}}, {10, 7, {0, 19}}, {10, -1, {10, 10}}, {3, 0.5, {2, 4}},
  };
  for (size_t i = 0; i < COUNT(rows); i++) {
    struct range r = draw_jitter(rows[i].ms, rows[i].part);
    assert_int_equal(r.low, rows[i].bounds.low);
    assert_int_equal(r.high, rows[i].bounds.high);
  }
  assert_int_equal(dsc_random_jitter_ms(10, (double)NAN), 10);
}

TEST(huge_jitter_does_not_overflow) {
  uint64_t most = 0, odd = (UINT64_C(1) << 53) + 3; /* a double rounds it up */
  for (int i = 0; i < 1000; i++) {
    uint64_t drawn = dsc_random_jitter_ms(UINT64_MAX, 0.1);
    assert_true(drawn >= UINT64_MAX / 10 * 8);
    if (drawn > most) most = drawn;
    assert_true(dsc_random_jitter_ms(odd, 1) <= 2 * odd);
    assert_true(dsc_random_jitter_ms(UINT64_MAX / 2, 0.5) >= UINT64_MAX / 4 - 1024);
  }
  assert_true(most > UINT64_MAX / 100 * 95);
  dsc_random_jitter_ms(UINT64_MAX, 1);
}

TEST(between_is_inclusive) {
  unsigned drawn[4] = {0};
  for (int i = 0; i < 4000; i++) {
    uint64_t ms = dsc_random_between_ms(7, 10);
    assert_in_range(ms, 7, 10);
    drawn[ms - 7]++;
  }
  for (int i = 0; i < 4; i++) assert_in_range(drawn[i], 800, 1200);
  assert_int_equal(dsc_random_between_ms(5, 5), 5);
  assert_int_equal(dsc_random_between_ms(9, 3), 9);
  assert_true(dsc_random_between_ms(0, UINT64_MAX) != dsc_random_between_ms(0, UINT64_MAX));
}

static void *draw_in_thread(void *drawn) {
  *(uint64_t *)drawn = dsc_random_u64();
  return NULL;
}

TEST(threads_do_not_move_in_step) {
  uint64_t drawn[4];
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, draw_in_thread, &drawn[i]), 0);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < 4; i++)
    for (int k = 0; k < i; k++) assert_true(drawn[i] != drawn[k]);
}

static int pipe_end;

static int draw_in_child(void) {
  uint64_t drawn = dsc_random_u64();
  return write(pipe_end, &drawn, sizeof drawn) == (ssize_t)sizeof drawn ? 0 : 1;
}

TEST(children_do_not_move_in_step) {
  uint64_t drawn[3];
  int ends[2];
  dsc_random_u64(); /* the children inherit a seeded state */
  assert_int_equal(pipe(ends), 0);
  pipe_end = ends[1];
  for (int i = 0; i < 2; i++) {
    assert_int_equal(in_child(draw_in_child), 0);
    assert_int_equal(read(ends[0], &drawn[i], sizeof drawn[i]), sizeof drawn[i]);
  }
  drawn[2] = dsc_random_u64();
  assert_true(drawn[0] != drawn[1] && drawn[0] != drawn[2] && drawn[1] != drawn[2]);
  close(ends[0]);
  close(ends[1]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(units_are_even_and_below_one),
      cmocka_unit_test(every_bit_is_used),
      cmocka_unit_test(jitter_reaches_its_bounds_and_no_further),
      cmocka_unit_test(huge_jitter_does_not_overflow),
      cmocka_unit_test(between_is_inclusive),
      cmocka_unit_test(threads_do_not_move_in_step),
      cmocka_unit_test(children_do_not_move_in_step),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
