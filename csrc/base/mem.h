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

/* Returns `size` bytes (at least 1), not cleared. Any thread. Caller owns: dsc_mem_free().
** Fails: NULL. */
void *dsc_mem_alloc(size_t size);

/* Returns `count * size` zero bytes. Any thread. Caller owns. Fails: NULL, also when it overflows. */
void *dsc_mem_zalloc(size_t count, size_t size);

/* Resizes; NULL allocates. Any thread. Fails: NULL, the old block stays. */
void *dsc_mem_realloc(void *block, size_t size);

/* Gives back a block; NULL is allowed. Any thread. */
void dsc_mem_free(void *block);

/* Returns a terminated copy of `s`. Any thread. Caller owns. Fails: NULL. */
char *dsc_mem_strdup(dsc_str s);

/* Returns how many blocks and bytes (as asked for) are alive; either pointer may be NULL.
** Any thread. Bytes are counted by malloc_usable_size. */
void dsc_mem_usage(size_t *blocks, size_t *bytes);

/* Makes the `n`-th allocation from now on fail (1: the next one), and with `onwards` all later ones
** too; 0 switches it off. Any thread, process-wide. Only in builds with DSC_TESTING, else no effect. */
void dsc_mem_fail_at(size_t n, bool onwards);

/* Returns how many allocations were asked for since the last dsc_mem_fail_at(). Any thread.
** Only in builds with DSC_TESTING, else 0. */
size_t dsc_mem_asked(void);

#endif
