/*
** counters.h - what is counted about calls, and how latencies are put into buckets.
*/
#ifndef DSC_MODEL_COUNTERS_H
#define DSC_MODEL_COUNTERS_H

#include <stdatomic.h>

#include "base/err.h"
#include "base/str.h"
#include "model/latency.h"

typedef struct dsc_counters {
  /* any thread, atomic */
  _Atomic uint64_t calls; /* finished */
  _Atomic uint64_t attempts;
  _Atomic uint64_t retries; /* attempts after a call's first */
  _Atomic uint64_t isolations;
  _Atomic uint64_t recoveries;
  _Atomic uint64_t picks;                         /* by hand: pick, app_client */
  _Atomic uint64_t retries_denied;                /* by the retry budget */
  _Atomic uint64_t queued;                        /* times that a call waited for a limit on calls in flight */
  _Atomic uint64_t waiting;                       /* calls that do now */
  _Atomic uint64_t errors[DSC_ERR_COUNT];         /* finished calls by code; [DSC_OK]: without error */
  _Atomic uint64_t attempt_errors[DSC_ERR_COUNT]; /* failed attempts by code */
  _Atomic uint64_t statuses[6];                   /* answered attempts by class (1xx is [1]); [0]: outside 100..599 */
  _Atomic uint64_t latency[DSC_COUNTERS_BUCKETS]; /* of finished calls */
  _Atomic uint64_t latency_sum_us;
} dsc_counters;

/* Counts a finished call: its code and its latency. Any thread. */
void dsc_counters_call(dsc_counters *counters, dsc_err err, uint64_t elapsed_us);

/* Counts a finished attempt; `status` 0: no answer; `err` DSC_OK: not an error. Any thread. */
void dsc_counters_attempt(dsc_counters *counters, dsc_err err, int status, bool is_retry);

/* Returns the bucket of a latency: the first whose bound is not below `us`. Any thread (pure). */
size_t dsc_counters_bucket(uint64_t us);

#endif
