/*
** http.h - one attempt in, one completion out, over pooled kept-alive connections (libcurl's multi on a loop).
**
** No redirects, no cookies, no proxies from the environment, no retry of libcurl's own. A kept-alive connection that
** turns out dead before the first byte of an answer is replaced once, on the same node, for a request that may be
** repeated; else the attempt ends DSC_ECONNECT with `sent` true. What the node says it did not begin with (HTTP/2) is
** sent once more on a fresh connection whatever it is. Prepared easy handles are kept and reused.
**
** Over HTTP/2 the attempts to a node share one connection. With a server name in `tls` the connection goes to the node
** all the same, but the Host sent is `server_name:port`.
*/
#ifndef DSC_NET_HTTP_H
#define DSC_NET_HTTP_H

#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"
#include "model/headers.h"
#include "model/traffic.h"
#include "net/loop.h"
#include "net/resolve.h"
#include "net/tls.h"

#define DSC_HTTP_MAX_CONNECTIONS  256
#define DSC_HTTP_MAX_STREAMS      4096 /* attempts at once over HTTP/2, which share connections */
#define DSC_HTTP_MAX_HEADER_BYTES (300 * 1024)

typedef struct dsc_http dsc_http;
typedef struct dsc_http_attempt dsc_http_attempt;
typedef struct dsc_http_answer dsc_http_answer;

/* A body that is read piece by piece while it is sent. Its functions run inside the loop: no user code. */
#define DSC_HTTP_SOURCE_LATER  (-1) /* nothing yet: dsc_http_resume() follows */
#define DSC_HTTP_SOURCE_FAILED (-2) /* the attempt ends DSC_EIO, `ours`; the owner knows why */

typedef struct dsc_http_source {
  void *ud;
  int64_t size;                                         /* bytes, -1: not known, sent in chunks */
  ptrdiff_t (*read)(void *ud, char *bytes, size_t max); /* returns the number of bytes, 0: the end */
  bool (*rewind)(void *ud);                             /* back to the beginning; false: it can't */
} dsc_http_source;

/* What the owner of an attempt hears besides its end. Called inside the loop, with the ud of `done`, never after it;
** they only note, and neither cancel nor read. */
typedef struct dsc_http_flow {
  bool stream;   /* `opened` is called, the body is fetched by dsc_http_read(), and waits in the socket until it is */
  bool progress; /* `moved` is also called when bytes were sent or received */
  void (*opened)(void *ud, dsc_http_answer *answer); /* the final headers are there; the receiver may take them */
  void (*moved)(void *ud);                           /* bytes can be read, or progress was made; NULL: not wanted */
} dsc_http_flow;

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
  const void *body; /* NULL: no body, or a source */
  size_t body_len;
  const dsc_http_source *source; /* NULL: none */
  const dsc_http_flow *flow;     /* NULL: only `done` */
  dsc_tls *tls;                  /* NULL: plain; a reference is not taken */
  bool http2;                    /* plain: by prior knowledge; TLS: offered, 1.1 if the node has no more */
  uint32_t timeout_ms;           /* the whole attempt, name look-up included */
  uint32_t connect_timeout_ms;   /* within it */
  uint32_t silence_ms;           /* of an opened stream: how long the node may say nothing; 0: timeout_ms */
  uint64_t max_body;             /* decoded bytes */
  bool may_repeat;               /* may be sent again on a fresh connection */
  bool once;                     /* not even if the node says that it did not begin with it */
} dsc_http_request;

struct dsc_http_answer {
  dsc_err err; /* DSC_OK when there is a whole answer; TIMEOUT CONNECT TLS PROTOCOL TOO_LARGE IO NOMEM INVALID */
  char why[256];
  bool ours;    /* the fault is this process's (EMFILE, ENOMEM, EADDRNOTAVAIL, ...): not held against the node */
  bool sent;    /* something of the request may have reached the node */
  bool refused; /* the connection was refused at once */
  int status;   /* 0: none came; may be set with an error (body broken off) */
  int http_major, http_minor;
  char reason[128];
  dsc_headers headers; /* of the final answer; the receiver may take the content (leave it initialised) */
  bool unprocessed;    /* the node said that it did not begin to process it (REFUSED_STREAM, GOAWAY) */
  char *body;          /* the receiver's once taken (set to NULL), else freed; of a stream: what was not read yet */
  size_t body_len;
};

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

/* Takes up to `max` bytes of a stream's body that have come, and lets more come. At most 256 KiB wait, and of a
** compressed body what one read of the socket unpacks to (gzip: 17 MiB; more than 64 MiB ends it DSC_ETOO_LARGE). Over
** HTTP/2 a stream has a connection of its own, closed with it. Loop thread, outside its run, between `opened` and
** `done`. Returns how many; 0: none for now. */
size_t dsc_http_read(dsc_http_attempt *attempt, char *bytes, size_t max);

/* Lets the source be asked again. Loop thread, outside its run. NULL is allowed. */
void dsc_http_resume(dsc_http_attempt *attempt);

/* Says how far an attempt is; `sent` only if it has a source or its flow wants progress. Loop thread, until `done` has
** returned. */
void dsc_http_get_progress(const dsc_http_attempt *attempt, dsc_http_progress *progress);

/* Breaks an attempt off: its connection is closed, `done` will not be called. Loop thread. NULL is allowed. */
void dsc_http_cancel(dsc_http_attempt *attempt);

/* Closes the idle connections to a node ("host:port", as requests name it). Loop thread, outside its run. */
void dsc_http_forget(dsc_http *http, const char *addr);

/* Returns the number of attempts under way; one whose `done` is being called no longer counts. Loop thread. */
size_t dsc_http_active(const dsc_http *http);

#endif
