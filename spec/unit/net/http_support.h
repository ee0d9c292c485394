/*
** http_support.h - what the tests of net/http share: a client on a loop, shots that are fired and awaited, two scripts.
*/
#ifndef DSC_SPEC_HTTP_SUPPORT_H
#define DSC_SPEC_HTTP_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/http.h"
#include "peer.h"

typedef struct bench {
  dsc_loop *loop;
  dsc_resolver *resolver;
  dsc_http *http;
  size_t blocks;
} bench;

typedef struct shot {
  int done;
  dsc_http_answer answer;
  dsc_http_attempt *attempt;
} shot;

static inline void on_done(void *ud, dsc_http_answer *answer) {
  shot *s = ud;
  s->done++;
  s->answer = *answer;
  answer->body = NULL;
  dsc_headers_init(&answer->headers);
}

static inline void shot_clear(shot *s) {
  dsc_mem_free(s->answer.body);
  dsc_headers_clear(&s->answer.headers);
  memset(s, 0, sizeof *s);
}

static inline void bench_open(bench *b) {
  dsc_err err;
  dsc_mem_usage(&b->blocks, NULL);
  b->loop = dsc_loop_new(&err);
  assert_non_null(b->loop);
  b->resolver = dsc_resolver_new(b->loop);
  assert_non_null(b->resolver);
  b->http = dsc_http_new(b->loop, b->resolver, &err);
  assert_non_null(b->http);
}

static inline void bench_close(bench *b) {
  size_t blocks;
  dsc_http_free(b->http);
  dsc_resolver_free(b->resolver);
  dsc_loop_free(b->loop);
  dsc_mem_usage(&blocks, NULL);
  assert_int_equal(blocks, b->blocks);
}

static inline dsc_http_request request_to(const char *addr, const char *host, uint16_t port) {
  static const dsc_headers none;
  return (dsc_http_request){.method = "GET",
                            .host = host,
                            .port = port,
                            .addr = addr,
                            .target = "/x?y=1",
                            .headers = &none,
                            .timeout_ms = 20000,
                            .connect_timeout_ms = 10000,
                            .max_body = 1 << 20,
                            .may_repeat = true};
}

static inline dsc_http_request request_of(const peer *p) {
  return request_to(p->addr, "127.0.0.1", p->port);
}

static inline void fire(bench *b, const dsc_http_request *request, shot *s) {
  dsc_why why;
  assert_int_equal(dsc_http_send(b->http, request, on_done, s, &s->attempt, &why), DSC_OK);
  assert_int_equal(s->done, 0);
}

static inline void await(bench *b, const shot *s) {
  uint64_t until = dsc_clock_now_ms() + 60000;
  while (!s->done && dsc_clock_now_ms() < until) dsc_loop_run(b->loop, 1000);
  assert_int_equal(s->done, 1);
}

static inline void call(bench *b, const dsc_http_request *request, shot *s) {
  memset(s, 0, sizeof *s);
  fire(b, request, s);
  await(b, s);
}

static inline void expect(const shot *s, dsc_err err, const char *part) {
  if (s->answer.err != err || (part && !strstr(s->answer.why, part))) {
    fail_msg("expected %s (%s), got %s: %s (status %d)", dsc_err_name(err), part ? part : "",
             dsc_err_name(s->answer.err), s->answer.why, s->answer.status);
  }
}

static inline void script_polite(peer *p, peer_conn *c) {
  (void)p;
  while (peer_read(c) && peer_answer(c, "hello")) continue;
}

static inline void script_hang(peer *p, peer_conn *c) {
  (void)p;
  peer_read(c);
  peer_linger(c);
}

#endif
