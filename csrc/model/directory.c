/*
** directory.c - a map of names to tables under one mutex, and a ring of the loose ones.
**
** Invariants: each entry owns one reference to its table; an entry is in the ring exactly while it is loose, the
** least recently called first; the ring never holds more than DSC_DIRECTORY_MAX_LOOSE. Tables are cleared and given
** back outside the lock. Any thread.
*/
#include "model/directory.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"

struct entry {
  /* under the directory's lock */
  dsc_link link; /* in `loose`, or in no list: configured */
  dsc_table *table;
};

struct dsc_directory {
  /* under lock */
  pthread_mutex_t lock;
  dsc_map apps; /* name (the table's) -> entry */
  dsc_link loose;
  size_t n_loose;
};

dsc_directory *dsc_directory_new(void) {
  dsc_directory *directory = dsc_mem_zalloc(1, sizeof *directory);
  if (!directory) return NULL;
  pthread_mutex_init(&directory->lock, NULL);
  dsc_map_init(&directory->apps);
  dsc_list_init(&directory->loose);
  return directory;
}

static void drop_table(dsc_table *table) {
  dsc_table_clear(table, NULL);
  dsc_table_unref(table);
}

void dsc_directory_free(dsc_directory *directory) {
  if (!directory) return;
  size_t at = 0;
  for (struct entry *entry; (entry = dsc_map_next(&directory->apps, &at));) {
    drop_table(entry->table);
    dsc_mem_free(entry);
  }
  dsc_map_clear(&directory->apps);
  pthread_mutex_destroy(&directory->lock);
  dsc_mem_free(directory);
}

static bool is_loose(const struct entry *entry) {
  return !dsc_list_empty(&entry->link);
}

/* Marks an entry as called now. */
static void touch_locked(dsc_directory *directory, struct entry *entry) {
  if (!is_loose(entry)) return;
  dsc_list_remove(&entry->link);
  dsc_list_push(&directory->loose, &entry->link);
}

static void configure_locked(dsc_directory *directory, struct entry *entry) {
  if (!is_loose(entry)) return;
  dsc_list_remove(&entry->link);
  directory->n_loose--;
}

dsc_table *dsc_directory_find(dsc_directory *directory, dsc_str app) {
  pthread_mutex_lock(&directory->lock);
  struct entry *entry = dsc_map_get(&directory->apps, app);
  if (entry) touch_locked(directory, entry);
  dsc_table *table = entry ? dsc_table_ref(entry->table) : NULL;
  pthread_mutex_unlock(&directory->lock);
  return table;
}

/* Takes the least recently called app out; the caller gets its reference. */
static dsc_table *evict_locked(dsc_directory *directory) {
  struct entry *entry = DSC_LIST_ENTRY(dsc_list_pop(&directory->loose), struct entry, link);
  directory->n_loose--;
  dsc_table *table = entry->table;
  (void)dsc_map_take(&directory->apps, dsc_table_app(table));
  dsc_mem_free(entry);
  return table;
}

static struct entry *make_entry(dsc_str app) {
  struct entry *entry = dsc_mem_alloc(sizeof *entry);
  dsc_table *table = entry ? dsc_table_new(app) : NULL;
  if (!table) {
    dsc_mem_free(entry);
    return NULL;
  }
  dsc_list_init(&entry->link);
  entry->table = table;
  return entry;
}

static struct entry *add_locked(dsc_directory *directory, dsc_str app, bool configured, dsc_table **evicted) {
  struct entry *entry = make_entry(app);
  if (!entry) return NULL;
  if (dsc_map_put(&directory->apps, dsc_table_app(entry->table), entry, NULL)) {
    dsc_table_unref(entry->table);
    dsc_mem_free(entry);
    return NULL;
  }
  if (configured) return entry;
  if (directory->n_loose == DSC_DIRECTORY_MAX_LOOSE) *evicted = evict_locked(directory);
  dsc_list_push(&directory->loose, &entry->link);
  directory->n_loose++;
  return entry;
}

dsc_table *dsc_directory_open(dsc_directory *directory, dsc_str app, bool configured, dsc_table **evicted) {
  dsc_table *gone = NULL;
  pthread_mutex_lock(&directory->lock);
  struct entry *entry = dsc_map_get(&directory->apps, app);
  if (!entry)
    entry = add_locked(directory, app, configured, &gone);
  else if (configured)
    configure_locked(directory, entry);
  else
    touch_locked(directory, entry);
  dsc_table *table = entry ? dsc_table_ref(entry->table) : NULL;
  pthread_mutex_unlock(&directory->lock);
  if (evicted)
    *evicted = gone;
  else if (gone)
    drop_table(gone);
  return table;
}

static int by_name(const void *a, const void *b) {
  dsc_str x = dsc_table_app(*(dsc_table *const *)a), y = dsc_table_app(*(dsc_table *const *)b);
  size_t n = x.n < y.n ? x.n : y.n;
  int order = n > 0 ? memcmp(x.p, y.p, n) : 0;
  return order ? order : (x.n > y.n) - (x.n < y.n);
}

dsc_table **dsc_directory_list(dsc_directory *directory, size_t *count) {
  pthread_mutex_lock(&directory->lock);
  size_t n = *count = directory->apps.count, at = 0, i = 0;
  dsc_table **tables = n > 0 ? dsc_mem_alloc(n * sizeof *tables) : NULL;
  if (tables)
    for (struct entry *entry; (entry = dsc_map_next(&directory->apps, &at));) tables[i++] = dsc_table_ref(entry->table);
  pthread_mutex_unlock(&directory->lock);
  if (tables) qsort(tables, *count, sizeof *tables, by_name);
  return tables;
}
