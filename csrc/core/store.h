/*
** store.h - where a registry keeps its nodes: a vtable with one file per kind.
**
** A store carries out one thing at a time for its registry and knows nothing of tables, back-off of registrations or
** health. It speaks the wire format of the system it joins: field <app>/<addr> = weight, key <app>_<addr> = metadata
** or "1" for `ttl`, channel CH_<app> with "<addr> <weight>".
**
** Everything is called with the registry's lock held, completions and events too. A completion is called exactly
** once, maybe before the function returns (memory), unless the function failed. Redis: in the loop's thread only.
*/
#ifndef DSC_CORE_STORE_H
#define DSC_CORE_STORE_H

#include <pthread.h>

#include "base/addr.h"
#include "model/config_registry.h"
#include "net/loop.h"
#include "net/tls.h"

/* A row of an app as the store has it; not judged. */
typedef struct dsc_store_row {
  /* borrowed */
  dsc_str addr;
  dsc_str weight;
  dsc_str metadata; /* of the key */
  bool alive;       /* the key exists */
} dsc_store_row;

typedef struct dsc_store_answer {
  /* borrowed for the completion */
  dsc_err err;  /* DSC_OK, DSC_EREGISTRY (the store refused), DSC_ECONNECT, DSC_ETIMEOUT, ... */
  bool refused; /* the store answered, with an error: asking again at once is of no use */
  bool denied;  /* ... because this user may not */
  bool later;   /* it stands, but cannot say now: ask again in a while, nobody will tell when */
  const char *why;
  bool was_lost;             /* touch: the entry was gone and has been made again */
  bool found;                /* fetch: the key exists */
  dsc_str value;             /* fetch: the key's value */
  const dsc_store_row *rows; /* read */
  size_t n;
} dsc_store_answer;

typedef void (*dsc_store_done)(void *ud, const dsc_store_answer *answer);

/* Told to the registry, with its lock held. */
typedef struct dsc_store_events {
  void *ud;
  /* Which of the two stand now: commands can be sent, messages arrive. After a try that failed: `why`, and whether
  ** the credentials were refused; else `why` is "". */
  void (*on_state)(void *ud, bool commands, bool messages, bool denied, const char *why);
  /* Messages of `app` arrive from now on: time to read it. */
  void (*on_subscribed)(void *ud, dsc_str app);
  /* `app` cannot be followed; a new `follow` tries again. */
  void (*on_refused)(void *ud, dsc_str app, const char *why);
  void (*on_message)(void *ud, dsc_str app, dsc_str text);
  /* It stands, but a part of what it had may be lost: announce all again, and read. */
  void (*on_renewed)(void *ud);
  /* Another server than before stands for the registry: addresses. */
  void (*on_moved)(void *ud, const char *from, const char *to);
} dsc_store_events;

/* What a node is announced as. */
typedef struct dsc_store_node {
  /* borrowed */
  dsc_str app, addr;
  uint32_t weight;
  dsc_str metadata; /* "": the key's value is 1 */
  bool keep_weight; /* put: a weight that the store has stays (HSETNX) */
} dsc_store_node;

typedef struct dsc_store_stats {
  uint64_t connects, disconnects, commands, errors;
  char server[DSC_ADDR_MAX]; /* that stands for the registry, where somebody else says which; "": none yet, or nobody */
} dsc_store_stats;

typedef struct dsc_store dsc_store;

typedef struct dsc_store_ops {
  const char *kind;
  bool lasting; /* entries last without heartbeats, messages are never lost: no resync */

  /* Begins to connect, and comes back for ever. Fails: DSC_ENOMEM. */
  dsc_err (*start)(dsc_store *store);
  /* Announces a node: SETEX, HSET, PUBLISH in one batch. Fails, as all the following: DSC_EREGISTRY (not up),
  ** DSC_ENOMEM. */
  dsc_err (*put)(dsc_store *store, const dsc_store_node *node, dsc_store_done done, void *ud);
  /* Keeps a node alive: SETEX and HSETNX in one round trip; if the entry was gone: PUBLISH. */
  dsc_err (*touch)(dsc_store *store, const dsc_store_node *node, dsc_store_done done, void *ud);
  /* Says goodbye: HDEL, DEL, PUBLISH "<addr> 0". */
  dsc_err (*remove)(dsc_store *store, const dsc_store_node *node, dsc_store_done done, void *ud);
  /* Reads an app: HGETALL, then one MGET of the keys. */
  dsc_err (*read)(dsc_store *store, dsc_str app, dsc_store_done done, void *ud);
  /* Reads the key of one node. */
  dsc_err (*fetch)(dsc_store *store, dsc_str app, dsc_str addr, dsc_store_done done, void *ud);
  /* Removes the field of a dead node unless its key is there again, and publishes its goodbye. */
  dsc_err (*reap)(dsc_store *store, dsc_str app, dsc_str addr, dsc_store_done done, void *ud);
  /* Subscribes, now and after every reconnect, until unfollowed: on_subscribed or on_refused each time. Fails:
  ** DSC_ENOMEM. */
  dsc_err (*follow)(dsc_store *store, dsc_str app);
  /* Ends that; may be called for an app that is not followed. */
  void (*unfollow)(dsc_store *store, dsc_str app);
  /* Counts. */
  void (*get_stats)(dsc_store *store, dsc_store_stats *stats);
  /* Ends all connections; what is open completes with DSC_ECLOSED. */
  void (*close)(dsc_store *store);
  /* True once everything of it has ended after `close` (Redis: the loop must run for that). */
  bool (*is_closed)(dsc_store *store);
  /* Frees it; it is closed. Without the lock. */
  void (*destroy)(dsc_store *store);
} dsc_store_ops;

/* Every kind begins with this. */
struct dsc_store {
  /* constant */
  const dsc_store_ops *ops;
  dsc_store_events events;
};

/* Makes a store over Redis on `loop`, with two connections; the server is the one that `config` names, or the master
** that its Sentinels name. Over a Redis Cluster it has one connection to each node that is needed and one for messages.
** `config` is borrowed as long as it lives, of `tls` (NULL:
** plain) it takes a reference, `lock` is the registry's. Loop's owner. Caller owns: ops->close(), then ops->destroy().
** Fails: NULL: out of memory. */
dsc_store *dsc_store_redis_new(dsc_loop *loop, const dsc_registry_config *config, dsc_tls *tls,
                               const dsc_registry_timing *timing, pthread_mutex_t *lock,
                               const dsc_store_events *events);

/* Joins the hub `name` of this process. Any thread, without the lock. Caller owns. Fails: NULL: out of memory. */
dsc_store *dsc_store_memory_new(dsc_str name, const dsc_store_events *events);

/* Returns the one lock of all hubs, which is the lock of every registry of this kind: a message goes from one
** registry to others while it is held. Any thread. */
pthread_mutex_t *dsc_store_memory_lock(void);

#endif
