/*
** host_test.c - which addresses are global, what this machine has, and whether a port is free.
*/
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/host.h"

static void test_global(void **state) {
  (void)state;
  static const char *const global[] = {"10.0.0.1",    "172.16.3.4", "192.168.1.10",   "8.8.8.8",
                                       "2001:db8::1", "fd00::1",    "::ffff:10.0.0.1"};
  static const char *const local[] = {
      "127.0.0.1", "127.9.9.9", "169.254.1.1",      "224.0.0.1", "239.1.1.1", "0.0.0.0", "255.255.255.255", "::", "::1",
      "fe80::1",   "ff02::1",   "::ffff:127.0.0.1", "",          "name",      "1.2.3",   "1.2.3.4:80"};
  for (size_t i = 0; i < sizeof global / sizeof global[0]; i++) assert_true(dsc_host_is_global(global[i]));
  for (size_t i = 0; i < sizeof local / sizeof local[0]; i++) assert_false(dsc_host_is_global(local[i]));
}

static void test_list(void **state) {
  (void)state;
  dsc_host_addrs addrs;
  dsc_why why;
  bool loopback = false;
  assert_int_equal(dsc_host_list(&addrs, &why), DSC_OK);
  for (size_t i = 0; i < addrs.count; i++) {
    if (strcmp(addrs.addrs[i], "127.0.0.1") == 0) loopback = !addrs.is_global[i];
    assert_int_equal(addrs.is_global[i], dsc_host_is_global(addrs.addrs[i]));
  }
  assert_true(loopback);
}

static void test_probe(void **state) {
  (void)state;
  uint16_t port = 0, again = 0;
  dsc_why why;
  assert_int_equal(dsc_host_probe_port("", 0, &port, &why), DSC_OK);
  assert_true(port != 0);
  assert_int_equal(dsc_host_probe_port("127.0.0.1", port, &again, &why), DSC_OK);
  assert_int_equal(port, again);
  assert_int_equal(dsc_host_probe_port("nonsense", 0, &port, &why), DSC_EINVALID);
  assert_non_null(strstr(why.text, "nonsense"));

  struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof sin;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof sin), 0);
  assert_int_equal(listen(fd, 1), 0);
  getsockname(fd, (struct sockaddr *)&sin, &len);
  assert_int_equal(dsc_host_probe_port("127.0.0.1", ntohs(sin.sin_port), &port, &why), DSC_EIO);
  assert_int_equal(dsc_host_probe_port("0.0.0.0", ntohs(sin.sin_port), &port, NULL), DSC_EIO);
  assert_non_null(strstr(why.text, "in use"));
  close(fd);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_global),
      cmocka_unit_test(test_list),
      cmocka_unit_test(test_probe),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
