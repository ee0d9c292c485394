/*
** mem.h - every allocation of the library goes through here, so that a test can count them, make the
** n-th one fail, and a host can bring its own allocator.
**
** Every allocation has one owner; what is shared is reference-counted by its own type.
*/
#ifndef DSC_BASE_MEM_H
#define DSC_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

#pragma GCC visibility push(default)

/* Returns `size` bytes (at least 1), not cleared. Any thread. Caller owns: dsc_mem_free().
** Fails: NULL. */
void *dsc_mem_alloc(size_t size);

/* Returns `n * size` zero bytes. Any thread. Caller owns. Fails: NULL, also when it overflows. */
void *dsc_mem_zalloc(size_t n, size_t size);

/* Resizes; NULL allocates. Any thread. Fails: NULL, the old block stays. */
void *dsc_mem_realloc(void *block, size_t size);

/* Gives back a block; NULL is allowed. Any thread. */
void dsc_mem_free(void *block);

/* Returns a terminated copy of `s`. Any thread. Caller owns. Fails: NULL. */
char *dsc_mem_strdup(dsc_str s);

/* Returns how many blocks and bytes (as asked for) are alive; either pointer may be NULL.
** Any thread. Bytes are counted by malloc_usable_size, or as asked for with a host's allocator. */
void dsc_mem_usage(size_t *blocks, size_t *bytes);

/* A host's own allocator: as malloc, realloc (never of NULL, never to 0) and free (never of NULL), each with `ud`;
** blocks are aligned as malloc's are. Called from any thread, several at once; may not call this library, throw or jump
** out. */
typedef struct dsc_allocator {
  void *(*alloc)(void *ud, size_t size);
  void *(*resize)(void *ud, void *block, size_t size);
  void (*release)(void *ud, void *block);
  void *ud;
} dsc_allocator;

/* Makes all memory of this library come from `allocator` (copied; NULL: malloc again), for the whole process. What the
** libraries below allocate (libuv, libcurl, c-ares, hiredis, OpenSSL, libsodium's guarded pages) stays theirs. Each
** block then costs 16 bytes more. Before everything else, while no other thread is in this library. Fails: false,
** nothing changed: a block is alive, or a function is missing. */
bool dsc_mem_set_allocator(const dsc_allocator *allocator);

#ifdef DSC_TESTING
/* Makes the `n`-th allocation from now on fail (1: the next one), and with `onwards` all later ones
** too; 0 switches it off. Any thread, process-wide. */
void dsc_mem_fail_at(size_t n, bool onwards);

/* Returns how many allocations were asked for since the last dsc_mem_fail_at(). Any thread. */
size_t dsc_mem_asked(void);
#endif

#pragma GCC visibility pop

#endif
