/*
** registry_own.c - the nodes that this process announces: put, heartbeats, standby, goodbye.
**
** An own node is a wish (count, weight, metadata) and what is known of the store (stored, sent); step() does the one
** thing that brings them together, and at most one thing of a node is under way. So after an unregister the goodbye
** is always the last command: a put or touch that was under way is answered first, and none is begun any more.
**
** Invariants: `sent` is set before anything goes out that can announce the node and cleared only by a goodbye that
** was answered; an entry is freed only without wish, with nothing sent and nothing under way. Threads: step and
** completions in the loop's thread (memory: any), all under the registry's lock.
*/
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "core/registry_impl.h"

#define TROUBLE_MS   60000
#define MAX_RELAPSES 5 /* put back at once that often in a second, then after one */

static dsc_str own_app(const dsc_own *own) {
  return (dsc_str){own->id, own->app_n};
}

static dsc_str own_addr(const dsc_own *own) {
  return (dsc_str){own->id + own->app_n + 1, own->addr_n};
}

static dsc_str own_id(const dsc_own *own) {
  return (dsc_str){own->id, own->app_n + 1 + own->addr_n};
}

dsc_own *dsc_registry_own_find_locked(dsc_registry *r, dsc_str app, dsc_str addr) {
  char id[256 + DSC_ADDR_MAX];
  int n = snprintf(id, sizeof id, "%.*s %.*s", DSC_STR_ARG(app), DSC_STR_ARG(addr));
  if (n < 0 || (size_t)n >= sizeof id) return NULL;
  return dsc_map_get(&r->owns, (dsc_str){id, (size_t)n});
}

static bool is_wanted(const dsc_own *own) {
  return own->count > 0 && own->weight > 0 && !own->registry->closing;
}

/* ---- what came of it */

static void tell(dsc_own *own, dsc_event_kind kind, const char *why) {
  dsc_registry_tell_event(own->registry, kind, own_app(own), own_addr(own), why);
}

static void go_on(dsc_own *own) {
  uint64_t due = dsc_registry_own_step_locked(own, dsc_clock_now_ms());
  dsc_registry_run_arm_locked(own->registry, due);
}

static void recover(dsc_own *own) {
  own->tries = 0;
  own->trouble_since_ms = own->retry_ms = 0;
  own->troubled = false;
}

/* The store answered with an error, or memory ran out: later again. */
static void delay(dsc_own *own, const dsc_store_answer *answer, const char *what) {
  uint64_t now = dsc_clock_now_ms();
  uint64_t wait = dsc_random_between_ms(100, own->tries < 4 ? (uint64_t)200 << own->tries : 2000);
  if (own->trouble_since_ms == 0) own->trouble_since_ms = now;
  if (now - own->trouble_since_ms >= TROUBLE_MS) wait = dsc_random_jitter_ms(5000, 0.2);
  if (answer->denied) wait = dsc_random_jitter_ms(30000, 0.2);
  own->tries++;
  own->retry_ms = now + wait;
  if (own->troubled) return;
  own->troubled = true;
  dsc_str app = own_app(own), addr = own_addr(own);
  dsc_registry_tell_log(own->registry, DSC_LOG_ERROR, "%.*s: %s of %.*s failed, trying on: %s", DSC_STR_ARG(app), what,
                        DSC_STR_ARG(addr), answer->why);
}

static void fail_own(dsc_own *own, const dsc_store_answer *answer, const char *what) {
  /* a connection that went is made anew, and everything is due when it stands */
  if (answer->refused || answer->later || answer->err == DSC_ENOMEM) delay(own, answer, what);
}

static void succeed_own(dsc_own *own, uint64_t now) {
  own->stored = true;
  recover(own);
  own->beat_ms = now + dsc_random_jitter_ms(own->registry->timing.heartbeat_ms, 0.1);
  if (own->announced || !is_wanted(own)) return;
  own->announced = true;
  tell(own, DSC_EVENT_REGISTERED, NULL);
}

static void on_put(void *ud, const dsc_store_answer *answer) {
  dsc_own *own = ud;
  own->busy = false;
  if (answer->err) {
    own->changed = true;
    fail_own(own, answer, "registration");
  } else {
    if (is_wanted(own) && !own->changed && !own->kept)
      dsc_registry_app_put_locked(own->registry, own_app(own), own_addr(own), own->weight, own->metadata);
    succeed_own(own, dsc_clock_now_ms());
  }
  dsc_registry_tell_change(own->registry);
  go_on(own);
}

static void lose(dsc_own *own, const char *why) {
  own->registry->n_lost++;
  if (!own->announced) return;
  own->announced = false;
  tell(own, DSC_EVENT_LOST, why);
}

static void on_touched(void *ud, const dsc_store_answer *answer) {
  dsc_own *own = ud;
  uint64_t now = dsc_clock_now_ms();
  own->busy = false;
  if (answer->err) {
    own->beat_ms = 0;
    fail_own(own, answer, "heartbeat");
  } else {
    own->registry->n_heartbeats++;
    own->registry->last_heartbeat_ms = now;
    if (answer->was_lost) lose(own, "the entry was gone from the registry");
    succeed_own(own, now);
    if (answer->was_lost) dsc_registry_tell_change(own->registry);
  }
  go_on(own);
}

static void on_removed(void *ud, const dsc_store_answer *answer) {
  dsc_own *own = ud;
  own->busy = false;
  if (answer->err) {
    if (own->echoes > 0) own->echoes--;
    fail_own(own, answer, "removal");
  } else {
    own->sent = own->stored = false;
    recover(own);
    if (own->announced) tell(own, DSC_EVENT_UNREGISTERED, NULL);
    own->announced = false;
    /* the tick takes the entry out, and ends a registry that waited for this */
    if (!is_wanted(own)) dsc_registry_run_arm_locked(own->registry, dsc_clock_now_ms());
  }
  dsc_registry_tell_change(own->registry);
  go_on(own);
}

/* ---- what is to be done */

static dsc_err act(dsc_own *own) {
  dsc_store *store = own->registry->store;
  dsc_store_node node = {.app = own_app(own), .addr = own_addr(own), .weight = own->weight};
  node.metadata = dsc_str_of(own->metadata);
  own->busy = true;
  own->unsure = false;
  if (!is_wanted(own)) {
    dsc_followed *heard = dsc_map_get(&own->registry->apps, own_app(own));
    node.weight = 0;
    own->echoes += heard && heard->subscribed;
    return store->ops->remove(store, &node, on_removed, own);
  }
  bool put = !own->stored || own->changed || own->renewed;
  node.keep_weight = own->kept = own->stored && !own->changed;
  own->sent = true;
  own->changed = own->renewed = false;
  if (put) return store->ops->put(store, &node, on_put, own);
  own->beat_ms = 0;
  return store->ops->touch(store, &node, on_touched, own);
}

uint64_t dsc_registry_own_step_locked(dsc_own *own, uint64_t now) {
  dsc_registry *r = own->registry;
  if (own->busy || !r->store || !r->commands) return DSC_REGISTRY_NEVER;
  if (!is_wanted(own) && !own->sent) {
    own->stored = own->changed = own->renewed = false;
    return DSC_REGISTRY_NEVER;
  }
  if (own->retry_ms > now) return own->retry_ms;
  if (is_wanted(own) && own->quiet_ms > now) return own->quiet_ms;
  if (is_wanted(own) && own->stored && !own->changed && !own->renewed) {
    if (r->store->ops->lasting) return DSC_REGISTRY_NEVER;
    if (own->beat_ms > now && !own->unsure) return own->beat_ms;
  }
  bool was_changed = own->changed, was_renewed = own->renewed;
  dsc_err err = act(own);
  if (!err) return DSC_REGISTRY_NEVER; /* its completion goes on */
  own->busy = false;
  own->changed = was_changed;
  own->renewed = was_renewed;
  if (err == DSC_EREGISTRY) return DSC_REGISTRY_NEVER; /* when the connection stands again */
  delay(own, &(dsc_store_answer){.err = err, .why = dsc_err_text(err)}, "a command");
  return own->retry_ms;
}

uint64_t dsc_registry_own_heard_goodbye_locked(dsc_own *own, uint64_t now) {
  if (own->echoes > 0) {
    own->echoes--;
    return DSC_REGISTRY_NEVER;
  }
  if (!is_wanted(own) || !own->sent) return DSC_REGISTRY_NEVER;
  if (now - own->relapse_ms >= 1000) own->relapses = 0;
  if (own->relapses == 0) own->relapse_ms = now;
  if (own->relapses++ >= MAX_RELAPSES) own->quiet_ms = own->relapse_ms + 1000;
  lose(own, "somebody announced this node gone");
  own->stored = false;
  own->changed = true;
  return dsc_registry_own_step_locked(own, now);
}

void dsc_registry_own_heard_from_locked(dsc_registry *r, dsc_str app) {
  size_t at = 0;
  dsc_own *own;
  while ((own = dsc_map_next(&r->owns, &at)) != NULL) {
    if (!dsc_str_equal(own_app(own), app)) continue;
    own->unsure = own->sent;
    if (own->unsure) go_on(own);
  }
}

void dsc_registry_own_up_locked(dsc_registry *r, bool messages_only) {
  size_t at = 0;
  dsc_own *own;
  while ((own = dsc_map_next(&r->owns, &at)) != NULL) {
    own->echoes = 0; /* what was said before this connection stood is not heard on it */
    if (messages_only) continue;
    own->beat_ms = 0;
    own->retry_ms = 0;
  }
}

/* ---- the end */

static void free_own(dsc_own *own) {
  dsc_mem_free(own->metadata);
  dsc_mem_free(own);
}

static dsc_own *find_ended(dsc_registry *r, size_t *left) {
  size_t at = 0;
  dsc_own *own;
  *left = 0;
  while ((own = dsc_map_next(&r->owns, &at)) != NULL) {
    if (own->busy || own->sent) {
      (*left)++;
    } else if (own->count == 0) {
      return own;
    }
  }
  return NULL;
}

size_t dsc_registry_own_tidy_locked(dsc_registry *r) {
  size_t left;
  dsc_own *own;
  while ((own = find_ended(r, &left)) != NULL) {
    dsc_map_take(&r->owns, own_id(own));
    dsc_registry_app_unhear_locked(r, own_app(own));
    free_own(own);
  }
  return left;
}

void dsc_registry_own_free_all(dsc_registry *r) {
  size_t at = 0;
  dsc_own *own;
  while ((own = dsc_map_next(&r->owns, &at)) != NULL) free_own(own);
  dsc_map_clear(&r->owns);
}

/* ---- the beginning */

dsc_own *dsc_registry_own_new_locked(dsc_registry *r, dsc_str app, dsc_str addr) {
  dsc_own *own = dsc_mem_zalloc(1, sizeof *own + app.n + addr.n + 2);
  if (!own) return NULL;
  own->registry = r;
  own->app_n = app.n;
  own->addr_n = addr.n;
  memcpy(own->id, app.p, app.n);
  own->id[app.n] = ' ';
  memcpy(own->id + app.n + 1, addr.p, addr.n);
  if (dsc_map_put(&r->owns, own_id(own), own, NULL) != DSC_OK) {
    dsc_mem_free(own);
    return NULL;
  }
  if (dsc_registry_app_hear_locked(r, app) == DSC_OK) return own;
  dsc_map_take(&r->owns, own_id(own));
  dsc_mem_free(own);
  return NULL;
}
