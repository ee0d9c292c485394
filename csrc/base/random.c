/*
** random.c - xoshiro256++, one state per thread.
**
** Invariant: a state is used only in the fork generation it was seeded in (0: never seeded), so a child
** and its parent part at once. Any thread, no lock.
*/
#include "base/random.h"

#include <sys/random.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fork.h"
#include "base/str.h"

struct generator {
  uint64_t s[4];
  uint32_t generation;
};

static _Thread_local struct generator own;

static void seed(struct generator *g, uint32_t generation) {
  g->generation = generation;
  /* never waits for entropy at boot: jitter is not worth a hanging start */
  if (getrandom(g->s, sizeof g->s, GRND_NONBLOCK) == (ssize_t)sizeof g->s) return;
  for (uint64_t i = 0; i < 4; i++) {
    uint64_t differs[] = {dsc_clock_now_ns(), (uint64_t)getpid(), (uint64_t)(uintptr_t)g, i};
    g->s[i] = dsc_str_hash((dsc_str){(const char *)differs, sizeof differs});
  }
}

static uint64_t rotate(uint64_t x, int k) {
  return (x << k) | (x >> (64 - k));
}

uint64_t dsc_random_u64(void) {
  struct generator *g = &own;
  uint32_t generation = dsc_fork_generation();
  if (g->generation != generation) seed(g, generation);
  uint64_t *s = g->s;
  uint64_t result = rotate(s[0] + s[3], 23) + s[0];
  uint64_t t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotate(s[3], 45);
  return result;
}

double dsc_random_unit(void) {
  return (double)(dsc_random_u64() >> 11) * 0x1.0p-53;
}

uint64_t dsc_random_between_ms(uint64_t low_ms, uint64_t high_ms) {
  if (high_ms <= low_ms) return low_ms;
  uint64_t span = high_ms - low_ms + 1; /* 0: all 64 bits */
  return span ? low_ms + dsc_random_u64() % span : dsc_random_u64();
}

uint64_t dsc_random_jitter_ms(uint64_t ms, double part) {
  if (!(part > 0)) return ms; /* NaN too */
  if (part > 1) part = 1;
  double width = (double)ms * part;
  uint64_t below = width < 0x1p63 ? (uint64_t)width : UINT64_C(1) << 63;
  if (below > ms) below = ms; /* a double rounds beyond 2^53 */
  /* the upper bound is exclusive: a whole width leaves its last millisecond out */
  uint64_t above = (double)below < width ? below : below - (below > 0);
  uint64_t high = ms > UINT64_MAX - above ? UINT64_MAX : ms + above;
  return dsc_random_between_ms(ms - below, high);
}
