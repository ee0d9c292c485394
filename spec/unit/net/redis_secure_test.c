/*
** redis_secure_test.c - a Redis connection over TLS against a server in this process that is right, slow, cut into
** bytes, or wrong in every way; and what is left of a password.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>

#include "net/redis_probe.h"
#include "support/tls_files.h"

#define GREETING "+OK\r\n+OK\r\n+PONG\r\n"
#define PASSWORD "hunter2-of-the-test"

void sodium_memzero(void *const memory, const size_t n);

static atomic_int wiped; /* how often memory with the password in it was wiped */

void sodium_memzero(void *const memory, const size_t n) {
  if (n > 0 && memmem(memory, n, PASSWORD, strlen(PASSWORD))) atomic_fetch_add(&wiped, 1);
  explicit_bzero(memory, n);
}

/* ---- the server */

typedef enum last_act { STAY, SAY_GOODBYE, VANISH, RESET, TALK_PLAIN } last_act;

typedef struct server {
  int fd, port;
  SSL_CTX *context;
  const char *raw, *text; /* raw: instead of TLS ("": nothing); text: after the greeting came */
  size_t piece;           /* bytes in a record; 0: all in one */
  last_act last;
  atomic_bool over;
  pthread_t thread;
} server;

static bool readable(server *s, int fd) {
  struct pollfd in = {.fd = fd, .events = POLLIN};
  while (!atomic_load(&s->over)) {
    if (poll(&in, 1, 5) > 0) return true;
  }
  return false;
}

/* Counts the PINGs of what comes next; -1: the end. */
static int read_pings(server *s, SSL *ssl, int fd) {
  char buf[8192];
  if (!SSL_pending(ssl) && !readable(s, fd)) return -1;
  int n = SSL_read(ssl, buf, sizeof buf), pings = 0;
  char *end = n > 0 ? buf + n : buf;
  for (char *at = buf; n > 0 && (at = memmem(at, (size_t)(end - at), "PING\r\n", 6)) != NULL; at += 6) pings++;
  return n > 0 ? pings : -1;
}

static void write_text(SSL *ssl, const char *text, size_t piece) {
  size_t n = strlen(text);
  for (size_t i = 0, part; i < n; i += part) {
    part = piece && piece < n - i ? piece : n - i;
    if (SSL_write(ssl, text + i, (int)part) <= 0) return;
  }
}

static void end_it(server *s, SSL *ssl, int fd) {
  struct linger linger = {1, 0};
  if (s->last == SAY_GOODBYE) SSL_shutdown(ssl);
  if (s->last == RESET) setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
  if (s->last == TALK_PLAIN) {
    ssize_t sent = send(fd, "+MOVED to another place\r\n", 25, MSG_NOSIGNAL);
    (void)sent;
    readable(s, fd);
  }
}

static void talk(server *s, SSL *ssl, int fd) {
  int pings = 0;
  while (pings == 0) pings = read_pings(s, ssl, fd);
  if (pings > 0) write_text(ssl, s->text, s->piece);
  while (s->last == STAY && (pings = read_pings(s, ssl, fd)) >= 0) {
    for (int i = 0; i < pings; i++) write_text(ssl, "+PONG\r\n", s->piece);
  }
  end_it(s, ssl, fd);
}

static void *serve(void *arg) {
  server *s = arg;
  while (readable(s, s->fd)) {
    int fd = accept(s->fd, NULL, NULL);
    if (fd < 0) break;
    if (s->raw) {
      if (readable(s, fd) && *s->raw) {
        ssize_t sent = send(fd, s->raw, strlen(s->raw), MSG_NOSIGNAL);
        (void)sent;
      }
      if (s->last == STAY) poll(NULL, 0, 400);
    } else {
      SSL *ssl = SSL_new(s->context);
      struct timeval limit = {2, 0};
      setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
      SSL_set_fd(ssl, fd);
      if (SSL_accept(ssl) == 1) talk(s, ssl, fd);
      SSL_free(ssl);
    }
    close(fd);
  }
  return NULL;
}

static void begin(server *s, server how) {
  *s = how;
  s->fd = test_listen(0, &s->port);
  if (!s->text) s->text = GREETING;
  s->context = SSL_CTX_new(TLS_server_method());
  SSL_CTX_use_certificate_file(s->context, tls_file("node.pem"), SSL_FILETYPE_PEM);
  SSL_CTX_use_PrivateKey_file(s->context, tls_file("node.key"), SSL_FILETYPE_PEM);
  pthread_create(&s->thread, NULL, serve, s);
}

static void end(server *s) {
  atomic_store(&s->over, true);
  pthread_join(s->thread, NULL);
  close(s->fd);
  SSL_CTX_free(s->context);
}

/* ---- tests */

static dsc_tls *get_tls(const char *ca, const char *server_name) {
  dsc_tls_config config = {.ca = (char *)(uintptr_t)tls_file(ca), .server_name = (char *)(uintptr_t)server_name};
  dsc_tls *tls;
  dsc_why why = {""};
  if (dsc_tls_get(&tls, &config, &why) != DSC_OK) fail_msg("%s", why.text);
  return tls;
}

static dsc_redis_conn_options over_tls(const server *s, dsc_tls *tls) {
  return (dsc_redis_conn_options){.host = "127.0.0.1", .port = (uint16_t)s->port, .tls = tls};
}

static void expect_down(server how, const char *ca, dsc_redis_down down, const char *why) {
  server s;
  probe p;
  begin(&s, how);
  dsc_tls *tls = get_tls(ca, NULL);
  dsc_redis_conn_options options = over_tls(&s, tls);
  bool waits = how.raw && how.last == STAY; /* for a server that keeps silent */
  assert_true(open_probe_with(&p, &options, waits ? 300 : 5000));
  dsc_tls_unref(tls); /* it has its own reference */
  run(&p, &p.downs, 8000);
  assert_int_equal(p.downs, 1);
  if (!strstr(p.why, why)) fail_msg("\"%s\" is not in: %s", why, p.why);
  if (how.last != RESET) assert_int_equal(p.down, down); /* a reset may overtake what was said before it */
  close_probe(&p);
  end(&s);
}

static void every_end_has_its_words(void **state) {
  (void)state;
  expect_down((server){.raw = ""}, "ca.pem", DSC_REDIS_DOWN_UNREACHABLE,
              "no answer to the TLS handshake (is it a TLS port?) within 300 ms");
  expect_down((server){.raw = "\x16\x03"}, "ca.pem", DSC_REDIS_DOWN_UNREACHABLE,
              "no end of the TLS handshake within 300 ms");
  expect_down((server){.raw = "", .last = VANISH}, "ca.pem", DSC_REDIS_DOWN_UNREACHABLE,
              "closed the connection in the middle of the TLS handshake");
  expect_down((server){.raw = "-ERR unknown command\r\n"}, "ca.pem", DSC_REDIS_DOWN_UNREACHABLE,
              "does not speak TLS on this port");
  expect_down((server){.text = GREETING}, "other.pem", DSC_REDIS_DOWN_UNREACHABLE, "is signed by an unknown authority");
  expect_down((server){.text = "-NOAUTH no\r\n+OK\r\n+PONG\r\n"}, "ca.pem", DSC_REDIS_DOWN_DENIED, "NOAUTH");
  expect_down((server){.text = "", .last = VANISH}, "ca.pem", DSC_REDIS_DOWN_UNREACHABLE, "closed the connection");
  expect_down((server){.last = SAY_GOODBYE}, "ca.pem", DSC_REDIS_DOWN_LOST, "the server closed the connection");
  expect_down((server){.last = RESET}, "ca.pem", DSC_REDIS_DOWN_LOST, "");
  expect_down((server){.last = TALK_PLAIN}, "ca.pem", DSC_REDIS_DOWN_LOST, "127.0.0.1:");
}

static void in_pieces_of_every_size(void **state) {
  (void)state;
  static char text[200000] = GREETING "$180000\r\n";
  size_t head = strlen(text);
  memset(text + head, 'x', 180000);
  memcpy(text + head + 180000, "\r\n", 3);
  static const size_t pieces[] = {1000, 16384, 0};
  for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
    server s;
    probe p;
    begin(&s, (server){.piece = pieces[i]});
    dsc_tls *tls = get_tls("ca.pem", NULL);
    dsc_redis_conn_options options = over_tls(&s, tls);
    assert_true(open_probe_with(&p, &options, 3000));
    run(&p, &p.ready, 3000);
    assert_int_equal(p.ready, 1);
    assert_int_equal(send_ping(&p, 3), DSC_OK);
    run(&p, &p.done, 3000);
    assert_int_equal(p.err, DSC_OK);
    assert_string_equal(p.reply, "PONG");
    close_probe(&p);
    end(&s);
    /* more than was asked for, and larger than a record: noticed, whatever the pieces */
    begin(&s, (server){.piece = pieces[i], .text = text});
    options.port = (uint16_t)s.port;
    assert_true(open_probe_with(&p, &options, 3000));
    run(&p, &p.downs, 5000);
    assert_non_null(strstr(p.why, "nobody asked"));
    close_probe(&p);
    end(&s);
    dsc_tls_unref(tls);
  }
  server s;
  probe p;
  begin(&s, (server){.piece = 1});
  dsc_tls *tls = get_tls("ca.pem", "node.test");
  dsc_redis_conn_options options = over_tls(&s, tls);
  assert_true(open_probe_with(&p, &options, 3000));
  run(&p, &p.ready, 3000);
  assert_int_equal(p.ready, 1);
  close_probe(&p);
  end(&s);
  dsc_tls_unref(tls);
}

/* It is in plain memory twice: as a formatted command and in the greeting that waits to be encrypted. */
static void a_password_is_wiped(void **state) {
  (void)state;
  server s;
  probe p;
  begin(&s, (server){.text = "+OK\r\n" GREETING});
  dsc_tls *tls = get_tls("ca.pem", NULL);
  dsc_redis_conn_options options = over_tls(&s, tls);
  options.password = dsc_secret_new(DSC_STR_LITERAL(PASSWORD));
  assert_true(open_probe_with(&p, &options, 3000));
  atomic_store(&wiped, 0);
  run(&p, &p.ready, 3000);
  assert_int_equal(p.ready, 1);
  assert_int_equal(atomic_load(&wiped), 2);
  close_probe(&p);
  /* closed before it was sent: at the latest at the end */
  for (int rounds = 0; rounds < 8; rounds++) {
    assert_true(open_probe_with(&p, &options, 3000));
    for (int i = 0; i < rounds; i++) dsc_loop_run(p.loop, 1);
    close_probe(&p);
  }
  dsc_secret_unref(options.password);
  dsc_tls_unref(tls);
  end(&s);
}

static void may_be_closed_at_any_time(void **state) {
  (void)state;
  size_t blocks, after;
  server s;
  probe p;
  begin(&s, (server){.last = STAY});
  dsc_tls *tls = get_tls("ca.pem", NULL);
  dsc_mem_usage(&blocks, NULL);
  for (int rounds = 0; rounds < 16; rounds++) {
    dsc_redis_conn_options options = over_tls(&s, tls);
    options.subscriber = rounds % 2;
    assert_true(open_probe_with(&p, &options, 2000));
    for (int i = 0; i < rounds / 2; i++) dsc_loop_run(p.loop, 1);
    close_probe(&p);
  }
  dsc_mem_usage(&after, NULL);
  assert_int_equal(blocks, after);
  dsc_tls_unref(tls);
  end(&s);
}

/* The n-th allocation of a connection's life fails, for every n: it ends in words or works, and leaves nothing. */
static void every_allocation_may_fail(void **state) {
  (void)state;
  size_t blocks, after;
  server s;
  probe p;
  begin(&s, (server){.last = STAY});
  dsc_tls *tls = get_tls("ca.pem", NULL);
  dsc_redis_conn_options options = over_tls(&s, tls);
  dsc_mem_usage(&blocks, NULL);
  bool whole = false;
  for (size_t i = 1; !whole; i++) {
    dsc_mem_fail_at(i, false);
    bool opened = open_probe_with(&p, &options, 2000);
    for (int rounds = 0; opened && !p.ready && !p.downs && rounds < 2000; rounds++) dsc_loop_run(p.loop, 5);
    if (p.ready && !p.downs && send_ping(&p, 2) == DSC_OK) run(&p, &p.done, 3000);
    whole = dsc_mem_asked() < i;
    dsc_mem_fail_at(0, false);
    assert_true(!opened || p.ready || p.downs);
    if (opened) {
      close_probe(&p);
    } else {
      dsc_resolver_free(p.resolver);
      dsc_loop_free(p.loop);
    }
    dsc_mem_usage(&after, NULL);
    assert_int_equal(blocks, after);
  }
  dsc_tls_unref(tls);
  end(&s);
}

static void a_unix_socket(void **state) {
  (void)state;
  probe p;
  dsc_redis_conn_options options = {.path = tls_file("none.sock")};
  assert_true(open_probe_with(&p, &options, 300));
  run(&p, &p.downs, 2000);
  assert_int_equal(p.down, DSC_REDIS_DOWN_UNREACHABLE);
  assert_non_null(strstr(p.why, "no such file"));
  close_probe(&p);
  options.path = tls_file("ca.pem"); /* no socket at all */
  assert_true(open_probe_with(&p, &options, 300));
  run(&p, &p.downs, 2000);
  assert_int_equal(p.down, DSC_REDIS_DOWN_UNREACHABLE);
  close_probe(&p);
}

int main(void) {
  sigset_t pipe_set;
  sigemptyset(&pipe_set);
  sigaddset(&pipe_set, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_set, NULL); /* as in the registry's thread */
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_end_has_its_words),   cmocka_unit_test(in_pieces_of_every_size),
      cmocka_unit_test(a_password_is_wiped),       cmocka_unit_test(may_be_closed_at_any_time),
      cmocka_unit_test(every_allocation_may_fail), cmocka_unit_test(a_unix_socket),
  };
  return cmocka_run_group_tests_name("redis_secure", tests, tls_files_make, tls_files_remove);
}
