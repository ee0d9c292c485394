/*
** registry_shared.c - what the process knows of its registries: the shared ones by name, those that end by
** themselves, fork and exit.
**
** Every registry with a thread and every shared one is in `all`. One that was left without waiting (garbage
** collection, a shared one whose time is over) ends its thread by itself; it is joined and freed at the next open or
** close, or at exit.
**
** Invariants: holds, linger_ms, leaving, goodbye_done and the list change only under `lock`, which comes before a
** registry's own. In a child after a fork the list is empty: nothing that was inherited is joined, freed or ended
** there. Threads: any.
*/
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fork.h"
#include "base/mem.h"
#include "core/registry_impl.h"
#include "net/signal.h"
#include "net/tls.h"

#define LINGER_MS 5000
#define EXIT_MS   1000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static dsc_link all = {&all, &all};
static dsc_link inherited = {&inherited, &inherited}; /* the parent's: never touched, but not lost either */

/* The lock is brought through a fork by the thread that forks: no other one holds it then. */
static void before_fork(void) {
  pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void) {
  pthread_mutex_unlock(&lock);
}

static void after_fork_in_child(void) {
  dsc_list_move(&inherited, &all);
  pthread_mutex_unlock(&lock);
}

#define FOR_ALL(at, r)                                                                                                 \
  for (dsc_link *at = all.next; at != &all; at = at->next)                                                             \
    for (dsc_registry *r = DSC_LIST_ENTRY(at, dsc_registry, link); r; r = NULL)

/* ---- the end of the process */

static void on_exit_of_process(void) {
  uint64_t until = dsc_clock_now_ms() + EXIT_MS;
  dsc_link ending;
  dsc_list_init(&ending);
  pthread_mutex_lock(&lock);
  FOR_ALL(at, r) {
    if (r->loop || r->holds == 0) dsc_registry_run_close(r);
  }
  dsc_list_move(&ending, &all);
  pthread_mutex_unlock(&lock);
  dsc_link *link;
  while ((link = dsc_list_pop(&ending)) != NULL) {
    dsc_registry *r = DSC_LIST_ENTRY(link, dsc_registry, link);
    uint64_t now = dsc_clock_now_ms();
    bool joined = dsc_registry_run_join(r, now < until ? (int64_t)(until - now) : 0);
    /* one that is held may still be looked at by its holder */
    if (joined && (r->leaving || r->linger_ms)) dsc_registry_run_free(r);
  }
}

static void set_up(void) {
  /* what is installed last runs first before a fork: this lock is taken before those that are taken under it */
  dsc_store_memory_lock();
  dsc_secret_prepare();
  dsc_tls_watch_forks();
  pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  atexit(on_exit_of_process);
}

static void prepare(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, set_up);
}

/* ---- those that end by themselves */

static dsc_registry *take_ended_locked(uint64_t now) {
  FOR_ALL(at, r) {
    bool over = r->loop && r->holds == 0 && dsc_registry_run_join(r, 0);
    /* without a thread nobody else watches the time */
    if (!r->loop && r->holds == 0 && r->linger_ms && now >= r->linger_ms) over = true;
    if (!over) continue;
    dsc_list_remove(&r->link);
    return r;
  }
  return NULL;
}

static void free_ended(void) {
  for (;;) {
    pthread_mutex_lock(&lock);
    dsc_registry *r = take_ended_locked(dsc_clock_now_ms());
    pthread_mutex_unlock(&lock);
    if (!r) return;
    dsc_registry_run_close(r);
    dsc_registry_run_free(r);
  }
}

/* ---- shared ones */

static bool same_text(const char *a, const char *b) {
  return dsc_str_equal(dsc_str_of(a), dsc_str_of(b));
}

static dsc_registry *find_shared_locked(const dsc_registry_options *options) {
  FOR_ALL(at, r) {
    if (!r->shared || r->leaving || r->config.kind != options->config.kind) continue;
    if (!same_text(r->config.text, options->config.text) || !same_text(r->config.id, options->config.id)) continue;
    pthread_mutex_lock(r->lock);
    bool ends = r->closing; /* a signal came */
    pthread_mutex_unlock(r->lock);
    if (!ends) return r;
  }
  return NULL;
}

static const char *first_difference(const dsc_registry *r, const dsc_registry_options *options) {
  if (r->timing.heartbeat_ms != options->timing.heartbeat_ms) return "heartbeat";
  if (r->timing.ttl_ms != options->timing.ttl_ms) return "ttl";
  if (r->timing.resync_ms != options->timing.resync_ms) return "resync";
  if (r->timing.stale_grace_ms != options->timing.stale_grace_ms) return "stale_grace";
  if (r->signals != options->signals) return "signals";
  if (r->verify_push != options->verify_push) return "verify_push";
  if (r->config.connect_timeout_ms != options->config.connect_timeout_ms) return "connectTimeout";
  if (!same_text(r->config.user, options->config.user)) return "username";
  if (!dsc_secret_same(r->config.password, options->config.password)) return "password";
  if (!dsc_secret_same(r->config.sentinel_password, options->config.sentinel_password)) return "sentinelPassword";
  return NULL;
}

static dsc_err join_shared_locked(dsc_registry *r, dsc_registry_options *options, dsc_why *why) {
  const char *differs = first_difference(r, options);
  if (differs) {
    return dsc_fail(why, DSC_EINVALID, "%s: is not that of the shared registry %s which this process already has",
                    differs, r->config.text);
  }
  r->holds++;
  r->linger_ms = 0;
  dsc_registry_config_clear(&options->config);
  return DSC_OK;
}

dsc_err dsc_registry_shared_open(dsc_registry **r, dsc_registry_options *options, dsc_listener *listener, dsc_why *why,
                                 dsc_registry_make make) {
  prepare();
  free_ended();
  pthread_mutex_lock(&lock);
  *r = options->shared ? find_shared_locked(options) : NULL;
  dsc_err err;
  if (*r) {
    err = join_shared_locked(*r, options, why);
    if (!err) dsc_registry_tell_attach(*r, listener);
  } else {
    err = make(r, options, listener, why);
    if (!err) (*r)->holds = 1;
    if (!err) dsc_list_push(&all, &(*r)->link);
  }
  pthread_mutex_unlock(&lock);
  if (err) *r = NULL;
  return err;
}

/* Without holders from now on. Its thread looks again when the time is over; the kick comes before others may free
** it. */
static void linger_locked(dsc_registry *r) {
  r->linger_ms = dsc_clock_now_ms() + LINGER_MS;
  pthread_mutex_lock(r->lock);
  r->wake_ms = r->linger_ms;
  dsc_registry_run_kick_locked(r);
  pthread_mutex_unlock(r->lock);
}

void dsc_registry_shared_close(dsc_registry *r, bool wait) {
  pthread_mutex_lock(&lock);
  bool last = --r->holds == 0;
  bool ends = last && !r->shared;
  bool stays = !wait && r->loop; /* until its thread has ended */
  if (last && r->shared) linger_locked(r);
  if (ends && !stays) dsc_list_remove(&r->link);
  if (ends && stays) {
    r->leaving = true;
    dsc_registry_run_close(r);
  }
  pthread_mutex_unlock(&lock);
  if (ends && !stays) {
    dsc_registry_run_close(r);
    /* the thread ends in time by itself: its goodbye is bounded, then sockets are closed */
    if (dsc_registry_run_join(r, -1)) dsc_registry_run_free(r);
  }
  free_ended();
}

void dsc_registry_shared_expire(dsc_registry *r, uint64_t now) {
  pthread_mutex_lock(&lock);
  bool over = r->holds == 0 && r->linger_ms && now >= r->linger_ms && !r->leaving;
  if (over) {
    r->leaving = true;
    dsc_registry_run_close(r);
  }
  pthread_mutex_unlock(&lock);
}

/* ---- the goodbye after a signal */

void dsc_registry_shared_goodbye_done(dsc_registry *r) {
  if (!r->signals || dsc_signal_caught() == 0) return;
  pthread_mutex_lock(&lock);
  r->goodbye_done = true;
  bool last = true;
  FOR_ALL(at, other) {
    if (other->signals && !other->goodbye_done) last = false;
  }
  pthread_mutex_unlock(&lock);
  if (last) dsc_signal_finish();
}
