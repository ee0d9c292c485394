/*
** mem.c - the one door to malloc.
**
** The counters are relaxed atomics: they order nothing, they only add up. Invariant: every live block
** was counted once with its malloc_usable_size, which is the same number when it is given back.
** With DSC_TESTING an allocation first asks whether it is the one that is to fail. Any thread.
*/
#include "base/mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>

static atomic_size_t live_blocks;
static atomic_size_t live_bytes;

#ifdef DSC_TESTING
static atomic_size_t asked;
static atomic_size_t fail_number; /* 0: none fails */
static atomic_bool fail_onwards;

static bool refused(void) {
  size_t number = atomic_fetch_add_explicit(&asked, 1, memory_order_relaxed) + 1;
  size_t at = atomic_load_explicit(&fail_number, memory_order_relaxed);
  if (at == 0 || number < at) return false;
  return number == at || atomic_load_explicit(&fail_onwards, memory_order_relaxed);
}

void dsc_mem_fail_at(size_t n, bool onwards) {
  atomic_store(&fail_number, 0); /* none fails while the rest is being set */
  atomic_store(&fail_onwards, onwards);
  atomic_store(&asked, 0);
  atomic_store(&fail_number, n);
}

size_t dsc_mem_asked(void) {
  return atomic_load(&asked);
}
#else
static bool refused(void) {
  return false;
}

void dsc_mem_fail_at(size_t n, bool onwards) {
  (void)n;
  (void)onwards;
}

size_t dsc_mem_asked(void) {
  return 0;
}
#endif

static void *counted(void *block) {
  if (!block) return NULL;
  atomic_fetch_add_explicit(&live_blocks, 1, memory_order_relaxed);
  atomic_fetch_add_explicit(&live_bytes, malloc_usable_size(block), memory_order_relaxed);
  return block;
}

void *dsc_mem_alloc(size_t size) {
  return refused() ? NULL : counted(malloc(size ? size : 1));
}

void *dsc_mem_zalloc(size_t count, size_t size) {
  if (size > 0 && count > SIZE_MAX / size) return NULL; /* here, because calloc of a sanitizer would abort */
  return refused() ? NULL : counted(calloc(count ? count : 1, size ? size : 1));
}

void *dsc_mem_realloc(void *block, size_t size) {
  if (!block) return dsc_mem_alloc(size);
  if (refused()) return NULL;
  size_t before = malloc_usable_size(block);
  void *moved = realloc(block, size ? size : 1);
  if (!moved) return NULL;
  /* when it shrinks the difference wraps around, and so does the sum: back to the right number */
  atomic_fetch_add_explicit(&live_bytes, malloc_usable_size(moved) - before, memory_order_relaxed);
  return moved;
}

void dsc_mem_free(void *block) {
  if (!block) return;
  atomic_fetch_sub_explicit(&live_blocks, 1, memory_order_relaxed);
  atomic_fetch_sub_explicit(&live_bytes, malloc_usable_size(block), memory_order_relaxed);
  free(block);
}

char *dsc_mem_strdup(dsc_str s) {
  if (s.n == SIZE_MAX) return NULL;
  char *copy = dsc_mem_alloc(s.n + 1);
  if (!copy) return NULL;
  if (s.n > 0) memcpy(copy, s.p, s.n);
  copy[s.n] = '\0';
  return copy;
}

void dsc_mem_usage(size_t *blocks, size_t *bytes) {
  if (blocks) *blocks = atomic_load_explicit(&live_blocks, memory_order_relaxed);
  if (bytes) *bytes = atomic_load_explicit(&live_bytes, memory_order_relaxed);
}
