/*
** discoverer_isolated.c - a node was isolated, by whichever holder of the registry: the connections that are kept alive
** to it are closed, for what made it fail may be in them, and it may be about to go; and the prober looks after it.
**
** Whoever tells only takes a note; the owner looks when it runs the loop. Isolations are rare, so it looks at all
** nodes.
*/
#include "base/mem.h"
#include "core/discoverer_impl.h"
#include "model/node_impl.h"

static void forget_nodes(dsc_http *http, dsc_table *table) {
  dsc_node_array *nodes = dsc_table_snapshot(table);
  for (size_t i = 0; nodes && i < nodes->count; i++) {
    dsc_node_state state = dsc_node_get_state(nodes->nodes[i]);
    if (state == DSC_NODE_ISOLATED) dsc_http_forget(http, nodes->nodes[i]->addr);
  }
  dsc_node_array_unref(nodes);
}

void dsc_discoverer_forget_isolated(dsc_discoverer *d) {
  if (!atomic_load_explicit(&d->isolated, memory_order_relaxed) || dsc_discoverer_is_forked(d)) return;
  atomic_store(&d->isolated, false);
  if (!d->http || !d->registry) return;
  size_t count = 0;
  dsc_table **tables = dsc_directory_list(dsc_registry_directory(d->registry), &count);
  for (size_t i = 0; tables && i < count; i++) {
    forget_nodes(d->http, tables[i]);
    dsc_table_unref(tables[i]);
  }
  dsc_mem_free(tables);
}

/* ------------------------------------------------------------- the prober */

void dsc_discoverer_note_isolated(dsc_discoverer *d) {
  atomic_store(&d->isolated, true);
  dsc_notices_ring(&d->notices);
  pthread_mutex_lock(&d->prober_lock);
  if (d->prober) dsc_prober_wake(d->prober);
  pthread_mutex_unlock(&d->prober_lock);
}

static void swap_prober(dsc_discoverer *d, dsc_prober *prober) {
  pthread_mutex_lock(&d->prober_lock);
  d->prober = prober;
  pthread_mutex_unlock(&d->prober_lock);
}

/* What was configured before there was a prober. */
static dsc_err set_former(dsc_discoverer *d, dsc_prober *prober) {
  dsc_err err = DSC_OK;
  size_t at = 0;
  for (dsc_app_entry *entry; !err && (entry = dsc_map_next(&d->apps, &at));)
    if (entry->config) err = dsc_prober_set(prober, dsc_str_of(entry->name), entry->config, entry->tls);
  return err;
}

dsc_err dsc_discoverer_set_probe(dsc_discoverer *d, dsc_str app, dsc_call_config *config, dsc_tls *tls, dsc_why *why) {
  dsc_err err = DSC_OK;
  if (!d->prober && !config->probe) return DSC_OK;
  if (!d->prober) {
    dsc_prober *prober = dsc_prober_new(d->registry, d->call_retry_times, &err);
    if (!err && (err = set_former(d, prober))) dsc_prober_free(prober);
    if (err) return dsc_fail(why, err, "probe: its thread could not be made: %s", dsc_err_text(err));
    swap_prober(d, prober);
  }
  err = dsc_prober_set(d->prober, app, config, tls);
  return err ? dsc_fail(why, err, "%s", dsc_err_text(err)) : DSC_OK;
}

void dsc_discoverer_end_prober(dsc_discoverer *d) {
  dsc_prober *prober = d->prober;
  swap_prober(d, NULL); /* whoever tells of a node must not find one that is ending */
  dsc_prober_free(prober);
}
