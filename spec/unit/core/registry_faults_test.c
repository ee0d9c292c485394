/*
** registry_faults_test.c - the registry against a Redis that goes, forgets, refuses.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "support/ear.h"

static redis_server server;

static int start_server(void **state) {
  (void)state;
  memset(&server, 0, sizeof server);
  return redis_start(&server) ? 0 : -1;
}

static int stop_server(void **state) {
  (void)state;
  redis_stop(&server);
  return 0;
}

/* ttl 2, heartbeat 0.5, resync 1 */
static void member_quick(member *m) {
  member_init(m);
  m->timing = (dsc_registry_timing){.heartbeat_ms = 500, .ttl_ms = 2000, .resync_ms = 1000, .stale_grace_ms = 30000};
}

#define NODE  "10.0.0.1:80"
#define OTHER "10.0.0.2:80"

/* Runs a command in database 15. */
#define IN_15(command, ...)                                                                                            \
  redis(&server, "EVAL \"redis.call('SELECT',15) return redis.call(" command ")\" 0", ##__VA_ARGS__)

static bool is_registered(const char *app, const char *addr, int weight) {
  char text[16];
  snprintf(text, sizeof text, "%d", weight);
  if (strcmp(IN_15("'HGET','%s','%s'", app, addr), text) != 0) return false;
  return strcmp(IN_15("'EXISTS','%s_%s'", app, addr), "1") == 0;
}

static void is_registered_once_redis_comes(void **state) {
  (void)state;
  member a;
  member_init(&a);
  redis_kill(&server, SIGKILL);
  assert_int_equal(member_join(&a, &server), DSC_OK);
  assert_int_equal(member_register(&a, "shop", NODE, 4), DSC_OK);
  assert_int_equal(member_follow(&a, "other", false), DSC_OK);
  assert_true(EVENTUALLY(member_state(&a, "other") == DSC_APP_DOWN, 2000));
  assert_true(EVENTUALLY(a.ear.events[DSC_EVENT_REGISTRY_DOWN] == 1, 1000));
  test_nap_ms(1500);
  assert_int_equal(ear_count(&a.ear, "cannot be reached"), 1);
  assert_true(redis_start(&server));
  assert_true(EVENTUALLY(is_registered("shop", NODE, 4), 3000));
  assert_true(EVENTUALLY(member_registered(&a, "shop", NODE), 1000));
  assert_true(EVENTUALLY(member_state(&a, "other") == DSC_APP_READ, 3000));
  assert_int_equal(a.ear.events[DSC_EVENT_REGISTRY_UP], 1);
  member_close(&a);
}

/* Two nodes and a reader, all of them registered and seen. */
static void three(member *a, member *b, member *c) {
  member_quick(a);
  member_quick(b);
  member_quick(c);
  member_join(a, &server);
  member_join(b, &server);
  member_join(c, &server);
  member_register(a, "shop", NODE, 1);
  member_register(b, "shop", OTHER, 1);
  member_follow(c, "shop", false);
  assert_true(EVENTUALLY(member_weight(c, "shop", NODE) == 1 && member_weight(c, "shop", OTHER) == 1, 3000));
}

static void close_three(member *a, member *b, member *c) {
  member_close(a);
  member_close(b);
  member_close(c);
}

static void outlives_flushall(void **state) {
  (void)state;
  member a, b, c;
  three(&a, &b, &c);
  redis(&server, "FLUSHALL");
  assert_true(EVENTUALLY(is_registered("shop", NODE, 1) && is_registered("shop", OTHER, 1), 2000));
  assert_true(EVENTUALLY(a.ear.events[DSC_EVENT_LOST] == 1 && a.ear.events[DSC_EVENT_REGISTERED] == 2, 1000));
  test_nap_ms(1500);
  assert_int_equal(c.ear.events[DSC_EVENT_NODE_REMOVED], 0);
  assert_int_equal(member_node_state(&c, "shop", NODE), DSC_NODE_UP);
  close_three(&a, &b, &c);
}

static void outlives_client_kill(void **state) {
  (void)state;
  member a, b, c;
  three(&a, &b, &c);
  for (int i = 0; i < 3; i++) {
    redis(&server, "CLIENT KILL TYPE normal");
    redis(&server, "CLIENT KILL TYPE pubsub");
    test_nap_ms(300);
  }
  assert_true(EVENTUALLY(dsc_registry_is_up(a.registry) && dsc_registry_is_up(c.registry), 4000));
  redis(&server, "PUBLISH CH_shop \"10.0.0.3:80 3\"");
  assert_true(EVENTUALLY(member_weight(&c, "shop", "10.0.0.3:80") == 3, 2000));
  assert_int_equal(c.ear.events[DSC_EVENT_NODE_REMOVED], 0);
  assert_true(is_registered("shop", NODE, 1));
  close_three(&a, &b, &c);
}

static void outlives_an_empty_restart(void **state) {
  (void)state;
  member a, b, c;
  three(&a, &b, &c);
  redis_kill(&server, SIGKILL);
  test_nap_ms(500);
  assert_int_equal(member_state(&c, "shop"), DSC_APP_READ);
  assert_true(redis_start(&server));
  assert_true(EVENTUALLY(is_registered("shop", NODE, 1) && is_registered("shop", OTHER, 1), 4000));
  assert_true(EVENTUALLY(dsc_registry_is_up(c.registry), 4000));
  test_nap_ms(1500);
  assert_int_equal(c.ear.events[DSC_EVENT_NODE_REMOVED], 0);
  assert_true(EVENTUALLY(member_node_state(&c, "shop", NODE) == DSC_NODE_UP, 2000));
  close_three(&a, &b, &c);
}

static void outlives_a_restart_with_all_keys_expired(void **state) {
  (void)state;
  member a, b, c;
  three(&a, &b, &c);
  assert_string_equal(redis(&server, "SAVE"), "OK");
  redis_kill(&server, SIGKILL);
  test_nap_ms(2500); /* past the ttl */
  assert_true(redis_start(&server));
  assert_true(EVENTUALLY(is_registered("shop", NODE, 1) && is_registered("shop", OTHER, 1), 4000));
  test_nap_ms(2500);
  assert_int_equal(c.ear.events[DSC_EVENT_NODE_REMOVED], 0);
  assert_true(EVENTUALLY(member_node_state(&c, "shop", NODE) == DSC_NODE_UP, 2000));
  assert_int_equal(a.ear.events[DSC_EVENT_LOST], 0);
  close_three(&a, &b, &c);
}

static void an_operators_weight_outlives_heartbeats(void **state) {
  (void)state;
  member a, b, c;
  three(&a, &b, &c);
  IN_15("'HSET','shop','" NODE "','33'");
  assert_true(EVENTUALLY(member_weight(&c, "shop", NODE) == 33, 3000));
  redis(&server, "CLIENT KILL TYPE normal");
  test_nap_ms(2500);
  assert_true(is_registered("shop", NODE, 33));
  assert_int_equal(member_weight(&c, "shop", NODE), 33);
  close_three(&a, &b, &c);
}

static void a_dead_node_is_removed_in_time(void **state) {
  (void)state;
  member c, d;
  member_quick(&c);
  member_quick(&d);
  member_join(&d, &server);
  member_register(&d, "shop", OTHER, 1);
  IN_15("'HSET','shop','" NODE "','1'");
  IN_15("'SETEX','shop_" NODE "','2','1'");
  member_join(&c, &server);
  member_follow(&c, "shop", false);
  uint64_t killed = test_now_ms();
  assert_true(EVENTUALLY(member_weight(&c, "shop", NODE) == 1, 1500));
  assert_true(EVENTUALLY(member_node_state(&c, "shop", NODE) == DSC_NODE_STALE, 2000 + 1200 + 500));
  assert_true(EVENTUALLY(member_weight(&c, "shop", NODE) == -1, 2000 + 1200 + 500));
  assert_string_equal(IN_15("'HEXISTS','shop','" NODE "'"), "0");
  uint64_t took = test_now_ms() - killed;
  print_message("removed after %d ms\n", (int)took);
  assert_true((double)took <= (2 * 2000 + 2 * 1200 + 200) * test_slow());
  assert_true(is_registered("shop", OTHER, 1));
  member_close(&c);
  member_close(&d);
}

static void a_goodbye_of_somebody_else_is_answered(void **state) {
  (void)state;
  member a, c;
  member_init(&a);
  member_init(&c);
  member_join(&a, &server);
  member_join(&c, &server);
  member_register(&a, "shop", NODE, 6);
  member_follow(&c, "shop", false);
  assert_true(EVENTUALLY(member_weight(&c, "shop", NODE) == 6, 2000));
  assert_true(EVENTUALLY(strcmp(redis(&server, "PUBSUB NUMSUB CH_shop"), "CH_shop 2") == 0, 2000));
  /* the old process on the same address goes last */
  IN_15("'HDEL','shop','" NODE "'");
  IN_15("'DEL','shop_" NODE "'");
  redis(&server, "PUBLISH CH_shop \"" NODE " 0\"");
  assert_true(EVENTUALLY(is_registered("shop", NODE, 6), 1000));
  assert_true(EVENTUALLY(member_weight(&c, "shop", NODE) == 6, 1000));
  assert_int_equal(a.ear.events[DSC_EVENT_LOST], 1);
  /* ... and one who goes on saying it is not answered in a tight loop */
  for (int i = 0; i < 50; i++) redis(&server, "PUBLISH CH_shop \"" NODE " 0\"");
  assert_true(EVENTUALLY(member_weight(&c, "shop", NODE) == 6, 3000));
  member_close(&a);
  assert_false(is_registered("shop", NODE, 6));
  member_close(&c);
}

static void nothing_registers_after_the_goodbye(void **state) {
  (void)state;
  for (int i = 0; i < 20; i++) {
    member a;
    member_quick(&a);
    a.timing.heartbeat_ms = 100;
    member_join(&a, &server);
    member_register(&a, "shop", NODE, 1);
    if (i % 2) assert_true(EVENTUALLY(member_registered(&a, "shop", NODE), 2000));
    if (i % 4 > 1) test_nap_ms(100 + i);
    if (i % 3) {
      assert_true(member_unregister(&a, "shop", NODE, 1000) || i % 2 == 0);
      redis(&server, "PUBLISH CH_shop \"" NODE " 0\"");
    }
    member_close(&a);
    assert_string_equal(IN_15("'HEXISTS','shop','" NODE "'"), "0");
    assert_string_equal(IN_15("'EXISTS','shop_" NODE "'"), "0");
  }
  test_nap_ms(300);
  assert_string_equal(IN_15("'HEXISTS','shop','" NODE "'"), "0");
}

static void credentials(void **state) {
  (void)state;
  redis(&server, "CONFIG SET requirepass sesame");
  snprintf(server.password, sizeof server.password, "sesame");
  char text[96];
  static const char *const wrong[] = {"", ":wrong@", "bob:sesame@"};
  for (size_t i = 0; i < 3; i++) {
    member a;
    member_init(&a);
    snprintf(text, sizeof text, "redis://%s127.0.0.1:%d/15", wrong[i], server.port);
    assert_int_equal(member_open(&a, text), DSC_OK);
    member_follow(&a, "shop", false);
    assert_true(EVENTUALLY(member_state(&a, "shop") == DSC_APP_DOWN, 2000));
    assert_true(EVENTUALLY(ear_count(&a.ear, "refuses the credentials") == 1, 1000));
    assert_int_equal(ear_count(&a.ear, "sesame"), 0);
    assert_int_equal(ear_count(&a.ear, "wrong"), 0);
    member_close(&a);
  }
  member b;
  member_init(&b);
  member_join(&b, &server);
  assert_true(EVENTUALLY(dsc_registry_is_up(b.registry), 2000));
  member_close(&b);
}

static void a_minimal_user_suffices(void **state) {
  (void)state;
  redis(&server,
        "ACL SETUSER svc on >pw ~shop* &CH_* +select +hset +hsetnx +hdel +hgetall +mget +get +setex +exists +del "
        "+publish +subscribe +unsubscribe +ping +auth +client|setname +eval +evalsha");
  redis(&server,
        "ACL SETUSER weak on >pw ~shop* &CH_shop +select +hset +hsetnx +hdel +hgetall +mget +get +setex +exists "
        "+del +publish +subscribe +unsubscribe +ping +auth");
  char text[96];
  member a, b;
  member_quick(&a);
  member_quick(&b);
  snprintf(text, sizeof text, "redis://svc:pw@127.0.0.1:%d/15", server.port);
  assert_int_equal(member_open(&a, text), DSC_OK);
  member_register(&a, "shop", NODE, 1);
  snprintf(text, sizeof text, "redis://weak:pw@127.0.0.1:%d/15", server.port);
  assert_int_equal(member_open(&b, text), DSC_OK);
  member_follow(&b, "shop", false);
  assert_true(EVENTUALLY(member_weight(&b, "shop", NODE) == 1, 2000));
  /* without EVAL the dead are left alone; what is not allowed is refused by name */
  IN_15("'HSET','shop','" OTHER "','1'");
  member_follow(&b, "secret", false);
  member_register(&b, "secret", OTHER, 1);
  assert_true(EVENTUALLY(member_state(&b, "secret") == DSC_APP_REFUSED, 2000));
  assert_true(EVENTUALLY(ear_count(&b.ear, "secret: registration of") == 1, 2000));
  assert_true(EVENTUALLY(ear_count(&b.ear, "dead nodes are left") == 1, 6000));
  assert_string_equal(IN_15("'HEXISTS','shop','" OTHER "'"), "1");
  /* the one who may takes it away */
  member_follow(&a, "shop", false);
  assert_true(EVENTUALLY(strcmp(IN_15("'HEXISTS','shop','" OTHER "'"), "0") == 0, 6000));
  assert_true(is_registered("shop", NODE, 1));
  member_close(&b);
  member_close(&a);
}

static void a_key_of_another_type_is_refused(void **state) {
  (void)state;
  member a;
  member_quick(&a);
  IN_15("'SET','shop','text'");
  member_join(&a, &server);
  member_follow(&a, "shop", false);
  assert_true(EVENTUALLY(member_state(&a, "shop") == DSC_APP_REFUSED, 2000));
  assert_non_null(strstr(a.why.text, "WRONGTYPE"));
  member_register(&a, "shop", NODE, 1);
  assert_true(EVENTUALLY(ear_count(&a.ear, "registration of") == 1, 2000));
  test_nap_ms(500);
  dsc_registry_stats stats;
  dsc_registry_get_stats(a.registry, &stats);
  assert_true(stats.commands < 60);
  IN_15("'DEL','shop'");
  assert_true(EVENTUALLY(member_weight(&a, "shop", NODE) == 1, 5000));
  member_close(&a);
}

static void bad_rows_are_left_out(void **state) {
  (void)state;
  static const char *const bad[] = {"0", "-1", "x", "1.5", "", "+1", "99999999999999999999"};
  member a;
  member_quick(&a);
  for (int i = 0; i < 7; i++) {
    IN_15("'HSET','shop','10.0.1.%d:80','%s'", i, bad[i]);
    IN_15("'SETEX','shop_10.0.1.%d:80','60','1'", i);
  }
  IN_15("'HSET','shop','no address','1'");
  IN_15("'HSET','shop',string.rep('x',100000),'1'");
  IN_15("'HSET','shop','" NODE "','2000000'");
  IN_15("'SETEX','shop_" NODE "','60','{not metadata}'");
  member_join(&a, &server);
  member_follow(&a, "shop", false);
  assert_true(EVENTUALLY(member_weight(&a, "shop", NODE) == DSC_WEIGHT_MAX, 2000));
  assert_string_equal(member_metadata(&a, "shop", NODE), "");
  test_nap_ms(2500);
  dsc_table *table = dsc_directory_find(dsc_registry_directory(a.registry), dsc_str_of("shop"));
  assert_int_equal(dsc_table_count(table, NULL), 1);
  dsc_table_unref(table);
  assert_int_equal(ear_count(&a.ear, "taken as absent"), 9);
  assert_string_equal(IN_15("'HLEN','shop'"), "10");
  member_close(&a);
}

static void a_mute_server_is_left_and_found_again(void **state) {
  (void)state;
  member a, b, c;
  three(&a, &b, &c);
  kill(server.pid, SIGSTOP);
  assert_true(EVENTUALLY(!dsc_registry_is_up(a.registry), 3000));
  uint64_t before = test_now_ms();
  member_unregister(&b, "shop", OTHER, 100);
  member_close(&b);
  assert_true((double)(test_now_ms() - before) <= 1500 * test_slow());
  kill(server.pid, SIGCONT);
  assert_true(EVENTUALLY(dsc_registry_is_up(a.registry) && dsc_registry_is_up(c.registry), 4000));
  assert_true(EVENTUALLY(is_registered("shop", NODE, 1), 2000));
  assert_int_equal(member_node_state(&c, "shop", NODE), DSC_NODE_UP);
  member_close(&a);
  member_close(&c);
}

/* Memory runs out once, anywhere between a follow and the end of its read: the app is read all the same. Nothing else is
** due in this registry that would make it look again. */
static void reads_again_after_memory_ran_out(void **state) {
  (void)state;
  IN_15("'HSET','shop','" NODE "','1'");
  IN_15("'SETEX','shop_" NODE "','600','1'");
  bool reached = true;
  for (size_t n = 1; n <= 100 && reached; n++) {
    member a;
    member_init(&a);
    assert_int_equal(member_join(&a, &server), DSC_OK);
    assert_true(EVENTUALLY(dsc_registry_is_up(a.registry), 4000));
    dsc_mem_fail_at(n, false);
    dsc_err err = member_follow(&a, "shop", false);
    bool read = EVENTUALLY(err || member_state(&a, "shop") == DSC_APP_READ, 4000);
    reached = dsc_mem_asked() >= n;
    dsc_mem_fail_at(0, false);
    if (!read) print_message("never read after allocation %zu failed\n", n);
    assert_true(read);
    member_close(&a);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(is_registered_once_redis_comes, start_server, stop_server),
      cmocka_unit_test_setup_teardown(outlives_flushall, start_server, stop_server),
      cmocka_unit_test_setup_teardown(outlives_client_kill, start_server, stop_server),
      cmocka_unit_test_setup_teardown(outlives_an_empty_restart, start_server, stop_server),
      cmocka_unit_test_setup_teardown(outlives_a_restart_with_all_keys_expired, start_server, stop_server),
      cmocka_unit_test_setup_teardown(an_operators_weight_outlives_heartbeats, start_server, stop_server),
      cmocka_unit_test_setup_teardown(a_dead_node_is_removed_in_time, start_server, stop_server),
      cmocka_unit_test_setup_teardown(a_goodbye_of_somebody_else_is_answered, start_server, stop_server),
      cmocka_unit_test_setup_teardown(nothing_registers_after_the_goodbye, start_server, stop_server),
      cmocka_unit_test_setup_teardown(credentials, start_server, stop_server),
      cmocka_unit_test_setup_teardown(a_minimal_user_suffices, start_server, stop_server),
      cmocka_unit_test_setup_teardown(a_key_of_another_type_is_refused, start_server, stop_server),
      cmocka_unit_test_setup_teardown(bad_rows_are_left_out, start_server, stop_server),
      cmocka_unit_test_setup_teardown(a_mute_server_is_left_and_found_again, start_server, stop_server),
      cmocka_unit_test_setup_teardown(reads_again_after_memory_ran_out, start_server, stop_server),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
