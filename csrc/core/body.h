/*
** body.h - a request's body in pieces: bytes, files, or what a function of the host gives.
**
** A body of bytes and files has a size and can be read again from its beginning (for another attempt). A body that a
** function gives has no size unless the host says one, and is read once. Files are opened when they are added and read
** while the request is sent: of one that grows, the size it had is sent; one that shrinks or fails ends the call. The
** pieces are read inside the loop; the function is called outside of it, in a frame, when nothing is left to send.
*/
#ifndef DSC_CORE_BODY_H
#define DSC_CORE_BODY_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#pragma GCC visibility push(default)

/* Each file of a body is a descriptor. */
#define DSC_BODY_MAX_FILES 128

typedef struct dsc_body dsc_body;

/* Gives the next bytes of a body: appends at least one to `out`, or none at the end. `ctx` is the frame's. Owner's
** thread, in a frame; may not jump out. Fails: any code with `why`; the call ends with it. */
typedef dsc_err (*dsc_body_reader)(void *ctx, void *ud, dsc_buf *out, dsc_why *why);

/* Makes an empty body. Any thread. Caller owns: dsc_body_free(). Fails: NULL: out of memory. */
dsc_body *dsc_body_new(void);

/* Takes one more reference: what sends it for longer than its maker holds it. Owner's thread. NULL is allowed. */
dsc_body *dsc_body_ref(dsc_body *body);

/* Gives a reference back (the maker's, or that of dsc_body_ref()); with the last one its files are closed and it is
** freed. NULL is allowed. Owner's thread, after the call that used it. */
void dsc_body_free(dsc_body *body);

/* Appends bytes. With `borrow` they are not copied and must stay until the body is freed. Owner's thread. Fails:
** DSC_EINVALID: it has a reader; DSC_ETOO_LARGE: more than a size can say; DSC_ENOMEM. Nothing was added then. */
dsc_err dsc_body_add_bytes(dsc_body *body, dsc_str bytes, bool borrow);

/* Opens a file and appends its content. Owner's thread. Fails: DSC_EIO with `why` that names the file (missing, not
** readable, a folder, a pipe), DSC_EINVALID (it has a reader or DSC_BODY_MAX_FILES already), DSC_ETOO_LARGE,
** DSC_ENOMEM, each with `why`. Nothing was added then. */
dsc_err dsc_body_add_file(dsc_body *body, const char *path, dsc_why *why);

/* Makes the body one that `reader` gives, of `size` bytes (-1: not known); more or less than that ends the call
** DSC_ECALLBACK. Nothing else may be added. Owner's thread. `ud` is borrowed. Fails: DSC_EINVALID: not empty. */
dsc_err dsc_body_set_reader(dsc_body *body, dsc_body_reader reader, void *ud, int64_t size);

/* Returns the number of bytes, -1: not known. Owner's thread. */
int64_t dsc_body_size(const dsc_body *body);

/* True when it can be read from its beginning (again): for pieces until one failed, for a reader until its first byte
** was taken. Owner's thread. */
bool dsc_body_can_rewind(const dsc_body *body);

#pragma GCC visibility pop

#endif
