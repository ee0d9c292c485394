/*
** table_read_test.c - whole reads: who is set, who becomes stale, who goes, and what a message protects.
*/
#include "table_support.h"

/* What may happen to address 0 (2 is alive throughout, so there is always a node that is not stale). */
struct story {
  const char *before; /* steps before the read is sent, "" : never heard of */
  const char *during; /* messages while it is under way */
  const char *row;    /* what the read shows: alive, dead, none */
  const char *state;  /* afterwards */
};

static void do_steps(dsc_table *table, const char *steps) {
  for (; *steps; steps++) {
    if (*steps == 's') set(table, 0, 5);
    if (*steps == 'g') (void)dsc_table_goodbye(table, addr_of(0), NULL);
    if (*steps == 'z') set(table, 0, 0);
    if (*steps == 'u') set_user(table, 0, 5);
    if (*steps == 'x') set_user(table, 0, 0);
    if (*steps == 'd') read_rows(table, (dsc_row[]){row(0, 5, false), row(2, 1, true)}, 2, NOW);
  }
}

TEST(every_story_of_an_address) {
  static const struct story stories[] = {
      {"", "", "alive", "up"},      {"", "", "dead", "none"},    {"", "", "none", "none"},
      {"s", "", "alive", "up"},     {"s", "", "dead", "stale"},  {"s", "", "none", "stale"},
      {"sd", "", "alive", "up"},    {"sd", "", "dead", "stale"}, {"sd", "", "none", "stale"},
      {"sds", "", "none", "stale"}, {"sg", "", "alive", "up"},   {"sg", "", "none", "none"},
      {"u", "", "none", "up"},      {"u", "", "dead", "up"},     {"su", "", "none", "up"},
      {"sdu", "", "dead", "up"},    {"ux", "", "alive", "up"},   {"ux", "", "none", "none"},
      {"s", "g", "alive", "none"},  {"s", "g", "dead", "none"},  {"s", "g", "none", "none"},
      {"s", "z", "alive", "none"},  {"", "g", "alive", "none"},  {"", "s", "none", "up"},
      {"", "s", "dead", "up"},      {"s", "s", "none", "up"},    {"sd", "s", "dead", "up"},
      {"s", "gs", "none", "up"},    {"", "sg", "alive", "none"}, {"u", "g", "none", "up"},
      {"u", "s", "dead", "up"},     {"su", "x", "alive", "up"},  {"s", "x", "none", "none"},
  };
  for (size_t i = 0; i < COUNT(stories); i++) {
    const struct story *story = &stories[i];
    dsc_table *table = new_table();
    set(table, 2, 1);
    do_steps(table, story->before);
    dsc_table_read_begin(table);
    do_steps(table, story->during);
    dsc_row rows[] = {row(2, 1, true), row(0, 5, story->row[0] == 'a')};
    assert_int_equal(dsc_table_read_end(table, rows, story->row[0] == 'n' ? 1 : 2, NOW, NULL), DSC_OK);
    if (strcmp(state_of(table, 0), story->state) != 0)
      print_error("%s | %s | %s: %s, not %s\n", story->before, story->during, story->row, state_of(table, 0),
                  story->state);
    assert_string_equal(state_of(table, 0), story->state);
    assert_string_equal(state_of(table, 2), "up");
    end_table(table);
  }
}

TEST(protection_ends_with_the_read) {
  dsc_table *table = new_table();
  dsc_row one = row(0, 5, true);
  set(table, 0, 5);
  dsc_table_read_begin(table);
  assert_true(dsc_table_goodbye(table, addr_of(0), NULL));
  assert_int_equal(dsc_table_read_end(table, &one, 1, NOW, NULL), DSC_OK);
  assert_string_equal(state_of(table, 0), "none");
  read_rows(table, &one, 1, NOW);
  assert_string_equal(state_of(table, 0), "up");
  dsc_table_read_begin(table);
  assert_true(dsc_table_goodbye(table, addr_of(0), NULL));
  dsc_table_read_begin(table); /* that one was sent after the goodbye */
  assert_int_equal(dsc_table_read_end(table, &one, 1, NOW, NULL), DSC_OK);
  assert_string_equal(state_of(table, 0), "up");
  end_table(table);
}

TEST(a_message_that_cannot_be_remembered_spoils_the_read) {
  dsc_table *table = new_table();
  dsc_row one = row(0, 5, true);
  set(table, 0, 5);
  for (size_t n = 1; n <= 2; n++) {
    dsc_table_read_begin(table);
    dsc_mem_fail_at(n, false);
    (void)dsc_table_goodbye(table, addr_of(0), NULL);
    dsc_mem_fail_at(0, false);
    assert_int_equal(dsc_table_read_end(table, &one, 1, NOW, NULL), DSC_ENOMEM);
    assert_string_equal(state_of(table, 0), "none");
  }
  read_rows(table, &one, 1, NOW);
  assert_string_equal(state_of(table, 0), "up");
  end_table(table);
}

TEST(rows_are_foreign) {
  dsc_table *table = new_table();
  dsc_row rows[] = {row(0, 5, true), row(1, 0, true), row(2, UINT32_MAX, true), row(3, 1, true), row(3, 2, true)};
  dsc_row bad = {L("nonsense"), 1, true, {NULL, 0}};
  rows[0].metadata = L("zone=a");
  read_rows(table, rows, 5, NOW);
  read_rows(table, &bad, 1, NOW);
  assert_int_equal(dsc_table_count(table, NULL), 3);
  assert_int_equal(dsc_node_weight(peek(table, 2)), 1000000);
  assert_int_equal(dsc_node_weight(peek(table, 3)), 2);
  assert_string_equal(peek(table, 0)->metadata, "zone=a");
  end_table(table);
}

TEST(when_every_row_is_dead_they_are_better_than_nothing) {
  dsc_table *table = new_table();
  dsc_row dead[] = {row(0, 5, false), row(1, 5, false)};
  read_rows(table, dead, 2, NOW);
  assert_string_equal(state_of(table, 0), "stale");
  assert_string_equal(state_of(table, 1), "stale");
  dsc_pick pick = any_pick(NULL);
  assert_non_null(pick_once(table, &pick));
  end_table(table);
}

TEST(counters_health_and_load_survive_reads) {
  dsc_table *table = new_table();
  dsc_row rows[] = {row(0, 5, true), row(1, 5, true)};
  read_rows(table, rows, 2, NOW);
  outcome_of(table, 0, DSC_OUTCOME_FAILURE, NOW);
  dsc_node *node = peek(table, 0);
  double load = node->load;
  rows[0].weight = 50;
  read_rows(table, rows, 2, NOW);
  assert_ptr_equal(peek(table, 0), node);
  assert_true(node->load == load);
  assert_int_equal(atomic_load(&node->failed_times), 1);
  assert_int_equal(atomic_load(&node->attempts), 1);
  assert_int_equal(atomic_load(&node->failures), 1);
  end_table(table);
}

/* All that join in one read join at the same mean, not each at the mean of those before it. */
TEST(the_mean_is_taken_once_per_read) {
  dsc_table *table = new_table();
  dsc_row rows[1000];
  char texts[1000][32];
  set(table, 5000, 1);
  outcome_of(table, 5000, DSC_OUTCOME_SUCCESS, NOW);
  peek(table, 5000)->load = 77; /* the sum is made anew by the read */
  for (size_t i = 0; i < 1000; i++) {
    dsc_str addr = addr_of(i);
    memcpy(texts[i], addr.p, addr.n);
    rows[i] = (dsc_row){{texts[i], addr.n}, 1, true, {NULL, 0}};
  }
  read_rows(table, rows, 1000, NOW);
  double sum = 0;
  for (size_t i = 0; i < 1000; i++) {
    double load = peek(table, i)->load;
    assert_true(load >= 77 && load < 78);
    sum += load - 77;
  }
  assert_true(sum > 400 && sum < 600);
  end_table(table);
}

TEST(a_stale_node_goes_at_its_first_failure_but_not_the_last_ones) {
  dsc_table *table = new_table();
  for (size_t i = 0; i < 3; i++) set(table, i, 1);
  dsc_clock_hold(NOW);
  read_rows(table, NULL, 0, NOW);
  outcome_of(table, 0, DSC_OUTCOME_FAILURE, NOW);
  outcome_of(table, 1, DSC_OUTCOME_SUCCESS, NOW);
  assert_string_equal(state_of(table, 0), "stale"); /* all are: they stay */
  isolate(table, 0, NOW);                           /* and are isolated like others */
  set(table, 2, 1);
  outcome_of(table, 1, DSC_OUTCOME_SUCCESS, NOW);
  outcome_of(table, 1, DSC_OUTCOME_NEUTRAL, NOW);
  assert_string_equal(state_of(table, 1), "stale");
  outcome_of(table, 1, DSC_OUTCOME_FAILURE, NOW);
  assert_string_equal(state_of(table, 1), "none");
  outcome_of(table, 0, DSC_OUTCOME_FAILURE, NOW);
  assert_string_equal(state_of(table, 0), "none");
  outcome_of(table, 2, DSC_OUTCOME_FAILURE, NOW);
  assert_string_equal(state_of(table, 2), "up");
  end_table(table);
}

TEST(a_stale_node_goes_after_the_grace_but_not_the_last_ones) {
  dsc_table *table = new_table();
  dsc_changes changes;
  dsc_changes_init(&changes);
  for (size_t i = 0; i < 4; i++) set(table, i, 1);
  dsc_clock_hold(NOW);
  isolate(table, 1, NOW);
  read_rows(table, (dsc_row[]){row(2, 1, true), row(3, 1, true)}, 2, NOW);
  read_rows(table, (dsc_row[]){row(3, 1, true)}, 1, NOW + 10);
  assert_int_equal(dsc_table_sweep(table, 100, NOW + 99, &changes), NOW + 100);
  assert_int_equal(changes.count, 0);
  assert_int_equal(dsc_table_sweep(table, 100, NOW + 100, &changes), NOW + 110);
  assert_int_equal(changes.count, 2);
  assert_string_equal(state_of(table, 0), "none");
  assert_string_equal(state_of(table, 1), "none");
  assert_string_equal(state_of(table, 2), "stale");
  read_rows(table, NULL, 0, NOW + 20);
  assert_int_equal(dsc_table_sweep(table, 100, NOW + 1000, &changes), 0);
  assert_int_equal(dsc_table_count(table, NULL), 2);
  set_user(table, 9, 1); /* the user's node is not stale */
  assert_int_equal(dsc_table_sweep(table, 100, NOW + 1000, &changes), 0);
  assert_int_equal(dsc_table_count(table, NULL), 1);
  dsc_changes_clear(&changes);
  end_table(table);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LEAK_FREE(every_story_of_an_address),
      LEAK_FREE(protection_ends_with_the_read),
      LEAK_FREE(a_message_that_cannot_be_remembered_spoils_the_read),
      LEAK_FREE(rows_are_foreign),
      LEAK_FREE(when_every_row_is_dead_they_are_better_than_nothing),
      LEAK_FREE(counters_health_and_load_survive_reads),
      LEAK_FREE(the_mean_is_taken_once_per_read),
      LEAK_FREE(a_stale_node_goes_at_its_first_failure_but_not_the_last_ones),
      LEAK_FREE(a_stale_node_goes_after_the_grace_but_not_the_last_ones),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
