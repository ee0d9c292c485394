/*
** headers.h - an ordered list of header names and values (headers.c), and which of an incoming request's are
** relayed (headers_relay.c).
**
** Names compare without case; the order of insertion is kept; a name may stand more than once. Names and values
** that are passed in may belong to the list itself.
*/
#ifndef DSC_MODEL_HEADERS_H
#define DSC_MODEL_HEADERS_H

#include "base/err.h"
#include "base/str.h"

#pragma GCC visibility push(default)

typedef struct dsc_header {
  dsc_str name;  /* owned by the list, terminated */
  dsc_str value; /* owned by the list, terminated */
} dsc_header;

typedef struct dsc_headers {
  /* owner's thread only */
  dsc_header *items;
  size_t count;
  size_t cap;
} dsc_headers;

/* Makes an empty list. Owner's thread. Allocates nothing. */
void dsc_headers_init(dsc_headers *headers);

/* Frees everything and leaves an empty list. Owner's thread. */
void dsc_headers_clear(dsc_headers *headers);

/* Checks a name: an RFC 9110 token of 1..256 bytes. Any thread. Fails: DSC_EINVALID with `why`. */
dsc_err dsc_headers_check_name(dsc_str name, dsc_why *why);

/* Checks a value: no CR, LF, NUL or other control but tab, at most 64 KiB; `why` names `name`, never the value.
** Any thread. Fails: DSC_EINVALID with `why`. */
dsc_err dsc_headers_check_value(dsc_str name, dsc_str value, dsc_why *why);

/* Appends a copy, unchecked. Owner's thread. Fails: DSC_ENOMEM, nothing changed. */
dsc_err dsc_headers_add(dsc_headers *headers, dsc_str name, dsc_str value);

/* Removes all of that name, then appends. Owner's thread. Fails: DSC_ENOMEM, the old ones stay. */
dsc_err dsc_headers_set(dsc_headers *headers, dsc_str name, dsc_str value);

/* Removes all of that name. Owner's thread. */
void dsc_headers_remove(dsc_headers *headers, dsc_str name);

/* Returns the first of that name. Owner's thread. Borrowed until the list changes. Fails: NULL. */
const dsc_header *dsc_headers_find(const dsc_headers *headers, dsc_str name);

/* Appends copies of all of `from`. Owner's thread. Fails: DSC_ENOMEM, some may have been added. */
dsc_err dsc_headers_copy(dsc_headers *headers, const dsc_headers *from);

/* Names that a user may change (header_names). All constant C strings, never NULL. */
typedef struct dsc_header_names {
  const char *from_app, *from_node, *client_ip, *user_agent;
} dsc_header_names;

extern const dsc_header_names dsc_headers_default_names;

/* The default relay list in its order, NULL at the end: what services relay to one another, then traceparent,
** tracestate, baggage. */
extern const char *const dsc_headers_relay_default[];

/* The peer of an incoming request. */
typedef struct dsc_relay_peer {
  dsc_str remote_addr; /* ip, ip:port, [v6]:port or empty */
  dsc_str host;
  dsc_str scheme;
} dsc_relay_peer;

/* Appends to `out` what an incoming request passes on: in the order of `list` (NULL-terminated) those names that
** are present, not empty and clean, the first of each; names that `out` already has are left alone. Of the names
** on the list
**   X-Forwarded-For, tracestate and baggage: all of that name, joined with ", ";
**   X-Forwarded-For gets the peer's IP appended (no port, no brackets, no zone; v4-mapped addresses as IPv4);
**   names->client_ip is the peer's IP if it is absent; it is read under the default name too, and written under
**   names->client_ip; names->user_agent likewise, without the peer;
**   X-Host and X-Scheme are the peer's host and scheme if they are absent.
** Cookies, authorization, tokens, and headers that belong to one connection or body: never, listed or not.
** `incoming` and `peer` may be NULL. Owner's thread. Fails: DSC_ENOMEM, some may have been added. */
dsc_err dsc_headers_relay(dsc_headers *out, const dsc_headers *incoming, const dsc_relay_peer *peer,
                          const char *const *list, const dsc_header_names *names);

#pragma GCC visibility pop

#endif
