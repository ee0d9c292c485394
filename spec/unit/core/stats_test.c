/*
** stats_test.c - pictures of what is counted: complete, sorted, independent; the same as Prometheus text.
*/
#include <locale.h>

#include "core/discoverer_impl.h"
#include "core/host.h"

static host h;

static void fill(void) {
  host_new(&h, "");
  host_set(&h, "svc-b", "10.0.0.2:80", 2);
  host_set(&h, "svc-b", "10.0.0.10:80", 1);
  host_set(&h, "svc-a", "10.0.0.1:80", 7);
  dsc_node *node = host_pick(&h, "svc-a");
  dsc_node_unref(node); /* stays in flight */
  node = host_pick(&h, "svc-b");
  for (int i = 0; i < 10; i++) host_done(&h, node, DSC_OUTCOME_FAILURE);
  dsc_node_unref(node);
  dsc_result_free(host_get(&h, "nobody"));
}

TEST(an_empty_one_needs_no_registry) {
  dsc_stats *stats = dsc_stats_new(NULL);
  assert_string_equal(stats->registry.kind, "none");
  assert_int_equal(stats->n_apps, 0);
  dsc_stats *copy = dsc_stats_copy(stats);
  dsc_stats_free(stats);
  assert_int_equal(copy->n_apps, 0);
  dsc_stats_free(copy);
  dsc_stats_free(NULL);
}

TEST(shows_apps_and_nodes_in_order) {
  fill();
  dsc_stats *stats = dsc_discoverer_stats(h.d);
  assert_int_equal(stats->n_apps, 2);
  assert_string_equal(stats->apps[0].app, "svc-a");
  assert_string_equal(stats->apps[1].app, "svc-b");
  assert_int_equal(stats->apps[1].n_nodes, 2);
  assert_string_equal(stats->apps[1].nodes[0].addr, "10.0.0.10:80");
  assert_string_equal(stats->apps[1].nodes[1].addr, "10.0.0.2:80");
  assert_int_equal(stats->apps[0].nodes[0].weight, 7);
  assert_int_equal(stats->apps[0].nodes[0].in_flight, 1);
  assert_string_equal(stats->apps[0].nodes[0].state, "up");
  assert_true(stats->memory_blocks > 0);
  dsc_stats_free(stats);
  host_free(&h);
}

TEST(totals_are_those_of_all_apps) {
  fill();
  dsc_stats *stats = dsc_discoverer_stats(h.d);
  assert_int_equal(stats->total.in_flight, 1);
  assert_int_equal(stats->total.picks, 2);
  assert_int_equal(stats->total.isolations, 1);
  assert_int_equal(stats->total.recoveries, 0);
  assert_int_equal(stats->total.calls, 1);
  assert_int_equal(stats->total.errors[DSC_EAPP_NOT_FOUND], 1);
  dsc_stats_free(stats);
  host_free(&h);
}

TEST(a_copy_is_another_picture) {
  fill();
  dsc_stats *stats = dsc_discoverer_stats(h.d), *copy = dsc_stats_copy(stats);
  host_free(&h);
  assert_ptr_not_equal(copy->apps, stats->apps);
  assert_ptr_not_equal(copy->apps[1].nodes, stats->apps[1].nodes);
  assert_memory_equal(copy->apps[1].nodes, stats->apps[1].nodes, 2 * sizeof *copy->apps[1].nodes);
  dsc_stats_free(stats);
  assert_string_equal(copy->apps[1].nodes[1].addr, "10.0.0.2:80");
  dsc_stats_free(copy);
}

static dsc_stats *shared_stats;

static bool copy_shared(void) {
  dsc_stats *copy = dsc_stats_copy(shared_stats);
  dsc_stats_free(copy);
  return copy != NULL;
}

TEST(a_copy_is_whole_or_not_there) {
  fill();
  shared_stats = dsc_discoverer_stats(h.d);
  assert_int_equal(fail_each_allocation(copy_shared), 4);
  dsc_stats_free(shared_stats);
  host_free(&h);
}

/* ---- Prometheus */

static dsc_buf text;

static const char *as_text(const dsc_stats *stats) {
  dsc_buf_init(&text, 0);
  assert_int_equal(dsc_stats_prometheus(stats, &text), DSC_OK);
  assert_int_equal(dsc_buf_add(&text, "", 1), DSC_OK);
  return dsc_buf_str(&text).p;
}

static dsc_stats *made_up(void) {
  dsc_stats *stats = dsc_stats_new(NULL);
  stats->apps = dsc_mem_zalloc(1, sizeof *stats->apps);
  stats->apps[0].nodes = dsc_mem_zalloc(1, sizeof *stats->apps[0].nodes);
  stats->n_apps = stats->apps[0].n_nodes = 1;
  snprintf(stats->apps[0].app, sizeof stats->apps[0].app, "a\"b\\c\nd");
  snprintf(stats->apps[0].nodes[0].addr, sizeof stats->apps[0].nodes[0].addr, "10.0.0.1:80");
  stats->apps[0].nodes[0].state = "up";
  stats->apps[0].counts.latency[0] = 1;
  stats->apps[0].counts.latency[4] = 2;
  stats->apps[0].counts.latency[16] = 4;
  stats->apps[0].counts.latency_sum_us = 12000345;
  return stats;
}

/* Every line is a comment or `name{labels} number`, and a name is explained before it is used. */
TEST(every_line_is_well_formed) {
  fill();
  dsc_stats *stats = dsc_discoverer_stats(h.d);
  const char *line = as_text(stats);
  char metric[128] = "";
  int values = 0;
  while (*line) {
    const char *end = strchr(line, '\n');
    assert_non_null(end);
    if (sscanf(line, "# HELP %127s", metric) != 1 && line[0] != '#') {
      assert_memory_equal(line, metric, strlen(metric));
      const char *blank = end;
      while (blank > line && *blank != ' ') blank--;
      char *rest;
      strtod(blank + 1, &rest);
      assert_ptr_equal(rest, end);
      values++;
    }
    line = end + 1;
  }
  assert_true(values > 60);
  dsc_buf_clear(&text);
  dsc_stats_free(stats);
  host_free(&h);
}

static void expect_made_up(void) {
  dsc_stats *stats = made_up();
  const char *all = as_text(stats);
  const char *lines[] = {
      "discover_nodes{app=\"a\\\"b\\\\c\\nd\"} 1\n",
      "le=\"0.0001\"} 1\n",
      "le=\"0.00025\"} 1\n",
      "le=\"0.0025\"} 3\n",
      "le=\"0.5\"} 3\n",
      "le=\"1\"} 3\n",
      "le=\"2.5\"} 3\n",
      "le=\"10\"} 3\n",
      "le=\"+Inf\"} 7\n",
      "_sum{app=\"a\\\"b\\\\c\\nd\"} 12.000345\n",
      "_count{app=\"a\\\"b\\\\c\\nd\"} 7\n",
      "discover_node_state{app=\"a\\\"b\\\\c\\nd\",node=\"10.0.0.1:80\",state=\"up\"} 1\n",
      "discover_registry_up 0\n",
  };
  for (size_t i = 0; i < COUNT(lines); i++)
    if (!strstr(all, lines[i])) fail_msg("%s is not in\n%s", lines[i], all);
  dsc_buf_clear(&text);
  dsc_stats_free(stats);
}

TEST(labels_are_escaped_and_seconds_are_exact) {
  expect_made_up();
}

TEST(numbers_are_the_same_in_every_locale) {
  if (!setlocale(LC_NUMERIC, "de_DE.UTF-8")) skip();
  expect_made_up();
  setlocale(LC_NUMERIC, "C");
}

TEST(a_ceiling_is_an_error_not_a_part) {
  dsc_stats *stats = made_up();
  dsc_buf_init(&text, 1000);
  assert_int_not_equal(dsc_stats_prometheus(stats, &text), DSC_OK);
  dsc_buf_clear(&text);
  dsc_stats_free(stats);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_empty_one_needs_no_registry),
      cmocka_unit_test(shows_apps_and_nodes_in_order),
      cmocka_unit_test(totals_are_those_of_all_apps),
      cmocka_unit_test(a_copy_is_another_picture),
      cmocka_unit_test(a_copy_is_whole_or_not_there),
      cmocka_unit_test(every_line_is_well_formed),
      cmocka_unit_test(labels_are_escaped_and_seconds_are_exact),
      cmocka_unit_test(numbers_are_the_same_in_every_locale),
      cmocka_unit_test(a_ceiling_is_an_error_not_a_part),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
