/*
** err_test.c - every code has one name and one sentence; dsc_fail() is safe with anything.
*/
#include "check.h"

#include "base/err.h"

TEST(names_and_codes_are_one_to_one) {
  for (int code = DSC_OK + 1; code < DSC_ERR_COUNT; code++) {
    const char *name = dsc_err_name((dsc_err)code);
    assert_int_equal(dsc_err_find(name), code);
    assert_true(strlen(dsc_err_text((dsc_err)code)) > 0);
  }
  assert_string_equal(dsc_err_name(DSC_ENO_NODE), "no_node");
  assert_string_equal(dsc_err_text(DSC_ETIMEOUT), "time ran out");
}

TEST(odd_codes_and_names) {
  assert_string_equal(dsc_err_name(DSC_OK), "ok");
  assert_string_equal(dsc_err_name(DSC_ERR_COUNT), "unknown");
  assert_string_equal(dsc_err_name((dsc_err)-1), "unknown");
  assert_string_equal(dsc_err_text((dsc_err)9999), "unknown error");
  assert_int_equal(dsc_err_find("ok"), DSC_OK);
  assert_int_equal(dsc_err_find("TIMEOUT"), DSC_OK);
  assert_int_equal(dsc_err_find(""), DSC_OK);
  assert_int_equal(dsc_err_find(NULL), DSC_OK);
}

TEST(fail_writes_and_returns) {
  dsc_why why;
  assert_int_equal(dsc_fail(&why, DSC_EINVALID, "port %d of \"%s\"", 70000, "x"), DSC_EINVALID);
  assert_string_equal(why.text, "port 70000 of \"x\"");
  assert_int_equal(dsc_fail(NULL, DSC_EIO, "nobody listens %s", "here"), DSC_EIO);
}

TEST(fail_shows_control_characters_as_question_marks) {
  dsc_why why;
  dsc_fail(&why, DSC_EINVALID, "a\r\nb\tc\x7f\x1b[0m \xc3\xa4");
  assert_string_equal(why.text, "a??b?c??[0m \xc3\xa4");
}

TEST(fail_truncates) {
  dsc_why why;
  char longer[2 * DSC_WHY_MAX];
  memset(longer, 'x', sizeof longer - 1);
  longer[sizeof longer - 1] = '\0';
  dsc_fail(&why, DSC_EINVALID, "%s", longer);
  assert_int_equal(strlen(why.text), DSC_WHY_MAX - 1);
}

TEST(fail_may_prefix_its_own_sentence) {
  dsc_why why;
  dsc_fail(&why, DSC_EINVALID, "no port");
  dsc_fail(&why, DSC_EINVALID, "app \"user\": %s", why.text);
  assert_string_equal(why.text, "app \"user\": no port");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(names_and_codes_are_one_to_one),
      cmocka_unit_test(odd_codes_and_names),
      cmocka_unit_test(fail_writes_and_returns),
      cmocka_unit_test(fail_shows_control_characters_as_question_marks),
      cmocka_unit_test(fail_truncates),
      cmocka_unit_test(fail_may_prefix_its_own_sentence),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
