/*
** addr.c - node addresses, checked to the byte.
**
** The canonical text is the only one accepted (no leading zeros in a port, no second spelling is made of
** a host), so `text` is always what was parsed: it is also a key in the registry, where peers must find
** it letter by letter. Invariant: what parsed can be handed to a resolver, a socket or a Host header as
** it is. No state: any thread.
*/
#include "base/addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#define NAME_MAX_LENGTH  253
#define LABEL_MAX_LENGTH 63
#define APP_MAX_LENGTH   255
#define QUOTE_MAX        80 /* an error quotes no more of a text than this */

static dsc_str quoted(dsc_str s) {
  return (dsc_str){s.n ? s.p : "", s.n < QUOTE_MAX ? s.n : QUOTE_MAX};
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Reads an address of `family` into `bytes`; false when `host` is none. */
static bool literal(int family, dsc_str host, void *bytes) {
  char text[INET6_ADDRSTRLEN];
  if (host.n == 0 || host.n >= sizeof text || memchr(host.p, '\0', host.n)) return false;
  memcpy(text, host.p, host.n);
  text[host.n] = '\0';
  return inet_pton(family, text, bytes) == 1;
}

static bool label_is_good(dsc_str label) {
  if (label.n == 0 || label.n > LABEL_MAX_LENGTH) return false;
  if (label.p[0] == '-' || label.p[label.n - 1] == '-') return false;
  for (size_t i = 0; i < label.n; i++) {
    char c = label.p[i];
    if (!is_digit(c) && !is_letter(c) && c != '-' && c != '_') return false;
  }
  return true;
}

/* A resolver reads "1", "1.2.3" and "0x7f000001" as IPv4 addresses of its own making. */
static bool label_is_number(dsc_str label) {
  if (label.n > 1 && label.p[0] == '0' && (label.p[1] == 'x' || label.p[1] == 'X')) return true;
  for (size_t i = 0; i < label.n; i++)
    if (!is_digit(label.p[i])) return false;
  return true;
}

static bool name_is_good(dsc_str name) {
  if (name.n == 0 || name.n > NAME_MAX_LENGTH) return false;
  dsc_str rest = name, label = name;
  while (rest.p) {
    label = dsc_str_cut(&rest, '.');
    if (!label_is_good(label)) return false;
  }
  return !label_is_number(label);
}

/* Parses 1..65535 without leading zeros, 0 when it is anything else. */
static uint16_t port_of(dsc_str port) {
  uint32_t value = 0;
  if (port.n == 0 || port.n > 5 || port.p[0] == '0') return 0;
  for (size_t i = 0; i < port.n; i++) {
    if (!is_digit(port.p[i])) return 0;
    value = value * 10 + (uint32_t)(port.p[i] - '0');
  }
  return value <= UINT16_MAX ? (uint16_t)value : 0;
}

/* Splits at the last colon; brackets are taken off. */
static dsc_err split(dsc_str text, dsc_str *host, dsc_str *port, bool *bracketed, dsc_why *why) {
  *host = *port = (dsc_str){NULL, 0};
  *bracketed = false;
  dsc_str q = quoted(text);
  const char *colon = text.n ? memrchr(text.p, ':', text.n) : NULL;
  const char *close = text.n ? memrchr(text.p, ']', text.n) : NULL;
  if (!colon || (close && close > colon))
    return dsc_fail(why, DSC_EINVALID, "address \"%.*s\": no port, expected host:port", DSC_STR_ARG(q));
  *host = (dsc_str){text.p, (size_t)(colon - text.p)};
  *port = (dsc_str){colon + 1, text.n - host->n - 1};
  *bracketed = host->n > 0 && host->p[0] == '[';
  if (*bracketed) {
    if (host->n < 2 || host->p[host->n - 1] != ']')
      return dsc_fail(why, DSC_EINVALID, "address \"%.*s\": brackets are [ipv6]:port", DSC_STR_ARG(q));
    *host = (dsc_str){host->p + 1, host->n - 2};
  } else if (host->n > 0 && memchr(host->p, ':', host->n)) {
    return dsc_fail(why, DSC_EINVALID, "address \"%.*s\": an IPv6 address needs brackets, [ipv6]:port", DSC_STR_ARG(q));
  }
  return DSC_OK;
}

/* Fills in what kind of host it is; false when it is none. */
static bool classify(dsc_addr *addr, dsc_str host, bool bracketed) {
  struct in6_addr bytes; /* wide enough for both families */
  addr->is_v6 = bracketed;
  addr->is_literal = literal(bracketed ? AF_INET6 : AF_INET, host, &bytes);
  return addr->is_literal || (!bracketed && name_is_good(host));
}

dsc_err dsc_addr_parse(dsc_addr *addr, dsc_str text, dsc_why *why) {
  dsc_str host, port, q = quoted(text);
  bool bracketed;
  dsc_err err = split(text, &host, &port, &bracketed, why);
  if (err) return err;
  *addr = (dsc_addr){.port = port_of(port)};
  if (addr->port == 0)
    return dsc_fail(why, DSC_EINVALID, "address \"%.*s\": the port is not a number from 1 to 65535", DSC_STR_ARG(q));
  if (host.n == 0) return dsc_fail(why, DSC_EINVALID, "address \"%.*s\": no host", DSC_STR_ARG(q));
  if (!classify(addr, host, bracketed))
    return dsc_fail(why, DSC_EINVALID, "address \"%.*s\": the host is neither an IP address nor a name",
                    DSC_STR_ARG(q));
  memcpy(addr->host, host.p, host.n); /* terminated: both were zeroed, and a good host is short enough */
  memcpy(addr->text, text.p, text.n);
  return DSC_OK;
}

/* True for 0.0.0.0, [::] in any spelling, and [::ffff:0.0.0.0]. */
static bool is_any(const dsc_addr *addr) {
  struct in_addr v4;
  struct in6_addr v6;
  dsc_str host = dsc_str_of(addr->host);
  if (!addr->is_literal) return false;
  if (!addr->is_v6) return literal(AF_INET, host, &v4) && v4.s_addr == INADDR_ANY;
  if (!literal(AF_INET6, host, &v6)) return false;
  if (IN6_IS_ADDR_V4MAPPED(&v6)) memset(v6.s6_addr + 10, 0, 2);
  return IN6_IS_ADDR_UNSPECIFIED(&v6);
}

dsc_err dsc_addr_parse_own(dsc_addr *addr, dsc_str text, dsc_why *why) {
  dsc_str q = quoted(text);
  bool no_host = text.n > 0 && text.p[0] == ':' && port_of((dsc_str){text.p + 1, text.n - 1});
  if (!no_host) {
    dsc_err err = dsc_addr_parse(addr, text, why);
    if (err || !is_any(addr)) return err;
  }
  return dsc_fail(why, DSC_EINVALID,
                  "address \"%.*s\": others cannot call it; name an address of this host, or let easy_start find one",
                  DSC_STR_ARG(q));
}

dsc_err dsc_addr_check_app(dsc_str app, dsc_why *why) {
  dsc_str q = quoted(app);
  if (app.n == 0) return dsc_fail(why, DSC_EINVALID, "the app name is empty");
  if (app.n > APP_MAX_LENGTH)
    return dsc_fail(why, DSC_EINVALID, "app name \"%.*s...\": longer than %d bytes", DSC_STR_ARG(q), APP_MAX_LENGTH);
  if (!dsc_str_is_clean(app) || memchr(app.p, ' ', app.n))
    return dsc_fail(why, DSC_EINVALID, "app name \"%.*s\": blanks and control characters are not allowed",
                    DSC_STR_ARG(q));
  return DSC_OK;
}
