/*
** ws_flow.c - an open connection: frames become messages and messages become frames.
**
** Receiving: a message is put together in `part` and waits in `received`; when that holds max_queued bytes, the socket
** is not read until the owner took some. Sending: messages wait in `sending`; the front one is cut into frames that are
** masked into `out` no sooner than the kernel took the ones before, so control frames never wait long. The end: both
** close frames were seen, or an error was told to the peer; then we wait a little for it to hang up, so that our last
** bytes are not lost by a reset.
*/
#include <stdio.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/ws_impl.h"

#define FRAGMENT       ((size_t)64 * 1024)
#define CONTROL_MAX    ((size_t)8192) /* pongs that wait; then only the newest counts */
#define CODE_NONE      1005
#define CODE_TOO_LARGE 1009

/* ------------------------------------------------------------- sending */

/* Masks must not be guessed (RFC 6455, 10.3): bytes of the kernel, fetched in blocks. */
static void next_mask(dsc_ws *ws, uint8_t mask[4]) {
  if (ws->pool_left < 4) {
    ws->pool_left = getrandom(ws->pool, sizeof ws->pool, 0) == sizeof ws->pool ? sizeof ws->pool : 4;
  }
  ws->pool_left -= 4;
  memcpy(mask, ws->pool + ws->pool_left, 4);
}

static bool emit(dsc_ws_conn *conn, const char *bytes, size_t n) {
  dsc_why why;
  if (!conn->session) return dsc_buf_add(&conn->out, bytes, n) == DSC_OK;
  return dsc_tls_session_write(conn->session, (dsc_str){bytes, n}, &conn->out, &why) == DSC_OK;
}

static bool emit_frame(dsc_ws_conn *conn, dsc_ws_opcode opcode, bool final, const char *data, size_t n) {
  char frame[DSC_WS_HEAD_MAX + FRAGMENT];
  uint8_t mask[4];
  next_mask(conn->ws, mask);
  size_t head = dsc_ws_frame_head((uint8_t *)frame, opcode, final, n, mask);
  dsc_ws_frame_mask(frame + head, data, n, mask);
  return emit(conn, frame, head + n);
}

static void free_item(dsc_ws_item *item) {
  dsc_list_remove(&item->link);
  dsc_mem_free(item->data);
  dsc_mem_free(item);
}

static void drop_sending(dsc_ws_conn *conn) {
  for (dsc_link *link; (link = dsc_list_pop(&conn->sending));) free_item(DSC_LIST_ENTRY(link, dsc_ws_item, link));
  conn->sending_bytes = 0;
}

/* Makes the next frame of the front message. */
static bool fill_data(dsc_ws_conn *conn) {
  dsc_ws_item *item = DSC_LIST_ENTRY(conn->sending.next, dsc_ws_item, link);
  size_t left = item->len - item->done, n = left < FRAGMENT ? left : FRAGMENT;
  dsc_ws_opcode opcode = item->begun                       ? DSC_WS_OP_CONTINUE
                         : item->kind == DSC_WS_TEXT ? DSC_WS_OP_TEXT
                                                           : DSC_WS_OP_BINARY;
  if (!emit_frame(conn, opcode, n == left, item->data + item->done, n)) return false;
  item->begun = true;
  item->done += n;
  conn->sending_bytes -= n;
  if (n == left) free_item(item);
  return true;
}

static bool fill_goodbye(dsc_ws_conn *conn) {
  conn->close_sent = true;
  return emit_frame(conn, DSC_WS_OP_CLOSE, true, (const char *)conn->goodbye, conn->goodbye_len);
}

/* Puts what is next into `out`. Returns false: there is nothing, or no memory (then the buffer says so). */
static bool fill(dsc_ws_conn *conn) {
  bool any = false;
  if (conn->phase < DSC_WS_OPEN || conn->phase == DSC_WS_OVER || conn->close_sent) return false;
  if (conn->control.len) {
    any = emit(conn, conn->control.data, conn->control.len);
    dsc_buf_reset(&conn->control);
  }
  while (!dsc_list_empty(&conn->sending) && conn->out.len < FRAGMENT) {
    if (!fill_data(conn)) return any;
    any = true;
  }
  if (conn->close_wanted && dsc_list_empty(&conn->sending)) any = fill_goodbye(conn) || any;
  return any;
}

/* Memory ran out for what is to be sent: a stream with a hole is worse than none. */
static bool check_memory(dsc_ws_conn *conn) {
  if (conn->out.err == DSC_OK) return true;
  if (conn->opened && conn->phase != DSC_WS_OVER) {
    conn->end.err = DSC_ENOMEM;
    conn->end.code = 1006;
    snprintf(conn->end.why, sizeof conn->end.why, "%s", dsc_err_text(DSC_ENOMEM));
    dsc_ws_finish(conn);
  }
  return false;
}

/* After the handshake is out the token must not stay in the buffer. */
static void wipe(dsc_ws_conn *conn) {
  if (conn->wiped || conn->phase < DSC_WS_GREETING) return;
  if (conn->out.data) dsc_secret_wipe(conn->out.data, conn->out.cap);
  conn->wiped = true;
}

void dsc_ws_flow_flush(dsc_ws_conn *conn) {
  while (conn->line && check_memory(conn)) {
    if (conn->out_done == conn->out.len) {
      wipe(conn);
      dsc_buf_reset(&conn->out);
      conn->out_done = 0;
      if (!fill(conn)) break;
      continue;
    }
    size_t left = conn->out.len - conn->out_done;
    ptrdiff_t n = dsc_ws_line_write(conn->line, conn->out.data + conn->out_done, left);
    if (n < 0) return; /* `lost` follows */
    conn->out_done += (size_t)n;
    if ((size_t)n < left) return;
  }
  if (!check_memory(conn) || !conn->line) return;
  if (conn->phase == DSC_WS_LEAVING && !conn->finished) {
    conn->finished = true;
    dsc_ws_line_finish(conn->line);
  }
}

static bool has_room(const dsc_ws_conn *conn, size_t n) {
  return dsc_list_empty(&conn->sending) || (conn->sending_bytes <= conn->request.max_queued &&
                                            n <= conn->request.max_queued - conn->sending_bytes);
}

bool dsc_ws_flow_has_room(dsc_ws_conn *conn) {
  if (!conn->starved || !has_room(conn, 0)) return false;
  conn->starved = false;
  return true;
}

dsc_err dsc_ws_send(dsc_ws_conn *conn, dsc_ws_kind kind, dsc_str data) {
  if (conn->phase != DSC_WS_OPEN) return DSC_ECLOSED;
  if (kind == DSC_WS_TEXT && !dsc_ws_utf8_is_valid(data)) return DSC_EINVALID;
  if (!has_room(conn, data.n)) {
    conn->starved = true;
    return DSC_EOVERLOAD;
  }
  dsc_ws_item *item = dsc_mem_zalloc(1, sizeof *item);
  char *copy = item ? dsc_mem_strdup(data) : NULL;
  if (!copy) {
    dsc_mem_free(item);
    return DSC_ENOMEM;
  }
  *item = (dsc_ws_item){.kind = kind, .data = copy, .len = data.n};
  dsc_list_init(&item->link);
  dsc_list_push(&conn->sending, &item->link);
  conn->sending_bytes += data.n;
  if (conn->out_done == conn->out.len) dsc_ws_flow_flush(conn);
  return DSC_OK;
}

size_t dsc_ws_queued(const dsc_ws_conn *conn) {
  return conn->sending_bytes + (conn->out.len - conn->out_done);
}

static void put_control(dsc_ws_conn *conn, dsc_ws_opcode opcode, dsc_str data) {
  uint8_t frame[DSC_WS_HEAD_MAX + DSC_WS_CONTROL_MAX], mask[4];
  next_mask(conn->ws, mask);
  size_t head = dsc_ws_frame_head(frame, opcode, true, data.n, mask);
  dsc_ws_frame_mask((char *)frame + head, data.p, data.n, mask);
  if (conn->control.len + head + data.n > CONTROL_MAX) dsc_buf_reset(&conn->control);
  if (dsc_buf_add(&conn->control, frame, head + data.n)) dsc_buf_reset(&conn->control); /* a pong less */
}

dsc_err dsc_ws_ping(dsc_ws_conn *conn) {
  if (conn->phase != DSC_WS_OPEN) return DSC_ECLOSED;
  put_control(conn, DSC_WS_OP_PING, (dsc_str){"", 0});
  dsc_ws_flow_flush(conn);
  return DSC_OK;
}

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
  drop_sending(conn);
  conn->phase = DSC_WS_LEAVING;
  conn->close_until_ms = dsc_clock_now_ms() + DSC_WS_LINGER_MS;
  if (conn->paused && conn->line) dsc_ws_line_read(conn->line, true);
  conn->paused = false;
  dsc_ws_flow_flush(conn);
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
  dsc_ws_flow_flush(conn);
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
  conn->received_bytes += n;
  return true;
}

/* Returns true when a message became whole. */
static bool take_data(dsc_ws_conn *conn, const dsc_ws_seen *seen) {
  if (conn->phase == DSC_WS_CLOSING && is_full(conn)) {
    dsc_buf_clear(&conn->part);
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
  case DSC_WS_SEEN_PING: put_control(conn, DSC_WS_OP_PONG, seen->data); return false;
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
static void pause(dsc_ws_conn *conn, dsc_str rest) {
  conn->paused = true;
  if (conn->line) dsc_ws_line_read(conn->line, false);
  if (dsc_buf_add_str(&conn->in, rest)) fail(conn, 1011, DSC_ENOMEM, "data for which there is no memory");
}

bool dsc_ws_flow_take(dsc_ws_conn *conn, dsc_str bytes) {
  bool whole = false;
  if (conn->paused) {
    pause(conn, bytes);
    return false;
  }
  if (conn->in.len) {
    dsc_str kept = dsc_buf_str(&conn->in);
    whole = consume(conn, &kept);
    dsc_buf_consume(&conn->in, conn->in.len - kept.n);
    if (conn->in.len == 0) dsc_buf_clear(&conn->in);
  }
  if (conn->in.len == 0 && consume(conn, &bytes)) whole = true;
  if (is_talking(conn) && (is_full(conn) && conn->phase == DSC_WS_OPEN)) pause(conn, bytes);
  if (conn->out_done == conn->out.len) dsc_ws_flow_flush(conn); /* pongs */
  return whole;
}

bool dsc_ws_receive(dsc_ws_conn *conn, dsc_ws_message *message) {
  dsc_link *link = dsc_list_pop(&conn->received);
  if (!link) return false;
  dsc_ws_item *item = DSC_LIST_ENTRY(link, dsc_ws_item, link);
  *message = (dsc_ws_message){.kind = item->kind, .data = item->data, .len = item->len};
  conn->received_bytes -= item->len;
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
    if (conn->ping_sent_ms) {
      finish_late(conn, conn->request.ping_timeout_ms, "a ping");
      return;
    }
    conn->ping_sent_ms = now_ms;
    dsc_ws_ping(conn);
  }
}

void dsc_ws_flow_clear(dsc_ws_conn *conn) {
  drop_sending(conn);
  for (dsc_link *link; (link = dsc_list_pop(&conn->received));) free_item(DSC_LIST_ENTRY(link, dsc_ws_item, link));
  if (!conn->wiped && conn->out.data) dsc_secret_wipe(conn->out.data, conn->out.cap);
  dsc_buf_clear(&conn->in);
  dsc_buf_clear(&conn->part);
  dsc_buf_clear(&conn->control);
  dsc_buf_clear(&conn->out);
}
