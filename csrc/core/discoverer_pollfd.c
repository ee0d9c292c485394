/*
** discoverer_pollfd.c - a discoverer within the loop of its host: the descriptor, the time, the wake-up.
**
** The descriptor is made right when the outermost frame ends, and by dsc_discoverer_touch() where work is made outside
** of all frames: not before, because the host can't wait meanwhile. Whatever waits outside the loop (calls that are
** ready, deliveries, notices) makes it readable at once. Threads: the owner's; the host's wake-up runs in the
** watcher's.
*/
#include "core/call.h"

#define PAUSE_MS 50 /* for notices that were caused by telling notices: a logger that calls must not spin */

static bool has_work(const dsc_discoverer *d) {
  return !dsc_list_empty(&d->ready) || !dsc_list_empty(&d->deliveries) || !dsc_list_empty(&d->told) || d->rang ||
         atomic_load_explicit(&d->changed, memory_order_relaxed);
}

/* Returns in how many milliseconds poll has something to do that the loop does not know of; -1: it has not. */
static int64_t own_work_ms(const dsc_discoverer *d) {
  if (has_work(d)) return 0;
  return dsc_notices_any(&d->notices) ? PAUSE_MS : -1;
}

static void on_bell(void *ud) {
  dsc_discoverer *d = ud;
  d->rang = true;
}

/* What a poll has begun is put on its way now: else the descriptor would be readable once more, only for that. A poll
** that is bounded leaves it to the next. */
static void run_begun(dsc_frame *frame) {
  dsc_discoverer *d = frame->d;
  if (frame->turn || own_work_ms(d) == 0 || dsc_loop_timeout(d->loop) != 0) return;
  dsc_loop_set_bound(d->loop, 0);
  dsc_loop_on_wake(d->loop, on_bell, d);
  dsc_loop_run(d->loop, 0);
  dsc_loop_on_wake(d->loop, NULL, NULL);
}

void dsc_discoverer_settle_fd(dsc_frame *frame) {
  dsc_discoverer *d = frame->d;
  bool dispatched = d->dispatched;
  d->dispatched = false;
  if (!d->loop || dsc_discoverer_is_forked(d)) return;
  d->rang = false;
  if (dispatched) run_begun(frame);
  dsc_loop_fd_arm(d->fd, own_work_ms(d));
  if (dispatched && d->wakeup) dsc_watch_arm(d->wakeup);
}

void dsc_discoverer_detach_fd(dsc_discoverer *d) {
  dsc_watch_free(d->wakeup);
  d->wakeup = NULL;
  dsc_loop_fd_detach(d->fd);
}

static dsc_err need_fd(dsc_discoverer *d, dsc_why *why) {
  dsc_err err = d->fd ? DSC_OK : dsc_discoverer_need_loop(d, why);
  if (err || d->fd) return err;
  d->fd = dsc_loop_fd_new(d->loop, &err);
  d->dispatched = true; /* a new loop has its bell to register */
  return d->fd ? DSC_OK : dsc_fail(why, err, "the descriptor to wait for could not be made: %s", dsc_err_text(err));
}

int dsc_discoverer_pollfd(dsc_frame *frame, dsc_why *why) {
  return need_fd(frame->d, why) == DSC_OK ? dsc_loop_fd_get(frame->d->fd) : -1;
}

int64_t dsc_discoverer_timeout(dsc_frame *frame) {
  dsc_discoverer *d = frame->d;
  int64_t own_ms = own_work_ms(d);
  if (own_ms == 0 || !d->loop) return own_ms;
  int64_t loop_ms = dsc_loop_timeout(d->loop);
  return own_ms < 0 || (loop_ms >= 0 && loop_ms < own_ms) ? loop_ms : own_ms;
}

dsc_err dsc_discoverer_set_wakeup(dsc_frame *frame, void (*fn)(void *ud), void *ud, dsc_why *why) {
  dsc_discoverer *d = frame->d;
  dsc_watch_free(d->wakeup);
  d->wakeup = NULL;
  dsc_err err = fn ? need_fd(d, why) : DSC_OK;
  if (err || !fn) return err;
  err = dsc_watch_new(&d->wakeup, dsc_loop_fd_get(d->fd), fn, ud);
  d->dispatched = true; /* it is armed when the descriptor is right */
  return err ? dsc_fail(why, err, "the thread that watches could not be made: %s", dsc_err_text(err)) : DSC_OK;
}
