/*
** redirect_fuzz.c - errors of a Redis Cluster: MOVED and ASK; the slot of a key.
*/
#include "fuzz.h"
#include "model/cluster_slot.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  dsc_redirect redirect;
  dsc_addr asked, again;
  dsc_why why;
  EXPECT(dsc_addr_parse(&asked, DSC_STR_LITERAL("10.0.0.1:7000"), &why) == DSC_OK);
  EXPECT(dsc_cluster_slot(input(data, size)) < 16384);
  if (dsc_cluster_read_redirect(&redirect, input(data, size), &asked, &why)) return 0;
  if (redirect.kind == DSC_REDIRECT_NONE) return 0;
  EXPECT(redirect.slot < 16384);
  EXPECT(dsc_addr_parse(&again, dsc_str_of(redirect.addr.text), &why) == DSC_OK);
  return 0;
}
