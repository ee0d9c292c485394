/*
** wake.h - a wake-up that comes as a byte on a unix socket: for hosts that can wait for nothing but their own sockets.
**
** A worker of nginx has no way to wait for a descriptor; its cosockets connect to a path. So the path is made for one
** connection, of this very process, and is gone as soon as that stands.
*/
#ifndef DSC_NET_WAKE_H
#define DSC_NET_WAKE_H

#include "base/err.h"

#pragma GCC visibility push(default)

typedef struct dsc_wake dsc_wake;

/* Listens at a path of its own: mode 0600, in a new folder with mode 0700 in /tmp. Any thread, which
** becomes the owner. Caller owns: dsc_wake_free(). Fails: DSC_EIO, DSC_ENOMEM with `why`. */
dsc_err dsc_wake_new(dsc_wake **wake, dsc_why *why);

/* Returns the path, absolute. Owner's thread. Borrowed while `wake` lives. */
const char *dsc_wake_path(const dsc_wake *wake);

/* Takes the connection that this process has made meanwhile (those of others are closed) and removes the path. Owner's
** thread; does not wait. Fails: DSC_EIO with `why`: there is none. */
dsc_err dsc_wake_accept(dsc_wake *wake, dsc_why *why);

/* Sends a byte unless one is on its way; before dsc_wake_accept() it does nothing. Any thread. */
void dsc_wake_ring(dsc_wake *wake);

/* The byte was read: the next ring sends one again. To be called before looking for what it was about. Owner's
** thread. */
void dsc_wake_clear(dsc_wake *wake);

/* Closes and removes all of it. Nobody may ring any more. NULL is allowed; after a fork the child removes nothing of
** its parent's. Owner's thread. */
void dsc_wake_free(dsc_wake *wake);

#pragma GCC visibility pop

#endif
