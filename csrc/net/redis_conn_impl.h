/*
** redis_conn_impl.h - what redis_conn.c (batches, reading, writing, the end), redis_dial.c (name, addresses,
** connecting) and redis_greet.c (the first batch) share.
*/
#ifndef DSC_NET_REDIS_CONN_IMPL_H
#define DSC_NET_REDIS_CONN_IMPL_H

#include <uv.h>

#include "base/list.h"
#include "net/redis_conn.h"

#define DSC_REDIS_INPUT_SIZE 65536

typedef enum dsc_redis_conn_state {
  DSC_REDIS_RESOLVING,
  DSC_REDIS_CONNECTING,
  DSC_REDIS_SHAKING, /* TLS hands */
  DSC_REDIS_GREETING,
  DSC_REDIS_READY,
  DSC_REDIS_CLOSING
} dsc_redis_conn_state;

typedef struct dsc_redis_batch {
  dsc_link link;
  dsc_redis_done done;
  void *ud;
  uint64_t deadline_ms;
  size_t n, got;
  dsc_redis_reply *replies[];
} dsc_redis_batch;

struct dsc_redis_conn {
  /* constant */
  dsc_loop *loop;
  dsc_resolver *resolver;
  dsc_redis_conn_events events;
  char *host, *path, *user, *name; /* host NULL with a path */
  dsc_tls *tls;                    /* NULL: plain */
  dsc_secret *password;
  uint16_t port;
  uint32_t db, connect_timeout_ms, command_timeout_ms, silence_ms;
  bool subscriber, master_only;
  /* loop's thread only */
  dsc_redis_conn_state state;
  dsc_resolve *question;
  dsc_resolve_answer found;
  size_t next_addr, naming; /* naming: index of CLIENT SETNAME in the greeting; ROLE is its last, if it is there */
  union {
    uv_handle_t any;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
  } handle;
  bool handle_closing, wipe, mute; /* mute: the peer takes nothing any more */
  dsc_tls_session *session;        /* NULL: plain, or not begun */
  uv_connect_t connecting;
  uv_write_t writing;
  dsc_timer *timer;
  uint64_t ready_by_ms, heard_ms;
  dsc_redis_reader *reader;
  dsc_buf out, sealed, sending; /* what waits; with TLS what of it is encrypted; what is being written */
  dsc_link batches;
  dsc_redis_down down;
  dsc_err down_err; /* what open batches end with */
  dsc_why why;
  char input[DSC_REDIS_INPUT_SIZE];
};

/* Begins the end, which is told from the loop; the first caller's reason counts. Loop thread. */
void dsc_redis_conn_drop(dsc_redis_conn *conn, dsc_redis_down down, dsc_err err, const char *why);

/* The same for what the peer or the network did. Loop thread. */
void dsc_redis_conn_lose(dsc_redis_conn *conn, dsc_err err, const char *why);

/* Closes the handle; from the loop either the next address is dialed or the end is told. Loop thread. */
void dsc_redis_conn_close_handle(dsc_redis_conn *conn);

/* Sets the one timer to what is due next. Loop thread. */
void dsc_redis_conn_arm(dsc_redis_conn *conn);

/* Sends what waits, unless a write is under way. Loop thread. */
void dsc_redis_conn_flush(dsc_redis_conn *conn);

/* Makes a batch that waits for `n` replies. Loop thread. Caller owns until it is in the list. Fails: NULL: out of
** memory. */
dsc_redis_batch *dsc_redis_conn_new_batch(dsc_redis_conn *conn, size_t n, dsc_redis_done done, void *ud);

/* Begins to read. Loop thread. Fails: libuv's code. */
int dsc_redis_conn_start_reading(dsc_redis_conn *conn);

/* Takes bytes of the Redis protocol that came. Loop thread. Returns false when the connection is over. */
bool dsc_redis_conn_take(dsc_redis_conn *conn, const char *bytes, size_t n);

/* Begins the TLS handshake on a connected stream; the greeting follows by itself. Loop thread. */
void dsc_redis_secure_begin(dsc_redis_conn *conn);

/* Takes encrypted bytes that came. Loop thread. */
void dsc_redis_secure_take(dsc_redis_conn *conn, const char *bytes, size_t n);

/* Encrypts what waits in `out` into `sealed`, once the handshake is over. Loop thread. Fails: DSC_ETLS, DSC_ENOMEM. */
dsc_err dsc_redis_secure_seal(dsc_redis_conn *conn, dsc_why *why);

/* Says what it means that the server hung up before the connection was ready. Loop thread. Static string. */
const char *dsc_redis_secure_describe_loss(const dsc_redis_conn *conn);

/* Begins: looks the name up, then dials. Loop thread. */
void dsc_redis_dial_begin(dsc_redis_conn *conn);

/* Dials the next address. Loop thread. */
void dsc_redis_dial_next(dsc_redis_conn *conn);

/* Gives the present address up for the next one. Loop thread. Fails: false: there is none, or it is past dialing. */
bool dsc_redis_dial_try_next(dsc_redis_conn *conn);

/* Sends AUTH, CLIENT SETNAME, SELECT, PING (and ROLE) as one batch; the connection is ready when it is answered well.
** Loop thread. */
void dsc_redis_greet_begin(dsc_redis_conn *conn);

#endif
