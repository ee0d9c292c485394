/*
** table_support.h - what the tests of tables and balancers share: short ways to set, read and pick, and a
** teardown that finds every leak.
*/
#ifndef DSC_SPEC_MODEL_TABLE_SUPPORT_H
#define DSC_SPEC_MODEL_TABLE_SUPPORT_H

#include "base/check.h"

#include "base/clock.h"
#include "model/table.h"

#define NOW  UINT64_C(1000000)
#define SLOT UINT32_C(5000)

/* Every test ends with the blocks and bytes it began with, and with the clock running. */
#define LEAK_FREE(name) cmocka_unit_test_setup_teardown(name, note_usage, check_usage)

static size_t blocks_before, bytes_before;

static inline int note_usage(void **state) {
  (void)state;
  dsc_mem_usage(&blocks_before, &bytes_before);
  return 0;
}

static inline int check_usage(void **state) {
  (void)state;
  size_t blocks, bytes;
  dsc_clock_hold(0);
  dsc_mem_fail_at(0, false);
  dsc_mem_usage(&blocks, &bytes);
  if (blocks != blocks_before || bytes != bytes_before) print_error("%zu blocks leaked\n", blocks - blocks_before);
  return blocks != blocks_before || bytes != bytes_before;
}

/* "10.0.0.1:8000" and so on; good until it was called 16 times more. */
static inline dsc_str addr_of(size_t i) {
  static char texts[16][40];
  static size_t turn;
  char *text = texts[turn++ % 16];
  int n = snprintf(text, sizeof texts[0], "10.%zu.%zu.%zu:8000", i / 65536, i / 256 % 256, i % 256);
  return (dsc_str){text, (size_t)n};
}

static inline dsc_table *new_table(void) {
  dsc_table *table = dsc_table_new(L("app"));
  assert_non_null(table);
  return table;
}

static inline void end_table(dsc_table *table) {
  dsc_table_clear(table, NULL);
  dsc_table_unref(table);
}

static inline void set(dsc_table *table, size_t i, uint32_t weight) {
  assert_int_equal(dsc_table_set(table, addr_of(i), weight, NULL, false, NOW, NULL), DSC_OK);
}

static inline void set_user(dsc_table *table, size_t i, uint32_t weight) {
  assert_int_equal(dsc_table_set(table, addr_of(i), weight, NULL, true, NOW, NULL), DSC_OK);
}

/* A table with nodes 0, 1, ... of these weights. */
static inline dsc_table *table_of(const uint32_t *weights, size_t n) {
  dsc_table *table = new_table();
  for (size_t i = 0; i < n; i++) set(table, i, weights[i]);
  return table;
}

/* Finds a node without keeping a reference: good while it is in the table. */
static inline dsc_node *peek(dsc_table *table, size_t i) {
  dsc_node *node = dsc_table_find(table, addr_of(i));
  dsc_node_unref(node);
  return node;
}

static inline const char *state_of(dsc_table *table, size_t i) {
  dsc_node *node = peek(table, i);
  return node ? dsc_node_state_name(dsc_node_get_state(node)) : "none";
}

static inline dsc_row row(size_t i, uint32_t weight, bool alive) {
  return (dsc_row){addr_of(i), weight, alive, {NULL, 0}};
}

static inline void read_rows(dsc_table *table, const dsc_row *rows, size_t n, uint64_t now_ms) {
  dsc_table_read_begin(table);
  assert_int_equal(dsc_table_read_end(table, rows, n, now_ms, NULL), DSC_OK);
}

static inline dsc_pick any_pick(const dsc_balancer_ops *balancer) {
  return (dsc_pick){.balancer = balancer, .repeatable = true, .slot_ms = SLOT};
}

static inline void done(dsc_table *table, dsc_node *node, dsc_outcome outcome, bool was_probe, uint64_t now_ms) {
  dsc_table_done(table, node, outcome, was_probe, 3, now_ms, NULL);
}

/* Picks, ends well at once, and returns the node (borrowed) or NULL. */
static inline dsc_node *pick_once(dsc_table *table, const dsc_pick *pick) {
  bool is_probe;
  dsc_node *node = dsc_table_pick(table, pick, &is_probe);
  if (node) done(table, node, DSC_OUTCOME_SUCCESS, is_probe, NOW);
  dsc_node_unref(node);
  return node;
}

/* Lets a call to a certain node end with an outcome. */
static inline void outcome_of(dsc_table *table, size_t i, dsc_outcome outcome, uint64_t now_ms) {
  bool is_probe;
  dsc_pick pick = any_pick(NULL);
  dsc_node *node = dsc_table_pick_addr(table, addr_of(i), &pick, &is_probe);
  assert_non_null(node);
  done(table, node, outcome, is_probe, now_ms);
  dsc_node_unref(node);
}

/* Three failures in a row: isolated (here the limit is 3). Hold the clock first. */
static inline void isolate(dsc_table *table, size_t i, uint64_t now_ms) {
  for (int k = 0; k < 3; k++) outcome_of(table, i, DSC_OUTCOME_FAILURE, now_ms);
  assert_string_equal(state_of(table, i), "isolated");
}

/* Picks `n` times and counts who was picked among nodes 0 .. count - 1. */
static inline void count_picks(dsc_table *table, dsc_pick *pick, size_t n, size_t *counts, size_t count) {
  dsc_node *nodes[64];
  for (size_t i = 0; i < count; i++) {
    nodes[i] = peek(table, i);
    counts[i] = 0;
  }
  for (size_t k = 0; k < n; k++) {
    dsc_node *node = pick_once(table, pick);
    assert_non_null(node);
    for (size_t i = 0; i < count; i++) counts[i] += nodes[i] == node;
  }
}

#endif
