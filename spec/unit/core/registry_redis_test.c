/*
** registry_redis_test.c - the registry against a real Redis.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support/ear.h"

static redis_server server;

static int start_server(void **state) {
  (void)state;
  memset(&server, 0, sizeof server);
  return redis_start(&server) ? 0 : -1;
}

static int stop_server(void **state) {
  (void)state;
  redis_stop(&server);
  return 0;
}

static void registers_and_is_found(void **state) {
  (void)state;
  member a, b;
  member_init(&a);
  member_init(&b);
  assert_int_equal(member_join(&a, &server), DSC_OK);
  assert_int_equal(member_join(&b, &server), DSC_OK);
  assert_int_equal(member_follow(&b, "shop", false), DSC_OK);
  assert_true(EVENTUALLY(member_state(&b, "shop") == DSC_APP_READ, 2000));
  assert_int_equal(member_register(&a, "shop", "10.0.0.1:80", 100), DSC_OK);
  assert_true(EVENTUALLY(member_registered(&a, "shop", "10.0.0.1:80"), 2000));
  assert_true(EVENTUALLY(member_weight(&b, "shop", "10.0.0.1:80") == 100, 2000));
  assert_true(member_unregister(&a, "shop", "10.0.0.1:80", 1000));
  assert_true(EVENTUALLY(member_weight(&b, "shop", "10.0.0.1:80") == -1, 2000));
  member_close(&a);
  member_close(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(registers_and_is_found, start_server, stop_server),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
