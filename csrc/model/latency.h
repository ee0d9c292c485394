/*
** latency.h - the buckets that latencies are counted in.
*/
#ifndef DSC_MODEL_LATENCY_H
#define DSC_MODEL_LATENCY_H

#include <stdint.h>

#pragma GCC visibility push(default)

/* Upper bounds of the latency buckets in microseconds; the last bucket is everything above. */
#define DSC_COUNTERS_BOUNDS                                                                                            \
  { 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000 }
#define DSC_COUNTERS_BUCKETS 17

/* The same bounds as data. */
extern const uint64_t dsc_counters_bounds_us[DSC_COUNTERS_BUCKETS - 1];

#pragma GCC visibility pop

#endif
