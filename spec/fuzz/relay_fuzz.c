/*
** relay_fuzz.c - headers and peer of an incoming request: what is relayed is clean, listed, and never a secret.
**
** Input: lines; the first three are remote address, host, scheme; the others "name: value".
*/
#include "fuzz.h"
#include "model/headers.h"

static void check(const dsc_headers *out) {
  static const char *const never[] = {"Cookie", "Authorization", "Access-Token", "Connection", "Content-Length"};
  for (size_t i = 0; i < out->count; i++) {
    EXPECT(dsc_headers_check_name(out->items[i].name, NULL) == DSC_OK);
    EXPECT(dsc_headers_check_value(out->items[i].name, out->items[i].value, NULL) == DSC_OK);
  }
  for (size_t i = 0; i < sizeof never / sizeof *never; i++) EXPECT(!dsc_headers_find(out, dsc_str_of(never[i])));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  dsc_headers in, out;
  dsc_str rest = input(data, size);
  dsc_relay_peer peer = {.remote_addr = next_line(&rest)};
  dsc_headers_init(&in);
  dsc_headers_init(&out);
  peer.host = next_line(&rest);
  peer.scheme = next_line(&rest);
  while (rest.p && rest.n) {
    dsc_str line = next_line(&rest), name = dsc_str_cut(&line, ':');
    EXPECT(dsc_headers_add(&in, name, dsc_str_trim(line)) == DSC_OK);
  }
  EXPECT(dsc_headers_relay(&out, &in, &peer, dsc_headers_relay_default, &dsc_headers_default_names) == DSC_OK);
  check(&out);
  dsc_headers_clear(&in);
  dsc_headers_clear(&out);
  return 0;
}
