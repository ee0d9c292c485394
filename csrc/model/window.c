/*
** window.c - a ring of counts by second. Invariant: sum[k] is the sum of buckets[..][k]. Pure.
*/
#include "model/window.h"

#include <string.h>

static void clear_bucket(dsc_window *window, uint64_t second) {
  uint32_t *bucket = window->buckets[second % DSC_WINDOW_BUCKETS];
  for (unsigned kind = 0; kind < 2; kind++) {
    window->sum[kind] -= bucket[kind];
    bucket[kind] = 0;
  }
}

void dsc_window_advance(dsc_window *window, uint64_t now_ms) {
  uint64_t second = now_ms / 1000;
  if (second <= window->second) return;
  if (second - window->second >= DSC_WINDOW_BUCKETS) {
    memset(window, 0, sizeof *window);
  } else {
    for (uint64_t s = window->second + 1; s <= second; s++) clear_bucket(window, s);
  }
  window->second = second;
}

void dsc_window_add(dsc_window *window, unsigned kind, uint64_t now_ms) {
  dsc_window_advance(window, now_ms);
  window->buckets[window->second % DSC_WINDOW_BUCKETS][kind]++;
  window->sum[kind]++;
}
