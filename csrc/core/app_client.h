/*
** app_client.h - the visible state of one call: what is called, what was tried, how often.
**
** A call of the core carries one; route and balancer see it. A host may also make one by hand
** (dsc_discoverer_app_client_new() in discover.h) and ask it for one node after the other.
*/
#ifndef DSC_CORE_APP_CLIENT_H
#define DSC_CORE_APP_CLIENT_H

#include "base/err.h"
#include "base/str.h"
#include "model/headers.h"
#include "model/node.h"

#pragma GCC visibility push(default)

/* A string that is borrowed until somebody sets another. */
typedef struct dsc_text {
  dsc_str s;
  char *own; /* NULL: borrowed */
} dsc_text;

struct dsc_body;

typedef struct dsc_app_client {
  /* owner's thread only; a route may change these by the setters below */
  dsc_text app, method, path, body;
  bool has_body;
  struct dsc_body *source; /* instead of `body`, borrowed from the request; NULL: none, or a route set another body */
  dsc_headers headers;     /* the user's */
  /* owner's thread only; read by route and balancer */
  uint32_t attempts;
  dsc_node **tried; /* references, in order; points to `few` until there are more (so: never copy the struct) */
  size_t n_tried, tried_cap;
  dsc_node *few[4];
  uint64_t key;
  bool has_key;
  void *ud; /* the host's, from the request */
} dsc_app_client;

/* Replaces the app by a copy. Owner's thread. Fails: DSC_EINVALID (a bad name), DSC_ENOMEM with `why`. */
dsc_err dsc_app_client_set_app(dsc_app_client *ac, dsc_str app, dsc_why *why);

/* Replaces the method by a copy. Owner's thread. Fails: DSC_EINVALID (no token of at most 32 bytes), DSC_ENOMEM with
** `why`. */
dsc_err dsc_app_client_set_method(dsc_app_client *ac, dsc_str method, dsc_why *why);

/* Replaces the path by a copy. Owner's thread. Fails: DSC_EINVALID (not beginning with '/', blanks, control
** characters, '#', 64 KiB or more), DSC_ENOMEM with `why`. */
dsc_err dsc_app_client_set_path(dsc_app_client *ac, dsc_str path, dsc_why *why);

/* Replaces the body (and the source) by a copy; `has_body` false: none is sent. Owner's thread. Fails: DSC_ENOMEM with
** `why`. */
dsc_err dsc_app_client_set_body(dsc_app_client *ac, dsc_str body, bool has_body, dsc_why *why);

/* Checks names and values and copies them in, replacing the former headers. Owner's thread. Fails: DSC_EINVALID,
** DSC_ENOMEM. */
dsc_err dsc_app_client_set_headers(dsc_app_client *ac, const dsc_headers *headers, dsc_why *why);

#pragma GCC visibility pop

#endif
