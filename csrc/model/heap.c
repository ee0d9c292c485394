/*
** heap.c - a 4-ary heap with positions.
**
** Invariants: no entry comes before its parent; positions[entries[i].slot] == i; nodes[slot] is NULL
** exactly where positions[slot] is absent. While dsc_heap_next() has entries set aside they stand behind
** `count`, with right positions. Under the table's lock.
*/
#include "model/heap.h"

#include "base/mem.h"

#define ARITY 4

dsc_balancer *dsc_heap_create(void) {
  return dsc_mem_zalloc(1, sizeof(dsc_balancer));
}

void dsc_heap_destroy(dsc_balancer *heap) {
  dsc_mem_free(heap->entries);
  dsc_mem_free(heap->positions);
  dsc_mem_free(heap->nodes);
  dsc_mem_free(heap);
}

dsc_err dsc_heap_reserve(dsc_balancer *heap, uint32_t slots) {
  if (slots <= heap->slots) return DSC_OK;
  dsc_heap_entry *entries = dsc_mem_realloc(heap->entries, slots * sizeof *entries);
  if (!entries) return DSC_ENOMEM;
  heap->entries = entries;
  uint32_t *positions = dsc_mem_realloc(heap->positions, slots * sizeof *positions);
  if (!positions) return DSC_ENOMEM;
  heap->positions = positions;
  dsc_node **nodes = dsc_mem_realloc(heap->nodes, slots * sizeof *nodes);
  if (!nodes) return DSC_ENOMEM;
  heap->nodes = nodes;
  for (uint32_t i = heap->slots; i < slots; i++) {
    positions[i] = DSC_HEAP_ABSENT;
    nodes[i] = NULL;
  }
  heap->slots = slots;
  return DSC_OK;
}

static inline bool before(const dsc_heap_entry *a, const dsc_heap_entry *b) {
  if (a->key != b->key) return a->key < b->key;
  if (a->tie != b->tie) return a->tie < b->tie;
  return a->slot < b->slot;
}

static inline void place(dsc_balancer *heap, uint32_t at, dsc_heap_entry entry) {
  heap->entries[at] = entry;
  heap->positions[entry.slot] = at;
}

static void sift_up(dsc_balancer *heap, uint32_t at, dsc_heap_entry entry) {
  while (at > 0) {
    uint32_t parent = (at - 1) / ARITY;
    if (!before(&entry, &heap->entries[parent])) break;
    place(heap, at, heap->entries[parent]);
    at = parent;
  }
  place(heap, at, entry);
}

static uint32_t first_child(const dsc_balancer *heap, uint32_t child) {
  uint32_t end = heap->count - child > ARITY ? child + ARITY : heap->count;
  uint32_t best = child;
  for (uint32_t i = child + 1; i < end; i++)
    if (before(&heap->entries[i], &heap->entries[best])) best = i;
  return best;
}

static void sift_down(dsc_balancer *heap, uint32_t at, dsc_heap_entry entry) {
  for (;;) {
    uint32_t child = at * ARITY + 1;
    if (child >= heap->count) break;
    child = first_child(heap, child);
    if (!before(&heap->entries[child], &entry)) break;
    place(heap, at, heap->entries[child]);
    at = child;
  }
  place(heap, at, entry);
}

/* Puts `entry` where it belongs, beginning at `at`, whose own entry no longer counts. */
static void settle(dsc_balancer *heap, uint32_t at, dsc_heap_entry entry) {
  if (at > 0 && before(&entry, &heap->entries[(at - 1) / ARITY]))
    sift_up(heap, at, entry);
  else
    sift_down(heap, at, entry);
}

void dsc_heap_put(dsc_balancer *heap, dsc_node *node, double key, double tie) {
  dsc_heap_entry entry = {key, tie, node->slot};
  uint32_t at = heap->positions[node->slot];
  if (at == DSC_HEAP_ABSENT) {
    heap->nodes[node->slot] = node;
    sift_up(heap, heap->count++, entry);
  } else if (heap->entries[at].key != key || heap->entries[at].tie != tie) {
    settle(heap, at, entry);
  }
}

void dsc_heap_remove(dsc_balancer *heap, dsc_node *node) {
  uint32_t at = heap->positions[node->slot];
  heap->positions[node->slot] = DSC_HEAP_ABSENT;
  heap->nodes[node->slot] = NULL;
  heap->count--;
  if (at != heap->count) settle(heap, at, heap->entries[heap->count]);
}

/* Swaps the first entry behind the end. */
static void set_aside(dsc_balancer *heap) {
  dsc_heap_entry first = heap->entries[0], last = heap->entries[--heap->count];
  place(heap, heap->count, first);
  if (heap->count > 0) sift_down(heap, 0, last);
}

dsc_node *dsc_heap_next(dsc_balancer *heap, const dsc_pick *pick) {
  uint32_t all = heap->count;
  dsc_node *found = NULL;
  while (heap->count > 0) {
    dsc_node *first = heap->nodes[heap->entries[0].slot];
    if (!dsc_balancer_is_tried(pick, first)) {
      found = first;
      break;
    }
    set_aside(heap);
  }
  while (heap->count < all) {
    uint32_t at = heap->count++;
    sift_up(heap, at, heap->entries[at]);
  }
  return found;
}

const dsc_heap_entry *dsc_heap_entry_of(const dsc_balancer *heap, const dsc_node *node) {
  uint32_t at = node->slot < heap->slots ? heap->positions[node->slot] : DSC_HEAP_ABSENT;
  return at == DSC_HEAP_ABSENT ? NULL : &heap->entries[at];
}

double dsc_heap_first_key(const dsc_balancer *heap) {
  return heap->count ? heap->entries[0].key : 0;
}
