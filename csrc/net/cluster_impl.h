/*
** cluster_impl.h - what the files of the Cluster's client share.
**
**   cluster.c       begin, end, the one timer
**   cluster_send.c  commands: which node, in one pipeline each, again after redirects and trouble
**   cluster_node.c  nodes and their connections; looking for one that answers
**   cluster_map.c   CLUSTER SLOTS: asking, understanding, applying
*/
#ifndef DSC_NET_CLUSTER_IMPL_H
#define DSC_NET_CLUSTER_IMPL_H

#include <stdatomic.h>

#include "base/list.h"
#include "model/cluster_slot.h"
#include "net/cluster.h"

#define DSC_CLUSTER_NAME_MAX 200

typedef struct dsc_cluster_node {
  /* constant */
  dsc_cluster *cluster;
  dsc_addr addr;
  bool is_seed;
  /* loop's thread only */
  dsc_redis_conn *conn; /* NULL: none */
  bool ready;
  bool is_listed;      /* of the Cluster: it is in the last map */
  bool serves;         /* some slot */
  bool was_lost;       /* was ready, then went; not ready since */
  uint32_t failed;     /* the last round in which it could not tell the map */
  uint32_t tries;      /* that failed in a row */
  uint64_t retry_ms;   /* not connected to before that, for commands */
  dsc_link pending;    /* commands that wait to be sent to it */
  size_t in_flight;    /* pipelines */
  uint32_t name_round; /* of the name that the connection began with */
} dsc_cluster_node;

/* Commands that were given together. */
typedef struct dsc_cluster_batch dsc_cluster_batch;

/* One command. In a node's `pending`, in the cluster's `later`, or in flight, or answered, or its turn has not come. */
typedef struct dsc_cluster_item {
  dsc_link link;
  dsc_cluster_batch *batch;
  dsc_cluster_node *to; /* after ASK: send it there, this once */
  size_t at;            /* index in its batch */
  uint16_t slot;
  uint8_t redirects;
  bool anywhere; /* any node will do */
  dsc_redis_command command;
} dsc_cluster_item;

struct dsc_cluster_batch {
  dsc_link link;
  dsc_cluster *cluster;
  dsc_redis_done done;
  void *ud;
  uint64_t deadline_ms;
  bool ordered;
  size_t n, answered, in_flight;
  dsc_err err; /* it has failed: ends when nothing is in flight */
  dsc_why why; /* the last trouble */
  dsc_redis_reply **replies;
  dsc_str *words;
  char *bytes;
  dsc_cluster_item items[];
};

struct dsc_cluster {
  /* constant */
  dsc_loop *loop;
  dsc_resolver *resolver;
  dsc_cluster_events events;
  dsc_tls *tls;
  const char *user;
  dsc_secret *password;
  uint32_t connect_timeout_ms, command_timeout_ms;
  dsc_timer *timer;
  /* loop's thread only */
  char name[DSC_CLUSTER_NAME_MAX];
  uint32_t name_round; /* counts names */
  dsc_cluster_node *nodes[DSC_CLUSTER_MAX_NODES];
  size_t n_nodes;
  dsc_cluster_node *owner[DSC_CLUSTER_SLOTS]; /* NULL: nobody */
  dsc_link batches, later;
  size_t n_items;
  bool up;           /* told so */
  bool searching;    /* looks for a node that tells the map */
  uint32_t round;    /* of that search */
  size_t first;      /* of the nodes, in that round */
  uint64_t next_ms;  /* when the search tries one more beside those under way */
  bool want_map;     /* to be asked for */
  bool asking;       /* CLUSTER SLOTS is under way */
  bool renewed;      /* to be told */
  uint64_t asked_ms; /* when it was last asked for; 0: never */
  bool denied;       /* in this round */
  dsc_why why;       /* of this round's last failure */
  bool ticking;      /* the timer runs */
  bool closing;
  /* any thread */
  atomic_uint_fast64_t connects, disconnects;
};

/* ---- cluster.c */

/* Tells a node that is ready the present name. Loop thread. */
void dsc_cluster_introduce(dsc_cluster_node *node);

/* Sees to it that what is due will be done: soon, if something waits. Loop thread. */
void dsc_cluster_arm(dsc_cluster *c);

/* ---- cluster_send.c */

/* Sends what waits for a node that is ready. Loop thread. */
void dsc_cluster_flush(dsc_cluster_node *node);

/* Puts what waits for a node aside, after it could not be reached. Loop thread. */
void dsc_cluster_put_off(dsc_cluster_node *node, const char *why);

/* Tries again what was put aside. Loop thread. */
void dsc_cluster_send_later(dsc_cluster *c);

/* Ends what has waited too long (`all`: everything that waits) with `err`; what is in flight ends with its answer.
** Loop thread. */
void dsc_cluster_expire(dsc_cluster *c, bool all, dsc_err err, const char *why);

/* ---- cluster_node.c */

/* Finds a node or makes it. Loop thread. Fails: NULL: out of memory, or there are too many. */
dsc_cluster_node *dsc_cluster_need_node(dsc_cluster *c, const dsc_addr *addr, bool is_seed);

/* Connects to it, unless that is under way. Loop thread. Fails: false: not now. */
bool dsc_cluster_connect(dsc_cluster_node *node);

/* Ends its connection, if it has one. Loop thread. */
void dsc_cluster_disconnect(dsc_cluster_node *node);

/* Returns a node that is ready, by chance. Loop thread. Fails: NULL: none is. */
dsc_cluster_node *dsc_cluster_any_ready(dsc_cluster *c);

/* Begins a round of search, if none is under way. Loop thread. */
void dsc_cluster_search(dsc_cluster *c);

/* Goes on searching: the next node, or the end of the round. Loop thread. */
void dsc_cluster_search_on(dsc_cluster *c);

/* A node could not tell the map. Loop thread. */
void dsc_cluster_note_failure(dsc_cluster_node *node, bool denied, const char *why);

/* Drops nodes and connections that are no longer of use. Loop thread. */
void dsc_cluster_tidy(dsc_cluster *c);

/* ---- cluster_map.c */

typedef dsc_err (*dsc_cluster_range_fn)(void *ud, int first, int last, const dsc_addr *addr);

/* Calls fn for each range of slots of an answer to CLUSTER SLOTS, and for its replicas (`first` > `last`). `fn` NULL:
** only looks whether all of it makes sense. Fails: DSC_EPROTOCOL, or what fn says. Any thread. */
dsc_err dsc_cluster_walk(const dsc_redis_reply *reply, const dsc_addr *asked, dsc_cluster_range_fn fn, void *ud);

/* Asks for the map if it is wanted, somebody is there to be asked, and the last question is a second old. Loop
** thread. */
void dsc_cluster_ask_map(dsc_cluster *c);

#endif
