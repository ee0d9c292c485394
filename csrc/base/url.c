/*
** url.c - URLs taken apart, and percent-encoding.
**
** Invariants: every part of a dsc_url lies within the text it was parsed from; no error quotes any of
** that text, because a password with a raw '/' or '@' ends up in parts that should not hold one. What
** fails to encode or decode leaves the buffer's content as it was. No state: any thread.
*/
#include "base/url.h"

#include <arpa/inet.h>

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_unreserved(char c) {
  return is_letter(c) || is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

/* No NUL among the bytes: bytes_are_good() was asked first, here as below. */
static bool scheme_is_good(dsc_str s) {
  if (s.n == 0 || !is_letter(s.p[0])) return false;
  for (size_t i = 0; i < s.n; i++)
    if (!is_letter(s.p[i]) && !is_digit(s.p[i]) && !strchr("+-.", s.p[i])) return false;
  return true;
}

/* Every byte that a URL may hold raw; '#' is left out, for a fragment means nothing here and a raw one
** in a password would cut the rest off unseen. */
static bool bytes_are_good(dsc_str s) {
  for (size_t i = 0; i < s.n; i++)
    if (s.p[i] == ' ' || s.p[i] == '#') return false;
  return dsc_str_is_clean(s);
}

/* Cuts the part before the first of `stops` off `*rest`; the stop stays in `*rest`. */
static dsc_str cut_before(dsc_str *rest, const char *stops) {
  size_t n = 0;
  while (n < rest->n && !strchr(stops, rest->p[n])) n++;
  dsc_str part = {rest->p, n};
  *rest = (dsc_str){rest->p + n, rest->n - n};
  return part;
}

/* Takes "user:password@" off `*authority`. */
static void parse_user(dsc_url *url, dsc_str *authority) {
  const char *at = authority->n ? memrchr(authority->p, '@', authority->n) : NULL;
  if (!at) return;
  dsc_str rest = {authority->p, (size_t)(at - authority->p)};
  *authority = (dsc_str){at + 1, authority->n - rest.n - 1};
  url->user = dsc_str_cut(&rest, ':');
  url->has_user = url->user.n > 0;
  url->has_password = rest.p != NULL;
  url->password = rest;
}

static bool v6_is_good(dsc_str host) {
  char text[INET6_ADDRSTRLEN];
  struct in6_addr bytes;
  if (host.n == 0 || host.n >= sizeof text) return false;
  memcpy(text, host.p, host.n);
  text[host.n] = '\0';
  return inet_pton(AF_INET6, text, &bytes) == 1;
}

static bool name_is_good(dsc_str host) {
  for (size_t i = 0; i < host.n; i++) {
    char c = host.p[i];
    bool is_utf8 = (unsigned char)c >= 0x80;
    if (!is_unreserved(c) && !is_utf8 && !strchr("%!$&'()*+,;=", c)) return false;
  }
  return true;
}

/* Takes "host[:port]" apart; `authority` holds nothing else any more. */
static bool parse_host(dsc_url *url, dsc_str authority) {
  url->port = (dsc_str){NULL, 0};
  url->host_is_v6 = authority.n > 0 && authority.p[0] == '[';
  if (!url->host_is_v6) {
    url->host = dsc_str_cut(&authority, ':');
    url->port = authority;
    return name_is_good(url->host);
  }
  authority = (dsc_str){authority.p + 1, authority.n - 1};
  url->host = dsc_str_cut(&authority, ']');
  if (!authority.p || !v6_is_good(url->host)) return false;
  if (authority.n == 0) return true;
  url->port = (dsc_str){authority.p + 1, authority.n - 1};
  return authority.p[0] == ':';
}

/* An absent port is good: every scheme has one of its own. */
static bool port_is_good(dsc_str port) {
  int64_t value;
  if (port.n == 0) return true;
  return port.n <= 5 && is_digit(port.p[0]) && dsc_str_to_int(port, &value) && value >= 1 && value <= 65535;
}

static dsc_err take_host(dsc_url *url, dsc_str authority, dsc_why *why) {
  if (!parse_host(url, authority))
    return dsc_fail(why, DSC_EINVALID,
                    "URL: the host is not valid (IPv6 needs brackets, '/' and '?' in a password percent-encoding)");
  if (!port_is_good(url->port)) return dsc_fail(why, DSC_EINVALID, "URL: the port is not a number from 1 to 65535");
  return DSC_OK;
}

/* All but the hosts, which are left in `authority`. */
static dsc_err parse_frame(dsc_url *url, dsc_str text, dsc_str *authority, dsc_why *why) {
  *url = (dsc_url){0};
  dsc_str rest = text.n ? text : DSC_STR_LITERAL("");
  if (!bytes_are_good(text))
    return dsc_fail(why, DSC_EINVALID, "URL: blanks, control characters and '#' must be percent-encoded");
  url->scheme = cut_before(&rest, ":");
  if (!dsc_str_starts(rest, DSC_STR_LITERAL("://")) || !scheme_is_good(url->scheme))
    return dsc_fail(why, DSC_EINVALID, "URL: expected scheme://...");
  rest = (dsc_str){rest.p + 3, rest.n - 3};
  *authority = cut_before(&rest, "/?");
  url->path = cut_before(&rest, "?");
  if (rest.n > 0) url->query = (dsc_str){rest.p + 1, rest.n - 1};
  parse_user(url, authority);
  return DSC_OK;
}

dsc_err dsc_url_parse(dsc_url *url, dsc_str text, dsc_why *why) {
  dsc_str authority;
  dsc_err err = parse_frame(url, text, &authority, why);
  return err ? err : take_host(url, authority, why);
}

dsc_err dsc_url_parse_list(dsc_url *url, dsc_str text, dsc_why *why) {
  dsc_str authority;
  dsc_err err = parse_frame(url, text, &authority, why);
  if (!err) url->host = authority;
  return err;
}

dsc_err dsc_url_next_host(dsc_url *url, dsc_str *list, dsc_why *why) {
  return take_host(url, dsc_str_cut(list, ','), why);
}

bool dsc_url_next_pair(dsc_str *query, dsc_str *key, dsc_str *value) {
  while (query->n > 0) {
    dsc_str pair = dsc_str_cut(query, '&');
    if (pair.n == 0) continue;
    *key = dsc_str_cut(&pair, '=');
    *value = pair;
    return true;
  }
  return false;
}

/* Takes back what was appended since the buffer was `len` long. */
static dsc_err undo(dsc_buf *buf, size_t len, dsc_err err) {
  buf->len = len;
  if (buf->data) buf->data[len] = '\0';
  return err;
}

dsc_err dsc_url_encode(dsc_buf *buf, dsc_str s) {
  static const char hex[] = "0123456789ABCDEF";
  size_t start = buf->len;
  dsc_err err = buf->err;
  for (size_t i = 0; i < s.n && !err;) {
    size_t run = i;
    while (run < s.n && is_unreserved(s.p[run])) run++;
    err = dsc_buf_add(buf, s.p + i, run - i);
    if (!err && run < s.n) {
      unsigned char c = (unsigned char)s.p[run++];
      err = dsc_buf_add(buf, (const char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
    }
    i = run;
  }
  return err ? undo(buf, start, err) : DSC_OK;
}

static int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/* Appends the byte that "%XX" at the start of `s` stands for. */
static dsc_err decode_one(dsc_buf *buf, dsc_str s) {
  int high = s.n >= 3 ? hex_digit(s.p[1]) : -1;
  int low = s.n >= 3 ? hex_digit(s.p[2]) : -1;
  if (high < 0 || low < 0) return DSC_EINVALID;
  char c = (char)(high * 16 + low);
  return dsc_buf_add(buf, &c, 1);
}

dsc_err dsc_url_decode(dsc_buf *buf, dsc_str s) {
  size_t start = buf->len;
  dsc_err err = buf->err;
  while (s.n > 0 && !err) {
    size_t step = 3;
    if (s.p[0] == '%') {
      err = decode_one(buf, s);
    } else {
      const char *percent = memchr(s.p, '%', s.n);
      step = percent ? (size_t)(percent - s.p) : s.n;
      err = dsc_buf_add(buf, s.p, step);
    }
    if (!err) s = (dsc_str){s.p + step, s.n - step};
  }
  return err ? undo(buf, start, err) : DSC_OK;
}
