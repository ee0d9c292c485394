/*
** table.h - the nodes of one app: address -> node, and the picker.
**
** One mutex over the map, the balancers and the version. Only nodes that may be picked now are in the balancers;
** isolated ones wait in a list, in the order in which they were isolated. Balancers are made at first use.
**
** Stale rules: a goodbye is obeyed at once, absence is doubted. A node whose key or row is missing becomes
** stale: it serves on while its calls succeed, and goes at its first failure or after the grace, but only while
** the app has a node that is not stale. Nodes set by the user are touched by the user alone.
**
** What changed is reported in a dsc_changes that the caller provides (NULL: not wanted), and told to others after
** unlocking. The table counts isolations and recoveries in its counters itself.
*/
#ifndef DSC_MODEL_TABLE_H
#define DSC_MODEL_TABLE_H

#include "base/map.h"
#include "model/balancer_impl.h"
#include "model/changes.h"
#include "model/counters.h"
#include "model/node_impl.h"

typedef struct dsc_table dsc_table;

/* Makes an empty table for `app` (copied). Any thread. Caller owns one reference. Fails: NULL: out of memory. */
dsc_table *dsc_table_new(dsc_str app);

/* Takes a reference. Any thread. Returns `table`. */
dsc_table *dsc_table_ref(dsc_table *table);

/* Gives a reference back; nodes hold one each, so a table lives as long as any of its nodes. NULL is allowed. Any
** thread. */
void dsc_table_unref(dsc_table *table);

/* Closes the table: forgets all nodes (they become gone), so that the cycle between table and nodes ends, and takes
** no new ones: whoever still holds a reference can't begin the cycle again. Idempotent. Any thread. */
void dsc_table_clear(dsc_table *table, dsc_changes *changes);

/* Borrows the app's name (terminated). Any thread. */
dsc_str dsc_table_app(const dsc_table *table);

/* Borrows the app's counters. Any thread. */
dsc_counters *dsc_table_counters(dsc_table *table);

/* True at most once a second for each kind (a small number): who tells of what may happen with every call asks first.
** Any thread. */
bool dsc_table_may_tell(dsc_table *table, unsigned kind, uint64_t now_ms);

/* Returns the number of nodes, and of those that are neither stale nor isolated if `usable` is not NULL. Any thread. */
size_t dsc_table_count(dsc_table *table, size_t *usable);

/* Returns a number that changes whenever a node comes, goes or changes weight, metadata or state. Any thread. */
uint64_t dsc_table_version(dsc_table *table);

/* Sets a node (weight >= 1, clamped to DSC_WEIGHT_MAX) or, at weight 0, removes it. `metadata` NULL: leave as it is.
** With `by_user` the node becomes the user's; without it a user's node is left alone. A node that is set is no longer
** stale. A new one joins at the mean load of the nodes in the picker (of the isolated ones, while all are) plus random
** [0,1)/weight. Any thread. Fails: DSC_EINVALID for a bad address, DSC_ECLOSED after dsc_table_clear(), DSC_ENOMEM. */
dsc_err dsc_table_set(dsc_table *table, dsc_str addr, uint32_t weight, const char *metadata, bool by_user,
                      uint64_t now_ms, dsc_changes *changes);

/* Updates the metadata of a registry's node if it exists (the key was read alone). Any thread. Fails: DSC_ENOMEM. */
dsc_err dsc_table_set_metadata(dsc_table *table, dsc_str addr, dsc_str metadata);

/* Obeys a goodbye: removes a registry's node. Any thread. Returns true if there was one. */
bool dsc_table_goodbye(dsc_table *table, dsc_str addr, dsc_changes *changes);

/* Notes that a read of the whole app was sent: until dsc_table_read_end() the addresses of messages (set without
** by_user, goodbye) are remembered, and that read does not touch them. One read at a time; a new begin forgets the
** former. Any thread. */
void dsc_table_read_begin(dsc_table *table);

typedef struct dsc_row {
  dsc_str addr;
  uint32_t weight;  /* >= 1 */
  bool alive;       /* its key exists */
  dsc_str metadata; /* of the key */
} dsc_row;

/* Applies a whole read: alive rows are set, dead and missing ones become stale. Rows with bad addresses or weight 0
** are skipped. A dead row whose node is unknown is added as a stale node only if the app has no node that is not
** stale (else it is nobody). The mean for newcomers is taken once. Any thread. Rows are borrowed. Fails: DSC_ENOMEM,
** what was applied stays (nothing, if the address of a message could not be remembered), DSC_ECLOSED. */
dsc_err dsc_table_read_end(dsc_table *table, const dsc_row *rows, size_t n, uint64_t now_ms, dsc_changes *changes);

/* Removes stale nodes whose grace is over, while a node that is not stale remains. Any thread. Returns when (ms on the
** clock) the next one is due, 0: none (also while all are stale: sweep again after a read or a message). */
uint64_t dsc_table_sweep(dsc_table *table, uint64_t grace_ms, uint64_t now_ms, dsc_changes *changes);

/* Picks a node and counts it: load, in_flight, attempts. An isolated node whose probe is due comes first, if
** `pick->repeatable` or nothing else is usable; then the balancer's best; then, if no usable node is left that was
** not tried, the least used of the isolated ones. Any thread. Caller owns one reference and must call
** dsc_table_done() once. `*is_probe` says whether it holds the probe slot. Fails: NULL: nothing left. */
dsc_node *dsc_table_pick(dsc_table *table, const dsc_pick *pick, bool *is_probe);

/* As dsc_table_pick() for one certain node: counts it if it is in the table and was not tried. Takes the probe slot
** if one is due. Any thread. Fails: NULL. */
dsc_node *dsc_table_pick_addr(dsc_table *table, dsc_str addr, const dsc_pick *pick, bool *is_probe);

/* Takes the probe slot of an isolated node whose probe is due, for `slot_ms`, and counts it as a pick. Any thread.
** Caller owns one reference and must call dsc_table_done() once, as the probe. Fails: NULL: none is due; `*next_ms`:
** when the next one may be, UINT64_MAX: none is isolated. */
dsc_node *dsc_table_pick_probe(dsc_table *table, uint32_t slot_ms, uint64_t *next_ms);

/* True when a node that was not tried can't be picked because of `pick->node_limit` alone: any usable one (isolated
** ones count only without a usable one), or with `addr` not empty that one. Any thread. */
bool dsc_table_is_full(dsc_table *table, dsc_str addr, const dsc_pick *pick);

/* Counts a call (its first attempt) for the app's retry budget. Any thread. */
void dsc_table_count_call(dsc_table *table, uint64_t now_ms);

/* Takes a retry out of the app's budget. Any thread. Returns false when it is used up. */
bool dsc_table_take_retry(dsc_table *table, uint64_t now_ms);

/* Leaves a node alone until `until_ms` as long as there are others: a bias, not an isolation. Never ends earlier than
** was said before. Any thread. Returns false when it was left alone already, or is gone. */
bool dsc_table_avoid(dsc_table *table, dsc_node *node, uint64_t until_ms);

/* Reports the end of what dsc_table_pick() began: in_flight goes down (never below 0), the outcome feeds the health
** law; a failed stale node goes while another is not stale. A node that is gone already is only counted. Any thread.
** Does not take the reference. */
void dsc_table_done(dsc_table *table, dsc_node *node, dsc_outcome outcome, bool was_probe, uint32_t retry_times,
                    uint64_t now_ms, dsc_changes *changes);

/* Takes one from in_flight without an outcome, never below 0 (a mark that lapsed). Any thread. */
void dsc_table_lapse(dsc_table *table, dsc_node *node, bool was_probe, uint64_t now_ms);

/* Finds a node. Any thread. Caller owns one reference. Fails: NULL. */
dsc_node *dsc_table_find(dsc_table *table, dsc_str addr);

/* Returns all nodes, sorted by address. Any thread. Caller owns one reference: dsc_node_array_unref(). Fails: NULL:
** out of memory. */
dsc_node_array *dsc_table_snapshot(dsc_table *table);

/* Adds one to in_flight without a pick, for an outcome that is reported for a call counted nowhere: dsc_table_done()
** takes it away. Any thread. */
void dsc_table_hold(dsc_table *table, dsc_node *node);

/* Returns the nodes that a host's own balancer may choose from, sorted by address: not tried, and not isolated unless
** a probe is due; without any of those, all that were not tried. Any thread. Caller owns one reference:
** dsc_node_array_unref(). Fails: NULL: out of memory. */
dsc_node_array *dsc_table_candidates(dsc_table *table, const dsc_pick *pick, uint64_t now_ms);

#endif
