/*
** ws_peer.h - the server's side of a WebSocket for scripts of peer.h: the handshake, and frames right or wrong.
**
** Header only, because each test program is one file.
*/
#ifndef DSC_SPEC_WS_PEER_H
#define DSC_SPEC_WS_PEER_H

#include "net/peer.h"

/* net/ws_line.c, for the answer to a key. */
void dsc_ws_greet_accept_key(char accept[32], const char *key);

/* Reads the request and answers 101 with `extra` header lines. */
static inline bool wsp_greet(peer_conn *c, const char *extra) {
  char key[64], accept[32], text[1024];
  if (!peer_read(c) || !peer_header(c, "Sec-WebSocket-Key", key, sizeof key)) return false;
  dsc_ws_greet_accept_key(accept, key);
  snprintf(text, sizeof text,
           "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           "Sec-WebSocket-Accept: %s\r\n%s\r\n",
           accept, extra);
  return peer_say(c, text);
}

/* Sends a frame; `first` is its first byte (0x81: a whole text). */
static inline bool wsp_send(peer_conn *c, int first, const void *data, size_t n) {
  unsigned char head[10];
  size_t size = 2;
  head[0] = (unsigned char)first;
  head[1] = (unsigned char)(n < 126 ? n : n < 65536 ? 126 : 127);
  if (n >= 126) {
    int bytes = n < 65536 ? 2 : 8;
    while (bytes-- > 0) head[size++] = (unsigned char)(n >> (8 * bytes));
  }
  return peer_write(c, (char *)head, size) && peer_write(c, data, n);
}

static inline bool wsp_text(peer_conn *c, const char *text) {
  return wsp_send(c, 0x81, text, strlen(text));
}

static inline bool wsp_close(peer_conn *c, int code, const char *reason) {
  unsigned char data[125] = {(unsigned char)(code >> 8), (unsigned char)code};
  size_t n = strlen(reason);
  memcpy(data + 2, reason, n);
  return wsp_send(c, 0x88, data, n + 2);
}

typedef struct wsp_frame {
  int first;
  bool masked;
  unsigned char *data; /* unmasked, terminated; free() */
  size_t n;
} wsp_frame;

static inline bool wsp_need(peer_conn *c, void *to, size_t n) {
  char *at = to;
  while (n > 0) {
    if (c->rest_len == 0 && !peer_fill(c)) return false;
    size_t part = c->rest_len < n ? c->rest_len : n;
    memcpy(at, c->rest, part);
    peer_drop(c, part);
    at += part;
    n -= part;
  }
  return true;
}

/* Reads one frame. Returns false at the end of the connection. */
static inline bool wsp_read(peer_conn *c, wsp_frame *f) {
  unsigned char head[2], length[8], mask[4] = {0};
  if (!wsp_need(c, head, 2)) return false;
  size_t bytes = (head[1] & 127) == 126 ? 2 : (head[1] & 127) == 127 ? 8 : 0;
  *f = (wsp_frame){.first = head[0], .masked = (head[1] & 128) != 0, .n = head[1] & 127};
  if (bytes && !wsp_need(c, length, bytes)) return false;
  if (bytes) f->n = 0;
  for (size_t i = 0; i < bytes; i++) f->n = f->n << 8 | length[i];
  if (f->masked && !wsp_need(c, mask, 4)) return false;
  f->data = calloc(1, f->n + 1);
  if (!wsp_need(c, f->data, f->n)) {
    free(f->data);
    return false;
  }
  for (size_t i = 0; i < f->n; i++) f->data[i] ^= mask[i & 3];
  return true;
}

/* Sends back what comes, frame by frame, until a close frame, which is answered. */
static inline void wsp_echo(peer_conn *c) {
  wsp_frame f;
  while (wsp_read(c, &f)) {
    bool last = (f.first & 15) == 8;
    if ((f.first & 15) == 9) f.first++;
    if (!wsp_send(c, f.first, f.data, f.n)) last = true;
    free(f.data);
    if (last) return;
  }
}

static inline void script_ws_echo(peer *p, peer_conn *c) {
  (void)p;
  if (wsp_greet(c, "")) wsp_echo(c);
}

#endif
