/*
** cluster_send.c - commands to the nodes that serve their keys.
**
** A command waits at its node until that is connected and then goes out in one pipeline with all that wait there; it
** is put aside (`later`) while its node cannot be reached, nobody serves its slot, or the answer was that the Cluster
** cannot say now. Whatever is aside is tried again with every new map and every tick, until its batch's deadline.
**
** Invariants: an item that waits is in exactly one list; `in_flight` of a batch counts its items in pipelines; a batch
** ends in complete() alone, with nothing in flight. A completion may send: nothing is iterated across one that it could
** change. Threads: the loop's.
*/
#include "base/clock.h"
#include "base/mem.h"
#include "net/cluster_impl.h"

#define MAX_PIPELINE 16384               /* commands */
#define MAX_BYTES    (4 * 1024 * 1024UL) /* of a pipeline, one command more: a connection takes no 64 MB at once */

/* A pipeline under way. */
typedef struct part {
  dsc_cluster_node *node;
  size_t n;
  struct {
    dsc_cluster_item *item;
    size_t at; /* its reply */
  } sent[];
} part;

static void dispatch(dsc_cluster_item *item);

static void flush_all(dsc_cluster *c) {
  for (size_t i = 0; i < c->n_nodes; i++) dsc_cluster_flush(c->nodes[i]);
}

/* ---- the end of a batch */

static void complete(dsc_cluster_batch *b) {
  dsc_list_remove(&b->link);
  b->cluster->n_items -= b->n;
  if (b->err) {
    b->done(b->ud, b->err, b->why.text, NULL, 0);
  } else {
    b->done(b->ud, DSC_OK, "", b->replies, b->answered);
  }
  for (size_t i = 0; i < b->n; i++) dsc_redis_reply_free(b->replies[i]);
  dsc_mem_free(b->replies);
  dsc_mem_free(b->words);
  dsc_mem_free(b->bytes);
  dsc_mem_free(b);
}

/* `err` DSC_OK: look only whether it has ended. */
static void settle(dsc_cluster_batch *b, dsc_err err) {
  if (err && !b->err) {
    b->err = err;
    for (size_t i = 0; i < b->n; i++) dsc_list_remove(&b->items[i].link);
  }
  if (b->in_flight > 0) return;
  bool refused = b->ordered && b->answered > 0 && b->replies[b->answered - 1]->type == DSC_REDIS_ERROR;
  if (b->err || refused || b->answered == b->n) complete(b);
}

void dsc_cluster_expire(dsc_cluster *c, bool all, dsc_err err, const char *why) {
  uint64_t now = dsc_clock_now_ms();
  dsc_link list;
  dsc_list_init(&list);
  dsc_list_move(&list, &c->batches); /* completions may add others */
  for (dsc_link *link; (link = dsc_list_pop(&list));) {
    dsc_cluster_batch *b = DSC_LIST_ENTRY(link, dsc_cluster_batch, link);
    dsc_list_push(&c->batches, &b->link);
    if (b->err || (!all && (now < b->deadline_ms || b->in_flight > 0))) continue;
    if (all || !b->why.text[0]) dsc_fail(&b->why, err, "%s", why);
    settle(b, err);
  }
}

/* ---- answers */

/* Once more, but not at once. */
static void put_aside(dsc_cluster_item *item, dsc_err err, const char *why) {
  dsc_cluster_batch *b = item->batch;
  dsc_fail(&b->why, err, "%s", why);
  item->to = NULL;
  item->redirects = 0;
  if (b->cluster->closing) {
    settle(b, DSC_ECLOSED);
  } else if (b->err || dsc_clock_now_ms() >= b->deadline_ms) {
    settle(b, err);
  } else {
    dsc_list_push(&b->cluster->later, &item->link);
    b->cluster->want_map = true;
  }
}

static void redirect(dsc_cluster_item *item, const dsc_redirect *where) {
  dsc_cluster_batch *b = item->batch;
  dsc_cluster *c = b->cluster;
  if (where->slot != item->slot || item->redirects == DSC_CLUSTER_MAX_REDIRECTS) {
    const char *what = where->slot == item->slot ? "redirected more than 5 times, the last time" : "an odd redirect";
    dsc_fail(&b->why, DSC_EREGISTRY, "slot %u: %s to %s", item->slot, what, where->addr.text);
    c->want_map = true;
    settle(b, DSC_EREGISTRY);
    return;
  }
  dsc_cluster_node *node = dsc_cluster_need_node(c, &where->addr, false);
  if (!node) {
    dsc_fail(&b->why, DSC_EREGISTRY, "redirected to %s: too many nodes, or no memory", where->addr.text);
    c->want_map = true; /* makes room */
    settle(b, DSC_EREGISTRY);
    return;
  }
  item->redirects++;
  if (where->kind == DSC_REDIRECT_ASK) {
    item->to = node;
  } else {
    c->owner[where->slot] = node;
    node->serves = true;
    c->want_map = true;
  }
  dispatch(item);
}

/* True for what the same command may not be answered with in a moment. */
static bool may_pass(dsc_str error) {
  static const char *const starts[] = {"CLUSTERDOWN", "TRYAGAIN", "LOADING", "MASTERDOWN", "READONLY"};
  for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
    if (dsc_str_starts(error, dsc_str_of(starts[i]))) return true;
  }
  return false;
}

static void take(dsc_cluster_item *item, dsc_redis_reply *reply) {
  dsc_cluster_batch *b = item->batch;
  b->replies[item->at] = reply;
  b->answered++;
  if (!b->err && b->ordered && reply->type != DSC_REDIS_ERROR && b->answered < b->n) {
    dispatch(&b->items[b->answered]);
  } else {
    settle(b, DSC_OK);
  }
}

/* Judges an answer; takes the reply or leaves it to be freed. Returns whether it was taken. */
static bool judge(dsc_cluster_item *item, const dsc_addr *from, dsc_redis_reply *reply) {
  dsc_cluster_batch *b = item->batch;
  dsc_redirect where = {.kind = DSC_REDIRECT_NONE};
  dsc_why why;
  dsc_err err = DSC_OK;
  if (reply->type == DSC_REDIS_ERROR) err = dsc_cluster_read_redirect(&where, reply->str, from, &why);
  if (b->err || b->cluster->closing) {
    settle(b, DSC_ECLOSED);
  } else if (err) {
    b->why = why;
    settle(b, err);
  } else if (where.kind != DSC_REDIRECT_NONE) {
    redirect(item, &where);
  } else if (reply->type == DSC_REDIS_ERROR && may_pass(reply->str)) {
    put_aside(item, DSC_EREGISTRY, reply->str.p);
  } else {
    take(item, reply);
    return true;
  }
  return false;
}

static void on_answers(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  part *p = ud;
  dsc_cluster_node *node = p->node;
  dsc_cluster *c = node->cluster;
  dsc_addr from = node->addr;
  (void)n;
  for (size_t i = 0; i < p->n; i++) {
    dsc_cluster_item *item = p->sent[i].item;
    dsc_redis_reply **reply = err ? NULL : &replies[p->sent[i].at];
    item->batch->in_flight--;
    if (err) {
      put_aside(item, err, why);
    } else if (judge(item, &from, *reply)) {
      *reply = NULL;
    }
  }
  dsc_mem_free(p);
  node->in_flight--;
  flush_all(c);
  dsc_cluster_ask_map(c);
  dsc_cluster_arm(c);
}

/* ---- sending */

static const dsc_str asking_word = {"ASKING", 6};

/* Fills the pipeline with what waits. Returns the number of commands, ASKINGs among them. */
static size_t fill(part *p, dsc_redis_command *commands, size_t n) {
  size_t at = 0;
  while (p->n < n) {
    dsc_cluster_item *item = DSC_LIST_ENTRY(dsc_list_pop(&p->node->pending), dsc_cluster_item, link);
    if (item->to) commands[at++] = (dsc_redis_command){1, &asking_word};
    item->to = NULL;
    p->sent[p->n].item = item;
    p->sent[p->n++].at = at;
    commands[at++] = item->command;
  }
  return at;
}

static size_t count_pending(const dsc_cluster_node *node) {
  size_t n = 0, bytes = 0;
  for (dsc_link *link = node->pending.next; link != &node->pending; link = link->next) {
    const dsc_redis_command *command = &DSC_LIST_ENTRY(link, dsc_cluster_item, link)->command;
    if (n == MAX_PIPELINE || bytes >= MAX_BYTES) break;
    for (size_t i = 0; i < command->n; i++) bytes += command->words[i].n;
    n++;
  }
  return n;
}

static bool flush_some(dsc_cluster_node *node) {
  size_t n = count_pending(node);
  part *p = dsc_mem_alloc(sizeof *p + n * sizeof p->sent[0]);
  dsc_redis_command *commands = dsc_mem_alloc(2 * n * sizeof *commands);
  dsc_err err = p && commands ? DSC_OK : DSC_ENOMEM;
  if (!err) {
    p->node = node;
    p->n = 0;
    err = dsc_redis_conn_send(node->conn, commands, fill(p, commands, n), on_answers, p);
    for (size_t i = 0; i < n; i++) {
      dsc_cluster_item *item = p->sent[i].item;
      if (err) {
        dsc_list_push(&node->cluster->later, &item->link);
      } else {
        item->batch->in_flight++;
      }
    }
  }
  dsc_mem_free(commands);
  if (err) {
    dsc_mem_free(p);
    dsc_cluster_put_off(node, dsc_err_text(err));
    return false;
  }
  node->in_flight++;
  return true;
}

void dsc_cluster_flush(dsc_cluster_node *node) {
  while (node->ready && !dsc_list_empty(&node->pending) && flush_some(node)) {}
}

/* Notes why a command waits; its deadline will tell. */
static void wait_later(dsc_cluster_item *item, const char *why) {
  dsc_cluster *c = item->batch->cluster;
  if (!item->batch->why.text[0] || why[0]) dsc_fail(&item->batch->why, DSC_EREGISTRY, "%s", why);
  item->to = NULL;
  item->redirects = 0;
  dsc_list_push(&c->later, &item->link);
  c->want_map = true;
}

void dsc_cluster_put_off(dsc_cluster_node *node, const char *why) {
  for (dsc_link *link; (link = dsc_list_pop(&node->pending));) {
    wait_later(DSC_LIST_ENTRY(link, dsc_cluster_item, link), why);
  }
}

/* Finds a place for an item to wait at: its node, or aside. Calls nobody. */
static void dispatch(dsc_cluster_item *item) {
  dsc_cluster *c = item->batch->cluster;
  dsc_cluster_node *node = item->to ? item->to : c->owner[item->slot];
  dsc_why why;
  bool can = node && dsc_cluster_connect(node);
  if (!can && item->anywhere) {
    node = dsc_cluster_any_ready(c);
    can = node != NULL;
    item->to = NULL;
  }
  if (can) {
    dsc_list_push(&node->pending, &item->link);
    return;
  }
  if (!node) dsc_fail(&why, DSC_EREGISTRY, "no node of the Cluster serves slot %u", item->slot);
  wait_later(item, node ? "" : why.text);
}

void dsc_cluster_send_later(dsc_cluster *c) {
  dsc_link list;
  dsc_list_init(&list);
  dsc_list_move(&list, &c->later);
  for (dsc_link *link; (link = dsc_list_pop(&list));) dispatch(DSC_LIST_ENTRY(link, dsc_cluster_item, link));
  flush_all(c);
}

/* ---- batches */

static void copy_commands(dsc_cluster_batch *b, const dsc_redis_command *commands) {
  dsc_str *word = b->words;
  char *byte = b->bytes;
  for (size_t i = 0; i < b->n; i++) {
    dsc_cluster_item *item = &b->items[i];
    dsc_list_init(&item->link);
    item->batch = b;
    item->at = i;
    item->command = (dsc_redis_command){commands[i].n, word};
    for (size_t w = 0; w < commands[i].n; w++, word++) {
      *word = (dsc_str){byte, commands[i].words[w].n};
      if (word->n) memcpy(byte, commands[i].words[w].p, word->n);
      byte += word->n;
    }
    item->slot = dsc_cluster_slot(item->command.words[1]);
    item->anywhere = dsc_str_equal(item->command.words[0], DSC_STR_LITERAL("PUBLISH"));
  }
}

static dsc_cluster_batch *new_batch(dsc_cluster *c, const dsc_redis_command *commands, size_t n) {
  size_t words = 0, bytes = 0;
  for (size_t i = 0; i < n; i++) {
    words += commands[i].n;
    for (size_t w = 0; w < commands[i].n; w++) bytes += commands[i].words[w].n;
  }
  dsc_cluster_batch *b = dsc_mem_zalloc(1, sizeof *b + n * sizeof b->items[0]);
  if (!b) return NULL;
  b->cluster = c;
  b->n = n;
  b->replies = dsc_mem_zalloc(n, sizeof *b->replies);
  b->words = dsc_mem_zalloc(words, sizeof *b->words);
  b->bytes = dsc_mem_alloc(bytes + 1);
  if (b->replies && b->words && b->bytes) {
    copy_commands(b, commands);
    return b;
  }
  dsc_mem_free(b->replies);
  dsc_mem_free(b->words);
  dsc_mem_free(b->bytes);
  dsc_mem_free(b);
  return NULL;
}

dsc_err dsc_cluster_send(dsc_cluster *c, const dsc_redis_command *commands, size_t n, bool ordered, dsc_redis_done done,
                         void *ud) {
  if (!c->up || c->closing || n == 0) return DSC_EREGISTRY;
  if (n > DSC_CLUSTER_MAX_COMMANDS - c->n_items) return DSC_ETOO_LARGE;
  dsc_cluster_batch *b = new_batch(c, commands, n);
  if (!b) return DSC_ENOMEM;
  b->ordered = ordered;
  b->done = done;
  b->ud = ud;
  b->deadline_ms = dsc_clock_now_ms() + c->command_timeout_ms;
  c->n_items += n;
  dsc_list_init(&b->link);
  dsc_list_push(&c->batches, &b->link);
  for (size_t i = 0; i < (ordered ? 1 : n); i++) dispatch(&b->items[i]);
  flush_all(c);
  dsc_cluster_arm(c);
  return DSC_OK;
}
