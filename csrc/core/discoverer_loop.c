/*
** discoverer_loop.c - the call loop: made at first use, run by its owner, never nested.
**
** libuv's callbacks only put calls on the ready list; what is ready is stepped here, after the loop has returned.
*/
#include "base/clock.h"
#include "core/call.h"

dsc_err dsc_discoverer_need_loop(dsc_discoverer *d, dsc_why *why) {
  if (d->loop) return DSC_OK;
  dsc_err err = DSC_OK;
  d->loop = dsc_loop_new(&err);
  if (!d->loop) return dsc_fail(why, err, "the call loop could not be made: %s", dsc_err_text(err));
  dsc_notices_set_bell(&d->notices, d->loop);
  return DSC_OK;
}

dsc_err dsc_discoverer_need_http(dsc_discoverer *d, dsc_why *why) {
  if (d->http) return DSC_OK;
  dsc_err err = dsc_discoverer_need_loop(d, why);
  if (err) return err;
  if (!d->resolver && !(d->resolver = dsc_resolver_new(d->loop)))
    return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  d->http = dsc_http_new(d->loop, d->resolver, &err);
  return d->http ? DSC_OK : dsc_fail(why, err, "the HTTP client could not be made: %s", dsc_err_text(err));
}

/* While stopping, calls may go on until the drain is over. */
static int64_t bound_by_drain(dsc_discoverer *d, int64_t timeout_ms) {
  if (!d->stopping) return timeout_ms;
  uint64_t now_ms = dsc_clock_now_ms();
  if (now_ms >= d->drain_until_ms) {
    dsc_call_break_all(d, DSC_ESTOPPED);
    return 0;
  }
  int64_t left = (int64_t)(d->drain_until_ms - now_ms);
  return timeout_ms < 0 || left < timeout_ms ? left : timeout_ms;
}

static void notice_change(dsc_discoverer *d) {
  if (atomic_load_explicit(&d->changed, memory_order_relaxed) && atomic_exchange(&d->changed, false))
    dsc_call_notify_all(d);
}

dsc_err dsc_discoverer_run_once(dsc_frame *frame, dsc_call *only, int64_t timeout_ms) {
  dsc_discoverer *d = frame->d;
  if (dsc_discoverer_is_forked(d)) return DSC_EFORKED;
  dsc_err err = dsc_discoverer_need_loop(d, NULL);
  if (err) return err;
  bool all = !only && !frame->in_callback;
  timeout_ms = bound_by_drain(d, timeout_ms);
  notice_change(d);
  bool ready = only ? dsc_call_is_ready(only) : all && !dsc_list_empty(&d->ready);
  dsc_loop_set_bound(d->loop, frame->turn ? frame->turn->until_ns : 0);
  if (!ready) dsc_loop_run(d->loop, timeout_ms);
  notice_change(d);
  if (all || only) dsc_call_drain(frame, only);
  dsc_discoverer_forget_isolated(d);
  return DSC_OK;
}

bool dsc_discoverer_run_until(dsc_frame *frame, bool (*done)(void *ud), void *ud, int64_t timeout_ms) {
  dsc_discoverer *d = frame->d;
  if (done(ud) || timeout_ms == 0) return done(ud);
  uint64_t start = dsc_clock_now_ms();
  if (dsc_discoverer_need_loop(d, NULL)) return false;
  while (!done(ud)) { /* looked at only after the bell was hung up: no change is missed */
    int64_t left = timeout_ms < 0 ? -1 : timeout_ms - (int64_t)(dsc_clock_now_ms() - start);
    if (d->stopping || (timeout_ms >= 0 && left <= 0)) return false;
    if (dsc_discoverer_run_once(frame, NULL, left)) return false;
  }
  return true;
}
