/*
** sentinel_test.c - questions to Sentinels, what they announce, and whom to believe, against scripted peers.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"
#include "net/sentinel.h"
#include "net/peer.h"
#include "support/redis_server.h"

/* What a peer says: who is the master, elected when, and which other Sentinel it knows (0: none). */
typedef struct saying {
  const char *master; /* NULL: mute; "": unknown */
  int port, epoch;
  int other;
  bool is_down; /* the other one */
} saying;

#define SAYS(...)                                                                                                      \
  { .master = __VA_ARGS__, .is_down = false }
#define AT(host, number, elected) SAYS(host, .port = number, .epoch = elected)

/* What a test sees. */
typedef struct view {
  dsc_loop *loop;
  dsc_resolver *resolver;
  dsc_sentinel *sentinel;
  int answers, switches;
  dsc_err err;
  bool denied;
  char master[300], why[256], moved[300];
} view;

static void on_answer(void *ud, const dsc_sentinel_answer *answer) {
  view *v = ud;
  v->answers++;
  v->err = answer->err;
  v->denied = answer->denied;
  snprintf(v->master, sizeof v->master, "%s", answer->master ? answer->master->text : "");
  snprintf(v->why, sizeof v->why, "%s", answer->why);
  dsc_loop_stop(v->loop);
}

static void on_switch(void *ud, const dsc_addr *master) {
  view *v = ud;
  v->switches++;
  snprintf(v->moved, sizeof v->moved, "%s", master->text);
  dsc_loop_stop(v->loop);
}

static bool word(peer_conn *c, const char *text) {
  return memmem(c->rest, c->rest_len, text, strlen(text)) != NULL;
}

static bool say_master(peer_conn *c, const saying *s) {
  char text[1024], epoch[16], port[16], other[16];
  snprintf(port, sizeof port, "%d", s->port);
  snprintf(epoch, sizeof epoch, "%d", s->epoch);
  snprintf(other, sizeof other, "%d", s->other);
  if (!s->master[0]) return peer_say(c, "*-1\r\n-ERR No such master with that name\r\n-ERR No such master\r\n");
  snprintf(text, sizeof text, "*2\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n*2\r\n$12\r\nconfig-epoch\r\n$%zu\r\n%s\r\n",
           strlen(s->master), s->master, strlen(port), port, strlen(epoch), epoch);
  if (!peer_say(c, text)) return false;
  const char *flags = s->is_down ? "sentinel,s_down" : "sentinel";
  snprintf(text, sizeof text,
           "*1\r\n*6\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$%zu\r\n%s\r\n$5\r\nflags\r\n$%zu\r\n%s\r\n",
           strlen(other), other, strlen(flags), flags);
  return peer_say(c, s->other ? text : "*0\r\n");
}

/* Plays a Sentinel; `flag` of the peer, once set, is the port that it announces. */
static void play_sentinel(peer *p, peer_conn *c) {
  const saying *s = p->ud;
  bool greeted = false;
  while (s->master && peer_fill(c)) {
    if (word(c, "PING\r\n")) {
      peer_say(c, greeted ? "*2\r\n$4\r\npong\r\n$0\r\n\r\n" : "+OK\r\n+PONG\r\n");
      greeted = true;
    } else if (word(c, "sentinels\r\n")) {
      atomic_fetch_add(&p->requests, 1);
      say_master(c, s);
    } else if (word(c, "+switch-master\r\n")) {
      char text[128], message[64];
      peer_say(c, "*3\r\n$9\r\nsubscribe\r\n$14\r\n+switch-master\r\n:1\r\n");
      while (!atomic_load(&p->stopping) && !atomic_load(&p->flag)) test_nap_ms(1);
      int n = snprintf(message, sizeof message, "m 127.0.0.1 1 127.0.0.1 %d", atomic_load(&p->flag));
      snprintf(text, sizeof text, "*3\r\n$7\r\nmessage\r\n$14\r\n+switch-master\r\n$%d\r\n%s\r\n", n, message);
      peer_say(c, text);
    } else {
      continue;
    }
    peer_drop(c, c->rest_len);
  }
  if (!s->master) peer_linger(c);
}

static bool open_view(view *v, const uint16_t *ports, size_t n) {
  dsc_registry_host hosts[DSC_REGISTRY_HOSTS_MAX];
  static char name[] = "127.0.0.1";
  dsc_err err;
  memset(v, 0, sizeof *v);
  v->loop = dsc_loop_new(&err);
  v->resolver = v->loop ? dsc_resolver_new(v->loop) : NULL;
  for (size_t i = 0; i < n; i++) hosts[i] = (dsc_registry_host){name, ports[i]};
  dsc_sentinel_options options = {.hosts = hosts, .n_hosts = n, .master = "m", .name = "test"};
  options.patience_ms = (uint32_t)(300 * test_slow());
  dsc_sentinel_events events = {v, on_answer, on_switch};
  if (v->resolver) v->sentinel = dsc_sentinel_new(v->loop, v->resolver, &options, &events);
  return v->sentinel != NULL;
}

static void run(view *v, const int *until, int ms) {
  uint64_t end = test_now_ms() + (uint64_t)(ms * test_slow());
  while (*until == 0 && test_now_ms() < end) dsc_loop_run(v->loop, 10);
}

static void close_view(view *v) {
  int never = 0, told = v->answers + v->switches;
  if (v->sentinel) {
    dsc_sentinel_close(v->sentinel);
    dsc_sentinel_close(v->sentinel);
    dsc_sentinel_ask(v->sentinel, NULL);
    for (int i = 0; i < 200 && !dsc_sentinel_is_closed(v->sentinel); i++) run(v, &never, 2);
    assert_true(dsc_sentinel_is_closed(v->sentinel));
    dsc_sentinel_free(v->sentinel);
  }
  assert_int_equal(v->answers + v->switches, told);
  dsc_resolver_free(v->resolver);
  dsc_loop_free(v->loop);
}

static void ask(view *v, const char *avoid) {
  dsc_addr addr;
  v->answers = 0;
  if (avoid) assert_int_equal(dsc_addr_parse(&addr, dsc_str_of(avoid), NULL), DSC_OK);
  dsc_sentinel_ask(v->sentinel, avoid ? &addr : NULL);
  assert_int_equal(v->answers, 0); /* nothing is told from inside */
  run(v, &v->answers, 5000);
  assert_int_equal(v->answers, 1);
}

static void settle(view *v, const char *master) {
  dsc_addr addr;
  assert_int_equal(dsc_addr_parse(&addr, dsc_str_of(master), NULL), DSC_OK);
  dsc_sentinel_settle(v->sentinel, &addr);
}

static void start_peers(peer *peers, saying *sayings, uint16_t *ports, size_t n) {
  for (size_t i = 0; i < n; i++) {
    peer_start(&peers[i], play_sentinel, &sayings[i]);
    ports[i] = peers[i].port;
  }
}

static void stop_peers(peer *peers, size_t n) {
  for (size_t i = 0; i < n; i++) peer_stop(&peers[i]);
}

static peer peers[4];
static uint16_t ports[4];

static void who_answers_is_asked_first_the_next_time(void **state) {
  (void)state;
  saying sayings[] = {SAYS(NULL), SAYS(""), AT("10.0.0.1", 7001, 1), AT("10.0.0.1", 7001, 1)};
  view v;
  start_peers(peers, sayings, ports, 4);
  assert_true(open_view(&v, ports, 4));
  ask(&v, NULL);
  assert_int_equal(v.err, DSC_OK);
  assert_string_equal(v.master, "10.0.0.1:7001");
  assert_string_equal(v.why, "");
  assert_int_equal(peers[3].requests, 0);
  for (int i = 0; i < 3; i++) ask(&v, NULL);
  assert_int_equal(peers[0].accepted, 1);
  assert_int_equal(peers[1].requests, 1);
  assert_int_equal(peers[2].requests, 4);
  close_view(&v);
  stop_peers(peers, 4);
}

static void who_has_failed_is_named_only_by_all(void **state) {
  (void)state;
  saying sayings[] = {AT("10.0.0.1", 7001, 1), AT("::1", 7002, 2), AT("10.0.0.1", 7001, 1)};
  view v;
  start_peers(peers, sayings, ports, 3);
  assert_true(open_view(&v, ports, 3));
  ask(&v, "10.0.0.1:7001");
  assert_string_equal(v.master, "[::1]:7002");
  close_view(&v);
  assert_true(open_view(&v, (uint16_t[]){ports[0], ports[2]}, 2));
  ask(&v, "10.0.0.1:7001");
  assert_string_equal(v.master, "10.0.0.1:7001");
  close_view(&v);
  stop_peers(peers, 3);
}

static void no_answer_and_no_master_are_two_things(void **state) {
  (void)state;
  saying sayings[] = {SAYS(""), SAYS(NULL)};
  view v;
  start_peers(peers, sayings, ports, 2);
  assert_true(open_view(&v, ports, 2));
  ask(&v, NULL);
  assert_int_equal(v.err, DSC_EREGISTRY);
  assert_string_equal(v.why, "no Sentinel knows a master named m (1 of 2 answered)");
  close_view(&v);
  assert_true(open_view(&v, ports + 1, 1));
  ask(&v, NULL);
  assert_int_equal(v.err, DSC_ECONNECT);
  assert_non_null(strstr(v.why, "no Sentinel answers; the last of 1 was 127.0.0.1:"));
  assert_non_null(strstr(v.why, "no answer within"));
  assert_false(v.denied);
  close_view(&v);
  stop_peers(peers, 2);
}

/* Settles on 10.0.0.1:7001 and waits until all have been compared. */
static void compare(view *v, size_t n) {
  ask(v, NULL);
  int before[4];
  for (size_t i = 0; i < n; i++) before[i] = atomic_load(&peers[i].requests);
  settle(v, "10.0.0.1:7001");
  assert_int_equal(v->switches, 0);
  for (size_t i = 0; i < n; i++) {
    uint64_t end = test_now_ms() + (uint64_t)(8000 * test_slow());
    while (atomic_load(&peers[i].requests) == before[i] && test_now_ms() < end) dsc_loop_run(v->loop, 10);
    assert_true(atomic_load(&peers[i].requests) > before[i]);
  }
  int never = 0;
  run(v, &never, 50);
}

static void the_latest_election_counts_then_most(void **state) {
  (void)state;
  static const struct {
    saying sayings[3];
    const char *moved; /* "": stays */
  } cases[] = {
      {{AT("10.0.0.1", 7001, 3), AT("10.0.0.2", 7002, 4), AT("10.0.0.1", 7001, 3)}, "10.0.0.2:7002"},
      {{AT("10.0.0.1", 7001, 4), AT("10.0.0.2", 7002, 3), AT("10.0.0.2", 7002, 3)}, ""},
      {{AT("10.0.0.1", 7001, 0), AT("10.0.0.2", 7002, 0), AT("10.0.0.2", 7002, 0)}, "10.0.0.2:7002"},
      {{AT("10.0.0.1", 7001, 5), AT("10.0.0.2", 7002, 5), AT("10.0.0.3", 7002, 5)}, ""},
      {{AT("10.0.0.2", 7002, 5), AT("10.0.0.1", 7001, 5), AT("", 0, 0)}, ""},
      {{AT("10.0.0.2", 7002, 2), AT("10.0.0.3", 7003, 9), AT("10.0.0.2", 7002, 2)}, "10.0.0.3:7003"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    saying sayings[3];
    view v;
    memcpy(sayings, cases[i].sayings, sizeof sayings);
    start_peers(peers, sayings, ports, 3);
    assert_true(open_view(&v, ports, 3));
    compare(&v, 3);
    if (strcmp(v.moved, cases[i].moved) != 0) fail_msg("case %zu: '%s'", i, v.moved);
    close_view(&v);
    stop_peers(peers, 3);
  }
}

static void what_is_announced_is_told_at_once(void **state) {
  (void)state;
  saying sayings[] = {AT("10.0.0.1", 7001, 1)};
  view v;
  start_peers(peers, sayings, ports, 1);
  assert_true(open_view(&v, ports, 1));
  ask(&v, NULL);
  settle(&v, "10.0.0.1:7001");
  atomic_store(&peers[0].flag, 7009);
  run(&v, &v.switches, 3000);
  assert_string_equal(v.moved, "127.0.0.1:7009");
  close_view(&v);
  stop_peers(peers, 1);
}

static void others_are_learned_unless_they_are_down(void **state) {
  (void)state;
  saying sayings[] = {AT("10.0.0.1", 7001, 1), AT("10.0.0.2", 7002, 1)};
  for (int is_down = 0; is_down <= 1; is_down++) {
    view v;
    start_peers(peers, sayings, ports, 2);
    sayings[0].other = ports[1];
    sayings[0].is_down = is_down;
    assert_true(open_view(&v, ports, 1));
    ask(&v, NULL);
    ask(&v, "10.0.0.1:7001");
    assert_string_equal(v.master, is_down ? "10.0.0.1:7001" : "10.0.0.2:7002");
    close_view(&v);
    stop_peers(peers, 2);
  }
}

static void it_may_be_closed_at_any_time(void **state) {
  (void)state;
  saying sayings[] = {AT("10.0.0.1", 7001, 1), AT("10.0.0.2", 7002, 1)};
  start_peers(peers, sayings, ports, 2);
  for (int steps = 0; steps < 40; steps++) {
    view v;
    assert_true(open_view(&v, ports, 2));
    dsc_sentinel_ask(v.sentinel, NULL);
    for (int i = 0; i < steps; i++) dsc_loop_run(v.loop, i < 20 ? 0 : 1);
    if (v.answers) settle(&v, v.master);
    close_view(&v);
  }
  stop_peers(peers, 2);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  saying sayings[] = {AT("10.0.0.1", 7001, 1), AT("10.0.0.1", 7001, 1)};
  bool reached = true;
  start_peers(peers, sayings, ports, 2);
  for (size_t n = 1; reached && n < 500; n++) {
    size_t blocks, bytes, blocks_after, bytes_after;
    dsc_mem_usage(&blocks, &bytes);
    dsc_mem_fail_at(n, false);
    view v;
    bool made = open_view(&v, ports, 2);
    if (made) dsc_sentinel_ask(v.sentinel, NULL);
    if (made) run(&v, &v.answers, 3000);
    int never = 0;
    if (made) run(&v, &never, 2);
    reached = dsc_mem_asked() >= n;
    dsc_mem_fail_at(0, false);
    assert_int_equal(v.answers, made);
    if (made && v.err) assert_int_equal(v.err, DSC_ECONNECT);
    close_view(&v);
    dsc_mem_usage(&blocks_after, &bytes_after);
    assert_int_equal(blocks_after, blocks);
  }
  assert_false(reached);
  stop_peers(peers, 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(who_answers_is_asked_first_the_next_time),
      cmocka_unit_test(who_has_failed_is_named_only_by_all),
      cmocka_unit_test(no_answer_and_no_master_are_two_things),
      cmocka_unit_test(the_latest_election_counts_then_most),
      cmocka_unit_test(what_is_announced_is_told_at_once),
      cmocka_unit_test(others_are_learned_unless_they_are_down),
      cmocka_unit_test(it_may_be_closed_at_any_time),
      cmocka_unit_test(every_allocation_may_fail),
  };
  signal(SIGPIPE, SIG_IGN);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
