/*
** buf.h - a byte buffer that grows up to a ceiling.
**
** The first failure (ceiling or memory) sticks: later appends do nothing and say the same, so a
** builder may append many pieces and look once.
*/
#ifndef DSC_BASE_BUF_H
#define DSC_BASE_BUF_H

#include "base/err.h"
#include "base/str.h"

#pragma GCC visibility push(default)

typedef struct dsc_buf {
  /* owner's thread only; `data` is terminated when not NULL */
  char *data;
  size_t len;
  size_t cap;
  size_t ceiling;
  dsc_err err;
} dsc_buf;

/* Makes an empty buffer of at most `ceiling` bytes (0: SIZE_MAX / 2). Owner's thread. Allocates nothing. */
void dsc_buf_init(dsc_buf *buf, size_t ceiling);

/* Frees the bytes and leaves an empty buffer with the same ceiling. Owner's thread. */
void dsc_buf_clear(dsc_buf *buf);

/* Empties the buffer but keeps its memory; forgets an error. Owner's thread. */
void dsc_buf_reset(dsc_buf *buf);

/* Appends bytes. Owner's thread. Fails: DSC_ETOO_LARGE, DSC_ENOMEM; nothing is appended. */
dsc_err dsc_buf_add(dsc_buf *buf, const void *bytes, size_t n);

/* Appends a borrowed string. Owner's thread. Fails: as dsc_buf_add(). */
dsc_err dsc_buf_add_str(dsc_buf *buf, dsc_str s);

/* Appends formatted text. Owner's thread. Fails: as dsc_buf_add(). */
__attribute__((format(printf, 2, 3))) dsc_err dsc_buf_addf(dsc_buf *buf, const char *format, ...);

/* Removes the first `n` bytes (all when there are fewer). Owner's thread. */
void dsc_buf_consume(dsc_buf *buf, size_t n);

/* Borrows the content until the next change. Owner's thread. */
dsc_str dsc_buf_str(const dsc_buf *buf);

/* Takes the bytes out (terminated, `*n` long, "" when empty) and leaves an empty buffer. Owner's thread.
** Caller owns: dsc_mem_free(). Fails: NULL when an error stuck or memory ran out. */
char *dsc_buf_take(dsc_buf *buf, size_t *n);

#pragma GCC visibility pop

#endif
