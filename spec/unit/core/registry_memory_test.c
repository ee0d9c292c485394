/*
** registry_memory_test.c - registries that meet in a hub of this process: no thread, no waiting.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>

#include "core/store.h"
#include "support/ear.h"

#define NODE "10.0.0.1:80"

static int count_threads(void) {
  DIR *dir = opendir("/proc/self/task");
  int n = 0;
  while (readdir(dir)) n++;
  closedir(dir);
  return n - 2;
}

static void open_memory(member *m, const char *text) {
  member_init(m);
  assert_int_equal(member_open(m, text), DSC_OK);
}

static void everybody_hears_at_once(void **state) {
  (void)state;
  int threads = count_threads();
  member a, b, c;
  open_memory(&a, "memory://m1");
  open_memory(&b, "memory://m1");
  open_memory(&c, "memory://m2");
  assert_true(dsc_registry_is_up(a.registry));
  member_follow(&b, "shop", false);
  member_follow(&c, "shop", false);
  assert_int_equal(member_state(&b, "shop"), DSC_APP_READ);
  assert_int_equal(dsc_registry_register(a.registry, dsc_str_of("shop"), dsc_str_of(NODE), 5, "zone=a"), DSC_OK);
  assert_true(member_registered(&a, "shop", NODE));
  assert_int_equal(member_weight(&b, "shop", NODE), 5);
  assert_string_equal(member_metadata(&b, "shop", NODE), "zone=a");
  assert_int_equal(member_weight(&c, "shop", NODE), -1);
  dsc_registry_set_weight(a.registry, dsc_str_of("shop"), dsc_str_of(NODE), 0);
  assert_int_equal(member_weight(&b, "shop", NODE), -1);
  assert_true(member_registered(&a, "shop", NODE));
  dsc_registry_set_weight(a.registry, dsc_str_of("shop"), dsc_str_of(NODE), 8);
  dsc_registry_set_metadata(a.registry, dsc_str_of("shop"), dsc_str_of(NODE), "zone=b");
  assert_string_equal(member_metadata(&b, "shop", NODE), "zone=b");
  member d;
  open_memory(&d, "memory://m1");
  member_follow(&d, "shop", false);
  assert_int_equal(member_weight(&d, "shop", NODE), 8);
  assert_string_equal(member_metadata(&d, "shop", NODE), "zone=b");
  assert_true(member_unregister(&a, "shop", NODE, 0));
  assert_int_equal(member_weight(&b, "shop", NODE), -1);
  assert_int_equal(b.ear.events[DSC_EVENT_NODE_ADDED], 2);
  assert_int_equal(b.ear.events[DSC_EVENT_NODE_REMOVED], 2);
  assert_int_equal(count_threads(), threads);
  member_close(&a);
  member_close(&b);
  member_close(&c);
  member_close(&d);
}

static void goes_with_its_last_holder(void **state) {
  (void)state;
  member a, b;
  open_memory(&a, "memory://m1");
  open_memory(&b, "memory://m1");
  member_register(&a, "shop", NODE, 1);
  member_follow(&b, "shop", false);
  member_close(&a);
  assert_int_equal(member_weight(&b, "shop", NODE), -1);
  member_close(&b);
  open_memory(&b, "memory://m1");
  member_follow(&b, "shop", false);
  assert_int_equal(member_weight(&b, "shop", NODE), -1);
  member_close(&b);
}

static void the_last_one_on_an_address_stays(void **state) {
  (void)state;
  member a, b, c;
  open_memory(&a, "memory://m1");
  open_memory(&b, "memory://m1");
  open_memory(&c, "memory://m1");
  member_follow(&c, "shop", false);
  member_register(&a, "shop", NODE, 1);
  member_register(&b, "shop", NODE, 2);
  member_close(&a);
  assert_int_equal(member_weight(&c, "shop", NODE), 2);
  assert_int_equal(b.ear.events[DSC_EVENT_LOST], 1);
  member_close(&b);
  assert_int_equal(member_weight(&c, "shop", NODE), -1);
  member_close(&c);
}

static void kind_none_has_nodes_by_hand(void **state) {
  (void)state;
  member a;
  int threads = count_threads();
  open_memory(&a, "");
  assert_int_equal(dsc_registry_get_kind(a.registry), DSC_REGISTRY_NONE);
  assert_int_equal(member_state(&a, "shop"), DSC_APP_UNKNOWN);
  assert_int_equal(dsc_registry_set_node(a.registry, dsc_str_of("shop"), dsc_str_of(NODE), 3, "k=v", &a.why), DSC_OK);
  assert_int_equal(member_weight(&a, "shop", NODE), 3);
  assert_int_equal(a.ear.events[DSC_EVENT_NODE_ADDED], 1);
  assert_int_equal(member_follow(&a, "shop", true), DSC_OK);
  assert_int_equal(dsc_registry_set_node(a.registry, dsc_str_of("shop"), dsc_str_of(NODE), 0, NULL, &a.why), DSC_OK);
  assert_int_equal(member_weight(&a, "shop", NODE), -1);
  assert_int_equal(member_register(&a, "shop", NODE, 1), DSC_OK);
  assert_false(member_registered(&a, "shop", NODE));
  assert_true(member_unregister(&a, "shop", NODE, 1000));
  assert_true(dsc_registry_is_up(a.registry));
  assert_int_equal(count_threads(), threads);
  dsc_registry_stats stats;
  dsc_registry_get_stats(a.registry, &stats);
  assert_string_equal(stats.kind, "none");
  member_close(&a);
}

static void a_users_node_is_the_users(void **state) {
  (void)state;
  member a, b;
  open_memory(&a, "memory://m1");
  open_memory(&b, "memory://m1");
  dsc_registry_set_node(b.registry, dsc_str_of("shop"), dsc_str_of(NODE), 3, NULL, &b.why);
  member_follow(&b, "shop", true);
  member_register(&a, "shop", NODE, 9);
  assert_int_equal(member_weight(&b, "shop", NODE), 3);
  member_close(&a);
  assert_int_equal(member_weight(&b, "shop", NODE), 3);
  member_close(&b);
}

static void outcomes_isolate_and_tell(void **state) {
  (void)state;
  member a;
  open_memory(&a, "memory://m1");
  member_register(&a, "shop", NODE, 1);
  member_follow(&a, "shop", false);
  dsc_table *table = dsc_directory_find(dsc_registry_directory(a.registry), dsc_str_of("shop"));
  dsc_pick pick = {.repeatable = true, .slot_ms = 1000};
  bool probe;
  for (int i = 0; i < 3; i++) {
    dsc_node *node = dsc_table_pick(table, &pick, &probe);
    assert_non_null(node);
    dsc_registry_node_done(a.registry, node, DSC_OUTCOME_FAILURE, probe, 3);
    dsc_node_unref(node);
  }
  assert_int_equal(a.ear.events[DSC_EVENT_ISOLATED], 1);
  assert_int_equal(ear_count(&a.ear, "is isolated"), 1);
  dsc_table_unref(table);
  member_close(&a);
}

static void *churn(void *arg) {
  const char *addr = arg;
  for (int i = 0; i < 200; i++) {
    member m;
    open_memory(&m, "memory://crowd");
    member_follow(&m, "shop", false);
    member_register(&m, "shop", addr, (uint32_t)i + 1);
    dsc_registry_set_weight(m.registry, dsc_str_of("shop"), dsc_str_of(addr), 5);
    member_close(&m);
  }
  return NULL;
}

static void threads_do_not_disturb_each_other(void **state) {
  (void)state;
  static char addrs[4][32];
  pthread_t threads[4];
  member watcher;
  open_memory(&watcher, "memory://crowd");
  member_follow(&watcher, "shop", false);
  for (int i = 0; i < 4; i++) {
    snprintf(addrs[i], sizeof addrs[i], "10.0.0.%d:80", i + 1);
    pthread_create(&threads[i], NULL, churn, addrs[i]);
  }
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < 4; i++) assert_int_equal(member_weight(&watcher, "shop", addrs[i]), -1);
  assert_int_equal(watcher.ear.events[DSC_EVENT_NODE_ADDED], watcher.ear.events[DSC_EVENT_NODE_REMOVED]);
  member_close(&watcher);
}

static void bounds_loose_apps(void **state) {
  (void)state;
  member a;
  open_memory(&a, "memory://m1");
  for (int i = 0; i < DSC_DIRECTORY_MAX_LOOSE + 50; i++) {
    char name[32];
    dsc_table *table;
    snprintf(name, sizeof name, "loose%d", i);
    assert_int_equal(dsc_registry_follow(a.registry, dsc_str_of(name), false, false, &table, NULL), DSC_OK);
    dsc_table_unref(table);
  }
  assert_int_equal(member_state(&a, "loose0"), DSC_APP_UNKNOWN);
  assert_int_equal(member_state(&a, "loose1070"), DSC_APP_READ);
  member_close(&a);
}

static void memory_is_flat(void **state) {
  (void)state;
  size_t blocks, after;
  char addr[] = "10.0.0.1:80";
  churn(addr);
  dsc_mem_usage(&blocks, NULL);
  churn(addr);
  dsc_mem_usage(&after, NULL);
  assert_int_equal(blocks, after);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  size_t blocks, after;
  dsc_mem_usage(&blocks, NULL);
  for (size_t n = 1; n < 200; n++) {
    member a, b;
    open_memory(&b, "memory://m1");
    member_init(&a);
    dsc_mem_fail_at(n, false);
    if (member_open(&a, "memory://m1") == DSC_OK) {
      member_register(&a, "shop", NODE, 1);
      member_follow(&a, "shop", false);
      member_follow(&b, "shop", false);
      dsc_registry_set_weight(a.registry, dsc_str_of("shop"), dsc_str_of(NODE), 7);
      member_unregister(&a, "shop", NODE, 0);
    }
    dsc_mem_fail_at(0, false);
    if (a.registry) member_close(&a);
    assert_int_equal(member_weight(&b, "shop", NODE), -1);
    member_close(&b);
    dsc_mem_usage(&after, NULL);
    assert_int_equal(blocks, after);
  }
}

/* Memory runs out once, anywhere between a follow and the end of its read: whoever asks again finds the app read, with
** nothing else to be done and no timer. */
static void reads_again_after_memory_ran_out(void **state) {
  (void)state;
  bool reached = true;
  for (size_t n = 1; n <= 100 && reached; n++) {
    member a, b;
    open_memory(&a, "memory://m1");
    open_memory(&b, "memory://m1");
    member_register(&a, "shop", NODE, 1);
    dsc_mem_fail_at(n, false);
    dsc_err err = member_follow(&b, "shop", false);
    reached = dsc_mem_asked() >= n;
    dsc_mem_fail_at(0, false);
    bool read = err || member_state(&b, "shop") == DSC_APP_READ;
    if (!read) print_message("never read after allocation %zu failed\n", n);
    assert_true(read);
    assert_int_equal(member_weight(&b, "shop", NODE), err ? -1 : 1);
    member_close(&b);
    member_close(&a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(everybody_hears_at_once),
      cmocka_unit_test(reads_again_after_memory_ran_out),
      cmocka_unit_test(goes_with_its_last_holder),
      cmocka_unit_test(the_last_one_on_an_address_stays),
      cmocka_unit_test(kind_none_has_nodes_by_hand),
      cmocka_unit_test(a_users_node_is_the_users),
      cmocka_unit_test(outcomes_isolate_and_tell),
      cmocka_unit_test(threads_do_not_disturb_each_other),
      cmocka_unit_test(bounds_loose_apps),
      cmocka_unit_test(memory_is_flat),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
