/*
** config_registry.c - registry strings, in both spellings that users have.
**
** Invariant: no sentence and no `text` ever shows a password. A password with a raw '/', '?' or ':' ends up in parts
** that should hold none, so nothing of the string is quoted but names of parameters, and an '@' there ends the
** matter. A decoded password stands in plain memory only until the secret is made, and is wiped. No state: any
** thread.
*/
#include "model/config.h"

#include "base/addr.h"
#include "base/mem.h"
#include "base/url.h"

#define DEFAULT_HOST   "127.0.0.1"
#define DEFAULT_PORT   6379
#define OLD_DEFAULT_DB 15
#define NAME_MAX_BYTES 255 /* memory://, user, id */
#define TEXT_MAX_BYTES 8192
#define HELP           "redis://[user][:password]@host:port/db"

static dsc_err invalid(dsc_why *why, const char *sentence) {
  return dsc_fail(why, DSC_EINVALID, "registry: %s", sentence);
}

void dsc_registry_config_clear(dsc_registry_config *config) {
  dsc_mem_free(config->text);
  dsc_mem_free(config->host);
  dsc_mem_free(config->user);
  dsc_mem_free(config->name);
  dsc_mem_free(config->id);
  dsc_secret_unref(config->password);
  *config = (dsc_registry_config){.kind = DSC_REGISTRY_NONE};
}

static dsc_err set_string(char **field, dsc_str s) {
  char *copy = dsc_mem_strdup(s);
  if (!copy) return DSC_ENOMEM;
  dsc_mem_free(*field);
  *field = copy;
  return DSC_OK;
}

/* Reads digits alone: no sign, at most `max`. */
static bool read_number(dsc_str s, int64_t max, int64_t *value) {
  if (s.n == 0 || s.p[0] < '0' || s.p[0] > '9') return false;
  return dsc_str_to_int(s, value) && *value <= max;
}

/* Sets host and port ("" for either: the default) after checking them together, as an address. */
static dsc_err set_host(dsc_registry_config *config, dsc_str host, bool is_v6, dsc_str port, dsc_why *why) {
  dsc_addr addr;
  int64_t number = DEFAULT_PORT;
  if (port.n > 0 && (!read_number(port, 65535, &number) || number == 0))
    return invalid(why, "the port is not a number from 1 to 65535");
  if (host.n == 0) host = dsc_str_of(DEFAULT_HOST);
  dsc_buf buf;
  dsc_buf_init(&buf, DSC_ADDR_MAX);
  dsc_buf_addf(&buf, is_v6 ? "[%.*s]:%d" : "%.*s:%d", DSC_STR_ARG(host), (int)number);
  dsc_err err = buf.err == DSC_ENOMEM ? DSC_ENOMEM : dsc_addr_parse(&addr, dsc_buf_str(&buf), NULL);
  dsc_buf_clear(&buf);
  if (err == DSC_EINVALID) return invalid(why, "the host is neither an IP address nor a name");
  if (err) return err;
  config->port = addr.port;
  return set_string(&config->host, dsc_str_of(addr.host));
}

static dsc_err set_user(dsc_registry_config *config, dsc_str user, dsc_why *why) {
  if (user.n > NAME_MAX_BYTES || !dsc_str_is_clean(user))
    return invalid(why, "the user name is longer than 255 bytes or holds control characters");
  return set_string(&config->user, user);
}

static dsc_err set_password(dsc_registry_config *config, dsc_str password) {
  dsc_secret *secret = dsc_secret_new(password);
  if (!secret) return DSC_ENOMEM;
  dsc_secret_unref(config->password);
  config->password = secret;
  return DSC_OK;
}

/* Decodes `s` into `buf`, which must be empty. */
static dsc_err decode(dsc_buf *buf, dsc_str s, dsc_why *why) {
  /* room for all of it first: a buffer that grew while decoding would leave half a password behind */
  dsc_err err = dsc_buf_add_str(buf, s);
  dsc_buf_reset(buf);
  if (!err) err = dsc_url_decode(buf, s);
  return err == DSC_EINVALID ? invalid(why, "a '%' is not followed by two hexadecimal digits; write it %25") : err;
}

static void wipe(dsc_buf *buf) {
  if (buf->data) dsc_secret_wipe(buf->data, buf->cap);
  dsc_buf_clear(buf);
}

static dsc_err url_user(dsc_registry_config *config, const dsc_url *url, dsc_why *why) {
  dsc_buf buf;
  dsc_buf_init(&buf, 0);
  dsc_err err = DSC_OK;
  if (url->has_user) {
    err = decode(&buf, url->user, why);
    if (!err) err = set_user(config, dsc_buf_str(&buf), why);
  }
  dsc_buf_reset(&buf);
  if (!err && url->has_password) {
    err = decode(&buf, url->password, why);
    if (!err) err = set_password(config, dsc_buf_str(&buf));
  }
  wipe(&buf);
  return err;
}

/* What parameters set besides the path. */
typedef struct url_job {
  dsc_registry_config *config;
  bool has_db;
} url_job;

static dsc_err set_db(url_job *job, dsc_str value, dsc_why *why) {
  int64_t db;
  if (!read_number(value, INT32_MAX, &db)) return invalid(why, "the database is not a number from 0 up");
  if (job->has_db && job->config->db != (uint32_t)db) return invalid(why, "two different databases are given");
  job->has_db = true;
  job->config->db = (uint32_t)db;
  return DSC_OK;
}

static dsc_err set_connect_timeout(url_job *job, dsc_str value, dsc_why *why) {
  uint64_t ms;
  if (dsc_config_duration_or_ms(value, &ms, NULL))
    return invalid(why, "connectTimeout is not a duration such as 500ms, 1.5s or a number of milliseconds");
  if (ms == 0 || ms > DSC_CONFIG_TIME_MAX_MS) return invalid(why, "connectTimeout is not in 0.001..86400 seconds");
  job->config->connect_timeout_ms = (uint32_t)ms;
  return DSC_OK;
}

static dsc_err set_id(url_job *job, dsc_str value, dsc_why *why) {
  if (value.n > NAME_MAX_BYTES || !dsc_str_is_clean(value))
    return invalid(why, "id is longer than 255 bytes or holds control characters");
  return set_string(&job->config->id, value);
}

static const struct parameter {
  const char *name;
  dsc_err (*set)(url_job *job, dsc_str value, dsc_why *why); /* NULL: ignored */
} parameters[] = {
    {"database", set_db},   {"connectTimeout", set_connect_timeout},
    {"id", set_id},         {"readTimeout", NULL},
    {"writeTimeout", NULL}, {"idleTimeout", NULL},
    {"maxIdle", NULL},      {"maxActive", NULL},
    {"logSlow", NULL},
};

/* Names an unknown parameter, if it can be a name at all: else it may be the rest of a password. */
static dsc_err unknown_parameter(dsc_str key, dsc_why *why) {
  bool is_name = key.n > 0 && key.n <= 32;
  for (size_t i = 0; i < key.n && is_name; i++) {
    char letter = (char)(key.p[i] | 0x20);
    is_name = (letter >= 'a' && letter <= 'z') || key.p[i] == '_';
  }
  return dsc_fail(why, DSC_EINVALID,
                  "registry: unknown parameter%s%.*s; known are database, connectTimeout, id, and ignored are "
                  "readTimeout, writeTimeout, idleTimeout, maxIdle, maxActive, logSlow",
                  is_name ? " " : "", is_name ? (int)key.n : 0, key.p);
}

/* An empty value says nothing, so it sets nothing. */
static dsc_err set_parameter(url_job *job, dsc_str key, dsc_str value, dsc_why *why) {
  for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++) {
    if (!dsc_str_equal_nocase(key, dsc_str_of(parameters[i].name))) continue;
    if (!parameters[i].set || value.n == 0) return DSC_OK;
    dsc_buf buf;
    dsc_buf_init(&buf, 0);
    dsc_err err = decode(&buf, value, why);
    if (!err) err = parameters[i].set(job, dsc_buf_str(&buf), why);
    dsc_buf_clear(&buf);
    return err;
  }
  return unknown_parameter(key, why);
}

static bool holds(dsc_str s, char c) {
  return s.n > 0 && memchr(s.p, c, s.n) != NULL;
}

static dsc_err parse_url(dsc_registry_config *config, dsc_str text, dsc_why *why) {
  dsc_url url;
  dsc_why cause;
  dsc_str key, value, path;
  url_job job = {.config = config};
  if (dsc_url_parse(&url, text, &cause)) return dsc_fail(why, DSC_EINVALID, "registry: %s", cause.text);
  if (holds(url.path, '@') || holds(url.query, '@'))
    return invalid(why, "an '@' behind the host; a '/', '?' or '@' in user or password must be percent-encoded");
  config->kind = DSC_REGISTRY_REDIS;
  config->connect_timeout_ms = DSC_REGISTRY_CONNECT_TIMEOUT_MS;
  dsc_err err = set_host(config, url.host, url.host_is_v6, url.port, why);
  if (!err) err = url_user(config, &url, why);
  path = url.path.n > 0 ? (dsc_str){url.path.p + 1, url.path.n - 1} : url.path;
  if (!err && path.n > 0) err = set_db(&job, path, why);
  while (!err && dsc_url_next_pair(&url.query, &key, &value)) err = set_parameter(&job, key, value, why);
  return err;
}

/* One part behind host:port: a number from 1 to 15 is the database, all else the password. */
static dsc_err old_part(dsc_registry_config *config, dsc_str part, dsc_why *why) {
  int64_t number;
  bool is_number = part.p[0] != '0' && read_number(part, OLD_DEFAULT_DB, &number);
  if (dsc_str_equal(part, DSC_STR_LITERAL("0")))
    return invalid(why, "host:port:db knows the databases 1 to 15; for 0 write " HELP);
  if (is_number && config->db == 0) {
    config->db = (uint32_t)number;
    return DSC_OK;
  }
  if (is_number) return invalid(why, "two parts could be the database; write " HELP);
  if (config->password) return invalid(why, "two parts could be the password; write " HELP);
  return set_password(config, part);
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

static dsc_err parse_old(dsc_registry_config *config, dsc_str text, dsc_why *why) {
  dsc_str host, rest = text;
  if (!holds(text, ':'))
    return invalid(why, "a bare name is no address, and keys of Go config files are not read; write " HELP
                        ", host:port or memory://name");
  config->kind = DSC_REGISTRY_REDIS;
  config->connect_timeout_ms = DSC_REGISTRY_CONNECT_TIMEOUT_MS;
  bool is_v6 = cut_host(&rest, &host);
  dsc_str port = dsc_str_cut(&rest, ':');
  dsc_err err = set_host(config, host, is_v6, port, why);
  while (!err && rest.n > 0) {
    dsc_str part = dsc_str_cut(&rest, ':');
    if (part.n > 0) err = old_part(config, part, why);
  }
  if (config->db == 0) config->db = OLD_DEFAULT_DB;
  return err;
}

static dsc_err parse_memory(dsc_registry_config *config, dsc_str name, dsc_why *why) {
  config->kind = DSC_REGISTRY_MEMORY;
  if (name.n == 0 || name.n > NAME_MAX_BYTES) return invalid(why, "memory://name takes a name of 1 to 255 bytes");
  return set_string(&config->name, name);
}

static dsc_err parse_scheme(dsc_registry_config *config, dsc_str scheme, dsc_str text, dsc_why *why) {
  static const char *const later[] = {"rediss", "unix", "redis+sentinel", "redis+cluster", NULL};
  if (dsc_str_equal_nocase(scheme, DSC_STR_LITERAL("redis"))) return parse_url(config, text, why);
  if (dsc_str_equal_nocase(scheme, DSC_STR_LITERAL("memory"))) {
    size_t n = scheme.n + sizeof "://" - 1;
    return parse_memory(config, (dsc_str){text.p + n, text.n - n}, why);
  }
  for (const char *const *name = later; *name; name++)
    if (dsc_str_equal_nocase(scheme, dsc_str_of(*name)))
      return dsc_fail(why, DSC_EINVALID, "registry: this version does not speak %s://, only redis:// and memory://",
                      *name);
  return invalid(why, "unknown scheme; known are redis:// and memory://");
}

static dsc_err parse_any(dsc_registry_config *config, dsc_str text, dsc_why *why) {
  if (text.n == 0) return DSC_OK;
  if (text.n > TEXT_MAX_BYTES) return invalid(why, "longer than 8192 bytes");
  if (!dsc_str_is_clean(text)) return invalid(why, "control characters are not allowed");
  const char *slashes = memmem(text.p, text.n, "://", 3);
  if (!slashes) return parse_old(config, text, why);
  return parse_scheme(config, (dsc_str){text.p, (size_t)(slashes - text.p)}, text, why);
}

/* What the options say wins; an empty user or password is none. */
static dsc_err merge_options(dsc_registry_config *config, const char *user, dsc_secret *password, dsc_why *why) {
  dsc_err err = user ? set_user(config, dsc_str_of(user), why) : DSC_OK;
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
    return invalid(why, "a user without a password; a password alone is written redis://:password@host:port/db");
  return DSC_OK;
}

static dsc_err add_redis_text(dsc_buf *buf, const dsc_registry_config *config) {
  bool is_v6 = strchr(config->host, ':') != NULL;
  dsc_buf_addf(buf, "redis://");
  if (config->user) {
    dsc_url_encode(buf, dsc_str_of(config->user));
    dsc_buf_addf(buf, "@");
  }
  dsc_buf_addf(buf, is_v6 ? "[%s]:%u/%u" : "%s:%u/%u", config->host, (unsigned)config->port, (unsigned)config->db);
  if (config->id) {
    dsc_buf_addf(buf, "?id=");
    dsc_url_encode(buf, dsc_str_of(config->id));
  }
  return buf->err;
}

static dsc_err set_text(dsc_registry_config *config) {
  dsc_buf buf;
  dsc_buf_init(&buf, 0);
  if (config->kind == DSC_REGISTRY_REDIS) add_redis_text(&buf, config);
  if (config->kind == DSC_REGISTRY_MEMORY) dsc_buf_addf(&buf, "memory://%s", config->name);
  config->text = dsc_buf_take(&buf, NULL);
  dsc_buf_clear(&buf);
  return config->text ? DSC_OK : DSC_ENOMEM;
}

dsc_err dsc_registry_config_parse(dsc_registry_config *config, dsc_str text, const char *user, dsc_secret *password,
                                  dsc_why *why) {
  *config = (dsc_registry_config){.kind = DSC_REGISTRY_NONE};
  dsc_err err = parse_any(config, text, why);
  if (!err && config->kind == DSC_REGISTRY_REDIS) err = merge_options(config, user, password, why);
  if (!err) err = set_text(config);
  if (err == DSC_ENOMEM) dsc_fail(why, err, "registry: %s", dsc_err_text(err));
  if (err) dsc_registry_config_clear(config);
  return err;
}
