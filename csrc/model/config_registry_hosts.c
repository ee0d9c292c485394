/*
** config_registry_hosts.c - registry strings with several hosts: the list, and the name of a Sentinel's master.
**
** Hosts are told by their position, never quoted: a part of a password may stand there. A host that is given twice
** counts once. No state: any thread.
*/
#include "base/mem.h"
#include "base/url.h"
#include "model/config_registry_impl.h"

#define SENTINEL_PORT 26379

static bool is_listed(const dsc_registry_config *config, const dsc_addr *addr) {
  for (size_t i = 0; i < config->n_hosts; i++) {
    const dsc_registry_host *host = &config->hosts[i];
    if (host->port == addr->port && dsc_str_equal_nocase(dsc_str_of(host->name), dsc_str_of(addr->host))) return true;
  }
  return false;
}

static dsc_err add_host(dsc_registry_config *config, const dsc_addr *addr, dsc_why *why) {
  if (is_listed(config, addr)) return DSC_OK;
  if (config->n_hosts == DSC_REGISTRY_HOSTS_MAX) return dsc_config_registry_invalid(why, "more than 16 hosts");
  char *name = dsc_mem_strdup(dsc_str_of(addr->host));
  if (!name) return DSC_ENOMEM;
  config->hosts[config->n_hosts++] = (dsc_registry_host){name, addr->port};
  return DSC_OK;
}

static dsc_err read_host(dsc_addr *addr, dsc_str *list, uint16_t default_port, bool is_only, dsc_why *why) {
  dsc_url at = {0};
  if (dsc_url_next_host(&at, list, why)) return DSC_EINVALID;
  if (at.host.n == 0 && !is_only) return dsc_config_registry_invalid(why, "it is empty");
  return dsc_config_registry_check_host(addr, at.host, at.host_is_v6, at.port, default_port, why);
}

dsc_err dsc_config_registry_set_hosts(dsc_registry_config *config, dsc_str list, dsc_why *why) {
  uint16_t default_port = config->kind == DSC_REGISTRY_SENTINEL ? SENTINEL_PORT : DSC_CONFIG_REGISTRY_PORT;
  bool is_only = list.n == 0 || !memchr(list.p, ',', list.n);
  dsc_err err = DSC_OK;
  unsigned position = 0;
  do {
    dsc_addr addr;
    dsc_why cause;
    err = read_host(&addr, &list, default_port, is_only, &cause);
    position++;
    /* the sentence without its topic */
    if (err == DSC_EINVALID)
      return dsc_fail(why, err, "registry: host %u of the list: %s", position, strstr(cause.text, ": ") + 2);
    if (!err) err = add_host(config, &addr, why);
  } while (!err && list.p);
  return err;
}

dsc_err dsc_config_registry_cut_master(dsc_registry_config *config, dsc_str *path, dsc_why *why) {
  dsc_str encoded = dsc_str_cut(path, '/');
  dsc_buf buf;
  dsc_buf_init(&buf, 0);
  dsc_err err = dsc_config_registry_decode(&buf, encoded, why);
  if (!err && (buf.len == 0 || buf.len > DSC_CONFIG_REGISTRY_NAME_MAX || !dsc_str_is_clean(dsc_buf_str(&buf))))
    err = dsc_config_registry_invalid(
        why, "redis+sentinel://host:port/master-name/db takes a master's name of 1 to 255 bytes");
  if (!err) err = dsc_config_registry_set(&config->name, dsc_buf_str(&buf));
  dsc_buf_clear(&buf);
  return err;
}
