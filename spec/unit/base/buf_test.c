/*
** buf_test.c - against a plain array, at the ceiling, without memory.
*/
#include "check.h"

#include "base/buf.h"

#define CEILING 500

static void assert_terminated(const dsc_buf *buf) {
  if (buf->data) assert_int_equal(buf->data[buf->len], '\0');
  assert_true(buf->len <= buf->ceiling && buf->cap <= buf->ceiling + 1);
}

struct model {
  char bytes[CEILING];
  size_t n;
  dsc_err err;
};

static void model_add(struct model *m, const char *bytes, size_t n) {
  if (n > 0 && !m->err && n > CEILING - m->n) m->err = DSC_ETOO_LARGE;
  if (m->err) return;
  memcpy(m->bytes + m->n, bytes, n);
  m->n += n;
}

static void model_consume(struct model *m, size_t n) {
  n = n < m->n ? n : m->n;
  memmove(m->bytes, m->bytes + n, m->n - n);
  m->n -= n;
}

static void random_step(dsc_buf *buf, struct model *m, uint64_t *seed) {
  char bytes[64];
  size_t n = pick_below(seed, sizeof bytes), kind = pick_below(seed, 100);
  for (size_t i = 0; i < n; i++) bytes[i] = (char)(1 + pick_below(seed, 255));
  if (kind < 40) {
    dsc_err err = dsc_buf_add(buf, bytes, n);
    model_add(m, bytes, n);
    assert_int_equal(err, m->err);
  } else if (kind < 60) {
    dsc_err err = dsc_buf_addf(buf, "%.*s", (int)n, bytes);
    model_add(m, bytes, n);
    assert_int_equal(err, m->err);
  } else if (kind < 97) {
    size_t out = pick_below(seed, 70);
    dsc_buf_consume(buf, out);
    model_consume(m, out);
  } else if (kind == 97) {
    dsc_buf_reset(buf);
    *m = (struct model){0};
  } else if (kind == 98) {
    dsc_buf_clear(buf);
    *m = (struct model){0};
  } else if (!m->err) {
    size_t taken = 0;
    char *data = dsc_buf_take(buf, &taken);
    assert_int_equal(taken, m->n);
    assert_memory_equal(data, m->bytes, taken);
    assert_int_equal(data[taken], '\0');
    dsc_mem_free(data);
    *m = (struct model){0};
  }
}

TEST(it_does_what_an_array_does) {
  struct model m = {0};
  dsc_buf buf;
  uint64_t seed = 3;
  int full = 0;
  dsc_buf_init(&buf, CEILING);
  for (int i = 0; i < 100000; i++) {
    random_step(&buf, &m, &seed);
    assert_int_equal(buf.len, m.n);
    assert_int_equal(buf.err, m.err);
    if (m.n) assert_memory_equal(buf.data, m.bytes, m.n);
    assert_terminated(&buf);
    full += m.err != DSC_OK;
  }
  assert_true(full > 100); /* the walk did reach the ceiling */
  dsc_buf_clear(&buf);
}

TEST(the_ceiling_is_exact_and_sticks) {
  dsc_buf buf;
  dsc_buf_init(&buf, 5);
  assert_int_equal(dsc_buf_add(&buf, "12345", 5), DSC_OK);
  assert_int_equal(dsc_buf_add(&buf, "", 0), DSC_OK);
  assert_int_equal(dsc_buf_add(&buf, "6", 1), DSC_ETOO_LARGE);
  dsc_buf_consume(&buf, 5);
  assert_int_equal(dsc_buf_add(&buf, "1", 1), DSC_ETOO_LARGE);
  assert_int_equal(dsc_buf_addf(&buf, "x"), DSC_ETOO_LARGE);
  assert_int_equal(dsc_buf_add_str(&buf, (dsc_str){NULL, 0}), DSC_ETOO_LARGE);
  assert_null(dsc_buf_take(&buf, NULL));
  dsc_buf_reset(&buf);
  assert_int_equal(dsc_buf_addf(&buf, "%d", 123456), DSC_ETOO_LARGE);
  dsc_buf_reset(&buf);
  assert_int_equal(dsc_buf_addf(&buf, "%d", 12345), DSC_OK);
  assert_str(dsc_buf_str(&buf), "12345");
  dsc_buf_clear(&buf);
  assert_int_equal(buf.ceiling, 5);
}

TEST(absurd_lengths_do_not_overflow) {
  dsc_buf buf;
  dsc_buf_init(&buf, 0);
  assert_int_equal(dsc_buf_add(&buf, "1", 1), DSC_OK);
  assert_int_equal(dsc_buf_add(&buf, "1", SIZE_MAX), DSC_ETOO_LARGE);
  dsc_buf_reset(&buf);
  assert_int_equal(dsc_buf_add(&buf, "1", SIZE_MAX / 2 + 1), DSC_ETOO_LARGE);
  dsc_buf_init(&buf, (dsc_buf_clear(&buf), SIZE_MAX));
  assert_int_equal(dsc_buf_add(&buf, "1", SIZE_MAX), DSC_ETOO_LARGE);
  dsc_buf_clear(&buf);
}

TEST(an_empty_buffer) {
  dsc_buf buf;
  size_t blocks, blocks_after, n = 1;
  dsc_mem_usage(&blocks, NULL);
  dsc_buf_init(&buf, 0);
  assert_int_equal(dsc_buf_add(&buf, NULL, 0), DSC_OK);
  dsc_buf_consume(&buf, 3);
  dsc_buf_reset(&buf);
  assert_str(dsc_buf_str(&buf), "");
  assert_non_null(dsc_buf_str(&buf).p);
  dsc_mem_usage(&blocks_after, NULL);
  assert_int_equal(blocks_after, blocks);
  char *data = dsc_buf_take(&buf, &n);
  assert_int_equal(n, 0);
  assert_string_equal(data, "");
  dsc_mem_free(data);
  dsc_buf_clear(&buf);
}

TEST(appending_costs_few_allocations) {
  dsc_buf buf;
  dsc_buf_init(&buf, 0);
  dsc_mem_fail_at(0, false);
  for (int i = 0; i < 100000; i++) dsc_buf_add(&buf, "0123456789", 10);
  assert_true(dsc_mem_asked() < 20);
  assert_int_equal(buf.len, 1000000);
  dsc_buf_clear(&buf);
}

/* Many pieces, one look: a failure in the middle leaves what was there, and is said at the end. */
static bool build(void) {
  dsc_buf buf;
  dsc_buf_init(&buf, 0);
  for (int i = 0; i < 50; i++) {
    size_t before = buf.len;
    if (dsc_buf_addf(&buf, "%d:", i) || dsc_buf_add(&buf, "0123456789", 10)) assert_true(buf.len <= before + 3);
    assert_terminated(&buf);
  }
  char *data = dsc_buf_take(&buf, NULL);
  if (!data) assert_int_equal(buf.err, DSC_ENOMEM);
  if (data) assert_int_equal(strlen(data), 640);
  dsc_mem_free(data);
  dsc_buf_clear(&buf);
  return data != NULL;
}

static bool take_empty(void) {
  dsc_buf buf;
  dsc_buf_init(&buf, 0);
  char *data = dsc_buf_take(&buf, NULL);
  dsc_mem_free(data);
  return data != NULL;
}

TEST(every_allocation_may_fail) {
  assert_true(fail_each_allocation(build) >= 4);
  assert_int_equal(fail_each_allocation(take_empty), 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_does_what_an_array_does),      cmocka_unit_test(the_ceiling_is_exact_and_sticks),
      cmocka_unit_test(absurd_lengths_do_not_overflow),  cmocka_unit_test(an_empty_buffer),
      cmocka_unit_test(appending_costs_few_allocations), cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
