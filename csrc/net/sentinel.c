/*
** sentinel.c - Redis Sentinels: their list, the beginning and the end.
**
** Invariants: the list holds every Sentinel once, and those of the registry string always; what was learned makes room
** for nothing, so that a hostile Sentinel cannot push the others out. Threads: the loop's.
*/
#include "net/sentinel_impl.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/random.h"

#define PATIENCE_MS 300
#define PONG_MS     1000
#define SOON_MS     1000
#define SILENCE_MS  3000 /* of the one that is watched, before a PING */

bool dsc_sentinel_same(const dsc_addr *a, const dsc_addr *b) {
  return a->port == b->port && dsc_str_equal_nocase(dsc_str_of(a->host), dsc_str_of(b->host));
}

bool dsc_sentinel_read_addr(dsc_addr *addr, dsc_str host, dsc_str port) {
  char text[DSC_ADDR_MAX];
  if (host.n + port.n + 4 > sizeof text || host.n == 0) return false;
  bool is_v6 = memchr(host.p, ':', host.n) != NULL;
  char *at = text;
  if (is_v6) *at++ = '[';
  memcpy(at, host.p, host.n);
  at += host.n;
  if (is_v6) *at++ = ']';
  *at++ = ':';
  memcpy(at, port.p, port.n);
  at += port.n;
  return dsc_addr_parse(addr, (dsc_str){text, (size_t)(at - text)}, NULL) == DSC_OK;
}

/* ---- the list */

static size_t find(const dsc_sentinel *s, const dsc_addr *addr) {
  size_t i = 0;
  while (i < s->n_entries && !dsc_sentinel_same(&s->entries[i].addr, addr)) i++;
  return i;
}

void dsc_sentinel_move(dsc_sentinel *s, const dsc_addr *addr, bool to_front) {
  size_t i = find(s, addr);
  if (i == s->n_entries) return;
  dsc_sentinel_entry entry = s->entries[i];
  if (to_front) {
    memmove(&s->entries[1], &s->entries[0], i * sizeof entry);
    s->entries[0] = entry;
  } else {
    memmove(&s->entries[i], &s->entries[i + 1], (s->n_entries - i - 1) * sizeof entry);
    s->entries[s->n_entries - 1] = entry;
  }
}

void dsc_sentinel_learn(dsc_sentinel *s, const dsc_addr *addr) {
  if (s->n_entries == DSC_SENTINEL_MAX || find(s, addr) < s->n_entries) return;
  s->entries[s->n_entries++] = (dsc_sentinel_entry){.addr = *addr, .learned = true, .round = s->round};
}

void dsc_sentinel_forget(dsc_sentinel *s, const dsc_addr *addr) {
  size_t i = find(s, addr);
  if (i == s->n_entries || !s->entries[i].learned) return;
  memmove(&s->entries[i], &s->entries[i + 1], (s->n_entries - i - 1) * sizeof s->entries[0]);
  s->n_entries--;
}

dsc_redis_conn *dsc_sentinel_open(dsc_sentinel *s, const dsc_addr *addr, bool subscriber,
                                  const dsc_redis_conn_events *events) {
  dsc_redis_conn_options options = {
      .host = addr->host,
      .port = addr->port,
      .tls = s->tls,
      .user = s->user,
      .password = s->password,
      .name = s->name,
      .connect_timeout_ms = s->patience_ms,
      .command_timeout_ms = subscriber ? PONG_MS : s->patience_ms,
      .subscriber = subscriber,
      .silence_ms = SILENCE_MS,
  };
  return dsc_redis_conn_open(s->loop, s->resolver, &options, events);
}

/* ---- the public face */

void dsc_sentinel_settle(dsc_sentinel *s, const dsc_addr *master) {
  if (s->closing) return;
  if (master) {
    s->settled = *master;
    s->outdated = true;
    dsc_timer_start(s->reask, dsc_random_between_ms(100, SOON_MS));
  } else {
    s->settled.port = 0;
  }
}

void dsc_sentinel_close(dsc_sentinel *s) {
  s->closing = true;
  dsc_timer_stop(s->patience);
  dsc_timer_stop(s->rewatch);
  dsc_timer_stop(s->reask);
  if (s->asker) dsc_redis_conn_close(s->asker);
  if (s->watcher) dsc_redis_conn_close(s->watcher);
}

bool dsc_sentinel_is_closed(const dsc_sentinel *s) {
  return !s->asker && !s->watcher;
}

void dsc_sentinel_free(dsc_sentinel *s) {
  if (!s) return;
  dsc_timer_free(s->patience);
  dsc_timer_free(s->rewatch);
  dsc_timer_free(s->reask);
  dsc_tls_unref(s->tls);
  dsc_secret_unref(s->password);
  dsc_mem_free(s->master);
  dsc_mem_free(s->user);
  dsc_mem_free(s->name);
  dsc_mem_free(s);
}

static void add_hosts(dsc_sentinel *s, const dsc_sentinel_options *options) {
  for (size_t i = 0; i < options->n_hosts && s->n_entries < DSC_SENTINEL_MAX; i++) {
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)options->hosts[i].port);
    dsc_sentinel_entry *entry = &s->entries[s->n_entries];
    s->n_entries += dsc_sentinel_read_addr(&entry->addr, dsc_str_of(options->hosts[i].name), dsc_str_of(port));
  }
}

dsc_sentinel *dsc_sentinel_new(dsc_loop *loop, dsc_resolver *resolver, const dsc_sentinel_options *options,
                               const dsc_sentinel_events *events) {
  dsc_sentinel *s = dsc_mem_zalloc(1, sizeof *s);
  if (!s) return NULL;
  s->loop = loop;
  s->resolver = resolver;
  s->events = *events;
  s->patience_ms = options->patience_ms ? options->patience_ms : PATIENCE_MS;
  s->tls = dsc_tls_ref(options->tls);
  s->password = dsc_secret_ref(options->password);
  s->master = dsc_mem_strdup(dsc_str_of(options->master));
  s->user = options->user ? dsc_mem_strdup(dsc_str_of(options->user)) : NULL;
  s->name = dsc_mem_strdup(dsc_str_of(options->name));
  add_hosts(s, options);
  s->patience = dsc_timer_new(loop, dsc_sentinel_on_patience, s);
  s->rewatch = dsc_timer_new(loop, dsc_sentinel_on_rewatch, s);
  s->reask = dsc_timer_new(loop, dsc_sentinel_on_reask, s);
  bool made = s->master && s->name && (s->user || !options->user) && s->n_entries > 0;
  if (made && s->patience && s->rewatch && s->reask) return s;
  dsc_sentinel_free(s);
  return NULL;
}
