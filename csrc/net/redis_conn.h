/*
** redis_conn.h - one connection to a Redis: resolve, connect, authenticate, select, then commands or messages.
**
** A connection lives once: it is opened, may become ready, and goes down exactly once, of itself or because it was
** closed; then it is freed. Coming back (and with what delay) is its owner's business. Nothing is called from inside
** a function of this header: all callbacks come from the loop. A loop that carries connections must run with SIGPIPE
** blocked or ignored.
*/
#ifndef DSC_NET_REDIS_CONN_H
#define DSC_NET_REDIS_CONN_H

#include "base/secret.h"
#include "net/loop.h"
#include "net/redis.h"
#include "net/resolve.h"
#include "net/tls.h"

typedef struct dsc_redis_conn dsc_redis_conn;

typedef struct dsc_redis_conn_options {
  /* borrowed for dsc_redis_conn_open(); the secret is kept by reference */
  const char *host; /* a name or an IP address, without brackets */
  uint16_t port;
  const char *path; /* of a Unix socket, instead of host and port; NULL: none */
  dsc_tls *tls;     /* NULL: plain; a reference is taken */
  uint32_t db;
  const char *user;            /* NULL: none */
  dsc_secret *password;        /* NULL: none; with a user the empty password is sent */
  const char *name;            /* CLIENT SETNAME */
  uint32_t connect_timeout_ms; /* from the first packet until ready, for each address of the host */
  uint32_t command_timeout_ms; /* from sending a command to its reply; past it the connection is dropped */
  bool subscriber;             /* takes messages; after `silence_ms` without a byte it sends a PING */
  uint32_t silence_ms;
  bool master_only; /* becomes ready only when ROLE says master; needs the right to ROLE */
} dsc_redis_conn_options;

typedef enum dsc_redis_down {
  DSC_REDIS_DOWN_CLOSED,      /* by dsc_redis_conn_close() */
  DSC_REDIS_DOWN_UNREACHABLE, /* never became ready: no such name, refused, timed out, TLS, an error in the greeting,
                              ** no master */
  DSC_REDIS_DOWN_DENIED,      /* never became ready: the credentials were refused */
  DSC_REDIS_DOWN_LOST         /* was ready, then ended, fell silent or broke the protocol */
} dsc_redis_down;

/* Called from the loop's thread, inside dsc_loop_run(). */
typedef struct dsc_redis_conn_events {
  void *ud;
  void (*on_ready)(void *ud);
  void (*on_message)(void *ud, dsc_str channel, dsc_str text);     /* subscriber only; borrowed */
  void (*on_down)(void *ud, dsc_redis_down down, const char *why); /* once, after all completions; then it is freed */
} dsc_redis_conn_events;

/* The end of a batch. DSC_OK: `replies` has one for each command (some may be errors; borrowed, except
** those that the receiver takes out by setting them to NULL). Else `replies` is NULL, and the
** commands may have been carried out or not. Loop thread. */
typedef void (*dsc_redis_done)(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n);

/* Begins to connect. Loop thread. `resolver` is borrowed. The connection frees itself after `on_down`. Fails: NULL:
** out of memory. */
dsc_redis_conn *dsc_redis_conn_open(dsc_loop *loop, dsc_resolver *resolver, const dsc_redis_conn_options *options,
                                    const dsc_redis_conn_events *events);

/* Ends it: every batch completes with DSC_ECLOSED and `on_down` is called, both from the loop. Idempotent. Loop
** thread. */
void dsc_redis_conn_close(dsc_redis_conn *conn);

/* Sends `n` commands as one batch; they are carried out in order, after all earlier ones. `done` is called exactly
** once. Loop thread. Everything is copied. Fails: DSC_EREGISTRY (not ready), DSC_ENOMEM, DSC_ETOO_LARGE (too much
** waits to be sent); then nothing is sent and `done` is not called. */
dsc_err dsc_redis_conn_send(dsc_redis_conn *conn, const dsc_redis_command *commands, size_t n, dsc_redis_done done,
                            void *ud);

/* Reads the first error among replies: NULL when there is none. Any thread. Borrowed. */
const dsc_redis_reply *dsc_redis_conn_error(dsc_redis_reply *const *replies, size_t n);

#endif
