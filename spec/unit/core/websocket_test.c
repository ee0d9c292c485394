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

static dsc_node *find_node(seat *s, const char *addr) {
  dsc_table *table = dsc_discoverer_find_table(s->h.d, L("svc"));
  dsc_node *node = dsc_table_find(table, dsc_str_of(addr));
  dsc_table_unref(table);
  assert_non_null(node);
  return node;
}

static uint32_t in_flight(seat *s, const char *addr) {
  dsc_node *node = find_node(s, addr);
  uint32_t n = dsc_node_in_flight(node);
  dsc_node_unref(node);
  return n;
}

static uint32_t failed_times(seat *s, const char *addr) {
  dsc_node *node = find_node(s, addr);
  uint32_t n = atomic_load(&node->failed_times);
  dsc_node_unref(node);
  return n;
}

/* Runs the loop as a host that waits does. */
static bool wait_a_while(seat *s, int64_t ms) {
  host_enter(&s->h);
  bool stopped = dsc_discoverer_wait(&s->h.frame, ms);
  host_leave(&s->h);
  return stopped;
}

static void expect_message(seat *s, const char *text) {
  dsc_ws_message m;
  if (hear(s, &m) != DSC_OK) fail_msg("no \"%s\": %s", text, s->why.text);
  assert_string_equal(m.data, text);
  dsc_mem_free(m.data);
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

/* ------------------------------------------------------------- opening */

/* Answers with the status in `flag`; 0: not at all; 1: with garbage; 2: hangs up. */
static void script_refuse(peer *p, peer_conn *c) {
  char text[128];
  int flag = atomic_load(&p->flag);
  if (!peer_read(c) || flag == 2) return;
  snprintf(text, sizeof text, "HTTP/1.1 %d Sorry\r\nContent-Length: 0\r\n\r\n", flag);
  if (flag != 0) peer_say(c, flag == 1 ? "hello\r\n\r\n" : text);
  peer_linger(c);
}

static void set_two(seat *s, const char *first, const char *second) {
  host_set(&s->h, "svc", first, 1);
  host_set(&s->h, "svc", second, 1);
  for (int i = 0; i < 4; i++) { /* so that `first` is picked first */
    dsc_app_client *ac = NULL;
    dsc_node *node = NULL;
    host_enter(&s->h);
    assert_int_equal(dsc_discoverer_app_client_new(s->h.d, L("svc"), &ac, &s->why), DSC_OK);
    assert_int_equal(dsc_discoverer_app_client_next(&s->h.frame, ac, dsc_str_of(second), &node, &s->why), DSC_OK);
    dsc_discoverer_done(&s->h.frame, node, DSC_OUTCOME_SUCCESS);
    dsc_node_unref(node);
    dsc_discoverer_app_client_free(ac);
    host_leave(&s->h);
  }
}

TEST(the_next_node_is_tried_when_a_handshake_fails) {
  static const int flags[] = {0, 1, 2, 502, 503, 504, -1};
  for (size_t i = 0; i < COUNT(flags); i++) {
    seat s;
    peer bad, good;
    peer_start(&bad, script_refuse, NULL);
    peer_start(&good, script_ws_echo, NULL);
    atomic_store(&bad.flag, flags[i]);
    if (flags[i] < 0) peer_stop(&bad); /* refused */
    seat_new(&s);
    set_two(&s, bad.addr, good.addr);
    s.request.timeout_ms = 200;
    if (seat_open(&s) != DSC_OK) fail_msg("%d: %s", flags[i], s.why.text);
    assert_string_equal(dsc_websocket_node(s.ws), good.addr);
    assert_int_equal(failed_times(&s, bad.addr), 1);
    assert_int_equal(in_flight(&s, bad.addr), 0);
    assert_int_equal(in_flight(&s, good.addr), 1);
    dsc_websocket_free(s.ws);
    assert_int_equal(in_flight(&s, good.addr), 0);
    host_free(&s.h);
    if (flags[i] >= 0) peer_stop(&bad);
    peer_stop(&good);
  }
}

TEST(another_answer_ends_the_opening) {
  static const int flags[] = {200, 302, 401, 403, 404, 500};
  for (size_t i = 0; i < COUNT(flags); i++) {
    seat s;
    peer bad, good;
    char words[64];
    peer_start(&bad, script_refuse, NULL);
    peer_start(&good, script_ws_echo, NULL);
    atomic_store(&bad.flag, flags[i]);
    seat_new(&s);
    set_two(&s, bad.addr, good.addr);
    assert_int_equal(seat_open(&s), DSC_EPROTOCOL);
    assert_null(s.ws);
    snprintf(words, sizeof words, "%s answered %d", bad.addr, flags[i]);
    if (!strstr(s.why.text, words)) fail_msg("%s", s.why.text);
    assert_int_equal(atomic_load(&good.accepted), 0);
    assert_int_equal(in_flight(&s, bad.addr), 0);
    assert_int_equal(failed_times(&s, bad.addr), 0);
    host_free(&s.h);
    peer_stop(&bad);
    peer_stop(&good);
  }
}

TEST(all_nodes_fail) {
  seat s;
  peer a, b;
  peer_start(&a, script_refuse, NULL);
  peer_start(&b, script_refuse, NULL);
  atomic_store(&a.flag, 503);
  atomic_store(&b.flag, 2);
  seat_new(&s);
  host_set(&s.h, "svc", a.addr, 1);
  host_set(&s.h, "svc", b.addr, 1);
  assert_int_equal(seat_open(&s), DSC_EALL_FAILED);
  assert_non_null(strstr(s.why.text, "2 attempts failed"));
  s.request.app = L("nobody");
  assert_int_equal(seat_open(&s), DSC_EAPP_NOT_FOUND);
  host_free(&s.h);
  peer_stop(&a);
  peer_stop(&b);
}

static void route_ws(host *h, dsc_app_client *ac) {
  dsc_why why;
  assert_str(ac->method.s, "WS");
  assert_int_equal(dsc_app_client_set_path(ac, L("/routed"), &why), DSC_OK);
  (void)h;
}

/* Sends the request's first line and some headers as a text. */
static void script_tell(peer *p, peer_conn *c) {
  char id[64] = "", token[64] = "", user[64] = "", text[512];
  (void)p;
  if (!wsp_greet(c, "Sec-WebSocket-Protocol: chat\r\n")) return;
  peer_header(c, "X-Request-Id", id, sizeof id);
  peer_header(c, "Access-Token", token, sizeof token);
  peer_header(c, "X-User", user, sizeof user);
  snprintf(text, sizeof text, "%.*s|%d|%s|%s", (int)strcspn(c->head, "\r"), c->head, strlen(id) > 0, token, user);
  wsp_text(c, text);
  wsp_echo(c);
}

TEST(it_is_opened_as_a_call_is_made) {
  seat s;
  peer p;
  dsc_call_config config;
  dsc_headers headers;
  peer_start(&p, script_tell, NULL);
  seat_new(&s);
  host_hook(&s.h);
  s.h.on_route = route_ws;
  host_set(&s.h, "svc", p.addr, 1);
  dsc_call_config_defaults(&config);
  config.token = dsc_secret_new(L("t0ken"));
  assert_int_equal(host_configure(&s.h, "svc", &config), DSC_OK);
  dsc_secret_unref(config.token);
  dsc_headers_init(&headers);
  dsc_headers_add(&headers, L("X-User"), L("joe"));
  s.request.headers = &headers;
  s.options.protocols = "game, chat";
  assert_int_equal(seat_open(&s), DSC_OK);
  expect_message(&s, "GET /routed HTTP/1.1|1|t0ken|joe");
  assert_string_equal(dsc_websocket_protocol(s.ws), "chat");
  assert_string_equal(s.h.order + 1, "rna"); /* after the event of the node */
  assert_int_equal(s.h.answer_status, 101);
  dsc_headers_clear(&headers);
  dsc_websocket_free(s.ws);
  host_free(&s.h);
  peer_stop(&p);
}

/* ------------------------------------------------------------- the end */

static void script_last_words(peer *p, peer_conn *c) {
  if (!wsp_greet(c, "")) return;
  wsp_text(c, "one");
  wsp_text(c, "two");
  int flag = atomic_load(&p->flag);
  if (flag == 0) return;
  if (flag == 2) wsp_send(c, 0x83, "", 0);
  if (flag == 1) wsp_close(c, 1001, "off");
  peer_linger(c);
}

TEST(what_came_before_the_end_is_given_and_the_node_is_judged) {
  static const dsc_err errs[] = {DSC_ECONNECT, DSC_ECLOSED, DSC_EPROTOCOL};
  for (int i = 0; i < 3; i++) {
    seat s;
    peer p;
    dsc_ws_message m;
    peer_start(&p, script_last_words, NULL);
    atomic_store(&p.flag, i);
    seat_new(&s);
    host_set(&s.h, "svc", p.addr, 1);
    assert_int_equal(seat_open(&s), DSC_OK);
    while (!dsc_websocket_end(s.ws)) wait_a_while(&s, 10);
    assert_int_equal(in_flight(&s, p.addr), 0);
    assert_int_equal(failed_times(&s, p.addr), errs[i] != DSC_ECLOSED);
    expect_message(&s, "one");
    expect_message(&s, "two");
    assert_int_equal(hear(&s, &m), errs[i]);
    assert_int_equal(hear(&s, &m), errs[i]);
    assert_int_equal(say(&s, "x"), errs[i]);
    assert_int_equal(dsc_websocket_end(s.ws)->code, i == 1 ? 1001 : 1006);
    assert_int_equal(bye(&s, 1000), DSC_OK);
    dsc_websocket_free(s.ws);
    host_free(&s.h);
    peer_stop(&p);
  }
}

static void script_silent(peer *p, peer_conn *c) {
  (void)p;
  if (wsp_greet(c, "")) peer_linger(c);
}

TEST(waiting_has_an_end) {
  seat s;
  peer p;
  dsc_ws_message m;
  peer_start(&p, script_silent, NULL);
  seat_new(&s);
  host_set(&s.h, "svc", p.addr, 1);
  assert_int_equal(seat_open(&s), DSC_OK);
  host_enter(&s.h);
  uint64_t start_ms = dsc_clock_now_ms();
  assert_int_equal(dsc_websocket_receive(&s.h.frame, s.ws, 50, &m, &s.why), DSC_ETIMEOUT);
  assert_true(dsc_clock_now_ms() - start_ms >= 50);
  assert_int_equal(dsc_websocket_receive(&s.h.frame, s.ws, 0, &m, &s.why), DSC_ETIMEOUT);
  assert_int_equal(dsc_websocket_send(&s.h.frame, s.ws, DSC_WS_TEXT, L("\xff"), 50, &s.why), DSC_EINVALID);
  assert_int_equal(dsc_websocket_close(&s.h.frame, s.ws, 1005, L(""), &s.why), DSC_EINVALID);
  assert_int_equal(dsc_websocket_ping(&s.h.frame, s.ws, &s.why), DSC_OK);
  host_leave(&s.h);
  dsc_websocket_free(s.ws);
  host_free(&s.h);
  peer_stop(&p);
}

static void script_lazy(peer *p, peer_conn *c) {
  wsp_frame f;
  if (!wsp_greet(c, "")) return;
  while (!atomic_load(&p->flag) && !atomic_load(&p->stopping)) usleep(1000);
  while (wsp_read(c, &f)) free(f.data);
}

TEST(a_send_waits_for_room) {
  seat s;
  peer p;
  static char big[300 * 1024];
  dsc_err err = DSC_OK;
  int n = 0;
  peer_start(&p, script_lazy, NULL);
  seat_new(&s);
  host_set(&s.h, "svc", p.addr, 1);
  s.request.has_max_body = true;
  s.request.max_body = sizeof big;
  assert_int_equal(seat_open(&s), DSC_OK);
  host_enter(&s.h);
  assert_int_equal(dsc_websocket_send(&s.h.frame, s.ws, DSC_WS_BINARY, (dsc_str){big, sizeof big + 1}, 50, &s.why),
                   DSC_ETOO_LARGE);
  while (!err && n < 1000) {
    err = dsc_websocket_send(&s.h.frame, s.ws, DSC_WS_BINARY, (dsc_str){big, sizeof big}, 50, &s.why);
    n++;
  }
  assert_int_equal(err, DSC_ETIMEOUT);
  atomic_store(&p.flag, 1);
  err = dsc_websocket_send(&s.h.frame, s.ws, DSC_WS_BINARY, (dsc_str){big, sizeof big}, 5000, &s.why);
  assert_int_equal(err, DSC_OK);
  host_leave(&s.h);
  dsc_websocket_free(s.ws);
  host_free(&s.h);
  peer_stop(&p);
}

/* ------------------------------------------------------------- the discoverer's end */

/* Notes the code of the close frame in `flag`; answers it unless `requests` is set. */
static void script_note(peer *p, peer_conn *c) {
  wsp_frame f;
  if (!wsp_greet(c, "")) return;
  while (wsp_read(c, &f)) {
    if ((f.first & 15) == 8 && f.n >= 2) atomic_store(&p->flag, f.data[0] << 8 | f.data[1]);
    if ((f.first & 15) == 8 && p->ud) wsp_send(c, f.first, f.data, f.n);
    bool last = (f.first & 15) == 8 && p->ud;
    free(f.data);
    if (last) return;
  }
}

TEST(a_stop_says_goodbye_and_does_not_wait_long) {
  for (int answers = 0; answers <= 1; answers++) {
    seat s;
    peer p;
    dsc_ws_message m;
    peer_start(&p, script_note, answers ? &p : NULL);
    seat_new(&s);
    host_set(&s.h, "svc", p.addr, 1);
    assert_int_equal(seat_open(&s), DSC_OK);
    dsc_node *node = find_node(&s, p.addr);
    uint64_t start_ms = dsc_clock_now_ms();
    dsc_discoverer_stop(s.h.d, &s.h, 0);
    assert_true(dsc_clock_now_ms() - start_ms < (answers ? 90 : 1000));
    assert_int_equal(dsc_node_in_flight(node), 0);
    assert_int_equal(atomic_load(&node->failed_times), 0);
    assert_int_equal(dsc_websocket_get_state(s.ws), DSC_WEBSOCKET_CLOSED);
    assert_int_equal(dsc_websocket_end(s.ws)->err, DSC_ESTOPPED);
    assert_int_equal(dsc_websocket_end(s.ws)->code, answers ? 1001 : 1006);
    assert_int_equal(dsc_discoverer_enter(s.h.d, &s.h.frame, &s.h, &s.why), DSC_ESTOPPED);
    host_free(&s.h);
    dsc_frame frame = {0};
    assert_int_equal(dsc_websocket_receive(&frame, s.ws, 10, &m, &s.why), DSC_ESTOPPED);
    assert_int_equal(dsc_websocket_send(&frame, s.ws, DSC_WS_TEXT, L("x"), 10, &s.why), DSC_ESTOPPED);
    assert_int_equal(dsc_websocket_close(&frame, s.ws, 1000, L(""), &s.why), DSC_OK);
    assert_string_equal(dsc_websocket_node(s.ws), p.addr);
    dsc_websocket_free(s.ws);
    dsc_node_unref(node);
    peer_stop(&p);
    assert_int_equal(atomic_load(&p.flag), 1001);
  }
}

TEST(a_collected_discoverer_cuts_its_websockets) {
  seat s;
  peer p;
  peer_start(&p, script_note, NULL);
  seat_new(&s);
  host_set(&s.h, "svc", p.addr, 1);
  assert_int_equal(seat_open(&s), DSC_OK);
  assert_true(dsc_discoverer_free(s.h.d, false));
  assert_int_equal(dsc_websocket_end(s.ws)->err, DSC_ESTOPPED);
  dsc_websocket_listen(s.ws, true, NULL);
  dsc_websocket_free(s.ws);
  peer_stop(&p);
}

TEST(a_child_after_a_fork_touches_nothing) {
  seat s;
  peer p;
  peer_start(&p, script_ws_echo, NULL);
  seat_new(&s);
  host_set(&s.h, "svc", p.addr, 1);
  assert_int_equal(seat_open(&s), DSC_OK);
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    dsc_frame frame = {.d = s.h.d};
    dsc_ws_message m;
    int bad = dsc_websocket_send(&frame, s.ws, DSC_WS_TEXT, L("x"), 10, &s.why) != DSC_EFORKED;
    bad += dsc_websocket_receive(&frame, s.ws, 10, &m, &s.why) != DSC_EFORKED;
    bad += dsc_websocket_ping(&frame, s.ws, &s.why) != DSC_EFORKED;
    bad += dsc_websocket_close(&frame, s.ws, 1000, L(""), &s.why) != DSC_OK;
    bad += dsc_websocket_get_state(s.ws) != DSC_WEBSOCKET_CLOSED;
    dsc_websocket_free(s.ws);
    dsc_discoverer_stop(s.h.d, NULL, 0);
    dsc_discoverer_free(s.h.d, true);
    _exit(bad);
  }
  int status = -1;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  assert_int_equal(say(&s, "still here"), DSC_OK);
  expect_message(&s, "still here");
  dsc_websocket_free(s.ws);
  host_free(&s.h);
  peer_stop(&p);
}

/* ------------------------------------------------------------- on_message */

typedef struct ear {
  seat *seat;
  char text[4096];
  int ends, calls;
  int act; /* at the second message: 1 free, 2 stop, 3 send and receive, 4 close, 5 no more */
} ear;

static void on_message(void *ctx, void *ud, dsc_websocket *ws, void *listener, const dsc_ws_message *message) {
  ear *e = listener;
  seat *s = e->seat;
  (void)ctx, (void)ud;
  if (!message) {
    e->ends++;
    return;
  }
  snprintf(e->text + strlen(e->text), sizeof e->text - strlen(e->text), "%s,", message->data);
  if (++e->calls != 2) return;
  dsc_frame frame;
  dsc_ws_message m;
  if (e->act == 1) dsc_websocket_free(ws), s->ws = NULL;
  if (e->act == 2) dsc_discoverer_stop(s->h.d, NULL, 0);
  if (e->act == 5) dsc_websocket_listen(ws, false, NULL);
  if (e->act != 3 && e->act != 4) return;
  assert_int_equal(dsc_discoverer_enter(s->h.d, &frame, NULL, &s->why), DSC_OK);
  if (e->act == 4) assert_int_equal(dsc_websocket_close(&frame, ws, 1000, L(""), &s->why), DSC_OK);
  if (e->act == 3) {
    assert_int_equal(dsc_websocket_send(&frame, ws, DSC_WS_TEXT, L("nested"), 1000, &s->why), DSC_OK);
    do { /* the rest comes first */
      assert_int_equal(dsc_websocket_receive(&frame, ws, 1000, &m, &s->why), DSC_OK);
      bool last = strcmp(m.data, "nested") == 0;
      dsc_mem_free(m.data);
      if (last) break;
    } while (true);
  }
  dsc_discoverer_leave(&frame);
}

static void script_forty(peer *p, peer_conn *c) {
  char text[8];
  (void)p;
  if (!wsp_greet(c, "")) return;
  for (int i = 0; i < 40; i++) {
    snprintf(text, sizeof text, "%d", i);
    wsp_text(c, text);
  }
  wsp_echo(c);
}

TEST(the_host_is_handed_messages_while_it_waits) {
  for (int act = 0; act <= 5; act++) {
    seat s;
    peer p;
    ear e = {.seat = &s, .act = act};
    char expected[256] = "";
    peer_start(&p, script_forty, NULL);
    seat_new(&s);
    dsc_hooks hooks = {.on_message = on_message};
    dsc_discoverer_set_hooks(s.h.d, &hooks);
    host_set(&s.h, "svc", p.addr, 1);
    assert_int_equal(seat_open(&s), DSC_OK);
    dsc_websocket_listen(s.ws, true, &e);
    for (int i = 0; i < (act == 0 ? 40 : 2); i++)
      snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "%d,", i);
    uint64_t until_ms = dsc_clock_now_ms() + 3000;
    while (e.calls < (act == 0 ? 40 : 2) && dsc_clock_now_ms() < until_ms)
      if (wait_a_while(&s, 20)) break;
    if (act != 2) wait_a_while(&s, 30);
    if (act == 4 || act == 2) { /* what was there before is still told, then the end, once */
      assert_int_equal(e.ends, 1);
      assert_int_equal(strncmp(e.text, expected, strlen(expected)), 0);
    } else {
      assert_int_equal(e.ends, 0);
      assert_string_equal(e.text, expected);
    }
    dsc_websocket_free(s.ws);
    host_free(&s.h);
    peer_stop(&p);
  }
}

/* ------------------------------------------------------------- no memory */

static peer failing_peer;

static bool attempt_session(void) {
  dsc_options options = host_options("");
  dsc_discoverer *d = NULL;
  dsc_frame frame;
  dsc_websocket *ws = NULL;
  dsc_websocket_options ws_options;
  dsc_request request = {.app = L("svc"), .path = L("/chat")};
  dsc_ws_message m;
  dsc_why why;
  dsc_websocket_options_defaults(&ws_options);
  if (dsc_discoverer_new(&d, &options, &why) != DSC_OK) return false;
  bool well = dsc_discoverer_enter(d, &frame, NULL, &why) == DSC_OK;
  well = well && dsc_discoverer_set_node(&frame, L("svc"), dsc_str_of(failing_peer.addr), 1, NULL, &why) == DSC_OK;
  well = well && dsc_websocket_open(&frame, &request, &ws_options, &ws, &why) == DSC_OK;
  well = well && dsc_websocket_send(&frame, ws, DSC_WS_TEXT, L("hello"), 1000, &why) == DSC_OK;
  well = well && dsc_websocket_receive(&frame, ws, 1000, &m, &why) == DSC_OK;
  if (well) dsc_mem_free(m.data);
  well = well && dsc_websocket_close(&frame, ws, 1000, L(""), &why) == DSC_OK;
  well = well && dsc_websocket_end(ws) && dsc_websocket_end(ws)->err == DSC_ECLOSED;
  dsc_discoverer_leave(&frame);
  dsc_websocket_free(ws);
  dsc_discoverer_free(d, false);
  return well;
}

TEST(every_allocation_may_fail) {
  peer_start(&failing_peer, script_ws_echo, NULL);
  for (size_t n = 1;; n++) {
    size_t blocks, after;
    dsc_mem_usage(&blocks, NULL);
    dsc_mem_fail_at(n, false);
    bool well = attempt_session();
    bool reached = dsc_mem_asked() >= n;
    dsc_mem_fail_at(0, false);
    dsc_mem_usage(&after, NULL);
    assert_int_equal(after, blocks);
    if (!reached) {
      assert_true(well);
      assert_true(n > 20);
      break;
    }
  }
  peer_stop(&failing_peer);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(messages_go_and_come_and_the_node_is_in_flight),
      cmocka_unit_test(the_next_node_is_tried_when_a_handshake_fails),
      cmocka_unit_test(another_answer_ends_the_opening),
      cmocka_unit_test(all_nodes_fail),
      cmocka_unit_test(it_is_opened_as_a_call_is_made),
      cmocka_unit_test(what_came_before_the_end_is_given_and_the_node_is_judged),
      cmocka_unit_test(waiting_has_an_end),
      cmocka_unit_test(a_send_waits_for_room),
      cmocka_unit_test(a_stop_says_goodbye_and_does_not_wait_long),
      cmocka_unit_test(a_collected_discoverer_cuts_its_websockets),
      cmocka_unit_test(a_child_after_a_fork_touches_nothing),
      cmocka_unit_test(the_host_is_handed_messages_while_it_waits),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
