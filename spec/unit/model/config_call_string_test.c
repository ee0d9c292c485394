/*
** config_call_string_test.c - the older call strings: what each part means, and what is refused.
*/
#include "base/check.h"

#include "model/config.h"

#define DEFAULT 10000

TEST(good_call_strings) {
  static const struct {
    const char *text;
    bool http2, ssl;
    uint32_t timeout;
    const char *token; /* NULL: none */
  } good[] = {
      {"1", false, false, DEFAULT, NULL},
      {"2", true, false, DEFAULT, NULL},
      {"s", true, true, DEFAULT, NULL},
      {"https", true, true, DEFAULT, NULL},
      {"http", false, false, DEFAULT, NULL},
      {"h2c", true, false, DEFAULT, NULL},
      {"HTTPS", true, true, DEFAULT, NULL},
      {"s:https", true, true, DEFAULT, NULL},
      {"1:s", false, true, DEFAULT, NULL},
      {"https:1", false, true, DEFAULT, NULL},
      {"2:https", true, true, DEFAULT, NULL},
      {"http:1", false, false, DEFAULT, NULL},
      {"2:h2c", true, false, DEFAULT, NULL},
      {"1:1", false, false, DEFAULT, NULL},
      {"500", true, false, 500, NULL},
      {"3", true, false, 3, NULL},
      {"500ms", true, false, 500, NULL},
      {"10s", true, false, 10000, NULL},
      {"10m", true, false, 600000, NULL},
      {"1.5s", true, false, 1500, NULL},
      {"1.5", true, false, 2, NULL},
      {"1m30s", true, false, 90000, NULL},
      {"24h", true, false, 86400000, NULL},
      {"86400000", true, false, 86400000, NULL},
      {"10us", true, false, 1, NULL},
      {"1500\xc2\xb5s", true, false, 2, NULL},
      {"1500\xce\xbcs", true, false, 2, NULL},
      {"1ns", true, false, 1, NULL},
      {"token", true, false, DEFAULT, "token"},
      {"2:500ms:token", true, false, 500, "token"},
      {"token:500ms:2", true, false, 500, "token"},
      {"500ms:token:1:s", false, true, 500, "token"},
      {"::token::", true, false, DEFAULT, "token"},
      {":1", false, false, DEFAULT, NULL},
      {"aZ09-._~+/=!@#$%^&*", true, false, DEFAULT, "aZ09-._~+/=!@#$%^&*"},
      {"Bearer-abc.def==", true, false, DEFAULT, "Bearer-abc.def=="},
      {"550e8400-e29b-41d4-a716-446655440000", true, false, DEFAULT, "550e8400-e29b-41d4-a716-446655440000"},
      {"9f86d081884c7d65", true, false, DEFAULT, "9f86d081884c7d65"},
      {"5s3a9c2f6e8b1d4a7c0f", true, false, DEFAULT, "5s3a9c2f6e8b1d4a7c0f"},
      {"2-token", true, false, DEFAULT, "2-token"},
      {"s3cret", true, false, DEFAULT, "s3cret"},
      {"ss", true, false, DEFAULT, "ss"},
      {"-", true, false, DEFAULT, "-"},
      {".", true, false, DEFAULT, "."},
      {".secret", true, false, DEFAULT, ".secret"},
      {"token:30s", true, false, 30000, "token"},
  };
  for (size_t i = 0; i < COUNT(good); i++) {
    dsc_call_config *config, defaults;
    dsc_why why;
    if (dsc_call_config_parse(&config, dsc_str_of(good[i].text), &why)) fail_msg("%s: %s", good[i].text, why.text);
    dsc_call_config_defaults(&defaults);
    if (config->http2 != good[i].http2 || config->ssl != good[i].ssl || config->timeout_ms != good[i].timeout)
      fail_msg("%s: http2 %d, ssl %d, timeout %u", good[i].text, config->http2, config->ssl, config->timeout_ms);
    assert_int_equal(config->token != NULL, good[i].token != NULL);
    if (good[i].token) assert_true(dsc_secret_equals(config->token, dsc_str_of(good[i].token)));
    assert_int_equal(config->connect_timeout_ms, defaults.connect_timeout_ms);
    assert_int_equal(config->max_body, defaults.max_body);
    assert_int_equal(config->retry, defaults.retry);
    assert_false(config->tls.no_verify);
    dsc_call_config_unref(config);
  }
}

TEST(bad_call_strings_name_the_part_by_its_position) {
  static const struct {
    const char *text, *sentence;
  } bad[] = {
      {"", "call string: is empty"},
      {":", "call string: is empty"},
      {":::", "call string: is empty"},
      {"0", "part 1 is a timeout outside 0.001..86400 seconds"},
      {"token:0s", "part 2 is a timeout outside"},
      {"0.0", "part 1 is a timeout outside"},
      {"86400001", "part 1 is a timeout outside"},
      {"25h", "part 1 is a timeout outside"},
      {"86400.0001s", "part 1 is a timeout outside"},
      {"99999999999999999999999", "part 1 begins like a timeout"},
      {"10x", "part 1 begins like a timeout"},
      {"10sec", "part 1 begins like a timeout"},
      {"10min", "part 1 begins like a timeout"},
      {"1d", "part 1 begins like a timeout"},
      {"10S", "part 1 begins like a timeout"},
      {"500MS", "part 1 begins like a timeout"},
      {"1000000milliseconds", "part 1 begins like a timeout"},
      {"1h30min", "part 1 begins like a timeout"},
      {"1h30", "part 1 begins like a timeout"},
      {"1.5.5s", "part 1 begins like a timeout"},
      {"1.2.3.4", "part 1 begins like a timeout"},
      {".5x", "part 1 begins like a timeout"},
      {"-5s", "part 1 begins like a timeout"},
      {"+5", "part 1 begins like a timeout"},
      {"-5", "part 1 begins like a timeout"},
      {"12abc", "part 1 begins like a timeout"},
      {"10\xc2\xb5", "part 1 begins like a timeout"},
      {"2:500ms:10q", "part 3 begins like a timeout"},
      {"::10q", "part 3 begins like a timeout"},
      {"h2", "part 1 is not known"},
      {"HTTP2", "part 1 is not known"},
      {"http/1.1", "part 1 is not known"},
      {"token:tls", "part 2 is not known"},
      {"1,5s", "part 1 is neither known nor a token"},
      {"to ken", "part 1 is neither known nor a token"},
      {" 500ms", "part 1 is neither known nor a token"},
      {"token ", "part 1 is neither known nor a token"},
      {"tok\ten", "part 1 is neither known nor a token"},
      {"tok\"en", "part 1 is neither known nor a token"},
      {"{\"timeout\"", "part 1 is neither known nor a token"},
      {"t\xc3\xb6ken", "part 1 is neither known nor a token"},
      {"a\r\nX", "part 1 is neither known nor a token"},
      {"token:other", "part 2 is a second token"},
      {"500ms:1s", "part 2 is a second timeout"},
      {"1:2", "part 2 names another HTTP version"},
      {"http:2", "part 2 names another HTTP version"},
      {"1:h2c", "part 2 names another HTTP version"},
      {"http:s", "part 2 contradicts a part before it about TLS"},
      {"s:h2c", "part 2 contradicts a part before it about TLS"},
  };
  for (size_t i = 0; i < COUNT(bad); i++) {
    dsc_call_config *config = (dsc_call_config *)(uintptr_t)1;
    dsc_why why = {"(none)"};
    if (dsc_call_config_parse(&config, dsc_str_of(bad[i].text), &why) != DSC_EINVALID)
      fail_msg("\"%s\" was taken", bad[i].text);
    assert_null(config);
    if (!strstr(why.text, bad[i].sentence)) fail_msg("\"%s\": %s", bad[i].text, why.text);
    assert_int_equal(dsc_call_config_parse(&config, dsc_str_of(bad[i].text), NULL), DSC_EINVALID);
  }
  dsc_call_config *config;
  assert_int_equal(dsc_call_config_parse(&config, (dsc_str){"a\0b", 3}, NULL), DSC_EINVALID);
  assert_int_equal(dsc_call_config_parse(&config, (dsc_str){NULL, 0}, NULL), DSC_EINVALID);
}

TEST(no_sentence_shows_a_part) {
  static const char *const bad[] = {"hunter2:1x", "hunter2:h2",        "hunter2:a b",    "hunter2:hunter3",
                                    "hunter2:0",  "hunter2:1:2",       "hunter2:http:s", "hunter2:1s:2s",
                                    "hunter 2",   "1:hunter2:hunter2", "5hunter",        "hunter2:1hunters",
                                    "hunter\"2"};
  for (size_t i = 0; i < COUNT(bad); i++) {
    dsc_call_config *config;
    dsc_why why = {""};
    dsc_err err = dsc_call_config_parse(&config, dsc_str_of(bad[i]), &why);
    assert_int_equal(err, DSC_EINVALID);
    assert_null(strstr(why.text, "hunter"));
  }
}

TEST(a_token_has_at_most_4096_bytes) {
  char token[DSC_CONFIG_TOKEN_MAX + 1];
  dsc_call_config *config;
  memset(token, 't', sizeof token);
  assert_int_equal(dsc_call_config_parse(&config, (dsc_str){token, sizeof token}, NULL), DSC_EINVALID);
  assert_int_equal(dsc_call_config_parse(&config, (dsc_str){token, sizeof token - 1}, NULL), DSC_OK);
  assert_int_equal(dsc_secret_length(config->token), DSC_CONFIG_TOKEN_MAX);
  dsc_call_config_unref(config);
}

TEST(a_deadline_never_cuts_the_timeout_short) {
  dsc_call_config *config;
  assert_int_equal(dsc_call_config_parse(&config, L("20s"), NULL), DSC_OK);
  assert_int_equal(config->deadline_ms, 30000);
  dsc_call_config_unref(config);
  assert_int_equal(dsc_call_config_parse(&config, L("60s"), NULL), DSC_OK);
  assert_int_equal(config->deadline_ms, 60000);
  dsc_call_config_unref(config);
}

static bool parse_full(void) {
  dsc_call_config *config;
  dsc_err err = dsc_call_config_parse(&config, L("1:s:500ms:token"), NULL);
  if (err) assert_int_equal(err, DSC_ENOMEM);
  dsc_call_config_unref(config);
  return err == DSC_OK;
}

TEST(every_allocation_may_fail) {
  assert_true(fail_each_allocation(parse_full) >= 2);
}

/* Whatever stands in a call string, no sentence shows it, and what is taken holds to the ranges. */
TEST(random_call_strings_never_harm_and_never_show) {
  static const char bytes[] = "12s.mhtpc:::abZ-+/=\xc2\xb5 \n\"";
  uint64_t seed = 11;
  int taken = 0;
  for (int round = 0; round < 60000; round++) {
    char text[24];
    size_t n = pick_below(&seed, sizeof text);
    dsc_call_config *config;
    dsc_why why = {""};
    for (size_t i = 0; i < n; i++) text[i] = bytes[pick_below(&seed, sizeof bytes)];
    dsc_err err = dsc_call_config_parse(&config, (dsc_str){text, n}, &why);
    assert_int_equal(err == DSC_OK, config != NULL);
    if (err) {
      assert_int_equal(err, DSC_EINVALID);
      assert_true(dsc_str_starts(dsc_str_of(why.text), L("call string: ")));
      if (n >= 8) assert_null(memmem(why.text, strlen(why.text), text, n));
      continue;
    }
    taken++;
    assert_in_range(config->timeout_ms, 1, 86400000);
    assert_true(config->deadline_ms >= config->timeout_ms);
    if (config->token) assert_true(dsc_secret_length(config->token) > 0);
    dsc_call_config_unref(config);
  }
  assert_true(taken > 100);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(good_call_strings),
      cmocka_unit_test(bad_call_strings_name_the_part_by_its_position),
      cmocka_unit_test(no_sentence_shows_a_part),
      cmocka_unit_test(a_token_has_at_most_4096_bytes),
      cmocka_unit_test(a_deadline_never_cuts_the_timeout_short),
      cmocka_unit_test(every_allocation_may_fail),
      cmocka_unit_test(random_call_strings_never_harm_and_never_show),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
