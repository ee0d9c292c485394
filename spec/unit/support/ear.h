/*
** ear.h - a listener that counts what it hears, and short forms for registries in tests.
*/
#ifndef DSC_SPEC_SUPPORT_EAR_H
#define DSC_SPEC_SUPPORT_EAR_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "core/registry.h"
#include "support/redis_server.h"

typedef struct ear {
  dsc_listener listener;
  atomic_int events[DSC_EVENT_COUNT];
  atomic_int logs, changes;
  pthread_mutex_t lock;
  char log[16384]; /* all messages, a line each */
} ear;

MAYBE_UNUSED static void ear_on_event(void *ud, const dsc_event *event) {
  ear *e = ud;
  atomic_fetch_add(&e->events[event->kind], 1);
}

MAYBE_UNUSED static void ear_on_log(void *ud, const dsc_log_record *record) {
  ear *e = ud;
  pthread_mutex_lock(&e->lock);
  size_t n = strlen(e->log);
  snprintf(e->log + n, sizeof e->log - n, "%s\n", record->msg);
  pthread_mutex_unlock(&e->lock);
  atomic_fetch_add(&e->logs, 1);
}

MAYBE_UNUSED static void ear_on_change(void *ud) {
  ear *e = ud;
  atomic_fetch_add(&e->changes, 1);
}

MAYBE_UNUSED static void ear_init(ear *e) {
  memset(e, 0, sizeof *e);
  pthread_mutex_init(&e->lock, NULL);
  e->listener = (dsc_listener){.on_event = ear_on_event, .on_log = ear_on_log, .on_change = ear_on_change, .ud = e};
  dsc_list_init(&e->listener.link);
}

/* How often a text stands in the log. */
MAYBE_UNUSED static int ear_count(ear *e, const char *text) {
  int n = 0;
  pthread_mutex_lock(&e->lock);
  for (const char *at = e->log; (at = strstr(at, text)) != NULL; at++) n++;
  pthread_mutex_unlock(&e->lock);
  return n;
}

/* A registry with its ear. */
typedef struct member {
  dsc_registry *registry;
  ear ear;
  dsc_registry_timing timing;
  bool shared, signals;
  dsc_why why;
} member;

MAYBE_UNUSED static void member_init(member *m) {
  memset(m, 0, sizeof *m);
  dsc_registry_timing_defaults(&m->timing);
  ear_init(&m->ear);
}

MAYBE_UNUSED static dsc_err member_open(member *m, const char *text) {
  dsc_registry_options options = {.timing = m->timing, .shared = m->shared, .signals = m->signals};
  dsc_err err = dsc_registry_config_parse(&options.config, dsc_str_of(text), NULL, NULL, &m->why);
  if (!err) err = dsc_registry_open(&m->registry, &options, &m->ear.listener, &m->why);
  dsc_registry_config_clear(&options.config);
  if (err) m->registry = NULL;
  return err;
}

/* Opens at a server's database 15. */
MAYBE_UNUSED static dsc_err member_join(member *m, redis_server *s) {
  char text[128];
  const char *mark = s->password[0] ? ":" : "", *at = s->password[0] ? "@" : "";
  snprintf(text, sizeof text, "redis://%s%s%s127.0.0.1:%d/15", mark, s->password, at, s->port);
  return member_open(m, text);
}

MAYBE_UNUSED static void member_close(member *m) {
  dsc_registry_close(m->registry, &m->ear.listener, true);
  m->registry = NULL;
}

MAYBE_UNUSED static dsc_err member_register(member *m, const char *app, const char *addr, uint32_t weight) {
  return dsc_registry_register(m->registry, dsc_str_of(app), dsc_str_of(addr), weight, NULL);
}

MAYBE_UNUSED static bool member_registered(member *m, const char *app, const char *addr) {
  return dsc_registry_is_registered(m->registry, dsc_str_of(app), dsc_str_of(addr));
}

MAYBE_UNUSED static bool member_unregister(member *m, const char *app, const char *addr, uint32_t ms) {
  return dsc_registry_unregister(m->registry, dsc_str_of(app), dsc_str_of(addr), ms);
}

MAYBE_UNUSED static dsc_err member_follow(member *m, const char *app, bool refresh) {
  dsc_table *table = NULL;
  dsc_err err = dsc_registry_follow(m->registry, dsc_str_of(app), true, refresh, &table, &m->why);
  dsc_table_unref(table);
  return err;
}

MAYBE_UNUSED static dsc_app_state member_state(member *m, const char *app) {
  return dsc_registry_app_state(m->registry, dsc_str_of(app), &m->why);
}

/* Weight of a node, -1: not there. */
MAYBE_UNUSED static int member_weight(member *m, const char *app, const char *addr) {
  dsc_table *table = dsc_directory_find(dsc_registry_directory(m->registry), dsc_str_of(app));
  dsc_node *node = table ? dsc_table_find(table, dsc_str_of(addr)) : NULL;
  int weight = node ? (int)atomic_load(&node->weight) : -1;
  dsc_node_unref(node);
  dsc_table_unref(table);
  return weight;
}

/* State of a node; gone: not there. */
MAYBE_UNUSED static dsc_node_state member_node_state(member *m, const char *app, const char *addr) {
  dsc_table *table = dsc_directory_find(dsc_registry_directory(m->registry), dsc_str_of(app));
  dsc_node *node = table ? dsc_table_find(table, dsc_str_of(addr)) : NULL;
  dsc_node_state state = node ? dsc_node_get_state(node) : DSC_NODE_GONE;
  dsc_node_unref(node);
  dsc_table_unref(table);
  return state;
}

/* Metadata of a node in a static buffer; "?" not there. */
MAYBE_UNUSED static const char *member_metadata(member *m, const char *app, const char *addr) {
  static char text[512];
  dsc_table *table = dsc_directory_find(dsc_registry_directory(m->registry), dsc_str_of(app));
  dsc_node *node = table ? dsc_table_find(table, dsc_str_of(addr)) : NULL;
  char *copy = node ? dsc_node_copy_metadata(node) : NULL;
  snprintf(text, sizeof text, "%s", copy ? copy : "?");
  dsc_mem_free(copy);
  dsc_node_unref(node);
  dsc_table_unref(table);
  return text;
}

#endif
