/*
** cluster_map.c - CLUSTER SLOTS: which node serves which slots.
**
** The answer is an array of [first, last, [host, port, ...], [host, port, ...] ...]: a range, who serves it, its
** replicas (Redis Cluster specification; CLUSTER SLOTS). It is looked through before anything of it is believed. An
** empty one (of a node that was made anew) is never believed: another node is asked. Asked at most once a second.
** Threads: the loop's.
*/
#include "base/clock.h"
#include "net/cluster_impl.h"

#define BETWEEN_MS   1000
#define MAX_RANGES   DSC_CLUSTER_SLOTS
#define MAX_MENTIONS 65536 /* of nodes, in all ranges: more would hold the loop for seconds */

/* ---- understanding */

static dsc_err read_node(dsc_addr *addr, const dsc_redis_reply *node, const dsc_addr *asked) {
  if (node->type != DSC_REDIS_ARRAY || node->count < 2 || node->items[1]->type != DSC_REDIS_INTEGER)
    return DSC_EPROTOCOL;
  const dsc_redis_reply *host = node->items[0];
  if (host->type != DSC_REDIS_STRING && host->type != DSC_REDIS_NIL) return DSC_EPROTOCOL;
  dsc_str name = host->type == DSC_REDIS_STRING ? host->str : dsc_str_of("");
  return dsc_cluster_node_addr(addr, name, node->items[1]->integer, asked);
}

static dsc_err walk_range(const dsc_redis_reply *range, const dsc_addr *asked, dsc_cluster_range_fn fn, void *ud) {
  if (range->type != DSC_REDIS_ARRAY || range->count < 3) return DSC_EPROTOCOL;
  const dsc_redis_reply *first = range->items[0], *last = range->items[1];
  if (first->type != DSC_REDIS_INTEGER || last->type != DSC_REDIS_INTEGER) return DSC_EPROTOCOL;
  if (first->integer < 0 || first->integer > last->integer || last->integer >= DSC_CLUSTER_SLOTS) return DSC_EPROTOCOL;
  dsc_err err = DSC_OK;
  for (size_t i = 2; i < range->count && !err; i++) {
    dsc_addr addr;
    bool is_replica = i > 2;
    err = read_node(&addr, range->items[i], asked);
    if (err && is_replica) { /* of a replica that is not known yet; nobody needs it */
      err = DSC_OK;
      continue;
    }
    if (!err && fn) err = fn(ud, is_replica ? 1 : (int)first->integer, is_replica ? 0 : (int)last->integer, &addr);
  }
  return err;
}

dsc_err dsc_cluster_walk(const dsc_redis_reply *reply, const dsc_addr *asked, dsc_cluster_range_fn fn, void *ud) {
  if (reply->type != DSC_REDIS_ARRAY || reply->count == 0 || reply->count > MAX_RANGES) return DSC_EPROTOCOL;
  size_t mentions = 0; /* and two numbers a range */
  for (size_t i = 0; i < reply->count; i++) mentions += reply->items[i]->count;
  dsc_err err = mentions > MAX_MENTIONS + 2 * reply->count ? DSC_EPROTOCOL : DSC_OK;
  for (size_t i = 0; i < reply->count && !err; i++) err = walk_range(reply->items[i], asked, fn, ud);
  return err;
}

/* ---- applying */

/* Gives up nodes that the map has not named so far: redirects may have filled all places with strange ones. A slot that
** loses its node here gets one in the rest of the map. */
static void make_room(dsc_cluster *c) {
  for (int slot = 0; slot < DSC_CLUSTER_SLOTS; slot++) {
    if (!c->owner[slot] || c->owner[slot]->is_listed) continue;
    if (c->owner[slot]->was_lost) c->renewed = true;
    c->owner[slot] = NULL;
  }
  dsc_cluster_tidy(c);
}

static dsc_err apply_range(void *ud, int first, int last, const dsc_addr *addr) {
  dsc_cluster *c = ud;
  dsc_cluster_node *node = dsc_cluster_need_node(c, addr, false);
  if (!node && first <= last && c->n_nodes == DSC_CLUSTER_MAX_NODES) {
    make_room(c);
    node = dsc_cluster_need_node(c, addr, false);
  }
  if (!node) return first > last ? DSC_OK : DSC_ENOMEM;
  node->is_listed = true;
  for (int slot = first; slot <= last; slot++) {
    dsc_cluster_node *old = c->owner[slot];
    /* somebody took over from a node that went: what that node was told last may be lost */
    if (old && old != node && old->was_lost) c->renewed = true;
    c->owner[slot] = node;
    node->serves = true;
  }
  return DSC_OK;
}

static dsc_err apply(dsc_cluster *c, const dsc_redis_reply *reply, const dsc_addr *asked) {
  for (size_t i = 0; i < c->n_nodes; i++) c->nodes[i]->is_listed = c->nodes[i]->serves = false;
  dsc_err err = dsc_cluster_walk(reply, asked, apply_range, c);
  /* a slot that the answer leaves out keeps its node, which will say who has it now */
  for (int slot = 0; slot < DSC_CLUSTER_SLOTS; slot++)
    if (c->owner[slot]) c->owner[slot]->serves = true;
  return err;
}

static void tell(dsc_cluster *c) {
  bool came_up = !c->up, renewed = c->renewed && c->up;
  c->up = true;
  c->renewed = false;
  c->events.on_map(c->events.ud);
  if (came_up) {
    c->events.on_up(c->events.ud);
  } else if (renewed) {
    c->events.on_renewed(c->events.ud);
  }
}

static bool is_denial(dsc_str error) {
  return dsc_str_starts(error, DSC_STR_LITERAL("NOPERM")) || dsc_str_starts(error, DSC_STR_LITERAL("NOAUTH"));
}

static void on_map(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  dsc_cluster_node *node = ud;
  dsc_cluster *c = node->cluster;
  dsc_redis_reply *reply = err ? NULL : replies[0];
  (void)n;
  c->asking = false;
  node->in_flight--;
  if (c->closing) {
    /* of no use any more */
  } else if (err) {
    dsc_cluster_note_failure(node, false, why);
  } else if (reply->type == DSC_REDIS_ERROR) {
    dsc_cluster_note_failure(node, is_denial(reply->str), reply->str.p);
  } else if (dsc_cluster_walk(reply, &node->addr, NULL, NULL) || apply(c, reply, &node->addr)) {
    dsc_cluster_note_failure(node, false, "it cannot say which node serves which slots");
  } else {
    c->want_map = c->searching = false;
    dsc_cluster_tidy(c);
    tell(c);
    dsc_cluster_send_later(c);
  }
  dsc_cluster_arm(c);
}

/* ---- asking */

static dsc_cluster_node *choose(dsc_cluster *c) {
  dsc_cluster_node *node = dsc_cluster_any_ready(c);
  if (!c->searching || !node || node->failed != c->round) return node;
  for (size_t i = 0; i < c->n_nodes; i++)
    if (c->nodes[i]->ready && c->nodes[i]->failed != c->round) return c->nodes[i];
  return NULL;
}

void dsc_cluster_ask_map(dsc_cluster *c) {
  uint64_t now = dsc_clock_now_ms();
  if (!c->want_map || c->asking || c->closing) return;
  if (c->up && c->asked_ms && now < c->asked_ms + BETWEEN_MS) return;
  dsc_cluster_node *node = choose(c);
  if (!node) return;
  dsc_str words[] = {DSC_STR_LITERAL("CLUSTER"), DSC_STR_LITERAL("SLOTS")};
  dsc_redis_command command = {2, words};
  if (dsc_redis_conn_send(node->conn, &command, 1, on_map, node) != DSC_OK) return;
  node->in_flight++;
  c->asking = true;
  c->asked_ms = now;
}
