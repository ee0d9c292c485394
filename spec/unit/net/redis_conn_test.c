/*
** redis_conn_test.c - one connection, against scripted peers that are slow, odd or hostile, and against a real Redis.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#include "net/redis_probe.h"

/* A peer that accepts once, reads a little, writes its text, and closes (or stays mute). */
typedef struct scripted {
  int fd, port;
  const char *text;
  size_t n, repeat;
  bool stays;
  atomic_bool over;
  pthread_t thread;
} scripted;

static void *play(void *arg) {
  scripted *p = arg;
  char buf[4096];
  int fd = accept(p->fd, NULL, NULL);
  if (fd < 0) return NULL;
  struct pollfd in = {.fd = fd, .events = POLLIN};
  poll(&in, 1, 1000);
  ssize_t n = recv(fd, buf, sizeof buf, MSG_DONTWAIT);
  for (size_t i = 0; n >= 0 && i <= p->repeat; i++) {
    if (send(fd, p->text, p->n, MSG_NOSIGNAL) < 0) break;
  }
  while (p->stays && !atomic_load(&p->over)) test_nap_ms(2);
  close(fd);
  return NULL;
}

static void begin_script(scripted *p, const char *text, bool stays) {
  *p = (scripted){.text = text, .n = strlen(text), .stays = stays};
  p->fd = test_listen(0, &p->port);
  pthread_create(&p->thread, NULL, play, p);
}

static void end_script(scripted *p) {
  atomic_store(&p->over, true);
  shutdown(p->fd, SHUT_RDWR);
  pthread_join(p->thread, NULL);
  close(p->fd);
}

/* Expects that a peer with this text brings the connection down, with `why` in the sentence. */
static void expect_down(const char *text, bool stays, dsc_redis_down down, const char *why) {
  scripted peer;
  probe p;
  begin_script(&peer, text, stays);
  open_probe(&p, peer.port, false, 300);
  run(&p, &p.downs, 3000);
  assert_int_equal(p.downs, 1);
  if (!strstr(p.why, why)) print_message("%s: %s\n", text, p.why);
  assert_non_null(strstr(p.why, why));
  assert_int_equal(p.down, down);
  close_probe(&p);
  end_script(&peer);
}

static void bad_greetings_end_in_words(void **state) {
  (void)state;
  expect_down("", false, DSC_REDIS_DOWN_UNREACHABLE, "closed the connection");
  expect_down("", true, DSC_REDIS_DOWN_UNREACHABLE, "no answer within 300 ms");
  expect_down("+OK\r\n+OK\r\n", true, DSC_REDIS_DOWN_UNREACHABLE, "no answer");
  expect_down("HTTP/1.1 400 Bad Request\r\n\r\n", true, DSC_REDIS_DOWN_UNREACHABLE, "protocol");
  expect_down("-NOAUTH Authentication required.\r\n+OK\r\n+PONG\r\n", true, DSC_REDIS_DOWN_DENIED, "NOAUTH");
  expect_down("+OK\r\n-WRONGPASS no\r\n+PONG\r\n", true, DSC_REDIS_DOWN_DENIED, "WRONGPASS");
  expect_down("+OK\r\n+OK\r\n-LOADING Redis is loading\r\n", true, DSC_REDIS_DOWN_UNREACHABLE, "LOADING");
  expect_down("+OK\r\n-ERR DB index is out of range\r\n+PONG\r\n", true, DSC_REDIS_DOWN_UNREACHABLE, "out of range");
  expect_down("-ERR max number of clients reached\r\n", false, DSC_REDIS_DOWN_UNREACHABLE, "");
  expect_down(":1\r\n:1\r\n:1\r\n", true, DSC_REDIS_DOWN_UNREACHABLE, "odd");
  expect_down("*2147483647\r\n", true, DSC_REDIS_DOWN_UNREACHABLE, "larger");
  expect_down("+OK\r\n+OK\r\n+PONG\r\n:1\r\n", true, DSC_REDIS_DOWN_LOST, "nobody asked");
  expect_down("+OK\r\n+OK\r\n+PONG\r\n", false, DSC_REDIS_DOWN_LOST, "closed the connection");
}

static void a_refused_port_is_told(void **state) {
  (void)state;
  probe p;
  open_probe(&p, test_free_port(), false, 300);
  run(&p, &p.downs, 2000);
  assert_int_equal(p.down, DSC_REDIS_DOWN_UNREACHABLE);
  assert_non_null(strstr(p.why, "refused"));
  close_probe(&p);
}

static void an_endless_line_is_cut(void **state) {
  (void)state;
  scripted peer;
  probe p;
  static char line[65537];
  memset(line, 'x', 65536);
  line[0] = '+';
  begin_script(&peer, line, true);
  peer.repeat = 64;
  open_probe(&p, peer.port, false, 2000);
  run(&p, &p.downs, 5000);
  assert_non_null(strstr(p.why, "bytes"));
  close_probe(&p);
  end_script(&peer);
}

static void a_name_may_be_refused(void **state) {
  (void)state;
  scripted peer;
  probe p;
  begin_script(&peer, "-NOPERM no\r\n+OK\r\n+PONG\r\n", true);
  open_probe(&p, peer.port, false, 500);
  run(&p, &p.ready, 2000);
  assert_int_equal(p.ready, 1);
  close_probe(&p);
  end_script(&peer);
}

static void silence_ends_every_batch_once(void **state) {
  (void)state;
  scripted peer;
  probe p;
  begin_script(&peer, "+OK\r\n+OK\r\n+PONG\r\n", true);
  open_probe(&p, peer.port, false, 300);
  assert_int_equal(send_ping(&p, 1), DSC_EREGISTRY);
  run(&p, &p.ready, 2000);
  for (int i = 0; i < 5; i++) assert_int_equal(send_ping(&p, 3), DSC_OK);
  assert_int_equal(p.done, 0);
  run(&p, &p.downs, 2000);
  assert_int_equal(p.done, 5);
  assert_int_equal(p.err, DSC_ETIMEOUT);
  assert_non_null(strstr(p.why, "no reply within"));
  close_probe(&p);
  end_script(&peer);
}

static void a_mute_subscription_is_pinged_and_dropped(void **state) {
  (void)state;
  scripted peer;
  probe p;
  begin_script(&peer, "+OK\r\n+OK\r\n+PONG\r\n", true);
  open_probe(&p, peer.port, true, 300);
  uint64_t before = test_now_ms();
  run(&p, &p.downs, 3000);
  assert_int_equal(p.down, DSC_REDIS_DOWN_LOST);
  assert_true(test_now_ms() - before >= 390);
  close_probe(&p);
  end_script(&peer);
}

static redis_server server;

static void works_with_redis(void **state) {
  (void)state;
  probe p;
  memset(&server, 0, sizeof server);
  assert_true(redis_start(&server));
  open_probe(&p, server.port, false, 2000);
  run(&p, &p.ready, 2000);
  assert_int_equal(send_ping(&p, 2), DSC_OK);
  run(&p, &p.done, 2000);
  assert_int_equal(p.err, DSC_OK);
  assert_string_equal(p.reply, "PONG");
  assert_non_null(strstr(redis(&server, "CLIENT LIST TYPE normal"), "name=discover-test"));
  assert_int_equal(send_ping(&p, 1), DSC_OK);
  p.done = 0;
  dsc_redis_conn_close(p.conn);
  assert_int_equal(send_ping(&p, 1), DSC_EREGISTRY);
  run(&p, &p.downs, 2000);
  assert_int_equal(p.done, 1);
  assert_int_equal(p.err, DSC_ECLOSED);
  close_probe(&p);
}

static void hears_messages(void **state) {
  (void)state;
  probe p;
  open_probe(&p, server.port, true, 2000);
  run(&p, &p.ready, 2000);
  dsc_str words[2] = {DSC_STR_LITERAL("SUBSCRIBE"), DSC_STR_LITERAL("CH_x")};
  assert_int_equal(dsc_redis_conn_send(p.conn, &(dsc_redis_command){2, words}, 1, on_done, &p), DSC_OK);
  run(&p, &p.done, 2000);
  redis(&server, "PUBLISH CH_x \"a b\"");
  run(&p, &p.messages, 2000);
  assert_string_equal(p.message, "CH_x|a b");
  /* silence: it is pinged, answers, and stays */
  uint64_t end = test_now_ms() + 500;
  while (test_now_ms() < end) dsc_loop_run(p.loop, 10);
  assert_int_equal(p.downs, 0);
  words[0] = DSC_STR_LITERAL("UNSUBSCRIBE");
  p.done = 0;
  assert_int_equal(dsc_redis_conn_send(p.conn, &(dsc_redis_command){2, words}, 1, on_done, &p), DSC_OK);
  run(&p, &p.done, 2000);
  assert_int_equal(p.err, DSC_OK);
  close_probe(&p);
}

static void may_be_closed_at_any_time(void **state) {
  (void)state;
  size_t blocks, after;
  dsc_mem_usage(&blocks, NULL);
  for (int rounds = 0; rounds < 12; rounds++) {
    probe p;
    open_probe(&p, server.port, rounds % 2, 2000);
    for (int i = 0; i < rounds / 2; i++) dsc_loop_run(p.loop, 0);
    close_probe(&p);
  }
  probe p;
  open_probe(&p, server.port, false, 2000);
  p.close_when_ready = true;
  run(&p, &p.downs, 2000);
  assert_int_equal(p.down, DSC_REDIS_DOWN_CLOSED);
  close_probe(&p);
  dsc_mem_usage(&after, NULL);
  assert_int_equal(blocks, after);
  redis_stop(&server);
}

int main(void) {
  sigset_t pipe_set;
  sigemptyset(&pipe_set);
  sigaddset(&pipe_set, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_set, NULL); /* as in the registry's thread */
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bad_greetings_end_in_words),
      cmocka_unit_test(a_refused_port_is_told),
      cmocka_unit_test(an_endless_line_is_cut),
      cmocka_unit_test(a_name_may_be_refused),
      cmocka_unit_test(silence_ends_every_batch_once),
      cmocka_unit_test(a_mute_subscription_is_pinged_and_dropped),
      cmocka_unit_test(works_with_redis),
      cmocka_unit_test(hears_messages),
      cmocka_unit_test(may_be_closed_at_any_time),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
