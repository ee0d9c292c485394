/*
** balancer_random.c - a random node, heavier ones more often.
**
** The sums of the weights are built when the set or a weight changed and searched by halves. Tried nodes are drawn
** again a few times, then a draw among the others is made one by one. Invariants: nodes[0 .. count) are those
** present, positions[slot] their places; unless dirty, sums[i] is the weight of nodes[0 .. i]. Under the table's
** lock.
*/
#include "base/mem.h"
#include "base/random.h"
#include "model/balancer_impl.h"

#define DRAWS 8

struct dsc_balancer {
  /* under the table's lock */
  dsc_node **nodes;
  uint64_t *sums;
  uint32_t *positions; /* by slot; only of nodes that are present */
  uint32_t count;
  uint32_t slots;
  bool dirty;
};

static dsc_balancer *create(void) {
  return dsc_mem_zalloc(1, sizeof(dsc_balancer));
}

static void destroy(dsc_balancer *balancer) {
  dsc_mem_free(balancer->nodes);
  dsc_mem_free(balancer->sums);
  dsc_mem_free(balancer->positions);
  dsc_mem_free(balancer);
}

static dsc_err reserve(dsc_balancer *balancer, uint32_t slots) {
  if (slots <= balancer->slots) return DSC_OK;
  dsc_node **nodes = dsc_mem_realloc(balancer->nodes, slots * sizeof *nodes);
  if (!nodes) return DSC_ENOMEM;
  balancer->nodes = nodes;
  uint64_t *sums = dsc_mem_realloc(balancer->sums, slots * sizeof *sums);
  if (!sums) return DSC_ENOMEM;
  balancer->sums = sums;
  uint32_t *positions = dsc_mem_realloc(balancer->positions, slots * sizeof *positions);
  if (!positions) return DSC_ENOMEM;
  balancer->positions = positions;
  balancer->slots = slots;
  return DSC_OK;
}

static void add(dsc_balancer *balancer, dsc_node *node) {
  balancer->positions[node->slot] = balancer->count;
  balancer->nodes[balancer->count++] = node;
  balancer->dirty = true;
}

static void take_out(dsc_balancer *balancer, dsc_node *node) {
  uint32_t at = balancer->positions[node->slot];
  dsc_node *last = balancer->nodes[--balancer->count];
  balancer->nodes[at] = last;
  balancer->positions[last->slot] = at;
  balancer->dirty = true;
}

static void changed(dsc_balancer *balancer, dsc_node *node) {
  if (balancer->dirty) return;
  uint32_t at = balancer->positions[node->slot];
  uint64_t weight = balancer->sums[at] - (at > 0 ? balancer->sums[at - 1] : 0);
  balancer->dirty = weight != dsc_node_weight(node);
}

static void build(dsc_balancer *balancer) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < balancer->count; i++) balancer->sums[i] = sum += dsc_node_weight(balancer->nodes[i]);
  balancer->dirty = false;
}

/* A random number below `n`; sums stay far below 2^53. */
static uint64_t below(uint64_t n) {
  return (uint64_t)(dsc_random_unit() * (double)n);
}

static dsc_node *draw(const dsc_balancer *balancer) {
  uint64_t point = below(balancer->sums[balancer->count - 1]);
  uint32_t low = 0, high = balancer->count - 1;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (balancer->sums[middle] > point)
      high = middle;
    else
      low = middle + 1;
  }
  return balancer->nodes[low];
}

static dsc_node *draw_one_by_one(const dsc_balancer *balancer, const dsc_pick *pick) {
  uint64_t sum = 0;
  dsc_node *chosen = NULL;
  for (uint32_t i = 0; i < balancer->count; i++) {
    dsc_node *node = balancer->nodes[i];
    if (dsc_balancer_is_tried(pick, node)) continue;
    uint64_t weight = dsc_node_weight(node);
    sum += weight;
    if (below(sum) < weight) chosen = node;
  }
  return chosen;
}

static dsc_node *next(dsc_balancer *balancer, const dsc_pick *pick) {
  if (balancer->count == 0) return NULL;
  if (balancer->dirty) build(balancer);
  for (int i = 0; i < DRAWS; i++) {
    dsc_node *node = draw(balancer);
    if (!dsc_balancer_is_tried(pick, node)) return node;
  }
  return draw_one_by_one(balancer, pick);
}

const dsc_balancer_ops dsc_balancer_random = {
    .name = "random",
    .create = create,
    .destroy = destroy,
    .reserve = reserve,
    .add = add,
    .remove = take_out,
    .changed = changed,
    .next = next,
};
