/*
** secret.h - tokens and passwords in libsodium's guarded memory.
**
** At rest the pages are unreadable (sodium_mprotect_noaccess); they are opened only while a header or
** an AUTH command is built. A secret is immutable and reference-counted; the last holder wipes it.
** If the machine refuses guarded memory (mlock limits), plain memory that is wiped is used instead.
*/
#ifndef DSC_BASE_SECRET_H
#define DSC_BASE_SECRET_H

#include "base/err.h"
#include "base/str.h"

#pragma GCC visibility push(default)

typedef struct dsc_secret dsc_secret;

/* Copies `bytes` (may be empty) into guarded memory. Any thread. Caller owns one reference.
** Fails: NULL: out of memory. */
dsc_secret *dsc_secret_new(dsc_str bytes);

/* Takes another reference; NULL is allowed. Any thread. Returns `secret`. */
dsc_secret *dsc_secret_ref(dsc_secret *secret);

/* Gives a reference back; the last one wipes and frees. NULL is allowed. Any thread. */
void dsc_secret_unref(dsc_secret *secret);

/* Sets libsodium up and brings the lock of the pages through forks from now on. Who uses secrets with a lock of its own
** held, and takes that lock before a fork, says so to pthread_atfork() after this: handlers run last installed first,
** and both threads must take the locks in one order. Any thread; idempotent. */
void dsc_secret_prepare(void);

/* Returns the length in bytes (0 for NULL). Any thread. */
size_t dsc_secret_length(const dsc_secret *secret);

/* Compares in constant time for equal lengths. Any thread. */
bool dsc_secret_equals(dsc_secret *secret, dsc_str bytes);

/* True when both hold the same bytes (NULL equals NULL only). Any thread. */
bool dsc_secret_same(dsc_secret *a, dsc_secret *b);

/* Opens the memory, calls `use(ud, bytes)`, closes it again. Any thread; callers of several threads at
** once are counted, the last one closes. `bytes` is borrowed until `use` returns.
** Fails: false, and `use` is not called: the kernel refused to open the page. */
bool dsc_secret_use(dsc_secret *secret, void (*use)(void *ud, dsc_str bytes), void *ud);

/* Overwrites plain memory so that no compiler leaves it out. Any thread. */
void dsc_secret_wipe(void *memory, size_t n);

#pragma GCC visibility pop

#endif
