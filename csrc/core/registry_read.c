/*
** registry_read.c - whole reads of an app, the metadata of single nodes, stale nodes, dead rows.
**
** A row is a field of the app; it is dead when its key is missing. The table makes the nodes of dead and missing rows
** stale by itself; here is who removes the field of a dead one: whoever saw it dead in two reads at least `ttl`
** apart, with the registry answering without a break in between (forget_dead is called at every break).
**
** What comes from the store is foreign: it is judged here, complained of once, and left alone.
** Threads: the loop's (memory: any), under the registry's lock.
*/
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "core/registry_impl.h"

#define MAX_METADATA     65536
#define MAX_REAPS        1000 /* after one read */
#define HOLD_MS          200
#define LATER_MS         500
#define NODES_PER_SECOND 100 /* a large app is read less often */

#define DOUBT_MS           300 /* messages that belong together have come by then */
#define DOUBT_NODES_PER_MS 10

/* A row that was seen dead. */
typedef struct dead_row {
  uint64_t since_ms;
  uint32_t round;
  size_t n;
  char addr[];
} dead_row;

/* The key of one node, asked for. */
typedef struct node_key {
  dsc_followed *app;
  char addr[DSC_ADDR_MAX];
} node_key;

static dsc_str app_name(const dsc_followed *app) {
  return (dsc_str){app->name, app->n};
}

bool dsc_registry_read_weight(dsc_str text, uint32_t *weight) {
  int64_t value;
  if (text.n == 0 || text.p[0] == '+' || !dsc_str_to_int(text, &value) || value < 1) return false;
  *weight = value < DSC_WEIGHT_MAX ? (uint32_t)value : DSC_WEIGHT_MAX;
  return true;
}

/* Returns what of a key's value is metadata. */
static dsc_str metadata_of(dsc_str value) {
  bool is = value.n <= MAX_METADATA && value.n > 0 && memchr(value.p, '=', value.n) && dsc_str_is_clean(value);
  return is ? value : dsc_str_of("");
}

/* ---- dead rows */

void dsc_registry_read_forget_dead_locked(dsc_followed *app) {
  size_t at = 0;
  dead_row *row;
  while ((row = dsc_map_next(&app->dead, &at)) != NULL) dsc_mem_free(row);
  dsc_map_clear(&app->dead);
}

static dead_row *note_dead(dsc_followed *app, dsc_str addr, uint64_t now) {
  dead_row *row = dsc_map_get(&app->dead, addr);
  if (row) return row;
  row = dsc_mem_zalloc(1, sizeof *row + addr.n + 1);
  if (!row) return NULL;
  row->since_ms = now;
  row->n = addr.n;
  memcpy(row->addr, addr.p, addr.n);
  if (dsc_map_put(&app->dead, (dsc_str){row->addr, row->n}, row, NULL) == DSC_OK) return row;
  dsc_mem_free(row);
  return NULL;
}

static void on_reaped(void *ud, const dsc_store_answer *answer) {
  dsc_followed *app = ud;
  dsc_registry *r = app->registry;
  if (answer->refused) {
    if (answer->denied) r->no_reap = true;
    if (dsc_registry_tell_once_locked(r, "reap", app_name(app), dsc_str_of(answer->why))) {
      dsc_registry_tell_log(r, DSC_LOG_WARN, "%s: dead nodes are left in the registry: %s", app->name, answer->why);
    }
  }
  dsc_registry_app_unref_locked(app);
}

static void reap(dsc_followed *app, dsc_str addr) {
  dsc_store *store = app->registry->store;
  app->refs++;
  if (store->ops->reap(store, app_name(app), addr, on_reaped, app) != DSC_OK) dsc_registry_app_unref_locked(app);
}

static bool forget_gone_row(dsc_followed *app) {
  size_t at = 0;
  dead_row *row;
  while ((row = dsc_map_next(&app->dead, &at)) != NULL) {
    if (row->round == app->round) continue;
    dsc_map_take(&app->dead, (dsc_str){row->addr, row->n});
    dsc_mem_free(row);
    return true;
  }
  return false;
}

/* True for a row of this process: it is put back, not removed. */
static bool is_own(dsc_followed *app, dsc_str addr) {
  dsc_own *own = dsc_registry_own_find_locked(app->registry, app_name(app), addr);
  return own && own->count > 0;
}

static void judge_dead(dsc_followed *app, const dsc_store_row *rows, size_t n, uint64_t now) {
  dsc_registry *r = app->registry;
  size_t reaped = 0;
  app->round++;
  for (size_t i = 0; i < n; i++) {
    dsc_addr addr;
    uint32_t weight;
    if (rows[i].alive || !dsc_registry_read_weight(rows[i].weight, &weight)) continue;
    if (dsc_addr_parse(&addr, rows[i].addr, NULL)) continue;
    dead_row *row = note_dead(app, rows[i].addr, now);
    if (!row) continue;
    row->round = app->round;
    if (now - row->since_ms < r->timing.ttl_ms || r->no_reap || reaped >= MAX_REAPS) continue;
    if (is_own(app, dsc_str_of(addr.text))) continue;
    reaped++;
    row->since_ms = now;
    reap(app, rows[i].addr);
  }
  while (app->dead.count > 0 && forget_gone_row(app)) {}
}

/* ---- stale nodes */

void dsc_registry_read_sweep_locked(dsc_followed *app, uint64_t now) {
  dsc_changes changes;
  dsc_changes_init(&changes);
  uint64_t due = dsc_table_sweep(app->table, app->registry->timing.stale_grace_ms, now, &changes);
  /* overdue ones stay while nothing else is left: look again, but not at once */
  app->sweep_ms = due == 0 ? 0 : due > now ? due : now + 1000;
  dsc_registry_tell_changes(app->registry, app->table, &changes);
}

/* ---- whole reads */

static void complain(dsc_followed *app, const dsc_store_row *row, const char *what) {
  dsc_registry *r = app->registry;
  if (!dsc_registry_tell_once_locked(r, what, app_name(app), row->addr)) return;
  dsc_registry_tell_log(r, DSC_LOG_WARN, "%s: row %.*s has %s, taken as absent", app->name,
                        (int)(row->addr.n < 100 ? row->addr.n : 100), row->addr.p, what);
}

/* Keeps the rows that make sense. */
static size_t judge_rows(dsc_followed *app, dsc_row *good, const dsc_store_row *rows, size_t n) {
  size_t count = 0;
  for (size_t i = 0; i < n; i++) {
    dsc_addr addr;
    uint32_t weight;
    if (dsc_addr_parse(&addr, rows[i].addr, NULL)) {
      complain(app, &rows[i], "no valid address");
    } else if (!dsc_registry_read_weight(rows[i].weight, &weight)) {
      complain(app, &rows[i], "no valid weight");
    } else {
      good[count++] = (dsc_row){rows[i].addr, weight, rows[i].alive, metadata_of(rows[i].metadata)};
    }
  }
  return count;
}

static dsc_err apply_rows(dsc_followed *app, const dsc_store_row *rows, size_t n, uint64_t now) {
  dsc_row *good = dsc_mem_zalloc(n, sizeof *good);
  if (!good) return DSC_ENOMEM;
  dsc_changes changes;
  dsc_changes_init(&changes);
  dsc_err err = dsc_table_read_end(app->table, good, judge_rows(app, good, rows, n), now, &changes);
  dsc_mem_free(good);
  dsc_registry_tell_changes(app->registry, app->table, &changes);
  return err;
}

static void finish_read(dsc_followed *app, const dsc_store_answer *answer, uint64_t now) {
  dsc_registry *r = app->registry;
  if (apply_rows(app, answer->rows, answer->n, now)) {
    /* out of memory, or an address could not be remembered: once more, but not at once */
    app->want_read = true;
    app->hold_ms = now + HOLD_MS;
    return;
  }
  if (app->was_read) r->n_resyncs++;
  r->n_reads++;
  app->was_read = true;
  app->refused = false;
  if (!app->want_read) app->refresh = false;
  app->why[0] = '\0';
  dsc_registry_verify_end_locked(app, answer->rows, answer->n);
  judge_dead(app, answer->rows, answer->n, now);
  dsc_registry_read_sweep_locked(app, now);
}

static void refuse_read(dsc_followed *app, const dsc_store_answer *answer) {
  dsc_registry *r = app->registry;
  app->refused = true;
  app->refresh = false;
  snprintf(app->why, sizeof app->why, "%s", answer->why);
  dsc_registry_read_forget_dead_locked(app);
  if (dsc_registry_tell_once_locked(r, "read", app_name(app), dsc_str_of(answer->why))) {
    dsc_registry_tell_log(r, DSC_LOG_ERROR, "%s: the registry refuses to have it read: %s", app->name, answer->why);
  }
}

/* True for what may pass while the connection stands: no other event would make the app be read again. */
static bool may_pass(const dsc_store_answer *answer) {
  return answer->later || answer->err == DSC_ENOMEM || answer->err == DSC_ETOO_LARGE;
}

/* A part of the registry is away, or memory ran out: once more, but not at once. */
static void put_off_read(dsc_followed *app, const dsc_store_answer *answer, uint64_t now) {
  app->want_read = true;
  app->hold_ms = now + dsc_random_jitter_ms(LATER_MS, 0.5);
  snprintf(app->why, sizeof app->why, "%s", answer->why);
  dsc_registry_read_forget_dead_locked(app);
}

static void on_read(void *ud, const dsc_store_answer *answer) {
  dsc_followed *app = ud;
  dsc_registry *r = app->registry;
  uint64_t now = dsc_clock_now_ms();
  uint64_t slow = (uint64_t)answer->n * 1000 / NODES_PER_SECOND;
  app->reading = false;
  app->resync_ms = now + dsc_random_jitter_ms(slow > r->timing.resync_ms ? slow : r->timing.resync_ms, 0.2);
  if (!app->gone && app->table) {
    if (!answer->err) {
      finish_read(app, answer, now);
    } else if (answer->refused) {
      refuse_read(app, answer);
    } else if (may_pass(answer)) {
      put_off_read(app, answer, now);
    } else {
      app->want_read = true;
    }
    dsc_registry_tell_change(r);
    /* after a broken connection the next read waits for the new one */
    if (!answer->err || answer->refused || may_pass(answer))
      dsc_registry_run_arm_locked(r, dsc_registry_app_step_locked(app, now));
  }
  dsc_registry_app_unref_locked(app);
}

void dsc_registry_read_begin_locked(dsc_followed *app, uint64_t now) {
  dsc_store *store = app->registry->store;
  app->reading = true;
  app->want_read = false;
  app->refs++;
  dsc_table_read_begin(app->table);
  dsc_registry_verify_begin_locked(app);
  if (store->ops->read(store, app_name(app), on_read, app) == DSC_OK) return;
  app->reading = false;
  app->want_read = true;
  app->hold_ms = now + HOLD_MS;
  dsc_registry_app_unref_locked(app);
}

void dsc_registry_read_doubt_locked(dsc_followed *app, uint64_t now) {
  dsc_registry *r = app->registry;
  if (r->config.kind != DSC_REGISTRY_CLUSTER || app->gone || !app->table || app->want_read) return;
  app->want_read = true;
  uint64_t due = now + dsc_random_jitter_ms(DOUBT_MS, 0.2) + dsc_table_count(app->table, NULL) / DOUBT_NODES_PER_MS;
  if (due > app->hold_ms) app->hold_ms = due;
  dsc_registry_run_arm_locked(r, app->hold_ms);
}

/* ---- one node's key */

static void on_key(void *ud, const dsc_store_answer *answer) {
  node_key *key = ud;
  if (!answer->err && !answer->found) dsc_registry_read_doubt_locked(key->app, dsc_clock_now_ms());
  if (!answer->err && answer->found && key->app->table) {
    dsc_table_set_metadata(key->app->table, dsc_str_of(key->addr), metadata_of(answer->value));
  }
  dsc_registry_app_unref_locked(key->app);
  dsc_mem_free(key);
}

void dsc_registry_read_node_locked(dsc_followed *app, dsc_str addr) {
  dsc_store *store = app->registry->store;
  if (!store || !app->registry->commands || addr.n >= DSC_ADDR_MAX) return;
  node_key *key = dsc_mem_zalloc(1, sizeof *key);
  if (!key) return;
  key->app = app;
  memcpy(key->addr, addr.p, addr.n);
  app->refs++;
  if (store->ops->fetch(store, app_name(app), addr, on_key, key) == DSC_OK) return;
  dsc_registry_app_unref_locked(app);
  dsc_mem_free(key);
}
