/*
** str_test.c - comparing, cutting, numbers, hash.
*/
#include "check.h"

static const dsc_str none = {NULL, 0};

TEST(equality) {
  assert_true(dsc_str_equal(L("abc"), L("abc")));
  assert_false(dsc_str_equal(L("abc"), L("abd")));
  assert_false(dsc_str_equal(L("abc"), L("ab")));
  assert_true(dsc_str_equal(none, L("")));
  assert_true(dsc_str_equal(dsc_str_of(NULL), none));
  assert_true(dsc_str_equal_nocase(L("X-Request-ID"), L("x-rEQUEST-id")));
  assert_false(dsc_str_equal_nocase(L("["), L("{"))); /* 0x20 apart, and no letters */
  assert_false(dsc_str_equal_nocase(L("\xc4"), L("\xe4")));
  assert_true(dsc_str_equal_nocase(none, none));
}

TEST(starts) {
  assert_true(dsc_str_starts(L("redis://x"), L("redis://")));
  assert_true(dsc_str_starts(L("x"), none));
  assert_true(dsc_str_starts(none, none));
  assert_false(dsc_str_starts(L("red"), L("redis")));
  assert_false(dsc_str_starts(L("rediss"), L("redisx")));
}

TEST(trim) {
  assert_str(dsc_str_trim(L(" \t a b\t ")), "a b");
  assert_str(dsc_str_trim(L(" \t")), "");
  assert_str(dsc_str_trim(none), "");
  assert_str(dsc_str_trim(L("\na")), "\na");
}

TEST(cut) {
  dsc_str rest = L("a::b");
  assert_str(dsc_str_cut(&rest, ':'), "a");
  assert_str(dsc_str_cut(&rest, ':'), "");
  assert_str(dsc_str_cut(&rest, ':'), "b");
  assert_null(rest.p);
  assert_str(dsc_str_cut(&rest, ':'), "");
  rest = L("a:");
  assert_str(dsc_str_cut(&rest, ':'), "a");
  assert_non_null(rest.p); /* something empty follows, unlike "a" alone */
  assert_int_equal(rest.n, 0);
}

TEST(good_integers) {
  static const struct {
    const char *text;
    int64_t value;
  } good[] = {
      {"0", 0},
      {"-0", 0},
      {"+7", 7},
      {"007", 7},
      {"-12", -12},
      {"9223372036854775807", INT64_MAX},
      {"-9223372036854775808", INT64_MIN},
      {"000000000000000000000000000001", 1},
  };
  for (size_t i = 0; i < COUNT(good); i++) {
    int64_t value = 42;
    assert_true(dsc_str_to_int(dsc_str_of(good[i].text), &value));
    assert_true(value == good[i].value);
  }
}

TEST(bad_integers) {
  static const char *const bad[] = {"",
                                    "+",
                                    "-",
                                    "--1",
                                    "+-1",
                                    " 1",
                                    "1 ",
                                    "1.0",
                                    "0x10",
                                    "1e3",
                                    "12a",
                                    "9223372036854775808",
                                    "\n1",
                                    "/",
                                    ":",
                                    "-9223372036854775809",
                                    "99999999999999999999"};
  for (size_t i = 0; i < COUNT(bad); i++) {
    int64_t value = 42;
    assert_false(dsc_str_to_int(dsc_str_of(bad[i]), &value));
    assert_int_equal(value, 42);
  }
  int64_t value = 42;
  assert_false(dsc_str_to_int(L("1\0"), &value));
  assert_false(dsc_str_to_int(none, &value));
}

TEST(integers_come_back) {
  uint64_t seed = 1;
  for (int i = 0; i < 10000; i++) {
    int64_t in = (int64_t)((pick_below(&seed, SIZE_MAX) << 33) ^ pick_below(&seed, SIZE_MAX)) >> pick_below(&seed, 64);
    int64_t out = ~in;
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)in);
    assert_true(dsc_str_to_int(dsc_str_of(text), &out));
    assert_true(in == out);
  }
}

TEST(clean) {
  assert_true(dsc_str_is_clean(L("a b \xc3\xa4")));
  assert_true(dsc_str_is_clean(none));
  for (int c = 0; c < 256; c++) {
    char byte = (char)c;
    assert_int_equal(dsc_str_is_clean((dsc_str){&byte, 1}), c >= 0x20 && c != 0x7f);
  }
}

TEST(hash_spreads_addresses_over_low_and_high_bits) {
  static unsigned low[1024], high[1024];
  char text[32];
  for (int i = 0; i < 10240; i++) {
    snprintf(text, sizeof text, "10.0.%d.%d:8080", i / 256, i % 256);
    uint64_t hash = dsc_str_hash(dsc_str_of(text));
    low[hash % 1024]++;
    high[hash >> 54]++;
  }
  for (size_t i = 0; i < 1024; i++) {
    assert_in_range(low[i], 0, 30); /* 10 expected */
    assert_in_range(high[i], 0, 30);
  }
}

TEST(hash_spreads_short_keys) {
  static unsigned low[256], high[256];
  for (int i = 0; i < 4096; i++) {
    char text[] = {(char)('a' + i / 256), (char)i};
    uint64_t hash = dsc_str_hash((dsc_str){text, sizeof text});
    low[hash % 256]++;
    high[hash >> 56]++;
  }
  for (size_t i = 0; i < 256; i++) {
    assert_in_range(low[i], 1, 40); /* 16 expected */
    assert_in_range(high[i], 1, 40);
  }
}

TEST(hash_is_of_the_bytes) {
  char copy[] = "user";
  assert_true(dsc_str_hash(L("user")) == dsc_str_hash(dsc_str_of(copy)));
  assert_true(dsc_str_hash(L("user")) != dsc_str_hash(L("use")));
  assert_true(dsc_str_hash(L("a\0")) != dsc_str_hash(L("a")));
  assert_true(dsc_str_hash(none) == dsc_str_hash(L("")));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(equality),
      cmocka_unit_test(starts),
      cmocka_unit_test(trim),
      cmocka_unit_test(cut),
      cmocka_unit_test(good_integers),
      cmocka_unit_test(bad_integers),
      cmocka_unit_test(integers_come_back),
      cmocka_unit_test(clean),
      cmocka_unit_test(hash_spreads_addresses_over_low_and_high_bits),
      cmocka_unit_test(hash_spreads_short_keys),
      cmocka_unit_test(hash_is_of_the_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
