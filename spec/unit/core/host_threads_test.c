/*
** host_threads_test.c - a host with eight threads and an allocator of its own: they share a registry, call, cancel,
** pick and stop at will, and hand discoverers to one another. All memory comes back to the host.
*/
#include "stream_support.h"

#define THREADS  8
#define ROUNDS   3
#define CALLS    12
#define REGISTRY "memory://host-threads"

static struct { atomic_size_t blocks; } arena;

static void *arena_alloc(void *ud, size_t size) {
  (void)ud;
  atomic_fetch_add(&arena.blocks, 1);
  return malloc(size);
}

static void *arena_resize(void *ud, void *block, size_t size) {
  (void)ud;
  return realloc(block, size);
}

static void arena_release(void *ud, void *block) {
  (void)ud;
  atomic_fetch_sub(&arena.blocks, 1);
  free(block);
}

/* What one thread is about. Checks in threads are counted: cmocka may only be told of them in the first one. */
typedef struct worker {
  pthread_t thread;
  const char *addr; /* of the peer */
  int number, told, wrong, events;
} worker;

static atomic_int logged;

static void on_log(void *ud, const dsc_log_record *record) {
  (void)ud, (void)record;
  atomic_fetch_add(&logged, 1);
}

static void check(worker *w, bool right) {
  if (!right) w->wrong++;
}

static dsc_err route(void *ctx, void *ud, dsc_app_client *ac, dsc_why *why) {
  (void)ctx, (void)ud;
  if (dsc_str_equal(ac->app.s, L("no"))) return dsc_fail(why, DSC_EROUTE, "not that one");
  return dsc_app_client_set_path(ac, L("/routed"), why);
}

static dsc_err next(void *ctx, void *ud, dsc_app_client *ac, dsc_node *const *nodes, size_t n, dsc_node **chosen,
                    dsc_why *why) {
  (void)ctx, (void)ud, (void)ac;
  if (dsc_node_weight(nodes[0]) > 1000) return dsc_fail(why, DSC_EBALANCER, "too heavy");
  *chosen = nodes[n - 1];
  return DSC_OK;
}

static void on_event(void *ctx, void *ud, const dsc_event *event) {
  (void)ud, (void)event;
  if (ctx) ((worker *)ctx)->events++;
}

static const dsc_hooks hooks = {.route = route, .next = next, .on_event = on_event};

static dsc_discoverer *open_one(worker *w, bool shared) {
  dsc_options options = host_options(REGISTRY);
  dsc_discoverer *d = NULL;
  options.shared = shared;
  options.hooks = &hooks;
  options.log_level = DSC_LOG_INFO;
  check(w, dsc_discoverer_new(&d, &options, NULL) == DSC_OK);
  return d;
}

static void on_told(void *ctx, void *ud, dsc_future *f) {
  worker *w = ctx;
  const dsc_result *result = dsc_future_result(f);
  check(w, ud == w && dsc_future_is_ready(f) && result);
  check(w, dsc_result_ok(result) || result->err == DSC_ECANCELED || result->err == DSC_EROUTE);
  w->told++;
}

/* Calls of which every fourth is canceled and every third is freed unseen; the others are polled for. */
static void call_async(worker *w, dsc_frame *frame) {
  dsc_request request = host_request("svc"), refused = host_request("no");
  dsc_future *futures[CALLS];
  int before = w->told, wanted = 0;
  for (int i = 0; i < CALLS; i++) {
    futures[i] = dsc_discoverer_async(frame, i == 5 ? &refused : &request, false);
    check(w, futures[i] != NULL);
    if (i % 3 == 2) {
      dsc_future_free(futures[i]);
      futures[i] = NULL;
      continue;
    }
    dsc_future_on(futures[i], on_told, w);
    wanted++;
    if (i % 4 == 3) dsc_future_cancel(frame, futures[i]);
  }
  uint64_t until = dsc_clock_now_ms() + 120000;
  while (w->told < before + wanted && dsc_clock_now_ms() < until)
    dsc_discoverer_poll(frame, &(dsc_poll){.timeout_ms = 100, .max = 5});
  check(w, w->told == before + wanted);
  for (int i = 0; i < CALLS; i++) dsc_future_free(futures[i]);
}

static void call_and_pick(worker *w, dsc_frame *frame) {
  dsc_request request = host_request("svc");
  dsc_node *node = NULL;
  dsc_result *result = dsc_discoverer_call(frame, &request);
  check(w, result && dsc_result_ok(result) && result->body_len == strlen("/routed"));
  dsc_result_free(result);
  check(w, dsc_discoverer_pick(frame, L("svc"), L("key"), NULL, &node, NULL) == DSC_OK);
  if (node) dsc_discoverer_done(frame, node, DSC_OUTCOME_SUCCESS);
  dsc_node_unref(node);
  dsc_stats_free(dsc_discoverer_stats(frame->d));
  dsc_discoverer_log(frame->d, DSC_LOG_WARN, "to the host's sink");
}

static void live(worker *w, dsc_discoverer *d) {
  dsc_frame frame;
  dsc_call_config config, *made = NULL;
  check(w, dsc_discoverer_enter(d, &frame, w, NULL) == DSC_OK);
  dsc_call_config_defaults(&config);
  config.connect_timeout_ms = 60000; /* eight threads take turns where everything is slow */
  config.timeout_ms = 60000;
  config.deadline_ms = 120000;
  check(w, dsc_call_config_new(&made, &config, NULL) == DSC_OK);
  check(w, dsc_discoverer_configure(&frame, L("svc"), made, NULL, NULL) == DSC_OK);
  dsc_call_config_unref(made);
  check(w, dsc_discoverer_await_app(&frame, L("svc"), 60000));
  call_and_pick(w, &frame);
  call_async(w, &frame);
  dsc_discoverer_leave(&frame);
}

static void *work(void *arg) {
  worker *w = arg;
  for (int round = 0; round < ROUNDS; round++) {
    dsc_discoverer *d = open_one(w, round % 2 == 0);
    if (!d) break;
    live(w, d);
    if (round == 1) { /* left with calls under way */
      dsc_frame frame;
      dsc_request request = host_request("svc");
      check(w, dsc_discoverer_enter(d, &frame, w, NULL) == DSC_OK);
      dsc_future *f = dsc_discoverer_async(&frame, &request, false);
      dsc_discoverer_leave(&frame);
      check(w, dsc_discoverer_free(d, false) && dsc_future_is_ready(f));
      check(w, dsc_future_result(f) && dsc_future_result(f)->err == DSC_ESTOPPED);
      dsc_future_free(f);
    } else {
      check(w, dsc_discoverer_free(d, true));
    }
  }
  return NULL;
}

static void script_echo(peer *p, peer_conn *c) {
  (void)p;
  while (peer_read(c)) {
    char path[64] = "";
    sscanf(c->head, "%*s %63s", path);
    if (!peer_answer(c, path)) return;
  }
}

/* The service's own discoverer keeps it registered for all. */
static dsc_discoverer *open_service(const char *addr) {
  dsc_options options = host_options(REGISTRY);
  dsc_discoverer *d = NULL;
  dsc_frame frame;
  assert_int_equal(dsc_discoverer_new(&d, &options, NULL), DSC_OK);
  assert_int_equal(dsc_discoverer_enter(d, &frame, NULL, NULL), DSC_OK);
  assert_int_equal(dsc_discoverer_register(&frame, L("svc"), dsc_str_of(addr), 100, NULL, NULL), DSC_OK);
  assert_int_equal(dsc_discoverer_ready(&frame, 10000, NULL), DSC_OK);
  dsc_discoverer_leave(&frame);
  return d;
}

TEST(eight_threads_each_with_discoverers_of_its_own) {
  peer p;
  worker workers[THREADS] = {{0}};
  peer_start(&p, script_echo, NULL);
  dsc_discoverer *service = open_service(p.addr);
  for (int i = 0; i < THREADS; i++) {
    workers[i].number = i;
    assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(workers[i].thread, NULL);
    assert_int_equal(workers[i].wrong, 0);
    assert_int_equal(workers[i].told, ROUNDS * CALLS * 2 / 3);
  }
  assert_true(atomic_load(&logged) >= THREADS * ROUNDS);
  assert_true(dsc_discoverer_free(service, true));
  peer_stop(&p);
}

/* Discoverers in a ring of mailboxes: whoever takes one out owns it, makes it do something, passes it on. */
static struct {
  pthread_mutex_t lock;
  dsc_discoverer *waiting[4];
  int turns;
} ring = {.lock = PTHREAD_MUTEX_INITIALIZER};

static dsc_discoverer *take(void) {
  dsc_discoverer *d = NULL;
  pthread_mutex_lock(&ring.lock);
  for (int i = 0; i < 4 && !d && ring.turns > 0; i++) d = ring.waiting[i], ring.waiting[i] = NULL;
  if (d) ring.turns--;
  pthread_mutex_unlock(&ring.lock);
  return d;
}

static void put(dsc_discoverer *d) {
  pthread_mutex_lock(&ring.lock);
  int i = 0;
  while (ring.waiting[i]) i++;
  ring.waiting[i] = d;
  pthread_mutex_unlock(&ring.lock);
}

static bool is_over(void) {
  pthread_mutex_lock(&ring.lock);
  bool over = ring.turns == 0;
  pthread_mutex_unlock(&ring.lock);
  return over;
}

static void *wander(void *arg) {
  worker *w = arg;
  while (!is_over()) {
    dsc_frame frame;
    dsc_discoverer *d = take();
    if (!d) {
      usleep(100);
      continue;
    }
    dsc_request request = host_request("svc");
    check(w, dsc_discoverer_enter(d, &frame, w, NULL) == DSC_OK);
    dsc_future_free(dsc_discoverer_async(&frame, &request, false));
    dsc_discoverer_poll(&frame, NULL);
    dsc_discoverer_leave(&frame);
    put(d);
  }
  return NULL;
}

TEST(discoverers_move_between_threads) {
  peer p;
  worker workers[THREADS] = {{0}};
  peer_start(&p, script_echo, NULL);
  dsc_discoverer *service = open_service(p.addr);
  ring.turns = 200;
  for (int i = 0; i < 4; i++) {
    ring.waiting[i] = open_one(&workers[0], true);
    live(&workers[0], ring.waiting[i]);
  }
  for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&workers[i].thread, NULL, wander, &workers[i]), 0);
  for (int i = 0; i < THREADS; i++) {
    pthread_join(workers[i].thread, NULL);
    assert_int_equal(workers[i].wrong, 0);
  }
  for (int i = 0; i < 4; i++) assert_true(dsc_discoverer_free(ring.waiting[i], true));
  assert_true(dsc_discoverer_free(service, true));
  peer_stop(&p);
}

/* The first of all: nothing of the library is alive yet. A shared registry outlives its holders by 5 s. */
TEST(the_memory_is_the_hosts) {
  static const dsc_allocator allocator = {arena_alloc, arena_resize, arena_release, NULL};
  assert_true(dsc_mem_set_allocator(&allocator));
  dsc_log_set_default(on_log, NULL);
  host h;
  host_new(&h, "memory://host-threads-first");
  assert_true(atomic_load(&arena.blocks) > 0);
  assert_false(dsc_mem_set_allocator(NULL));
  host_free(&h);
  assert_int_equal(atomic_load(&arena.blocks), 0);
}

/* Without a thread of its own a shared registry that nobody holds ends when the next one is opened. */
TEST(all_of_it_comes_back) {
  size_t blocks;
  host h;
  dsc_clock_hold(dsc_clock_now_ms() + 60000);
  host_new(&h, "memory://host-threads-last");
  host_free(&h);
  dsc_clock_hold(0);
  dsc_mem_usage(&blocks, NULL);
  assert_int_equal(blocks, 0);
  assert_int_equal(atomic_load(&arena.blocks), 0);
  dsc_log_set_default(NULL, NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_memory_is_the_hosts),
      cmocka_unit_test(eight_threads_each_with_discoverers_of_its_own),
      cmocka_unit_test(discoverers_move_between_threads),
      cmocka_unit_test(all_of_it_comes_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
