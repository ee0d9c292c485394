/*
** ws_flow_test.c - a WebSocket over time: messages of all sizes, both queues, keep-alive, closing, lost peers, memory.
*/
#include <dirent.h>
#include <sys/resource.h>

#include "net/ws_support.h"

/* ------------------------------------------------------------- messages */

static void fill_bytes(char *data, size_t n, uint64_t seed) {
  for (size_t i = 0; i < n; i++) data[i] = (char)('a' + pick_below(&seed, 26));
}

#define MESSAGES 400

typedef struct echo {
  char data[300 * 1024];
  size_t sizes[MESSAGES], back;
} echo;

/* Takes what is there and compares it with what was sent. */
static void compare(talk *t, echo *e) {
  dsc_ws_message m;
  while (dsc_ws_receive(t->conn, &m)) {
    assert_true(e->back < MESSAGES);
    assert_int_equal(m.len, e->sizes[e->back]);
    assert_int_equal(m.kind, e->back % 2 ? DSC_WS_TEXT : DSC_WS_BINARY);
    assert_memory_equal(m.data, e->data, m.len);
    assert_int_equal(m.data[m.len], 0);
    dsc_mem_free(m.data);
    e->back++;
  }
}

TEST(messages_of_all_sizes_come_back_in_order) {
  bench b;
  talk t;
  peer p;
  static echo e;
  uint64_t seed = 7;
  peer_start(&p, script_ws_echo, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  talk_open(&t, &b, &request);
  fill_bytes(e.data, sizeof e.data, 1);
  for (size_t i = 0; i < MESSAGES; i++) {
    e.sizes[i] = i < 10 ? i : i < 20 ? 65522 + i : pick_below(&seed, i % 20 ? 2000 : sizeof e.data);
    dsc_ws_kind kind = i % 2 ? DSC_WS_TEXT : DSC_WS_BINARY;
    dsc_err err;
    while ((err = dsc_ws_send(t.conn, kind, (dsc_str){e.data, e.sizes[i]})) == DSC_EOVERLOAD) {
      compare(&t, &e);
      dsc_loop_run(b.loop, 5000);
    }
    assert_int_equal(err, DSC_OK);
  }
  while (e.back < MESSAGES && !t.closed) {
    dsc_loop_run(b.loop, 5000);
    compare(&t, &e);
  }
  assert_int_equal(e.back, MESSAGES);
  assert_int_equal(dsc_ws_close(t.conn, 1000, L("bye"), 30000, &t.why), DSC_OK);
  assert_false(dsc_ws_is_open(t.conn));
  talk_wait_closed(&t);
  assert_int_equal(t.end.err, DSC_ECLOSED);
  assert_int_equal(t.end.code, 1000);
  assert_string_equal(t.end.reason, "bye");
  talk_end(&t);
  bench_close(&b);
  peer_stop(&p);
}

/* A message of `flag` MiB in frames of 1000 bytes, then a close. */
static void script_fragments(peer *p, peer_conn *c) {
  size_t n = (size_t)atomic_load(&p->flag) * 1024 * 1024;
  char part[1000];
  if (!wsp_greet(c, "")) return;
  memset(part, 'x', sizeof part);
  for (size_t done = 0; done < n; done += sizeof part)
    if (!wsp_send(c, done ? 0 : 2, part, sizeof part)) return;
  wsp_send(c, 0x80, "end", 3);
  wsp_close(c, 1000, "");
  peer_linger(c);
}

TEST(a_message_of_many_fragments) {
  bench b;
  talk t;
  peer p;
  dsc_ws_message m;
  peer_start(&p, script_fragments, NULL);
  atomic_store(&p.flag, 16);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  request.max_message = 20 * 1024 * 1024;
  talk_open(&t, &b, &request);
  assert_true(talk_hear(&t, &m));
  assert_true(m.len > 16 * 1024 * 1024 && memcmp(m.data + m.len - 3, "end", 3) == 0);
  dsc_mem_free(m.data);
  talk_wait_closed(&t);
  assert_int_equal(t.end.err, DSC_ECLOSED);
  talk_end(&t);
  bench_close(&b);
  peer_stop(&p);
}

TEST(what_may_not_be_sent) {
  bench b;
  talk t;
  peer p;
  char long_reason[125];
  peer_start(&p, script_ws_echo, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  talk_open(&t, &b, &request);
  memset(long_reason, 'x', sizeof long_reason);
  assert_int_equal(dsc_ws_send(t.conn, DSC_WS_TEXT, L("\xff")), DSC_EINVALID);
  static const uint16_t codes[] = {1, 999, 1002, 1004, 1005, 1006, 1015, 2000, 2999, 5000};
  for (size_t i = 0; i < COUNT(codes); i++)
    assert_int_equal(dsc_ws_close(t.conn, codes[i], L(""), 100, &t.why), DSC_EINVALID);
  assert_int_equal(dsc_ws_close(t.conn, 0, L("why"), 100, &t.why), DSC_EINVALID);
  assert_int_equal(dsc_ws_close(t.conn, 1000, L("\xff"), 100, &t.why), DSC_EINVALID);
  assert_int_equal(dsc_ws_close(t.conn, 1000, (dsc_str){long_reason, 124}, 100, &t.why), DSC_EINVALID);
  assert_true(dsc_ws_is_open(t.conn));
  assert_int_equal(dsc_ws_close(t.conn, 4999, (dsc_str){long_reason, 123}, 1000, &t.why), DSC_OK);
  assert_int_equal(dsc_ws_send(t.conn, DSC_WS_TEXT, L("late")), DSC_ECLOSED);
  assert_int_equal(dsc_ws_ping(t.conn), DSC_ECLOSED);
  talk_wait_closed(&t);
  assert_int_equal(t.end.code, 4999);
  assert_int_equal(strlen(t.end.reason), 123);
  assert_int_equal(dsc_ws_close(t.conn, 1000, L(""), 100, &t.why), DSC_ECLOSED);
  talk_end(&t);
  bench_close(&b);
  peer_stop(&p);
}

/* ------------------------------------------------------------- the two queues */

/* Reads nothing until `flag` is set, then everything; says how much payload came. */
static void script_lazy(peer *p, peer_conn *c) {
  wsp_frame f;
  size_t got = 0;
  char text[32];
  if (!wsp_greet(c, "")) return;
  while (!atomic_load(&p->flag)) usleep(1000);
  while (wsp_read(c, &f)) {
    bool data = (f.first & 15) < 8, last = (f.first & 15) == 8;
    got += data ? f.n : 0;
    if (last) {
      snprintf(text, sizeof text, "%zu", got);
      wsp_text(c, text);
      wsp_send(c, 0x88, f.data, f.n);
    }
    free(f.data);
    if (last) return;
  }
}

TEST(the_send_queue_is_bounded_and_says_when_there_is_room) {
  bench b;
  talk t;
  peer p;
  dsc_ws_message m;
  static char data[100 * 1000];
  size_t sent = 0;
  dsc_err err;
  peer_start(&p, script_lazy, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  talk_open(&t, &b, &request);
  while ((err = dsc_ws_send(t.conn, DSC_WS_BINARY, (dsc_str){data, sizeof data})) == DSC_OK) {
    sent += sizeof data;
    assert_true(dsc_ws_queued(t.conn) <= 256 * 1024 + 2 * 65600);
    assert_true(sent < 64 * 1024 * 1024);
  }
  assert_int_equal(err, DSC_EOVERLOAD);
  dsc_loop_run(b.loop, 20);
  assert_int_equal(t.moved, 0);
  atomic_store(&p.flag, 1);
  while (!t.moved) dsc_loop_run(b.loop, 5000);
  assert_int_equal(dsc_ws_send(t.conn, DSC_WS_BINARY, (dsc_str){data, sizeof data}), DSC_OK);
  sent += sizeof data;
  assert_int_equal(dsc_ws_close(t.conn, 1000, L(""), 30000, &t.why), DSC_OK);
  assert_true(talk_hear(&t, &m)); /* comes after our close frame was sent, and is still given */
  char expected[32];
  snprintf(expected, sizeof expected, "%zu", sent);
  assert_string_equal(m.data, expected);
  dsc_mem_free(m.data);
  talk_wait_closed(&t);
  assert_int_equal(t.end.err, DSC_ECLOSED);
  assert_int_equal(dsc_ws_queued(t.conn), 0);
  talk_end(&t);
  bench_close(&b);
  peer_stop(&p);
}

TEST(an_empty_queue_takes_any_message) {
  bench b;
  talk t;
  peer p;
  dsc_ws_message m;
  size_t n = 1000 * 1000;
  char *data = calloc(1, n);
  peer_start(&p, script_ws_echo, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  request.max_queued = 1000;
  talk_open(&t, &b, &request);
  assert_int_equal(dsc_ws_send(t.conn, DSC_WS_BINARY, (dsc_str){data, n}), DSC_OK);
  assert_true(talk_hear(&t, &m));
  assert_int_equal(m.len, n);
  dsc_mem_free(m.data);
  free(data);
  talk_end(&t);
  bench_close(&b);
  peer_stop(&p);
}

/* Sends numbered messages of 10,000 bytes; `requests` counts them. */
static void script_flood(peer *p, peer_conn *c) {
  char text[10001];
  if (!wsp_greet(c, "")) return;
  for (int i = 0; i < 3000; i++) {
    snprintf(text, sizeof text, "%010d%09990d", i, 0);
    if (!wsp_text(c, text)) return;
    atomic_fetch_add(&p->requests, 1);
  }
  wsp_close(c, 1000, "");
  peer_linger(c);
}

TEST(a_full_receive_queue_stops_the_peer) {
  bench b;
  talk t;
  peer p;
  dsc_ws_message m;
  size_t before, now;
  int n = 0, last = -1, rounds = 0;
  peer_start(&p, script_flood, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  request.ping_ms = 20; /* silence that is our own doing is no silence */
  request.ping_timeout_ms = 20;
  dsc_mem_usage(NULL, &before);
  talk_open(&t, &b, &request);
  while (atomic_load(&p.requests) != last || rounds++ < 3) { /* until nothing moves */
    last = atomic_load(&p.requests);
    for (int i = 0; i < 5; i++) dsc_loop_run(b.loop, 20);
  }
  assert_true(last < 3000);
  assert_int_equal(t.closed, 0);
  dsc_mem_usage(NULL, &now);
  assert_true(now - before < 1024 * 1024);
  while (talk_hear(&t, &m)) {
    assert_int_equal(atoi(m.data) == 0 ? strncmp(m.data, "0000000", 7) : 0, 0);
    char number[11];
    snprintf(number, sizeof number, "%010d", n++);
    assert_memory_equal(m.data, number, 10);
    dsc_mem_free(m.data);
  }
  assert_int_equal(n, 3000);
  assert_int_equal(t.end.err, DSC_ECLOSED);
  talk_end(&t);
  bench_close(&b);
  peer_stop(&p);
}

TEST(closing_with_a_full_queue_hears_the_close_frame) {
  bench b;
  talk t;
  peer p;
  dsc_ws_message m;
  peer_start(&p, script_flood, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  talk_open(&t, &b, &request);
  for (int i = 0; i < 30; i++) dsc_loop_run(b.loop, 10);
  assert_int_equal(dsc_ws_close(t.conn, 1000, L(""), 30000, &t.why), DSC_OK);
  talk_wait_closed(&t);
  assert_int_equal(t.end.err, DSC_ECLOSED);
  assert_int_equal(t.end.code, 1000);
  int n = 0;
  for (; dsc_ws_receive(t.conn, &m); n++) dsc_mem_free(m.data);
  assert_true(n > 0 && n < 100); /* what had no place was dropped */
  talk_end(&t);
  bench_close(&b);
  peer_stop(&p);
}

/* What fills the queue, then one message in many fragments while `flag` grows, then a close. */
static void script_late_fragments(peer *p, peer_conn *c) {
  char part[1000];
  if (!wsp_greet(c, "")) return;
  memset(part, 'x', sizeof part);
  for (int i = 0; i < 300; i++)
    if (!wsp_send(c, 0x82, part, sizeof part)) return;
  wsp_send(c, 2, "begin", 5);
  while (atomic_load(&p->flag) < 1) usleep(1000);
  wsp_send(c, 0, "middle", 6);
  while (atomic_load(&p->flag) < 2) usleep(1000);
  wsp_send(c, 0x80, "end", 3);
  wsp_text(c, "whole");
  wsp_close(c, 1000, "");
  peer_linger(c);
}

TEST(what_is_dropped_while_closing_is_dropped_whole) {
  bench b;
  talk t;
  peer p;
  dsc_ws_message m;
  int n = 0;
  peer_start(&p, script_late_fragments, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  talk_open(&t, &b, &request);
  for (int i = 0; i < 30; i++) dsc_loop_run(b.loop, 10);
  assert_int_equal(dsc_ws_close(t.conn, 1000, L(""), 30000, &t.why), DSC_OK);
  atomic_store(&p.flag, 1);
  /* nobody can see from here what was read and dropped: time enough for all of it */
  for (uint64_t end = dsc_clock_now_ms() + 1000; dsc_clock_now_ms() < end;) dsc_loop_run(b.loop, 20);
  for (; dsc_ws_receive(t.conn, &m); n++) {
    assert_int_equal(m.len, 1000);
    dsc_mem_free(m.data);
  }
  assert_true(n > 0);
  atomic_store(&p.flag, 2);
  assert_true(talk_hear(&t, &m));
  assert_string_equal(m.data, "whole");
  dsc_mem_free(m.data);
  talk_wait_closed(&t);
  assert_int_equal(t.end.code, 1000);
  talk_end(&t);
  bench_close(&b);
  peer_stop(&p);
}

/* Empty messages, many in a piece; kept without a bound they would need several MiB. */
enum { EMPTY_PIECES = 100, EMPTY_MESSAGES = EMPTY_PIECES * 1000 };

static void script_empty(peer *p, peer_conn *c) {
  char bytes[2000];
  if (!wsp_greet(c, "")) return;
  for (size_t i = 0; i < sizeof bytes; i += 2) memcpy(bytes + i, (char[]){(char)0x82, 0}, 2);
  for (int i = 0; i < EMPTY_PIECES; i++) {
    if (!peer_write(c, bytes, sizeof bytes)) return;
    atomic_fetch_add(&p->requests, 1);
  }
  wsp_close(c, 1000, "");
  peer_linger(c);
}

TEST(empty_messages_fill_the_queues_too) {
  static char big[10000]; /* what fills the socket, so that the empty ones have to wait */
  bench b;
  talk t;
  peer p;
  dsc_ws_message m;
  size_t before, now;
  int n = 0;
  dsc_err err = DSC_OK;
  peer_start(&p, script_empty, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  dsc_mem_usage(NULL, &before);
  talk_open(&t, &b, &request);
  for (int i = 0; i < 50; i++) dsc_loop_run(b.loop, 10);
  dsc_mem_usage(NULL, &now);
  assert_true(now - before < 1024 * 1024);
  for (; talk_hear(&t, &m); n++) {
    assert_int_equal(m.len, 0);
    dsc_mem_free(m.data);
  }
  assert_int_equal(n, EMPTY_MESSAGES);
  assert_int_equal(t.end.err, DSC_ECLOSED);
  talk_end(&t);
  peer_stop(&p);

  peer_start(&p, script_lazy, NULL);
  request = ws_request(&p);
  talk_open(&t, &b, &request);
  while (err == DSC_OK && dsc_ws_queued(t.conn) == 0)
    err = dsc_ws_send(t.conn, DSC_WS_BINARY, (dsc_str){big, sizeof big});
  dsc_mem_usage(NULL, &before);
  for (n = 0; err == DSC_OK && n < EMPTY_MESSAGES; n++) err = dsc_ws_send(t.conn, DSC_WS_TEXT, L(""));
  assert_int_equal(err, DSC_EOVERLOAD);
  dsc_mem_usage(NULL, &now);
  assert_true(now - before < 1024 * 1024);
  atomic_store(&p.flag, 1);
  while (!t.moved) dsc_loop_run(b.loop, 5000);
  assert_int_equal(dsc_ws_send(t.conn, DSC_WS_TEXT, L("")), DSC_OK);
  talk_end(&t);
  bench_close(&b);
  peer_stop(&p);
}

/* Thirty pings in one piece, then the pongs as text. */
static void script_pings(peer *p, peer_conn *c) {
  char bytes[30 * 4], text[256];
  size_t n = 0;
  wsp_frame f;
  (void)p;
  if (!wsp_greet(c, "")) return;
  for (int i = 0; i < 30; i++, n += 4)
    memcpy(bytes + n, (char[]){(char)0x89, 2, (char)('a' + i / 10), (char)('0' + i % 10)}, 4);
  peer_write(c, bytes, n);
  n = 0;
  while (n < 60 && wsp_read(c, &f)) {
    n += (size_t)snprintf(text + n, sizeof text - n, "%s", f.data);
    free(f.data);
  }
  wsp_text(c, text);
  peer_linger(c);
}

TEST(every_ping_is_answered) {
  bench b;
  talk t;
  peer p;
  dsc_ws_message m;
  peer_start(&p, script_pings, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  talk_open(&t, &b, &request);
  assert_true(talk_hear(&t, &m));
  assert_string_equal(m.data, "a0a1a2a3a4a5a6a7a8a9b0b1b2b3b4b5b6b7b8b9c0c1c2c3c4c5c6c7c8c9");
  dsc_mem_free(m.data);
  talk_end(&t);
  bench_close(&b);
  peer_stop(&p);
}

/* ------------------------------------------------------------- silence and loss */

static void script_silent(peer *p, peer_conn *c) {
  (void)p;
  if (wsp_greet(c, "")) peer_linger(c);
}

TEST(a_silent_peer_is_given_up) {
  bench b;
  talk t;
  peer p;
  peer_start(&p, script_silent, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  request.ping_ms = 50;
  request.ping_timeout_ms = 60;
  talk_open(&t, &b, &request);
  uint64_t start_ms = dsc_clock_now_ms();
  talk_wait_closed(&t);
  uint64_t gone_ms = dsc_clock_now_ms() - start_ms;
  assert_int_equal(t.end.err, DSC_ETIMEOUT);
  assert_int_equal(t.end.code, 1006);
  assert_non_null(strstr(t.end.why, "did not answer a ping within 60 ms"));
  assert_true(gone_ms >= 100 && gone_ms < 1100);
  talk_end(&t);
  bench_close(&b);
  peer_stop(&p);
}

TEST(a_peer_that_answers_pings_is_kept) {
  bench b;
  talk t;
  peer p;
  peer_start(&p, script_ws_echo, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  request.ping_ms = 20;
  request.ping_timeout_ms = 200;
  talk_open(&t, &b, &request);
  uint64_t until_ms = dsc_clock_now_ms() + 500;
  while (dsc_clock_now_ms() < until_ms) dsc_loop_run(b.loop, 50);
  assert_int_equal(t.closed, 0);
  assert_true(dsc_ws_is_open(t.conn));
  talk_end(&t);
  bench_close(&b);
  peer_stop(&p);
}

TEST(a_close_that_is_not_answered_ends_in_time) {
  bench b;
  talk t;
  peer p;
  peer_start(&p, script_silent, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  talk_open(&t, &b, &request);
  uint64_t start_ms = dsc_clock_now_ms();
  assert_int_equal(dsc_ws_close(t.conn, 1000, L(""), 80, &t.why), DSC_OK);
  talk_wait_closed(&t);
  assert_true(dsc_clock_now_ms() - start_ms >= 80);
  assert_int_equal(t.end.err, DSC_ETIMEOUT);
  assert_int_equal(t.end.code, 1006);
  talk_end(&t);
  bench_close(&b);
  peer_stop(&p);
}

/* Answers the close frame and stays. */
static void script_clinging(peer *p, peer_conn *c) {
  (void)p;
  if (!wsp_greet(c, "")) return;
  wsp_echo(c);
  peer_linger(c);
  usleep(2000000);
}

TEST(a_peer_that_does_not_hang_up_is_not_waited_for) {
  bench b;
  talk t;
  peer p;
  peer_start(&p, script_clinging, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  talk_open(&t, &b, &request);
  uint64_t start_ms = dsc_clock_now_ms();
  assert_int_equal(dsc_ws_close(t.conn, 0, L(""), 30000, &t.why), DSC_OK);
  talk_wait_closed(&t);
  uint64_t gone_ms = dsc_clock_now_ms() - start_ms;
  assert_int_equal(t.end.err, DSC_ECLOSED);
  assert_int_equal(t.end.code, 1005);
  assert_true(gone_ms >= DSC_WS_LINGER_MS && gone_ms < 5 * DSC_WS_LINGER_MS);
  talk_end(&t);
  bench_close(&b);
  peer_stop(&p);
}

static void script_hang_up(peer *p, peer_conn *c) {
  wsp_frame f;
  if (!wsp_greet(c, "") || !wsp_read(c, &f)) return;
  free(f.data);
  if (atomic_load(&p->flag)) peer_reset(c);
}

TEST(a_peer_that_hangs_up_or_resets_is_lost) {
  for (int reset = 0; reset <= 1; reset++) {
    bench b;
    talk t;
    peer p;
    peer_start(&p, script_hang_up, NULL);
    atomic_store(&p.flag, reset);
    bench_open(&b);
    dsc_ws_request request = ws_request(&p);
    talk_open(&t, &b, &request);
    assert_int_equal(dsc_ws_send(t.conn, DSC_WS_TEXT, L("go")), DSC_OK);
    talk_wait_closed(&t);
    assert_int_equal(t.end.err, DSC_ECONNECT);
    assert_int_equal(t.end.code, 1006);
    assert_int_equal(dsc_ws_send(t.conn, DSC_WS_TEXT, L("more")), DSC_ECLOSED);
    talk_end(&t);
    bench_close(&b);
    peer_stop(&p);
  }
}

/* Says two things and resets at once. */
static void script_words_and_reset(peer *p, peer_conn *c) {
  wsp_frame f;
  if (!wsp_greet(c, "") || !wsp_read(c, &f)) return;
  free(f.data);
  peer_write(c, "\x81\x03one\x81\x03two", 10); /* what waited to be sent would be lost */
  peer_reset(c);
  atomic_store(&p->flag, 1);
}

TEST(what_came_before_a_reset_is_given) {
  bench b;
  talk t;
  peer p;
  dsc_ws_message m;
  peer_start(&p, script_words_and_reset, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  talk_open(&t, &b, &request);
  assert_int_equal(dsc_ws_send(t.conn, DSC_WS_TEXT, L("go")), DSC_OK);
  while (!atomic_load(&p.flag)) usleep(1000); /* the loop does not run: words and reset are found together */
  talk_wait_closed(&t);
  assert_int_equal(t.end.err, DSC_ECONNECT);
  assert_true(dsc_ws_receive(t.conn, &m));
  assert_string_equal(m.data, "one");
  dsc_mem_free(m.data);
  assert_true(dsc_ws_receive(t.conn, &m));
  assert_string_equal(m.data, "two");
  dsc_mem_free(m.data);
  talk_end(&t);
  bench_close(&b);
  peer_stop(&p);
}

/* Sends what goes, then resets when told. */
static void script_full_and_reset(peer *p, peer_conn *c) {
  char message[1004] = "\x82\x7e\x03\xe8";
  if (!wsp_greet(c, "")) return;
  while (send(c->fd, message, sizeof message, MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof message) continue;
  atomic_store(&p->flag, 1);
  while (atomic_load(&p->flag) == 1) usleep(1000);
  peer_reset(c);
  atomic_store(&p->flag, 3);
}

/* A full queue, then a reset that nothing but a write can find. */
TEST(a_write_finds_that_a_peer_that_is_not_read_is_gone) {
  bench b;
  talk t;
  peer p;
  peer_start(&p, script_full_and_reset, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  request.max_queued = 10000;
  talk_open(&t, &b, &request);
  while (!atomic_load(&p.flag)) dsc_loop_run(b.loop, 10);
  atomic_store(&p.flag, 2);
  while (atomic_load(&p.flag) != 3) dsc_loop_run(b.loop, 10);
  uint64_t until_ms = dsc_clock_now_ms() + 30000;
  while (!t.closed && dsc_clock_now_ms() < until_ms) {
    dsc_ws_send(t.conn, DSC_WS_TEXT, L("there?"));
    dsc_loop_run(b.loop, 20);
  }
  assert_int_equal(t.closed, 1);
  assert_int_equal(t.end.err, DSC_ECONNECT);
  talk_end(&t);
  bench_close(&b);
  peer_stop(&p);
}

/* ------------------------------------------------------------- the way there */

static void script_mute(peer *p, peer_conn *c) {
  (void)p;
  peer_linger(c);
}

TEST(a_node_that_does_not_answer_is_given_up) {
  bench b;
  talk t;
  peer p;
  peer_start(&p, script_mute, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  request.timeout_ms = 80;
  talk_begin(&t, &b, &request);
  assert_int_equal(t.answer.err, DSC_ETIMEOUT);
  assert_true(t.answer.sent);
  assert_non_null(strstr(t.answer.why, "did not answer within 80 ms"));
  talk_end(&t);
  bench_close(&b);
  peer_stop(&p);
}

TEST(a_node_that_takes_no_connection_is_given_up) {
  bench b;
  talk t;
  peer p;
  int fds[8];
  peer_start(&p, script_mute, NULL);
  struct sockaddr_in sin = {.sin_family = AF_INET};
  socklen_t len = sizeof sin;
  inet_pton(AF_INET, "127.0.0.1", &sin.sin_addr);
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(listener, (struct sockaddr *)&sin, sizeof sin), 0);
  assert_int_equal(listen(listener, 0), 0);
  getsockname(listener, (struct sockaddr *)&sin, &len);
  for (size_t i = 0; i < COUNT(fds); i++) { /* a full backlog drops what comes */
    fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    connect(fds[i], (struct sockaddr *)&sin, sizeof sin);
  }
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  request.port = ntohs(sin.sin_port);
  request.connect_timeout_ms = 80;
  talk_begin(&t, &b, &request);
  assert_int_equal(t.answer.err, DSC_ETIMEOUT);
  assert_false(t.answer.sent);
  assert_non_null(strstr(t.answer.why, "no connection to"));
  assert_non_null(strstr(t.answer.why, "within 80 ms"));
  talk_end(&t);
  bench_close(&b);
  for (size_t i = 0; i < COUNT(fds); i++) close(fds[i]);
  close(listener);
  peer_stop(&p);
}

TEST(refused_connections_leave_nothing_behind) {
  bench b;
  peer p;
  size_t before, now;
  peer_start(&p, script_mute, NULL);
  dsc_ws_request request = ws_request(&p);
  peer_stop(&p);
  bench_open(&b);
  for (int i = 0; i < 200; i++) {
    talk t;
    if (i == 100) dsc_mem_usage(&before, NULL);
    talk_begin(&t, &b, &request);
    assert_int_equal(t.answer.err, DSC_ECONNECT);
    assert_true(t.answer.refused);
    assert_false(t.answer.ours);
    assert_false(t.answer.sent);
    talk_end(&t);
    dsc_loop_run(b.loop, 0);
    dsc_loop_run(b.loop, 0);
  }
  dsc_mem_usage(&now, NULL);
  assert_int_equal(now, before);
  bench_close(&b);
}

TEST(no_descriptor_left_is_our_own_fault) {
  bench b;
  talk t;
  peer p;
  struct rlimit limit, low;
  peer_start(&p, script_ws_echo, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  getrlimit(RLIMIT_NOFILE, &limit);
  int top = dup(0);
  close(top);
  low = (struct rlimit){.rlim_cur = (rlim_t)top, .rlim_max = limit.rlim_max};
  setrlimit(RLIMIT_NOFILE, &low);
  talk_begin(&t, &b, &request);
  setrlimit(RLIMIT_NOFILE, &limit);
  assert_int_equal(t.answer.err, DSC_EIO);
  assert_true(t.answer.ours);
  talk_end(&t);
  bench_close(&b);
  peer_stop(&p);
}

TEST(a_name_is_looked_up) {
  bench b;
  talk t;
  peer p;
  peer_start(&p, script_ws_echo, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  request.host = "localhost";
  talk_open(&t, &b, &request);
  talk_end(&t);
  request.host = "no-such-name.invalid";
  talk_begin(&t, &b, &request);
  assert_true(t.answer.err == DSC_ECONNECT || t.answer.err == DSC_ETIMEOUT);
  talk_end(&t);
  bench_close(&b);
  peer_stop(&p);
}

TEST(sigpipe_stays_as_it_was) {
  bench b;
  struct sigaction now;
  bench_open(&b);
  sigaction(SIGPIPE, NULL, &now);
  assert_true(now.sa_handler == SIG_DFL);
  bench_close(&b);
}

/* ------------------------------------------------------------- freeing at odd times */

static void free_opened(void *ud, dsc_http_answer *answer) {
  talk *t = ud;
  (void)answer;
  t->opened++;
  dsc_ws_conn_free(t->conn);
  dsc_loop_stop(t->b->loop);
}

static void free_moved(void *ud) {
  talk *t = ud;
  t->moved++;
  dsc_ws_conn_free(t->conn);
  dsc_loop_stop(t->b->loop);
}

static void free_closed(void *ud, const dsc_ws_end *end) {
  talk *t = ud;
  (void)end;
  t->closed++;
  dsc_ws_conn_free(t->conn);
  dsc_loop_stop(t->b->loop);
}

static void script_burst(peer *p, peer_conn *c) {
  (void)p;
  if (!wsp_greet(c, "")) return;
  usleep(20000);
  wsp_text(c, "one");
  wsp_close(c, 1000, "");
}

TEST(it_may_be_freed_in_every_callback) {
  static const dsc_ws_events variants[] = {{free_opened, talk_moved, talk_closed},
                                           {talk_opened, free_moved, talk_closed},
                                           {talk_opened, talk_moved, free_closed}};
  bench b;
  peer p;
  peer_start(&p, script_burst, NULL);
  bench_open(&b);
  for (int i = 0; i < 3; i++) {
    talk t = {.b = &b};
    dsc_ws_request request = ws_request(&p);
    assert_int_equal(dsc_ws_connect(b.ws, &request, &variants[i], &t, &t.conn, &t.why), DSC_OK);
    while (!(i == 0 ? t.opened : i == 1 ? t.moved : t.closed)) dsc_loop_run(b.loop, 5000);
    int events = t.opened + t.moved + t.closed;
    for (int j = 0; j < 5; j++) dsc_loop_run(b.loop, 10);
    assert_int_equal(t.opened + t.moved + t.closed, events);
    if (i > 0) dsc_headers_clear(&t.answer.headers);
  }
  bench_close(&b);
  peer_stop(&p);
}

TEST(the_client_may_go_first) {
  bench b;
  talk t, under_way = {.b = &b};
  peer p, mute;
  static const dsc_ws_events events = {talk_opened, talk_moved, talk_closed};
  dsc_ws_message m;
  peer_start(&p, script_flood, NULL);
  peer_start(&mute, script_mute, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p), other = ws_request(&mute);
  talk_open(&t, &b, &request);
  assert_int_equal(dsc_ws_connect(b.ws, &other, &events, &under_way, &under_way.conn, &under_way.why), DSC_OK);
  for (int i = 0; i < 20; i++) dsc_loop_run(b.loop, 10);
  bench_close(&b);
  assert_int_equal(under_way.opened, 0);
  assert_int_equal(t.closed, 0);
  assert_int_equal(dsc_ws_send(t.conn, DSC_WS_TEXT, L("x")), DSC_ECLOSED);
  int n = 0;
  while (dsc_ws_receive(t.conn, &m)) dsc_mem_free(m.data), n++;
  assert_true(n > 0);
  assert_int_equal(dsc_ws_close(t.conn, 1000, L(""), 100, &t.why), DSC_ECLOSED);
  talk_end(&t);
  dsc_ws_conn_free(under_way.conn);
  peer_stop(&p);
  peer_stop(&mute);
}

static int count_fds(void) {
  int n = 0;
  DIR *dir = opendir("/proc/self/fd");
  while (readdir(dir)) n++;
  closedir(dir);
  return n;
}

/* A peer keeps all its connections until it is stopped, so there is a new one each round. */
TEST(a_thousand_openings_leave_memory_and_descriptors_flat) {
  bench b;
  peer p;
  size_t before = 0, now;
  int fds = 0;
  bench_open(&b);
  for (int round = 0; round < 11; round++) {
    peer_start(&p, script_ws_echo, NULL);
    dsc_ws_request request = ws_request(&p);
    for (int i = 0; i < 100; i++) {
      talk t;
      talk_open(&t, &b, &request);
      if (i % 2) {
        dsc_ws_close(t.conn, 1000, L(""), 30000, &t.why);
        talk_wait_closed(&t);
      }
      talk_end(&t);
    }
    for (int i = 0; i < 3; i++) dsc_loop_run(b.loop, 0);
    peer_stop(&p);
    dsc_mem_usage(&now, NULL);
    int n = count_fds();
    if (round == 0) before = now, fds = n;
    assert_int_equal(now, before);
    assert_int_equal(n, fds);
  }
  bench_close(&b);
}

/* ------------------------------------------------------------- no memory */

static peer failing_peer;

static bool attempt_talk(void) {
  static const dsc_ws_events events = {talk_opened, talk_moved, talk_closed};
  bench b = {0};
  dsc_err err;
  talk t = {.b = &b};
  dsc_ws_message m;
  bool well = false;
  b.loop = dsc_loop_new(&err);
  if (b.loop) b.resolver = dsc_resolver_new(b.loop);
  if (b.resolver) b.ws = dsc_ws_new(b.loop, b.resolver, &err);
  dsc_ws_request request = ws_request(&failing_peer);
  request.protocols = "a";
  if (b.ws && dsc_ws_connect(b.ws, &request, &events, &t, &t.conn, &t.why) == DSC_OK) {
    while (!t.opened) dsc_loop_run(b.loop, -1);
    if (t.answer.err == DSC_OK && dsc_ws_send(t.conn, DSC_WS_TEXT, L("hello")) == DSC_OK && talk_hear(&t, &m)) {
      dsc_mem_free(m.data);
      well = dsc_ws_close(t.conn, 1000, L(""), 30000, &t.why) == DSC_OK;
      while (!t.closed) dsc_loop_run(b.loop, -1);
      well = well && t.end.err == DSC_ECLOSED;
    } else if (t.answer.err) {
      assert_int_equal(t.answer.err, DSC_ENOMEM);
      assert_true(t.answer.ours);
    }
  }
  dsc_ws_conn_free(t.conn);
  dsc_headers_clear(&t.answer.headers);
  dsc_ws_free(b.ws);
  dsc_resolver_free(b.resolver);
  dsc_loop_free(b.loop);
  return well;
}

TEST(every_allocation_may_fail) {
  peer_start(&failing_peer, script_ws_echo, NULL);
  assert_true(fail_each_allocation(attempt_talk) > 10);
  peer_stop(&failing_peer);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sigpipe_stays_as_it_was),
      cmocka_unit_test(messages_of_all_sizes_come_back_in_order),
      cmocka_unit_test(a_message_of_many_fragments),
      cmocka_unit_test(what_may_not_be_sent),
      cmocka_unit_test(the_send_queue_is_bounded_and_says_when_there_is_room),
      cmocka_unit_test(an_empty_queue_takes_any_message),
      cmocka_unit_test(a_full_receive_queue_stops_the_peer),
      cmocka_unit_test(closing_with_a_full_queue_hears_the_close_frame),
      cmocka_unit_test(what_is_dropped_while_closing_is_dropped_whole),
      cmocka_unit_test(empty_messages_fill_the_queues_too),
      cmocka_unit_test(every_ping_is_answered),
      cmocka_unit_test(a_silent_peer_is_given_up),
      cmocka_unit_test(a_peer_that_answers_pings_is_kept),
      cmocka_unit_test(a_close_that_is_not_answered_ends_in_time),
      cmocka_unit_test(a_peer_that_does_not_hang_up_is_not_waited_for),
      cmocka_unit_test(a_peer_that_hangs_up_or_resets_is_lost),
      cmocka_unit_test(what_came_before_a_reset_is_given),
      cmocka_unit_test(a_write_finds_that_a_peer_that_is_not_read_is_gone),
      cmocka_unit_test(a_node_that_does_not_answer_is_given_up),
      cmocka_unit_test(a_node_that_takes_no_connection_is_given_up),
      cmocka_unit_test(refused_connections_leave_nothing_behind),
      cmocka_unit_test(no_descriptor_left_is_our_own_fault),
      cmocka_unit_test(a_name_is_looked_up),
      cmocka_unit_test(it_may_be_freed_in_every_callback),
      cmocka_unit_test(the_client_may_go_first),
      cmocka_unit_test(a_thousand_openings_leave_memory_and_descriptors_flat),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
