/*
** call_queue_test.c - limits on calls in flight: slots, the line, who goes first, and that nothing is ever kept.
*/
#include "core/call_queue.h"
#include "core/discoverer_impl.h"
#include "core/future.h"
#include "core/host.h"
#include "net/peer.h"

#define MANY 24

static pthread_mutex_t order_lock = PTHREAD_MUTEX_INITIALIZER;
static char order[256]; /* the last letter of each path, as the requests came */

/* Notes the request, then answers as soon as `flag` allows it: so many answers are let out. */
static void script_held(peer *p, peer_conn *c) {
  while (peer_read(c)) {
    pthread_mutex_lock(&order_lock);
    const char *end = strstr(c->head, " HTTP/");
    size_t n = strlen(order);
    if (end && n + 1 < sizeof order) order[n] = end[-1], order[n + 1] = '\0';
    pthread_mutex_unlock(&order_lock);
    while (!atomic_load(&p->stopping)) {
      int left = atomic_load(&p->flag);
      if (left > 0 && atomic_compare_exchange_strong(&p->flag, &left, left - 1)) break;
      usleep(1000);
    }
    if (!peer_answer(c, p->ud)) return;
  }
}

static char text[] = "well";

static void open_one(host *h, peer *p, const dsc_call_config *config) {
  order[0] = '\0';
  peer_start(p, script_held, text);
  host_new(h, "");
  host_set(h, "svc", p->addr, 1);
  assert_int_equal(host_configure(h, "svc", config), DSC_OK);
}

static dsc_call_config limits(uint32_t all, uint32_t per_node, uint32_t queue) {
  dsc_call_config config;
  dsc_call_config_defaults(&config);
  config.max_in_flight = all;
  config.max_in_flight_per_node = per_node;
  config.queue = queue;
  return config;
}

static dsc_future *go(host *h, const char *path, uint32_t deadline_ms) {
  dsc_request request = host_request("svc");
  request.path = dsc_str_of(path);
  request.deadline_ms = deadline_ms;
  dsc_future *future = dsc_discoverer_async(&h->frame, &request, false);
  assert_non_null(future);
  return future;
}

static void wait_for(host *h, dsc_future *future) {
  assert_int_equal(dsc_future_wait(&h->frame, future, 20000, &h->why), DSC_OK);
}

static void expect(dsc_future *future, dsc_err err, const char *why) {
  const dsc_result *result = dsc_future_result(future);
  assert_non_null(result);
  if (result->err != err || (why && !strstr(result->why, why)))
    fail_msg("expected %s with \"%s\", got %s: %s", dsc_err_name(err), why ? why : "", dsc_err_name(result->err),
             result->why ? result->why : "");
}

static uint64_t counted(host *h, size_t offset) {
  dsc_stats *stats = dsc_discoverer_stats(h->d);
  uint64_t value = *(const uint64_t *)(const void *)((const char *)&stats->apps[0].counts + offset);
  dsc_stats_free(stats);
  return value;
}
#define COUNTED(h, field) counted(h, offsetof(dsc_stats_counts, field))

static void close_one(host *h, peer *p) {
  assert_int_equal(h->d->gates.count, 0);
  assert_int_equal(COUNTED(h, waiting), 0);
  assert_int_equal(host_in_flight(h), 0);
  host_free(h);
  peer_stop(p);
}

TEST(a_call_over_the_limit_ends_at_once) {
  host h;
  peer p;
  dsc_call_config config = limits(2, 0, 0);
  open_one(&h, &p, &config);
  host_enter(&h);
  dsc_future *a = go(&h, "/a", 0), *b = go(&h, "/b", 0), *c = go(&h, "/c", 0);
  assert_true(dsc_future_is_ready(c));
  expect(c, DSC_EOVERLOAD, "app \"svc\": there are max_in_flight = 2 in flight, and none may wait (queue = 0)");
  assert_int_equal(dsc_future_result(c)->attempts, 0);
  atomic_store(&p.flag, MANY);
  wait_for(&h, a);
  wait_for(&h, b);
  expect(a, DSC_OK, NULL);
  expect(b, DSC_OK, NULL);
  dsc_future *d = go(&h, "/d", 0);
  wait_for(&h, d);
  expect(d, DSC_OK, NULL);
  assert_int_equal(COUNTED(&h, errors[DSC_EOVERLOAD]), 1);
  dsc_future *all[] = {a, b, c, d};
  for (size_t i = 0; i < COUNT(all); i++) dsc_future_free(all[i]);
  host_leave(&h);
  close_one(&h, &p);
}

TEST(the_line_is_first_in_first_out_and_bounded) {
  host h;
  peer p;
  dsc_call_config config = limits(1, 0, MANY - 1);
  open_one(&h, &p, &config);
  host_enter(&h);
  dsc_future *all[MANY];
  char expected[MANY + 1] = "";
  for (size_t i = 0; i < MANY; i++) {
    char path[] = {'/', (char)('a' + i), '\0'};
    expected[i] = path[1];
    all[i] = go(&h, path, 0);
  }
  assert_int_equal(COUNTED(&h, waiting), MANY - 1);
  assert_int_equal(COUNTED(&h, queued), MANY - 1);
  dsc_future *late = go(&h, "/z", 0);
  expect(late, DSC_EOVERLOAD, "max_in_flight = 1 in flight, and as many wait as may (queue = 23)");
  atomic_store(&p.flag, MANY);
  for (size_t i = MANY; i-- > 0;) wait_for(&h, all[i]); /* whoever is waited for, the order stays */
  for (size_t i = 0; i < MANY; i++) expect(all[i], DSC_OK, NULL), dsc_future_free(all[i]);
  assert_string_equal(order, expected);
  dsc_future_free(late);
  host_leave(&h);
  close_one(&h, &p);
}

/* A node that was picked by hand and never reported is free when its mark lapses: whoever waits for it must hear. */
TEST(a_mark_that_lapses_lets_the_next_go) {
  host h;
  peer p;
  dsc_call_config config = limits(0, 1, 4);
  config.deadline_ms = 400;
  open_one(&h, &p, &config);
  atomic_store(&p.flag, MANY);
  dsc_node_unref(host_pick(&h, "svc"));
  host_enter(&h);
  dsc_future *a = go(&h, "/a", 15000);
  assert_int_equal(dsc_future_wait(&h.frame, a, 1, &h.why), DSC_ETIMEOUT);
  usleep(1600 * 1000); /* marks are looked at once a second */
  dsc_future *b = go(&h, "/b", 15000);
  wait_for(&h, a);
  wait_for(&h, b);
  expect(a, DSC_OK, NULL);
  expect(b, DSC_OK, NULL);
  assert_string_equal(order, "ab");
  dsc_future_free(a);
  dsc_future_free(b);
  host_leave(&h);
  close_one(&h, &p);
}

TEST(the_deadline_ends_the_wait) {
  host h;
  peer p;
  dsc_call_config config = limits(1, 0, 5);
  open_one(&h, &p, &config);
  host_enter(&h);
  dsc_future *a = go(&h, "/a", 0), *b = go(&h, "/b", 60), *c = go(&h, "/c", 0);
  wait_for(&h, b);
  expect(b, DSC_ETIMEOUT, "s in the queue of app \"svc\" (max_in_flight = 1");
  assert_int_equal(dsc_future_result(b)->attempts, 0);
  assert_false(dsc_future_is_ready(c));
  atomic_store(&p.flag, MANY);
  wait_for(&h, c);
  expect(a, DSC_OK, NULL);
  expect(c, DSC_OK, NULL);
  assert_string_equal(order, "ac");
  dsc_future_free(a), dsc_future_free(b), dsc_future_free(c);
  host_leave(&h);
  close_one(&h, &p);
}

TEST(whoever_is_canceled_leaves_its_slot_and_its_place) {
  host h;
  peer p;
  dsc_call_config config = limits(1, 0, 5);
  open_one(&h, &p, &config);
  host_enter(&h);
  dsc_future *a = go(&h, "/a", 0), *b = go(&h, "/b", 0), *c = go(&h, "/c", 0);
  assert_true(dsc_future_cancel(&h.frame, b));
  expect(b, DSC_ECANCELED, NULL);
  assert_int_equal(COUNTED(&h, waiting), 1);
  assert_true(dsc_future_cancel(&h.frame, a));
  atomic_store(&p.flag, MANY);
  wait_for(&h, c);
  expect(c, DSC_OK, NULL);
  dsc_future_free(a), dsc_future_free(b), dsc_future_free(c);
  host_leave(&h);
  close_one(&h, &p);
}

TEST(a_stop_ends_those_in_line) {
  host h;
  peer p;
  dsc_call_config config = limits(1, 1, 5);
  open_one(&h, &p, &config);
  host_enter(&h);
  dsc_future *a = go(&h, "/a", 0), *b = go(&h, "/b", 0);
  dsc_discoverer_stop(h.d, NULL, 0);
  host_leave(&h);
  expect(a, DSC_ESTOPPED, NULL);
  expect(b, DSC_ESTOPPED, NULL);
  assert_int_equal(h.d->gates.count, 0);
  dsc_future_free(a), dsc_future_free(b);
  host_free(&h);
  peer_stop(&p);
}

TEST(a_full_node_is_passed_by_and_waited_for) {
  host h;
  peer p, q;
  dsc_call_config config = limits(0, 1, 1);
  open_one(&h, &p, &config);
  peer_start(&q, script_held, text);
  host_set(&h, "svc", q.addr, 1);
  host_enter(&h);
  dsc_future *a = go(&h, "/a", 0), *b = go(&h, "/b", 0), *c = go(&h, "/c", 0), *d = go(&h, "/d", 0);
  expect(d, DSC_EOVERLOAD, "every node has max_in_flight_per_node = 1 in flight, and as many wait as may (queue = 1)");
  assert_false(dsc_future_is_ready(c));
  atomic_store(&q.flag, MANY); /* one of the two nodes answers: both its own and the one that waited */
  wait_for(&h, c);
  expect(c, DSC_OK, NULL);
  assert_string_equal(dsc_future_result(c)->node, q.addr);
  assert_true(dsc_future_is_ready(a) != dsc_future_is_ready(b));
  atomic_store(&p.flag, MANY);
  wait_for(&h, a);
  wait_for(&h, b);
  dsc_future *all[] = {a, b, c, d};
  for (size_t i = 0; i < COUNT(all); i++) dsc_future_free(all[i]);
  host_leave(&h);
  close_one(&h, &p);
  peer_stop(&q);
}

TEST(a_pinned_call_waits_for_its_node) {
  host h;
  peer p;
  dsc_call_config config = limits(0, 1, 1);
  open_one(&h, &p, &config);
  host_set(&h, "svc", host_dead_addr(), 1);
  host_enter(&h);
  dsc_request request = host_request("svc");
  request.node = dsc_str_of(p.addr);
  dsc_future *a = dsc_discoverer_async(&h.frame, &request, false);
  dsc_future *b = dsc_discoverer_async(&h.frame, &request, false);
  assert_false(dsc_future_is_ready(b));
  atomic_store(&p.flag, MANY);
  wait_for(&h, b);
  expect(a, DSC_OK, NULL);
  expect(b, DSC_OK, NULL);
  dsc_future_free(a), dsc_future_free(b);
  host_leave(&h);
  close_one(&h, &p);
}

/* Nodes that come, and marks of picks that are done, let those in line go. */
TEST(whoever_waits_for_a_node_hears_of_every_one) {
  host h;
  peer p;
  dsc_call_config config = limits(0, 1, 5);
  open_one(&h, &p, &config);
  atomic_store(&p.flag, MANY);
  dsc_node *node = host_pick(&h, "svc");
  host_enter(&h);
  dsc_future *a = go(&h, "/a", 0);
  assert_int_equal(dsc_future_wait(&h.frame, a, 20, &h.why), DSC_ETIMEOUT);
  dsc_discoverer_done(&h.frame, node, DSC_OUTCOME_SUCCESS);
  wait_for(&h, a);
  expect(a, DSC_OK, NULL);
  dsc_node *again = NULL;
  assert_int_equal(dsc_discoverer_pick(&h.frame, L("svc"), (dsc_str){0}, NULL, &again, &h.why), DSC_OK);
  dsc_node *none = NULL;
  assert_int_equal(dsc_discoverer_pick(&h.frame, L("svc"), (dsc_str){0}, NULL, &none, &h.why), DSC_EOVERLOAD);
  dsc_future *b = go(&h, "/b", 0);
  assert_int_equal(dsc_future_wait(&h.frame, b, 20, &h.why), DSC_ETIMEOUT);
  peer q;
  peer_start(&q, script_held, text);
  atomic_store(&q.flag, MANY);
  host_set(&h, "svc", q.addr, 1);
  wait_for(&h, b);
  expect(b, DSC_OK, NULL);
  dsc_discoverer_done(&h.frame, again, DSC_OUTCOME_SUCCESS);
  dsc_node_unref(node), dsc_node_unref(again);
  dsc_future_free(a), dsc_future_free(b);
  host_leave(&h);
  close_one(&h, &p);
  peer_stop(&q);
}

/* Another node is wanted and busy: the answer that there is counts, nobody stands in others' way. */
static void script_busy(peer *p, peer_conn *c) {
  while (peer_read(c)) {
    atomic_fetch_add(&p->flag, 1);
    if (!peer_say(c, "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")) return;
  }
}

TEST(a_retry_waits_without_standing_in_the_way) {
  host h;
  peer p, q;
  dsc_call_config config = limits(2, 1, 3);
  open_one(&h, &p, &config);
  peer_start(&q, script_busy, NULL);
  host_enter(&h);
  dsc_future *a = go(&h, "/a", 0); /* holds p */
  host_leave(&h);
  host_set(&h, "svc", q.addr, 1);
  host_enter(&h);
  dsc_future *b = go(&h, "/b", 0); /* q answers 503, p is full: waits with its slot */
  while (COUNTED(&h, waiting) == 0) assert_int_equal(dsc_future_wait(&h.frame, b, 10, &h.why), DSC_ETIMEOUT);
  assert_false(dsc_future_is_ready(b));
  dsc_future *c = go(&h, "/c", 0); /* both slots are taken */
  assert_int_equal(COUNTED(&h, waiting), 2);
  atomic_store(&p.flag, MANY);
  wait_for(&h, a);
  wait_for(&h, b);
  wait_for(&h, c);
  expect(a, DSC_OK, NULL);
  expect(b, DSC_OK, NULL);
  assert_int_equal(dsc_future_result(b)->attempts, 2);
  expect(c, DSC_OK, NULL);
  dsc_future_free(a), dsc_future_free(b), dsc_future_free(c);
  host_leave(&h);
  close_one(&h, &p);
  peer_stop(&q);
}

/* A call inside a callback of a call that holds the slot: its own deadline ends it. */
static void call_inside(host *h, dsc_app_client *ac) {
  (void)ac;
  dsc_request request = host_request("svc");
  request.deadline_ms = 50;
  h->on_response = NULL;
  dsc_result *result = host_send(h, &request);
  assert_int_equal(result->err, DSC_ETIMEOUT);
  assert_non_null(strstr(result->why, "in the queue"));
  dsc_result_free(result);
}

TEST(a_call_inside_a_callback_does_not_wait_for_ever) {
  host h;
  peer p;
  dsc_call_config config = limits(1, 0, 5);
  open_one(&h, &p, &config);
  atomic_store(&p.flag, MANY);
  host_hook(&h);
  h.choice = 0;
  h.on_response = call_inside;
  dsc_result *result = host_get(&h, "svc");
  assert_int_equal(result->err, DSC_OK);
  dsc_result_free(result);
  close_one(&h, &p);
}

/* Whatever allocation fails, everything ends once and no slot stays taken. */
TEST(failing_memory_keeps_no_slot) {
  for (uint64_t n = 1; n < 120; n++) {
    host h;
    peer p;
    dsc_call_config config = limits(1, 1, 1);
    open_one(&h, &p, &config);
    atomic_store(&p.flag, MANY);
    host_enter(&h);
    dsc_request request = host_request("svc");
    dsc_mem_fail_at(n, false);
    dsc_future *all[3];
    for (size_t i = 0; i < COUNT(all); i++) all[i] = dsc_discoverer_async(&h.frame, &request, false);
    for (size_t i = 0; i < COUNT(all); i++)
      if (all[i]) wait_for(&h, all[i]);
    dsc_mem_fail_at(0, false);
    for (size_t i = 0; i < COUNT(all); i++) dsc_future_free(all[i]);
    host_leave(&h);
    close_one(&h, &p);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_call_over_the_limit_ends_at_once),
      cmocka_unit_test(the_line_is_first_in_first_out_and_bounded),
      cmocka_unit_test(the_deadline_ends_the_wait),
      cmocka_unit_test(a_mark_that_lapses_lets_the_next_go),
      cmocka_unit_test(whoever_is_canceled_leaves_its_slot_and_its_place),
      cmocka_unit_test(a_stop_ends_those_in_line),
      cmocka_unit_test(a_full_node_is_passed_by_and_waited_for),
      cmocka_unit_test(a_pinned_call_waits_for_its_node),
      cmocka_unit_test(whoever_waits_for_a_node_hears_of_every_one),
      cmocka_unit_test(a_retry_waits_without_standing_in_the_way),
      cmocka_unit_test(a_call_inside_a_callback_does_not_wait_for_ever),
      cmocka_unit_test(failing_memory_keeps_no_slot),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
