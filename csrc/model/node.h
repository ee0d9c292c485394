/*
** node.h - one instance of an app: a constant identity with counters, shared by reference.
**
** A node belongs to one table. It survives every refresh with its counters and health; whoever holds a
** reference may read it after the table forgot it (state gone).
*/
#ifndef DSC_MODEL_NODE_H
#define DSC_MODEL_NODE_H

#include "base/str.h"

#pragma GCC visibility push(default)

typedef enum dsc_node_state {
  DSC_NODE_UP,
  DSC_NODE_STALE,
  DSC_NODE_ISOLATED,
  DSC_NODE_PROBING,
  DSC_NODE_GONE
} dsc_node_state;

typedef struct dsc_node dsc_node;

/* An immutable list of nodes, kept by the table until its version changes. */
typedef struct dsc_node_array dsc_node_array;

/* Takes a reference. Any thread. Returns `node`. */
dsc_node *dsc_node_ref(dsc_node *node);

/* Gives a reference back; NULL is allowed. The last one frees the node and its reference to the table. Any
** thread, but not while holding the table's lock. */
void dsc_node_unref(dsc_node *node);

/* Borrows the address, host:port (terminated). Any thread. */
dsc_str dsc_node_addr(const dsc_node *node);

/* Borrows the host, without brackets, terminated. Any thread. */
const char *dsc_node_host(const dsc_node *node);

/* Returns the port. Any thread. */
uint16_t dsc_node_port(const dsc_node *node);

/* Returns the weight. Any thread. */
uint32_t dsc_node_weight(const dsc_node *node);

/* Returns how many picks are not done yet. Any thread. */
uint32_t dsc_node_in_flight(const dsc_node *node);

/* Returns how many calls failed in a row. Any thread. */
uint32_t dsc_node_failed_times(const dsc_node *node);

/* Returns the state as one word for users. Any thread. */
dsc_node_state dsc_node_get_state(const dsc_node *node);

/* Returns "up", "stale", "isolated", "probing" or "gone". Any thread. Static string. */
const char *dsc_node_state_name(dsc_node_state state);

/* Returns used_times: load x weight, rounded down. Any thread (takes the table's lock). */
uint64_t dsc_node_used_times(dsc_node *node);

/* Returns a copy of the metadata text ("" when there is none). Any thread (takes the table's lock). Caller owns:
** dsc_mem_free(). Fails: NULL: out of memory. */
char *dsc_node_copy_metadata(dsc_node *node);

/* Returns how many nodes a list has. Any thread. */
size_t dsc_node_array_count(const dsc_node_array *array);

/* Borrows one of them, while the list is held. Any thread. Fails: NULL: there is no such. */
dsc_node *dsc_node_array_get(const dsc_node_array *array, size_t index);

/* Gives a list back; NULL is allowed. The last one gives its nodes back. Any thread, not under a table's lock. */
void dsc_node_array_unref(dsc_node_array *array);

#pragma GCC visibility pop

#endif
