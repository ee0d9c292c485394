/*
** stream.h - the body of an answer, fetched piece by piece.
**
** A stream begins when the headers of an answer are there (dsc_discoverer_call_stream()) and belongs to its
** discoverer's owner. At most 256 KiB wait in memory, the rest in the socket. Its node is in flight until the stream
** ends. It ends with the body, by a failure, when it is closed, or when the discoverer stops (`stopped`); it may
** outlive the discoverer: then it only says so.
*/
#ifndef DSC_CORE_STREAM_H
#define DSC_CORE_STREAM_H

#include "base/err.h"
#include "base/str.h"

#pragma GCC visibility push(default)

struct dsc_frame;
typedef struct dsc_stream dsc_stream;

#define DSC_STREAM_WINDOW ((size_t)256 * 1024)

/* Waits for the next bytes: at least one, at most `max`. `*n` 0: the end of the body. In a frame of its discoverer,
** owner's thread; runs the loop. Fails: CONNECT, TIMEOUT (the node was silent for the attempt's timeout), PROTOCOL,
** TOO_LARGE (a max_body of the request itself), STOPPED, FORKED, CLOSED (dsc_stream_close()), CALLBACK (progress
** failed), NOMEM with `why`; the same again when it is asked again. */
dsc_err dsc_stream_read(struct dsc_frame *frame, dsc_stream *stream, char *bytes, size_t max, size_t *n, dsc_why *why);

/* Returns how much of it a host that wants all of it at once should take: the request's max_body, else the app's.
** Owner's thread. */
uint64_t dsc_stream_max_body(const dsc_stream *stream);

/* True when all of the body was read, it failed, or it was closed. Owner's thread. */
bool dsc_stream_ended(const dsc_stream *stream);

/* Ends it: the connection is dropped unless the body is over (then it is kept alive, but over HTTP/2). Idempotent.
** Owner's thread, in a frame or not. NULL is allowed. */
void dsc_stream_close(dsc_stream *stream);

/* Closes and frees; NULL is allowed. Owner's thread, also after the discoverer was freed. */
void dsc_stream_free(dsc_stream *stream);

#pragma GCC visibility pop

#endif
