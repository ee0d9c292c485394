/*
** ws_frame.h - the frames of RFC 6455, section 5, as a client sees and makes them. Pure: no I/O, no memory.
**
** The reader is strict: what a server may not send is an error with the close code that tells it so. Bytes come in
** pieces of any size; payload is handed on as it comes, so that nothing is kept here but a control frame.
*/
#ifndef DSC_NET_WS_FRAME_H
#define DSC_NET_WS_FRAME_H

#include "base/err.h"
#include "base/str.h"

#define DSC_WS_CONTROL_MAX 125 /* payload of a control frame */
#define DSC_WS_HEAD_MAX    14  /* bytes of a frame's head with its mask */

typedef enum dsc_ws_opcode {
  DSC_WS_OP_CONTINUE = 0,
  DSC_WS_OP_TEXT = 1,
  DSC_WS_OP_BINARY = 2,
  DSC_WS_OP_CLOSE = 8,
  DSC_WS_OP_PING = 9,
  DSC_WS_OP_PONG = 10
} dsc_ws_opcode;

/* UTF-8 that is checked piece by piece. All zero at the beginning of a text. */
typedef struct dsc_ws_utf8 {
  uint8_t left;      /* bytes of the present character that are to come */
  uint8_t low, high; /* between which the next one must be */
} dsc_ws_utf8;

/* Takes more bytes of a text. Any thread (pure). Returns false: this is no UTF-8, whatever comes. */
bool dsc_ws_utf8_feed(dsc_ws_utf8 *utf8, dsc_str bytes);

/* True when all of `text` is UTF-8. Any thread (pure). */
bool dsc_ws_utf8_is_valid(dsc_str text);

typedef enum dsc_ws_seen_kind {
  DSC_WS_SEEN_NOTHING, /* more bytes are needed */
  DSC_WS_SEEN_DATA,    /* payload of the present message; `last`: it is whole now */
  DSC_WS_SEEN_PING,
  DSC_WS_SEEN_PONG,
  DSC_WS_SEEN_CLOSE, /* `code` (1005: none was sent), `data`: the reason */
  DSC_WS_SEEN_ERROR  /* `code` is what to close with, `why` says it */
} dsc_ws_seen_kind;

typedef struct dsc_ws_seen {
  dsc_ws_seen_kind kind;
  dsc_str data; /* borrowed: of the input, or of the reader until the next call */
  bool text, last;
  uint16_t code;
  const char *why; /* static */
} dsc_ws_seen;

typedef struct dsc_ws_reader {
  /* constant */
  uint64_t max_message;
  /* owner's thread only */
  uint8_t head[DSC_WS_HEAD_MAX], head_len;
  bool in_payload, final, in_message, text;
  uint8_t opcode;
  uint64_t left;        /* of the frame's payload */
  uint64_t message_len; /* of the message, as far as frames announced it */
  dsc_ws_utf8 utf8;
  uint8_t control[DSC_WS_CONTROL_MAX], control_len;
} dsc_ws_reader;

/* Makes a reader at the beginning of the conversation. Owner's thread. */
void dsc_ws_reader_init(dsc_ws_reader *reader, uint64_t max_message);

/* Takes bytes from the front of `*bytes` until something is to be told. Owner's thread. After an error the reader is
** of no use any more. */
dsc_ws_seen dsc_ws_reader_next(dsc_ws_reader *reader, dsc_str *bytes);

/* Writes the head of a client's frame with `mask` (4 bytes). Any thread (pure). Returns its length. */
size_t dsc_ws_frame_head(uint8_t head[DSC_WS_HEAD_MAX], dsc_ws_opcode opcode, bool final, uint64_t len,
                         const uint8_t mask[4]);

/* Copies payload masked; `from` must be at a multiple of 4 in its frame. Any thread (pure). */
void dsc_ws_frame_mask(char *to, const char *from, size_t n, const uint8_t mask[4]);

/* True for a code that may stand in a close frame. Any thread (pure). */
bool dsc_ws_close_code_is_valid(uint16_t code);

#endif
