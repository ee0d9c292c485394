/*
** stream_support.h - what the tests of streams share: bodies that a test steers, peers that answer in pieces.
*/
#ifndef DSC_SPEC_CORE_STREAM_SUPPORT_H
#define DSC_SPEC_CORE_STREAM_SUPPORT_H

#include "net/http_flow_support.h" /* has a parameter `host`, so it comes before that type */

#include "core/discoverer_impl.h"
#include "core/host.h"

static inline void expect_result(dsc_result *result, dsc_err err, int status, uint32_t attempts) {
  if (result->err != err || result->status != status || result->attempts != attempts)
    fail_msg("expected %s %d after %u attempts, got %s %d after %u: %s", dsc_err_name(err), status, attempts,
             dsc_err_name(result->err), result->status, result->attempts, result->why ? result->why : "");
}

/* Connecting may take long where everything is slow. */
static inline void host_patient(host *h) {
  dsc_call_config config;
  dsc_call_config_defaults(&config);
  config.connect_timeout_ms = 10000;
  assert_int_equal(host_configure(h, "svc", &config), DSC_OK);
}

/* Two nodes, of which `first` is picked first. */
static inline void open_two(host *h, const char *first, const char *second) {
  host_new(h, "");
  host_patient(h);
  host_set(h, "svc", first, 1);
  host_set(h, "svc", second, 1);
  for (int i = 0; i < 4; i++) {
    dsc_app_client *ac = NULL;
    dsc_node *node = NULL;
    host_enter(h);
    assert_int_equal(dsc_discoverer_app_client_new(h->d, L("svc"), &ac, &h->why), DSC_OK);
    assert_int_equal(dsc_discoverer_app_client_next(&h->frame, ac, dsc_str_of(second), &node, &h->why), DSC_OK);
    dsc_discoverer_done(&h->frame, node, DSC_OUTCOME_SUCCESS);
    dsc_node_unref(node);
    dsc_discoverer_app_client_free(ac);
    host_leave(h);
  }
}

static inline dsc_result *host_stream(host *h, const dsc_request *request, dsc_stream **stream) {
  dsc_frame frame;
  assert_int_equal(dsc_discoverer_enter(h->d, &frame, h, &h->why), DSC_OK);
  dsc_result *result = dsc_discoverer_call_stream(&frame, request, stream);
  dsc_discoverer_leave(&frame);
  assert_non_null(result);
  assert_null(result->body);
  return result;
}

/* Reads once, in a frame of its own. */
static inline dsc_err stream_read(host *h, dsc_stream *stream, char *bytes, size_t max, size_t *n) {
  dsc_frame frame;
  dsc_err err = dsc_discoverer_enter(h->d, &frame, h, &h->why);
  if (err) return err;
  err = dsc_stream_read(&frame, stream, bytes, max, n, &h->why);
  dsc_discoverer_leave(&frame);
  return err;
}

/* Reads the pattern to the end. Returns how many bytes there were. */
static inline uint64_t stream_drink(host *h, dsc_stream *stream, dsc_err *err) {
  static char bytes[65536];
  uint64_t got = 0;
  size_t n = 1;
  *err = DSC_OK;
  while ((*err = stream_read(h, stream, bytes, sizeof bytes, &n)) == DSC_OK && n > 0) {
    assert_true(pattern_is(bytes, n, got));
    got += n;
  }
  return got;
}

/* How many failures in a row a node has. */
static inline uint64_t node_failures(host *h, const char *addr) {
  dsc_node_array *nodes = dsc_discoverer_nodes(h->d, L("svc"));
  uint64_t failed = 0;
  for (size_t i = 0; i < nodes->count; i++)
    if (strcmp(nodes->nodes[i]->addr, addr) == 0) failed = atomic_load(&nodes->nodes[i]->failed_times);
  dsc_node_array_unref(nodes);
  return failed;
}

/* ---------------------------------------------------------------- a host's reader */

typedef struct tap {
  uint64_t size, at;
  size_t piece;
  uint64_t fail_at; /* 0: never */
  int calls;
  void (*inside)(struct tap *tap);
  void *ud;
} tap;

static inline dsc_err tap_read(void *ctx, void *ud, dsc_buf *out, dsc_why *why) {
  tap *t = ud;
  char bytes[65536];
  (void)ctx;
  t->calls++;
  if (t->inside) t->inside(t);
  if (t->fail_at && t->at >= t->fail_at) return dsc_fail(why, DSC_ECALLBACK, "the tap is broken");
  size_t n = t->piece < sizeof bytes ? t->piece : sizeof bytes;
  if (n > t->size - t->at) n = (size_t)(t->size - t->at);
  pattern_fill(bytes, n, t->at);
  t->at += n;
  return n ? dsc_buf_add(out, bytes, n) : DSC_OK;
}

static inline dsc_body *tap_body(tap *t, uint64_t size, size_t piece, bool sized) {
  *t = (tap){.size = size, .piece = piece};
  dsc_body *body = dsc_body_new();
  assert_int_equal(dsc_body_set_reader(body, tap_read, t, sized ? (int64_t)size : -1), DSC_OK);
  return body;
}

/* --------------------------------------------------------------------- peers */

/* GET /?size=n: n bytes of the pattern; else judges the body. */
static inline void script_serve(peer *p, peer_conn *c) {
  (void)p;
  while (peer_read_head(c)) {
    char head[128], *size = strstr(c->head, "size=");
    if (!size) {
      if (!peer_judge_body(c)) return;
      continue;
    }
    uint64_t n = strtoull(size + 5, NULL, 10);
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nX-From: %s\r\nContent-Length: %llu\r\n\r\n", p->addr,
             (unsigned long long)n);
    atomic_fetch_add(&p->requests, 1);
    if (!peer_say(c, head) || !peer_write_pattern(c, n)) return;
  }
}

/* 502 with a body that never ends, whatever is asked. */
static inline void script_sorry(peer *p, peer_conn *c) {
  while (peer_read(c)) {
    char head[128];
    snprintf(head, sizeof head, "HTTP/1.1 %d Sorry\r\nContent-Length: 100000000\r\n\r\n", p->ud ? *(int *)p->ud : 502);
    if (!peer_say(c, head) || !peer_write_pattern(c, 100000000)) return;
  }
}

#endif
