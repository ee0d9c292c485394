/*
** discoverer_pick_test.c - nodes picked by hand: marks that lapse on a held clock, the pick cache, the app client by hand.
*/
#include "core/discoverer_impl.h"
#include "core/host.h"

#define START 1000000

static int hold(void **state) {
  (void)state;
  dsc_clock_hold(START);
  return 0;
}

static int let_go(void **state) {
  (void)state;
  dsc_clock_hold(0);
  return 0;
}

/* A discoverer without registry whose app "svc" has one node, and a deadline of 8 s: slices of 1 s. */
static void open_one(host *h) {
  host_new(h, "");
  host_deadline(h, "svc", 8000);
  host_set(h, "svc", "10.0.0.1:80", 1);
}

static void pick_and_forget(host *h, const char *app) {
  dsc_node *node = host_pick(h, app);
  assert_non_null(node);
  dsc_node_unref(node);
}

static dsc_node *node_of(host *h, const char *app) {
  dsc_table *table = dsc_discoverer_find_table(h->d, dsc_str_of(app));
  dsc_node_array *nodes = dsc_table_snapshot(table);
  dsc_node *node = dsc_node_ref(nodes->nodes[0]);
  dsc_node_array_unref(nodes);
  dsc_table_unref(table);
  return node;
}

/* ---- marks */

TEST(done_takes_what_pick_counted) {
  host h;
  open_one(&h);
  dsc_node *nodes[3];
  for (int i = 0; i < 3; i++) nodes[i] = host_pick(&h, "svc");
  assert_int_equal(host_in_flight(&h), 3);
  for (uint64_t i = 3; i-- > 0;) {
    host_done(&h, nodes[i], DSC_OUTCOME_SUCCESS);
    assert_int_equal(host_in_flight(&h), i);
    dsc_node_unref(nodes[i]);
  }
  host_free(&h);
}

TEST(more_reports_than_picks_count_for_health_alone) {
  host h;
  open_one(&h);
  dsc_node *node = host_pick(&h, "svc");
  host_done(&h, node, DSC_OUTCOME_SUCCESS);
  for (int i = 0; i < 10; i++) host_done(&h, node, DSC_OUTCOME_FAILURE);
  assert_int_equal(host_in_flight(&h), 0);
  assert_int_equal(dsc_node_get_state(node), DSC_NODE_ISOLATED);
  dsc_node_unref(node);
  host_free(&h);
}

TEST(a_report_without_a_pick_leaves_the_calls_of_others_alone) {
  host h;
  open_one(&h);
  dsc_node *node = host_pick(&h, "svc");
  dsc_clock_hold(START + 20000);
  assert_int_equal(host_in_flight(&h), 0);
  dsc_node *second = host_pick(&h, "svc");
  host_done(&h, node, DSC_OUTCOME_SUCCESS); /* takes the only mark there is */
  host_done(&h, second, DSC_OUTCOME_SUCCESS);
  assert_int_equal(host_in_flight(&h), 0);
  dsc_node_unref(node);
  dsc_node_unref(second);
  host_free(&h);
}

TEST(lapse_after_the_deadline_though_nobody_picks) {
  host h;
  open_one(&h);
  pick_and_forget(&h, "svc");
  dsc_clock_hold(START + 7900);
  assert_int_equal(host_in_flight(&h), 1);
  dsc_clock_hold(START + 9001); /* an eighth late at most */
  assert_int_equal(host_in_flight(&h), 0);
  assert_int_equal(h.d->marks.count, 0);
  host_free(&h);
}

TEST(lapse_before_nodes_are_shown) {
  host h;
  open_one(&h);
  pick_and_forget(&h, "svc");
  dsc_clock_hold(START + 9001);
  dsc_node_array *nodes = dsc_discoverer_nodes(h.d, L("svc"));
  assert_int_equal(dsc_node_in_flight(nodes->nodes[0]), 0);
  dsc_node_array_unref(nodes);
  host_free(&h);
}

TEST(lapse_before_a_call_chooses) {
  host h;
  host_new(&h, "");
  dsc_discoverer_set_balancer(h.d, dsc_balancer_all[DSC_BALANCER_LEAST_IN_FLIGHT]);
  host_deadline(&h, "svc", 8000);
  host_set(&h, "svc", "127.0.0.1:1", 1);
  pick_and_forget(&h, "svc");
  dsc_node *node = node_of(&h, "svc");
  dsc_clock_hold(START + 9001);
  dsc_result_free(host_get(&h, "svc"));
  assert_int_equal(dsc_node_in_flight(node), 0);
  dsc_node_unref(node);
  host_free(&h);
}

TEST(lapse_slice_by_slice) {
  host h;
  open_one(&h);
  for (uint64_t i = 0; i < 20; i++) {
    dsc_clock_hold(START + i * 1000);
    pick_and_forget(&h, "svc");
    uint64_t expected = i < 9 ? i + 1 : 9;
    dsc_node *node = node_of(&h, "svc");
    assert_in_range(dsc_node_in_flight(node), expected - 1, expected);
    dsc_node_unref(node);
  }
  dsc_clock_hold(START + 40000);
  assert_int_equal(host_in_flight(&h), 0);
  host_free(&h);
}

TEST(a_new_deadline_holds_for_marks_too) {
  host h;
  open_one(&h);
  pick_and_forget(&h, "svc");
  host_deadline(&h, "svc", 80000);
  dsc_clock_hold(START + 1000);
  pick_and_forget(&h, "svc"); /* the node's mark was there already */
  dsc_clock_hold(START + 20000);
  pick_and_forget(&h, "svc");
  assert_true(host_in_flight(&h) >= 2);
  dsc_clock_hold(START + 20000 + 91000);
  assert_int_equal(host_in_flight(&h), 0);
  host_free(&h);
}

TEST(a_tiny_deadline_is_no_trouble) {
  host h;
  open_one(&h);
  host_deadline(&h, "svc", 1);
  pick_and_forget(&h, "svc");
  dsc_clock_hold(START + 1100);
  assert_int_equal(host_in_flight(&h), 0);
  host_free(&h);
}

TEST(end_with_the_discoverer) {
  host a, b;
  dsc_options options = host_options("memory://marks");
  memset(&a, 0, sizeof a);
  memset(&b, 0, sizeof b);
  options.shared = true;
  assert_int_equal(dsc_discoverer_new(&a.d, &options, &a.why), DSC_OK);
  assert_int_equal(dsc_discoverer_new(&b.d, &options, &b.why), DSC_OK);
  host_set(&a, "svc", "10.0.0.1:80", 1);
  pick_and_forget(&a, "svc");
  pick_and_forget(&b, "svc");
  assert_int_equal(host_in_flight(&b), 2);
  host_free(&a);
  assert_int_equal(host_in_flight(&b), 1);
  host_free(&b);
}

static void isolate(host *h, dsc_node *node) {
  for (int i = 0; i < 10; i++) host_done(h, node, DSC_OUTCOME_FAILURE);
  assert_int_equal(dsc_node_get_state(node), DSC_NODE_ISOLATED);
}

TEST(an_old_mark_that_lapses_does_not_free_the_probe) {
  host h;
  open_one(&h);
  host_set(&h, "svc", "10.0.0.2:80", 1);
  pick_and_forget(&h, "svc");
  pick_and_forget(&h, "svc"); /* one mark for either */
  dsc_node *node = node_of(&h, "svc");
  isolate(&h, node);
  dsc_clock_hold(START + 8500);
  pick_and_forget(&h, "svc");
  assert_int_equal(dsc_node_get_state(node), DSC_NODE_PROBING);
  dsc_clock_hold(START + 9600); /* the first marks are over, the probe is a second old */
  assert_int_equal(host_in_flight(&h), 1);
  assert_int_equal(dsc_node_get_state(node), DSC_NODE_PROBING);
  host_done(&h, node, DSC_OUTCOME_SUCCESS);
  assert_int_equal(dsc_node_get_state(node), DSC_NODE_UP);
  dsc_node_unref(node);
  host_free(&h);
}

TEST(a_probe_that_nobody_reports_lapses) {
  host h;
  open_one(&h);
  dsc_node *node = node_of(&h, "svc");
  isolate(&h, node);
  dsc_clock_hold(START + 20000);
  pick_and_forget(&h, "svc");
  assert_int_equal(dsc_node_get_state(node), DSC_NODE_PROBING);
  dsc_clock_hold(START + 20000 + 9001);
  assert_int_equal(host_in_flight(&h), 0);
  assert_int_equal(dsc_node_get_state(node), DSC_NODE_ISOLATED);
  pick_and_forget(&h, "svc");
  assert_int_equal(dsc_node_get_state(node), DSC_NODE_PROBING);
  dsc_node_unref(node);
  host_free(&h);
}

/* ---- the pick cache */

TEST(says_why_there_is_no_node) {
  host h;
  host_new(&h, "");
  host_enter(&h);
  dsc_node *node;
  assert_int_equal(dsc_discoverer_pick(&h.frame, L("svc"), (dsc_str){0}, NULL, &node, &h.why), DSC_EAPP_NOT_FOUND);
  assert_int_equal(dsc_discoverer_pick(&h.frame, L("a b"), (dsc_str){0}, NULL, &node, &h.why), DSC_EINVALID);
  assert_int_equal(dsc_discoverer_pick(&h.frame, L(""), (dsc_str){0}, NULL, &node, &h.why), DSC_EINVALID);
  host_leave(&h);
  host_set(&h, "svc", "10.0.0.1:80", 1);
  host_set(&h, "svc", "10.0.0.1:80", 0);
  host_enter(&h);
  assert_int_equal(dsc_discoverer_pick(&h.frame, L("svc"), (dsc_str){0}, NULL, &node, &h.why), DSC_ENO_NODE);
  assert_null(node);
  host_leave(&h);
  host_free(&h);
}

TEST(sees_nodes_come_and_go_at_once) {
  host h;
  open_one(&h);
  pick_and_forget(&h, "svc");
  host_set(&h, "svc", "10.0.0.2:80", 1);
  host_set(&h, "svc", "10.0.0.1:80", 0);
  dsc_node *node = host_pick(&h, "svc");
  assert_string_equal(node->addr, "10.0.0.2:80");
  dsc_node_unref(node);
  host_set(&h, "svc", "10.0.0.2:80", 0);
  assert_null(host_pick(&h, "svc"));
  host_free(&h);
}

TEST(follows_the_key_with_and_without_the_cache) {
  host h;
  char first[DSC_ADDR_MAX] = "";
  host_new(&h, "");
  dsc_discoverer_set_balancer(h.d, dsc_balancer_all[DSC_BALANCER_HASH]);
  for (int i = 1; i <= 8; i++) {
    char addr[32];
    snprintf(addr, sizeof addr, "10.0.0.%d:80", i);
    host_set(&h, "svc", addr, 1);
  }
  for (uint64_t i = 0; i < 20; i++) {
    dsc_clock_hold(START + i * 300); /* the cache is good for a second */
    dsc_node *node;
    host_enter(&h);
    assert_int_equal(dsc_discoverer_pick(&h.frame, L("svc"), L("player"), NULL, &node, &h.why), DSC_OK);
    host_leave(&h);
    if (i > 0) assert_string_equal(node->addr, first);
    snprintf(first, sizeof first, "%s", node->addr);
    host_done(&h, node, DSC_OUTCOME_SUCCESS);
    dsc_node_unref(node);
  }
  host_free(&h);
}

TEST(the_cache_is_bounded) {
  host h;
  host_new(&h, "");
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < 600; i++) {
      char app[32];
      snprintf(app, sizeof app, "app-%d", i);
      if (round == 0) host_set(&h, app, "10.0.0.1:80", 1);
      pick_and_forget(&h, app);
      assert_true(h.d->picks.count <= 256);
    }
  }
  host_deadline(&h, "*", 1000);
  assert_int_equal(h.d->picks.count, 0);
  host_free(&h);
}

TEST(an_app_that_had_to_make_room_is_found_again) {
  host h, service;
  host_new(&service, "memory://evict");
  host_new(&h, "memory://evict");
  host_enter(&service);
  assert_int_equal(dsc_discoverer_register(&service.frame, L("svc"), L("10.0.0.1:80"), 1, NULL, &service.why), DSC_OK);
  host_leave(&service);
  pick_and_forget(&h, "svc");
  for (int i = 0; i <= DSC_DIRECTORY_MAX_LOOSE; i++) {
    char app[32];
    snprintf(app, sizeof app, "app-%d", i);
    assert_null(host_pick(&h, app));
  }
  pick_and_forget(&h, "svc"); /* the cached table is an empty one now */
  assert_int_equal(host_in_flight(&h), 1);
  host_free(&h);
  host_free(&service);
}

/* ---- the app client by hand */

TEST(gives_each_node_once) {
  host h;
  dsc_app_client *ac = NULL;
  dsc_node *node, *nodes[2];
  open_one(&h);
  host_set(&h, "svc", "10.0.0.2:80", 1);
  assert_int_equal(dsc_discoverer_app_client_new(h.d, L("a b"), &ac, &h.why), DSC_EINVALID);
  assert_null(ac);
  assert_int_equal(dsc_discoverer_app_client_new(h.d, L("svc"), &ac, &h.why), DSC_OK);
  host_enter(&h);
  assert_int_equal(dsc_discoverer_app_client_check(&h.frame, ac, &h.why), DSC_OK);
  for (int i = 0; i < 2; i++)
    assert_int_equal(dsc_discoverer_app_client_next(&h.frame, ac, (dsc_str){0}, &nodes[i], &h.why), DSC_OK);
  assert_ptr_not_equal(nodes[0], nodes[1]);
  assert_int_equal(dsc_discoverer_app_client_next(&h.frame, ac, (dsc_str){0}, &node, &h.why), DSC_ENO_NODE);
  assert_null(node);
  assert_int_equal(dsc_discoverer_app_client_next(&h.frame, ac, L("10.0.0.2:80"), &node, &h.why), DSC_ENO_NODE);
  assert_non_null(strstr(h.why.text, "10.0.0.2:80"));
  assert_int_equal(ac->attempts, 2);
  for (int i = 0; i < 2; i++) {
    dsc_discoverer_done(&h.frame, nodes[i], DSC_OUTCOME_SUCCESS);
    dsc_node_unref(nodes[i]);
  }
  host_leave(&h);
  assert_int_equal(host_in_flight(&h), 0);
  dsc_discoverer_app_client_free(ac);
  dsc_discoverer_app_client_free(NULL);
  host_free(&h);
}

TEST(outlives_the_discoverer) {
  host h;
  dsc_app_client *ac = NULL;
  dsc_node *node;
  open_one(&h);
  assert_int_equal(dsc_discoverer_app_client_new(h.d, L("svc"), &ac, &h.why), DSC_OK);
  host_enter(&h);
  assert_int_equal(dsc_discoverer_app_client_next(&h.frame, ac, L("10.0.0.1:80"), &node, &h.why), DSC_OK);
  host_leave(&h);
  host_free(&h);
  assert_string_equal(node->addr, "10.0.0.1:80");
  assert_int_equal(dsc_node_in_flight(node), 0);
  dsc_discoverer_app_client_free(ac);
  dsc_node_unref(node);
}

TEST(writes_the_record_it_is_given) {
  host h;
  dsc_app_client *ac = NULL;
  host_new_talking(&h, "");
  host_hook(&h);
  assert_int_equal(dsc_discoverer_app_client_new(h.d, L("svc"), &ac, &h.why), DSC_OK);
  host_enter(&h);
  assert_int_equal(dsc_discoverer_app_client_check(&h.frame, ac, &h.why), DSC_EAPP_NOT_FOUND);
  dsc_discoverer_app_client_log(&h.frame, ac, L("10.0.0.1:80"), 0.25, L("timeout"));
  host_leave(&h);
  assert_string_equal(h.order, "l");
  assert_int_equal(h.record.level, DSC_LOG_WARN);
  assert_string_equal(h.record.app, "svc");
  assert_string_equal(h.record.node, "10.0.0.1:80");
  assert_string_equal(h.record.error, "timeout");
  assert_true(h.record.used_time_ms > 249 && h.record.used_time_ms < 251);
  dsc_discoverer_app_client_free(ac);
  host_free(&h);
}

int main(void) {
#define HELD(test) cmocka_unit_test_setup_teardown(test, hold, let_go)
  const struct CMUnitTest tests[] = {
      HELD(done_takes_what_pick_counted),
      HELD(more_reports_than_picks_count_for_health_alone),
      HELD(a_report_without_a_pick_leaves_the_calls_of_others_alone),
      HELD(lapse_after_the_deadline_though_nobody_picks),
      HELD(lapse_before_nodes_are_shown),
      HELD(lapse_before_a_call_chooses),
      HELD(lapse_slice_by_slice),
      HELD(a_new_deadline_holds_for_marks_too),
      HELD(a_tiny_deadline_is_no_trouble),
      HELD(end_with_the_discoverer),
      HELD(an_old_mark_that_lapses_does_not_free_the_probe),
      HELD(a_probe_that_nobody_reports_lapses),
      HELD(says_why_there_is_no_node),
      HELD(sees_nodes_come_and_go_at_once),
      HELD(follows_the_key_with_and_without_the_cache),
      HELD(the_cache_is_bounded),
      HELD(an_app_that_had_to_make_room_is_found_again),
      HELD(gives_each_node_once),
      HELD(outlives_the_discoverer),
      HELD(writes_the_record_it_is_given),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
