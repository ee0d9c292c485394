/*
** cluster.h - a client of a Redis Cluster: commands go to the nodes that serve their keys.
**
** Each command is of one key, its second word. Nodes are connected to when something is to be sent to them. Redirects
** are followed (at most 5 for a command); what a node cannot answer now (it is down, the Cluster is, the slot is being
** moved) is sent again until `command_timeout_ms` have passed, so only commands that may be carried out twice belong
** here. Subscribing is not done here; dsc_cluster_get_live() names nodes for it.
**
** Nothing is called from inside a function of this header: all callbacks come from the loop. Unless said, everything in
** the loop's thread.
*/
#ifndef DSC_NET_CLUSTER_H
#define DSC_NET_CLUSTER_H

#include "base/addr.h"
#include "model/config_registry.h"
#include "net/redis_conn.h"

#define DSC_CLUSTER_MAX_NODES     1024
#define DSC_CLUSTER_MAX_REDIRECTS 5
#define DSC_CLUSTER_MAX_COMMANDS  1000000 /* that are not answered yet */

typedef struct dsc_cluster dsc_cluster;

typedef struct dsc_cluster_options {
  /* borrowed for dsc_cluster_new(); `user` as long as it lives; the secret and `tls` are kept by reference */
  const dsc_registry_host *hosts; /* nodes to begin with */
  size_t n_hosts;
  dsc_tls *tls; /* NULL: plain; for all nodes */
  const char *user;
  dsc_secret *password;
  const char *name;            /* CLIENT SETNAME */
  uint32_t connect_timeout_ms; /* for each address of a node */
  uint32_t command_timeout_ms; /* for one reply; also how long a command is sent again */
} dsc_cluster_options;

typedef struct dsc_cluster_events {
  void *ud;
  /* It is known who serves what: commands can be sent. */
  void (*on_up)(void *ud);
  /* No node can be reached, or none says who serves what. dsc_cluster_start() tries again. Called after a try that
  ** failed, and when all was lost. */
  void (*on_down)(void *ud, bool denied, const char *why);
  /* A node that was lost is back, or others serve what it served: what it had may be gone. */
  void (*on_renewed)(void *ud);
  /* The Cluster has told who belongs to it. */
  void (*on_map)(void *ud);
} dsc_cluster_events;

/* Makes a client that does nothing yet. `resolver` is borrowed. Loop thread. Caller owns: dsc_cluster_close(), then,
** once dsc_cluster_is_closed(), dsc_cluster_free(). Fails: NULL: out of memory. */
dsc_cluster *dsc_cluster_new(dsc_loop *loop, dsc_resolver *resolver, const dsc_cluster_options *options,
                             const dsc_cluster_events *events);

/* Begins to look for nodes: on_up or on_down follows. Idempotent. Loop thread. */
void dsc_cluster_start(dsc_cluster *cluster);

/* Sends `n` commands; everything is copied. `ordered`: each when the one before it was answered, none after an
** error. `done` is called exactly once, with a reply for each command (`ordered`: up to the first error). An error
** there means that some commands were not answered, for a cause that may pass, or for good (DSC_ECLOSED). Loop
** thread. Fails: DSC_EREGISTRY (not up), DSC_ENOMEM, DSC_ETOO_LARGE; then `done` is not called. */
dsc_err dsc_cluster_send(dsc_cluster *cluster, const dsc_redis_command *commands, size_t n, bool ordered,
                         dsc_redis_done done, void *ud);

/* Names a node for a subscription, one that seems to live; another one than `last` ("": none) if there is any. Loop
** thread. Fails: false: there are none at all. */
bool dsc_cluster_get_live(dsc_cluster *cluster, const char *last, dsc_addr *addr);

/* True when a node belongs to the Cluster, for all that is known. Loop thread. */
bool dsc_cluster_has(const dsc_cluster *cluster, const char *addr);

/* Names all connections anew (CLIENT SETNAME). Loop thread. */
void dsc_cluster_set_name(dsc_cluster *cluster, const char *name);

/* Adds up connections that were made and lost. Any thread, as long as it lives. */
void dsc_cluster_count(const dsc_cluster *cluster, uint64_t *connects, uint64_t *disconnects);

/* Ends all connections; what is open completes with DSC_ECLOSED, from the loop. Idempotent. Loop thread. */
void dsc_cluster_close(dsc_cluster *cluster);

/* True once everything of it has ended after `close`: the loop must run for that. Loop thread. */
bool dsc_cluster_is_closed(const dsc_cluster *cluster);

/* Frees it; it is closed, or was never started. NULL is allowed. Loop thread. */
void dsc_cluster_free(dsc_cluster *cluster);

#endif
