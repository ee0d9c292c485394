/*
** discoverer_isolated.c - a node was isolated, by whichever holder of the registry: the connections that are kept alive
** to it are closed, for what made it fail may be in them, and it may be about to go.
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
