/*
** window.h - how often two things happened in the last 10 s: exact buckets of a second, no average that forgets bursts.
** Pure: no lock, no clock.
**
** Eleven buckets, the one that is filling included: what happened at most 10 s ago is always counted, what is older
** than 11 s never.
*/
#ifndef DSC_MODEL_WINDOW_H
#define DSC_MODEL_WINDOW_H

#include <stdint.h>

#define DSC_WINDOW_MS      10000
#define DSC_WINDOW_BUCKETS 11

/* Zeroed: nothing happened. */
typedef struct dsc_window {
  /* of its owner */
  uint64_t second; /* of the bucket that is filling */
  uint32_t sum[2];
  uint32_t buckets[DSC_WINDOW_BUCKETS][2];
} dsc_window;

/* Forgets what is too old. Afterwards `sum` is true. A clock that goes back changes nothing. Any thread (pure). */
void dsc_window_advance(dsc_window *window, uint64_t now_ms);

/* Counts one of the kind 0 or 1. Any thread (pure). */
void dsc_window_add(dsc_window *window, unsigned kind, uint64_t now_ms);

#endif
