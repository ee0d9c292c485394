/*
** store_redis_impl.h - what store_redis.c (connections, channels) and store_redis_op.c (commands) share.
*/
#ifndef DSC_CORE_STORE_REDIS_IMPL_H
#define DSC_CORE_STORE_REDIS_IMPL_H

#include "base/map.h"
#include "core/store.h"
#include "net/redis_conn.h"

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
  uint64_t connects, disconnects, sent, errors;
};

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
