/*
** redis_secure.c - a Redis connection over TLS: a session over memory between the stream and the protocol's reader.
**
** The handshake has the time of connecting; the greeting, with the password, is written only after the peer was
** verified. What waits in plain text is encrypted as one piece when the write before it is over, and wiped at once if
** it holds a password. Threads: the loop's.
*/
#include "net/redis_conn_impl.h"

#include <stdio.h>

#define PLAIN_SIZE 16384 /* a TLS record's */

static void addr_of(const dsc_redis_conn *conn, char *text, size_t size) {
  snprintf(text, size, strchr(conn->host, ':') ? "[%s]:%u" : "%s:%u", conn->host, conn->port);
}

/* Goes on with the handshake. Returns false when the connection is over or still waits. */
static bool shake(dsc_redis_conn *conn) {
  char addr[300];
  dsc_why why = {""};
  addr_of(conn, addr, sizeof addr);
  dsc_err err = dsc_tls_session_handshake(conn->session, addr, &conn->sealed, &why);
  dsc_redis_conn_flush(conn); /* an alert goes out if it can */
  if (err) {
    dsc_redis_conn_lose(conn, err, why.text[0] ? why.text : dsc_err_text(err));
    return false;
  }
  if (conn->state != DSC_REDIS_SHAKING || !dsc_tls_session_is_open(conn->session)) return false;
  dsc_redis_greet_begin(conn);
  return conn->state != DSC_REDIS_CLOSING;
}

void dsc_redis_secure_begin(dsc_redis_conn *conn) {
  conn->state = DSC_REDIS_SHAKING;
  conn->session = dsc_tls_session_new(conn->tls, conn->host);
  int rc = conn->session ? dsc_redis_conn_start_reading(conn) : 0;
  if (!conn->session)
    dsc_redis_conn_lose(conn, DSC_ENOMEM, "no memory for TLS");
  else if (rc < 0)
    dsc_redis_conn_lose(conn, DSC_EIO, uv_strerror(rc));
  else
    shake(conn);
}

void dsc_redis_secure_take(dsc_redis_conn *conn, const char *bytes, size_t n) {
  char plain[PLAIN_SIZE];
  size_t got;
  dsc_why why = {""};
  if (dsc_tls_session_take(conn->session, (dsc_str){bytes, n}) != DSC_OK) {
    dsc_redis_conn_lose(conn, DSC_ENOMEM, "no memory for what was read");
    return;
  }
  if (conn->state == DSC_REDIS_SHAKING && !shake(conn)) return;
  do {
    dsc_err err = dsc_tls_session_read(conn->session, plain, sizeof plain, &got, &conn->sealed, &why);
    if (err == DSC_ECLOSED)
      dsc_redis_conn_lose(conn, DSC_ECONNECT, "the server closed the connection");
    else if (err)
      dsc_redis_conn_lose(conn, err, why.text[0] ? why.text : dsc_err_text(err));
    if (err) return;
  } while (got > 0 && dsc_redis_conn_take(conn, plain, got));
  if (conn->state != DSC_REDIS_CLOSING) dsc_redis_conn_flush(conn);
}

dsc_err dsc_redis_secure_seal(dsc_redis_conn *conn, dsc_why *why) {
  if (conn->out.len == 0 || !conn->session || !dsc_tls_session_is_open(conn->session)) return DSC_OK;
  dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  dsc_err err = dsc_tls_session_write(conn->session, dsc_buf_str(&conn->out), &conn->sealed, why);
  if (conn->wipe) dsc_secret_wipe(conn->out.data, conn->out.cap);
  conn->wipe = false;
  dsc_buf_reset(&conn->out);
  return err;
}

/* With TLS 1.3 a server judges our certificate when we are done; its alert can be lost in the reset that follows. */
const char *dsc_redis_secure_describe_loss(const dsc_redis_conn *conn) {
  if (conn->state == DSC_REDIS_SHAKING) return "the server closed the connection in the middle of the TLS handshake";
  return "the server closed the connection right after the TLS handshake; perhaps it wants a client certificate";
}
