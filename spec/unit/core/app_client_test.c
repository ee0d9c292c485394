/*
** app_client_test.c - the visible state of a call: what its setters take, keep and refuse, and the nodes that were tried.
*/
#include "base/check.h"
#include "core/app_client_impl.h"
#include "model/table.h"

static dsc_why why;

/* A copy that ends where the text ends, without a terminator: a sanitizer sees who reads on. */
static dsc_str bare(const char *text) {
  size_t n = strlen(text);
  char *copy = malloc(n ? n : 1);
  assert_non_null(copy);
  memcpy(copy, text, n);
  return (dsc_str){copy, n};
}

static void bare_free(dsc_str s) {
  free((void *)(uintptr_t)s.p);
}

TEST(keeps_copies) {
  dsc_app_client ac;
  dsc_app_client_init(&ac);
  dsc_str app = bare("svc"), method = bare("PATCH"), path = bare("/a?b=c"), body = bare("text");
  assert_int_equal(dsc_app_client_set_app(&ac, app, &why), DSC_OK);
  assert_int_equal(dsc_app_client_set_method(&ac, method, &why), DSC_OK);
  assert_int_equal(dsc_app_client_set_path(&ac, path, &why), DSC_OK);
  assert_int_equal(dsc_app_client_set_body(&ac, body, true, &why), DSC_OK);
  bare_free(app), bare_free(method), bare_free(path), bare_free(body);
  assert_str(ac.app.s, "svc");
  assert_str(ac.method.s, "PATCH");
  assert_str(ac.path.s, "/a?b=c");
  assert_str(ac.body.s, "text");
  assert_true(ac.has_body);
  assert_int_equal(ac.path.s.p[ac.path.s.n], '\0');
  dsc_app_client_fini(&ac);
}

TEST(may_be_given_its_own_fields) {
  dsc_app_client ac;
  dsc_app_client_init(&ac);
  assert_int_equal(dsc_app_client_set_path(&ac, L("/long/way"), &why), DSC_OK);
  assert_int_equal(dsc_app_client_set_path(&ac, (dsc_str){ac.path.s.p + 5, 4}, &why), DSC_OK);
  assert_str(ac.path.s, "/way");
  assert_int_equal(dsc_app_client_set_body(&ac, L("abc"), true, &why), DSC_OK);
  assert_int_equal(dsc_app_client_set_body(&ac, ac.body.s, true, &why), DSC_OK);
  assert_str(ac.body.s, "abc");
  dsc_headers headers;
  dsc_headers_init(&headers);
  assert_int_equal(dsc_headers_add(&headers, L("A"), L("1")), DSC_OK);
  assert_int_equal(dsc_app_client_set_headers(&ac, &headers, &why), DSC_OK);
  assert_int_equal(dsc_app_client_set_headers(&ac, &ac.headers, &why), DSC_OK);
  assert_str(dsc_headers_find(&ac.headers, L("a"))->value, "1");
  dsc_headers_clear(&headers);
  dsc_app_client_fini(&ac);
}

TEST(takes_the_body_away) {
  dsc_app_client ac;
  dsc_app_client_init(&ac);
  assert_int_equal(dsc_app_client_set_body(&ac, L(""), true, &why), DSC_OK);
  assert_true(ac.has_body);
  assert_int_equal(dsc_app_client_set_body(&ac, L("x"), false, &why), DSC_OK);
  assert_false(ac.has_body);
  assert_int_equal(ac.body.s.n, 0);
  dsc_app_client_fini(&ac);
}

TEST(a_body_takes_the_source_away) {
  struct dsc_body *source = (struct dsc_body *)&why; /* only its address matters */
  for (int has_body = 0; has_body <= 1; has_body++) {
    dsc_app_client ac;
    dsc_app_client_init(&ac);
    ac.source = source;
    assert_int_equal(dsc_app_client_set_path(&ac, L("/x"), &why), DSC_OK);
    assert_ptr_equal(ac.source, source);
    assert_int_equal(dsc_app_client_set_body(&ac, L("x"), has_body, &why), DSC_OK);
    assert_null(ac.source);
    dsc_app_client_fini(&ac);
  }
}

/* A refused value leaves the field as it was. */
static void refuses(dsc_err (*set)(dsc_app_client *, dsc_str, dsc_why *), dsc_text *field, dsc_app_client *ac,
                    dsc_str value) {
  dsc_str before = field->s;
  assert_int_equal(set(ac, value, &why), DSC_EINVALID);
  assert_ptr_equal(field->s.p, before.p);
  assert_int_equal(field->s.n, before.n);
}

TEST(refuses_what_no_request_line_can_hold) {
  dsc_app_client ac;
  dsc_app_client_init(&ac);
  assert_int_equal(dsc_app_client_set_method(&ac, L("GET"), &why), DSC_OK);
  assert_int_equal(dsc_app_client_set_path(&ac, L("/"), &why), DSC_OK);
  const char *paths[] = {"", "a", "http://x/", "/a b", "/a\tb", "/a\r\nb", "/a#b", "/\x7f"};
  for (size_t i = 0; i < COUNT(paths); i++)
    refuses(dsc_app_client_set_path, &ac.path, &ac, (dsc_str){paths[i], strlen(paths[i])});
  refuses(dsc_app_client_set_path, &ac.path, &ac, (dsc_str){"/\0a", 3});
  refuses(dsc_app_client_set_path, &ac.path, &ac, (dsc_str){NULL, 0});
  const char *methods[] = {"", "GE T", "G\r\nX:1", "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG"};
  for (size_t i = 0; i < COUNT(methods); i++) {
    dsc_str method = bare(methods[i]);
    refuses(dsc_app_client_set_method, &ac.method, &ac, method);
    bare_free(method);
  }
  refuses(dsc_app_client_set_method, &ac.method, &ac, (dsc_str){NULL, 0});
  refuses(dsc_app_client_set_app, &ac.app, &ac, L("a b"));
  refuses(dsc_app_client_set_app, &ac.app, &ac, L(""));
  dsc_app_client_fini(&ac);
}

TEST(bounds_the_path) {
  static char path[64 * 1024];
  dsc_app_client ac;
  dsc_app_client_init(&ac);
  memset(path, 'x', sizeof path);
  path[0] = '/';
  assert_int_equal(dsc_app_client_set_path(&ac, (dsc_str){path, sizeof path - 1}, &why), DSC_OK);
  assert_int_equal(dsc_app_client_set_path(&ac, (dsc_str){path, sizeof path}, &why), DSC_EINVALID);
  assert_int_equal(ac.path.s.n, sizeof path - 1);
  dsc_app_client_fini(&ac);
}

TEST(checks_headers_and_keeps_the_old_ones) {
  dsc_app_client ac;
  dsc_headers good, bad;
  dsc_app_client_init(&ac);
  dsc_headers_init(&good);
  dsc_headers_init(&bad);
  assert_int_equal(dsc_headers_add(&good, L("A"), L("1")), DSC_OK);
  assert_int_equal(dsc_app_client_set_headers(&ac, &good, &why), DSC_OK);
  assert_int_equal(dsc_headers_add(&bad, L("B"), L("2")), DSC_OK);
  assert_int_equal(dsc_headers_add(&bad, L("C"), L("3\r\nD: 4")), DSC_OK);
  assert_int_equal(dsc_app_client_set_headers(&ac, &bad, &why), DSC_EINVALID);
  assert_int_equal(ac.headers.count, 1);
  assert_str(dsc_headers_find(&ac.headers, L("A"))->value, "1");
  assert_int_equal(dsc_app_client_set_headers(&ac, NULL, &why), DSC_OK);
  assert_int_equal(ac.headers.count, 0);
  dsc_headers_clear(&good);
  dsc_headers_clear(&bad);
  dsc_app_client_fini(&ac);
}

static dsc_table *table_of(int nodes) {
  dsc_table *table = dsc_table_new(L("svc"));
  for (int i = 0; table && i < nodes; i++) {
    char addr[32];
    snprintf(addr, sizeof addr, "10.0.0.%d:80", i + 1);
    assert_int_equal(dsc_table_set(table, dsc_str_of(addr), 1, NULL, false, 1, NULL), DSC_OK);
  }
  return table;
}

TEST(remembers_every_node_that_was_tried) {
  dsc_table *table = table_of(33);
  dsc_app_client ac;
  dsc_app_client_init(&ac);
  dsc_node_array *nodes = dsc_table_snapshot(table);
  for (size_t i = 0; i < nodes->count; i++) {
    assert_int_equal(dsc_app_client_add_tried(&ac, nodes->nodes[i]), DSC_OK);
    assert_int_equal(ac.attempts, i + 1);
  }
  for (size_t i = 0; i < nodes->count; i++) assert_ptr_equal(ac.tried[i], nodes->nodes[i]);
  dsc_node_array_unref(nodes);
  dsc_table_clear(table, NULL); /* the references keep the nodes */
  assert_str(dsc_node_addr(ac.tried[0]), "10.0.0.10:80");
  dsc_app_client_fini(&ac);
  assert_int_equal(ac.n_tried, 0);
  dsc_app_client_fini(&ac);
  dsc_table_unref(table);
}

static dsc_table *shared_table;
static dsc_headers shared_headers;

static bool fill(void) {
  dsc_app_client ac;
  dsc_node_array *nodes = dsc_table_snapshot(shared_table);
  dsc_app_client_init(&ac);
  bool good = nodes != NULL && !dsc_app_client_set_app(&ac, L("svc"), &why) &&
              !dsc_app_client_set_method(&ac, L("GET"), &why) && !dsc_app_client_set_path(&ac, L("/"), &why) &&
              !dsc_app_client_set_body(&ac, L("body"), true, &why) &&
              !dsc_app_client_set_headers(&ac, &shared_headers, &why);
  for (size_t i = 0; good && i < nodes->count; i++) good = !dsc_app_client_add_tried(&ac, nodes->nodes[i]);
  assert_true(nodes == NULL || ac.n_tried <= nodes->count);
  assert_int_equal(ac.n_tried, ac.attempts);
  dsc_app_client_fini(&ac);
  dsc_node_array_unref(nodes);
  return good;
}

TEST(without_memory_nothing_is_lost) {
  shared_table = table_of(9);
  dsc_headers_init(&shared_headers);
  assert_int_equal(dsc_headers_add(&shared_headers, L("A"), L("1")), DSC_OK);
  assert_true(fill()); /* the table's own array is made once */
  assert_true(fail_each_allocation(fill) >= 6);
  dsc_headers_clear(&shared_headers);
  dsc_table_clear(shared_table, NULL);
  dsc_table_unref(shared_table);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(keeps_copies),
      cmocka_unit_test(may_be_given_its_own_fields),
      cmocka_unit_test(takes_the_body_away),
      cmocka_unit_test(a_body_takes_the_source_away),
      cmocka_unit_test(refuses_what_no_request_line_can_hold),
      cmocka_unit_test(bounds_the_path),
      cmocka_unit_test(checks_headers_and_keeps_the_old_ones),
      cmocka_unit_test(remembers_every_node_that_was_tried),
      cmocka_unit_test(without_memory_nothing_is_lost),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
