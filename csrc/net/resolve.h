/*
** resolve.h - names to addresses on a loop, never blocking it (c-ares), with a bounded cache.
**
** IP addresses are answered at once. /etc/hosts is obeyed. Answers are kept for their TTL, between 1 and 60 s;
** failures for 1 s.
*/
#ifndef DSC_NET_RESOLVE_H
#define DSC_NET_RESOLVE_H

#include "base/err.h"
#include "base/list.h"
#include "base/str.h"
#include "net/loop.h"

#define DSC_RESOLVE_MAX_ADDRS 8
#define DSC_RESOLVE_MAX_CACHE 1024

typedef struct dsc_resolver dsc_resolver;
typedef struct dsc_resolve dsc_resolve; /* one question */

typedef struct dsc_resolve_answer {
  dsc_err err; /* DSC_OK, DSC_ECONNECT (no such name, no server), DSC_ETIMEOUT, DSC_ENOMEM */
  char why[160];
  size_t count;
  char addrs[DSC_RESOLVE_MAX_ADDRS][48]; /* IP addresses as text, IPv4 first */
} dsc_resolve_answer;

typedef void (*dsc_resolve_done)(void *ud, const dsc_resolve_answer *answer);

/* Makes a resolver; c-ares itself is set up at the first name. Loop thread. Caller owns. Fails: NULL: out of memory. */
dsc_resolver *dsc_resolver_new(dsc_loop *loop);

/* Drops open questions without an answer and frees; NULL is allowed. Loop thread. */
void dsc_resolver_free(dsc_resolver *resolver);

/* Answers from an IP literal or the cache at once, without a question. Loop thread. Returns false: must be asked. */
bool dsc_resolver_lookup(dsc_resolver *resolver, dsc_str host, dsc_resolve_answer *answer);

/* Asks; `done` is called exactly once in the loop's thread, never before this returns, unless canceled. At most 5 s.
** Loop thread. Fails: NULL: out of memory. */
dsc_resolve *dsc_resolver_ask(dsc_resolver *resolver, dsc_str host, dsc_resolve_done done, void *ud);

/* `done` will not be called. Loop thread. NULL is allowed. */
void dsc_resolve_cancel(dsc_resolve *question);

#endif
