/*
** headers_test.c - the list of headers, and which names and values may stand in it.
*/
#include "base/check.h"

#include "model/headers.h"

/* Compares a list with "name=value" lines. */
static void assert_list(const dsc_headers *headers, const char *expected) {
  char text[4096] = "";
  size_t n = 0;
  for (size_t i = 0; i < headers->count; i++) {
    dsc_header h = headers->items[i];
    assert_int_equal(strlen(h.name.p), h.name.n);
    assert_int_equal(strlen(h.value.p), h.value.n);
    n += (size_t)snprintf(text + n, sizeof text - n, "%s=%s\n", h.name.p, h.value.p);
  }
  assert_string_equal(text, expected);
}

static void add(dsc_headers *headers, const char *name, const char *value) {
  assert_int_equal(dsc_headers_add(headers, dsc_str_of(name), dsc_str_of(value)), DSC_OK);
}

TEST(order_is_kept_and_names_may_repeat) {
  dsc_headers headers;
  dsc_headers_init(&headers);
  assert_null(dsc_headers_find(&headers, L("a")));
  add(&headers, "Accept", "a");
  add(&headers, "X-B", "");
  add(&headers, "accept", "c");
  assert_list(&headers, "Accept=a\nX-B=\naccept=c\n");
  assert_str(dsc_headers_find(&headers, L("ACCEPT"))->value, "a");
  assert_str(dsc_headers_find(&headers, L("x-b"))->value, "");
  assert_null(dsc_headers_find(&headers, L("X-")));
  assert_null(dsc_headers_find(&headers, L("X-BB")));
  dsc_headers_clear(&headers);
  assert_int_equal(headers.count, 0);
  assert_null(headers.items);
  dsc_headers_clear(&headers);
}

TEST(set_replaces_all_of_a_name_in_any_case) {
  dsc_headers headers;
  dsc_headers_init(&headers);
  add(&headers, "A", "1");
  add(&headers, "B", "2");
  add(&headers, "a", "3");
  assert_int_equal(dsc_headers_set(&headers, L("a"), L("4")), DSC_OK);
  assert_list(&headers, "B=2\na=4\n");
  assert_int_equal(dsc_headers_set(&headers, L("C"), L("5")), DSC_OK);
  dsc_headers_remove(&headers, L("A"));
  dsc_headers_remove(&headers, L("none"));
  assert_list(&headers, "B=2\nC=5\n");
  dsc_headers_clear(&headers);
}

TEST(arguments_may_belong_to_the_list) {
  dsc_headers headers;
  dsc_headers_init(&headers);
  add(&headers, "A", "one");
  add(&headers, "a", "A");
  add(&headers, "B", "two");
  assert_int_equal(dsc_headers_set(&headers, headers.items[0].name, headers.items[0].value), DSC_OK);
  assert_list(&headers, "B=two\nA=one\n");
  add(&headers, "a", "A");
  add(&headers, "A", "x");
  dsc_headers_remove(&headers, headers.items[2].value); /* the value "A" of an item that goes */
  assert_list(&headers, "B=two\n");
  dsc_headers_remove(&headers, headers.items[0].name);
  assert_list(&headers, "");
  for (int i = 0; i < 10; i++) add(&headers, "n", "v");
  assert_int_equal(dsc_headers_copy(&headers, &headers), DSC_OK);
  assert_int_equal(headers.count, 20);
  dsc_headers_clear(&headers);
}

TEST(values_hold_any_byte_they_were_given) {
  dsc_headers headers;
  dsc_headers_init(&headers);
  assert_int_equal(dsc_headers_add(&headers, L("a"), (dsc_str){"x\0y", 3}), DSC_OK);
  assert_int_equal(dsc_headers_add(&headers, L("b"), (dsc_str){NULL, 0}), DSC_OK);
  assert_int_equal(headers.items[0].value.n, 3);
  assert_memory_equal(headers.items[0].value.p, "x\0y", 4);
  assert_str(headers.items[1].value, "");
  dsc_headers_clear(&headers);
}

TEST(good_and_bad_names) {
  static const char *const good[] = {"a", "X-Request-Id", "!#$%&'*+-.^_`|~09azAZ"};
  static const char *const bad[] = {"",    " ",    "a b", "a:",  "a\r",  "a\n",  "a\t",      "(a)",
                                    "a,b", "a/b",  "a;b", "a=b", "a?",   "a@b",  "[a]",      "a\\b",
                                    "{a}", "a\"b", "a<b", "a>b", "\x7f", "\x80", "\xc3\xa4", "a\x1f"};
  char name[300];
  dsc_why why;
  memset(name, 'n', sizeof name);
  for (size_t i = 0; i < COUNT(good); i++) assert_int_equal(dsc_headers_check_name(dsc_str_of(good[i]), NULL), DSC_OK);
  for (size_t i = 0; i < COUNT(bad); i++) {
    why.text[0] = '\0';
    assert_int_equal(dsc_headers_check_name(dsc_str_of(bad[i]), &why), DSC_EINVALID);
    assert_true(strlen(why.text) > 0);
  }
  assert_int_equal(dsc_headers_check_name((dsc_str){"a\0b", 3}, NULL), DSC_EINVALID);
  assert_int_equal(dsc_headers_check_name((dsc_str){name, 256}, NULL), DSC_OK);
  assert_int_equal(dsc_headers_check_name((dsc_str){name, 257}, NULL), DSC_EINVALID);
}

TEST(every_control_byte_but_tab_is_refused_in_a_value) {
  for (int c = 0; c < 256; c++) {
    char value[3] = {'a', (char)c, 'b'};
    dsc_err expected = (c < 0x20 && c != '\t') || c == 0x7f ? DSC_EINVALID : DSC_OK;
    assert_int_equal(dsc_headers_check_value(L("X-A"), (dsc_str){value, 3}, NULL), expected);
  }
}

TEST(a_sentence_names_the_header_and_hides_the_value) {
  dsc_why why;
  assert_int_equal(dsc_headers_check_value(L("Access-Token"), L("hunter2\r\nX: y"), &why), DSC_EINVALID);
  assert_non_null(strstr(why.text, "Access-Token"));
  assert_null(strstr(why.text, "hunter2"));
  assert_non_null(strstr(why.text, "0x0d"));
}

TEST(a_value_has_at_most_64_kib) {
  size_t max = 64 * 1024;
  char *value = malloc(max + 1);
  assert_non_null(value);
  memset(value, 'v', max + 1);
  assert_int_equal(dsc_headers_check_value(L("a"), (dsc_str){value, max}, NULL), DSC_OK);
  assert_int_equal(dsc_headers_check_value(L("a"), (dsc_str){value, max + 1}, NULL), DSC_EINVALID);
  assert_int_equal(dsc_headers_check_value(L("a"), (dsc_str){NULL, 0}, NULL), DSC_OK);
  free(value);
}

static bool build(void) {
  dsc_headers headers, other;
  dsc_headers_init(&headers);
  dsc_headers_init(&other);
  dsc_err err = DSC_OK;
  for (int i = 0; i < 10 && !err; i++) err = dsc_headers_add(&headers, L("Name"), L("value"));
  if (!err) err = dsc_headers_copy(&other, &headers);
  if (!err) {
    err = dsc_headers_set(&headers, L("name"), L("new"));
    /* refused: the old ones stay */
    assert_int_equal(headers.count, err ? 10 : 1);
  }
  dsc_headers_clear(&headers);
  dsc_headers_clear(&other);
  return err == DSC_OK;
}

TEST(every_allocation_may_fail) {
  assert_true(fail_each_allocation(build) >= 22);
}

/* The same random steps on the list and on a plain model of it. */
TEST(random_steps_do_what_a_plain_model_does) {
  static const char *const names[] = {"a", "A", "b", "B", "cc"};
  uint64_t seed = 7;
  for (int round = 0; round < 300; round++) {
    struct {
      size_t name;
      int value;
    } model[64];
    size_t count = 0;
    dsc_headers headers;
    dsc_headers_init(&headers);
    for (int step = 0; step < 60; step++) {
      size_t name = pick_below(&seed, COUNT(names)), kept = 0, action = pick_below(&seed, 3);
      char value[16];
      snprintf(value, sizeof value, "%d", step);
      if (action == 0) add(&headers, names[name], value);
      if (action == 1) assert_int_equal(dsc_headers_set(&headers, dsc_str_of(names[name]), dsc_str_of(value)), DSC_OK);
      if (action == 2) dsc_headers_remove(&headers, dsc_str_of(names[name]));
      for (size_t i = 0; action != 0 && i < count; i++)
        if (strcasecmp(names[model[i].name], names[name]) != 0) model[kept++] = model[i];
      if (action != 0) count = kept;
      if (action != 2) {
        model[count].name = name;
        model[count++].value = step;
      }
      assert_int_equal(headers.count, count);
      for (size_t i = 0; i < count; i++) {
        assert_str(headers.items[i].name, names[model[i].name]);
        assert_int_equal(atoi(headers.items[i].value.p), model[i].value);
      }
    }
    dsc_headers_clear(&headers);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(order_is_kept_and_names_may_repeat),
      cmocka_unit_test(set_replaces_all_of_a_name_in_any_case),
      cmocka_unit_test(arguments_may_belong_to_the_list),
      cmocka_unit_test(values_hold_any_byte_they_were_given),
      cmocka_unit_test(good_and_bad_names),
      cmocka_unit_test(every_control_byte_but_tab_is_refused_in_a_value),
      cmocka_unit_test(a_sentence_names_the_header_and_hides_the_value),
      cmocka_unit_test(a_value_has_at_most_64_kib),
      cmocka_unit_test(every_allocation_may_fail),
      cmocka_unit_test(random_steps_do_what_a_plain_model_does),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
