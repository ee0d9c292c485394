/*
** http_test.c - attempts against peers that behave: what is sent, kept-alive connections, cancel, names.
*/
#include "http_support.h"

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

static void script_slow(peer *p, peer_conn *c) {
  while (peer_read(c)) {
    while (!atomic_load(&p->flag) && !atomic_load(&p->stopping)) usleep(1000);
    if (!peer_answer(c, "slow")) return;
  }
}

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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_keep_alive), cmocka_unit_test(test_what_is_sent), cmocka_unit_test(test_methods),
      cmocka_unit_test(test_large_body), cmocka_unit_test(test_invalid),      cmocka_unit_test(test_cancel),
      cmocka_unit_test(test_many),       cmocka_unit_test(test_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
