/*
** resolve.c - names to addresses: questions, and the answers that are kept.
**
** One entry per name: open (resolve_ares.c is at it, questions wait) or settled (an answer, good or bad, until it
** expires). Questions for one name share one entry. Answers always travel over the `ready` list and a timer of 0 ms,
** because the engine may answer at once, and `done` must not be called before the asker has returned.
**
** Invariants: only settled entries are in `settled`, oldest first; `waiting` is in the order of the deadlines, and each
** question in it has an open entry. Threads: the loop's only.
*/
#include "net/resolve.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/map.h"
#include "base/mem.h"
#include "net/resolve_ares.h"

#define PATIENCE_MS 5000U
#define BAD_MS      1000U
#define MAX_NAME    255

typedef struct entry {
  dsc_link link; /* in `settled` */
  dsc_resolver *resolver;
  char *host;
  bool open;
  uint64_t expires_ms;
  dsc_resolve_answer answer;
} entry;

struct dsc_resolve {
  dsc_link link; /* in `waiting` or `ready` */
  dsc_resolver *resolver;
  entry *from; /* while in `waiting` */
  uint64_t deadline_ms;
  dsc_resolve_done done;
  void *ud;
  dsc_resolve_answer answer;
};

struct dsc_resolver {
  dsc_resolve_ares *engine;
  dsc_timer *patience;
  dsc_timer *bell; /* delivers `ready` */
  dsc_map entries;
  dsc_link settled, waiting, ready;
};

static void make_ready(dsc_resolve *question) {
  question->from = NULL;
  dsc_list_remove(&question->link);
  dsc_list_push(&question->resolver->ready, &question->link);
  dsc_timer_start(question->resolver->bell, 0);
}

static void on_bell(void *ud) {
  dsc_resolver *resolver = ud;
  dsc_link now;
  dsc_list_init(&now);
  dsc_list_move(&now, &resolver->ready);
  dsc_link *link;
  while ((link = dsc_list_pop(&now))) {
    dsc_resolve *question = DSC_LIST_ENTRY(link, dsc_resolve, link);
    question->done(question->ud, &question->answer);
    dsc_mem_free(question);
  }
}

static void rearm(dsc_resolver *resolver) {
  if (dsc_list_empty(&resolver->waiting)) {
    dsc_timer_stop(resolver->patience);
    return;
  }
  uint64_t at = DSC_LIST_ENTRY(resolver->waiting.next, dsc_resolve, link)->deadline_ms;
  uint64_t now = dsc_clock_now_ms();
  dsc_timer_start(resolver->patience, at > now ? at - now : 0);
}

static void on_patience(void *ud) {
  dsc_resolver *resolver = ud;
  uint64_t now = dsc_clock_now_ms();
  while (!dsc_list_empty(&resolver->waiting)) {
    dsc_resolve *question = DSC_LIST_ENTRY(resolver->waiting.next, dsc_resolve, link);
    if (question->deadline_ms > now) break;
    question->answer.err = DSC_ETIMEOUT;
    snprintf(question->answer.why, sizeof question->answer.why,
             "the name \"%.60s\" cannot be resolved: no answer within %u ms", question->from->host, PATIENCE_MS);
    make_ready(question);
  }
  rearm(resolver);
}

/* ------------------------------------------------------------------ entries */

static void free_entry(entry *e) {
  dsc_list_remove(&e->link);
  dsc_map_take(&e->resolver->entries, dsc_str_of(e->host));
  dsc_mem_free(e->host);
  dsc_mem_free(e);
}

static entry *new_entry(dsc_resolver *resolver, dsc_str host) {
  if (resolver->entries.count >= DSC_RESOLVE_MAX_CACHE && !dsc_list_empty(&resolver->settled)) {
    free_entry(DSC_LIST_ENTRY(resolver->settled.next, entry, link));
  }
  entry *e = dsc_mem_zalloc(1, sizeof *e);
  if (!e) return NULL;
  e->host = dsc_mem_strdup(host);
  if (!e->host || dsc_map_put(&resolver->entries, dsc_str_of(e->host), e, NULL) != DSC_OK) {
    dsc_mem_free(e->host);
    dsc_mem_free(e);
    return NULL;
  }
  e->resolver = resolver;
  e->open = true;
  dsc_list_init(&e->link);
  return e;
}

static void on_found(void *ud, const dsc_resolve_answer *answer, int ttl_s) {
  entry *e = ud;
  dsc_resolver *resolver = e->resolver;
  e->answer = *answer;
  e->open = false;
  e->expires_ms = dsc_clock_now_ms() + (answer->err == DSC_OK ? 1000U * (uint64_t)ttl_s : BAD_MS);
  dsc_list_push(&resolver->settled, &e->link);
  dsc_link *at = resolver->waiting.next;
  while (at != &resolver->waiting) {
    dsc_resolve *question = DSC_LIST_ENTRY(at, dsc_resolve, link);
    at = at->next;
    if (question->from != e) continue;
    question->answer = *answer;
    make_ready(question);
  }
  rearm(resolver);
}

/* ----------------------------------------------------------------- the door */

dsc_resolver *dsc_resolver_new(dsc_loop *loop) {
  dsc_resolver *resolver = dsc_mem_zalloc(1, sizeof *resolver);
  if (!resolver) return NULL;
  dsc_map_init(&resolver->entries);
  dsc_list_init(&resolver->settled);
  dsc_list_init(&resolver->waiting);
  dsc_list_init(&resolver->ready);
  resolver->engine = dsc_resolve_ares_new(loop);
  resolver->patience = dsc_timer_new(loop, on_patience, resolver);
  resolver->bell = dsc_timer_new(loop, on_bell, resolver);
  if (resolver->engine && resolver->patience && resolver->bell) return resolver;
  dsc_resolver_free(resolver);
  return NULL;
}

static void free_questions(dsc_link *list) {
  dsc_link *link;
  while ((link = dsc_list_pop(list))) dsc_mem_free(DSC_LIST_ENTRY(link, dsc_resolve, link));
}

void dsc_resolver_free(dsc_resolver *resolver) {
  if (!resolver) return;
  dsc_resolve_ares_free(resolver->engine);
  free_questions(&resolver->waiting);
  free_questions(&resolver->ready);
  size_t at = 0;
  entry *e;
  while ((e = dsc_map_next(&resolver->entries, &at))) {
    dsc_mem_free(e->host);
    dsc_mem_free(e);
  }
  dsc_map_clear(&resolver->entries);
  dsc_timer_free(resolver->patience);
  dsc_timer_free(resolver->bell);
  dsc_mem_free(resolver);
}

static bool is_literal(dsc_str host, dsc_resolve_answer *answer) {
  unsigned char bytes[sizeof(struct in6_addr)];
  char *text = answer->addrs[0];
  if (host.n == 0 || host.n >= sizeof answer->addrs[0] || memchr(host.p, '\0', host.n)) return false;
  memcpy(text, host.p, host.n);
  text[host.n] = '\0';
  if (inet_pton(AF_INET, text, bytes) != 1 && inet_pton(AF_INET6, text, bytes) != 1) return false;
  answer->err = DSC_OK;
  answer->count = 1;
  answer->why[0] = '\0';
  return true;
}

bool dsc_resolver_lookup(dsc_resolver *resolver, dsc_str host, dsc_resolve_answer *answer) {
  if (is_literal(host, answer)) return true;
  entry *e = dsc_map_get(&resolver->entries, host);
  if (!e || e->open) return false;
  if (e->expires_ms <= dsc_clock_now_ms()) {
    free_entry(e);
    return false;
  }
  *answer = e->answer;
  return true;
}

static bool is_known(dsc_resolver *resolver, dsc_str host, dsc_resolve_answer *answer) {
  if (host.n > 0 && host.n <= MAX_NAME && dsc_str_is_clean(host)) return dsc_resolver_lookup(resolver, host, answer);
  answer->err = DSC_ECONNECT;
  snprintf(answer->why, sizeof answer->why, "this is not a host name: %zu bytes, or with control characters", host.n);
  return true;
}

dsc_resolve *dsc_resolver_ask(dsc_resolver *resolver, dsc_str host, dsc_resolve_done done, void *ud) {
  dsc_resolve *question = dsc_mem_zalloc(1, sizeof *question);
  if (!question) return NULL;
  dsc_list_init(&question->link);
  question->resolver = resolver;
  question->done = done;
  question->ud = ud;
  question->deadline_ms = dsc_clock_now_ms() + PATIENCE_MS;
  if (is_known(resolver, host, &question->answer)) {
    make_ready(question);
    return question;
  }
  entry *e = dsc_map_get(&resolver->entries, host);
  bool fresh = !e;
  if (fresh) e = new_entry(resolver, host);
  if (!e) {
    dsc_mem_free(question);
    return NULL;
  }
  question->from = e;
  dsc_list_push(&resolver->waiting, &question->link);
  rearm(resolver);
  if (fresh) dsc_resolve_ares_ask(resolver->engine, e->host, on_found, e);
  return question;
}

void dsc_resolve_cancel(dsc_resolve *question) {
  if (!question) return;
  dsc_list_remove(&question->link);
  dsc_mem_free(question);
}
