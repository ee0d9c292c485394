/*
** websocket_impl.h - what the websocket*.c files, the calls and the discoverer share of a WebSocket, and nobody else.
**
**     websocket.c       an open one: send, receive, close, its end, delivery to the host
**     websocket_open.c  the way there: a call whose attempts are handshakes
*/
#ifndef DSC_CORE_WEBSOCKET_IMPL_H
#define DSC_CORE_WEBSOCKET_IMPL_H

#include "core/call.h"

struct dsc_websocket {
  /* owner's thread only */
  uint32_t generation; /* of the process, see base/fork.h */
  dsc_discoverer *d;   /* NULL: it is gone */
  dsc_link link;       /* in d->websockets */
  dsc_delivery delivery;
  dsc_call *call;                /* while it is opened */
  dsc_websocket_options options; /* borrowed while it is opened */
  dsc_ws_conn *conn;             /* NULL: none yet; kept after the end for the messages that came before */
  dsc_node *node;                /* in flight: a reference */
  dsc_place place;               /* the slot of the call that opened it */
  char addr[DSC_ADDR_MAX];
  uint64_t max_message;
  bool closing, stopping; /* we said goodbye; because the discoverer stops */
  bool ended, end_told;
  dsc_ws_end end;
  bool listening;
  void *listener;
  unsigned pins; /* methods on the stack */
  bool doomed;   /* freed while pinned */
};

/* websocket.c: makes one that is not open. Owner's thread. Fails: NULL. */
dsc_websocket *dsc_websocket_new(dsc_discoverer *d);

/* websocket.c: a message came, or there is room to send. Loop thread. `ud`: the WebSocket. */
void dsc_websocket_on_moved(void *ud);

/* websocket.c: the connection ended. Loop thread. `ud`: the WebSocket. */
void dsc_websocket_on_closed(void *ud, const dsc_ws_end *end);

/* websocket_open.c: makes one with a call that opens it, prepared, not begun; `request` is changed to what an opening
** sends. All but the WebSocket is borrowed until the call has ended. Owner's thread. Fails: DSC_EINVALID, DSC_ENOMEM
** with `why`. */
dsc_err dsc_websocket_prepare(dsc_frame *frame, dsc_call *call, dsc_request *request, dsc_result *result,
                              const dsc_websocket_options *options, dsc_websocket **ws, dsc_why *why);

/* websocket_open.c: its call has ended. Owner's thread. Returns DSC_OK when it is open, else why not. */
dsc_err dsc_websocket_opened(dsc_websocket *ws, const dsc_result *result, dsc_why *why);

/* websocket_open.c: begins the handshake with call->node. Owner's thread. Fails: as dsc_ws_connect() with `why`; no
** answer follows then. */
dsc_err dsc_websocket_attempt(dsc_call *call, uint32_t timeout_ms, dsc_why *why);

/* websocket_open.c: the attempt has ended, call->answer says how: the node is kept in flight if it is open. Owner's
** thread. */
void dsc_websocket_attempt_end(dsc_call *call);

/* websocket_open.c: breaks the attempt off. Owner's thread. Returns false when none is under way. */
bool dsc_websocket_attempt_break(dsc_call *call);

/* websocket.c: says goodbye to all, waits a moment for answers, ends them with `stopped`. In a frame, owner's thread,
** the last thing before the loop goes. */
void dsc_websocket_stop_all(dsc_frame *frame);

/* websocket.c: ends all with `stopped` at once; they leave the discoverer. Owner's thread. */
void dsc_websocket_cut_all(dsc_discoverer *d);

#endif
