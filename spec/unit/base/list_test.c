/*
** list_test.c - the ring of links.
*/
#include "check.h"

#include "base/list.h"

struct member {
  int before;
  dsc_link link;
};

TEST(first_in_first_out) {
  dsc_link head;
  struct member members[3];
  dsc_list_init(&head);
  assert_true(dsc_list_empty(&head));
  assert_null(dsc_list_pop(&head));
  for (int i = 0; i < 3; i++) dsc_list_push(&head, &members[i].link);
  for (int i = 0; i < 3; i++) assert_ptr_equal(DSC_LIST_ENTRY(dsc_list_pop(&head), struct member, link), &members[i]);
  assert_true(dsc_list_empty(&head));
}

TEST(remove_is_harmless_twice) {
  dsc_link head, a, b, c;
  dsc_list_init(&head);
  dsc_list_push(&head, &a);
  dsc_list_push(&head, &b);
  dsc_list_push(&head, &c);
  dsc_list_remove(&b);
  dsc_list_remove(&b);
  assert_true(dsc_list_empty(&b));
  assert_ptr_equal(dsc_list_pop(&head), &a);
  assert_ptr_equal(dsc_list_pop(&head), &c);
}

TEST(move_appends_and_empties) {
  dsc_link to, from, links[4];
  dsc_list_init(&to);
  dsc_list_init(&from);
  dsc_list_move(&to, &from);
  assert_true(dsc_list_empty(&to));
  for (int i = 0; i < 4; i++) dsc_list_push(i < 2 ? &to : &from, &links[i]);
  dsc_list_move(&to, &from);
  assert_true(dsc_list_empty(&from));
  for (int i = 0; i < 4; i++) assert_ptr_equal(dsc_list_pop(&to), &links[i]);
  assert_true(dsc_list_empty(&to));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(first_in_first_out),
      cmocka_unit_test(remove_is_harmless_twice),
      cmocka_unit_test(move_appends_and_empties),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
