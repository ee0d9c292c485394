/*
** registry_tell.c - listeners: events, log records, "something changed".
**
** Listeners only take notes, so they are told in place, also while the registry's lock is held; `ears_lock` makes
** that none is told after it was detached. Threads: any.
*/
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "core/registry_impl.h"

static void tell_event(dsc_registry *r, const dsc_event *event) {
  pthread_mutex_lock(&r->ears_lock);
  for (dsc_link *at = r->ears.next; at != &r->ears; at = at->next) {
    dsc_listener *ear = DSC_LIST_ENTRY(at, dsc_listener, link);
    if (ear->on_event) ear->on_event(ear->ud, event);
  }
  pthread_mutex_unlock(&r->ears_lock);
}

void dsc_registry_tell_attach(dsc_registry *r, dsc_listener *listener) {
  pthread_mutex_lock(&r->ears_lock);
  dsc_list_push(&r->ears, &listener->link);
  pthread_mutex_unlock(&r->ears_lock);
}

void dsc_registry_tell_detach(dsc_registry *r, dsc_listener *listener) {
  pthread_mutex_lock(&r->ears_lock);
  dsc_list_remove(&listener->link);
  pthread_mutex_unlock(&r->ears_lock);
}

void dsc_registry_tell_event(dsc_registry *r, dsc_event_kind kind, dsc_str app, dsc_str node, const char *why) {
  dsc_event event;
  dsc_event_make(&event, kind, app, node, why);
  tell_event(r, &event);
}

void dsc_registry_tell_changes(dsc_registry *r, dsc_table *table, dsc_changes *changes) {
  static const dsc_event_kind kinds[] = {[DSC_CHANGE_ADDED] = DSC_EVENT_NODE_ADDED,
                                         [DSC_CHANGE_REMOVED] = DSC_EVENT_NODE_REMOVED,
                                         [DSC_CHANGE_STALE] = DSC_EVENT_STALE,
                                         [DSC_CHANGE_ISOLATED] = DSC_EVENT_ISOLATED,
                                         [DSC_CHANGE_ISOLATED_BY_RATE] = DSC_EVENT_ISOLATED,
                                         [DSC_CHANGE_RECOVERED] = DSC_EVENT_RECOVERED};
  static const char *const whys[] = {[DSC_CHANGE_ISOLATED] = "it failed too often in a row",
                                     [DSC_CHANGE_ISOLATED_BY_RATE] = "half of its attempts within 10 s failed, or more",
                                     [DSC_CHANGE_RECOVERED] = NULL};
  dsc_str app = dsc_table_app(table);
  if (changes->count + changes->dropped && atomic_load(&dsc_table_counters(table)->waiting) > 0)
    dsc_registry_tell_change(r);
  for (size_t i = 0; i < changes->count; i++) {
    dsc_str node = dsc_node_addr(changes->items[i].node);
    const char *why = whys[changes->items[i].kind];
    dsc_registry_tell_event(r, kinds[changes->items[i].kind], app, node, why);
    if (why)
      dsc_registry_tell_log(r, DSC_LOG_ERROR, "%.*s: node %.*s is isolated: %s", DSC_STR_ARG(app), DSC_STR_ARG(node),
                            why);
  }
  dsc_changes_clear(changes);
}

void dsc_registry_tell_trouble(dsc_registry *r, dsc_table *table, dsc_event_kind kind, dsc_str node, const char *why) {
  if (dsc_registry_run_is_forked(r) || !dsc_table_may_tell(table, (unsigned)kind, dsc_clock_now_ms())) return;
  dsc_registry_tell_event(r, kind, dsc_table_app(table), node, why);
  dsc_registry_tell_log(r, DSC_LOG_WARN, "%s: %s", dsc_event_name(kind), why);
}

void dsc_registry_tell_change(dsc_registry *r) {
  pthread_cond_broadcast(&r->told);
  pthread_mutex_lock(&r->ears_lock);
  for (dsc_link *at = r->ears.next; at != &r->ears; at = at->next) {
    dsc_listener *ear = DSC_LIST_ENTRY(at, dsc_listener, link);
    if (ear->on_change) ear->on_change(ear->ud);
  }
  pthread_mutex_unlock(&r->ears_lock);
}

void dsc_registry_tell_log(dsc_registry *r, dsc_log_level level, const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  dsc_log_record record = {.time = dsc_clock_wall(), .level = level, .used_time_ms = -1};
  dsc_log_field(record.msg, sizeof record.msg, dsc_str_of(text));
  pthread_mutex_lock(&r->ears_lock);
  for (dsc_link *at = r->ears.next; at != &r->ears; at = at->next) {
    dsc_listener *ear = DSC_LIST_ENTRY(at, dsc_listener, link);
    if (ear->on_log) ear->on_log(ear->ud, &record);
  }
  pthread_mutex_unlock(&r->ears_lock);
}

bool dsc_registry_tell_once_locked(dsc_registry *r, const char *topic, dsc_str app, dsc_str about) {
  uint64_t hash = dsc_str_hash(dsc_str_of(topic)) * 31 + dsc_str_hash(app);
  hash = hash * 31 + dsc_str_hash(about);
  for (size_t i = 0; i < r->n_said; i++) {
    if (r->said[i] == hash) return false;
  }
  /* past that many different complaints silence is better: somebody floods */
  if (r->n_said == DSC_REGISTRY_SAID_MAX) return false;
  r->said[r->n_said++] = hash;
  return true;
}
