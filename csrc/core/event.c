/*
** event.c - names and filling of events. Pure.
*/
#include "core/event.h"

#include "base/clock.h"

const char *dsc_event_name(dsc_event_kind kind) {
  static const char *const names[] = {
#define XX(upper, lower) #lower,
      DSC_EVENT_MAP(XX)
#undef XX
  };
  return (unsigned)kind < DSC_EVENT_COUNT ? names[kind] : "unknown";
}

void dsc_event_make(dsc_event *event, dsc_event_kind kind, dsc_str app, dsc_str node, const char *why) {
  event->kind = kind;
  event->time = dsc_clock_wall();
  dsc_log_field(event->app, sizeof event->app, app);
  dsc_log_field(event->node, sizeof event->node, node);
  dsc_log_field(event->why, sizeof event->why, dsc_str_of(why));
}
