/*
** ws.c - a client's life, and a connection's: look-up, connecting, TLS, opening handshake, open, over.
**
** Invariants: the owner is told from the timer alone (opened, closed) or as the last thing a callback of the line does
** (moved), so that it may free the connection each time; after the end nothing is told. Threads: the loop's.
*/
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/ws_impl.h"

#define PLAIN_BYTES 16384

static void dial_next(dsc_ws_conn *conn);

/* ------------------------------------------------------------- the end, and time */

static uint64_t due_ms(const dsc_ws_conn *conn) {
  if (conn->phase == DSC_WS_OVER || (conn->opened && !conn->open_told)) return 0;
  if (conn->phase == DSC_WS_GREETING) return conn->open_until_ms;
  if (conn->phase > DSC_WS_GREETING) return dsc_ws_flow_due_ms(conn);
  return conn->connect_until_ms < conn->open_until_ms ? conn->connect_until_ms : conn->open_until_ms;
}

void dsc_ws_arm(dsc_ws_conn *conn) {
  if (conn->over_told) return;
  uint64_t due = due_ms(conn), now_ms = dsc_clock_now_ms();
  if (due == UINT64_MAX) {
    dsc_timer_stop(conn->timer);
    return;
  }
  dsc_timer_start(conn->timer, due > now_ms ? due - now_ms : 0);
}

static void hang_up(dsc_ws_conn *conn) {
  if (conn->counted) conn->ws->count--;
  conn->counted = false;
  dsc_ws_line_cut(conn->line);
  conn->line = NULL;
  dsc_resolve_cancel(conn->question);
  conn->question = NULL;
}

void dsc_ws_answer(dsc_ws_conn *conn) {
  hang_up(conn);
  conn->answer.sent = conn->sent;
  conn->phase = DSC_WS_OVER;
  dsc_ws_arm(conn);
}

void dsc_ws_refuse(dsc_ws_conn *conn, dsc_err err, const char *format, ...) {
  char text[sizeof conn->answer.why];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  dsc_why why; /* shows control characters as '?' */
  conn->answer.err = dsc_fail(&why, err, "%s", text);
  snprintf(conn->answer.why, sizeof conn->answer.why, "%s", why.text);
  dsc_ws_answer(conn);
}

static void refuse_memory(dsc_ws_conn *conn) {
  conn->answer.ours = true;
  dsc_ws_refuse(conn, DSC_ENOMEM, "out of memory while opening a WebSocket to %s", conn->request.addr);
}

void dsc_ws_finish(dsc_ws_conn *conn) {
  hang_up(conn);
  conn->phase = DSC_WS_OVER;
  dsc_ws_arm(conn);
}

/* Tells what is to be told; the connection may be gone afterwards. Returns false when there was nothing. */
static bool tell(dsc_ws_conn *conn) {
  if (!conn->open_told && (conn->opened || conn->phase == DSC_WS_OVER)) {
    conn->open_told = true;
    conn->over_told = !conn->opened;
    if (conn->opened) dsc_ws_arm(conn);
    conn->events.opened(conn->ud, &conn->answer);
    return true;
  }
  if (conn->phase != DSC_WS_OVER) return false;
  if (conn->over_told) return true;
  conn->over_told = true;
  conn->events.closed(conn->ud, &conn->end);
  return true;
}

static void on_timer(void *ud) {
  dsc_ws_conn *conn = ud;
  if (tell(conn)) return;
  uint64_t now_ms = dsc_clock_now_ms();
  if (conn->phase > DSC_WS_GREETING) {
    dsc_ws_flow_on_time(conn, now_ms);
  } else if (due_ms(conn) <= now_ms) {
    if (conn->phase == DSC_WS_GREETING)
      dsc_ws_refuse(conn, DSC_ETIMEOUT, "%s did not answer within %u ms", conn->request.addr, conn->request.timeout_ms);
    else
      dsc_ws_refuse(conn, DSC_ETIMEOUT, "no connection to %s within %u ms", conn->request.addr,
                    (uint32_t)(due_ms(conn) - conn->begin_ms));
    return;
  }
  dsc_ws_arm(conn);
}

/* ------------------------------------------------------------- opening */

static void greet(dsc_ws_conn *conn) {
  conn->phase = DSC_WS_GREETING;
  dsc_err err = dsc_ws_greet(conn);
  if (err == DSC_OK) {
    conn->sent = true;
    dsc_ws_send_flush(conn);
    dsc_ws_arm(conn);
    return;
  }
  conn->answer.ours = true;
  dsc_ws_refuse(conn, err, "the handshake with %s could not be written: %s", conn->request.addr, dsc_err_text(err));
}

static void secure(dsc_ws_conn *conn) {
  dsc_why why;
  dsc_err err = dsc_tls_session_handshake(conn->session, conn->request.addr, &conn->out, &why);
  if (err) {
    dsc_ws_send_flush(conn); /* the alert */
    conn->answer.ours = err == DSC_ENOMEM;
    dsc_ws_refuse(conn, err, "%s", why.text);
  } else if (dsc_tls_session_is_open(conn->session)) {
    greet(conn);
  } else {
    dsc_ws_send_flush(conn);
  }
}

static void on_connected(void *ud) {
  dsc_ws_conn *conn = ud;
  if (!conn->tls) {
    greet(conn);
    return;
  }
  conn->phase = DSC_WS_SECURING;
  conn->session = dsc_tls_session_new(conn->tls, conn->request.host);
  if (conn->session)
    secure(conn);
  else
    refuse_memory(conn);
}

static void take_open(dsc_ws_conn *conn) {
  conn->opened = true;
  conn->phase = DSC_WS_OPEN;
  conn->heard_ms = dsc_clock_now_ms();
  dsc_ws_arm(conn);
}

/* Takes bytes as the peer meant them. Returns true when a message became whole. */
static bool take_plain(dsc_ws_conn *conn, dsc_str bytes) {
  if (conn->phase == DSC_WS_GREETING) {
    dsc_ws_greeted greeted = dsc_ws_greet_take(conn, &bytes);
    if (greeted == DSC_WS_GREET_MORE) return false;
    if (greeted != DSC_WS_GREET_OPEN) {
      dsc_ws_answer(conn);
      return false;
    }
    take_open(conn);
  }
  return conn->phase > DSC_WS_GREETING && dsc_ws_flow_take(conn, bytes);
}

/* TLS is over: the peer said goodbye to it, or it failed. */
static void end_cipher(dsc_ws_conn *conn, dsc_err err, const char *why) {
  if (err == DSC_ENOMEM && conn->opened) {
    conn->end.err = err;
    snprintf(conn->end.why, sizeof conn->end.why, "%s", dsc_err_text(err));
    dsc_ws_finish(conn);
  } else if (conn->opened) {
    if (err != DSC_ECLOSED) snprintf(conn->end.why, sizeof conn->end.why, "%s", why);
    conn->gone = true;
    dsc_ws_flow_take(conn, (dsc_str){"", 0});
  } else if (err == DSC_ENOMEM) {
    refuse_memory(conn);
  } else if (err == DSC_ECLOSED) {
    dsc_ws_refuse(conn, DSC_ECONNECT, "%s closed the connection without an answer", conn->request.addr);
  } else {
    dsc_ws_refuse(conn, err, "%s", why);
  }
}

static bool take_cipher(dsc_ws_conn *conn, dsc_str bytes) {
  dsc_why why = {{0}};
  char plain[PLAIN_BYTES];
  bool whole = false;
  dsc_err err = dsc_tls_session_take(conn->session, bytes);
  if (!err && conn->phase == DSC_WS_SECURING) secure(conn);
  while (!err && conn->line && conn->phase > DSC_WS_SECURING) {
    size_t n = 0;
    err = dsc_tls_session_read(conn->session, plain, sizeof plain, &n, &conn->out, &why);
    if (n == 0) break;
    if (take_plain(conn, (dsc_str){plain, n})) whole = true;
  }
  if (!conn->line || conn->phase == DSC_WS_OVER) return whole;
  dsc_ws_send_flush(conn);
  if (err) end_cipher(conn, err, why.text);
  return whole;
}

static void on_received(void *ud, dsc_str bytes) {
  dsc_ws_conn *conn = ud;
  conn->heard_ms = dsc_clock_coarse_ms();
  conn->ping_sent_ms = conn->last_look_ms = 0;
  bool whole = conn->session ? take_cipher(conn, bytes) : take_plain(conn, bytes);
  if ((whole || dsc_ws_send_has_room(conn)) && conn->open_told && conn->phase != DSC_WS_OVER)
    conn->events.moved(conn->ud);
}

static void on_writable(void *ud) {
  dsc_ws_conn *conn = ud;
  dsc_ws_send_flush(conn);
  if (dsc_ws_send_has_room(conn) && conn->open_told && conn->phase != DSC_WS_OVER) conn->events.moved(conn->ud);
}

static bool is_ours(int error) {
  return error == EMFILE || error == ENFILE || error == ENOMEM || error == EADDRNOTAVAIL || error == ENOBUFS ||
         error == ENOSPC || error == EACCES || error == EPERM || error == EAFNOSUPPORT;
}

static void fail_addr(dsc_ws_conn *conn, int error) {
  const char *addr = conn->request.addr;
  if (!is_ours(error)) conn->node_error = conn->node_failed ? conn->node_error : error;
  conn->node_failed = conn->node_failed || !is_ours(error);
  if (conn->next_addr < conn->found.count) {
    dial_next(conn);
    return;
  }
  /* one address that refused says more of the node than another that this host has no way to */
  if (conn->node_failed) error = conn->node_error;
  conn->answer.ours = !conn->node_failed;
  if (conn->answer.ours) {
    dsc_ws_refuse(conn, error == ENOMEM ? DSC_ENOMEM : DSC_EIO, "this process cannot open a connection to %s: %s", addr,
                  strerror(error));
  } else {
    conn->answer.refused = error == ECONNREFUSED || error == ECONNRESET;
    dsc_ws_refuse(conn, DSC_ECONNECT, "no connection to %s: %s", addr, error ? strerror(error) : "it hung up");
  }
}

static void on_lost(void *ud, int error) {
  dsc_ws_conn *conn = ud;
  const char *addr = conn->request.addr;
  conn->line = NULL;
  switch (conn->phase) {
  case DSC_WS_CONNECTING: fail_addr(conn, error); return;
  case DSC_WS_SECURING:
    dsc_ws_refuse(conn, DSC_ETLS, "TLS with %s failed: it hung up during the handshake", addr);
    return;
  case DSC_WS_GREETING:
    if (conn->head.len)
      dsc_ws_refuse(conn, DSC_EPROTOCOL, "%s closed the connection in the middle of its headers", addr);
    else
      dsc_ws_refuse(conn, DSC_ECONNECT, "%s closed the connection without an answer%s", addr,
                    conn->tls ? " after the TLS handshake (it may want another client certificate)" : "");
    return;
  default: dsc_ws_flow_lost(conn, error); return;
  }
}

static const dsc_ws_line_events line_events = {on_connected, on_received, on_writable, on_lost};

static void dial_next(dsc_ws_conn *conn) {
  int error = 0;
  conn->phase = DSC_WS_CONNECTING;
  const char *ip = conn->found.addrs[conn->next_addr++];
  conn->line = dsc_ws_line_open(conn->ws->lines, ip, conn->request.port, &line_events, conn, &error);
  if (!conn->line) fail_addr(conn, error);
}

static void on_resolved(void *ud, const dsc_resolve_answer *found) {
  dsc_ws_conn *conn = ud;
  conn->question = NULL;
  conn->found = *found;
  if (found->err == DSC_OK && found->count > 0) {
    dial_next(conn);
    return;
  }
  conn->answer.ours = found->err == DSC_ENOMEM;
  dsc_ws_refuse(conn, found->err ? found->err : DSC_ECONNECT, "no connection to %s: %s", conn->request.addr,
                found->why[0] ? found->why : "the name has no address");
}

static bool look_up(dsc_ws_conn *conn) {
  dsc_resolve_answer found;
  dsc_str host = dsc_str_of(conn->request.host);
  if (dsc_resolver_lookup(conn->ws->resolver, host, &found)) {
    on_resolved(conn, &found);
    return true;
  }
  conn->question = dsc_resolver_ask(conn->ws->resolver, host, on_resolved, conn);
  return conn->question != NULL;
}

/* ------------------------------------------------------------- making and freeing */

dsc_ws *dsc_ws_new(dsc_loop *loop, dsc_resolver *resolver, dsc_err *err) {
  dsc_ws *ws = dsc_mem_zalloc(1, sizeof *ws);
  *err = ws ? DSC_OK : DSC_ENOMEM;
  if (!ws) return NULL;
  ws->loop = loop;
  ws->resolver = resolver;
  dsc_list_init(&ws->conns);
  ws->lines = dsc_ws_lines_new(loop);
  if (ws->lines) return ws;
  *err = DSC_ENOMEM;
  dsc_mem_free(ws);
  return NULL;
}

void dsc_ws_free(dsc_ws *ws) {
  if (!ws) return;
  for (dsc_link *link = ws->conns.next, *next; link != &ws->conns; link = next) {
    next = link->next;
    dsc_ws_conn *conn = DSC_LIST_ENTRY(link, dsc_ws_conn, link);
    hang_up(conn);
    dsc_timer_free(conn->timer);
    dsc_list_remove(&conn->link);
    conn->timer = NULL;
    conn->ws = NULL; /* its owner frees it, maybe much later */
    conn->phase = DSC_WS_OVER;
    conn->over_told = conn->open_told = true;
  }
  dsc_ws_lines_free(ws->lines);
  dsc_mem_free(ws);
}

static void init_conn(dsc_ws_conn *conn, dsc_ws *ws, const dsc_ws_request *request, const dsc_ws_events *events,
                      void *ud) {
  *conn = (dsc_ws_conn){.ws = ws, .request = *request, .events = *events, .ud = ud, .begin_ms = dsc_clock_now_ms()};
  conn->tls = dsc_tls_ref(request->tls);
  snprintf(conn->addr, sizeof conn->addr, "%s", request->addr);
  conn->request.addr = conn->addr; /* errors name it long after the handshake */
  conn->connect_until_ms = conn->begin_ms + request->connect_timeout_ms;
  conn->open_until_ms = conn->begin_ms + request->timeout_ms;
  conn->end.code = 1006;
  dsc_headers_init(&conn->answer.headers);
  dsc_buf_init(&conn->head, DSC_WS_HEAD_BYTES_MAX);
  dsc_buf_init(&conn->in, 0);
  dsc_buf_init(&conn->part, (size_t)(request->max_message < SIZE_MAX / 2 ? request->max_message : 0));
  dsc_buf_init(&conn->control, 0);
  dsc_buf_init(&conn->out, 0);
  dsc_list_init(&conn->received);
  dsc_list_init(&conn->sending);
  dsc_ws_reader_init(&conn->reader, request->max_message);
  dsc_list_init(&conn->link);
  dsc_list_push(&ws->conns, &conn->link);
  ws->count++;
  conn->counted = true;
}

dsc_err dsc_ws_connect(dsc_ws *ws, const dsc_ws_request *request, const dsc_ws_events *events, void *ud,
                       dsc_ws_conn **out, dsc_why *why) {
  *out = NULL;
  if (ws->count >= DSC_WS_MAX_CONNECTIONS)
    return dsc_fail(why, DSC_EIO, "more than %d WebSockets are open", DSC_WS_MAX_CONNECTIONS);
  dsc_ws_conn *conn = dsc_mem_zalloc(1, sizeof *conn);
  if (!conn) return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  init_conn(conn, ws, request, events, ud);
  conn->timer = dsc_timer_new(ws->loop, on_timer, conn);
  if (!conn->timer || !look_up(conn)) {
    dsc_ws_conn_free(conn);
    return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  }
  dsc_ws_arm(conn);
  *out = conn;
  return DSC_OK;
}

void dsc_ws_conn_free(dsc_ws_conn *conn) {
  if (!conn) return;
  hang_up(conn);
  dsc_timer_free(conn->timer);
  if (conn->ws) dsc_list_remove(&conn->link);
  dsc_tls_session_free(conn->session);
  dsc_tls_unref(conn->tls);
  dsc_headers_clear(&conn->answer.headers);
  dsc_buf_clear(&conn->head);
  dsc_mem_free(conn->protocol);
  dsc_ws_flow_clear(conn);
  dsc_mem_free(conn);
}

bool dsc_ws_is_open(const dsc_ws_conn *conn) {
  return conn->phase == DSC_WS_OPEN;
}

const char *dsc_ws_protocol(const dsc_ws_conn *conn) {
  return conn->protocol ? conn->protocol : "";
}
