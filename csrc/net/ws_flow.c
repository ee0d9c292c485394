/*
** ws_flow.c - an open connection: frames become messages, and how it ends.
**
** A message is put together in `part` and waits in `received`; when that holds max_queued bytes, the socket is not read
** until the owner took some. The end: both close frames were seen, or an error was told to the peer; then we wait a
** little for it to hang up, so that our last bytes are not lost by a reset.
*/
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/ws_impl.h"

#define CODE_NONE      1005
#define CODE_TOO_LARGE 1009

/* ------------------------------------------------------------- closing */

static void set_goodbye(dsc_ws_conn *conn, uint16_t code, dsc_str reason) {
  conn->close_wanted = true;
  conn->goodbye_len = 0;
  if (code == 0 || code == CODE_NONE) return;
  size_t n = reason.n < DSC_WS_CONTROL_MAX - 2 ? reason.n : DSC_WS_CONTROL_MAX - 2;
  conn->goodbye[0] = (uint8_t)(code >> 8);
  conn->goodbye[1] = (uint8_t)code;
  if (n) memcpy(conn->goodbye + 2, reason.p, n);
  conn->goodbye_len = (uint8_t)(2 + n);
}

/* Nothing more is expected but that the peer hangs up. */
static void leave(dsc_ws_conn *conn) {
  dsc_ws_send_drop(conn);
  conn->phase = DSC_WS_LEAVING;
  conn->close_until_ms = dsc_clock_now_ms() + DSC_WS_LINGER_MS;
  if (conn->paused && conn->line) dsc_ws_line_read(conn->line, true);
  conn->paused = false;
  dsc_ws_send_flush(conn);
  dsc_ws_arm(conn);
}

/* The peer broke a rule, or we can't take what it sends: tells it and leaves. */
static void fail(dsc_ws_conn *conn, uint16_t code, dsc_err err, const char *what) {
  conn->end.err = err;
  conn->end.code = 1006;
  snprintf(conn->end.why, sizeof conn->end.why, "%s sent %s", conn->request.addr, what);
  set_goodbye(conn, code, dsc_str_of(what));
  dsc_buf_reset(&conn->control);
  leave(conn);
}

static void take_close(dsc_ws_conn *conn, const dsc_ws_seen *seen) {
  conn->end.err = DSC_ECLOSED;
  conn->end.code = seen->code;
  snprintf(conn->end.reason, sizeof conn->end.reason, "%.*s", DSC_STR_ARG(seen->data));
  snprintf(conn->end.why, sizeof conn->end.why, "closed by %s with code %u",
           conn->phase == DSC_WS_CLOSING ? "this side" : conn->request.addr, seen->code);
  if (conn->phase == DSC_WS_OPEN) set_goodbye(conn, seen->code, (dsc_str){"", 0});
  leave(conn);
}

dsc_err dsc_ws_close(dsc_ws_conn *conn, uint16_t code, dsc_str reason, uint32_t timeout_ms, dsc_why *why) {
  bool may = code == 0 || (dsc_ws_close_code_is_valid(code) && code != 1002);
  if (!may) return dsc_fail(why, DSC_EINVALID, "close code %u may not be sent", code);
  if (code == 0 && reason.n) return dsc_fail(why, DSC_EINVALID, "a close reason needs a code");
  if (reason.n > DSC_WS_CONTROL_MAX - 2) return dsc_fail(why, DSC_EINVALID, "a close reason has at most 123 bytes");
  if (!dsc_ws_utf8_is_valid(reason)) return dsc_fail(why, DSC_EINVALID, "the close reason is not UTF-8");
  if (conn->phase == DSC_WS_CLOSING || conn->phase == DSC_WS_LEAVING) return DSC_OK;
  if (conn->phase != DSC_WS_OPEN) return dsc_fail(why, DSC_ECLOSED, "%s", dsc_err_text(DSC_ECLOSED));
  conn->phase = DSC_WS_CLOSING;
  set_goodbye(conn, code, reason);
  conn->close_wait_ms = timeout_ms;
  conn->close_until_ms = dsc_clock_now_ms() + timeout_ms;
  dsc_ws_send_flush(conn);
  if (conn->paused) {
    conn->paused = false; /* what does not fit is dropped from now on: the peer's close frame is behind it */
    if (conn->line) dsc_ws_line_read(conn->line, true);
    dsc_ws_flow_take(conn, (dsc_str){"", 0});
  }
  dsc_ws_arm(conn);
  return DSC_OK;
}

void dsc_ws_flow_lost(dsc_ws_conn *conn, int error) {
  dsc_ws_end *end = &conn->end;
  if (conn->phase == DSC_WS_OVER) return;
  if (conn->phase != DSC_WS_LEAVING) {
    end->err = DSC_ECONNECT;
    end->code = 1006;
    if (!end->why[0])
      snprintf(end->why, sizeof end->why, "the connection to %s was lost: %s", conn->request.addr,
               error ? strerror(error) : "it hung up without a close frame");
  }
  dsc_ws_finish(conn);
}

/* ------------------------------------------------------------- receiving */

static bool is_full(const dsc_ws_conn *conn) {
  return !dsc_list_empty(&conn->received) && conn->received_bytes >= conn->request.max_queued;
}

static bool keep_message(dsc_ws_conn *conn, bool text) {
  dsc_ws_item *item = dsc_mem_zalloc(1, sizeof *item);
  size_t n = 0;
  char *data = item ? dsc_buf_take(&conn->part, &n) : NULL;
  if (!data) {
    dsc_mem_free(item);
    fail(conn, 1011, DSC_ENOMEM, "a message for which there is no memory");
    return false;
  }
  *item = (dsc_ws_item){.kind = text ? DSC_WS_TEXT : DSC_WS_BINARY, .data = data, .len = n};
  dsc_list_init(&item->link);
  dsc_list_push(&conn->received, &item->link);
  conn->received_bytes += n + DSC_WS_ITEM_COST;
  return true;
}

/* Returns true when a message became whole. */
static bool take_data(dsc_ws_conn *conn, const dsc_ws_seen *seen) {
  if (conn->phase == DSC_WS_CLOSING && is_full(conn)) conn->dropping = true;
  if (conn->dropping) {
    dsc_buf_clear(&conn->part);
    conn->dropping = !seen->last;
    return false;
  }
  if (dsc_buf_add_str(&conn->part, seen->data)) {
    fail(conn, 1011, DSC_ENOMEM, "a message for which there is no memory");
    return false;
  }
  return seen->last && keep_message(conn, seen->text);
}

static bool take_seen(dsc_ws_conn *conn, const dsc_ws_seen *seen) {
  switch (seen->kind) {
  case DSC_WS_SEEN_DATA: return take_data(conn, seen);
  case DSC_WS_SEEN_PING: dsc_ws_send_control(conn, DSC_WS_OP_PONG, seen->data); return false;
  case DSC_WS_SEEN_CLOSE: take_close(conn, seen); return false;
  case DSC_WS_SEEN_ERROR:
    fail(conn, seen->code, seen->code == CODE_TOO_LARGE ? DSC_ETOO_LARGE : DSC_EPROTOCOL, seen->why);
    return false;
  default: return false; /* a pong: that something came is all it says */
  }
}

static bool is_talking(const dsc_ws_conn *conn) {
  return conn->phase == DSC_WS_OPEN || conn->phase == DSC_WS_CLOSING;
}

/* Takes from the front of `*bytes` until the queue is full or the end was seen. */
static bool consume(dsc_ws_conn *conn, dsc_str *bytes) {
  bool whole = false;
  while (is_talking(conn) && !(conn->phase == DSC_WS_OPEN && is_full(conn))) {
    dsc_ws_seen seen = dsc_ws_reader_next(&conn->reader, bytes);
    if (seen.kind == DSC_WS_SEEN_NOTHING) break;
    if (take_seen(conn, &seen)) whole = true;
  }
  return whole;
}

/* Keeps what a full queue has no place for, and stops reading. */
static void hold(dsc_ws_conn *conn, dsc_str rest) {
  conn->paused = true;
  if (conn->line) dsc_ws_line_read(conn->line, false);
  if (dsc_buf_add_str(&conn->in, rest)) fail(conn, 1011, DSC_ENOMEM, "data for which there is no memory");
}

bool dsc_ws_flow_take(dsc_ws_conn *conn, dsc_str bytes) {
  bool whole = false;
  if (conn->paused) {
    hold(conn, bytes);
    return false;
  }
  if (conn->in.len) {
    dsc_str kept = dsc_buf_str(&conn->in);
    whole = consume(conn, &kept);
    dsc_buf_consume(&conn->in, conn->in.len - kept.n);
    if (conn->in.len == 0) dsc_buf_clear(&conn->in);
  }
  if (conn->in.len == 0 && consume(conn, &bytes)) whole = true;
  if (is_talking(conn) && (is_full(conn) && conn->phase == DSC_WS_OPEN)) hold(conn, bytes);
  if (conn->out_done == conn->out.len) dsc_ws_send_flush(conn); /* pongs */
  if (conn->gone && !conn->paused) dsc_ws_flow_lost(conn, 0);
  return whole;
}

bool dsc_ws_receive(dsc_ws_conn *conn, dsc_ws_message *message) {
  dsc_link *link = dsc_list_pop(&conn->received);
  if (!link) return false;
  dsc_ws_item *item = DSC_LIST_ENTRY(link, dsc_ws_item, link);
  *message = (dsc_ws_message){.kind = item->kind, .data = item->data, .len = item->len};
  conn->received_bytes -= item->len + DSC_WS_ITEM_COST;
  dsc_mem_free(item);
  if (conn->paused && !is_full(conn)) {
    conn->paused = false;
    conn->heard_ms = dsc_clock_now_ms();
    if (conn->line) dsc_ws_line_read(conn->line, true);
    dsc_ws_flow_take(conn, (dsc_str){"", 0});
  }
  return true;
}

/* ------------------------------------------------------------- time */

uint64_t dsc_ws_flow_due_ms(const dsc_ws_conn *conn) {
  if (conn->phase == DSC_WS_CLOSING || conn->phase == DSC_WS_LEAVING) return conn->close_until_ms;
  if (conn->request.ping_ms == 0) return UINT64_MAX;
  if (conn->paused) return dsc_clock_now_ms() + conn->request.ping_ms; /* nothing can be heard */
  if (conn->last_look_ms) return conn->last_look_ms;
  if (conn->ping_sent_ms) return conn->ping_sent_ms + conn->request.ping_timeout_ms;
  return conn->heard_ms + conn->request.ping_ms;
}

static void finish_late(dsc_ws_conn *conn, uint32_t ms, const char *what) {
  conn->end.err = DSC_ETIMEOUT;
  conn->end.code = 1006;
  snprintf(conn->end.why, sizeof conn->end.why, "%s did not answer %s within %u ms", conn->request.addr, what, ms);
  dsc_ws_finish(conn);
}

void dsc_ws_flow_on_time(dsc_ws_conn *conn, uint64_t now_ms) {
  if (dsc_ws_flow_due_ms(conn) > now_ms) return;
  switch (conn->phase) {
  case DSC_WS_LEAVING: dsc_ws_finish(conn); return;
  case DSC_WS_CLOSING: finish_late(conn, conn->close_wait_ms, "the close frame"); return;
  default:
    if (conn->ping_sent_ms && !conn->last_look_ms) {
      /* timers come before sockets: an owner who was away finds the answer only now */
      conn->last_look_ms = now_ms + 1;
    } else if (conn->ping_sent_ms) {
      finish_late(conn, conn->request.ping_timeout_ms, "a ping");
    } else {
      conn->ping_sent_ms = now_ms;
      dsc_ws_ping(conn);
    }
  }
}

void dsc_ws_flow_clear(dsc_ws_conn *conn) {
  dsc_ws_send_drop(conn);
  for (dsc_link *link; (link = dsc_list_pop(&conn->received));)
    dsc_ws_send_free_item(DSC_LIST_ENTRY(link, dsc_ws_item, link));
  if (!conn->wiped && conn->out.data) dsc_secret_wipe(conn->out.data, conn->out.cap);
  dsc_buf_clear(&conn->in);
  dsc_buf_clear(&conn->part);
  dsc_buf_clear(&conn->control);
  dsc_buf_clear(&conn->out);
}
