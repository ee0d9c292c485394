/*
** balancer_least_used.c - the node with the smallest used_times / weight; the default.
**
** Every pick adds 1/weight to a load, so the loads stay within one step of each other and the shares are exactly
** those of the weights. The load lives in the node and outlives this balancer. Under the table's lock.
*/
#include "model/heap.h"

static void put(dsc_balancer *heap, dsc_node *node) {
  dsc_heap_put(heap, node, node->load, 0);
}

const dsc_balancer_ops dsc_balancer_least_used = {
    .name = "least_used",
    .create = dsc_heap_create,
    .destroy = dsc_heap_destroy,
    .reserve = dsc_heap_reserve,
    .add = put,
    .remove = dsc_heap_remove,
    .changed = put,
    .next = dsc_heap_next,
    .picked = put,
};
