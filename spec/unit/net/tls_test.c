/*
** tls_test.c - settings and sessions against a server over memory; certificates are made by the openssl command.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/ssl.h>

#include "base/mem.h"
#include "net/tls.h"
#include "support/tls_files.h"

static int make_files(void **state) {
  if (tls_files_make(state) != 0) return -1;
  tls_shell("openssl ec -in node.key -aes128 -passout pass:x -out locked.key");
  tls_shell("echo nothing >empty.pem");
  return 0;
}

static dsc_tls_config config_of(const char *ca, const char *cert, const char *key) {
  return (dsc_tls_config){.ca = (char *)(uintptr_t)ca, .cert = (char *)(uintptr_t)cert, .key = (char *)(uintptr_t)key};
}

static dsc_tls *get(const char *ca, const char *server_name) {
  dsc_tls_config config = config_of(ca, NULL, NULL);
  dsc_tls *tls;
  dsc_why why = {""};
  config.server_name = (char *)(uintptr_t)server_name;
  if (dsc_tls_get(&tls, &config, &why) != DSC_OK) fail_msg("%s", why.text);
  return tls;
}

static void equal_settings_are_one(void **state) {
  (void)state;
  dsc_tls *a = get(tls_file("ca.pem"), NULL), *b = get(tls_file("ca.pem"), NULL),
          *c = get(tls_file("ca.pem"), "x.test");
  assert_ptr_equal(a, b);
  assert_ptr_not_equal(a, c);
  assert_true(dsc_tls_id(a) != dsc_tls_id(c));
  assert_null(dsc_tls_server_name(a));
  assert_string_equal("x.test", dsc_tls_server_name(c));
  uint64_t id = dsc_tls_id(a);
  dsc_tls_unref(a);
  dsc_tls_unref(b);
  dsc_tls *again = get(tls_file("ca.pem"), NULL);
  assert_true(dsc_tls_id(again) != id);
  dsc_tls_unref(again);
  dsc_tls_unref(c);
}

static void a_renewed_file_is_another_setting(void **state) {
  (void)state;
  tls_shell("cp ca.pem moving.pem");
  dsc_tls *a = get(tls_file("moving.pem"), NULL);
  tls_shell("cp ca.pem new.pem && mv new.pem moving.pem");
  dsc_tls *b = get(tls_file("moving.pem"), NULL);
  assert_ptr_not_equal(a, b);
  dsc_tls_unref(a);
  dsc_tls_unref(b);
}

static void refused(dsc_tls_config config, const char *expected) {
  dsc_tls *tls = (void *)1;
  dsc_why why = {""};
  assert_int_equal(DSC_EINVALID, dsc_tls_get(&tls, &config, &why));
  assert_null(tls);
  if (!strstr(why.text, expected)) fail_msg("\"%s\" is not in: %s", expected, why.text);
}

static void files_that_are_no_use(void **state) {
  (void)state;
  refused(config_of("/no/such/ca.pem", NULL, NULL), "tls.ca: /no/such/ca.pem cannot be read");
  refused(config_of(tls_file("empty.pem"), NULL, NULL), "holds no certificates");
  refused(config_of(NULL, tls_file("empty.pem"), tls_file("node.key")), "tls.cert: ");
  refused(config_of(NULL, tls_file("node.pem"), tls_file("empty.pem")), "tls.key: ");
  refused(config_of(NULL, tls_file("node.pem"), tls_file("ca.key")), "is not the private key of the certificate");
  refused(config_of(NULL, tls_file("node.pem"), tls_file("locked.key")), "is encrypted");
}

/* ------------------------------------------------------------------ sessions */

typedef struct server {
  SSL_CTX *context;
  SSL *ssl;
  BIO *in, *out;
} server;

static server serve(const char *cert, bool wants_client) {
  server s = {.context = SSL_CTX_new(TLS_server_method())};
  SSL_CTX_use_certificate_file(s.context, cert, SSL_FILETYPE_PEM);
  SSL_CTX_use_PrivateKey_file(s.context, tls_file("node.key"), SSL_FILETYPE_PEM);
  if (wants_client) {
    SSL_CTX_load_verify_file(s.context, tls_file("ca.pem"));
    SSL_CTX_set_verify(s.context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
  }
  s.ssl = SSL_new(s.context);
  s.in = BIO_new(BIO_s_mem());
  s.out = BIO_new(BIO_s_mem());
  SSL_set_bio(s.ssl, s.in, s.out);
  SSL_set_accept_state(s.ssl);
  return s;
}

static void end(server *s) {
  SSL_free(s->ssl);
  SSL_CTX_free(s->context);
}

/* Moves what the server has to say into the session. */
static void to_session(server *s, dsc_tls_session *session) {
  char *bytes;
  long n = BIO_get_mem_data(s->out, &bytes);
  if (n > 0) assert_int_equal(DSC_OK, dsc_tls_session_take(session, (dsc_str){bytes, (size_t)n}));
  BIO_reset(s->out);
}

static void to_server(server *s, dsc_buf *out) {
  if (out->len) BIO_write(s->in, out->data, (int)out->len);
  dsc_buf_reset(out);
}

static dsc_err shake(server *s, dsc_tls_session *session, dsc_why *why) {
  dsc_buf out;
  dsc_err err = DSC_OK;
  dsc_buf_init(&out, 0);
  for (int i = 0; i < 6 && !err; i++) {
    err = dsc_tls_session_handshake(session, "127.0.0.1:1", &out, why);
    to_server(s, &out);
    SSL_do_handshake(s->ssl);
    to_session(s, session);
  }
  dsc_buf_clear(&out);
  return err;
}

static dsc_err meet(const char *cert, const char *ca, const char *server_name, const char *host, dsc_why *why) {
  server s = serve(tls_file(cert), false);
  dsc_tls *tls = get(tls_file(ca), server_name);
  dsc_tls_session *session = dsc_tls_session_new(tls, host);
  dsc_err err = shake(&s, session, why);
  assert_true(err != DSC_OK || dsc_tls_session_is_open(session));
  dsc_tls_session_free(session);
  dsc_tls_unref(tls);
  end(&s);
  return err;
}

static void names_and_authorities(void **state) {
  dsc_why why = {""};
  (void)state;
  assert_int_equal(DSC_OK, meet("node.pem", "ca.pem", NULL, "127.0.0.1", &why));
  assert_int_equal(DSC_OK, meet("node.pem", "ca.pem", NULL, "node.test", &why));
  assert_int_equal(DSC_OK, meet("node.pem", "ca.pem", "node.test", "10.0.0.1", &why));
  assert_int_equal(DSC_ETLS, meet("node.pem", "ca.pem", NULL, "10.0.0.1", &why));
  assert_non_null(strstr(why.text, "was not issued for this address"));
  assert_int_equal(DSC_ETLS, meet("node.pem", "ca.pem", "other.test", "127.0.0.1", &why));
  assert_non_null(strstr(why.text, "was issued for another name"));
  assert_int_equal(DSC_ETLS, meet("node.pem", "other.pem", NULL, "node.test", &why));
  assert_non_null(strstr(why.text, "unknown authority"));
  assert_int_equal(DSC_ETLS, meet("old.pem", "ca.pem", NULL, "node.test", &why));
  assert_non_null(strstr(why.text, "has expired"));
}

static void a_plain_server(void **state) {
  dsc_why why = {""};
  dsc_buf out;
  (void)state;
  dsc_buf_init(&out, 0);
  dsc_tls *tls = get(tls_file("ca.pem"), NULL);
  dsc_tls_session *session = dsc_tls_session_new(tls, "127.0.0.1");
  assert_int_equal(DSC_OK, dsc_tls_session_handshake(session, "127.0.0.1:1", &out, &why));
  dsc_tls_session_take(session, DSC_STR_LITERAL("-ERR Protocol error\r\n"));
  assert_int_equal(DSC_ETLS, dsc_tls_session_handshake(session, "127.0.0.1:1", &out, &why));
  assert_string_equal("127.0.0.1:1 does not speak TLS on this port", why.text);
  dsc_tls_session_free(session);
  dsc_tls_unref(tls);
  dsc_buf_clear(&out);
}

static void bytes_both_ways(void **state) {
  dsc_why why = {""};
  dsc_buf out;
  char bytes[64] = "";
  size_t n;
  (void)state;
  dsc_buf_init(&out, 0);
  server s = serve(tls_file("node.pem"), false);
  dsc_tls *tls = get(tls_file("ca.pem"), NULL);
  dsc_tls_session *session = dsc_tls_session_new(tls, "node.test");
  assert_int_equal(DSC_OK, shake(&s, session, &why));
  assert_int_equal(DSC_OK, dsc_tls_session_write(session, DSC_STR_LITERAL("ping"), &out, &why));
  assert_null(memmem(out.data, out.len, "ping", 4));
  to_server(&s, &out);
  assert_int_equal(4, SSL_read(s.ssl, bytes, sizeof bytes));
  assert_memory_equal("ping", bytes, 4);
  SSL_write(s.ssl, "pong!", 5);
  to_session(&s, session);
  assert_int_equal(DSC_OK, dsc_tls_session_read(session, bytes, 3, &n, &out, &why));
  assert_int_equal(3, n);
  assert_int_equal(DSC_OK, dsc_tls_session_read(session, bytes + 3, 60, &n, &out, &why));
  assert_int_equal(2, n);
  assert_memory_equal("pong!", bytes, 5);
  assert_int_equal(DSC_OK, dsc_tls_session_read(session, bytes, 60, &n, &out, &why));
  assert_int_equal(0, n);
  SSL_shutdown(s.ssl);
  to_session(&s, session);
  assert_int_equal(DSC_ECLOSED, dsc_tls_session_read(session, bytes, 60, &n, &out, &why));
  dsc_tls_session_free(session);
  dsc_tls_unref(tls);
  dsc_buf_clear(&out);
  end(&s);
}

static void a_certificate_of_ones_own(void **state) {
  dsc_why why = {""};
  dsc_buf out;
  char bytes[16];
  size_t n;
  (void)state;
  dsc_buf_init(&out, 0);
  for (int with = 0; with < 2; with++) {
    server s = serve(tls_file("node.pem"), true);
    dsc_tls_config config =
        config_of(tls_file("ca.pem"), with ? tls_file("node.pem") : NULL, with ? tls_file("node.key") : NULL);
    dsc_tls *tls;
    assert_int_equal(DSC_OK, dsc_tls_get(&tls, &config, &why));
    dsc_tls_session *session = dsc_tls_session_new(tls, "node.test");
    assert_int_equal(DSC_OK, shake(&s, session, &why));
    assert_int_equal(with ? DSC_OK : DSC_ETLS, dsc_tls_session_read(session, bytes, sizeof bytes, &n, &out, &why));
    if (!with) assert_non_null(strstr(why.text, "certificate required"));
    dsc_tls_session_free(session);
    dsc_tls_unref(tls);
    end(&s);
  }
  dsc_buf_clear(&out);
}

static void memory_runs_out(void **state) {
  (void)state;
  dsc_tls_config config = config_of(tls_file("ca.pem"), NULL, NULL);
  size_t blocks, after, bytes;
  dsc_mem_usage(&blocks, &bytes);
  for (size_t i = 1;; i++) {
    dsc_tls *tls;
    dsc_mem_fail_at(i, false);
    dsc_err err = dsc_tls_get(&tls, &config, NULL);
    dsc_tls_session *session = err ? NULL : dsc_tls_session_new(tls, "node.test");
    bool whole = dsc_mem_asked() < i;
    dsc_mem_fail_at(0, false);
    dsc_tls_session_free(session);
    dsc_tls_unref(tls);
    if (whole) break;
    assert_true(err == DSC_ENOMEM || !session);
  }
  dsc_mem_usage(&after, &bytes);
  assert_int_equal(blocks, after);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(equal_settings_are_one),
      cmocka_unit_test(a_renewed_file_is_another_setting),
      cmocka_unit_test(files_that_are_no_use),
      cmocka_unit_test(names_and_authorities),
      cmocka_unit_test(a_plain_server),
      cmocka_unit_test(bytes_both_ways),
      cmocka_unit_test(a_certificate_of_ones_own),
      cmocka_unit_test(memory_runs_out),
  };
  return cmocka_run_group_tests_name("tls", tests, make_files, tls_files_remove);
}
