/*
** fork.c - counts forks in the child.
**
** 0 means that nobody asked yet and no handler is installed; from the first question on the number is at
** least 1 and grows by one in each child. Invariant: it never changes within a process. The usual
** question is one relaxed load: the handler runs before the child's first own instruction. Any thread.
*/
#include "base/fork.h"

#include <pthread.h>
#include <stdatomic.h>

static _Atomic uint32_t current;

static void on_fork_in_child(void) {
  atomic_fetch_add_explicit(&current, 1, memory_order_relaxed);
}

static void install(void) {
  /* glibc fails here only without memory, when dozens of handlers are in place already; then forks go
  ** unnoticed, which is what a library without a handler would do */
  pthread_atfork(NULL, NULL, on_fork_in_child);
  /* not a store: a fork of another thread in between may have counted already */
  uint32_t nobody_asked = 0;
  atomic_compare_exchange_strong(&current, &nobody_asked, 1);
}

uint32_t dsc_fork_generation(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  uint32_t generation = atomic_load_explicit(&current, memory_order_relaxed);
  if (__builtin_expect(generation != 0, 1)) return generation;
  pthread_once(&once, install);
  return atomic_load_explicit(&current, memory_order_relaxed);
}

bool dsc_fork_is_stale(uint32_t generation) {
  return generation != dsc_fork_generation();
}
