/*
** config_registry_impl.h - what the files of registry strings share, and nobody else.
**
**     config_registry.c         schemes, host, user, password; what the options add
**     config_registry_hosts.c   lists of hosts; the master's name
**     config_registry_old.c     host:port:password:db
**     config_registry_param.c   parameters of URLs
**     config_registry_text.c    the canonical text
*/
#ifndef DSC_MODEL_CONFIG_REGISTRY_IMPL_H
#define DSC_MODEL_CONFIG_REGISTRY_IMPL_H

#include "base/addr.h"
#include "base/buf.h"
#include "model/config_registry.h"

#define DSC_CONFIG_REGISTRY_NAME_MAX 255 /* bytes: memory://, user, id */
#define DSC_CONFIG_REGISTRY_PORT     6379
#define DSC_CONFIG_REGISTRY_HELP     "redis://[user][:password]@host:port/db"

/* Says that the registry string is wrong, and why. Any thread. Returns DSC_EINVALID. */
dsc_err dsc_config_registry_invalid(dsc_why *why, const char *sentence);

/* Replaces a field by a copy of `s`. Any thread. Fails: DSC_ENOMEM. */
dsc_err dsc_config_registry_set(char **field, dsc_str s);

/* Checks host and port ("" for either: the default) together, as an address. Any thread. Fails: DSC_EINVALID,
** DSC_ENOMEM. */
dsc_err dsc_config_registry_check_host(dsc_addr *addr, dsc_str host, bool is_v6, dsc_str port, uint16_t default_port,
                                       dsc_why *why);

/* Sets host and port ("" for either: the default) after checking them together, as an address. Any thread. Fails:
** DSC_EINVALID, DSC_ENOMEM. */
dsc_err dsc_config_registry_set_host(dsc_registry_config *config, dsc_str host, bool is_v6, dsc_str port, dsc_why *why);

/* Sets the hosts of a kind that has a list of them; a host given twice counts once. Any thread. Fails: DSC_EINVALID,
** DSC_ENOMEM. */
dsc_err dsc_config_registry_set_hosts(dsc_registry_config *config, dsc_str list, dsc_why *why);

/* Cuts the master's name off `*path`, which keeps the database ("": none). Any thread. Fails: DSC_EINVALID,
** DSC_ENOMEM. */
dsc_err dsc_config_registry_cut_master(dsc_registry_config *config, dsc_str *path, dsc_why *why);

/* Replaces a user's name by a copy of `user`, after a check. Any thread. Fails: DSC_EINVALID, DSC_ENOMEM. */
dsc_err dsc_config_registry_set_user(char **field, dsc_str user, dsc_why *why);

/* Replaces a password. Any thread. Copies. Fails: DSC_ENOMEM. */
dsc_err dsc_config_registry_set_password(dsc_secret **field, dsc_str password);

/* Empties a buffer that may hold a password and leaves nothing of it behind. Any thread. */
void dsc_config_registry_wipe(dsc_buf *buf);

/* Reads digits alone: no sign, at most `max`. Any thread. Fails: false. */
bool dsc_config_registry_number(dsc_str s, int64_t max, int64_t *value);

/* Appends `s` decoded to `buf`, which must be empty, so that growing leaves nothing of it behind. Any thread. Fails:
** DSC_EINVALID, DSC_ENOMEM. */
dsc_err dsc_config_registry_decode(dsc_buf *buf, dsc_str s, dsc_why *why);

/* Parses host:port:password:db. Any thread. Fails: DSC_EINVALID, DSC_ENOMEM. */
dsc_err dsc_config_registry_parse_old(dsc_registry_config *config, dsc_str text, dsc_why *why);

/* Obeys the parameters of a URL; `path` is the database in front of them ("": none). Any thread. Fails: DSC_EINVALID,
** DSC_ENOMEM. */
dsc_err dsc_config_registry_parameters(dsc_registry_config *config, dsc_str path, dsc_str query, dsc_why *why);

/* Makes config->text. Any thread. Fails: DSC_ENOMEM. */
dsc_err dsc_config_registry_set_text(dsc_registry_config *config);

#endif
