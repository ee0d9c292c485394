/*
** websocket.c - an open WebSocket: its messages, its end, and how the host hears of both.
**
** Methods that wait run the discoverer's loop, and so the steps of calls; a callback of the host may close or free this
** very WebSocket meanwhile, so it is pinned. Its node is in flight until the end: a clean one says nothing about the
** node, one that the node is to blame for is a failure. Threads: the owner's.
*/
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "core/websocket_impl.h"

#define PER_TURN   16  /* messages of one WebSocket that are handed out before another has its turn */
#define GOODBYE_MS 100 /* at a stop without a drain */

/* ------------------------------------------------------------- life */

static void run_delivery(dsc_frame *frame, dsc_delivery *delivery);

dsc_websocket *dsc_websocket_new(dsc_discoverer *d) {
  dsc_websocket *ws = dsc_mem_zalloc(1, sizeof *ws);
  if (!ws) return NULL;
  ws->generation = d->generation;
  ws->d = d;
  ws->delivery.run = run_delivery;
  dsc_list_init(&ws->delivery.link);
  dsc_list_init(&ws->link);
  dsc_list_push(&d->websockets, &ws->link);
  return ws;
}

static bool is_forked(const dsc_websocket *ws) {
  return dsc_fork_is_stale(ws->generation);
}

/* The node is no longer in flight. `err`: of the end. */
static void release_node(dsc_websocket *ws, dsc_err err) {
  dsc_node *node = ws->node;
  dsc_place_leave(&ws->place);
  bool failed = err == DSC_ECONNECT || err == DSC_ETIMEOUT || err == DSC_ETLS || err == DSC_EPROTOCOL;
  if (!node) return;
  ws->node = NULL;
  if (failed && !ws->closing && ws->d && ws->d->registry)
    dsc_registry_node_done(ws->d->registry, node, DSC_OUTCOME_FAILURE, false, ws->d->call_retry_times);
  else if (ws->d && ws->d->registry)
    dsc_registry_node_lapse(ws->d->registry, node, false);
  else
    dsc_table_lapse(node->table, node, false, dsc_clock_now_ms());
  dsc_node_unref(node);
}

static void detach(dsc_websocket *ws) {
  dsc_place_leave(&ws->place);
  dsc_list_remove(&ws->link);
  dsc_list_remove(&ws->delivery.link);
  ws->d = NULL;
}

static void destroy(dsc_websocket *ws) {
  release_node(ws, DSC_ECLOSED);
  if (ws->d) detach(ws);
  dsc_ws_conn_free(ws->conn);
  dsc_mem_free(ws);
}

void dsc_websocket_free(dsc_websocket *ws) {
  if (!ws || is_forked(ws)) return; /* the parent's socket and locks: forgotten, not freed */
  ws->listening = false;
  ws->doomed = true;
  if (ws->pins == 0) destroy(ws);
}

static void unpin(dsc_websocket *ws) {
  if (--ws->pins == 0 && ws->doomed && !is_forked(ws)) destroy(ws);
}

/* ------------------------------------------------------------- what the loop says */

static void ask_delivery(dsc_websocket *ws) {
  if (!ws->listening || !ws->d || !dsc_list_empty(&ws->delivery.link)) return;
  dsc_list_push(&ws->d->deliveries, &ws->delivery.link);
  dsc_discoverer_touch(ws->d);
}

void dsc_websocket_on_moved(void *ud) {
  dsc_websocket *ws = ud;
  ask_delivery(ws);
  dsc_loop_stop(ws->d->loop);
}

void dsc_websocket_on_closed(void *ud, const dsc_ws_end *end) {
  dsc_websocket *ws = ud;
  if (ws->ended) return;
  ws->ended = true;
  ws->end = *end;
  release_node(ws, end->err);
  ask_delivery(ws);
  dsc_loop_stop(ws->d->loop);
}

/* ------------------------------------------------------------- methods */

/* Says why nothing can be done with it. Returns DSC_OK while it is open. */
static dsc_err check(const dsc_websocket *ws, dsc_why *why) {
  if (is_forked(ws)) return dsc_fail(why, DSC_EFORKED, "%s", dsc_err_text(DSC_EFORKED));
  if (ws->ended) return dsc_fail(why, ws->end.err, "%s", ws->end.why[0] ? ws->end.why : dsc_err_text(ws->end.err));
  if (!ws->d || ws->d->stopping) return dsc_fail(why, DSC_ESTOPPED, "%s", dsc_err_text(DSC_ESTOPPED));
  return DSC_OK;
}

/* Runs the loop once, for what is left of `timeout_ms` since `start_ms`; without any time it looks once all the same.
** Fails: DSC_ETIMEOUT, or there is no loop. */
static dsc_err wait_on(dsc_frame *frame, uint64_t start_ms, uint32_t timeout_ms, bool *looked) {
  uint64_t gone_ms = dsc_clock_now_ms() - start_ms, left_ms = gone_ms < timeout_ms ? timeout_ms - gone_ms : 0;
  if (left_ms == 0 && *looked) return DSC_ETIMEOUT;
  *looked = true;
  return dsc_discoverer_run_once(frame, NULL, (int64_t)left_ms);
}

static dsc_err send_message(dsc_frame *frame, dsc_websocket *ws, dsc_ws_kind kind, dsc_str data, uint32_t timeout_ms,
                            dsc_why *why) {
  uint64_t start_ms = dsc_clock_now_ms();
  bool looked = false;
  for (;;) {
    dsc_err err = check(ws, why);
    if (err) return err;
    err = dsc_ws_send(ws->conn, kind, data);
    if (err == DSC_OK) return DSC_OK;
    if (err == DSC_EINVALID) return dsc_fail(why, err, "a text that is not UTF-8");
    if (err != DSC_EOVERLOAD) return dsc_fail(why, err, "%s", err == DSC_ECLOSED ? "it is closing" : dsc_err_text(err));
    err = wait_on(frame, start_ms, timeout_ms, &looked);
    if (err == DSC_ETIMEOUT)
      return dsc_fail(why, err, "%s did not take what waits to be sent within %u ms", ws->addr, timeout_ms);
    if (err) return dsc_fail(why, err, "%s", dsc_err_text(err));
  }
}

dsc_err dsc_websocket_send(dsc_frame *frame, dsc_websocket *ws, dsc_ws_kind kind, dsc_str data, uint32_t timeout_ms,
                           dsc_why *why) {
  if (data.n > ws->max_message)
    return dsc_fail(why, DSC_ETOO_LARGE, "a message of %zu bytes: max_body is %llu", data.n,
                    (unsigned long long)ws->max_message);
  ws->pins++;
  dsc_err err = send_message(frame, ws, kind, data, timeout_ms, why);
  unpin(ws);
  return err;
}

static dsc_err take_message(dsc_frame *frame, dsc_websocket *ws, uint32_t timeout_ms, dsc_ws_message *message,
                            dsc_why *why) {
  uint64_t start_ms = dsc_clock_now_ms();
  bool looked = false;
  for (;;) {
    if (!is_forked(ws) && ws->conn && dsc_ws_receive(ws->conn, message)) return DSC_OK;
    dsc_err err = check(ws, why);
    if (err) return err;
    err = wait_on(frame, start_ms, timeout_ms, &looked);
    if (err == DSC_ETIMEOUT) return dsc_fail(why, err, "no message from %s within %u ms", ws->addr, timeout_ms);
    if (err) return dsc_fail(why, err, "%s", dsc_err_text(err));
  }
}

dsc_err dsc_websocket_receive(dsc_frame *frame, dsc_websocket *ws, uint32_t timeout_ms, dsc_ws_message *message,
                              dsc_why *why) {
  ws->pins++;
  dsc_err err = take_message(frame, ws, timeout_ms, message, why);
  unpin(ws);
  return err;
}

dsc_err dsc_websocket_ping(dsc_frame *frame, dsc_websocket *ws, dsc_why *why) {
  (void)frame;
  dsc_err err = check(ws, why);
  if (err) return err;
  err = dsc_ws_ping(ws->conn);
  return err ? dsc_fail(why, err, "it is closing") : DSC_OK;
}

static dsc_err say_goodbye(dsc_websocket *ws, uint16_t code, dsc_str reason, uint32_t timeout_ms, dsc_why *why) {
  dsc_err err = dsc_ws_close(ws->conn, code, reason, timeout_ms, why);
  if (err == DSC_ECLOSED) return DSC_OK; /* its end is on the way */
  if (err == DSC_OK) ws->closing = true;
  return err;
}

dsc_err dsc_websocket_close(dsc_frame *frame, dsc_websocket *ws, uint16_t code, dsc_str reason, dsc_why *why) {
  if (is_forked(ws) || ws->ended || !ws->d) return DSC_OK;
  dsc_err err = say_goodbye(ws, code, reason, DSC_WEBSOCKET_CLOSE_MS, why);
  if (err) return err;
  ws->pins++;
  uint64_t start_ms = dsc_clock_now_ms();
  bool looked = false;
  while (err == DSC_OK && !is_forked(ws) && !ws->ended && ws->d && !ws->d->stopping)
    err = wait_on(frame, start_ms, DSC_WEBSOCKET_CLOSE_MS + DSC_WS_LINGER_MS, &looked);
  unpin(ws);
  return DSC_OK;
}

/* ------------------------------------------------------------- listening */

void dsc_websocket_listen(dsc_websocket *ws, bool on, void *ud) {
  if (is_forked(ws)) return;
  ws->listening = on;
  ws->listener = ud;
  if (on)
    ask_delivery(ws); /* something may be waiting already; an empty turn costs nothing */
  else
    dsc_list_remove(&ws->delivery.link);
}

static void tell(dsc_frame *frame, dsc_websocket *ws, const dsc_ws_message *message) {
  dsc_discoverer *d = frame->d;
  dsc_discoverer_begin_callback(d);
  d->hooks.on_message(frame->ctx, d->hooks.ud, ws, ws->listener, message);
  dsc_discoverer_end_callback(d);
}

/* Hands out one message or the end. Returns false when there is nothing (more). */
static bool hand_out_one(dsc_frame *frame, dsc_websocket *ws) {
  dsc_ws_message message;
  if (is_forked(ws) || !ws->listening || !frame->d->hooks.on_message) return false;
  if (ws->conn && dsc_ws_receive(ws->conn, &message)) {
    tell(frame, ws, &message);
    dsc_mem_free(message.data);
    return true;
  }
  if (ws->ended && !ws->end_told) {
    ws->end_told = true;
    tell(frame, ws, NULL);
  }
  return false;
}

static void run_delivery(dsc_frame *frame, dsc_delivery *delivery) {
  dsc_websocket *ws = DSC_LIST_ENTRY(delivery, dsc_websocket, delivery);
  ws->pins++;
  int n = 0;
  while (n < PER_TURN && hand_out_one(frame, ws)) n++;
  if (n == PER_TURN && !is_forked(ws)) ask_delivery(ws);
  unpin(ws);
}

/* ------------------------------------------------------------- the discoverer's end */

static bool any_open(const dsc_discoverer *d) {
  for (const dsc_link *link = d->websockets.next; link != &d->websockets; link = link->next)
    if (!DSC_LIST_ENTRY(link, dsc_websocket, link)->ended) return true;
  return false;
}

/* It ends with its discoverer. */
static void cut(dsc_websocket *ws) {
  if (!ws->ended) ws->end = (dsc_ws_end){.code = 1006};
  ws->ended = true;
  ws->end.err = DSC_ESTOPPED;
  snprintf(ws->end.why, sizeof ws->end.why, "%s", dsc_err_text(DSC_ESTOPPED));
  release_node(ws, DSC_ESTOPPED);
  ask_delivery(ws);
}

void dsc_websocket_stop_all(dsc_frame *frame) {
  dsc_discoverer *d = frame->d;
  if (!any_open(d)) return;
  uint64_t now_ms = dsc_clock_now_ms(), until_ms = now_ms + GOODBYE_MS;
  if (d->drain_until_ms > until_ms) until_ms = d->drain_until_ms;
  if (until_ms > now_ms + DSC_WEBSOCKET_CLOSE_MS) until_ms = now_ms + DSC_WEBSOCKET_CLOSE_MS;
  for (dsc_link *link = d->websockets.next; link != &d->websockets; link = link->next) {
    dsc_websocket *ws = DSC_LIST_ENTRY(link, dsc_websocket, link);
    ws->stopping = !ws->ended;
    if (!ws->ended && ws->conn) say_goodbye(ws, 1001, DSC_STR_LITERAL("stopped"), (uint32_t)(until_ms - now_ms), NULL);
  }
  while (any_open(d) && !dsc_discoverer_is_forked(d)) {
    now_ms = dsc_clock_now_ms();
    if (now_ms >= until_ms) break;
    dsc_loop_run(d->loop, (int64_t)(until_ms - now_ms)); /* no steps: all calls have ended */
  }
  for (dsc_link *link = d->websockets.next; link != &d->websockets; link = link->next) {
    dsc_websocket *ws = DSC_LIST_ENTRY(link, dsc_websocket, link);
    if (ws->stopping) cut(ws);
  }
}

void dsc_websocket_cut_all(dsc_discoverer *d) {
  while (!dsc_list_empty(&d->websockets)) {
    dsc_websocket *ws = DSC_LIST_ENTRY(d->websockets.next, dsc_websocket, link);
    if (!ws->ended) cut(ws);
    detach(ws);
  }
}

/* ------------------------------------------------------------- looking */

dsc_websocket_state dsc_websocket_get_state(const dsc_websocket *ws) {
  if (ws->ended || !ws->d) return DSC_WEBSOCKET_CLOSED;
  if (is_forked(ws)) return DSC_WEBSOCKET_CLOSED;
  return dsc_ws_is_open(ws->conn) ? DSC_WEBSOCKET_OPEN : DSC_WEBSOCKET_CLOSING;
}

const char *dsc_websocket_node(const dsc_websocket *ws) {
  return ws->addr;
}

const char *dsc_websocket_protocol(const dsc_websocket *ws) {
  return ws->conn ? dsc_ws_protocol(ws->conn) : "";
}

const dsc_ws_end *dsc_websocket_end(const dsc_websocket *ws) {
  return ws->ended ? &ws->end : NULL;
}
