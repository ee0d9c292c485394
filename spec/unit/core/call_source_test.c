/*
** call_source_test.c - calls whose body is read while it is sent: files, functions of the host, what may be tried again.
*/
#include "stream_support.h"

static const char *file_of(const char *name, size_t n) {
  static char path[256];
  const char *folder = getenv("TMPDIR");
  snprintf(path, sizeof path, "%s/dsc-%d-%s", folder ? folder : "/tmp", (int)getpid(), name);
  FILE *f = fopen(path, "w");
  char *bytes = malloc(n + 1);
  pattern_fill(bytes, n, 0);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  free(bytes);
  fclose(f);
  return path;
}

static dsc_request post_of(dsc_body *body) {
  dsc_request request = host_request("svc");
  request.method = L("POST");
  request.source = body;
  return request;
}

static dsc_result *post(host *h, dsc_body *body) {
  dsc_request request = post_of(body);
  return host_send(h, &request);
}

TEST(a_file_is_sent) {
  host h;
  peer p;
  dsc_why why;
  const char *path = file_of("whole", 3000000);
  peer_start(&p, script_serve, NULL);
  host_new(&h, "");
  host_patient(&h);
  host_set(&h, "svc", p.addr, 1);
  dsc_body *body = dsc_body_new();
  assert_int_equal(dsc_body_add_file(body, path, &why), DSC_OK);
  for (int i = 0; i < 2; i++) { /* a file can be read again */
    dsc_result *result = post(&h, body);
    expect_result(result, DSC_OK, 200, 1);
    assert_string_equal(result->body, "POST length 3000000 right");
    dsc_result_free(result);
  }
  dsc_request request = post_of(body);
  request.no_body = true;
  dsc_result *result = host_send(&h, &request);
  assert_string_equal(result->body, "POST length 0 right");
  dsc_result_free(result);
  dsc_body_free(body);
  unlink(path);
  host_free(&h);
  peer_stop(&p);
}

TEST(a_function_gives_the_body) {
  static const size_t pieces[] = {1, 1000, 65536};
  host h;
  peer p;
  peer_start(&p, script_serve, NULL);
  host_new(&h, "");
  host_patient(&h);
  host_set(&h, "svc", p.addr, 1);
  for (size_t i = 0; i < 2 * COUNT(pieces); i++) {
    tap t;
    char want[64];
    size_t piece = pieces[i / 2], size = piece * 20 + 1;
    dsc_body *body = tap_body(&t, size, piece, i % 2);
    dsc_result *result = post(&h, body);
    expect_result(result, DSC_OK, 200, 1);
    snprintf(want, sizeof want, "POST %s %zu right", i % 2 ? "length" : "chunked", size);
    assert_string_equal(result->body, want);
    assert_true(t.calls >= 21);
    dsc_result_free(result);
    result = post(&h, body); /* once only */
    assert_int_equal(result->err, DSC_EINVALID);
    assert_int_equal(result->attempts, 1);
    dsc_result_free(result);
    dsc_body_free(body);
  }
  assert_int_equal(host_in_flight(&h), 0);
  host_free(&h);
  peer_stop(&p);
}

static void script_gone(peer *p, peer_conn *c) {
  peer_read_head(c);
  peer_fill(c);
  atomic_fetch_add(&p->requests, 1);
  peer_reset(c);
}

/* 503 when all was read, or (flag) when nothing was. */
static void script_busy(peer *p, peer_conn *c) {
  char length[32] = "0";
  bool right = true;
  while (peer_read_head(c)) {
    atomic_fetch_add(&p->requests, 1);
    peer_header(c, "Content-Length", length, sizeof length);
    if (!atomic_load(&p->flag)) peer_check(c, strtoull(length, NULL, 10), 0, &right);
    if (!peer_say(c, "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")) return;
    if (atomic_load(&p->flag)) return;
  }
}

TEST(what_can_be_read_again_is_sent_again) {
  host h;
  peer bad, good;
  dsc_why why;
  const char *path = file_of("again", 200000);
  peer_start(&good, script_serve, NULL);
  for (int i = 0; i < 2; i++) {
    peer_start(&bad, i ? script_busy : script_gone, NULL);
    open_two(&h, bad.addr, good.addr);
    dsc_body *body = dsc_body_new();
    assert_int_equal(dsc_body_add_file(body, path, &why), DSC_OK);
    dsc_request request = post_of(body);
    request.method = L("PUT");
    dsc_result *result = host_send(&h, &request);
    expect_result(result, DSC_OK, 200, 2);
    assert_string_equal(result->body, "PUT length 200000 right");
    dsc_result_free(result);
    dsc_body_free(body);
    host_free(&h);
    peer_stop(&bad);
  }
  unlink(path);
  peer_stop(&good);
}

TEST(what_cannot_be_read_again_is_tried_once) {
  host h;
  peer bad, good;
  tap t;
  peer_start(&good, script_serve, NULL);
  for (int i = 0; i < 4; i++) {
    peer_start(&bad, i % 2 ? script_busy : script_gone, NULL);
    open_two(&h, bad.addr, good.addr);
    dsc_body *body = tap_body(&t, 200000, 20000, true);
    dsc_request request = post_of(body);
    request.method = L("PUT");
    request.has_retry = i >= 2;
    request.retry = DSC_RETRY_ALWAYS;
    dsc_result *result = host_send(&h, &request);
    expect_result(result, i % 2 ? DSC_OK : DSC_ECONNECT, i % 2 ? 503 : 0, 1);
    assert_int_equal(atomic_load(&bad.requests), 1);
    assert_int_equal(node_failures(&h, bad.addr), 1);
    dsc_result_free(result);
    dsc_body_free(body);
    host_free(&h);
    peer_stop(&bad);
  }
  assert_int_equal(atomic_load(&good.requests), 0);
  peer_stop(&good);
}

TEST(before_the_first_byte_another_node_is_tried) {
  host h;
  peer good;
  tap t;
  peer_start(&good, script_serve, NULL);
  open_two(&h, host_dead_addr(), good.addr);
  dsc_body *body = tap_body(&t, 100000, 20000, false);
  dsc_result *result = post(&h, body);
  expect_result(result, DSC_OK, 200, 2);
  assert_string_equal(result->body, "POST chunked 100000 right");
  dsc_result_free(result);
  dsc_body_free(body);
  host_free(&h);
  peer_stop(&good);
}

TEST(a_reader_that_fails_ends_the_call) {
  host h;
  peer p;
  tap t;
  peer_start(&p, script_serve, NULL);
  host_new(&h, "");
  host_patient(&h);
  host_hook(&h);
  host_set(&h, "svc", p.addr, 1);
  for (int i = 0; i < 3; i++) {
    dsc_body *body = tap_body(&t, 100000, 20000, i == 0);
    t.fail_at = i == 2 ? 100000 : 40000;
    dsc_request request = post_of(body);
    h.choice = 0;
    h.order[0] = '\0';
    dsc_result *result = host_send(&h, &request);
    expect_result(result, DSC_ECALLBACK, 0, 1);
    assert_string_equal(result->why, "the tap is broken");
    assert_string_equal(h.order, "rna");
    assert_int_equal(h.answer_err, DSC_ECALLBACK);
    assert_int_equal(node_failures(&h, p.addr), 0);
    dsc_result_free(result);
    dsc_body_free(body);
  }
  assert_int_equal(host_in_flight(&h), 0);
  host_free(&h);
  peer_stop(&p);
}

/* Reads nothing until the file was cut. */
static void script_slow(peer *p, peer_conn *c) {
  bool right = true;
  peer_read_head(c);
  if (truncate(p->ud, 1000) == 0) peer_check(c, UINT64_MAX, 0, &right);
}

TEST(a_file_that_shrinks_is_named) {
  host h;
  peer p;
  dsc_why why;
  const char *path = file_of("shrinks", 64 * MIB);
  peer_start(&p, script_slow, (void *)(uintptr_t)path);
  open_two(&h, p.addr, host_dead_addr());
  dsc_body *body = dsc_body_new();
  assert_int_equal(dsc_body_add_file(body, path, &why), DSC_OK);
  dsc_request request = post_of(body);
  request.method = L("PUT");
  dsc_result *result = host_send(&h, &request);
  expect_result(result, DSC_EIO, 0, 1);
  assert_non_null(strstr(result->why, path));
  assert_int_equal(node_failures(&h, p.addr), 0);
  dsc_result_free(result);
  dsc_body_free(body);
  unlink(path);
  host_free(&h);
  peer_stop(&p);
}

/* A reader may do what any callback may. */
static void call_inside(tap *t) {
  host *h = t->ud;
  if (t->calls != 2) return;
  dsc_result *result = host_get(h, "svc");
  expect_result(result, DSC_OK, 200, 1);
  dsc_result_free(result);
}

static void stop_inside(tap *t) {
  host *h = t->ud;
  if (t->calls == 2) dsc_discoverer_stop(h->d, h, 0);
}

TEST(a_reader_may_call_and_stop) {
  host h;
  peer p;
  tap t;
  peer_start(&p, script_serve, NULL);
  for (int i = 0; i < 2; i++) {
    host_new(&h, "");
    host_patient(&h);
    host_set(&h, "svc", p.addr, 1);
    dsc_body *body = tap_body(&t, 100000, 20000, true);
    t.inside = i ? stop_inside : call_inside;
    t.ud = &h;
    dsc_result *result = post(&h, body);
    expect_result(result, i ? DSC_ESTOPPED : DSC_OK, i ? 0 : 200, 1);
    dsc_result_free(result);
    dsc_body_free(body);
    host_free(&h);
  }
  peer_stop(&p);
}

static pid_t forked_by_reader;

static void fork_inside(tap *t) {
  if (t->calls == 2) forked_by_reader = fork();
}

TEST(a_reader_may_fork) {
  host h;
  peer p;
  tap t;
  int status;
  peer_start(&p, script_serve, NULL);
  host_new(&h, "");
  host_patient(&h);
  host_set(&h, "svc", p.addr, 1);
  dsc_body *body = tap_body(&t, 100000, 20000, true);
  t.inside = fork_inside;
  dsc_frame frame;
  assert_int_equal(dsc_discoverer_enter(h.d, &frame, &h, &h.why), DSC_OK);
  dsc_request request = post_of(body);
  forked_by_reader = -1;
  dsc_result *result = dsc_discoverer_call(&frame, &request);
  dsc_discoverer_leave(&frame);
  if (forked_by_reader == 0) _exit(result && result->err == DSC_EFORKED ? 0 : 1);
  assert_int_equal(waitpid(forked_by_reader, &status, 0), forked_by_reader);
  assert_int_equal(status, 0);
  expect_result(result, DSC_OK, 200, 1);
  assert_string_equal(result->body, "POST length 100000 right");
  dsc_result_free(result);
  dsc_body_free(body);
  host_free(&h);
  peer_stop(&p);
}

/* Answers at once, then reads the body and sends as much. */
static void script_mirror(peer *p, peer_conn *c) {
  (void)p;
  char length[32] = "0", head[128];
  bool right = true;
  while (peer_read_head(c)) {
    peer_header(c, "Content-Length", length, sizeof length);
    uint64_t n = strtoull(length, NULL, 10);
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n", (unsigned long long)n);
    if (!peer_say(c, head) || !peer_check(c, n, 0, &right) || !right || !peer_write_pattern(c, n)) return;
  }
}

TEST(a_stream_may_open_before_all_was_sent) {
  host h;
  peer p;
  tap t;
  dsc_stream *stream;
  dsc_err err;
  peer_start(&p, script_mirror, NULL);
  host_new(&h, "");
  host_patient(&h);
  host_set(&h, "svc", p.addr, 1);
  for (int i = 0; i < 3; i++) {
    dsc_body *body = tap_body(&t, 500000, 20000, true);
    if (i == 1) t.fail_at = 300000;
    dsc_request request = post_of(body);
    char *flat = malloc(3000000);
    pattern_fill(flat, 3000000, 0);
    if (i == 2) {
      request.source = NULL;
      request.has_body = true;
      request.body = (dsc_str){flat, 3000000};
    }
    dsc_result *result = host_stream(&h, &request, &stream);
    memset(flat, 'x', 3000000); /* it was borrowed for the call only */
    if (i == 1 && !stream) {    /* it failed before the headers were there */
      expect_result(result, DSC_ECALLBACK, 0, 1);
      dsc_result_free(result);
      dsc_body_free(body);
      free(flat);
      continue;
    }
    expect_result(result, DSC_OK, 200, 1);
    dsc_result_free(result);
    uint64_t got = stream_drink(&h, stream, &err);
    assert_int_equal(err, i == 1 ? DSC_ECALLBACK : DSC_OK);
    if (i == 1) assert_string_equal(h.why.text, "the tap is broken");
    if (i != 1) assert_int_equal(got, i ? 3000000 : 500000);
    dsc_stream_free(stream);
    dsc_body_free(body);
    free(flat);
  }
  assert_int_equal(node_failures(&h, p.addr), 0);
  assert_int_equal(host_in_flight(&h), 0);
  host_free(&h);
  peer_stop(&p);
}

static dsc_stream *closing;
static int told_after;

static void close_inside(tap *t) {
  (void)t;
  if (closing) dsc_stream_close(closing);
}

static dsc_err count_after(void *ctx, void *ud, const dsc_http_progress *progress, dsc_why *why) {
  (void)ctx, (void)ud, (void)progress, (void)why;
  told_after += closing && dsc_stream_ended(closing);
  return DSC_OK;
}

TEST(a_reader_may_close_the_stream) {
  host h;
  peer p;
  tap t;
  char bytes[1000];
  size_t n;
  peer_start(&p, script_mirror, NULL);
  host_new(&h, "");
  host_patient(&h);
  host_set(&h, "svc", p.addr, 1);
  dsc_body *body = tap_body(&t, 50000000, 1000, true);
  t.inside = close_inside;
  dsc_request request = post_of(body);
  request.on_progress = count_after;
  closing = NULL;
  told_after = 0;
  dsc_stream *stream;
  dsc_result_free(host_stream(&h, &request, &stream));
  closing = stream;
  assert_int_equal(stream_read(&h, stream, bytes, sizeof bytes, &n), DSC_ECLOSED);
  assert_int_equal(told_after, 0);
  assert_int_equal(host_in_flight(&h), 0);
  dsc_stream_free(stream);
  dsc_body_free(body);
  host_free(&h);
  peer_stop(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_file_is_sent),
      cmocka_unit_test(a_function_gives_the_body),
      cmocka_unit_test(what_can_be_read_again_is_sent_again),
      cmocka_unit_test(what_cannot_be_read_again_is_tried_once),
      cmocka_unit_test(before_the_first_byte_another_node_is_tried),
      cmocka_unit_test(a_reader_that_fails_ends_the_call),
      cmocka_unit_test(a_file_that_shrinks_is_named),
      cmocka_unit_test(a_reader_may_call_and_stop),
      cmocka_unit_test(a_reader_may_fork),
      cmocka_unit_test(a_stream_may_open_before_all_was_sent),
      cmocka_unit_test(a_reader_may_close_the_stream),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
