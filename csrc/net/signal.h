/*
** signal.h - SIGINT and SIGTERM wake loops, so that they can say goodbye before the process ends.
**
** Process-wide. Not libuv's signals: their handler writes into a pipe that a forked child shares with its parent. In
** a child the actions are the default ones again.
*/
#ifndef DSC_NET_SIGNAL_H
#define DSC_NET_SIGNAL_H

#include "base/err.h"
#include "net/loop.h"

/* From now on both signals wake `loop` and are kept in mind instead of ending the process. Any thread. `loop` is
** borrowed until dsc_signal_unwatch(). Fails: DSC_EIO: too many loops. */
dsc_err dsc_signal_watch(dsc_loop *loop);

/* Ends that; the last one restores the actions that were there before. Harmless for others. Any thread. */
void dsc_signal_unwatch(dsc_loop *loop);

/* Returns the signal that came, 0: none. Any thread. */
int dsc_signal_caught(void);

/* Restores the default action of the signal that came and sends it to the process again. Any thread. */
void dsc_signal_finish(void);

#endif
