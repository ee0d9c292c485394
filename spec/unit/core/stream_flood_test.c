/*
** stream_flood_test.c - streams and bodies that are large or many: memory, descriptors and nodes in flight stay as they
** were; and every allocation failing in turn.
*/
#include "stream_support.h"

/* Zeros both ways, as fast as they are taken; answers begin at once. */
static void script_zeros(peer *p, peer_conn *c) {
  static const char zeros[65536];
  char head[128], length[32];
  (void)p;
  while (peer_read_head(c)) {
    uint64_t in = peer_header(c, "Content-Length", length, sizeof length) ? strtoull(length, NULL, 10) : 0;
    char *size = strstr(c->head, "size=");
    uint64_t out = size ? strtoull(size + 5, NULL, 10) : 0;
    while (in > 0) {
      if (c->rest_len == 0 && !peer_fill(c)) return;
      in -= c->rest_len;
      c->rest_len = 0;
    }
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n", (unsigned long long)out);
    if (!peer_say(c, head)) return;
    for (size_t n; out > 0; out -= n) {
      n = out < sizeof zeros ? (size_t)out : sizeof zeros;
      if (!peer_write(c, zeros, n)) return;
    }
  }
}

static uint64_t large(void) {
  return slowness() > 1 ? 64 * MIB : 1024 * MIB;
}

static dsc_err give_zeros(void *ctx, void *ud, dsc_buf *out, dsc_why *why) {
  static const char zeros[65536];
  uint64_t *left = ud;
  size_t n = *left < sizeof zeros ? (size_t)*left : sizeof zeros;
  (void)ctx, (void)why;
  *left -= n;
  return dsc_buf_add(out, zeros, n);
}

/* Both bodies of a call are large; neither is ever in memory. */
TEST(a_large_stream_takes_little_memory) {
  host h;
  peer p;
  dsc_stream *stream;
  static char bytes[65536];
  char path[64];
  uint64_t all = large(), left = all, got = 0;
  size_t n = 1, most = 0;
  peer_start(&p, script_zeros, NULL);
  host_new(&h, "");
  host_patient(&h);
  host_set(&h, "svc", p.addr, 1);
  dsc_result_free(host_get(&h, "svc")); /* what is made once */
  size_t start = resident();
  dsc_body *body = dsc_body_new();
  assert_int_equal(dsc_body_set_reader(body, give_zeros, &left, (int64_t)all), DSC_OK);
  snprintf(path, sizeof path, "/?size=%llu", (unsigned long long)all);
  dsc_request request = host_request("svc");
  request.method = L("POST");
  request.path = dsc_str_of(path);
  request.source = body;
  request.timeout_ms = request.deadline_ms = 60000;
  dsc_result *result = host_stream(&h, &request, &stream);
  expect_result(result, DSC_OK, 200, 1);
  assert_int_equal(left, 0);
  if (slowness() == 1) assert_true(resident() < start + 4 * MIB);
  while (n > 0) {
    assert_int_equal(stream_read(&h, stream, bytes, sizeof bytes, &n), DSC_OK);
    got += n;
    if (got % (16 * MIB) < n && resident() > most) most = resident();
  }
  assert_int_equal(got, all);
  if (slowness() == 1) assert_true(most < start + 4 * MIB);
  dsc_stream_free(stream);
  dsc_result_free(result);
  dsc_body_free(body);
  host_free(&h);
  peer_stop(&p);
}

/* One thread, one connection after the other, as many as there are; flag 1: breaks off by itself. */
static void *serve_many(void *arg) {
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
  pthread_create(&p->thread, NULL, serve_many, p);
}

TEST(aborted_streams_leave_nothing) {
  host h;
  peer p;
  size_t bytes_before = 0, bytes_after, blocks_before = 0, blocks_after, n, resident_before = 0;
  int files_before = 0, rounds = slowness() > 1 ? 300 : 10000;
  char bytes[1000];
  many_start(&p);
  host_new(&h, "");
  host_patient(&h);
  host_set(&h, "svc", p.addr, 1);
  for (int i = 0; i < rounds; i++) {
    dsc_stream *stream;
    dsc_request request = host_request("svc");
    if (i == rounds / 10) {
      dsc_mem_usage(&blocks_before, &bytes_before);
      files_before = open_files();
      resident_before = resident();
    }
    dsc_result *result = host_stream(&h, &request, &stream);
    expect_result(result, DSC_OK, 200, 1);
    dsc_result_free(result);
    if (i % 3 == 0) assert_int_equal(stream_read(&h, stream, bytes, sizeof bytes, &n), DSC_OK);
    if (i % 3 == 1) dsc_stream_close(stream);
    dsc_stream_free(stream);
  }
  dsc_mem_usage(&blocks_after, &bytes_after);
  assert_true(blocks_after <= blocks_before + 8);
  assert_true(bytes_after < bytes_before + 65536);
  assert_true(open_files() <= files_before + 1); /* the peer may be about to close its end */
  if (slowness() == 1) assert_true(resident() < resident_before + 2 * MIB);
  assert_int_equal(host_in_flight(&h), 0);
  host_free(&h);
  peer_stop(&p);
}

/* ----------------------------------------------------------- memory that fails */

static peer *bad, *good;

static dsc_err count_progress(void *ctx, void *ud, const dsc_http_progress *progress, dsc_why *why) {
  (void)ctx, (void)why;
  assert_true(progress->received <= 400000);
  ++*(int *)ud;
  return DSC_OK;
}

static void stream_once(dsc_frame *frame, dsc_request *request) {
  dsc_stream *stream;
  dsc_why why;
  static char bytes[50000];
  size_t n = 1;
  uint64_t got = 0;
  dsc_err err = DSC_OK;
  dsc_result *result = dsc_discoverer_call_stream(frame, request, &stream);
  if (!result) assert_null(stream);
  if (result && !result->err && result->status == 200) assert_non_null(stream);
  while (stream && n > 0 && !err) {
    err = dsc_stream_read(frame, stream, bytes, sizeof bytes, &n, &why);
    got += n;
  }
  if (stream && err) assert_true(err == DSC_ENOMEM || err == DSC_EIO);
  if (stream && !err && result->status == 200) assert_int_equal(got, 400000);
  dsc_stream_free(stream);
  dsc_result_free(result);
}

static void session(void) {
  host h = {0};
  dsc_frame frame;
  dsc_options options = host_options("");
  int told = 0;
  if (dsc_discoverer_new(&h.d, &options, &h.why)) return;
  host_hook(&h);
  assert_int_equal(dsc_discoverer_enter(h.d, &frame, &h, &h.why), DSC_OK);
  dsc_discoverer_set_node(&frame, L("svc"), dsc_str_of(bad->addr), 1, NULL, &h.why);
  dsc_discoverer_set_node(&frame, L("svc"), dsc_str_of(good->addr), 1, NULL, &h.why);
  for (int i = 0; i < 3; i++) {
    tap t = {.size = 70000, .piece = 30000};
    dsc_body *body = dsc_body_new();
    if (body && i == 0) dsc_body_set_reader(body, tap_read, &t, -1);
    if (body && i == 1) dsc_body_add_bytes(body, L("ten bytes."), false);
    dsc_request request = host_request("svc");
    request.path = L("/?size=400000");
    request.method = L("PUT");
    request.source = body;
    request.on_progress = i ? count_progress : NULL;
    request.ud = &told;
    request.has_body = i == 2;
    request.body = L("flat");
    if (i == 2) request.source = NULL;
    stream_once(&frame, &request);
    dsc_body_free(body);
  }
  dsc_discoverer_leave(&frame);
  assert_true(dsc_discoverer_free(h.d, true));
}

static void script_count(peer *p, peer_conn *c) {
  bool right = true;
  while (peer_read_head(c)) {
    char value[32];
    if (peer_header(c, "Content-Length", value, sizeof value)) {
      if (!peer_check(c, strtoull(value, NULL, 10), 0, &right)) return;
    } else {
      for (uint64_t n = 1; n > 0;) {
        char line[32];
        if (!peer_line(c, line, sizeof line)) return;
        n = strtoull(line, NULL, 16);
        if (!peer_check(c, n, 0, &right) || !peer_line(c, line, sizeof line)) return;
      }
    }
    if (p->ud && !peer_say(c, "HTTP/1.1 502 No\r\nContent-Length: 2\r\n\r\nno")) return;
    if (p->ud) continue;
    peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n");
    peer_write_pattern(c, 400000);
  }
}

TEST(every_allocation_may_fail) {
  static char says_no[] = "no";
  size_t before, after;
  for (int onwards = 0; onwards < 2; onwards++) {
    peer one, two;
    size_t stride = slowness() > 1 ? 3 : 1;
    peer_start(&one, script_count, says_no);
    peer_start(&two, script_count, NULL);
    bad = &one;
    good = &two;
    session();
    dsc_mem_usage(&before, NULL);
    for (size_t n = 1;; n += stride) {
      dsc_mem_fail_at(n, onwards);
      session();
      bool reached = dsc_mem_asked() >= n;
      dsc_mem_fail_at(0, false);
      dsc_mem_usage(&after, NULL);
      if (after != before) fail_msg("allocation %zu: %zd blocks left", n, (ssize_t)(after - before));
      if (!reached) break;
    }
    peer_stop(&one);
    peer_stop(&two);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_large_stream_takes_little_memory),
      cmocka_unit_test(aborted_streams_leave_nothing),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
