/*
** changes.c - a growing list of node references with what happened to them.
**
** It never fails its caller: the table must go on when memory is short, so a change that can't be kept is counted
** instead. Owner's thread.
*/
#include "model/changes.h"

#include "base/mem.h"

#define FIRST_CAP ((size_t)8)

void dsc_changes_init(dsc_changes *changes) {
  *changes = (dsc_changes){0};
}

void dsc_changes_clear(dsc_changes *changes) {
  for (size_t i = 0; i < changes->count; i++) dsc_node_unref(changes->items[i].node);
  if (changes->items != &changes->first) dsc_mem_free(changes->items);
  dsc_changes_init(changes);
}

static bool has_room(dsc_changes *changes) {
  if (changes->count < changes->cap) return true;
  bool few = changes->items == &changes->first;
  size_t cap = changes->cap == 0 ? 1 : few ? FIRST_CAP : changes->cap * 2;
  dsc_change *items = cap == 1 ? &changes->first : dsc_mem_realloc(few ? NULL : changes->items, cap * sizeof *items);
  if (!items) return false;
  if (few) *items = changes->first;
  changes->items = items;
  changes->cap = cap;
  return true;
}

void dsc_changes_add(dsc_changes *changes, dsc_change_kind kind, dsc_node *node) {
  if (!changes) return;
  if (has_room(changes))
    changes->items[changes->count++] = (dsc_change){kind, dsc_node_ref(node)};
  else
    changes->dropped++;
}
