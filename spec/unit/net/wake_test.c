/*
** wake_test.c - a byte on a unix socket: one until it was read, none lost, no path left, no stranger let in.
*/
#include "net/wake.h"

#include <errno.h>
#include <libgen.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/check.h"
#include "base/mem.h"

#define ROUNDS 20000

static int dial(const char *path) {
  struct sockaddr_un at = {.sun_family = AF_UNIX};
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
  if (fd >= 0 && connect(fd, (const struct sockaddr *)&at, sizeof at) == 0) return fd;
  if (fd >= 0) close(fd);
  return -1;
}

static dsc_wake *open_pair(int *fd) {
  dsc_wake *wake;
  assert_int_equal(dsc_wake_new(&wake, NULL), DSC_OK);
  *fd = dial(dsc_wake_path(wake));
  assert_true(*fd >= 0);
  assert_int_equal(dsc_wake_accept(wake, NULL), DSC_OK);
  return wake;
}

static ssize_t waiting(int fd) {
  char bytes[16];
  ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
  return n < 0 && errno == EAGAIN ? 0 : n;
}

TEST(one_byte_until_it_was_read) {
  int fd;
  dsc_wake *wake = open_pair(&fd);
  assert_int_equal(waiting(fd), 0);
  for (int i = 0; i < 100; i++) dsc_wake_ring(wake);
  assert_int_equal(waiting(fd), 1);
  dsc_wake_ring(wake);
  assert_int_equal(waiting(fd), 0);
  dsc_wake_clear(wake);
  dsc_wake_ring(wake);
  assert_int_equal(waiting(fd), 1);
  close(fd);
  dsc_wake_clear(wake);
  dsc_wake_ring(wake); /* nobody is there: no signal, no harm */
  dsc_wake_free(wake);
}

TEST(the_path_is_private_and_short_lived) {
  struct stat st;
  char path[128];
  dsc_wake *wake;
  assert_int_equal(dsc_wake_new(&wake, NULL), DSC_OK);
  snprintf(path, sizeof path, "%s", dsc_wake_path(wake));
  assert_int_equal(stat(path, &st), 0);
  assert_int_equal(st.st_mode & 0777, 0600);
  assert_int_equal(stat(dirname(path), &st), 0);
  assert_int_equal(st.st_mode & 0777, 0700);
  int fd = dial(dsc_wake_path(wake));
  assert_int_equal(dsc_wake_accept(wake, NULL), DSC_OK);
  assert_int_not_equal(stat(path, &st), 0);
  close(fd);
  dsc_wake_free(wake);
}

TEST(one_that_nobody_came_to) {
  struct stat st;
  char path[128];
  dsc_why why;
  dsc_wake *wake;
  assert_int_equal(dsc_wake_new(&wake, &why), DSC_OK);
  snprintf(path, sizeof path, "%s", dsc_wake_path(wake));
  assert_int_equal(dsc_wake_accept(wake, &why), DSC_EIO);
  dsc_wake_ring(wake);
  dsc_wake_free(wake);
  assert_int_not_equal(stat(dirname(path), &st), 0);
  dsc_wake_free(NULL);
}

static const char *strange;

static int dial_and_end(void) {
  return dial(strange) >= 0 ? 0 : 1;
}

TEST(a_stranger_is_not_let_in) {
  dsc_wake *wake;
  assert_int_equal(dsc_wake_new(&wake, NULL), DSC_OK);
  strange = dsc_wake_path(wake);
  pid_t child = fork();
  if (child == 0) _exit(dial_and_end());
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  int fd = dial(dsc_wake_path(wake));
  assert_int_equal(dsc_wake_accept(wake, NULL), DSC_OK);
  dsc_wake_ring(wake);
  assert_int_equal(waiting(fd), 1);
  close(fd);
  dsc_wake_free(wake);
}

TEST(a_child_removes_nothing) {
  struct stat st;
  dsc_wake *wake;
  assert_int_equal(dsc_wake_new(&wake, NULL), DSC_OK);
  pid_t child = fork();
  if (child == 0) {
    dsc_wake_free(wake);
    _exit(0);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(stat(dsc_wake_path(wake), &st), 0);
  dsc_wake_free(wake);
}

static void *ring_often(void *wake) {
  for (int i = 0; i < ROUNDS; i++) dsc_wake_ring(wake);
  return NULL;
}

/* After the last ring there is always a byte, or one was read after it. */
TEST(none_is_lost_between_threads) {
  int fd;
  char byte;
  pthread_t thread;
  dsc_wake *wake = open_pair(&fd);
  for (int i = 0; i < 20; i++) {
    assert_int_equal(pthread_create(&thread, NULL, ring_often, wake), 0);
    assert_int_equal(recv(fd, &byte, 1, 0), 1);
    dsc_wake_clear(wake);
    assert_int_equal(pthread_join(thread, NULL), 0);
    while (waiting(fd) > 0) dsc_wake_clear(wake);
    dsc_wake_ring(wake);
    assert_int_equal(waiting(fd), 1);
    dsc_wake_clear(wake);
  }
  close(fd);
  dsc_wake_free(wake);
}

static bool make_one(void) {
  dsc_wake *wake;
  bool made = dsc_wake_new(&wake, NULL) == DSC_OK;
  dsc_wake_free(wake);
  return made;
}

TEST(memory_that_fails) {
  assert_true(fail_each_allocation(make_one) > 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(one_byte_until_it_was_read), cmocka_unit_test(the_path_is_private_and_short_lived),
      cmocka_unit_test(one_that_nobody_came_to),    cmocka_unit_test(a_stranger_is_not_let_in),
      cmocka_unit_test(a_child_removes_nothing),    cmocka_unit_test(none_is_lost_between_threads),
      cmocka_unit_test(memory_that_fails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
