/*
** call_faults_test.c - a whole session with every allocation failing in turn: no crash, no leak, always a result.
*/
#include <sys/resource.h>

#include "core/discoverer_impl.h"
#include "core/host.h"
#include "net/peer.h"

static const char *dead, *alive;
static size_t blocks_before;

static size_t blocks_now(void) {
  size_t blocks;
  dsc_mem_usage(&blocks, NULL);
  return blocks;
}

static void configure(dsc_frame *frame, const char *app) {
  dsc_why why;
  dsc_call_config defaults, *config = NULL;
  dsc_call_config_defaults(&defaults);
  if (dsc_call_config_new(&config, &defaults, &why)) return;
  dsc_discoverer_configure(frame, dsc_str_of(app), config, NULL, &why);
  dsc_call_config_unref(config);
}

/* A result says how it went, or there is none. */
static void call(dsc_frame *frame, const char *app) {
  dsc_request request = host_request(app);
  request.has_body = true;
  request.body = L("body");
  dsc_result *result = dsc_discoverer_call(frame, &request);
  if (result) assert_true(result->err != DSC_OK || result->status == 200);
  if (result && result->n_trace) assert_true(result->n_trace <= result->attempts);
  dsc_result_free(result);
}

static void pick(dsc_frame *frame, const char *app) {
  dsc_why why;
  dsc_node *node = NULL;
  dsc_app_client *ac = NULL;
  if (dsc_discoverer_pick(frame, dsc_str_of(app), L("key"), NULL, &node, &why) == DSC_OK)
    dsc_discoverer_done(frame, node, DSC_OUTCOME_FAILURE);
  dsc_node_unref(node);
  if (dsc_discoverer_app_client_new(frame->d, dsc_str_of(app), &ac, &why)) return;
  if (dsc_discoverer_app_client_next(frame, ac, (dsc_str){0}, &node, &why) == DSC_OK) dsc_node_unref(node);
  dsc_discoverer_app_client_log(frame, ac, L("10.0.0.1:80"), 1, L("io"));
  dsc_discoverer_app_client_free(ac);
}

static void look(host *h) {
  dsc_stats *stats = dsc_discoverer_stats(h->d);
  if (stats) {
    dsc_buf text;
    dsc_buf_init(&text, 0);
    dsc_stats_prometheus(stats, &text);
    dsc_buf_clear(&text);
  }
  dsc_stats_free(stats);
  dsc_node_array_unref(dsc_discoverer_nodes(h->d, L("svc")));
}

static void work(host *h) {
  dsc_frame frame;
  dsc_why why;
  assert_int_equal(dsc_discoverer_enter(h->d, &frame, h, &why), DSC_OK);
  dsc_discoverer_register(&frame, L("me"), L("10.0.0.7:80"), 1, "zone=a", &why);
  configure(&frame, "svc");
  configure(&frame, "*");
  dsc_discoverer_set_node(&frame, L("svc"), dsc_str_of(dead), 1, "a=b", &why);
  if (alive) dsc_discoverer_set_node(&frame, L("svc"), dsc_str_of(alive), 1, NULL, &why);
  dsc_discoverer_ready(&frame, 0, &why);
  call(&frame, "svc");
  call(&frame, "nobody");
  pick(&frame, "svc");
  dsc_discoverer_set_weight(&frame, 0, &why);
  dsc_discoverer_set_metadata(&frame, "zone=b", &why);
  dsc_discoverer_leave(&frame);
  look(h);
  dsc_discoverer_stop(h->d, h, 0);
  look(h);
}

static void session(bool with_host) {
  host h = {0};
  static const char *const relay[] = {"X-One", "X-Two", NULL};
  dsc_options options = host_options("memory://faults");
  options.relay = relay;
  options.start_timeout_ms = 10; /* an app that could not be followed is waited for */
  options.header_names.client_ip = "X-Client";
  if (dsc_discoverer_new(&h.d, &options, &h.why)) {
    assert_null(h.d);
    return;
  }
  if (with_host) host_hook(&h);
  work(&h);
  assert_true(dsc_discoverer_free(h.d, true));
}

/* Runs sessions with the n-th allocation failing until one does not get that far; every `stride`-th n. */
static void fail_all(bool with_host, bool onwards, size_t stride) {
  session(with_host); /* what a process makes once */
  blocks_before = blocks_now();
  for (size_t n = 1;; n += stride) {
    dsc_mem_fail_at(n, onwards);
    session(with_host);
    bool reached = dsc_mem_asked() >= n;
    dsc_mem_fail_at(0, false);
    if (blocks_now() != blocks_before) fail_msg("allocation %zu: %zu blocks left", n, blocks_now() - blocks_before);
    if (!reached) break;
  }
}

TEST(one_allocation_fails) {
  dead = host_dead_addr();
  fail_all(false, false, 1);
}

TEST(all_later_allocations_fail) {
  dead = host_dead_addr();
  fail_all(false, true, 1);
}

TEST(one_fails_with_callbacks) {
  dead = host_dead_addr();
  fail_all(true, false, 1);
  fail_all(true, true, 1);
}

static void script_polite(peer *p, peer_conn *c) {
  (void)p;
  while (peer_read(c) && peer_answer(c, "hello")) continue;
}

TEST(one_fails_in_a_call_that_is_answered) {
  peer p;
  peer_start(&p, script_polite, NULL);
  dead = host_dead_addr();
  alive = p.addr;
  fail_all(true, false, 1);
  fail_all(false, true, 3);
  alive = NULL;
  peer_stop(&p);
}

static uint64_t attempts_of(host *h) {
  dsc_stats *stats = dsc_discoverer_stats(h->d);
  uint64_t attempts = stats->apps[0].nodes[0].attempts;
  dsc_stats_free(stats);
  return attempts;
}

/* Without a free descriptor no probe can be made: that is ours, so the node is due again at once, but the prober shall
** not turn round and round for it. */
TEST(probes_that_can_not_be_made_are_not_made_all_the_time) {
  host h;
  dsc_call_config config;
  host_new(&h, "");
  dsc_call_config_defaults(&config);
  char path[] = "/health";
  config.probe = path;
  host_set(&h, "svc", host_dead_addr(), 1);
  assert_int_equal(host_configure(&h, "svc", &config), DSC_OK);
  struct rlimit full, none;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &full), 0);
  none = (struct rlimit){.rlim_cur = 3, .rlim_max = full.rlim_max};
  dsc_node *node = host_pick(&h, "svc");
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
  for (int i = 0; i < 10; i++) host_done(&h, node, DSC_OUTCOME_FAILURE);
  uint64_t until_ms = dsc_clock_now_ms() + 20000;
  while (attempts_of(&h) == 1 && dsc_clock_now_ms() < until_ms) usleep(1000);
  assert_true(attempts_of(&h) > 1); /* the first probe */
  usleep(500000);
  uint64_t probes = attempts_of(&h) - 1;
  setrlimit(RLIMIT_NOFILE, &full);
  if (probes > 5) print_message("%llu probes in half a second\n", (unsigned long long)probes);
  assert_in_range(probes, 1, 5);
  dsc_node_unref(node);
  host_free(&h);
}

/* Memory is out while a node is isolated, and while the prober looks: it is probed all the same, later. */
TEST(an_isolation_without_memory_is_not_forgotten) {
  host h;
  peer p;
  dsc_call_config config;
  peer_start(&p, script_polite, NULL);
  host_new(&h, "");
  dsc_call_config_defaults(&config);
  char path[] = "/health";
  config.probe = path;
  host_set(&h, "svc", p.addr, 1);
  assert_int_equal(host_configure(&h, "svc", &config), DSC_OK);
  dsc_node *node = host_pick(&h, "svc");
  for (int i = 0; i < 9; i++) host_done(&h, node, DSC_OUTCOME_FAILURE);
  usleep(100000); /* the prober has had its first look */
  dsc_mem_fail_at(1, true);
  host_done(&h, node, DSC_OUTCOME_FAILURE);
  bool isolated = dsc_node_get_state(node) == DSC_NODE_ISOLATED;
  usleep(100000);
  dsc_mem_fail_at(0, false);
  assert_true(isolated);
  uint64_t until_ms = dsc_clock_now_ms() + 20000;
  while (dsc_node_get_state(node) != DSC_NODE_UP && dsc_clock_now_ms() < until_ms) usleep(1000);
  assert_int_equal(dsc_node_get_state(node), DSC_NODE_UP);
  dsc_node_unref(node);
  host_free(&h);
  peer_stop(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_allocation_fails),
      cmocka_unit_test(all_later_allocations_fail),
      cmocka_unit_test(one_fails_with_callbacks),
      cmocka_unit_test(one_fails_in_a_call_that_is_answered),
      cmocka_unit_test(an_isolation_without_memory_is_not_forgotten),
      cmocka_unit_test(probes_that_can_not_be_made_are_not_made_all_the_time),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
