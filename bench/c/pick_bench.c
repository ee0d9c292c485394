/*
** pick_bench.c - what a pick costs: nanoseconds per dsc_table_pick() with 2, 10, 1,000 and 10,000 nodes.
**
** One line per balancer and size: the median of the rounds, pick alone and pick with its done and unref. Then what
** reading a whole app costs and how many bytes a node takes.
*/
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "model/table.h"

#define ROUNDS 9
#define PICKS  100000

static dsc_row *make_rows(size_t n) {
  dsc_row *rows = calloc(n, sizeof *rows);
  for (size_t i = 0; i < n; i++) {
    char *text = malloc(32);
    int len = snprintf(text, 32, "10.%zu.%zu.%zu:8080", i / 65536, i / 256 % 256, i % 256);
    rows[i] = (dsc_row){{text, (size_t)len}, 100, true, {NULL, 0}};
  }
  return rows;
}

static void free_rows(dsc_row *rows, size_t n) {
  for (size_t i = 0; i < n; i++) free((void *)(size_t)rows[i].addr.p);
  free(rows);
}

static uint64_t read_rows(dsc_table *table, const dsc_row *rows, size_t n) {
  uint64_t start = dsc_clock_now_ns();
  dsc_table_read_begin(table);
  if (dsc_table_read_end(table, rows, n, dsc_clock_now_ms(), NULL)) fputs("read failed\n", stderr);
  return dsc_clock_now_ns() - start;
}

static dsc_node *picked[PICKS];

static double pick_round(dsc_table *table, dsc_pick *pick, double *with_done) {
  bool is_probe;
  uint64_t start = dsc_clock_now_ns();
  for (size_t i = 0; i < PICKS; i++) {
    pick->key = i * UINT64_C(0x9e3779b97f4a7c15);
    picked[i] = dsc_table_pick(table, pick, &is_probe);
  }
  uint64_t middle = dsc_clock_now_ns();
  for (size_t i = 0; i < PICKS; i++) {
    dsc_table_done(table, picked[i], DSC_OUTCOME_SUCCESS, false, 10, 1, NULL);
    dsc_node_unref(picked[i]);
  }
  uint64_t end = dsc_clock_now_ns();
  *with_done = (double)(end - start) / PICKS;
  return (double)(middle - start) / PICKS;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void bench_picks(const dsc_balancer_ops *balancer, size_t n) {
  dsc_row *rows = make_rows(n);
  dsc_table *table = dsc_table_new(DSC_STR_LITERAL("app"));
  dsc_pick pick = {.balancer = balancer, .has_key = true, .repeatable = true, .slot_ms = 1000};
  double alone[ROUNDS], with_done[ROUNDS];
  read_rows(table, rows, n);
  (void)pick_round(table, &pick, with_done);
  for (int i = 0; i < ROUNDS; i++) alone[i] = pick_round(table, &pick, &with_done[i]);
  qsort(alone, ROUNDS, sizeof *alone, by_value);
  qsort(with_done, ROUNDS, sizeof *with_done, by_value);
  printf("pick %-16s %6zu nodes  %8.0f ns  with done and unref %8.0f ns\n", balancer->name, n, alone[ROUNDS / 2],
         with_done[ROUNDS / 2]);
  dsc_table_clear(table, NULL);
  dsc_table_unref(table);
  free_rows(rows, n);
}

static void bench_read(size_t n) {
  size_t before, after;
  dsc_row *rows = make_rows(n);
  dsc_mem_usage(NULL, &before);
  dsc_table *table = dsc_table_new(DSC_STR_LITERAL("app"));
  uint64_t first = read_rows(table, rows, n), again = read_rows(table, rows, n);
  bool is_probe;
  dsc_node_unref(dsc_table_pick(table, &(dsc_pick){0}, &is_probe));
  dsc_mem_usage(NULL, &after);
  printf("read %22zu nodes  first %.0f us, unchanged %.0f us, %zu bytes a node\n", n, (double)first / 1e3,
         (double)again / 1e3, (after - before) / n);
  dsc_table_clear(table, NULL);
  dsc_table_unref(table);
  free_rows(rows, n);
}

int main(void) {
  static const size_t sizes[] = {2, 10, 1000, 10000};
  for (int b = 0; b < DSC_BALANCER_COUNT; b++)
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
      if (b != DSC_BALANCER_HASH || sizes[i] <= 1000) bench_picks(dsc_balancer_all[b], sizes[i]);
  bench_read(1000);
  bench_read(10000);
  return 0;
}
