/*
** map_test.c - against a linear array over many random operations.
*/
#include "check.h"

#include "base/map.h"

#define KEYS_MAX 300

/* The model: entries in a row, searched one by one. */
struct entry {
  char key[16];
  void *value;
};
struct model {
  struct entry entries[KEYS_MAX];
  size_t n;
};

static struct entry *model_find(struct model *m, const char *key) {
  for (size_t i = 0; i < m->n; i++)
    if (strcmp(m->entries[i].key, key) == 0) return &m->entries[i];
  return NULL;
}

static void *model_put(struct model *m, const char *key, void *value) {
  struct entry *e = model_find(m, key);
  void *old = e ? e->value : NULL;
  if (!e) e = &m->entries[m->n++];
  snprintf(e->key, sizeof e->key, "%s", key);
  e->value = value;
  return old;
}

static void *model_take(struct model *m, const char *key) {
  struct entry *e = model_find(m, key);
  if (!e) return NULL;
  void *old = e->value;
  *e = m->entries[--m->n];
  return old;
}

static char keys[KEYS_MAX][16];
static int things[1000];

static void make_keys(void) {
  for (size_t i = 0; i < KEYS_MAX; i++) snprintf(keys[i], sizeof keys[i], "10.0.0.%zu:80", i);
  keys[0][0] = '\0'; /* the empty key is a key */
}

static void assert_walk(const dsc_map *map, struct model *m) {
  size_t at = 0, n = 0;
  uint8_t seen[COUNT(things)] = {0}, expected[COUNT(things)] = {0};
  for (size_t i = 0; i < m->n; i++) expected[(int *)m->entries[i].value - things]++;
  for (int *value; (value = dsc_map_next(map, &at)); n++) seen[value - things]++;
  assert_int_equal(n, m->n);
  assert_memory_equal(seen, expected, sizeof seen);
  assert_null(dsc_map_next(map, &at));
}

static void compare(size_t key_count, int steps) {
  static struct model m;
  m.n = 0;
  uint64_t seed = key_count;
  dsc_map map;
  dsc_map_init(&map);
  for (int i = 0; i < steps; i++) {
    const char *key = keys[pick_below(&seed, key_count)];
    void *old = things, *value = &things[pick_below(&seed, COUNT(things))];
    /* waves: mostly filling, then mostly emptying */
    size_t kind = pick_below(&seed, 10), fill = i / 1000 % 2 ? 2 : 5;
    if (kind < fill) {
      assert_int_equal(dsc_map_put(&map, dsc_str_of(key), value, &old), DSC_OK);
      assert_ptr_equal(old, model_put(&m, key, value));
    } else if (kind < 7) {
      assert_ptr_equal(dsc_map_take(&map, dsc_str_of(key)), model_take(&m, key));
    } else {
      struct entry *e = model_find(&m, key);
      assert_ptr_equal(dsc_map_get(&map, dsc_str_of(key)), e ? e->value : NULL);
    }
    assert_int_equal(map.count, m.n);
    if (i % 500 == 0) assert_walk(&map, &m);
  }
  for (size_t i = 0; i < key_count; i++) {
    struct entry *e = model_find(&m, keys[i]);
    assert_ptr_equal(dsc_map_get(&map, dsc_str_of(keys[i])), e ? e->value : NULL);
  }
  assert_walk(&map, &m);
  dsc_map_clear(&map);
}

TEST(it_does_what_a_linear_array_does) {
  make_keys();
  compare(6, 50000); /* one run of slots around the end of the smallest table */
  compare(24, 50000);
  compare(KEYS_MAX, 100000);
}

TEST(the_key_of_the_last_put_counts) {
  char first[] = "user", second[] = "user";
  dsc_map map;
  dsc_map_init(&map);
  dsc_map_put(&map, dsc_str_of(first), &things[1], NULL);
  dsc_map_put(&map, dsc_str_of(second), &things[2], NULL);
  memset(first, 'x', 4); /* its owner may go now */
  assert_ptr_equal(dsc_map_get(&map, L("user")), &things[2]);
  assert_int_equal(map.count, 1);
  dsc_map_clear(&map);
}

TEST(an_empty_map) {
  dsc_map map;
  size_t at = 0, blocks, blocks_after;
  dsc_mem_usage(&blocks, NULL);
  dsc_map_init(&map);
  assert_null(dsc_map_get(&map, L("x")));
  assert_null(dsc_map_take(&map, L("x")));
  assert_null(dsc_map_next(&map, &at));
  dsc_mem_usage(&blocks_after, NULL);
  assert_int_equal(blocks_after, blocks);
  dsc_map_clear(&map);
}

TEST(keys_are_bytes_not_c_strings) {
  dsc_map map;
  dsc_map_init(&map);
  dsc_map_put(&map, L("a\0b"), &things[1], NULL);
  dsc_map_put(&map, L("a\0c"), &things[2], NULL);
  dsc_map_put(&map, (dsc_str){NULL, 0}, &things[3], NULL);
  assert_ptr_equal(dsc_map_get(&map, L("a\0b")), &things[1]);
  assert_ptr_equal(dsc_map_get(&map, L("")), &things[3]);
  assert_null(dsc_map_get(&map, L("a")));
  dsc_map_clear(&map);
}

/* A put that fails changes nothing; replacing and taking need no memory. */
static bool fill(void) {
  dsc_map map;
  size_t put = 0;
  dsc_map_init(&map);
  for (; put < KEYS_MAX; put++) {
    void *old = &things[9];
    dsc_err err = dsc_map_put(&map, dsc_str_of(keys[put]), &things[put], &old);
    assert_null(old);
    if (!err) continue;
    assert_int_equal(err, DSC_ENOMEM);
    break;
  }
  assert_int_equal(map.count, put);
  for (size_t i = 0; i < put; i++) {
    assert_ptr_equal(dsc_map_get(&map, dsc_str_of(keys[i])), &things[i]);
    assert_int_equal(dsc_map_put(&map, dsc_str_of(keys[i]), &things[i], NULL), DSC_OK);
  }
  for (size_t i = 0; i < put; i++) assert_ptr_equal(dsc_map_take(&map, dsc_str_of(keys[i])), &things[i]);
  dsc_map_clear(&map);
  return put == KEYS_MAX;
}

TEST(every_allocation_may_fail) {
  make_keys();
  assert_true(fail_each_allocation(fill) >= 6);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(it_does_what_a_linear_array_does),
      cmocka_unit_test(the_key_of_the_last_put_counts),
      cmocka_unit_test(an_empty_map),
      cmocka_unit_test(keys_are_bytes_not_c_strings),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
