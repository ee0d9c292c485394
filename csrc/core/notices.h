/*
** notices.h - what other threads have to tell a discoverer's owner: log records and events, in a bounded queue,
** and a bell.
**
** Whoever tells only takes notes; the owner hands them to the host at the end of its next method. Past the bound
** notices are counted and dropped, oldest stay. Without a host's logger records go to the default sink at once, in
** the thread that tells.
*/
#ifndef DSC_CORE_NOTICES_H
#define DSC_CORE_NOTICES_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/list.h"
#include "base/log.h"
#include "core/event.h"
#include "net/loop.h"

#define DSC_NOTICES_MAX 1024

typedef struct dsc_notice {
  dsc_link link;
  bool is_event;
  union {
    dsc_event event;
    dsc_log_record record;
  };
} dsc_notice;

typedef struct dsc_notices {
  /* any thread, atomic */
  atomic_int level;        /* dsc_log_level: records below are not made */
  atomic_bool to_host;     /* records wait for the host; else they go to the default sink */
  atomic_bool want_events; /* the host listens to events */
  atomic_bool any;         /* something waits */
  /* under lock */
  pthread_mutex_t lock;
  dsc_link items;
  size_t n_logs, n_events;
  uint64_t logs_dropped, events_dropped;
  dsc_loop *bell; /* woken by dsc_notices_ring(); NULL: nobody waits */
} dsc_notices;

/* Makes an empty queue. Owner's thread. */
void dsc_notices_init(dsc_notices *notices);

/* Frees what waits. Nobody may tell any more. Owner's thread. */
void dsc_notices_fini(dsc_notices *notices);

/* Puts a record into the queue or onto the default sink. Any thread. */
void dsc_notices_log(dsc_notices *notices, const dsc_log_record *record);

/* Puts an event into the queue, if the host wants events. Any thread. */
void dsc_notices_event(dsc_notices *notices, const dsc_event *event);

/* Wakes the owner's loop if it has one. Any thread. */
void dsc_notices_ring(dsc_notices *notices);

/* Sets which loop is woken (NULL: none). Owner's thread. */
void dsc_notices_set_bell(dsc_notices *notices, dsc_loop *loop);

/* Moves all that waits to `into`; each is the caller's: dsc_mem_free(). Owner's thread. Returns false when there
** was nothing. */
bool dsc_notices_take(dsc_notices *notices, dsc_link *into);

/* True when something waits to be taken. Owner's thread. */
bool dsc_notices_any(const dsc_notices *notices);

/* Copies the counts of what was dropped. Any thread. */
void dsc_notices_dropped(dsc_notices *notices, uint64_t *logs, uint64_t *events);

#endif
