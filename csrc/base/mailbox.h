/*
** mailbox.h - many writers, one reader: a locked ring of links and a bell.
**
** A post into an empty box rings the bell (once, outside the lock); the reader swaps the whole list out
** and works on it without the lock. After dsc_mailbox_close() posts are refused, so nothing can be
** stranded in a box that nobody reads any more.
*/
#ifndef DSC_BASE_MAILBOX_H
#define DSC_BASE_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>

#include "base/list.h"

typedef void (*dsc_mailbox_bell)(void *ud);

typedef struct dsc_mailbox {
  /* constant */
  dsc_mailbox_bell bell;
  void *ud;
  /* under lock */
  pthread_mutex_t lock;
  dsc_link items;
  bool closed;
} dsc_mailbox;

/* Makes an empty, open box; `bell(ud)` is called from the posting thread. Owner's thread. */
void dsc_mailbox_init(dsc_mailbox *box, dsc_mailbox_bell bell, void *ud);

/* Appends `item`; the box owns it until it is taken. The bell rings under no lock of the box.
** Any thread. Fails: false when closed, the caller keeps the item. */
bool dsc_mailbox_post(dsc_mailbox *box, dsc_link *item);

/* Moves everything to the end of `into`; true when there was anything. Reader's thread. */
bool dsc_mailbox_take(dsc_mailbox *box, dsc_link *into);

/* Refuses later posts and moves what is left to `into`. Reader's thread. Idempotent. */
void dsc_mailbox_close(dsc_mailbox *box, dsc_link *into);

/* Frees the lock; the box must be closed and empty. Reader's thread. */
void dsc_mailbox_fini(dsc_mailbox *box);

#endif
