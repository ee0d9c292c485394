/*
** http_flow_flood_test.c - bodies in pieces that are large, many, or hostile: what they cost in memory and descriptors,
** and every allocation of ours failing in turn.
*/
#include "http_flow_support.h"

static uint64_t large(void) {
  return slowness() > 1 ? 64 * MIB : 1024 * MIB;
}

/* Zeros, as fast as they are taken: to fill and to check a pattern would be most of the time. */
static void script_zeros(peer *p, peer_conn *c) {
  static const char zeros[65536];
  char head[128];
  while (peer_read_head(c)) {
    uint64_t n = *(uint64_t *)p->ud;
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n", (unsigned long long)n);
    if (!peer_say(c, head)) return;
    for (; n > 0; n -= n < sizeof zeros ? n : sizeof zeros)
      if (!peer_write(c, zeros, n < sizeof zeros ? (size_t)n : sizeof zeros)) return;
  }
}

static void a_large_answer_takes_little_memory(void **state) {
  (void)state;
  bench b;
  peer p;
  flow_shot f;
  uint64_t n = large(), got = 0;
  size_t most = 0, start;
  static char bytes[65536];
  peer_start(&p, script_zeros, &n);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  request.max_body = UINT64_MAX;
  flow_fire(&b, &request, &f, true);
  await_opened(&b, &f);
  start = resident();
  while (!f.s.done) {
    size_t now, read = dsc_http_read(f.s.attempt, bytes, sizeof bytes);
    got += read;
    if (!read) dsc_loop_run(b.loop, 1000);
    if (got / MIB % 8 == 0 && (now = resident()) > most) most = now;
  }
  expect(&f.s, DSC_OK, NULL);
  assert_int_equal(got + f.s.answer.body_len, n);
  if (slowness() == 1) assert_true(most < start + 4 * MIB);
  shot_clear(&f.s);
  bench_close(&b);
  peer_stop(&p);
}

static void script_sink(peer *p, peer_conn *c) {
  uint64_t left = *(uint64_t *)p->ud;
  peer_read_head(c);
  for (left -= c->rest_len; left > 0;) {
    ssize_t n = recv(c->fd, c->rest, sizeof c->rest, 0);
    if (n <= 0) return;
    left -= (uint64_t)n;
  }
  c->rest_len = 0;
  peer_answer(c, "all");
}

static ptrdiff_t read_zeros(void *ud, char *bytes, size_t max) {
  (void)ud;
  memset(bytes, 0, max);
  return (ptrdiff_t)max;
}

static void a_large_request_takes_little_memory(void **state) {
  (void)state;
  bench b;
  peer p;
  flow_shot f;
  uint64_t n = large();
  size_t most = 0, start;
  peer_start(&p, script_sink, &n);
  bench_open(&b);
  dsc_http_source source = {.size = (int64_t)n, .read = read_zeros};
  dsc_http_request request = request_of(&p);
  request.method = "POST";
  request.source = &source;
  request.timeout_ms = 60000;
  flow_fire(&b, &request, &f, false);
  dsc_loop_run(b.loop, 1000);
  start = resident();
  for (uint64_t i = 0; !f.s.done; i++) {
    size_t now = i % 64 ? 0 : resident();
    if (now > most) most = now;
    dsc_loop_run(b.loop, 1000);
  }
  expect(&f.s, DSC_OK, NULL);
  assert_string_equal(f.s.answer.body, "all");
  if (slowness() == 1) assert_true(most < start + 4 * MIB);
  shot_clear(&f.s);
  bench_close(&b);
  peer_stop(&p);
}

/* Zeros without end: one literal, then "258 times the byte before" (RFC 1951, fixed codes); 13 bits, so 8 of them are
** 13 bytes. The first bits: the last block, fixed codes, a literal 0. */
static void script_gzip_bomb(peer *p, peer_conn *c) {
  static const char magic[10] = {0x1f, (char)0x8b, 8, 0, 0, 0, 0, 0, 0, 3};
  static const char lead[] = "11000110000", again[] = "1100010100000";
  static char bytes[13 * 1024 + 2];
  size_t bit = 0;
  (void)p;
  memset(bytes, 0, sizeof bytes);
  for (size_t i = 0; lead[i]; i++, bit++) bytes[bit / 8] |= (char)((lead[i] - '0') << bit % 8);
  while (bit < 8 * 13 * 1024)
    for (size_t i = 0; again[i] && bit < 8 * sizeof bytes; i++, bit++)
      bytes[bit / 8] |= (char)((again[i] - '0') << bit % 8);
  peer_read_head(c);
  peer_say(c, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n");
  peer_write(c, magic, sizeof magic);
  peer_write(c, bytes, 13 * 1024);
  /* the pattern begins anew after 13 KiB: its shift is that of the lead */
  char turn[13 * 1024];
  for (size_t i = 0; i < sizeof turn; i++) turn[i] = bytes[26 + i % 13];
  while (peer_write(c, turn, sizeof turn)) continue;
}

static void a_bomb_waits_unread(void **state) {
  (void)state;
  bench b;
  peer p;
  flow_shot f;
  static char bytes[65536];
  peer_start(&p, script_gzip_bomb, NULL);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  request.max_body = UINT64_MAX;
  flow_fire(&b, &request, &f, true);
  await_opened(&b, &f);
  size_t start = resident();
  run_for(&b, 100);
  if (slowness() == 1) assert_true(resident() < start + 24 * MIB);
  for (uint64_t got = 0; got < 64 * MIB;) {
    size_t n = dsc_http_read(f.s.attempt, bytes, sizeof bytes);
    for (size_t i = 0; i < n; i += 97) assert_int_equal(bytes[i], 0);
    got += n;
    if (!n) dsc_loop_run(b.loop, 1000);
    assert_int_equal(f.s.done, 0);
  }
  if (slowness() == 1) assert_true(resident() < start + 40 * MIB);
  dsc_http_cancel(f.s.attempt);
  bench_close(&b);
  peer_stop(&p);
}

/* One thread, one connection after the other, as many as there are. */
static void *accept_many(void *arg) {
  peer *p = arg;
  static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n";
  static char bytes[65536];
  int fd;
  while ((fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
    char request[4096];
    if (recv(fd, request, sizeof request, 0) > 0) {
      send(fd, head, sizeof head - 1, MSG_NOSIGNAL);
      while (send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) > 0) continue;
    }
    close(fd);
  }
  return NULL;
}

static void many_start(peer *p) {
  struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof sin;
  memset(p, 0, sizeof *p);
  p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  assert_int_equal(bind(p->fd, (struct sockaddr *)&sin, sizeof sin), 0);
  assert_int_equal(listen(p->fd, 1024), 0);
  getsockname(p->fd, (struct sockaddr *)&sin, &len);
  p->port = ntohs(sin.sin_port);
  snprintf(p->addr, sizeof p->addr, "127.0.0.1:%u", p->port);
  pthread_create(&p->thread, NULL, accept_many, p);
}

static void aborted_streams_leave_nothing(void **state) {
  (void)state;
  bench b;
  peer p;
  size_t bytes_before = 0, bytes_after, resident_before = 0;
  int files_before = 0, rounds = slowness() > 1 ? 200 : 2000;
  char bytes[1000];
  many_start(&p);
  bench_open(&b);
  dsc_http_request request = request_of(&p);
  request.max_body = UINT64_MAX;
  for (int i = 0; i < rounds; i++) {
    flow_shot f;
    if (i == rounds / 10) {
      dsc_mem_usage(NULL, &bytes_before);
      files_before = open_files();
      resident_before = resident();
    }
    flow_fire(&b, &request, &f, true);
    await_opened(&b, &f);
    if (i % 3 == 0) dsc_http_read(f.s.attempt, bytes, sizeof bytes);
    if (i % 3 == 1) dsc_loop_run(b.loop, 0);
    dsc_http_cancel(f.s.attempt);
    assert_int_equal(f.s.done, 0);
  }
  dsc_loop_run(b.loop, 0);
  dsc_mem_usage(NULL, &bytes_after);
  assert_true(bytes_after < bytes_before + 65536);
  assert_true(open_files() <= files_before + 1); /* the peer may be about to close its end */
  if (slowness() == 1) assert_true(resident() < resident_before + 2 * MIB);
  bench_close(&b);
  peer_stop(&p);
}

/* ----------------------------------------------------------- memory that fails */

static void one_of_each(peer *p) {
  dsc_err err;
  flow_shot f;
  spring water;
  dsc_why why;
  bench b = {.loop = dsc_loop_new(&err)};
  if (b.loop) b.resolver = dsc_resolver_new(b.loop);
  if (b.resolver) b.http = dsc_http_new(b.loop, b.resolver, &err);
  for (int i = 0; i < 3 && b.http; i++) {
    dsc_http_source source = spring_of(&water, 70000, i == 0);
    dsc_http_request request = request_of(p);
    request.method = "POST";
    request.source = &source;
    request.target = "/?size=400000";
    f = (flow_shot){.flow = {.stream = i > 0, .progress = true, .opened = on_opened, .moved = on_moved}};
    request.flow = &f.flow;
    if (dsc_http_send(b.http, &request, on_done, &f, &f.s.attempt, &why)) continue;
    drink(&b, &f, 50000);
    assert_true(f.s.answer.err == DSC_OK || (f.s.answer.ours && f.s.answer.err == DSC_ENOMEM));
    if (!f.s.answer.err) assert_int_equal(f.got, 400000);
    assert_false(f.wrong);
    shot_clear(&f.s);
  }
  dsc_http_free(b.http);
  dsc_resolver_free(b.resolver);
  dsc_loop_free(b.loop);
}

static void script_swallow(peer *p, peer_conn *c) {
  char value[32];
  bool right = true;
  (void)p;
  while (peer_read_head(c)) {
    if (peer_header(c, "Content-Length", value, sizeof value)) {
      if (!peer_check(c, strtoull(value, NULL, 10), 0, &right)) return;
    } else {
      uint64_t n, place = 0;
      do {
        char line[32];
        if (!peer_line(c, line, sizeof line)) return;
        n = strtoull(line, NULL, 16);
        if (!peer_check(c, n, place, &right) || !peer_line(c, line, sizeof line)) return;
        place += n;
      } while (n > 0);
    }
    if (!right) return;
    peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n");
    peer_write_pattern(c, 400000);
  }
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  size_t before, after;
  for (int onwards = 0; onwards < 2; onwards++) {
    peer p;
    peer_start(&p, script_swallow, NULL);
    one_of_each(&p);
    dsc_mem_usage(&before, NULL);
    for (size_t n = 1;; n++) {
      dsc_mem_fail_at(n, onwards);
      one_of_each(&p);
      bool reached = dsc_mem_asked() >= n;
      dsc_mem_fail_at(0, false);
      dsc_mem_usage(&after, NULL);
      if (after != before) fail_msg("allocation %zu: %zd blocks left", n, (ssize_t)(after - before));
      if (!reached) break;
    }
    peer_stop(&p);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_large_answer_takes_little_memory),
      cmocka_unit_test(a_large_request_takes_little_memory),
      cmocka_unit_test(a_bomb_waits_unread),
      cmocka_unit_test(aborted_streams_leave_nothing),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
