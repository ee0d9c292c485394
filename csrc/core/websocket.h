/*
** websocket.h - a WebSocket to a node of an app: opened as a call is made (route, pick, next node on failure), then a
** conversation.
**
** It belongs to its discoverer's owner; its node is in flight until it ends. Messages are taken by
** dsc_websocket_receive(), or handed to the host's on_message while the host waits (dsc_discoverer_wait()). It ends by
** a closing handshake, a failure, silence beyond the keep-alive limit, or with its discoverer (1001, `stopped`); it may
** outlive the discoverer: then it only says so.
*/
#ifndef DSC_CORE_WEBSOCKET_H
#define DSC_CORE_WEBSOCKET_H

#include "base/err.h"
#include "base/str.h"
#include "model/traffic.h"

#pragma GCC visibility push(default)

struct dsc_frame;
struct dsc_request;
typedef struct dsc_websocket dsc_websocket;

typedef enum dsc_websocket_state {
  DSC_WEBSOCKET_OPEN,
  DSC_WEBSOCKET_CLOSING, /* we sent or were sent a close frame */
  DSC_WEBSOCKET_CLOSED
} dsc_websocket_state;

#define DSC_WEBSOCKET_QUEUE           ((size_t)1024 * 1024) /* bytes that wait to be sent */
#define DSC_WEBSOCKET_PING_MS         20000u
#define DSC_WEBSOCKET_PING_TIMEOUT_MS 10000u
#define DSC_WEBSOCKET_CLOSE_MS        2000u /* how long the peer's close frame is waited for */

typedef struct dsc_websocket_options {
  const char *protocols;    /* "a, b", NULL: none; tokens */
  uint32_t ping_ms;         /* silence before a ping: 20 s; 0: never */
  uint32_t ping_timeout_ms; /* and then until it is given up: 10 s */
} dsc_websocket_options;

/* Fills in the defaults. Any thread. */
void dsc_websocket_options_defaults(dsc_websocket_options *options);

/* Opens one: `request` as of a call (its method is ignored: routes see "WS"; body, stream and progress are not for it;
** timeout_ms is one handshake's), the largest message is its max_body. In a frame, owner's thread; runs the loop and
** callbacks. Caller owns: dsc_websocket_free(). Fails: as a call does, with `why`; a node that answered with another
** status than 101: DSC_EPROTOCOL naming it. */
dsc_err dsc_websocket_open(struct dsc_frame *frame, const struct dsc_request *request,
                           const dsc_websocket_options *options, dsc_websocket **ws, dsc_why *why);

/* Queues a message, waiting for room at most `timeout_ms`. In a frame, owner's thread; runs the loop. Fails:
** DSC_ETIMEOUT (not queued), DSC_ECLOSED or how it ended, DSC_EINVALID: text that is not UTF-8, DSC_ETOO_LARGE (more
** than max_body), DSC_ENOMEM with `why`. */
dsc_err dsc_websocket_send(struct dsc_frame *frame, dsc_websocket *ws, dsc_ws_kind kind, dsc_str data,
                           uint32_t timeout_ms, dsc_why *why);

/* Takes the next message, waiting at most `timeout_ms`. Messages that came before the end are still given. In a frame,
** owner's thread; runs the loop. Caller owns message->data. Fails: DSC_ETIMEOUT, DSC_ECLOSED or how it ended with
** `why`. */
dsc_err dsc_websocket_receive(struct dsc_frame *frame, dsc_websocket *ws, uint32_t timeout_ms, dsc_ws_message *message,
                              dsc_why *why);

/* Sends a ping. In a frame, owner's thread. Fails: DSC_ECLOSED with `why`. */
dsc_err dsc_websocket_ping(struct dsc_frame *frame, dsc_websocket *ws, dsc_why *why);

/* Says goodbye and waits for the peer's answer, at most DSC_WEBSOCKET_CLOSE_MS; then it is cut. Closed already: DSC_OK.
** In a frame, owner's thread; runs the loop. Fails: DSC_EINVALID with `why`: a code or reason that may not be sent. */
dsc_err dsc_websocket_close(struct dsc_frame *frame, dsc_websocket *ws, uint16_t code, dsc_str reason, dsc_why *why);

/* Asks that messages and the end are handed to hooks.on_message with `ud` whenever the host waits; `on` false: no more.
** Owner's thread. */
void dsc_websocket_listen(dsc_websocket *ws, bool on, void *ud);

/* Returns how far it is. Owner's thread. */
dsc_websocket_state dsc_websocket_get_state(const dsc_websocket *ws);

/* Borrows the node's address. Owner's thread. */
const char *dsc_websocket_node(const dsc_websocket *ws);

/* Borrows the chosen subprotocol, "": none. Owner's thread. */
const char *dsc_websocket_protocol(const dsc_websocket *ws);

/* Borrows how it ended; NULL while it has not. Owner's thread. */
const dsc_ws_end *dsc_websocket_end(const dsc_websocket *ws);

/* Cuts it if it is not over (no waiting, no callback) and frees. NULL is allowed. Owner's thread, also after the
** discoverer was freed. */
void dsc_websocket_free(dsc_websocket *ws);

#pragma GCC visibility pop

#endif
