/*
** discoverer_hooks_test.c - the host's callbacks: their order, what they may do (call, stop, leave by fork), how deep they nest.
*/
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "core/discoverer_impl.h"
#include "core/host.h"
#include "net/peer.h"

static void script_polite(peer *p, peer_conn *c) {
  (void)p;
  while (peer_read(c) && peer_answer(c, "hello")) continue;
}

/* ---- order */

TEST(run_in_the_order_of_a_call) {
  host h;
  peer p;
  peer_start(&p, script_polite, NULL);
  host_new_talking(&h, "");
  host_set(&h, "svc", p.addr, 1);
  host_hook(&h);
  dsc_result *result = host_get(&h, "svc");
  assert_int_equal(result->status, 200);
  assert_string_equal(h.order, "rnal");
  assert_int_equal(h.answer_status, 200);
  assert_string_equal(h.record.node, p.addr);
  dsc_result_free(result);
  host_free(&h);
  peer_stop(&p);
}

TEST(run_again_for_every_attempt) {
  host h;
  host_new(&h, "");
  host_set(&h, "svc", host_dead_addr(), 1);
  host_set(&h, "svc", host_dead_addr(), 1);
  host_hook(&h);
  dsc_result *result = host_get(&h, "svc");
  assert_int_equal(result->err, DSC_EALL_FAILED);
  assert_string_equal(h.order, "rnana"); /* then nothing is left to choose from */
  assert_int_equal(h.answer_err, DSC_ECONNECT);
  assert_int_equal(h.answer_status, 0);
  dsc_result_free(result);
  host_free(&h);
}

TEST(events_come_when_the_outermost_frame_leaves) {
  host h;
  dsc_frame inner;
  host_new(&h, "memory://hooks");
  host_hook(&h);
  host_enter(&h);
  assert_int_equal(dsc_discoverer_enter(h.d, &inner, &h, &h.why), DSC_OK);
  assert_int_equal(dsc_discoverer_register(&inner, L("svc"), L("10.0.0.1:80"), 1, NULL, &h.why), DSC_OK);
  dsc_discoverer_leave(&inner);
  assert_int_equal(h.events[DSC_EVENT_REGISTERED], 0);
  host_leave(&h);
  assert_int_equal(h.events[DSC_EVENT_REGISTERED], 1);
  dsc_discoverer_stop(h.d, &h, 0);
  assert_int_equal(h.events[DSC_EVENT_UNREGISTERED], 1);
  host_free(&h);
}

static void log_again(host *h) {
  dsc_discoverer_log(h->d, DSC_LOG_WARN, "again");
}

TEST(what_they_cause_waits_for_the_next_method) {
  host h;
  host_new_talking(&h, "");
  h.on_log = log_again;
  host_hook(&h);
  dsc_discoverer_log(h.d, DSC_LOG_WARN, "first");
  for (size_t i = 1; i <= 3; i++) {
    host_enter(&h);
    host_leave(&h);
    assert_int_equal(strlen(h.order), i);
  }
  host_free(&h);
}

TEST(a_route_may_refuse) {
  host h;
  host_new(&h, "");
  host_hook(&h);
  h.route_err = DSC_EROUTE;
  dsc_result *result = host_get(&h, "svc");
  assert_int_equal(result->err, DSC_EROUTE);
  assert_string_equal(result->why, "the route says no");
  assert_string_equal(h.order, "r");
  dsc_result_free(result);
  host_free(&h);
}

static void go_elsewhere(host *h, dsc_app_client *ac) {
  assert_int_equal(dsc_app_client_set_app(ac, L("svc"), &h->why), DSC_OK);
  assert_int_equal(dsc_app_client_set_path(ac, L("/other"), &h->why), DSC_OK);
  assert_int_equal(dsc_app_client_set_body(ac, L("new"), true, &h->why), DSC_OK);
}

static void script_echo(peer *p, peer_conn *c) {
  (void)p;
  while (peer_read(c)) {
    char text[64];
    snprintf(text, sizeof text, "%.12s|%s", c->head, c->body);
    if (!peer_answer(c, text)) return;
  }
}

TEST(a_route_may_change_everything) {
  host h;
  peer p;
  peer_start(&p, script_echo, NULL);
  host_new(&h, "");
  host_set(&h, "svc", p.addr, 1);
  host_hook(&h);
  h.on_route = go_elsewhere;
  dsc_request request = host_request("nobody");
  request.method = L("PUT");
  dsc_result *result = host_send(&h, &request);
  assert_int_equal(result->status, 200);
  assert_string_equal(result->body, "PUT /other H|new");
  dsc_result_free(result);
  host_free(&h);
  peer_stop(&p);
}

/* ---- the balancer */

TEST(a_balancer_may_choose_none_or_fail) {
  host h;
  host_new(&h, "");
  host_set(&h, "svc", "10.0.0.1:80", 1);
  host_hook(&h);
  h.choice = -1;
  assert_null(host_pick(&h, "svc"));
  assert_non_null(strstr(h.why.text, "no node"));
  h.next_err = DSC_EBALANCER;
  dsc_node *node = host_pick(&h, "svc");
  assert_non_null(node); /* the built-in one picked */
  assert_int_equal(h.offered, 1);
  host_done(&h, node, DSC_OUTCOME_SUCCESS);
  dsc_node_unref(node);
  host_free(&h);
}

static void remove_first(host *h, dsc_app_client *ac) {
  (void)ac;
  host_set(h, "svc", "10.0.0.1:80", 0);
}

TEST(a_chosen_node_that_is_gone_meanwhile_costs_nothing) {
  host h;
  host_new(&h, "");
  host_set(&h, "svc", "10.0.0.1:80", 1);
  host_set(&h, "svc", "10.0.0.2:80", 1);
  host_hook(&h);
  h.on_next = remove_first;
  dsc_node *node = host_pick(&h, "svc");
  assert_non_null(node);
  assert_string_equal(node->addr, "10.0.0.2:80");
  host_done(&h, node, DSC_OUTCOME_SUCCESS);
  dsc_node_unref(node);
  host_free(&h);
}

/* ---- calls inside */

static void call_inside(host *h, dsc_app_client *ac) {
  (void)ac;
  if (++h->depth > h->deepest) h->deepest = h->depth;
  dsc_result *result = host_get(h, "svc");
  if (h->depth <= DSC_MAX_DEPTH)
    assert_int_equal(result->status, 200);
  else
    assert_int_equal(result->err, DSC_ECALLBACK);
  dsc_result_free(result);
  h->depth--;
}

TEST(calls_inside_go_eight_deep) {
  peer p;
  peer_start(&p, script_polite, NULL);
  for (int kind = 0; kind < 3; kind++) {
    host h;
    host_new(&h, "");
    host_set(&h, "svc", p.addr, 1);
    host_hook(&h);
    if (kind == 0) h.on_route = call_inside;
    if (kind == 1) h.on_next = call_inside;
    if (kind == 2) h.on_response = call_inside;
    dsc_result *result = host_get(&h, "svc");
    assert_int_equal(result->status, 200);
    dsc_result_free(result);
    assert_int_equal(h.deepest, DSC_MAX_DEPTH + 1);
    assert_int_equal(host_in_flight(&h), 0);
    host_free(&h);
  }
  peer_stop(&p);
}

static void pick_inside(host *h, dsc_app_client *ac) {
  (void)ac;
  if (++h->depth > h->deepest) h->deepest = h->depth;
  assert_true(h->depth < 100);
  dsc_node *node = host_pick(h, "svc");
  if (node) host_done(h, node, DSC_OUTCOME_SUCCESS);
  dsc_node_unref(node);
  h->depth--;
}

TEST(picks_inside_a_balancer_end_too) {
  host h;
  host_new(&h, "");
  host_set(&h, "svc", "10.0.0.1:80", 1);
  host_hook(&h);
  h.on_next = pick_inside;
  dsc_node *node = host_pick(&h, "svc");
  assert_non_null(node);
  host_done(&h, node, DSC_OUTCOME_SUCCESS);
  dsc_node_unref(node);
  assert_int_equal(h.deepest, DSC_MAX_DEPTH + 1);
  assert_int_equal(host_in_flight(&h), 0);
  host_free(&h);
}

/* ---- stop inside */

static void stop_in_call(host *h, dsc_app_client *ac) {
  (void)ac;
  dsc_discoverer_stop(h->d, h, 0);
  assert_false(dsc_discoverer_free(h->d, true));
  dsc_frame frame;
  assert_int_equal(dsc_discoverer_enter(h->d, &frame, h, &h->why), DSC_ESTOPPED);
}

static void stop_in_notice(host *h) {
  stop_in_call(h, NULL);
}

TEST(stop_inside_each_callback) {
  peer p;
  peer_start(&p, script_polite, NULL);
  for (int kind = 0; kind < 5; kind++) {
    host h;
    host_new_talking(&h, "");
    host_hook(&h);
    host_set(&h, "svc", p.addr, 1);
    if (kind == 0) h.on_route = stop_in_call;
    if (kind == 1) h.on_next = stop_in_call;
    if (kind == 2) h.on_response = stop_in_call;
    if (kind == 3) h.on_log = stop_in_notice;
    if (kind == 4) {
      h.on_event = stop_in_notice;
      host_set(&h, "svc", "10.0.0.9:80", 1); /* an event */
      assert_true(dsc_discoverer_stopped(h.d));
      host_free(&h);
      continue;
    }
    dsc_result *result = host_get(&h, "svc");
    assert_int_equal(result->err, kind < 2 ? DSC_ESTOPPED : DSC_OK); /* an answer that is there is kept */
    assert_int_equal(result->attempts, kind < 2 ? 0 : 1);
    dsc_result_free(result);
    assert_true(dsc_discoverer_stopped(h.d));
    assert_null(h.d->registry);
    assert_int_equal(dsc_discoverer_enter(h.d, &h.frame, &h, &h.why), DSC_ESTOPPED);
    host_free(&h);
  }
  peer_stop(&p);
}

static void script_slow(peer *p, peer_conn *c) {
  while (peer_read(c)) {
    usleep((useconds_t)atomic_load(&p->flag) * 1000);
    if (!peer_answer(c, "late")) return;
  }
}

static void stop_with_drain(host *h, dsc_app_client *ac) {
  (void)ac;
  dsc_discoverer_stop(h->d, h, *(uint32_t *)h->ud);
}

/* A call whose route stops the discoverer while the peer takes its time. */
static dsc_result *call_while_draining(host *h, peer *p, uint32_t drain_ms) {
  host_new(h, "");
  host_set(h, "svc", p->addr, 1);
  host_hook(h);
  h->on_route = stop_with_drain;
  h->ud = &drain_ms;
  return host_get(h, "svc");
}

TEST(a_drain_lets_the_call_finish) {
  host h;
  peer p;
  peer_start(&p, script_slow, NULL);
  atomic_store(&p.flag, 50);
  dsc_result *result = call_while_draining(&h, &p, 20000);
  assert_int_equal(result->err, DSC_OK);
  assert_string_equal(result->body, "late");
  dsc_result_free(result);
  assert_true(dsc_discoverer_stopped(h.d));
  host_free(&h);
  peer_stop(&p);
}

static void script_mute(peer *p, peer_conn *c) {
  (void)p;
  peer_read(c);
  peer_linger(c);
}

TEST(a_drain_that_is_over_ends_the_attempt_like_any_other) {
  host h;
  peer p;
  peer_start(&p, script_mute, NULL);
  uint64_t start = dsc_clock_now_ms();
  dsc_result *result = call_while_draining(&h, &p, 60);
  assert_true(dsc_clock_now_ms() < start + 5000);
  assert_int_equal(result->err, DSC_ESTOPPED);
  assert_int_equal(result->attempts, 1);
  assert_int_equal(result->trace[0].err, DSC_ESTOPPED);
  assert_string_equal(result->node, p.addr);
  assert_string_equal(h.order, "rna"); /* whoever chose a node hears how it went */
  assert_int_equal(h.answer_err, DSC_ESTOPPED);
  dsc_result_free(result);
  dsc_stats *stats = dsc_discoverer_stats(h.d);
  assert_int_equal(stats->apps[0].nodes[0].failures, 0); /* not the node's fault */
  assert_int_equal(stats->total.in_flight, 0);
  dsc_stats_free(stats);
  host_free(&h);
  peer_stop(&p);
}

/* ---- fork inside */

static pid_t child;

static atomic_int stage; /* 1: the lock is taken, 2: it may be given back */

static void *hold_lock(void *arg) {
  host *h = arg;
  pthread_mutex_lock(&h->d->notices.lock);
  atomic_store(&stage, 1);
  while (atomic_load(&stage) != 2) usleep(100);
  pthread_mutex_unlock(&h->d->notices.lock);
  return NULL;
}

/* Another thread holds a lock, on which the child would hang for ever. */
static void fork_now(host *h) {
  pthread_t thread;
  if (child) return;
  atomic_store(&stage, 0);
  pthread_create(&thread, NULL, hold_lock, h);
  while (atomic_load(&stage) != 1) usleep(100);
  child = fork();
  if (child == 0) {
    child = -1; /* once */
    alarm(10);
    return;
  }
  atomic_store(&stage, 2);
  pthread_join(thread, NULL);
}

static void fork_in_call(host *h, dsc_app_client *ac) {
  (void)ac;
  fork_now(h);
}

/* Ends the child with `good`, or looks at how it ended. */
static void judge(bool good) {
  if (child == -1) _exit(good ? 0 : 1);
  int status = 0;
  assert_true(good);
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

TEST(a_child_of_a_callback_ends_the_call_and_touches_nothing) {
  peer p;
  peer_start(&p, script_polite, NULL);
  for (int kind = 0; kind < 3; kind++) {
    host h;
    child = 0;
    host_new(&h, "memory://hooks");
    host_set(&h, "svc", p.addr, 1);
    host_hook(&h);
    if (kind == 0) h.on_route = fork_in_call;
    if (kind == 1) h.on_next = fork_in_call;
    if (kind == 2) h.on_response = fork_in_call;
    dsc_result *result = host_get(&h, "svc");
    bool good = result->err == (child == -1 && kind < 2 ? DSC_EFORKED : DSC_OK);
    dsc_discoverer_stop(h.d, &h, 0);
    good = good && dsc_discoverer_free(h.d, true);
    judge(good);
    dsc_result_free(result);
  }
  peer_stop(&p);
}

TEST(a_child_of_a_logger_leaves_in_peace) {
  host h;
  child = 0;
  host_new_talking(&h, "");
  h.on_log = fork_now;
  host_hook(&h);
  dsc_discoverer_log(h.d, DSC_LOG_WARN, "one");
  dsc_discoverer_log(h.d, DSC_LOG_WARN, "two");
  host_enter(&h);
  bool waited = dsc_discoverer_wait(&h.frame, 10);
  host_leave(&h);
  judge(!waited && strlen(h.order) == (child == -1 ? 1u : 2u));
  host_free(&h);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(run_in_the_order_of_a_call),
      cmocka_unit_test(run_again_for_every_attempt),
      cmocka_unit_test(events_come_when_the_outermost_frame_leaves),
      cmocka_unit_test(what_they_cause_waits_for_the_next_method),
      cmocka_unit_test(a_route_may_refuse),
      cmocka_unit_test(a_route_may_change_everything),
      cmocka_unit_test(a_balancer_may_choose_none_or_fail),
      cmocka_unit_test(a_chosen_node_that_is_gone_meanwhile_costs_nothing),
      cmocka_unit_test(calls_inside_go_eight_deep),
      cmocka_unit_test(picks_inside_a_balancer_end_too),
      cmocka_unit_test(stop_inside_each_callback),
      cmocka_unit_test(a_drain_lets_the_call_finish),
      cmocka_unit_test(a_drain_that_is_over_ends_the_attempt_like_any_other),
      cmocka_unit_test(a_child_of_a_callback_ends_the_call_and_touches_nothing),
      cmocka_unit_test(a_child_of_a_logger_leaves_in_peace),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
