/*
** registry_run.c - when what is due: the thread and its one timer, what stands, the end.
**
** tick() does everything that is due and sets the timer to what is due next. Others make it run: dsc_loop_wake()
** after a wish from another thread, the store when a connection comes or goes, the timer. A registry without a loop
** (memory) ticks in the caller's thread.
**
** The end: `closing` turns every own node's wish off; when all goodbyes are answered or the time is over (1 s, 0.1 s
** without a connection) the loop quits, and at_end() frees everything that lives on it. From then on `store` is NULL.
** Threads: as said at each function.
*/
#include <stdio.h>

#include "base/clock.h"
#include "base/fork.h"
#include "base/mem.h"
#include "core/registry_impl.h"
#include "net/signal.h"

#define GOODBYE_MS      1000
#define GOODBYE_DOWN_MS 100
#define STEADY_MS       5000
#define CLOSE_ROUNDS    400 /* of 5 ms, for connections to be closed; two are usual */

bool dsc_registry_run_is_forked(const dsc_registry *r) {
  return dsc_fork_is_stale(r->generation);
}

/* ---- ticks */

static void tell_up_locked(dsc_registry *r, uint64_t now) {
  if (r->told_down) r->back_ms = now;
  if (r->told_down) dsc_registry_tell_log(r, DSC_LOG_WARN, "the registry %s is back", r->config.text);
  r->told_down = r->told_denied = false;
  r->told_up = true;
  dsc_registry_tell_event(r, DSC_EVENT_REGISTRY_UP, dsc_str_of(""), dsc_str_of(""), NULL);
}

/* A registry that comes and goes is told down once, and up when it has stood for a while. Returns when to look again.
** */
static uint64_t tell_steady_locked(dsc_registry *r, uint64_t now) {
  if (!r->unsteady || !r->commands || !r->messages) return DSC_REGISTRY_NEVER;
  if (now < r->up_ms + STEADY_MS) return r->up_ms + STEADY_MS;
  r->unsteady = false;
  tell_up_locked(r, now);
  return DSC_REGISTRY_NEVER;
}

static uint64_t step_all_locked(dsc_registry *r, uint64_t now) {
  uint64_t due = DSC_REGISTRY_NEVER;
  size_t at = 0;
  dsc_own *own;
  while ((own = dsc_map_next(&r->owns, &at)) != NULL) {
    uint64_t next = dsc_registry_own_step_locked(own, now);
    if (next < due) due = next;
  }
  dsc_followed *app;
  at = 0;
  while ((app = dsc_map_next(&r->apps, &at)) != NULL) {
    uint64_t next = dsc_registry_app_step_locked(app, now);
    if (next < due) due = next;
  }
  return due;
}

/* Ends the loop when nothing is left to be said, or no time. Returns when to look again. */
static uint64_t close_locked(dsc_registry *r, size_t left, uint64_t now) {
  if (!r->commands && r->close_by_ms > now + GOODBYE_DOWN_MS) r->close_by_ms = now + GOODBYE_DOWN_MS;
  if (left > 0 && now < r->close_by_ms) return r->close_by_ms;
  if (r->loop) dsc_loop_quit(r->loop);
  return DSC_REGISTRY_NEVER;
}

static void tick_locked(dsc_registry *r) {
  uint64_t now = dsc_clock_now_ms();
  if (!r->store) return;
  r->due_ms = DSC_REGISTRY_NEVER;
  dsc_registry_app_tidy_locked(r);
  uint64_t due = step_all_locked(r, now), steady = tell_steady_locked(r, now);
  if (steady < due) due = steady;
  if (r->wake_ms && r->wake_ms < due) due = r->wake_ms;
  size_t left = dsc_registry_own_tidy_locked(r);
  if (r->closing) {
    uint64_t end = close_locked(r, left, now);
    if (end < due) due = end;
  }
  dsc_registry_run_arm_locked(r, due);
}

void dsc_registry_run_kick_locked(dsc_registry *r) {
  if (r->loop) {
    dsc_loop_wake(r->loop);
  } else {
    tick_locked(r);
  }
}

void dsc_registry_run_arm_locked(dsc_registry *r, uint64_t due) {
  if (!r->timer || due >= r->due_ms) return;
  uint64_t now = dsc_clock_now_ms();
  r->due_ms = due;
  dsc_timer_start(r->timer, due > now ? due - now : 0);
}

static void begin_close_locked(dsc_registry *r) {
  if (r->closing) return;
  r->closing = true;
  uint64_t now = dsc_clock_now_ms();
  uint64_t most = r->commands ? GOODBYE_MS : GOODBYE_DOWN_MS;
  /* the holder has waited for its goodbye already: that time counts */
  bool waited = r->asked_ms && now - r->asked_ms < 2 * most;
  r->close_by_ms = (waited ? r->asked_ms : now) + most;
  dsc_registry_own_up_locked(r, false); /* what had to wait is due now */
}

void dsc_registry_run_close(dsc_registry *r) {
  pthread_mutex_lock(r->lock);
  begin_close_locked(r);
  dsc_registry_run_kick_locked(r);
  pthread_mutex_unlock(r->lock);
}

static void on_tick(void *ud) {
  dsc_registry *r = ud;
  pthread_mutex_lock(r->lock);
  if (r->signals && dsc_signal_caught() != 0) begin_close_locked(r);
  if (r->wake_ms && dsc_clock_now_ms() >= r->wake_ms) r->wake_ms = 0; /* dsc_registry_shared_expire() follows */
  tick_locked(r);
  pthread_mutex_unlock(r->lock);
  dsc_registry_shared_expire(r, dsc_clock_now_ms());
}

/* ---- what stands */

static void tell_up_or_down_locked(dsc_registry *r, bool denied, const char *why) {
  bool up = r->commands && r->messages;
  uint64_t now = dsc_clock_now_ms();
  if (up) {
    r->up_ms = now;
    if (!r->unsteady && (r->told_down || !r->told_up)) tell_up_locked(r, now);
  } else if (why[0] && (!r->told_down || (denied && !r->told_denied))) { /* a down that turns into a refusal is news */
    r->told_down = true;
    r->told_denied = denied;
    r->unsteady = r->back_ms && now < r->back_ms + STEADY_MS;
    dsc_registry_tell_log(r, DSC_LOG_ERROR, "the registry %s %s, trying on: %s", r->config.text,
                          denied ? "refuses the credentials" : "cannot be reached", why);
    dsc_registry_tell_event(r, DSC_EVENT_REGISTRY_DOWN, dsc_str_of(""), dsc_str_of(""), why);
  }
}

static void on_state(void *ud, bool commands, bool messages, bool denied, const char *why) {
  dsc_registry *r = ud;
  bool commands_came = commands && !r->commands, messages_came = messages && !r->messages;
  r->commands = commands;
  r->messages = messages;
  if (why[0]) {
    r->failed = true;
    snprintf(r->why, sizeof r->why, "%s", why);
  }
  if (commands && messages) {
    r->failed = false;
    r->why[0] = '\0';
  }
  if (commands_came) r->no_reap = false;
  if (commands_came || messages_came) dsc_registry_own_up_locked(r, !commands_came);
  dsc_registry_app_state_changed_locked(r, commands_came, messages_came);
  tell_up_or_down_locked(r, denied, why);
  dsc_registry_tell_change(r);
  tick_locked(r);
}

static void on_renewed(void *ud) {
  dsc_registry *r = ud;
  if (!r->commands) return;
  dsc_registry_own_up_locked(r, false);
  dsc_registry_app_state_changed_locked(r, true, false);
  tick_locked(r);
}

static void on_moved(void *ud, const char *from, const char *to) {
  dsc_registry *r = ud;
  char why[192];
  snprintf(why, sizeof why, "Sentinels name %s as the master, no longer %s", to, from);
  dsc_registry_tell_log(r, DSC_LOG_WARN, "the registry %s has moved: %s", r->config.text, why);
  dsc_registry_tell_event(r, DSC_EVENT_REGISTRY_MOVED, dsc_str_of(""), dsc_str_of(to), why);
}

/* ---- begin and end */

static void at_end(void *ud) {
  dsc_registry *r = ud;
  if (r->signals) dsc_signal_unwatch(r->loop);
  pthread_mutex_lock(r->lock);
  dsc_store *store = r->store;
  r->closing = true;
  store->ops->close(store);
  bool closed = store->ops->is_closed(store);
  pthread_mutex_unlock(r->lock);
  for (int round = 0; !closed && round < CLOSE_ROUNDS; round++) {
    dsc_loop_run(r->loop, 5);
    pthread_mutex_lock(r->lock);
    closed = store->ops->is_closed(store);
    pthread_mutex_unlock(r->lock);
  }
  pthread_mutex_lock(r->lock);
  r->store = NULL;
  r->commands = r->messages = false;
  dsc_timer_free(r->timer);
  r->timer = NULL;
  pthread_mutex_unlock(r->lock);
  if (closed) store->ops->destroy(store);
  dsc_registry_tell_change(r);
  dsc_registry_shared_goodbye_done(r);
}

/* Fails: DSC_EINVALID with `why` (a file of TLS that is no use), DSC_ENOMEM. */
static dsc_err make_store(dsc_registry *r, dsc_why *why) {
  dsc_tls *tls = NULL;
  dsc_store_events events = {.ud = r,
                             .on_state = on_state,
                             .on_subscribed = dsc_registry_app_on_subscribed,
                             .on_refused = dsc_registry_app_on_refused,
                             .on_message = dsc_registry_app_on_message,
                             .on_renewed = on_renewed,
                             .on_moved = on_moved};
  if (r->config.kind == DSC_REGISTRY_MEMORY) {
    r->store = dsc_store_memory_new(dsc_str_of(r->config.name), &events);
  } else {
    dsc_err err = r->config.has_tls ? dsc_tls_get(&tls, &r->config.tls, why) : DSC_OK;
    if (err) return err;
    r->store = dsc_store_redis_new(r->loop, &r->config, tls, &r->timing, r->lock, &events);
    dsc_tls_unref(tls);
  }
  return r->store ? DSC_OK : DSC_ENOMEM;
}

static dsc_err start_thread(dsc_registry *r) {
  dsc_loop_on_wake(r->loop, on_tick, r);
  dsc_err err = r->signals ? dsc_signal_watch(r->loop) : DSC_OK;
  if (err) return err;
  err = dsc_loop_start_thread(r->loop, "dsc-registry", at_end, r);
  if (err && r->signals) dsc_signal_unwatch(r->loop);
  return err;
}

/* Takes apart what was made, without a thread. */
static void undo_start(dsc_registry *r) {
  if (r->store) {
    pthread_mutex_lock(r->lock);
    r->store->ops->close(r->store);
    pthread_mutex_unlock(r->lock);
    for (int round = 0; round < CLOSE_ROUNDS && !r->store->ops->is_closed(r->store); round++) dsc_loop_run(r->loop, 5);
    r->store->ops->destroy(r->store);
    r->store = NULL;
  }
  dsc_timer_free(r->timer);
  r->timer = NULL;
}

dsc_err dsc_registry_run_start(dsc_registry *r, dsc_why *why) {
  dsc_err err = DSC_OK;
  r->due_ms = DSC_REGISTRY_NEVER;
  if (r->config.kind == DSC_REGISTRY_NONE) return DSC_OK;
  if (dsc_registry_kind_has_servers(r->config.kind)) {
    r->loop = dsc_loop_new(&err);
    if (!r->loop) return dsc_fail(why, err, "registry: no event loop could be made");
    r->timer = dsc_timer_new(r->loop, on_tick, r);
    if (!r->timer) return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  }
  dsc_why cause = {""};
  err = make_store(r, &cause);
  if (!err) {
    pthread_mutex_lock(r->lock);
    err = r->store->ops->start(r->store);
    pthread_mutex_unlock(r->lock);
  }
  if (!err && r->loop) err = start_thread(r);
  if (!err) return DSC_OK;
  undo_start(r);
  if (cause.text[0]) return dsc_fail(why, err, "registry: %s", cause.text);
  return dsc_fail(why, err, "registry: %s", err == DSC_EIO ? "no thread could be made" : dsc_err_text(err));
}

bool dsc_registry_run_join(dsc_registry *r, int64_t timeout_ms) {
  return !r->loop || dsc_loop_join(r->loop, timeout_ms);
}

void dsc_registry_run_free(dsc_registry *r) {
  if (r->store && !r->loop) {
    pthread_mutex_lock(r->lock);
    dsc_store *store = r->store;
    store->ops->close(store);
    r->store = NULL;
    pthread_mutex_unlock(r->lock);
    store->ops->destroy(store);
  }
  pthread_mutex_lock(r->lock);
  dsc_registry_own_free_all(r);
  dsc_registry_app_free_all(r);
  pthread_mutex_unlock(r->lock);
  dsc_loop_free(r->loop);
  dsc_directory_free(r->directory);
  dsc_registry_config_clear(&r->config);
  pthread_cond_destroy(&r->told);
  pthread_mutex_destroy(&r->own_lock);
  pthread_mutex_destroy(&r->ears_lock);
  dsc_mem_free(r);
}
