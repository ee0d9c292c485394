/*
** buf.c - a byte buffer that grows by doubling, up to a ceiling.
**
** Invariants: len <= ceiling; data is NULL or len < cap and data[len] is 0; cap <= ceiling + 1; once err
** is set, nothing is appended until a reset or a clear. Bytes to be appended must not lie in the buffer
** itself: it may move. Owner's thread.
*/
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"

#define FIRST_CAP ((size_t)64)

void dsc_buf_init(dsc_buf *buf, size_t ceiling) {
  size_t most = SIZE_MAX / 2;
  *buf = (dsc_buf){.ceiling = ceiling == 0 || ceiling > most ? most : ceiling};
}

void dsc_buf_clear(dsc_buf *buf) {
  dsc_mem_free(buf->data);
  dsc_buf_init(buf, buf->ceiling);
}

void dsc_buf_reset(dsc_buf *buf) {
  buf->len = 0;
  buf->err = DSC_OK;
  if (buf->data) buf->data[0] = '\0';
}

static dsc_err stick(dsc_buf *buf, dsc_err err) {
  buf->err = err;
  return err;
}

/* Makes room for `n` more bytes and the terminator. */
static dsc_err reserve(dsc_buf *buf, size_t n) {
  if (buf->err) return buf->err;
  if (n > buf->ceiling - buf->len) return stick(buf, DSC_ETOO_LARGE);
  size_t need = buf->len + n + 1;
  if (need <= buf->cap) return DSC_OK;
  size_t cap = buf->cap ? buf->cap * 2 : FIRST_CAP; /* no overflow: cap <= SIZE_MAX / 2 + 1 */
  if (cap < need) cap = need;
  if (cap > buf->ceiling + 1) cap = buf->ceiling + 1;
  char *data = dsc_mem_realloc(buf->data, cap);
  if (!data) return stick(buf, DSC_ENOMEM);
  buf->data = data;
  buf->cap = cap;
  return DSC_OK;
}

dsc_err dsc_buf_add(dsc_buf *buf, const void *bytes, size_t n) {
  if (n == 0) return buf->err;
  dsc_err err = reserve(buf, n);
  if (err) return err;
  memcpy(buf->data + buf->len, bytes, n);
  buf->len += n;
  buf->data[buf->len] = '\0';
  return DSC_OK;
}

dsc_err dsc_buf_add_str(dsc_buf *buf, dsc_str s) {
  return dsc_buf_add(buf, s.p, s.n);
}

dsc_err dsc_buf_addf(dsc_buf *buf, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vsnprintf(NULL, 0, format, args);
  va_end(args);
  if (buf->err) return buf->err;
  if (n < 0) return stick(buf, DSC_ETOO_LARGE); /* longer than INT_MAX: that is all vsnprintf can mean */
  dsc_err err = reserve(buf, (size_t)n);
  if (err) return err;
  va_start(args, format);
  vsnprintf(buf->data + buf->len, (size_t)n + 1, format, args);
  va_end(args);
  buf->len += (size_t)n;
  return DSC_OK;
}

void dsc_buf_consume(dsc_buf *buf, size_t n) {
  if (n >= buf->len) n = buf->len;
  if (n == 0) return;
  buf->len -= n;
  memmove(buf->data, buf->data + n, buf->len + 1);
}

dsc_str dsc_buf_str(const dsc_buf *buf) {
  return (dsc_str){buf->data ? buf->data : "", buf->len};
}

char *dsc_buf_take(dsc_buf *buf, size_t *n) {
  /* even an empty buffer hands out bytes that can be freed */
  if (reserve(buf, 0)) return NULL;
  char *data = buf->data;
  data[buf->len] = '\0';
  if (n) *n = buf->len;
  dsc_buf_init(buf, buf->ceiling);
  return data;
}
