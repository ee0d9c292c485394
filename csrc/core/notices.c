/*
** notices.c - the queue of notices.h: one lock, one list, two counts. Nothing is called under the lock but the
** loop's wake, which only writes to a descriptor.
*/
#include "core/notices.h"

#include "base/mem.h"

void dsc_notices_init(dsc_notices *notices) {
  atomic_init(&notices->level, DSC_LOG_WARN);
  atomic_init(&notices->to_host, false);
  atomic_init(&notices->want_events, false);
  atomic_init(&notices->any, false);
  pthread_mutex_init(&notices->lock, NULL);
  dsc_list_init(&notices->items);
  notices->n_logs = notices->n_events = 0;
  notices->logs_dropped = notices->events_dropped = 0;
  notices->bell = NULL;
}

void dsc_notices_fini(dsc_notices *notices) {
  for (dsc_link *link; (link = dsc_list_pop(&notices->items));) dsc_mem_free(DSC_LIST_ENTRY(link, dsc_notice, link));
  pthread_mutex_destroy(&notices->lock);
}

/* Appends a notice, or counts it as dropped when there is no room or no memory. */
static void append(dsc_notices *notices, dsc_notice *notice, size_t *count, uint64_t *dropped) {
  pthread_mutex_lock(&notices->lock);
  bool keep = notice && *count < DSC_NOTICES_MAX;
  if (keep) {
    ++*count;
    dsc_list_push(&notices->items, &notice->link);
    atomic_store_explicit(&notices->any, true, memory_order_relaxed);
  } else {
    ++*dropped;
  }
  pthread_mutex_unlock(&notices->lock);
  if (!keep) dsc_mem_free(notice);
}

void dsc_notices_log(dsc_notices *notices, const dsc_log_record *record) {
  if ((int)record->level < atomic_load_explicit(&notices->level, memory_order_relaxed)) return;
  if (!atomic_load(&notices->to_host)) {
    dsc_log_default(NULL, record);
    return;
  }
  dsc_notice *notice = dsc_mem_alloc(sizeof *notice);
  if (notice) {
    notice->is_event = false;
    notice->record = *record;
    dsc_list_init(&notice->link);
  }
  append(notices, notice, &notices->n_logs, &notices->logs_dropped);
}

void dsc_notices_event(dsc_notices *notices, const dsc_event *event) {
  if (!atomic_load_explicit(&notices->want_events, memory_order_relaxed)) return;
  dsc_notice *notice = dsc_mem_alloc(sizeof *notice);
  if (notice) {
    notice->is_event = true;
    notice->event = *event;
    dsc_list_init(&notice->link);
  }
  append(notices, notice, &notices->n_events, &notices->events_dropped);
  dsc_notices_ring(notices);
}

void dsc_notices_ring(dsc_notices *notices) {
  pthread_mutex_lock(&notices->lock);
  if (notices->bell) dsc_loop_wake(notices->bell);
  pthread_mutex_unlock(&notices->lock);
}

void dsc_notices_set_bell(dsc_notices *notices, dsc_loop *loop) {
  pthread_mutex_lock(&notices->lock);
  notices->bell = loop;
  pthread_mutex_unlock(&notices->lock);
}

bool dsc_notices_any(const dsc_notices *notices) {
  return atomic_load_explicit(&notices->any, memory_order_relaxed);
}

bool dsc_notices_take(dsc_notices *notices, dsc_link *into) {
  /* what is put there meanwhile is found next time: every method looks */
  if (!dsc_notices_any(notices)) return false;
  pthread_mutex_lock(&notices->lock);
  atomic_store_explicit(&notices->any, false, memory_order_relaxed);
  bool any = !dsc_list_empty(&notices->items);
  dsc_list_move(into, &notices->items);
  notices->n_logs = notices->n_events = 0;
  pthread_mutex_unlock(&notices->lock);
  return any;
}

void dsc_notices_dropped(dsc_notices *notices, uint64_t *logs, uint64_t *events) {
  pthread_mutex_lock(&notices->lock);
  *logs = notices->logs_dropped;
  *events = notices->events_dropped;
  pthread_mutex_unlock(&notices->lock);
}
