/*
** random.h - jitter and tie-breaking; not for secrets.
**
** One generator per thread, seeded from getrandom(2) and again after a fork, so that processes forked
** from one parent do not move in step. Source: Blackman and Vigna, xoshiro256++.
*/
#ifndef DSC_BASE_RANDOM_H
#define DSC_BASE_RANDOM_H

#include <stdint.h>

#pragma GCC visibility push(default)

/* Returns 64 random bits. Any thread. */
uint64_t dsc_random_u64(void);

/* Returns a number in [0, 1). Any thread. */
double dsc_random_unit(void);

/* Returns a duration in [ms * (1 - part), ms * (1 + part)), part in [0, 1]. Any thread. */
uint64_t dsc_random_jitter_ms(uint64_t ms, double part);

/* Returns a duration in [low_ms, high_ms], for back-off with full jitter. Any thread.
** Source: M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog. */
uint64_t dsc_random_between_ms(uint64_t low_ms, uint64_t high_ms);

#pragma GCC visibility pop

#endif
