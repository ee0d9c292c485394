/*
** url_test.c - URLs taken apart, percent-encoding there and back.
*/
#include "check.h"

#include "base/url.h"

TEST(good_urls) {
  static const struct {
    const char *text, *scheme, *user, *password, *host, *port, *path, *query;
    bool is_v6; /* NULL above: not there */
  } good[] = {
      {"redis://127.0.0.1:6379/15", "redis", NULL, NULL, "127.0.0.1", "6379", "/15", "", false},
      {"redis://:secret@host:6379/1", "redis", NULL, "secret", "host", "6379", "/1", "", false},
      {"redis://bob:se%20cret@host", "redis", "bob", "se%20cret", "host", "", "", "", false},
      {"redis://bob@host", "redis", "bob", NULL, "host", "", "", "", false},
      {"redis://bob:@host", "redis", "bob", "", "host", "", "", "", false},
      {"redis://@host", "redis", NULL, NULL, "host", "", "", "", false},
      {"redis://a:b:c@host", "redis", "a", "b:c", "host", "", "", "", false},
      {"redis://a:b@c@host:1", "redis", "a", "b@c", "host", "1", "", "", false},
      {"redis://host/?database=3&id=1", "redis", NULL, NULL, "host", "", "/", "database=3&id=1", false},
      {"redis://host?database=3", "redis", NULL, NULL, "host", "", "", "database=3", false},
      {"redis://host?a=/b?c@d:e", "redis", NULL, NULL, "host", "", "", "a=/b?c@d:e", false},
      {"redis://host/a@b:c", "redis", NULL, NULL, "host", "", "/a@b:c", "", false},
      {"rediss://[2001:db8::1]:6380/0", "rediss", NULL, NULL, "2001:db8::1", "6380", "/0", "", true},
      {"rediss://u:p@[::1]", "rediss", "u", "p", "::1", "", "", "", true},
      {"unix:///var/run/redis.sock?db=15", "unix", NULL, NULL, "", "", "/var/run/redis.sock", "db=15", false},
      {"memory://name", "memory", NULL, NULL, "name", "", "", "", false},
      {"memory://", "memory", NULL, NULL, "", "", "", "", false},
      {"memory://\xe6\x97\xa5", "memory", NULL, NULL, "\xe6\x97\xa5", "", "", "", false},
      {"a+b-1.c://h:/", "a+b-1.c", NULL, NULL, "h", "", "/", "", false},
      {"http://h:65535", "http", NULL, NULL, "h", "65535", "", "", false},
  };
  for (size_t i = 0; i < COUNT(good); i++) {
    dsc_url url;
    dsc_why why = {"(none)"};
    if (dsc_url_parse(&url, dsc_str_of(good[i].text), &why)) fail_msg("%s: %s", good[i].text, why.text);
    assert_str(url.scheme, good[i].scheme);
    assert_int_equal(url.has_user, good[i].user != NULL);
    assert_str(url.user, good[i].user ? good[i].user : "");
    assert_int_equal(url.has_password, good[i].password != NULL);
    assert_str(url.password, good[i].password ? good[i].password : "");
    assert_str(url.host, good[i].host);
    assert_int_equal(url.host_is_v6, good[i].is_v6);
    assert_str(url.port, good[i].port);
    assert_str(url.path, good[i].path);
    assert_str(url.query, good[i].query);
  }
}

TEST(lists_of_hosts) {
  dsc_url url;
  dsc_why why;
  assert_int_equal(dsc_url_parse_list(&url, L("x://u:a,b@one:1,[::1]:2,,three/p?q=1"), &why), DSC_OK);
  assert_str(url.user, "u");
  assert_str(url.password, "a,b");
  assert_str(url.path, "/p");
  assert_str(url.query, "q=1");
  dsc_str list = url.host;
  assert_int_equal(dsc_url_next_host(&url, &list, &why), DSC_OK);
  assert_str(url.host, "one");
  assert_str(url.port, "1");
  assert_false(url.host_is_v6);
  assert_int_equal(dsc_url_next_host(&url, &list, &why), DSC_OK);
  assert_str(url.host, "::1");
  assert_str(url.port, "2");
  assert_true(url.host_is_v6);
  assert_int_equal(dsc_url_next_host(&url, &list, &why), DSC_OK);
  assert_str(url.host, "");
  assert_str(url.port, "");
  assert_int_equal(dsc_url_next_host(&url, &list, &why), DSC_OK);
  assert_str(url.host, "three");
  assert_str(url.port, "");
  assert_null(list.p);
  assert_int_equal(dsc_url_parse_list(&url, L("x://h\n"), &why), DSC_EINVALID);
  list = L("h:0,[::1");
  assert_int_equal(dsc_url_next_host(&url, &list, &why), DSC_EINVALID);
  assert_int_equal(dsc_url_next_host(&url, &list, NULL), DSC_EINVALID);
  assert_null(list.p);
}

TEST(bad_urls_and_no_word_of_a_password) {
  static const char *const bad[] = {
      "",
      "hunter2",
      "host:6379:hunter2:15",
      "redis:hunter2@host",
      "redis:/hunter2@host",
      "://hunter2@host",
      "1redis://hunter2@host",
      "re dis://hunter2@host",
      "re_dis://hunter2@host",
      "red%69s://hunter2@host",
      "redis://:hunter2@host:0",
      "redis://:hunter2@host:65536",
      "redis://:hunter2@host:-1",
      "redis://:hunter2@host:+80",
      "redis://:hunter2@host:123456",
      "redis://:hunter2@host:http",
      "redis://:hunter2@a:1:2",
      "redis://:hunter2@::1:6379",
      "redis://:hunter2@[::1",
      "redis://:hunter2@[::1]x",
      "redis://:hunter2@[::1]6379",
      "redis://:hunter2@[name]",
      "redis://:hunter2@[]",
      "redis://:hunter2@ho[st",
      "redis://:hunter2@ho st",
      "redis://:hunter2@ho\nst",
      "redis://:hunter2@ho\x7fst",
      "redis://:hunter2@ho\"st",
      "redis://:hunter2@ho\\st",
      "redis://:hunter2#1@host",
      "redis://:hunter2/1@host:6379",
      "redis://:hunter2?1@host:6379",
      "redis://host/0#hunter2",
      "redis://host/ hunter2",
  };
  for (size_t i = 0; i < COUNT(bad); i++) {
    dsc_url url;
    dsc_why why = {"hunter2"};
    if (dsc_url_parse(&url, dsc_str_of(bad[i]), &why) != DSC_EINVALID) fail_msg("%s was taken", bad[i]);
    assert_true(strlen(why.text) > 0);
    assert_null(strstr(why.text, "hunter2"));
  }
  dsc_url url;
  assert_int_equal(dsc_url_parse(&url, (dsc_str){NULL, 0}, NULL), DSC_EINVALID);
  assert_int_equal(dsc_url_parse(&url, L("redis://ho\0st"), NULL), DSC_EINVALID);
  assert_int_equal(dsc_url_parse(&url, L("re\0is://host"), NULL), DSC_EINVALID);
}

/* What was parsed and put together again is what was there. */
TEST(random_urls_lose_no_byte) {
  static const char alphabet[] = "a1:/?@[].%#&= ";
  uint64_t seed = 5;
  size_t parsed = 0;
  for (int i = 0; i < 100000; i++) {
    char text[40] = "ab://";
    size_t n = 5 + pick_below(&seed, sizeof text - 5);
    for (size_t k = 5; k < n; k++) text[k] = alphabet[pick_below(&seed, sizeof alphabet - 1)];
    dsc_url url;
    if (dsc_url_parse(&url, (dsc_str){text, n}, NULL)) continue;
    parsed++;
    size_t parts = url.scheme.n + 3 + url.user.n + url.password.n + url.host.n + url.port.n + url.path.n + url.query.n;
    parts += (size_t)url.has_password + 2 * (size_t)url.host_is_v6;
    size_t marks = n - parts; /* an '@', a ':' before the port, a '?' */
    assert_in_range(marks, 0, 3);
  }
  assert_true(parsed > 1000);
}

TEST(pairs) {
  dsc_str query = L("a=1&&b&=c&d=e=f&"), key, value;
  static const char *const expected[][2] = {{"a", "1"}, {"b", ""}, {"", "c"}, {"d", "e=f"}};
  for (size_t i = 0; i < COUNT(expected); i++) {
    assert_true(dsc_url_next_pair(&query, &key, &value));
    assert_str(key, expected[i][0]);
    assert_str(value, expected[i][1]);
  }
  assert_false(dsc_url_next_pair(&query, &key, &value));
  query = L("&&&");
  assert_false(dsc_url_next_pair(&query, &key, &value));
  query = (dsc_str){NULL, 0};
  assert_false(dsc_url_next_pair(&query, &key, &value));
}

TEST(encoding_touches_all_but_unreserved) {
  dsc_buf buf;
  dsc_buf_init(&buf, 0);
  assert_int_equal(dsc_url_encode(&buf, L("AZaz09-._~")), DSC_OK);
  assert_str(dsc_buf_str(&buf), "AZaz09-._~");
  dsc_buf_reset(&buf);
  assert_int_equal(dsc_url_encode(&buf, L("a b/c+%&=\xc3\xa4\0")), DSC_OK);
  assert_str(dsc_buf_str(&buf), "a%20b%2Fc%2B%25%26%3D%C3%A4%00");
  dsc_buf_reset(&buf);
  assert_int_equal(dsc_url_encode(&buf, (dsc_str){NULL, 0}), DSC_OK);
  assert_int_equal(buf.len, 0);
  dsc_buf_clear(&buf);
}

TEST(decoding) {
  dsc_buf buf;
  dsc_buf_init(&buf, 0);
  assert_int_equal(dsc_url_decode(&buf, L("a%20b%2fc%2F+%41")), DSC_OK);
  assert_str(dsc_buf_str(&buf), "a b/c/+A");
  dsc_buf_clear(&buf);
}

TEST(broken_sequences_leave_the_buffer_alone) {
  static const char *const bad[] = {"%", "%4", "abc%", "abc%4", "%g1", "%1g", "%%41", "% 1", "a%41b%zz", "%-1", "%+1"};
  dsc_buf buf;
  dsc_buf_init(&buf, 0);
  dsc_buf_add(&buf, "before", 6);
  for (size_t i = 0; i < COUNT(bad); i++) {
    assert_int_equal(dsc_url_decode(&buf, dsc_str_of(bad[i])), DSC_EINVALID);
    assert_str(dsc_buf_str(&buf), "before");
    assert_int_equal(buf.data[buf.len], '\0');
    assert_int_equal(buf.err, DSC_OK); /* only ceiling and memory stick */
  }
  dsc_buf_clear(&buf);
}

TEST(there_and_back) {
  dsc_buf there, back;
  uint64_t seed = 9;
  dsc_buf_init(&there, 0);
  dsc_buf_init(&back, 0);
  for (int i = 0; i < 5000; i++) {
    char bytes[100];
    size_t n = pick_below(&seed, sizeof bytes);
    for (size_t k = 0; k < n; k++) bytes[k] = (char)pick_below(&seed, 256);
    dsc_buf_reset(&there);
    dsc_buf_reset(&back);
    assert_int_equal(dsc_url_encode(&there, (dsc_str){bytes, n}), DSC_OK);
    for (size_t k = 0; k < there.len; k++) assert_true(there.data[k] > ' ' && !strchr("/?#&=+@:", there.data[k]));
    assert_int_equal(dsc_url_decode(&back, dsc_buf_str(&there)), DSC_OK);
    assert_int_equal(back.len, n);
    if (n) assert_memory_equal(back.data, bytes, n);
  }
  dsc_buf_clear(&there);
  dsc_buf_clear(&back);
}

TEST(the_ceiling_holds) {
  for (size_t ceiling = 1; ceiling <= 12; ceiling++) {
    dsc_buf buf;
    dsc_buf_init(&buf, ceiling);
    dsc_err err = dsc_url_encode(&buf, L("ab cd/e")); /* 11 bytes */
    assert_int_equal(err, ceiling < 11 ? DSC_ETOO_LARGE : DSC_OK);
    assert_int_equal(buf.len, ceiling < 11 ? 0 : 11);
    dsc_buf_clear(&buf);
    err = dsc_url_decode(&buf, L("ab%20cd%2Fe")); /* 7 bytes */
    assert_int_equal(err, ceiling < 7 ? DSC_ETOO_LARGE : DSC_OK);
    assert_int_equal(buf.len, ceiling < 7 ? 0 : 7);
    dsc_buf_clear(&buf);
  }
}

static bool convert(void) {
  static char bytes[300];
  memset(bytes, ' ', sizeof bytes);
  dsc_buf there, back;
  dsc_buf_init(&there, 0);
  dsc_buf_init(&back, 0);
  dsc_err err = dsc_url_encode(&there, (dsc_str){bytes, sizeof bytes});
  if (err) assert_int_equal(there.len, 0);
  if (!err) err = dsc_url_decode(&back, dsc_buf_str(&there));
  if (err) assert_int_equal(back.len, 0);
  if (err) assert_int_equal(err, DSC_ENOMEM);
  dsc_buf_clear(&there);
  dsc_buf_clear(&back);
  return err == DSC_OK;
}

TEST(every_allocation_may_fail) {
  assert_true(fail_each_allocation(convert) >= 6);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(good_urls),
      cmocka_unit_test(lists_of_hosts),
      cmocka_unit_test(bad_urls_and_no_word_of_a_password),
      cmocka_unit_test(random_urls_lose_no_byte),
      cmocka_unit_test(pairs),
      cmocka_unit_test(encoding_touches_all_but_unreserved),
      cmocka_unit_test(decoding),
      cmocka_unit_test(broken_sequences_leave_the_buffer_alone),
      cmocka_unit_test(there_and_back),
      cmocka_unit_test(the_ceiling_holds),
      cmocka_unit_test(every_allocation_may_fail),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
