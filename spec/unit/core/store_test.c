/*
** store_test.c - the store over Redis against a scripted peer that answers what it likes, through the registry that sits on it; and
** the hub of the memory store by itself.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/store.h"
#include "support/ear.h"

#define NODE "10.0.0.1:80"

/* A server that greets well and answers every later command with one text. */
typedef struct liar {
  int fd, port;
  const char *answer;
  atomic_int connections, commands;
  atomic_bool over;
  pthread_t thread;
} liar;

/* One connection of a liar. */
typedef struct lie {
  liar *liar;
  int fd;
  pthread_t thread;
} lie;

static void answer_all(lie *l, const char *bytes, ssize_t n) {
  for (ssize_t i = 0; i < n; i++) {
    if (bytes[i] != '*') continue;
    const char *text = l->liar->answer;
    const char *rest = memchr(bytes + i, '$', (size_t)(n - i));
    if (rest && (strstr(rest, "SETNAME") == rest + 16 || strncmp(rest + 4, "SELECT", 6) == 0)) text = "+OK\r\n";
    if (rest && strncmp(rest + 4, "PING", 4) == 0) text = "+PONG\r\n";
    if (text != l->liar->answer || strcmp(text, "+PONG\r\n") == 0) {
      if (send(l->fd, text, strlen(text), MSG_NOSIGNAL) < 0) return;
      continue;
    }
    atomic_fetch_add(&l->liar->commands, 1);
    if (send(l->fd, text, strlen(text), MSG_NOSIGNAL) < 0) return;
  }
}

static void *lie_on(void *arg) {
  lie *l = arg;
  static _Thread_local char bytes[65537];
  while (!atomic_load(&l->liar->over)) {
    struct pollfd p = {.fd = l->fd, .events = POLLIN};
    if (poll(&p, 1, 10) <= 0) continue;
    ssize_t n = recv(l->fd, bytes, sizeof bytes - 1, 0);
    if (n <= 0) break;
    bytes[n] = '\0';
    answer_all(l, bytes, n);
  }
  close(l->fd);
  return NULL;
}

static void *take_all(void *arg) {
  liar *server = arg;
  static lie lies[4096];
  int n = 0;
  while (!atomic_load(&server->over)) {
    struct pollfd p = {.fd = server->fd, .events = POLLIN};
    if (poll(&p, 1, 10) <= 0 || n == 4096) continue;
    lies[n] = (lie){.liar = server, .fd = accept(server->fd, NULL, NULL)};
    if (lies[n].fd < 0) continue;
    atomic_fetch_add(&server->connections, 1);
    pthread_create(&lies[n].thread, NULL, lie_on, &lies[n]);
    n++;
  }
  for (int i = 0; i < n; i++) pthread_join(lies[i].thread, NULL);
  return NULL;
}

static void begin_lies(liar *server, const char *answer) {
  memset(server, 0, sizeof *server);
  server->answer = answer;
  server->fd = test_listen(0, &server->port);
  pthread_create(&server->thread, NULL, take_all, server);
}

static void end_lies(liar *server) {
  atomic_store(&server->over, true);
  pthread_join(server->thread, NULL);
  close(server->fd);
}

static void odd_answers_never_crash_nor_spin(void **state) {
  (void)state;
  static const char *const answers[] = {
      "+OK\r\n",
      ":1\r\n",
      "$-1\r\n",
      "$3\r\nabc\r\n",
      "*0\r\n",
      "*-1\r\n",
      "*3\r\n:1\r\n:2\r\n:3\r\n",
      "*2\r\n$11\r\n10.0.0.1:80\r\n$1\r\n1\r\n",
      "*3\r\n$7\r\nmessage\r\n$7\r\nCH_shop\r\n$13\r\n10.0.0.9:80 1\r\n",
      "*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n:1\r\n",
      "*1000000000\r\n",
      "-NOAUTH Authentication required.\r\n",
      "-LOADING Redis is loading the dataset in memory\r\n",
      "-READONLY You can't write against a read only replica.\r\n",
      "-WRONGTYPE Operation against a key\r\n",
      "-\r\n",
      "\r\n",
      "garbage\r\n",
      "$99999999999\r\n",
      "+OK\r\n+OK\r\n",
  };
  for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
    liar server;
    member a;
    char text[64];
    begin_lies(&server, answers[i]);
    member_init(&a);
    a.timing = (dsc_registry_timing){.heartbeat_ms = 100, .ttl_ms = 1200, .resync_ms = 100, .stale_grace_ms = 1000};
    snprintf(text, sizeof text, "redis://127.0.0.1:%d/1", server.port);
    assert_int_equal(member_open(&a, text), DSC_OK);
    member_follow(&a, "shop", false);
    member_register(&a, "shop", NODE, 1);
    test_nap_ms(400);
    /* full jitter from 0.1 s on: ten a second for each of two connections would already be far too many */
    assert_true(atomic_load(&server.connections) < 20);
    assert_true(atomic_load(&server.commands) < 200);
    uint64_t before = test_now_ms();
    member_close(&a);
    assert_true((double)(test_now_ms() - before) <= 1500 * test_slow());
    end_lies(&server);
  }
}

/* ---- the memory store by itself */

typedef struct heard {
  int states, subscribed, messages, done;
  char text[512];
  dsc_store *store;
} heard;

static void on_state(void *ud, bool commands, bool messages, bool denied, const char *why) {
  heard *h = ud;
  h->states += commands && messages && !denied && !why[0];
}

static void on_subscribed(void *ud, dsc_str app) {
  heard *h = ud;
  h->subscribed += dsc_str_equal(app, dsc_str_of("shop"));
}

static void on_refused(void *ud, dsc_str app, const char *why) {
  (void)ud;
  (void)app;
  (void)why;
}

static void on_message(void *ud, dsc_str app, dsc_str text) {
  heard *h = ud;
  size_t n = strlen(h->text);
  snprintf(h->text + n, sizeof h->text - n, "%.*s:%.*s;", DSC_STR_ARG(app), DSC_STR_ARG(text));
  h->messages++;
}

static void on_done(void *ud, const dsc_store_answer *answer) {
  heard *h = ud;
  h->done += answer->err == DSC_OK;
}

/* Puts its own node back at every goodbye: the nested message must come after the one that caused it, for all. */
static void on_message_put(void *ud, dsc_str app, dsc_str text) {
  heard *h = ud;
  on_message(ud, app, text);
  if (!dsc_str_equal(text, dsc_str_of(NODE " 0")) || h->messages > 4) return;
  dsc_store_node node = {.app = app, .addr = dsc_str_of(NODE), .weight = 2};
  assert_int_equal(h->store->ops->put(h->store, &node, on_done, h), DSC_OK);
}

static void join(heard *h, bool puts) {
  memset(h, 0, sizeof *h);
  dsc_store_events events = {.ud = h,
                             .on_state = on_state,
                             .on_subscribed = on_subscribed,
                             .on_refused = on_refused,
                             .on_message = puts ? on_message_put : on_message};
  h->store = dsc_store_memory_new(dsc_str_of("store-test"), &events);
  assert_non_null(h->store);
  pthread_mutex_lock(dsc_store_memory_lock());
  assert_int_equal(h->store->ops->start(h->store), DSC_OK);
  assert_int_equal(h->store->ops->follow(h->store, dsc_str_of("shop")), DSC_OK);
  pthread_mutex_unlock(dsc_store_memory_lock());
}

static void leave(heard *h) {
  pthread_mutex_lock(dsc_store_memory_lock());
  h->store->ops->close(h->store);
  assert_true(h->store->ops->is_closed(h->store));
  pthread_mutex_unlock(dsc_store_memory_lock());
  h->store->ops->destroy(h->store);
}

static void all_hear_all_in_order(void **state) {
  (void)state;
  heard a, b, c;
  join(&a, true);
  join(&b, false);
  join(&c, false);
  dsc_store_node node = {.app = dsc_str_of("shop"), .addr = dsc_str_of(NODE), .weight = 0};
  pthread_mutex_lock(dsc_store_memory_lock());
  assert_int_equal(c.store->ops->remove(c.store, &node, on_done, &c), DSC_OK);
  pthread_mutex_unlock(dsc_store_memory_lock());
  static const char order[] = "shop:" NODE " 0;shop:" NODE " 2;";
  assert_string_equal(a.text, order);
  assert_string_equal(b.text, order);
  assert_string_equal(c.text, order);
  assert_int_equal(a.states, 1);
  assert_int_equal(a.subscribed, 1);
  leave(&a);
  leave(&b);
  leave(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(odd_answers_never_crash_nor_spin),
      cmocka_unit_test(all_hear_all_in_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
