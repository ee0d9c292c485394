/*
** redis_conn.c - one Redis connection over a libuv stream, with a first-in first-out of batches.
**
** hiredis' own asynchronous context is not used: a refused connection never calls back there, an odd reply aborts the
** process, it has no timers. Here: one write in flight while `out` gathers the next; every batch waits in `batches`
** until its last reply; a reply without a waiter breaks the protocol and ends the connection.
**
** Invariants: the state only grows; dsc_redis_conn_drop() is the only way to the end and on_closed() the only place
** where the end is told, so that every batch completes exactly once and nothing is called from inside a public
** function. `handle` is an initialised one all the time, closing or not. Threads: the loop's.
*/
#include "net/redis_conn_impl.h"

#include "base/clock.h"
#include "base/mem.h"

#define MAX_OUT  ((size_t)64 * 1024 * 1024) /* bytes that wait to be sent */
#define KEEP_OUT ((size_t)64 * 1024)        /* a larger buffer is given back once it is empty */

const dsc_redis_reply *dsc_redis_conn_error(dsc_redis_reply *const *replies, size_t n) {
  for (size_t i = 0; i < n; i++) {
    if (replies[i]->type == DSC_REDIS_ERROR) return replies[i];
  }
  return NULL;
}

/* ---- the end */

static void finish_batch(dsc_redis_batch *b, dsc_err err, const char *why) {
  b->done(b->ud, err, why, err ? NULL : b->replies, err ? 0 : b->n);
  for (size_t i = 0; i < b->got; i++) dsc_redis_reply_free(b->replies[i]);
  dsc_mem_free(b);
}

static void free_conn(dsc_redis_conn *conn) {
  dsc_timer_free(conn->timer);
  dsc_redis_reader_free(conn->reader);
  dsc_buf_clear(&conn->out);
  dsc_buf_clear(&conn->sealed);
  dsc_buf_clear(&conn->sending);
  dsc_tls_session_free(conn->session);
  dsc_tls_unref(conn->tls);
  dsc_secret_unref(conn->password);
  dsc_mem_free(conn->host);
  dsc_mem_free(conn->path);
  dsc_mem_free(conn->user);
  dsc_mem_free(conn->name);
  dsc_mem_free(conn);
}

static void wipe_buf(dsc_buf *buf) {
  if (buf->data) dsc_secret_wipe(buf->data, buf->cap);
  dsc_buf_reset(buf);
}

static void on_closed(uv_handle_t *handle) {
  dsc_redis_conn *conn = handle->data;
  conn->handle_closing = false;
  if (conn->state != DSC_REDIS_CLOSING) {
    dsc_redis_dial_next(conn);
    return;
  }
  dsc_link *link;
  while ((link = dsc_list_pop(&conn->batches)) != NULL) {
    finish_batch(DSC_LIST_ENTRY(link, dsc_redis_batch, link), conn->down_err, conn->why.text);
  }
  conn->events.on_down(conn->events.ud, conn->down, conn->why.text);
  if (conn->wipe) {
    wipe_buf(&conn->out);
    wipe_buf(&conn->sending);
  }
  free_conn(conn);
}

void dsc_redis_conn_close_handle(dsc_redis_conn *conn) {
  if (conn->handle_closing) return;
  conn->handle_closing = true;
  uv_close(&conn->handle.any, on_closed);
}

void dsc_redis_conn_drop(dsc_redis_conn *conn, dsc_redis_down down, dsc_err err, const char *why) {
  if (conn->state == DSC_REDIS_CLOSING) return;
  if (down == DSC_REDIS_DOWN_LOST && conn->state != DSC_REDIS_READY) down = DSC_REDIS_DOWN_UNREACHABLE;
  conn->state = DSC_REDIS_CLOSING;
  conn->down = down;
  conn->down_err = err;
  dsc_fail(&conn->why, err, "%s", why);
  dsc_resolve_cancel(conn->question);
  conn->question = NULL;
  dsc_timer_stop(conn->timer);
  dsc_redis_conn_close_handle(conn);
}

void dsc_redis_conn_lose(dsc_redis_conn *conn, dsc_err err, const char *why) {
  dsc_redis_conn_drop(conn, DSC_REDIS_DOWN_LOST, err, why);
}

void dsc_redis_conn_close(dsc_redis_conn *conn) {
  dsc_redis_conn_drop(conn, DSC_REDIS_DOWN_CLOSED, DSC_ECLOSED, "closed");
}

/* ---- one timer for connecting, silent commands and silent subscribers */

static dsc_redis_batch *first_batch(dsc_redis_conn *conn) {
  return dsc_list_empty(&conn->batches) ? NULL : DSC_LIST_ENTRY(conn->batches.next, dsc_redis_batch, link);
}

void dsc_redis_conn_arm(dsc_redis_conn *conn) {
  if (conn->state == DSC_REDIS_CLOSING) return;
  uint64_t due = 0;
  dsc_redis_batch *first = first_batch(conn);
  if (conn->state != DSC_REDIS_READY) {
    due = conn->ready_by_ms;
  } else if (first) {
    due = first->deadline_ms;
  } else if (conn->subscriber) {
    due = conn->heard_ms + conn->silence_ms;
  }
  uint64_t now = dsc_clock_now_ms();
  if (due) {
    dsc_timer_start(conn->timer, due > now ? due - now + 1 : 1);
  } else {
    dsc_timer_stop(conn->timer);
  }
}

static void on_pong(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  dsc_redis_conn *conn = ud;
  (void)why;
  /* on a subscribed connection the answer is an array, else a status: both show life */
  if (!err && dsc_redis_conn_error(replies, n)) dsc_redis_conn_lose(conn, DSC_EPROTOCOL, replies[0]->str.p);
}

static void ping(dsc_redis_conn *conn) {
  dsc_str word = DSC_STR_LITERAL("PING");
  dsc_redis_command command = {1, &word};
  if (dsc_redis_conn_send(conn, &command, 1, on_pong, conn) == DSC_OK) return;
  dsc_redis_conn_lose(conn, DSC_ENOMEM, "no memory for a PING");
}

static void on_timer(void *ud) {
  dsc_redis_conn *conn = ud;
  uint64_t now = dsc_clock_now_ms();
  dsc_redis_batch *first = first_batch(conn);
  dsc_why why;
  if (conn->state == DSC_REDIS_CLOSING) return;
  if (conn->state != DSC_REDIS_READY) {
    if (now >= conn->ready_by_ms && !dsc_redis_dial_try_next(conn)) {
      const char *missing = conn->state == DSC_REDIS_GREETING ? "no answer" : "no connection";
      if (conn->state == DSC_REDIS_SHAKING)
        missing = conn->heard_ms ? "no end of the TLS handshake" : "no answer to the TLS handshake (is it a TLS port?)";
      dsc_fail(&why, DSC_ETIMEOUT, "%s within %u ms", missing, conn->connect_timeout_ms);
      dsc_redis_conn_lose(conn, DSC_ETIMEOUT, why.text);
    }
  } else if (first && now >= first->deadline_ms) {
    dsc_fail(&why, DSC_ETIMEOUT, "no reply within %u ms", conn->command_timeout_ms);
    dsc_redis_conn_lose(conn, DSC_ETIMEOUT, why.text);
  } else if (!first && conn->subscriber && now >= conn->heard_ms + conn->silence_ms) {
    ping(conn);
  }
  dsc_redis_conn_arm(conn);
}

/* ---- writing */

static bool is_gone(int status) {
  return status == UV_ECONNRESET || status == UV_EPIPE;
}

static void on_written(uv_write_t *req, int status) {
  dsc_redis_conn *conn = req->data;
  if (conn->wipe && !conn->tls) { /* with TLS it is `out` that waits with the password, see dsc_redis_secure_seal() */
    wipe_buf(&conn->sending);
    conn->wipe = false;
  }
  if (conn->sending.cap > KEEP_OUT) {
    dsc_buf_clear(&conn->sending);
  } else {
    dsc_buf_reset(&conn->sending);
  }
  if (conn->state == DSC_REDIS_CLOSING) return;
  if (is_gone(status)) {
    /* the last words of a server that hung up still wait to be read (refused, too many clients, a TLS alert) */
    conn->mute = true;
  } else if (status < 0) {
    dsc_redis_conn_lose(conn, DSC_EIO, uv_strerror(status));
  } else {
    dsc_redis_conn_flush(conn);
  }
}

void dsc_redis_conn_flush(dsc_redis_conn *conn) {
  dsc_why why;
  if (conn->sending.len > 0 || conn->mute) return;
  dsc_err err = conn->tls ? dsc_redis_secure_seal(conn, &why) : DSC_OK;
  if (err) {
    dsc_redis_conn_lose(conn, err, why.text);
    return;
  }
  dsc_buf *ready = conn->tls ? &conn->sealed : &conn->out;
  if (ready->len == 0) return;
  dsc_buf full = *ready;
  *ready = conn->sending;
  conn->sending = full;
  uv_buf_t buf = uv_buf_init(conn->sending.data, (unsigned)conn->sending.len);
  conn->writing.data = conn;
  int rc = uv_write(&conn->writing, &conn->handle.stream, &buf, 1, on_written);
  if (rc < 0) dsc_redis_conn_lose(conn, DSC_EIO, uv_strerror(rc));
}

dsc_redis_batch *dsc_redis_conn_new_batch(dsc_redis_conn *conn, size_t n, dsc_redis_done done, void *ud) {
  dsc_redis_batch *b = dsc_mem_zalloc(1, sizeof *b + n * sizeof b->replies[0]);
  if (!b) return NULL;
  dsc_list_init(&b->link);
  b->done = done;
  b->ud = ud;
  b->n = n;
  b->deadline_ms = dsc_clock_now_ms() + conn->command_timeout_ms;
  return b;
}

dsc_err dsc_redis_conn_send(dsc_redis_conn *conn, const dsc_redis_command *commands, size_t n, dsc_redis_done done,
                            void *ud) {
  if (conn->state != DSC_REDIS_READY || n == 0) return DSC_EREGISTRY;
  dsc_redis_batch *b = dsc_redis_conn_new_batch(conn, n, done, ud);
  if (!b) return DSC_ENOMEM;
  size_t before = conn->out.len;
  dsc_err err = DSC_OK;
  for (size_t i = 0; !err && i < n; i++) err = dsc_redis_format(&conn->out, &commands[i]);
  if (err) {
    conn->out.len = before;
    conn->out.err = DSC_OK;
    dsc_mem_free(b);
    return err;
  }
  dsc_list_push(&conn->batches, &b->link);
  dsc_redis_conn_flush(conn);
  dsc_redis_conn_arm(conn);
  return DSC_OK;
}

/* ---- reading */

static bool is_message(const dsc_redis_reply *reply) {
  if (reply->type != DSC_REDIS_ARRAY || reply->count != 3) return false;
  if (reply->items[1]->type != DSC_REDIS_STRING || reply->items[2]->type != DSC_REDIS_STRING) return false;
  return reply->items[0]->type == DSC_REDIS_STRING && dsc_str_equal(reply->items[0]->str, DSC_STR_LITERAL("message"));
}

static void dispatch(dsc_redis_conn *conn, dsc_redis_reply *reply) {
  dsc_redis_batch *b = first_batch(conn);
  if (conn->subscriber && conn->state == DSC_REDIS_READY && is_message(reply)) {
    conn->events.on_message(conn->events.ud, reply->items[1]->str, reply->items[2]->str);
    dsc_redis_reply_free(reply);
  } else if (!b) {
    const char *why = reply->type == DSC_REDIS_ERROR ? reply->str.p : "a reply that nobody asked for";
    dsc_redis_conn_lose(conn, DSC_EPROTOCOL, why);
    dsc_redis_reply_free(reply);
  } else {
    b->replies[b->got++] = reply;
    if (b->got < b->n) return;
    dsc_list_remove(&b->link);
    finish_batch(b, DSC_OK, "");
  }
}

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *buf) {
  dsc_redis_conn *conn = handle->data;
  (void)wanted;
  *buf = uv_buf_init(conn->input, sizeof conn->input);
}

bool dsc_redis_conn_take(dsc_redis_conn *conn, const char *bytes, size_t n) {
  dsc_why why;
  dsc_redis_reply *reply = NULL;
  dsc_err err = dsc_redis_reader_feed(conn->reader, bytes, n);
  if (err) dsc_fail(&why, err, "no memory for what was read");
  do {
    if (!err) err = dsc_redis_reader_next(conn->reader, &reply, &why);
    if (err) {
      dsc_redis_conn_lose(conn, err, why.text);
    } else if (reply) {
      dispatch(conn, reply);
    }
  } while (!err && reply && conn->state != DSC_REDIS_CLOSING);
  return conn->state != DSC_REDIS_CLOSING;
}

/* Ends a connection that was read to its end. Who hangs up without a word may have waited for the other protocol. */
static void lose_at_end(dsc_redis_conn *conn, int status) {
  const char *cause = status == UV_EOF || conn->mute ? "the server closed the connection" : uv_strerror(status);
  bool early = conn->state < DSC_REDIS_READY;
  dsc_why why;
  if (conn->tls && early) {
    dsc_redis_conn_lose(conn, DSC_ETLS, dsc_redis_secure_describe_loss(conn));
    return;
  }
  dsc_fail(&why, DSC_ECONNECT, "%s%s", cause,
           early && !conn->heard_ms ? " without an answer (is it a TLS port? then rediss://)" : "");
  dsc_redis_conn_lose(conn, DSC_ECONNECT, why.text);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  dsc_redis_conn *conn = stream->data;
  if (n == 0 || conn->state == DSC_REDIS_CLOSING) return;
  if (n < 0) {
    lose_at_end(conn, (int)n);
    return;
  }
  conn->heard_ms = dsc_clock_now_ms();
  if (conn->tls) {
    dsc_redis_secure_take(conn, buf->base, (size_t)n);
  } else {
    dsc_redis_conn_take(conn, buf->base, (size_t)n);
  }
  dsc_redis_conn_arm(conn);
}

int dsc_redis_conn_start_reading(dsc_redis_conn *conn) {
  return uv_read_start(&conn->handle.stream, on_alloc, on_read);
}

/* ---- beginning */

static bool copy_options(dsc_redis_conn *conn, const dsc_redis_conn_options *options) {
  conn->host = options->host ? dsc_mem_strdup(dsc_str_of(options->host)) : NULL;
  conn->path = options->path ? dsc_mem_strdup(dsc_str_of(options->path)) : NULL;
  conn->tls = dsc_tls_ref(options->tls);
  conn->name = dsc_mem_strdup(dsc_str_of(options->name));
  conn->user = options->user ? dsc_mem_strdup(dsc_str_of(options->user)) : NULL;
  conn->password = dsc_secret_ref(options->password);
  conn->port = options->port;
  conn->db = options->db;
  conn->connect_timeout_ms = options->connect_timeout_ms;
  conn->command_timeout_ms = options->command_timeout_ms;
  conn->subscriber = options->subscriber;
  conn->master_only = options->master_only;
  conn->silence_ms = options->silence_ms;
  return (conn->host || conn->path) && conn->name && (conn->user || !options->user);
}

dsc_redis_conn *dsc_redis_conn_open(dsc_loop *loop, dsc_resolver *resolver, const dsc_redis_conn_options *options,
                                    const dsc_redis_conn_events *events) {
  dsc_redis_conn *conn = dsc_mem_zalloc(1, sizeof *conn);
  if (!conn) return NULL;
  conn->loop = loop;
  conn->resolver = resolver;
  conn->events = *events;
  dsc_list_init(&conn->batches);
  dsc_buf_init(&conn->out, MAX_OUT);
  dsc_buf_init(&conn->sealed, MAX_OUT + MAX_OUT / 8);
  dsc_buf_init(&conn->sending, MAX_OUT + MAX_OUT / 8);
  bool made = copy_options(conn, options);
  conn->reader = dsc_redis_reader_new();
  conn->timer = made && conn->reader ? dsc_timer_new(loop, on_timer, conn) : NULL;
  if (!conn->timer) {
    free_conn(conn);
    return NULL;
  }
  dsc_redis_dial_begin(conn);
  return conn;
}
