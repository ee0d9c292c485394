/*
** http_fault_test.c - attempts against peers that hang, lie and die.
*/
#include "http_support.h"

static void script_text(peer *p, peer_conn *c) {
  while (peer_read(c)) {
    peer_say(c, p->ud);
    if (!strstr(p->ud, "keep-open")) return;
  }
}

static void script_trickle(peer *p, peer_conn *c) {
  peer_read(c);
  peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
  while (!atomic_load(&p->stopping) && peer_say(c, "x")) usleep(20000);
}

/* The first connection answers once, then takes the second request and closes; later connections are polite. */
static void script_dies_second(peer *p, peer_conn *c) {
  if (c->number == 0) {
    if (peer_read(c) && peer_answer(c, "first")) peer_read(c);
    return;
  }
  script_polite(p, c);
}

/* Every connection takes its second request and dies. */
static void script_all_die_second(peer *p, peer_conn *c) {
  (void)p;
  if (peer_read(c) && peer_answer(c, "once")) peer_read(c);
}

static void script_reset(peer *p, peer_conn *c) {
  (void)p;
  peer_read(c);
  peer_reset(c);
}

static void timeout_with(peer_script script, int status) {
  peer p;
  bench b;
  shot s;
  peer_start(&p, script, NULL);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  request.timeout_ms = 200;
  uint64_t from = dsc_clock_now_ms();
  call(&b, &request, &s);
  expect(&s, DSC_ETIMEOUT, p.addr);
  assert_true(s.answer.sent);
  assert_int_equal(s.answer.status, status);
  assert_true(dsc_clock_now_ms() - from >= 190);
  assert_true(dsc_clock_now_ms() - from < 5000);
  shot_clear(&s);
  bench_close(&b);
  peer_stop(&p);
}

static void test_refused(void **state) {
  (void)state;
  peer p;
  bench b;
  shot s;
  peer_start(&p, script_polite, NULL);
  peer_stop(&p);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  for (int i = 0; i < 3; i++) {
    call(&b, &request, &s);
    expect(&s, DSC_ECONNECT, p.addr);
    expect(&s, DSC_ECONNECT, "refused");
    assert_true(s.answer.refused);
    assert_false(s.answer.sent);
    assert_false(s.answer.ours);
    assert_int_equal(s.answer.status, 0);
    shot_clear(&s);
  }
  bench_close(&b);
}

/* A listening socket whose queue is full lets nobody in: SYNs are dropped. */
static void test_connect_timeout(void **state) {
  (void)state;
  struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof sin;
  int fd = socket(AF_INET, SOCK_STREAM, 0), fill[8];
  assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof sin), 0);
  assert_int_equal(listen(fd, 0), 0);
  getsockname(fd, (struct sockaddr *)&sin, &len);
  for (int i = 0; i < 8; i++) {
    fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    connect(fill[i], (struct sockaddr *)&sin, sizeof sin);
  }
  usleep(50000);
  bench b;
  shot s;
  char addr[32];
  snprintf(addr, sizeof addr, "127.0.0.1:%u", ntohs(sin.sin_port));
  bench_open(&b);
  dsc_http_request request = request_to(addr, "127.0.0.1", ntohs(sin.sin_port));
  request.connect_timeout_ms = 150;
  uint64_t from = dsc_clock_now_ms();
  call(&b, &request, &s);
  expect(&s, DSC_ETIMEOUT, "no connection to ");
  expect(&s, DSC_ETIMEOUT, addr);
  assert_false(s.answer.sent);
  assert_false(s.answer.refused);
  assert_true(dsc_clock_now_ms() - from < 5000);
  assert_true(dsc_clock_now_ms() - from >= 140);
  shot_clear(&s);
  bench_close(&b);
  for (int i = 0; i < 8; i++) close(fill[i]);
  close(fd);
}

static void test_hang(void **state) {
  (void)state;
  timeout_with(script_hang, 0);
}

static void test_trickle(void **state) {
  (void)state;
  timeout_with(script_trickle, 200);
}

static void test_bad_answers(void **state) {
  (void)state;
  static const struct {
    const char *text;
    dsc_err err;
    int status;
  } cases[] = {
      {"\x16\x03\x01garbage\r\n\r\n", DSC_EPROTOCOL, 0},
      {"garbage", DSC_EPROTOCOL, 0},
      {"HTTP/1.1 20", DSC_ECONNECT, 0},
      {"HTTP/1.1 OK fine\r\n\r\n", DSC_EPROTOCOL, 0},
      {"HTTP/9.9 200 OK\r\n\r\n", DSC_EPROTOCOL, 0},
      {"HTTP/1.1 200 OK\r\nContent-Ty", DSC_EPROTOCOL, 200},
      {"HTTP/1.1 200 OK\r\nContent-Type: x\r\n", DSC_EPROTOCOL, 200},
      {"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n", DSC_EPROTOCOL, 200},
      {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", DSC_EPROTOCOL, 200},
      {"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabcdefgh", DSC_EPROTOCOL, 200},
      {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999999\r\n\r\nabc", DSC_EPROTOCOL, 200},
      {"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\nabc", DSC_EPROTOCOL, 200},
      {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", DSC_EPROTOCOL, 200},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n", DSC_EPROTOCOL, 200},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", DSC_EPROTOCOL, 200},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffffff\r\nab", DSC_EPROTOCOL, 200},
      {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\nnotgzip", DSC_EPROTOCOL, 200},
      {"", DSC_ECONNECT, 0},
      /* and some that are odd but right */
      {"HTTP/1.1 200 OK\r\n\r\nuntil the end", DSC_OK, 200},
      {"HTTP/1.0 404 Not Found\r\nContent-Length: 2\r\n\r\nno", DSC_OK, 404},
      {"HTTP/1.1 204 No Content\r\n\r\n", DSC_OK, 204},
      {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", DSC_OK, 200},
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
       "1\r\n\r\nx",
       DSC_OK, 200},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n", DSC_OK,
       200},
      {"HTTP/1.1 200 OK\r\nX-Bytes: \xff\xfe\x01\r\nContent-Length: 0\r\n\r\n", DSC_OK, 200},
      {"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", DSC_OK, 503},
  };
  bench b;
  bench_open(&b);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    peer p;
    shot s;
    peer_start(&p, script_text, (void *)(uintptr_t)cases[i].text);
    dsc_http_request request = request_of(&p);
    call(&b, &request, &s);
    if (s.answer.err != cases[i].err || s.answer.status != cases[i].status) {
      fail_msg("case %zu: got %s: %s (status %d)", i, dsc_err_name(s.answer.err), s.answer.why, s.answer.status);
    }
    if (cases[i].err != DSC_OK) assert_non_null(strstr(s.answer.why, p.addr));
    assert_null(dsc_headers_find(&s.answer.headers, dsc_str_of("link")));
    assert_false(s.answer.ours);
    shot_clear(&s);
    peer_stop(&p);
  }
  bench_close(&b);
}

static void test_lost_kept_alive(void **state) {
  (void)state;
  for (int post = 0; post < 2; post++) {
    peer p;
    bench b;
    shot s;
    peer_start(&p, script_dies_second, NULL);
    bench_open(&b);
    dsc_http_request request = request_of(&p);
    call(&b, &request, &s);
    expect(&s, DSC_OK, NULL);
    shot_clear(&s);
    request.method = post ? "POST" : "GET";
    request.body = post ? "x" : NULL;
    request.body_len = post ? 1 : 0;
    request.may_repeat = !post;
    call(&b, &request, &s);
    assert_true(s.answer.sent);
    if (post) {
      expect(&s, DSC_ECONNECT, "kept-alive");
      assert_int_equal(atomic_load(&p.requests), 2);
    } else {
      expect(&s, DSC_OK, NULL);
      assert_string_equal(s.answer.body, "hello");
      assert_int_equal(atomic_load(&p.requests), 3);
      assert_int_equal(atomic_load(&p.accepted), 2);
    }
    shot_clear(&s);
    bench_close(&b);
    peer_stop(&p);
  }
}

/* Many kept-alive connections, each of which will die when used again: the replacement must be a fresh one. */
static void test_lost_many(void **state) {
  (void)state;
  peer p;
  bench b;
  shot s[4];
  peer_start(&p, script_all_die_second, NULL);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  memset(s, 0, sizeof s);
  for (int i = 0; i < 4; i++) fire(&b, &request, &s[i]);
  for (int i = 0; i < 4; i++) {
    await(&b, &s[i]);
    expect(&s[i], DSC_OK, NULL);
    shot_clear(&s[i]);
  }
  assert_int_equal(atomic_load(&p.accepted), 4);
  call(&b, &request, &s[0]);
  expect(&s[0], DSC_OK, NULL);
  assert_string_equal(s[0].answer.body, "once");
  shot_clear(&s[0]);
  assert_int_equal(atomic_load(&p.requests), 6);
  bench_close(&b);
  peer_stop(&p);
}

static void test_reset(void **state) {
  (void)state;
  peer p;
  bench b;
  shot s;
  peer_start(&p, script_reset, NULL);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  call(&b, &request, &s);
  expect(&s, DSC_ECONNECT, p.addr);
  assert_true(s.answer.sent);
  assert_false(s.answer.ours);
  shot_clear(&s);
  bench_close(&b);
  peer_stop(&p);
}

/* The program's handling of SIGPIPE is not touched, and none is raised when a peer resets while we send. */
static atomic_int pipes;

static void on_pipe(int number) {
  (void)number;
  atomic_fetch_add(&pipes, 1);
}

static void script_reset_early(peer *p, peer_conn *c) {
  (void)p;
  char bytes[64];
  recv(c->fd, bytes, sizeof bytes, 0);
  peer_reset(c);
}

static void test_no_sigpipe(void **state) {
  (void)state;
  peer p;
  bench b;
  shot s;
  struct sigaction act = {.sa_handler = on_pipe}, old, now;
  sigaction(SIGPIPE, &act, &old);
  size_t n = 8 << 20;
  char *body = calloc(1, n);
  peer_start(&p, script_reset_early, NULL);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  request.method = "POST";
  request.body = body;
  request.body_len = n;
  request.may_repeat = false;
  for (int i = 0; i < 10; i++) {
    call(&b, &request, &s);
    expect(&s, DSC_ECONNECT, p.addr);
    assert_true(s.answer.sent);
    shot_clear(&s);
  }
  bench_close(&b);
  peer_stop(&p);
  free(body);
  sigaction(SIGPIPE, &old, &now);
  assert_true(now.sa_handler == on_pipe);
  assert_int_equal(atomic_load(&pipes), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_refused),   cmocka_unit_test(test_connect_timeout), cmocka_unit_test(test_hang),
      cmocka_unit_test(test_trickle),   cmocka_unit_test(test_bad_answers),     cmocka_unit_test(test_lost_kept_alive),
      cmocka_unit_test(test_lost_many), cmocka_unit_test(test_reset),           cmocka_unit_test(test_no_sigpipe),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
