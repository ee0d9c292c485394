/*
** ws_support.h - what the tests of net/ws share: a client on a loop, and a talk whose events are written down.
*/
#ifndef DSC_SPEC_WS_SUPPORT_H
#define DSC_SPEC_WS_SUPPORT_H

#include "base/check.h"
#include "base/clock.h"
#include "net/ws.h"
#include "support/ws_peer.h"

typedef struct bench {
  dsc_loop *loop;
  dsc_resolver *resolver;
  dsc_ws *ws;
} bench;

typedef struct talk {
  bench *b;
  dsc_ws_conn *conn;
  int opened, moved, closed;
  dsc_http_answer answer;
  dsc_ws_end end;
  dsc_why why;
} talk;

static inline void bench_open(bench *b) {
  dsc_err err;
  b->loop = dsc_loop_new(&err);
  b->resolver = dsc_resolver_new(b->loop);
  b->ws = dsc_ws_new(b->loop, b->resolver, &err);
  assert_non_null(b->ws);
}

static inline void bench_close(bench *b) {
  dsc_ws_free(b->ws);
  dsc_resolver_free(b->resolver);
  dsc_loop_free(b->loop);
}

static inline void talk_opened(void *ud, dsc_http_answer *answer) {
  talk *t = ud;
  t->opened++;
  t->answer = *answer;
  dsc_headers_init(&answer->headers);
  dsc_loop_stop(t->b->loop);
}

static inline void talk_moved(void *ud) {
  talk *t = ud;
  t->moved++;
  dsc_loop_stop(t->b->loop);
}

static inline void talk_closed(void *ud, const dsc_ws_end *end) {
  talk *t = ud;
  t->closed++;
  t->end = *end;
  dsc_loop_stop(t->b->loop);
}

static inline dsc_ws_request ws_request(const peer *p) {
  return (dsc_ws_request){.host = "127.0.0.1",
                          .port = p->port,
                          .addr = p->addr,
                          .target = "/chat?room=1",
                          .timeout_ms = 30000,
                          .connect_timeout_ms = 30000,
                          .max_message = 1024 * 1024,
                          .max_queued = 256 * 1024};
}

/* Begins and waits for the answer. */
static inline void talk_begin(talk *t, bench *b, const dsc_ws_request *request) {
  static const dsc_ws_events events = {talk_opened, talk_moved, talk_closed};
  memset(t, 0, sizeof *t);
  t->b = b;
  assert_int_equal(dsc_ws_connect(b->ws, request, &events, t, &t->conn, &t->why), DSC_OK);
  assert_int_equal(t->opened, 0);
  while (!t->opened) dsc_loop_run(b->loop, -1);
}

static inline void talk_open(talk *t, bench *b, const dsc_ws_request *request) {
  talk_begin(t, b, request);
  if (t->answer.err || t->answer.status != 101)
    fail_msg("not open: %s %d %s", dsc_err_name(t->answer.err), t->answer.status, t->answer.why);
}

static inline void talk_wait_closed(talk *t) {
  uint64_t until_ms = dsc_clock_now_ms() + 60000;
  while (!t->closed && dsc_clock_now_ms() < until_ms) dsc_loop_run(t->b->loop, 1000);
  assert_int_equal(t->closed, 1);
}

/* Waits for a message, at most until the end. Returns false: there is none. */
static inline bool talk_hear(talk *t, dsc_ws_message *m) {
  while (!dsc_ws_receive(t->conn, m)) {
    if (t->closed) return false;
    dsc_loop_run(t->b->loop, 5000);
  }
  return true;
}

static inline void talk_end(talk *t) {
  dsc_ws_conn_free(t->conn);
  dsc_headers_clear(&t->answer.headers);
}

#endif
