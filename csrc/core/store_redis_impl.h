/*
** store_redis_impl.h - what store_redis.c (connections), store_redis_channel.c (channels), store_redis_op.c and
** store_redis_read.c (commands), store_redis_sentinel.c (which server, where Sentinels say that), store_redis_cluster.c
** (the nodes of a Cluster) share.
*/
#ifndef DSC_CORE_STORE_REDIS_IMPL_H
#define DSC_CORE_STORE_REDIS_IMPL_H

#include "base/map.h"
#include "core/store.h"
#include "net/cluster.h"
#include "net/redis_conn.h"
#include "net/sentinel.h"

typedef struct redis_store redis_store;
typedef struct channel channel;

/* One of the two connections, and how it comes back. */
typedef struct side {
  /* constant */
  redis_store *store;
  dsc_timer *retry;
  /* under the registry's lock */
  dsc_redis_conn *conn; /* NULL: waiting to try again */
  bool ready, named;    /* named: after the node, not only after the process */
  uint32_t tries;
  uint64_t trouble_since_ms, ready_ms; /* 0: no trouble */
} side;

struct redis_store {
  /* constant */
  dsc_store base;
  dsc_loop *loop;
  const dsc_registry_config *config;
  dsc_tls *tls; /* NULL: plain */
  uint32_t ttl_ms;
  pthread_mutex_t *lock;
  dsc_resolver *resolver;
  /* under the registry's lock */
  side commands, messages;
  dsc_map channels; /* app -> channel */
  char who[128];    /* the first node that was registered, as part of a client's name; "": none yet */
  bool closing;
  dsc_sentinel *sentinel; /* NULL: the server is the one that config names */
  dsc_addr master;        /* with Sentinels: in use or tried last; port 0: none yet */
  dsc_addr settled;       /* with Sentinels: the last master that took both connections; port 0: none yet */
  bool moving;            /* with Sentinels: `master` is news, to be connected to without a question */
  bool denied;            /* with Sentinels: `master` refused the credentials */
  dsc_cluster *cluster;   /* NULL: one server. Else commands go this way, and that side has no connection */
  dsc_addr heard;         /* with a Cluster: the node that messages come from or were to come from; port 0: none yet */
  uint64_t connects, disconnects, sent, errors;
};

/* ---- store_redis.c */

/* Begins to connect one side. Loop's thread. Fails: false: out of memory, or no node is known. */
bool dsc_store_redis_open_side(side *s);

/* Returns how long to wait before the next try. Loop's thread. */
uint64_t dsc_store_redis_delay(side *s, bool denied);

/* Notes that a side ended which was ready: the end of a trouble, if it had stood for a while. Loop's thread. */
void dsc_store_redis_note_end(side *s);

/* Tells the registry what stands. Loop's thread. */
void dsc_store_redis_tell_state(redis_store *store, bool denied, const char *why);

/* ---- store_redis_channel.c */

/* As `follow` in core/store.h. Loop's thread. */
dsc_err dsc_store_redis_follow(dsc_store *base, dsc_str app);

/* As `unfollow` in core/store.h. Loop's thread. */
void dsc_store_redis_unfollow(dsc_store *base, dsc_str app);

/* Subscribes to everything that is followed, on a new connection. Loop's thread. */
void dsc_store_redis_subscribe_all(redis_store *store);

/* Takes a message; `ud` is the messages' side. Loop's thread. */
void dsc_store_redis_on_message(void *ud, dsc_str name, dsc_str text);

/* A completion for which any answer will do. Loop's thread. */
void dsc_store_redis_on_ignored(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n);

/* Frees all channels. Owner's thread. */
void dsc_store_redis_free_channels(redis_store *store);

/* ---- store_redis_sentinel.c; nothing but `init`, `doubt` and `free` is called without Sentinels */

/* Makes what is needed to ask Sentinels, if config has some. Owner's thread. Fails: DSC_ENOMEM. */
dsc_err dsc_store_redis_sentinel_init(redis_store *store);

/* Frees that. Owner's thread. */
void dsc_store_redis_sentinel_free(redis_store *store);

/* Asks who the master is, or connects to one that is known already. Loop's thread. */
void dsc_store_redis_sentinel_connect(redis_store *store);

/* One side stands. Loop's thread. */
void dsc_store_redis_sentinel_on_ready(redis_store *store);

/* One side has ended: so does the other. Loop's thread. `why` is "" if it was closed by us. */
void dsc_store_redis_sentinel_on_down(redis_store *store, bool denied, const char *why);

/* Drops both connections if an error of the server means that it is no master (any more) while Sentinels know another.
** Loop's thread. Returns whether it did. */
bool dsc_store_redis_sentinel_doubt(redis_store *store, dsc_str error);

/* ---- store_redis_cluster.c; nothing but `init` is called without a Cluster */

/* Makes the client of a Cluster, if config names one. Owner's thread. Fails: DSC_ENOMEM. */
dsc_err dsc_store_redis_cluster_init(redis_store *store, const char *name, uint32_t command_timeout_ms);

/* Chooses the node that messages shall come from. Loop's thread. Fails: false: none is known. */
bool dsc_store_redis_cluster_aim(redis_store *store);

/* ---- store_redis_op.c, store_redis_read.c */

/* As `put` in core/store.h. Loop's thread. */
dsc_err dsc_store_redis_op_put(dsc_store *base, const dsc_store_node *node, dsc_store_done done, void *ud);

/* As `touch` in core/store.h. Loop's thread. */
dsc_err dsc_store_redis_op_touch(dsc_store *base, const dsc_store_node *node, dsc_store_done done, void *ud);

/* As `remove` in core/store.h. Loop's thread. */
dsc_err dsc_store_redis_op_remove(dsc_store *base, const dsc_store_node *node, dsc_store_done done, void *ud);

/* As `read` in core/store.h. Loop's thread. */
dsc_err dsc_store_redis_op_read(dsc_store *base, dsc_str app, dsc_store_done done, void *ud);

/* As `fetch` in core/store.h. Loop's thread. */
dsc_err dsc_store_redis_op_fetch(dsc_store *base, dsc_str app, dsc_str addr, dsc_store_done done, void *ud);

/* As `reap` in core/store.h. Loop's thread. */
dsc_err dsc_store_redis_op_reap(dsc_store *base, dsc_str app, dsc_str addr, dsc_store_done done, void *ud);

#endif
