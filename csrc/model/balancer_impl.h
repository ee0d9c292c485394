/*
** balancer_impl.h - in which order the nodes of one table are picked: a small vtable, one file per algorithm.
**
** A balancer holds those nodes of one table that may be picked now (no isolated ones) and is only
** touched under that table's lock. It owns neither nodes nor references: the table adds and removes.
*/
#ifndef DSC_MODEL_BALANCER_IMPL_H
#define DSC_MODEL_BALANCER_IMPL_H

#include "model/balancer.h"
#include "model/node_impl.h"

/* What is needed to see whether a node is spared, see table_spared.c. */
typedef struct dsc_sparing {
  uint64_t now_ms;
  uint64_t in_flight, weight; /* of all nodes */
  bool keyed;                 /* no slow start */
} dsc_sparing;

/* What a pick asks for. */
typedef struct dsc_pick {
  const dsc_balancer_ops *balancer; /* NULL: least_used */
  dsc_node *const *tried;           /* never picked again; borrowed */
  size_t n_tried;
  uint64_t key;        /* hash: dsc_str_hash() of the request's key */
  bool has_key;        /* without one the table takes least_used in place of `hash` */
  bool repeatable;     /* may be a probe while other nodes are usable */
  bool probed;         /* isolated nodes are probed in the background: a call is the probe only without a usable node */
  uint32_t slot_ms;    /* how long a probe slot is held */
  uint32_t node_limit; /* nodes with so many in flight are as good as tried; 0: no limit */
  const dsc_sparing *sparing; /* the table's own: spared nodes are as good as tried; NULL: they are not */
} dsc_pick;

typedef struct dsc_balancer dsc_balancer;

struct dsc_balancer_ops {
  const char *name;

  /* Makes an empty one. Under the table's lock, any thread. Fails: NULL: out of memory. */
  dsc_balancer *(*create)(void);

  /* Frees it; nodes may still be in it. Under the table's lock, any thread. */
  void (*destroy)(dsc_balancer *balancer);

  /* Makes room for the slots 0 .. `slots` - 1, so that adding can't fail. Under the table's lock. Fails: DSC_ENOMEM,
  ** nothing changed. */
  dsc_err (*reserve)(dsc_balancer *balancer, uint32_t slots);

  /* A node became pickable; it is not in it yet, and room for its `slot` was made. Under the table's lock. */
  void (*add)(dsc_balancer *balancer, dsc_node *node);

  /* A node stopped being pickable; it is in it. Under the table's lock. */
  void (*remove)(dsc_balancer *balancer, dsc_node *node);

  /* The load, weight or in_flight of a node in it changed. Under the table's lock. May be NULL. */
  void (*changed)(dsc_balancer *balancer, dsc_node *node);

  /* Returns the best node that was not tried, or NULL. Does not count it: the table does, then calls
  ** `picked`. Under the table's lock. Borrowed. */
  dsc_node *(*next)(dsc_balancer *balancer, const dsc_pick *pick);

  /* The table counted what `next` returned (load and in_flight are raised); moves it in the order. The other
  ** balancers of the table get `changed`. Under the table's lock. May be NULL. */
  void (*picked)(dsc_balancer *balancer, dsc_node *node);
};

enum {
  DSC_BALANCER_LEAST_USED,
  DSC_BALANCER_ROUND_ROBIN,
  DSC_BALANCER_RANDOM,
  DSC_BALANCER_LEAST_IN_FLIGHT,
  DSC_BALANCER_HASH,
  DSC_BALANCER_COUNT
};

/* The algorithms, by the numbers above. */
extern const dsc_balancer_ops *const dsc_balancer_all[DSC_BALANCER_COUNT];

/* Returns the number of `ops` in dsc_balancer_all (NULL: least_used). Any thread. */
int dsc_balancer_index(const dsc_balancer_ops *ops);

/* table_spared.c: true when a node is spared now. Under the table's lock. */
bool dsc_table_is_spared(const dsc_sparing *sparing, const dsc_node *node);

/* The slow part of dsc_balancer_is_tried(). Under the table's lock. */
bool dsc_balancer_is_barred(const dsc_pick *pick, const dsc_node *node);

/* True when `node` is among the tried ones of `pick`, has as much in flight as it allows, or is spared. Any thread. */
static inline bool dsc_balancer_is_tried(const dsc_pick *pick, const dsc_node *node) {
  return (pick->n_tried || pick->node_limit || pick->sparing) && dsc_balancer_is_barred(pick, node);
}

extern const dsc_balancer_ops dsc_balancer_least_used;
extern const dsc_balancer_ops dsc_balancer_round_robin;
extern const dsc_balancer_ops dsc_balancer_random;
extern const dsc_balancer_ops dsc_balancer_least_in_flight;
extern const dsc_balancer_ops dsc_balancer_hash;

#endif
