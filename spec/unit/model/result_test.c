/*
** result_test.c - a result stays whole whatever runs out.
*/
#include "base/check.h"

#include "model/result.h"

TEST(an_empty_result_says_nothing) {
  dsc_result *result = dsc_result_new();
  assert_non_null(result);
  assert_false(dsc_result_ok(result));
  assert_int_equal(result->err, DSC_OK);
  assert_null(result->why);
  assert_null(result->body);
  assert_string_equal(result->node, "");
  assert_int_equal(result->headers.count, 0);
  dsc_result_free(result);
  dsc_result_free(NULL);
}

TEST(ok_is_an_answer_below_400_without_error) {
  static const struct {
    int status;
    bool ok;
  } cases[] = {{0, false},  {101, true},  {200, true},  {302, true},
               {399, true}, {400, false}, {404, false}, {503, false}};
  dsc_result *result = dsc_result_new();
  for (size_t i = 0; i < COUNT(cases); i++) {
    result->status = cases[i].status;
    assert_int_equal(dsc_result_ok(result), cases[i].ok);
  }
  result->status = 200;
  dsc_result_fail(result, DSC_ECLOSED, NULL);
  assert_false(dsc_result_ok(result));
  dsc_result_free(result);
}

TEST(failing_copies_the_sentence) {
  dsc_result *result = dsc_result_new();
  char why[] = "node a: refused";
  dsc_result_fail(result, DSC_ECONNECT, why);
  why[0] = 'X';
  assert_int_equal(result->err, DSC_ECONNECT);
  assert_string_equal(result->why, "node a: refused");
  dsc_result_fail(result, DSC_EALL_FAILED, result->why); /* its own sentence */
  assert_string_equal(result->why, "node a: refused");
  dsc_result_fail(result, DSC_EALL_FAILED, result->why + 8);
  assert_string_equal(result->why, "refused");
  dsc_result_fail(result, DSC_ETIMEOUT, NULL);
  assert_string_equal(result->why, dsc_err_text(DSC_ETIMEOUT));
  dsc_result_fail(result, DSC_OK, "nothing");
  assert_int_equal(result->err, DSC_OK);
  assert_null(result->why);
  dsc_result_free(result);
}

TEST(a_trace_is_kept_in_order_and_bounded) {
  dsc_result *result = dsc_result_new();
  for (int i = 0; i < DSC_RESULT_TRACE_MAX + 10; i++) {
    char node[32];
    snprintf(node, sizeof node, "10.0.0.%d:80", i);
    dsc_result_trace(result, dsc_str_of(node), 200 + i, i ? DSC_ECONNECT : DSC_OK, i / 2.0);
  }
  assert_int_equal(result->attempts, DSC_RESULT_TRACE_MAX + 10);
  assert_int_equal(result->n_trace, DSC_RESULT_TRACE_MAX);
  assert_string_equal(result->trace[0].node, "10.0.0.0:80");
  assert_int_equal(result->trace[0].err, DSC_OK);
  assert_string_equal(result->trace[63].node, "10.0.0.63:80");
  assert_int_equal(result->trace[63].status, 263);
  assert_int_equal(result->trace[63].err, DSC_ECONNECT);
  assert_true(result->trace[63].seconds > 31.4 && result->trace[63].seconds < 31.6);
  dsc_result_free(result);
}

TEST(a_long_node_is_cut_and_an_empty_one_is_empty) {
  char node[2 * DSC_ADDR_MAX];
  memset(node, 'n', sizeof node);
  dsc_result *result = dsc_result_new();
  dsc_result_trace(result, (dsc_str){node, sizeof node}, 0, DSC_ECONNECT, 0);
  dsc_result_trace(result, (dsc_str){NULL, 0}, 0, DSC_ECONNECT, 0);
  dsc_result_trace(result, (dsc_str){node, DSC_ADDR_MAX - 1}, 0, DSC_ECONNECT, 0);
  assert_int_equal(strlen(result->trace[0].node), DSC_ADDR_MAX - 1);
  assert_string_equal(result->trace[1].node, "");
  assert_int_equal(strlen(result->trace[2].node), DSC_ADDR_MAX - 1);
  dsc_result_free(result);
}

static void fill_answer(dsc_result *result) {
  result->status = 200;
  result->http_major = 1;
  result->http_minor = 1;
  result->reason = dsc_mem_strdup(L("OK"));
  result->body = dsc_mem_strdup(L("body"));
  result->body_len = 4;
  assert_int_equal(dsc_headers_add(&result->headers, L("a"), L("b")), DSC_OK);
}

TEST(the_last_answer_can_be_forgotten) {
  size_t before, after;
  dsc_mem_usage(&before, NULL);
  dsc_result *result = dsc_result_new();
  fill_answer(result);
  dsc_result_fail(result, DSC_EPROTOCOL, "why");
  dsc_result_trace(result, L("a:1"), 200, DSC_OK, 0);
  dsc_result_clear_answer(result);
  assert_int_equal(result->status, 0);
  assert_int_equal(result->http_major, 0);
  assert_int_equal(result->body_len, 0);
  assert_null(result->reason);
  assert_null(result->body);
  assert_int_equal(result->headers.count, 0);
  assert_int_equal(result->err, DSC_EPROTOCOL);
  assert_int_equal(result->n_trace, 1);
  fill_answer(result);
  dsc_result_free(result);
  dsc_mem_usage(&after, NULL);
  assert_int_equal(after, before);
}

TEST(without_memory_there_is_no_result) {
  dsc_mem_fail_at(1, true);
  dsc_result *result = dsc_result_new();
  dsc_mem_fail_at(0, false);
  assert_null(result);
}

TEST(without_memory_the_code_and_the_count_remain) {
  for (size_t n = 1; n < 12; n++) {
    dsc_result *result = dsc_result_new();
    dsc_mem_fail_at(n, n % 2);
    for (int i = 0; i < 20; i++) dsc_result_trace(result, L("a:1"), 0, DSC_ECONNECT, 0);
    dsc_result_fail(result, DSC_EALL_FAILED, "sentence");
    dsc_result_fail(result, DSC_ETIMEOUT, "sentence");
    dsc_mem_fail_at(0, false);
    assert_int_equal(result->err, DSC_ETIMEOUT);
    assert_int_equal(result->attempts, 20);
    assert_true(result->n_trace <= result->trace_cap);
    if (result->why) assert_string_equal(result->why, "sentence");
    dsc_result_free(result);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_empty_result_says_nothing),
      cmocka_unit_test(ok_is_an_answer_below_400_without_error),
      cmocka_unit_test(failing_copies_the_sentence),
      cmocka_unit_test(a_trace_is_kept_in_order_and_bounded),
      cmocka_unit_test(a_long_node_is_cut_and_an_empty_one_is_empty),
      cmocka_unit_test(the_last_answer_can_be_forgotten),
      cmocka_unit_test(without_memory_there_is_no_result),
      cmocka_unit_test(without_memory_the_code_and_the_count_remain),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
