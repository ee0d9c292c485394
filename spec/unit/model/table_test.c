/*
** table_test.c - nodes come, change and go: messages, the user, references, lists of nodes, failing memory.
*/
#include "table_support.h"

#include "model/config.h"

static void assert_changes(dsc_changes *changes, const char *expected) {
  static const char letters[] = "+-sir"; /* added, removed, stale, isolated, recovered */
  char text[64] = "";
  for (size_t i = 0; i < changes->count; i++) text[i] = letters[changes->items[i].kind];
  assert_string_equal(text, expected);
  dsc_changes_clear(changes);
}

TEST(a_message_sets_and_a_goodbye_removes) {
  dsc_table *table = new_table();
  dsc_changes changes;
  dsc_changes_init(&changes);
  assert_int_equal(dsc_table_set(table, L("h:1"), 5, "a=b", false, NOW, &changes), DSC_OK);
  assert_changes(&changes, "+");
  uint64_t version = dsc_table_version(table);
  assert_int_equal(dsc_table_set(table, L("h:1"), 5, NULL, false, NOW, &changes), DSC_OK);
  assert_int_equal(dsc_table_set(table, L("h:1"), 5, "a=b", false, NOW, &changes), DSC_OK);
  assert_int_equal(dsc_table_version(table), version); /* nothing new */
  assert_int_equal(dsc_table_set(table, L("h:1"), 6, NULL, false, NOW, &changes), DSC_OK);
  assert_int_not_equal(dsc_table_version(table), version);
  assert_changes(&changes, "");
  assert_true(dsc_table_goodbye(table, L("h:1"), &changes));
  assert_false(dsc_table_goodbye(table, L("h:1"), &changes));
  assert_false(dsc_table_goodbye(table, L("no address"), &changes));
  assert_changes(&changes, "-");
  assert_int_equal(dsc_table_count(table, NULL), 0);
  end_table(table);
}

TEST(addresses_and_weights_are_checked) {
  static const char *const bad[] = {"", "h", "h:", "h:0", "h:65536", ":80", "a b:1", "::1:80"};
  dsc_table *table = new_table();
  for (size_t i = 0; i < COUNT(bad); i++)
    assert_int_equal(dsc_table_set(table, dsc_str_of(bad[i]), 1, NULL, true, NOW, NULL), DSC_EINVALID);
  assert_int_equal(dsc_table_set(table, L("h:1"), UINT32_MAX, NULL, true, NOW, NULL), DSC_OK);
  dsc_node *node = dsc_table_find(table, L("h:1"));
  assert_int_equal(dsc_node_weight(node), DSC_WEIGHT_MAX);
  dsc_node_unref(node);
  assert_null(dsc_table_find(table, L("h:2")));
  end_table(table);
}

TEST(nodes_of_the_user_belong_to_the_user) {
  dsc_table *table = new_table();
  set(table, 0, 7);
  set_user(table, 0, 3); /* takes it over */
  set(table, 0, 9);
  set(table, 0, 0);
  assert_false(dsc_table_goodbye(table, addr_of(0), NULL));
  assert_int_equal(dsc_table_set_metadata(table, addr_of(0), L("x=y")), DSC_OK);
  assert_int_equal(dsc_node_weight(peek(table, 0)), 3);
  assert_null(peek(table, 0)->metadata);
  read_rows(table, (dsc_row[]){row(0, 50, true), row(1, 1, true)}, 2, NOW);
  read_rows(table, (dsc_row[]){row(1, 1, true)}, 1, NOW);
  assert_int_equal(dsc_node_weight(peek(table, 0)), 3);
  assert_string_equal(state_of(table, 0), "up");
  set_user(table, 0, 0);
  set_user(table, 1, 0); /* the user may remove a registry's node as well */
  assert_int_equal(dsc_table_count(table, NULL), 0);
  end_table(table);
}

TEST(newcomers_join_at_the_mean) {
  dsc_table *table = new_table();
  for (size_t i = 0; i < 10; i++) set(table, i, 10);
  dsc_pick pick = any_pick(NULL);
  for (int k = 0; k < 10000; k++) (void)pick_once(table, &pick); /* load 100 each */
  for (size_t i = 10; i < 300; i++) {
    set(table, i, 10);
    assert_true(peek(table, i)->load >= 100 && peek(table, i)->load < 100.6);
  }
  end_table(table);
}

TEST(a_list_is_kept_until_something_changes) {
  dsc_table *table = new_table();
  for (size_t i = 0; i < 20; i++) set(table, i, 1);
  dsc_node_array *one = dsc_table_snapshot(table), *two = dsc_table_snapshot(table);
  dsc_pick pick = any_pick(NULL);
  (void)pick_once(table, &pick); /* a pick changes nothing */
  dsc_node_array *three = dsc_table_snapshot(table);
  assert_true(one == two && one == three && one->count == 20);
  for (size_t i = 1; i < 20; i++) assert_true(strcmp(one->nodes[i - 1]->addr, one->nodes[i]->addr) < 0);
  set(table, 3, 2);
  dsc_node_array_unref(three);
  three = dsc_table_snapshot(table);
  assert_ptr_not_equal(three, one);
  set(table, 4, 0);
  assert_int_equal(three->count, 20); /* immutable */
  dsc_node_array_unref(one);
  dsc_node_array_unref(two);
  end_table(table);
  assert_int_equal(dsc_node_get_state(three->nodes[0]), DSC_NODE_GONE);
  dsc_node_array_unref(three);
}

TEST(a_list_that_nobody_asks_for_again_holds_nothing) {
  dsc_table *table = new_table();
  set(table, 0, 1);
  dsc_node_array_unref(dsc_table_snapshot(table));
  dsc_node *node = dsc_table_find(table, addr_of(0));
  assert_int_equal(atomic_load(&node->refs), 3); /* ours, the table's, the list's */
  assert_true(dsc_table_goodbye(table, addr_of(0), NULL));
  assert_int_equal(atomic_load(&node->refs), 1);
  dsc_node_unref(node);
  end_table(table);
}

TEST(a_cleared_table_takes_no_new_nodes) {
  dsc_table *table = new_table();
  dsc_changes changes;
  dsc_changes_init(&changes);
  for (size_t i = 0; i < 20; i++) set(table, i, 1);
  dsc_clock_hold(NOW);
  isolate(table, 3, NOW);
  dsc_table_read_begin(table);
  dsc_table_clear(table, &changes);
  assert_int_equal(changes.count, 20);
  dsc_changes_clear(&changes);
  assert_int_equal(dsc_table_set(table, addr_of(1), 1, NULL, false, NOW, NULL), DSC_ECLOSED);
  dsc_row one = row(1, 1, true);
  assert_int_equal(dsc_table_read_end(table, &one, 1, NOW, NULL), DSC_ECLOSED);
  dsc_table_clear(table, &changes);
  assert_int_equal(dsc_table_count(table, NULL), 0);
  dsc_table_unref(table);
  dsc_table_unref(NULL);
}

TEST(a_removed_node_lives_on_for_its_holders) {
  dsc_table *table = new_table();
  set(table, 0, 4);
  dsc_pick pick = any_pick(NULL);
  bool is_probe;
  dsc_node *node = dsc_table_pick(table, &pick, &is_probe);
  set(table, 0, 0);
  set(table, 0, 9); /* the same address again: another node */
  assert_int_equal(dsc_node_get_state(node), DSC_NODE_GONE);
  assert_ptr_not_equal(node, peek(table, 0));
  for (int k = 0; k < 5; k++) done(table, node, DSC_OUTCOME_FAILURE, true, NOW);
  assert_int_equal(dsc_node_get_state(node), DSC_NODE_GONE);
  assert_int_equal(dsc_node_in_flight(node), 0);
  assert_int_equal(dsc_node_in_flight(peek(table, 0)), 0);
  assert_string_equal(state_of(table, 0), "up");
  end_table(table);
  assert_int_equal(dsc_node_used_times(node), (uint64_t)(node->load * 4 + 1e-6));
  dsc_node_unref(node); /* the last one frees the table too */
}

TEST(slots_are_used_again) {
  dsc_table *table = new_table();
  dsc_pick pick = any_pick(NULL);
  size_t bytes, later;
  for (int round = 0; round < 200; round++) {
    if (round == 100) dsc_mem_usage(NULL, &bytes);
    for (size_t i = 0; i < 50; i++) set(table, i + (size_t)round * 50 % 10000, 1);
    assert_non_null(pick_once(table, &pick));
    for (size_t i = 0; i < 50; i++) set(table, i + (size_t)round * 50 % 10000, 0);
  }
  dsc_mem_usage(NULL, &later);
  assert_int_equal(later, bytes);
  end_table(table);
}

TEST(ten_thousand_nodes_take_at_most_400_bytes_each) {
  size_t before, after, n = 10000;
  dsc_row *rows = dsc_mem_zalloc(n, sizeof *rows);
  char(*texts)[32] = dsc_mem_zalloc(n, sizeof *texts);
  for (size_t i = 0; i < n; i++) {
    dsc_str addr = addr_of(i + 100 * 65536 + 100 * 256 + 100); /* long ones */
    memcpy(texts[i], addr.p, addr.n);
    rows[i] = (dsc_row){{texts[i], addr.n}, 100, true, {NULL, 0}};
  }
  dsc_mem_usage(NULL, &before);
  dsc_table *table = new_table();
  dsc_pick pick = any_pick(NULL);
  read_rows(table, rows, n, NOW);
  assert_int_equal(dsc_table_count(table, NULL), n);
  assert_non_null(pick_once(table, &pick));
  dsc_mem_usage(NULL, &after);
  if (after - before > 400 * n) print_error("%zu bytes a node\n", (after - before) / n);
  assert_true(after - before <= 400 * n);
  end_table(table);
  dsc_mem_free(rows);
  dsc_mem_free(texts);
}

/* Uses everything; with no memory it may do less, but what it does is right. True: nothing was refused. */
static bool use_everything(void) {
  dsc_table *table = dsc_table_new(L("app"));
  if (!table) return false;
  bool ok = true;
  dsc_changes changes;
  dsc_changes_init(&changes);
  dsc_table_read_begin(table);
  for (size_t i = 0; i < 12; i++) ok &= !dsc_table_set(table, addr_of(i), 5, "a=b", i % 3 == 0, NOW, &changes);
  dsc_row rows[10];
  for (size_t i = 0; i < 10; i++) rows[i] = row(i + 8, 5, i % 4 > 0);
  rows[5].metadata = L("zone=far");
  ok &= !dsc_table_read_end(table, rows, 10, NOW, &changes);
  dsc_table_read_begin(table);
  ok &= !dsc_table_read_end(table, rows, 10, NOW, &changes);
  for (int b = 0; b < DSC_BALANCER_COUNT; b++) {
    dsc_pick pick = any_pick(dsc_balancer_all[b]);
    pick.has_key = true;
    size_t count = dsc_table_count(table, NULL);
    assert_int_equal(pick_once(table, &pick) != NULL, count > 0); /* also without memory for a balancer */
    ok &= !dsc_table_set(table, addr_of(20 + (size_t)b * 9), 5, "c=d", false, NOW, &changes);
  }
  dsc_node_array *array = dsc_table_snapshot(table);
  ok &= array && !changes.dropped;
  dsc_node_array_unref(array);
  dsc_changes_clear(&changes);
  dsc_table_clear(table, &changes);
  ok &= !changes.dropped;
  dsc_changes_clear(&changes);
  dsc_table_unref(table);
  return ok;
}

/* Not fail_each_allocation(): a balancer without memory is no failure, the pick goes on. */
TEST(every_allocation_may_fail) {
  size_t n = 1, refused = 0;
  for (bool reached = true; reached; n++) {
    for (int onwards = 0; onwards <= 1; onwards++) {
      dsc_mem_fail_at(n, onwards);
      bool ok = use_everything();
      reached = dsc_mem_asked() >= n;
      assert_true(ok || reached);
      assert_int_equal(check_usage(NULL), 0); /* also switches the failing off */
      refused += !ok;
    }
  }
  assert_true(n > 60 && refused > n);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LEAK_FREE(a_message_sets_and_a_goodbye_removes),
      LEAK_FREE(addresses_and_weights_are_checked),
      LEAK_FREE(nodes_of_the_user_belong_to_the_user),
      LEAK_FREE(newcomers_join_at_the_mean),
      LEAK_FREE(a_list_is_kept_until_something_changes),
      LEAK_FREE(a_list_that_nobody_asks_for_again_holds_nothing),
      LEAK_FREE(a_cleared_table_takes_no_new_nodes),
      LEAK_FREE(a_removed_node_lives_on_for_its_holders),
      LEAK_FREE(slots_are_used_again),
      LEAK_FREE(ten_thousand_nodes_take_at_most_400_bytes_each),
      LEAK_FREE(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
