/*
** map.c - open addressing with linear probing; a removal shifts back instead of leaving a tombstone.
**
** Invariants: cap is 0 or a power of two; at most 3/4 of the slots are taken, so every probe meets a
** free one (value NULL); between a key's home slot and its slot none is free. Owner's thread, or under
** the owner's lock.
*/
#include "base/map.h"

#include "base/mem.h"

#define FIRST_CAP ((size_t)8)

void dsc_map_init(dsc_map *map) {
  *map = (dsc_map){0};
}

void dsc_map_clear(dsc_map *map) {
  dsc_mem_free(map->slots);
  dsc_map_init(map);
}

static size_t home(const dsc_map *map, dsc_str key) {
  return (size_t)dsc_str_hash(key) & (map->cap - 1);
}

/* The slot that holds `key`, or the free one where it belongs. The map has slots. */
static dsc_map_slot *find(const dsc_map *map, dsc_str key) {
  size_t i = home(map, key);
  while (map->slots[i].value && !dsc_str_equal(map->slots[i].key, key)) i = (i + 1) & (map->cap - 1);
  return &map->slots[i];
}

void *dsc_map_get(const dsc_map *map, dsc_str key) {
  return map->count ? find(map, key)->value : NULL;
}

static dsc_err grow(dsc_map *map) {
  dsc_map larger = {.count = map->count, .cap = map->cap ? map->cap * 2 : FIRST_CAP};
  if (larger.cap < map->cap) return DSC_ENOMEM;
  larger.slots = dsc_mem_zalloc(larger.cap, sizeof *larger.slots);
  if (!larger.slots) return DSC_ENOMEM;
  for (size_t i = 0; i < map->cap; i++)
    if (map->slots[i].value) *find(&larger, map->slots[i].key) = map->slots[i];
  dsc_mem_free(map->slots);
  *map = larger;
  return DSC_OK;
}

dsc_err dsc_map_put(dsc_map *map, dsc_str key, void *value, void **old) {
  if (old) *old = NULL;
  dsc_map_slot *slot = map->cap ? find(map, key) : NULL;
  if (slot && slot->value) {
    if (old) *old = slot->value;
    *slot = (dsc_map_slot){key, value};
    return DSC_OK;
  }
  if (map->count >= map->cap / 4 * 3) {
    if (grow(map)) return DSC_ENOMEM;
    slot = find(map, key);
  }
  *slot = (dsc_map_slot){key, value};
  map->count++;
  return DSC_OK;
}

/* Closes the gap at `gap`: whoever comes later in the run and may not be found any more moves into it. */
static void shift_back(dsc_map *map, size_t gap) {
  size_t mask = map->cap - 1;
  for (size_t i = (gap + 1) & mask; map->slots[i].value; i = (i + 1) & mask) {
    size_t from_home = (i - home(map, map->slots[i].key)) & mask;
    if (from_home < ((i - gap) & mask)) continue; /* its home lies behind the gap */
    map->slots[gap] = map->slots[i];
    gap = i;
  }
  map->slots[gap] = (dsc_map_slot){0};
}

void *dsc_map_take(dsc_map *map, dsc_str key) {
  dsc_map_slot *slot = map->count ? find(map, key) : NULL;
  void *value = slot ? slot->value : NULL;
  if (!value) return NULL;
  shift_back(map, (size_t)(slot - map->slots));
  map->count--;
  return value;
}

void *dsc_map_next(const dsc_map *map, size_t *at) {
  while (*at < map->cap) {
    void *value = map->slots[(*at)++].value;
    if (value) return value;
  }
  return NULL;
}
