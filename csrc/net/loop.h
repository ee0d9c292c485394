/*
** loop.h - a libuv loop, run either by a thread of its own or by its owner, and timers on it.
**
** uv_run never nests: callbacks of this room do no user's work, they note what happened and call
** dsc_loop_stop(). A loop belongs to one thread at a time; only dsc_loop_wake() may be called from others.
*/
#ifndef DSC_NET_LOOP_H
#define DSC_NET_LOOP_H

#include <pthread.h>

#include "base/err.h"
#include "base/str.h"

struct uv_loop_s;

typedef struct dsc_loop dsc_loop;
typedef struct dsc_timer dsc_timer;
typedef void (*dsc_loop_fn)(void *ud);

/* Makes a loop. Any thread, which becomes the owner. Caller owns: dsc_loop_free(). Fails: NULL (`*err`: DSC_ENOMEM,
** DSC_EIO when descriptors ran out). */
dsc_loop *dsc_loop_new(dsc_err *err);

/* Closes what is left of its own handles, runs the loop until they are closed, frees it. All users of the loop (http,
** redis, timers) must have been freed before. NULL is allowed. Loop thread, outside dsc_loop_run(). */
void dsc_loop_free(dsc_loop *loop);

/* Sets what is called in the loop's thread, inside dsc_loop_run(), after dsc_loop_wake() (wakes coalesce). Loop
** thread. */
void dsc_loop_on_wake(dsc_loop *loop, dsc_loop_fn fn, void *ud);

/* Runs until dsc_loop_stop() was called by a callback, dsc_loop_wake() was called, or `timeout_ms` passed (0: only what
** is ready now; negative: no limit). May return early without any of them. Loop thread; never nested. */
void dsc_loop_run(dsc_loop *loop, int64_t timeout_ms);

/* Bounds the work of the runs that follow: past `until_ns` on the clock dsc_loop_is_late() is true, except the first
** time in each run. 0: no bound. Loop thread. */
void dsc_loop_set_bound(dsc_loop *loop, uint64_t until_ns);

/* Asked by a callback of a descriptor that has something to do: true: leave it, it comes again in the next run. Loop
** thread. */
bool dsc_loop_is_late(dsc_loop *loop);

/* Returns in how many milliseconds a run has something to do although nothing comes in; 0 also when descriptors were
** added that the loop waits for only after its next run; -1: never. Loop thread, outside dsc_loop_run(). */
int64_t dsc_loop_timeout(dsc_loop *loop);

/* Makes dsc_loop_run() return after the current callbacks. Loop thread. */
void dsc_loop_stop(dsc_loop *loop);

/* True while dsc_loop_run() is on the stack. Loop thread. */
bool dsc_loop_running(const dsc_loop *loop);

/* Makes the present or the next dsc_loop_run() return soon. Any thread, as long as the loop lives. */
void dsc_loop_wake(dsc_loop *loop);

/* Runs the loop in a new thread named `name` (15 characters), all signals blocked, until dsc_loop_quit(). Then
** `at_end(ud)` is called in that thread, in which all users of the loop must be freed (it may call dsc_loop_run()).
** Owner's thread, which hands the loop over. Fails: DSC_EIO: no thread could be made. */
dsc_err dsc_loop_start_thread(dsc_loop *loop, const char *name, dsc_loop_fn at_end, void *ud);

/* Asks the loop's thread to end; idempotent. Any thread. */
void dsc_loop_quit(dsc_loop *loop);

/* Waits until the thread has ended, at most `timeout_ms` (negative: no limit); then the caller is the owner. Any
** thread but the loop's. Returns false when time ran out (call again). */
bool dsc_loop_join(dsc_loop *loop, int64_t timeout_ms);

/* Borrows libuv's loop, for this room only. Loop thread. */
struct uv_loop_s *dsc_loop_uv(dsc_loop *loop);

/* Makes a stopped timer. Loop thread. Caller owns: dsc_timer_free(). Fails: NULL: out of memory. */
dsc_timer *dsc_timer_new(dsc_loop *loop, dsc_loop_fn fn, void *ud);

/* Calls `fn(ud)` once after `ms`; starting again moves it. Loop thread. */
void dsc_timer_start(dsc_timer *timer, uint64_t ms);

/* Stops; harmless when not running. Loop thread. */
void dsc_timer_stop(dsc_timer *timer);

/* Stops and frees (the memory goes when the loop next runs); NULL is allowed. Loop thread. */
void dsc_timer_free(dsc_timer *timer);

#endif
