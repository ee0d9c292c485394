/*
** balancer_hash.c - the same key to the same node: weighted rendezvous hashing.
**
** Every node draws a number in (0, 1] from its address and the key; the highest -weight / ln(number) wins, so each
** process and host chooses alike, shares follow the weights, and a node that goes takes only its own keys with it.
** Written here as the smallest -ln(number) / weight; since -ln(x) >= 1 - x, most nodes are out before a logarithm is
** taken. Invariants: places[0 .. count) are those present, positions[slot] their indexes. Under the table's lock.
** Sources: Thaler and Ravishankar, "Using name-based mappings to increase hit rates"; Schindelhauer and Schomaker,
** weighted DHTs.
*/
#include <math.h>

#include "base/mem.h"
#include "model/balancer_impl.h"

struct place {
  dsc_node *node;
  uint64_t hash;  /* of the address */
  double inverse; /* 1 / weight */
};

struct dsc_balancer {
  /* under the table's lock */
  struct place *places;
  uint32_t *positions; /* by slot; only of nodes that are present */
  uint32_t count;
  uint32_t slots;
};

static dsc_balancer *create(void) {
  return dsc_mem_zalloc(1, sizeof(dsc_balancer));
}

static void destroy(dsc_balancer *balancer) {
  dsc_mem_free(balancer->places);
  dsc_mem_free(balancer->positions);
  dsc_mem_free(balancer);
}

static dsc_err reserve(dsc_balancer *balancer, uint32_t slots) {
  if (slots <= balancer->slots) return DSC_OK;
  struct place *places = dsc_mem_realloc(balancer->places, slots * sizeof *places);
  if (!places) return DSC_ENOMEM;
  balancer->places = places;
  uint32_t *positions = dsc_mem_realloc(balancer->positions, slots * sizeof *positions);
  if (!positions) return DSC_ENOMEM;
  balancer->positions = positions;
  balancer->slots = slots;
  return DSC_OK;
}

static void add(dsc_balancer *balancer, dsc_node *node) {
  balancer->positions[node->slot] = balancer->count;
  balancer->places[balancer->count++] =
      (struct place){node, dsc_str_hash(dsc_node_addr(node)), 1.0 / dsc_node_weight(node)};
}

static void take_out(dsc_balancer *balancer, dsc_node *node) {
  uint32_t at = balancer->positions[node->slot];
  balancer->places[at] = balancer->places[--balancer->count];
  balancer->positions[balancer->places[at].node->slot] = at;
}

static void changed(dsc_balancer *balancer, dsc_node *node) {
  balancer->places[balancer->positions[node->slot]].inverse = 1.0 / dsc_node_weight(node);
}

/* A number in (0, 1] from two hashes; the finalizer of splitmix64. */
static inline double drawn(uint64_t hash, uint64_t key) {
  uint64_t x = hash ^ key;
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  x ^= x >> 31;
  return (double)((x >> 11) + 1) * 0x1.0p-53;
}

static dsc_node *next(dsc_balancer *balancer, const dsc_pick *pick) {
  const struct place *best = NULL;
  double least = INFINITY;
  for (uint32_t i = 0; i < balancer->count; i++) {
    const struct place *place = &balancer->places[i];
    double number = drawn(place->hash, pick->key);
    if ((1.0 - number) * place->inverse > least) continue;
    double cost = -log(number) * place->inverse;
    /* equal costs go by the hash: the order of the places differs between processes */
    bool better = cost < least || (best && cost == least && place->hash < best->hash);
    if (!better || dsc_balancer_is_tried(pick, place->node)) continue;
    best = place;
    least = cost;
  }
  return best ? best->node : NULL;
}

const dsc_balancer_ops dsc_balancer_hash = {
    .name = "hash",
    .create = create,
    .destroy = destroy,
    .reserve = reserve,
    .add = add,
    .remove = take_out,
    .changed = changed,
    .next = next,
};
