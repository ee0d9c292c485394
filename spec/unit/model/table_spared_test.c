/*
** table_spared_test.c - nodes that are spared: slow start, Retry-After; and that nothing is made up for afterwards.
*/
#include "model/table_impl.h"
#include "model/table_support.h"

#include "model/slow_start.h"

static dsc_table *table_at_work(size_t n, uint64_t now_ms) {
  dsc_clock_hold(now_ms);
  dsc_table *table = new_table();
  dsc_pick pick = any_pick(NULL);
  for (size_t i = 0; i < n; i++) set(table, i, 10);
  for (size_t i = 0; i < 10 * n; i++) pick_once(table, &pick);
  return table;
}

/* Keeps `n` picks under way and returns how many went to node `i`. */
static uint32_t hold(dsc_table *table, const dsc_pick *pick, size_t n, size_t i, dsc_node **held) {
  bool is_probe;
  for (size_t k = 0; k < n; k++) {
    held[k] = dsc_table_pick(table, pick, &is_probe);
    assert_non_null(held[k]);
  }
  return dsc_node_in_flight(peek(table, i));
}

static void release(dsc_table *table, size_t n, dsc_node **held, uint64_t now_ms) {
  for (size_t k = 0; k < n; k++) {
    done(table, held[k], DSC_OUTCOME_SUCCESS, false, now_ms);
    dsc_node_unref(held[k]);
  }
}

TEST(the_share_in_flight_grows_from_a_tenth_to_all) {
  static const struct {
    uint64_t age_ms, in_flight, others;
    bool full;
  } cases[] = {{0, 0, 1000, false},   {0, 1, 10, true},       {0, 1, 100, false},
               {0, 5, 100, true},     {5000, 5, 20, false},   {5000, 11, 30, true},
               {9999, 10, 13, false}, {10000, 500, 0, false}, {20000, 500, 0, false}};
  for (size_t i = 0; i < COUNT(cases); i++)
    assert_int_equal(
        dsc_slow_start_is_full(cases[i].age_ms, cases[i].in_flight, 10, cases[i].in_flight + cases[i].others, 20),
        cases[i].full);
}

TEST(a_node_that_joins_others_at_work_starts_slowly) {
  dsc_table *table = table_at_work(1, NOW);
  dsc_node *held[100];
  for (int balancer = 0; balancer < DSC_BALANCER_COUNT; balancer++) {
    dsc_pick pick = any_pick(dsc_balancer_all[balancer]);
    uint64_t now = NOW + (uint64_t)balancer * 100000;
    dsc_clock_hold(now);
    assert_int_equal(dsc_table_set(table, addr_of(1), 10, NULL, false, now, NULL), DSC_OK);
    pick.has_key = false;
    uint32_t first = hold(table, &pick, 100, 1, held);
    assert_in_range(first, 1, 5);
    release(table, 100, held, now);
    dsc_clock_hold(now + 5000);
    uint32_t later = hold(table, &pick, 100, 1, held);
    assert_in_range(later, first + 5, 28);
    release(table, 100, held, now + 5000);
    dsc_clock_hold(now + 10000);
    assert_in_range(hold(table, &pick, 100, 1, held), 30, 70); /* random: 50 +- 20 */
    release(table, 100, held, now + 10000);
    assert_true(dsc_table_goodbye(table, addr_of(1), NULL));
  }
  end_table(table);
}

TEST(what_it_was_spared_is_not_made_up_for) {
  dsc_table *table = table_at_work(1, NOW);
  dsc_pick pick = any_pick(NULL);
  dsc_node *held[100];
  size_t counts[2];
  set(table, 1, 10);
  for (int i = 0; i < 10; i++) {
    hold(table, &pick, 100, 1, held);
    release(table, 100, held, NOW);
  }
  dsc_clock_hold(NOW + DSC_SLOW_START_MS + 100);
  count_picks(table, &pick, 20, counts, 2);
  assert_in_range(counts[1], 9, 12);
  assert_true(dsc_list_empty(&table->spared));
  end_table(table);
}

TEST(callers_that_call_one_at_a_time_see_exact_shares) {
  dsc_table *table = table_at_work(2, NOW);
  dsc_pick pick = any_pick(NULL);
  size_t counts[3];
  set(table, 2, 10);
  count_picks(table, &pick, 300, counts, 3);
  for (int i = 0; i < 3; i++) assert_in_range(counts[i], 99, 101);
  end_table(table);
}

TEST(a_first_read_makes_nobody_start_slowly) {
  dsc_clock_hold(NOW);
  dsc_table *table = new_table();
  dsc_pick pick = any_pick(NULL);
  dsc_row rows[] = {row(0, 10, true), row(1, 10, true), row(2, 10, true)};
  dsc_node *held[90];
  read_rows(table, rows, 3, NOW);
  assert_true(dsc_list_empty(&table->spared));
  assert_int_equal(hold(table, &pick, 90, 1, held), 30);
  release(table, 90, held, NOW);
  /* all gone, and others come at once: a first read again */
  for (size_t i = 0; i < 3; i++) assert_true(dsc_table_goodbye(table, addr_of(i), NULL));
  read_rows(table, rows, 3, NOW);
  assert_true(dsc_list_empty(&table->spared));
  /* one that is new beside them */
  dsc_row more[] = {row(0, 10, true), row(1, 10, true), row(2, 10, true), row(3, 10, true)};
  read_rows(table, more, 4, NOW);
  assert_int_equal(peek(table, 3)->ramp_from_ms, NOW);
  assert_int_equal(peek(table, 0)->ramp_from_ms, 0);
  end_table(table);
}

TEST(nodes_that_all_start_slowly_share_all_there_is) {
  dsc_table *table = table_at_work(1, NOW);
  dsc_pick pick = any_pick(NULL);
  dsc_node *held[90];
  for (size_t i = 1; i < 4; i++) set(table, i, 10);
  assert_true(dsc_table_goodbye(table, addr_of(0), NULL));
  assert_in_range(hold(table, &pick, 90, 2, held), 29, 31);
  release(table, 90, held, NOW);
  end_table(table);
}

TEST(a_node_that_recovered_starts_slowly) {
  dsc_table *table = table_at_work(2, NOW);
  dsc_pick pick = any_pick(NULL);
  dsc_node *held[100];
  isolate(table, 1, NOW);
  outcome_of(table, 1, DSC_OUTCOME_SUCCESS, NOW);
  assert_string_equal(state_of(table, 1), "up");
  assert_in_range(hold(table, &pick, 100, 1, held), 1, 5);
  release(table, 100, held, NOW);
  isolate(table, 1, NOW);
  assert_true(dsc_list_empty(&table->spared));
  end_table(table);
}

TEST(a_node_that_asked_for_it_is_left_alone_while_there_are_others) {
  dsc_table *table = table_at_work(2, NOW);
  size_t counts[2];
  for (int balancer = 0; balancer < DSC_BALANCER_COUNT; balancer++) {
    dsc_pick pick = any_pick(dsc_balancer_all[balancer]);
    pick.has_key = true;
    uint64_t now = NOW + (uint64_t)balancer * 100000;
    dsc_clock_hold(now);
    assert_true(dsc_table_avoid(table, peek(table, 1), now + 5000));
    assert_false(dsc_table_avoid(table, peek(table, 1), now + 3000)); /* never earlier */
    count_picks(table, &pick, 100, counts, 2);
    assert_int_equal(counts[1], 0);
    /* alone it is used */
    dsc_node *tried[] = {peek(table, 0)};
    dsc_pick other = pick;
    other.tried = tried;
    other.n_tried = 1;
    assert_ptr_equal(pick_once(table, &other), peek(table, 1));
    dsc_node_array *offered = dsc_table_candidates(table, &pick, now);
    assert_int_equal(offered->count, 1);
    dsc_node_array_unref(offered);
    dsc_clock_hold(now + 4999);
    count_picks(table, &pick, 100, counts, 2);
    assert_int_equal(counts[1], 0);
    dsc_clock_hold(now + 5000);
    pick.has_key = false;
    count_picks(table, &pick, 100, counts, 2);
    assert_in_range(counts[1], balancer == DSC_BALANCER_RANDOM ? 20 : 48, balancer == DSC_BALANCER_RANDOM ? 80 : 52);
  }
  assert_true(dsc_table_avoid(table, peek(table, 1), NOW + 1000000));
  assert_true(dsc_table_goodbye(table, addr_of(1), NULL));
  assert_true(dsc_list_empty(&table->spared));
  end_table(table);
}

TEST(a_full_node_is_as_good_as_tried) {
  dsc_table *table = table_at_work(2, NOW);
  dsc_node *held[4];
  for (int balancer = 0; balancer < DSC_BALANCER_COUNT; balancer++) {
    dsc_pick pick = any_pick(dsc_balancer_all[balancer]);
    bool is_probe;
    pick.has_key = true;
    pick.node_limit = 2;
    assert_false(dsc_table_is_full(table, (dsc_str){0}, &pick));
    assert_int_equal(hold(table, &pick, 4, 1, held), 2);
    assert_null(dsc_table_pick(table, &pick, &is_probe));
    assert_null(dsc_table_pick_addr(table, addr_of(1), &pick, &is_probe));
    assert_true(dsc_table_is_full(table, (dsc_str){0}, &pick));
    assert_true(dsc_table_is_full(table, addr_of(1), &pick));
    assert_false(dsc_table_is_full(table, addr_of(5), &pick));
    dsc_node *tried[] = {peek(table, 0), peek(table, 1)};
    pick.tried = tried;
    pick.n_tried = 2;
    assert_false(dsc_table_is_full(table, (dsc_str){0}, &pick));
    release(table, 4, held, NOW);
  }
  end_table(table);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LEAK_FREE(the_share_in_flight_grows_from_a_tenth_to_all),
      LEAK_FREE(a_node_that_joins_others_at_work_starts_slowly),
      LEAK_FREE(what_it_was_spared_is_not_made_up_for),
      LEAK_FREE(callers_that_call_one_at_a_time_see_exact_shares),
      LEAK_FREE(a_first_read_makes_nobody_start_slowly),
      LEAK_FREE(nodes_that_all_start_slowly_share_all_there_is),
      LEAK_FREE(a_node_that_recovered_starts_slowly),
      LEAK_FREE(a_node_that_asked_for_it_is_left_alone_while_there_are_others),
      LEAK_FREE(a_full_node_is_as_good_as_tried),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
