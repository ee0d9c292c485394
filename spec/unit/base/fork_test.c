/*
** fork_test.c - what was made before a fork is stale in the child, and only there.
*/
#include "check.h"

#include "base/fork.h"

static uint32_t made;

static int grandchild(void) {
  return dsc_fork_generation() == made + 2 && dsc_fork_is_stale(made) && dsc_fork_is_stale(made + 1) ? 0 : 1;
}

static int child(void) {
  if (dsc_fork_generation() != made + 1 || !dsc_fork_is_stale(made)) return 1;
  return in_child(grandchild) == 0 && dsc_fork_generation() == made + 1 ? 0 : 2;
}

TEST(each_generation_counts) {
  made = dsc_fork_generation();
  assert_true(made > 0);
  assert_false(dsc_fork_is_stale(made));
  assert_int_equal(in_child(child), 0);
  assert_int_equal(in_child(child), 0);
  assert_int_equal(dsc_fork_generation(), made);
  assert_false(dsc_fork_is_stale(made));
}

TEST(nothing_is_of_generation_zero) {
  assert_true(dsc_fork_is_stale(0));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_generation_counts),
      cmocka_unit_test(nothing_is_of_generation_zero),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
