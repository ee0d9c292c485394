/*
** redis_test.c - the codec: what goes out, what comes in, and what is refused.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "net/redis.h"

static void writes_words(void **state) {
  (void)state;
  dsc_buf out;
  dsc_buf_init(&out, 0);
  dsc_str words[] = {DSC_STR_LITERAL("SET"), {"a\0b", 3}, DSC_STR_LITERAL("")};
  assert_int_equal(dsc_redis_format(&out, &(dsc_redis_command){3, words}), DSC_OK);
  assert_int_equal(out.len, 28);
  assert_memory_equal(out.data, "*3\r\n$3\r\nSET\r\n$3\r\na\0b\r\n$0\r\n\r\n", out.len);
  dsc_buf_clear(&out);
}

/* Feeds `text` in pieces of `step` bytes; returns the last error, or OK with the number of replies. */
static dsc_err read_all(const char *text, size_t n, size_t step, size_t *count, dsc_redis_reply **last) {
  dsc_redis_reader *reader = dsc_redis_reader_new();
  dsc_err err = DSC_OK;
  dsc_why why;
  *count = 0;
  if (last) *last = NULL;
  for (size_t at = 0; !err && at < n; at += step) {
    err = dsc_redis_reader_feed(reader, text + at, n - at < step ? n - at : step);
    dsc_redis_reply *reply = NULL;
    while (!err && !(err = dsc_redis_reader_next(reader, &reply, &why)) && reply) {
      (*count)++;
      if (last) {
        dsc_redis_reply_free(*last);
        *last = reply;
      } else {
        dsc_redis_reply_free(reply);
      }
    }
  }
  dsc_redis_reader_free(reader);
  return err;
}

static void reads_every_type(void **state) {
  (void)state;
  static const char text[] = "*6\r\n$2\r\nab\r\n:42\r\n$-1\r\n+OK\r\n-ERR no\r\n*1\r\n*0\r\n";
  for (size_t step = 1; step < sizeof text; step++) {
    size_t count;
    dsc_redis_reply *r;
    assert_int_equal(read_all(text, sizeof text - 1, step, &count, &r), DSC_OK);
    assert_int_equal(count, 1);
    assert_int_equal(r->type, DSC_REDIS_ARRAY);
    assert_int_equal(r->count, 6);
    assert_int_equal(r->items[0]->type, DSC_REDIS_STRING);
    assert_string_equal(r->items[0]->str.p, "ab");
    assert_int_equal(r->items[1]->integer, 42);
    assert_int_equal(r->items[2]->type, DSC_REDIS_NIL);
    assert_int_equal(r->items[3]->type, DSC_REDIS_STATUS);
    assert_int_equal(r->items[4]->type, DSC_REDIS_ERROR);
    assert_string_equal(r->items[4]->str.p, "ERR no");
    assert_int_equal(r->items[5]->items[0]->count, 0);
    dsc_redis_reply_free(r);
  }
}

static void refuses_what_is_broken(void **state) {
  (void)state;
  static const char *const broken[] = {
      "HTTP/1.1 400 Bad Request\r\n",
      "?\r\n",
      "*2147483647\r\n",
      "*1000000000\r\n",
      "*-7\r\n",
      "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
      ("*4000000\r\n*4000000\r\n*4000000\r\n*4000000\r\n*4000000\r\n*4000000\r\n*4000000\r\n"
       "*4000000\r\n*4000000\r\n")};
  size_t blocks, after;
  dsc_mem_usage(&blocks, NULL);
  for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
    size_t count;
    assert_int_not_equal(read_all(broken[i], strlen(broken[i]), 7, &count, NULL), DSC_OK);
    assert_int_equal(count, 0);
  }
  dsc_mem_usage(&after, NULL);
  assert_int_equal(blocks, after);
}

static void refuses_an_endless_line(void **state) {
  (void)state;
  size_t n = DSC_REDIS_MAX_LINE + 65536, count;
  char *line = malloc(n);
  memset(line, 'x', n);
  line[0] = '+';
  assert_int_equal(read_all(line, n, 65536, &count, NULL), DSC_ETOO_LARGE);
  memcpy(line, "$2147483647\r\n", 13);
  assert_int_equal(read_all(line, n, 65536, &count, NULL), DSC_ETOO_LARGE);
  free(line);
}

static void survives_noise(void **state) {
  (void)state;
  static const char alphabet[] = "*$:+-0123456789\r\n\r\n\r\nab";
  unsigned seed = 7;
  size_t blocks, after;
  dsc_mem_usage(&blocks, NULL);
  for (int round = 0; round < 20000; round++) {
    char text[64];
    for (size_t i = 0; i < sizeof text; i++) {
      seed = seed * 1664525 + 1013904223;
      text[i] = alphabet[(seed >> 16) % (sizeof alphabet - 1)];
    }
    size_t count;
    read_all(text, sizeof text, 1 + (size_t)round % 17, &count, NULL);
  }
  dsc_mem_usage(&after, NULL);
  assert_int_equal(blocks, after);
}

static void every_allocation_may_fail(void **state) {
  (void)state;
  static const char text[] = "*3\r\n$2\r\nab\r\n:42\r\n*1\r\n$1\r\nx\r\n";
  size_t blocks, after, count;
  dsc_mem_usage(&blocks, NULL);
  for (size_t n = 2; n < 10; n++) {
    dsc_mem_fail_at(n, false);
    read_all(text, sizeof text - 1, 5, &count, NULL);
    dsc_mem_fail_at(0, false);
  }
  dsc_mem_usage(&after, NULL);
  assert_int_equal(blocks, after);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(writes_words),           cmocka_unit_test(reads_every_type),
      cmocka_unit_test(refuses_what_is_broken), cmocka_unit_test(refuses_an_endless_line),
      cmocka_unit_test(survives_noise),         cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
