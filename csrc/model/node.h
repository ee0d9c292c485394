/*
** node.h - one instance of an app: a constant identity with counters, shared by reference.
**
** A node belongs to one table. It survives every refresh with its counters and health; whoever holds a
** reference may read it after the table forgot it (state gone).
*/
#ifndef DSC_MODEL_NODE_H
#define DSC_MODEL_NODE_H

#include <stdatomic.h>

#include "base/addr.h"
#include "base/list.h"
#include "base/str.h"
#include "model/health.h"

typedef enum dsc_node_state {
  DSC_NODE_UP,
  DSC_NODE_STALE,
  DSC_NODE_ISOLATED,
  DSC_NODE_PROBING,
  DSC_NODE_GONE
} dsc_node_state;

typedef struct dsc_node {
  /* constant */
  struct dsc_table *table; /* never NULL; kept alive by the node's reference */
  const char *host;        /* without brackets, terminated; points behind `addr` */
  /* any thread, atomic */
  atomic_uint refs;
  /* read by any thread, atomic; written under the table's lock */
  atomic_uint in_flight;
  atomic_uint weight;
  atomic_uint state;         /* dsc_node_state */
  _Atomic uint64_t attempts; /* ever, by calls of this process */
  _Atomic uint64_t failures; /* ever */
  atomic_uint failed_times;  /* in a row */
  /* under the table's lock */
  uint32_t slot;  /* index in the table, for balancers' side arrays */
  double load;    /* used_times / weight: what least_used orders by */
  char *metadata; /* "key=value&...", NULL: none */
  dsc_health health;
  uint64_t stale_since_ms; /* 0: not stale */
  dsc_link isolated_link;  /* in the table's list of isolated nodes, else in no list */
  bool by_user;            /* set_node: reads, stale rules and goodbyes never touch it */
  bool in_picker;
  bool seen; /* scratch of a read */
  /* constant */
  bool is_literal; /* host is an IP address */
  uint16_t port;
  uint16_t addr_len;
  char addr[]; /* addr_len bytes and a terminator, then the host */
} dsc_node;

/* Makes a node of `table` (whose reference it takes) with one reference: load 0, in no list, in no balancer, state
** gone. For the table's own files. Any thread. Caller owns one reference. Fails: NULL: out of memory. */
dsc_node *dsc_node_new(struct dsc_table *table, const dsc_addr *addr, uint32_t weight);

/* Takes a reference. Any thread. Returns `node`. */
dsc_node *dsc_node_ref(dsc_node *node);

/* Gives a reference back; NULL is allowed. The last one frees the node and its reference to the table. Any
** thread, but not while holding the table's lock. */
void dsc_node_unref(dsc_node *node);

/* Borrows the address. Any thread. */
static inline dsc_str dsc_node_addr(const dsc_node *node) {
  return (dsc_str){node->addr, node->addr_len};
}

/* Returns the weight. Any thread. */
static inline uint32_t dsc_node_weight(const dsc_node *node) {
  return atomic_load_explicit(&node->weight, memory_order_relaxed);
}

/* Returns how many picks are not done yet. Any thread. */
static inline uint32_t dsc_node_in_flight(const dsc_node *node) {
  return atomic_load_explicit(&node->in_flight, memory_order_relaxed);
}

/* Returns the state as one word for users. Any thread. */
static inline dsc_node_state dsc_node_get_state(const dsc_node *node) {
  return (dsc_node_state)atomic_load_explicit(&node->state, memory_order_relaxed);
}

/* Returns "up", "stale", "isolated", "probing" or "gone". Any thread. Static string. */
const char *dsc_node_state_name(dsc_node_state state);

/* Returns used_times: load x weight, rounded down. Any thread (takes the table's lock). */
uint64_t dsc_node_used_times(dsc_node *node);

/* Returns a copy of the metadata text ("" when there is none). Any thread (takes the table's lock). Caller owns:
** dsc_mem_free(). Fails: NULL: out of memory. */
char *dsc_node_copy_metadata(dsc_node *node);

/* An immutable list of nodes, kept by the table until its version changes. */
typedef struct dsc_node_array {
  /* any thread, atomic */
  atomic_uint refs;
  /* constant */
  uint64_t version;
  size_t count;
  dsc_node *nodes[]; /* references */
} dsc_node_array;

/* Gives a list back; NULL is allowed. The last one gives its nodes back. Any thread, not under a table's lock. */
void dsc_node_array_unref(dsc_node_array *array);

#endif
