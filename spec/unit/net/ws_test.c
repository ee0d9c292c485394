/*
** ws_test.c - RFC 6455 as a client keeps it: every case of a scripted server that sends what a real one would not.
*/
#include "net/ws_support.h"

#define BYTES(text) text, sizeof(text) - 1

/* What the server sends after the handshake; what the client makes of it. */
typedef struct rule {
  const char *name;
  const char *bytes;
  size_t n;
  dsc_err err;
  int code;         /* of the end, as the client tells it */
  int told;         /* the code of the close frame that the server gets; 0: one without a code; -1: none */
  const char *text; /* messages that came, each with t or b before it */
} rule;

#define X25  "xxxxxxxxxxxxxxxxxxxxxxxxx"
#define X125 X25 X25 X25 X25 X25

static const rule rules[] = {
    /* 5.2: framing */
    {"masked text", BYTES("\x81\x83\0\0\0\0abc"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"masked with a mask",
     BYTES("\x81\x81\x01\x02\x03\x04"
           "a"),
     DSC_EPROTOCOL, 1006, 1002, ""},
    {"rsv1",
     BYTES("\xc1\x01"
           "a"),
     DSC_EPROTOCOL, 1006, 1002, ""},
    {"rsv2",
     BYTES("\xa1\x01"
           "a"),
     DSC_EPROTOCOL, 1006, 1002, ""},
    {"rsv3",
     BYTES("\x91\x01"
           "a"),
     DSC_EPROTOCOL, 1006, 1002, ""},
    {"rsv on a ping", BYTES("\xc9\x00"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"rsv on a continuation",
     BYTES("\x01\x01"
           "a\xc0\x01"
           "b"),
     DSC_EPROTOCOL, 1006, 1002, ""},
    {"opcode 3", BYTES("\x83\x00"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"opcode 7", BYTES("\x87\x00"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"opcode 11", BYTES("\x8b\x00"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"opcode 15", BYTES("\x8f\x00"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"a length with the first bit", BYTES("\x82\x7f\x80\0\0\0\0\0\0\x01"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"a length in two bytes without need",
     BYTES("\x82\x7e\0\x01"
           "a"),
     DSC_EPROTOCOL, 1006, 1002, ""},
    {"a length in eight bytes without need", BYTES("\x82\x7f\0\0\0\0\0\0\x01\0"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"too large, by its head", BYTES("\x82\x7f\0\0\0\0\0\x10\0\x01"), DSC_ETOO_LARGE, 1006, 1009, ""},
    {"too large, in fragments",
     BYTES("\x02\x01"
           "a\x80\x7f\0\0\0\0\0\x10\0\0"),
     DSC_ETOO_LARGE, 1006, 1009, ""},
    /* 5.4: fragments */
    {"a continuation of nothing",
     BYTES("\x80\x01"
           "a"),
     DSC_EPROTOCOL, 1006, 1002, ""},
    {"an open continuation of nothing",
     BYTES("\x00\x01"
           "a"),
     DSC_EPROTOCOL, 1006, 1002, ""},
    {"a continuation after the end",
     BYTES("\x01\x01"
           "a\x80\x01"
           "b\x80\x01"
           "c"),
     DSC_EPROTOCOL, 1006, 1002, "tab"},
    {"a text inside a text",
     BYTES("\x01\x01"
           "a\x81\x01"
           "b"),
     DSC_EPROTOCOL, 1006, 1002, ""},
    {"a binary inside a text",
     BYTES("\x01\x01"
           "a\x82\x01"
           "b"),
     DSC_EPROTOCOL, 1006, 1002, ""},
    {"fragments",
     BYTES("\x01\x01"
           "a\x00\x01"
           "b\x80\x01"
           "c\x88\x02\x03\xe8"),
     DSC_ECLOSED, 1000, 1000, "tabc"},
    {"empty fragments", BYTES("\x01\x00\x00\x00\x80\x00\x82\x00\x88\x02\x03\xe8"), DSC_ECLOSED, 1000, 1000, "tb"},
    {"fragments with control frames between",
     BYTES("\x02\x01"
           "a\x89\x01"
           "p\x00\x01"
           "b\x8a\x00\x80\x01"
           "c\x88\x02\x03\xe8"),
     DSC_ECLOSED, 1000, 1000, "babc"},
    {"a close inside a message",
     BYTES("\x01\x01"
           "a\x88\x02\x03\xe8"),
     DSC_ECLOSED, 1000, 1000, ""},
    /* 5.5: control frames */
    {"a fragmented ping",
     BYTES("\x09\x01"
           "a\x80\x01"
           "b"),
     DSC_EPROTOCOL, 1006, 1002, ""},
    {"a fragmented pong", BYTES("\x0a\x00"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"a fragmented close", BYTES("\x08\x02\x03\xe8"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"a ping of 126 bytes", BYTES("\x89\x7e\x00\x7e"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"a close of 126 bytes", BYTES("\x88\x7e\x00\x7e"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"a ping in eight bytes", BYTES("\x89\x7f\0\0\0\0\0\0\0\x01"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"a ping of 125 bytes", BYTES("\x89\x7d" X125 "\x88\x02\x03\xe8"), DSC_ECLOSED, 1000, 1000, ""},
    {"a pong nobody asked for",
     BYTES("\x8a\x05hello\x81\x01"
           "a\x88\x02\x03\xe8"),
     DSC_ECLOSED, 1000, 1000, "ta"},
    /* 5.5.1, 7.4: close */
    {"a close without a code", BYTES("\x88\x00"), DSC_ECLOSED, 1005, 0, ""},
    {"a close of one byte", BYTES("\x88\x01\x03"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"a close with a reason", BYTES("\x88\x06\x03\xe9gone"), DSC_ECLOSED, 1001, 1001, ""},
    {"a reason that is not UTF-8", BYTES("\x88\x04\x03\xe8\xff\xfe"), DSC_EPROTOCOL, 1006, 1007, ""},
    {"a reason that ends too early", BYTES("\x88\x03\x03\xe8\xe2"), DSC_EPROTOCOL, 1006, 1007, ""},
    {"data after a close",
     BYTES("\x81\x01"
           "a\x88\x02\x03\xe8\x81\x01"
           "b\x83\x00"),
     DSC_ECLOSED, 1000, 1000, "ta"},
    {"code 0", BYTES("\x88\x02\x00\x00"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"code 999", BYTES("\x88\x02\x03\xe7"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"code 1004", BYTES("\x88\x02\x03\xec"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"code 1005", BYTES("\x88\x02\x03\xed"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"code 1006", BYTES("\x88\x02\x03\xee"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"code 1007", BYTES("\x88\x02\x03\xef"), DSC_ECLOSED, 1007, 1007, ""},
    {"code 1011", BYTES("\x88\x02\x03\xf3"), DSC_ECLOSED, 1011, 1011, ""},
    {"code 1012", BYTES("\x88\x02\x03\xf4"), DSC_ECLOSED, 1012, 1012, ""},
    {"code 1014", BYTES("\x88\x02\x03\xf6"), DSC_ECLOSED, 1014, 1014, ""},
    {"code 1015", BYTES("\x88\x02\x03\xf7"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"code 1016", BYTES("\x88\x02\x03\xf8"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"code 2999", BYTES("\x88\x02\x0b\xb7"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"code 3000", BYTES("\x88\x02\x0b\xb8"), DSC_ECLOSED, 3000, 3000, ""},
    {"code 4999", BYTES("\x88\x02\x13\x87"), DSC_ECLOSED, 4999, 4999, ""},
    {"code 5000", BYTES("\x88\x02\x13\x88"), DSC_EPROTOCOL, 1006, 1002, ""},
    {"code 65535", BYTES("\x88\x02\xff\xff"), DSC_EPROTOCOL, 1006, 1002, ""},
    /* 8.1: UTF-8 */
    {"a text that is UTF-8",
     BYTES("\x81\x0b\xce\xba\xe1\xbd\xb9\xf0\x9f\x98\x80"
           "ok\x88\x02\x03\xe8"),
     DSC_ECLOSED, 1000, 1000,
     "t\xce\xba\xe1\xbd\xb9\xf0\x9f\x98\x80"
     "ok"},
    {"a character over three fragments", BYTES("\x01\x01\xe2\x00\x01\x82\x80\x01\xac\x88\x02\x03\xe8"), DSC_ECLOSED,
     1000, 1000, "t\xe2\x82\xac"},
    {"a character over a ping", BYTES("\x01\x01\xe2\x89\x00\x80\x02\x82\xac\x88\x02\x03\xe8"), DSC_ECLOSED, 1000, 1000,
     "t\xe2\x82\xac"},
    {"a wrong byte",
     BYTES("\x81\x03"
           "a\xff"
           "b"),
     DSC_EPROTOCOL, 1006, 1007, ""},
    {"a wrong byte in a fragment, at once",
     BYTES("\x01\x02"
           "a\xff"),
     DSC_EPROTOCOL, 1006, 1007, ""},
    {"a wrong byte in a frame that is not whole",
     BYTES("\x81\x64"
           "a\xff"),
     DSC_EPROTOCOL, 1006, 1007, ""},
    {"an overlong one", BYTES("\x81\x02\xc0\x80"), DSC_EPROTOCOL, 1006, 1007, ""},
    {"an overlong one of three bytes", BYTES("\x81\x03\xe0\x80\x80"), DSC_EPROTOCOL, 1006, 1007, ""},
    {"a surrogate", BYTES("\x81\x03\xed\xa0\x80"), DSC_EPROTOCOL, 1006, 1007, ""},
    {"above U+10FFFF", BYTES("\x81\x04\xf4\x90\x80\x80"), DSC_EPROTOCOL, 1006, 1007, ""},
    {"a text that ends too early", BYTES("\x81\x02\xe2\x82"), DSC_EPROTOCOL, 1006, 1007, ""},
    {"a fragmented text that ends too early", BYTES("\x01\x02\xe2\x82\x80\x00"), DSC_EPROTOCOL, 1006, 1007, ""},
    {"a binary may be anything", BYTES("\x82\x02\xff\xfe\x88\x02\x03\xe8"), DSC_ECLOSED, 1000, 1000, "b\xff\xfe"},
    /* 7.1.7, 7.2: the connection is lost */
    {"hung up",
     BYTES("\x81\x01"
           "a"),
     DSC_ECONNECT, 1006, -1, "ta"},
    {"hung up in a frame",
     BYTES("\x81\x05"
           "a"),
     DSC_ECONNECT, 1006, -1, ""},
};

/* Sends the rule's bytes (at `slow` one by one), then reads until the close frame. Those that expect none hang up. */
typedef struct stage {
  const rule *rule;
  bool slow;
  atomic_int told, pongs, unmasked;
} stage;

static void script_rule(peer *p, peer_conn *c) {
  stage *s = p->ud;
  wsp_frame f;
  if (!wsp_greet(c, "")) return;
  if (s->slow)
    for (size_t i = 0; i < s->rule->n; i++) peer_write(c, s->rule->bytes + i, 1);
  else
    peer_write(c, s->rule->bytes, s->rule->n);
  if (s->rule->told < 0) return;
  while (wsp_read(c, &f)) {
    if (!f.masked) atomic_fetch_add(&s->unmasked, 1);
    if ((f.first & 15) == 10) atomic_fetch_add(&s->pongs, 1);
    if ((f.first & 15) == 8) atomic_store(&s->told, f.n >= 2 ? f.data[0] << 8 | f.data[1] : 0);
    bool last = (f.first & 15) == 8;
    free(f.data);
    if (last) return;
  }
}

/* Takes all messages; writes them as rules do. */
static void take_texts(talk *t, char *text, size_t size) {
  dsc_ws_message m;
  size_t n = 0;
  text[0] = '\0';
  while (dsc_ws_receive(t->conn, &m)) {
    n += (size_t)snprintf(text + n, size - n, "%c%s", m.kind == DSC_WS_TEXT ? 't' : 'b', m.data);
    dsc_mem_free(m.data);
  }
}

static void play_rule(const rule *r, bool slow) {
  bench b;
  talk t;
  peer p;
  stage s = {.rule = r, .slow = slow, .told = -1};
  char text[256];
  peer_start(&p, script_rule, &s);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  talk_open(&t, &b, &request);
  talk_wait_closed(&t);
  take_texts(&t, text, sizeof text);
  talk_end(&t);
  bench_close(&b);
  peer_stop(&p);
  int told = atomic_load(&s.told);
  if (t.end.err != r->err || t.end.code != r->code || told != r->told || strcmp(text, r->text) != 0)
    fail_msg("%s%s: %s %u (told %d, \"%s\"), but expected %s %d (told %d, \"%s\"): %s", r->name, slow ? ", slowly" : "",
             dsc_err_name(t.end.err), t.end.code, told, text, dsc_err_name(r->err), r->code, r->told, r->text,
             t.end.why);
  assert_int_equal(atomic_load(&s.unmasked), 0);
  assert_int_equal(t.opened, 1);
  assert_true(t.end.why[0] != '\0');
}

TEST(every_rule_is_kept) {
  for (size_t i = 0; i < COUNT(rules); i++) play_rule(&rules[i], false);
}

TEST(every_rule_is_kept_byte_by_byte) {
  for (size_t i = 0; i < COUNT(rules); i++) play_rule(&rules[i], true);
}

/* ------------------------------------------------------------- the opening handshake */

typedef struct hello {
  const char *name;
  const char *answer; /* %s: the right accept key */
  const char *offered;
  dsc_err err;
  int status;
  const char *protocol;
} hello;

#define OK_101 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"

static const hello hellos[] = {
    {"plain", OK_101 "Sec-WebSocket-Accept: %s\r\n\r\n", NULL, DSC_OK, 101, ""},
    {"in other words",
     "HTTP/1.1 101\r\nUPGRADE: WebSocket\r\nconnection: keep-alive, upgrade\r\nsec-websocket-accept:%s\r\n\r\n", NULL,
     DSC_OK, 101, ""},
    {"bare line feeds", "HTTP/1.1 101 x\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Accept: %s\n\n", NULL,
     DSC_OK, 101, ""},
    {"after a 103", "HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n" OK_101 "Sec-WebSocket-Accept: %s\r\n\r\n", NULL,
     DSC_OK, 101, ""},
    {"a wrong accept", OK_101 "Sec-WebSocket-Accept: AAAA%s\r\n\r\n", NULL, DSC_EPROTOCOL, 101, ""},
    {"no accept", OK_101 "X-Key: %s\r\n\r\n", NULL, DSC_EPROTOCOL, 101, ""},
    {"two accepts", OK_101 "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Accept: x\r\n\r\n", NULL, DSC_EPROTOCOL, 101, ""},
    {"no upgrade", "HTTP/1.1 101 x\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", NULL, DSC_EPROTOCOL,
     101, ""},
    {"another upgrade", "HTTP/1.1 101 x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
     NULL, DSC_EPROTOCOL, 101, ""},
    {"no connection", "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n", NULL, DSC_EPROTOCOL,
     101, ""},
    {"an extension", OK_101 "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", NULL,
     DSC_EPROTOCOL, 101, ""},
    {"a protocol nobody offered", OK_101 "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: a\r\n\r\n", NULL,
     DSC_EPROTOCOL, 101, ""},
    {"another protocol", OK_101 "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: c\r\n\r\n", "a, b", DSC_EPROTOCOL,
     101, ""},
    {"two protocols",
     OK_101 "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n\r\n", "a, b",
     DSC_EPROTOCOL, 101, ""},
    {"two protocols in one", OK_101 "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: a, b\r\n\r\n", "a, b",
     DSC_EPROTOCOL, 101, ""},
    {"the second protocol", OK_101 "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: b\r\n\r\n", "a, b", DSC_OK, 101,
     "b"},
    {"no protocol chosen", OK_101 "Sec-WebSocket-Accept: %s\r\n\r\n", "a, b", DSC_OK, 101, ""},
    {"forbidden", "HTTP/1.1 403 Forbidden\r\nX-Why: %s\r\nContent-Length: 0\r\n\r\n", NULL, DSC_OK, 403, ""},
    {"a redirect is not followed", "HTTP/1.1 302 Found\r\nLocation: /%s\r\n\r\n", NULL, DSC_OK, 302, ""},
    {"unavailable", "HTTP/1.0 503 No\r\nRetry-After: 1\r\n\r\n%s", NULL, DSC_OK, 503, ""},
    {"200", "HTTP/1.1 200 OK\r\n\r\n%s", NULL, DSC_OK, 200, ""},
    {"no HTTP", "SSH-2.0-OpenSSH_9.2 %s\r\n\r\n", NULL, DSC_EPROTOCOL, 0, ""},
    {"a header without a colon", "HTTP/1.1 101 x\r\n%s\r\n\r\n", NULL, DSC_EPROTOCOL, 101, ""},
    {"a folded header", OK_101 "X: a\r\n b\r\nSec-WebSocket-Accept: %s\r\n\r\n", NULL, DSC_EPROTOCOL, 101, ""},
    {"half a head", "HTTP/1.1 101 x\r\nUpgrade: %s", NULL, DSC_EPROTOCOL, 0, ""},
    {"nothing", "", NULL, DSC_ECONNECT, 0, ""},
};

static void script_hello(peer *p, peer_conn *c) {
  const hello *h = p->ud;
  char key[64], accept[32], text[1024];
  if (!peer_read(c) || !peer_header(c, "Sec-WebSocket-Key", key, sizeof key)) return;
  dsc_ws_greet_accept_key(accept, key);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  snprintf(text, sizeof text, h->answer, accept);
#pragma GCC diagnostic pop
  peer_say(c, text);
  if (h->status == 101 && h->err == DSC_OK) wsp_echo(c);
}

TEST(answers_to_the_handshake) {
  for (size_t i = 0; i < COUNT(hellos); i++) {
    const hello *h = &hellos[i];
    bench b;
    talk t;
    peer p;
    peer_start(&p, script_hello, (void *)(uintptr_t)h);
    bench_open(&b);
    dsc_ws_request request = ws_request(&p);
    request.protocols = h->offered;
    talk_begin(&t, &b, &request);
    if (t.answer.err != h->err || t.answer.status != h->status || strcmp(dsc_ws_protocol(t.conn), h->protocol) != 0)
      fail_msg("%s: %s %d \"%s\": %s", h->name, dsc_err_name(t.answer.err), t.answer.status, dsc_ws_protocol(t.conn),
               t.answer.why);
    assert_true(t.answer.sent || h->err == DSC_OK);
    assert_int_equal(t.answer.ours, 0);
    talk_end(&t);
    bench_close(&b);
    peer_stop(&p);
  }
}

static void script_headers(peer *p, peer_conn *c) {
  if (!wsp_greet(c, "")) return;
  memcpy(p->ud, c->head, strlen(c->head) + 1);
  wsp_text(c, "noted");
  wsp_echo(c);
}

static int count_lines(const char *head, const char *start) {
  int n = 0;
  for (const char *at = head; (at = strstr(at, start)); at++) n++;
  return n;
}

TEST(the_request_says_what_it_must_and_no_more) {
  bench b;
  talk t;
  peer p;
  static char head[65536];
  peer_start(&p, script_headers, head);
  bench_open(&b);
  dsc_headers headers;
  dsc_headers_init(&headers);
  dsc_headers_add(&headers, L("X-User"), L("joe"));
  dsc_headers_add(&headers, L("Connection"), L("close"));
  dsc_headers_add(&headers, L("Sec-WebSocket-Key"), L("forged"));
  dsc_headers_add(&headers, L("sec-websocket-extensions"), L("permessage-deflate"));
  dsc_ws_request request = ws_request(&p);
  dsc_secret *secret = dsc_secret_new(L("s3cret"));
  request.headers = &headers;
  request.secret_name = "Access-Token";
  request.secret = secret;
  request.protocols = "chat, superchat";
  setenv("http_proxy", "http://127.0.0.1:9", 1);
  talk_open(&t, &b, &request);
  unsetenv("http_proxy");
  dsc_ws_message noted;
  assert_true(talk_hear(&t, &noted));
  dsc_mem_free(noted.data);
  assert_ptr_equal(strstr(head, "GET /chat?room=1 HTTP/1.1\r\n"), head);
  char host[64];
  snprintf(host, sizeof host, "\r\nHost: %s\r\n", p.addr);
  assert_int_equal(count_lines(head, host), 1);
  assert_int_equal(count_lines(head, "\r\nUpgrade: websocket\r\n"), 1);
  assert_int_equal(count_lines(head, "\r\nConnection: "), 1);
  assert_int_equal(count_lines(head, "\r\nSec-WebSocket-Version: 13\r\n"), 1);
  assert_int_equal(count_lines(head, "\r\nSec-WebSocket-Key: "), 1);
  assert_int_equal(count_lines(head, "\r\nSec-WebSocket-Protocol: chat, superchat\r\n"), 1);
  assert_int_equal(count_lines(head, "\r\nX-User: joe\r\n"), 1);
  assert_int_equal(count_lines(head, "Access-Token: s3cret"), 1);
  assert_null(strcasestr(head, "extensions"));
  assert_null(strstr(head, "Cookie"));
  talk_end(&t);
  dsc_secret_unref(secret);
  dsc_headers_clear(&headers);
  bench_close(&b);
  peer_stop(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_rule_is_kept),
      cmocka_unit_test(every_rule_is_kept_byte_by_byte),
      cmocka_unit_test(answers_to_the_handshake),
      cmocka_unit_test(the_request_says_what_it_must_and_no_more),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
