/*
** registry_shared_test.c - one registry for many holders, and what the process does with registries: leaving without
** waiting, exit, signals, fork, many times over.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <sys/stat.h>

#include "support/ear.h"

#define NODE "10.0.0.1:80"

static redis_server server;

static int start_server(void **state) {
  (void)state;
  memset(&server, 0, sizeof server);
  return redis_start(&server) ? 0 : -1;
}

static int stop_server(void **state) {
  (void)state;
  redis_stop(&server);
  return 0;
}

static bool in_redis(const char *app, const char *addr) {
  const char *answer =
      redis(&server, "EVAL \"redis.call('SELECT',15) return redis.call('HEXISTS','%s','%s')\" 0", app, addr);
  return strcmp(answer, "1") == 0;
}

static int count_in(const char *path) {
  DIR *dir = opendir(path);
  int n = 0;
  while (readdir(dir)) n++;
  closedir(dir);
  return n - 2;
}

/* Without a descriptor: others open and close theirs meanwhile. */
static int count_threads(void) {
  struct stat st;
  return stat("/proc/self/task", &st) == 0 ? (int)st.st_nlink - 2 : -1;
}

static int base_threads;

static void share(member *m) {
  member_init(m);
  m->shared = true;
  assert_int_equal(member_join(m, &server), DSC_OK);
}

static void holders_share_everything(void **state) {
  (void)state;
  member a, b, alone;
  share(&a);
  share(&b);
  assert_ptr_equal(a.registry, b.registry);
  member_init(&alone);
  member_join(&alone, &server);
  assert_ptr_not_equal(a.registry, alone.registry);
  member_follow(&a, "shop", false);
  assert_true(EVENTUALLY(member_state(&b, "shop") == DSC_APP_READ, 2000));
  member_register(&alone, "shop", NODE, 5);
  assert_true(EVENTUALLY(member_weight(&b, "shop", NODE) == 5, 2000));
  assert_int_equal(a.ear.events[DSC_EVENT_NODE_ADDED], 1);
  assert_int_equal(b.ear.events[DSC_EVENT_NODE_ADDED], 1);
  member_close(&alone);
  /* registrations are counted; weight and metadata of the last one hold */
  member_register(&a, "shop", "10.0.0.2:80", 1);
  member_register(&b, "shop", "10.0.0.2:80", 2);
  assert_true(EVENTUALLY(member_weight(&b, "shop", "10.0.0.2:80") == 2, 2000));
  assert_true(member_unregister(&a, "shop", "10.0.0.2:80", 1000));
  test_nap_ms(100);
  assert_true(in_redis("shop", "10.0.0.2:80"));
  assert_true(member_unregister(&b, "shop", "10.0.0.2:80", 1000));
  assert_false(in_redis("shop", "10.0.0.2:80"));
  member_close(&a);
  member_close(&b);
}

static void options_must_be_equal(void **state) {
  (void)state;
  member a, b;
  char text[96];
  share(&a);
  member_init(&b);
  b.shared = true;
  b.timing.ttl_ms = 20000;
  assert_int_equal(member_join(&b, &server), DSC_EINVALID);
  assert_non_null(strstr(b.why.text, "ttl"));
  b.timing.ttl_ms = 10000;
  snprintf(text, sizeof text, "redis://:secret@127.0.0.1:%d/15", server.port);
  assert_int_equal(member_open(&b, text), DSC_EINVALID);
  assert_non_null(strstr(b.why.text, "password"));
  assert_null(strstr(b.why.text, "secret"));
  snprintf(text, sizeof text, "redis://127.0.0.1:%d/15?id=2", server.port);
  assert_int_equal(member_open(&b, text), DSC_OK);
  assert_ptr_not_equal(a.registry, b.registry);
  member_close(&a);
  member_close(&b);
}

static void outlives_its_last_holder(void **state) {
  (void)state;
  member a, b;
  assert_true(EVENTUALLY(count_threads() == base_threads, 10000)); /* those of earlier cases have ended */
  share(&a);
  dsc_registry *first = a.registry;
  member_follow(&a, "shop", false);
  assert_true(EVENTUALLY(member_state(&a, "shop") == DSC_APP_READ, 2000));
  member_close(&a);
  share(&b);
  assert_ptr_equal(b.registry, first);
  assert_int_equal(member_state(&b, "shop"), DSC_APP_READ);
  member_close(&b);
  assert_true(ALWAYS(count_threads() == base_threads + 1, 4000));
  assert_true(EVENTUALLY(count_threads() == base_threads, 4000));
  share(&b);
  assert_int_equal(member_state(&b, "shop"), DSC_APP_UNKNOWN);
  member_close(&b);
}

static void memory_may_be_shared(void **state) {
  (void)state;
  member a, b;
  member_init(&a);
  member_init(&b);
  a.shared = b.shared = true;
  assert_int_equal(member_open(&a, "memory://s"), DSC_OK);
  assert_int_equal(member_open(&b, "memory://s"), DSC_OK);
  assert_ptr_equal(a.registry, b.registry);
  member_close(&a);
  member_close(&b);
}

static void leaving_without_waiting_says_goodbye(void **state) {
  (void)state;
  member a;
  member_init(&a);
  member_join(&a, &server);
  member_register(&a, "shop", NODE, 1);
  assert_true(EVENTUALLY(in_redis("shop", NODE), 2000));
  uint64_t before = test_now_ms();
  dsc_registry_close(a.registry, &a.ear.listener, false);
  assert_true((double)(test_now_ms() - before) <= 500 * test_slow());
  assert_true(EVENTUALLY(!in_redis("shop", NODE), 1000));
  assert_true(EVENTUALLY(count_threads() == base_threads, 10000)); /* with those of earlier cases */
  member_open(&a, ""); /* takes the ended one in */
  member_close(&a);
}

static void cycles_leave_nothing(void **state) {
  (void)state;
  size_t blocks = 0, after;
  int files = 0;
  for (int i = 0; i < 200; i++) {
    member a;
    member_init(&a);
    if (i % 50 == 7) dsc_mem_usage(&blocks, NULL), files = count_in("/proc/self/fd");
    member_join(&a, &server);
    member_follow(&a, "shop", false);
    member_register(&a, "shop", NODE, 1);
    if (i % 3) assert_true(EVENTUALLY(member_weight(&a, "shop", NODE) == 1, 2000));
    if (i % 2) member_unregister(&a, "shop", NODE, 0);
    member_close(&a);
    dsc_mem_usage(&after, NULL);
    if (blocks) assert_int_equal(blocks, after);
    if (blocks) assert_int_equal(files, count_in("/proc/self/fd"));
  }
  assert_false(in_redis("shop", NODE));
}

/* Runs `what` in a child that has just registered; returns its wait status. */
static int run_child(void (*what)(member *m), bool signals, int signal_number) {
  int ready[2];
  char byte;
  assert_int_equal(pipe(ready), 0);
  pid_t pid = fork();
  if (pid == 0) {
    static member m;
    member_init(&m);
    m.signals = signals;
    if (member_join(&m, &server) != DSC_OK) _exit(90);
    member_register(&m, "shop", NODE, 1);
    if (!EVENTUALLY(member_registered(&m, "shop", NODE), 3000)) _exit(91);
    if (write(ready[1], "x", 1) != 1) _exit(92);
    what(&m);
    _exit(93);
  }
  close(ready[1]);
  assert_int_equal(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  if (signal_number) kill(pid, signal_number);
  int status = -1;
  waitpid(pid, &status, 0);
  return status;
}

static void just_exit(member *m) {
  (void)m;
  exit(7);
}

static void wait_for_signal(member *m) {
  (void)m;
  for (;;) pause();
}

static void fork_and_end_child(member *m) {
  pid_t pid = fork();
  if (pid == 0) {
    /* what was inherited only forgets */
    dsc_table *table;
    if (dsc_registry_follow(m->registry, dsc_str_of("x"), false, false, &table, NULL) != DSC_EFORKED) _exit(1);
    if (member_unregister(m, "shop", NODE, 100)) _exit(2);
    if (dsc_registry_is_up(m->registry)) _exit(3);
    member_close(m);
#ifdef __SANITIZE_THREAD__
    _exit(0); /* it allows no new threads here, and would look for those of the parent */
#endif
    /* and a new one works */
    member n;
    member_init(&n);
    if (member_join(&n, &server) != DSC_OK) _exit(4);
    member_register(&n, "shop", "10.0.0.2:80", 1);
    if (!EVENTUALLY(member_registered(&n, "shop", "10.0.0.2:80"), 3000)) _exit(5);
    member_close(&n);
    exit(0);
  }
  int status;
  waitpid(pid, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) _exit(WEXITSTATUS(status));
  if (!in_redis("shop", NODE)) _exit(6);
  member_close(m);
  _exit(in_redis("shop", NODE) ? 8 : 0);
}

static void fork_and_kill_child(member *m) {
  pid_t pid = fork();
  if (pid == 0) {
    for (;;) pause();
  }
  /* a signal for the child is the child's alone */
  int status;
  test_nap_ms(50);
  kill(pid, SIGTERM);
  waitpid(pid, &status, 0);
  if (!WIFSIGNALED(status)) _exit(1);
  test_nap_ms(300);
  _exit(in_redis("shop", NODE) && member_registered(m, "shop", NODE) ? 0 : 2);
}

static void exit_says_goodbye(void **state) {
  (void)state;
  int status = run_child(just_exit, false, 0);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 7);
  assert_false(in_redis("shop", NODE));
}

static void signals_say_goodbye(void **state) {
  (void)state;
  static const int numbers[] = {SIGTERM, SIGINT};
  for (int i = 0; i < 2; i++) {
    int status = run_child(wait_for_signal, true, numbers[i]);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), numbers[i]);
    assert_false(in_redis("shop", NODE));
  }
  int status = run_child(wait_for_signal, false, SIGTERM);
  assert_true(WIFSIGNALED(status));
  assert_true(in_redis("shop", NODE));
}

static void children_only_forget(void **state) {
  (void)state;
  int status = run_child(fork_and_end_child, false, 0);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
  status = run_child(fork_and_kill_child, true, 0);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

static void *nothing(void *arg) {
  return arg;
}

int main(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, nothing, NULL); /* a sanitizer may start one of its own at the first */
  pthread_join(thread, NULL);
  base_threads = count_threads();
#define CASE(name) cmocka_unit_test_setup_teardown(name, start_server, stop_server)
  const struct CMUnitTest tests[] = {
      CASE(cycles_leave_nothing),     CASE(holders_share_everything), CASE(options_must_be_equal),
      CASE(outlives_its_last_holder), CASE(memory_may_be_shared),     CASE(leaving_without_waiting_says_goodbye),
      CASE(exit_says_goodbye),        CASE(signals_say_goodbye),      CASE(children_only_forget),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
