/*
** mem_test.c - the counters come back to where they were, and the n-th allocation fails.
*/
#include "check.h"

#include <pthread.h>

struct usage {
  size_t blocks, bytes;
};

static struct usage usage(void) {
  struct usage u;
  dsc_mem_usage(&u.blocks, &u.bytes);
  return u;
}

static void assert_same_usage(struct usage a, struct usage b) {
  assert_int_equal(a.blocks, b.blocks);
  assert_int_equal(a.bytes, b.bytes);
}

TEST(blocks_and_bytes_are_counted) {
  struct usage before = usage();
  char *block = dsc_mem_alloc(1000);
  assert_non_null(block);
  memset(block, 1, 1000);
  assert_int_equal(usage().blocks, before.blocks + 1);
  assert_in_range(usage().bytes, before.bytes + 1000, before.bytes + 1100);
  dsc_mem_free(block);
  assert_same_usage(usage(), before);
  dsc_mem_usage(NULL, NULL);
}

TEST(realloc_keeps_content_and_count) {
  struct usage before = usage();
  char *block = dsc_mem_realloc(NULL, 10);
  memcpy(block, "123456789", 10);
  block = dsc_mem_realloc(block, 100000);
  assert_string_equal(block, "123456789");
  assert_in_range(usage().bytes, before.bytes + 100000, before.bytes + 110000);
  block = dsc_mem_realloc(block, 10);
  assert_string_equal(block, "123456789");
  assert_int_equal(usage().blocks, before.blocks + 1);
  dsc_mem_free(block);
  assert_same_usage(usage(), before);
}

TEST(nothing_is_something) {
  struct usage before = usage();
  void *a = dsc_mem_alloc(0), *b = dsc_mem_zalloc(0, 8), *c = dsc_mem_realloc(dsc_mem_alloc(8), 0);
  assert_true(a && b && c);
  assert_int_equal(usage().blocks, before.blocks + 3);
  dsc_mem_free(a);
  dsc_mem_free(b);
  dsc_mem_free(c);
  dsc_mem_free(NULL);
  assert_same_usage(usage(), before);
}

TEST(zalloc_clears_and_does_not_overflow) {
  unsigned char *block = dsc_mem_zalloc(16, 16);
  for (size_t i = 0; i < 256; i++) assert_int_equal(block[i], 0);
  dsc_mem_free(block);
  volatile size_t half = SIZE_MAX / 2; /* hidden from the compiler, which would warn */
  assert_null(dsc_mem_zalloc(half, 4));
}

TEST(strdup_terminates) {
  char *copy = dsc_mem_strdup((dsc_str){"hello", 4});
  assert_string_equal(copy, "hell");
  dsc_mem_free(copy);
  copy = dsc_mem_strdup((dsc_str){NULL, 0});
  assert_string_equal(copy, "");
  dsc_mem_free(copy);
  assert_null(dsc_mem_strdup((dsc_str){"", SIZE_MAX}));
}

static void *blocks[4];

/* Each kind of allocation once; returns a bit per failed one. */
static unsigned allocate_all(void) {
  void *moved = dsc_mem_realloc(NULL, 8);
  blocks[0] = dsc_mem_alloc(8);
  blocks[1] = dsc_mem_zalloc(1, 8);
  blocks[2] = dsc_mem_strdup(L("x"));
  blocks[3] = moved;
  unsigned failed = moved ? 0 : 1;
  for (unsigned i = 0; i < 3; i++) failed |= blocks[i] ? 0 : 2u << i;
  if (moved && (moved = dsc_mem_realloc(moved, 64))) blocks[3] = moved;
  failed |= moved ? 0 : 16u;
  for (size_t i = 0; i < COUNT(blocks); i++) dsc_mem_free(blocks[i]);
  return failed;
}

TEST(the_nth_fails) {
  struct usage before = usage();
  for (unsigned n = 2; n <= 5; n++) {
    dsc_mem_fail_at(n, false);
    assert_int_equal(allocate_all(), 1u << (n - 1));
    assert_int_equal(dsc_mem_asked(), 5);
    dsc_mem_fail_at(n, true);
    assert_int_equal(allocate_all(), 0x1f & ~((1u << (n - 1)) - 1));
  }
  dsc_mem_fail_at(1, true);
  assert_int_equal(allocate_all(), 0x1f);
  dsc_mem_fail_at(0, false);
  assert_int_equal(allocate_all(), 0);
  assert_same_usage(usage(), before);
}

static void *churn(void *arg) {
  (void)arg;
  void *held[16] = {NULL};
  uint64_t seed = 7;
  for (int i = 0; i < 20000; i++) {
    size_t at = pick_below(&seed, 16);
    if (pick_below(&seed, 2)) {
      dsc_mem_free(held[at]);
      held[at] = dsc_mem_alloc(pick_below(&seed, 500));
    } else {
      held[at] = dsc_mem_realloc(held[at], pick_below(&seed, 500));
    }
  }
  for (int i = 0; i < 16; i++) dsc_mem_free(held[i]);
  return NULL;
}

TEST(threads_lose_no_count) {
  struct usage before = usage();
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, churn, NULL), 0);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  assert_same_usage(usage(), before);
}

/* A host's allocator that counts, and refuses when `left` is 0. */
struct arena {
  int allocs, releases, left;
};

static void *arena_alloc(void *ud, size_t size) {
  struct arena *arena = ud;
  if (arena->left == 0) return NULL;
  arena->left--;
  arena->allocs++;
  return malloc(size);
}

static void *arena_resize(void *ud, void *block, size_t size) {
  struct arena *arena = ud;
  if (arena->left == 0) return NULL;
  arena->left--;
  return realloc(block, size);
}

static void arena_release(void *ud, void *block) {
  ((struct arena *)ud)->releases++;
  free(block);
}

TEST(a_host_brings_its_own_allocator) {
  struct usage before = usage();
  struct arena arena = {.left = 6};
  dsc_allocator allocator = {arena_alloc, arena_resize, arena_release, &arena};
  void *alive = dsc_mem_alloc(1);
  assert_false(dsc_mem_set_allocator(&allocator));
  dsc_mem_free(alive);
  assert_false(dsc_mem_set_allocator(&(dsc_allocator){arena_alloc, NULL, arena_release, &arena}));
  assert_true(dsc_mem_set_allocator(&allocator));
  char *block = dsc_mem_alloc(100);
  assert_int_equal((uintptr_t)block % _Alignof(max_align_t), 0);
  assert_int_equal(usage().bytes, before.bytes + 100);
  memset(block, 7, 100);
  block = dsc_mem_realloc(block, 300);
  assert_int_equal(block[99], 7);
  assert_int_equal(usage().bytes, before.bytes + 300);
  block = dsc_mem_realloc(block, 10);
  assert_int_equal(usage().bytes, before.bytes + 10);
  char *zeros = dsc_mem_zalloc(10, 10), *copy = dsc_mem_strdup(L("abc"));
  for (int i = 0; i < 100; i++) assert_int_equal(zeros[i], 0);
  assert_string_equal(copy, "abc");
  assert_null(dsc_mem_alloc(SIZE_MAX - 4));
  dsc_mem_free(dsc_mem_zalloc(0, 0));
  assert_null(dsc_mem_alloc(1));
  assert_null(dsc_mem_realloc(block, 1000));
  assert_false(dsc_mem_set_allocator(NULL));
  dsc_mem_free(zeros);
  dsc_mem_free(copy);
  dsc_mem_free(block);
  assert_int_equal(arena.allocs, 4);
  assert_int_equal(arena.releases, 4);
  assert_same_usage(usage(), before);
  assert_true(dsc_mem_set_allocator(NULL));
  dsc_mem_free(dsc_mem_alloc(1));
  assert_int_equal(arena.allocs, 4);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(blocks_and_bytes_are_counted),
      cmocka_unit_test(realloc_keeps_content_and_count),
      cmocka_unit_test(nothing_is_something),
      cmocka_unit_test(zalloc_clears_and_does_not_overflow),
      cmocka_unit_test(strdup_terminates),
      cmocka_unit_test(the_nth_fails),
      cmocka_unit_test(threads_lose_no_count),
      cmocka_unit_test(a_host_brings_its_own_allocator),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
