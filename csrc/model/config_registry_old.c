/*
** config_registry_old.c - registry strings of the older kind: host:port, then database and password in any order.
**
** Nothing of the string is ever quoted: any part may be the password. No state: any thread.
*/
#include "model/config_registry_impl.h"

#define OLD_DEFAULT_DB 15

/* One part behind host:port: a number from 1 to 15 is the database, all else the password. */
static dsc_err old_part(dsc_registry_config *config, dsc_str part, dsc_why *why) {
  int64_t number;
  bool is_number = part.p[0] != '0' && dsc_config_registry_number(part, OLD_DEFAULT_DB, &number);
  if (dsc_str_equal(part, DSC_STR_LITERAL("0")))
    return dsc_config_registry_invalid(
        why, "host:port:db knows the databases 1 to 15; for 0 write " DSC_CONFIG_REGISTRY_HELP);
  if (is_number && config->db == 0) {
    config->db = (uint32_t)number;
    return DSC_OK;
  }
  if (is_number)
    return dsc_config_registry_invalid(why, "two parts could be the database; write " DSC_CONFIG_REGISTRY_HELP);
  if (config->password)
    return dsc_config_registry_invalid(why, "two parts could be the password; write " DSC_CONFIG_REGISTRY_HELP);
  return dsc_config_registry_set_password(&config->password, part);
}

/* Cuts the host off "host:port...", with its brackets if it has some. */
static bool cut_host(dsc_str *rest, dsc_str *host) {
  bool is_v6 = rest->n > 0 && rest->p[0] == '[';
  if (is_v6) {
    dsc_str inner = {rest->p + 1, rest->n - 1};
    *host = dsc_str_cut(&inner, ']');
    if (!inner.p) *host = *rest; /* never closed: with its bracket it is no host */
    *rest = inner;
    if (rest->n > 0 && rest->p[0] == ':') *rest = (dsc_str){rest->p + 1, rest->n - 1};
  } else {
    *host = dsc_str_cut(rest, ':');
  }
  return is_v6;
}

dsc_err dsc_config_registry_parse_old(dsc_registry_config *config, dsc_str text, dsc_why *why) {
  dsc_str host, rest = text;
  if (!memchr(text.p, ':', text.n))
    return dsc_config_registry_invalid(
        why, "a bare name is no address, and keys of Go config files are not read; write " DSC_CONFIG_REGISTRY_HELP
             ", host:port or memory://name");
  config->kind = DSC_REGISTRY_REDIS;
  config->connect_timeout_ms = DSC_REGISTRY_CONNECT_TIMEOUT_MS;
  bool is_v6 = cut_host(&rest, &host);
  dsc_str port = dsc_str_cut(&rest, ':');
  dsc_err err = dsc_config_registry_set_host(config, host, is_v6, port, why);
  while (!err && rest.n > 0) {
    dsc_str part = dsc_str_cut(&rest, ':');
    if (part.n > 0) err = old_part(config, part, why);
  }
  if (config->db == 0) config->db = OLD_DEFAULT_DB;
  return err;
}
