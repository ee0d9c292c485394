/*
** cluster_slot_test.c - slots of keys, redirects, names of nodes.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "model/cluster_slot.h"

static uint16_t slot(const char *key) {
  return dsc_cluster_slot(dsc_str_of(key));
}

/* The numbers are what CLUSTER KEYSLOT of a Redis 7.0 says. */
static void slots_are_those_of_redis(void **state) {
  (void)state;
  assert_int_equal(slot("123456789"), 0x31C3);
  assert_int_equal(slot(""), 0);
  assert_int_equal(slot("foo"), 12182);
  assert_int_equal(slot("somekey"), 11058);
  assert_int_equal(slot("web_127.0.0.1:1"), slot("web_127.0.0.1:1"));
  assert_int_equal(dsc_cluster_slot((dsc_str){NULL, 0}), 0);
}

static void tags_decide_alone(void **state) {
  (void)state;
  assert_int_equal(slot("{user1}.following"), slot("user1"));
  assert_int_equal(slot("a{user1}b{c}"), slot("user1"));
  assert_int_equal(slot("{user1}.following"), 8106);
  /* no tag, an empty one, one without an end, one in another */
  assert_int_not_equal(slot("foo{}{bar}"), slot("bar"));
  assert_int_equal(slot("foo{{bar}}zap"), slot("{bar"));
  assert_int_not_equal(slot("{user1"), slot("user1"));
  assert_int_equal(slot("}{user1}"), slot("user1"));
}

static dsc_err read(dsc_redirect *redirect, const char *text) {
  dsc_addr asked = {.host = "10.0.0.7", .port = 7000};
  dsc_why why;
  return dsc_cluster_read_redirect(redirect, dsc_str_of(text), &asked, &why);
}

static void redirects_are_read(void **state) {
  (void)state;
  dsc_redirect r;
  assert_int_equal(read(&r, "MOVED 3999 127.0.0.1:6381"), DSC_OK);
  assert_int_equal(r.kind, DSC_REDIRECT_MOVED);
  assert_int_equal(r.slot, 3999);
  assert_string_equal(r.addr.text, "127.0.0.1:6381");
  assert_int_equal(read(&r, "ASK 16383 redis-1.example:1"), DSC_OK);
  assert_int_equal(r.kind, DSC_REDIRECT_ASK);
  assert_string_equal(r.addr.text, "redis-1.example:1");
  assert_int_equal(read(&r, "MOVED 0 ::1:6381"), DSC_OK);
  assert_string_equal(r.addr.text, "[::1]:6381");
  assert_int_equal(read(&r, "MOVED 0 :6381"), DSC_OK);
  assert_string_equal(r.addr.text, "10.0.0.7:6381");
  assert_int_equal(read(&r, "MOVED 0 ?:6381"), DSC_OK);
  assert_string_equal(r.addr.text, "10.0.0.7:6381");
  assert_int_equal(read(&r, "CLUSTERDOWN Hash slot not served"), DSC_OK);
  assert_int_equal(r.kind, DSC_REDIRECT_NONE);
  assert_int_equal(read(&r, ""), DSC_OK);
}

static void odd_redirects_are_refused(void **state) {
  (void)state;
  static const char *const odd[] = {"MOVED",           "MOVED ",          "MOVED 1",
                                    "MOVED 1 ",        "MOVED x h:1",     "MOVED -1 h:1",
                                    "MOVED 16384 h:1", "MOVED 1 h",       "MOVED 1 h:",
                                    "MOVED 1 h:0",     "MOVED 1 h:65536", "MOVED 1 a b:1",
                                    "ASK 1 [::1:5",    "ASK 1 h:1x",      "ASK 1 /x:1",
                                    "MOVED 1 h\n:1",   "MOVED 1 ::zz:1",  "ASK 99999999999999999999 h:1"};
  for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
    dsc_redirect r;
    assert_int_equal(read(&r, odd[i]), DSC_EPROTOCOL);
    assert_int_equal(r.kind, DSC_REDIRECT_NONE);
  }
  char text[4000] = "MOVED 1 ";
  memset(text + 8, 'h', sizeof text - 11);
  memcpy(text + sizeof text - 3, ":1", 3);
  dsc_redirect r;
  assert_int_equal(read(&r, text), DSC_EPROTOCOL);
}

/* Whatever comes: an answer, and never more than the bytes that are there. */
static void anything_may_come(void **state) {
  (void)state;
  static const char letters[] = "MOVEDASK 0123456789:.[]?{}\xff\n";
  dsc_addr asked = {.host = "::1", .port = 7000};
  for (int round = 0; round < 20000; round++) {
    size_t n = (size_t)(dsc_random_u64() % 40);
    char *text = malloc(n ? n : 1);
    for (size_t i = 0; i < n; i++) text[i] = letters[dsc_random_u64() % (sizeof letters - 1)];
    if (n > 6 && round % 2) memcpy(text, "MOVED ", 6);
    dsc_redirect r;
    dsc_err err = dsc_cluster_read_redirect(&r, (dsc_str){text, n}, &asked, NULL);
    assert_true(err == DSC_OK || err == DSC_EPROTOCOL);
    assert_true(dsc_cluster_slot((dsc_str){text, n}) < DSC_CLUSTER_SLOTS);
    free(text);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(slots_are_those_of_redis), cmocka_unit_test(tags_decide_alone),
      cmocka_unit_test(redirects_are_read),       cmocka_unit_test(odd_redirects_are_refused),
      cmocka_unit_test(anything_may_come),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
