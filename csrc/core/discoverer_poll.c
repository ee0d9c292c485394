/*
** discoverer_poll.c - what waits to be told to the host, and the methods that tell it: poll and wait.
**
** Notices (log records, events) are handed out by every outermost method as it leaves; deliveries (futures, WebSocket
** messages) only by methods that dispatch. A turn bounds both: what does not fit waits for the next method. Threads:
** the owner's.
*/
#include "base/clock.h"
#include "base/mem.h"
#include "core/call.h"

#define PAUSE_MS 50 /* before a wait hands out what its callbacks caused: a logger that calls must not spin */

bool dsc_turn_take(dsc_turn *turn) {
  if (!turn) return true;
  if (turn->left == 0) return false;
  if (turn->begun && turn->until_ns && dsc_clock_now_ns() >= turn->until_ns) return false;
  turn->begun = true;
  if (turn->left != UINT32_MAX) turn->left--;
  return true;
}

static void tell(dsc_discoverer *d, void *ctx, const dsc_notice *notice) {
  bool forked = dsc_discoverer_is_forked(d);
  dsc_discoverer_begin_callback(d);
  if (notice->is_event && d->hooks.on_event && !forked) d->hooks.on_event(ctx, d->hooks.ud, &notice->event);
  if (!notice->is_event && d->hooks.on_log && !forked) d->hooks.on_log(ctx, d->hooks.ud, &notice->record);
  dsc_discoverer_end_callback(d);
}

/* What its callbacks cause waits for the next method: a logger that makes calls must not loop here. */
void dsc_discoverer_hand_out(dsc_discoverer *d, void *ctx, dsc_turn *turn) {
  dsc_link items;
  dsc_list_init(&items);
  dsc_list_move(&items, &d->told);
  dsc_notices_take(&d->notices, &items);
  while (!dsc_list_empty(&items) && dsc_turn_take(turn)) {
    dsc_notice *notice = DSC_LIST_ENTRY(dsc_list_pop(&items), dsc_notice, link);
    tell(d, ctx, notice);
    dsc_mem_free(notice);
  }
  dsc_list_move(&d->told, &items);
}

void dsc_discoverer_deliver(dsc_frame *frame) {
  dsc_discoverer *d = frame->d;
  dsc_link batch;
  dsc_list_init(&batch);
  dsc_list_move(&batch, &d->deliveries);
  while (!dsc_list_empty(&batch) && !dsc_discoverer_is_forked(d) && dsc_turn_take(frame->turn)) {
    dsc_delivery *delivery = DSC_LIST_ENTRY(dsc_list_pop(&batch), dsc_delivery, link);
    d->delivered++;
    delivery->run(frame, delivery);
  }
  dsc_list_move(&batch, &d->deliveries);
  dsc_list_move(&d->deliveries, &batch);
}

void dsc_discoverer_dispatch(dsc_frame *frame) {
  dsc_discoverer *d = frame->d;
  d->dispatched = true;
  if (!dsc_discoverer_is_forked(d)) dsc_discoverer_hand_out(d, frame->ctx, frame->turn);
  if (!d->stopping && !dsc_discoverer_is_forked(d)) dsc_discoverer_deliver(frame);
}

static bool has_notices(const dsc_discoverer *d) {
  return !dsc_list_empty(&d->told) || dsc_notices_any(&d->notices);
}

int64_t dsc_discoverer_bound_wait(const dsc_frame *frame, int64_t timeout_ms) {
  const dsc_discoverer *d = frame->d;
  if (!dsc_list_empty(&d->deliveries)) return 0;
  if (has_notices(d) && (timeout_ms < 0 || timeout_ms > PAUSE_MS)) return PAUSE_MS;
  return timeout_ms;
}

static int64_t left_of(uint64_t start_ms, int64_t timeout_ms) {
  if (timeout_ms < 0) return -1;
  int64_t left_ms = timeout_ms - (int64_t)(dsc_clock_now_ms() - start_ms);
  return left_ms > 0 ? left_ms : 0;
}

bool dsc_discoverer_wait(dsc_frame *frame, int64_t timeout_ms) {
  dsc_discoverer *d = frame->d;
  uint64_t start_ms = dsc_clock_now_ms();
  for (;;) {
    if (!frame->outer) dsc_discoverer_dispatch(frame);
    if (d->stopping) return true;
    if (frame->outer && timeout_ms < 0) return false; /* nothing is handed out here, so nobody would ever stop it */
    int64_t left_ms = left_of(start_ms, timeout_ms);
    if (left_ms == 0) return false;
    if (!frame->outer) left_ms = dsc_discoverer_bound_wait(frame, left_ms);
    if (dsc_discoverer_run_once(frame, NULL, left_ms) != DSC_OK) return false;
  }
}

/* One round: the loop, the steps, the host. Returns how much was done. */
static uint32_t poll_once(dsc_frame *frame, int64_t timeout_ms) {
  dsc_discoverer *d = frame->d;
  uint32_t before = d->settled + d->delivered;
  d->dispatched = true;
  timeout_ms = dsc_discoverer_bound_wait(frame, timeout_ms);
  if (d->loop || timeout_ms != 0) dsc_discoverer_run_once(frame, NULL, timeout_ms);
  if (!dsc_discoverer_is_forked(d)) dsc_discoverer_deliver(frame);
  return d->settled + d->delivered - before;
}

uint32_t dsc_discoverer_poll(dsc_frame *frame, const dsc_poll *poll) {
  static const dsc_poll defaults = {0};
  dsc_discoverer *d = frame->d;
  uint64_t start_ns = dsc_clock_now_ns();
  if (frame->in_callback) return 0;
  if (!poll) poll = &defaults;
  d->turn = (dsc_turn){.left = poll->max ? poll->max : UINT32_MAX};
  if (poll->budget_us) d->turn.until_ns = start_ns + (uint64_t)poll->budget_us * 1000;
  if (poll->max || poll->budget_us) frame->turn = &d->turn;
  uint32_t n;
  int64_t left_ms = poll->timeout_ms;
  do {
    n = poll_once(frame, left_ms);
    left_ms = left_of(start_ns / 1000000, poll->timeout_ms);
  } while (n == 0 && left_ms != 0 && !d->stopping && !has_notices(d) && !dsc_discoverer_is_forked(d));
  return n;
}
