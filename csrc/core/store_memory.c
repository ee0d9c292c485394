/*
** store_memory.c - the store within this process: a hub by name, which all registries that name it meet in.
**
** No thread, no loop, no time: an entry lasts until it is removed, a message reaches every follower before the
** function that caused it returns. Messages that are caused while one is being delivered wait their turn, so that all
** followers hear all of them in the same order. A hub goes with its last holder.
**
** Invariants: one lock for all hubs, the registries' own (a delivery goes through other registries); a place is kept
** while it has entries or followers. In a child after a fork there are no hubs. Threads: any, under the lock.
*/
#include "core/store.h"

#include <stdio.h>

#include "base/addr.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"

typedef struct hub {
  dsc_link link;
  uint32_t refs;
  dsc_map places; /* app -> place */
  dsc_link queue; /* of message */
  bool delivering;
  char name[];
} hub;

/* An app in a hub. */
typedef struct place {
  dsc_map entries; /* address -> entry */
  dsc_link followers;
  size_t n;
  char app[];
} place;

typedef struct entry {
  char weight[16];
  char *metadata;
  size_t n;
  char addr[];
} entry;

typedef struct memory_store {
  dsc_store base;
  hub *hub;
  bool closed;
  uint64_t commands;
} memory_store;

typedef struct follower {
  dsc_link link;
  memory_store *store;
} follower;

typedef struct message {
  dsc_link link;
  size_t app_n, n;
  char text[]; /* app, then the message */
} message;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static dsc_link hubs = {&hubs, &hubs};
static dsc_link inherited = {&inherited, &inherited}; /* the parent's: never touched, but not lost either */

/* The lock is brought through a fork by the thread that forks; what the hubs hold belongs to the parent's
** registries. */
static void before_fork(void) {
  pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void) {
  pthread_mutex_unlock(&lock);
}

static void after_fork_in_child(void) {
  dsc_list_move(&inherited, &hubs);
  pthread_mutex_unlock(&lock);
}

static void watch_forks(void) {
  pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

pthread_mutex_t *dsc_store_memory_lock(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, watch_forks);
  return &lock;
}

/* ---- hubs and places */

static hub *find_hub_locked(dsc_str name) {
  for (dsc_link *at = hubs.next; at != &hubs; at = at->next) {
    hub *h = DSC_LIST_ENTRY(at, hub, link);
    if (dsc_str_equal(dsc_str_of(h->name), name)) return h;
  }
  hub *h = dsc_mem_zalloc(1, sizeof *h + name.n + 1);
  if (!h) return NULL;
  memcpy(h->name, name.p, name.n);
  dsc_map_init(&h->places);
  dsc_list_init(&h->queue);
  dsc_list_push(&hubs, &h->link);
  return h;
}

static void free_entry(entry *e) {
  if (!e) return;
  dsc_mem_free(e->metadata);
  dsc_mem_free(e);
}

static void free_place(place *p) {
  size_t at = 0;
  entry *e;
  while ((e = dsc_map_next(&p->entries, &at)) != NULL) free_entry(e);
  dsc_map_clear(&p->entries);
  dsc_mem_free(p);
}

static void unref_hub_locked(hub *h) {
  if (--h->refs > 0) return;
  size_t at = 0;
  place *p;
  while ((p = dsc_map_next(&h->places, &at)) != NULL) free_place(p);
  dsc_map_clear(&h->places);
  dsc_list_remove(&h->link);
  dsc_mem_free(h);
}

static place *open_place(hub *h, dsc_str app) {
  place *p = dsc_map_get(&h->places, app);
  if (p) return p;
  p = dsc_mem_zalloc(1, sizeof *p + app.n + 1);
  if (!p) return NULL;
  p->n = app.n;
  memcpy(p->app, app.p, app.n);
  dsc_map_init(&p->entries);
  dsc_list_init(&p->followers);
  if (dsc_map_put(&h->places, (dsc_str){p->app, p->n}, p, NULL) == DSC_OK) return p;
  dsc_mem_free(p);
  return NULL;
}

static void tidy_place(hub *h, place *p) {
  if (p->entries.count > 0 || !dsc_list_empty(&p->followers)) return;
  dsc_map_take(&h->places, (dsc_str){p->app, p->n});
  free_place(p);
}

static void deliver(hub *h, dsc_str app, dsc_str text) {
  place *p = dsc_map_get(&h->places, app);
  if (!p) return;
  /* a listener only puts and removes: the followers stay as they are */
  for (dsc_link *at = p->followers.next; at != &p->followers; at = at->next) {
    memory_store *store = DSC_LIST_ENTRY(at, follower, link)->store;
    store->base.events.on_message(store->base.events.ud, app, text);
  }
}

static void publish(hub *h, dsc_str app, dsc_str addr, uint32_t weight) {
  char text[DSC_ADDR_MAX + 16];
  int n = snprintf(text, sizeof text, "%.*s %u", DSC_STR_ARG(addr), weight);
  if (n < 0 || (size_t)n >= sizeof text) return;
  message *m = dsc_mem_alloc(sizeof *m + app.n + (size_t)n);
  if (!m) {
    /* without memory: out of order is better than not at all */
    deliver(h, app, (dsc_str){text, (size_t)n});
    return;
  }
  m->app_n = app.n;
  m->n = (size_t)n;
  memcpy(m->text, app.p, app.n);
  memcpy(m->text + app.n, text, (size_t)n);
  dsc_list_push(&h->queue, &m->link);
  if (h->delivering) return;
  h->delivering = true;
  dsc_link *link;
  while ((link = dsc_list_pop(&h->queue)) != NULL) {
    m = DSC_LIST_ENTRY(link, message, link);
    deliver(h, (dsc_str){m->text, m->app_n}, (dsc_str){m->text + m->app_n, m->n});
    dsc_mem_free(m);
  }
  h->delivering = false;
}

/* ---- the vtable */

static void succeed(dsc_store_done done, void *ud) {
  done(ud, &(dsc_store_answer){.err = DSC_OK, .why = ""});
}

static entry *new_entry(const dsc_store_node *node) {
  entry *e = dsc_mem_zalloc(1, sizeof *e + node->addr.n + 1);
  if (!e) return NULL;
  e->n = node->addr.n;
  memcpy(e->addr, node->addr.p, node->addr.n);
  snprintf(e->weight, sizeof e->weight, "%u", node->weight);
  e->metadata = dsc_mem_strdup(node->metadata);
  if (e->metadata) return e;
  dsc_mem_free(e);
  return NULL;
}

static dsc_err memory_start(dsc_store *base) {
  base->events.on_state(base->events.ud, true, true, false, "");
  return DSC_OK;
}

static dsc_err memory_put(dsc_store *base, const dsc_store_node *node, dsc_store_done done, void *ud) {
  memory_store *store = (memory_store *)base;
  if (store->closed) return DSC_EREGISTRY;
  place *p = open_place(store->hub, node->app);
  entry *e = p ? new_entry(node) : NULL;
  void *old = NULL;
  if (!e || dsc_map_put(&p->entries, (dsc_str){e->addr, e->n}, e, &old) != DSC_OK) {
    free_entry(e);
    if (p) tidy_place(store->hub, p);
    return DSC_ENOMEM;
  }
  free_entry(old);
  store->commands++;
  publish(store->hub, node->app, node->addr, node->weight);
  succeed(done, ud);
  return DSC_OK;
}

static dsc_err memory_touch(dsc_store *base, const dsc_store_node *node, dsc_store_done done, void *ud) {
  (void)base;
  (void)node;
  succeed(done, ud);
  return DSC_OK;
}

static dsc_err remove_entry(dsc_store *base, dsc_str app, dsc_str addr, dsc_store_done done, void *ud) {
  memory_store *store = (memory_store *)base;
  if (store->closed) return DSC_EREGISTRY;
  place *p = dsc_map_get(&store->hub->places, app);
  if (p) {
    free_entry(dsc_map_take(&p->entries, addr));
    tidy_place(store->hub, p);
  }
  store->commands++;
  publish(store->hub, app, addr, 0);
  succeed(done, ud);
  return DSC_OK;
}

static dsc_err memory_remove(dsc_store *base, const dsc_store_node *node, dsc_store_done done, void *ud) {
  return remove_entry(base, node->app, node->addr, done, ud);
}

static dsc_err memory_read(dsc_store *base, dsc_str app, dsc_store_done done, void *ud) {
  memory_store *store = (memory_store *)base;
  place *p = dsc_map_get(&store->hub->places, app);
  size_t n = p ? p->entries.count : 0, at = 0, i = 0;
  dsc_store_row *rows = dsc_mem_zalloc(n, sizeof *rows);
  if (!rows) return DSC_ENOMEM;
  entry *e;
  while (p && (e = dsc_map_next(&p->entries, &at)) != NULL) {
    rows[i++] = (dsc_store_row){{e->addr, e->n}, dsc_str_of(e->weight), dsc_str_of(e->metadata), true};
  }
  store->commands++;
  done(ud, &(dsc_store_answer){.err = DSC_OK, .why = "", .rows = rows, .n = n});
  dsc_mem_free(rows);
  return DSC_OK;
}

static dsc_err memory_fetch(dsc_store *base, dsc_str app, dsc_str addr, dsc_store_done done, void *ud) {
  memory_store *store = (memory_store *)base;
  place *p = dsc_map_get(&store->hub->places, app);
  entry *e = p ? dsc_map_get(&p->entries, addr) : NULL;
  dsc_store_answer answer = {.err = DSC_OK, .why = "", .found = e != NULL, .value = dsc_str_of(e ? e->metadata : "")};
  store->commands++;
  done(ud, &answer);
  return DSC_OK;
}

static follower *find_follower(memory_store *store, place *p) {
  for (dsc_link *at = p->followers.next; at != &p->followers; at = at->next) {
    follower *f = DSC_LIST_ENTRY(at, follower, link);
    if (f->store == store) return f;
  }
  return NULL;
}

static dsc_err memory_follow(dsc_store *base, dsc_str app) {
  memory_store *store = (memory_store *)base;
  place *p = open_place(store->hub, app);
  if (!p) return DSC_ENOMEM;
  if (find_follower(store, p)) return DSC_OK;
  follower *f = dsc_mem_zalloc(1, sizeof *f);
  if (!f) {
    tidy_place(store->hub, p);
    return DSC_ENOMEM;
  }
  f->store = store;
  dsc_list_push(&p->followers, &f->link);
  base->events.on_subscribed(base->events.ud, app);
  return DSC_OK;
}

static void drop_follower(memory_store *store, place *p) {
  follower *f = find_follower(store, p);
  if (!f) return;
  dsc_list_remove(&f->link);
  dsc_mem_free(f);
}

static void memory_unfollow(dsc_store *base, dsc_str app) {
  memory_store *store = (memory_store *)base;
  place *p = dsc_map_get(&store->hub->places, app);
  if (!p) return;
  drop_follower(store, p);
  tidy_place(store->hub, p);
}

static void memory_get_stats(dsc_store *base, dsc_store_stats *stats) {
  memory_store *store = (memory_store *)base;
  *stats = (dsc_store_stats){.connects = 1, .commands = store->commands};
}

static void memory_close(dsc_store *base) {
  memory_store *store = (memory_store *)base;
  if (store->closed) return;
  store->closed = true;
  size_t at = 0;
  place *p;
  while ((p = dsc_map_next(&store->hub->places, &at)) != NULL) {
    if (!find_follower(store, p)) continue;
    drop_follower(store, p);
    tidy_place(store->hub, p);
    at = 0; /* the map may have changed */
  }
}

static bool memory_is_closed(dsc_store *base) {
  return ((memory_store *)base)->closed;
}

static void memory_free(dsc_store *base) {
  memory_store *store = (memory_store *)base;
  pthread_mutex_lock(&lock);
  unref_hub_locked(store->hub);
  pthread_mutex_unlock(&lock);
  dsc_mem_free(store);
}

static const dsc_store_ops memory_ops = {
    .kind = "memory",
    .lasting = true,
    .start = memory_start,
    .put = memory_put,
    .touch = memory_touch,
    .remove = memory_remove,
    .read = memory_read,
    .fetch = memory_fetch,
    .reap = remove_entry,
    .follow = memory_follow,
    .unfollow = memory_unfollow,
    .get_stats = memory_get_stats,
    .close = memory_close,
    .is_closed = memory_is_closed,
    .destroy = memory_free,
};

dsc_store *dsc_store_memory_new(dsc_str name, const dsc_store_events *events) {
  memory_store *store = dsc_mem_zalloc(1, sizeof *store);
  if (!store) return NULL;
  store->base = (dsc_store){&memory_ops, *events};
  pthread_mutex_lock(dsc_store_memory_lock());
  store->hub = find_hub_locked(name);
  if (store->hub) store->hub->refs++;
  pthread_mutex_unlock(&lock);
  if (store->hub) return &store->base;
  dsc_mem_free(store);
  return NULL;
}
