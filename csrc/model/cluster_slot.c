/*
** cluster_slot.c - slots of keys, redirects.
**
** The slot is CRC16 (XMODEM: polynomial 0x1021, nothing reflected, from zero) modulo 16384. Eight steps a byte are
** quick enough: 10,000 keys of 30 bytes take a few milliseconds. No state: any thread.
*/
#include "model/cluster_slot.h"

#include <stdio.h>

static uint16_t crc16(dsc_str s) {
  unsigned crc = 0;
  for (size_t i = 0; i < s.n; i++) {
    crc ^= (unsigned)(unsigned char)s.p[i] << 8;
    for (int bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1;
  }
  return (uint16_t)(crc & 0xFFFF);
}

/* The part of a key that its slot is made from. */
static dsc_str hashed_part(dsc_str key) {
  const char *open = key.n ? memchr(key.p, '{', key.n) : NULL;
  if (!open) return key;
  size_t rest = key.n - (size_t)(open + 1 - key.p);
  const char *end = rest ? memchr(open + 1, '}', rest) : NULL;
  if (!end || end == open + 1) return key;
  return (dsc_str){open + 1, (size_t)(end - open - 1)};
}

uint16_t dsc_cluster_slot(dsc_str key) {
  return crc16(hashed_part(key)) % DSC_CLUSTER_SLOTS;
}

dsc_err dsc_cluster_node_addr(dsc_addr *addr, dsc_str host, int64_t port, const dsc_addr *asked) {
  char text[DSC_ADDR_MAX + 8];
  if (port < 1 || port > 65535) return DSC_EPROTOCOL;
  if (host.n == 0 || dsc_str_equal(host, DSC_STR_LITERAL("?"))) host = dsc_str_of(asked->host);
  if (host.n >= sizeof addr->host) return DSC_EPROTOCOL;
  bool is_v6 = memchr(host.p, ':', host.n) != NULL;
  int n = snprintf(text, sizeof text, is_v6 ? "[%.*s]:%d" : "%.*s:%d", DSC_STR_ARG(host), (int)port);
  if (n < 0 || (size_t)n >= sizeof text) return DSC_EPROTOCOL;
  return dsc_addr_parse(addr, dsc_str_of(text), NULL) ? DSC_EPROTOCOL : DSC_OK;
}

/* Cuts at the last colon: an IPv6 address stands there without brackets. */
static dsc_err read_target(dsc_redirect *redirect, dsc_str target, const dsc_addr *asked) {
  size_t at = target.n;
  int64_t port;
  while (at > 0 && target.p[at - 1] != ':') at--;
  if (at == 0 || !dsc_str_to_int((dsc_str){target.p + at, target.n - at}, &port)) return DSC_EPROTOCOL;
  return dsc_cluster_node_addr(&redirect->addr, (dsc_str){target.p, at - 1}, port, asked);
}

dsc_err dsc_cluster_read_redirect(dsc_redirect *redirect, dsc_str text, const dsc_addr *asked, dsc_why *why) {
  *redirect = (dsc_redirect){.kind = DSC_REDIRECT_NONE};
  dsc_str rest = text, word = dsc_str_cut(&rest, ' ');
  bool moved = dsc_str_equal(word, DSC_STR_LITERAL("MOVED"));
  if (!moved && !dsc_str_equal(word, DSC_STR_LITERAL("ASK"))) return DSC_OK;
  int64_t slot;
  dsc_str digits = dsc_str_cut(&rest, ' ');
  bool good = rest.p && dsc_str_to_int(digits, &slot) && slot >= 0 && slot < DSC_CLUSTER_SLOTS;
  if (!good || read_target(redirect, dsc_str_trim(rest), asked))
    return dsc_fail(why, DSC_EPROTOCOL, "an odd redirect: %.*s", (int)(text.n < 100 ? text.n : 100), text.p);
  redirect->slot = (uint16_t)slot;
  redirect->kind = moved ? DSC_REDIRECT_MOVED : DSC_REDIRECT_ASK;
  return DSC_OK;
}
