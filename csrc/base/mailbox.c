/*
** mailbox.c - a locked ring of links and a bell.
**
** Invariants: a closed box is empty; the bell rings for a post that found the box empty, so whoever was
** rung and takes everything misses nothing. The bell rings outside the lock, so it may ring a moment after
** the reader took the item, or closed the box: what `ud` points to must outlive the last poster.
** Threads: many posters, one reader.
*/
#include "base/mailbox.h"

void dsc_mailbox_init(dsc_mailbox *box, dsc_mailbox_bell bell, void *ud) {
  box->bell = bell;
  box->ud = ud;
  box->lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
  dsc_list_init(&box->items);
  box->closed = false;
}

bool dsc_mailbox_post(dsc_mailbox *box, dsc_link *item) {
  /* read before the unlock: after it the reader may be done with the box */
  dsc_mailbox_bell bell = box->bell;
  void *ud = box->ud;
  pthread_mutex_lock(&box->lock);
  bool open = !box->closed;
  bool first = open && dsc_list_empty(&box->items);
  if (open) dsc_list_push(&box->items, item);
  pthread_mutex_unlock(&box->lock);
  if (first && bell) bell(ud);
  return open;
}

bool dsc_mailbox_take(dsc_mailbox *box, dsc_link *into) {
  pthread_mutex_lock(&box->lock);
  bool any = !dsc_list_empty(&box->items);
  dsc_list_move(into, &box->items);
  pthread_mutex_unlock(&box->lock);
  return any;
}

void dsc_mailbox_close(dsc_mailbox *box, dsc_link *into) {
  pthread_mutex_lock(&box->lock);
  box->closed = true;
  dsc_list_move(into, &box->items);
  pthread_mutex_unlock(&box->lock);
}

void dsc_mailbox_fini(dsc_mailbox *box) {
  pthread_mutex_destroy(&box->lock);
}
