/*
** resolve_ares.h - c-ares on a loop: one name in, one answer out. For resolve.c only, which shares and keeps the
** answers.
*/
#ifndef DSC_NET_RESOLVE_ARES_H
#define DSC_NET_RESOLVE_ARES_H

#include "net/resolve.h"

typedef struct dsc_resolve_ares dsc_resolve_ares;

/* `answer` is borrowed; `ttl_s` is how long a good one is true. */
typedef void (*dsc_resolve_found)(void *ud, const dsc_resolve_answer *answer, int ttl_s);

/* Makes the engine; c-ares itself is set up at the first name. Loop thread. Caller owns. Fails: NULL: out of memory. */
dsc_resolve_ares *dsc_resolve_ares_new(dsc_loop *loop);

/* Drops open names without calling `found` and frees; NULL is allowed. Loop thread. */
void dsc_resolve_ares_free(dsc_resolve_ares *engine);

/* Asks for all addresses of `host` (copied). `found` is called exactly once, possibly before this returns, failures
** included. Loop thread. */
void dsc_resolve_ares_ask(dsc_resolve_ares *engine, const char *host, dsc_resolve_found found, void *ud);

#endif
