/*
** cluster_test.c - the client of a Redis Cluster, against scripted nodes and against two real ones.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "net/cluster_peer.h"

/* Slots: "a" 15495, "b" 3300, "c" 7365, "d" 11298. */

static void it_comes_up_with_a_map_and_goes_down_without(void **state) {
  (void)state;
  static const struct {
    map_kind kind;
    bool denied;
    const char *why;
  } cases[] = {
      {MAP_EMPTY, false, "it cannot say which node serves which slots"},
      {MAP_ERROR, false, "cluster support disabled"},
      {MAP_DENIED, true, "NOPERM"},
      {MAP_MUTE, false, "no reply within"},
  };
  view v;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    start_peers(cases[i].kind, MAP_ONE);
    assert_true(open_view(&v, &peers[0].port, 1, (uint32_t)(200 * test_slow())));
    assert_int_equal(give(&v, "GET", KEYS("a"), 1, false, (dsc_str){NULL, 0}), DSC_EREGISTRY);
    for (int try = 0; try < 2; try++) {
      v.downs = 0;
      dsc_cluster_start(v.cluster);
      run(&v, &v.downs, 5000);
      assert_int_equal(v.downs, 1);
      assert_int_equal(v.ups, 0);
      assert_int_equal(v.denied, cases[i].denied);
      if (!strstr(v.why, cases[i].why)) fail_msg("case %zu: %s", i, v.why);
    }
    close_view(&v);
    stop_peers();
  }
}

/* An empty map, no Cluster: the other one is asked. */
static void who_cannot_tell_is_not_believed(void **state) {
  (void)state;
  view v;
  for (int kind = MAP_EMPTY; kind <= MAP_ERROR; kind++) {
    for (int round = 0; round < 4; round++) {
      start_peers((map_kind)kind, MAP_TWO);
      open_up(&v, 2, 3000);
      assert_int_equal(v.downs, 0);
      ask(&v, false, KEYS("a", "b"));
      assert_string_equal(v.replies[0], "1");
      assert_string_equal(v.replies[1], "0");
      close_view(&v);
      stop_peers();
    }
  }
}

static void commands_go_where_their_slot_is(void **state) {
  (void)state;
  view v;
  dsc_addr addr;
  start_peers(MAP_TWO, MAP_TWO);
  open_up(&v, 1, 3000);
  assert_true(dsc_cluster_has(v.cluster, peers[0].addr));
  assert_true(dsc_cluster_has(v.cluster, peers[1].addr));
  for (int i = 0; i < 10; i++) {
    assert_true(dsc_cluster_get_live(v.cluster, peers[0].addr, &addr));
    assert_string_equal(addr.text, peers[1].addr);
  }
  ask(&v, false, KEYS("a", "b", "c", "d", "x{a}"));
  assert_int_equal(v.n, 5);
  const char *where[] = {"1", "0", "0", "1", "1"};
  for (size_t i = 0; i < 5; i++) assert_string_equal(v.replies[i], where[i]);
  ask(&v, true, KEYS("a", "b", "c", "error", "a"));
  assert_int_equal(v.err, DSC_OK);
  assert_int_equal(v.n, 4); /* up to the error */
  assert_string_equal(v.replies[3], "ERR no");
  int before = atomic_load(&peers[0].requests) + atomic_load(&peers[1].requests);
  assert_int_equal(before, 9);
  ask(&v, false, KEYS("error", "a"));
  assert_int_equal(v.n, 2);
  assert_string_equal(v.replies[1], "1");
  uint64_t connects = 0, disconnects = 0;
  dsc_cluster_count(v.cluster, &connects, &disconnects);
  assert_int_equal(connects, 2);
  assert_int_equal(disconnects, 0);
  close_view(&v);
  stop_peers();
}

static void redirects_are_followed_up_to_five(void **state) {
  (void)state;
  view v;
  start_peers(MAP_ONE, MAP_ONE);
  open_up(&v, 1, 3000);
  ask(&v, false, KEYS("moved", "ask", "a"));
  for (size_t i = 0; i < 3; i++) assert_string_equal(v.replies[i], i < 2 ? "1" : "0");
  ask(&v, false, KEYS("moved")); /* known by now */
  assert_int_equal(v.err, DSC_OK);
  int before = atomic_load(&peers[0].requests) + atomic_load(&peers[1].requests);
  ask(&v, true, KEYS("round", "a"));
  assert_int_equal(v.err, DSC_EREGISTRY);
  assert_non_null(strstr(v.why, "redirected more than 5 times"));
  assert_int_equal(atomic_load(&peers[0].requests) + atomic_load(&peers[1].requests) - before, 6);
  ask(&v, false, KEYS("odd", "a"));
  assert_int_equal(v.err, DSC_EPROTOCOL);
  assert_non_null(strstr(v.why, "an odd redirect"));
  close_view(&v);
  stop_peers();
}

static void what_may_pass_is_sent_again(void **state) {
  (void)state;
  view v;
  start_peers(MAP_TWO, MAP_TWO);
  open_up(&v, 2, (uint32_t)(3000 * test_slow()));
  atomic_store(&trouble, 4);
  ask(&v, false, KEYS("later{a}", "a", "later{b}"));
  assert_int_equal(v.err, DSC_OK);
  assert_string_equal(v.replies[0], "1");
  assert_string_equal(v.replies[2], "0");
  assert_int_equal(atomic_load(&trouble), 0);
  close_view(&v);
  atomic_store(&trouble, 1000000);
  open_up(&v, 2, 300);
  uint64_t begin = test_now_ms();
  ask(&v, true, KEYS("b", "later{b}", "a"));
  assert_true(test_now_ms() - begin >= 300);
  assert_true(v.err);
  assert_non_null(strstr(v.why, "CLUSTERDOWN"));
  assert_int_equal(v.downs, 0);
  close_view(&v);
  stop_peers();
}

static void a_node_that_was_lost_is_news_once_it_is_back(void **state) {
  (void)state;
  view v;
  start_peers(MAP_TWO, MAP_TWO);
  open_up(&v, 2, (uint32_t)(3000 * test_slow()));
  ask(&v, false, KEYS("a", "b"));
  atomic_store(&trouble, 1);
  ask(&v, false, KEYS("cut{a}", "b")); /* sent again on a new connection */
  assert_int_equal(v.err, DSC_OK);
  assert_string_equal(v.replies[0], "1");
  assert_int_equal(v.renewed, 1);
  assert_int_equal(v.downs, 0);
  uint64_t connects = 0, disconnects = 0;
  dsc_cluster_count(v.cluster, &connects, &disconnects);
  assert_int_equal(connects, 3);
  assert_int_equal(disconnects, 1);
  close_view(&v);
  stop_peers();
}

static void with_all_nodes_all_commands_end(void **state) {
  (void)state;
  view v;
  start_peers(MAP_TWO, MAP_TWO);
  open_up(&v, 2, (uint32_t)(5000 * test_slow()));
  ask(&v, false, KEYS("a", "b"));
  assert_int_equal(give(&v, "GET", KEYS("hold{a}", "hold{b}"), 2, false, (dsc_str){NULL, 0}), DSC_OK);
  stop_peers();
  run(&v, &v.downs, 8000);
  assert_int_equal(v.downs, 1);
  run(&v, &v.dones, 3000);
  assert_int_equal(v.dones, 1);
  assert_true(v.err);
  assert_int_equal(give(&v, "GET", KEYS("a"), 1, false, (dsc_str){NULL, 0}), DSC_EREGISTRY);
  close_view(&v);
}

static void it_may_be_closed_at_any_time(void **state) {
  (void)state;
  start_peers(MAP_TWO, MAP_TWO);
  for (int steps = 0; steps < 40; steps++) {
    view v;
    int given = 0;
    atomic_store(&trouble, 1000000);
    assert_true(open_view(&v, &peers[0].port, 1, 3000));
    dsc_cluster_start(v.cluster);
    if (steps >= 10) run(&v, &v.ups, 5000);
    if (steps >= 10) {
      const char *const *keys = KEYS("a", "hold{a}", "later{b}", "moved{b}", "round");
      given = give(&v, "GET", keys, 5, steps % 2, (dsc_str){NULL, 0}) == DSC_OK;
    }
    for (int i = 0; i < steps % 20; i++) dsc_loop_run(v.loop, i < 10 ? 0 : 1);
    close_view(&v);
    assert_int_equal(v.dones, given);
    if (given && !v.dones) fail_msg("steps %d", steps);
  }
  stop_peers();
}

/* Thousands of addresses that nobody has asked for do not shut the true ones out. */
static void strange_addresses_are_forgotten(void **state) {
  (void)state;
  static char keys[1100][16];
  const char *all[1100];
  view v;
  start_peers(MAP_ONE, MAP_ONE);
  open_up(&v, 1, (uint32_t)(3000 * test_slow()));
  for (int i = 0; i < 1100; i++) snprintf(keys[i], sizeof keys[i], "flood{%d}", i);
  for (size_t i = 0; i < 1100; i++) all[i] = keys[i];
  atomic_store(&map_of[0], MAP_TWO); /* the second is not known yet */
  assert_int_equal(give(&v, "GET", all, 1100, false, (dsc_str){NULL, 0}), DSC_OK);
  run(&v, &v.dones, 8000);
  assert_int_equal(v.dones, 1);
  assert_true(v.err);
  assert_in_range(v.cluster->n_nodes, 1, DSC_CLUSTER_MAX_NODES);
  uint64_t end = test_now_ms() + (uint64_t)(6000 * test_slow());
  while (!dsc_cluster_has(v.cluster, peers[1].addr) && test_now_ms() < end) run(&v, &v.never, 10);
  ask(&v, false, KEYS("a", "b"));
  assert_int_equal(v.err, DSC_OK);
  assert_string_equal(v.replies[0], "1");
  assert_in_range(v.cluster->n_nodes, 1, 100);
  close_view(&v);
  stop_peers();
}

/* More than one connection takes at once, all of it given before it stands. */
static void much_is_sent_in_portions(void **state) {
  (void)state;
  enum { MANY = 1030, SIZE = 80000 };
  const char *all[MANY];
  view v;
  char *bytes = calloc(1, SIZE);
  start_peers(MAP_TWO, MAP_TWO);
  open_up(&v, 1, (uint32_t)(5000 * test_slow()));
  for (size_t i = 0; i < MANY; i++) all[i] = "a";
  assert_int_equal(give(&v, "SET", all, MANY, false, (dsc_str){bytes, SIZE}), DSC_OK);
  run(&v, &v.dones, 8000);
  assert_int_equal(v.dones, 1);
  assert_int_equal(v.err, DSC_OK);
  assert_int_equal(v.n, MANY);
  close_view(&v);
  stop_peers();
  free(bytes);
}

/* ---- maps of all kinds */

static dsc_err walk(const char *text, size_t n) {
  dsc_addr asked = {.host = "10.0.0.9", .port = 7000};
  dsc_redis_reader *reader = dsc_redis_reader_new();
  dsc_redis_reply *reply = NULL;
  dsc_why why;
  assert_int_equal(dsc_redis_reader_feed(reader, text, n), DSC_OK);
  assert_int_equal(dsc_redis_reader_next(reader, &reply, &why), DSC_OK);
  dsc_err err = dsc_cluster_walk(reply, &asked, NULL, NULL);
  dsc_redis_reply_free(reply);
  dsc_redis_reader_free(reader);
  return err;
}

static void maps_that_make_no_sense_are_refused(void **state) {
  (void)state;
#define NODE "*2\r\n$2\r\n::\r\n:1\r\n"
  static const struct {
    const char *text;
    bool good;
  } cases[] = {
      {"*1\r\n*3\r\n:0\r\n:16383\r\n" NODE, true},
      {"*1\r\n*3\r\n:0\r\n:1\r\n*4\r\n$-1\r\n:1\r\n$1\r\nx\r\n*0\r\n", true},
      {"*1\r\n*4\r\n:0\r\n:1\r\n" NODE "*2\r\n$0\r\n\r\n:0\r\n", true}, /* a replica without a port */
      {"*0\r\n", false},
      {"+OK\r\n", false},
      {"*1\r\n:1\r\n", false},
      {"*1\r\n*2\r\n:0\r\n:1\r\n", false},
      {"*1\r\n*3\r\n:0\r\n:16384\r\n" NODE, false},
      {"*1\r\n*3\r\n:-1\r\n:1\r\n" NODE, false},
      {"*1\r\n*3\r\n:2\r\n:1\r\n" NODE, false},
      {"*1\r\n*3\r\n$1\r\n0\r\n:1\r\n" NODE, false},
      {"*1\r\n*3\r\n:0\r\n:1\r\n$1\r\nx\r\n", false},
      {"*1\r\n*3\r\n:0\r\n:1\r\n*1\r\n$1\r\nx\r\n", false},
      {"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n:1\r\n:1\r\n", false},
      {"*1\r\n*3\r\n:0\r\n:1\r\n*2\r\n$1\r\nx\r\n:65536\r\n", false},
      {"*2\r\n*3\r\n:0\r\n:1\r\n" NODE "*3\r\n:2\r\n:1\r\n" NODE, false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if ((walk(cases[i].text, strlen(cases[i].text)) == DSC_OK) != cases[i].good) fail_msg("case %zu", i);
  /* far more replicas than any Cluster has: looked at by nobody */
  enum { MANY = 70000 };
  char *big = malloc(64 + MANY * (sizeof NODE - 1));
  size_t n = (size_t)sprintf(big, "*1\r\n*%d\r\n:0\r\n:1\r\n", MANY + 2);
  for (int i = 0; i < MANY; i++, n += sizeof NODE - 1) memcpy(big + n, NODE, sizeof NODE - 1);
  assert_int_equal(walk(big, n), DSC_EPROTOCOL);
  free(big);
}

/* ---- memory */

static void every_allocation_may_fail(void **state) {
  (void)state;
  bool reached = true;
  start_peers(MAP_TWO, MAP_TWO);
  for (size_t n = 1; reached && n < 500; n++) {
    size_t blocks, blocks_after, sent = 0;
    view v;
    dsc_mem_usage(&blocks, NULL);
    dsc_mem_fail_at(n, false);
    bool made = open_view(&v, &peers[0].port, 1, (uint32_t)(2000 * test_slow()));
    for (int i = 0; made && i < 2; i++) {
      stand(&v);
      const char *const *keys = KEYS("ask{b}", "moved{a}");
      dsc_err err = give(&v, "GET", keys, 2, i, (dsc_str){NULL, 0});
      if (err) assert_int_equal(err, DSC_ENOMEM);
      if (err) continue;
      sent++;
      run(&v, &v.dones, 8000);
      assert_int_equal(v.dones, 1);
      if (!v.err) assert_int_equal(v.n, 2);
    }
    reached = dsc_mem_asked() >= n;
    dsc_mem_fail_at(0, false);
    if (made) assert_true(sent > 0);
    close_view(&v);
    dsc_mem_usage(&blocks_after, NULL);
    assert_int_equal(blocks_after, blocks);
  }
  assert_false(reached);
  stop_peers();
}

/* ---- two real nodes */

static void real_nodes_move_a_slot(void **state) {
  (void)state;
  redis_server s[2] = {{.bus = test_free_port()}, {.bus = test_free_port()}};
  char id[2][64];
  view v;
  for (int i = 0; i < 2; i++) {
    assert_true(redis_start(&s[i]));
    snprintf(id[i], sizeof id[i], "%s", redis(&s[i], "CLUSTER MYID"));
    assert_string_equal(redis(&s[i], "CLUSTER ADDSLOTSRANGE %d %d", i ? 8192 : 0, i ? 16383 : 8191), "OK");
  }
  assert_string_equal(redis(&s[0], "CLUSTER MEET 127.0.0.1 %d %d", s[1].port, s[1].bus), "OK");
  for (int i = 0; i < 2; i++) assert_true(EVENTUALLY(strstr(redis(&s[i], "CLUSTER INFO"), "cluster_state:ok"), 20000));
  uint16_t ports[] = {(uint16_t)s[0].port};
  assert_true(open_view(&v, ports, 1, (uint32_t)(3000 * test_slow())));
  dsc_cluster_start(v.cluster);
  run(&v, &v.ups, 5000);
  dsc_str value = DSC_STR_LITERAL("1");
  const char *const keys[] = {"a", "b", "c", "d"};
  assert_int_equal(give(&v, "SET", keys, 4, true, value), DSC_OK);
  run(&v, &v.dones, 8000);
  assert_int_equal(v.err, DSC_OK);
  assert_string_equal(redis(&s[1], "GET a"), "1");
  assert_string_equal(redis(&s[0], "GET b"), "1");
  /* slot 3300 is on its way: who is not there yet is made at its new place */
  redis(&s[1], "CLUSTER SETSLOT 3300 IMPORTING %s", id[0]);
  redis(&s[0], "CLUSTER SETSLOT 3300 MIGRATING %s", id[1]);
  const char *const moving[] = {"b", "new{b}"};
  assert_int_equal(give(&v, "SET", moving, 2, false, value), DSC_OK);
  run(&v, &v.dones, 8000);
  assert_int_equal(v.err, DSC_OK);
  assert_string_equal(redis(&s[0], "GET b"), "1");
  /* and it has moved */
  redis(&s[0], "DEL b");
  redis(&s[1], "CLUSTER SETSLOT 3300 NODE %s", id[1]);
  redis(&s[0], "CLUSTER SETSLOT 3300 NODE %s", id[1]);
  assert_string_equal(redis(&s[1], "GET new{b}"), "1");
  assert_int_equal(give(&v, "SET", moving, 1, false, value), DSC_OK);
  run(&v, &v.dones, 8000);
  assert_int_equal(v.err, DSC_OK);
  assert_string_equal(redis(&s[1], "GET b"), "1");
  close_view(&v);
  for (int i = 0; i < 2; i++) redis_stop(&s[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_comes_up_with_a_map_and_goes_down_without),
      cmocka_unit_test(who_cannot_tell_is_not_believed),
      cmocka_unit_test(commands_go_where_their_slot_is),
      cmocka_unit_test(redirects_are_followed_up_to_five),
      cmocka_unit_test(what_may_pass_is_sent_again),
      cmocka_unit_test(a_node_that_was_lost_is_news_once_it_is_back),
      cmocka_unit_test(with_all_nodes_all_commands_end),
      cmocka_unit_test(it_may_be_closed_at_any_time),
      cmocka_unit_test(strange_addresses_are_forgotten),
      cmocka_unit_test(much_is_sent_in_portions),
      cmocka_unit_test(maps_that_make_no_sense_are_refused),
      cmocka_unit_test(every_allocation_may_fail),
      cmocka_unit_test(real_nodes_move_a_slot),
  };
  signal(SIGPIPE, SIG_IGN);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
