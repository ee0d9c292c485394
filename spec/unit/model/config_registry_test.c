/*
** config_registry_test.c - registry strings in both spellings, and that no password shows.
*/
#include "base/check.h"

#include "model/config_registry.h"

static bool holds(const char *text, dsc_str part) {
  return memmem(text, strlen(text), part.p, part.n) != NULL;
}

TEST(good_redis_strings) {
  static const struct {
    const char *string, *host;
    uint16_t port;
    uint32_t db;
    const char *user, *password, *id; /* NULL: none */
    uint32_t connect_ms;              /* 0: the default */
    const char *text;
  } good[] = {
      {"redis://127.0.0.1:6379/15", "127.0.0.1", 6379, 15, NULL, NULL, NULL, 0, "redis://127.0.0.1:6379/15"},
      {"redis://", "127.0.0.1", 6379, 0, NULL, NULL, NULL, 0, "redis://127.0.0.1:6379/0"},
      {"redis:///3", "127.0.0.1", 6379, 3, NULL, NULL, NULL, 0, "redis://127.0.0.1:6379/3"},
      {"redis://cache", "cache", 6379, 0, NULL, NULL, NULL, 0, "redis://cache:6379/0"},
      {"redis://cache/", "cache", 6379, 0, NULL, NULL, NULL, 0, "redis://cache:6379/0"},
      {"REDIS://cache:1", "cache", 1, 0, NULL, NULL, NULL, 0, "redis://cache:1/0"},
      {"redis://my_cache.svc:65535/0", "my_cache.svc", 65535, 0, NULL, NULL, NULL, 0, "redis://my_cache.svc:65535/0"},
      {"redis://:6380/1", "127.0.0.1", 6380, 1, NULL, NULL, NULL, 0, "redis://127.0.0.1:6380/1"},
      {"redis://[::1]:6380/2", "::1", 6380, 2, NULL, NULL, NULL, 0, "redis://[::1]:6380/2"},
      {"redis://[2001:db8::1]", "2001:db8::1", 6379, 0, NULL, NULL, NULL, 0, "redis://[2001:db8::1]:6379/0"},
      {"redis://:hunter2@h/1", "h", 6379, 1, NULL, "hunter2", NULL, 0, "redis://h:6379/1"},
      {"redis://bob:hunter2@h:1/2", "h", 1, 2, "bob", "hunter2", NULL, 0, "redis://bob@h:1/2"},
      {"redis://b%40b:p%3A%2f%25%00%ff@h", "h", 6379, 0, "b@b", NULL, NULL, 0, "redis://b%40b@h:6379/0"},
      {"redis://:a+b@h", "h", 6379, 0, NULL, "a+b", NULL, 0, "redis://h:6379/0"},
      {"redis://:a:b@h", "h", 6379, 0, NULL, "a:b", NULL, 0, "redis://h:6379/0"},
      {"redis://:@h", "h", 6379, 0, NULL, NULL, NULL, 0, "redis://h:6379/0"},
      {"redis://@h", "h", 6379, 0, NULL, NULL, NULL, 0, "redis://h:6379/0"},
      {"redis://bob:@h", "h", 6379, 0, "bob", "", NULL, 0, "redis://bob@h:6379/0"},
      {"redis://h?database=7", "h", 6379, 7, NULL, NULL, NULL, 0, "redis://h:6379/7"},
      {"redis://h/7?Database=7", "h", 6379, 7, NULL, NULL, NULL, 0, "redis://h:6379/7"},
      {"redis://h/?database=", "h", 6379, 0, NULL, NULL, NULL, 0, "redis://h:6379/0"},
      {"redis://h/2147483647", "h", 6379, 2147483647, NULL, NULL, NULL, 0, "redis://h:6379/2147483647"},
      {"redis://h?connectTimeout=500ms", "h", 6379, 0, NULL, NULL, NULL, 500, "redis://h:6379/0"},
      {"redis://h?connectTimeout=1.5s", "h", 6379, 0, NULL, NULL, NULL, 1500, "redis://h:6379/0"},
      {"redis://h?connectTimeout=1500", "h", 6379, 0, NULL, NULL, NULL, 1500, "redis://h:6379/0"},
      {"redis://h?connectTimeout=100%C2%B5s", "h", 6379, 0, NULL, NULL, NULL, 1, "redis://h:6379/0"},
      {"redis://h?connecttimeout=24h", "h", 6379, 0, NULL, NULL, NULL, 86400000, "redis://h:6379/0"},
      {"redis://h?connectTimeout=", "h", 6379, 0, NULL, NULL, NULL, 0, "redis://h:6379/0"},
      {"redis://h?id=1", "h", 6379, 0, NULL, NULL, "1", 0, "redis://h:6379/0?id=1"},
      {"redis://h?id=a%26b", "h", 6379, 0, NULL, NULL, "a&b", 0, "redis://h:6379/0?id=a%26b"},
      {"redis://h?readTimeout=x&writeTimeout=1&idleTimeout&maxIdle=0&maxActive=&logSlow=%zz&id=2", "h", 6379, 0, NULL,
       NULL, "2", 0, "redis://h:6379/0?id=2"},
      {"redis://h?", "h", 6379, 0, NULL, NULL, NULL, 0, "redis://h:6379/0"},
      {"redis://h?&&", "h", 6379, 0, NULL, NULL, NULL, 0, "redis://h:6379/0"},
      /* the old spelling */
      {"127.0.0.1:6379", "127.0.0.1", 6379, 15, NULL, NULL, NULL, 0, "redis://127.0.0.1:6379/15"},
      {"127.0.0.1:6379::15", "127.0.0.1", 6379, 15, NULL, NULL, NULL, 0, "redis://127.0.0.1:6379/15"},
      {"h:6380:hunter2:3", "h", 6380, 3, NULL, "hunter2", NULL, 0, "redis://h:6380/3"},
      {"h:6380:3:hunter2", "h", 6380, 3, NULL, "hunter2", NULL, 0, "redis://h:6380/3"},
      {"h:6380:3", "h", 6380, 3, NULL, NULL, NULL, 0, "redis://h:6380/3"},
      {"h:6380:hunter2", "h", 6380, 15, NULL, "hunter2", NULL, 0, "redis://h:6380/15"},
      {"h:6380::hunter2::", "h", 6380, 15, NULL, "hunter2", NULL, 0, "redis://h:6380/15"},
      {"h:6380:16:1", "h", 6380, 1, NULL, "16", NULL, 0, "redis://h:6380/1"},
      {"h:6380:123456", "h", 6380, 15, NULL, "123456", NULL, 0, "redis://h:6380/15"},
      {"h:6380:05", "h", 6380, 15, NULL, "05", NULL, 0, "redis://h:6380/15"},
      {"h:6380:+5:5", "h", 6380, 5, NULL, "+5", NULL, 0, "redis://h:6380/5"},
      {"h:6380:p@ss/w?rd%41 #", "h", 6380, 15, NULL, "p@ss/w?rd%41 #", NULL, 0, "redis://h:6380/15"},
      {"h::hunter2", "h", 6379, 15, NULL, "hunter2", NULL, 0, "redis://h:6379/15"},
      {":6380", "127.0.0.1", 6380, 15, NULL, NULL, NULL, 0, "redis://127.0.0.1:6380/15"},
      {"::1", "127.0.0.1", 6379, 1, NULL, NULL, NULL, 0, "redis://127.0.0.1:6379/1"},
      {":", "127.0.0.1", 6379, 15, NULL, NULL, NULL, 0, "redis://127.0.0.1:6379/15"},
      {"h:", "h", 6379, 15, NULL, NULL, NULL, 0, "redis://h:6379/15"},
      {"[::1]:6380:hunter2:2", "::1", 6380, 2, NULL, "hunter2", NULL, 0, "redis://[::1]:6380/2"},
      {"[::1]", "::1", 6379, 15, NULL, NULL, NULL, 0, "redis://[::1]:6379/15"},
      {"[::1]::2", "::1", 6379, 2, NULL, NULL, NULL, 0, "redis://[::1]:6379/2"},
  };
  for (size_t i = 0; i < COUNT(good); i++) {
    dsc_registry_config config;
    dsc_why why;
    if (dsc_registry_config_parse(&config, dsc_str_of(good[i].string), NULL, NULL, &why))
      fail_msg("%s: %s", good[i].string, why.text);
    assert_int_equal(config.kind, DSC_REGISTRY_REDIS);
    assert_string_equal(config.host, good[i].host);
    assert_int_equal(config.port, good[i].port);
    if (config.db != good[i].db) fail_msg("%s: database %u", good[i].string, config.db);
    assert_string_equal(config.user ? config.user : "(none)", good[i].user ? good[i].user : "(none)");
    assert_string_equal(config.id ? config.id : "(none)", good[i].id ? good[i].id : "(none)");
    if (good[i].password) assert_true(dsc_secret_equals(config.password, dsc_str_of(good[i].password)));
    assert_int_equal(config.connect_timeout_ms,
                     good[i].connect_ms ? good[i].connect_ms : DSC_REGISTRY_CONNECT_TIMEOUT_MS);
    assert_string_equal(config.text, good[i].text);
    assert_null(config.name);
    bool binary = strstr(good[i].string, "%00") != NULL;
    if (binary) assert_true(dsc_secret_equals(config.password, (dsc_str){"p:/%\0\xff", 6}));
    if (!good[i].password && !binary) assert_null(config.password);
    dsc_registry_config_clear(&config);
    dsc_registry_config_clear(&config);
  }
}

TEST(none_and_memory) {
  dsc_registry_config config;
  char name[sizeof "memory://" + 256] = "memory://";
  assert_int_equal(dsc_registry_config_parse(&config, L(""), "bob", NULL, NULL), DSC_OK);
  assert_int_equal(config.kind, DSC_REGISTRY_NONE);
  assert_string_equal(config.text, "");
  assert_null(config.user);
  dsc_registry_config_clear(&config);
  assert_int_equal(dsc_registry_config_parse(&config, (dsc_str){NULL, 0}, NULL, NULL, NULL), DSC_OK);
  dsc_registry_config_clear(&config);
  assert_int_equal(dsc_registry_config_parse(&config, L("Memory://a b/%41?c=1@#"), "bob", NULL, NULL), DSC_OK);
  assert_int_equal(config.kind, DSC_REGISTRY_MEMORY);
  assert_string_equal(config.name, "a b/%41?c=1@#");
  assert_string_equal(config.text, "memory://a b/%41?c=1@#");
  assert_null(config.host);
  assert_null(config.user);
  dsc_registry_config_clear(&config);
  memset(name + 9, 'n', 256);
  assert_int_equal(dsc_registry_config_parse(&config, (dsc_str){name, 9 + 256}, NULL, NULL, NULL), DSC_EINVALID);
  assert_int_equal(dsc_registry_config_parse(&config, (dsc_str){name, 9 + 255}, NULL, NULL, NULL), DSC_OK);
  dsc_registry_config_clear(&config);
}

TEST(tls_and_unix_sockets) {
  dsc_registry_config config;
  assert_int_equal(dsc_registry_config_parse(&config,
                                             L("rediss://bob:hunter2@[::1]:7/3?verify=no&server_name=r.test&ca=/c%20a"
                                               "&cert=/c&key=/k&id=x"),
                                             NULL, NULL, NULL),
                   DSC_OK);
  assert_int_equal(config.kind, DSC_REGISTRY_REDIS);
  assert_true(config.has_tls && config.tls.no_verify);
  assert_string_equal(config.tls.ca, "/c a");
  assert_string_equal(config.tls.cert, "/c");
  assert_string_equal(config.tls.key, "/k");
  assert_string_equal(config.tls.server_name, "r.test");
  assert_string_equal(config.text,
                      "rediss://bob@[::1]:7/3?ca=/c%20a&cert=/c&key=/k&server_name=r.test&verify=false&id=x");
  dsc_registry_config_clear(&config);
  assert_null(config.tls.ca);
  assert_int_equal(dsc_registry_config_parse(&config, L("rediss://h"), NULL, NULL, NULL), DSC_OK);
  assert_true(config.has_tls && !config.tls.no_verify);
  assert_string_equal(config.text, "rediss://h:6379/0");
  dsc_registry_config_clear(&config);
  assert_int_equal(dsc_registry_config_parse(&config, L("unix://bob:x@/run/my%20redis.sock?db=15"), NULL, NULL, NULL),
                   DSC_OK);
  assert_string_equal(config.path, "/run/my redis.sock");
  assert_null(config.host);
  assert_int_equal(config.db, 15);
  assert_string_equal(config.user, "bob");
  assert_string_equal(config.text, "unix://bob@/run/my%20redis.sock?db=15"); /* what it says is accepted again */
  dsc_registry_config_clear(&config);
}

TEST(sentinel_and_cluster) {
  static const struct {
    const char *string;
    dsc_registry_kind kind;
    const char *hosts, *name; /* in the string's order */
    uint32_t db;
    const char *user, *password, *sentinel_user, *sentinel_password; /* NULL: none */
    const char *text;
  } good[] = {
      {"redis+sentinel://h/m", DSC_REGISTRY_SENTINEL, "h:26379 ", "m", 0, NULL, NULL, NULL, NULL,
       "redis+sentinel://h:26379/m/0"},
      {"Redis+SENTINEL:///m", DSC_REGISTRY_SENTINEL, "127.0.0.1:26379 ", "m", 0, NULL, NULL, NULL, NULL,
       "redis+sentinel://127.0.0.1:26379/m/0"},
      {"redis+sentinel://c:3,b:2,a:1/my-master/15", DSC_REGISTRY_SENTINEL, "c:3 b:2 a:1 ", "my-master", 15, NULL, NULL,
       NULL, NULL, "redis+sentinel://a:1,b:2,c:3/my-master/15"},
      {"redis+sentinel://a:2,a:10,a:2,A:2/m/?database=3&id=x", DSC_REGISTRY_SENTINEL, "a:2 a:10 ", "m", 3, NULL, NULL,
       NULL, NULL, "redis+sentinel://a:2,a:10/m/3?id=x"},
      {"redis+sentinel://bob:hunter2@[::1]:7,[2001:db8::1],s/a%2Fb%20c/2", DSC_REGISTRY_SENTINEL,
       "::1:7 2001:db8::1:26379 s:26379 ", "a/b c", 2, "bob", "hunter2", NULL, NULL,
       "redis+sentinel://bob@[2001:db8::1]:26379,[::1]:7,s:26379/a%2Fb%20c/2"},
      {"redis+sentinel://:p%2Cw,x@a,b/m?sentinelPassword=h%40%3F%26", DSC_REGISTRY_SENTINEL, "a:26379 b:26379 ", "m", 0,
       NULL, "p,w,x", NULL, "h@?&", "redis+sentinel://a:26379,b:26379/m/0"},
      {"rediss+sentinel://a/m?sentineluser=eve&sentinelPassword=hunter2&ca=/ca&verify=no", DSC_REGISTRY_SENTINEL,
       "a:26379 ", "m", 0, NULL, NULL, "eve", "hunter2",
       "rediss+sentinel://a:26379/m/0?ca=/ca&verify=false&sentinelUser=eve"},
      {"redis+cluster://h", DSC_REGISTRY_CLUSTER, "h:6379 ", NULL, 0, NULL, NULL, NULL, NULL,
       "redis+cluster://h:6379/"},
      {"redis+cluster://", DSC_REGISTRY_CLUSTER, "127.0.0.1:6379 ", NULL, 0, NULL, NULL, NULL, NULL,
       "redis+cluster://127.0.0.1:6379/"},
      {"redis+cluster://bob:hunter2@b:1,[::1]:2,a/0?database=0&id=7", DSC_REGISTRY_CLUSTER, "b:1 ::1:2 a:6379 ", NULL,
       0, "bob", "hunter2", NULL, NULL, "redis+cluster://bob@[::1]:2,a:6379,b:1/?id=7"},
      {"rediss+cluster://h:1/?ca=/c&cert=/d&key=/e&server_name=n", DSC_REGISTRY_CLUSTER, "h:1 ", NULL, 0, NULL, NULL,
       NULL, NULL, "rediss+cluster://h:1/?ca=/c&cert=/d&key=/e&server_name=n"},
  };
  for (size_t i = 0; i < COUNT(good); i++) {
    dsc_registry_config config;
    dsc_why why;
    char hosts[256] = "";
    if (dsc_registry_config_parse(&config, dsc_str_of(good[i].string), NULL, NULL, &why))
      fail_msg("%s: %s", good[i].string, why.text);
    for (size_t k = 0; k < config.n_hosts; k++) {
      size_t n = strlen(hosts);
      snprintf(hosts + n, sizeof hosts - n, "%s:%u ", config.hosts[k].name, (unsigned)config.hosts[k].port);
    }
    assert_int_equal(config.kind, good[i].kind);
    assert_string_equal(hosts, good[i].hosts);
    assert_string_equal(config.name ? config.name : "(none)", good[i].name ? good[i].name : "(none)");
    assert_int_equal(config.db, good[i].db);
    assert_string_equal(config.user ? config.user : "(none)", good[i].user ? good[i].user : "(none)");
    assert_string_equal(config.sentinel_user ? config.sentinel_user : "(none)",
                        good[i].sentinel_user ? good[i].sentinel_user : "(none)");
    assert_int_equal(config.password != NULL, good[i].password != NULL);
    if (config.password) assert_true(dsc_secret_equals(config.password, dsc_str_of(good[i].password)));
    assert_int_equal(config.sentinel_password != NULL, good[i].sentinel_password != NULL);
    if (config.sentinel_password)
      assert_true(dsc_secret_equals(config.sentinel_password, dsc_str_of(good[i].sentinel_password)));
    assert_int_equal(config.has_tls, strncmp(good[i].string, "rediss", 6) == 0);
    assert_int_equal(config.connect_timeout_ms, DSC_REGISTRY_CONNECT_TIMEOUT_MS);
    assert_string_equal(config.text, good[i].text);
    assert_null(config.host);
    assert_true(dsc_registry_kind_has_servers(config.kind));
    dsc_registry_config_clear(&config);
    assert_int_equal(config.n_hosts, 0);
  }
  assert_true(dsc_registry_kind_has_servers(DSC_REGISTRY_REDIS));
  assert_false(dsc_registry_kind_has_servers(DSC_REGISTRY_MEMORY));
  assert_false(dsc_registry_kind_has_servers(DSC_REGISTRY_NONE));
}

TEST(sixteen_hosts_and_options_for_all_of_them) {
  dsc_registry_config config;
  dsc_secret *secret = dsc_secret_new(L("fromoptions"));
  static const char string[] = "redis+cluster://a:1,a:2,a:3,a:4,a:5,a:6,a:7,a:8,a:9,a:10,a:11,a:12,a:13,a:14,a:15,a:16";
  assert_int_equal(dsc_registry_config_parse(&config, dsc_str_of(string), "eve", secret, NULL), DSC_OK);
  assert_int_equal(config.n_hosts, 16);
  assert_int_equal(config.hosts[15].port, 16);
  assert_string_equal(config.user, "eve");
  assert_true(dsc_secret_equals(config.password, L("fromoptions")));
  dsc_registry_config_clear(&config);
  dsc_secret_unref(secret);
}

TEST(bad_strings_and_no_word_of_a_password) {
  static const struct {
    const char *string, *sentence;
  } bad[] = {
      {"hunter2", "a bare name is no address, and keys of Go config files are not read"},
      {"localhost", "a bare name"},
      {" ", "a bare name"},
      {"unix://run/redis.sock", "unix:///run/redis.sock?db=15"},
      {"unix://", "2 to 107 bytes long"},
      {"unix:///", "2 to 107 bytes long"},
      {"unix:///a%0ab", "2 to 107 bytes long"},
      {"redis://h?ca=/hunter2", "the parameter ca is for rediss:// (TLS) only"},
      {"unix:///run/s?verify=0", "the parameter verify is for rediss:// (TLS) only"},
      {"rediss://h?verify=hunter2", "verify is neither true (1, yes) nor false (0, no)"},
      {"rediss://h?key=/hunter2", "the parameter key needs cert beside it"},
      {"rediss://h?ca=a%0ab", "ca holds control characters"},
      {"rediss+sentinel://:hunter2@h", "takes a master's name of 1 to 255 bytes"},
      {"redis+sentinel://h/", "takes a master's name"},
      {"redis+sentinel://h//1", "takes a master's name"},
      {"redis+sentinel://h/a%0ab", "takes a master's name"},
      {"redis+sentinel://h/a%zz", "a '%' is not followed by"},
      {"redis+sentinel://h/m/x", "the database is not a number"},
      {"redis+sentinel://h/m/1/2", "the database is not a number"},
      {"redis+sentinel://h/m/1?database=2", "two different databases"},
      {"redis+sentinel://h:hunter2/m", "host 1 of the list: the port is not a number"},
      {"redis+sentinel://a:1,b:0/m", "host 2 of the list: the port is not a number"},
      {"redis+sentinel://a:1,hunter2 b/m", "percent-encoded"},
      {"redis+sentinel://a:1,-hunter2:3/m", "host 2 of the list: the host is neither an IP address nor a name"},
      {"redis+sentinel://a,[::1/m", "host 2 of the list: the host is not valid (IPv6 needs brackets"},
      {"redis+sentinel://a,,b/m", "host 2 of the list: it is empty"},
      {"redis+sentinel://,a/m", "host 1 of the list: it is empty"},
      {"redis+sentinel://a,/m", "host 2 of the list: it is empty"},
      {"redis+sentinel://a,a:1,a:2,a:3,a:4,a:5,a:6,a:7,a:8,a:9,a:10,a:11,a:12,a:13,a:14,a:15,a:16/m",
       "more than 16 hosts"},
      {"redis+sentinel://hunter2@h/m", "a user without a password"},
      {"redis+sentinel://:hun/ter2@h/m", "'@' behind the host"},
      {"redis+sentinel://:hun,ter2/@h/m", "'@' behind the host"},
      {"redis+sentinel://h/m?sentinelUser=hunter2", "the parameter sentinelUser needs sentinelPassword beside it"},
      {"redis+sentinel://h/m?sentinelUser=%0ahunter2&sentinelPassword=x", "the user name is longer than"},
      {"redis+sentinel://h/m?sentinelPassword=hunter2%", "a '%' is not followed by"},
      {"redis+sentinel://h/m?ca=/hunter2", "the parameter ca is for rediss:// (TLS) only"},
      {"redis://h?sentinelPassword=hunter2", "the parameter sentinelPassword is for redis+sentinel:// only"},
      {"redis+cluster://h?sentinelUser=hunter2", "the parameter sentinelUser is for redis+sentinel:// only"},
      {"redis+cluster://h/1", "a Cluster has no database but 0"},
      {"redis+cluster://h/?database=3", "a Cluster has no database but 0"},
      {"redis+cluster://h/hunter2", "the database is not a number"},
      {"redis+cluster://h?db=0", "the parameter db is for unix:// only"},
      {"unix+sentinel://h/m", "unknown scheme"},
      {"http://:hunter2@h", "unknown scheme; known are redis://, rediss://, redis+sentinel://, rediss+sentinel://, "
                            "redis+cluster://, rediss+cluster://, unix:// and memory://"},
      {"://hunter2", "unknown scheme"},
      {"hunter2://", "unknown scheme"},
      {"memory://", "a name of 1 to 255 bytes"},
      {"memory://a\nb", "control characters"},
      {"redis://h\n", "control characters"},
      {"h:1:hun\rter2", "control characters"},
      {"redis://:hunter2@h:0", "port"},
      {"redis://:hunter2@h:65536", "port"},
      {"redis://:hunter2@h:x", "port"},
      {"redis://h/-1", "the database is not a number"},
      {"redis://h/+1", "the database is not a number"},
      {"redis://h/x", "the database is not a number"},
      {"redis://h/1/", "the database is not a number"},
      {"redis://h/2147483648", "the database is not a number"},
      {"redis://h?database=x", "the database is not a number"},
      {"redis://h/1?database=2", "two different databases"},
      {"redis://h?database=1&database=2", "two different databases"},
      {"redis://h?connectTimeout=0", "connectTimeout is not in 0.001..86400 seconds"},
      {"redis://h?connectTimeout=25h", "connectTimeout is not in"},
      {"redis://h?connectTimeout=-1s", "connectTimeout is not a duration"},
      {"redis://h?connectTimeout=hunter2", "connectTimeout is not a duration"},
      {"redis://h?connectTimeout=%zz", "a '%' is not followed by two hexadecimal digits"},
      {"redis://h?id=%0a", "id is longer than 255 bytes or holds control characters"},
      {"redis://h?foo=1", "unknown parameter foo; known are database"},
      {"redis://h?db=1", "the parameter db is for unix:// only"},
      {"redis://h?password=hunter2", "unknown parameter password;"},
      {"redis://h?hunter2", "unknown parameter;"},
      {"redis://h?=1", "unknown parameter;"},
      {"redis://:pa?hunter@h", "port"},
      {"redis://:pa/hunter2@h", "port"},
      {"redis://:12/hunter2@h", "'@' behind the host"},
      {"redis://bob:12?hunter2@h/1", "'@' behind the host"},
      {"redis://:hun#ter2@h", "percent-encoded"},
      {"redis://:hun ter2@h", "percent-encoded"},
      {"redis://:hunter2%4@h", "a '%' is not followed by"},
      {"redis://bob%zz:hunter2@h", "a '%' is not followed by"},
      {"redis://bob%00:hunter2@h", "the user name is longer than 255 bytes or holds control characters"},
      {"redis://hunter2@h", "a user without a password"},
      {"redis://-h", "the host is neither an IP address nor a name"},
      {"redis://h%41", "the host is neither"},
      {"redis://1.2.3", "the host is neither"},
      {"redis://[::1", "host"},
      {"redis://:hunter2@a:1:2", "port"},
      {"redis:hunter2:3", "the port is not a number"},
      {"h:hunter2", "the port is not a number"},
      {"hunter2@h:6379", "the host is neither"},
      {"bob:hunter2@h:6379", "the port is not a number"},
      {"h:0", "the port is not a number"},
      {"h:65536", "the port is not a number"},
      {"h:+1", "the port is not a number"},
      {"h :1", "the host is neither"},
      {"[::1", "the host is neither"},
      {"[::1]x:1", "the port is not a number"},
      {"[]:1", "the host is neither"},
      {"[h]:1", "the host is neither"},
      {"h:1:0", "host:port:db knows the databases 1 to 15"},
      {"h:1:3:4", "two parts could be the database"},
      {"h:1:hunter2:passw0rd", "two parts could be the password"},
      {"h:1:3:hunter2:x", "two parts could be the password"},
  };
  for (size_t i = 0; i < COUNT(bad); i++) {
    dsc_registry_config config;
    dsc_why why = {"(none)"};
    if (dsc_registry_config_parse(&config, dsc_str_of(bad[i].string), NULL, NULL, &why) != DSC_EINVALID)
      fail_msg("\"%s\" was taken", bad[i].string);
    if (!strstr(why.text, bad[i].sentence)) fail_msg("\"%s\": %s", bad[i].string, why.text);
    assert_true(dsc_str_starts(dsc_str_of(why.text), L("registry: ")));
    assert_false(holds(why.text, L("hunter")));
    assert_int_equal(config.kind, DSC_REGISTRY_NONE);
    assert_null(config.text);
    assert_null(config.host);
    assert_null(config.password);
    assert_int_equal(config.n_hosts, 0);
    assert_null(config.sentinel_password);
    assert_int_equal(dsc_registry_config_parse(&config, dsc_str_of(bad[i].string), NULL, NULL, NULL), DSC_EINVALID);
  }
}

TEST(a_string_is_bounded) {
  char text[8200];
  dsc_registry_config config;
  dsc_why why;
  memset(text, 'p', sizeof text);
  memcpy(text, "h:1:", 4);
  assert_int_equal(dsc_registry_config_parse(&config, (dsc_str){text, 8193}, NULL, NULL, &why), DSC_EINVALID);
  assert_non_null(strstr(why.text, "8192"));
  assert_int_equal(dsc_registry_config_parse(&config, (dsc_str){text, 8192}, NULL, NULL, &why), DSC_OK);
  assert_int_equal(dsc_secret_length(config.password), 8188);
  dsc_registry_config_clear(&config);
  memset(text, 'h', 400);
  assert_int_equal(dsc_registry_config_parse(&config, (dsc_str){text, sizeof text - 10}, NULL, NULL, &why),
                   DSC_EINVALID);
}

TEST(options_win_over_the_string) {
  dsc_secret *secret = dsc_secret_new(L("fromoptions")), *empty = dsc_secret_new(L(""));
  dsc_registry_config config;
  assert_int_equal(dsc_registry_config_parse(&config, L("redis://bob:hunter2@h"), "eve", secret, NULL), DSC_OK);
  assert_string_equal(config.user, "eve");
  assert_true(dsc_secret_equals(config.password, L("fromoptions")));
  assert_string_equal(config.text, "redis://eve@h:6379/0");
  dsc_registry_config_clear(&config);
  assert_int_equal(dsc_registry_config_parse(&config, L("redis://bob@h"), NULL, secret, NULL), DSC_OK);
  assert_string_equal(config.user, "bob");
  dsc_registry_config_clear(&config);
  assert_int_equal(dsc_registry_config_parse(&config, L("h:1:hunter2"), "eve", NULL, NULL), DSC_OK);
  assert_string_equal(config.user, "eve");
  assert_true(dsc_secret_equals(config.password, L("hunter2")));
  dsc_registry_config_clear(&config);
  assert_int_equal(dsc_registry_config_parse(&config, L("redis://bob:hunter2@h"), "", NULL, NULL), DSC_OK);
  assert_null(config.user);
  assert_string_equal(config.text, "redis://h:6379/0");
  dsc_registry_config_clear(&config);
  assert_int_equal(dsc_registry_config_parse(&config, L("redis://:hunter2@h"), NULL, empty, NULL), DSC_OK);
  assert_null(config.password);
  dsc_registry_config_clear(&config);
  assert_int_equal(dsc_registry_config_parse(&config, L("redis://h"), "eve", NULL, NULL), DSC_EINVALID);
  assert_int_equal(dsc_registry_config_parse(&config, L("redis://h"), "e\nve", secret, NULL), DSC_EINVALID);
  assert_int_equal(dsc_registry_config_parse(&config, L("memory://m"), "eve", secret, NULL), DSC_OK);
  assert_null(config.password);
  dsc_registry_config_clear(&config);
  dsc_secret_unref(secret);
  dsc_secret_unref(empty);
}

static const char *tried;

static bool parse_tried(void) {
  dsc_registry_config config;
  dsc_why why;
  dsc_err err = dsc_registry_config_parse(&config, dsc_str_of(tried), NULL, NULL, &why);
  if (err) {
    assert_int_equal(err, DSC_ENOMEM);
    assert_string_equal(why.text, "registry: out of memory");
    assert_null(config.text);
    assert_null(config.host);
  }
  dsc_registry_config_clear(&config);
  return err == DSC_OK;
}

TEST(every_allocation_may_fail) {
  tried =
      "redis://b%40b:hunter2-and-so-on-and-so-on-and-so-on-and-so-on-and-so-on-and-so-on@h:1/2?id=3&connectTimeout=1s";
  assert_true(fail_each_allocation(parse_tried) >= 8);
  tried = "h:1:hunter2:3";
  assert_true(fail_each_allocation(parse_tried) >= 3);
  tried = "rediss+sentinel://bob:hunter2-and-so-on@a:1,b:2/m/3?sentinelUser=eve&sentinelPassword=hunter2&ca=/ca";
  assert_true(fail_each_allocation(parse_tried) >= 12);
  tried = "memory://name";
  assert_int_equal(fail_each_allocation(parse_tried), 2);
  tried = "";
  assert_int_equal(fail_each_allocation(parse_tried), 1);
}

/* A password among the most awkward bytes, put where passwords stand and where they end up by mistake. */
TEST(random_strings_never_harm_and_never_show_the_password) {
  static const char bytes[] = "abXY019:/?@#%&=[].,-+ ~\xff\"\\";
  static const char *const shapes[] = {"redis://:%s@h:6379/1",
                                       "redis+sentinel://:%s@h:1,i:2/m/1",
                                       "redis+sentinel://h/m?sentinelPassword=%s",
                                       "redis+cluster://bob:%s@h:1,[::1]:2/",
                                       "redis://bob:%s@h:6379/1?id=1",
                                       "redis://%s@h",
                                       "redis://:%s@[::1]",
                                       "redis://:%s",
                                       "h:6379:%s:3",
                                       "h:6379:3:%s",
                                       "h::%s",
                                       "h:%s",
                                       "%s@h:6379",
                                       "redis://:%s@h/x",
                                       "redis://:%s@h:x/1",
                                       "rediss://:%s@h",
                                       "redis://h?connectTimeout=%s",
                                       "%s",
                                       "redis:/:%s@h",
                                       "redis://:%s@h?foo=1",
                                       "redis://:%s@h@i"};
  uint64_t seed = 13;
  int taken = 0;
  for (int round = 0; round < 100000; round++) {
    char password[24], string[128];
    size_t n = 5 + pick_below(&seed, sizeof password - 6);
    for (size_t i = 0; i < n; i++) password[i] = bytes[pick_below(&seed, sizeof bytes - 1)];
    password[n] = '\0';
    const char *shape = shapes[pick_below(&seed, COUNT(shapes))];
    const char *at = strstr(shape, "%s");
    int length = snprintf(string, sizeof string, "%.*s%s%s", (int)(at - shape), shape, password, at + 2);
    dsc_registry_config config;
    dsc_why why = {""};
    dsc_err err = dsc_registry_config_parse(&config, (dsc_str){string, (size_t)length}, NULL, NULL, &why);
    if (holds(why.text, (dsc_str){password, n})) fail_msg("%s: %s", string, why.text);
    if (err == DSC_OK && config.password && holds(config.text, (dsc_str){password, n}))
      fail_msg("%s: %s", string, config.text);
    taken += err == DSC_OK;
    dsc_registry_config_clear(&config);
  }
  assert_true(taken > 1000);
}

TEST(random_bytes_never_harm) {
  static const char bytes[] = "redis:/@?=&%0159[].:memory,\n\x80";
  static const char *const starts[] = {"", "redis://", "redis+sentinel://", "rediss+cluster://"};
  uint64_t seed = 17;
  for (int round = 0; round < 100000; round++) {
    char string[50];
    const char *with = starts[pick_below(&seed, COUNT(starts))];
    size_t start = strlen(with), n = start + pick_below(&seed, sizeof string - start);
    memcpy(string, with, start);
    for (size_t i = start; i < n; i++) string[i] = bytes[pick_below(&seed, sizeof bytes)];
    dsc_registry_config config;
    dsc_err err = dsc_registry_config_parse(&config, (dsc_str){string, n}, NULL, NULL, NULL);
    if (err == DSC_OK) {
      /* the canonical text means the same, but for the password */
      dsc_registry_config again;
      dsc_secret *any = dsc_secret_new(L("any"));
      assert_int_equal(dsc_registry_config_parse(&again, dsc_str_of(config.text), NULL, config.user ? any : NULL, NULL),
                       DSC_OK);
      assert_string_equal(again.text, config.text);
      dsc_secret_unref(any);
      dsc_registry_config_clear(&again);
    }
    dsc_registry_config_clear(&config);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(good_redis_strings),
      cmocka_unit_test(none_and_memory),
      cmocka_unit_test(tls_and_unix_sockets),
      cmocka_unit_test(sentinel_and_cluster),
      cmocka_unit_test(sixteen_hosts_and_options_for_all_of_them),
      cmocka_unit_test(bad_strings_and_no_word_of_a_password),
      cmocka_unit_test(a_string_is_bounded),
      cmocka_unit_test(options_win_over_the_string),
      cmocka_unit_test(every_allocation_may_fail),
      cmocka_unit_test(random_strings_never_harm_and_never_show_the_password),
      cmocka_unit_test(random_bytes_never_harm),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
