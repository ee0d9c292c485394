/*
** config_test.c - the config of calls to one app, timing of the registry.
*/
#include "base/check.h"

#include <pthread.h>

#include "model/config.h"

/* A config with everything set. The secret belongs to the caller. */
static dsc_call_config full(dsc_secret *token) {
  dsc_call_config config;
  dsc_call_config_defaults(&config);
  config.token = token;
  config.ssl = config.http2 = true;
  config.tls =
      (dsc_tls_config){(char *)"/ca.pem", (char *)"/cert.pem", (char *)"/key.pem", (char *)"name.example", true};
  config.probe = (char *)"/health?deep=1";
  config.retry = DSC_RETRY_ALWAYS;
  config.max_attempts = 3;
  config.max_in_flight = 4;
  config.max_in_flight_per_node = 2;
  config.queue = 5;
  return config;
}

TEST(defaults_are_those_of_the_design) {
  dsc_call_config defaults, *config;
  dsc_call_config_defaults(&defaults);
  assert_int_equal(defaults.timeout_ms, 10000);
  assert_int_equal(defaults.connect_timeout_ms, 1000);
  assert_int_equal(defaults.deadline_ms, 30000);
  assert_int_equal(defaults.max_body, 64 * 1024 * 1024);
  assert_int_equal(defaults.retry, DSC_RETRY_IDEMPOTENT);
  assert_int_equal(defaults.max_attempts + defaults.max_in_flight + defaults.max_in_flight_per_node + defaults.queue, 0);
  assert_false(defaults.http2 || defaults.ssl || defaults.tls.no_verify);
  assert_null(defaults.token);
  assert_null(defaults.probe);
  assert_int_equal(dsc_call_config_new(&config, &defaults, NULL), DSC_OK);
  assert_true(dsc_call_config_equal(config, &defaults));
  dsc_call_config_unref(config);
}

TEST(a_config_is_a_copy_of_its_own) {
  size_t before, after;
  dsc_mem_usage(&before, NULL);
  dsc_secret *token = dsc_secret_new(L("hunter2"));
  char ca[] = "/ca.pem";
  dsc_call_config from = full(token), *config;
  from.tls.ca = ca;
  assert_int_equal(dsc_call_config_new(&config, &from, NULL), DSC_OK);
  assert_true(dsc_call_config_equal(config, &from));
  dsc_secret_unref(token);
  ca[1] = 'X';
  assert_string_equal(config->tls.ca, "/ca.pem");
  assert_true(dsc_secret_equals(config->token, L("hunter2")));
  assert_int_equal(config->refs, 1);
  assert_ptr_equal(dsc_call_config_ref(config), config);
  dsc_call_config_unref(config);
  assert_string_equal(config->probe, "/health?deep=1");
  dsc_call_config_unref(config);
  dsc_call_config_unref(NULL);
  assert_null(dsc_call_config_ref(NULL));
  dsc_mem_usage(&after, NULL);
  assert_int_equal(after, before);
}

TEST(every_field_makes_a_difference) {
  dsc_secret *token = dsc_secret_new(L("t")), *twin = dsc_secret_new(L("t")), *other = dsc_secret_new(L("u"));
  dsc_call_config a = full(token), b = full(token);
  assert_true(dsc_call_config_equal(&a, &b));
#define DIFFERS(field, changed)                                                                                        \
  do {                                                                                                                 \
    b.field = (changed);                                                                                               \
    assert_false(dsc_call_config_equal(&a, &b));                                                                       \
    assert_false(dsc_call_config_equal(&b, &a));                                                                       \
    b.field = a.field;                                                                                                 \
    assert_true(dsc_call_config_equal(&a, &b));                                                                        \
  } while (0)
  DIFFERS(timeout_ms, 1);
  DIFFERS(connect_timeout_ms, 1);
  DIFFERS(deadline_ms, 1);
  DIFFERS(http2, false);
  DIFFERS(ssl, false);
  DIFFERS(tls.no_verify, false);
  DIFFERS(retry, DSC_RETRY_NEVER);
  DIFFERS(max_attempts, 0);
  DIFFERS(max_body, 1);
  DIFFERS(max_in_flight, 0);
  DIFFERS(max_in_flight_per_node, 0);
  DIFFERS(queue, 0);
  DIFFERS(tls.ca, NULL);
  DIFFERS(tls.ca, (char *)"/other.pem");
  DIFFERS(tls.cert, NULL);
  DIFFERS(tls.key, NULL);
  DIFFERS(tls.server_name, NULL);
  DIFFERS(probe, NULL);
  DIFFERS(probe, (char *)"/health");
  DIFFERS(token, NULL);
  DIFFERS(token, other);
#undef DIFFERS
  char ca[] = "/ca.pem";
  b.token = twin;
  b.tls.ca = ca;
  assert_true(dsc_call_config_equal(&a, &b));
  dsc_secret_unref(token);
  dsc_secret_unref(twin);
  dsc_secret_unref(other);
}

static void refuse(const dsc_call_config *from, const char *sentence) {
  dsc_call_config *config = (dsc_call_config *)(uintptr_t)1;
  dsc_why why = {"(none)"};
  if (dsc_call_config_new(&config, from, &why) != DSC_EINVALID) fail_msg("not refused: %s", sentence);
  assert_null(config);
  if (!strstr(why.text, sentence)) fail_msg("\"%s\" is not in \"%s\"", sentence, why.text);
  assert_int_equal(dsc_call_config_new(&config, from, NULL), DSC_EINVALID);
}

static void accept(const dsc_call_config *from) {
  dsc_call_config *config;
  dsc_why why;
  if (dsc_call_config_new(&config, from, &why)) fail_msg("%s", why.text);
  assert_true(dsc_call_config_equal(config, from));
  dsc_call_config_unref(config);
}

TEST(numbers_have_ranges) {
  dsc_call_config c = full(NULL);
#define REFUSE(field, value, sentence)                                                                                 \
  do {                                                                                                                 \
    dsc_call_config one = c;                                                                                           \
    one.field = (value);                                                                                               \
    refuse(&one, sentence);                                                                                            \
  } while (0)
#define ACCEPT(field, value)                                                                                           \
  do {                                                                                                                 \
    dsc_call_config one = c;                                                                                           \
    one.field = (value);                                                                                               \
    accept(&one);                                                                                                      \
  } while (0)
  REFUSE(timeout_ms, 0, "timeout: 0 is not in 0.001..86400 seconds");
  REFUSE(timeout_ms, 86400001, "timeout: 86400.001 is not in 0.001..86400 seconds");
  REFUSE(connect_timeout_ms, 0, "connect_timeout: 0 is not in 0.001..86400 seconds");
  REFUSE(connect_timeout_ms, UINT32_MAX, "connect_timeout: 4294967.295 is not in");
  REFUSE(deadline_ms, 0, "deadline: 0 is not in");
  REFUSE(deadline_ms, 86400001, "deadline: 86400.001 is not in");
  REFUSE(max_body, 0, "max_body: 0 is not in 1..9223372036854775807");
  REFUSE(max_body, UINT64_MAX, "max_body: 18446744073709551615 is not in");
  REFUSE(max_attempts, 1000001, "max_attempts: 1000001 is not in 0..1000000");
  REFUSE(max_in_flight, 1000001, "max_in_flight: 1000001 is not in 0..1000000");
  REFUSE(max_in_flight_per_node, 1000001, "max_in_flight_per_node: 1000001 is not in 0..1000000");
  REFUSE(queue, 1000001, "queue: 1000001 is not in 0..1000000");
  REFUSE(retry, (dsc_retry)3, "retry: not one of idempotent, always, never");
  REFUSE(retry, (dsc_retry)-1, "retry: not one of");
  ACCEPT(timeout_ms, 1);
  ACCEPT(timeout_ms, 86400000);
  ACCEPT(connect_timeout_ms, 1);
  ACCEPT(connect_timeout_ms, 86400000);
  ACCEPT(deadline_ms, 1);
  ACCEPT(deadline_ms, 86400000);
  ACCEPT(max_body, 1);
  ACCEPT(max_body, SIZE_MAX / 2);
  ACCEPT(max_attempts, 1000000);
  ACCEPT(max_in_flight, 1000000);
  ACCEPT(queue, 1000000);
  ACCEPT(retry, DSC_RETRY_NEVER);
}

TEST(strings_are_checked) {
  dsc_call_config c = full(NULL);
  char text[4098];
  memset(text, '/', sizeof text);
  text[4097] = '\0';
  REFUSE(tls.ca, (char *)"", "tls.ca: is empty");
  REFUSE(tls.cert, (char *)"a\nb", "tls.cert: control characters");
  REFUSE(tls.key, (char *)"\x7f", "tls.key: control characters");
  REFUSE(tls.server_name, (char *)"", "tls.server_name: is empty");
  REFUSE(tls.ca, text, "tls.ca: 4097 bytes, at most 4096");
  REFUSE(tls.cert, NULL, "tls.key: is given without tls.cert");
  REFUSE(probe, (char *)"", "probe: is empty");
  REFUSE(probe, (char *)"health", "probe: not a path");
  REFUSE(probe, (char *)"/a b", "probe: not a path");
  REFUSE(probe, (char *)"/a\r\nb", "probe: control characters");
  ACCEPT(probe, text + 1);
  ACCEPT(probe, (char *)"/");
  ACCEPT(tls.key, NULL);
}

TEST(a_token_is_a_header_value) {
  dsc_secret *bad = dsc_secret_new(L("hunter2\r\nX-Evil: 1")), *empty = dsc_secret_new(L(""));
  dsc_call_config c = full(NULL), *config;
  dsc_why why;
  REFUSE(token, bad, "Access-Token");
  c.token = bad;
  assert_int_equal(dsc_call_config_new(&config, &c, &why), DSC_EINVALID);
  assert_null(strstr(why.text, "hunter2"));
  c.token = empty;
  assert_int_equal(dsc_call_config_new(&config, &c, &why), DSC_OK);
  assert_null(config->token);
  dsc_call_config_unref(config);
  dsc_secret_unref(bad);
  dsc_secret_unref(empty);
}

static dsc_secret *shared_token;

static bool make(void) {
  dsc_call_config from = full(shared_token), *config;
  dsc_why why;
  dsc_err err = dsc_call_config_new(&config, &from, &why);
  if (err) {
    assert_int_equal(err, DSC_ENOMEM);
    assert_null(config);
    assert_string_equal(why.text, dsc_err_text(DSC_ENOMEM));
  }
  dsc_call_config_unref(config);
  return err == DSC_OK;
}

TEST(every_allocation_may_fail) {
  shared_token = dsc_secret_new(L("t"));
  assert_int_equal(fail_each_allocation(make), 6); /* itself and five strings */
  dsc_secret_unref(shared_token);
}

static void *ref_and_unref(void *config) {
  for (int i = 0; i < 300000; i++) dsc_call_config_unref(dsc_call_config_ref(config));
  dsc_call_config_unref(config);
  return NULL;
}

TEST(references_are_counted_between_threads) {
  dsc_call_config from = full(NULL), *config;
  pthread_t threads[4];
  size_t before, after;
  dsc_mem_usage(&before, NULL);
  assert_int_equal(dsc_call_config_new(&config, &from, NULL), DSC_OK);
  for (size_t i = 0; i < COUNT(threads); i++)
    assert_int_equal(pthread_create(&threads[i], NULL, ref_and_unref, dsc_call_config_ref(config)), 0);
  for (size_t i = 0; i < COUNT(threads); i++) pthread_join(threads[i], NULL);
  assert_int_equal(config->refs, 1);
  dsc_call_config_unref(config);
  dsc_mem_usage(&after, NULL);
  assert_int_equal(after, before);
}

TEST(timing_has_defaults_and_ranges) {
  static const struct {
    uint32_t heartbeat, ttl, resync, grace;
    const char *sentence; /* NULL: good */
  } cases[] = {
      {5000, 10000, 10000, 30000, NULL},
      {100, 1000, 100, 0, NULL},
      {3600000, 86400000, 3600000, 86400000, NULL},
      {3600000, 3960001, 100, 0, NULL},
      {3600000, 3960000, 100, 0, "ttl: 3960 seconds is not longer than heartbeat (3600) and 10 % more"},
      {10000, 10000, 100, 0, "ttl: 10 seconds is not longer"},
      {10000, 5000, 100, 0, "ttl: 5 seconds is not longer"},
      {99, 10000, 100, 0, "heartbeat: 0.099 is not in 0.1..3600 seconds"},
      {3600001, 86400000, 100, 0, "heartbeat: 3600.001 is not in"},
      {0, 10000, 100, 0, "heartbeat: 0 is not in"},
      {100, 999, 100, 0, "ttl: 0.999 is not in 1..86400 seconds"},
      {100, 86400001, 100, 0, "ttl: 86400.001 is not in"},
      {100, 1000, 99, 0, "resync: 0.099 is not in 0.1..3600 seconds"},
      {100, 1000, 3600001, 0, "resync: 3600.001 is not in"},
      {100, 1000, 100, 86400001, "stale_grace: 86400.001 is not in 0..86400 seconds"},
  };
  dsc_registry_timing defaults;
  dsc_registry_timing_defaults(&defaults);
  assert_int_equal(defaults.heartbeat_ms, 5000);
  assert_int_equal(defaults.ttl_ms, 10000);
  assert_int_equal(defaults.resync_ms, 10000);
  assert_int_equal(defaults.stale_grace_ms, 30000);
  for (size_t i = 0; i < COUNT(cases); i++) {
    dsc_registry_timing timing = {cases[i].heartbeat, cases[i].ttl, cases[i].resync, cases[i].grace};
    dsc_why why = {"(none)"};
    dsc_err err = dsc_registry_timing_check(&timing, &why);
    assert_int_equal(err, cases[i].sentence ? DSC_EINVALID : DSC_OK);
    assert_non_null(strstr(why.text, cases[i].sentence ? cases[i].sentence : "(none)"));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(defaults_are_those_of_the_design),
      cmocka_unit_test(a_config_is_a_copy_of_its_own),
      cmocka_unit_test(every_field_makes_a_difference),
      cmocka_unit_test(numbers_have_ranges),
      cmocka_unit_test(strings_are_checked),
      cmocka_unit_test(a_token_is_a_header_value),
      cmocka_unit_test(every_allocation_may_fail),
      cmocka_unit_test(references_are_counted_between_threads),
      cmocka_unit_test(timing_has_defaults_and_ranges),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
