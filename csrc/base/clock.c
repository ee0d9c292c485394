/*
** clock.c - CLOCK_MONOTONIC, shifted by one millisecond so that no answer is 0 right after boot.
**
** Both scales are shifted alike. With DSC_TESTING a held hand wins over the real clock; without it the
** hand does not exist and a question costs one vDSO call. Any thread.
*/
#include "base/clock.h"

#include <stdatomic.h>
#include <time.h>

#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S  UINT64_C(1000000000)

#ifdef DSC_TESTING
static _Atomic uint64_t held_ms;

static uint64_t held(void) {
  return atomic_load_explicit(&held_ms, memory_order_acquire);
}

void dsc_clock_hold(uint64_t ms) {
  atomic_store_explicit(&held_ms, ms, memory_order_release);
}
#else
static uint64_t held(void) {
  return 0;
}

void dsc_clock_hold(uint64_t ms) {
  (void)ms;
}
#endif

uint64_t dsc_clock_now_ns(void) {
  uint64_t ms = held();
  if (ms) return ms * NS_PER_MS;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec + NS_PER_MS;
}

uint64_t dsc_clock_now_ms(void) {
  return dsc_clock_now_ns() / NS_PER_MS;
}

uint64_t dsc_clock_coarse_ms(void) {
  uint64_t ms = held();
  if (ms) return ms;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return ((uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec) / NS_PER_MS + 1;
}

double dsc_clock_wall(void) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}
