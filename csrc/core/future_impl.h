/*
** future_impl.h - what the future*.c files, the calls and the discoverer share of a future, and nobody else.
**
**     future.c       started, settled, told, freed
**     future_wait.c  waiting for one, all, any
*/
#ifndef DSC_CORE_FUTURE_IMPL_H
#define DSC_CORE_FUTURE_IMPL_H

#include "core/call.h"

struct dsc_future {
  /* constant */
  uint32_t generation; /* of the process, see base/fork.h */
  uint32_t deadline_ms;
  /* owner's thread only */
  dsc_discoverer *d; /* NULL: it is gone */
  dsc_link link;     /* in d->futures */
  dsc_delivery delivery;
  dsc_request request; /* a copy; its strings are in `text` */
  char *text;
  dsc_body *source; /* a reference; NULL: none */
  dsc_headers headers, relayed;
  dsc_call *call; /* NULL: settled; else `own`, or that of `stream` */
  dsc_call own;
  dsc_result *result;
  dsc_stream *stream;       /* also while its headers are waited for */
  dsc_websocket *websocket; /* also while it is opened */
  char *protocols;
  bool is_opening;
  dsc_err open_err;
  dsc_why open_why;
  bool ready, canceled, forgotten;
  dsc_future_fn fn, on_settled;
  void *fn_ud, *settled_ud;
  unsigned pins; /* callbacks of it on the stack */
};

/* future.c: its call has ended: nothing of the call may be touched after this. In a frame, owner's thread, in the
** call's last step. */
void dsc_future_settle(dsc_frame *frame, dsc_future *future);

/* future.c: nobody is told any more, of futures nor of their calls. Owner's thread. */
void dsc_future_silence_all(dsc_discoverer *d);

/* future.c: all of them leave a discoverer that is shut; those that nobody holds are freed. Owner's thread. */
void dsc_future_detach_all(dsc_discoverer *d);

#endif
