/*
** secret_test.c - unreadable at rest, readable in use, wiped at the end, in threads, children and on
** machines that refuse guarded memory.
**
** Some of sodium's functions are replaced here: the linker takes a program's own ones first.
*/
#include "check.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "base/secret.h"

void *sodium_malloc(size_t size);
int sodium_mprotect_readonly(void *memory);
void sodium_memzero(void *const memory, const size_t n);

static bool refuse_guarded, refuse_opening;
static const char *volatile seen_at; /* where the bytes of a secret are */
static const void *wiped;
static size_t wiped_n;

void *sodium_malloc(size_t size) {
  void *(*real)(size_t);
  *(void **)&real = dlsym(RTLD_NEXT, "sodium_malloc");
  return refuse_guarded ? NULL : (void *)(uintptr_t)(seen_at = real(size));
}

int sodium_mprotect_readonly(void *memory) {
  int (*real)(void *);
  *(void **)&real = dlsym(RTLD_NEXT, "sodium_mprotect_readonly");
  return refuse_opening ? -1 : real(memory);
}

void sodium_memzero(void *const memory, const size_t n) {
  wiped = memory;
  wiped_n = n;
  explicit_bzero(memory, n);
}

/* What `use` saw. */
static char seen[64];
static size_t seen_n;

static void look(void *ud, dsc_str bytes) {
  seen_at = bytes.p;
  seen_n = bytes.n;
  memcpy(seen, bytes.p, bytes.n);
  if (ud) *(bool *)ud = true;
}

static int read_byte(void) {
  /* no handler of cmocka or of a sanitizer, and no core file: dying is what is expected */
  struct sigaction plain = {.sa_handler = SIG_DFL};
  sigaction(SIGSEGV, &plain, NULL);
  setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
  return *seen_at == 't' ? 0 : 1;
}

static int read_in_use_status;

static void read_in_child(void *ud, dsc_str bytes) {
  look(ud, bytes);
  read_in_use_status = in_child(read_byte);
}

static void assert_unreadable(void) {
  int status = in_child(read_byte);
  assert_true(WIFSIGNALED(status));
  assert_int_equal(WTERMSIG(status), SIGSEGV);
}

TEST(unreadable_at_rest) {
  dsc_secret *secret = dsc_secret_new(L("token"));
  assert_unreadable(); /* before any use */
  assert_true(dsc_secret_use(secret, read_in_child, NULL));
  assert_int_equal(read_in_use_status, 0); /* the same child lives while the memory is open */
  assert_unreadable();
  assert_true(dsc_secret_equals(secret, L("token")));
  assert_unreadable();
  dsc_secret_unref(secret);
}

static void look_twice(void *ud, dsc_str bytes) {
  dsc_secret_use(ud, look, NULL);
  look(NULL, bytes); /* the inner use has not closed it */
}

TEST(the_last_user_closes) {
  dsc_secret *secret = dsc_secret_new(L("token"));
  dsc_secret_use(secret, look_twice, secret);
  assert_memory_equal(seen, "token", 5);
  assert_int_equal(seen_n, 5);
  assert_unreadable();
  dsc_secret_unref(secret);
}

TEST(comparing) {
  dsc_secret *a = dsc_secret_new(L("token")), *b = dsc_secret_new(L("token")), *c = dsc_secret_new(L("tokem"));
  dsc_secret *empty = dsc_secret_new((dsc_str){NULL, 0});
  assert_int_equal(dsc_secret_length(a), 5);
  assert_int_equal(dsc_secret_length(empty), 0);
  assert_int_equal(dsc_secret_length(NULL), 0);
  assert_true(dsc_secret_equals(a, L("token")));
  assert_false(dsc_secret_equals(a, L("tokem")));
  assert_false(dsc_secret_equals(a, L("toke")));
  assert_false(dsc_secret_equals(a, L("token1")));
  assert_true(dsc_secret_equals(empty, L("")));
  assert_false(dsc_secret_equals(empty, L("x")));
  assert_false(dsc_secret_equals(NULL, L("")));
  assert_true(dsc_secret_same(a, a) && dsc_secret_same(a, b) && dsc_secret_same(NULL, NULL));
  assert_false(dsc_secret_same(a, c) || dsc_secret_same(a, NULL) || dsc_secret_same(NULL, a) ||
               dsc_secret_same(a, empty));
  dsc_secret_unref(a);
  dsc_secret_unref(b);
  dsc_secret_unref(c);
  dsc_secret_unref(empty);
}

TEST(references) {
  dsc_secret *secret = dsc_secret_new(L("token"));
  assert_ptr_equal(dsc_secret_ref(secret), secret);
  dsc_secret_unref(secret);
  assert_true(dsc_secret_equals(secret, L("token")));
  dsc_secret_unref(secret);
  assert_null(dsc_secret_ref(NULL));
  dsc_secret_unref(NULL);
}

TEST(plain_memory_when_guarded_is_refused) {
  size_t blocks, blocks_after;
  dsc_mem_usage(&blocks, NULL);
  refuse_guarded = true;
  dsc_secret *secret = dsc_secret_new(L("token"));
  refuse_guarded = false;
  assert_non_null(secret);
  assert_true(dsc_secret_use(secret, look, NULL));
  assert_memory_equal(seen, "token", 5);
  wiped = NULL;
  dsc_secret_unref(secret);
  assert_ptr_equal(wiped, seen_at);
  assert_int_equal(wiped_n, 5);
  dsc_mem_usage(&blocks_after, NULL);
  assert_int_equal(blocks_after, blocks);
}

TEST(a_page_that_cannot_be_opened_is_not_read) {
  dsc_secret *secret = dsc_secret_new(L("token"));
  bool used = false;
  dsc_secret_use(secret, look, NULL);
  refuse_opening = true;
  assert_false(dsc_secret_use(secret, look, &used));
  assert_false(used);
  assert_false(dsc_secret_equals(secret, L("token")));
  refuse_opening = false;
  assert_true(dsc_secret_equals(secret, L("token")));
  assert_unreadable();
  dsc_secret_unref(secret);
}

TEST(wipe) {
  char plain[] = "token";
  dsc_secret_wipe(plain, sizeof plain);
  for (size_t i = 0; i < sizeof plain; i++) assert_int_equal(plain[i], 0);
}

static dsc_secret *shared;
static atomic_int wrong;

static void *compare_often(void *arg) {
  (void)arg;
  for (int i = 0; i < 300; i++) {
    dsc_secret *mine = dsc_secret_ref(shared);
    if (!dsc_secret_equals(mine, L("token"))) atomic_fetch_add(&wrong, 1);
    dsc_secret_unref(mine);
  }
  return NULL;
}

TEST(threads_open_and_close_together) {
  pthread_t threads[4];
  shared = dsc_secret_new(L("token"));
  dsc_secret_use(shared, look, NULL);
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, compare_often, NULL), 0);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  assert_int_equal(atomic_load(&wrong), 0);
  assert_unreadable();
  dsc_secret_unref(shared);
}

static int use_and_free(void) {
  if (!dsc_secret_equals(shared, L("token"))) return 1;
  dsc_secret_use(shared, look, NULL);
  if (!WIFSIGNALED(in_child(read_byte))) return 2; /* closed again, whoever used it in the parent */
  dsc_secret_unref(shared);
  return 0;
}

static atomic_bool stop;

static void *compare_until_stopped(void *arg) {
  while (!atomic_load(&stop)) {
    dsc_secret_equals(shared, L("token"));
    sched_yield(); /* valgrind runs one thread at a time */
  }
  return arg;
}

TEST(children_can_use_it_whatever_other_threads_did) {
  pthread_t thread;
  shared = dsc_secret_new(L("token"));
  atomic_store(&stop, false);
  assert_int_equal(pthread_create(&thread, NULL, compare_until_stopped, NULL), 0);
  for (int i = 0; i < 20; i++) assert_int_equal(in_child(use_and_free), 0);
  atomic_store(&stop, true);
  pthread_join(thread, NULL);
  assert_true(dsc_secret_equals(shared, L("token")));
  dsc_secret_unref(shared);
}

static sem_t in_use, may_end;

static void hold(void *ud, dsc_str bytes) {
  look(ud, bytes);
  sem_post(&in_use);
  while (sem_wait(&may_end) != 0) continue;
}

static void *hold_in_use(void *arg) {
  dsc_secret_use(shared, hold, NULL);
  return arg;
}

TEST(users_of_the_parent_do_not_keep_it_open_in_a_child) {
  pthread_t thread;
  sem_init(&in_use, 0, 0);
  sem_init(&may_end, 0, 0);
  shared = dsc_secret_new(L("token"));
  assert_int_equal(pthread_create(&thread, NULL, hold_in_use, NULL), 0);
  while (sem_wait(&in_use) != 0) continue;
  assert_int_equal(in_child(use_and_free), 0);
  sem_post(&may_end);
  pthread_join(thread, NULL);
  assert_unreadable();
  dsc_secret_unref(shared);
  sem_destroy(&in_use);
  sem_destroy(&may_end);
}

static bool make(void) {
  dsc_secret *secret = dsc_secret_new(L("token"));
  dsc_secret_unref(secret);
  return secret != NULL;
}

static bool make_plain(void) {
  refuse_guarded = true;
  bool made = make();
  refuse_guarded = false;
  return made;
}

TEST(every_allocation_may_fail) {
  assert_int_equal(fail_each_allocation(make), 1);
  assert_int_equal(fail_each_allocation(make_plain), 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(unreadable_at_rest),
      cmocka_unit_test(the_last_user_closes),
      cmocka_unit_test(comparing),
      cmocka_unit_test(references),
      cmocka_unit_test(plain_memory_when_guarded_is_refused),
      cmocka_unit_test(a_page_that_cannot_be_opened_is_not_read),
      cmocka_unit_test(wipe),
      cmocka_unit_test(threads_open_and_close_together),
      cmocka_unit_test(children_can_use_it_whatever_other_threads_did),
      cmocka_unit_test(users_of_the_parent_do_not_keep_it_open_in_a_child),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
