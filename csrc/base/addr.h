/*
** addr.h - node addresses: host:port, with IPv6 in brackets.
*/
#ifndef DSC_BASE_ADDR_H
#define DSC_BASE_ADDR_H

#include "base/err.h"
#include "base/str.h"

#pragma GCC visibility push(default)

#define DSC_ADDR_MAX 262 /* 253 for a name, brackets, colon, port, terminator */

typedef struct dsc_addr {
  char host[256];          /* without brackets */
  char text[DSC_ADDR_MAX]; /* canonical: host:port or [v6]:port */
  uint16_t port;
  bool is_v6;
  bool is_literal; /* an IP address, no name to be resolved */
} dsc_addr;

/* Parses "1.2.3.4:80", "name:80", "[::1]:80" (an IPv6 address needs its brackets). Names follow
** RFC 1123 (letters, digits, hyphen, dot; underscore allowed as in container networks).
** Any thread. Fails: DSC_EINVALID with `why`: no port, port outside 1..65535, bad host. */
dsc_err dsc_addr_parse(dsc_addr *addr, dsc_str text, dsc_why *why);

/* As dsc_addr_parse(), and refuses what others cannot call: no host, 0.0.0.0, [::]; the sentence points
** at easy_start. Any thread. Fails: DSC_EINVALID. */
dsc_err dsc_addr_parse_own(dsc_addr *addr, dsc_str text, dsc_why *why);

/* Checks an app name: 1 to 255 bytes, no blanks, no control characters. Any thread.
** Fails: DSC_EINVALID with `why`. */
dsc_err dsc_addr_check_app(dsc_str app, dsc_why *why);

#pragma GCC visibility pop

#endif
