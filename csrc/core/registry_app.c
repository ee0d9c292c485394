/*
** registry_app.c - apps that are followed: subscribe, then read; messages; how far an app is.
**
** An entry is here because somebody follows the app (it has a table) or because an own node of that app listens for its
** own goodbye (`owns`), or both. The store is told to follow it by the loop's thread, in step().
**
** Invariant: entries are counted: the map's reference and one for each thing under way in the store.
** Threads: events and step in the loop's thread (memory: any), all under the registry's lock.
*/
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "core/registry_impl.h"

static dsc_str app_name(const dsc_followed *app) {
  return (dsc_str){app->name, app->n};
}

dsc_followed *dsc_registry_app_open_locked(dsc_registry *r, dsc_str name) {
  dsc_followed *app = dsc_map_get(&r->apps, name);
  if (app) return app;
  app = dsc_mem_zalloc(1, sizeof *app + name.n + 1);
  if (!app) return NULL;
  app->registry = r;
  app->refs = 1;
  app->n = name.n;
  memcpy(app->name, name.p, name.n);
  dsc_map_init(&app->dead);
  dsc_map_init(&app->byes);
  if (dsc_map_put(&r->apps, app_name(app), app, NULL) == DSC_OK) return app;
  dsc_mem_free(app);
  return NULL;
}

void dsc_registry_app_unref_locked(dsc_followed *app) {
  if (--app->refs > 0) return;
  dsc_registry_read_forget_dead_locked(app);
  dsc_registry_verify_forget_locked(app);
  dsc_table_unref(app->table);
  dsc_mem_free(app);
}

/* Takes an entry out that nobody needs. */
static void close_app_locked(dsc_followed *app) {
  dsc_registry *r = app->registry;
  if (app->table || app->owns > 0) return;
  dsc_map_take(&r->apps, app_name(app));
  app->gone = true;
  if (r->store && app->asked) r->store->ops->unfollow(r->store, app_name(app));
  dsc_registry_app_unref_locked(app);
}

dsc_err dsc_registry_app_hear_locked(dsc_registry *r, dsc_str name) {
  dsc_followed *app = dsc_registry_app_open_locked(r, name);
  if (!app) return DSC_ENOMEM;
  app->owns++;
  return DSC_OK;
}

void dsc_registry_app_unhear_locked(dsc_registry *r, dsc_str name) {
  dsc_followed *app = dsc_map_get(&r->apps, name);
  if (!app || app->owns == 0) return;
  app->owns--;
  close_app_locked(app);
}

void dsc_registry_app_tidy_locked(dsc_registry *r) {
  size_t at = 0;
  dsc_followed *app;
  while ((app = dsc_map_next(&r->apps, &at)) != NULL) {
    if (app->table || app->owns > 0) continue;
    close_app_locked(app);
    at = 0; /* the map changed */
  }
}

void dsc_registry_app_free_all(dsc_registry *r) {
  size_t at = 0;
  dsc_followed *app;
  while ((app = dsc_map_next(&r->apps, &at)) != NULL) dsc_registry_app_unref_locked(app);
  dsc_map_clear(&r->apps);
}

/* ---- what is due */

static void ask_locked(dsc_followed *app) {
  dsc_registry *r = app->registry;
  /* before the call: memory answers inside it */
  app->asked = true;
  if (r->store->ops->follow(r->store, app_name(app)) != DSC_OK) app->asked = false;
}

uint64_t dsc_registry_app_step_locked(dsc_followed *app, uint64_t now) {
  dsc_registry *r = app->registry;
  uint64_t due = DSC_REGISTRY_NEVER;
  if (app->gone || !r->store) return due;
  if (!app->asked) ask_locked(app);
  if (!app->asked) return now + 1000;
  if (!app->table) return due;
  if (app->sweep_ms && now >= app->sweep_ms) dsc_registry_read_sweep_locked(app, now);
  if (app->sweep_ms) due = app->sweep_ms;
  if (app->reading || !r->commands) return due;
  if (app->hold_ms > now) return app->hold_ms < due ? app->hold_ms : due;
  bool resync = !r->store->ops->lasting && (app->was_read || app->refused) && now >= app->resync_ms;
  if (app->refused && !app->subscribed && (resync || app->want_read)) {
    app->resync_ms = now + r->timing.resync_ms;
    app->want_read = false;
    ask_locked(app);
  } else if ((app->want_read && (app->subscribed || app->was_read)) || resync) {
    dsc_registry_read_begin_locked(app, now);
  }
  /* it could not begin, or came to nothing: once more when its pause is over */
  if (!app->reading && app->want_read && app->hold_ms > now) return app->hold_ms < due ? app->hold_ms : due;
  if (app->reading || r->store->ops->lasting || !(app->was_read || app->refused)) return due;
  return app->resync_ms < due ? app->resync_ms : due;
}

static void go_on(dsc_followed *app) {
  uint64_t due = dsc_registry_app_step_locked(app, dsc_clock_now_ms());
  dsc_registry_run_arm_locked(app->registry, due);
}

void dsc_registry_app_state_changed_locked(dsc_registry *r, bool commands_came, bool messages_came) {
  size_t at = 0;
  dsc_followed *app;
  while ((app = dsc_map_next(&r->apps, &at)) != NULL) {
    if (!r->messages || messages_came) app->subscribed = false;
    if (commands_came) app->want_read = true;
    if (!r->commands || commands_came) dsc_registry_read_forget_dead_locked(app);
  }
}

void dsc_registry_app_on_subscribed(void *ud, dsc_str name) {
  dsc_registry *r = ud;
  dsc_followed *app = dsc_map_get(&r->apps, name);
  if (!app) return;
  app->subscribed = true;
  app->refused = false;
  app->want_read = true;
  if (app->owns > 0) dsc_registry_own_heard_from_locked(r, name);
  go_on(app);
}

void dsc_registry_app_on_refused(void *ud, dsc_str name, const char *why) {
  dsc_registry *r = ud;
  dsc_followed *app = dsc_map_get(&r->apps, name);
  if (!app) return;
  app->refused = true;
  app->resync_ms = dsc_clock_now_ms() + r->timing.resync_ms;
  snprintf(app->why, sizeof app->why, "%s", why);
  if (dsc_registry_tell_once_locked(r, "subscribe", name, dsc_str_of(why))) {
    dsc_registry_tell_log(r, DSC_LOG_ERROR, "%s: the registry refuses to let it be followed: %s", app->name, why);
  }
  dsc_registry_tell_change(r);
  go_on(app);
}

/* ---- messages */

static void apply_message(dsc_followed *app, const dsc_addr *addr, uint32_t weight) {
  dsc_changes changes;
  dsc_changes_init(&changes);
  if (weight > 0) {
    dsc_table_set(app->table, dsc_str_of(addr->text), weight, NULL, false, dsc_clock_now_ms(), &changes);
  } else {
    dsc_table_goodbye(app->table, dsc_str_of(addr->text), &changes);
    dsc_registry_read_doubt_locked(app, dsc_clock_now_ms());
  }
  dsc_registry_tell_changes(app->registry, app->table, &changes);
}

void dsc_registry_app_on_message(void *ud, dsc_str name, dsc_str text) {
  dsc_registry *r = ud;
  dsc_followed *app = dsc_map_get(&r->apps, name);
  dsc_addr addr;
  uint32_t weight = 0;
  if (!app) return;
  dsc_str rest = text;
  dsc_str first = dsc_str_cut(&rest, ' ');
  r->n_messages++;
  if (dsc_addr_parse(&addr, first, NULL) != DSC_OK) {
    r->n_bad_messages++;
    if (dsc_registry_tell_once_locked(r, "message", name, DSC_STR_LITERAL(""))) {
      dsc_registry_tell_log(r, DSC_LOG_WARN, "%.*s: a message begins with no address, skipped: %.*s", DSC_STR_ARG(name),
                            (int)(text.n < 100 ? text.n : 100), text.p);
    }
    return;
  }
  /* whatever follows an address and is no weight is a goodbye: peers send a bare address */
  if (!dsc_registry_read_weight(rest, &weight)) weight = 0;
  dsc_own *own = weight == 0 ? dsc_registry_own_find_locked(r, name, dsc_str_of(addr.text)) : NULL;
  if (app->table && r->verify_push) {
    dsc_registry_verify_message_locked(app, &addr, weight, dsc_clock_now_ms());
  } else if (app->table) {
    apply_message(app, &addr, weight);
    if (weight > 0) dsc_registry_read_node_locked(app, first);
  }
  if (own) dsc_registry_run_arm_locked(r, dsc_registry_own_heard_goodbye_locked(own, dsc_clock_now_ms()));
}

void dsc_registry_app_put_locked(dsc_registry *r, dsc_str name, dsc_str addr, uint32_t weight, const char *metadata) {
  dsc_followed *app = dsc_map_get(&r->apps, name);
  if (!app || !app->table) return;
  dsc_changes changes;
  dsc_changes_init(&changes);
  /* without memory for it: the message is still to come */
  dsc_table_set(app->table, addr, weight, metadata ? metadata : "", false, dsc_clock_now_ms(), &changes);
  dsc_registry_tell_changes(r, app->table, &changes);
}

/* ---- asked for by holders */

/* A loose app had to make room: it is followed no longer. */
static void evict_locked(dsc_registry *r, dsc_table *table) {
  dsc_followed *app = dsc_map_get(&r->apps, dsc_table_app(table));
  if (!app || app->table != table) return;
  /* the table's reference goes with the next tick, which may talk to the store */
  app->table = NULL;
  dsc_table_unref(table);
}

static void drop_evicted(dsc_registry *r, dsc_table *evicted) {
  if (!evicted) return;
  dsc_changes changes;
  dsc_changes_init(&changes);
  dsc_table_clear(evicted, &changes);
  dsc_registry_tell_changes(r, evicted, &changes);
  dsc_table_unref(evicted);
}

static dsc_err follow_locked(dsc_registry *r, dsc_table *table, bool refresh) {
  dsc_followed *app = dsc_registry_app_open_locked(r, dsc_table_app(table));
  if (!app) return DSC_ENOMEM;
  bool is_new = app->table != table;
  if (is_new) {
    dsc_table_unref(app->table);
    app->table = dsc_table_ref(table);
    app->was_read = app->refused = false;
    app->why[0] = '\0';
  }
  if (is_new || refresh) app->want_read = true;
  if (refresh && !is_new) app->refresh = true;
  if (is_new || refresh) dsc_registry_run_kick_locked(r);
  return DSC_OK;
}

dsc_err dsc_registry_follow(dsc_registry *registry, dsc_str app, bool configured, bool refresh, dsc_table **table,
                            dsc_why *why) {
  *table = NULL;
  if (dsc_registry_run_is_forked(registry)) return dsc_fail(why, DSC_EFORKED, "%s", dsc_err_text(DSC_EFORKED));
  dsc_err err = dsc_addr_check_app(app, why);
  if (err) return err;
  dsc_table *evicted = NULL;
  pthread_mutex_lock(registry->lock);
  *table = dsc_directory_open(registry->directory, app, configured, &evicted);
  if (evicted) evict_locked(registry, evicted);
  if (*table && registry->config.kind != DSC_REGISTRY_NONE) err = follow_locked(registry, *table, refresh);
  pthread_mutex_unlock(registry->lock);
  drop_evicted(registry, evicted);
  if (!*table) err = DSC_ENOMEM;
  if (!err) return DSC_OK;
  dsc_table_unref(*table);
  *table = NULL;
  return dsc_fail(why, err, "%s", dsc_err_text(err));
}

static dsc_app_state state_locked(dsc_registry *r, dsc_str name, dsc_why *why) {
  dsc_followed *app = dsc_map_get(&r->apps, name);
  bool up = r->commands && r->messages;
  dsc_fail(why, DSC_OK, "%s", app && app->why[0] ? app->why : up ? "" : r->why);
  if (!app || !app->table) return DSC_APP_UNKNOWN;
  if (app->was_read && (!app->refresh || !up)) return DSC_APP_READ;
  if (app->refused && up) return DSC_APP_REFUSED;
  return r->failed ? DSC_APP_DOWN : DSC_APP_PENDING;
}

/* A registry without a loop has no timer: when memory ran out while an app was first read, whoever asks for the app has
** it read. */
static void make_up_for_read_locked(dsc_registry *r, dsc_str name) {
  dsc_followed *app = dsc_map_get(&r->apps, name);
  if (!app || !app->table) return;
  app->hold_ms = 0;
  dsc_registry_run_kick_locked(r);
}

dsc_app_state dsc_registry_app_state(dsc_registry *registry, dsc_str app, dsc_why *why) {
  if (why) why->text[0] = '\0';
  if (dsc_registry_run_is_forked(registry)) return DSC_APP_UNKNOWN;
  if (registry->config.kind == DSC_REGISTRY_NONE) {
    dsc_table *table = dsc_directory_find(registry->directory, app);
    dsc_table_unref(table);
    return table ? DSC_APP_READ : DSC_APP_UNKNOWN;
  }
  pthread_mutex_lock(registry->lock);
  dsc_app_state state = state_locked(registry, app, why);
  if (state == DSC_APP_PENDING && !registry->loop) {
    make_up_for_read_locked(registry, app);
    state = state_locked(registry, app, why);
  }
  pthread_mutex_unlock(registry->lock);
  return state;
}
