/*
** event.h - what the core tells its host: a value with bounded strings, so that it can wait in a queue.
*/
#ifndef DSC_CORE_EVENT_H
#define DSC_CORE_EVENT_H

#include "base/addr.h"
#include "base/err.h"
#include "base/log.h"

#pragma GCC visibility push(default)

#define DSC_EVENT_MAP(XX)                                                                                              \
  XX(REGISTERED, registered)                                                                                           \
  XX(LOST, lost)                                                                                                       \
  XX(UNREGISTERED, unregistered)                                                                                       \
  XX(NODE_ADDED, node_added)                                                                                           \
  XX(NODE_REMOVED, node_removed)                                                                                       \
  XX(STALE, stale)                                                                                                     \
  XX(ISOLATED, isolated)                                                                                               \
  XX(RECOVERED, recovered)                                                                                             \
  XX(OVERLOAD, overload)                                                                                               \
  XX(RETRY_BUDGET, retry_budget)                                                                                       \
  XX(AVOIDED, avoided)                                                                                                 \
  XX(REGISTRY_DOWN, registry_down)                                                                                     \
  XX(REGISTRY_UP, registry_up)                                                                                         \
  XX(REGISTRY_MOVED, registry_moved)

typedef enum dsc_event_kind {
#define XX(upper, lower) DSC_EVENT_##upper,
  DSC_EVENT_MAP(XX)
#undef XX
      DSC_EVENT_COUNT
} dsc_event_kind;

typedef struct dsc_event {
  dsc_event_kind kind;
  double time;             /* wall-clock seconds */
  char app[256];           /* "" when none */
  char node[DSC_ADDR_MAX]; /* "" when none */
  char why[192];           /* the cause, where there is one to tell */
} dsc_event;

/* Returns the name of a kind ("node_added"). Any thread. Static string. */
const char *dsc_event_name(dsc_event_kind kind);

/* Fills an event; strings are cut to fit. Any thread. `why` may be NULL. */
void dsc_event_make(dsc_event *event, dsc_event_kind kind, dsc_str app, dsc_str node, const char *why);

#pragma GCC visibility pop

#endif
