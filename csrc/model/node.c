/*
** node.c - making, sharing and letting go of one node.
**
** One allocation holds the struct, the address and the host; only the metadata is apart, because it changes.
** Invariant: a node holds one reference to its table, so `node->table` may be followed as long as the node may. Any
** thread; the last unref frees the node and may free the table, hence never under the table's lock.
*/
#include "model/node.h"

#include "base/mem.h"
#include "model/node_impl.h"
#include "model/table_impl.h"

static const char *const state_names[] = {"up", "stale", "isolated", "probing", "gone"};

dsc_node *dsc_node_new(dsc_table *table, const dsc_addr *addr, uint32_t weight) {
  size_t addr_len = strlen(addr->text), host_len = strlen(addr->host);
  dsc_node *node = dsc_mem_zalloc(1, sizeof *node + addr_len + 1 + host_len + 1);
  if (!node) return NULL;
  node->table = dsc_table_ref(table);
  memcpy(node->addr, addr->text, addr_len + 1);
  char *host = node->addr + addr_len + 1;
  memcpy(host, addr->host, host_len + 1);
  node->host = host;
  node->addr_len = (uint16_t)addr_len;
  node->port = addr->port;
  node->is_literal = addr->is_literal;
  dsc_list_init(&node->isolated_link);
  dsc_list_init(&node->spared_link);
  atomic_init(&node->weight, weight);
  atomic_init(&node->state, DSC_NODE_GONE);
  atomic_init(&node->refs, 1);
  return node;
}

dsc_node *dsc_node_ref(dsc_node *node) {
  atomic_fetch_add_explicit(&node->refs, 1, memory_order_relaxed);
  return node;
}

void dsc_node_unref(dsc_node *node) {
  if (!node || atomic_fetch_sub_explicit(&node->refs, 1, memory_order_acq_rel) != 1) return;
  dsc_table *table = node->table;
  dsc_mem_free(node->metadata);
  dsc_mem_free(node->rate);
  dsc_mem_free(node);
  dsc_table_unref(table);
}

dsc_str dsc_node_addr(const dsc_node *node) {
  return (dsc_str){node->addr, node->addr_len};
}

const char *dsc_node_host(const dsc_node *node) {
  return node->host;
}

uint16_t dsc_node_port(const dsc_node *node) {
  return node->port;
}

uint32_t dsc_node_weight(const dsc_node *node) {
  return atomic_load_explicit(&node->weight, memory_order_relaxed);
}

uint32_t dsc_node_in_flight(const dsc_node *node) {
  return atomic_load_explicit(&node->in_flight, memory_order_relaxed);
}

uint32_t dsc_node_failed_times(const dsc_node *node) {
  return atomic_load_explicit(&node->failed_times, memory_order_relaxed);
}

dsc_node_state dsc_node_get_state(const dsc_node *node) {
  return (dsc_node_state)atomic_load_explicit(&node->state, memory_order_relaxed);
}

const char *dsc_node_state_name(dsc_node_state state) {
  size_t i = (size_t)state;
  return i < sizeof state_names / sizeof *state_names ? state_names[i] : "unknown";
}

uint64_t dsc_node_used_times(dsc_node *node) {
  pthread_mutex_lock(&node->table->lock);
  double used = node->load * dsc_node_weight(node);
  pthread_mutex_unlock(&node->table->lock);
  /* seven times 1/7 is a little less than 1 */
  return (uint64_t)(used + 1e-6 + used * 1e-12);
}

char *dsc_node_copy_metadata(dsc_node *node) {
  pthread_mutex_lock(&node->table->lock);
  char *copy = dsc_mem_strdup(dsc_str_of(node->metadata));
  pthread_mutex_unlock(&node->table->lock);
  return copy;
}

size_t dsc_node_array_count(const dsc_node_array *array) {
  return array->count;
}

dsc_node *dsc_node_array_get(const dsc_node_array *array, size_t index) {
  return index < array->count ? array->nodes[index] : NULL;
}

void dsc_node_array_unref(dsc_node_array *array) {
  if (!array || atomic_fetch_sub_explicit(&array->refs, 1, memory_order_acq_rel) != 1) return;
  for (size_t i = 0; i < array->count; i++) dsc_node_unref(array->nodes[i]);
  dsc_mem_free(array);
}
