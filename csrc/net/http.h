/*
** http.h - one attempt in, one completion out, over pooled kept-alive connections (libcurl's multi on a loop).
**
** No redirects, no cookies, no proxies from the environment, no retry of libcurl's own. A kept-alive connection that
** turns out dead before the first byte of an answer is replaced once, on the same node, for a request that may be
** repeated; else the attempt ends DSC_ECONNECT with `sent` true. Prepared easy handles are kept and reused.
*/
#ifndef DSC_NET_HTTP_H
#define DSC_NET_HTTP_H

#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"
#include "model/headers.h"
#include "net/loop.h"
#include "net/resolve.h"

#define DSC_HTTP_MAX_CONNECTIONS  256
#define DSC_HTTP_MAX_HEADER_BYTES (300 * 1024)

typedef struct dsc_http dsc_http;
typedef struct dsc_http_attempt dsc_http_attempt;

typedef struct dsc_http_request {
  /* all borrowed until the completion */
  const char *method; /* terminated */
  const char *host;   /* terminated, without brackets; a name or an IP address */
  uint16_t port;
  const char *addr;           /* terminated host:port, [v6]:port as it stands in the URL */
  const char *target;         /* terminated: path and query, begins with '/' */
  const dsc_headers *headers; /* all of them, NULL: none; without a Host header `addr` is sent */
  const char *secret_name;    /* a header whose value is `secret`; NULL: none */
  dsc_secret *secret;
  const void *body; /* NULL: no body */
  size_t body_len;
  uint32_t timeout_ms;         /* the whole attempt, name look-up included */
  uint32_t connect_timeout_ms; /* within it */
  uint64_t max_body;           /* decoded bytes */
  bool may_repeat;             /* may be sent again on a fresh connection */
} dsc_http_request;

typedef struct dsc_http_answer {
  dsc_err err; /* DSC_OK when there is a whole answer; TIMEOUT CONNECT PROTOCOL TOO_LARGE IO NOMEM INVALID */
  char why[256];
  bool ours;    /* the fault is this process's (EMFILE, ENOMEM, EADDRNOTAVAIL, ...): not held against the node */
  bool sent;    /* something of the request may have reached the node */
  bool refused; /* the connection was refused at once */
  int status;   /* 0: none came; may be set with an error (body broken off) */
  int http_major, http_minor;
  char reason[128];
  dsc_headers headers; /* of the final answer; the receiver may take the content (leave it initialised) */
  char *body;          /* owned by the receiver once taken (set to NULL), else freed after `done` */
  size_t body_len;
} dsc_http_answer;

typedef void (*dsc_http_done)(void *ud, dsc_http_answer *answer);

/* Makes a client on `loop`; curl's multi is made here. `resolver` is borrowed. Loop thread. Caller owns. Fails: NULL
** (`*err`). */
dsc_http *dsc_http_new(dsc_loop *loop, dsc_resolver *resolver, dsc_err *err);

/* Drops what is under way without a completion, closes all connections, frees; NULL is allowed. Loop thread, outside
** its run. */
void dsc_http_free(dsc_http *http);

/* Starts an attempt. `done` is called exactly once, inside dsc_loop_run(), never before this returns, unless
** canceled. Loop thread. `request` itself is copied, what it points to is borrowed. Fails: DSC_ENOMEM, DSC_EIO
** (`why`); `done` is then never called. */
dsc_err dsc_http_send(dsc_http *http, const dsc_http_request *request, dsc_http_done done, void *ud,
                      dsc_http_attempt **attempt, dsc_why *why);

/* Breaks an attempt off: its connection is closed, `done` will not be called. Loop thread. NULL is allowed. */
void dsc_http_cancel(dsc_http_attempt *attempt);

/* Returns the number of attempts under way; one whose `done` is being called no longer counts. Loop thread. */
size_t dsc_http_active(const dsc_http *http);

#endif
