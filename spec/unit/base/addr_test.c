/*
** addr_test.c - a table of good and bad addresses and app names.
*/
#include "check.h"

#include "base/addr.h"

TEST(good_addresses) {
  static const struct {
    const char *text, *host;
    uint16_t port;
    bool is_v6, is_literal;
  } good[] = {
      {"1.2.3.4:80", "1.2.3.4", 80, false, true},
      {"0.0.0.0:80", "0.0.0.0", 80, false, true}, /* foreign: a peer's business */
      {"255.255.255.255:65535", "255.255.255.255", 65535, false, true},
      {"127.0.0.1:1", "127.0.0.1", 1, false, true},
      {"name:80", "name", 80, false, false},
      {"a:1", "a", 1, false, false},
      {"User-Service.default.svc.cluster.local:8080", "User-Service.default.svc.cluster.local", 8080, false, false},
      {"compose_web_1:80", "compose_web_1", 80, false, false},
      {"_srv.example:80", "_srv.example", 80, false, false},
      {"1host:80", "1host", 80, false, false},
      {"3com.com:80", "3com.com", 80, false, false},
      {"127.0.0.1.nip.io:80", "127.0.0.1.nip.io", 80, false, false},
      {"xn--bcher-kva.example:80", "xn--bcher-kva.example", 80, false, false},
      {"[::1]:80", "::1", 80, true, true},
      {"[::]:80", "::", 80, true, true},
      {"[2001:DB8::1]:443", "2001:DB8::1", 443, true, true},
      {"[::ffff:1.2.3.4]:80", "::ffff:1.2.3.4", 80, true, true},
      {"[1:2:3:4:5:6:7:8]:65535", "1:2:3:4:5:6:7:8", 65535, true, true},
  };
  for (size_t i = 0; i < COUNT(good); i++) {
    dsc_addr addr;
    dsc_why why = {"(none)"};
    dsc_err err = dsc_addr_parse(&addr, dsc_str_of(good[i].text), &why);
    if (err) fail_msg("%s: %s", good[i].text, why.text);
    assert_string_equal(addr.host, good[i].host);
    assert_string_equal(addr.text, good[i].text);
    assert_int_equal(addr.port, good[i].port);
    assert_int_equal(addr.is_v6, good[i].is_v6);
    assert_int_equal(addr.is_literal, good[i].is_literal);
  }
}

TEST(bad_addresses) {
  static const struct {
    const char *text;
    size_t n; /* 0: strlen */
    const char *why;
  } bad[] = {
      /* no port */
      {"", 0, "no port"},
      {"1.2.3.4", 0, "no port"},
      {"name", 0, "no port"},
      {"8080", 0, "no port"},
      {"[::1]", 0, "no port"},
      {"[fe80::1]", 0, "no port"},
      /* the port */
      {"1.2.3.4:", 0, "1 to 65535"},
      {"1.2.3.4:0", 0, "1 to 65535"},
      {"1.2.3.4:65536", 0, "1 to 65535"},
      {"1.2.3.4:70000", 0, "1 to 65535"},
      {"1.2.3.4:4294967376", 0, "1 to 65535"},
      {"1.2.3.4:99999999999999999999", 0, "1 to 65535"},
      {"1.2.3.4:-80", 0, "1 to 65535"},
      {"1.2.3.4:+80", 0, "1 to 65535"},
      {"1.2.3.4:080", 0, "1 to 65535"},
      {"1.2.3.4:0x50", 0, "1 to 65535"},
      {"1.2.3.4:http", 0, "1 to 65535"},
      {"1.2.3.4:80 ", 0, "1 to 65535"},
      {"1.2.3.4: 80", 0, "1 to 65535"},
      {"1.2.3.4:80/path", 0, "1 to 65535"},
      {"1.2.3.4:80\n", 0, "1 to 65535"},
      {"1.2.3.4:80\0", 11, "1 to 65535"},
      {":0", 0, "1 to 65535"},
      /* no host */
      {":80", 0, "no host"},
      {"[]:80", 0, "no host"},
      /* brackets */
      {"::1:80", 0, "brackets"},
      {":::80", 0, "brackets"},
      {"2001:db8::1:443", 0, "brackets"},
      {"1.2.3.4:80:90", 0, "brackets"},
      {"[::1:80", 0, "brackets"},
      {"[::1]x:80", 0, "brackets"},
      {"http://1.2.3.4:80", 0, "brackets"},
      {"[:80", 0, "brackets"},
      {"::1]:80", 0, "brackets"},
      /* the host */
      {"[1.2.3.4]:80", 0, "neither"},
      {"[name]:80", 0, "neither"},
      {"[::1%eth0]:80", 0, "neither"},
      {"[fe80::1%25eth0]:80", 0, "neither"},
      {"[1:2:3:4:5:6:7:8:9]:80", 0, "neither"},
      {"[12345::]:80", 0, "neither"},
      {"[[::1]]:80", 0, "neither"},
      {"]:80", 0, "neither"},
      {"name]:80", 0, "neither"},
      {"256.1.1.1:80", 0, "neither"},
      {"1.2.3:80", 0, "neither"},
      {"1.2.3.4.5:80", 0, "neither"},
      {"01.2.3.4:80", 0, "neither"},
      {"1.2.3.4.:80", 0, "neither"},
      {"8080:80", 0, "neither"},
      {"0x7f000001:80", 0, "neither"},
      {"a.0X1:80", 0, "neither"},
      {"-name:80", 0, "neither"},
      {"name-:80", 0, "neither"},
      {"a.-b:80", 0, "neither"},
      {"a..b:80", 0, "neither"},
      {".a:80", 0, "neither"},
      {"a.:80", 0, "neither"},
      {".:80", 0, "neither"},
      {"*:80", 0, "neither"},
      {"a b:80", 0, "neither"},
      {" name:80", 0, "neither"},
      {"name :80", 0, "neither"},
      {"\tname:80", 0, "neither"},
      {"na\r\nme:80", 0, "neither"},
      {"na\x7fme:80", 0, "neither"},
      {"na\0me:80", 8, "neither"},
      {"1.2.3.4\0:80", 11, "neither"},
      {"[::1\0]:80", 9, "neither"},
      {"b\xc3\xbc"
       "cher:80",
       0, "neither"},
      {"user@host:80", 0, "neither"},
      {"a/b:80", 0, "neither"},
      {"a%41:80", 0, "neither"},
  };
  for (size_t i = 0; i < COUNT(bad); i++) {
    dsc_addr addr;
    dsc_why why = {"(none)"};
    dsc_str text = {bad[i].text, bad[i].n ? bad[i].n : strlen(bad[i].text)};
    assert_int_equal(dsc_addr_parse(&addr, text, &why), DSC_EINVALID);
    if (!strstr(why.text, bad[i].why)) fail_msg("%s: %s", bad[i].text, why.text);
    assert_true(dsc_str_is_clean(dsc_str_of(why.text)));
    assert_int_equal(dsc_addr_parse_own(&addr, text, NULL), DSC_EINVALID);
  }
  dsc_addr addr;
  assert_int_equal(dsc_addr_parse(&addr, (dsc_str){NULL, 0}, NULL), DSC_EINVALID);
  assert_int_equal(dsc_addr_parse_own(&addr, (dsc_str){NULL, 0}, NULL), DSC_EINVALID);
}

/* "aaa...:80" with a dot after every `label` letters; `n` letters and dots. */
static dsc_err parse_long(dsc_addr *addr, size_t n, size_t label) {
  static char text[70000];
  for (size_t i = 0; i < n; i++) text[i] = i % (label + 1) == label ? '.' : 'a';
  memcpy(text + n, ":65535", 6);
  return dsc_addr_parse(addr, (dsc_str){text, n + 6}, NULL);
}

TEST(long_names) {
  dsc_addr addr;
  assert_int_equal(parse_long(&addr, 63, 63), DSC_OK);
  assert_int_equal(parse_long(&addr, 64, 64), DSC_EINVALID);
  assert_int_equal(parse_long(&addr, 253, 63), DSC_OK);
  assert_int_equal(strlen(addr.host), 253);
  assert_int_equal(strlen(addr.text), 259);
  assert_int_equal(parse_long(&addr, 254, 63), DSC_EINVALID);
  assert_int_equal(parse_long(&addr, 300, 63), DSC_EINVALID);
  assert_int_equal(parse_long(&addr, 65000, 10), DSC_EINVALID);
}

TEST(own_addresses_must_be_callable) {
  static const char *const good[] = {"1.2.3.4:80", "name:80", "[::1]:80", "[::ffff:1.2.3.4]:80", "0.0.0.1:80"};
  static const char *const bad[] = {
      "0.0.0.0:80", "[::]:80", "[0:0:0:0:0:0:0:0]:80", "[0::0]:80", "[::ffff:0.0.0.0]:80", "[::0.0.0.0]:80", ":80"};
  dsc_addr addr;
  dsc_why why;
  for (size_t i = 0; i < COUNT(good); i++) {
    assert_int_equal(dsc_addr_parse_own(&addr, dsc_str_of(good[i]), &why), DSC_OK);
    assert_string_equal(addr.text, good[i]);
  }
  for (size_t i = 0; i < COUNT(bad); i++) {
    assert_int_equal(dsc_addr_parse_own(&addr, dsc_str_of(bad[i]), &why), DSC_EINVALID);
    if (!strstr(why.text, "easy_start")) fail_msg("%s: %s", bad[i], why.text);
  }
}

TEST(random_bytes_never_parse_into_something_dangerous) {
  static const char alphabet[] = "0123456789abcf.:[]-_% \n\x7f\xff";
  uint64_t seed = 11;
  size_t parsed = 0;
  for (int i = 0; i < 200000; i++) {
    char text[24];
    size_t n = pick_below(&seed, sizeof text);
    for (size_t k = 0; k < n; k++) text[k] = alphabet[pick_below(&seed, sizeof alphabet)];
    dsc_addr addr;
    if (dsc_addr_parse(&addr, (dsc_str){text, n}, NULL)) continue;
    parsed++;
    assert_str(((dsc_str){text, n}), addr.text);
    assert_true(addr.port > 0 && addr.host[0]);
    assert_null(strpbrk(addr.text, " %\n\x7f\xff"));
  }
  assert_true(parsed > 100);
}

TEST(app_names) {
  static char longest[257];
  memset(longest, 'x', 256);
  dsc_why why;
  assert_int_equal(dsc_addr_check_app(L("user-service"), NULL), DSC_OK);
  assert_int_equal(dsc_addr_check_app(L("b\xc3\xbc"
                                        "cher/\xe6\x97\xa5"),
                                      NULL),
                   DSC_OK);
  assert_int_equal(dsc_addr_check_app((dsc_str){longest, 255}, NULL), DSC_OK);
  assert_int_equal(dsc_addr_check_app((dsc_str){longest, 256}, &why), DSC_EINVALID);
  assert_non_null(strstr(why.text, "255"));
  static const dsc_str bad[] = {{NULL, 0},  {"", 0},    {" ", 1},    {"a b", 3},
                                {"a\n", 2}, {"\ta", 2}, {"a\0b", 3}, {"\x7f", 1}};
  for (size_t i = 0; i < COUNT(bad); i++) assert_int_equal(dsc_addr_check_app(bad[i], &why), DSC_EINVALID);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(good_addresses),
      cmocka_unit_test(bad_addresses),
      cmocka_unit_test(long_names),
      cmocka_unit_test(own_addresses_must_be_callable),
      cmocka_unit_test(random_bytes_never_parse_into_something_dangerous),
      cmocka_unit_test(app_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
