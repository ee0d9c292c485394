/*
** http_limits_test.c - what this process runs out of: connections, descriptors, memory, time to free.
*/
#include <sys/resource.h>

#include "http_support.h"

static void script_slow(peer *p, peer_conn *c) {
  while (peer_read(c)) {
    while (!atomic_load(&p->flag) && !atomic_load(&p->stopping)) usleep(1000);
    if (!peer_answer(c, "slow")) return;
  }
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_more_than_connections),
      cmocka_unit_test(test_free_in_flight),
      cmocka_unit_test(test_no_descriptors),
      cmocka_unit_test(test_out_of_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
