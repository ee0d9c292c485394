/*
** counters.c - counting calls and attempts, and putting latencies into buckets.
**
** Each counter is a relaxed atomic: they order nothing, and a reader may see a call counted whose latency is not
** yet. Invariant: the buckets add up to `calls` once nothing is running. Any thread.
*/
#include "model/counters.h"

const uint64_t dsc_counters_bounds_us[DSC_COUNTERS_BUCKETS - 1] = DSC_COUNTERS_BOUNDS;

static void count(_Atomic uint64_t *counter, uint64_t n) {
  atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

size_t dsc_counters_bucket(uint64_t us) {
  size_t low = 0, high = DSC_COUNTERS_BUCKETS - 1;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (us <= dsc_counters_bounds_us[middle])
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

void dsc_counters_call(dsc_counters *counters, dsc_err err, uint64_t elapsed_us) {
  count(&counters->calls, 1);
  if ((unsigned)err < DSC_ERR_COUNT) count(&counters->errors[err], 1);
  count(&counters->latency[dsc_counters_bucket(elapsed_us)], 1);
  count(&counters->latency_sum_us, elapsed_us);
}

void dsc_counters_attempt(dsc_counters *counters, dsc_err err, int status, bool is_retry) {
  count(&counters->attempts, 1);
  if (is_retry) count(&counters->retries, 1);
  if (err != DSC_OK && (unsigned)err < DSC_ERR_COUNT) count(&counters->attempt_errors[err], 1);
  if (status != 0) count(&counters->statuses[status >= 100 && status <= 599 ? status / 100 : 0], 1);
}
