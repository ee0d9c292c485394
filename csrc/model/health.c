/*
** health.c - the law of isolation as a pure function.
**
** Invariants: UP has no use for until_ms; ISOLATED and PROBING always have it; period_ms is 0 or within its bounds. A
** late answer of a call that is not the probe may bring a node back (an answer is an answer) but never makes its
** isolation longer. No state of its own: any thread.
*/
#include "model/health.h"

#define DECAY_MS UINT64_C(10000)

/* What is left of the last period: it halves every DECAY_MS since the node came back. */
static uint32_t remembered(const dsc_health *health, uint64_t now_ms) {
  uint64_t since = now_ms > health->recovered_ms ? now_ms - health->recovered_ms : 0;
  uint64_t halvings = since / DECAY_MS;
  return halvings < 32 ? health->period_ms >> halvings : 0;
}

static void isolate(dsc_health *health, uint32_t last_ms, uint64_t now_ms, double jitter) {
  uint32_t period = last_ms * 2;
  if (period < DSC_HEALTH_PERIOD_MIN_MS) period = DSC_HEALTH_PERIOD_MIN_MS;
  if (period > DSC_HEALTH_PERIOD_MAX_MS) period = DSC_HEALTH_PERIOD_MAX_MS;
  health->state = DSC_HEALTH_ISOLATED;
  health->period_ms = period;
  health->until_ms = now_ms + (uint64_t)(period * (0.5 + jitter));
}

static dsc_health_change fail(dsc_health *health, bool was_probe, uint32_t retry_times, uint64_t now_ms,
                              double jitter) {
  if (health->failures < UINT32_MAX) health->failures++;
  if (health->state == DSC_HEALTH_PROBING && was_probe) isolate(health, health->period_ms, now_ms, jitter);
  if (health->state != DSC_HEALTH_UP || health->failures < retry_times) return DSC_HEALTH_SAME;
  isolate(health, remembered(health, now_ms), now_ms, jitter);
  return DSC_HEALTH_WAS_ISOLATED;
}

static dsc_health_change succeed(dsc_health *health, uint64_t now_ms) {
  health->failures = 0;
  if (health->state == DSC_HEALTH_UP) return DSC_HEALTH_SAME;
  health->state = DSC_HEALTH_UP;
  health->recovered_ms = now_ms;
  return DSC_HEALTH_RECOVERED;
}

dsc_health_change dsc_health_apply(dsc_health *health, dsc_outcome outcome, bool was_probe, uint32_t retry_times,
                                   uint64_t now_ms, double jitter) {
  switch (outcome) {
  case DSC_OUTCOME_SUCCESS: return succeed(health, now_ms);
  case DSC_OUTCOME_FAILURE: return fail(health, was_probe, retry_times, now_ms, jitter);
  case DSC_OUTCOME_NEUTRAL: break;
  }
  if (was_probe && health->state == DSC_HEALTH_PROBING) {
    health->state = DSC_HEALTH_ISOLATED;
    health->until_ms = now_ms;
  }
  return DSC_HEALTH_SAME;
}

dsc_health_change dsc_health_isolate(dsc_health *health, uint64_t now_ms, double jitter) {
  if (health->state != DSC_HEALTH_UP) return DSC_HEALTH_SAME;
  isolate(health, remembered(health, now_ms), now_ms, jitter);
  return DSC_HEALTH_WAS_ISOLATED;
}

bool dsc_health_probe_due(const dsc_health *health, uint64_t now_ms) {
  return health->state != DSC_HEALTH_UP && now_ms >= health->until_ms;
}

void dsc_health_begin_probe(dsc_health *health, uint64_t lapse_ms) {
  health->state = DSC_HEALTH_PROBING;
  health->until_ms = lapse_ms;
}
