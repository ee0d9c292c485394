/*
** signal.c - a handler that rings the bells of a fixed row of loops.
**
** The handler may do next to nothing: it notes the signal and wakes loops (uv_async_send is safe there). `inside`
** counts running handlers, so that a loop that was taken out is no longer touched when dsc_signal_unwatch() returns.
**
** Threads: any; the row changes under `lock`, the handler only reads atomics.
*/
#include "net/signal.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

#define MAX_LOOPS 64

static atomic_flag locked = ATOMIC_FLAG_INIT; /* held for two system calls at most */
static size_t n_loops;                        /* under lock */
static struct sigaction old_int, old_term;    /* under lock */
static _Atomic(dsc_loop *) loops[MAX_LOOPS];
static atomic_int inside, caught;

static void lock(void) {
  while (atomic_flag_test_and_set(&locked)) sched_yield();
}

static void unlock(void) {
  atomic_flag_clear(&locked);
}

static void on_signal(int number) {
  int kept = errno;
  atomic_fetch_add(&inside, 1);
  atomic_store(&caught, number);
  for (size_t i = 0; i < MAX_LOOPS; i++) {
    dsc_loop *loop = atomic_load(&loops[i]);
    if (loop) dsc_loop_wake(loop);
  }
  atomic_fetch_sub(&inside, 1);
  errno = kept;
}

static void set_default(int number) {
  struct sigaction action = {.sa_handler = SIG_DFL};
  sigaction(number, &action, NULL);
}

static void on_fork_in_child(void) {
  atomic_flag_clear(&locked);
  for (size_t i = 0; i < MAX_LOOPS; i++) atomic_store(&loops[i], NULL);
  if (n_loops > 0) {
    set_default(SIGINT);
    set_default(SIGTERM);
  }
  n_loops = 0;
  atomic_store(&inside, 0);
  atomic_store(&caught, 0);
}

static void watch_forks(void) {
  pthread_atfork(NULL, NULL, on_fork_in_child);
}

static void install_locked(void) {
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigfillset(&action.sa_mask);
  sigaction(SIGINT, &action, &old_int);
  sigaction(SIGTERM, &action, &old_term);
}

static size_t find_locked(const dsc_loop *loop) {
  size_t i = 0;
  while (i < MAX_LOOPS && atomic_load(&loops[i]) != loop) i++;
  return i;
}

dsc_err dsc_signal_watch(dsc_loop *loop) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, watch_forks);
  lock();
  size_t i = find_locked(NULL);
  if (i < MAX_LOOPS) {
    atomic_store(&loops[i], loop);
    if (n_loops++ == 0) install_locked();
  }
  unlock();
  return i < MAX_LOOPS ? DSC_OK : DSC_EIO;
}

void dsc_signal_unwatch(dsc_loop *loop) {
  lock();
  size_t i = loop ? find_locked(loop) : MAX_LOOPS;
  if (i < MAX_LOOPS) {
    atomic_store(&loops[i], NULL);
    if (--n_loops == 0) {
      sigaction(SIGINT, &old_int, NULL);
      sigaction(SIGTERM, &old_term, NULL);
    }
  }
  unlock();
  while (atomic_load(&inside) > 0) sched_yield();
}

int dsc_signal_caught(void) {
  return atomic_load(&caught);
}

void dsc_signal_finish(void) {
  int number = atomic_load(&caught);
  if (number == 0) return;
  set_default(SIGINT);
  set_default(SIGTERM);
  kill(getpid(), number);
}
