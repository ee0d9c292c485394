/*
** registry_url_fuzz.c - registry strings of every form: what is accepted has a text that is accepted again; what is
** not has a sentence.
*/
#include "fuzz.h"
#include "model/config_registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  dsc_registry_config config, again;
  dsc_why why = {""};
  dsc_err err = dsc_registry_config_parse(&config, input(data, size), NULL, NULL, &why);
  if (err) {
    EXPECT(why.text[0]);
    return 0;
  }
  EXPECT(config.text);
  /* users need a password; what was percent-encoded may have become too long */
  bool whole = !config.user && !config.sentinel_user && strlen(config.text) <= DSC_REGISTRY_TEXT_MAX;
  if (config.kind != DSC_REGISTRY_NONE && whole) {
    EXPECT(dsc_registry_config_parse(&again, dsc_str_of(config.text), NULL, NULL, &why) == DSC_OK);
    EXPECT(again.kind == config.kind);
    dsc_registry_config_clear(&again);
  }
  dsc_registry_config_clear(&config);
  return 0;
}
