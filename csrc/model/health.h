/*
** health.h - the law of isolation: (state, outcome, now) -> state. Pure: no lock, no clock, no node.
**
** A failure counts up, a success sets the count to zero. At `retry_times` failures in a row the node is
** isolated for 1 s; every probe that fails doubles that up to 10 s, each +-50 %; after a recovery the
** memory of the last period halves every 10 s, so that a flapping node does not begin at 1 s again.
** When the time is over one call may probe it (half-open); the slot lapses by itself.
** Sources: M. Nygard, "Release It!", circuit breaker; Envoy, outlier detection.
*/
#ifndef DSC_MODEL_HEALTH_H
#define DSC_MODEL_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "model/outcome.h"

#define DSC_HEALTH_PERIOD_MIN_MS 1000
#define DSC_HEALTH_PERIOD_MAX_MS 10000

typedef enum dsc_health_state { DSC_HEALTH_UP, DSC_HEALTH_ISOLATED, DSC_HEALTH_PROBING } dsc_health_state;

typedef enum dsc_health_change { DSC_HEALTH_SAME, DSC_HEALTH_WAS_ISOLATED, DSC_HEALTH_RECOVERED } dsc_health_change;

typedef struct dsc_health {
  dsc_health_state state;
  uint32_t failures;     /* in a row */
  uint32_t period_ms;    /* of the last isolation, before jitter; 0: never isolated */
  uint64_t until_ms;     /* isolated: a probe is due then; probing: the slot lapses then */
  uint64_t recovered_ms; /* when it last came back */
} dsc_health;

/* Applies one outcome. `jitter` in [0, 1) spreads the period. A neutral outcome of the probe frees the
** slot (isolated, due at once). Any thread (pure). Returns what changed. */
dsc_health_change dsc_health_apply(dsc_health *health, dsc_outcome outcome, bool was_probe, uint32_t retry_times,
                                   uint64_t now_ms, double jitter);

/* Isolates a node that is up for another reason than failures in a row. Any thread (pure). Returns what changed. */
dsc_health_change dsc_health_isolate(dsc_health *health, uint64_t now_ms, double jitter);

/* True when a probe may start now: isolated and due, or probing with a lapsed slot. Any thread (pure). */
bool dsc_health_probe_due(const dsc_health *health, uint64_t now_ms);

/* Takes the probe slot until `lapse_ms`. Any thread (pure). The caller checked that it is due. */
void dsc_health_begin_probe(dsc_health *health, uint64_t lapse_ms);

#endif
