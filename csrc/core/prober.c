/*
** prober.c - a thread that asks isolated nodes how they are.
**
** Invariants: what is not said to be otherwise belongs to the loop's thread from the start of that thread to its end;
** every job holds one reference to its node and owes its outcome; at most MAX_JOBS are under way, the rest is looked
** for again when one ends. All probers are in a list, to be joined before the process ends: TLS in a thread does not
** outlive OpenSSL. Threads: any, see the header.
*/
#include "core/prober.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/fork.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "model/node_impl.h"
#include "net/http.h"

#define MAX_JOBS   64
#define TIMEOUT_MS 5000 /* a probe waits no longer than that */
#define SLACK_MS   1000 /* that the slot is held longer than the probe */
#define PAUSE_MS   1000 /* after a probe that could not be made */
#define MAX_BODY   65536
#define EXIT_MS    1000

typedef struct rule {
  dsc_call_config *config; /* references */
  dsc_tls *tls;
  size_t n;
  char app[];
} rule;

struct dsc_prober {
  /* constant */
  uint32_t generation;
  uint32_t retry_times;
  dsc_registry *registry;
  /* under the list's lock */
  dsc_link link;
  /* loop thread only */
  dsc_loop *loop;
  dsc_resolver *resolver;
  dsc_http *http;
  dsc_timer *timer;
  dsc_link jobs;
  size_t n_jobs;
  uint64_t pause_until_ms; /* on the clock: no probe before */
  /* under lock */
  pthread_mutex_t lock;
  dsc_map rules; /* app -> rule */
};

typedef struct job {
  dsc_link link;
  dsc_prober *prober;
  dsc_node *node; /* references */
  dsc_call_config *config;
  dsc_tls *tls;
  dsc_headers headers;
} job;

/* ------------------------------------------------------------- all of them */

static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static dsc_link all = {&all, &all};
static dsc_link inherited = {&inherited, &inherited}; /* the parent's: never touched, but not lost either */

static void before_fork(void) {
  pthread_mutex_lock(&list_lock);
}

static void after_fork_in_parent(void) {
  pthread_mutex_unlock(&list_lock);
}

static void after_fork_in_child(void) {
  dsc_list_move(&inherited, &all);
  pthread_mutex_unlock(&list_lock);
}

static void on_exit_of_process(void) {
  pthread_mutex_lock(&list_lock);
  for (dsc_link *link; (link = dsc_list_pop(&all));) {
    dsc_prober *p = DSC_LIST_ENTRY(link, dsc_prober, link);
    dsc_loop_quit(p->loop);
    dsc_loop_join(p->loop, EXIT_MS);
  }
  pthread_mutex_unlock(&list_lock);
}

static void set_up(void) {
  pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  atexit(on_exit_of_process);
}

static void enlist(dsc_prober *p) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, set_up);
  pthread_mutex_lock(&list_lock);
  dsc_list_push(&all, &p->link);
  pthread_mutex_unlock(&list_lock);
}

static void delist(dsc_prober *p) {
  pthread_mutex_lock(&list_lock);
  dsc_list_remove(&p->link);
  pthread_mutex_unlock(&list_lock);
}

/* ------------------------------------------------------------------- rules */

static void free_rule(rule *r) {
  if (!r) return;
  dsc_call_config_unref(r->config);
  dsc_tls_unref(r->tls);
  dsc_mem_free(r);
}

/* Finds the config of an app that wants probes. Returns false without one; else two references. */
static bool find_rule(dsc_prober *p, dsc_str app, dsc_call_config **config, dsc_tls **tls) {
  pthread_mutex_lock(&p->lock);
  const rule *r = dsc_map_get(&p->rules, app);
  if (!r) r = dsc_map_get(&p->rules, DSC_STR_LITERAL("*"));
  bool wanted = r && r->config->probe;
  *config = wanted ? dsc_call_config_ref(r->config) : NULL;
  *tls = wanted ? dsc_tls_ref(r->tls) : NULL;
  pthread_mutex_unlock(&p->lock);
  return wanted;
}

dsc_err dsc_prober_set(dsc_prober *p, dsc_str app, dsc_call_config *config, dsc_tls *tls) {
  rule *r = dsc_mem_zalloc(1, sizeof *r + app.n + 1);
  if (!r) return DSC_ENOMEM;
  memcpy(r->app, app.p, app.n);
  r->n = app.n;
  r->config = dsc_call_config_ref(config);
  r->tls = dsc_tls_ref(tls);
  void *old = NULL;
  pthread_mutex_lock(&p->lock);
  dsc_err err = dsc_map_put(&p->rules, (dsc_str){r->app, r->n}, r, &old);
  pthread_mutex_unlock(&p->lock);
  free_rule(err ? r : old);
  dsc_prober_wake(p);
  return err;
}

/* ------------------------------------------------------------------ probes */

/* A node that was not asked through no fault of its own is due again at once. What is missing (descriptors, memory) is
** not there again at once. */
static void pause_for(dsc_prober *p, dsc_outcome outcome) {
  if (outcome == DSC_OUTCOME_NEUTRAL) p->pause_until_ms = dsc_clock_now_ms() + PAUSE_MS;
}

static void end_job(job *j, dsc_outcome outcome) {
  dsc_prober *p = j->prober;
  pause_for(p, outcome);
  dsc_list_remove(&j->link);
  p->n_jobs--;
  dsc_registry_node_done(p->registry, j->node, outcome, true, p->retry_times);
  dsc_node_unref(j->node);
  dsc_call_config_unref(j->config);
  dsc_tls_unref(j->tls);
  dsc_headers_clear(&j->headers);
  dsc_mem_free(j);
}

static dsc_outcome judge(const dsc_http_answer *answer) {
  if (answer->ours) return DSC_OUTCOME_NEUTRAL;
  bool whole = answer->err == DSC_OK || answer->err == DSC_ETOO_LARGE; /* a long story is a sign of life too */
  return whole && answer->status >= 200 && answer->status < 400 ? DSC_OUTCOME_SUCCESS : DSC_OUTCOME_FAILURE;
}

static void on_done(void *ud, dsc_http_answer *answer) {
  job *j = ud;
  dsc_prober *p = j->prober;
  end_job(j, judge(answer));
  dsc_timer_start(p->timer, 0);
}

static uint32_t timeout_of(const dsc_call_config *config) {
  return config->timeout_ms < TIMEOUT_MS ? config->timeout_ms : TIMEOUT_MS;
}

static void send_probe(dsc_prober *p, dsc_node *node, dsc_call_config *config, dsc_tls *tls) {
  job *j = dsc_mem_zalloc(1, sizeof *j);
  if (!j) {
    pause_for(p, DSC_OUTCOME_NEUTRAL);
    dsc_registry_node_done(p->registry, node, DSC_OUTCOME_NEUTRAL, true, p->retry_times);
    dsc_node_unref(node);
    return;
  }
  *j = (job){.prober = p, .node = node, .config = dsc_call_config_ref(config), .tls = dsc_tls_ref(tls)};
  dsc_headers_init(&j->headers);
  dsc_list_init(&j->link);
  dsc_list_push(&p->jobs, &j->link);
  p->n_jobs++;
  dsc_http_request request = {.method = "GET",
                              .host = node->host,
                              .port = node->port,
                              .addr = node->addr,
                              .target = j->config->probe,
                              .headers = &j->headers,
                              .tls = j->tls,
                              .http2 = config->http2,
                              .timeout_ms = timeout_of(config),
                              .connect_timeout_ms = config->connect_timeout_ms,
                              .max_body = MAX_BODY,
                              .may_repeat = true};
  dsc_http_attempt *attempt;
  if (dsc_http_send(p->http, &request, on_done, j, &attempt, NULL)) end_job(j, DSC_OUTCOME_NEUTRAL);
}

/* Probes what is due of one app. Returns when the next one is, UINT64_MAX: none is isolated. */
static uint64_t probe_app(dsc_prober *p, dsc_table *table) {
  dsc_call_config *config;
  dsc_tls *tls;
  uint64_t next_ms = UINT64_MAX;
  if (!find_rule(p, dsc_table_app(table), &config, &tls)) return next_ms;
  while (p->n_jobs < MAX_JOBS && dsc_clock_now_ms() >= p->pause_until_ms) {
    dsc_node *node = dsc_table_pick_probe(table, timeout_of(config) + SLACK_MS, &next_ms);
    if (!node) break;
    send_probe(p, node, config, tls);
  }
  dsc_call_config_unref(config);
  dsc_tls_unref(tls);
  return p->n_jobs < MAX_JOBS ? next_ms : UINT64_MAX; /* else whoever ends looks again */
}

static void look(void *ud) {
  dsc_prober *p = ud;
  uint64_t next_ms = UINT64_MAX, now_ms = dsc_clock_now_ms();
  size_t count = 0;
  if (now_ms < p->pause_until_ms) {
    dsc_timer_start(p->timer, p->pause_until_ms - now_ms);
    return;
  }
  dsc_table **tables = dsc_directory_list(dsc_registry_directory(p->registry), &count);
  for (size_t i = 0; tables && i < count; i++) {
    uint64_t due_ms = probe_app(p, tables[i]);
    if (due_ms < next_ms) next_ms = due_ms;
    dsc_table_unref(tables[i]);
  }
  dsc_mem_free(tables);
  now_ms = dsc_clock_now_ms();
  if (p->pause_until_ms > now_ms && p->pause_until_ms < next_ms) next_ms = p->pause_until_ms;
  if (!tables && count) next_ms = now_ms + SLACK_MS; /* no memory: later, then */
  if (next_ms == UINT64_MAX) return;
  /* never at once: what could be done now was done */
  dsc_timer_start(p->timer, next_ms > now_ms + 10 ? next_ms - now_ms : 10);
}

/* -------------------------------------------------------------- its thread */

/* Its last act, in its own thread. */
static void at_end(void *ud) {
  dsc_prober *p = ud;
  dsc_http_free(p->http);
  while (!dsc_list_empty(&p->jobs)) end_job(DSC_LIST_ENTRY(p->jobs.next, job, link), DSC_OUTCOME_NEUTRAL);
  dsc_resolver_free(p->resolver);
  dsc_timer_free(p->timer);
}

static void free_rest(dsc_prober *p) {
  size_t at = 0;
  dsc_loop_free(p->loop);
  for (rule *r; (r = dsc_map_next(&p->rules, &at));) free_rule(r);
  dsc_map_clear(&p->rules);
  pthread_mutex_destroy(&p->lock);
  dsc_mem_free(p);
}

static dsc_err start(dsc_prober *p) {
  dsc_err err = DSC_OK;
  if (!(p->loop = dsc_loop_new(&err))) return err;
  p->resolver = dsc_resolver_new(p->loop);
  p->timer = dsc_timer_new(p->loop, look, p);
  p->http = p->resolver && p->timer ? dsc_http_new(p->loop, p->resolver, &err) : NULL;
  if (!p->http) return err ? err : DSC_ENOMEM;
  dsc_loop_on_wake(p->loop, look, p);
  return dsc_loop_start_thread(p->loop, "dsc-prober", at_end, p);
}

dsc_prober *dsc_prober_new(dsc_registry *registry, uint32_t retry_times, dsc_err *err) {
  dsc_prober *p = dsc_mem_zalloc(1, sizeof *p);
  *err = DSC_ENOMEM;
  if (!p) return NULL;
  p->generation = dsc_fork_generation();
  p->registry = registry;
  p->retry_times = retry_times;
  pthread_mutex_init(&p->lock, NULL);
  dsc_map_init(&p->rules);
  dsc_list_init(&p->jobs);
  dsc_list_init(&p->link);
  *err = start(p);
  if (*err == DSC_OK) {
    enlist(p);
    return p;
  }
  at_end(p);
  free_rest(p);
  return NULL;
}

void dsc_prober_wake(dsc_prober *p) {
  dsc_loop_wake(p->loop);
}

void dsc_prober_free(dsc_prober *p) {
  if (!p || dsc_fork_is_stale(p->generation)) return;
  delist(p);
  dsc_loop_quit(p->loop);
  dsc_loop_join(p->loop, -1);
  free_rest(p);
}
