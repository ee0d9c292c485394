/*
** balancer_least_in_flight.c - the node with the fewest calls in flight for its weight.
**
** The key is in_flight / weight. Equal keys go by load, so that idle nodes take turns by weight (a program that makes
** one call at a time sees nothing but idle nodes). Source: nginx, least_conn. Under the table's lock.
*/
#include "model/heap.h"

static void put(dsc_balancer *heap, dsc_node *node) {
  dsc_heap_put(heap, node, (double)dsc_node_in_flight(node) / dsc_node_weight(node), node->load);
}

const dsc_balancer_ops dsc_balancer_least_in_flight = {
    .name = "least_in_flight",
    .create = dsc_heap_create,
    .destroy = dsc_heap_destroy,
    .reserve = dsc_heap_reserve,
    .add = put,
    .remove = dsc_heap_remove,
    .changed = put,
    .next = dsc_heap_next,
    .picked = put,
};
