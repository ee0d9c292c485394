/*
** map.h - a hash map from strings to pointers (open addressing, linear probing, backward-shift deletion).
**
** Keys are borrowed: they usually live inside the value (a node's address, an app's name) and must
** stay where they are while the entry is in the map. Values belong to whoever put them in.
*/
#ifndef DSC_BASE_MAP_H
#define DSC_BASE_MAP_H

#include "base/err.h"
#include "base/str.h"

typedef struct dsc_map_slot {
  dsc_str key;
  void *value;
} dsc_map_slot;

typedef struct dsc_map {
  /* owner's thread only, or under the owner's lock */
  dsc_map_slot *slots;
  size_t count;
  size_t cap; /* 0 or a power of two */
} dsc_map;

/* Makes an empty map. Owner's thread. Allocates nothing. */
void dsc_map_init(dsc_map *map);

/* Frees the slots, not the values, and leaves an empty map. Owner's thread. */
void dsc_map_clear(dsc_map *map);

/* Returns the value of `key`. Owner's thread. Fails: NULL when there is none. */
void *dsc_map_get(const dsc_map *map, dsc_str key);

/* Sets `key` (borrowed) to `value` (not NULL); a former entry's key is replaced too; `*old`, if not
** NULL, receives the former value or NULL. Owner's thread. Fails: DSC_ENOMEM, nothing changed. */
dsc_err dsc_map_put(dsc_map *map, dsc_str key, void *value, void **old);

/* Takes `key` out and returns its value. Owner's thread. Fails: NULL when there is none. */
void *dsc_map_take(dsc_map *map, dsc_str key);

/* Walks: start with `*at` = 0; returns each value once in no order, NULL at the end. The map must not
** change meanwhile. Owner's thread. */
void *dsc_map_next(const dsc_map *map, size_t *at);

#endif
