/*
** failure_rate.h - the second law of isolation: a node that fails too large a part of its attempts. Pure.
**
** Failures in a row say that a node is dead; a node that answers every other call never has many of them. It is
** isolated when within the window at least half of its attempts failed, and there were enough of them to tell.
*/
#ifndef DSC_MODEL_FAILURE_RATE_H
#define DSC_MODEL_FAILURE_RATE_H

#include <stdbool.h>
#include <stddef.h>

#include "model/window.h"

#define DSC_FAILURE_RATE_MIN     20 /* attempts within the window */
#define DSC_FAILURE_RATE_PERCENT 50

enum { DSC_FAILURE_RATE_WELL, DSC_FAILURE_RATE_FAILED };

/* True when too many attempts of `window` (its kinds are those above) failed. Any thread (pure). */
static inline bool dsc_failure_rate_is_high(const dsc_window *window) {
  uint64_t failed = window->sum[DSC_FAILURE_RATE_FAILED], all = failed + window->sum[DSC_FAILURE_RATE_WELL];
  return all >= DSC_FAILURE_RATE_MIN && failed * 100 >= all * DSC_FAILURE_RATE_PERCENT;
}

/* True when one more node of `nodes`, of which `isolated` are, may be isolated for its rate: at most half, never the
** last. Any thread (pure). */
static inline bool dsc_failure_rate_may_isolate(size_t nodes, size_t isolated) {
  return (isolated + 1) * 2 <= nodes;
}

#endif
