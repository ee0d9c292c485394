/*
** heap_test.c - the heap against a naive search for the smallest, and its invariants after each step.
*/
#include "table_support.h"

#include "model/heap.h"

#define NODES 70

struct naive {
  dsc_node *nodes[NODES];
  double keys[NODES], ties[NODES];
  bool in[NODES];
};

static void make_nodes(struct naive *naive, dsc_table *table) {
  dsc_addr addr;
  assert_int_equal(dsc_addr_parse(&addr, L("h:1"), NULL), DSC_OK);
  for (uint32_t i = 0; i < NODES; i++) {
    naive->nodes[i] = dsc_node_new(table, &addr, 1);
    naive->nodes[i]->slot = i;
    naive->in[i] = false;
  }
}

static void check(const dsc_balancer *heap, const struct naive *naive) {
  uint32_t count = 0;
  for (uint32_t i = 0; i < heap->count; i++) {
    const dsc_heap_entry *entry = &heap->entries[i], *parent = entry;
    assert_int_equal(heap->positions[entry->slot], i);
    assert_true(entry->key == naive->keys[entry->slot] && entry->tie == naive->ties[entry->slot]);
    if (i > 0) parent = &heap->entries[(i - 1) / 4];
    assert_true(parent->key < entry->key || (parent->key == entry->key && parent->tie <= entry->tie));
  }
  for (uint32_t i = 0; i < NODES; i++) {
    count += naive->in[i];
    assert_ptr_equal(heap->nodes[i], naive->in[i] ? naive->nodes[i] : NULL);
    assert_int_equal(dsc_heap_entry_of(heap, naive->nodes[i]) != NULL, naive->in[i]);
  }
  assert_int_equal(heap->count, count);
}

static dsc_node *smallest(const struct naive *naive, const dsc_pick *pick) {
  int best = -1;
  for (int i = 0; i < NODES; i++) {
    if (!naive->in[i] || dsc_balancer_is_tried(pick, naive->nodes[i])) continue;
    bool less = best >= 0 && (naive->keys[i] < naive->keys[best] ||
                              (naive->keys[i] == naive->keys[best] && naive->ties[i] < naive->ties[best]));
    if (best < 0 || less) best = i;
  }
  return best < 0 ? NULL : naive->nodes[best];
}

static void change(dsc_balancer *heap, struct naive *naive, uint64_t *seed) {
  size_t i = pick_below(seed, NODES);
  if (naive->in[i] && pick_below(seed, 3) == 0) {
    dsc_heap_remove(heap, naive->nodes[i]);
    naive->in[i] = false;
    return;
  }
  naive->keys[i] = (double)pick_below(seed, 40);
  naive->ties[i] = (double)pick_below(seed, 3);
  naive->in[i] = true;
  dsc_heap_put(heap, naive->nodes[i], naive->keys[i], naive->ties[i]);
}

TEST(it_agrees_with_a_naive_search) {
  static struct naive naive;
  dsc_table *table = new_table();
  dsc_balancer *heap = dsc_heap_create();
  uint64_t seed = 1;
  make_nodes(&naive, table);
  assert_int_equal(dsc_heap_reserve(heap, NODES), DSC_OK);
  for (int step = 0; step < 100000; step++) {
    dsc_node *tried[NODES];
    dsc_pick pick = {.tried = tried};
    change(heap, &naive, &seed);
    size_t wanted = pick_below(&seed, 5) ? pick_below(&seed, 4) : pick_below(&seed, NODES);
    dsc_node *expected = smallest(&naive, &pick);
    /* the first ones are tried: those that must be set aside */
    while (pick.n_tried < wanted && expected) {
      tried[pick.n_tried++] = expected;
      expected = smallest(&naive, &pick);
    }
    assert_ptr_equal(dsc_heap_next(heap, &pick), expected);
    if (step % 7 == 0) check(heap, &naive);
  }
  check(heap, &naive);
  dsc_heap_destroy(heap);
  for (int i = 0; i < NODES; i++) dsc_node_unref(naive.nodes[i]);
  dsc_table_unref(table);
}

TEST(an_empty_heap_has_nothing) {
  dsc_balancer *heap = dsc_heap_create();
  dsc_pick pick = {0};
  assert_null(dsc_heap_next(heap, &pick));
  assert_true(dsc_heap_first_key(heap) == 0);
  dsc_heap_destroy(heap);
}

static bool reserve_twice(void) {
  dsc_balancer *heap = dsc_heap_create();
  if (!heap) return false;
  bool ok = !dsc_heap_reserve(heap, 8) && !dsc_heap_reserve(heap, 64);
  assert_true(heap->slots == 0 || heap->slots == 8 || heap->slots == 64);
  dsc_heap_destroy(heap);
  return ok;
}

TEST(every_allocation_may_fail) {
  assert_int_equal(fail_each_allocation(reserve_twice), 7);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LEAK_FREE(it_agrees_with_a_naive_search),
      LEAK_FREE(an_empty_heap_has_nothing),
      LEAK_FREE(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
