/*
** url.h - URLs taken apart, and percent-encoding. Source: RFC 3986.
*/
#ifndef DSC_BASE_URL_H
#define DSC_BASE_URL_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

#pragma GCC visibility push(default)

typedef struct dsc_url {
  /* all borrowed from the text, still percent-encoded */
  dsc_str scheme;
  bool has_user, has_password; /* a user that is not empty; a ':' before the '@' */
  dsc_str user, password;
  dsc_str host; /* without brackets */
  bool host_is_v6;
  dsc_str port;
  dsc_str path;  /* with its leading slash, or empty */
  dsc_str query; /* without '?' */
} dsc_url;

/* Takes `text` apart at scheme://[user[:password]@]host[:port][/path][?query]. Any thread. `url` borrows
** from `text`. Fails: DSC_EINVALID; `why` never quotes the user part. */
dsc_err dsc_url_parse(dsc_url *url, dsc_str text, dsc_why *why);

/* As dsc_url_parse(), but `host` is a list "a:1,b,[::1]:2", not looked at yet; `port` stays empty. Any thread. `url`
** borrows from `text`. Fails: as dsc_url_parse(). */
dsc_err dsc_url_parse_list(dsc_url *url, dsc_str text, dsc_why *why);

/* Cuts the next host[:port] off `*list`, up to a comma, and sets host, host_is_v6 and port of `url`. `*list` has
** p = NULL after the last. Any thread. Fails: DSC_EINVALID; `why` quotes nothing. */
dsc_err dsc_url_next_host(dsc_url *url, dsc_str *list, dsc_why *why);

/* Cuts the next key=value pair off `*query`; false at the end. Empty pairs are skipped. Any thread. */
bool dsc_url_next_pair(dsc_str *query, dsc_str *key, dsc_str *value);

/* Appends `s` with everything but RFC 3986's unreserved characters as %XX. Any thread.
** Fails: as dsc_buf_add(). */
dsc_err dsc_url_encode(dsc_buf *buf, dsc_str s);

/* Appends `s` with %XX decoded ('+' stays a plus). Any thread. Fails: DSC_EINVALID for a broken
** sequence, else as dsc_buf_add(). */
dsc_err dsc_url_decode(dsc_buf *buf, dsc_str s);

#pragma GCC visibility pop

#endif
