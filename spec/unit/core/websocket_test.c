/*
** websocket_test.c - WebSockets of a discoverer against peers in this process.
*/
#include "core/discoverer_impl.h"
#include "core/host.h"
#include "support/ws_peer.h"

typedef struct seat {
  host h;
  dsc_websocket *ws;
  dsc_websocket_options options;
  dsc_request request;
  dsc_why why;
} seat;

static void seat_new(seat *s) {
  memset(s, 0, sizeof *s);
  host_new(&s->h, "");
  dsc_websocket_options_defaults(&s->options);
  s->request = (dsc_request){.app = L("svc"), .path = L("/chat")};
}

static dsc_err seat_open(seat *s) {
  host_enter(&s->h);
  dsc_err err = dsc_websocket_open(&s->h.frame, &s->request, &s->options, &s->ws, &s->why);
  host_leave(&s->h);
  return err;
}

static dsc_err say(seat *s, const char *text) {
  host_enter(&s->h);
  dsc_err err = dsc_websocket_send(&s->h.frame, s->ws, DSC_WS_TEXT, dsc_str_of(text), 2000, &s->why);
  host_leave(&s->h);
  return err;
}

static dsc_err hear(seat *s, dsc_ws_message *message) {
  host_enter(&s->h);
  dsc_err err = dsc_websocket_receive(&s->h.frame, s->ws, 2000, message, &s->why);
  host_leave(&s->h);
  return err;
}

static dsc_err bye(seat *s, uint16_t code) {
  host_enter(&s->h);
  dsc_err err = dsc_websocket_close(&s->h.frame, s->ws, code, L(""), &s->why);
  host_leave(&s->h);
  return err;
}

static uint32_t in_flight(seat *s, const char *addr) {
  dsc_node_array *nodes = dsc_discoverer_nodes(s->h.d, L("svc"));
  uint32_t n = UINT32_MAX;
  for (size_t i = 0; i < nodes->count; i++)
    if (strcmp(nodes->nodes[i]->addr, addr) == 0) n = (uint32_t)atomic_load(&nodes->nodes[i]->in_flight);
  dsc_node_array_unref(nodes);
  return n;
}

TEST(messages_go_and_come_and_the_node_is_in_flight) {
  seat s;
  peer p;
  dsc_ws_message m;
  peer_start(&p, script_ws_echo, NULL);
  seat_new(&s);
  host_set(&s.h, "svc", p.addr, 1);
  assert_int_equal(seat_open(&s), DSC_OK);
  assert_int_equal(dsc_websocket_get_state(s.ws), DSC_WEBSOCKET_OPEN);
  assert_string_equal(dsc_websocket_node(s.ws), p.addr);
  assert_int_equal(in_flight(&s, p.addr), 1);
  assert_int_equal(say(&s, "hello"), DSC_OK);
  assert_int_equal(hear(&s, &m), DSC_OK);
  assert_string_equal(m.data, "hello");
  dsc_mem_free(m.data);
  assert_int_equal(bye(&s, 1000), DSC_OK);
  assert_int_equal(dsc_websocket_get_state(s.ws), DSC_WEBSOCKET_CLOSED);
  assert_int_equal(dsc_websocket_end(s.ws)->code, 1000);
  assert_int_equal(dsc_websocket_end(s.ws)->err, DSC_ECLOSED);
  assert_int_equal(in_flight(&s, p.addr), 0);
  dsc_websocket_free(s.ws);
  host_free(&s.h);
  peer_stop(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(messages_go_and_come_and_the_node_is_in_flight),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
