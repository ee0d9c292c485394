/*
** node_impl.h - what a node is made of: for tables, balancers and the core. Others see node.h.
*/
#ifndef DSC_MODEL_NODE_IMPL_H
#define DSC_MODEL_NODE_IMPL_H

#include <stdatomic.h>

#include "base/addr.h"
#include "base/list.h"
#include "model/health.h"
#include "model/node.h"
#include "model/window.h"

struct dsc_node {
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
  dsc_window *rate;        /* of its outcomes; made with the first one; NULL: none yet, or no memory */
  uint64_t stale_since_ms; /* 0: not stale */
  dsc_link isolated_link;  /* in the table's list of isolated nodes, else in no list */
  dsc_link spared_link;    /* in the table's list of spared nodes, else in no list */
  uint64_t ramp_from_ms;   /* slow start began; 0: none */
  uint64_t avoid_until_ms; /* Retry-After; 0: none */
  bool by_user;            /* set_node: reads, stale rules and goodbyes never touch it */
  bool in_picker;
  bool seen; /* scratch of a read */
  /* constant */
  bool is_literal; /* host is an IP address */
  uint16_t port;
  uint16_t addr_len;
  char addr[]; /* addr_len bytes and a terminator, then the host */
};

/* Makes a node of `table` (whose reference it takes) with one reference: load 0, in no list, in no balancer, state
** gone. For the table's own files. Any thread. Caller owns one reference. Fails: NULL: out of memory. */
dsc_node *dsc_node_new(struct dsc_table *table, const dsc_addr *addr, uint32_t weight);

struct dsc_node_array {
  /* any thread, atomic */
  atomic_uint refs;
  /* constant */
  uint64_t version;
  size_t count;
  dsc_node *nodes[]; /* references */
};

#endif
