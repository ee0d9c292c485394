/*
** call_headers.c - which headers a call sends. Later ones fill gaps only: the user's, then this node's identity
** and the token (which replace the user's), then what the caller relays, then a request id.
*/
#include "base/random.h"
#include "core/call.h"

static const dsc_str access_token = {"Access-Token", 12};
static const dsc_str request_id = {"X-Request-Id", 12};

/* True when the core sets this header itself, whatever the user gave: the framing of the body too, or two of them
** would disagree. */
static bool is_replaced(const dsc_call *call, dsc_str name) {
  const dsc_discoverer *d = call->d;
  if (dsc_str_equal_nocase(name, DSC_STR_LITERAL("Content-Length"))) return true;
  if (dsc_str_equal_nocase(name, DSC_STR_LITERAL("Transfer-Encoding"))) return true;
  if (call->config->token && dsc_str_equal_nocase(name, access_token)) return true;
  if (!d->own_app) return false;
  return dsc_str_equal_nocase(name, dsc_str_of(d->names.from_app)) ||
         dsc_str_equal_nocase(name, dsc_str_of(d->names.from_node));
}

static dsc_err add_users(dsc_call *call) {
  for (size_t i = 0; i < call->ac.headers.count; i++) {
    const dsc_header *h = &call->ac.headers.items[i];
    if (!is_replaced(call, h->name) && dsc_headers_add(&call->headers, h->name, h->value)) return DSC_ENOMEM;
  }
  return DSC_OK;
}

static dsc_err add_identity(dsc_call *call) {
  const dsc_discoverer *d = call->d;
  if (!d->own_app) return DSC_OK;
  dsc_err err = dsc_headers_add(&call->headers, dsc_str_of(d->names.from_app), dsc_str_of(d->own_app));
  return err ? err : dsc_headers_add(&call->headers, dsc_str_of(d->names.from_node), dsc_str_of(d->own_addr));
}

static dsc_err add_relayed(dsc_call *call) {
  const dsc_headers *relayed = call->request->relayed;
  size_t given = call->headers.count; /* a relayed header may stand more than once, but fills only the user's gaps */
  for (size_t i = 0; relayed && i < relayed->count; i++) {
    const dsc_header *h = &relayed->items[i];
    dsc_headers before = call->headers;
    before.count = given;
    if (dsc_headers_find(&before, h->name)) continue;
    if (dsc_headers_add(&call->headers, h->name, h->value)) return DSC_ENOMEM;
  }
  return DSC_OK;
}

/* 16 hex digits: every byte of a header costs libcurl a hundred instructions, and printf() a hundred more. */
static void make_id(char id[16]) {
  static const char digits[] = "0123456789abcdef";
  uint64_t bits = dsc_random_u64();
  for (int i = 0; i < 16; i++, bits >>= 4) id[i] = digits[bits & 15];
}

static dsc_err add_request_id(dsc_call *call) {
  const dsc_header *given = dsc_headers_find(&call->headers, request_id);
  if (!given) {
    char id[16];
    make_id(id);
    if (dsc_headers_add(&call->headers, request_id, (dsc_str){id, sizeof id})) return DSC_ENOMEM;
    given = &call->headers.items[call->headers.count - 1];
  }
  call->request_id = given->value;
  return DSC_OK;
}

dsc_err dsc_call_headers_build(dsc_call *call) {
  if (call->headers_built) return DSC_OK;
  dsc_headers_clear(&call->headers);
  dsc_err err = add_users(call);
  if (!err) err = add_identity(call);
  if (!err) err = add_relayed(call);
  if (!err) err = add_request_id(call);
  call->headers_built = err == DSC_OK;
  return err;
}
