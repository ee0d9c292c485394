/*
** clock.h - monotonic time, and a hand that a test can hold.
**
** Everything that waits, expires or measures in this library asks here; libuv's and curl's own timers
** follow the real clock, which is why pure parts take `now_ms` as an argument.
*/
#ifndef DSC_BASE_CLOCK_H
#define DSC_BASE_CLOCK_H

#include <stdint.h>

/* Returns monotonic milliseconds since an arbitrary start (never 0). Any thread. */
uint64_t dsc_clock_now_ms(void);

/* Returns monotonic nanoseconds on the same scale. Any thread. */
uint64_t dsc_clock_now_ns(void);

/* Returns monotonic milliseconds that lag by up to one tick of the kernel (4 ms), for a fifth of the cost. Any
** thread. */
uint64_t dsc_clock_coarse_ms(void);

/* Returns wall-clock seconds since 1970, for log records only. Any thread. */
double dsc_clock_wall(void);

/* Holds the monotonic clock at `ms` (0 lets it run again). Any thread, process-wide.
** Only in builds with DSC_TESTING, else no effect. */
void dsc_clock_hold(uint64_t ms);

#endif
