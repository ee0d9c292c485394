/*
** loop.c - a libuv loop with an owner: run by the owner itself, or by a thread of its own.
**
** dsc_loop_run() is uv_run(DEFAULT) with a limit timer, or uv_run(NOWAIT) for a limit of 0. Everything that should
** end a run calls uv_stop(), which also keeps epoll from blocking when the call was already completed by a timer.
**
** Threads: one owner at a time. dsc_loop_wake() and dsc_loop_quit() touch only the async handle and an atomic flag; the
** end of the thread is told under `lock`, so that a join can give up after a while and be repeated.
*/
#include "net/loop.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <uv.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"

#define CLOSE_ROUNDS 100 /* of the loop, until the last close callback; two are usual */
#define MAX_RUN_MS   ((int64_t)1 << 40)

struct dsc_loop {
  /* owner's thread only */
  uv_loop_t uv;
  uv_async_t bell;
  uv_timer_t limit;
  dsc_loop_fn on_wake;
  void *on_wake_ud;
  bool running;
  uint64_t bound_ns; /* 0: none */
  bool acted;        /* one callback of this run was not too late */
  /* constant while the thread lives */
  pthread_t thread;
  char name[16];
  dsc_loop_fn at_end;
  void *at_end_ud;
  /* any thread, atomic */
  atomic_bool quit;
  /* under lock */
  pthread_mutex_t lock;
  pthread_cond_t told;
  bool started, ended, joined;
};

struct dsc_timer {
  /* owner's thread only */
  uv_timer_t handle;
  dsc_loop_fn fn;
  void *ud;
};

static void on_bell(uv_async_t *bell) {
  dsc_loop *loop = bell->data;
  uv_stop(&loop->uv);
  if (loop->on_wake) loop->on_wake(loop->on_wake_ud);
}

static void on_limit(uv_timer_t *limit) {
  uv_stop(limit->loop);
}

static dsc_err init_lock(dsc_loop *loop) {
  pthread_condattr_t attr;
  if (pthread_condattr_init(&attr) != 0) return DSC_ENOMEM;
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  bool failed = pthread_cond_init(&loop->told, &attr) != 0;
  pthread_condattr_destroy(&attr);
  if (failed) return DSC_ENOMEM;
  if (pthread_mutex_init(&loop->lock, NULL) == 0) return DSC_OK;
  pthread_cond_destroy(&loop->told);
  return DSC_ENOMEM;
}

static dsc_err init_uv(dsc_loop *loop) {
  int rc = uv_loop_init(&loop->uv);
  if (rc != 0) return rc == UV_ENOMEM ? DSC_ENOMEM : DSC_EIO;
  rc = uv_async_init(&loop->uv, &loop->bell, on_bell);
  if (rc != 0) {
    uv_loop_close(&loop->uv);
    return rc == UV_ENOMEM ? DSC_ENOMEM : DSC_EIO;
  }
  loop->bell.data = loop;
  uv_timer_init(&loop->uv, &loop->limit);
  return DSC_OK;
}

dsc_loop *dsc_loop_new(dsc_err *err) {
  dsc_loop *loop = dsc_mem_zalloc(1, sizeof *loop);
  *err = loop ? init_lock(loop) : DSC_ENOMEM;
  if (*err != DSC_OK) {
    dsc_mem_free(loop);
    return NULL;
  }
  *err = init_uv(loop);
  if (*err == DSC_OK) return loop;
  pthread_cond_destroy(&loop->told);
  pthread_mutex_destroy(&loop->lock);
  dsc_mem_free(loop);
  return NULL;
}

void dsc_loop_free(dsc_loop *loop) {
  if (!loop) return;
  uv_close((uv_handle_t *)&loop->bell, NULL);
  uv_close((uv_handle_t *)&loop->limit, NULL);
  int rc = UV_EBUSY;
  for (int round = 0; rc == UV_EBUSY && round < CLOSE_ROUNDS; round++) {
    uv_run(&loop->uv, UV_RUN_NOWAIT);
    rc = uv_loop_close(&loop->uv);
  }
  /* someone's handle is still open: memory that leaks is better than memory that libuv still writes to */
  if (rc == UV_EBUSY) return;
  pthread_cond_destroy(&loop->told);
  pthread_mutex_destroy(&loop->lock);
  dsc_mem_free(loop);
}

void dsc_loop_on_wake(dsc_loop *loop, dsc_loop_fn fn, void *ud) {
  loop->on_wake = fn;
  loop->on_wake_ud = ud;
}

void dsc_loop_run(dsc_loop *loop, int64_t timeout_ms) {
  if (loop->running) return;
  loop->running = true;
  loop->acted = false;
  if (timeout_ms > 0) {
    uv_update_time(&loop->uv);
    uv_timer_start(&loop->limit, on_limit, (uint64_t)(timeout_ms < MAX_RUN_MS ? timeout_ms : MAX_RUN_MS), 0);
  }
  uv_run(&loop->uv, timeout_ms == 0 ? UV_RUN_NOWAIT : UV_RUN_DEFAULT);
  if (timeout_ms > 0) uv_timer_stop(&loop->limit);
  loop->running = false;
}

void dsc_loop_set_bound(dsc_loop *loop, uint64_t until_ns) {
  loop->bound_ns = until_ns;
}

bool dsc_loop_is_late(dsc_loop *loop) {
  bool late = loop->bound_ns && loop->acted && dsc_clock_now_ns() >= loop->bound_ns;
  loop->acted = true;
  return late;
}

int64_t dsc_loop_timeout(dsc_loop *loop) {
  uv_update_time(&loop->uv);
  return uv_backend_timeout(&loop->uv);
}

void dsc_loop_stop(dsc_loop *loop) {
  /* outside a run the mark would stay and swallow the next one */
  if (loop->running) uv_stop(&loop->uv);
}

bool dsc_loop_running(const dsc_loop *loop) {
  return loop->running;
}

void dsc_loop_wake(dsc_loop *loop) {
  uv_async_send(&loop->bell);
}

static void *thread_main(void *arg) {
  dsc_loop *loop = arg;
  pthread_setname_np(pthread_self(), loop->name);
  while (!atomic_load(&loop->quit)) dsc_loop_run(loop, -1);
  if (loop->at_end) loop->at_end(loop->at_end_ud);
  pthread_mutex_lock(&loop->lock);
  loop->ended = true;
  pthread_cond_broadcast(&loop->told);
  pthread_mutex_unlock(&loop->lock);
  return NULL;
}

dsc_err dsc_loop_start_thread(dsc_loop *loop, const char *name, dsc_loop_fn at_end, void *ud) {
  size_t n = strnlen(name, sizeof loop->name - 1);
  memcpy(loop->name, name, n);
  loop->name[n] = '\0';
  loop->at_end = at_end;
  loop->at_end_ud = ud;
  atomic_store(&loop->quit, false);
  sigset_t all, before;
  sigfillset(&all);
  /* a thread inherits the mask of its maker: signals stay the program's business */
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_mutex_lock(&loop->lock);
  loop->ended = loop->joined = false;
  loop->started = pthread_create(&loop->thread, NULL, thread_main, loop) == 0;
  dsc_err err = loop->started ? DSC_OK : DSC_EIO;
  pthread_mutex_unlock(&loop->lock);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return err;
}

void dsc_loop_quit(dsc_loop *loop) {
  atomic_store(&loop->quit, true);
  dsc_loop_wake(loop);
}

static struct timespec in_ms(int64_t ms) {
  struct timespec at;
  clock_gettime(CLOCK_MONOTONIC, &at);
  at.tv_sec += (time_t)(ms / 1000);
  at.tv_nsec += (long)(ms % 1000) * 1000000L;
  if (at.tv_nsec >= 1000000000L) {
    at.tv_sec++;
    at.tv_nsec -= 1000000000L;
  }
  return at;
}

static bool wait_ended_locked(dsc_loop *loop, int64_t timeout_ms) {
  struct timespec until = in_ms(timeout_ms > 0 && timeout_ms < MAX_RUN_MS ? timeout_ms : 0);
  int rc = 0;
  while (!loop->ended && rc != ETIMEDOUT) {
    rc = timeout_ms < 0 ? pthread_cond_wait(&loop->told, &loop->lock)
                        : pthread_cond_timedwait(&loop->told, &loop->lock, &until);
  }
  return loop->ended;
}

bool dsc_loop_join(dsc_loop *loop, int64_t timeout_ms) {
  pthread_mutex_lock(&loop->lock);
  bool over = !loop->started || wait_ended_locked(loop, timeout_ms);
  if (over && loop->started && !loop->joined) {
    /* under the lock, so that a second joiner returns no sooner; after `ended` the thread takes no lock any more */
    pthread_join(loop->thread, NULL);
    loop->joined = true;
  }
  pthread_mutex_unlock(&loop->lock);
  return over;
}

struct uv_loop_s *dsc_loop_uv(dsc_loop *loop) {
  return &loop->uv;
}

static void on_timer(uv_timer_t *handle) {
  dsc_timer *timer = handle->data;
  timer->fn(timer->ud);
}

dsc_timer *dsc_timer_new(dsc_loop *loop, dsc_loop_fn fn, void *ud) {
  dsc_timer *timer = dsc_mem_zalloc(1, sizeof *timer);
  if (!timer) return NULL;
  uv_timer_init(&loop->uv, &timer->handle);
  timer->handle.data = timer;
  timer->fn = fn;
  timer->ud = ud;
  return timer;
}

void dsc_timer_start(dsc_timer *timer, uint64_t ms) {
  /* libuv counts from its cached time, which is old outside a run and after long callbacks */
  uv_update_time(timer->handle.loop);
  uv_timer_start(&timer->handle, on_timer, ms, 0);
}

void dsc_timer_stop(dsc_timer *timer) {
  uv_timer_stop(&timer->handle);
}

static void on_timer_closed(uv_handle_t *handle) {
  dsc_mem_free(handle->data);
}

void dsc_timer_free(dsc_timer *timer) {
  if (timer) uv_close((uv_handle_t *)&timer->handle, on_timer_closed);
}
