/*
** cluster_node.c - the nodes of a Cluster, a connection to each that is needed, and the search for one that answers.
**
** A search goes round all nodes that are known, those of the string among them: the next one is tried as soon as one
** fails, or when 300 ms passed without an answer. It ends with a map or when nobody is left.
** Invariants: a node is freed only without connection and pipelines, when nothing waits at it and no slot is its own.
** Threads: the loop's.
*/
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "net/cluster_impl.h"

#define NEXT_MS    300
#define MAX_ROUND  48 /* nodes that one search tries */
#define FIRST_WAIT 250
#define TOP_WAIT   2000

dsc_cluster_node *dsc_cluster_need_node(dsc_cluster *c, const dsc_addr *addr, bool is_seed) {
  for (size_t i = 0; i < c->n_nodes; i++)
    if (strcmp(c->nodes[i]->addr.text, addr->text) == 0) return c->nodes[i];
  if (c->n_nodes == DSC_CLUSTER_MAX_NODES) return NULL;
  dsc_cluster_node *node = dsc_mem_zalloc(1, sizeof *node);
  if (!node) return NULL;
  node->cluster = c;
  node->addr = *addr;
  node->is_seed = is_seed;
  dsc_list_init(&node->pending);
  c->nodes[c->n_nodes++] = node;
  return node;
}

dsc_cluster_node *dsc_cluster_any_ready(dsc_cluster *c) {
  size_t start = c->n_nodes ? (size_t)(dsc_random_u64() % c->n_nodes) : 0;
  for (size_t i = 0; i < c->n_nodes; i++) {
    dsc_cluster_node *node = c->nodes[(start + i) % c->n_nodes];
    if (node->ready) return node;
  }
  return NULL;
}

/* ---- connections */

static void on_ready(void *ud) {
  dsc_cluster_node *node = ud;
  dsc_cluster *c = node->cluster;
  if (c->closing) return;
  node->ready = true;
  node->tries = 0;
  node->retry_ms = 0;
  atomic_fetch_add(&c->connects, 1);
  bool renewed = node->was_lost && c->up && !c->searching;
  if (node->was_lost && c->searching) c->renewed = true; /* told with the map */
  node->was_lost = false;
  if (node->name_round != c->name_round) dsc_cluster_introduce(node);
  dsc_cluster_flush(node);
  dsc_cluster_ask_map(c);
  if (renewed) c->events.on_renewed(c->events.ud);
  dsc_cluster_arm(c);
}

static void on_message(void *ud, dsc_str channel, dsc_str text) {
  (void)ud;
  (void)channel;
  (void)text;
}

static void back_off(dsc_cluster_node *node) {
  uint64_t top = node->tries < 3 ? (uint64_t)FIRST_WAIT << node->tries : TOP_WAIT;
  node->tries++;
  node->retry_ms = dsc_clock_now_ms() + dsc_random_between_ms(100, top);
}

static void on_down(void *ud, dsc_redis_down down, const char *why) {
  dsc_cluster_node *node = ud;
  dsc_cluster *c = node->cluster;
  char text[DSC_WHY_MAX];
  snprintf(text, sizeof text, "%s: %s", node->addr.text, why);
  if (node->ready) atomic_fetch_add(&c->disconnects, 1);
  if (node->ready && down != DSC_REDIS_DOWN_CLOSED) node->was_lost = true;
  node->ready = false;
  node->conn = NULL;
  if (down != DSC_REDIS_DOWN_CLOSED) {
    back_off(node);
    c->want_map = true;
  }
  dsc_cluster_put_off(node, text);
  if (c->closing) {
    dsc_cluster_arm(c);
    return;
  }
  if (down != DSC_REDIS_DOWN_CLOSED) dsc_cluster_note_failure(node, down == DSC_REDIS_DOWN_DENIED, why);
  if (c->up && !dsc_cluster_any_ready(c)) dsc_cluster_search(c);
  dsc_cluster_arm(c);
}

static bool open_conn(dsc_cluster_node *node) {
  dsc_cluster *c = node->cluster;
  dsc_redis_conn_options options = {
      .host = node->addr.host,
      .port = node->addr.port,
      .tls = c->tls,
      .user = c->user,
      .password = c->password,
      .name = c->name,
      .connect_timeout_ms = c->connect_timeout_ms,
      .command_timeout_ms = c->command_timeout_ms,
  };
  node->name_round = c->name_round;
  dsc_redis_conn_events events = {node, on_ready, on_message, on_down};
  node->conn = dsc_redis_conn_open(c->loop, c->resolver, &options, &events);
  return node->conn != NULL;
}

bool dsc_cluster_connect(dsc_cluster_node *node) {
  if (node->conn || node->cluster->closing) return node->conn != NULL;
  if (dsc_clock_now_ms() < node->retry_ms) return false;
  return open_conn(node);
}

void dsc_cluster_disconnect(dsc_cluster_node *node) {
  if (!node->conn) return;
  if (node->ready) atomic_fetch_add(&node->cluster->disconnects, 1);
  node->ready = false;
  dsc_redis_conn_close(node->conn);
}

/* ---- the search */

void dsc_cluster_note_failure(dsc_cluster_node *node, bool denied, const char *why) {
  dsc_cluster *c = node->cluster;
  if (!c->searching) return;
  node->failed = c->round;
  c->denied |= denied;
  dsc_fail(&c->why, DSC_EREGISTRY, "%s: %s", node->addr.text, why);
  dsc_cluster_search_on(c);
}

void dsc_cluster_search(dsc_cluster *c) {
  if (c->searching || c->closing) return;
  c->searching = c->want_map = true;
  c->denied = false;
  c->why.text[0] = '\0';
  c->round++;
  c->first = c->n_nodes ? (size_t)(dsc_random_u64() % c->n_nodes) : 0;
  dsc_cluster_search_on(c);
}

/* Finds the next node to try. Fails: NULL: none; `*open` tells whether answers are still to come. */
static dsc_cluster_node *next_node(dsc_cluster *c, bool *open) {
  dsc_cluster_node *next = NULL;
  size_t tried = 0;
  *open = c->asking;
  for (size_t i = 0; i < c->n_nodes; i++) {
    dsc_cluster_node *node = c->nodes[(c->first + i) % c->n_nodes];
    if (node->failed == c->round) {
      tried++;
    } else if (node->conn) {
      *open = true;
    } else if (!next) {
      next = node;
    }
  }
  return tried < MAX_ROUND ? next : NULL;
}

void dsc_cluster_search_on(dsc_cluster *c) {
  bool open;
  if (!c->searching || c->closing) return;
  dsc_cluster_ask_map(c);
  dsc_cluster_node *node = next_node(c, &open);
  uint64_t now = dsc_clock_now_ms();
  if (node && !(open && now < c->next_ms)) {
    c->next_ms = now + NEXT_MS;
    if (!open_conn(node)) node->failed = c->round;
  }
  dsc_cluster_arm(c);
}

/* ---- tidying */

static bool is_idle(const dsc_cluster_node *node) {
  return node->in_flight == 0 && dsc_list_empty(&node->pending);
}

static void forget(dsc_cluster *c, size_t at) {
  dsc_mem_free(c->nodes[at]);
  c->nodes[at] = c->nodes[--c->n_nodes];
}

void dsc_cluster_tidy(dsc_cluster *c) {
  bool needed = false; /* somebody who serves slots is connected */
  for (size_t i = 0; i < c->n_nodes; i++) needed |= c->nodes[i]->ready && c->nodes[i]->serves;
  for (size_t i = c->n_nodes; i-- > 0;) {
    dsc_cluster_node *node = c->nodes[i];
    if (node->serves || !is_idle(node)) continue;
    if (needed) dsc_cluster_disconnect(node);
    if (!node->conn && !node->is_seed && !node->is_listed) forget(c, i);
  }
}
