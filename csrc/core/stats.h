/*
** stats.h - one picture of everything that is counted, and that picture as Prometheus text.
*/
#ifndef DSC_CORE_STATS_H
#define DSC_CORE_STATS_H

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "model/latency.h"

#pragma GCC visibility push(default)

/* A plain copy of dsc_counters. */
typedef struct dsc_stats_counts {
  uint64_t calls, attempts, retries, isolations, recoveries, picks, in_flight, queued, waiting, retries_denied;
  uint64_t errors[DSC_ERR_COUNT], attempt_errors[DSC_ERR_COUNT], statuses[6];
  uint64_t latency[DSC_COUNTERS_BUCKETS], latency_sum_us;
} dsc_stats_counts;

/* The registry. */
typedef struct dsc_registry_stats {
  const char *kind;
  char target[300];          /* no password */
  char server[DSC_ADDR_MAX]; /* behind Sentinels: the master; "": none yet, or no Sentinels */
  bool up;
  uint64_t connects, disconnects, commands, errors, messages, bad_messages, reads, resyncs, heartbeats, lost;
  double last_heartbeat_age; /* seconds, negative: none yet */
} dsc_registry_stats;

typedef struct dsc_stats_node {
  char addr[DSC_ADDR_MAX];
  const char *state;
  uint64_t weight, used_times, failed_times, in_flight, attempts, failures;
} dsc_stats_node;

typedef struct dsc_stats_app {
  char app[256];
  dsc_stats_counts counts;
  dsc_stats_node *nodes; /* sorted by address */
  size_t n_nodes;
} dsc_stats_app;

typedef struct dsc_stats {
  /* owner's thread only */
  dsc_registry_stats registry;
  dsc_stats_counts total; /* isolations, recoveries, picks, in_flight: of the apps below */
  dsc_stats_app *apps;    /* sorted by name */
  size_t n_apps;
  uint64_t logs_dropped, events_dropped;
  uint64_t memory_blocks, memory_bytes; /* of this library, in this process */
} dsc_stats;

/* Copies a picture. Owner's thread. Caller owns. Fails: NULL: out of memory. */
dsc_stats *dsc_stats_copy(const dsc_stats *stats);

/* Frees it; NULL is allowed. Owner's thread. */
void dsc_stats_free(dsc_stats *stats);

/* Appends the picture in Prometheus' text format 0.0.4 (names discover_*, label values escaped). Owner's thread.
** Fails: as dsc_buf_add(). */
dsc_err dsc_stats_prometheus(const dsc_stats *stats, dsc_buf *text);

#pragma GCC visibility pop

#endif
