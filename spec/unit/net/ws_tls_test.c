/*
** ws_tls_test.c - WebSockets over TLS, against a server in this process: what works, and what each failure says.
*/
#include <openssl/ssl.h>

#include "net/ws_support.h"
#include "support/tls_files.h"

static SSL_CTX *server;

/* ------------------------------------------------------------- the server: TLS outside, a script of ws_peer.h inside */

typedef struct inside {
  peer_script script;
  peer_conn conn;
} inside;

static void *play_inside(void *arg) {
  inside *in = arg;
  in->script(in->conn.peer, &in->conn);
  shutdown(in->conn.fd, SHUT_RDWR);
  return NULL;
}

static bool pump(SSL *ssl, int fd, bool from_ssl) {
  char bytes[16384];
  ssize_t n = from_ssl ? SSL_read(ssl, bytes, sizeof bytes) : recv(fd, bytes, sizeof bytes, 0);
  if (n <= 0) return false;
  for (ssize_t done = 0; from_ssl && done < n;) {
    ssize_t part = send(fd, bytes + done, (size_t)(n - done), MSG_NOSIGNAL);
    if (part <= 0) return false;
    done += part;
  }
  return from_ssl || SSL_write(ssl, bytes, (int)n) == n;
}

static void relay(SSL *ssl, int outer, int inner) {
  for (;;) {
    struct pollfd fds[2] = {{.fd = outer, .events = POLLIN}, {.fd = inner, .events = POLLIN}};
    if (!SSL_pending(ssl) && poll(fds, 2, -1) < 0) return;
    if ((SSL_pending(ssl) || fds[0].revents) && !pump(ssl, inner, true)) return;
    if (fds[1].revents && !pump(ssl, inner, false)) return;
  }
}

static void script_tls(peer *p, peer_conn *c) {
  int pair[2];
  SSL *ssl = SSL_new(server);
  SSL_set_fd(ssl, c->fd);
  if (SSL_accept(ssl) == 1 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0) {
    inside *in = calloc(1, sizeof *in);
    pthread_t thread;
    in->script = (peer_script)(uintptr_t)p->ud;
    in->conn = (peer_conn){.peer = p, .fd = pair[1]};
    pthread_create(&thread, NULL, play_inside, in);
    relay(ssl, c->fd, pair[0]);
    shutdown(pair[0], SHUT_RDWR);
    pthread_join(thread, NULL);
    close(pair[0]);
    close(pair[1]);
    free(in->conn.body);
    free(in);
  }
  SSL_free(ssl);
}

static void serve(peer *p, const char *cert, peer_script script) {
  server = SSL_CTX_new(TLS_server_method());
  assert_int_equal(SSL_CTX_use_certificate_chain_file(server, tls_file(cert)), 1);
  assert_int_equal(SSL_CTX_use_PrivateKey_file(server, tls_file("node.key"), SSL_FILETYPE_PEM), 1);
  peer_start(p, script_tls, (void *)(uintptr_t)script);
}

static void serve_no_more(peer *p) {
  peer_stop(p);
  SSL_CTX_free(server);
}

static dsc_tls *trust(const char *ca, const char *server_name, bool no_verify) {
  dsc_tls_config config = {.ca = (char *)(uintptr_t)tls_file(ca), .no_verify = no_verify};
  dsc_why why;
  dsc_tls *tls;
  config.server_name = (char *)(uintptr_t)server_name;
  if (no_verify) config.ca = NULL;
  if (dsc_tls_get(&tls, &config, &why) != DSC_OK) fail_msg("%s", why.text);
  return tls;
}

/* ------------------------------------------------------------- tests */

TEST(messages_go_through_tls) {
  bench b;
  talk t;
  peer p;
  dsc_ws_message m;
  size_t n = 3 * 1000 * 1000;
  char *data = calloc(1, n);
  memset(data, 'y', n);
  serve(&p, "node.pem", script_ws_echo);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  request.tls = trust("ca.pem", NULL, false);
  request.max_message = n;
  talk_open(&t, &b, &request);
  dsc_tls_unref(request.tls); /* the connection has its own reference */
  for (int i = 0; i < 300; i++) {
    char text[32];
    snprintf(text, sizeof text, "hello %d", i);
    assert_int_equal(dsc_ws_send(t.conn, DSC_WS_TEXT, dsc_str_of(text)), DSC_OK);
    assert_true(talk_hear(&t, &m));
    assert_string_equal(m.data, text);
    dsc_mem_free(m.data);
  }
  assert_int_equal(dsc_ws_send(t.conn, DSC_WS_BINARY, (dsc_str){data, n}), DSC_OK);
  assert_true(talk_hear(&t, &m));
  assert_int_equal(m.len, n);
  assert_memory_equal(m.data, data, n);
  dsc_mem_free(m.data);
  free(data);
  assert_int_equal(dsc_ws_close(t.conn, 1000, L(""), 30000, &t.why), DSC_OK);
  talk_wait_closed(&t);
  assert_int_equal(t.end.err, DSC_ECLOSED);
  talk_end(&t);
  bench_close(&b);
  serve_no_more(&p);
}

static void script_host(peer *p, peer_conn *c) {
  char host[128] = "";
  if (!wsp_greet(c, "")) return;
  peer_header(c, "Host", host, sizeof host);
  wsp_text(c, host);
  (void)p;
  wsp_echo(c);
}

TEST(a_server_name_is_checked_and_sent_as_the_host) {
  bench b;
  talk t;
  peer p;
  dsc_ws_message m;
  char host[64];
  serve(&p, "node.pem", script_host);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  request.tls = trust("ca.pem", "node.test", false);
  talk_open(&t, &b, &request);
  assert_true(talk_hear(&t, &m));
  snprintf(host, sizeof host, "node.test:%u", p.port);
  assert_string_equal(m.data, host);
  dsc_mem_free(m.data);
  talk_end(&t);
  dsc_tls_unref(request.tls);
  bench_close(&b);
  serve_no_more(&p);
}

/* More messages than a queue takes, a close frame, and TLS's own goodbye, all in one piece. */
static void script_tls_farewell(peer *p, peer_conn *c) {
  enum { MESSAGES = 400, SIZE = 100 };
  char bytes[MESSAGES * (SIZE + 2) + 4], key[64], accept[32], text[1024];
  int n = 0;
  SSL *ssl = SSL_new(server);
  (void)p;
  SSL_set_fd(ssl, c->fd);
  memset(bytes, 'x', sizeof bytes);
  for (int i = 0; i < MESSAGES; i++) memcpy(bytes + i * (SIZE + 2), (char[]){(char)0x82, SIZE}, 2);
  memcpy(bytes + sizeof bytes - 4, (char[]){(char)0x88, 2, 0x03, (char)0xe8}, 4);
  if (SSL_accept(ssl) == 1 && (n = SSL_read(ssl, text, sizeof text - 1)) > 0) {
    text[n] = '\0';
    const char *line = strstr(text, "Sec-WebSocket-Key: ");
    snprintf(key, sizeof key, "%.24s", line ? line + 19 : "");
    dsc_ws_greet_accept_key(accept, key);
    n = snprintf(text, sizeof text,
                 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 "Sec-WebSocket-Accept: %s\r\n\r\n",
                 accept);
    BIO *held = BIO_new(BIO_s_mem()), *wire = SSL_get_wbio(ssl);
    char *all;
    BIO_up_ref(wire);
    SSL_set0_wbio(ssl, held);
    SSL_write(ssl, text, n);
    SSL_write(ssl, bytes, sizeof bytes);
    SSL_shutdown(ssl);
    long size = BIO_get_mem_data(held, &all);
    BIO_write(wire, all, (int)size);
    BIO_free(wire);
    peer_linger(c);
  }
  SSL_free(ssl);
}

TEST(what_waits_is_heard_before_the_goodbye_of_tls) {
  bench b;
  talk t;
  peer p;
  dsc_ws_message m;
  int n = 0;
  server = SSL_CTX_new(TLS_server_method());
  assert_int_equal(SSL_CTX_use_certificate_chain_file(server, tls_file("node.pem")), 1);
  assert_int_equal(SSL_CTX_use_PrivateKey_file(server, tls_file("node.key"), SSL_FILETYPE_PEM), 1);
  peer_start(&p, script_tls_farewell, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  request.tls = trust("ca.pem", NULL, false);
  request.max_queued = 2000;
  talk_open(&t, &b, &request);
  for (int i = 0; i < 10; i++) dsc_loop_run(b.loop, 10); /* nobody receives */
  for (; talk_hear(&t, &m); n++) dsc_mem_free(m.data);
  assert_int_equal(n, 400);
  talk_wait_closed(&t);
  assert_int_equal(t.end.err, DSC_ECLOSED);
  assert_int_equal(t.end.code, 1000);
  talk_end(&t);
  dsc_tls_unref(request.tls);
  bench_close(&b);
  serve_no_more(&p);
}

static void expect_failure(const char *cert, dsc_tls *tls, const char *words) {
  bench b;
  talk t;
  peer p;
  serve(&p, cert, script_ws_echo);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  request.tls = tls;
  talk_begin(&t, &b, &request);
  assert_int_equal(t.answer.err, DSC_ETLS);
  assert_false(t.answer.sent);
  assert_false(t.answer.ours);
  if (!strstr(t.answer.why, words)) fail_msg("\"%s\" is not in: %s", words, t.answer.why);
  talk_end(&t);
  dsc_tls_unref(tls);
  bench_close(&b);
  serve_no_more(&p);
}

TEST(each_failure_says_what_it_is) {
  expect_failure("node.pem", trust("other.pem", NULL, false), "authority");
  expect_failure("node.pem", trust("ca.pem", "another.test", false), "another name");
  expect_failure("old.pem", trust("ca.pem", NULL, false), "expired");
}

TEST(without_verification_any_certificate_will_do) {
  bench b;
  talk t;
  peer p;
  serve(&p, "old.pem", script_ws_echo);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  request.tls = trust("ca.pem", NULL, true);
  talk_open(&t, &b, &request);
  talk_end(&t);
  dsc_tls_unref(request.tls);
  bench_close(&b);
  serve_no_more(&p);
}

static void script_plain(peer *p, peer_conn *c) {
  (void)p;
  peer_fill(c);
  peer_say(c, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  peer_linger(c);
}

static void script_gone(peer *p, peer_conn *c) {
  (void)p;
  peer_fill(c);
}

TEST(a_peer_that_speaks_no_tls) {
  static const peer_script scripts[] = {script_plain, script_gone};
  for (size_t i = 0; i < COUNT(scripts); i++) {
    bench b;
    talk t;
    peer p;
    peer_start(&p, scripts[i], NULL);
    bench_open(&b);
    dsc_ws_request request = ws_request(&p);
    request.tls = trust("ca.pem", NULL, false);
    talk_begin(&t, &b, &request);
    assert_int_equal(t.answer.err, DSC_ETLS);
    assert_true(t.answer.why[0] != '\0');
    talk_end(&t);
    dsc_tls_unref(request.tls);
    bench_close(&b);
    peer_stop(&p);
  }
}

static void script_mute(peer *p, peer_conn *c) {
  (void)p;
  peer_linger(c);
}

TEST(a_handshake_that_hangs_is_given_up) {
  bench b;
  talk t;
  peer p;
  peer_start(&p, script_mute, NULL);
  bench_open(&b);
  dsc_ws_request request = ws_request(&p);
  request.tls = trust("ca.pem", NULL, false);
  request.connect_timeout_ms = 100;
  talk_begin(&t, &b, &request);
  assert_int_equal(t.answer.err, DSC_ETIMEOUT);
  talk_end(&t);
  dsc_tls_unref(request.tls);
  bench_close(&b);
  peer_stop(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(messages_go_through_tls),
      cmocka_unit_test(a_server_name_is_checked_and_sent_as_the_host),
      cmocka_unit_test(each_failure_says_what_it_is),
      cmocka_unit_test(without_verification_any_certificate_will_do),
      cmocka_unit_test(a_peer_that_speaks_no_tls),
      cmocka_unit_test(a_handshake_that_hangs_is_given_up),
      cmocka_unit_test(what_waits_is_heard_before_the_goodbye_of_tls),
  };
  return cmocka_run_group_tests(tests, tls_files_make, tls_files_remove);
}
