/*
** watcher.h - one thread of the process that waits for descriptors in place of owners who can't.
**
** A host without a loop of its own (a game's tick, a worker of nginx) asks to be told when a descriptor is readable. A
** watch tells once, then it rests until it is armed again. The thread starts with the first watch and is joined with
** the last; it blocks all signals. After a fork the child has neither thread nor watches.
*/
#ifndef DSC_NET_WATCHER_H
#define DSC_NET_WATCHER_H

#include <stdint.h>

#include "base/err.h"

typedef struct dsc_watch dsc_watch;

/* Called in the watcher's thread, which serves all watches: it shall only pass the news on, may block for nothing that
** waits for dsc_watch_free() of its own watch, and may call nothing of this file. */
typedef void (*dsc_watch_fn)(void *ud);

/* Watches `fd`, which must stay open as long as the watch lives; nothing is told before dsc_watch_arm(). Any thread.
** Caller owns: dsc_watch_free(). Fails: DSC_EIO (no thread, no descriptors; inside `fn`), DSC_ENOMEM. */
dsc_err dsc_watch_new(dsc_watch **watch, int fd, dsc_watch_fn fn, void *ud);

/* Tells once when `fd` is readable, at once if it is. Costs nothing while it is armed already. Owner's thread. */
void dsc_watch_arm(dsc_watch *watch);

/* Ends it: after that `fn` is not running and will not be called. NULL is allowed; in a child after a fork nothing is
** touched. Owner's thread; never inside `fn`. */
void dsc_watch_free(dsc_watch *watch);

/* How many watches there are. For tests. Any thread. */
uint32_t dsc_watch_count(void);

#endif
