/*
** cluster_slot.h - what a client of a Redis Cluster has to know: the slot of a key, and what redirects say.
**
** Source: Redis Cluster specification, "Key distribution model", "Hash tags", "MOVED Redirection", "ASK redirection".
*/
#ifndef DSC_MODEL_CLUSTER_SLOT_H
#define DSC_MODEL_CLUSTER_SLOT_H

#include "base/addr.h"

#define DSC_CLUSTER_SLOTS 16384

typedef enum dsc_redirect_kind {
  DSC_REDIRECT_NONE,  /* the text is another error */
  DSC_REDIRECT_MOVED, /* the slot is there from now on */
  DSC_REDIRECT_ASK    /* this once, after ASKING */
} dsc_redirect_kind;

typedef struct dsc_redirect {
  dsc_redirect_kind kind;
  uint16_t slot;
  dsc_addr addr;
} dsc_redirect;

/* Returns the slot of a key: of the part between the first "{" and the next "}", if there is one and it is not empty,
** else of all of it. Any thread. */
uint16_t dsc_cluster_slot(dsc_str key);

/* Makes the address of a node from what a server that was reached as `asked` calls it: no host and "?" mean the same
** host as that server's. Any thread. Fails: DSC_EPROTOCOL: it is no address. */
dsc_err dsc_cluster_node_addr(dsc_addr *addr, dsc_str host, int64_t port, const dsc_addr *asked);

/* Reads the text of an error of the server reached as `asked`. Any thread. Fails: DSC_EPROTOCOL with `why`: a redirect
** that names no slot or no address. */
dsc_err dsc_cluster_read_redirect(dsc_redirect *redirect, dsc_str text, const dsc_addr *asked, dsc_why *why);

#endif
