/*
** discoverer_pollfd_test.c - a host that waits for the descriptor alone: every kind of work makes it readable, and
** nothing else does. And the wake-up, which is built on it.
*/
#include <poll.h>

#include "net/watcher.h"
#include "stream_support.h"
#include "support/ws_peer.h"

#define PATIENCE_MS 20000
#define QUIET_MS    30

typedef struct note {
  int told;
  dsc_err err;
  int status;
} note;

static void on_told(void *ctx, void *ud, dsc_future *f) {
  note *n = ud;
  const dsc_result *result = dsc_future_result(f);
  (void)ctx;
  n->told++;
  if (result) n->err = result->err, n->status = result->status;
}

static int pollfd_of(host *h) {
  host_enter(h);
  int fd = dsc_discoverer_pollfd(&h->frame, &h->why);
  host_leave(h);
  assert_true(fd >= 0);
  return fd;
}

static int64_t timeout_of(host *h) {
  host_enter(h);
  int64_t ms = dsc_discoverer_timeout(&h->frame);
  host_leave(h);
  return ms;
}

static uint32_t poll_max(host *h, uint32_t max) {
  dsc_poll poll = {.max = max};
  host_enter(h);
  uint32_t n = dsc_discoverer_poll(&h->frame, &poll);
  host_leave(h);
  return n;
}

static bool readable(int fd, int ms) {
  struct pollfd p = {.fd = fd, .events = POLLIN};
  int n = poll(&p, 1, ms);
  assert_true(n == 0 || (n == 1 && p.revents == POLLIN));
  return n == 1;
}

/* Waits by the descriptor alone. Returns how often it was readable. */
static int await_told(host *h, const int *told, int times) {
  int rounds = 0, fd = pollfd_of(h);
  for (; *told < times; rounds++) {
    if (!readable(fd, PATIENCE_MS)) fail_msg("nothing made it readable, %d of %d told", *told, times);
    poll_max(h, 0);
  }
  assert_int_equal(*told, times);
  return rounds;
}

/* After a few polls there is nothing more to do. */
static void assert_quiet(host *h) {
  int fd = pollfd_of(h), rounds = 0;
  while (readable(fd, QUIET_MS)) {
    assert_true(rounds++ < 5);
    poll_max(h, 0);
  }
}

static dsc_future *begin_by(host *h, const dsc_request *request, note *n) {
  host_enter(h);
  dsc_future *f = dsc_discoverer_async(&h->frame, request, false);
  assert_non_null(f);
  if (n) dsc_future_on(f, on_told, n);
  host_leave(h);
  return f;
}

static dsc_future *begin(host *h, const char *path, note *n) {
  dsc_request request = host_request("svc");
  request.path = dsc_str_of(path);
  return begin_by(h, &request, n);
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
  assert_int_equal(host_in_flight(h), 0);
  host_free(h);
  atomic_store(&p->flag, 1);
  peer_stop(p);
}

/* ---------------------------------------------------------------- each kind of work */

TEST(nothing_to_do) {
  host h;
  host_new(&h, "");
  assert_int_equal(timeout_of(&h), -1);
  assert_null(h.d->loop);
  int fd = pollfd_of(&h);
  assert_int_equal(pollfd_of(&h), fd);
  assert_quiet(&h);
  assert_int_equal(timeout_of(&h), -1);
  host_free(&h);
}

TEST(an_answer) {
  host h;
  peer p;
  note n = {0};
  open_host(&h, &p, script_hold);
  assert_quiet(&h);
  dsc_future *f = begin(&h, "/hold", &n);
  assert_quiet(&h); /* it is on its way; the descriptor covers its time limits too */
  assert_true(timeout_of(&h) > 0);
  atomic_store(&p.flag, 1);
  assert_true(await_told(&h, &n.told, 1) <= 3);
  assert_int_equal(n.status, 200);
  dsc_future_free(f);
  assert_quiet(&h);
  /* one on a connection that is there already: begun, answered */
  f = begin(&h, "/again", &n);
  assert_true(await_told(&h, &n.told, 2) <= 3);
  dsc_future_free(f);
  assert_quiet(&h);
  close_host(&h, &p);
}

TEST(many_one_after_the_other) {
  host h;
  peer p;
  note n = {0};
  open_host(&h, &p, script_hold);
  int rounds = 0;
  for (int i = 1; i <= 300; i++) {
    dsc_future *f = begin(&h, "/next", &n);
    rounds += await_told(&h, &n.told, i);
    assert_int_equal(n.status, 200);
    dsc_future_free(f);
  }
  assert_true(rounds <= 300 * 3); /* begin, answer, and now and then one in vain */
  assert_quiet(&h);
  close_host(&h, &p);
}

TEST(a_deadline_a_refusal_and_backing_off) {
  host h;
  peer p;
  note n = {0};
  dsc_call_config config;
  open_host(&h, &p, script_hold);
  dsc_request request = host_request("svc");
  request.path = L("/hold");
  request.deadline_ms = 60;
  dsc_future *f = begin_by(&h, &request, &n);
  assert_true(await_told(&h, &n.told, 1) <= 4);
  assert_int_equal(n.err, DSC_ETIMEOUT);
  dsc_future_free(f);
  atomic_store(&p.flag, 1);
  host_set(&h, "svc", p.addr, 0);
  for (int i = 0; i < 4; i++) host_set(&h, "svc", host_dead_addr(), 1);
  dsc_call_config_defaults(&config);
  assert_int_equal(host_configure(&h, "svc", &config), DSC_OK);
  f = begin(&h, "/", &n);
  assert_true(await_told(&h, &n.told, 2) <= 4 * 4);
  assert_int_equal(n.err, DSC_EALL_FAILED);
  assert_int_equal(dsc_future_result(f)->attempts, 4);
  dsc_future_free(f);
  assert_quiet(&h);
  close_host(&h, &p);
}

TEST(what_is_ready_at_once_or_asked_for_late) {
  host h;
  peer p;
  note n = {0};
  open_host(&h, &p, script_hold);
  dsc_request request = host_request("nobody");
  dsc_future *f = begin_by(&h, &request, &n);
  assert_true(dsc_future_is_ready(f));
  assert_int_equal(timeout_of(&h), 0);
  assert_true(await_told(&h, &n.told, 1) <= 1);
  assert_quiet(&h);
  dsc_future_on(f, on_told, &n); /* outside of every frame */
  assert_true(await_told(&h, &n.told, 2) <= 1);
  dsc_future_free(f);
  f = begin(&h, "/hold", &n);
  assert_quiet(&h);
  host_enter(&h);
  assert_true(dsc_future_cancel(&h.frame, f));
  host_leave(&h);
  assert_true(await_told(&h, &n.told, 3) <= 1);
  assert_int_equal(n.err, DSC_ECANCELED);
  dsc_future_free(f);
  assert_quiet(&h);
  close_host(&h, &p);
}

TEST(what_a_bounded_poll_leaves) {
  enum { MANY = 20 };
  host h;
  peer p;
  note n = {0};
  dsc_future *futures[MANY];
  open_host(&h, &p, script_hold);
  int fd = pollfd_of(&h);
  for (size_t i = 0; i < MANY; i++) futures[i] = begin(&h, "/quick", &n);
  uint64_t until = dsc_clock_now_ms() + PATIENCE_MS;
  while (n.told < MANY && dsc_clock_now_ms() < until) {
    if (!readable(fd, PATIENCE_MS)) fail_msg("%d of %d told", n.told, MANY);
    poll_max(&h, 1);
  }
  assert_int_equal(n.told, MANY);
  for (size_t i = 0; i < MANY; i++) dsc_future_free(futures[i]);
  assert_quiet(&h);
  close_host(&h, &p);
}

/* A stream that is freed outside of a frame, as a collector does, lets the next in line go. */
TEST(a_slot_that_is_given_back) {
  host h;
  peer p;
  note n = {0};
  dsc_stream *stream;
  dsc_call_config config;
  open_host(&h, &p, script_serve);
  dsc_call_config_defaults(&config);
  config.connect_timeout_ms = 10000;
  config.max_in_flight = 1;
  config.queue = 5;
  assert_int_equal(host_configure(&h, "svc", &config), DSC_OK);
  dsc_request request = host_request("svc");
  request.path = L("/?size=3000000");
  dsc_result_free(host_stream(&h, &request, &stream));
  request.path = L("/?size=3");
  dsc_future *f = begin_by(&h, &request, &n);
  assert_quiet(&h);
  assert_int_equal(n.told, 0);
  dsc_stream_free(stream);
  await_told(&h, &n.told, 1);
  assert_int_equal(n.status, 200);
  dsc_future_free(f);
  assert_quiet(&h);
  close_host(&h, &p);
}

static void script_chat(peer *p, peer_conn *c) {
  if (!wsp_greet(c, "")) return;
  while (!atomic_load(&p->flag) && !atomic_load(&p->stopping)) usleep(1000);
  if (wsp_text(c, "hello")) peer_linger(c);
}

static int messages;

static void on_message(void *ctx, void *ud, dsc_websocket *ws, void *listener, const dsc_ws_message *message) {
  (void)ctx, (void)ud, (void)ws, (void)listener;
  if (message) messages++;
}

TEST(a_message_of_a_websocket) {
  host h;
  peer p;
  dsc_websocket *ws;
  dsc_websocket_options options;
  dsc_hooks hooks = {.on_message = on_message};
  open_host(&h, &p, script_chat);
  dsc_discoverer_set_hooks(h.d, &hooks);
  dsc_websocket_options_defaults(&options);
  dsc_request request = host_request("svc");
  host_enter(&h);
  assert_int_equal(dsc_websocket_open(&h.frame, &request, &options, &ws, &h.why), DSC_OK);
  host_leave(&h);
  dsc_websocket_listen(ws, true, NULL);
  assert_quiet(&h);
  messages = 0;
  atomic_store(&p.flag, 1);
  await_told(&h, &messages, 1);
  assert_quiet(&h);
  dsc_websocket_free(ws);
  assert_quiet(&h);
  close_host(&h, &p);
}

/* ---------------------------------------------------------------- what other threads tell */

static int records, events;

static void on_log(void *ctx, void *ud, const dsc_log_record *record) {
  (void)ctx, (void)ud, (void)record;
  records++;
}

static void on_event(void *ctx, void *ud, const dsc_event *event) {
  (void)ctx, (void)ud, (void)event;
  events++;
}

static void *tell_as_registry(void *arg) {
  dsc_listener *listener = arg;
  dsc_log_record record = {.level = DSC_LOG_WARN, .used_time_ms = -1};
  dsc_event event = {.kind = DSC_EVENT_NODE_ADDED};
  usleep(2000);
  listener->on_log(listener->ud, &record);
  usleep(2000);
  listener->on_event(listener->ud, &event);
  return NULL;
}

static void *tell_change(void *arg) {
  dsc_listener *listener = arg;
  usleep(2000);
  listener->on_change(listener->ud);
  return NULL;
}

TEST(what_the_registry_tells) {
  host h;
  pthread_t thread;
  dsc_hooks hooks = {.on_log = on_log, .on_event = on_event};
  host_new_talking(&h, "");
  dsc_discoverer_set_hooks(h.d, &hooks);
  assert_quiet(&h);
  for (int i = 1; i <= 20; i++) {
    records = events = 0;
    assert_int_equal(pthread_create(&thread, NULL, tell_as_registry, &h.d->listener), 0);
    await_told(&h, &records, 1);
    await_told(&h, &events, 1);
    pthread_join(thread, NULL);
    assert_quiet(&h);
    assert_int_equal(pthread_create(&thread, NULL, tell_change, &h.d->listener), 0);
    assert_true(readable(pollfd_of(&h), PATIENCE_MS));
    pthread_join(thread, NULL);
    assert_quiet(&h);
  }
  dsc_discoverer_log(h.d, DSC_LOG_WARN, "from outside of every frame");
  await_told(&h, &records, 2);
  assert_quiet(&h);
  host_free(&h);
}

static void log_again(void *ctx, void *ud, const dsc_log_record *record) {
  host *h = ud;
  (void)ctx, (void)record;
  records++;
  dsc_discoverer_log(h->d, DSC_LOG_WARN, "again");
}

TEST(a_logger_that_logs_does_not_spin) {
  host h;
  host_new_talking(&h, "");
  dsc_hooks hooks = {.on_log = log_again, .ud = &h};
  dsc_discoverer_set_hooks(h.d, &hooks);
  int fd = pollfd_of(&h), rounds = 0;
  records = 0;
  dsc_discoverer_log(h.d, DSC_LOG_WARN, "the first");
  uint64_t until = dsc_clock_now_ms() + 300;
  for (; dsc_clock_now_ms() < until; rounds++)
    if (readable(fd, 20)) poll_max(&h, 0);
  assert_true(records > 1);
  assert_true(records < 100);
  host_free(&h);
}

TEST(a_stop_makes_it_readable) {
  host h;
  host_new(&h, "");
  int fd = pollfd_of(&h);
  assert_false(readable(fd, 0));
  dsc_discoverer_stop(h.d, &h, 0);
  assert_true(readable(fd, PATIENCE_MS));
  assert_true(dsc_discoverer_enter(h.d, &h.frame, NULL, &h.why) == DSC_ESTOPPED);
  assert_true(readable(fd, PATIENCE_MS));
  host_free(&h);
}

/* ---------------------------------------------------------------- wake-up */

typedef struct pipe_bell {
  int ends[2];
  atomic_int rung;
} pipe_bell;

static void on_wakeup(void *ud) {
  pipe_bell *bell = ud;
  atomic_fetch_add(&bell->rung, 1);
  assert_int_equal(write(bell->ends[1], "!", 1), 1);
}

static void open_bell(pipe_bell *bell) {
  memset(bell, 0, sizeof *bell);
  assert_int_equal(pipe(bell->ends), 0);
}

static void close_bell(pipe_bell *bell) {
  close(bell->ends[0]);
  close(bell->ends[1]);
}

static void set_wakeup(host *h, void (*fn)(void *), void *ud) {
  host_enter(h);
  assert_int_equal(dsc_discoverer_set_wakeup(&h->frame, fn, ud, &h->why), DSC_OK);
  host_leave(h);
}

/* Waits for the bell alone. */
static void await_rung(host *h, pipe_bell *bell, const int *told, int times) {
  char byte;
  poll_max(h, 0);
  while (*told < times) {
    if (!readable(bell->ends[0], PATIENCE_MS)) fail_msg("nobody rang, %d of %d told", *told, times);
    assert_int_equal(read(bell->ends[0], &byte, 1), 1);
    poll_max(h, 0);
  }
  assert_int_equal(*told, times);
}

TEST(a_wake_up_for_each_answer) {
  host h;
  peer p;
  note n = {0};
  pipe_bell bell;
  open_bell(&bell);
  open_host(&h, &p, script_hold);
  set_wakeup(&h, on_wakeup, &bell);
  assert_int_equal(dsc_watch_count(), 1);
  for (int i = 1; i <= 200; i++) {
    dsc_future *f = begin(&h, "/next", &n);
    await_rung(&h, &bell, &n.told, i);
    dsc_future_free(f);
  }
  assert_true(atomic_load(&bell.rung) <= 200 * 3);
  assert_quiet(&h);
  /* once until the next poll: other methods do not arm it */
  int before = atomic_load(&bell.rung);
  dsc_future *f = begin(&h, "/last", &n);
  uint64_t until = dsc_clock_now_ms() + PATIENCE_MS;
  while (atomic_load(&bell.rung) == before && dsc_clock_now_ms() < until) usleep(1000);
  for (int i = 0; i < 50; i++) {
    dsc_node_array_unref(dsc_discoverer_nodes(h.d, L("svc")));
    timeout_of(&h);
    usleep(100);
  }
  assert_int_equal(atomic_load(&bell.rung), before + 1);
  await_told(&h, &n.told, 201);
  dsc_future_free(f);
  close_host(&h, &p);
  assert_int_equal(dsc_watch_count(), 0);
  close_bell(&bell);
}

TEST(a_wake_up_is_replaced_and_taken_back) {
  host h;
  pipe_bell first, second;
  open_bell(&first);
  open_bell(&second);
  host_new_talking(&h, "");
  dsc_hooks hooks = {.on_log = on_log};
  dsc_discoverer_set_hooks(h.d, &hooks);
  set_wakeup(&h, on_wakeup, &first);
  set_wakeup(&h, on_wakeup, &second);
  assert_int_equal(dsc_watch_count(), 1);
  records = 0;
  dsc_discoverer_log(h.d, DSC_LOG_WARN, "one");
  await_rung(&h, &second, &records, 1);
  assert_int_equal(atomic_load(&first.rung), 0);
  set_wakeup(&h, NULL, NULL);
  int fd = pollfd_of(&h);
  assert_int_equal(dsc_watch_count(), 0);
  dsc_discoverer_log(h.d, DSC_LOG_WARN, "two");
  assert_true(readable(fd, PATIENCE_MS));
  int rung = atomic_load(&second.rung);
  await_told(&h, &records, 2);
  assert_int_equal(atomic_load(&second.rung), rung);
  set_wakeup(&h, on_wakeup, &first);
  dsc_discoverer_stop(h.d, &h, 0);
  assert_int_equal(dsc_watch_count(), 0);
  host_free(&h);
  close_bell(&first);
  close_bell(&second);
}

/* ---------------------------------------------------------------- memory */

static bool ask_for_all(void) {
  static pipe_bell bell;
  host h;
  dsc_options options = host_options("");
  memset(&h, 0, sizeof h);
  if (dsc_discoverer_new(&h.d, &options, &h.why) != DSC_OK) return false;
  host_enter(&h);
  bool made = dsc_discoverer_set_wakeup(&h.frame, on_wakeup, &bell, &h.why) == DSC_OK;
  host_leave(&h);
  bool freed = dsc_discoverer_free(h.d, false);
  return made && freed;
}

TEST(memory_that_fails) {
  assert_true(fail_each_allocation(ask_for_all) > 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_to_do),
      cmocka_unit_test(an_answer),
      cmocka_unit_test(many_one_after_the_other),
      cmocka_unit_test(a_deadline_a_refusal_and_backing_off),
      cmocka_unit_test(what_is_ready_at_once_or_asked_for_late),
      cmocka_unit_test(what_a_bounded_poll_leaves),
      cmocka_unit_test(a_slot_that_is_given_back),
      cmocka_unit_test(a_message_of_a_websocket),
      cmocka_unit_test(what_the_registry_tells),
      cmocka_unit_test(a_logger_that_logs_does_not_spin),
      cmocka_unit_test(a_stop_makes_it_readable),
      cmocka_unit_test(a_wake_up_for_each_answer),
      cmocka_unit_test(a_wake_up_is_replaced_and_taken_back),
      cmocka_unit_test(memory_that_fails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
