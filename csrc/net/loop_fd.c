/*
** loop_fd.c - an epoll descriptor over libuv's and a timerfd.
**
** Both are level-triggered. libuv's is readable while a descriptor of the loop is; but a watcher that was started (or a
** timer that is due) outside a run is not seen there: for these the timerfd stands, set to the loop's next time, which
** is 0 while the loop has something to register. Setting it anew also clears it, so it is never read. libuv's times
** are milliseconds of the monotonic clock, as are these, so no clock is asked.
**
** Invariant: `armed_ms` is what the timerfd is set to. Threads: the loop's.
*/
#include "net/loop_fd.h"

#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "base/mem.h"

#define NEVER UINT64_MAX

struct dsc_loop_fd {
  /* constant */
  int epoll, timer;
  long slack_ns; /* libuv may read a clock that is this late */
  /* loop's thread only */
  dsc_loop *loop;    /* NULL: detached */
  uint64_t armed_ms; /* 0: at once */
};

/* libuv takes the coarse clock where that is fine enough: a timer that is due by ours must be due by its. */
static long clock_slack_ns(void) {
  struct timespec step;
  if (clock_getres(CLOCK_MONOTONIC_COARSE, &step) != 0 || step.tv_sec > 0 || step.tv_nsec > 1000000L) return 0;
  return step.tv_nsec;
}

static void set_timer(dsc_loop_fd *f, uint64_t at_ms) {
  struct itimerspec spec = {.it_value = {0, 0}};
  if (at_ms == f->armed_ms) return;
  f->armed_ms = at_ms;
  if (at_ms == 0) {
    spec.it_value.tv_nsec = 1; /* long past: fires at once */
  } else if (at_ms != NEVER) {
    spec.it_value.tv_sec = (time_t)(at_ms / 1000);
    spec.it_value.tv_nsec = (long)(at_ms % 1000) * 1000000L + f->slack_ns;
    if (spec.it_value.tv_nsec >= 1000000000L) {
      spec.it_value.tv_nsec -= 1000000000L;
      spec.it_value.tv_sec++;
    }
  }
  timerfd_settime(f->timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

static bool watch(dsc_loop_fd *f, int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
  return epoll_ctl(f->epoll, EPOLL_CTL_ADD, fd, &event) == 0;
}

dsc_loop_fd *dsc_loop_fd_new(dsc_loop *loop, dsc_err *err) {
  dsc_loop_fd *f = dsc_mem_zalloc(1, sizeof *f);
  *err = f ? DSC_OK : DSC_ENOMEM;
  if (!f) return NULL;
  f->loop = loop;
  f->slack_ns = clock_slack_ns();
  f->armed_ms = NEVER;
  f->epoll = epoll_create1(EPOLL_CLOEXEC);
  f->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (f->epoll >= 0 && f->timer >= 0 && watch(f, f->timer) && watch(f, uv_backend_fd(dsc_loop_uv(loop)))) return f;
  *err = DSC_EIO;
  dsc_loop_fd_free(f);
  return NULL;
}

int dsc_loop_fd_get(const dsc_loop_fd *f) {
  return f->epoll;
}

/* Counted from libuv's own, maybe old, idea of now: so the sum is the timer's time, whenever it is asked for. */
static uint64_t loop_next_ms(const dsc_loop *loop) {
  const uv_loop_t *uv = dsc_loop_uv((dsc_loop *)loop);
  int left_ms = uv_backend_timeout(uv);
  if (left_ms < 0) return NEVER;
  return left_ms == 0 ? 0 : uv_now(uv) + (uint64_t)left_ms;
}

void dsc_loop_fd_arm(dsc_loop_fd *f, int64_t ms) {
  if (!f->loop) return;
  uint64_t at_ms = ms == 0 ? 0 : loop_next_ms(f->loop);
  if (ms > 0 && at_ms > 0) {
    uv_update_time(dsc_loop_uv(f->loop));
    uint64_t own_ms = uv_now(dsc_loop_uv(f->loop)) + (uint64_t)ms;
    if (own_ms < at_ms) at_ms = own_ms;
  }
  set_timer(f, at_ms);
}

void dsc_loop_fd_detach(dsc_loop_fd *f) {
  if (!f || !f->loop) return;
  epoll_ctl(f->epoll, EPOLL_CTL_DEL, uv_backend_fd(dsc_loop_uv(f->loop)), NULL);
  f->loop = NULL;
  set_timer(f, 0);
}

void dsc_loop_fd_free(dsc_loop_fd *f) {
  if (!f) return;
  if (f->epoll >= 0) close(f->epoll);
  if (f->timer >= 0) close(f->timer);
  dsc_mem_free(f);
}
