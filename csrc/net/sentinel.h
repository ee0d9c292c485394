/*
** sentinel.h - Redis Sentinels: who is the master now, and who told that it moved.
**
** Two things on one list of Sentinels. A question asks one after the other, each for at most 300 ms, until one names
** the master; who answered is asked first the next time. A watch is subscribed to +switch-master on one of them; all
** are asked again soon after it began, soon after a master was settled on, and every 10 s, since a message can be lost
** and one Sentinel can be behind the others: the highest configuration epoch wins. Sentinels that others know are
** learned. Source: "Guidelines for Redis clients with support for Redis Sentinel".
**
** Nothing is called from inside a function of this header: all callbacks come from the loop. Threads: the loop's.
*/
#ifndef DSC_NET_SENTINEL_H
#define DSC_NET_SENTINEL_H

#include "base/addr.h"
#include "model/config_registry.h"
#include "net/redis_conn.h"

typedef struct dsc_sentinel dsc_sentinel;

typedef struct dsc_sentinel_options {
  /* borrowed for dsc_sentinel_new(); the secret is kept by reference */
  const dsc_registry_host *hosts; /* at least one */
  size_t n_hosts;
  const char *master;   /* the name by which Sentinels know it */
  const char *user;     /* of the Sentinels themselves; NULL: none */
  dsc_secret *password; /* NULL: none */
  dsc_tls *tls;         /* NULL: plain; a reference is taken */
  const char *name;     /* CLIENT SETNAME */
  uint32_t patience_ms; /* with each Sentinel; 0: 300 */
} dsc_sentinel_options;

/* The end of a question. */
typedef struct dsc_sentinel_answer {
  /* borrowed for the callback */
  dsc_err err;            /* DSC_OK; DSC_ECONNECT: no Sentinel answers; DSC_EREGISTRY: none of them knows the master */
  bool denied;            /* no Sentinel answers because they refuse the credentials */
  const dsc_addr *master; /* NULL: an error */
  const char *why;        /* "" without an error */
} dsc_sentinel_answer;

/* Called from the loop's thread, inside dsc_loop_run(). */
typedef struct dsc_sentinel_events {
  void *ud;
  void (*on_answer)(void *ud, const dsc_sentinel_answer *answer);
  /* The master is another than the one that dsc_sentinel_settle() was told, or none was settled on. */
  void (*on_switch)(void *ud, const dsc_addr *master);
} dsc_sentinel_events;

/* Makes one that does nothing yet. Loop thread. `resolver` is borrowed. Caller owns: dsc_sentinel_close(), then
** dsc_sentinel_free(). Fails: NULL: out of memory. */
dsc_sentinel *dsc_sentinel_new(dsc_loop *loop, dsc_resolver *resolver, const dsc_sentinel_options *options,
                               const dsc_sentinel_events *events);

/* Asks who the master is: on_answer once, unless it is closed before. Who names `avoid` (NULL: nobody), which has just
** failed, is believed only if no Sentinel names another. The watch begins with the first answer. Asking again before
** the answer only changes `avoid`. Loop thread. */
void dsc_sentinel_ask(dsc_sentinel *sentinel, const dsc_addr *avoid);

/* Tells which master is in use (NULL: none), for on_switch. Loop thread. */
void dsc_sentinel_settle(dsc_sentinel *sentinel, const dsc_addr *master);

/* Ends all connections; no callback comes any more. Idempotent. Loop thread. */
void dsc_sentinel_close(dsc_sentinel *sentinel);

/* True once everything of it has ended after dsc_sentinel_close(), for which the loop must run. Loop thread. */
bool dsc_sentinel_is_closed(const dsc_sentinel *sentinel);

/* Frees it; it is closed, or was never asked. NULL is allowed. Loop thread. */
void dsc_sentinel_free(dsc_sentinel *sentinel);

#endif
