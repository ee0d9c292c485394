/*
** redis_dial.c - from a name to a connected stream: one address of the host after the other.
**
** Invariant: the handle is closed and made anew between two addresses, since a stream that failed to connect can't be
** used again. Threads: the loop's.
*/
#include "net/redis_conn_impl.h"

#include "base/clock.h"

bool dsc_redis_dial_try_next(dsc_redis_conn *conn) {
  if (conn->state != DSC_REDIS_CONNECTING || conn->next_addr >= conn->found.count) return false;
  dsc_redis_conn_close_handle(conn);
  return true;
}

static void fail_addr(dsc_redis_conn *conn, int rc) {
  if (conn->state != DSC_REDIS_CONNECTING || dsc_redis_dial_try_next(conn)) return;
  dsc_why why;
  dsc_fail(&why, DSC_ECONNECT, "%s", uv_strerror(rc));
  dsc_redis_conn_lose(conn, DSC_ECONNECT, why.text);
}

static void on_connected(uv_connect_t *req, int status) {
  dsc_redis_conn *conn = req->data;
  /* canceled: the handle is closing, on_closed() goes on from there */
  if (conn->state != DSC_REDIS_CONNECTING || conn->handle_closing) return;
  if (status < 0) {
    fail_addr(conn, status);
    return;
  }
  if (!conn->path) {
    uv_tcp_nodelay(&conn->handle.tcp, 1);
    uv_tcp_keepalive(&conn->handle.tcp, 1, 30);
  }
  if (conn->tls) {
    dsc_redis_secure_begin(conn);
  } else {
    dsc_redis_greet_begin(conn);
  }
}

static void init_handle(dsc_redis_conn *conn) {
  struct uv_loop_s *loop = dsc_loop_uv(conn->loop);
  if (conn->path) {
    uv_pipe_init(loop, &conn->handle.pipe, 0);
  } else {
    uv_tcp_init(loop, &conn->handle.tcp);
  }
  conn->handle.any.data = conn;
}

static void dial_path(dsc_redis_conn *conn) {
  conn->state = DSC_REDIS_CONNECTING;
  conn->ready_by_ms = dsc_clock_now_ms() + conn->connect_timeout_ms;
  conn->connecting.data = conn;
  uv_pipe_connect(&conn->connecting, &conn->handle.pipe, conn->path, on_connected);
  dsc_redis_conn_arm(conn);
}

static int begin_connect(dsc_redis_conn *conn, const char *addr) {
  struct sockaddr_storage at;
  int rc = uv_ip4_addr(addr, conn->port, (struct sockaddr_in *)&at);
  if (rc < 0) rc = uv_ip6_addr(addr, conn->port, (struct sockaddr_in6 *)&at);
  if (rc < 0) return rc;
  conn->connecting.data = conn;
  return uv_tcp_connect(&conn->connecting, &conn->handle.tcp, (const struct sockaddr *)&at, on_connected);
}

void dsc_redis_dial_next(dsc_redis_conn *conn) {
  conn->state = DSC_REDIS_CONNECTING;
  if (conn->next_addr > 0) init_handle(conn);
  conn->ready_by_ms = dsc_clock_now_ms() + conn->connect_timeout_ms;
  int rc = begin_connect(conn, conn->found.addrs[conn->next_addr++]);
  if (rc < 0) fail_addr(conn, rc);
  dsc_redis_conn_arm(conn);
}

static void on_resolved(void *ud, const dsc_resolve_answer *answer) {
  dsc_redis_conn *conn = ud;
  conn->question = NULL;
  if (conn->state == DSC_REDIS_CLOSING) return;
  conn->found = *answer;
  if (answer->err || answer->count == 0) {
    const char *why = answer->why[0] ? answer->why : "the name has no address";
    dsc_redis_conn_lose(conn, answer->err ? answer->err : DSC_ECONNECT, why);
  } else {
    dsc_redis_dial_next(conn);
  }
}

void dsc_redis_dial_begin(dsc_redis_conn *conn) {
  dsc_resolve_answer answer;
  init_handle(conn);
  if (conn->path) {
    dial_path(conn);
    return;
  }
  dsc_str host = dsc_str_of(conn->host);
  if (dsc_resolver_lookup(conn->resolver, host, &answer)) {
    on_resolved(conn, &answer);
    return;
  }
  conn->question = dsc_resolver_ask(conn->resolver, host, on_resolved, conn);
  if (!conn->question) dsc_redis_conn_lose(conn, DSC_ENOMEM, "no memory to look the name up");
}
