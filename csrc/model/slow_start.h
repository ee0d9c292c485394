/*
** slow_start.h - how much a node that is new, or back, may have in flight beside the others. Pure.
**
** For 10 s its share of what is in flight grows from a tenth of its weight's to all of it; one at a time it may always
** have. A node is spared load that it can't bear yet (cold caches, code not compiled) while nothing changes for callers
** that call one at a time: what is in flight tells load, what was answered does not.
*/
#ifndef DSC_MODEL_SLOW_START_H
#define DSC_MODEL_SLOW_START_H

#include <stdbool.h>
#include <stdint.h>

#define DSC_SLOW_START_MS    10000
#define DSC_SLOW_START_FIRST 0.1

/* True when a node of this age may have no more in flight. `all_in_flight`, `all_weight`: of all nodes that may be
** picked, this one included. Any thread (pure). */
static inline bool dsc_slow_start_is_full(uint64_t age_ms, uint64_t in_flight, uint64_t weight, uint64_t all_in_flight,
                                          uint64_t all_weight) {
  if (in_flight == 0 || age_ms >= DSC_SLOW_START_MS) return false;
  double grown = DSC_SLOW_START_FIRST + (1 - DSC_SLOW_START_FIRST) * ((double)age_ms / DSC_SLOW_START_MS);
  double share = (double)(all_in_flight + 1) * ((double)weight / (double)all_weight) * grown;
  return (double)(in_flight + 1) > share;
}

#endif
