/*
** discoverer_test.c - a discoverer's life: new, enter, leave, stop, free in all orders; register, configure, ready, wait.
*/
#include <pthread.h>

#include "core/discoverer_impl.h"
#include "core/host.h"

static size_t blocks_before;

static int count_blocks(void **state) {
  (void)state;
  dsc_mem_usage(&blocks_before, NULL);
  return 0;
}

static int same_blocks(void **state) {
  size_t after;
  (void)state;
  dsc_clock_hold(0);
  dsc_mem_usage(&after, NULL);
  if (after != blocks_before) print_error("%zu blocks before, %zu after\n", blocks_before, after);
  return after == blocks_before ? 0 : -1;
}

TEST(may_be_freed_at_once) {
  host h;
  dsc_discoverer_free(NULL, true);
  host_new(&h, "");
  host_free(&h);
  host_new(&h, "memory://life");
  assert_true(dsc_discoverer_free(h.d, false));
}

TEST(says_what_is_wrong_with_its_options) {
  host h = {0};
  dsc_options options = host_options("nonsense");
  assert_int_equal(dsc_discoverer_new(&h.d, &options, &h.why), DSC_EINVALID);
  assert_null(h.d);
  assert_true(h.why.text[0]);
  options = host_options("");
  options.timing.heartbeat_ms = 0;
  assert_int_equal(dsc_discoverer_new(&h.d, &options, &h.why), DSC_EINVALID);
  assert_null(h.d);
}

TEST(is_refused_after_stop) {
  host h;
  host_new(&h, "memory://life");
  host_enter(&h);
  host_leave(&h);
  dsc_discoverer_stop(h.d, &h, 0);
  dsc_discoverer_stop(h.d, &h, 1000);
  assert_true(dsc_discoverer_stopped(h.d));
  assert_int_equal(dsc_discoverer_enter(h.d, &h.frame, &h, &h.why), DSC_ESTOPPED);
  assert_null(dsc_discoverer_nodes(h.d, L("svc")));
  assert_false(dsc_discoverer_registered(h.d));
  dsc_discoverer_log(h.d, DSC_LOG_ERROR, "nobody hears it");
  host_free(&h);
}

TEST(is_not_freed_inside_a_frame) {
  host h;
  host_new(&h, "");
  host_enter(&h);
  assert_false(dsc_discoverer_free(h.d, true));
  assert_false(dsc_discoverer_free(h.d, false));
  dsc_discoverer_stop(h.d, &h, 0);
  assert_false(dsc_discoverer_free(h.d, true));
  host_leave(&h);
  host_free(&h);
}

TEST(the_outermost_frame_finishes_a_stop) {
  host h;
  dsc_frame inner;
  host_new(&h, "memory://life");
  host_enter(&h);
  assert_int_equal(dsc_discoverer_register(&h.frame, L("svc"), L("10.0.0.1:80"), 1, NULL, &h.why), DSC_OK);
  assert_int_equal(dsc_discoverer_enter(h.d, &inner, &h, &h.why), DSC_OK);
  dsc_discoverer_stop(h.d, &h, 0);
  dsc_request request = host_request("svc");
  dsc_result *result = dsc_discoverer_call(&inner, &request);
  assert_int_equal(result->err, DSC_ESTOPPED);
  dsc_result_free(result);
  dsc_discoverer_leave(&inner);
  assert_non_null(h.d->registry); /* not yet */
  host_leave(&h);
  assert_null(h.d->registry);
  host_free(&h);
}

TEST(remembers_what_it_was) {
  host h;
  host_new(&h, "memory://life");
  assert_false(dsc_discoverer_is_server(h.d));
  assert_false(dsc_discoverer_is_client(h.d));
  assert_str(dsc_discoverer_own_app(h.d), "");
  host_enter(&h);
  assert_int_equal(dsc_discoverer_register(&h.frame, L("me"), L("10.0.0.1:80"), 7, "zone=a", &h.why), DSC_OK);
  host_leave(&h);
  host_deadline(&h, "svc", 1000);
  assert_true(dsc_discoverer_registered(h.d));
  dsc_result *result = host_get(&h, "svc");
  assert_int_equal(result->err, DSC_ENO_NODE);
  dsc_result_free(result);
  dsc_discoverer_stop(h.d, &h, 0);
  assert_true(dsc_discoverer_is_server(h.d));
  assert_true(dsc_discoverer_is_client(h.d));
  assert_str(dsc_discoverer_own_app(h.d), "me");
  assert_str(dsc_discoverer_own_addr(h.d), "10.0.0.1:80");
  dsc_stats *stats = dsc_discoverer_stats(h.d), *again = dsc_discoverer_stats(h.d);
  assert_string_equal(stats->registry.kind, "memory");
  assert_int_equal(stats->total.calls, 1);
  assert_int_equal(again->n_apps, stats->n_apps);
  dsc_stats_free(stats);
  host_free(&h);
  dsc_stats_free(again);
}

TEST(registers_once_and_checks_what_it_is_given) {
  host h;
  dsc_why *why = &h.why;
  host_new(&h, "memory://life");
  host_enter(&h);
  assert_int_equal(dsc_discoverer_set_weight(&h.frame, 1, why), DSC_EINVALID);
  assert_int_equal(dsc_discoverer_set_metadata(&h.frame, "a=b", why), DSC_EINVALID);
  assert_int_equal(dsc_discoverer_register(&h.frame, L("a b"), L("10.0.0.1:80"), 1, NULL, why), DSC_EINVALID);
  assert_int_equal(dsc_discoverer_register(&h.frame, L("svc"), L("0.0.0.0:80"), 1, NULL, why), DSC_EINVALID);
  assert_int_equal(dsc_discoverer_register(&h.frame, L("svc"), L("10.0.0.1:80"), DSC_WEIGHT_MAX + 1, NULL, why),
                   DSC_EINVALID);
  assert_false(dsc_discoverer_is_server(h.d));
  assert_int_equal(dsc_discoverer_register(&h.frame, L("svc"), L("10.0.0.1:80"), 1, NULL, why), DSC_OK);
  assert_int_equal(dsc_discoverer_register(&h.frame, L("svc"), L("10.0.0.2:80"), 1, NULL, why), DSC_EINVALID);
  assert_int_equal(dsc_discoverer_set_weight(&h.frame, DSC_WEIGHT_MAX + 1, why), DSC_EINVALID);
  assert_int_equal(dsc_discoverer_set_weight(&h.frame, 0, why), DSC_OK);
  assert_int_equal(dsc_discoverer_set_weight(&h.frame, 5, why), DSC_OK);
  assert_int_equal(dsc_discoverer_set_metadata(&h.frame, "a=b", why), DSC_OK);
  host_leave(&h);
  host_free(&h);
}

TEST(does_not_register_once_it_stops) {
  host a, b;
  dsc_options options = host_options("memory://shared-life");
  memset(&a, 0, sizeof a);
  memset(&b, 0, sizeof b);
  options.shared = true; /* a registration that was left behind would stay with the other holder */
  assert_int_equal(dsc_discoverer_new(&a.d, &options, &a.why), DSC_OK);
  assert_int_equal(dsc_discoverer_new(&b.d, &options, &b.why), DSC_OK);
  host_enter(&a);
  dsc_discoverer_stop(a.d, &a, 0);
  assert_int_equal(dsc_discoverer_register(&a.frame, L("svc"), L("10.0.0.1:80"), 1, NULL, &a.why), DSC_ESTOPPED);
  host_leave(&a);
  assert_false(dsc_registry_is_registered(b.d->registry, L("svc"), L("10.0.0.1:80")));
  host_free(&a);
  dsc_clock_hold(dsc_clock_now_ms());
  host_free(&b);
  dsc_clock_hold(dsc_clock_now_ms() + 6000); /* the time of a shared registry without holders is over */
  host_new(&b, "memory://life");
  host_free(&b);
}

TEST(says_whether_a_config_changed) {
  host h;
  dsc_call_config defaults, *config = NULL, *same = NULL;
  bool changed = false;
  host_new(&h, "memory://life");
  dsc_call_config_defaults(&defaults);
  assert_int_equal(dsc_call_config_new(&config, &defaults, &h.why), DSC_OK);
  assert_int_equal(dsc_call_config_new(&same, &defaults, &h.why), DSC_OK);
  host_enter(&h);
  for (int i = 0; i < 2; i++) {
    dsc_str app = i ? L("*") : L("svc");
    assert_int_equal(dsc_discoverer_configure(&h.frame, app, config, &changed, &h.why), DSC_OK);
    assert_true(changed);
    assert_int_equal(dsc_discoverer_configure(&h.frame, app, same, &changed, &h.why), DSC_OK);
    assert_false(changed);
    assert_int_equal(dsc_discoverer_configure(&h.frame, app, config, NULL, &h.why), DSC_OK);
  }
  assert_int_equal(dsc_discoverer_configure(&h.frame, L("a b"), config, &changed, &h.why), DSC_EINVALID);
  host_leave(&h);
  dsc_call_config_unref(config);
  dsc_call_config_unref(same);
  host_free(&h);
}

TEST(a_config_that_failed_leaves_nothing_behind) {
  for (size_t n = 1;; n++) {
    host h;
    dsc_call_config defaults, *config = NULL;
    host_new(&h, "memory://life");
    dsc_call_config_defaults(&defaults);
    assert_int_equal(dsc_call_config_new(&config, &defaults, &h.why), DSC_OK);
    host_enter(&h);
    dsc_mem_fail_at(n, false);
    dsc_err err = dsc_discoverer_configure(&h.frame, L("svc"), config, NULL, &h.why);
    bool reached = dsc_mem_asked() >= n;
    dsc_mem_fail_at(0, false);
    if (err) {
      assert_int_equal(err, DSC_ENOMEM);
      assert_false(dsc_discoverer_is_client(h.d));
      assert_int_equal(dsc_discoverer_ready(&h.frame, 0, &h.why), DSC_OK);
      assert_int_equal(dsc_discoverer_configure(&h.frame, L("svc"), config, NULL, &h.why), DSC_OK);
      assert_int_equal(dsc_discoverer_ready(&h.frame, 0, &h.why), DSC_OK);
    }
    host_leave(&h);
    dsc_call_config_unref(config);
    host_free(&h);
    if (!reached) break;
  }
}

TEST(is_ready_at_once_in_memory) {
  host h, other;
  host_new(&h, "memory://life");
  host_new(&other, "memory://life");
  host_enter(&h);
  assert_int_equal(dsc_discoverer_ready(&h.frame, 0, &h.why), DSC_OK);
  assert_int_equal(dsc_discoverer_register(&h.frame, L("svc"), L("10.0.0.1:80"), 3, NULL, &h.why), DSC_OK);
  assert_int_equal(dsc_discoverer_ready(&h.frame, 0, &h.why), DSC_OK);
  host_leave(&h);
  host_deadline(&other, "svc", 1000);
  host_enter(&other);
  assert_true(dsc_discoverer_await_app(&other.frame, L("svc"), 0));
  assert_int_equal(dsc_discoverer_ready(&other.frame, 1000, &other.why), DSC_OK);
  host_leave(&other);
  dsc_node_array *nodes = dsc_discoverer_nodes(other.d, L("svc"));
  assert_int_equal(nodes->count, 1);
  dsc_node_array_unref(nodes);
  host_free(&h);
  nodes = dsc_discoverer_nodes(other.d, L("svc"));
  assert_int_equal(nodes->count, 0); /* it said goodbye */
  dsc_node_array_unref(nodes);
  host_free(&other);
}

TEST(is_not_ready_while_the_registry_is_down) {
  host h;
  char registry[64];
  snprintf(registry, sizeof registry, "redis://%s/1", host_dead_addr());
  host_new(&h, registry);
  host_enter(&h);
  assert_int_equal(dsc_discoverer_register(&h.frame, L("me"), L("10.0.0.1:80"), 1, NULL, &h.why), DSC_OK);
  assert_int_equal(dsc_discoverer_ready(&h.frame, 50, &h.why), DSC_EREGISTRY);
  assert_non_null(strstr(h.why.text, "10.0.0.1:80"));
  assert_false(dsc_discoverer_await_app(&h.frame, L("svc"), 0));
  host_leave(&h);
  uint64_t start = dsc_clock_now_ms();
  dsc_discoverer_stop(h.d, &h, 0);
  assert_true(dsc_clock_now_ms() < start + 5000);
  host_free(&h);
}

/* ---- wait */

static void stop_from(host *h) {
  dsc_discoverer_stop(h->d, h, 0);
}

TEST(waits_until_its_time_is_over) {
  host h;
  host_new(&h, "");
  host_enter(&h);
  uint64_t start = dsc_clock_now_ms();
  assert_false(dsc_discoverer_wait(&h.frame, 40));
  assert_true(dsc_clock_now_ms() >= start + 39);
  assert_false(dsc_discoverer_wait(&h.frame, 0));
  host_leave(&h);
  host_free(&h);
}

static void *tell_of_trouble(void *arg) {
  host *h = arg;
  dsc_log_record record = {.level = DSC_LOG_WARN, .used_time_ms = -1, .msg = "from another thread"};
  usleep(30000);
  h->d->listener.on_log(h->d->listener.ud, &record);
  return NULL;
}

TEST(a_record_of_another_thread_wakes_a_wait) {
  host h;
  pthread_t thread;
  host_new_talking(&h, "");
  h.on_log = stop_from;
  host_hook(&h);
  host_enter(&h);
  pthread_create(&thread, NULL, tell_of_trouble, &h);
  uint64_t start = dsc_clock_now_ms();
  assert_true(dsc_discoverer_wait(&h.frame, 20000));
  assert_true(dsc_clock_now_ms() < start + 10000);
  pthread_join(thread, NULL);
  host_leave(&h);
  assert_string_equal(h.order, "l");
  host_free(&h);
}

static void log_more(host *h) {
  if (strlen(h->order) == 3) dsc_discoverer_stop(h->d, h, 0);
  dsc_discoverer_log(h->d, DSC_LOG_WARN, "and another");
}

TEST(what_a_callback_causes_comes_soon_in_a_wait) {
  host h;
  host_new_talking(&h, "");
  h.on_log = log_more;
  host_hook(&h);
  host_enter(&h);
  dsc_discoverer_log(h.d, DSC_LOG_WARN, "one");
  uint64_t start = dsc_clock_now_ms();
  assert_true(dsc_discoverer_wait(&h.frame, 20000));
  assert_true(dsc_clock_now_ms() < start + 10000);
  host_leave(&h);
  host_free(&h);
}

static void wait_inside(host *h) {
  dsc_frame frame;
  assert_int_equal(dsc_discoverer_enter(h->d, &frame, h, &h->why), DSC_OK);
  assert_false(dsc_discoverer_wait(&frame, -1)); /* nobody could end it */
  dsc_discoverer_leave(&frame);
}

TEST(no_endless_wait_inside_a_callback) {
  host h;
  host_new_talking(&h, "");
  h.on_log = wait_inside;
  host_hook(&h);
  dsc_discoverer_log(h.d, DSC_LOG_WARN, "one");
  host_enter(&h);
  host_leave(&h);
  assert_string_equal(h.order, "l");
  host_free(&h);
}

int main(void) {
#define LIFE(test) cmocka_unit_test_setup_teardown(test, count_blocks, same_blocks)
  const struct CMUnitTest tests[] = {
      LIFE(may_be_freed_at_once),
      LIFE(says_what_is_wrong_with_its_options),
      LIFE(is_refused_after_stop),
      LIFE(is_not_freed_inside_a_frame),
      LIFE(the_outermost_frame_finishes_a_stop),
      LIFE(remembers_what_it_was),
      LIFE(registers_once_and_checks_what_it_is_given),
      LIFE(does_not_register_once_it_stops),
      LIFE(says_whether_a_config_changed),
      LIFE(a_config_that_failed_leaves_nothing_behind),
      LIFE(is_ready_at_once_in_memory),
      LIFE(is_not_ready_while_the_registry_is_down),
      LIFE(waits_until_its_time_is_over),
      LIFE(a_record_of_another_thread_wakes_a_wait),
      LIFE(what_a_callback_causes_comes_soon_in_a_wait),
      LIFE(no_endless_wait_inside_a_callback),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
