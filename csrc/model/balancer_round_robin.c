/*
** balancer_round_robin.c - smooth weighted turns: earliest deadline first.
**
** A node's deadline is when its next turn is due, 1/weight after the last; the earliest goes first, so a heavy node's
** turns are spread between the others'. The virtual time is the latest deadline served; whoever joins gets a random
** phase after it, lest all processes begin with the same node. The tie of an entry holds its period, by which a
** change of weight is noticed (and heavier ones win ties). Picks of other balancers do not take a turn. Sources:
** Envoy, EdfScheduler; gRPC A58. Under the table's lock.
*/
#include "base/random.h"
#include "model/heap.h"

static double period(const dsc_node *node) {
  return 1.0 / dsc_node_weight(node);
}

/* Never after the earliest deadline: that happens when a node was skipped because it was tried. */
static double virtual_time(const dsc_balancer *heap) {
  return heap->count && dsc_heap_first_key(heap) < heap->turn ? dsc_heap_first_key(heap) : heap->turn;
}

static void add(dsc_balancer *heap, dsc_node *node) {
  dsc_heap_put(heap, node, virtual_time(heap) + dsc_random_unit() * period(node), period(node));
}

/* A new weight: the rest of the waiting time shrinks or grows with the period. */
static void changed(dsc_balancer *heap, dsc_node *node) {
  const dsc_heap_entry *entry = dsc_heap_entry_of(heap, node);
  double now = virtual_time(heap), fresh = period(node);
  if (entry->tie == fresh) return;
  dsc_heap_put(heap, node, now + (entry->key - now) * (fresh / entry->tie), fresh);
}

static void picked(dsc_balancer *heap, dsc_node *node) {
  double deadline = dsc_heap_entry_of(heap, node)->key;
  if (deadline > heap->turn) heap->turn = deadline;
  dsc_heap_put(heap, node, deadline + period(node), period(node));
}

const dsc_balancer_ops dsc_balancer_round_robin = {
    .name = "round_robin",
    .create = dsc_heap_create,
    .destroy = dsc_heap_destroy,
    .reserve = dsc_heap_reserve,
    .add = add,
    .remove = dsc_heap_remove,
    .changed = changed,
    .next = dsc_heap_next,
    .picked = picked,
};
