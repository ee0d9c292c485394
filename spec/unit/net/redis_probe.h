/*
** redis_probe.h - one connection to a Redis as a test sees it: its loop, and what it was told. Header only.
*/
#ifndef DSC_SPEC_REDIS_PROBE_H
#define DSC_SPEC_REDIS_PROBE_H

#include "base/mem.h"
#include "net/redis_conn.h"
#include "support/redis_server.h"

/* The one side of a connection that a test looks at. */
typedef struct probe {
  dsc_loop *loop;
  dsc_resolver *resolver;
  dsc_redis_conn *conn;
  int ready, downs, done, messages;
  dsc_redis_down down;
  dsc_err err;
  bool close_when_ready;
  char why[256], reply[256], message[256];
} probe;

static void on_ready(void *ud) {
  probe *p = ud;
  p->ready++;
  if (p->close_when_ready) dsc_redis_conn_close(p->conn);
  dsc_loop_stop(p->loop);
}

static void on_message(void *ud, dsc_str channel, dsc_str text) {
  probe *p = ud;
  p->messages++;
  snprintf(p->message, sizeof p->message, "%.*s|%.*s", DSC_STR_ARG(channel), DSC_STR_ARG(text));
  dsc_loop_stop(p->loop);
}

static void on_down(void *ud, dsc_redis_down down, const char *why) {
  probe *p = ud;
  p->downs++;
  p->down = down;
  p->conn = NULL;
  snprintf(p->why, sizeof p->why, "%s", why);
  dsc_loop_stop(p->loop);
}

MAYBE_UNUSED static void on_done(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  probe *p = ud;
  p->done++;
  p->err = err;
  snprintf(p->reply, sizeof p->reply, "%s", err ? why : n > 0 && replies[n - 1]->str.p ? replies[n - 1]->str.p : "");
  dsc_loop_stop(p->loop);
}

/* Opens as `options` say; names, times and database are added. False: no memory. */
static bool open_probe_with(probe *p, dsc_redis_conn_options *options, uint32_t ms) {
  dsc_err err;
  memset(p, 0, sizeof *p);
  p->loop = dsc_loop_new(&err);
  p->resolver = p->loop ? dsc_resolver_new(p->loop) : NULL;
  if (!p->resolver) return false;
  options->db = 3;
  options->name = "discover-test";
  options->connect_timeout_ms = options->command_timeout_ms = ms;
  options->silence_ms = 100;
  dsc_redis_conn_events events = {p, on_ready, on_message, on_down};
  p->conn = dsc_redis_conn_open(p->loop, p->resolver, options, &events);
  return p->conn != NULL;
}

MAYBE_UNUSED static void open_probe(probe *p, int port, bool subscriber, uint32_t ms) {
  dsc_redis_conn_options options = {.host = "127.0.0.1", .port = (uint16_t)port, .subscriber = subscriber};
  assert_true(open_probe_with(p, &options, ms));
}

static void run(probe *p, int *until, int ms) {
  uint64_t end = test_now_ms() + (uint64_t)(ms * test_slow());
  while (*until == 0 && test_now_ms() < end) dsc_loop_run(p->loop, 10);
}

static void close_probe(probe *p) {
  if (p->conn) {
    dsc_redis_conn_close(p->conn);
    dsc_redis_conn_close(p->conn);
    assert_int_equal(p->downs, 0); /* nothing is told from inside */
  }
  run(p, &p->downs, 1000);
  assert_int_equal(p->downs, 1);
  dsc_resolver_free(p->resolver);
  dsc_loop_free(p->loop);
}

MAYBE_UNUSED static dsc_err send_ping(probe *p, size_t n) {
  dsc_str word = DSC_STR_LITERAL("PING");
  dsc_redis_command commands[3] = {{1, &word}, {1, &word}, {1, &word}};
  return dsc_redis_conn_send(p->conn, commands, n, on_done, p);
}

#endif
