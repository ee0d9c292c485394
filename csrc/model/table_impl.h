/*
** table_impl.h - what the files of the table share: table.c (nodes come, change and go), table_read.c
** (whole reads, stale nodes), table_pick.c (picks and outcomes). For these and node.c only.
**
** Invariants under the lock: a node is in the map exactly while its state is not gone; it is then either in the
** picker (and in every balancer that was made) or in the list of isolated nodes; load_sum is the sum of the loads in
** the picker; every balancer has room for slot_cap slots. References are never dropped under the lock: they go into a
** trash.
*/
#ifndef DSC_MODEL_TABLE_IMPL_H
#define DSC_MODEL_TABLE_IMPL_H

#include <pthread.h>

#include "model/balancer_impl.h"
#include "model/budget.h"
#include "model/table.h"

#define DSC_TABLE_TOLD 32

struct dsc_table {
  /* any thread, atomic */
  atomic_uint refs;
  dsc_counters counters;
  _Atomic uint64_t told_ms[DSC_TABLE_TOLD]; /* by kind modulo their number: when it was told last */
  /* under lock */
  pthread_mutex_t lock;
  uint64_t version;
  dsc_map nodes;                               /* address -> node, one reference each */
  dsc_balancer *balancers[DSC_BALANCER_COUNT]; /* NULL until first used */
  double load_sum;
  bool picked; /* ever */
  size_t n_picker, n_up, n_stale;
  dsc_link isolated;       /* roughly in the order in which their probes are due */
  dsc_link spared;         /* nodes in the picker that are spared, see table_spared.c */
  uint64_t spared_look_ms; /* none of them ends before */
  uint64_t in_flight;      /* of all nodes */
  uint64_t weight;         /* of the nodes in the picker */
  dsc_budget budget;
  uint64_t probe_at_ms; /* no probe is due before */
  uint32_t *free_slots; /* slot_cap of them, n_free in use */
  uint32_t n_free, next_slot, slot_cap;
  dsc_node_array *snapshot; /* NULL, or of this version once the lock is free */
  bool closed;              /* cleared: no node is added any more */
  bool reading;
  bool blind;      /* reading, but an address could not be remembered: that read must not be applied */
  dsc_map touched; /* addresses of messages since the read began */
  /* constant */
  size_t app_len;
  char app[];
};

/* References to be dropped once the lock is free. */
typedef struct dsc_table_trash {
  dsc_link nodes; /* by isolated_link: a node that was removed is in no other list */
  dsc_node_array *snapshot;
} dsc_table_trash;

/* What a row, a message or the user says about a node. */
typedef struct dsc_table_spec {
  uint32_t weight;         /* 1 .. DSC_WEIGHT_MAX */
  const dsc_str *metadata; /* NULL: leave as it is */
  bool by_user;
  uint64_t ramp_from_ms; /* a new node starts slowly; 0: it does not */
} dsc_table_spec;

/* Locks and prepares an empty trash. Any thread. */
static inline void dsc_table_lock(dsc_table *table, dsc_table_trash *trash) {
  dsc_list_init(&trash->nodes);
  trash->snapshot = NULL;
  pthread_mutex_lock(&table->lock);
}

/* Drops what is in the trash. Any thread, after unlocking. */
void dsc_table_empty_trash(dsc_table_trash *trash);

/* Unlocks, then drops what is in the trash and a snapshot that is no longer true. Any thread. */
static inline void dsc_table_unlock(dsc_table *table, dsc_table_trash *trash) {
  if (table->snapshot && table->snapshot->version != table->version) {
    trash->snapshot = table->snapshot;
    table->snapshot = NULL;
  }
  pthread_mutex_unlock(&table->lock);
  if (trash->snapshot || !dsc_list_empty(&trash->nodes)) dsc_table_empty_trash(trash);
}

/* True for a node that is not gone. Under the lock. */
static inline bool dsc_table_has_locked(const dsc_node *node) {
  return dsc_node_get_state(node) != DSC_NODE_GONE;
}

/* True while some node is not stale. Under the lock. */
static inline bool dsc_table_has_fresh_locked(const dsc_table *table) {
  return table->nodes.count > table->n_stale;
}

/* Returns the mean load of the nodes in the picker, 0 without any and before the first pick (else those that are set
** one by one would queue up behind each other, and every short-lived program would call the first). Under the lock. */
static inline double dsc_table_mean_locked(const dsc_table *table) {
  return table->n_picker && table->picked ? table->load_sum / (double)table->n_picker : 0;
}

/* Returns the load at which newcomers join: the mean of the picker; of the isolated ones while all are, or a newcomer
** would be behind by all their calls when they come back. Under the lock. */
double dsc_table_join_load_locked(const dsc_table *table);

/* Returns what `ramp_from_ms` of a spec shall be: those that come to others that work start slowly. Under the lock. */
static inline uint64_t dsc_table_ramp_from_locked(const dsc_table *table, uint64_t now_ms) {
  return table->n_picker && table->picked ? now_ms : 0;
}

/* Begins the slow start of a node that is, or is about to be, in the picker. Under the lock. */
void dsc_table_ramp_locked(dsc_table *table, dsc_node *node, uint64_t now_ms);

/* Spares a node no longer; it leaves the picker, too. Under the lock. */
void dsc_table_unspare_locked(dsc_node *node);

/* Prepares for dsc_table_is_spared(), ending what is over. Under the lock. Returns false when no node is spared. */
bool dsc_table_begin_sparing_locked(dsc_table *table, const dsc_pick *pick, dsc_sparing *sparing);

/* True when a node in the picker that was not tried is at the limit of `pick`. Under the lock. */
bool dsc_table_is_full_locked(const dsc_table *table, const dsc_pick *pick);

/* Tells the balancers that a node's load, weight or in_flight changed, and the one with index `by` (-1: none) that it
** was picked. Under the lock. */
void dsc_table_changed_locked(dsc_table *table, dsc_node *node, int by);

/* Lets a node be picked, or no longer. Under the lock. */
void dsc_table_enter_picker_locked(dsc_table *table, dsc_node *node);

/* The reverse of entering; nothing if it is not in. Under the lock. */
void dsc_table_leave_picker_locked(dsc_table *table, dsc_node *node);

/* Works the state word out again from health and staleness. Under the lock. */
void dsc_table_refresh_state_locked(dsc_table *table, dsc_node *node);

/* Adds a node that is not there, at `mean` load plus its random part. Under the lock. `*made`: borrowed, NULL on
** failure. Fails: DSC_ENOMEM, nothing changed. The caller saw that the table is not closed. */
dsc_err dsc_table_add_locked(dsc_table *table, const dsc_addr *addr, const dsc_table_spec *spec, double mean,
                             dsc_table_trash *trash, dsc_changes *changes, dsc_node **made);

/* Applies what was said to a node that is there; it is no longer stale. Under the lock. Fails: DSC_ENOMEM, nothing
** changed. */
dsc_err dsc_table_update_locked(dsc_table *table, dsc_node *node, const dsc_table_spec *spec);

/* Sets the metadata (empty: none). Under the lock. Fails: DSC_ENOMEM, nothing changed. */
dsc_err dsc_table_set_metadata_locked(dsc_table *table, dsc_node *node, dsc_str metadata);

/* Makes a node gone; its reference goes into the trash. Under the lock. */
void dsc_table_remove_locked(dsc_table *table, dsc_node *node, dsc_table_trash *trash, dsc_changes *changes);

/* Makes all nodes of a list (by isolated_link) gone. Under the lock. */
void dsc_table_remove_all_locked(dsc_table *table, dsc_link *doomed, dsc_table_trash *trash, dsc_changes *changes);

/* Remembers that a message spoke of an address while a read is under way. Under the lock. When memory runs out
** the read is not applied. */
void dsc_table_touch_locked(dsc_table *table, dsc_str addr);

/* Ends a read without applying it. Under the lock. */
void dsc_table_forget_read_locked(dsc_table *table);

#endif
