/*
** ws_frame.c - the frames of RFC 6455: reading strictly, writing masked.
**
** The reader goes from head to payload to head. A text is checked as its bytes come (a message that can't become UTF-8
** is not waited for), over the borders of frames; control frames between fragments leave it alone.
*/
#include "net/ws_frame.h"

#define CODE_PROTOCOL  1002
#define CODE_NO_STATUS 1005
#define CODE_DATA      1007
#define CODE_TOO_LARGE 1009

/* ------------------------------------------------------------- UTF-8 */

/* Prepares for what follows a first byte. Source: Unicode 15, table 3-7. */
static bool begin_character(dsc_ws_utf8 *utf8, uint8_t c) {
  utf8->low = 0x80;
  utf8->high = 0xbf;
  if (c < 0xc2 || c > 0xf4) return false;
  utf8->left = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
  if (c == 0xe0) utf8->low = 0xa0;
  if (c == 0xed) utf8->high = 0x9f; /* no surrogates */
  if (c == 0xf0) utf8->low = 0x90;
  if (c == 0xf4) utf8->high = 0x8f;
  return true;
}

/* Returns how many bytes at the front are ASCII, eight at a time. */
static size_t skip_ascii(const char *p, size_t n) {
  size_t i = 0;
  for (uint64_t eight; i + 8 <= n; i += 8) {
    memcpy(&eight, p + i, 8);
    if (eight & 0x8080808080808080u) break;
  }
  while (i < n && !(p[i] & 0x80)) i++;
  return i;
}

bool dsc_ws_utf8_feed(dsc_ws_utf8 *utf8, dsc_str bytes) {
  for (size_t i = 0; i < bytes.n; i++) {
    if (utf8->left == 0) {
      i += skip_ascii(bytes.p + i, bytes.n - i);
      if (i == bytes.n) return true;
      if (!begin_character(utf8, (uint8_t)bytes.p[i])) return false;
      continue;
    }
    uint8_t c = (uint8_t)bytes.p[i];
    if (c < utf8->low || c > utf8->high) return false;
    utf8->low = 0x80;
    utf8->high = 0xbf;
    utf8->left--;
  }
  return true;
}

bool dsc_ws_utf8_is_valid(dsc_str text) {
  dsc_ws_utf8 utf8 = {0};
  return dsc_ws_utf8_feed(&utf8, text) && utf8.left == 0;
}

/* ------------------------------------------------------------- reading */

void dsc_ws_reader_init(dsc_ws_reader *reader, uint64_t max_message) {
  *reader = (dsc_ws_reader){.max_message = max_message};
}

static dsc_ws_seen error(uint16_t code, const char *why) {
  return (dsc_ws_seen){.kind = DSC_WS_SEEN_ERROR, .code = code, .why = why};
}

static const dsc_ws_seen nothing = {.kind = DSC_WS_SEEN_NOTHING};

static bool is_control(uint8_t opcode) {
  return (opcode & 8) != 0;
}

/* The first two bytes say all that can be wrong about a frame but its length. Returns NULL when they may stand. */
static const char *judge_head(const dsc_ws_reader *reader) {
  uint8_t opcode = reader->head[0] & 0x0f, length = reader->head[1] & 0x7f;
  bool final = (reader->head[0] & 0x80) != 0;
  if (reader->head[0] & 0x70) return "reserved bits are set";
  if (reader->head[1] & 0x80) return "a frame is masked";
  if ((opcode > DSC_WS_OP_BINARY && opcode < DSC_WS_OP_CLOSE) || opcode > DSC_WS_OP_PONG) return "an unknown opcode";
  if (is_control(opcode) && !final) return "a fragmented control frame";
  if (is_control(opcode) && length > DSC_WS_CONTROL_MAX) return "a control frame of more than 125 bytes";
  if (opcode == DSC_WS_OP_CLOSE && length == 1) return "a close frame of one byte";
  if (opcode == DSC_WS_OP_CONTINUE && !reader->in_message) return "a continuation of nothing";
  if (!is_control(opcode) && opcode != DSC_WS_OP_CONTINUE && reader->in_message)
    return "a new message inside a fragmented one";
  return NULL;
}

static uint8_t head_size(const dsc_ws_reader *reader) {
  if (reader->head_len < 2) return 2;
  uint8_t length = reader->head[1] & 0x7f;
  return length == 127 ? 10 : length == 126 ? 4 : 2;
}

static uint64_t payload_length(const dsc_ws_reader *reader) {
  uint8_t size = head_size(reader);
  if (size == 2) return reader->head[1] & 0x7f;
  uint64_t length = 0;
  for (uint8_t i = 2; i < size; i++) length = length << 8 | reader->head[i];
  return length;
}

/* The head is whole. Returns an error or nothing. */
static dsc_ws_seen begin_payload(dsc_ws_reader *reader) {
  uint64_t length = payload_length(reader);
  if (length >> 63) return error(CODE_PROTOCOL, "a frame length of more than 63 bits");
  if ((head_size(reader) == 4 && length < 126) || (head_size(reader) == 10 && length <= UINT16_MAX))
    return error(CODE_PROTOCOL, "a frame length in more bytes than it needs");
  reader->opcode = reader->head[0] & 0x0f;
  reader->final = (reader->head[0] & 0x80) != 0;
  reader->head_len = 0;
  reader->left = length;
  reader->in_payload = true;
  if (is_control(reader->opcode)) {
    reader->control_len = 0;
    return nothing;
  }
  if (reader->opcode != DSC_WS_OP_CONTINUE) {
    reader->in_message = true;
    reader->text = reader->opcode == DSC_WS_OP_TEXT;
    reader->message_len = 0;
    reader->utf8 = (dsc_ws_utf8){0};
  }
  if (length > reader->max_message - reader->message_len) return error(CODE_TOO_LARGE, "a message larger than allowed");
  reader->message_len += length;
  return nothing;
}

/* Takes bytes of a head. Returns true when there is something to tell in `*seen`, or it is whole. */
static bool take_head(dsc_ws_reader *reader, dsc_str *bytes, dsc_ws_seen *seen) {
  *seen = nothing;
  while (reader->head_len < head_size(reader)) {
    if (bytes->n == 0) return false;
    reader->head[reader->head_len++] = (uint8_t)*bytes->p;
    bytes->p++;
    bytes->n--;
    if (reader->head_len != 2) continue;
    const char *wrong = judge_head(reader);
    if (wrong) {
      *seen = error(CODE_PROTOCOL, wrong);
      return true;
    }
  }
  *seen = begin_payload(reader);
  return true;
}

static dsc_ws_seen end_close(dsc_ws_reader *reader) {
  dsc_ws_seen seen = {.kind = DSC_WS_SEEN_CLOSE, .code = CODE_NO_STATUS, .data = {"", 0}};
  if (reader->control_len == 0) return seen;
  seen.code = (uint16_t)(reader->control[0] << 8 | reader->control[1]);
  if (!dsc_ws_close_code_is_valid(seen.code)) return error(CODE_PROTOCOL, "a close code that may not be sent");
  seen.data = (dsc_str){(const char *)reader->control + 2, reader->control_len - 2u};
  if (!dsc_ws_utf8_is_valid(seen.data)) return error(CODE_DATA, "a close reason that is not UTF-8");
  return seen;
}

static dsc_ws_seen take_control(dsc_ws_reader *reader, dsc_str part) {
  if (part.n) memcpy(reader->control + reader->control_len, part.p, part.n);
  reader->control_len = (uint8_t)(reader->control_len + part.n);
  if (reader->left > 0) return nothing;
  reader->in_payload = false;
  if (reader->opcode == DSC_WS_OP_CLOSE) return end_close(reader);
  return (dsc_ws_seen){.kind = reader->opcode == DSC_WS_OP_PING ? DSC_WS_SEEN_PING : DSC_WS_SEEN_PONG,
                       .data = {(const char *)reader->control, reader->control_len}};
}

static dsc_ws_seen take_data(dsc_ws_reader *reader, dsc_str part) {
  bool last = reader->left == 0 && reader->final;
  if (reader->left == 0) reader->in_payload = false;
  if (last) reader->in_message = false;
  if (reader->text && (!dsc_ws_utf8_feed(&reader->utf8, part) || (last && reader->utf8.left)))
    return error(CODE_DATA, "a text that is not UTF-8");
  if (part.n == 0 && !last) return nothing;
  return (dsc_ws_seen){.kind = DSC_WS_SEEN_DATA, .data = part, .text = reader->text, .last = last};
}

dsc_ws_seen dsc_ws_reader_next(dsc_ws_reader *reader, dsc_str *bytes) {
  dsc_ws_seen seen;
  for (;;) {
    if (!reader->in_payload) {
      if (!take_head(reader, bytes, &seen)) return nothing;
      if (seen.kind == DSC_WS_SEEN_ERROR) return seen;
    }
    if (bytes->n == 0 && reader->left > 0) return nothing;
    dsc_str part = {bytes->p, bytes->n < reader->left ? bytes->n : (size_t)reader->left};
    reader->left -= part.n;
    bytes->p += part.n;
    bytes->n -= part.n;
    seen = is_control(reader->opcode) ? take_control(reader, part) : take_data(reader, part);
    if (seen.kind != DSC_WS_SEEN_NOTHING) return seen;
  }
}

/* ------------------------------------------------------------- writing */

size_t dsc_ws_frame_head(uint8_t head[DSC_WS_HEAD_MAX], dsc_ws_opcode opcode, bool final, uint64_t len,
                         const uint8_t mask[4]) {
  size_t n = 2, bytes = len < 126 ? 0 : len <= UINT16_MAX ? 2 : 8;
  head[0] = (uint8_t)((final ? 0x80 : 0) | (int)opcode);
  head[1] = (uint8_t)(0x80 | (bytes == 0 ? (int)len : bytes == 2 ? 126 : 127));
  while (bytes-- > 0) head[n++] = (uint8_t)(len >> (8 * bytes));
  memcpy(head + n, mask, 4);
  return n + 4;
}

void dsc_ws_frame_mask(char *to, const char *from, size_t n, const uint8_t mask[4]) {
  size_t i = 0;
  uint32_t half;
  memcpy(&half, mask, 4);
  uint64_t wide = (uint64_t)half << 32 | half, eight;
  for (; i + 8 <= n; i += 8) {
    memcpy(&eight, from + i, 8);
    eight ^= wide;
    memcpy(to + i, &eight, 8);
  }
  for (; i < n; i++) to[i] = (char)((uint8_t)from[i] ^ mask[i & 3]);
}

bool dsc_ws_close_code_is_valid(uint16_t code) {
  if (code >= 3000) return code <= 4999;
  return code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006;
}
