/*
** ws.h - WebSocket connections (RFC 6455) on a loop of ours.
**
** One dsc_ws per loop, made at first use. A connection is begun, is opened or fails, and ends exactly once; callbacks
** come from the loop, only take notes and stop it. Messages are put together here and wait in a bounded queue (then the
** socket is not read); what is sent waits in a bounded queue too. No extensions are offered, no redirects followed.
*/
#ifndef DSC_NET_WS_H
#define DSC_NET_WS_H

#include "base/buf.h"
#include "base/secret.h"
#include "model/headers.h"
#include "model/traffic.h"
#include "net/http.h"
#include "net/loop.h"
#include "net/resolve.h"
#include "net/tls.h"

#define DSC_WS_MAX_CONNECTIONS 1024 /* of one dsc_ws that are not over */
#define DSC_WS_LINGER_MS       500u /* for the peer to hang up, after everything was said */

typedef struct dsc_ws dsc_ws;
typedef struct dsc_ws_conn dsc_ws_conn;

typedef struct dsc_ws_request {
  /* borrowed until opened or failed */
  const char *host; /* terminated, without brackets; a name or an IP address */
  uint16_t port;
  const char *addr;           /* terminated host:port */
  const char *target;         /* terminated: path and query */
  const dsc_headers *headers; /* NULL: none */
  const char *secret_name;    /* a header whose value is `secret`; NULL: none */
  dsc_secret *secret;
  const char *protocols;       /* "a, b": subprotocols, NULL: none */
  dsc_tls *tls;                /* NULL: plain; a reference is taken */
  uint32_t timeout_ms;         /* until opened */
  uint32_t connect_timeout_ms; /* TCP and TLS, within it */
  uint64_t max_message;        /* bytes of one message */
  size_t max_queued;           /* bytes that wait to be sent, and that wait to be received */
  uint32_t ping_ms;            /* after this silence a ping is sent; 0: never */
  uint32_t ping_timeout_ms;    /* nothing heard this long after it: the connection is lost */
} dsc_ws_request;

typedef struct dsc_ws_events {
  /* `answer` as of an HTTP attempt: err DSC_OK and status 101 when it is open, else the connection is over and no other
  ** callback follows; the receiver may take the headers */
  void (*opened)(void *ud, dsc_http_answer *answer);
  void (*moved)(void *ud); /* a message can be taken, or there is room to send again */
  void (*closed)(void *ud, const dsc_ws_end *end);
} dsc_ws_events;

/* Makes a client on `loop`. `resolver` is borrowed. Loop thread. Caller owns. Fails: NULL (`*err`: DSC_ENOMEM). */
dsc_ws *dsc_ws_new(dsc_loop *loop, dsc_resolver *resolver, dsc_err *err);

/* Drops all connections without a callback and frees; NULL is allowed. Loop thread, outside its run. */
void dsc_ws_free(dsc_ws *ws);

/* Begins a connection. `events` (copied) come inside dsc_loop_run(), never before this returns. Loop thread. Fails:
** DSC_ENOMEM, DSC_EIO, DSC_EINVALID with `why`; no callback then. */
dsc_err dsc_ws_connect(dsc_ws *ws, const dsc_ws_request *request, const dsc_ws_events *events, void *ud,
                       dsc_ws_conn **conn, dsc_why *why);

/* Borrows the subprotocol that the peer chose, "" none. Loop thread. */
const char *dsc_ws_protocol(const dsc_ws_conn *conn);

/* Queues a message. Loop thread; copies. Fails: DSC_EOVERLOAD: no room now, `moved` will say when (an empty queue takes
** any message); DSC_EINVALID: text that is not UTF-8, DSC_ECLOSED, DSC_ENOMEM. */
dsc_err dsc_ws_send(dsc_ws_conn *conn, dsc_ws_kind kind, dsc_str data);

/* True until a close frame was sent or seen, or it is over. Loop thread. */
bool dsc_ws_is_open(const dsc_ws_conn *conn);

/* Returns the bytes that still wait to be written. Loop thread. */
size_t dsc_ws_queued(const dsc_ws_conn *conn);

/* Takes the next whole message. Loop thread. Caller owns message->data. Returns false: there is none. */
bool dsc_ws_receive(dsc_ws_conn *conn, dsc_ws_message *message);

/* Sends a ping. Loop thread. Fails: DSC_ECLOSED. */
dsc_err dsc_ws_ping(dsc_ws_conn *conn);

/* Begins the closing handshake after what is queued: `closed` follows, at the latest after `timeout_ms`. Loop thread.
** Fails: DSC_EINVALID: a code that may not be sent (1000, 1001, 1003, 1007..1014, 3000..4999 may; 0: none) or a reason
** over 123 bytes or not UTF-8; DSC_ECLOSED: already over. */
dsc_err dsc_ws_close(dsc_ws_conn *conn, uint16_t code, dsc_str reason, uint32_t timeout_ms, dsc_why *why);

/* Lets go of a connection: if it is not over it is cut, without a callback. Messages not taken are lost. Loop thread,
** also from a callback. NULL is allowed. */
void dsc_ws_conn_free(dsc_ws_conn *conn);

#endif
