/*
** resolve_test.c - literals, /etc/hosts, names that nobody answers for; the loop never blocks.
**
** No name server is reachable where these run, or one is: both are right, so only the time and the shape are checked.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/resolve.h"

typedef struct bench {
  dsc_loop *loop;
  dsc_resolver *resolver;
  size_t blocks;
} bench;

typedef struct result {
  dsc_loop *loop;
  int done;
  dsc_resolve_answer answer;
} result;

static void bench_open(bench *b) {
  dsc_err err;
  dsc_mem_usage(&b->blocks, NULL);
  b->loop = dsc_loop_new(&err);
  assert_non_null(b->loop);
  b->resolver = dsc_resolver_new(b->loop);
  assert_non_null(b->resolver);
}

static void bench_close(bench *b) {
  size_t blocks;
  dsc_resolver_free(b->resolver);
  dsc_loop_free(b->loop);
  dsc_mem_usage(&blocks, NULL);
  assert_int_equal(blocks, b->blocks);
}

static void on_done(void *ud, const dsc_resolve_answer *answer) {
  result *r = ud;
  assert_true(dsc_loop_running(r->loop));
  r->done++;
  r->answer = *answer;
  dsc_loop_stop(r->loop);
}

static void await(bench *b, const result *r) {
  uint64_t until = dsc_clock_now_ms() + 60000;
  while (!r->done && dsc_clock_now_ms() < until) dsc_loop_run(b->loop, 1000);
  assert_int_equal(r->done, 1);
}

static void test_literals(void **state) {
  (void)state;
  bench b;
  dsc_resolve_answer answer;
  bench_open(&b);
  assert_true(dsc_resolver_lookup(b.resolver, dsc_str_of("10.1.2.3"), &answer));
  assert_int_equal(answer.count, 1);
  assert_string_equal(answer.addrs[0], "10.1.2.3");
  assert_true(dsc_resolver_lookup(b.resolver, dsc_str_of("2001:db8::1"), &answer));
  assert_string_equal(answer.addrs[0], "2001:db8::1");
  assert_false(dsc_resolver_lookup(b.resolver, dsc_str_of("localhost"), &answer));
  assert_false(dsc_resolver_lookup(b.resolver, dsc_str_of("1.2.3.4.5"), &answer));
  assert_false(dsc_resolver_lookup(b.resolver, dsc_str_of(""), &answer));
  result r = {.loop = b.loop};
  assert_non_null(dsc_resolver_ask(b.resolver, dsc_str_of("127.0.0.1"), on_done, &r));
  assert_int_equal(r.done, 0);
  await(&b, &r);
  assert_int_equal(r.answer.err, DSC_OK);
  bench_close(&b);
}

static void test_localhost(void **state) {
  (void)state;
  bench b;
  bench_open(&b);
  result r[3];
  for (int i = 0; i < 3; i++) {
    r[i] = (result){.loop = b.loop};
    assert_non_null(dsc_resolver_ask(b.resolver, dsc_str_of("localhost"), on_done, &r[i]));
    assert_int_equal(r[i].done, 0);
  }
  for (int i = 0; i < 3; i++) {
    await(&b, &r[i]);
    assert_int_equal(r[i].answer.err, DSC_OK);
    assert_true(r[i].answer.count >= 1);
    assert_string_equal(r[i].answer.addrs[0], "127.0.0.1");
  }
  dsc_resolve_answer answer;
  assert_true(dsc_resolver_lookup(b.resolver, dsc_str_of("localhost"), &answer)); /* kept */
  assert_string_equal(answer.addrs[0], "127.0.0.1");
  bench_close(&b);
}

static void on_tick(void *ud) {
  int *ticks = ud;
  (*ticks)++;
}

/* While a name is open the loop goes on: a timer of 5 ms keeps its time. */
static void test_dead_name(void **state) {
  (void)state;
  bench b;
  bench_open(&b);
  result r = {.loop = b.loop};
  int ticks = 0;
  dsc_timer *timer = dsc_timer_new(b.loop, on_tick, &ticks);
  uint64_t from = dsc_clock_now_ms();
  assert_non_null(dsc_resolver_ask(b.resolver, dsc_str_of("nowhere.invalid"), on_done, &r));
  assert_true(dsc_clock_now_ms() - from < 1000);
  while (!r.done) {
    uint64_t round = dsc_clock_now_ms();
    dsc_timer_start(timer, 5);
    dsc_loop_run(b.loop, 20);
    assert_true(dsc_clock_now_ms() - round < 1000);
    assert_true(dsc_clock_now_ms() - from < 30000);
  }
  assert_true(r.answer.err == DSC_ECONNECT || r.answer.err == DSC_ETIMEOUT);
  assert_non_null(strstr(r.answer.why, "nowhere.invalid"));
  assert_int_equal(r.answer.count, 0);
  dsc_timer_free(timer);
  bench_close(&b);
}

static void test_not_names(void **state) {
  (void)state;
  bench b;
  char longest[400];
  memset(longest, 'a', sizeof longest);
  const dsc_str bad[] = {{"", 0}, {longest, sizeof longest}, {"a\0b", 3}, {"a\nb", 3}};
  bench_open(&b);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    result r = {.loop = b.loop};
    assert_non_null(dsc_resolver_ask(b.resolver, bad[i], on_done, &r));
    await(&b, &r);
    assert_int_equal(r.answer.err, DSC_ECONNECT);
  }
  bench_close(&b);
}

static void test_cancel_and_free(void **state) {
  (void)state;
  bench b;
  bench_open(&b);
  result r[4];
  dsc_resolve *q[4];
  for (int i = 0; i < 4; i++) {
    r[i] = (result){.loop = b.loop};
    q[i] = dsc_resolver_ask(b.resolver, dsc_str_of(i < 2 ? "localhost" : "nowhere.invalid"), on_done, &r[i]);
    assert_non_null(q[i]);
  }
  dsc_resolve_cancel(q[0]);
  dsc_resolve_cancel(q[2]);
  dsc_resolve_cancel(NULL);
  await(&b, &r[1]);
  dsc_loop_run(b.loop, 20);
  bench_close(&b); /* with one that may be open */
  assert_int_equal(r[0].done + r[2].done, 0);
}

/* More names than are kept: the oldest answers make room. */
static void test_bounded(void **state) {
  (void)state;
  bench b;
  char name[32];
  size_t before, after;
  bench_open(&b);
  for (int i = 0; i < 3 * DSC_RESOLVE_MAX_CACHE; i++) {
    if (i == 2 * DSC_RESOLVE_MAX_CACHE) dsc_mem_usage(&before, NULL);
    result r = {.loop = b.loop};
    snprintf(name, sizeof name, "bad..name%d", i); /* refused by c-ares at once */
    dsc_resolver_ask(b.resolver, dsc_str_of(name), on_done, &r);
    await(&b, &r);
    assert_true(r.answer.err == DSC_ECONNECT);
  }
  dsc_mem_usage(&after, NULL);
  assert_true(after <= before + 8);
  bench_close(&b);
}

static void test_out_of_memory(void **state) {
  (void)state;
  for (size_t n = 1;; n++) {
    bench b;
    bench_open(&b);
    result r = {.loop = b.loop};
    dsc_mem_fail_at(n, false);
    dsc_resolve *question = dsc_resolver_ask(b.resolver, dsc_str_of("localhost"), on_done, &r);
    if (question) await(&b, &r);
    bool failed = dsc_mem_asked() >= n;
    dsc_mem_fail_at(0, false);
    if (question) assert_int_equal(r.answer.err, failed ? DSC_ENOMEM : DSC_OK);
    bench_close(&b);
    if (!failed) break;
    assert_true(n < 100);
  }
  for (size_t n = 1;; n++) {
    dsc_err err;
    dsc_loop *loop = dsc_loop_new(&err);
    dsc_mem_fail_at(n, false);
    dsc_resolver *resolver = dsc_resolver_new(loop);
    dsc_mem_fail_at(0, false);
    dsc_resolver_free(resolver);
    dsc_loop_free(loop);
    if (resolver) break;
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_literals),      cmocka_unit_test(test_localhost),       cmocka_unit_test(test_dead_name),
      cmocka_unit_test(test_not_names),     cmocka_unit_test(test_cancel_and_free), cmocka_unit_test(test_bounded),
      cmocka_unit_test(test_out_of_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
