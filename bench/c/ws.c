/*
** ws.c - the WebSocket client that bench/run compares with, as a Lua module: plain libwebsockets, its own poll
** loop, one connection that is kept.
*/
#include <stdbool.h>
#include <string.h>

#include <lauxlib.h>
#include <libwebsockets.h>
#include <lua.h>

#define MOST 1024

int luaopen_discover_bench_ws(lua_State *L);

static struct {
  struct lws_context *context;
  struct lws *wsi;
  bool open, failed;
  long to_send, to_get; /* of this round */
  long on_way, window;
  size_t len, got; /* of a message; of the one that is coming */
  char text[MOST];
} client;

static int send_some(struct lws *wsi) {
  unsigned char bytes[LWS_PRE + MOST];
  while (client.to_send > 0 && client.on_way < client.window && !lws_send_pipe_choked(wsi)) {
    memcpy(bytes + LWS_PRE, client.text, client.len); /* lws_write() masks in place */
    if (lws_write(wsi, bytes + LWS_PRE, client.len, LWS_WRITE_BINARY) < (int)client.len) return -1;
    client.to_send--;
    client.on_way++;
  }
  if (client.to_send > 0 && client.on_way < client.window) lws_callback_on_writable(wsi);
  return 0;
}

static int take(struct lws *wsi, const void *bytes, size_t len) {
  /* what was read at once may end in the middle of a message */
  if (len > client.len - client.got || memcmp(bytes, client.text + client.got, len) != 0) return -1;
  client.got += len;
  if (!lws_is_final_fragment(wsi) || lws_remaining_packet_payload(wsi)) return 0;
  if (client.got != client.len) return -1;
  client.got = 0;
  client.on_way--;
  client.to_get--;
  if (client.to_send > 0) lws_callback_on_writable(wsi);
  return 0;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len) {
  (void)user;
  switch (reason) {
  case LWS_CALLBACK_CLIENT_ESTABLISHED: client.open = true; return 0;
  case LWS_CALLBACK_CLIENT_RECEIVE: return take(wsi, in, len);
  case LWS_CALLBACK_CLIENT_WRITEABLE: return send_some(wsi);
  case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
  case LWS_CALLBACK_CLIENT_CLOSED: client.failed = true; return 0;
  default: return 0;
  }
}

static void run_until_open(void) {
  while (!client.open && !client.failed) lws_service(client.context, 0);
}

/* connect(port): the connection lives as long as the process. */
static int peers_connect(lua_State *L) {
  static const struct lws_protocols protocols[] = {{.name = "echo", .callback = on_event, .rx_buffer_size = 4096},
                                                   {.name = NULL}};
  int port = (int)luaL_checkinteger(L, 1);
  lws_set_log_level(LLL_ERR, NULL);
  struct lws_context_creation_info info = {.port = CONTEXT_PORT_NO_LISTEN, .protocols = protocols};
  info.gid = info.uid = (unsigned)-1;
  client.context = lws_create_context(&info);
  if (!client.context) return luaL_error(L, "ws: no context");
  struct lws_client_connect_info to = {.context = client.context,
                                       .address = "127.0.0.1",
                                       .port = port,
                                       .path = "/",
                                       .host = "127.0.0.1",
                                       .origin = "127.0.0.1",
                                       .local_protocol_name = "echo",
                                       .pwsi = &client.wsi};
  if (!lws_client_connect_via_info(&to)) return luaL_error(L, "ws: no connection");
  run_until_open();
  return client.failed ? luaL_error(L, "ws: no connection") : 0;
}

/* echo(text, n, window): sends `text` n times as a binary message, `window` of them at most on their way, until all
** came back. */
static int peers_echo(lua_State *L) {
  const char *text = luaL_checklstring(L, 1, &client.len);
  luaL_argcheck(L, client.len <= MOST, 1, "too long");
  memcpy(client.text, text, client.len);
  client.to_send = client.to_get = (long)luaL_checkinteger(L, 2);
  client.window = (long)luaL_checkinteger(L, 3);
  client.on_way = 0;
  lws_callback_on_writable(client.wsi);
  while (client.to_get > 0 && !client.failed) lws_service(client.context, 0);
  return client.failed ? luaL_error(L, "ws: the connection was lost") : 0;
}

int luaopen_discover_bench_ws(lua_State *L) {
  static const luaL_Reg functions[] = {{"connect", peers_connect}, {"echo", peers_echo}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
