/*
** retry_after_test.c - seconds, the three forms of an HTTP date, and what is none of them.
*/
#include "base/check.h"

#include "model/retry_after.h"

#define DATE "Sun, 06 Nov 1994 08:49:37 GMT"

TEST(every_form_is_understood) {
  static const struct {
    const char *value, *date;
    double wall;
    uint64_t ms;
  } cases[] = {
      {"0", "", 0, 0},
      {"1", "", 0, 1000},
      {" 7 ", "", 0, 7000},
      {"30", "", 0, 30000},
      {"31", "", 0, 30000},
      {"99999999999999999999999999999999", "", 0, 30000},
      {"Sun, 06 Nov 1994 08:49:40 GMT", DATE, 0, 3000},
      {"Sun, 06 Nov 1994 08:49:40 GMT", "", 784111777, 3000},
      {"Sunday, 06-Nov-94 08:49:47 GMT", DATE, 0, 10000},
      {"Sun Nov  6 08:49:38 1994", DATE, 0, 1000},
      {"Sun, 06 Nov 1994 09:49:37 GMT", DATE, 0, 30000},
      {"Sun, 06 Nov 1994 08:49:37 GMT", DATE, 0, 0},
      {"Sat, 05 Nov 1994 08:49:37 GMT", DATE, 0, 0},
      {"Wed, 01 Mar 2000 00:00:05 GMT", "Tue, 29 Feb 2000 23:59:59 GMT", 0, 6000},
      {"Thu, 01 Jan 1970 00:00:09 GMT", "", 4, 5000},
      {"Mon, 01 Jan 2024 00:00:01 GMT", "Sun, 31 Dec 2023 23:59:59 GMT", 0, 2000},
      {"Sun, 06 Nov 1994 08:49:40 GMT", "nonsense", 784111777, 3000},
  };
  for (size_t i = 0; i < COUNT(cases); i++)
    assert_int_equal(dsc_retry_after_ms(dsc_str_of(cases[i].value), dsc_str_of(cases[i].date), cases[i].wall),
                     cases[i].ms);
}

TEST(what_is_none_of_them_is_none) {
  static const char *const cases[] = {"",
                                      " ",
                                      "-1",
                                      "+1",
                                      "1.5",
                                      "1s",
                                      "soon",
                                      "1,2",
                                      "0x10",
                                      "Sun, 06 Nov 1994",
                                      "Sun, 06 Nov 1994 08:49:40 UTC",
                                      "Sun, 06 Nov 1994 08:49:40 GMT more",
                                      "Sun, 06 Foo 1994 08:49:40 GMT",
                                      "Sun, 42 Nov 1994 08:49:40 GMT",
                                      "Sun, 06 Nov 1994 25:49:40 GMT",
                                      "Sun, 06 Nov 1994 08:61:40 GMT",
                                      "Sun, 06 Nov 1194 08:49:40 GMT",
                                      "\x01\x02",
                                      "%s%n",
                                      "9999-99-99T00:00:00Z",
                                      "Sunnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"};
  for (size_t i = 0; i < COUNT(cases); i++)
    assert_int_equal(dsc_retry_after_ms(dsc_str_of(cases[i]), dsc_str_of(DATE), 0), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_form_is_understood),
      cmocka_unit_test(what_is_none_of_them_is_none),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
