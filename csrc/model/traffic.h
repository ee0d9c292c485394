/*
** traffic.h - what hosts hear of bodies and WebSockets under way: plain values.
*/
#ifndef DSC_MODEL_TRAFFIC_H
#define DSC_MODEL_TRAFFIC_H

#include "base/err.h"
#include "base/str.h"

/* How far the bodies of a call are. */
typedef struct dsc_http_progress {
  uint64_t sent, received;     /* bytes of the bodies; received ones as decoded */
  int64_t to_send, to_receive; /* -1: not known */
} dsc_http_progress;

typedef enum dsc_ws_kind { DSC_WS_TEXT, DSC_WS_BINARY } dsc_ws_kind;

typedef struct dsc_ws_message {
  dsc_ws_kind kind;
  char *data; /* owned by the receiver: dsc_mem_free(); never NULL */
  size_t len;
} dsc_ws_message;

/* How a WebSocket ended. */
typedef struct dsc_ws_end {
  dsc_err err; /* DSC_ECLOSED: by a closing handshake of either side; CONNECT TIMEOUT TLS PROTOCOL TOO_LARGE NOMEM */
  char why[256];
  uint16_t code;    /* of the peer's close frame; 1005: it had none; 1006: there was no close frame */
  char reason[124]; /* the peer's, UTF-8, terminated */
} dsc_ws_end;

#endif
