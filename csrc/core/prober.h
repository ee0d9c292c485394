/*
** prober.h - the background probe: isolated nodes of apps whose config has `probe` are asked for that path, so that
** they come back without traffic, and no user's call has to find out.
**
** It has a thread with a loop and an HTTP client of its own, made with the first config that has a probe; it sleeps as
** long as no node is isolated. A probe holds the node's probe slot as a call would; the slot lapses by itself should
** the probe never end. An answer with a status below 400 brings the node back, any other end isolates it for longer;
** faults of this process free the slot.
*/
#ifndef DSC_CORE_PROBER_H
#define DSC_CORE_PROBER_H

#include "core/registry.h"
#include "model/config.h"
#include "net/tls.h"

typedef struct dsc_prober dsc_prober;

/* Makes a prober of the nodes of `registry`, which is borrowed until dsc_prober_free(), and starts its thread. Owner's
** thread. Caller owns. Fails: NULL with `*err`: DSC_ENOMEM, DSC_EIO. */
dsc_prober *dsc_prober_new(dsc_registry *registry, uint32_t retry_times, dsc_err *err);

/* Sets the config of an app ("*": of all others) and what was made of its TLS; references are taken. One without
** `probe` means that its nodes are not probed. Owner's thread. Fails: DSC_ENOMEM: it is as it was. */
dsc_err dsc_prober_set(dsc_prober *prober, dsc_str app, dsc_call_config *config, dsc_tls *tls);

/* Makes it look: a node was isolated. Any thread. */
void dsc_prober_wake(dsc_prober *prober);

/* Breaks probes off (neutral), joins the thread, frees; after a fork it is only forgotten. NULL is allowed. Owner's
** thread. */
void dsc_prober_free(dsc_prober *prober);

#endif
