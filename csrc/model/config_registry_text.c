/*
** config_registry_text.c - the canonical text of a registry: for messages, and to tell shared registries apart.
**
** It has everything that makes two registries different, but never a password. No state: any thread.
*/
#include <stdio.h>
#include <stdlib.h>

#include "base/url.h"
#include "model/config_registry_impl.h"

/* Encoded, but for the slashes of a path. */
static void add_value(dsc_buf *buf, const char *value) {
  for (const char *at = value; *at;) {
    size_t n = strcspn(at, "/");
    dsc_url_encode(buf, (dsc_str){at, n});
    if (at[n] == '/') dsc_buf_add(buf, "/", 1);
    at += at[n] == '/' ? n + 1 : n;
  }
}

/* Appends "?name=value", or with '&'; NULL is left out. */
static void add_pair(dsc_buf *buf, char *mark, const char *name, const char *value) {
  if (!value) return;
  dsc_buf_addf(buf, "%c%s=", *mark, name);
  *mark = '&';
  add_value(buf, value);
}

static void add_user(dsc_buf *buf, const dsc_registry_config *config) {
  if (!config->user) return;
  dsc_url_encode(buf, dsc_str_of(config->user));
  dsc_buf_addf(buf, "@");
}

static void add_host(dsc_buf *buf, const char *host, uint16_t port) {
  dsc_buf_addf(buf, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, (unsigned)port);
}

static int compare_hosts(const void *a, const void *b) {
  const dsc_registry_host *x = a, *y = b;
  int order = strcmp(x->name, y->name);
  return order ? order : (int)x->port - (int)y->port;
}

static void add_list(dsc_buf *buf, const dsc_registry_config *config) {
  dsc_registry_host sorted[DSC_REGISTRY_HOSTS_MAX];
  memcpy(sorted, config->hosts, config->n_hosts * sizeof *sorted);
  qsort(sorted, config->n_hosts, sizeof *sorted, compare_hosts);
  dsc_buf_addf(buf, "redis%s+%s://", config->has_tls ? "s" : "",
               config->kind == DSC_REGISTRY_SENTINEL ? "sentinel" : "cluster");
  add_user(buf, config);
  for (size_t i = 0; i < config->n_hosts; i++) {
    if (i > 0) dsc_buf_addf(buf, ",");
    add_host(buf, sorted[i].name, sorted[i].port);
  }
  dsc_buf_addf(buf, "/");
  if (config->kind != DSC_REGISTRY_SENTINEL) return;
  dsc_url_encode(buf, dsc_str_of(config->name));
  dsc_buf_addf(buf, "/%u", (unsigned)config->db);
}

static void add_servers_text(dsc_buf *buf, const dsc_registry_config *config) {
  char mark = '?';
  if (config->n_hosts > 0) {
    add_list(buf, config);
  } else if (config->path) {
    char db[16];
    dsc_buf_addf(buf, "unix://");
    add_user(buf, config);
    add_value(buf, config->path);
    snprintf(db, sizeof db, "%u", (unsigned)config->db);
    add_pair(buf, &mark, "db", db);
  } else {
    dsc_buf_addf(buf, config->has_tls ? "rediss://" : "redis://");
    add_user(buf, config);
    add_host(buf, config->host, config->port);
    dsc_buf_addf(buf, "/%u", (unsigned)config->db);
  }
  add_pair(buf, &mark, "ca", config->tls.ca);
  add_pair(buf, &mark, "cert", config->tls.cert);
  add_pair(buf, &mark, "key", config->tls.key);
  add_pair(buf, &mark, "server_name", config->tls.server_name);
  if (config->tls.no_verify) add_pair(buf, &mark, "verify", "false");
  add_pair(buf, &mark, "sentinelUser", config->sentinel_user);
  add_pair(buf, &mark, "id", config->id);
}

dsc_err dsc_config_registry_set_text(dsc_registry_config *config) {
  dsc_buf buf;
  dsc_buf_init(&buf, 0);
  if (dsc_registry_kind_has_servers(config->kind)) add_servers_text(&buf, config);
  if (config->kind == DSC_REGISTRY_MEMORY) dsc_buf_addf(&buf, "memory://%s", config->name);
  config->text = dsc_buf_take(&buf, NULL);
  dsc_buf_clear(&buf);
  return config->text ? DSC_OK : DSC_ENOMEM;
}
