/*
** config_registry.c - registry strings, in both spellings that users have.
**
** Invariant: no sentence and no `text` ever shows a password. A password with a raw '/', '?' or ':' ends up in parts
** that should hold none, so nothing of the string is quoted but names of parameters, and an '@' there ends the
** matter. A decoded password stands in plain memory only until the secret is made, and is wiped. No state: any
** thread.
*/
#include "model/config_registry_impl.h"

#include "base/addr.h"
#include "base/mem.h"
#include "base/url.h"

#define DEFAULT_HOST    "127.0.0.1"
#define SOCKET_PATH_MAX 107 /* of sockaddr_un */
#define KNOWN                                                                                                          \
  "redis://, rediss://, redis+sentinel://, rediss+sentinel://, redis+cluster://, rediss+cluster://, unix:// and "      \
  "memory://"

dsc_err dsc_config_registry_invalid(dsc_why *why, const char *sentence) {
  return dsc_fail(why, DSC_EINVALID, "registry: %s", sentence);
}

dsc_err dsc_config_registry_set(char **field, dsc_str s) {
  char *copy = dsc_mem_strdup(s);
  if (!copy) return DSC_ENOMEM;
  dsc_mem_free(*field);
  *field = copy;
  return DSC_OK;
}

bool dsc_config_registry_number(dsc_str s, int64_t max, int64_t *value) {
  if (s.n == 0 || s.p[0] < '0' || s.p[0] > '9') return false;
  return dsc_str_to_int(s, value) && *value <= max;
}

void dsc_registry_config_clear(dsc_registry_config *config) {
  dsc_mem_free(config->text);
  dsc_mem_free(config->host);
  dsc_mem_free(config->user);
  dsc_mem_free(config->name);
  dsc_mem_free(config->id);
  dsc_mem_free(config->path);
  dsc_mem_free(config->tls.ca);
  dsc_mem_free(config->tls.cert);
  dsc_mem_free(config->tls.key);
  dsc_mem_free(config->tls.server_name);
  dsc_secret_unref(config->password);
  for (size_t i = 0; i < config->n_hosts; i++) dsc_mem_free(config->hosts[i].name);
  dsc_mem_free(config->sentinel_user);
  dsc_secret_unref(config->sentinel_password);
  *config = (dsc_registry_config){.kind = DSC_REGISTRY_NONE};
}

bool dsc_registry_kind_has_servers(dsc_registry_kind kind) {
  return kind == DSC_REGISTRY_REDIS || kind == DSC_REGISTRY_SENTINEL || kind == DSC_REGISTRY_CLUSTER;
}

dsc_err dsc_config_registry_check_host(dsc_addr *addr, dsc_str host, bool is_v6, dsc_str port, uint16_t default_port,
                                       dsc_why *why) {
  int64_t number = default_port;
  if (port.n > 0 && (!dsc_config_registry_number(port, 65535, &number) || number == 0))
    return dsc_config_registry_invalid(why, "the port is not a number from 1 to 65535");
  if (host.n == 0) host = dsc_str_of(DEFAULT_HOST);
  dsc_buf buf;
  dsc_buf_init(&buf, DSC_ADDR_MAX);
  dsc_buf_addf(&buf, is_v6 ? "[%.*s]:%d" : "%.*s:%d", DSC_STR_ARG(host), (int)number);
  dsc_err err = buf.err == DSC_ENOMEM ? DSC_ENOMEM : dsc_addr_parse(addr, dsc_buf_str(&buf), NULL);
  dsc_buf_clear(&buf);
  if (err == DSC_EINVALID) return dsc_config_registry_invalid(why, "the host is neither an IP address nor a name");
  return err;
}

dsc_err dsc_config_registry_set_host(dsc_registry_config *config, dsc_str host, bool is_v6, dsc_str port,
                                     dsc_why *why) {
  dsc_addr addr;
  dsc_err err = dsc_config_registry_check_host(&addr, host, is_v6, port, DSC_CONFIG_REGISTRY_PORT, why);
  if (err) return err;
  config->port = addr.port;
  return dsc_config_registry_set(&config->host, dsc_str_of(addr.host));
}

dsc_err dsc_config_registry_set_user(char **field, dsc_str user, dsc_why *why) {
  if (user.n > DSC_CONFIG_REGISTRY_NAME_MAX || !dsc_str_is_clean(user))
    return dsc_config_registry_invalid(why, "the user name is longer than 255 bytes or holds control characters");
  return dsc_config_registry_set(field, user);
}

dsc_err dsc_config_registry_set_password(dsc_secret **field, dsc_str password) {
  dsc_secret *secret = dsc_secret_new(password);
  if (!secret) return DSC_ENOMEM;
  dsc_secret_unref(*field);
  *field = secret;
  return DSC_OK;
}

dsc_err dsc_config_registry_decode(dsc_buf *buf, dsc_str s, dsc_why *why) {
  /* room for all of it first: a buffer that grew while decoding would leave half a password behind */
  dsc_err err = dsc_buf_add_str(buf, s);
  dsc_buf_reset(buf);
  if (!err) err = dsc_url_decode(buf, s);
  return err == DSC_EINVALID
             ? dsc_config_registry_invalid(why, "a '%' is not followed by two hexadecimal digits; write it %25")
             : err;
}

void dsc_config_registry_wipe(dsc_buf *buf) {
  if (buf->data) dsc_secret_wipe(buf->data, buf->cap);
  dsc_buf_clear(buf);
}

static dsc_err url_user(dsc_registry_config *config, const dsc_url *url, dsc_why *why) {
  dsc_buf buf;
  dsc_buf_init(&buf, 0);
  dsc_err err = DSC_OK;
  if (url->has_user) {
    err = dsc_config_registry_decode(&buf, url->user, why);
    if (!err) err = dsc_config_registry_set_user(&config->user, dsc_buf_str(&buf), why);
  }
  dsc_buf_reset(&buf);
  if (!err && url->has_password) {
    err = dsc_config_registry_decode(&buf, url->password, why);
    if (!err) err = dsc_config_registry_set_password(&config->password, dsc_buf_str(&buf));
  }
  dsc_config_registry_wipe(&buf);
  return err;
}

static bool holds(dsc_str s, char c) {
  return s.n > 0 && memchr(s.p, c, s.n) != NULL;
}

/* Where a Unix socket is: its path is the URL's, and short enough for the system. */
static dsc_err set_path(dsc_registry_config *config, const dsc_url *url, dsc_why *why) {
  dsc_buf buf;
  if (url->host.n > 0 || url->port.n > 0)
    return dsc_config_registry_invalid(why, "unix:// takes an absolute path: unix:///run/redis.sock?db=15");
  dsc_buf_init(&buf, 0);
  dsc_err err = dsc_config_registry_decode(&buf, url->path, why);
  if (!err && (buf.len < 2 || buf.len > SOCKET_PATH_MAX || !dsc_str_is_clean(dsc_buf_str(&buf))))
    err = dsc_config_registry_invalid(why, "unix:// takes the absolute path of a socket, 2 to 107 bytes long");
  if (!err) err = dsc_config_registry_set(&config->path, dsc_buf_str(&buf));
  dsc_buf_clear(&buf);
  return err;
}

/* What a scheme says. */
typedef struct scheme {
  const char *name;
  dsc_registry_kind kind;
  bool has_tls, is_unix;
} scheme;

static dsc_err set_place(dsc_registry_config *config, const scheme *s, const dsc_url *url, dsc_why *why) {
  if (s->is_unix) return set_path(config, url, why);
  if (s->kind == DSC_REGISTRY_REDIS)
    return dsc_config_registry_set_host(config, url->host, url->host_is_v6, url->port, why);
  return dsc_config_registry_set_hosts(config, url->host, why);
}

static dsc_err parse_url(dsc_registry_config *config, const scheme *s, dsc_str text, dsc_why *why) {
  dsc_url url;
  dsc_why cause;
  dsc_str path = {NULL, 0};
  bool is_list = s->kind != DSC_REGISTRY_REDIS;
  if (is_list ? dsc_url_parse_list(&url, text, &cause) : dsc_url_parse(&url, text, &cause))
    return dsc_fail(why, DSC_EINVALID, "registry: %s", cause.text);
  if (holds(url.path, '@') || holds(url.query, '@'))
    return dsc_config_registry_invalid(
        why, "an '@' behind the host; a '/', '?' or '@' in user or password must be percent-encoded");
  config->kind = s->kind;
  config->connect_timeout_ms = DSC_REGISTRY_CONNECT_TIMEOUT_MS;
  config->has_tls = s->has_tls;
  dsc_err err = set_place(config, s, &url, why);
  if (!err) err = url_user(config, &url, why);
  if (!s->is_unix && url.path.n > 0) path = (dsc_str){url.path.p + 1, url.path.n - 1};
  if (!err && config->kind == DSC_REGISTRY_SENTINEL) err = dsc_config_registry_cut_master(config, &path, why);
  return err ? err : dsc_config_registry_parameters(config, path, url.query, why);
}

static dsc_err parse_memory(dsc_registry_config *config, dsc_str name, dsc_why *why) {
  config->kind = DSC_REGISTRY_MEMORY;
  if (name.n == 0 || name.n > DSC_CONFIG_REGISTRY_NAME_MAX)
    return dsc_config_registry_invalid(why, "memory://name takes a name of 1 to 255 bytes");
  return dsc_config_registry_set(&config->name, name);
}

static dsc_err parse_scheme(dsc_registry_config *config, dsc_str name, dsc_str text, dsc_why *why) {
  static const scheme schemes[] = {
      {"redis", DSC_REGISTRY_REDIS, false, false},
      {"rediss", DSC_REGISTRY_REDIS, true, false},
      {"unix", DSC_REGISTRY_REDIS, false, true},
      {"redis+sentinel", DSC_REGISTRY_SENTINEL, false, false},
      {"rediss+sentinel", DSC_REGISTRY_SENTINEL, true, false},
      {"redis+cluster", DSC_REGISTRY_CLUSTER, false, false},
      {"rediss+cluster", DSC_REGISTRY_CLUSTER, true, false},
  };
  for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
    if (dsc_str_equal_nocase(name, dsc_str_of(schemes[i].name))) return parse_url(config, &schemes[i], text, why);
  if (dsc_str_equal_nocase(name, DSC_STR_LITERAL("memory"))) {
    size_t n = name.n + sizeof "://" - 1;
    return parse_memory(config, (dsc_str){text.p + n, text.n - n}, why);
  }
  return dsc_config_registry_invalid(why, "unknown scheme; known are " KNOWN);
}

static dsc_err parse_any(dsc_registry_config *config, dsc_str text, dsc_why *why) {
  if (text.n == 0) return DSC_OK;
  if (text.n > DSC_REGISTRY_TEXT_MAX) return dsc_config_registry_invalid(why, "longer than 8192 bytes");
  if (!dsc_str_is_clean(text)) return dsc_config_registry_invalid(why, "control characters are not allowed");
  const char *slashes = memmem(text.p, text.n, "://", 3);
  if (!slashes) return dsc_config_registry_parse_old(config, text, why);
  return parse_scheme(config, (dsc_str){text.p, (size_t)(slashes - text.p)}, text, why);
}

/* What the options say wins; an empty user or password is none. */
static dsc_err merge_options(dsc_registry_config *config, const char *user, dsc_secret *password, dsc_why *why) {
  dsc_err err = user ? dsc_config_registry_set_user(&config->user, dsc_str_of(user), why) : DSC_OK;
  if (err) return err;
  if (password) {
    dsc_secret_unref(config->password);
    config->password = dsc_secret_ref(password);
  }
  if (config->user && config->user[0] == '\0') {
    dsc_mem_free(config->user);
    config->user = NULL;
  }
  if (!config->user && config->password && dsc_secret_length(config->password) == 0) {
    dsc_secret_unref(config->password);
    config->password = NULL;
  }
  if (config->user && !config->password)
    return dsc_config_registry_invalid(
        why, "a user without a password; a password alone is written redis://:password@host:port/db");
  return DSC_OK;
}

dsc_err dsc_registry_config_parse(dsc_registry_config *config, dsc_str text, const char *user, dsc_secret *password,
                                  dsc_why *why) {
  *config = (dsc_registry_config){.kind = DSC_REGISTRY_NONE};
  dsc_err err = parse_any(config, text, why);
  if (!err && dsc_registry_kind_has_servers(config->kind)) err = merge_options(config, user, password, why);
  if (!err) err = dsc_config_registry_set_text(config);
  if (err == DSC_ENOMEM) dsc_fail(why, err, "registry: %s", dsc_err_text(err));
  if (err) dsc_registry_config_clear(config);
  return err;
}
