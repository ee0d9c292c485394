/*
** tls_session.c - a client's TLS session between two memory buffers.
**
** Bytes from the peer go into one memory BIO, what OpenSSL wants sent comes out of the other and is moved to the
** caller's buffer after every step, alerts of a failed handshake included.
** Threads: the loop's.
*/
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <stdio.h>

#include "base/mem.h"
#include "net/tls_impl.h"

struct dsc_tls_session {
  /* loop's thread only */
  dsc_tls *tls;
  SSL *ssl; /* owns both BIOs */
  BIO *from_peer, *to_peer;
  bool open;
  char addr[64]; /* for sentences after the handshake; cut if longer */
};

dsc_tls_session *dsc_tls_session_new(dsc_tls *tls, const char *host) {
  dsc_tls_session *session = dsc_mem_zalloc(1, sizeof *session);
  if (!session) return NULL;
  session->tls = dsc_tls_ref(tls);
  session->ssl = SSL_new(dsc_tls_context(tls));
  session->from_peer = BIO_new(BIO_s_mem());
  session->to_peer = BIO_new(BIO_s_mem());
  if (session->ssl && session->from_peer && session->to_peer) {
    SSL_set_bio(session->ssl, session->from_peer, session->to_peer);
    SSL_set_connect_state(session->ssl);
    if (dsc_tls_expect(tls, session->ssl, host)) return session;
    session->from_peer = session->to_peer = NULL; /* freed with the SSL */
  }
  BIO_free(session->from_peer);
  BIO_free(session->to_peer);
  dsc_tls_session_free(session);
  ERR_clear_error();
  return NULL;
}

void dsc_tls_session_free(dsc_tls_session *session) {
  if (!session) return;
  SSL_free(session->ssl);
  dsc_tls_unref(session->tls);
  dsc_mem_free(session);
}

static dsc_err flush(dsc_tls_session *session, dsc_buf *out) {
  char *bytes;
  long n = BIO_get_mem_data(session->to_peer, &bytes);
  if (n <= 0) return DSC_OK;
  dsc_err err = dsc_buf_add(out, bytes, (size_t)n);
  BIO_reset(session->to_peer);
  return err;
}

/* What a step of OpenSSL's came to: DSC_OK also when it waits for more bytes. */
static dsc_err judge(const dsc_tls_session *session, int rc) {
  switch (SSL_get_error(session->ssl, rc)) {
  case SSL_ERROR_NONE:
  case SSL_ERROR_WANT_READ:
  case SSL_ERROR_WANT_WRITE: return DSC_OK;
  case SSL_ERROR_ZERO_RETURN: return DSC_ECLOSED;
  default: return DSC_ETLS;
  }
}

dsc_err dsc_tls_session_handshake(dsc_tls_session *session, const char *addr, dsc_buf *out, dsc_why *why) {
  if (session->open) return DSC_OK;
  snprintf(session->addr, sizeof session->addr, "%s", addr);
  ERR_clear_error();
  int rc = SSL_do_handshake(session->ssl);
  session->open = rc == 1;
  dsc_err err = judge(session, rc);
  if (err) {
    long verdict = dsc_tls_verifies(session->tls) ? SSL_get_verify_result(session->ssl) : X509_V_OK;
    dsc_tls_explain(why, addr, verdict, dsc_tls_take_reason());
    err = DSC_ETLS;
  }
  dsc_err flushed = flush(session, out); /* an alert for the peer, too */
  return err ? err : flushed;
}

bool dsc_tls_session_is_open(const dsc_tls_session *session) {
  return session->open;
}

dsc_err dsc_tls_session_take(dsc_tls_session *session, dsc_str cipher) {
  while (cipher.n > 0) {
    int n = cipher.n > INT_MAX ? INT_MAX : (int)cipher.n;
    int taken = BIO_write(session->from_peer, cipher.p, n);
    if (taken <= 0) return DSC_ENOMEM;
    cipher = (dsc_str){cipher.p + taken, cipher.n - (size_t)taken};
  }
  return DSC_OK;
}

dsc_err dsc_tls_session_read(dsc_tls_session *session, char *bytes, size_t max, size_t *n, dsc_buf *out, dsc_why *why) {
  *n = 0;
  ERR_clear_error();
  int rc = SSL_read(session->ssl, bytes, max > INT_MAX ? INT_MAX : (int)max);
  if (rc > 0) *n = (size_t)rc;
  dsc_err err = judge(session, rc);
  if (err == DSC_ETLS) {
    /* after the handshake of TLS 1.3 the client is done before the server has looked at its certificate */
    dsc_tls_explain(why, session->addr, X509_V_OK, dsc_tls_take_reason());
  }
  dsc_err flushed = flush(session, out);
  return err ? err : flushed;
}

dsc_err dsc_tls_session_write(dsc_tls_session *session, dsc_str plain, dsc_buf *out, dsc_why *why) {
  while (plain.n > 0) {
    ERR_clear_error();
    /* a memory BIO takes everything */
    int rc = SSL_write(session->ssl, plain.p, plain.n > INT_MAX ? INT_MAX : (int)plain.n);
    if (rc <= 0) {
      const char *reason = dsc_tls_take_reason();
      return dsc_fail(why, DSC_ETLS, "TLS failed while sending: %s", reason ? reason : "not open");
    }
    plain = (dsc_str){plain.p + rc, plain.n - (size_t)rc};
  }
  return flush(session, out);
}
