/*
** config_duration_test.c - durations with units, to the nanosecond.
*/
#include "base/check.h"

#include "model/config.h"

TEST(good_durations) {
  static const struct {
    const char *text;
    uint64_t ms;
  } good[] = {
      {"500ms", 500},
      {"1.5s", 1500},
      {"10m", 600000},
      {"2h", 7200000},
      {"100us", 1},
      {"100\xc2\xb5s", 1},
      {"100\xce\xbcs", 1},
      {"1001us", 2},
      {"1000000ns", 1},
      {"1000001ns", 2},
      {"1ns", 1},
      {"0.1ns", 1},
      {"0.0000000000000000000000000000001h", 1},
      {"0s", 0},
      {"0ns", 0},
      {"0.000000000000000000000000000h", 0},
      {".5s", 500},
      {"1.s", 1000},
      {"0.001s", 1},
      {"0.0010000000001s", 2},
      {"1m30s", 90000},
      {"1h2m3.5s4ms5us", 3723505},
      {"1s1s", 2000},
      {"0000000000000000000000001s", 1000},
      {"1.1s", 1100},
      {"0.3s", 300},
      {"2.675s", 2675},
      {"0.0166666666666666m", 1000},
      {"0.1h", 360000},
      {"86400s", 86400000},
      {"18446744073709ms", 18446744073709},
      {"18446744073709551615ns", 18446744073710},
      {"5124095.5h", 18446743800000},
  };
  for (size_t i = 0; i < COUNT(good); i++) {
    uint64_t ms = 12345;
    dsc_why why;
    if (dsc_config_duration(dsc_str_of(good[i].text), &ms, &why)) fail_msg("%s", why.text);
    if (ms != good[i].ms) fail_msg("%s is %llu", good[i].text, (unsigned long long)ms);
    ms = 12345;
    assert_int_equal(dsc_config_duration_or_ms(dsc_str_of(good[i].text), &ms, NULL), DSC_OK);
    assert_int_equal(ms, good[i].ms);
  }
}

TEST(bad_durations) {
  static const char *const bad[] = {
      "",
      " ",
      "s",
      "ms",
      ".",
      ".s",
      "1 s",
      " 1s",
      "1s ",
      "-1s",
      "+1s",
      "1S",
      "1MS",
      "1sec",
      "1d",
      "1min",
      "1x",
      "1..5s",
      "1.5.5s",
      "1,5s",
      "0x10s",
      "1e3s",
      "1s5",
      "1ss",
      "1\xc2s",
      "1\xb5s",
      "1\xb5",
      "s1",
      "infs",
      "nans",
      "1h-1m",
      "1s,2s",
      "\xd9\xa1s",
      "18446744073709551616ns",
      "18446744073709552ms1s",
      "99999999999999999999999s",
      "5124096h",
      "18446744073709551615ns1ns",
      "18446744073709551615.1ns",
  };
  for (size_t i = 0; i < COUNT(bad); i++) {
    uint64_t ms = 12345;
    dsc_why why = {""};
    if (dsc_config_duration(dsc_str_of(bad[i]), &ms, &why) != DSC_EINVALID) fail_msg("\"%s\" was taken", bad[i]);
    assert_int_equal(dsc_config_duration_or_ms(dsc_str_of(bad[i]), &ms, NULL), DSC_EINVALID);
    assert_int_equal(ms, 12345);
    assert_non_null(strstr(why.text, "not a duration"));
  }
  uint64_t ms;
  assert_int_equal(dsc_config_duration((dsc_str){"1s\0", 3}, &ms, NULL), DSC_EINVALID);
  assert_int_equal(dsc_config_duration((dsc_str){NULL, 0}, &ms, NULL), DSC_EINVALID);
  assert_int_equal(dsc_config_duration((dsc_str){"1s", 1}, &ms, NULL), DSC_EINVALID); /* not read past the end */
}

TEST(a_bare_number_is_milliseconds_only_where_asked) {
  static const struct {
    const char *text;
    uint64_t ms;
  } bare[] = {{"0", 0}, {"1", 1}, {"500", 500}, {"1.5", 2}, {".1", 1}, {"18446744073709", 18446744073709}};
  for (size_t i = 0; i < COUNT(bare); i++) {
    uint64_t ms;
    assert_int_equal(dsc_config_duration(dsc_str_of(bare[i].text), &ms, NULL), DSC_EINVALID);
    assert_int_equal(dsc_config_duration_or_ms(dsc_str_of(bare[i].text), &ms, NULL), DSC_OK);
    assert_int_equal(ms, bare[i].ms);
  }
  uint64_t ms;
  assert_int_equal(dsc_config_duration_or_ms(L("1s500"), &ms, NULL), DSC_EINVALID);
  assert_int_equal(dsc_config_duration_or_ms(L("18446744073710"), &ms, NULL), DSC_EINVALID);
}

TEST(a_long_text_is_quoted_in_part) {
  char text[2000];
  dsc_why why;
  uint64_t ms;
  memset(text, 'x', sizeof text);
  assert_int_equal(dsc_config_duration((dsc_str){text, sizeof text}, &ms, &why), DSC_EINVALID);
  assert_non_null(strstr(why.text, "ms, s, m or h"));
  assert_non_null(strstr(why.text, "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\" is not"));
}

TEST(what_is_written_exactly_is_read_exactly) {
  static const uint64_t units[] = {3600000, 60000, 1000, 1};
  static const char *const names[] = {"h", "m", "s", "ms"};
  uint64_t seed = 5;
  for (int round = 0; round < 20000; round++) {
    uint64_t expected = 0, ms;
    char text[128] = "";
    size_t n = 0;
    for (size_t parts = 1 + pick_below(&seed, 4); parts > 0; parts--) {
      size_t unit = pick_below(&seed, COUNT(units));
      uint64_t whole = pick_below(&seed, 100000), tenths = unit < 3 ? pick_below(&seed, 10) : 0;
      expected += whole * units[unit] + tenths * units[unit] / 10;
      n += (size_t)snprintf(text + n, sizeof text - n, "%llu.%llu%s", (unsigned long long)whole,
                            (unsigned long long)tenths, names[unit]);
    }
    assert_int_equal(dsc_config_duration((dsc_str){text, n}, &ms, NULL), DSC_OK);
    assert_int_equal(ms, expected);
  }
}

TEST(random_texts_never_harm) {
  static const char bytes[] = "0123456789.smunh\xc2\xb5\xce\xbc-+ e";
  uint64_t seed = 9;
  for (int round = 0; round < 200000; round++) {
    char text[16];
    uint64_t ms;
    size_t n = pick_below(&seed, sizeof text);
    for (size_t i = 0; i < n; i++) text[i] = bytes[pick_below(&seed, sizeof bytes)];
    dsc_err strict = dsc_config_duration((dsc_str){text, n}, &ms, NULL);
    dsc_err bare = dsc_config_duration_or_ms((dsc_str){text, n}, &ms, NULL);
    assert_true(strict == DSC_OK || strict == DSC_EINVALID);
    if (strict == DSC_OK) assert_int_equal(bare, DSC_OK);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(good_durations),
      cmocka_unit_test(bad_durations),
      cmocka_unit_test(a_bare_number_is_milliseconds_only_where_asked),
      cmocka_unit_test(a_long_text_is_quoted_in_part),
      cmocka_unit_test(what_is_written_exactly_is_read_exactly),
      cmocka_unit_test(random_texts_never_harm),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
