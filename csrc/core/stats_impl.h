/*
** stats_impl.h - how the picture of stats.h is taken.
*/
#ifndef DSC_CORE_STATS_IMPL_H
#define DSC_CORE_STATS_IMPL_H

#include "core/registry.h"
#include "core/stats.h"

/* Takes the picture: registry (NULL: none left), apps, nodes, totals (drop counters are the caller's). Any thread.
** Caller owns: dsc_stats_free(). Fails: NULL: out of memory. */
dsc_stats *dsc_stats_new(dsc_registry *registry);

#endif
