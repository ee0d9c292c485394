/*
** call_string_fuzz.c - older call strings, durations, addresses, the names of apps: what is accepted is in range.
*/
#include "fuzz.h"
#include "base/addr.h"
#include "model/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  dsc_call_config *config = NULL;
  dsc_addr addr, again;
  uint64_t ms;
  dsc_why why = {""};
  dsc_str text = input(data, size);
  if (dsc_call_config_parse(&config, text, &why) == DSC_OK) {
    EXPECT(config->timeout_ms >= 1 && config->timeout_ms <= DSC_CONFIG_TIME_MAX_MS);
    EXPECT(config->deadline_ms >= 1 && config->deadline_ms <= DSC_CONFIG_TIME_MAX_MS);
  } else {
    EXPECT(why.text[0]);
  }
  dsc_call_config_unref(config);
  (void)!dsc_config_duration(text, &ms, &why);
  (void)!dsc_addr_check_app(text, &why);
  if (dsc_addr_parse(&addr, text, &why)) return 0;
  EXPECT(dsc_addr_parse(&again, dsc_str_of(addr.text), &why) == DSC_OK);
  EXPECT(strcmp(addr.text, again.text) == 0);
  return 0;
}
