/*
** loop_fd.h - a descriptor by which the loops of others can wait for one of ours.
**
** It is readable whenever dsc_loop_run(loop, 0) has something to do, and when its owner has: libuv's own descriptor
** knows of sockets and bells, a timerfd beside it of what is due by time and of work that waits outside the loop.
*/
#ifndef DSC_NET_LOOP_FD_H
#define DSC_NET_LOOP_FD_H

#include "net/loop.h"

typedef struct dsc_loop_fd dsc_loop_fd;

/* Makes one for a loop that its owner runs; it is right from the first dsc_loop_fd_arm() on. Loop thread. Caller owns:
** dsc_loop_fd_free(). Fails: NULL (`*err`: DSC_ENOMEM, DSC_EIO: no descriptors). */
dsc_loop_fd *dsc_loop_fd_new(dsc_loop *loop, dsc_err *err);

/* Returns the descriptor: for waiting only, close-on-exec. Any thread, as long as it lives. */
int dsc_loop_fd_get(const dsc_loop_fd *f);

/* Says when it shall be readable although nothing comes in: when the loop wants to run, and within `ms` (0: at once;
** negative: the loop alone decides). Holds until it is said again: to be called after everything that touched the
** loop. No system call unless the time has changed. Loop thread, outside dsc_loop_run(). */
void dsc_loop_fd_arm(dsc_loop_fd *f, int64_t ms);

/* The loop is about to be freed: from now on it is readable, so that whoever waits looks. Idempotent. Loop thread. NULL
** is allowed. */
void dsc_loop_fd_detach(dsc_loop_fd *f);

/* Closes and frees; NULL is allowed. Loop thread. */
void dsc_loop_fd_free(dsc_loop_fd *f);

#endif
