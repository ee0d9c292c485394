/*
** future_test.c - calls that nobody waits for: settled once, told once, by whatever ends them.
*/
#include "stream_support.h"
#include "support/ws_peer.h"

#define PATIENCE_MS 20000

typedef struct note {
  int told, settled;
  dsc_err err;
  int status;
  void (*inside)(host *h, struct note *n, dsc_future *f);
  void *ud;
} note;

static void on_told(void *ctx, void *ud, dsc_future *f) {
  note *n = ud;
  const dsc_result *result = dsc_future_result(f);
  n->told++;
  assert_true(dsc_future_is_ready(f));
  if (result) n->err = result->err, n->status = result->status;
  if (n->inside) n->inside(ctx, n, f);
}

static void on_settled(void *ctx, void *ud, dsc_future *f) {
  (void)ctx, (void)f;
  ((note *)ud)->settled++;
}

static dsc_future *begin(host *h, const dsc_request *request, note *n) {
  host_enter(h);
  dsc_future *f = dsc_discoverer_async(&h->frame, request, false);
  assert_non_null(f);
  if (n) dsc_future_on(f, on_told, n);
  if (n) dsc_future_on_settled(f, on_settled, n);
  host_leave(h);
  return f;
}

static dsc_future *begin_get(host *h, const char *path, note *n) {
  dsc_request request = host_request("svc");
  request.path = dsc_str_of(path);
  return begin(h, &request, n);
}

static uint32_t poll_for(host *h, int64_t timeout_ms, uint32_t max, uint32_t budget_us) {
  dsc_frame frame;
  dsc_poll poll = {timeout_ms, max, budget_us};
  assert_int_equal(dsc_discoverer_enter(h->d, &frame, h, &h->why), DSC_OK);
  uint32_t n = dsc_discoverer_poll(&frame, &poll);
  dsc_discoverer_leave(&frame);
  return n;
}

static void poll_until_told(host *h, const note *n, int times) {
  uint64_t until = dsc_clock_now_ms() + PATIENCE_MS;
  while (n->told < times && dsc_clock_now_ms() < until) poll_for(h, 100, 0, 0);
  assert_int_equal(n->told, times);
}

static dsc_err wait_for(host *h, dsc_future *f, int64_t timeout_ms) {
  dsc_frame frame;
  assert_int_equal(dsc_discoverer_enter(h->d, &frame, h, &h->why), DSC_OK);
  dsc_err err = dsc_future_wait(&frame, f, timeout_ms, &h->why);
  dsc_discoverer_leave(&frame);
  return err;
}

static bool cancel(host *h, dsc_future *f) {
  dsc_frame frame;
  assert_int_equal(dsc_discoverer_enter(h->d, &frame, h, &h->why), DSC_OK);
  bool canceled = dsc_future_cancel(&frame, f);
  dsc_discoverer_leave(&frame);
  return canceled;
}

/* /hold waits until the peer's flag is up; all else is answered at once with the path. */
static void script_hold(peer *p, peer_conn *c) {
  while (peer_read(c)) {
    char path[64] = "";
    sscanf(c->head, "%*s %63s", path);
    while (strcmp(path, "/hold") == 0 && !atomic_load(&p->flag) && !atomic_load(&p->stopping)) usleep(1000);
    if (!peer_answer(c, path)) return;
  }
}

static void open_host(host *h, peer *p, peer_script script) {
  peer_start(p, script, NULL);
  host_new(h, "");
  host_patient(h);
  host_set(h, "svc", p->addr, 1);
}

static void close_host(host *h, peer *p) {
  if (h->d) assert_int_equal(host_in_flight(h), 0);
  if (h->d) host_free(h);
  atomic_store(&p->flag, 1);
  peer_stop(p);
}

TEST(a_call_goes_on_by_poll) {
  host h;
  peer p;
  note n = {0};
  open_host(&h, &p, script_hold);
  dsc_future *f = begin_get(&h, "/hold", &n);
  assert_false(dsc_future_is_ready(f));
  assert_null(dsc_future_result(f));
  assert_int_equal(dsc_future_deadline_ms(f), 30000);
  assert_int_equal(host_in_flight(&h), 1);
  assert_int_equal(poll_for(&h, 0, 0, 0), 0);
  atomic_store(&p.flag, 1);
  poll_until_told(&h, &n, 1);
  assert_int_equal(n.settled, 1);
  assert_int_equal(n.status, 200);
  dsc_result *result = dsc_future_take_result(f);
  assert_int_equal(result->body_len, 5);
  assert_memory_equal(result->body, "/hold", 5);
  assert_null(dsc_future_take_result(f));
  assert_int_equal(poll_for(&h, 0, 0, 0), 0);
  assert_int_equal(n.told, 1);
  dsc_result_free(result);
  dsc_future_free(f);
  close_host(&h, &p);
}

static void take_a_while(host *h, note *n, dsc_future *f) {
  (void)h, (void)n, (void)f;
  usleep(5000);
}

/* What a callback took is no reason to wait: a look at a future must not run the loop without a limit. */
TEST(a_look_never_waits) {
  host h;
  peer p;
  note n = {.inside = take_a_while};
  open_host(&h, &p, script_hold);
  dsc_future *told = begin_get(&h, "/quick", &n);
  uint64_t until = dsc_clock_now_ms() + PATIENCE_MS;
  while (!dsc_future_is_ready(told) && dsc_clock_now_ms() < until) dsc_result_free(host_get(&h, "svc"));
  dsc_request request = host_request("svc");
  request.path = dsc_str_of("/hold");
  request.deadline_ms = 3000; /* ends a wait that should not be */
  dsc_future *held = begin(&h, &request, NULL);
  assert_int_equal(n.told, 0);
  assert_int_equal(wait_for(&h, held, 0), DSC_ETIMEOUT);
  assert_int_equal(n.told, 1);
  assert_false(dsc_future_is_ready(held));
  assert_true(cancel(&h, held));
  dsc_future_free(held);
  dsc_future_free(told);
  close_host(&h, &p);
}

TEST(a_synchronous_call_steps_it_and_tells_nobody) {
  host h;
  peer p;
  note n = {0};
  open_host(&h, &p, script_hold);
  dsc_future *f = begin_get(&h, "/quick", &n);
  uint64_t until = dsc_clock_now_ms() + PATIENCE_MS;
  while (!dsc_future_is_ready(f) && dsc_clock_now_ms() < until) dsc_result_free(host_get(&h, "svc"));
  assert_int_equal(n.settled, 1);
  assert_int_equal(n.told, 0);
  assert_int_equal(poll_for(&h, 0, 0, 0), 1);
  assert_int_equal(n.told, 1);
  dsc_future_on(f, on_told, &n); /* asked again */
  assert_int_equal(poll_for(&h, 0, 0, 0), 1);
  assert_int_equal(n.told, 2);
  dsc_future_on(f, on_told, &n);
  dsc_future_on(f, NULL, NULL); /* and taken back */
  assert_int_equal(poll_for(&h, 0, 0, 0), 0);
  dsc_future_free(f);
  close_host(&h, &p);
}

TEST(a_canceled_one_blames_nobody) {
  host h;
  peer p;
  note n = {0};
  open_host(&h, &p, script_hold);
  dsc_future *f = begin_get(&h, "/hold", &n);
  assert_true(cancel(&h, f));
  assert_false(cancel(&h, f));
  assert_true(dsc_future_is_ready(f));
  assert_int_equal(n.settled, 1);
  assert_int_equal(n.told, 0);
  assert_int_equal(host_in_flight(&h), 0);
  assert_int_equal(node_failures(&h, p.addr), 0);
  poll_until_told(&h, &n, 1);
  assert_int_equal(n.err, DSC_ECANCELED);
  dsc_future_free(f);
  close_host(&h, &p);
}

TEST(a_forgotten_one_goes_on) {
  host h;
  peer p;
  note n = {0};
  open_host(&h, &p, script_hold);
  atomic_store(&p.flag, 1);
  dsc_future_free(begin_get(&h, "/hold", &n));
  uint64_t until = dsc_clock_now_ms() + PATIENCE_MS;
  while (host_in_flight(&h) && dsc_clock_now_ms() < until) poll_for(&h, 100, 0, 0);
  assert_int_equal(atomic_load(&p.requests), 1);
  assert_int_equal(n.told + n.settled, 0);
  dsc_future_free(NULL);
  close_host(&h, &p);
}

TEST(what_is_wrong_is_in_the_result) {
  host h;
  note n = {0};
  host_new(&h, "");
  dsc_request request = host_request("nobody");
  dsc_future *f = begin(&h, &request, &n);
  assert_true(dsc_future_is_ready(f));
  assert_int_equal(dsc_future_result(f)->err, DSC_EAPP_NOT_FOUND);
  assert_int_equal(poll_for(&h, 0, 0, 0), 1);
  assert_int_equal(n.told, 1);
  dsc_future_free(f);
  host_free(&h);
}

TEST(a_stop_settles_and_tells) {
  host h;
  peer p;
  note n = {0};
  open_host(&h, &p, script_hold);
  dsc_future *f = begin_get(&h, "/hold", &n);
  dsc_future *forgotten = begin_get(&h, "/hold", NULL);
  dsc_future_free(forgotten);
  dsc_discoverer_stop(h.d, &h, 0);
  assert_true(dsc_future_is_ready(f));
  assert_int_equal(n.told, 1);
  assert_int_equal(n.settled, 1);
  assert_int_equal(n.err, DSC_ESTOPPED);
  host_free(&h);
  assert_int_equal(dsc_future_result(f)->err, DSC_ESTOPPED);
  dsc_future_on(f, on_told, &n);
  dsc_future_free(f);
  assert_int_equal(n.told, 1);
  close_host(&h, &p);
}

TEST(a_drain_lets_it_end) {
  host h;
  peer p;
  note quick = {0}, held = {0};
  open_host(&h, &p, script_hold);
  dsc_future *first = begin_get(&h, "/quick", &quick), *second = begin_get(&h, "/hold", &held);
  uint64_t start_ms = dsc_clock_now_ms();
  dsc_discoverer_stop(h.d, &h, 500);
  assert_true(dsc_clock_now_ms() - start_ms >= 490);
  assert_int_equal(quick.told, 1);
  assert_int_equal(quick.status, 200);
  assert_int_equal(held.told, 1);
  assert_int_equal(held.err, DSC_ESTOPPED);
  dsc_future_free(first);
  dsc_future_free(second);
  close_host(&h, &p);
  open_host(&h, &p, script_hold);
  first = begin_get(&h, "/quick", NULL);
  start_ms = dsc_clock_now_ms();
  dsc_discoverer_stop(h.d, &h, 60000); /* no longer than the calls need */
  assert_true(dsc_clock_now_ms() - start_ms < 30000);
  assert_int_equal(dsc_future_result(first)->status, 200);
  dsc_future_free(first);
  close_host(&h, &p);
}

TEST(one_that_is_collected_tells_nobody) {
  host h;
  peer p;
  note n = {0};
  open_host(&h, &p, script_hold);
  dsc_future *f = begin_get(&h, "/hold", &n), *early = begin_get(&h, "/hold", &n);
  dsc_future_free(early);
  assert_true(dsc_discoverer_free(h.d, false));
  h.d = NULL;
  assert_true(dsc_future_is_ready(f));
  assert_int_equal(dsc_future_result(f)->err, DSC_ESTOPPED);
  assert_int_equal(n.told + n.settled, 0);
  dsc_future_free(f);
  close_host(&h, &p);
}

TEST(waits_have_an_end) {
  enum { MANY = 20 };
  host h;
  peer p;
  note n = {0};
  dsc_future *futures[MANY];
  size_t index;
  open_host(&h, &p, script_hold);
  for (size_t i = 0; i < MANY; i++) futures[i] = begin_get(&h, i == 7 ? "/seven" : "/hold", &n);
  assert_int_equal(wait_for(&h, futures[0], 1), DSC_ETIMEOUT);
  assert_int_equal(wait_for(&h, futures[0], 0), DSC_ETIMEOUT);
  host_enter(&h);
  assert_int_equal(dsc_future_wait_any(&h.frame, futures, MANY, PATIENCE_MS, &index, &h.why), DSC_OK);
  assert_int_equal(index, 7);
  assert_int_equal(dsc_future_wait_any(&h.frame, futures, 7, 1, &index, &h.why), DSC_ETIMEOUT);
  assert_int_equal(dsc_future_wait_any(&h.frame, futures, 0, 1, &index, &h.why), DSC_EINVALID);
  assert_int_equal(dsc_future_wait_all(&h.frame, futures, MANY, 1, &h.why), DSC_ETIMEOUT);
  atomic_store(&p.flag, 1);
  assert_int_equal(dsc_future_wait_all(&h.frame, futures, MANY, PATIENCE_MS, &h.why), DSC_OK);
  assert_int_equal(dsc_future_wait_all(&h.frame, futures, MANY, 0, &h.why), DSC_OK);
  assert_int_equal(dsc_future_wait_all(&h.frame, NULL, 0, 0, &h.why), DSC_OK);
  host_leave(&h);
  poll_until_told(&h, &n, MANY); /* waits dispatch too, but need not have told all */
  for (size_t i = 0; i < MANY; i++) dsc_future_free(futures[i]);
  close_host(&h, &p);
}

TEST(they_are_waited_for_with_their_own_discoverer) {
  host h, other;
  peer p;
  open_host(&h, &p, script_hold);
  host_new(&other, "");
  dsc_future *f = begin_get(&h, "/hold", NULL);
  assert_int_equal(wait_for(&other, f, PATIENCE_MS), DSC_EINVALID);
  assert_true(cancel(&h, f));
  assert_int_equal(wait_for(&other, f, 0), DSC_OK); /* a ready one is ready for everybody */
  dsc_future_free(f);
  host_free(&other);
  close_host(&h, &p);
}

static dsc_future *own;
static int answered;

/* Inside a call's callback: another future may be waited for, the call's own may not. */
static void wait_inside(host *h, dsc_app_client *ac) {
  dsc_frame frame;
  (void)ac;
  if (answered++ > 0) return;
  assert_int_equal(dsc_discoverer_enter(h->d, &frame, h, &h->why), DSC_OK);
  assert_int_equal(dsc_future_wait(&frame, own, PATIENCE_MS, &h->why), DSC_ECALLBACK);
  dsc_request request = host_request("svc");
  dsc_future *f = dsc_discoverer_async(&frame, &request, false);
  assert_int_equal(dsc_future_wait(&frame, f, PATIENCE_MS, &h->why), DSC_OK);
  assert_int_equal(dsc_future_result(f)->status, 200);
  assert_int_equal(dsc_discoverer_poll(&frame, NULL), 0);
  dsc_future_free(f);
  assert_true(dsc_future_cancel(&frame, own)); /* too late: it was answered, and this is its end */
  assert_false(dsc_future_is_ready(own));
  dsc_discoverer_leave(&frame);
}

TEST(callbacks_may_wait_for_others) {
  host h;
  peer p;
  note n = {0};
  open_host(&h, &p, script_hold);
  host_hook(&h);
  h.on_response = wait_inside;
  answered = 0;
  own = begin_get(&h, "/quick", &n);
  poll_until_told(&h, &n, 1);
  assert_int_equal(answered, 2);
  assert_int_equal(n.status, 200);
  dsc_future_free(own);
  h.on_response = NULL;
  close_host(&h, &p);
}

static void free_and_start(host *h, note *n, dsc_future *f) {
  dsc_future_free(f);
  if (n->told < 5) begin_get(h, "/next", n);
}

static void stop_inside(host *h, note *n, dsc_future *f) {
  (void)n;
  dsc_discoverer_stop(h->d, h, 0);
  dsc_future_free(f);
}

TEST(what_a_callback_may_do) {
  host h;
  peer p;
  note n = {.inside = free_and_start}, last = {.inside = stop_inside}, cut = {0};
  open_host(&h, &p, script_hold);
  begin_get(&h, "/first", &n);
  poll_until_told(&h, &n, 5);
  dsc_future *held = begin_get(&h, "/hold", &cut);
  begin_get(&h, "/last", &last);
  poll_until_told(&h, &last, 1);
  assert_true(dsc_discoverer_stopped(h.d));
  assert_int_equal(cut.told, 1);
  assert_int_equal(cut.err, DSC_ESTOPPED);
  dsc_future_free(held);
  close_host(&h, &p);
}

static void take_time(host *h, note *n, dsc_future *f) {
  uint64_t until_ns = dsc_clock_now_ns() + 20000;
  (void)h, (void)n, (void)f;
  while (dsc_clock_now_ns() < until_ns) continue;
}

TEST(a_poll_is_bounded) {
  enum { MANY = 30 };
  host h;
  peer p;
  note n = {0};
  dsc_future *futures[MANY];
  open_host(&h, &p, script_hold);
  for (size_t i = 0; i < MANY; i++) {
    futures[i] = begin_get(&h, "/hold", &n);
    assert_true(cancel(&h, futures[i]));
  }
  for (int i = 1; i <= 5; i++) {
    assert_int_equal(poll_for(&h, 0, 1, 0), 1);
    assert_int_equal(n.told, i);
  }
  assert_int_equal(poll_for(&h, 0, 10, 0), 10);
  n.inside = take_time;
  assert_int_equal(poll_for(&h, 0, 0, 10), 1); /* one thing is always done */
  assert_int_equal(poll_for(&h, 0, 0, 0), MANY - 16);
  for (size_t i = 0; i < MANY; i++) dsc_future_free(futures[i]);
  for (size_t i = 0; i < MANY; i++) futures[i] = begin_get(&h, "/quick", &n);
  uint64_t until = dsc_clock_now_ms() + PATIENCE_MS;
  while (n.told < 2 * MANY && dsc_clock_now_ms() < until) {
    int before = n.told, settled = n.settled;
    poll_for(&h, 10, 3, 0);
    assert_true(n.told - before + n.settled - settled <= 3);
  }
  assert_int_equal(n.told, 2 * MANY);
  for (size_t i = 0; i < MANY; i++) dsc_future_free(futures[i]);
  close_host(&h, &p);
}

TEST(a_stream_is_taken) {
  host h;
  peer p;
  dsc_err err;
  open_host(&h, &p, script_serve);
  dsc_request request = host_request("svc");
  request.path = L("/?size=3000000");
  for (int taken = 0; taken < 2; taken++) {
    host_enter(&h);
    dsc_future *f = dsc_discoverer_async(&h.frame, &request, true);
    assert_null(dsc_future_take_stream(f));
    assert_int_equal(dsc_future_wait(&h.frame, f, PATIENCE_MS, &h.why), DSC_OK);
    host_leave(&h);
    assert_int_equal(dsc_future_result(f)->status, 200);
    dsc_stream *stream = taken ? dsc_future_take_stream(f) : NULL;
    dsc_future_free(f); /* with it goes a stream that nobody took */
    if (!taken) assert_int_equal(host_in_flight(&h), 0);
    if (taken) assert_int_equal(stream_drink(&h, stream, &err), 3000000);
    dsc_stream_free(stream);
  }
  host_set(&h, "svc", p.addr, 0);
  host_set(&h, "svc", host_dead_addr(), 1);
  host_enter(&h);
  dsc_future *f = dsc_discoverer_async(&h.frame, &request, true);
  assert_int_equal(dsc_future_wait(&h.frame, f, PATIENCE_MS, &h.why), DSC_OK);
  host_leave(&h);
  assert_null(dsc_future_take_stream(f));
  assert_int_equal(dsc_future_result(f)->err, DSC_ECONNECT);
  dsc_future_free(f);
  close_host(&h, &p);
}

static void script_chat(peer *p, peer_conn *c) {
  (void)p;
  if (wsp_greet(c, "") && wsp_text(c, "hello")) peer_linger(c);
}

static dsc_future *open_one(host *h, const char *protocols) {
  dsc_websocket_options options;
  dsc_websocket_options_defaults(&options);
  options.protocols = protocols;
  dsc_request request = host_request("svc");
  host_enter(h);
  dsc_future *f = dsc_discoverer_open_async(&h->frame, &request, &options);
  assert_non_null(f);
  dsc_future_wait(&h->frame, f, PATIENCE_MS, &h->why);
  host_leave(h);
  assert_true(dsc_future_is_ready(f));
  return f;
}

TEST(a_websocket_is_opened) {
  host h;
  peer p;
  dsc_websocket *ws;
  dsc_ws_message message;
  open_host(&h, &p, script_chat);
  dsc_future *f = open_one(&h, NULL);
  assert_int_equal(dsc_future_take_websocket(f, &ws, &h.why), DSC_OK);
  assert_string_equal(dsc_websocket_node(ws), p.addr);
  host_enter(&h);
  assert_int_equal(dsc_websocket_receive(&h.frame, ws, PATIENCE_MS, &message, &h.why), DSC_OK);
  host_leave(&h);
  assert_string_equal(message.data, "hello");
  dsc_mem_free(message.data);
  dsc_websocket_free(ws);
  assert_int_equal(dsc_future_take_websocket(f, &ws, &h.why), DSC_EINVALID);
  dsc_future_free(f);
  dsc_future_free(open_one(&h, NULL)); /* nobody takes it */
  assert_int_equal(host_in_flight(&h), 0);
  f = open_one(&h, "no token");
  assert_int_equal(dsc_future_take_websocket(f, &ws, &h.why), DSC_EINVALID);
  dsc_future_free(f);
  host_set(&h, "svc", p.addr, 0);
  host_set(&h, "svc", host_dead_addr(), 1);
  f = open_one(&h, NULL);
  assert_int_equal(dsc_future_take_websocket(f, &ws, &h.why), DSC_ECONNECT);
  dsc_future_free(f);
  f = begin_get(&h, "/", NULL);
  assert_int_equal(dsc_future_take_websocket(f, &ws, &h.why), DSC_EINVALID);
  assert_int_equal(wait_for(&h, f, PATIENCE_MS), DSC_OK);
  dsc_future_free(f);
  close_host(&h, &p);
}

TEST(a_body_lives_as_long_as_its_call) {
  host h;
  peer p;
  tap t;
  open_host(&h, &p, script_serve);
  dsc_request request = host_request("svc");
  request.method = L("POST");
  request.source = tap_body(&t, 700000, 10000, true);
  dsc_future *f = begin(&h, &request, NULL);
  dsc_body_free(request.source);
  assert_int_equal(wait_for(&h, f, PATIENCE_MS), DSC_OK);
  assert_int_equal(dsc_future_result(f)->status, 200);
  dsc_future_free(f);
  close_host(&h, &p);
}

/* ------------------------------------------------------------------ memory */

static peer failing_peer;

static void try_all(host *h) {
  dsc_websocket_options options;
  dsc_websocket_options_defaults(&options);
  options.protocols = "a, b";
  dsc_request request = host_request("svc");
  host_enter(h);
  dsc_future *futures[] = {
      dsc_discoverer_async(&h->frame, &request, false), dsc_discoverer_async(&h->frame, &request, true),
      dsc_discoverer_open_async(&h->frame, &request, &options), dsc_discoverer_async(&h->frame, &request, false)};
  if (futures[3]) dsc_future_cancel(&h->frame, futures[3]);
  for (size_t i = 0; i < COUNT(futures); i++) {
    if (futures[i]) assert_int_equal(dsc_future_wait(&h->frame, futures[i], PATIENCE_MS, &h->why), DSC_OK);
    dsc_future_free(futures[i]);
  }
  host_leave(h);
}

TEST(memory_that_fails_is_told_or_survived) {
  peer_start(&failing_peer, script_hold, NULL);
  for (size_t n = 1, reached = 1; reached; n++) {
    host h;
    size_t before, after;
    dsc_mem_usage(&before, NULL);
    host_new(&h, "");
    host_patient(&h);
    host_set(&h, "svc", failing_peer.addr, 1);
    dsc_mem_fail_at(n, false);
    try_all(&h);
    reached = dsc_mem_asked() >= n;
    dsc_mem_fail_at(0, false);
    host_free(&h);
    dsc_mem_usage(&after, NULL);
    assert_int_equal(after, before);
  }
  peer_stop(&failing_peer);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_call_goes_on_by_poll),
      cmocka_unit_test(a_look_never_waits),
      cmocka_unit_test(a_synchronous_call_steps_it_and_tells_nobody),
      cmocka_unit_test(a_canceled_one_blames_nobody),
      cmocka_unit_test(a_forgotten_one_goes_on),
      cmocka_unit_test(what_is_wrong_is_in_the_result),
      cmocka_unit_test(a_stop_settles_and_tells),
      cmocka_unit_test(a_drain_lets_it_end),
      cmocka_unit_test(one_that_is_collected_tells_nobody),
      cmocka_unit_test(waits_have_an_end),
      cmocka_unit_test(they_are_waited_for_with_their_own_discoverer),
      cmocka_unit_test(callbacks_may_wait_for_others),
      cmocka_unit_test(what_a_callback_may_do),
      cmocka_unit_test(a_poll_is_bounded),
      cmocka_unit_test(a_stream_is_taken),
      cmocka_unit_test(a_websocket_is_opened),
      cmocka_unit_test(a_body_lives_as_long_as_its_call),
      cmocka_unit_test(memory_that_fails_is_told_or_survived),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
