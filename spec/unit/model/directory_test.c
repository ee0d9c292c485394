/*
** directory_test.c - apps are found, kept when configured and bounded when loose.
*/
#include "table_support.h"

#include <pthread.h>

#include "model/directory.h"

static dsc_str app_of(size_t i) {
  static char text[32];
  return (dsc_str){text, (size_t)snprintf(text, sizeof text, "app%05zu", i)};
}

/* Opens and lets go; returns whether something was evicted, and checks its name. */
static bool open_app(dsc_directory *directory, size_t i, bool configured, const char *expected_evicted) {
  dsc_table *evicted = NULL;
  dsc_table *table = dsc_directory_open(directory, app_of(i), configured, &evicted);
  assert_non_null(table);
  assert_true(dsc_str_equal(dsc_table_app(table), app_of(i)));
  dsc_table_unref(table);
  if (expected_evicted) assert_str(dsc_table_app(evicted), expected_evicted);
  if (evicted) dsc_table_clear(evicted, NULL);
  dsc_table_unref(evicted);
  return evicted != NULL;
}

static bool has(dsc_directory *directory, size_t i) {
  dsc_table *table = dsc_directory_find(directory, app_of(i));
  dsc_table_unref(table);
  return table != NULL;
}

TEST(an_app_is_made_once) {
  dsc_directory *directory = dsc_directory_new();
  assert_null(dsc_directory_find(directory, L("a")));
  dsc_table *one = dsc_directory_open(directory, L("a"), false, NULL);
  dsc_table *two = dsc_directory_open(directory, L("a"), true, NULL);
  dsc_table *three = dsc_directory_find(directory, L("a"));
  assert_ptr_equal(one, two);
  assert_ptr_equal(one, three);
  set(one, 1, 10); /* freed although it has nodes */
  dsc_table_unref(one);
  dsc_table_unref(two);
  dsc_directory_free(directory);
  size_t usable;
  assert_int_equal(dsc_table_count(three, &usable), 0);
  dsc_table_unref(three);
  dsc_directory_free(NULL);
}

TEST(loose_apps_are_bounded_the_least_recently_called_goes_first) {
  dsc_directory *directory = dsc_directory_new();
  open_app(directory, 0, false, NULL);
  open_app(directory, 0, true, NULL); /* loose first, then configured: stays */
  for (size_t i = 1; i <= DSC_DIRECTORY_MAX_LOOSE; i++) assert_false(open_app(directory, i, false, NULL));
  assert_true(has(directory, 1));                       /* called now: 2 is the oldest */
  open_app(directory, 2, false, NULL);                  /* opening counts as well: 3 is the oldest */
  assert_false(open_app(directory, 90000, true, NULL)); /* configured ones do not push */
  assert_true(open_app(directory, 90001, false, "app00003"));
  assert_false(has(directory, 3));
  open_app(directory, 4, true, NULL);
  open_app(directory, 4, false, NULL); /* once configured, always */
  assert_false(open_app(directory, 90002, false, NULL));
  assert_true(open_app(directory, 90003, false, "app00005"));
  assert_true(has(directory, 0) && has(directory, 1) && has(directory, 2) && has(directory, 4));
  dsc_directory_free(directory);
}

TEST(eviction_without_a_taker_clears_the_table) {
  dsc_directory *directory = dsc_directory_new();
  dsc_table *first = dsc_directory_open(directory, app_of(0), false, NULL);
  set(first, 1, 1);
  dsc_node *node = dsc_table_find(first, addr_of(1));
  for (size_t i = 1; i <= DSC_DIRECTORY_MAX_LOOSE; i++)
    dsc_table_unref(dsc_directory_open(directory, app_of(i), false, NULL));
  assert_false(has(directory, 0));
  assert_int_equal(dsc_node_get_state(node), DSC_NODE_GONE);
  dsc_node_unref(node);
  dsc_table_unref(first);
  dsc_directory_free(directory);
}

TEST(the_list_is_sorted) {
  static const char *const names[] = {"b", "a", "ab", "B", "aa"};
  static const char *const sorted[] = {"B", "a", "aa", "ab", "b"};
  dsc_directory *directory = dsc_directory_new();
  size_t count = 9;
  assert_null(dsc_directory_list(directory, &count));
  assert_int_equal(count, 0);
  for (size_t i = 0; i < COUNT(names); i++)
    dsc_table_unref(dsc_directory_open(directory, dsc_str_of(names[i]), i % 2, NULL));
  dsc_table **tables = dsc_directory_list(directory, &count);
  assert_int_equal(count, COUNT(sorted));
  for (size_t i = 0; i < count; i++) {
    assert_str(dsc_table_app(tables[i]), sorted[i]);
    dsc_table_unref(tables[i]);
  }
  dsc_mem_free(tables);
  dsc_directory_free(directory);
}

static bool use_directory(void) {
  dsc_directory *directory = dsc_directory_new();
  if (!directory) return false;
  bool ok = true;
  size_t opened = 0;
  for (size_t i = 0; i < 10; i++) {
    dsc_table *table = dsc_directory_open(directory, app_of(i), i % 2, NULL);
    ok = ok && table;
    opened += table != NULL;
    dsc_table_unref(table);
  }
  size_t count;
  dsc_table **tables = dsc_directory_list(directory, &count);
  ok = ok && tables;
  assert_int_equal(count, opened); /* no memory is not no app */
  for (size_t i = 0; tables && i < count; i++) dsc_table_unref(tables[i]);
  dsc_mem_free(tables);
  dsc_directory_free(directory);
  return ok;
}

TEST(every_allocation_may_fail) {
  assert_true(fail_each_allocation(use_directory) > 20);
}

static void *hammer(void *ud) {
  dsc_directory *directory = ud;
  for (size_t i = 0; i < 5000; i++) {
    char name[32];
    dsc_str app = {name, (size_t)snprintf(name, sizeof name, "t%zu", i % 1500)};
    dsc_table *table =
        i % 3 ? dsc_directory_open(directory, app, i % 100 == 1, NULL) : dsc_directory_find(directory, app);
    if (table) (void)dsc_table_set(table, L("1.2.3.4:5"), 1, NULL, false, NOW, NULL);
    dsc_table_unref(table);
  }
  return NULL;
}

TEST(threads_open_find_and_evict_at_once) {
  pthread_t threads[4];
  dsc_directory *directory = dsc_directory_new();
  for (size_t i = 0; i < COUNT(threads); i++) assert_int_equal(pthread_create(&threads[i], NULL, hammer, directory), 0);
  for (size_t i = 0; i < COUNT(threads); i++) pthread_join(threads[i], NULL);
  dsc_directory_free(directory);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LEAK_FREE(an_app_is_made_once),
      LEAK_FREE(loose_apps_are_bounded_the_least_recently_called_goes_first),
      LEAK_FREE(eviction_without_a_taker_clears_the_table),
      LEAK_FREE(the_list_is_sorted),
      LEAK_FREE(every_allocation_may_fail),
      LEAK_FREE(threads_open_find_and_evict_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
