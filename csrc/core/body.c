/*
** body.c - the pieces of a request's body, and a cursor over them.
**
** Files are read with pread(), so that going back to the beginning is only a matter of the cursor. Bytes of a reader
** wait in `fed` until they are taken. Reading never blocks but on a disk, and never calls the host.
**
** Invariants: pieces or a reader, never both; `size` is the sum of the pieces, or what the host said (-1: nothing); no
** piece is empty; once `err` is set nothing more is read. Owner's thread throughout.
*/
#include "core/body_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define FED_KEPT ((size_t)64 * 1024) /* a larger buffer is not kept for the next feeding */

typedef struct piece {
  struct piece *next;
  const char *bytes; /* NULL: a file */
  char *owned;       /* `bytes` or the file's path, when it is a copy */
  int fd;
  int64_t size;
} piece;

struct dsc_body {
  /* constant once it is sent */
  piece *first, **end;
  size_t files;
  int64_t size;
  dsc_body_reader reader; /* NULL: pieces */
  void *ud;
  void (*on_hungry)(void *ud);
  void *hungry_ud;
  /* owner's thread only */
  unsigned refs;
  piece *at; /* NULL: at the end */
  int64_t at_offset;
  dsc_buf fed;
  size_t fed_offset;
  int64_t given, taken; /* bytes: by the reader, by who reads */
  bool ended, hungry;
  dsc_err err;
  dsc_why why;
};

dsc_body *dsc_body_new(void) {
  dsc_body *body = dsc_mem_zalloc(1, sizeof *body);
  if (!body) return NULL;
  body->end = &body->first;
  body->refs = 1;
  dsc_buf_init(&body->fed, 0);
  return body;
}

dsc_body *dsc_body_ref(dsc_body *body) {
  if (body) body->refs++;
  return body;
}

static void free_piece(piece *p) {
  if (!p->bytes) close(p->fd);
  dsc_mem_free(p->owned);
  dsc_mem_free(p);
}

void dsc_body_free(dsc_body *body) {
  if (!body || --body->refs > 0) return;
  while (body->first) {
    piece *p = body->first;
    body->first = p->next;
    free_piece(p);
  }
  dsc_buf_clear(&body->fed);
  dsc_mem_free(body);
}

/* ------------------------------------------------------------------ pieces */

static void append(dsc_body *body, piece *p) {
  *body->end = p;
  body->end = &p->next;
  body->size += p->size;
  if (!body->at && body->taken == 0) body->at = body->first;
}

dsc_err dsc_body_add_bytes(dsc_body *body, dsc_str bytes, bool borrow) {
  if (body->reader) return DSC_EINVALID;
  if (bytes.n == 0) return DSC_OK;
  if (bytes.n > (uint64_t)(INT64_MAX - body->size)) return DSC_ETOO_LARGE;
  piece *p = dsc_mem_zalloc(1, sizeof *p);
  if (!p) return DSC_ENOMEM;
  if (!borrow && !(p->owned = dsc_mem_strdup(bytes))) {
    dsc_mem_free(p);
    return DSC_ENOMEM;
  }
  p->bytes = borrow ? bytes.p : p->owned;
  p->size = (int64_t)bytes.n;
  append(body, p);
  return DSC_OK;
}

static dsc_err fail_with_errno(dsc_why *why, const char *path) {
  if (errno == ENOMEM) return dsc_fail(why, DSC_ENOMEM, "%s: out of memory", path);
  return dsc_fail(why, DSC_EIO, "%s: %s", path, strerror(errno));
}

/* O_NONBLOCK: opening a pipe must not wait for who writes into it. */
static dsc_err open_file(const char *path, int *fd, int64_t *size, dsc_why *why) {
  struct stat about;
  *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (*fd < 0) return fail_with_errno(why, path);
  dsc_err err = DSC_OK;
  if (fstat(*fd, &about) != 0)
    err = fail_with_errno(why, path);
  else if (S_ISDIR(about.st_mode))
    err = dsc_fail(why, DSC_EIO, "%s: is a folder", path);
  else if (!S_ISREG(about.st_mode))
    err = dsc_fail(why, DSC_EIO, "%s: is no ordinary file (use a function that reads it)", path);
  if (err) close(*fd);
  *size = err ? 0 : (int64_t)about.st_size;
  return err;
}

static dsc_err add_opened(dsc_body *body, const char *path, int fd, int64_t size, dsc_why *why) {
  if (size > INT64_MAX - body->size) return dsc_fail(why, DSC_ETOO_LARGE, "%s: the body is too large", path);
  piece *p = dsc_mem_zalloc(1, sizeof *p);
  char *name = p ? dsc_mem_strdup(dsc_str_of(path)) : NULL;
  if (!name) {
    dsc_mem_free(p);
    return dsc_fail(why, DSC_ENOMEM, "%s: out of memory", path);
  }
  *p = (piece){.owned = name, .fd = fd, .size = size};
  append(body, p);
  body->files++;
  return DSC_OK;
}

dsc_err dsc_body_add_file(dsc_body *body, const char *path, dsc_why *why) {
  int fd = -1;
  int64_t size = 0;
  if (body->reader) return dsc_fail(why, DSC_EINVALID, "%s: a reader's body takes no files", path);
  if (body->files >= DSC_BODY_MAX_FILES)
    return dsc_fail(why, DSC_EINVALID, "%s: a body takes at most %d files", path, DSC_BODY_MAX_FILES);
  dsc_err err = open_file(path, &fd, &size, why);
  if (err) return err;
  if (size > 0) err = add_opened(body, path, fd, size, why);
  if (err || size == 0) close(fd);
  return err;
}

dsc_err dsc_body_set_reader(dsc_body *body, dsc_body_reader reader, void *ud, int64_t size) {
  if (body->first || body->reader) return DSC_EINVALID;
  body->reader = reader;
  body->ud = ud;
  body->size = size < 0 ? -1 : size;
  return DSC_OK;
}

int64_t dsc_body_size(const dsc_body *body) {
  return body->size;
}

/* ----------------------------------------------------------------- reading */

static ptrdiff_t fail_read(dsc_body *body, piece *p, const char *reason) {
  body->err = dsc_fail(&body->why, DSC_EIO, "%s: %s", p->owned, reason);
  return DSC_HTTP_SOURCE_FAILED;
}

static ptrdiff_t read_file(dsc_body *body, piece *p, char *bytes, size_t max) {
  ssize_t n;
  do n = pread(p->fd, bytes, max, (off_t)body->at_offset);
  while (n < 0 && errno == EINTR);
  if (n < 0) return fail_read(body, p, strerror(errno));
  if (n == 0) return fail_read(body, p, "became shorter while it was sent");
  return n;
}

static ptrdiff_t read_piece(dsc_body *body, char *bytes, size_t max) {
  piece *p = body->at;
  int64_t left = p->size - body->at_offset;
  if ((uint64_t)left < max) max = (size_t)left;
  ptrdiff_t n = (ptrdiff_t)max;
  if (p->bytes)
    memcpy(bytes, p->bytes + body->at_offset, max);
  else
    n = read_file(body, p, bytes, max);
  if (n < 0) return n;
  body->at_offset += n;
  if (body->at_offset == p->size) {
    body->at = p->next;
    body->at_offset = 0;
  }
  return n;
}

static ptrdiff_t read_fed(dsc_body *body, char *bytes, size_t max) {
  size_t left = body->fed.len - body->fed_offset;
  if (left == 0 && body->ended) return 0;
  if (left == 0) {
    body->hungry = true;
    if (body->on_hungry) body->on_hungry(body->hungry_ud);
    return DSC_HTTP_SOURCE_LATER;
  }
  size_t n = left < max ? left : max;
  memcpy(bytes, body->fed.data + body->fed_offset, n);
  body->fed_offset += n;
  return (ptrdiff_t)n;
}

/* Several small pieces in one go: a form of many fields is one write. */
static ptrdiff_t read_pieces(dsc_body *body, char *bytes, size_t max) {
  size_t n = 0;
  while (body->at && n < max) {
    ptrdiff_t got = read_piece(body, bytes + n, max - n);
    if (got < 0) return got;
    n += (size_t)got;
  }
  return (ptrdiff_t)n;
}

static ptrdiff_t source_read(void *ud, char *bytes, size_t max) {
  dsc_body *body = ud;
  if (body->err) return DSC_HTTP_SOURCE_FAILED;
  ptrdiff_t n = body->reader ? read_fed(body, bytes, max) : read_pieces(body, bytes, max);
  if (n > 0) body->taken += n;
  return n;
}

bool dsc_body_can_rewind(const dsc_body *body) {
  return !body->err && (!body->reader || body->taken == 0);
}

bool dsc_body_rewind(dsc_body *body) {
  if (!dsc_body_can_rewind(body)) return false;
  body->at = body->first;
  body->at_offset = 0;
  body->taken = 0;
  return true;
}

static bool source_rewind(void *ud) {
  return dsc_body_rewind(ud);
}

void dsc_body_get_source(dsc_body *body, dsc_http_source *source) {
  *source = (dsc_http_source){.ud = body, .size = body->size, .read = source_read, .rewind = source_rewind};
}

/* ----------------------------------------------------------------- feeding */

void dsc_body_on_hungry(dsc_body *body, void (*fn)(void *ud), void *ud) {
  body->on_hungry = fn;
  body->hungry_ud = ud;
}

bool dsc_body_is_hungry(const dsc_body *body) {
  return body->hungry;
}

static void empty_fed(dsc_body *body) {
  if (body->fed.cap > FED_KEPT)
    dsc_buf_clear(&body->fed);
  else
    dsc_buf_reset(&body->fed);
  body->fed_offset = 0;
}

/* What was given against what was announced. */
static dsc_err check_given(const dsc_body *body, dsc_why *why) {
  if (body->size < 0) return DSC_OK;
  if (body->given > body->size)
    return dsc_fail(why, DSC_ECALLBACK, "the reader gave more than the %lld bytes it announced", (long long)body->size);
  if (body->ended && body->given < body->size)
    return dsc_fail(why, DSC_ECALLBACK, "the reader gave %lld of the %lld bytes it announced", (long long)body->given,
                    (long long)body->size);
  return DSC_OK;
}

static dsc_err call_reader(dsc_body *body, void *ctx, dsc_why *why) {
  empty_fed(body);
  why->text[0] = '\0';
  dsc_err err = body->reader(ctx, body->ud, &body->fed, why);
  if (!err && body->fed.err) err = body->fed.err;
  if (err) return why->text[0] ? err : dsc_fail(why, err, "%s", dsc_err_text(err));
  body->given += (int64_t)body->fed.len;
  body->ended = body->fed.len == 0;
  return check_given(body, why);
}

dsc_err dsc_body_feed(dsc_body *body, void *ctx, dsc_why *why) {
  bool waits = body->fed.len > body->fed_offset;
  body->hungry = false;
  if (!body->err && body->reader && !body->ended && !waits) body->err = call_reader(body, ctx, &body->why);
  if (body->err) dsc_fail(why, body->err, "%s", body->why.text);
  return body->err;
}

const char *dsc_body_failure(const dsc_body *body) {
  return body->err ? body->why.text : NULL;
}
