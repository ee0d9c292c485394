/*
** discoverer_pick.c - nodes for calls that are made elsewhere: pick, done, and the app client made by hand.
**
** A node that was picked is in flight until its outcome is reported or the app's deadline has passed. How many are
** out is counted per node in slices of an eighth of the deadline, so that a program which never reports costs a
** fixed amount of memory per node, and a mark lapses at most an eighth late, or when next somebody looks: a pick, a
** call, a picture, at most once a second.
*/
#include "base/clock.h"
#include "base/mem.h"
#include "core/discoverer_impl.h"

#define SWEEP_MS  1000
#define MAX_FOUND 256 /* apps, then all is forgotten and found again */
#define SLICES    9   /* eight of the deadline and the one that is filling */

typedef struct mark {
  dsc_node *node; /* a reference; the pointer's bytes are the key in the map */
  dsc_link link;  /* in the discoverer's list of marks */
  uint32_t slice_ms;
  uint64_t slice;       /* the newest: now / slice_ms */
  uint32_t out[SLICES]; /* by slice number modulo SLICES */
  bool probe[SLICES];   /* one of a slice's holds the probe slot */
  uint32_t total;
} mark;

static dsc_str key_of(dsc_node *const *node) {
  return (dsc_str){(const char *)node, sizeof *node};
}

/* Through the registry: calls of any holder may wait for the node. */
static void lapse(dsc_discoverer *d, mark *m, size_t place) {
  for (; m->out[place]; m->out[place]--, m->total--) {
    dsc_registry_node_lapse(d->registry, m->node, m->probe[place]);
    m->probe[place] = false;
  }
}

/* Moves a mark to the present: slices older than the deadline lapse. */
static void advance(dsc_discoverer *d, mark *m, uint64_t now_ms) {
  uint64_t slice = now_ms / m->slice_ms;
  for (uint64_t i = m->slice + 1; i <= slice && i <= m->slice + SLICES; i++) lapse(d, m, i % SLICES);
  m->slice = slice;
}

/* The app has another deadline: what is out by now gets all of it. */
static void cut_anew(mark *m, uint32_t slice_ms, uint64_t now_ms) {
  bool probe = false;
  for (size_t i = 0; i < SLICES; i++) probe = probe || m->probe[i];
  memset(m->out, 0, sizeof m->out);
  memset(m->probe, 0, sizeof m->probe);
  m->slice_ms = slice_ms;
  m->slice = now_ms / slice_ms;
  m->out[m->slice % SLICES] = m->total;
  m->probe[m->slice % SLICES] = probe;
}

static void drop_mark(dsc_discoverer *d, mark *m) {
  dsc_map_take(&d->marks, key_of(&m->node));
  dsc_list_remove(&m->link);
  dsc_node_unref(m->node);
  dsc_mem_free(m);
}

void dsc_discoverer_sweep_marks(dsc_discoverer *d, uint64_t now_ms) {
  if (now_ms < d->next_sweep_ms) return;
  d->next_sweep_ms = now_ms + SWEEP_MS;
  dsc_link *next;
  for (dsc_link *link = d->mark_list.next; link != &d->mark_list; link = next) {
    next = link->next;
    mark *m = DSC_LIST_ENTRY(link, mark, link);
    advance(d, m, now_ms);
    if (m->total == 0) drop_mark(d, m);
  }
}

void dsc_discoverer_clear_marks(dsc_discoverer *d) {
  while (!dsc_list_empty(&d->mark_list)) {
    mark *m = DSC_LIST_ENTRY(d->mark_list.next, mark, link);
    for (size_t i = 0; i < SLICES; i++) lapse(d, m, i);
    drop_mark(d, m);
  }
}

static mark *add_mark(dsc_discoverer *d, dsc_node *node, uint32_t slice_ms, uint64_t now_ms) {
  mark *m = dsc_mem_zalloc(1, sizeof *m);
  if (!m) return NULL;
  m->node = dsc_node_ref(node);
  m->slice_ms = slice_ms;
  m->slice = now_ms / slice_ms;
  if (dsc_map_put(&d->marks, key_of(&m->node), m, NULL) == DSC_OK) {
    dsc_list_push(&d->mark_list, &m->link);
    return m;
  }
  dsc_node_unref(node);
  dsc_mem_free(m);
  return NULL;
}

/* Notes that `node` is out from now on. */
static dsc_err put_mark(dsc_discoverer *d, dsc_node *node, uint32_t deadline_ms, bool is_probe, uint64_t now_ms) {
  uint32_t slice_ms = deadline_ms / (SLICES - 1) ? deadline_ms / (SLICES - 1) : 1;
  dsc_discoverer_sweep_marks(d, now_ms);
  mark *m = dsc_map_get(&d->marks, key_of(&node));
  if (m)
    advance(d, m, now_ms);
  else
    m = add_mark(d, node, slice_ms, now_ms);
  if (!m) return DSC_ENOMEM;
  if (m->slice_ms != slice_ms) cut_anew(m, slice_ms, now_ms);
  m->out[m->slice % SLICES]++;
  m->total++;
  if (is_probe) m->probe[m->slice % SLICES] = true;
  return DSC_OK;
}

/* Takes the oldest mark of `node` away. Returns false when none is out. */
static bool take_mark(dsc_discoverer *d, dsc_node *node, bool *was_probe) {
  mark *m = dsc_map_get(&d->marks, key_of(&node));
  *was_probe = false;
  if (!m) return false;
  advance(d, m, dsc_clock_coarse_ms());
  for (uint64_t i = m->slice + 1; m->total && i <= m->slice + SLICES; i++) {
    size_t place = i % SLICES;
    if (!m->out[place]) continue;
    m->out[place]--;
    m->total--;
    *was_probe = m->probe[place];
    m->probe[place] = false;
    return true;
  }
  return false;
}

void dsc_discoverer_done(dsc_frame *frame, dsc_node *node, dsc_outcome outcome) {
  dsc_discoverer *d = frame->d;
  bool was_probe;
  /* a report without a mark still counts for health, but must not take what another call has in flight */
  if (!take_mark(d, node, &was_probe)) dsc_table_hold(node->table, node);
  dsc_registry_node_done(d->registry, node, outcome, was_probe, d->call_retry_times);
}

/* Marks a node that was chosen, or takes the choice back. */
static dsc_err mark_chosen(dsc_discoverer *d, dsc_node **node, uint32_t deadline_ms, bool is_probe, uint64_t now_ms,
                           dsc_why *why) {
  atomic_fetch_add_explicit(&dsc_table_counters((*node)->table)->picks, 1, memory_order_relaxed);
  if (put_mark(d, *node, deadline_ms, is_probe, now_ms) == DSC_OK) return DSC_OK;
  dsc_registry_node_done(d->registry, *node, DSC_OUTCOME_NEUTRAL, is_probe, d->call_retry_times);
  dsc_node_unref(*node);
  *node = NULL;
  return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
}

static dsc_err choose_and_mark(dsc_frame *frame, dsc_app_client *ac, dsc_table *table, const dsc_choice *choice,
                               dsc_node **node, dsc_why *why) {
  bool is_probe;
  dsc_err err = dsc_discoverer_choose(frame, ac, table, choice, node, &is_probe, why);
  return err ? err : mark_chosen(frame->d, node, choice->slot_ms, is_probe, dsc_clock_coarse_ms(), why);
}

/* What the app's config says of picks: a node is out until the app's deadline. */
static dsc_err find_choice(dsc_discoverer *d, dsc_str app, dsc_choice *choice, dsc_why *why) {
  dsc_call_config *config = dsc_discoverer_find_config(d, app, NULL);
  if (!config) return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  choice->repeatable = true;
  choice->slot_ms = config->deadline_ms;
  choice->probed = config->probe != NULL;
  choice->node_limit = config->max_in_flight_per_node;
  dsc_call_config_unref(config);
  return DSC_OK;
}

/* What the last pick of an app found, good for a second: then the directory is asked again, which also keeps the
** app from being evicted as one that nobody calls. */
typedef struct found {
  dsc_table *table; /* a reference */
  dsc_choice choice;
  uint64_t until_ms;
  size_t n;
  char app[];
} found;

void dsc_discoverer_clear_picks(dsc_discoverer *d) {
  size_t at = 0;
  for (found *f; (f = dsc_map_next(&d->picks, &at));) {
    dsc_table_unref(f->table);
    dsc_mem_free(f);
  }
  dsc_map_clear(&d->picks);
}

/* Keeps what was found; without memory it is found again next time. */
static void keep_found(dsc_discoverer *d, dsc_str app, dsc_table *table, const dsc_choice *choice, uint64_t now_ms) {
  if (d->picks.count >= MAX_FOUND) dsc_discoverer_clear_picks(d);
  found *f = dsc_mem_alloc(sizeof *f + app.n + 1);
  if (!f) return;
  memcpy(f->app, app.p, app.n);
  f->app[app.n] = '\0';
  f->n = app.n;
  f->choice = *choice;
  f->until_ms = now_ms + SWEEP_MS;
  f->table = dsc_table_ref(table);
  void *old = NULL;
  dsc_err err = dsc_map_put(&d->picks, (dsc_str){f->app, f->n}, f, &old);
  found *gone = err ? f : old;
  if (!gone) return;
  dsc_table_unref(gone->table);
  dsc_mem_free(gone);
}

/* The way of nearly every pick. Returns false when the long way must be taken. */
static bool pick_found(dsc_discoverer *d, dsc_str app, dsc_str key, dsc_node **node, dsc_err *err, dsc_why *why) {
  found *f = d->hooks.next ? NULL : dsc_map_get(&d->picks, app);
  uint64_t now_ms = dsc_clock_coarse_ms();
  if (!f || now_ms >= f->until_ms) return false;
  dsc_pick pick = {.balancer = d->balancer,
                   .repeatable = true,
                   .slot_ms = f->choice.slot_ms,
                   .node_limit = f->choice.node_limit,
                   .probed = f->choice.probed,
                   .has_key = key.p != NULL};
  if (pick.has_key) pick.key = dsc_str_hash(key);
  bool is_probe;
  *node = dsc_table_pick(f->table, &pick, &is_probe);
  if (!*node) return false;
  *err = mark_chosen(d, node, f->choice.slot_ms, is_probe, now_ms, why);
  return true;
}

static dsc_err pick_long(dsc_frame *frame, dsc_str app, dsc_str key, void *ud, dsc_table *table, dsc_node **node,
                         dsc_why *why) {
  dsc_app_client ac;
  dsc_choice choice = {.addr = {0}};
  dsc_err err = find_choice(frame->d, app, &choice, why);
  if (err) return err;
  dsc_app_client_init(&ac);
  ac.app.s = app;
  ac.ud = ud;
  ac.has_key = key.p != NULL;
  if (ac.has_key) ac.key = dsc_str_hash(key);
  err = choose_and_mark(frame, &ac, table, &choice, node, why);
  dsc_app_client_fini(&ac);
  if (!err) keep_found(frame->d, app, table, &choice, dsc_clock_coarse_ms());
  return err;
}

dsc_err dsc_discoverer_pick(dsc_frame *frame, dsc_str app, dsc_str key, void *ud, dsc_node **node, dsc_why *why) {
  dsc_discoverer *d = frame->d;
  *node = NULL;
  dsc_err err = DSC_OK;
  if (pick_found(d, app, key, node, &err, why)) return err;
  err = dsc_addr_check_app(app, why);
  if (err) return err;
  dsc_table *table = NULL;
  bool waiting;
  err = dsc_discoverer_look_up(d, app, &table, &waiting, why);
  if (waiting)
    err = dsc_fail(why, DSC_ENO_NODE, "app \"%.*s\" is followed from now on, not read yet", DSC_STR_ARG(app));
  if (err == DSC_OK) err = pick_long(frame, app, key, ud, table, node, why);
  dsc_table_unref(table);
  return err;
}

dsc_err dsc_discoverer_app_client_new(dsc_discoverer *d, dsc_str app, dsc_app_client **out, dsc_why *why) {
  (void)d;
  *out = NULL;
  dsc_app_client *ac = dsc_mem_zalloc(1, sizeof *ac);
  if (!ac) return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  dsc_app_client_init(ac);
  dsc_err err = dsc_app_client_set_app(ac, app, why);
  if (err) {
    dsc_mem_free(ac);
    return err;
  }
  *out = ac;
  return DSC_OK;
}

void dsc_discoverer_app_client_free(dsc_app_client *ac) {
  if (!ac) return;
  dsc_app_client_fini(ac);
  dsc_mem_free(ac);
}

static dsc_err find_and_wait(dsc_frame *frame, dsc_app_client *ac, dsc_table **table, dsc_why *why) {
  bool waiting;
  dsc_err err = dsc_discoverer_look_up(frame->d, ac->app.s, table, &waiting, why);
  if (!waiting) return err;
  dsc_table_unref(*table);
  dsc_discoverer_await_app(frame, ac->app.s, frame->d->start_timeout_ms);
  return dsc_discoverer_look_up(frame->d, ac->app.s, table, &waiting, why);
}

dsc_err dsc_discoverer_app_client_check(dsc_frame *frame, dsc_app_client *ac, dsc_why *why) {
  dsc_table *table = NULL;
  dsc_err err = find_and_wait(frame, ac, &table, why);
  dsc_table_unref(table);
  return err;
}

dsc_err dsc_discoverer_app_client_next(dsc_frame *frame, dsc_app_client *ac, dsc_str addr, dsc_node **node,
                                       dsc_why *why) {
  *node = NULL;
  dsc_table *table = NULL;
  dsc_choice choice = {.addr = addr};
  dsc_err err = find_and_wait(frame, ac, &table, why);
  if (err == DSC_OK) err = find_choice(frame->d, ac->app.s, &choice, why);
  if (err == DSC_OK) err = choose_and_mark(frame, ac, table, &choice, node, why);
  dsc_table_unref(table);
  return err;
}
