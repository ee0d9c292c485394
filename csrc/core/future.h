/*
** future.h - a call (or the opening of a WebSocket) under way that its owner does not wait for.
**
** It is started by dsc_discoverer_async() or dsc_discoverer_open_async(), goes on whenever its discoverer's loop runs
** (dsc_discoverer_poll(), any wait, any synchronous call), and is settled exactly once: with a result, by
** dsc_future_cancel(), or with its discoverer (`stopped`). Then it is ready. Who was asked for with dsc_future_on() is
** called once, later, by a method that dispatches: poll and the waits, outside of every other callback.
**
** A future belongs to its discoverer's owner and may outlive the discoverer. One that is freed before it is ready goes
** on by itself, and nobody is told.
*/
#ifndef DSC_CORE_FUTURE_H
#define DSC_CORE_FUTURE_H

#include "base/err.h"
#include "base/str.h"
#include "core/stream.h"
#include "core/websocket.h"
#include "model/result.h"

#pragma GCC visibility push(default)

struct dsc_frame;
struct dsc_request;
typedef struct dsc_future dsc_future;

/* Called once when a future is ready, in the thread and frame of the method that dispatches. It may start calls, stop
** the discoverer, cancel and free futures, this one too. May not jump out. */
typedef void (*dsc_future_fn)(void *ctx, void *ud, dsc_future *future);

/* Starts a call and does not wait. Strings, headers and body of `request` are copied, of its `source` a reference is
** taken; `ud` and what on_progress and on_log need are borrowed until it is ready (of a stream: until that ends).
** `stream`: it is ready when the headers of the answer that counts are there. Owner's thread, in a frame; runs the
** route at once, nothing else of the host's. Caller owns: dsc_future_free(). What is wrong with the call is in its
** result, which may be ready at once. Fails: NULL: out of memory. */
dsc_future *dsc_discoverer_async(struct dsc_frame *frame, const struct dsc_request *request, bool stream);

/* Starts to open a WebSocket: `request` and `options` as for dsc_websocket_open(), copied as by dsc_discoverer_async().
** Owner's thread, in a frame. Caller owns: dsc_future_free(). Fails: NULL: out of memory. */
dsc_future *dsc_discoverer_open_async(struct dsc_frame *frame, const struct dsc_request *request,
                                      const dsc_websocket_options *options);

/* Makes one that is ready: the call could not be made because of `err`, as a binding found out by itself. Owner's
** thread, in a frame. Caller owns: dsc_future_free(). Fails: NULL: out of memory. */
dsc_future *dsc_discoverer_async_failed(struct dsc_frame *frame, dsc_err err, const dsc_why *why);

/* True once it was settled. Owner's thread, in a frame or not. */
bool dsc_future_is_ready(const dsc_future *future);

/* Asks for `fn(ctx, ud, future)`, once; it replaces the one asked for before, NULL takes it back. On a ready future it
** is called by the next method that dispatches. After the discoverer has gone nobody calls it. Owner's thread. */
void dsc_future_on(dsc_future *future, dsc_future_fn fn, void *ud);

/* Calls `fn(ctx, ud, future)` at once when it is settled, inside whatever method steps its call: for the books of a
** binding, never for its user's code; it may neither enter nor free. Nobody is told when it is ready already, or when
** the discoverer is freed. NULL: nobody. Owner's thread. */
void dsc_future_on_settled(dsc_future *future, dsc_future_fn fn, void *ud);

/* Borrows the result of a call that is ready; of an opening, how its last handshake went. NULL: not ready, taken, or
** there was no memory for one. Owner's thread. */
const dsc_result *dsc_future_result(const dsc_future *future);

/* Hands the result over. Owner's thread. Caller owns: dsc_result_free(). NULL as above. */
dsc_result *dsc_future_take_result(dsc_future *future);

/* Hands the body of an answer over, of a future that was started with `stream`. Owner's thread. Caller owns:
** dsc_stream_free(). NULL: not ready, no answer, or taken. */
dsc_stream *dsc_future_take_stream(dsc_future *future);

/* Hands the WebSocket over that was opened. Owner's thread. Caller owns: dsc_websocket_free(). Fails: `*ws` NULL, why
** it was not opened; DSC_EINVALID: not ready, no opening, or taken. */
dsc_err dsc_future_take_websocket(dsc_future *future, dsc_websocket **ws, dsc_why *why);

/* Settles a future that is not ready with DSC_ECANCELED: its attempt is broken off, the node is not blamed. Inside a
** callback of its own call it is settled when that returns; an answer that is there by then stays. Owner's thread, in a
** frame. Returns false when it was ready already or its answer had come, or its discoverer has gone. */
bool dsc_future_cancel(struct dsc_frame *frame, dsc_future *future);

/* Runs the loop until `future` is ready, at most `timeout_ms` (negative: no limit); dispatches, unless it is called
** inside a callback (then only this future goes on). In a frame of its discoverer, owner's thread. Returns DSC_OK when
** it is ready, DSC_ETIMEOUT, DSC_ECALLBACK (inside a callback of its own call; more than DSC_MAX_DEPTH deep), or
** DSC_EFORKED with `why`. */
dsc_err dsc_future_wait(struct dsc_frame *frame, dsc_future *future, int64_t timeout_ms, dsc_why *why);

/* The same until all of `n` are ready. All of one discoverer, that of the frame, else DSC_EINVALID. `futures` is
** borrowed and must stay until it returns. In a frame, owner's thread. Fails: as dsc_future_wait(). */
dsc_err dsc_future_wait_all(struct dsc_frame *frame, dsc_future *const *futures, size_t n, int64_t timeout_ms,
                            dsc_why *why);

/* The same until one of `n` is ready: `*index` is the first such. In a frame, owner's thread. Fails: as
** dsc_future_wait_all(). */
dsc_err dsc_future_wait_any(struct dsc_frame *frame, dsc_future *const *futures, size_t n, int64_t timeout_ms,
                            size_t *index, dsc_why *why);

/* Returns how long its call may take, in milliseconds from its start: the default of a wait. Owner's thread. */
uint32_t dsc_future_deadline_ms(const dsc_future *future);

/* Frees it; NULL is allowed. One that is not ready goes on unseen. Result, stream and WebSocket that nobody took go
** with it. Owner's thread, also after the discoverer was freed. */
void dsc_future_free(dsc_future *future);

#pragma GCC visibility pop

#endif
