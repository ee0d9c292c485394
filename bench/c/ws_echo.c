/*
** ws_echo.c - the WebSocket server of the bench: echoes every message, built on plain libwebsockets.
**
**     ws_echo PORT     listens on 127.0.0.1, until it is killed
**
** Messages are small and at most SLOTS are on their way at once (the clients keep to a window), so each connection has
** a ring of fixed places. It ends the connection of who sends more.
*/
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libwebsockets.h>

#define SLOTS     256
#define MOST      1024
#define RX_BUFFER 4096

struct slot {
  size_t len;
  enum lws_write_protocol kind;
  unsigned char bytes[LWS_PRE + MOST];
};

struct session {
  unsigned first, count; /* of the ring */
  size_t got;            /* bytes of the message that is coming */
  struct slot *ring;
};

static int keep(struct lws *wsi, struct session *s, const void *bytes, size_t len) {
  if (s->count == SLOTS) return -1;
  struct slot *slot = &s->ring[(s->first + s->count) % SLOTS];
  if (len > MOST - s->got) return -1;
  memcpy(slot->bytes + LWS_PRE + s->got, bytes, len);
  s->got += len;
  /* what was read at once may end in the middle of a message */
  if (!lws_is_final_fragment(wsi) || lws_remaining_packet_payload(wsi)) return 0;
  slot->len = s->got;
  slot->kind = lws_frame_is_binary(wsi) ? LWS_WRITE_BINARY : LWS_WRITE_TEXT;
  s->got = 0;
  s->count++;
  lws_callback_on_writable(wsi);
  return 0;
}

static int send_some(struct lws *wsi, struct session *s) {
  while (s->count > 0 && !lws_send_pipe_choked(wsi)) {
    struct slot *slot = &s->ring[s->first];
    if (lws_write(wsi, slot->bytes + LWS_PRE, slot->len, slot->kind) < (int)slot->len) return -1;
    s->first = (s->first + 1) % SLOTS;
    s->count--;
  }
  if (s->count > 0) lws_callback_on_writable(wsi);
  return 0;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len) {
  struct session *s = user;
  switch (reason) {
  case LWS_CALLBACK_ESTABLISHED: s->ring = calloc(SLOTS, sizeof *s->ring); return s->ring ? 0 : -1;
  case LWS_CALLBACK_CLOSED: free(s->ring); return 0;
  case LWS_CALLBACK_RECEIVE: return keep(wsi, s, in, len);
  case LWS_CALLBACK_SERVER_WRITEABLE: return send_some(wsi, s);
  default: return 0;
  }
}

int main(int argc, char **argv) {
  static const struct lws_protocols protocols[] = {{.name = "echo",
                                                    .callback = on_event,
                                                    .per_session_data_size = sizeof(struct session),
                                                    .rx_buffer_size = RX_BUFFER},
                                                   {.name = NULL}};
  if (argc != 2) return 2;
  lws_set_log_level(LLL_ERR, NULL);
  struct lws_context_creation_info info = {.port = atoi(argv[1]), .iface = "127.0.0.1", .protocols = protocols};
  info.gid = info.uid = (unsigned)-1;
  struct lws_context *context = lws_create_context(&info);
  if (!context) return 1;
  while (lws_service(context, 0) >= 0) continue;
  lws_context_destroy(context);
  return 0;
}
