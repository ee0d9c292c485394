/*
** counters_test.c - what is counted where, and the edges of the latency buckets.
*/
#include "base/check.h"

#include <pthread.h>

#include "model/counters.h"

TEST(a_bound_belongs_to_its_bucket) {
  for (size_t i = 0; i < DSC_COUNTERS_BUCKETS - 1; i++) {
    assert_int_equal(dsc_counters_bucket(dsc_counters_bounds_us[i]), i);
    assert_int_equal(dsc_counters_bucket(dsc_counters_bounds_us[i] + 1), i + 1);
    assert_int_equal(dsc_counters_bucket(dsc_counters_bounds_us[i] - 1), i);
  }
  assert_int_equal(dsc_counters_bucket(0), 0);
  assert_int_equal(dsc_counters_bucket(UINT64_MAX), DSC_COUNTERS_BUCKETS - 1);
}

TEST(every_latency_is_in_the_bucket_that_a_walk_finds) {
  uint64_t seed = 1;
  for (int round = 0; round < 20000; round++) {
    uint64_t us = pick_below(&seed, (size_t)1 << pick_below(&seed, 31));
    size_t walk = 0;
    while (walk < DSC_COUNTERS_BUCKETS - 1 && us > dsc_counters_bounds_us[walk]) walk++;
    assert_int_equal(dsc_counters_bucket(us), walk);
  }
}

TEST(calls_are_counted_by_code_and_latency) {
  dsc_counters counters = {0};
  dsc_counters_call(&counters, DSC_OK, 50);
  dsc_counters_call(&counters, DSC_ETIMEOUT, 30000000);
  dsc_counters_call(&counters, DSC_ETIMEOUT, 200);
  dsc_counters_call(&counters, (dsc_err)999, 0); /* foreign: counted, under no code */
  assert_int_equal(counters.calls, 4);
  assert_int_equal(counters.errors[DSC_OK], 1);
  assert_int_equal(counters.errors[DSC_ETIMEOUT], 2);
  assert_int_equal(counters.latency[0], 2);
  assert_int_equal(counters.latency[1], 1);
  assert_int_equal(counters.latency[DSC_COUNTERS_BUCKETS - 1], 1);
  assert_int_equal(counters.latency_sum_us, 30000250);
  assert_int_equal(counters.attempts, 0);
}

TEST(attempts_are_counted_by_code_and_class) {
  static const struct {
    int status;
    size_t class;
  } answers[] = {{100, 1}, {200, 2}, {299, 2}, {301, 3}, {404, 4}, {500, 5}, {599, 5}, {99, 0}, {600, 0}, {-1, 0}};
  dsc_counters counters = {0};
  uint64_t expected[6] = {0};
  for (size_t i = 0; i < COUNT(answers); i++) {
    dsc_counters_attempt(&counters, DSC_OK, answers[i].status, i > 0);
    expected[answers[i].class]++;
  }
  dsc_counters_attempt(&counters, DSC_ECONNECT, 0, true);
  dsc_counters_attempt(&counters, (dsc_err)999, 0, false);
  for (size_t i = 0; i < 6; i++) assert_int_equal(counters.statuses[i], expected[i]);
  assert_int_equal(counters.attempts, COUNT(answers) + 2);
  assert_int_equal(counters.retries, COUNT(answers));
  assert_int_equal(counters.attempt_errors[DSC_ECONNECT], 1);
  assert_int_equal(counters.attempt_errors[DSC_OK], 0);
  assert_int_equal(counters.calls, 0);
}

static void *count_many(void *ud) {
  for (int i = 0; i < 10000; i++) {
    dsc_counters_call(ud, DSC_OK, 1);
    dsc_counters_attempt(ud, DSC_OK, 200, true);
  }
  return NULL;
}

TEST(no_count_is_lost_between_threads) {
  dsc_counters counters = {0};
  pthread_t threads[4];
  for (size_t i = 0; i < COUNT(threads); i++)
    assert_int_equal(pthread_create(&threads[i], NULL, count_many, &counters), 0);
  for (size_t i = 0; i < COUNT(threads); i++) pthread_join(threads[i], NULL);
  assert_int_equal(counters.calls, 40000);
  assert_int_equal(counters.latency_sum_us, 40000);
  assert_int_equal(counters.statuses[2], 40000);
  assert_int_equal(counters.retries, 40000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_bound_belongs_to_its_bucket),
      cmocka_unit_test(every_latency_is_in_the_bucket_that_a_walk_finds),
      cmocka_unit_test(calls_are_counted_by_code_and_latency),
      cmocka_unit_test(attempts_are_counted_by_code_and_class),
      cmocka_unit_test(no_count_is_lost_between_threads),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
