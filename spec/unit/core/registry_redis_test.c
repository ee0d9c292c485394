/*
** registry_redis_test.c - the registry against a real Redis that behaves.
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

#define NODE "10.0.0.1:80"

static void registers_and_is_found(void **state) {
  (void)state;
  member a, b;
  member_init(&a);
  member_init(&b);
  assert_int_equal(member_join(&a, &server), DSC_OK);
  assert_int_equal(member_join(&b, &server), DSC_OK);
  assert_int_equal(member_follow(&b, "shop", false), DSC_OK);
  assert_true(EVENTUALLY(member_state(&b, "shop") == DSC_APP_READ, 2000));
  assert_int_equal(member_register(&a, "shop", NODE, 100), DSC_OK);
  assert_true(EVENTUALLY(member_registered(&a, "shop", NODE), 2000));
  assert_true(EVENTUALLY(member_weight(&b, "shop", NODE) == 100, 2000));
  assert_int_equal(a.ear.events[DSC_EVENT_REGISTERED], 1);
  assert_true(member_unregister(&a, "shop", NODE, 1000));
  assert_int_equal(a.ear.events[DSC_EVENT_UNREGISTERED], 1);
  assert_true(EVENTUALLY(member_weight(&b, "shop", NODE) == -1, 2000));
  member_close(&a);
  member_close(&b);
}

static redis_client monitor;

static void begin_monitor(void) {
  char line[512];
  memset(&monitor, 0, sizeof monitor);
  monitor.fd = test_connect(server.port);
  client_send(&monitor, "MONITOR");
  assert_true(client_line(&monitor, line, sizeof line, 2000));
}

/* The next command that is not of a greeting, without time and address. */
static const char *next_command(void) {
  static char line[2048];
  static const char *const skip[] = {"\"CLIENT\"", "\"SELECT\"", "\"PING\"", "\"COMMAND\""};
  for (;;) {
    if (!client_line(&monitor, line, sizeof line, 3000)) return "";
    char *at = strstr(line, "] ");
    if (!at) continue;
    int skipped = 0;
    for (size_t i = 0; i < sizeof skip / sizeof skip[0]; i++) skipped |= strncmp(at + 2, skip[i], strlen(skip[i])) == 0;
    if (!skipped) return at + 2;
  }
}

#define EXPECT(text) assert_string_equal(next_command(), text)

/* The same, past the heartbeats of nodes that are registered meanwhile. */
static const char *next_read(void) {
  const char *command = next_command();
  while (strncmp(command, "\"SETEX\"", 7) == 0 || strncmp(command, "\"HSETNX\"", 8) == 0) command = next_command();
  return command;
}

static void speaks_the_wire_format(void **state) {
  (void)state;
  member a;
  member_quick(&a);
  a.timing.ttl_ms = 2500; /* whole seconds, rounded up */
  begin_monitor();
  member_join(&a, &server);
  assert_true(EVENTUALLY(dsc_registry_is_up(a.registry), 2000));
  member_register(&a, "shop", NODE, 100);
  const char *first = next_command(), *subscribe = "\"SUBSCRIBE\" \"CH_shop\"";
  if (strcmp(first, subscribe) == 0) first = next_command(), subscribe = NULL;
  assert_string_equal(first, "\"SETEX\" \"shop_10.0.0.1:80\" \"3\" \"1\"");
  char second[512];
  snprintf(second, sizeof second, "%s", next_command());
  if (subscribe && strcmp(second, subscribe) == 0) snprintf(second, sizeof second, "%s", next_command());
  assert_string_equal(second, "\"HSET\" \"shop\" \"10.0.0.1:80\" \"100\"");
  char third[512];
  snprintf(third, sizeof third, "%s", next_command());
  if (strcmp(third, "\"SUBSCRIBE\" \"CH_shop\"") == 0) snprintf(third, sizeof third, "%s", next_command());
  assert_string_equal(third, "\"PUBLISH\" \"CH_shop\" \"10.0.0.1:80 100\"");
  const char *beat = next_command();
  if (strstr(beat, "SUBSCRIBE")) beat = next_command();
  assert_string_equal(beat, "\"SETEX\" \"shop_10.0.0.1:80\" \"3\" \"1\"");
  EXPECT("\"HSETNX\" \"shop\" \"10.0.0.1:80\" \"100\"");
  member_unregister(&a, "shop", NODE, 1000);
  const char *bye = next_command();
  while (strstr(bye, "SETEX") || strstr(bye, "HSETNX")) bye = next_command();
  assert_string_equal(bye, "\"HDEL\" \"shop\" \"10.0.0.1:80\"");
  EXPECT("\"DEL\" \"shop_10.0.0.1:80\"");
  EXPECT("\"PUBLISH\" \"CH_shop\" \"10.0.0.1:80 0\"");
  close(monitor.fd);
  member_close(&a);
}

static void reads_in_two_round_trips(void **state) {
  (void)state;
  member b;
  member_init(&b);
  member a;
  member_init(&a);
  member_join(&a, &server);
  member_register(&a, "shop", NODE, 7);
  assert_true(EVENTUALLY(member_registered(&a, "shop", NODE), 2000));
  assert_true(EVENTUALLY(dsc_registry_is_up(a.registry), 2000)); /* it has subscribed as well */
  begin_monitor();
  member_join(&b, &server);
  member_follow(&b, "shop", false);
  assert_true(EVENTUALLY(member_weight(&b, "shop", NODE) == 7, 2000));
  assert_string_equal(next_read(), "\"SUBSCRIBE\" \"CH_shop\"");
  assert_string_equal(next_read(), "\"HGETALL\" \"shop\"");
  assert_string_equal(next_read(), "\"MGET\" \"shop_10.0.0.1:80\"");
  close(monitor.fd);
  member_close(&b);
  member_close(&a);
}

static void obeys_messages(void **state) {
  (void)state;
  member b;
  member_init(&b);
  member_join(&b, &server);
  member_follow(&b, "shop", false);
  assert_true(EVENTUALLY(member_state(&b, "shop") == DSC_APP_READ, 2000));
  redis(&server, "PUBLISH CH_shop \"" NODE " 5\"");
  assert_true(EVENTUALLY(member_weight(&b, "shop", NODE) == 5, 1000));
  redis(&server, "PUBLISH CH_shop \"" NODE " 2000000\"");
  assert_true(EVENTUALLY(member_weight(&b, "shop", NODE) == DSC_WEIGHT_MAX, 1000));
  static const char *const goodbyes[] = {NODE,        NODE " 0",   NODE " -1", NODE " x",
                                         NODE " 1 2", NODE " 1.5", NODE "  1", NODE " "};
  for (size_t i = 0; i < sizeof goodbyes / sizeof goodbyes[0]; i++) {
    redis(&server, "PUBLISH CH_shop \"" NODE " 5\"");
    assert_true(EVENTUALLY(member_weight(&b, "shop", NODE) == 5, 1000));
    redis(&server, "PUBLISH CH_shop \"%s\"", goodbyes[i]);
    assert_true(EVENTUALLY(member_weight(&b, "shop", NODE) == -1, 1000));
  }
  for (int i = 0; i < 3; i++) redis(&server, "PUBLISH CH_shop \"no address\"");
  redis(&server, "PUBLISH CH_shop \"\"");
  redis(&server, "PUBLISH CH_shop \"" NODE " 6\"");
  assert_true(EVENTUALLY(member_weight(&b, "shop", NODE) == 6, 1000));
  assert_int_equal(ear_count(&b.ear, "begins with no address"), 1);
  dsc_registry_stats stats;
  dsc_registry_get_stats(b.registry, &stats);
  assert_int_equal(stats.bad_messages, 4);
  member_close(&b);
}

static void hears_within_five_milliseconds(void **state) {
  (void)state;
  member a, b;
  member_init(&a);
  member_init(&b);
  member_join(&a, &server);
  member_join(&b, &server);
  member_follow(&b, "shop", false);
  assert_true(EVENTUALLY(member_state(&b, "shop") == DSC_APP_READ, 2000));
  member_register(&a, "shop", NODE, 1);
  assert_true(EVENTUALLY(member_weight(&b, "shop", NODE) == 1, 2000));
  uint64_t worst = 0;
  for (uint32_t w = 2; w < 50; w++) {
    uint64_t before = test_now_ms();
    dsc_registry_set_weight(a.registry, dsc_str_of("shop"), dsc_str_of(NODE), w);
    assert_true(EVENTUALLY(member_weight(&b, "shop", NODE) == (int)w, 1000));
    uint64_t took = test_now_ms() - before;
    if (took > worst) worst = took;
  }
  assert_true((double)worst <= 50 * test_slow());
  member_close(&a);
  member_close(&b);
}

static void carries_metadata(void **state) {
  (void)state;
  member a, b;
  member_init(&a);
  member_init(&b);
  member_join(&a, &server);
  member_join(&b, &server);
  member_follow(&b, "shop", false);
  assert_int_equal(dsc_registry_register(a.registry, dsc_str_of("shop"), dsc_str_of(NODE), 3, "zone=a"), DSC_OK);
  assert_true(EVENTUALLY(strcmp(member_metadata(&b, "shop", NODE), "zone=a") == 0, 2000));
  assert_int_equal(dsc_registry_set_metadata(a.registry, dsc_str_of("shop"), dsc_str_of(NODE), "zone=b&v=2"), DSC_OK);
  assert_true(EVENTUALLY(strcmp(member_metadata(&b, "shop", NODE), "zone=b&v=2") == 0, 1000));
  assert_int_equal(member_weight(&b, "shop", NODE), 3);
  assert_int_equal(dsc_registry_set_metadata(a.registry, dsc_str_of("shop"), dsc_str_of(NODE), ""), DSC_OK);
  assert_true(EVENTUALLY(strcmp(member_metadata(&b, "shop", NODE), "") == 0, 1000));
  member_close(&a);
  member_close(&b);
}

static int hash_has(const char *app) {
  redis_client c = {.fd = test_connect(server.port)};
  char text[4096] = "";
  client_send(&c, "SELECT 15");
  client_reply(&c, text, sizeof text);
  char command[128];
  snprintf(command, sizeof command, "HGETALL %s", app);
  client_send(&c, command);
  text[0] = '\0';
  client_reply(&c, text, sizeof text);
  close(c.fd);
  return text[0] != '\0';
}

static void weight_zero_is_standby(void **state) {
  (void)state;
  member a, b;
  member_init(&a);
  member_init(&b);
  member_join(&a, &server);
  member_join(&b, &server);
  member_follow(&b, "shop", false);
  assert_int_equal(member_register(&a, "shop", NODE, 0), DSC_OK);
  assert_true(EVENTUALLY(member_registered(&a, "shop", NODE), 2000));
  assert_false(hash_has("shop"));
  dsc_registry_set_weight(a.registry, dsc_str_of("shop"), dsc_str_of(NODE), 9);
  assert_true(EVENTUALLY(member_weight(&b, "shop", NODE) == 9, 2000));
  dsc_registry_set_weight(a.registry, dsc_str_of("shop"), dsc_str_of(NODE), 0);
  assert_true(EVENTUALLY(member_weight(&b, "shop", NODE) == -1, 2000));
  assert_true(EVENTUALLY(member_registered(&a, "shop", NODE), 2000));
  assert_false(hash_has("shop"));
  dsc_registry_set_weight(a.registry, dsc_str_of("shop"), dsc_str_of(NODE), 2);
  assert_true(EVENTUALLY(member_weight(&b, "shop", NODE) == 2, 2000));
  assert_int_equal(dsc_registry_set_weight(a.registry, dsc_str_of("shop"), dsc_str_of("10.0.0.9:1"), 2), DSC_EINVALID);
  member_close(&a);
  assert_false(hash_has("shop"));
  member_close(&b);
}

static void reads_ten_thousand_nodes(void **state) {
  (void)state;
  member b;
  redis(&server,
        "EVAL \"redis.call('SELECT',15) for i=1,10000 do local a='10.1.'..math.floor(i/200)..'.'..(i%%200)..':80' "
        "redis.call('HSET','big',a,1) redis.call('SETEX','big_'..a,60,'1') end return 1\" 0");
  member_init(&b);
  member_join(&b, &server);
  assert_true(EVENTUALLY(dsc_registry_is_up(b.registry), 2000));
  uint64_t before = test_now_ms();
  member_follow(&b, "big", false);
  assert_true(EVENTUALLY(member_state(&b, "big") == DSC_APP_READ, 10000));
  uint64_t took = test_now_ms() - before;
  print_message("10,000 nodes: %d ms\n", (int)took);
  assert_true((double)took <= 1000 * test_slow());
  dsc_table *table = dsc_directory_find(dsc_registry_directory(b.registry), dsc_str_of("big"));
  assert_int_equal(dsc_table_count(table, NULL), 10000);
  dsc_table_unref(table);
  member_close(&b);
}

static void bounds_loose_apps(void **state) {
  (void)state;
  member b;
  member_init(&b);
  member_join(&b, &server);
  assert_true(EVENTUALLY(dsc_registry_is_up(b.registry), 2000));
  for (int i = 0; i < DSC_DIRECTORY_MAX_LOOSE + 100; i++) {
    char name[32];
    snprintf(name, sizeof name, "loose%d", i);
    dsc_table *table;
    assert_int_equal(dsc_registry_follow(b.registry, dsc_str_of(name), false, false, &table, NULL), DSC_OK);
    dsc_table_unref(table);
  }
  assert_true(EVENTUALLY(member_state(&b, "loose1100") == DSC_APP_READ, 5000));
  assert_int_equal(member_state(&b, "loose0"), DSC_APP_UNKNOWN);
  assert_true(EVENTUALLY(strcmp(redis(&server, "PUBSUB NUMSUB CH_loose0"), "CH_loose0 0") == 0, 2000));
  assert_string_equal(redis(&server, "PUBSUB NUMSUB CH_loose1100"), "CH_loose1100 1");
  member_close(&b);
}

static void refuses_bad_names(void **state) {
  (void)state;
  member a;
  member_init(&a);
  member_join(&a, &server);
  dsc_table *table;
  assert_int_equal(dsc_registry_follow(a.registry, dsc_str_of("a b"), true, false, &table, &a.why), DSC_EINVALID);
  assert_int_equal(dsc_registry_follow(a.registry, dsc_str_of(""), true, false, &table, &a.why), DSC_EINVALID);
  assert_int_equal(member_register(&a, "a b", NODE, 1), DSC_EINVALID);
  assert_int_equal(member_register(&a, "shop", "nowhere", 1), DSC_EINVALID);
  assert_int_equal(dsc_registry_set_node(a.registry, dsc_str_of("x"), dsc_str_of("y"), 1, NULL, &a.why), DSC_EINVALID);
  member_close(&a);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(registers_and_is_found, start_server, stop_server),
      cmocka_unit_test_setup_teardown(speaks_the_wire_format, start_server, stop_server),
      cmocka_unit_test_setup_teardown(reads_in_two_round_trips, start_server, stop_server),
      cmocka_unit_test_setup_teardown(obeys_messages, start_server, stop_server),
      cmocka_unit_test_setup_teardown(hears_within_five_milliseconds, start_server, stop_server),
      cmocka_unit_test_setup_teardown(carries_metadata, start_server, stop_server),
      cmocka_unit_test_setup_teardown(weight_zero_is_standby, start_server, stop_server),
      cmocka_unit_test_setup_teardown(reads_ten_thousand_nodes, start_server, stop_server),
      cmocka_unit_test_setup_teardown(bounds_loose_apps, start_server, stop_server),
      cmocka_unit_test_setup_teardown(refuses_bad_names, start_server, stop_server),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
