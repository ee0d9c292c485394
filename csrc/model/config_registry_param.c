/*
** config_registry_param.c - the parameters behind the '?' of a registry URL.
**
** The name of an unknown parameter is shown only if it can be a name at all: else it may be the rest of a password.
** No state: any thread.
*/
#include "model/config_registry_impl.h"

#include "base/url.h"

/* What parameters set besides the path. */
typedef struct parse {
  dsc_registry_config *config;
  bool has_db;
} parse;

static dsc_err set_db(parse *p, dsc_str value, dsc_why *why) {
  int64_t db;
  if (!dsc_config_registry_number(value, INT32_MAX, &db))
    return dsc_config_registry_invalid(why, "the database is not a number from 0 up");
  if (p->has_db && p->config->db != (uint32_t)db)
    return dsc_config_registry_invalid(why, "two different databases are given");
  if (p->config->kind == DSC_REGISTRY_CLUSTER && db != 0)
    return dsc_config_registry_invalid(why, "a Cluster has no database but 0");
  p->has_db = true;
  p->config->db = (uint32_t)db;
  return DSC_OK;
}

static dsc_err set_connect_timeout(parse *p, dsc_str value, dsc_why *why) {
  uint64_t ms;
  if (dsc_config_duration_or_ms(value, &ms, NULL))
    return dsc_config_registry_invalid(
        why, "connectTimeout is not a duration such as 500ms, 1.5s or a number of milliseconds");
  if (ms == 0 || ms > DSC_CONFIG_TIME_MAX_MS)
    return dsc_config_registry_invalid(why, "connectTimeout is not in 0.001..86400 seconds");
  p->config->connect_timeout_ms = (uint32_t)ms;
  return DSC_OK;
}

static dsc_err set_id(parse *p, dsc_str value, dsc_why *why) {
  if (value.n > DSC_CONFIG_REGISTRY_NAME_MAX || !dsc_str_is_clean(value))
    return dsc_config_registry_invalid(why, "id is longer than 255 bytes or holds control characters");
  return dsc_config_registry_set(&p->config->id, value);
}

static dsc_err set_file(char **field, dsc_str value, const char *name, dsc_why *why) {
  if (!dsc_str_is_clean(value)) return dsc_fail(why, DSC_EINVALID, "registry: %s holds control characters", name);
  return dsc_config_registry_set(field, value);
}

static dsc_err set_ca(parse *p, dsc_str value, dsc_why *why) {
  return set_file(&p->config->tls.ca, value, "ca", why);
}

static dsc_err set_cert(parse *p, dsc_str value, dsc_why *why) {
  return set_file(&p->config->tls.cert, value, "cert", why);
}

static dsc_err set_key(parse *p, dsc_str value, dsc_why *why) {
  return set_file(&p->config->tls.key, value, "key", why);
}

static dsc_err set_server_name(parse *p, dsc_str value, dsc_why *why) {
  return set_file(&p->config->tls.server_name, value, "server_name", why);
}

static dsc_err set_verify(parse *p, dsc_str value, dsc_why *why) {
  static const char *const words[] = {"false", "0", "no", "true", "1", "yes"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    if (!dsc_str_equal_nocase(value, dsc_str_of(words[i]))) continue;
    p->config->tls.no_verify = i < 3;
    return DSC_OK;
  }
  return dsc_config_registry_invalid(why, "verify is neither true (1, yes) nor false (0, no)");
}

static dsc_err set_unix_db(parse *p, dsc_str value, dsc_why *why) {
  if (p->config->path) return set_db(p, value, why);
  return dsc_config_registry_invalid(why, "the parameter db is for unix:// only; write redis://host:port/db");
}

static dsc_err set_sentinel_user(parse *p, dsc_str value, dsc_why *why) {
  return dsc_config_registry_set_user(&p->config->sentinel_user, value, why);
}

static dsc_err set_sentinel_password(parse *p, dsc_str value, dsc_why *why) {
  (void)why;
  return dsc_config_registry_set_password(&p->config->sentinel_password, value);
}

/* What a parameter is for. */
typedef enum use { ANY, TLS, SENTINEL } use;

static const struct parameter {
  const char *name;
  dsc_err (*set)(parse *p, dsc_str value, dsc_why *why); /* NULL: ignored */
  use use;
} parameters[] = {
    {"database", set_db, ANY},
    {"db", set_unix_db, ANY},
    {"connectTimeout", set_connect_timeout, ANY},
    {"id", set_id, ANY},
    {"ca", set_ca, TLS},
    {"cert", set_cert, TLS},
    {"key", set_key, TLS},
    {"server_name", set_server_name, TLS},
    {"verify", set_verify, TLS},
    {"sentinelUser", set_sentinel_user, SENTINEL},
    {"sentinelPassword", set_sentinel_password, SENTINEL},
    {"readTimeout", NULL, ANY},
    {"writeTimeout", NULL, ANY},
    {"idleTimeout", NULL, ANY},
    {"maxIdle", NULL, ANY},
    {"maxActive", NULL, ANY},
    {"logSlow", NULL, ANY},
};

/* Names an unknown parameter, if it can be a name at all: else it may be the rest of a password. */
static dsc_err unknown_parameter(dsc_str key, dsc_why *why) {
  bool is_name = key.n > 0 && key.n <= 32;
  for (size_t i = 0; i < key.n && is_name; i++) {
    char letter = (char)(key.p[i] | 0x20);
    is_name = (letter >= 'a' && letter <= 'z') || key.p[i] == '_';
  }
  return dsc_fail(
      why, DSC_EINVALID,
      "registry: unknown parameter%s%.*s; known are database, connectTimeout, id, with unix:// db, with "
      "rediss:// ca, cert, key, server_name, verify, with redis+sentinel:// sentinelUser, "
      "sentinelPassword, and ignored are readTimeout, writeTimeout, idleTimeout, maxIdle, maxActive, logSlow",
      is_name ? " " : "", is_name ? (int)key.n : 0, key.p);
}

/* An empty value says nothing, so it sets nothing. */
static dsc_err set_parameter(parse *p, dsc_str key, dsc_str value, dsc_why *why) {
  for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++) {
    if (!dsc_str_equal_nocase(key, dsc_str_of(parameters[i].name))) continue;
    if (parameters[i].use == TLS && !p->config->has_tls)
      return dsc_fail(why, DSC_EINVALID, "registry: the parameter %s is for rediss:// (TLS) only", parameters[i].name);
    if (parameters[i].use == SENTINEL && p->config->kind != DSC_REGISTRY_SENTINEL)
      return dsc_fail(why, DSC_EINVALID, "registry: the parameter %s is for redis+sentinel:// only",
                      parameters[i].name);
    if (!parameters[i].set || value.n == 0) return DSC_OK;
    dsc_buf buf;
    dsc_buf_init(&buf, 0);
    dsc_err err = dsc_config_registry_decode(&buf, value, why);
    if (!err) err = parameters[i].set(p, dsc_buf_str(&buf), why);
    dsc_config_registry_wipe(&buf);
    return err;
  }
  return unknown_parameter(key, why);
}

dsc_err dsc_config_registry_parameters(dsc_registry_config *config, dsc_str path, dsc_str query, dsc_why *why) {
  parse p = {.config = config};
  dsc_str key, value;
  dsc_err err = path.n > 0 ? set_db(&p, path, why) : DSC_OK;
  while (!err && dsc_url_next_pair(&query, &key, &value)) err = set_parameter(&p, key, value, why);
  if (!err && config->tls.key && !config->tls.cert)
    err = dsc_config_registry_invalid(why, "the parameter key needs cert beside it");
  if (!err && config->sentinel_user && !config->sentinel_password)
    err = dsc_config_registry_invalid(why, "the parameter sentinelUser needs sentinelPassword beside it");
  return err;
}
