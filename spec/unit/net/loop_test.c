/*
** loop_test.c - runs and their ends, wakes from other threads, the loop's own thread, timers.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include "net/loop.h"

static dsc_loop *new_loop(void) {
  dsc_err err;
  dsc_loop *loop = dsc_loop_new(&err);
  assert_non_null(loop);
  assert_int_equal(err, DSC_OK);
  return loop;
}

typedef struct counter {
  dsc_loop *loop;
  int calls;
  bool stop;
} counter;

static void count(void *ud) {
  counter *c = ud;
  c->calls++;
  assert_true(dsc_loop_running(c->loop));
  if (c->stop) dsc_loop_stop(c->loop);
}

static void test_limits(void **state) {
  (void)state;
  dsc_loop *loop = new_loop();
  uint64_t from = dsc_clock_now_ms();
  dsc_loop_run(loop, 0);
  assert_true(dsc_clock_now_ms() - from < 1000);
  dsc_loop_run(loop, 50);
  assert_true(dsc_clock_now_ms() - from >= 48);
  assert_true(dsc_clock_now_ms() - from < 5000);
  assert_false(dsc_loop_running(loop));
  dsc_loop_stop(loop); /* outside a run: nothing is swallowed later */
  from = dsc_clock_now_ms();
  dsc_loop_run(loop, 30);
  assert_true(dsc_clock_now_ms() - from >= 28);
  dsc_loop_free(loop);
  dsc_loop_free(NULL);
}

static void test_timers(void **state) {
  (void)state;
  dsc_loop *loop = new_loop();
  counter a = {.loop = loop, .stop = true}, b = {.loop = loop, .stop = true};
  dsc_timer *ta = dsc_timer_new(loop, count, &a), *tb = dsc_timer_new(loop, count, &b);
  dsc_timer_stop(ta);
  dsc_timer_start(ta, 10);
  dsc_timer_start(tb, 100000);
  dsc_loop_run(loop, -1);
  assert_int_equal(a.calls, 1);
  dsc_timer_start(ta, 100000);
  dsc_timer_start(ta, 0); /* moved */
  dsc_loop_run(loop, 0);
  assert_int_equal(a.calls, 2);
  dsc_timer_start(ta, 0);
  dsc_timer_stop(ta);
  dsc_loop_run(loop, 5);
  assert_int_equal(a.calls, 2);
  /* idle time outside a run does not make a timer early */
  usleep(60000);
  dsc_timer_start(ta, 40);
  uint64_t from = dsc_clock_now_ms();
  dsc_loop_run(loop, -1);
  assert_int_equal(a.calls, 3);
  assert_true(dsc_clock_now_ms() - from >= 38);
  dsc_timer_free(ta);
  dsc_timer_free(tb);
  dsc_timer_free(NULL);
  dsc_loop_run(loop, 0);
  assert_int_equal(b.calls, 0);
  dsc_loop_free(loop);
}

/* A timer that ends the run keeps the poll behind it from blocking. */
static void test_stop_in_timer(void **state) {
  (void)state;
  dsc_loop *loop = new_loop();
  counter c = {.loop = loop, .stop = true};
  dsc_timer *timer = dsc_timer_new(loop, count, &c);
  dsc_timer_start(timer, 0);
  uint64_t from = dsc_clock_now_ms();
  dsc_loop_run(loop, 60000);
  assert_true(dsc_clock_now_ms() - from < 5000);
  assert_int_equal(c.calls, 1);
  dsc_timer_free(timer);
  dsc_loop_free(loop);
}

static void *wake_soon(void *ud) {
  usleep(20000);
  dsc_loop_wake(ud);
  return NULL;
}

static void test_wake(void **state) {
  (void)state;
  dsc_loop *loop = new_loop();
  counter c = {.loop = loop};
  pthread_t thread;
  dsc_loop_on_wake(loop, count, &c);
  dsc_loop_wake(loop); /* before the run */
  dsc_loop_wake(loop);
  dsc_loop_run(loop, -1);
  assert_int_equal(c.calls, 1);
  pthread_create(&thread, NULL, wake_soon, loop);
  dsc_loop_run(loop, -1);
  pthread_join(thread, NULL);
  assert_int_equal(c.calls, 2);
  dsc_loop_free(loop);
}

typedef struct worker {
  dsc_loop *loop;
  atomic_int woken, ended;
  bool blocked;
  char name[16];
  int end_ms;
} worker;

static void on_worker_wake(void *ud) {
  worker *w = ud;
  sigset_t now;
  pthread_sigmask(SIG_SETMASK, NULL, &now);
  w->blocked = sigismember(&now, SIGINT) == 1 && sigismember(&now, SIGTERM) == 1;
  pthread_getname_np(pthread_self(), w->name, sizeof w->name);
  atomic_fetch_add(&w->woken, 1);
}

static void on_worker_end(void *ud) {
  worker *w = ud;
  dsc_loop_run(w->loop, w->end_ms);
  atomic_fetch_add(&w->ended, 1);
}

static void test_thread(void **state) {
  (void)state;
  worker w = {.loop = new_loop(), .end_ms = 100};
  sigset_t now;
  assert_true(dsc_loop_join(w.loop, 0)); /* never started */
  dsc_loop_on_wake(w.loop, on_worker_wake, &w);
  for (int round = 1; round <= 2; round++) {
    assert_int_equal(dsc_loop_start_thread(w.loop, "dsc-a-name-that-is-long", on_worker_end, &w), DSC_OK);
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    assert_int_equal(sigismember(&now, SIGTERM), 0);
    dsc_loop_wake(w.loop);
    while (atomic_load(&w.woken) < round) usleep(1000);
    assert_false(dsc_loop_join(w.loop, 10));
    dsc_loop_quit(w.loop);
    dsc_loop_quit(w.loop);
    assert_false(dsc_loop_join(w.loop, 0));
    assert_true(dsc_loop_join(w.loop, -1));
    assert_true(dsc_loop_join(w.loop, -1));
    assert_int_equal(atomic_load(&w.ended), round);
    atomic_store(&w.woken, round);
  }
  assert_true(w.blocked);
  assert_string_equal(w.name, "dsc-a-name-that");
  dsc_loop_run(w.loop, 0); /* ours again */
  dsc_loop_free(w.loop);
}

static void ask_twice(void *ud) {
  counter *c = ud;
  c->calls += !dsc_loop_is_late(c->loop);
  c->calls += !dsc_loop_is_late(c->loop);
}

static void test_bound(void **state) {
  (void)state;
  dsc_loop *loop = new_loop();
  counter c = {.loop = loop};
  dsc_timer *timer = dsc_timer_new(loop, ask_twice, &c);
  for (int round = 1; round <= 3; round++) {
    c.calls = 0;
    dsc_loop_set_bound(loop, round == 1 ? 1 : round == 2 ? UINT64_MAX : 0); /* long past, far away, none */
    dsc_timer_start(timer, 0);
    dsc_loop_run(loop, 10);
    assert_int_equal(c.calls, round == 1 ? 1 : 2);
  }
  dsc_timer_free(timer);
  dsc_loop_free(loop);
}

static void test_out_of_memory(void **state) {
  (void)state;
  dsc_err err = DSC_OK;
  dsc_mem_fail_at(1, false);
  assert_null(dsc_loop_new(&err));
  dsc_mem_fail_at(0, false);
  assert_int_equal(err, DSC_ENOMEM);
  dsc_loop *loop = new_loop();
  dsc_mem_fail_at(1, false);
  assert_null(dsc_timer_new(loop, count, NULL));
  dsc_mem_fail_at(0, false);
  dsc_loop_free(loop);
}

static void test_nothing_left(void **state) {
  (void)state;
  size_t before, after;
  dsc_mem_usage(&before, NULL);
  int fd = dup(0), later;
  close(fd);
  for (int i = 0; i < 50; i++) {
    dsc_loop *loop = new_loop();
    dsc_timer *timer = dsc_timer_new(loop, count, NULL);
    dsc_timer_start(timer, 100000);
    dsc_timer_free(timer);
    dsc_loop_free(loop);
  }
  later = dup(0);
  close(later);
  dsc_mem_usage(&after, NULL);
  assert_int_equal(before, after);
  assert_int_equal(fd, later);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_limits),       cmocka_unit_test(test_timers), cmocka_unit_test(test_stop_in_timer),
      cmocka_unit_test(test_wake),         cmocka_unit_test(test_thread), cmocka_unit_test(test_out_of_memory),
      cmocka_unit_test(test_nothing_left), cmocka_unit_test(test_bound),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
