/*
** watcher_test.c - the thread that waits for others: tells once, never after the end of a watch, starts and ends.
*/
#include "net/watcher.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "base/check.h"
#include "base/clock.h"

#define PATIENCE_MS 20000

typedef struct ear {
  dsc_watch *watch;
  int fd;
  atomic_int told, inside, held;
} ear;

static void on_told(void *ud) {
  ear *e = ud;
  atomic_store(&e->inside, 1);
  atomic_fetch_add(&e->told, 1);
  while (atomic_load(&e->held)) usleep(500);
  atomic_store(&e->inside, 0);
}

static void open_ear(ear *e) {
  memset(e, 0, sizeof *e);
  e->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  assert_true(e->fd >= 0);
  assert_int_equal(dsc_watch_new(&e->watch, e->fd, on_told, e), DSC_OK);
}

static void close_ear(ear *e) {
  dsc_watch_free(e->watch);
  close(e->fd);
}

static void ring(ear *e) {
  assert_int_equal(eventfd_write(e->fd, 1), 0);
}

static void hush(ear *e) {
  eventfd_t n;
  eventfd_read(e->fd, &n);
}

static void until_told(ear *e, int times) {
  uint64_t until = dsc_clock_now_ms() + PATIENCE_MS;
  while (atomic_load(&e->told) < times && dsc_clock_now_ms() < until) usleep(200);
  assert_int_equal(atomic_load(&e->told), times);
}

/* Whatever was to be told before this is told: the thread serves one after the other. */
static void pass_round(void) {
  ear last;
  open_ear(&last);
  ring(&last);
  dsc_watch_arm(last.watch);
  until_told(&last, 1);
  close_ear(&last);
}

static int count_threads(void) {
  int n = 0;
  DIR *dir = opendir("/proc/self/task");
  assert_non_null(dir);
  for (struct dirent *at; (at = readdir(dir));) n += at->d_name[0] != '.';
  closedir(dir);
  return n;
}

/* A thread that was joined is seen there a moment longer. */
static bool has_threads(int wanted) {
  uint64_t until = dsc_clock_now_ms() + PATIENCE_MS;
  while (count_threads() != wanted && dsc_clock_now_ms() < until) usleep(200);
  return count_threads() == wanted;
}

TEST(it_tells_once_until_it_is_armed_again) {
  ear e;
  open_ear(&e);
  ring(&e);
  pass_round();
  assert_int_equal(atomic_load(&e.told), 0); /* not armed yet */
  dsc_watch_arm(e.watch);
  until_told(&e, 1);
  ring(&e);
  pass_round();
  assert_int_equal(atomic_load(&e.told), 1);
  dsc_watch_arm(e.watch); /* it still is readable */
  until_told(&e, 2);
  hush(&e);
  dsc_watch_arm(e.watch);
  dsc_watch_arm(e.watch);
  pass_round();
  assert_int_equal(atomic_load(&e.told), 2);
  ring(&e);
  until_told(&e, 3);
  close_ear(&e);
}

TEST(a_hang_up_is_not_told_unasked) {
  ear e = {0};
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  close(ends[1]);
  assert_int_equal(dsc_watch_new(&e.watch, ends[0], on_told, &e), DSC_OK);
  pass_round();
  assert_int_equal(atomic_load(&e.told), 0);
  dsc_watch_arm(e.watch);
  until_told(&e, 1);
  dsc_watch_free(e.watch);
  close(ends[0]);
}

static void *free_watch(void *arg) {
  ear *e = arg;
  dsc_watch_free(e->watch);
  return (void *)(intptr_t)atomic_load(&e->inside);
}

TEST(after_its_end_it_does_not_run) {
  ear e, other; /* so that the thread goes on: joining it would wait as well */
  pthread_t thread;
  void *was_inside;
  open_ear(&other);
  open_ear(&e);
  atomic_store(&e.held, 1);
  ring(&e);
  dsc_watch_arm(e.watch);
  until_told(&e, 1);
  assert_int_equal(pthread_create(&thread, NULL, free_watch, &e), 0);
  usleep(20000); /* more likely than not it waits by now; the test holds whether or not */
  assert_int_equal(atomic_load(&e.inside), 1);
  atomic_store(&e.held, 0);
  pthread_join(thread, &was_inside);
  assert_null(was_inside);
  assert_int_equal(atomic_load(&e.told), 1);
  close(e.fd);
  close_ear(&other);
  dsc_watch_free(NULL);
}

TEST(the_thread_lives_as_long_as_watches) {
  int before = count_threads();
  for (int round = 0; round < 50; round++) {
    ear first, second;
    open_ear(&first);
    open_ear(&second);
    assert_int_equal(dsc_watch_count(), 2);
    assert_true(has_threads(before + 1));
    ring(&second);
    dsc_watch_arm(second.watch);
    close_ear(&first);
    until_told(&second, 1);
    close_ear(&second);
    assert_int_equal(dsc_watch_count(), 0);
    assert_true(has_threads(before));
  }
}

static atomic_int refused;

static void watch_inside(void *ud) {
  dsc_watch *watch;
  atomic_store(&refused, dsc_watch_new(&watch, *(int *)ud, on_told, NULL) == DSC_EIO ? 1 : -1);
}

TEST(what_can_not_be_watched) {
  dsc_watch *watch;
  assert_int_equal(dsc_watch_new(&watch, -1, on_told, NULL), DSC_EIO);
  assert_null(watch);
  assert_int_equal(dsc_watch_count(), 0);
  int fd = eventfd(1, EFD_CLOEXEC);
  assert_int_equal(dsc_watch_new(&watch, fd, watch_inside, &fd), DSC_OK);
  dsc_watch_arm(watch);
  uint64_t until = dsc_clock_now_ms() + PATIENCE_MS;
  while (!atomic_load(&refused) && dsc_clock_now_ms() < until) usleep(200);
  assert_int_equal(atomic_load(&refused), 1);
  dsc_watch_free(watch);
  close(fd);
}

static bool make_one(void) {
  dsc_watch *watch;
  int fd = eventfd(0, EFD_CLOEXEC);
  bool made = dsc_watch_new(&watch, fd, on_told, NULL) == DSC_OK;
  dsc_watch_free(watch);
  close(fd);
  return made;
}

TEST(memory_that_fails) {
  assert_true(fail_each_allocation(make_one) > 0);
}

/* Many owners, one thread: each is told for each ring, and every end holds. */
static void *worker(void *arg) {
  for (int round = 0; round < 60; round++) {
    ear e;
    open_ear(&e);
    for (int i = 1; i <= 5; i++) {
      ring(&e);
      dsc_watch_arm(e.watch);
      until_told(&e, i);
      hush(&e);
    }
    ring(&e);
    dsc_watch_arm(e.watch);
    dsc_watch_free(e.watch);
    assert_int_equal(atomic_load(&e.inside), 0);
    atomic_store(&e.told, -1000);
    usleep(50);
    assert_int_equal(atomic_load(&e.told), -1000);
    close(e.fd);
  }
  return arg;
}

TEST(many_owners) {
  enum { OWNERS = 6 };
  pthread_t threads[OWNERS];
  for (int i = 0; i < OWNERS; i++) assert_int_equal(pthread_create(&threads[i], NULL, worker, NULL), 0);
  for (int i = 0; i < OWNERS; i++) pthread_join(threads[i], NULL);
  assert_int_equal(dsc_watch_count(), 0);
}

/* The thread sanitizer lets no child start a thread. */
#ifdef __SANITIZE_THREAD__
#define CHILD_HAS_THREADS false
#else
#define CHILD_HAS_THREADS true
#endif

static ear parents;

static int use_in_child(void) {
  dsc_watch_arm(parents.watch);
  dsc_watch_free(parents.watch); /* forgotten */
  if (dsc_watch_count() != 0) return 1;
  if (!CHILD_HAS_THREADS) return 0;
  if (!has_threads(1)) return 3;
  ear own;
  open_ear(&own);
  ring(&own);
  dsc_watch_arm(own.watch);
  until_told(&own, 1);
  close_ear(&own);
  return has_threads(1) ? 0 : 2;
}

TEST(a_child_has_none) {
  open_ear(&parents);
  for (int i = 1; i <= 5; i++) {
    assert_int_equal(in_child(use_in_child), 0);
    ring(&parents);
    dsc_watch_arm(parents.watch);
    until_told(&parents, i);
    hush(&parents);
  }
  close_ear(&parents);
}

static void on_exit_told(void *ud) {
  ring(ud);
}

/* The process ends with an armed watch, and with its function running again and again. */
static int exit_with_one(void) {
  static ear e;
  e.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
  if (dsc_watch_new(&e.watch, e.fd, on_exit_told, &e) != DSC_OK) return 1;
  dsc_watch_arm(e.watch);
  exit(0);
}

TEST(the_process_may_end) {
  if (!CHILD_HAS_THREADS) skip();
  for (int i = 0; i < 10; i++) assert_int_equal(in_child(exit_with_one), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_tells_once_until_it_is_armed_again),
      cmocka_unit_test(a_hang_up_is_not_told_unasked),
      cmocka_unit_test(after_its_end_it_does_not_run),
      cmocka_unit_test(the_thread_lives_as_long_as_watches),
      cmocka_unit_test(what_can_not_be_watched),
      cmocka_unit_test(memory_that_fails),
      cmocka_unit_test(many_owners),
      cmocka_unit_test(a_child_has_none),
      cmocka_unit_test(the_process_may_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
