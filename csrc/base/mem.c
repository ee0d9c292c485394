/*
** mem.c - the one door to malloc, or to the allocator of a host.
**
** The counters are relaxed atomics: they order nothing, they only add up. Invariant: every live block
** was counted once with its size, which is the same number when it is given back: malloc_usable_size, or what stands in
** a header in front of a block of the host's. The allocator never changes while a block is alive.
** With DSC_TESTING an allocation first asks whether it is the one that is to fail. Any thread.
*/
#include "base/mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
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
#endif

/* In front of a block of the host's; as large as the strictest alignment. */
typedef union head {
  size_t size;
  max_align_t align;
} head;

static dsc_allocator host; /* all NULL: malloc */

static void count(size_t blocks, size_t bytes) {
  if (blocks) atomic_fetch_add_explicit(&live_blocks, blocks, memory_order_relaxed);
  atomic_fetch_add_explicit(&live_bytes, bytes, memory_order_relaxed);
}

static void *host_alloc(size_t size) {
  head *block = size <= SIZE_MAX - sizeof *block ? host.alloc(host.ud, sizeof *block + size) : NULL;
  if (!block) return NULL;
  block->size = size;
  count(1, size);
  return block + 1;
}

static void *host_resize(void *block, size_t size) {
  head *old = (head *)block - 1;
  size_t before = old->size;
  head *moved = size <= SIZE_MAX - sizeof *old ? host.resize(host.ud, old, sizeof *old + size) : NULL;
  if (!moved) return NULL;
  moved->size = size;
  count(0, size - before);
  return moved + 1;
}

static void host_release(void *block) {
  head *old = (head *)block - 1;
  count((size_t)-1, (size_t)0 - old->size);
  host.release(host.ud, old);
}

bool dsc_mem_set_allocator(const dsc_allocator *allocator) {
  if (atomic_load(&live_blocks) > 0) return false;
  if (allocator && (!allocator->alloc || !allocator->resize || !allocator->release)) return false;
  host = allocator ? *allocator : (dsc_allocator){0};
  return true;
}

static void *counted(void *block) {
  if (block) count(1, malloc_usable_size(block));
  return block;
}

void *dsc_mem_alloc(size_t size) {
  if (refused()) return NULL;
  if (host.alloc) return host_alloc(size ? size : 1);
  return counted(malloc(size ? size : 1));
}

void *dsc_mem_zalloc(size_t n, size_t size) {
  if (size > 0 && n > SIZE_MAX / size) return NULL; /* here, because calloc of a sanitizer would abort */
  if (refused()) return NULL;
  if (!host.alloc) return counted(calloc(n ? n : 1, size ? size : 1));
  void *block = host_alloc(n && size ? n * size : 1);
  return block ? memset(block, 0, n && size ? n * size : 1) : NULL;
}

void *dsc_mem_realloc(void *block, size_t size) {
  if (!block) return dsc_mem_alloc(size);
  if (refused()) return NULL;
  if (host.alloc) return host_resize(block, size ? size : 1);
  size_t before = malloc_usable_size(block);
  void *moved = realloc(block, size ? size : 1);
  if (!moved) return NULL;
  /* when it shrinks the difference wraps around, and so does the sum: back to the right number */
  count(0, malloc_usable_size(moved) - before);
  return moved;
}

void dsc_mem_free(void *block) {
  if (!block) return;
  if (host.alloc) {
    host_release(block);
    return;
  }
  count((size_t)-1, (size_t)0 - malloc_usable_size(block));
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
