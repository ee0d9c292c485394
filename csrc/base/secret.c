/*
** secret.c - tokens and passwords behind unreadable pages.
**
** The bytes sit at the end of a sodium allocation: guard pages around, locked in memory, no access while
** `users` is 0. Invariants: `users` counts the calls of dsc_secret_use() that are running in this process;
** it and the page's protection change only under `page_lock`, which is held for one mprotect and never
** while user code runs. The lock is one for all secrets so that it can be brought through a fork in a
** known state: a secret made before a fork can be used in the child. Any thread.
*/
#include "base/secret.h"

#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>

#include "base/fork.h"
#include "base/mem.h"

struct dsc_secret {
  /* constant */
  char *bytes;
  size_t n;
  bool guarded; /* in sodium's memory, not in plain memory */
  /* any thread, atomic */
  atomic_uint refs;
  /* under page_lock */
  uint32_t generation; /* the process that `users` was counted in */
  uint32_t users;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t page_lock = PTHREAD_MUTEX_INITIALIZER;
static bool sodium_works; /* constant after `once` */

static void lock_pages(void) {
  pthread_mutex_lock(&page_lock);
}

static void unlock_pages(void) {
  pthread_mutex_unlock(&page_lock);
}

static void set_up(void) {
  sodium_works = sodium_init() >= 0;
  pthread_atfork(lock_pages, unlock_pages, unlock_pages);
}

void dsc_secret_prepare(void) {
  pthread_once(&once, set_up);
}

/* Finds room for `n` > 0 bytes: guarded if possible, else plain. */
static bool find_room(dsc_secret *secret, size_t n) {
  secret->bytes = sodium_works ? sodium_malloc(n) : NULL;
  secret->guarded = secret->bytes != NULL;
  if (!secret->bytes) secret->bytes = dsc_mem_alloc(n);
  return secret->bytes != NULL;
}

dsc_secret *dsc_secret_new(dsc_str bytes) {
  dsc_secret_prepare();
  dsc_secret *secret = dsc_mem_zalloc(1, sizeof *secret);
  if (!secret) return NULL;
  if (bytes.n > 0 && !find_room(secret, bytes.n)) {
    dsc_mem_free(secret);
    return NULL;
  }
  secret->n = bytes.n;
  secret->generation = dsc_fork_generation();
  atomic_init(&secret->refs, 1);
  if (bytes.n > 0) memcpy(secret->bytes, bytes.p, bytes.n);
  if (secret->guarded) sodium_mprotect_noaccess(secret->bytes);
  return secret;
}

dsc_secret *dsc_secret_ref(dsc_secret *secret) {
  if (secret) atomic_fetch_add_explicit(&secret->refs, 1, memory_order_relaxed);
  return secret;
}

static void destroy(dsc_secret *secret) {
  if (secret->guarded) {
    sodium_free(secret->bytes); /* opens, wipes, unlocks, unmaps */
  } else if (secret->bytes) {
    dsc_secret_wipe(secret->bytes, secret->n);
    dsc_mem_free(secret->bytes);
  }
  dsc_mem_free(secret);
}

void dsc_secret_unref(dsc_secret *secret) {
  if (!secret) return;
  if (atomic_fetch_sub_explicit(&secret->refs, 1, memory_order_acq_rel) == 1) destroy(secret);
}

size_t dsc_secret_length(const dsc_secret *secret) {
  return secret ? secret->n : 0;
}

/* Makes the page readable; false when the kernel refuses (too many mappings). */
static bool open_page(dsc_secret *secret) {
  if (!secret->guarded) return true;
  lock_pages();
  uint32_t generation = dsc_fork_generation();
  /* users of other threads did not come along into the child */
  if (secret->generation != generation) secret->users = 0;
  secret->generation = generation;
  bool opened = secret->users > 0 || sodium_mprotect_readonly(secret->bytes) == 0;
  if (opened) secret->users++;
  unlock_pages();
  return opened;
}

static void close_page(dsc_secret *secret) {
  if (!secret->guarded) return;
  lock_pages();
  /* 0 already: `use` forked, and the child has counted anew since */
  if (secret->users > 0) secret->users--;
  if (secret->users == 0) sodium_mprotect_noaccess(secret->bytes);
  unlock_pages();
}

bool dsc_secret_use(dsc_secret *secret, void (*use)(void *ud, dsc_str bytes), void *ud) {
  if (!open_page(secret)) return false;
  use(ud, (dsc_str){secret->n ? secret->bytes : "", secret->n});
  close_page(secret);
  return true;
}

struct comparison {
  dsc_str with;
  bool equal;
};

static void compare(void *ud, dsc_str bytes) {
  struct comparison *c = ud;
  c->equal = c->with.n == bytes.n && (bytes.n == 0 || sodium_memcmp(bytes.p, c->with.p, bytes.n) == 0);
}

bool dsc_secret_equals(dsc_secret *secret, dsc_str bytes) {
  struct comparison c = {bytes, false};
  if (secret) dsc_secret_use(secret, compare, &c);
  return c.equal;
}

struct pair {
  dsc_secret *other;
  bool equal;
};

static void compare_other(void *ud, dsc_str bytes) {
  struct pair *pair = ud;
  pair->equal = dsc_secret_equals(pair->other, bytes);
}

bool dsc_secret_same(dsc_secret *a, dsc_secret *b) {
  if (a == b) return true;
  if (!a || !b) return false;
  struct pair pair = {b, false};
  dsc_secret_use(a, compare_other, &pair);
  return pair.equal;
}

void dsc_secret_wipe(void *memory, size_t n) {
  sodium_memzero(memory, n);
}
