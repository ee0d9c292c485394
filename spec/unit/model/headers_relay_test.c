/*
** headers_relay_test.c - what an incoming request passes on, and what never.
*/
#include "base/check.h"

#include "model/headers.h"

#define NAMES &dsc_headers_default_names

static const char *const relay_default_text =
    "X-Client-Ip X-Forwarded-For X-User-Id X-Device-Id X-Client-App-Name X-Client-App-Version X-Session-Id "
    "X-Request-Id X-Host X-Scheme User-Agent traceparent tracestate baggage ";

/* Makes a list from "Name: value" lines; "\n" ends each. */
static void from_lines(dsc_headers *headers, const char *lines) {
  dsc_headers_init(headers);
  dsc_str rest = dsc_str_of(lines);
  while (rest.n > 0) {
    dsc_str line = dsc_str_cut(&rest, '\n'), name = dsc_str_cut(&line, ':');
    assert_int_equal(dsc_headers_add(headers, name, line), DSC_OK);
  }
}

static void to_lines(char *text, size_t size, const dsc_headers *headers) {
  size_t n = 0;
  text[0] = '\0';
  for (size_t i = 0; i < headers->count; i++)
    n += (size_t)snprintf(text + n, size - n, "%s: %s\n", headers->items[i].name.p, headers->items[i].value.p);
}

/* Relays `incoming` for a peer, and compares; `have` stands in the list before. */
static void expect(const char *have, const char *incoming, const char *addr, const char *host, const char *scheme,
                   const char *const *list, const dsc_header_names *names, const char *expected) {
  dsc_headers in, out;
  char text[4096];
  dsc_relay_peer peer = {dsc_str_of(addr), dsc_str_of(host), dsc_str_of(scheme)};
  from_lines(&in, incoming);
  from_lines(&out, have);
  assert_int_equal(dsc_headers_relay(&out, &in, &peer, list ? list : dsc_headers_relay_default, names), DSC_OK);
  to_lines(text, sizeof text, &out);
  assert_string_equal(text, expected);
  dsc_headers_clear(&in);
  dsc_headers_clear(&out);
}

TEST(the_default_list_is_the_reference_s) {
  char text[512] = "";
  for (const char *const *name = dsc_headers_relay_default; *name; name++) {
    strncat(text, *name, sizeof text - strlen(text) - 1);
    strncat(text, " ", sizeof text - strlen(text) - 1);
  }
  assert_string_equal(text, relay_default_text);
  assert_string_equal(dsc_headers_default_names.from_app, "X-Discover-From-App");
  assert_string_equal(dsc_headers_default_names.from_node, "X-Discover-From-Node");
  assert_string_equal(dsc_headers_default_names.client_ip, "X-Client-Ip");
  assert_string_equal(dsc_headers_default_names.user_agent, "User-Agent");
}

TEST(listed_ones_are_relayed_in_the_order_of_the_list) {
  expect("",
         "user-agent:curl/8\nx-session-id: s \nX-Other:o\nx-request-id:r\nX-User-Id:7\nX-DEVICE-ID:d\nbaggage:b\n"
         "x-client-app-name:n\nX-Client-App-Version:1.2\ntraceparent:00-1\ntracestate:t\nx-scheme:https\nX-Host:h\n"
         "X-Client-IP:9.9.9.9\nX-Forwarded-For:9.9.9.9\n",
         "", "", "", NULL, NAMES,
         "X-Client-Ip: 9.9.9.9\nX-Forwarded-For: 9.9.9.9\nX-User-Id: 7\nX-Device-Id: d\nX-Client-App-Name: n\n"
         "X-Client-App-Version: 1.2\nX-Session-Id: s\nX-Request-Id: r\nX-Host: h\nX-Scheme: https\nUser-Agent: curl/8\n"
         "traceparent: 00-1\ntracestate: t\nbaggage: b\n");
}

TEST(empty_and_unclean_ones_are_not_relayed) {
  expect("", "X-User-Id:\nX-Device-Id:  \t\nX-Session-Id:a\rb\nX-Request-Id:\x01\nUser-Agent:a\x7f\nX-Host:\x1b[0m\n",
         "", "", "", NULL, NAMES, "");
  expect("", "X-User-Id:\nX-User-Id:a\rb\nX-User-Id:second\nX-User-Id:third\n", "", "", "", NULL, NAMES,
         "X-User-Id: second\n");
}

TEST(the_peer_is_appended_and_becomes_the_client) {
  static const struct {
    const char *addr, *ip; /* ip "": none */
  } peers[] = {
      {"10.0.0.1", "10.0.0.1"},
      {"10.0.0.1:5000", "10.0.0.1"},
      {" 10.0.0.1:5000 ", "10.0.0.1"},
      {"[2001:db8::1]:5000", "2001:db8::1"},
      {"[2001:db8::1]", "2001:db8::1"},
      {"2001:db8::1", "2001:db8::1"},
      {"::1", "::1"},
      {"[::1]:80", "::1"},
      {"[fe80::1%eth0]:80", "fe80::1"},
      {"fe80::1%eth0", "fe80::1"},
      {"::ffff:10.0.0.1", "10.0.0.1"},
      {"[::FFFF:10.0.0.1]:80", "10.0.0.1"},
      {"::ffff:a00:1", "::ffff:a00:1"},
      {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
      {"", ""},
      {"unix:", ""},
      {"unix:/run/app.sock", ""},
      {"@", ""},
      {"localhost:80", ""},
      {"10.0.0:80", ""},
      {"10.0.0.256", ""},
      {"[10.0.0.1", "10.0.0.1"},
      {"[", ""},
      {"[]", ""},
      {":80", ""},
      {"::ffff:", ""},
      {"1:2:3:4:5:6:7:8:9", ""},
      {"evil\r\nX: y", ""},
      {"00000000000000000000000000000000000000000000000000000000000000001", ""},
  };
  for (size_t i = 0; i < COUNT(peers); i++) {
    const char *ip = peers[i].ip;
    char alone[256] = "", behind[256];
    if (*ip) snprintf(alone, sizeof alone, "X-Client-Ip: %s\nX-Forwarded-For: %s\n", ip, ip);
    expect("", "", peers[i].addr, "", "", NULL, NAMES, alone);
    snprintf(behind, sizeof behind, "X-Client-Ip: 8.8.8.8\nX-Forwarded-For: 8.8.8.8%s%s\n", *ip ? ", " : "", ip);
    expect("", "x-client-ip:8.8.8.8\nx-forwarded-for:8.8.8.8\n", peers[i].addr, "", "", NULL, NAMES, behind);
  }
}

TEST(a_null_byte_in_the_peer_is_no_address) {
  dsc_headers out;
  dsc_headers_init(&out);
  dsc_relay_peer peer = {{"10.0.0.1\0:80", 12}, {NULL, 0}, {NULL, 0}};
  assert_int_equal(dsc_headers_relay(&out, NULL, &peer, dsc_headers_relay_default, NAMES), DSC_OK);
  assert_int_equal(out.count, 0);
  dsc_headers_clear(&out);
}

TEST(several_lines_of_one_list_are_joined) {
  expect("",
         "X-Forwarded-For:1.1.1.1\nX-Forwarded-For:\nx-forwarded-for:2.2.2.2, 3.3.3.3\nX-Forwarded-For:a\rb\n"
         "tracestate:a=1\nTraceState: b=2 \nbaggage:k=v\nbaggage:l=w\ntraceparent:1\ntraceparent:2\n",
         "[::1]:9", "", "", NULL, NAMES,
         "X-Client-Ip: ::1\nX-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, ::1\ntraceparent: 1\ntracestate: a=1, b=2\n"
         "baggage: k=v, l=w\n");
}

TEST(host_and_scheme_fill_gaps) {
  expect("", "", "", "shop.example:8443", "https", NULL, NAMES, "X-Host: shop.example:8443\nX-Scheme: https\n");
  expect("", "x-host:first\nx-scheme:http\n", "", "second", "https", NULL, NAMES, "X-Host: first\nX-Scheme: http\n");
  expect("", "x-host:\nx-scheme:a\rb\n", "", "second", "https", NULL, NAMES, "X-Host: second\nX-Scheme: https\n");
  expect("", "", "", "bad\r\nhost", "ht\ntp", NULL, NAMES, "");
}

TEST(what_stands_already_is_left_alone) {
  expect("x-user-id:mine\nX-FORWARDED-FOR:mine\nx-host:mine\n",
         "X-User-Id:theirs\nX-Forwarded-For:theirs\nX-Session-Id:s\n", "1.2.3.4", "theirs", "", NULL, NAMES,
         "x-user-id: mine\nX-FORWARDED-FOR: mine\nx-host: mine\nX-Client-Ip: 1.2.3.4\nX-Session-Id: s\n");
}

TEST(the_list_decides) {
  static const char *const none[] = {NULL};
  static const char *const mine[] = {"X-Tenant", "x-user-id", "X-TENANT", NULL};
  static const char *const forwarded[] = {"x-forwarded-for", NULL};
  const char *incoming = "X-Tenant:t\nX-User-Id:7\nX-Forwarded-For:1.1.1.1\nX-Client-Ip:1.1.1.1\n";
  expect("", incoming, "2.2.2.2", "h", "s", none, NAMES, "");
  expect("", incoming, "2.2.2.2", "h", "s", mine, NAMES, "X-Tenant: t\nx-user-id: 7\n");
  expect("", incoming, "2.2.2.2", "h", "s", forwarded, NAMES, "x-forwarded-for: 1.1.1.1, 2.2.2.2\n");
}

TEST(credentials_and_framing_never_listed_or_not) {
  static const char *const banned[] = {"cookie",
                                       "Cookie2",
                                       "set-cookie",
                                       "Set-Cookie2",
                                       "AUTHORIZATION",
                                       "Access-Token",
                                       "connection",
                                       "keep-alive",
                                       "TE",
                                       "Trailer",
                                       "upgrade",
                                       "Transfer-Encoding",
                                       "Content-Length",
                                       "Proxy-Connection",
                                       "Proxy-Authorization",
                                       "proxy-authenticate"};
  for (size_t i = 0; i < COUNT(banned); i++) {
    const char *list[] = {banned[i], NULL};
    char incoming[64];
    snprintf(incoming, sizeof incoming, "%s:secret\n", banned[i]);
    expect("", incoming, "", "", "", list, NAMES, "");
    /* nor under the name of something else */
    dsc_header_names names = dsc_headers_default_names;
    names.client_ip = names.user_agent = banned[i];
    expect("", "X-Client-Ip:secret\nUser-Agent:secret\n", "1.1.1.1", "", "", NULL, &names,
           "X-Forwarded-For: 1.1.1.1\n");
  }
}

TEST(renamed_headers_go_out_under_their_new_name) {
  static const char *const own[] = {"X-Real-IP", "X-Client-Ip", "x-user-agent", "User-Agent", NULL};
  dsc_header_names names = dsc_headers_default_names;
  names.client_ip = "X-Real-IP";
  names.user_agent = "X-User-Agent";
  expect("", "X-Client-Ip:1.1.1.1\nUser-Agent:ua\n", "2.2.2.2", "", "", NULL, &names,
         "X-Real-IP: 1.1.1.1\nX-Forwarded-For: 2.2.2.2\nX-User-Agent: ua\n");
  /* the new name is what the first caller's agent was passed on under; the other is the last hop's own */
  expect("", "User-Agent:hop\nX-User-Agent:first\nX-Client-Ip:1.1.1.1\nX-Real-Ip:3.3.3.3\n", "", "", "", own, &names,
         "X-Real-IP: 3.3.3.3\nX-User-Agent: first\n");
  expect("", "", "2.2.2.2:1", "", "", own, &names, "X-Real-IP: 2.2.2.2\n");
}

TEST(nobody_and_nothing_relay_nothing) {
  dsc_headers out;
  dsc_headers_init(&out);
  assert_int_equal(dsc_headers_relay(&out, NULL, NULL, dsc_headers_relay_default, NAMES), DSC_OK);
  assert_int_equal(out.count, 0);
  dsc_headers_clear(&out);
}

TEST(a_joined_value_stays_within_64_kib) {
  dsc_headers in, out;
  size_t half = 40 * 1024;
  char *value = malloc(half);
  assert_non_null(value);
  memset(value, '1', half);
  dsc_headers_init(&in);
  dsc_headers_init(&out);
  for (int i = 0; i < 2; i++) assert_int_equal(dsc_headers_add(&in, L("baggage"), (dsc_str){value, half}), DSC_OK);
  assert_int_equal(dsc_headers_relay(&out, &in, NULL, dsc_headers_relay_default, NAMES), DSC_OK);
  assert_int_equal(out.count, 0);
  dsc_headers_clear(&in);
  dsc_headers_clear(&out);
  free(value);
}

static dsc_headers incoming;

static bool relay_all(void) {
  dsc_headers out;
  dsc_headers_init(&out);
  dsc_relay_peer peer = {L("[::1]:80"), L("host"), L("https")};
  dsc_err err = dsc_headers_relay(&out, &incoming, &peer, dsc_headers_relay_default, NAMES);
  if (err) assert_int_equal(err, DSC_ENOMEM);
  dsc_headers_clear(&out);
  return err == DSC_OK;
}

TEST(every_allocation_may_fail) {
  from_lines(&incoming, "X-User-Id:7\nX-Forwarded-For:1.1.1.1\nbaggage:a\nbaggage:b\nUser-Agent:ua\nX-Session-Id:s\n"
                        "tracestate:t\ntraceparent:p\nX-Request-Id:r\n");
  assert_true(fail_each_allocation(relay_all) >= 14);
  dsc_headers_clear(&incoming);
}

/* Whatever comes in, what goes out is on the list, clean and never twice. */
TEST(random_requests_relay_clean_headers_only) {
  static const char *const names[] = {"X-User-Id",     "x-forwarded-for", "Cookie", "X-Host",   "User-Agent", "baggage",
                                      "Authorization", "X-Client-IP",     "X-Odd",  "x-scheme", "tracestate"};
  static const char bytes[] = "a1.:[]%, \t\r\n\x01\x7f\xff";
  uint64_t seed = 3;
  for (int round = 0; round < 5000; round++) {
    dsc_headers in, out;
    char text[3][24];
    dsc_headers_init(&in);
    dsc_headers_init(&out);
    for (size_t i = 0; i < 3; i++)
      for (size_t j = 0; j < sizeof text[0]; j++) text[i][j] = bytes[pick_below(&seed, sizeof bytes)];
    for (size_t i = pick_below(&seed, 12); i > 0; i--)
      assert_int_equal(dsc_headers_add(&in, dsc_str_of(names[pick_below(&seed, COUNT(names))]),
                                       (dsc_str){text[i % 3], pick_below(&seed, sizeof text[0])}),
                       DSC_OK);
    dsc_relay_peer peer = {{text[0], pick_below(&seed, 24)}, {text[1], pick_below(&seed, 24)}, {text[2], 3}};
    assert_int_equal(dsc_headers_relay(&out, &in, &peer, dsc_headers_relay_default, NAMES), DSC_OK);
    for (size_t i = 0; i < out.count; i++) {
      assert_int_equal(dsc_headers_check_value(out.items[i].name, out.items[i].value, NULL), DSC_OK);
      assert_true(out.items[i].value.n > 0);
      assert_non_null(strstr(relay_default_text, out.items[i].name.p));
      assert_ptr_equal(dsc_headers_find(&out, out.items[i].name), &out.items[i]);
    }
    dsc_headers_clear(&in);
    dsc_headers_clear(&out);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_default_list_is_the_reference_s),
      cmocka_unit_test(listed_ones_are_relayed_in_the_order_of_the_list),
      cmocka_unit_test(empty_and_unclean_ones_are_not_relayed),
      cmocka_unit_test(the_peer_is_appended_and_becomes_the_client),
      cmocka_unit_test(a_null_byte_in_the_peer_is_no_address),
      cmocka_unit_test(several_lines_of_one_list_are_joined),
      cmocka_unit_test(host_and_scheme_fill_gaps),
      cmocka_unit_test(what_stands_already_is_left_alone),
      cmocka_unit_test(the_list_decides),
      cmocka_unit_test(credentials_and_framing_never_listed_or_not),
      cmocka_unit_test(renamed_headers_go_out_under_their_new_name),
      cmocka_unit_test(nobody_and_nothing_relay_nothing),
      cmocka_unit_test(a_joined_value_stays_within_64_kib),
      cmocka_unit_test(every_allocation_may_fail),
      cmocka_unit_test(random_requests_relay_clean_headers_only),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
