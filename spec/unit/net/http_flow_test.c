/*
** http_flow_test.c - request bodies that are read while they are sent, and answers that are fetched piece by piece.
*/
#include "http_flow_support.h"

static void send_spring(bench *b, peer *p, const char *method, uint64_t size, bool sized, shot *s) {
  spring water;
  dsc_http_source source = spring_of(&water, size, sized);
  dsc_http_request request = request_of(p);
  request.method = method;
  request.source = &source;
  call(b, &request, s);
}

static void a_source_is_the_body(void **state) {
  static const char *const methods[] = {"POST", "PUT", "PATCH", "DELETE", "GET", "PURGE"};
  static const uint64_t sizes[] = {0, 1, 5, 65535, 65536, 3000000};
  (void)state;
  bench b;
  peer p;
  peer_start(&p, script_judge, NULL);
  bench_open(&b);
  for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
    for (size_t j = 0; j < 2 * sizeof sizes / sizeof *sizes; j++) {
      uint64_t size = sizes[j / 2];
      shot s;
      char want[64];
      send_spring(&b, &p, methods[i], size, j % 2 == 0, &s);
      expect(&s, DSC_OK, NULL);
      snprintf(want, sizeof want, "%s %s %llu right", methods[i], j % 2 ? "chunked" : "length",
               (unsigned long long)size);
      assert_string_equal(s.answer.body, want);
      shot_clear(&s);
    }
  }
  assert_int_equal(atomic_load(&p.accepted), 1); /* and the connection is still good */
  bench_close(&b);
  peer_stop(&p);
}

static void bodies_of_both_kinds_take_turns(void **state) {
  (void)state;
  bench b;
  peer p;
  shot s;
  peer_start(&p, script_judge, NULL);
  bench_open(&b);
  for (int i = 0; i < 6; i++) {
    dsc_http_request request = request_of(&p);
    send_spring(&b, &p, "POST", 10, i % 2, &s);
    assert_string_equal(s.answer.body, i % 2 ? "POST length 10 right" : "POST chunked 10 right");
    shot_clear(&s);
    request.method = i < 3 ? "POST" : "GET";
    request.body = i < 3 ? "" : NULL;
    call(&b, &request, &s);
    assert_string_equal(s.answer.body, i < 3 ? "POST length 0 right" : "GET none 0 right");
    shot_clear(&s);
  }
  bench_close(&b);
  peer_stop(&p);
}

static void head_sends_no_source(void **state) {
  (void)state;
  bench b;
  peer p;
  shot s;
  peer_start(&p, script_judge, NULL);
  bench_open(&b);
  send_spring(&b, &p, "HEAD", 10, true, &s);
  expect(&s, DSC_OK, NULL);
  assert_int_equal(s.answer.body_len, 0);
  shot_clear(&s);
  bench_close(&b);
  peer_stop(&p);
}

static void a_source_may_pause(void **state) {
  (void)state;
  bench b;
  peer p;
  peer_start(&p, script_judge, NULL);
  bench_open(&b);
  for (int sized = 0; sized < 2; sized++) {
    spring water;
    flow_shot f;
    dsc_http_source source = spring_of(&water, 100000, sized);
    dsc_http_request request = request_of(&p);
    request.method = "POST";
    request.source = &source;
    water.stop_at = 0;
    water.most = 1000;
    flow_fire(&b, &request, &f, false);
    for (; water.stop_at < water.size; water.stop_at += 12500) {
      int laters = water.laters;
      dsc_http_resume(f.s.attempt);
      dsc_http_resume(f.s.attempt);
      while (water.laters == laters) dsc_loop_run(b.loop, 10);
      assert_int_equal(water.at, water.stop_at);
      run_for(&b, 2);
      assert_int_equal(f.s.done, 0);
    }
    dsc_http_resume(f.s.attempt);
    await(&b, &f.s);
    expect(&f.s, DSC_OK, NULL);
    assert_string_equal(f.s.answer.body, sized ? "POST length 100000 right" : "POST chunked 100000 right");
    assert_true(f.moved >= 7);
    shot_clear(&f.s);
  }
  bench_close(&b);
  peer_stop(&p);
}

static void a_source_that_fails_is_our_fault(void **state) {
  (void)state;
  bench b;
  peer p;
  shot s;
  peer_start(&p, script_judge, NULL);
  bench_open(&b);
  for (int i = 0; i < 4; i++) {
    spring water;
    dsc_http_source source = spring_of(&water, 300000, i != 1);
    dsc_http_request request = request_of(&p);
    request.method = "POST";
    request.source = &source;
    if (i < 2) water.fail_at = 200000;
    if (i == 2) water.fail_at = 1, water.most = 1;
    if (i == 3) water.shorter_by = 10;
    call(&b, &request, &s);
    expect(&s, DSC_EIO, i < 3 ? "could not be read" : "shorter");
    assert_true(s.answer.ours);
    assert_int_equal(s.answer.status, 0);
    shot_clear(&s);
  }
  assert_int_equal(dsc_http_active(b.http), 0);
  bench_close(&b);
  peer_stop(&p);
}

static void a_source_that_never_gives_is_our_fault(void **state) {
  (void)state;
  bench b;
  peer p;
  shot s;
  spring water;
  peer_start(&p, script_judge, NULL);
  bench_open(&b);
  dsc_http_source source = spring_of(&water, 300000, true);
  dsc_http_request request = request_of(&p);
  request.method = "POST";
  request.source = &source;
  request.timeout_ms = 100;
  water.stop_at = 10;
  call(&b, &request, &s);
  expect(&s, DSC_ETIMEOUT, "the body for");
  assert_true(s.answer.ours);
  shot_clear(&s);
  bench_close(&b);
  peer_stop(&p);
}

/* ------------------------------------------------------- a peer that breaks off */

static void script_too_large(peer *p, peer_conn *c) {
  peer_read_head(c);
  usleep(20000); /* the other side is in the middle of it */
  while (c->number >= 10 && atomic_load(&p->flag) < c->number && !atomic_load(&p->stopping)) usleep(500);
  peer_say(c, "HTTP/1.1 413 Too Much\r\nContent-Length: 6\r\nConnection: close\r\n\r\nenough");
  usleep(5000);
  if (c->number >= 10) peer_reset(c); /* what a close does to a body that was not read */
}

static void an_early_answer_is_the_answer(void **state) {
  (void)state;
  bench b;
  peer p;
  shot s;
  peer_start(&p, script_too_large, NULL);
  bench_open(&b);
  for (int i = 0; i < 20; i++) {
    spring water;
    dsc_http_source source = spring_of(&water, 64 * MIB, i % 2);
    dsc_http_request request = request_of(&p);
    request.method = "POST";
    request.source = &source;
    memset(&s, 0, sizeof s);
    fire(&b, &request, &s);
    if (i >= 10) { /* the answer and the reset come while nobody looks */
      while (water.at < 200000) dsc_loop_run(b.loop, 1000);
      run_for(&b, 5);
      atomic_store(&p.flag, i);
      usleep(60000);
    }
    await(&b, &s);
    expect(&s, DSC_OK, NULL);
    assert_int_equal(s.answer.status, 413);
    assert_string_equal(s.answer.body, "enough");
    shot_clear(&s);
  }
  bench_close(&b);
  peer_stop(&p);
}

static void script_deaf(peer *p, peer_conn *c) {
  peer_read_head(c);
  while (!atomic_load(&p->stopping)) usleep(1000);
}

static void a_peer_that_stops_reading_times_out(void **state) {
  (void)state;
  bench b;
  peer p;
  shot s;
  spring water;
  peer_start(&p, script_deaf, NULL);
  bench_open(&b);
  dsc_http_source source = spring_of(&water, 256 * MIB, true);
  dsc_http_request request = request_of(&p);
  request.method = "POST";
  request.source = &source;
  request.timeout_ms = 200;
  call(&b, &request, &s);
  expect(&s, DSC_ETIMEOUT, "answer");
  assert_false(s.answer.ours);
  assert_true(water.at > 0 && water.at < 64 * MIB);
  shot_clear(&s);
  bench_close(&b);
  peer_stop(&p);
}

/* Answers one request, then takes the next one's beginning and is gone. */
static void script_dies_second(peer *p, peer_conn *c) {
  if (!peer_read_head(c) || !peer_judge_body(c)) return;
  if (c->number > 0) {
    script_judge(p, c);
    return;
  }
  if (peer_read_head(c) && (c->rest_len > 0 || peer_fill(c))) atomic_fetch_add(&p->flag, 1); /* body has come */
  peer_reset(c);
}

static void kept_alive_and_lost(bool one_way, bool may_repeat, uint64_t size) {
  bench b;
  peer p;
  shot s;
  spring water;
  peer_start(&p, script_dies_second, NULL);
  bench_open(&b);
  send_spring(&b, &p, "POST", 5, true, &s);
  expect(&s, DSC_OK, NULL);
  shot_clear(&s);
  dsc_http_source source = spring_of(&water, size, true);
  water.one_way = one_way;
  dsc_http_request request = request_of(&p);
  char want[64];
  request.method = "PUT";
  request.source = &source;
  request.may_repeat = may_repeat;
  call(&b, &request, &s);
  assert_int_equal(atomic_load(&p.flag), 1);
  if (may_repeat && !one_way) {
    snprintf(want, sizeof want, "PUT length %llu right", (unsigned long long)size);
    expect(&s, DSC_OK, NULL);
    assert_string_equal(s.answer.body, want);
    assert_true(water.rewinds > 0);
  } else {
    expect(&s, DSC_ECONNECT, "lost");
    assert_true(s.answer.sent);
    assert_int_equal(s.answer.status, 0);
  }
  shot_clear(&s);
  bench_close(&b);
  peer_stop(&p);
}

static void a_lost_connection_is_replaced_if_the_source_rewinds(void **state) {
  (void)state;
  for (int i = 0; i < 10; i++) kept_alive_and_lost(false, true, i % 2 ? 100 : 8 * MIB);
  for (int i = 0; i < 4; i++) kept_alive_and_lost(true, true, i % 2 ? 100 : 8 * MIB);
  for (int i = 0; i < 4; i++) kept_alive_and_lost(false, false, i % 2 ? 100 : 8 * MIB);
}

/* ------------------------------------------------------------------- streams */

/* Answers with as many bytes of the pattern as the target says: /length or /c/length for chunks. */
static void script_pattern(peer *p, peer_conn *c) {
  (void)p;
  while (peer_read_head(c)) {
    char head[128];
    uint64_t n = strtoull(strstr(c->head, "=") + 1, NULL, 10);
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n", (unsigned long long)n);
    if (!peer_say(c, head) || !peer_write_pattern(c, n)) return;
  }
}

static dsc_http_request pattern_request(const peer *p, uint64_t size, char target[32]) {
  dsc_http_request request = request_of(p);
  snprintf(target, 32, "/?size=%llu", (unsigned long long)size);
  request.target = target;
  request.max_body = UINT64_MAX;
  return request;
}

static void a_stream_is_read_in_pieces(void **state) {
  static const size_t sizes[] = {0, 1, 1000, 262143, 262144, 300000, 5000000};
  static const size_t pieces[] = {1000, 65536, MIB};
  (void)state;
  bench b;
  peer p;
  char target[32];
  peer_start(&p, script_pattern, NULL);
  bench_open(&b);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    for (size_t j = 0; j < sizeof pieces / sizeof *pieces; j++) {
      flow_shot f;
      dsc_http_progress progress;
      dsc_http_request request = pattern_request(&p, sizes[i], target);
      flow_fire(&b, &request, &f, true);
      await_opened(&b, &f);
      assert_int_equal(f.opened, 1);
      assert_int_equal(f.status, 200);
      dsc_http_get_progress(f.s.attempt, &progress);
      if (!f.s.done) assert_int_equal(progress.to_receive, sizes[i]);
      drink(&b, &f, pieces[j]);
      expect(&f.s, DSC_OK, NULL);
      assert_int_equal(f.got, sizes[i]);
      assert_false(f.wrong);
      assert_int_equal(f.opened, 1);
      shot_clear(&f.s);
    }
  }
  assert_int_equal(atomic_load(&p.accepted), 1);
  bench_close(&b);
  peer_stop(&p);
}

static void what_is_not_read_waits_in_the_socket(void **state) {
  (void)state;
  bench b;
  peer p;
  flow_shot f;
  char target[32];
  size_t before, after;
  peer_start(&p, script_pattern, NULL);
  bench_open(&b);
  dsc_http_request request = pattern_request(&p, 64 * MIB, target);
  dsc_mem_usage(NULL, &before);
  flow_fire(&b, &request, &f, true);
  await_opened(&b, &f);
  run_for(&b, 200);
  dsc_mem_usage(NULL, &after);
  assert_true(after - before < 600000);
  assert_true(atomic_load(&p.flag) < 32); /* what fits into the sockets */
  assert_int_equal(f.s.done, 0);
  drink(&b, &f, 100000);
  expect(&f.s, DSC_OK, NULL);
  assert_int_equal(f.got, 64 * MIB);
  assert_false(f.wrong);
  shot_clear(&f.s);
  bench_close(&b);
  peer_stop(&p);
}

static void script_hints(peer *p, peer_conn *c) {
  (void)p;
  peer_read(c);
  peer_say(c, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
  usleep(30000);
  peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nX-A: b\r\n\r\n");
  usleep(30000);
  peer_say(c, "");
  peer_linger(c);
}

static void only_the_final_headers_open(void **state) {
  (void)state;
  bench b;
  peer p;
  flow_shot f;
  peer_start(&p, script_hints, NULL);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  flow_fire(&b, &request, &f, true);
  await_opened(&b, &f);
  assert_int_equal(f.opened, 1);
  assert_int_equal(f.status, 200);
  dsc_http_cancel(f.s.attempt);
  run_for(&b, 20);
  assert_int_equal(f.s.done, 0);
  bench_close(&b);
  peer_stop(&p);
}

/* A byte every 30 ms, `flag` of them, then silence. */
static void script_trickle(peer *p, peer_conn *c) {
  char byte;
  peer_read(c);
  peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
  for (int i = 0; i < atomic_load(&p->flag); i++) {
    usleep(30000);
    byte = pattern_at((uint64_t)i);
    peer_write(c, &byte, 1);
  }
  peer_linger(c);
}

static void time_runs_from_byte_to_byte(void **state) {
  (void)state;
  bench b;
  peer p;
  flow_shot f;
  uint32_t patience = 150 * (uint32_t)slowness();
  peer_start(&p, script_trickle, NULL);
  atomic_store(&p.flag, 20);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  request.timeout_ms = patience;
  uint64_t start = dsc_clock_now_ms();
  flow_fire(&b, &request, &f, true);
  drink(&b, &f, 100);
  expect(&f.s, DSC_ETIMEOUT, "silent");
  assert_false(f.s.answer.ours);
  assert_int_equal(f.s.answer.status, 200);
  assert_int_equal(f.got, 20);
  assert_true(dsc_clock_now_ms() - start >= 600 + patience);
  shot_clear(&f.s);
  bench_close(&b);
  peer_stop(&p);
}

static void time_stands_still_while_nothing_is_wanted(void **state) {
  (void)state;
  bench b;
  peer p;
  flow_shot f;
  char target[32];
  peer_start(&p, script_pattern, NULL);
  bench_open(&b);
  dsc_http_request request = pattern_request(&p, 8 * MIB, target);
  request.timeout_ms = 100 * (uint32_t)slowness();
  flow_fire(&b, &request, &f, true);
  await_opened(&b, &f);
  run_for(&b, 4 * request.timeout_ms);
  assert_int_equal(f.s.done, 0);
  drink(&b, &f, 65536);
  expect(&f.s, DSC_OK, NULL);
  assert_int_equal(f.got, 8 * MIB);
  shot_clear(&f.s);
  bench_close(&b);
  peer_stop(&p);
}

static void until_it_is_open_a_stream_has_the_time_of_any(void **state) {
  (void)state;
  bench b;
  peer p;
  flow_shot f;
  peer_start(&p, script_hang, NULL);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  request.timeout_ms = 100;
  flow_fire(&b, &request, &f, true);
  await(&b, &f.s);
  expect(&f.s, DSC_ETIMEOUT, "did not answer within 100 ms");
  assert_int_equal(f.opened, 0);
  shot_clear(&f.s);
  bench_close(&b);
  peer_stop(&p);
}

static void script_half(peer *p, peer_conn *c) {
  peer_read_head(c);
  peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n");
  peer_write_pattern(c, 1000000);
  if (p->ud) peer_reset(c);
}

static void what_came_before_the_break_is_handed_over(void **state) {
  (void)state;
  static char hard[] = "reset";
  for (int i = 0; i < 2; i++) {
    bench b;
    peer p;
    flow_shot f;
    peer_start(&p, script_half, i ? hard : NULL);
    bench_open(&b);
    dsc_http_request request = request_of(&p);
    request.max_body = UINT64_MAX;
    flow_fire(&b, &request, &f, true);
    drink(&b, &f, 70000);
    assert_int_equal(f.s.answer.err, i ? DSC_ECONNECT : DSC_EPROTOCOL);
    assert_int_equal(f.s.answer.status, 200);
    if (!i) assert_int_equal(f.got, 1000000);
    assert_false(f.wrong);
    shot_clear(&f.s);
    bench_close(&b);
    peer_stop(&p);
  }
}

static void script_chunks(peer *p, peer_conn *c) {
  char bytes[1000];
  (void)p;
  while (peer_read(c)) {
    peer_say(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (uint64_t place = 0; place < 5000000; place += sizeof bytes) {
      pattern_fill(bytes, sizeof bytes, place);
      if (!peer_say(c, "3e8\r\n") || !peer_write(c, bytes, sizeof bytes) || !peer_say(c, "\r\n")) return;
    }
    peer_say(c, "0\r\nX-Trailer: x\r\n\r\n");
  }
}

static void max_body_is_kept_if_set(void **state) {
  (void)state;
  bench b;
  peer p;
  flow_shot f;
  peer_start(&p, script_chunks, NULL);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  for (int i = 0; i < 3; i++) {
    request.max_body = i == 0 ? 4999999 : i == 1 ? 5000000 : UINT64_MAX;
    flow_fire(&b, &request, &f, true);
    drink(&b, &f, 65536);
    expect(&f.s, i == 0 ? DSC_ETOO_LARGE : DSC_OK, i == 0 ? "max_body" : NULL);
    assert_false(f.wrong);
    if (i) assert_int_equal(f.got, 5000000);
    shot_clear(&f.s);
  }
  bench_close(&b);
  peer_stop(&p);
}

/* ------------------------------------------------------------- everything else */

static void progress_is_told(void **state) {
  (void)state;
  bench b;
  peer p;
  flow_shot f;
  dsc_http_progress progress;
  char *body = malloc(3 * MIB);
  peer_start(&p, script_judge, NULL);
  bench_open(&b);
  pattern_fill(body, 3 * MIB, 0);
  dsc_http_request request = request_of(&p);
  request.method = "POST";
  request.body = body;
  request.body_len = 3 * MIB;
  flow_fire(&b, &request, &f, false);
  uint64_t last = 0;
  while (!f.s.done) {
    dsc_http_get_progress(f.s.attempt, &progress);
    assert_true(progress.sent >= last);
    assert_int_equal(progress.to_send, 3 * MIB);
    last = progress.sent;
    dsc_loop_run(b.loop, 1000);
  }
  expect(&f.s, DSC_OK, NULL);
  assert_string_equal(f.s.answer.body, "POST length 3145728 right");
  assert_int_equal(last, 3 * MIB);
  assert_true(f.moved > 1);
  assert_int_equal(f.opened, 0);
  shot_clear(&f.s);
  bench_close(&b);
  peer_stop(&p);
  free(body);
}

/* Both ways at once: an answer that begins before the request's body ended. */
static void script_duplex(peer *p, peer_conn *c) {
  bool right = true;
  (void)p;
  peer_read_head(c);
  peer_check(c, 100000, 0, &right);
  peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n");
  char *bytes = malloc(300000);
  pattern_fill(bytes, 300000, 0);
  peer_write(c, bytes, 150000);
  peer_check(c, 100000, 100000, &right);
  peer_write(c, bytes + 150000, right ? 150000 : 1);
  free(bytes);
  peer_linger(c);
}

static void both_ways_at_once(void **state) {
  (void)state;
  bench b;
  peer p;
  flow_shot f;
  spring water;
  char bytes[1000];
  peer_start(&p, script_duplex, NULL);
  bench_open(&b);
  dsc_http_source source = spring_of(&water, 200000, true);
  dsc_http_request request = request_of(&p);
  request.method = "POST";
  request.source = &source;
  request.timeout_ms = 200 * (uint32_t)slowness();
  water.stop_at = 100000;
  flow_fire(&b, &request, &f, true);
  await_opened(&b, &f);
  while (f.got < 150000) {
    size_t n = dsc_http_read(f.s.attempt, bytes, sizeof bytes);
    count(&f, bytes, n);
    if (!n) dsc_loop_run(b.loop, 1000);
  }
  run_for(&b, 2 * request.timeout_ms); /* it is us who are waited for */
  assert_int_equal(f.s.done, 0);
  water.stop_at = UINT64_MAX;
  dsc_http_resume(f.s.attempt);
  drink(&b, &f, 1000);
  expect(&f.s, DSC_OK, NULL);
  assert_int_equal(f.got, 300000);
  assert_false(f.wrong);
  shot_clear(&f.s);
  bench_close(&b);
  peer_stop(&p);
}

static void cancel_at(bench *b, peer *p, int turns) {
  flow_shot f;
  spring water;
  dsc_http_source source = spring_of(&water, 300000, turns % 2);
  dsc_http_request request = request_of(p);
  request.method = "POST";
  request.source = &source;
  flow_fire(b, &request, &f, turns % 3 != 0);
  for (int i = 0; i < turns && !f.s.done; i++) dsc_loop_run(b->loop, 5);
  if (!f.s.done) dsc_http_cancel(f.s.attempt);
  shot_clear(&f.s);
}

static void a_flow_may_be_canceled_at_any_time(void **state) {
  (void)state;
  bench b;
  peer p;
  peer_start(&p, script_judge, NULL);
  bench_open(&b);
  for (int turns = 0; turns < 40; turns++) cancel_at(&b, &p, turns);
  assert_int_equal(dsc_http_active(b.http), 0);
  for (int i = 0; i < 5; i++) { /* and one is left to be dropped with the client */
    static flow_shot f;
    static spring water;
    static dsc_http_source source;
    source = spring_of(&water, 10 * MIB, true);
    dsc_http_request request = request_of(&p);
    request.method = "POST";
    request.source = &source;
    flow_fire(&b, &request, &f, true);
    dsc_loop_run(b.loop, 5);
  }
  bench_close(&b);
  peer_stop(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_source_is_the_body),
      cmocka_unit_test(bodies_of_both_kinds_take_turns),
      cmocka_unit_test(head_sends_no_source),
      cmocka_unit_test(a_source_may_pause),
      cmocka_unit_test(a_source_that_fails_is_our_fault),
      cmocka_unit_test(a_source_that_never_gives_is_our_fault),
      cmocka_unit_test(an_early_answer_is_the_answer),
      cmocka_unit_test(a_peer_that_stops_reading_times_out),
      cmocka_unit_test(a_lost_connection_is_replaced_if_the_source_rewinds),
      cmocka_unit_test(a_stream_is_read_in_pieces),
      cmocka_unit_test(what_is_not_read_waits_in_the_socket),
      cmocka_unit_test(only_the_final_headers_open),
      cmocka_unit_test(time_runs_from_byte_to_byte),
      cmocka_unit_test(time_stands_still_while_nothing_is_wanted),
      cmocka_unit_test(until_it_is_open_a_stream_has_the_time_of_any),
      cmocka_unit_test(what_came_before_the_break_is_handed_over),
      cmocka_unit_test(max_body_is_kept_if_set),
      cmocka_unit_test(progress_is_told),
      cmocka_unit_test(both_ways_at_once),
      cmocka_unit_test(a_flow_may_be_canceled_at_any_time),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
