/*
** node_test.c - identity, references and what users read of a node.
*/
#include "table_support.h"

static dsc_node *make(dsc_table *table, const char *text, uint32_t weight) {
  dsc_addr addr;
  assert_int_equal(dsc_addr_parse(&addr, dsc_str_of(text), NULL), DSC_OK);
  dsc_node *node = dsc_node_new(table, &addr, weight);
  assert_non_null(node);
  return node;
}

TEST(identity_is_taken_from_the_address) {
  static const struct {
    const char *text, *host;
    uint16_t port;
    bool is_literal;
  } cases[] = {{"1.2.3.4:80", "1.2.3.4", 80, true}, {"[::1]:65535", "::1", 65535, true}, {"name:1", "name", 1, false}};
  dsc_table *table = new_table();
  for (size_t i = 0; i < COUNT(cases); i++) {
    dsc_node *node = make(table, cases[i].text, 5);
    assert_str(dsc_node_addr(node), cases[i].text);
    assert_string_equal(node->addr, cases[i].text);
    assert_string_equal(node->host, cases[i].host);
    assert_int_equal(node->port, cases[i].port);
    assert_int_equal(node->is_literal, cases[i].is_literal);
    assert_int_equal(dsc_node_weight(node), 5);
    assert_int_equal(dsc_node_in_flight(node), 0);
    dsc_node_unref(node);
  }
  dsc_table_unref(table);
}

TEST(a_node_outlives_its_owner_and_keeps_the_table) {
  dsc_table *table = new_table();
  dsc_node *node = make(table, "h:1", 1);
  dsc_table_unref(table);
  assert_str(dsc_table_app(node->table), "app");
  assert_ptr_equal(dsc_node_ref(node), node);
  dsc_node_unref(node);
  assert_string_equal(node->host, "h");
  dsc_node_unref(node);
  dsc_node_unref(NULL);
  dsc_node_array_unref(NULL);
}

TEST(used_times_forgives_roundings) {
  dsc_table *table = new_table();
  for (uint32_t weight = 1; weight < 200; weight++) {
    dsc_node *node = make(table, "h:1", weight);
    for (uint32_t used = 0; used < 1000; used++) {
      assert_int_equal(dsc_node_used_times(node), used);
      node->load += 1.0 / weight;
    }
    dsc_node_unref(node);
  }
  dsc_table_unref(table);
}

TEST(metadata_is_copied) {
  dsc_table *table = new_table();
  assert_int_equal(dsc_table_set(table, L("h:1"), 1, "zone=a", false, NOW, NULL), DSC_OK);
  dsc_node *node = dsc_table_find(table, L("h:1"));
  char *text = dsc_node_copy_metadata(node);
  assert_string_equal(text, "zone=a");
  dsc_mem_free(text);
  assert_int_equal(dsc_table_set_metadata(table, L("h:1"), L("")), DSC_OK);
  text = dsc_node_copy_metadata(node);
  assert_string_equal(text, "");
  dsc_mem_free(text);
  dsc_mem_fail_at(1, true);
  assert_null(dsc_node_copy_metadata(node));
  dsc_node_unref(node);
  end_table(table);
}

TEST(states_have_names) {
  static const char *const names[] = {"up", "stale", "isolated", "probing", "gone", "unknown"};
  for (size_t i = 0; i < COUNT(names); i++) assert_string_equal(dsc_node_state_name((dsc_node_state)i), names[i]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      LEAK_FREE(identity_is_taken_from_the_address),
      LEAK_FREE(a_node_outlives_its_owner_and_keeps_the_table),
      LEAK_FREE(used_times_forgives_roundings),
      LEAK_FREE(metadata_is_copied),
      LEAK_FREE(states_have_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
