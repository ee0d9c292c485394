/*
** cluster.c - the client of a Redis Cluster: begin, end, its one timer.
**
** The timer runs while something waits: commands that were put aside, a map that is wanted, a search. Events and
** completions come from it and from the connections, never from inside a public function.
** Threads: the loop's.
*/
#include "net/cluster.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "net/cluster_impl.h"

#define TICK_MS 50

void dsc_cluster_arm(dsc_cluster *c) {
  bool waits =
      c->closing ? !dsc_list_empty(&c->batches) : c->searching || (c->up && c->want_map) || !dsc_list_empty(&c->later);
  if (!waits || c->ticking) return;
  c->ticking = true;
  dsc_timer_start(c->timer, c->closing ? 0 : TICK_MS);
}

static bool is_round_over(dsc_cluster *c) {
  bool any = c->asking;
  for (size_t i = 0; i < c->n_nodes; i++) any |= c->nodes[i]->conn && c->nodes[i]->failed != c->round;
  return c->searching && !any;
}

static void give_up(dsc_cluster *c) {
  dsc_why why = c->why;
  bool denied = c->denied;
  c->searching = c->up = false;
  if (!why.text[0]) dsc_fail(&why, DSC_EREGISTRY, "no node of the Cluster can be reached");
  /* a node that answers, but not this, is connected to anew in the next round */
  for (size_t i = 0; i < c->n_nodes; i++) dsc_cluster_disconnect(c->nodes[i]);
  dsc_cluster_expire(c, true, DSC_EREGISTRY, why.text);
  c->events.on_down(c->events.ud, denied, why.text);
}

static void on_timer(void *ud) {
  dsc_cluster *c = ud;
  c->ticking = false;
  if (c->closing) {
    dsc_cluster_expire(c, true, DSC_ECLOSED, "closed");
    return;
  }
  dsc_cluster_expire(c, false, DSC_ETIMEOUT, "no node of the Cluster answered in time");
  dsc_cluster_search_on(c);
  if (is_round_over(c)) give_up(c);
  dsc_cluster_ask_map(c);
  if (c->up) dsc_cluster_send_later(c);
  dsc_cluster_arm(c);
}

static dsc_err add_seeds(dsc_cluster *c, const dsc_cluster_options *options) {
  dsc_err err = DSC_OK;
  for (size_t i = 0; i < options->n_hosts && !err; i++) {
    dsc_addr addr, none = {.host = ""};
    err = dsc_cluster_node_addr(&addr, dsc_str_of(options->hosts[i].name), options->hosts[i].port, &none);
    if (!err && !dsc_cluster_need_node(c, &addr, true)) err = DSC_ENOMEM;
  }
  return err;
}

dsc_cluster *dsc_cluster_new(dsc_loop *loop, dsc_resolver *resolver, const dsc_cluster_options *options,
                             const dsc_cluster_events *events) {
  dsc_cluster *c = dsc_mem_zalloc(1, sizeof *c);
  if (!c) return NULL;
  c->loop = loop;
  c->resolver = resolver;
  c->events = *events;
  c->tls = dsc_tls_ref(options->tls);
  c->user = options->user;
  c->password = dsc_secret_ref(options->password);
  c->connect_timeout_ms = options->connect_timeout_ms;
  c->command_timeout_ms = options->command_timeout_ms;
  snprintf(c->name, sizeof c->name, "%s", options->name);
  dsc_list_init(&c->batches);
  dsc_list_init(&c->later);
  c->timer = dsc_timer_new(loop, on_timer, c);
  if (c->timer && add_seeds(c, options) == DSC_OK) return c;
  dsc_cluster_free(c);
  return NULL;
}

void dsc_cluster_start(dsc_cluster *c) {
  if (!c->up) dsc_cluster_search(c);
}

bool dsc_cluster_get_live(dsc_cluster *c, const char *last, dsc_addr *addr) {
  const dsc_cluster_node *best = NULL;
  int best_rank = -1;
  size_t start = c->n_nodes ? (size_t)(dsc_random_u64() % c->n_nodes) : 0;
  uint64_t now = dsc_clock_now_ms();
  for (size_t i = 0; i < c->n_nodes; i++) {
    const dsc_cluster_node *node = c->nodes[(start + i) % c->n_nodes];
    bool well = !node->was_lost && now >= node->retry_ms;
    int rank = well * 8 + node->is_listed * 4 + (strcmp(node->addr.text, last) != 0) * 2 + node->ready;
    if (rank <= best_rank) continue;
    best = node;
    best_rank = rank;
  }
  if (best) *addr = best->addr;
  return best != NULL;
}

bool dsc_cluster_has(const dsc_cluster *c, const char *addr) {
  for (size_t i = 0; i < c->n_nodes; i++)
    if (c->nodes[i]->is_listed && strcmp(c->nodes[i]->addr.text, addr) == 0) return true;
  return false;
}

/* Any answer will do. */
static void on_named(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  (void)ud;
  (void)err;
  (void)why;
  (void)replies;
  (void)n;
}

void dsc_cluster_introduce(dsc_cluster_node *node) {
  dsc_str words[] = {DSC_STR_LITERAL("CLIENT"), DSC_STR_LITERAL("SETNAME"), dsc_str_of(node->cluster->name)};
  dsc_redis_command command = {3, words};
  dsc_err err = dsc_redis_conn_send(node->conn, &command, 1, on_named, node);
  (void)err; /* a courtesy */
}

void dsc_cluster_set_name(dsc_cluster *c, const char *name) {
  snprintf(c->name, sizeof c->name, "%s", name);
  c->name_round++;
  for (size_t i = 0; i < c->n_nodes; i++)
    if (c->nodes[i]->ready) dsc_cluster_introduce(c->nodes[i]);
}

void dsc_cluster_count(const dsc_cluster *c, uint64_t *connects, uint64_t *disconnects) {
  *connects += atomic_load(&c->connects);
  *disconnects += atomic_load(&c->disconnects);
}

void dsc_cluster_close(dsc_cluster *c) {
  if (c->closing) return;
  c->closing = true;
  for (size_t i = 0; i < c->n_nodes; i++) dsc_cluster_disconnect(c->nodes[i]);
  c->ticking = false; /* what was put aside ends in the next round of the loop, not when a tick would be due */
  dsc_cluster_arm(c);
}

bool dsc_cluster_is_closed(const dsc_cluster *c) {
  for (size_t i = 0; i < c->n_nodes; i++)
    if (c->nodes[i]->conn) return false;
  return dsc_list_empty(&c->batches);
}

void dsc_cluster_free(dsc_cluster *c) {
  if (!c) return;
  for (size_t i = 0; i < c->n_nodes; i++) dsc_mem_free(c->nodes[i]);
  dsc_timer_free(c->timer);
  dsc_tls_unref(c->tls);
  dsc_secret_unref(c->password);
  dsc_mem_free(c);
}
