/*
** ws_send.c - what is sent: messages become frames, frames become bytes for the line.
**
** Messages wait in `sending`; the front one is cut into frames that are masked into `out` no sooner than the kernel
** took the ones before, so control frames never wait long. The close frame comes after everything else.
*/
#include <stdio.h>
#include <sys/random.h>

#include "base/mem.h"
#include "net/ws_impl.h"

#define FRAGMENT    ((size_t)64 * 1024)
#define CONTROL_MAX ((size_t)8192) /* pongs that wait; then only the newest counts */

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

void dsc_ws_send_free_item(dsc_ws_item *item) {
  dsc_list_remove(&item->link);
  dsc_mem_free(item->data);
  dsc_mem_free(item);
}

void dsc_ws_send_drop(dsc_ws_conn *conn) {
  for (dsc_link *link; (link = dsc_list_pop(&conn->sending));)
    dsc_ws_send_free_item(DSC_LIST_ENTRY(link, dsc_ws_item, link));
  conn->sending_bytes = conn->sending_count = 0;
}

/* Makes the next frame of the front message. */
static bool fill_data(dsc_ws_conn *conn) {
  dsc_ws_item *item = DSC_LIST_ENTRY(conn->sending.next, dsc_ws_item, link);
  size_t left = item->len - item->done, n = left < FRAGMENT ? left : FRAGMENT;
  dsc_ws_opcode opcode = item->begun                 ? DSC_WS_OP_CONTINUE
                         : item->kind == DSC_WS_TEXT ? DSC_WS_OP_TEXT
                                                     : DSC_WS_OP_BINARY;
  if (!emit_frame(conn, opcode, n == left, item->data + item->done, n)) return false;
  item->begun = true;
  item->done += n;
  conn->sending_bytes -= n;
  if (n < left) return true;
  conn->sending_count--;
  dsc_ws_send_free_item(item);
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

void dsc_ws_send_flush(dsc_ws_conn *conn) {
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
  size_t waiting = conn->sending_bytes + conn->sending_count * DSC_WS_ITEM_COST;
  return waiting == 0 || (waiting <= conn->request.max_queued && n <= conn->request.max_queued - waiting);
}

bool dsc_ws_send_has_room(dsc_ws_conn *conn) {
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
  conn->sending_count++;
  if (conn->out_done == conn->out.len) dsc_ws_send_flush(conn);
  return DSC_OK;
}

size_t dsc_ws_queued(const dsc_ws_conn *conn) {
  return conn->sending_bytes + (conn->out.len - conn->out_done);
}

void dsc_ws_send_control(dsc_ws_conn *conn, dsc_ws_opcode opcode, dsc_str data) {
  uint8_t frame[DSC_WS_HEAD_MAX + DSC_WS_CONTROL_MAX], mask[4];
  next_mask(conn->ws, mask);
  size_t head = dsc_ws_frame_head(frame, opcode, true, data.n, mask);
  dsc_ws_frame_mask((char *)frame + head, data.p, data.n, mask);
  if (conn->control.len + head + data.n > CONTROL_MAX) dsc_buf_reset(&conn->control);
  if (dsc_buf_add(&conn->control, frame, head + data.n)) dsc_buf_reset(&conn->control); /* a pong less */
}

dsc_err dsc_ws_ping(dsc_ws_conn *conn) {
  if (conn->phase != DSC_WS_OPEN) return DSC_ECLOSED;
  dsc_ws_send_control(conn, DSC_WS_OP_PING, (dsc_str){"", 0});
  dsc_ws_send_flush(conn);
  return DSC_OK;
}
