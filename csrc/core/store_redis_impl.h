/*
** store_redis_impl.h - what store_redis.c (connections, channels), store_redis_op.c (commands) and
** store_redis_sentinel.c (which server, where Sentinels say that) share.
*/
#ifndef DSC_CORE_STORE_REDIS_IMPL_H
#define DSC_CORE_STORE_REDIS_IMPL_H

#include "base/map.h"
#include "core/store.h"
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
  bool moving;            /* with Sentinels: `master` is news, to be connected to without a question */
  bool denied;            /* with Sentinels: `master` refused the credentials */
  uint64_t connects, disconnects, sent, errors;
};

/* ---- store_redis.c */

/* Begins to connect one side. Loop's thread. Fails: false: out of memory. */
bool dsc_store_redis_open_side(side *s);

/* Returns how long to wait before the next try. Loop's thread. */
uint64_t dsc_store_redis_delay(side *s, bool denied);

/* Tells the registry what stands. Loop's thread. */
void dsc_store_redis_tell_state(redis_store *store, bool denied, const char *why);

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

/* ---- store_redis_op.c */

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
