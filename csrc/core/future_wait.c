/*
** future_wait.c - waiting for one future, for all of some, for any of some.
**
** Outside of callbacks a wait steps every call and dispatches as poll does. Inside a callback it steps only the calls
** that are waited for, and tells nobody. Threads: the owner's.
*/
#include "base/clock.h"
#include "core/future_impl.h"

typedef struct wait {
  dsc_future *const *futures;
  size_t n;
  bool any;
  size_t at; /* all: those before it are ready; any: the one that is */
} wait;

static bool is_over(wait *w) {
  if (w->any) {
    for (size_t i = 0; i < w->n; i++)
      if (w->futures[i]->ready) {
        w->at = i;
        return true;
      }
    return false;
  }
  while (w->at < w->n && w->futures[w->at]->ready) w->at++;
  return w->at == w->n;
}

static dsc_err check(const dsc_frame *frame, const wait *w, dsc_why *why) {
  const dsc_discoverer *d = frame->d;
  if (w->any && w->n == 0) return dsc_fail(why, DSC_EINVALID, "there is no future to wait for");
  for (size_t i = 0; i < w->n; i++) {
    const dsc_future *f = w->futures[i];
    if (f->ready) continue;
    if (f->d != d) return dsc_fail(why, DSC_EINVALID, "the futures are not all of one discoverer");
    if (f->call->wait == DSC_CALL_WAITS_NOT)
      return dsc_fail(why, DSC_ECALLBACK, "a future can't be waited for by a callback of its own call");
  }
  if (d->callbacks > DSC_MAX_DEPTH)
    return dsc_fail(why, DSC_ECALLBACK, "waits inside callbacks are nested more than 8 deep");
  return DSC_OK;
}

/* Negative: no limit. What callbacks took must not turn a look (0) into that. */
static int64_t left_of(uint64_t start_ms, int64_t timeout_ms) {
  if (timeout_ms < 0) return -1;
  int64_t left_ms = timeout_ms - (int64_t)(dsc_clock_now_ms() - start_ms);
  return left_ms > 0 ? left_ms : 0;
}

/* Inside a callback: one turn of the loop, then the steps of those that are waited for. */
static dsc_err run_few(dsc_frame *frame, const wait *w, int64_t timeout_ms) {
  for (size_t i = 0; i < w->n; i++)
    if (!w->futures[i]->ready && dsc_call_is_ready(w->futures[i]->call)) timeout_ms = 0;
  dsc_err err = dsc_discoverer_run_once(frame, NULL, timeout_ms);
  for (size_t i = 0; !err && i < w->n && !dsc_discoverer_is_forked(frame->d); i++)
    if (!w->futures[i]->ready) dsc_call_drain(frame, w->futures[i]->call);
  return err;
}

static dsc_err wait_for(dsc_frame *frame, wait *w, int64_t timeout_ms, dsc_why *why) {
  uint64_t start_ms = dsc_clock_now_ms();
  dsc_err err = check(frame, w, why);
  while (!err) {
    if (!frame->in_callback) dsc_discoverer_dispatch(frame);
    if (dsc_discoverer_is_forked(frame->d)) return dsc_fail(why, DSC_EFORKED, "%s", dsc_err_text(DSC_EFORKED));
    if (is_over(w)) return DSC_OK;
    int64_t left_ms = left_of(start_ms, timeout_ms);
    if (timeout_ms > 0 && left_ms == 0)
      return dsc_fail(why, DSC_ETIMEOUT, "not ready within %lld ms", (long long)timeout_ms);
    if (frame->in_callback)
      err = run_few(frame, w, left_ms);
    else
      err = dsc_discoverer_run_once(frame, NULL, dsc_discoverer_bound_wait(frame, left_ms));
    if (err) return dsc_fail(why, err, "%s", dsc_err_text(err));
    if (timeout_ms == 0 && !is_over(w)) return dsc_fail(why, DSC_ETIMEOUT, "not ready");
  }
  return err;
}

dsc_err dsc_future_wait_all(dsc_frame *frame, dsc_future *const *futures, size_t n, int64_t timeout_ms, dsc_why *why) {
  wait w = {.futures = futures, .n = n};
  return wait_for(frame, &w, timeout_ms, why);
}

dsc_err dsc_future_wait_any(dsc_frame *frame, dsc_future *const *futures, size_t n, int64_t timeout_ms, size_t *index,
                            dsc_why *why) {
  wait w = {.futures = futures, .n = n, .any = true};
  *index = 0;
  dsc_err err = wait_for(frame, &w, timeout_ms, why);
  if (!err) *index = w.at;
  return err;
}

dsc_err dsc_future_wait(dsc_frame *frame, dsc_future *future, int64_t timeout_ms, dsc_why *why) {
  return dsc_future_wait_all(frame, &future, 1, timeout_ms, why);
}
