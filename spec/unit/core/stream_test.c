/*
** stream_test.c - calls whose answer is a stream: opened, retried, read, broken off, closed, stopped, outlived.
*/
#include "stream_support.h"

static dsc_request size_request(char path[64], uint64_t size) {
  dsc_request request = host_request("svc");
  snprintf(path, 64, "/?size=%llu", (unsigned long long)size);
  request.path = dsc_str_of(path);
  return request;
}

TEST(a_stream_is_the_body) {
  static const uint64_t sizes[] = {0, 1, 1000, 300000, 5000000};
  host h;
  peer p;
  char path[64];
  peer_start(&p, script_serve, NULL);
  host_new(&h, "");
  host_patient(&h);
  host_hook(&h);
  host_set(&h, "svc", p.addr, 1);
  for (size_t i = 0; i < COUNT(sizes); i++) {
    dsc_stream *stream;
    dsc_err err;
    dsc_request request = size_request(path, sizes[i]);
    h.order[0] = '\0';
    h.choice = 0;
    dsc_result *result = host_stream(&h, &request, &stream);
    expect_result(result, DSC_OK, 200, 1);
    assert_string_equal(h.order, "rna");
    assert_int_equal(h.answer_status, 200);
    assert_non_null(dsc_headers_find(&result->headers, L("X-From")));
    assert_string_equal(result->node, p.addr);
    assert_int_equal(result->n_trace, 1);
    assert_non_null(stream);
    if (sizes[i] > 1000000) assert_int_equal(host_in_flight(&h), 1);
    if (sizes[i] > 1000000) assert_false(dsc_stream_ended(stream));
    assert_int_equal(dsc_stream_max_body(stream), 64 * MIB);
    dsc_result_free(result);
    assert_int_equal(stream_drink(&h, stream, &err), sizes[i]);
    assert_int_equal(err, DSC_OK);
    assert_true(dsc_stream_ended(stream));
    assert_int_equal(host_in_flight(&h), 0);
    dsc_stream_free(stream);
  }
  assert_int_equal(atomic_load(&p.accepted), 1);
  host_free(&h);
  peer_stop(&p);
}

TEST(many_streams_are_read_in_turns) {
  enum { MANY = 8 };
  host h;
  peer p;
  dsc_stream *streams[MANY];
  uint64_t got[MANY] = {0};
  char path[64], bytes[10000];
  size_t n = 0, open = MANY;
  peer_start(&p, script_serve, NULL);
  host_new(&h, "");
  host_patient(&h);
  host_set(&h, "svc", p.addr, 1);
  dsc_request request = size_request(path, 1000000);
  for (size_t i = 0; i < MANY; i++) dsc_result_free(host_stream(&h, &request, &streams[i]));
  assert_int_equal(host_in_flight(&h), MANY);
  dsc_result *plain = host_get(&h, "svc"); /* and others are not in their way */
  expect_result(plain, DSC_OK, 200, 1);
  dsc_result_free(plain);
  while (open) {
    for (size_t i = 0; i < MANY; i++) {
      if (dsc_stream_ended(streams[i])) continue;
      assert_int_equal(stream_read(&h, streams[i], bytes, 1000 * (i + 1), &n), DSC_OK);
      assert_true(pattern_is(bytes, n, got[i]));
      got[i] += n;
      if (n == 0) open--;
      if (n == 0) assert_int_equal(got[i], 1000000);
      if (n == 0)
        assert_true(dsc_stream_ended(streams[i]));
      else if (dsc_stream_ended(streams[i]))
        open--;
    }
  }
  for (size_t i = 0; i < MANY; i++) dsc_stream_free(streams[i]);
  assert_int_equal(host_in_flight(&h), 0);
  host_free(&h);
  peer_stop(&p);
}

TEST(a_failed_answer_is_followed_by_another_node) {
  host h;
  peer bad, good;
  dsc_stream *stream;
  dsc_err err;
  char path[64];
  peer_start(&bad, script_sorry, NULL);
  peer_start(&good, script_serve, NULL);
  open_two(&h, bad.addr, good.addr);
  dsc_request request = size_request(path, 400000);
  dsc_result *result = host_stream(&h, &request, &stream);
  expect_result(result, DSC_OK, 200, 2);
  assert_int_equal(result->trace[0].status, 502);
  assert_int_equal(host_in_flight(&h), 1);
  assert_int_equal(node_failures(&h, bad.addr), 1);
  assert_int_equal(stream_drink(&h, stream, &err), 400000);
  dsc_stream_free(stream);
  dsc_result_free(result);
  assert_int_equal(host_in_flight(&h), 0);
  host_free(&h);
  peer_stop(&bad);
  peer_stop(&good);
}

TEST(the_last_failed_answer_is_handed_over) {
  host h;
  peer one, two;
  dsc_stream *stream;
  size_t n;
  char bytes[1000];
  peer_start(&one, script_sorry, NULL);
  peer_start(&two, script_sorry, NULL);
  open_two(&h, one.addr, two.addr);
  dsc_request request = host_request("svc");
  dsc_result *result = host_stream(&h, &request, &stream);
  expect_result(result, DSC_EALL_FAILED, 502, 2);
  assert_non_null(stream);
  assert_int_equal(host_in_flight(&h), 1);
  assert_int_equal(stream_read(&h, stream, bytes, sizeof bytes, &n), DSC_OK);
  assert_true(n > 0 && pattern_is(bytes, n, 0));
  dsc_stream_free(stream);
  dsc_result_free(result);
  assert_int_equal(host_in_flight(&h), 0);
  host_free(&h);
  peer_stop(&one);
  peer_stop(&two);
}

TEST(without_an_answer_there_is_no_stream) {
  host h;
  dsc_stream *stream;
  host_new(&h, "");
  host_patient(&h);
  host_set(&h, "svc", host_dead_addr(), 1);
  dsc_request request = host_request("svc");
  dsc_result *result = host_stream(&h, &request, &stream);
  expect_result(result, DSC_ECONNECT, 0, 1);
  assert_null(stream);
  dsc_result_free(result);
  request.app = L("nobody");
  result = host_stream(&h, &request, &stream);
  assert_int_equal(result->err, DSC_EAPP_NOT_FOUND);
  assert_null(stream);
  dsc_result_free(result);
  dsc_stream_free(NULL);
  dsc_stream_close(NULL);
  host_free(&h);
}

static void script_half(peer *p, peer_conn *c) {
  (void)p;
  peer_read(c);
  peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n");
  peer_write_pattern(c, 1000000);
}

TEST(a_body_that_breaks_off_is_the_nodes_fault) {
  host h;
  peer p;
  dsc_stream *stream;
  dsc_err err;
  size_t n;
  char byte;
  peer_start(&p, script_half, NULL);
  host_new(&h, "");
  host_patient(&h);
  host_set(&h, "svc", p.addr, 1);
  dsc_request request = host_request("svc");
  dsc_result_free(host_stream(&h, &request, &stream));
  assert_int_equal(node_failures(&h, p.addr), 0);
  assert_int_equal(stream_drink(&h, stream, &err), 1000000);
  assert_int_equal(err, DSC_EPROTOCOL);
  assert_non_null(strstr(h.why.text, p.addr));
  assert_int_equal(node_failures(&h, p.addr), 1);
  assert_int_equal(host_in_flight(&h), 0);
  h.why.text[0] = '\0';
  assert_int_equal(stream_read(&h, stream, &byte, 1, &n), DSC_EPROTOCOL); /* the same again */
  assert_non_null(strstr(h.why.text, p.addr));
  assert_true(dsc_stream_ended(stream));
  dsc_stream_free(stream);
  host_free(&h);
  peer_stop(&p);
}

static void script_begins(peer *p, peer_conn *c) {
  (void)p;
  peer_read(c);
  peer_say(c, "HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n");
  peer_write_pattern(c, 1000);
  peer_linger(c);
}

TEST(silence_is_bounded_and_the_deadline_is_over) {
  host h;
  peer p;
  dsc_stream *stream;
  dsc_err err;
  peer_start(&p, script_begins, NULL);
  host_new(&h, "");
  host_patient(&h);
  host_set(&h, "svc", p.addr, 1);
  dsc_request request = host_request("svc");
  request.timeout_ms = 300 * (uint32_t)slowness();
  request.deadline_ms = 100 * (uint32_t)slowness();
  dsc_result_free(host_stream(&h, &request, &stream));
  uint64_t start = dsc_clock_now_ms();
  assert_int_equal(stream_drink(&h, stream, &err), 1000);
  assert_int_equal(err, DSC_ETIMEOUT);
  assert_true(dsc_clock_now_ms() - start >= 250 * (uint64_t)slowness());
  assert_int_equal(node_failures(&h, p.addr), 1);
  dsc_stream_free(stream);
  host_free(&h);
  peer_stop(&p);
}

TEST(a_closed_stream_says_so_and_blames_nobody) {
  host h;
  peer p;
  dsc_stream *stream;
  size_t n;
  char bytes[100];
  char path[64];
  peer_start(&p, script_serve, NULL);
  host_new(&h, "");
  host_patient(&h);
  host_set(&h, "svc", p.addr, 1);
  for (int i = 0; i < 4; i++) {
    dsc_request request = size_request(path, i % 2 ? 100 * MIB : 100);
    dsc_result_free(host_stream(&h, &request, &stream));
    if (i < 2) assert_int_equal(stream_read(&h, stream, bytes, 10, &n), DSC_OK);
    dsc_stream_close(stream);
    assert_true(dsc_stream_ended(stream));
    assert_int_equal(host_in_flight(&h), 0);
    assert_int_equal(node_failures(&h, p.addr), 0);
    assert_int_equal(stream_read(&h, stream, bytes, 10, &n), DSC_ECLOSED);
    assert_int_equal(n, 0);
    dsc_stream_close(stream);
    dsc_stream_free(stream);
  }
  host_free(&h);
  peer_stop(&p);
}

TEST(max_body_is_the_requests_own) {
  host h;
  peer p;
  dsc_stream *stream;
  dsc_err err;
  char path[64];
  dsc_call_config config;
  peer_start(&p, script_serve, NULL);
  host_new(&h, "");
  host_patient(&h);
  host_set(&h, "svc", p.addr, 1);
  dsc_call_config_defaults(&config);
  config.max_body = 1000;
  assert_int_equal(host_configure(&h, "svc", &config), DSC_OK);
  dsc_request request = size_request(path, 100000);
  dsc_result_free(host_stream(&h, &request, &stream));
  assert_int_equal(dsc_stream_max_body(stream), 1000);
  assert_int_equal(stream_drink(&h, stream, &err), 100000);
  assert_int_equal(err, DSC_OK);
  dsc_stream_free(stream);
  request.has_max_body = true;
  request.max_body = 5000;
  dsc_result *result = host_stream(&h, &request, &stream);
  expect_result(result, DSC_ETOO_LARGE, 200, 1); /* by its Content-Length */
  assert_null(stream);
  dsc_result_free(result);
  assert_int_equal(node_failures(&h, p.addr), 0);
  host_free(&h);
  peer_stop(&p);
}

/* ------------------------------------------------------------- the discoverer's end */

TEST(a_stop_ends_streams) {
  host h;
  peer p;
  dsc_stream *stream, *other;
  size_t n;
  char path[64], bytes[100];
  dsc_frame frame = {0};
  peer_start(&p, script_serve, NULL);
  host_new(&h, "");
  host_patient(&h);
  host_set(&h, "svc", p.addr, 1);
  dsc_request request = size_request(path, 100 * MIB);
  dsc_result_free(host_stream(&h, &request, &stream));
  dsc_result_free(host_stream(&h, &request, &other));
  dsc_discoverer_stop(h.d, &h, 0);
  assert_true(dsc_stream_ended(stream));
  frame.d = h.d;
  assert_int_equal(dsc_stream_read(&frame, stream, bytes, sizeof bytes, &n, &h.why), DSC_ESTOPPED);
  host_free(&h);
  assert_int_equal(dsc_stream_read(&frame, stream, bytes, sizeof bytes, &n, &h.why), DSC_ESTOPPED);
  dsc_stream_free(stream);
  dsc_stream_close(other);
  dsc_stream_free(other);
  peer_stop(&p);
}

TEST(a_stream_outlives_a_discoverer_that_is_collected) {
  host h;
  peer p;
  dsc_stream *stream;
  char path[64], byte;
  size_t n;
  dsc_frame frame = {0};
  peer_start(&p, script_serve, NULL);
  for (int i = 0; i < 2; i++) {
    host_new(&h, "");
    host_patient(&h);
    host_set(&h, "svc", p.addr, 1);
    dsc_request request = size_request(path, i ? 100 * MIB : 0);
    dsc_result_free(host_stream(&h, &request, &stream));
    if (i == 0) assert_int_equal(stream_read(&h, stream, &byte, 1, &n), DSC_OK);
    assert_true(dsc_discoverer_free(h.d, false));
    dsc_err err = dsc_stream_read(&frame, stream, &byte, 1, &n, &h.why);
    assert_int_equal(err, i ? DSC_ESTOPPED : DSC_OK); /* the empty one was over */
    dsc_stream_free(stream);
  }
  peer_stop(&p);
}

static dsc_stream *inherited;
static host inherited_host;

static int read_in_child(void) {
  char byte;
  size_t n;
  dsc_why why;
  dsc_frame frame = {.d = inherited_host.d};
  if (dsc_stream_read(&frame, inherited, &byte, 1, &n, &why) != DSC_EFORKED) return 1;
  if (!dsc_stream_ended(inherited)) return 2;
  dsc_stream_close(inherited);
  dsc_stream_free(inherited);
  dsc_discoverer_free(inherited_host.d, true);
  execl("/bin/true", "true", (char *)NULL); /* memory of threads that are not here is nobody's leak */
  return 3;
}

TEST(a_child_has_no_part_in_it) {
  host *h = &inherited_host;
  peer p;
  dsc_err err;
  char path[64];
  peer_start(&p, script_serve, NULL);
  host_new(h, "");
  host_patient(h);
  host_set(h, "svc", p.addr, 1);
  dsc_request request = size_request(path, 3000000);
  dsc_result_free(host_stream(h, &request, &inherited));
  assert_int_equal(in_child(read_in_child), 0);
  assert_int_equal(stream_drink(h, inherited, &err), 3000000);
  assert_int_equal(err, DSC_OK);
  dsc_stream_free(inherited);
  host_free(h);
  peer_stop(&p);
}

/* ------------------------------------------------------------------ progress */

typedef struct watcher {
  host *h;
  dsc_stream *stream;
  int calls, fail_at, close_at, stop_at;
  bool free_it;
  dsc_http_progress last;
} watcher;

static dsc_err watch(void *ctx, void *ud, const dsc_http_progress *progress, dsc_why *why) {
  watcher *w = ud;
  assert_ptr_equal(ctx, w->h);
  assert_true(progress->received >= w->last.received && progress->sent >= w->last.sent);
  w->calls++;
  w->last = *progress;
  if (w->calls == w->close_at) {
    char byte;
    size_t n;
    dsc_frame frame;
    assert_int_equal(dsc_discoverer_enter(w->h->d, &frame, w->h, why), DSC_OK);
    assert_int_equal(dsc_stream_read(&frame, w->stream, &byte, 1, &n, why), DSC_ECALLBACK);
    dsc_discoverer_leave(&frame);
    if (w->free_it)
      dsc_stream_free(w->stream);
    else
      dsc_stream_close(w->stream);
  }
  if (w->calls == w->stop_at) dsc_discoverer_stop(w->h->d, ctx, 0);
  return w->calls == w->fail_at ? dsc_fail(why, DSC_ECALLBACK, "progress says no") : DSC_OK;
}

TEST(progress_of_a_stream) {
  host h;
  peer p;
  dsc_stream *stream;
  dsc_err err;
  char path[64];
  peer_start(&p, script_serve, NULL);
  host_new(&h, "");
  host_patient(&h);
  host_set(&h, "svc", p.addr, 1);
  watcher w = {.h = &h};
  dsc_request request = size_request(path, 3000000);
  request.on_progress = watch;
  request.ud = &w;
  dsc_result_free(host_stream(&h, &request, &stream));
  assert_int_equal(stream_drink(&h, stream, &err), 3000000);
  assert_true(w.calls > 3);
  assert_int_equal(w.last.received, 3000000);
  assert_int_equal(w.last.to_receive, 3000000);
  dsc_stream_free(stream);
  w = (watcher){.h = &h, .fail_at = 2};
  dsc_result_free(host_stream(&h, &request, &stream));
  stream_drink(&h, stream, &err);
  assert_int_equal(err, DSC_ECALLBACK);
  assert_string_equal(h.why.text, "progress says no");
  assert_int_equal(w.calls, 2);
  assert_int_equal(node_failures(&h, p.addr), 0);
  assert_int_equal(host_in_flight(&h), 0);
  dsc_stream_free(stream);
  host_free(&h);
  peer_stop(&p);
}

TEST(progress_may_close_free_and_stop) {
  host h;
  peer p;
  char path[64], bytes[1000];
  peer_start(&p, script_serve, NULL);
  for (int i = 0; i < 3; i++) {
    dsc_frame frame;
    size_t n = 1;
    host_new(&h, "");
    host_patient(&h);
    host_set(&h, "svc", p.addr, 1);
    watcher w = {.h = &h, .free_it = i == 1};
    dsc_request request = size_request(path, 30000000);
    request.on_progress = watch;
    request.ud = &w;
    dsc_result_free(host_stream(&h, &request, &w.stream));
    if (i < 2) w.close_at = w.calls + 2;
    if (i == 2) w.stop_at = w.calls + 2;
    assert_int_equal(dsc_discoverer_enter(h.d, &frame, &h, &h.why), DSC_OK);
    dsc_err err = DSC_OK;
    while (!err && n > 0) err = dsc_stream_read(&frame, w.stream, bytes, sizeof bytes, &n, &h.why);
    assert_int_equal(err, i < 2 ? DSC_ECLOSED : DSC_ESTOPPED);
    dsc_discoverer_leave(&frame);
    if (i != 1) dsc_stream_free(w.stream);
    host_free(&h);
  }
  peer_stop(&p);
}

static dsc_err free_other(void *ctx, void *ud, const dsc_http_progress *progress, dsc_why *why) {
  dsc_stream **pair = ud;
  (void)ctx, (void)progress, (void)why;
  dsc_stream_free(pair[1]);
  pair[1] = NULL;
  return DSC_OK;
}

/* Both have something to tell in the same turn of the loop. */
TEST(progress_may_free_another_stream) {
  static char bytes[250000];
  host h;
  peer p;
  char path[64];
  peer_start(&p, script_serve, NULL);
  host_new(&h, "");
  host_patient(&h);
  host_set(&h, "svc", p.addr, 1);
  for (int i = 0; i < 20; i++) {
    dsc_stream *pair[2][2] = {{NULL}};
    dsc_request request = size_request(path, 3000000);
    request.on_progress = free_other;
    for (int j = 0; j < 2; j++) {
      request.ud = pair[j];
      dsc_result_free(host_stream(&h, &request, &pair[j][0]));
    }
    host_enter(&h);
    dsc_discoverer_wait(&h.frame, 20); /* until their windows are full */
    host_leave(&h);
    for (size_t n, j = 0; j < 2; j++) assert_int_equal(stream_read(&h, pair[j][0], bytes, sizeof bytes, &n), DSC_OK);
    pair[0][1] = pair[1][0]; /* whose turn comes first takes the other away */
    pair[1][1] = pair[0][0];
    host_enter(&h);
    for (int turn = 0; pair[0][1] && pair[1][1] && turn < 5000; turn++) dsc_discoverer_wait(&h.frame, 1);
    host_leave(&h);
    assert_true(!pair[0][1] != !pair[1][1]);
    dsc_stream_free(pair[0][1] ? pair[1][0] : pair[0][0]);
  }
  assert_int_equal(host_in_flight(&h), 0);
  host_free(&h);
  peer_stop(&p);
}

TEST(progress_of_a_call) {
  host h;
  peer p;
  char *body = malloc(3 * MIB);
  peer_start(&p, script_serve, NULL);
  host_new(&h, "");
  host_patient(&h);
  host_set(&h, "svc", p.addr, 1);
  pattern_fill(body, 3 * MIB, 0);
  watcher w = {.h = &h};
  dsc_request request = host_request("svc");
  request.method = L("POST");
  request.has_body = true;
  request.body = (dsc_str){body, 3 * MIB};
  request.on_progress = watch;
  request.ud = &w;
  dsc_result *result = host_send(&h, &request);
  expect_result(result, DSC_OK, 200, 1);
  assert_string_equal(result->body, "POST length 3145728 right");
  assert_true(w.calls > 1);
  assert_int_equal(w.last.sent, 3 * MIB);
  assert_int_equal(w.last.to_send, 3 * MIB);
  assert_int_equal(w.last.received, result->body_len);
  dsc_result_free(result);
  for (int fail_at = 1, last = w.calls; fail_at <= 2; fail_at++) {
    w = (watcher){.h = &h, .fail_at = fail_at == 1 ? 1 : last};
    result = host_send(&h, &request);
    if (w.calls < w.fail_at) { /* there were fewer turns this time */
      dsc_result_free(result);
      continue;
    }
    assert_int_equal(result->err, DSC_ECALLBACK);
    assert_string_equal(result->why, "progress says no");
    assert_int_equal(w.calls, w.fail_at);
    assert_int_equal(node_failures(&h, p.addr), 0);
    dsc_result_free(result);
  }
  assert_int_equal(host_in_flight(&h), 0);
  free(body);
  host_free(&h);
  peer_stop(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_stream_is_the_body),
      cmocka_unit_test(many_streams_are_read_in_turns),
      cmocka_unit_test(a_failed_answer_is_followed_by_another_node),
      cmocka_unit_test(the_last_failed_answer_is_handed_over),
      cmocka_unit_test(without_an_answer_there_is_no_stream),
      cmocka_unit_test(a_body_that_breaks_off_is_the_nodes_fault),
      cmocka_unit_test(silence_is_bounded_and_the_deadline_is_over),
      cmocka_unit_test(a_closed_stream_says_so_and_blames_nobody),
      cmocka_unit_test(max_body_is_the_requests_own),
      cmocka_unit_test(a_stop_ends_streams),
      cmocka_unit_test(a_stream_outlives_a_discoverer_that_is_collected),
      cmocka_unit_test(a_child_has_no_part_in_it),
      cmocka_unit_test(progress_of_a_stream),
      cmocka_unit_test(progress_may_close_free_and_stop),
      cmocka_unit_test(progress_may_free_another_stream),
      cmocka_unit_test(progress_of_a_call),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
