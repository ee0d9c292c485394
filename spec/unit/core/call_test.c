/*
** call_test.c - calls against peers in this process: answers, retries, pins, deadlines, what a result keeps.
*/
#include "core/discoverer_impl.h"
#include "core/host.h"
#include "net/peer.h"

static char well[] = "well", ten_bytes[] = "0123456789";

static void script_polite(peer *p, peer_conn *c) {
  while (peer_read(c) && peer_answer(c, p->ud)) continue;
}

/* Answers with the status in `flag`. */
static void script_status(peer *p, peer_conn *c) {
  while (peer_read(c)) {
    char text[128];
    snprintf(text, sizeof text, "HTTP/1.1 %d Sorry\r\nX-From: %s\r\nContent-Length: 4\r\n\r\nbusy",
             atomic_load(&p->flag), p->addr);
    if (!peer_say(c, text)) return;
  }
}

static void script_mute(peer *p, peer_conn *c) {
  (void)p;
  peer_read(c);
  peer_linger(c);
}

static void script_reset(peer *p, peer_conn *c) {
  (void)p;
  peer_read(c);
  peer_reset(c);
}

/* Repeats the request's head. */
static void script_echo(peer *p, peer_conn *c) {
  (void)p;
  while (peer_read(c) && peer_answer(c, c->head)) continue;
}

static void status_start(peer *p, int status) {
  peer_start(p, script_status, NULL);
  atomic_store(&p->flag, status);
}

/* Two nodes, of which `first` is picked first. */
static void open_two(host *h, const char *first, const char *second) {
  dsc_app_client *ac = NULL;
  dsc_node *node = NULL;
  host_new(h, "");
  host_set(h, "svc", first, 1);
  host_set(h, "svc", second, 1);
  host_enter(h);
  for (int i = 0; i < 4; i++) {
    assert_int_equal(dsc_discoverer_app_client_new(h->d, L("svc"), &ac, &h->why), DSC_OK);
    assert_int_equal(dsc_discoverer_app_client_next(&h->frame, ac, dsc_str_of(second), &node, &h->why), DSC_OK);
    dsc_discoverer_done(&h->frame, node, DSC_OUTCOME_SUCCESS);
    dsc_node_unref(node);
    dsc_discoverer_app_client_free(ac);
  }
  host_leave(h);
}

static void expect(dsc_result *result, dsc_err err, int status, uint32_t attempts) {
  if (result->err != err || result->status != status || result->attempts != attempts)
    fail_msg("expected %s %d after %u attempts, got %s %d after %u: %s", dsc_err_name(err), status, attempts,
             dsc_err_name(result->err), result->status, result->attempts, result->why ? result->why : "");
  assert_int_equal(result->err == DSC_OK, result->why == NULL);
}

static uint64_t elapsed_ms(const dsc_result *result) {
  return (uint64_t)(result->elapsed * 1000);
}

TEST(an_answer_is_the_result) {
  host h;
  peer p;
  peer_start(&p, script_polite, well);
  host_new(&h, "");
  host_set(&h, "svc", p.addr, 1);
  for (int i = 0; i < 50; i++) {
    dsc_result *result = host_get(&h, "svc");
    expect(result, DSC_OK, 200, 1);
    assert_true(dsc_result_ok(result));
    assert_string_equal(result->body, "well");
    assert_int_equal(result->body_len, 4);
    assert_string_equal(result->node, p.addr);
    assert_string_equal(result->trace[0].node, p.addr);
    dsc_result_free(result);
  }
  assert_int_equal(atomic_load(&p.accepted), 1);
  assert_int_equal(host_in_flight(&h), 0);
  host_free(&h);
  peer_stop(&p);
}

TEST(a_failed_node_is_followed_by_another) {
  host h;
  peer bad, good;
  peer_start(&good, script_polite, well);
  for (int status = 502; status <= 504; status++) {
    status_start(&bad, status);
    open_two(&h, bad.addr, good.addr);
    dsc_result *result = host_get(&h, "svc");
    expect(result, DSC_OK, 200, 2);
    assert_int_equal(result->trace[0].status, status);
    assert_int_equal(result->trace[1].status, 200);
    assert_string_equal(result->node, good.addr);
    assert_null(dsc_headers_find(&result->headers, L("X-From"))); /* nothing is left of the first answer */
    dsc_result_free(result);
    host_free(&h);
    peer_stop(&bad);
  }
  peer_stop(&good);
}

TEST(the_last_answer_is_kept) {
  host h;
  peer busy;
  status_start(&busy, 503);
  open_two(&h, busy.addr, host_dead_addr());
  dsc_result *result = host_get(&h, "svc");
  expect(result, DSC_EALL_FAILED, 503, 2);
  assert_string_equal(result->body, "busy");
  assert_string_equal(result->reason, "Sorry");
  assert_str(dsc_headers_find(&result->headers, L("x-from"))->value, busy.addr);
  assert_string_equal(result->node, "");
  assert_non_null(strstr(result->why, "2 attempts failed"));
  assert_int_equal(result->trace[1].err, DSC_ECONNECT);
  dsc_result_free(result);
  host_free(&h);
  peer_stop(&busy);
}

TEST(one_attempt_has_its_own_code) {
  host h;
  peer busy;
  status_start(&busy, 503);
  host_new(&h, "");
  host_set(&h, "dead", host_dead_addr(), 1);
  host_set(&h, "busy", busy.addr, 1);
  dsc_result *result = host_get(&h, "dead");
  expect(result, DSC_ECONNECT, 0, 1);
  assert_true(result->node[0] != '\0');
  dsc_result_free(result);
  result = host_get(&h, "busy");
  expect(result, DSC_OK, 503, 1);
  assert_false(dsc_result_ok(result));
  dsc_result_free(result);
  host_free(&h);
  peer_stop(&busy);
}

TEST(what_may_have_been_done_is_not_done_again) {
  static const struct {
    const char *method;
    bool has_retry, has_key;
    dsc_retry retry;
    dsc_err err;
    uint32_t attempts;
  } rows[] = {
      {"GET", false, false, 0, DSC_OK, 2},
      {"POST", false, false, 0, DSC_ECONNECT, 1},
      {"POST", false, true, 0, DSC_OK, 2},
      {"POST", true, false, DSC_RETRY_ALWAYS, DSC_OK, 2},
      {"GET", true, false, DSC_RETRY_NEVER, DSC_ECONNECT, 1},
  };
  peer bad, good;
  dsc_headers key;
  dsc_headers_init(&key);
  assert_int_equal(dsc_headers_add(&key, L("Idempotency-Key"), L("1")), DSC_OK);
  peer_start(&good, script_polite, well);
  peer_start(&bad, script_reset, NULL);
  for (size_t i = 0; i < COUNT(rows); i++) {
    host h;
    open_two(&h, bad.addr, good.addr);
    dsc_request request = host_request("svc");
    request.method = dsc_str_of(rows[i].method);
    request.has_retry = rows[i].has_retry;
    request.retry = rows[i].retry;
    if (rows[i].has_key) request.headers = &key;
    dsc_result *result = host_send(&h, &request);
    expect(result, rows[i].err, rows[i].err ? 0 : 200, rows[i].attempts);
    dsc_result_free(result);
    host_free(&h);
  }
  dsc_headers_clear(&key);
  peer_stop(&bad);
  peer_stop(&good);
}

TEST(attempts_are_limited) {
  host h;
  host_new(&h, "");
  for (int i = 0; i < 5; i++) host_set(&h, "svc", host_dead_addr(), 1);
  dsc_request request = host_request("svc");
  request.max_attempts = 3;
  dsc_result *result = host_send(&h, &request);
  expect(result, DSC_EALL_FAILED, 0, 3);
  dsc_result_free(result);
  result = host_get(&h, "svc");
  expect(result, DSC_EALL_FAILED, 0, 5); /* every node once */
  dsc_result_free(result);
  host_free(&h);
}

TEST(a_pinned_call_is_one_attempt) {
  host h;
  peer good, busy;
  peer_start(&good, script_polite, well);
  status_start(&busy, 503);
  open_two(&h, good.addr, busy.addr);
  dsc_request request = host_request("svc");
  request.node = dsc_str_of(busy.addr);
  dsc_result *result = host_send(&h, &request);
  expect(result, DSC_OK, 503, 1);
  assert_string_equal(result->node, busy.addr);
  dsc_result_free(result);
  request.node = L("10.0.0.1:80");
  result = host_send(&h, &request);
  expect(result, DSC_ENO_NODE, 0, 0);
  assert_non_null(strstr(result->why, "10.0.0.1:80"));
  dsc_result_free(result);
  request.node = L("no address");
  result = host_send(&h, &request);
  expect(result, DSC_EINVALID, 0, 0);
  dsc_result_free(result);
  host_free(&h);
  peer_stop(&good);
  peer_stop(&busy);
}

TEST(bad_arguments_are_in_the_result) {
  host h;
  host_new(&h, "");
  host_set(&h, "svc", host_dead_addr(), 1);
  for (int i = 0; i < 4; i++) {
    dsc_request request = host_request("svc");
    dsc_headers headers;
    dsc_headers_init(&headers);
    assert_int_equal(dsc_headers_add(&headers, L("A"), L("1\r\nB: 2")), DSC_OK);
    if (i == 0) request.app = L("a b");
    if (i == 1) request.method = L("G T");
    if (i == 2) request.path = L("x");
    if (i == 3) request.headers = &headers;
    dsc_result *result = host_send(&h, &request);
    expect(result, DSC_EINVALID, 0, 0);
    dsc_result_free(result);
    dsc_headers_clear(&headers);
  }
  dsc_result *result = host_get(&h, "nobody");
  expect(result, DSC_EAPP_NOT_FOUND, 0, 0);
  dsc_result_free(result);
  host_free(&h);
}

/* ---- time */

TEST(an_attempt_that_takes_too_long_is_followed_by_another) {
  host h;
  peer mute, good;
  peer_start(&mute, script_mute, NULL);
  peer_start(&good, script_polite, well);
  open_two(&h, mute.addr, good.addr);
  dsc_request request = host_request("svc");
  request.timeout_ms = 60;
  dsc_result *result = host_send(&h, &request);
  expect(result, DSC_OK, 200, 2);
  assert_int_equal(result->trace[0].err, DSC_ETIMEOUT);
  assert_true(elapsed_ms(result) >= 55);
  dsc_result_free(result);
  host_free(&h);
  peer_stop(&mute);
  peer_stop(&good);
}

TEST(the_deadline_ends_a_call) {
  host h;
  peer mute;
  peer_start(&mute, script_mute, NULL);
  host_new(&h, "");
  host_set(&h, "svc", mute.addr, 1);
  host_set(&h, "svc", host_dead_addr(), 1);
  dsc_request request = host_request("svc");
  request.deadline_ms = 120;
  dsc_result *result = host_send(&h, &request);
  assert_int_equal(result->err, DSC_ETIMEOUT);
  assert_in_range(elapsed_ms(result), 100, 5000);
  assert_non_null(strstr(result->why, "the deadline passed after"));
  dsc_result_free(result);
  assert_int_equal(host_in_flight(&h), 0);
  host_free(&h);
  peer_stop(&mute);
}

TEST(the_deadline_ends_a_call_that_waits_for_the_registry) {
  host h;
  peer mute;
  char registry[64];
  peer_start(&mute, script_mute, NULL); /* takes connections and says nothing */
  snprintf(registry, sizeof registry, "redis://%s/1", mute.addr);
  host_new(&h, registry);
  dsc_request request = host_request("svc");
  request.deadline_ms = 100;
  dsc_result *result = host_send(&h, &request);
  expect(result, DSC_ETIMEOUT, 0, 0);
  assert_in_range(elapsed_ms(result), 90, 1500); /* start_timeout is 3 s */
  dsc_result_free(result);
  host_free(&h);
  peer_stop(&mute);
}

TEST(a_call_waits_for_the_registry_no_longer_than_start_timeout) {
  host h = {0};
  peer mute;
  char registry[64];
  peer_start(&mute, script_mute, NULL);
  snprintf(registry, sizeof registry, "redis://%s/1", mute.addr);
  dsc_options options = host_options(registry);
  options.start_timeout_ms = 50;
  assert_int_equal(dsc_discoverer_new(&h.d, &options, &h.why), DSC_OK);
  dsc_result *result = host_get(&h, "svc");
  expect(result, DSC_EREGISTRY, 0, 0);
  assert_in_range(elapsed_ms(result), 45, 2500);
  dsc_result_free(result);
  host_free(&h);
  peer_stop(&mute);
}

/* ---- what is sent */

TEST(sends_who_calls) {
  host h;
  peer p;
  peer_start(&p, script_echo, NULL);
  host_new(&h, "memory://call");
  host_set(&h, "svc", p.addr, 1);
  dsc_call_config config;
  dsc_call_config_defaults(&config);
  assert_non_null(config.token = dsc_secret_new(L("hush")));
  assert_int_equal(host_configure(&h, "svc", &config), DSC_OK);
  dsc_secret_unref(config.token);
  host_enter(&h);
  assert_int_equal(dsc_discoverer_register(&h.frame, L("me"), L("10.0.0.7:80"), 1, NULL, &h.why), DSC_OK);
  host_leave(&h);
  dsc_headers users, relayed;
  dsc_headers_init(&users);
  dsc_headers_init(&relayed);
  assert_int_equal(dsc_headers_add(&users, L("x-discover-from-app"), L("liar")), DSC_OK);
  assert_int_equal(dsc_headers_add(&users, L("access-token"), L("guess")), DSC_OK);
  assert_int_equal(dsc_headers_add(&users, L("Content-Length"), L("99")), DSC_OK);
  assert_int_equal(dsc_headers_add(&users, L("X-User-Id"), L("mine")), DSC_OK);
  assert_int_equal(dsc_headers_add(&relayed, L("X-User-Id"), L("theirs")), DSC_OK);
  assert_int_equal(dsc_headers_add(&relayed, L("baggage"), L("a=1")), DSC_OK);
  assert_int_equal(dsc_headers_add(&relayed, L("baggage"), L("b=2")), DSC_OK);
  dsc_request request = host_request("svc");
  request.headers = &users;
  request.relayed = &relayed;
  dsc_result *result = host_send(&h, &request);
  expect(result, DSC_OK, 200, 1);
  const char *there[] = {"X-Discover-From-App: me\r\n",
                         "X-Discover-From-Node: 10.0.0.7:80\r\n",
                         "Access-Token: hush\r\n",
                         "X-User-Id: mine\r\n",
                         "baggage: a=1\r\n",
                         "baggage: b=2"};
  const char *absent[] = {"liar", "guess", "Content-Length", "theirs"};
  char *body = result->body;
  for (size_t i = 0; i < COUNT(there); i++)
    if (!strstr(body, there[i])) fail_msg("%s is not in\n%s", there[i], body);
  for (size_t i = 0; i < COUNT(absent); i++) assert_null(strstr(body, absent[i]));
  const char *id = strstr(body, "X-Request-Id: ");
  assert_non_null(id);
  assert_int_equal(strspn(id + 14, "0123456789abcdef"), 16);
  dsc_result_free(result);
  dsc_headers_clear(&users);
  dsc_headers_clear(&relayed);
  host_free(&h);
  peer_stop(&p);
}

TEST(bodies_are_bounded) {
  host h;
  peer p;
  peer_start(&p, script_polite, ten_bytes);
  host_new(&h, "");
  host_set(&h, "svc", p.addr, 1);
  host_set(&h, "svc", host_dead_addr(), 1);
  dsc_request request = host_request("svc");
  request.node = dsc_str_of(p.addr);
  request.has_max_body = true;
  request.max_body = 9;
  dsc_result *result = host_send(&h, &request);
  assert_int_equal(result->err, DSC_ETOO_LARGE);
  assert_int_equal(result->attempts, 1);
  dsc_result_free(result);
  request.max_body = 10;
  result = host_send(&h, &request);
  expect(result, DSC_OK, 200, 1);
  dsc_result_free(result);
  host_free(&h);
  peer_stop(&p);
}

TEST(tls_is_made_when_it_is_configured) {
  host h;
  peer plain;
  host_new(&h, "");
  status_start(&plain, 200);
  host_set(&h, "svc", plain.addr, 1);
  dsc_call_config config;
  dsc_call_config_defaults(&config);
  config.ssl = true;
  char missing[] = "/there/is/no/such.pem";
  config.tls.ca = missing;
  assert_int_equal(host_configure(&h, "svc", &config), DSC_EINVALID);
  config.tls.ca = NULL;
  config.connect_timeout_ms = 100;
  assert_int_equal(host_configure(&h, "svc", &config), DSC_OK);
  dsc_result *result = host_get(&h, "svc");
  expect(result, DSC_ETIMEOUT, 0, 1); /* the peer waits for a plain request */
  assert_non_null(strstr(result->why, "no TLS connection"));
  dsc_result_free(result);
  host_free(&h);
  peer_stop(&plain);
}

TEST(writes_a_record_of_each_attempt) {
  host h;
  peer busy;
  status_start(&busy, 503);
  host_new_talking(&h, "");
  host_set(&h, "svc", busy.addr, 1);
  dsc_hooks hooks = {.ud = &h, .on_log = host_log};
  dsc_discoverer_set_hooks(h.d, &hooks);
  dsc_result_free(host_get(&h, "svc"));
  assert_string_equal(h.order, "l");
  assert_int_equal(h.record.level, DSC_LOG_WARN);
  assert_string_equal(h.record.error, "status 503");
  assert_string_equal(h.record.method, "GET");
  assert_string_equal(h.record.path, "/");
  assert_string_equal(h.record.node, busy.addr);
  assert_int_equal(strlen(h.record.request_id), 16);
  assert_int_equal(h.record.attempts, 1);
  assert_true(h.record.used_time_ms >= 0);
  host_free(&h);
  peer_stop(&busy);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_answer_is_the_result),
      cmocka_unit_test(a_failed_node_is_followed_by_another),
      cmocka_unit_test(the_last_answer_is_kept),
      cmocka_unit_test(one_attempt_has_its_own_code),
      cmocka_unit_test(what_may_have_been_done_is_not_done_again),
      cmocka_unit_test(attempts_are_limited),
      cmocka_unit_test(a_pinned_call_is_one_attempt),
      cmocka_unit_test(bad_arguments_are_in_the_result),
      cmocka_unit_test(an_attempt_that_takes_too_long_is_followed_by_another),
      cmocka_unit_test(the_deadline_ends_a_call),
      cmocka_unit_test(the_deadline_ends_a_call_that_waits_for_the_registry),
      cmocka_unit_test(a_call_waits_for_the_registry_no_longer_than_start_timeout),
      cmocka_unit_test(sends_who_calls),
      cmocka_unit_test(bodies_are_bounded),
      cmocka_unit_test(tls_is_made_when_it_is_configured),
      cmocka_unit_test(writes_a_record_of_each_attempt),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
