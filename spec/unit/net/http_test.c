/*
** http_test.c - attempts against peers that behave, misbehave and die.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/resource.h>

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

static void on_done(void *ud, dsc_http_answer *answer) {
  shot *s = ud;
  s->done++;
  s->answer = *answer;
  answer->body = NULL;
  dsc_headers_init(&answer->headers);
}

static void shot_clear(shot *s) {
  dsc_mem_free(s->answer.body);
  dsc_headers_clear(&s->answer.headers);
  memset(s, 0, sizeof *s);
}

static void bench_open(bench *b) {
  dsc_err err;
  dsc_mem_usage(&b->blocks, NULL);
  b->loop = dsc_loop_new(&err);
  assert_non_null(b->loop);
  b->resolver = dsc_resolver_new(b->loop);
  assert_non_null(b->resolver);
  b->http = dsc_http_new(b->loop, b->resolver, &err);
  assert_non_null(b->http);
}

static void bench_close(bench *b) {
  size_t blocks;
  dsc_http_free(b->http);
  dsc_resolver_free(b->resolver);
  dsc_loop_free(b->loop);
  dsc_mem_usage(&blocks, NULL);
  assert_int_equal(blocks, b->blocks);
}

static dsc_http_request request_to(const char *addr, const char *host, uint16_t port) {
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

static dsc_http_request request_of(const peer *p) {
  return request_to(p->addr, "127.0.0.1", p->port);
}

static void fire(bench *b, const dsc_http_request *request, shot *s) {
  dsc_why why;
  assert_int_equal(dsc_http_send(b->http, request, on_done, s, &s->attempt, &why), DSC_OK);
  assert_int_equal(s->done, 0);
}

static void await(bench *b, const shot *s) {
  uint64_t until = dsc_clock_now_ms() + 60000;
  while (!s->done && dsc_clock_now_ms() < until) dsc_loop_run(b->loop, 1000);
  assert_int_equal(s->done, 1);
}

static void call(bench *b, const dsc_http_request *request, shot *s) {
  memset(s, 0, sizeof *s);
  fire(b, request, s);
  await(b, s);
}

static void expect(const shot *s, dsc_err err, const char *part) {
  if (s->answer.err != err || (part && !strstr(s->answer.why, part))) {
    fail_msg("expected %s (%s), got %s: %s (status %d)", dsc_err_name(err), part ? part : "", dsc_err_name(s->answer.err),
             s->answer.why, s->answer.status);
  }
}

/* ------------------------------------------------------------------ scripts */

static void script_polite(peer *p, peer_conn *c) {
  (void)p;
  while (peer_read(c) && peer_answer(c, "hello")) continue;
}

static void script_echo(peer *p, peer_conn *c) {
  (void)p;
  while (peer_read(c)) {
    char head[128];
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", strlen(c->head) + 4 + c->body_len);
    if (!peer_say(c, head)) return;
    if (strncmp(c->head, "HEAD ", 5) == 0) continue;
    if (!peer_say(c, c->head) || !peer_say(c, "\r\n\r\n") || !peer_write(c, c->body, c->body_len)) return;
  }
}

static void script_text(peer *p, peer_conn *c) {
  while (peer_read(c)) {
    peer_say(c, p->ud);
    if (!strstr(p->ud, "keep-open")) return;
  }
}

static void script_hang(peer *p, peer_conn *c) {
  (void)p;
  peer_read(c);
  peer_linger(c);
}

static void script_trickle(peer *p, peer_conn *c) {
  peer_read(c);
  peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
  while (!atomic_load(&p->stopping) && peer_say(c, "x")) usleep(20000);
}

static void script_endless_headers(peer *p, peer_conn *c) {
  char line[1024];
  (void)p;
  peer_read(c);
  memset(line, 'a', sizeof line);
  memcpy(line, "X-A: ", 5);
  memcpy(line + sizeof line - 2, "\r\n", 2);
  peer_say(c, "HTTP/1.1 200 OK\r\n");
  while (peer_write(c, line, sizeof line)) continue;
}

static void script_endless_line(peer *p, peer_conn *c) {
  char bytes[1024];
  (void)p;
  peer_read(c);
  memset(bytes, 'a', sizeof bytes);
  peer_say(c, "HTTP/1.1 200 OK\r\nX-A: ");
  while (peer_write(c, bytes, sizeof bytes)) continue;
}

static void script_endless_1xx(peer *p, peer_conn *c) {
  (void)p;
  peer_read(c);
  while (peer_say(c, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")) continue;
}

static void script_endless_body(peer *p, peer_conn *c) {
  char bytes[4096];
  (void)p;
  peer_read(c);
  memset(bytes, 'a', sizeof bytes);
  peer_say(c, "HTTP/1.1 200 OK\r\n\r\n");
  while (peer_write(c, bytes, sizeof bytes)) continue;
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

static void script_slow(peer *p, peer_conn *c) {
  while (peer_read(c)) {
    while (!atomic_load(&p->flag) && !atomic_load(&p->stopping)) usleep(1000);
    if (!peer_answer(c, "slow")) return;
  }
}

typedef struct bits {
  char bytes[65536];
  size_t n; /* bits */
} bits;

/* Appends the `n` bits of `code`, highest first, as deflate wants Huffman codes. */
static void put_bits(bits *b, unsigned code, int n) {
  while (n-- > 0) {
    if (code >> n & 1U) b->bytes[b->n / 8] = (char)(b->bytes[b->n / 8] | 1 << b->n % 8);
    b->n++;
  }
}

/* 4 MiB of zeros: one literal, then "258 times the byte before" (RFC 1951, fixed codes). */
static void script_gzip_bomb(peer *p, peer_conn *c) {
  static const char magic[10] = {0x1f, (char)0x8b, 8, 0, 0, 0, 0, 0, 0, 3};
  bits b = {.n = 0};
  char head[160];
  (void)p;
  put_bits(&b, 6, 3); /* the last block, fixed codes */
  put_bits(&b, 0x30, 8);
  for (int i = 0; i < 4 * 1024 * 1024 / 258; i++) {
    put_bits(&b, 0xc5, 8);
    put_bits(&b, 0, 5);
  }
  peer_read(c);
  snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %zu\r\n\r\n", 10 + b.n / 8);
  peer_say(c, head);
  peer_write(c, magic, sizeof magic);
  peer_write(c, b.bytes, b.n / 8);
  peer_linger(c);
}

/* -------------------------------------------------------------------- tests */

static void test_keep_alive(void **state) {
  (void)state;
  peer p;
  bench b;
  shot s;
  peer_start(&p, script_polite, NULL);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  for (int i = 0; i < 50; i++) {
    call(&b, &request, &s);
    expect(&s, DSC_OK, NULL);
    assert_int_equal(s.answer.status, 200);
    assert_string_equal(s.answer.reason, "OK");
    assert_int_equal(s.answer.http_major * 10 + s.answer.http_minor, 11);
    assert_string_equal(s.answer.body, "hello");
    assert_int_equal(s.answer.body_len, 5);
    assert_true(s.answer.sent);
    shot_clear(&s);
  }
  assert_int_equal(atomic_load(&p.accepted), 1);
  assert_int_equal(atomic_load(&p.requests), 50);
  assert_int_equal(dsc_http_active(b.http), 0);
  bench_close(&b);
  peer_stop(&p);
}

static void echo_of(bench *b, const dsc_http_request *request, char *text, size_t size) {
  shot s;
  call(b, request, &s);
  expect(&s, DSC_OK, NULL);
  snprintf(text, size, "%s", s.answer.body);
  shot_clear(&s);
}

static void test_what_is_sent(void **state) {
  (void)state;
  peer p;
  bench b;
  char got[65536], wanted[256];
  peer_start(&p, script_echo, NULL);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  echo_of(&b, &request, got, sizeof got);
  snprintf(wanted, sizeof wanted, "GET /x?y=1 HTTP/1.1\r\n");
  assert_memory_equal(got, wanted, strlen(wanted));
  snprintf(wanted, sizeof wanted, "Host: %s\r\n", p.addr);
  assert_non_null(strstr(got, wanted));
  assert_non_null(strstr(got, "Accept: */*\r\n"));
  assert_non_null(strstr(got, "Accept-Encoding: "));
  assert_null(strstr(got, "User-Agent"));
  assert_null(strstr(got, "Content-"));

  dsc_headers headers;
  dsc_headers_init(&headers);
  dsc_headers_add(&headers, dsc_str_of("accept"), dsc_str_of("text/plain"));
  dsc_headers_add(&headers, dsc_str_of("User-Agent"), dsc_str_of("me"));
  dsc_headers_add(&headers, dsc_str_of("X-Empty"), dsc_str_of(""));
  dsc_headers_add(&headers, dsc_str_of("X-Two"), dsc_str_of("1"));
  dsc_headers_add(&headers, dsc_str_of("X-Two"), dsc_str_of("2"));
  dsc_headers_add(&headers, dsc_str_of("Content-Length"), dsc_str_of("999"));
  dsc_headers_add(&headers, dsc_str_of("Transfer-Encoding"), dsc_str_of("chunked"));
  dsc_headers_add(&headers, dsc_str_of("Host"), dsc_str_of("other.example"));
  dsc_headers_add(&headers, dsc_str_of("Access-Token"), dsc_str_of("the user's"));
  dsc_secret *secret = dsc_secret_new(dsc_str_of("s3cret"));
  request.headers = &headers;
  request.secret = secret;
  request.secret_name = "access-token";
  request.method = "POST";
  request.body = "a=b";
  request.body_len = 3;
  echo_of(&b, &request, got, sizeof got);
  assert_memory_equal(got, "POST /x?y=1 HTTP/1.1\r\n", 22);
  assert_non_null(strstr(got, "\r\naccept: text/plain\r\n"));
  assert_null(strstr(got, "*/*"));
  assert_non_null(strstr(got, "\r\nUser-Agent: me\r\n"));
  assert_non_null(strstr(got, "\r\nX-Empty:\r\n"));
  assert_non_null(strstr(got, "\r\nX-Two: 1\r\nX-Two: 2\r\n"));
  assert_non_null(strstr(got, "\r\nContent-Length: 3\r\n"));
  assert_non_null(strstr(got, "\r\nHost: other.example\r\n"));
  assert_non_null(strstr(got, "\r\naccess-token: s3cret\r\n"));
  assert_null(strstr(got, "the user's"));
  assert_null(strstr(got, "999"));
  assert_null(strstr(got, "Transfer-Encoding"));
  assert_null(strstr(got, "Content-Type"));
  assert_null(strstr(got, "Expect"));
  assert_non_null(strstr(got, "\r\n\r\na=b"));
  dsc_secret_unref(secret);
  dsc_headers_clear(&headers);
  bench_close(&b);
  peer_stop(&p);
}

static void test_methods(void **state) {
  (void)state;
  static const struct {
    const char *method, *body, *line, *length;
  } cases[] = {{"POST", NULL, "POST /", "Content-Length: 0\r\n"},
               {"POST", "", "POST /", "Content-Length: 0\r\n"},
               {"PUT", NULL, "PUT /", "Content-Length: 0\r\n"},
               {"PATCH", "p", "PATCH /", "Content-Length: 1\r\n"},
               {"DELETE", NULL, "DELETE /", NULL},
               {"DELETE", "d", "DELETE /", "Content-Length: 1\r\n"},
               {"GET", "body", "GET /", "Content-Length: 4\r\n"},
               {"GET", NULL, "GET /", NULL},
               {"OPTIONS", NULL, "OPTIONS /", NULL},
               {"M-SEARCH", NULL, "M-SEARCH /", NULL},
               {"a-very-long-method-name-that-is-a-token", NULL, "a-very-long-method-name-that-is-a-token /", NULL},
               {"get", NULL, "get /", NULL},
               {"GET", NULL, "GET /", NULL}};
  peer p;
  bench b;
  shot s;
  char got[65536];
  peer_start(&p, script_echo, NULL);
  bench_open(&b);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    dsc_http_request request = request_of(&p);
    request.method = cases[i].method;
    request.body = cases[i].body;
    request.body_len = cases[i].body ? strlen(cases[i].body) : 0;
    echo_of(&b, &request, got, sizeof got);
    assert_memory_equal(got, cases[i].line, strlen(cases[i].line));
    if (cases[i].length) {
      assert_non_null(strstr(got, cases[i].length));
    } else {
      assert_null(strstr(got, "Content-Length"));
    }
    if (cases[i].body) assert_string_equal(strstr(got, "\r\n\r\n") + 4, cases[i].body);
    /* HEAD between them, so that no handle stays in its mode */
    request.method = "HEAD";
    request.body = NULL;
    call(&b, &request, &s);
    expect(&s, DSC_OK, NULL);
    assert_int_equal(s.answer.status, 200);
    assert_int_equal(s.answer.body_len, 0);
    shot_clear(&s);
  }
  assert_int_equal(atomic_load(&p.accepted), 1);
  bench_close(&b);
  peer_stop(&p);
}

static void test_large_body(void **state) {
  (void)state;
  peer p;
  bench b;
  shot s;
  size_t n = 5 * 1024 * 1024;
  char *body = malloc(n);
  for (size_t i = 0; i < n; i++) body[i] = (char)(i * 31 >> 3);
  peer_start(&p, script_echo, NULL);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  request.method = "PUT";
  request.body = body;
  request.body_len = n;
  request.max_body = 64 << 20;
  call(&b, &request, &s);
  expect(&s, DSC_OK, NULL);
  assert_true(s.answer.body_len > n);
  assert_memory_equal(s.answer.body + s.answer.body_len - n, body, n);
  shot_clear(&s);
  free(body);
  bench_close(&b);
  peer_stop(&p);
}

static void test_invalid(void **state) {
  (void)state;
  static const char *const targets[] = {"", "x", "/a b", "/a\r\nX: y", "/\x7f"};
  static const char *const methods[] = {"", "A B", "GET\r\n", "\xc3\xa9"};
  peer p;
  bench b;
  shot s;
  peer_start(&p, script_polite, NULL);
  bench_open(&b);
  for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
    dsc_http_request request = request_of(&p);
    request.target = targets[i];
    call(&b, &request, &s);
    expect(&s, DSC_EINVALID, NULL);
    assert_false(s.answer.sent);
    shot_clear(&s);
  }
  for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
    dsc_http_request request = request_of(&p);
    request.method = methods[i];
    call(&b, &request, &s);
    expect(&s, DSC_EINVALID, NULL);
    shot_clear(&s);
  }
  dsc_headers headers;
  dsc_headers_init(&headers);
  dsc_headers_add(&headers, dsc_str_of("X-Secret"), dsc_str_of("s3cret\r\nX-Evil: 1"));
  dsc_http_request request = request_of(&p);
  request.headers = &headers;
  call(&b, &request, &s);
  expect(&s, DSC_EINVALID, "line break");
  assert_null(strstr(s.answer.why, "s3cret"));
  shot_clear(&s);
  dsc_headers_clear(&headers);
  assert_int_equal(atomic_load(&p.requests), 0);
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
      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
       DSC_OK, 200},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n", DSC_OK, 200},
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

static void too_much(peer_script script, dsc_err err, int status) {
  peer p;
  bench b;
  shot s;
  peer_start(&p, script, NULL);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  call(&b, &request, &s);
  expect(&s, err, p.addr);
  assert_int_equal(s.answer.status, status);
  assert_false(s.answer.ours);
  shot_clear(&s);
  bench_close(&b);
  peer_stop(&p);
}

static void test_too_much(void **state) {
  (void)state;
  too_much(script_endless_headers, DSC_EPROTOCOL, 200);
  too_much(script_endless_line, DSC_EPROTOCOL, 200);
  too_much(script_endless_1xx, DSC_EPROTOCOL, 103);
  too_much(script_endless_body, DSC_ETOO_LARGE, 200);
  too_much(script_gzip_bomb, DSC_ETOO_LARGE, 200);
}

static void test_declared_too_large(void **state) {
  (void)state;
  peer p;
  bench b;
  shot s;
  static char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 1048577\r\nX: keep-open\r\n\r\n";
  peer_start(&p, script_text, text);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  call(&b, &request, &s);
  expect(&s, DSC_ETOO_LARGE, "max_body");
  shot_clear(&s);
  request.method = "HEAD"; /* no body, so its length may be any */
  call(&b, &request, &s);
  expect(&s, DSC_OK, NULL);
  shot_clear(&s);
  bench_close(&b);
  peer_stop(&p);
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

static void test_cancel(void **state) {
  (void)state;
  peer p;
  bench b;
  shot s[3];
  memset(s, 0, sizeof s);
  peer_start(&p, script_slow, NULL);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  for (int i = 0; i < 3; i++) fire(&b, &request, &s[i]);
  dsc_loop_run(b.loop, 50);
  dsc_http_cancel(s[0].attempt);
  dsc_http_cancel(NULL);
  assert_int_equal(dsc_http_active(b.http), 2);
  atomic_store(&p.flag, 1);
  await(&b, &s[1]);
  await(&b, &s[2]);
  assert_int_equal(s[0].done, 0);
  for (int i = 1; i < 3; i++) shot_clear(&s[i]);
  request.target = "bad"; /* ready at once, canceled before it is delivered */
  fire(&b, &request, &s[0]);
  dsc_http_cancel(s[0].attempt);
  dsc_loop_run(b.loop, 20);
  assert_int_equal(s[0].done, 0);
  assert_int_equal(dsc_http_active(b.http), 0);
  bench_close(&b);
  peer_stop(&p);
}

static void test_many(void **state) {
  (void)state;
  enum { MANY = 200 };
  peer p;
  bench b;
  static shot s[MANY];
  peer_start(&p, script_echo, NULL);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  for (int round = 0; round < 3; round++) {
    memset(s, 0, sizeof s);
    for (int i = 0; i < MANY; i++) fire(&b, &request, &s[i]);
    for (int i = 0; i < MANY; i++) await(&b, &s[i]);
    dsc_loop_run(b.loop, 0);
    for (int i = 0; i < MANY; i++) {
      expect(&s[i], DSC_OK, NULL);
      assert_int_equal(s[i].done, 1);
      shot_clear(&s[i]);
    }
  }
  assert_int_equal(atomic_load(&p.requests), 3 * MANY);
  assert_int_equal(dsc_http_active(b.http), 0);
  bench_close(&b);
  peer_stop(&p);
}

/* More than there may be connections: the rest waits, in order, and within its time. */
static void test_more_than_connections(void **state) {
  (void)state;
  enum { MANY = DSC_HTTP_MAX_CONNECTIONS + 40 };
  peer p;
  bench b;
  static shot s[MANY], late;
  memset(s, 0, sizeof s);
  memset(&late, 0, sizeof late);
  peer_start(&p, script_slow, NULL);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  for (int i = 0; i < MANY; i++) fire(&b, &request, &s[i]);
  request.timeout_ms = 100;
  fire(&b, &request, &late);
  await(&b, &late);
  expect(&late, DSC_ETIMEOUT, "connections");
  assert_true(late.answer.ours);
  assert_false(late.answer.sent);
  shot_clear(&late);
  atomic_store(&p.flag, 1);
  for (int i = 0; i < MANY; i++) {
    await(&b, &s[i]);
    expect(&s[i], DSC_OK, NULL);
    shot_clear(&s[i]);
  }
  assert_int_equal(atomic_load(&p.accepted), DSC_HTTP_MAX_CONNECTIONS);
  bench_close(&b);
  peer_stop(&p);
}

static void test_free_in_flight(void **state) {
  (void)state;
  peer p;
  bench b;
  static shot s[50];
  memset(s, 0, sizeof s);
  peer_start(&p, script_hang, NULL);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  for (int i = 0; i < 50; i++) fire(&b, &request, &s[i]);
  dsc_loop_run(b.loop, 50);
  request = request_to("nowhere.invalid:80", "nowhere.invalid", 80);
  fire(&b, &request, &s[0]);
  request.target = "bad";
  request.host = "127.0.0.1";
  fire(&b, &request, &s[1]);
  bench_close(&b);
  for (int i = 0; i < 50; i++) assert_int_equal(s[i].done, 0);
  peer_stop(&p);
}

static void test_names(void **state) {
  (void)state;
  peer p;
  bench b;
  shot s;
  char addr[64];
  peer_start(&p, script_echo, NULL);
  bench_open(&b);
  snprintf(addr, sizeof addr, "localhost:%u", p.port);
  dsc_http_request request = request_to(addr, "localhost", p.port);
  for (int i = 0; i < 5; i++) {
    call(&b, &request, &s);
    expect(&s, DSC_OK, NULL);
    assert_non_null(strstr(s.answer.body, addr));
    shot_clear(&s);
  }
  assert_int_equal(atomic_load(&p.accepted), 1);
  request = request_to("nowhere.invalid:80", "nowhere.invalid", 80);
  request.timeout_ms = 200;
  uint64_t from = dsc_clock_now_ms();
  call(&b, &request, &s);
  assert_true(s.answer.err == DSC_ETIMEOUT || s.answer.err == DSC_ECONNECT);
  assert_non_null(strstr(s.answer.why, "nowhere.invalid"));
  assert_false(s.answer.sent);
  assert_true(dsc_clock_now_ms() - from < 5000);
  shot_clear(&s);
  bench_close(&b);
  peer_stop(&p);
}

static void test_no_descriptors(void **state) {
  (void)state;
  peer p;
  bench b;
  shot s;
  struct rlimit before, tight;
  peer_start(&p, script_polite, NULL);
  bench_open(&b);
  getrlimit(RLIMIT_NOFILE, &before);
  int next = dup(0);
  close(next);
  tight = before;
  tight.rlim_cur = (rlim_t)next;
  setrlimit(RLIMIT_NOFILE, &tight);
  dsc_http_request request = request_of(&p);
  call(&b, &request, &s);
  setrlimit(RLIMIT_NOFILE, &before);
  expect(&s, DSC_EIO, p.addr);
  assert_true(s.answer.ours);
  assert_false(s.answer.sent);
  shot_clear(&s);
  call(&b, &request, &s);
  expect(&s, DSC_OK, NULL);
  shot_clear(&s);
  bench_close(&b);
  peer_stop(&p);
}

/* Every allocation of one call fails once in turn: always exactly one end, nothing leaks, and the next call works. */
static void test_out_of_memory(void **state) {
  (void)state;
  peer p;
  bench b;
  shot s;
  dsc_why why;
  char addr[64];
  peer_start(&p, script_polite, NULL);
  snprintf(addr, sizeof addr, "localhost:%u", p.port);
  for (size_t n = 1, ok = 0; !ok; n++) {
    assert_true(n < 1000);
    bench_open(&b);
    dsc_http_request request = n % 2 ? request_of(&p) : request_to(addr, "localhost", p.port);
    memset(&s, 0, sizeof s);
    dsc_mem_fail_at((n + 1) / 2, false);
    dsc_err err = dsc_http_send(b.http, &request, on_done, &s, NULL, &why);
    if (err == DSC_OK) {
      await(&b, &s);
      ok = s.answer.err == DSC_OK && dsc_mem_asked() < (n + 1) / 2;
      if (s.answer.err != DSC_OK) expect(&s, DSC_ENOMEM, NULL);
      assert_true(s.answer.ours == (s.answer.err != DSC_OK));
    } else {
      assert_int_equal(err, DSC_ENOMEM);
    }
    dsc_mem_fail_at(0, false);
    shot_clear(&s);
    call(&b, &request, &s);
    if (n % 2 || s.answer.err == DSC_OK) expect(&s, DSC_OK, NULL); /* a failed look-up is remembered for a second */
    shot_clear(&s);
    bench_close(&b);
  }
  for (size_t n = 1;; n++) {
    dsc_err err;
    dsc_loop *loop = dsc_loop_new(&err);
    dsc_resolver *resolver = dsc_resolver_new(loop);
    dsc_mem_fail_at(n, false);
    dsc_http *http = dsc_http_new(loop, resolver, &err);
    dsc_mem_fail_at(0, false);
    assert_true(http ? err == DSC_OK : err == DSC_ENOMEM);
    dsc_http_free(http);
    dsc_resolver_free(resolver);
    dsc_loop_free(loop);
    if (http) break;
  }
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
      cmocka_unit_test(test_keep_alive),
      cmocka_unit_test(test_what_is_sent),
      cmocka_unit_test(test_methods),
      cmocka_unit_test(test_large_body),
      cmocka_unit_test(test_invalid),
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_connect_timeout),
      cmocka_unit_test(test_hang),
      cmocka_unit_test(test_trickle),
      cmocka_unit_test(test_bad_answers),
      cmocka_unit_test(test_too_much),
      cmocka_unit_test(test_declared_too_large),
      cmocka_unit_test(test_lost_kept_alive),
      cmocka_unit_test(test_lost_many),
      cmocka_unit_test(test_reset),
      cmocka_unit_test(test_cancel),
      cmocka_unit_test(test_many),
      cmocka_unit_test(test_more_than_connections),
      cmocka_unit_test(test_free_in_flight),
      cmocka_unit_test(test_names),
      cmocka_unit_test(test_no_descriptors),
      cmocka_unit_test(test_out_of_memory),
      cmocka_unit_test(test_no_sigpipe),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
