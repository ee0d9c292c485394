/*
** changes.h - what happened to nodes, collected under a table's lock and told after it.
*/
#ifndef DSC_MODEL_CHANGES_H
#define DSC_MODEL_CHANGES_H

#include "model/node.h"

typedef enum dsc_change_kind {
  DSC_CHANGE_ADDED,
  DSC_CHANGE_REMOVED,
  DSC_CHANGE_STALE,
  DSC_CHANGE_ISOLATED,         /* it failed in a row */
  DSC_CHANGE_ISOLATED_BY_RATE, /* it failed too often */
  DSC_CHANGE_RECOVERED
} dsc_change_kind;

typedef struct dsc_change {
  dsc_change_kind kind;
  dsc_node *node; /* a reference */
} dsc_change;

/* Collects changes; when memory runs out they are dropped and counted, the table itself is right. The first needs no
** memory: that a node was isolated or has gone is told whatever happens. Not to be copied. */
typedef struct dsc_changes {
  dsc_change *items; /* NULL: none; `first`, or on the heap */
  size_t count, cap, dropped;
  dsc_change first;
} dsc_changes;

/* Makes an empty collection. Owner's thread. */
void dsc_changes_init(dsc_changes *changes);

/* Gives the node references back and frees. Owner's thread, not under a table's lock. */
void dsc_changes_clear(dsc_changes *changes);

/* Appends a change and takes a reference to the node; NULL `changes`: nothing. Owner's thread. When memory runs out
** it is only counted. */
void dsc_changes_add(dsc_changes *changes, dsc_change_kind kind, dsc_node *node);

#endif
