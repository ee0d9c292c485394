/*
** heap.h - the balancers that are an order by a number: a heap of nodes, smallest first.
**
** Four children a parent (half the depth of two, and the children lie in two cache lines), keys in the entries and
** positions by node slot, so that no sift looks at a node. Equal keys go by `tie`, then by slot: the order is total
** and can be foretold. Source: D. B. Johnson, "Priority queues with update and finding minimum spanning trees"
** (d-heaps).
*/
#ifndef DSC_MODEL_HEAP_H
#define DSC_MODEL_HEAP_H

#include "model/balancer_impl.h"

typedef struct dsc_heap_entry {
  double key, tie;
  uint32_t slot;
} dsc_heap_entry;

/* least_used, round_robin and least_in_flight are nothing but a heap. */
struct dsc_balancer {
  /* under the table's lock */
  dsc_heap_entry *entries;
  uint32_t *positions; /* by slot: index of its entry, DSC_HEAP_ABSENT */
  dsc_node **nodes;    /* by slot, NULL when absent */
  uint32_t count;
  uint32_t slots;
  double turn; /* round_robin: the latest deadline that was served */
};

#define DSC_HEAP_ABSENT UINT32_MAX

/* Makes an empty heap: `create` of a vtable. Any thread. Caller owns: dsc_heap_destroy(). Fails: NULL: out of memory.
** */
dsc_balancer *dsc_heap_create(void);

/* Frees it; nodes may still be in it: `destroy` of a vtable. Under the table's lock. */
void dsc_heap_destroy(dsc_balancer *heap);

/* Makes room for the slots 0 .. `slots` - 1: `reserve` of a vtable. Under the table's lock. Fails: DSC_ENOMEM,
** nothing changed. */
dsc_err dsc_heap_reserve(dsc_balancer *heap, uint32_t slots);

/* Takes out a node that is in it: `remove` of a vtable. Under the table's lock. */
void dsc_heap_remove(dsc_balancer *heap, dsc_node *node);

/* Returns the first node that was not tried: `next` of a vtable. Those before it are set aside and put back. Under
** the table's lock. Borrowed. Fails: NULL. */
dsc_node *dsc_heap_next(dsc_balancer *heap, const dsc_pick *pick);

/* Adds a node, or moves it to where its new key belongs; room for its slot was made. Under the table's lock. */
void dsc_heap_put(dsc_balancer *heap, dsc_node *node, double key, double tie);

/* Returns the entry of a node until the heap changes. Under the table's lock. Fails: NULL: not in it. */
const dsc_heap_entry *dsc_heap_entry_of(const dsc_balancer *heap, const dsc_node *node);

/* Returns the smallest key, 0 when empty. Under the table's lock. */
double dsc_heap_first_key(const dsc_balancer *heap);

#endif
