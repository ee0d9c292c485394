/*
** config.c - the config of calls to one app, timing of the registry, durations.
**
** A config is checked once, here, so that nobody behind it has to; afterwards it never changes. Invariants: every
** string of a made config is its own copy; token is NULL or not empty. Reference counts are atomic: any thread.
*/
#include "model/config.h"

#include "base/mem.h"
#include "model/headers.h"

#define DEFAULT_MAX_BODY ((uint64_t)64 * 1024 * 1024)
#define STRING_MAX_BYTES ((size_t)4096)
#define HOUR_MS          3600000u

/* The strings of a config, so that copying, freeing and comparing can't forget one. */
static const struct string_field {
  size_t offset;
  const char *name;
} string_fields[] = {
    {offsetof(dsc_call_config, tls.ca), "tls.ca"},   {offsetof(dsc_call_config, tls.cert), "tls.cert"},
    {offsetof(dsc_call_config, tls.key), "tls.key"}, {offsetof(dsc_call_config, tls.server_name), "tls.server_name"},
    {offsetof(dsc_call_config, probe), "probe"},
};
#define STRING_FIELDS (sizeof string_fields / sizeof *string_fields)

static const char *string_of(const dsc_call_config *config, size_t field) {
  return *(char *const *)(const void *)((const char *)config + string_fields[field].offset);
}

static char **string_place(dsc_call_config *config, size_t field) {
  return (char **)(void *)((char *)config + string_fields[field].offset);
}

void dsc_call_config_defaults(dsc_call_config *config) {
  memset(config, 0, sizeof *config);
  config->timeout_ms = 10000;
  config->connect_timeout_ms = 1000;
  config->deadline_ms = 30000;
  config->retry = DSC_RETRY_IDEMPOTENT;
  config->max_body = DEFAULT_MAX_BODY;
  config->refs = 1;
}

static dsc_err check_ms(const char *name, uint32_t ms, uint32_t low, uint32_t high, dsc_why *why) {
  if (ms >= low && ms <= high) return DSC_OK;
  return dsc_fail(why, DSC_EINVALID, "%s: %.10g is not in %.10g..%.10g seconds", name, ms / 1000.0, low / 1000.0,
                  high / 1000.0);
}

static dsc_err check_count(const char *name, uint64_t count, uint64_t low, uint64_t high, dsc_why *why) {
  if (count >= low && count <= high) return DSC_OK;
  return dsc_fail(why, DSC_EINVALID, "%s: %llu is not in %llu..%llu", name, (unsigned long long)count,
                  (unsigned long long)low, (unsigned long long)high);
}

static dsc_err check_numbers(const dsc_call_config *config, dsc_why *why) {
  dsc_err err = check_ms("timeout", config->timeout_ms, 1, DSC_CONFIG_TIME_MAX_MS, why);
  if (!err) err = check_ms("connect_timeout", config->connect_timeout_ms, 1, DSC_CONFIG_TIME_MAX_MS, why);
  if (!err) err = check_ms("deadline", config->deadline_ms, 1, DSC_CONFIG_TIME_MAX_MS, why);
  if (!err) err = check_count("max_body", config->max_body, 1, SIZE_MAX / 2, why);
  if (!err) err = check_count("max_attempts", config->max_attempts, 0, DSC_CONFIG_COUNT_MAX, why);
  if (!err) err = check_count("max_in_flight", config->max_in_flight, 0, DSC_CONFIG_COUNT_MAX, why);
  if (!err) err = check_count("max_in_flight_per_node", config->max_in_flight_per_node, 0, DSC_CONFIG_COUNT_MAX, why);
  if (!err) err = check_count("queue", config->queue, 0, DSC_CONFIG_COUNT_MAX, why);
  if (!err && (unsigned)config->retry > DSC_RETRY_NEVER)
    err = dsc_fail(why, DSC_EINVALID, "retry: not one of idempotent, always, never");
  return err;
}

static dsc_err check_string(const char *name, const char *text, dsc_why *why) {
  dsc_str s = dsc_str_of(text);
  if (s.n == 0) return dsc_fail(why, DSC_EINVALID, "%s: is empty", name);
  if (s.n > STRING_MAX_BYTES)
    return dsc_fail(why, DSC_EINVALID, "%s: %zu bytes, at most %zu are allowed", name, s.n, STRING_MAX_BYTES);
  if (!dsc_str_is_clean(s)) return dsc_fail(why, DSC_EINVALID, "%s: control characters are not allowed", name);
  return DSC_OK;
}

/* It becomes a part of URLs. */
static bool is_host(const char *text) {
  for (; *text; text++) {
    bool letter = (*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z');
    if (!letter && !(*text >= '0' && *text <= '9') && !strchr("-_.:", *text)) return false;
  }
  return true;
}

static dsc_err check_strings(const dsc_call_config *config, dsc_why *why) {
  for (size_t i = 0; i < STRING_FIELDS; i++) {
    const char *text = string_of(config, i);
    dsc_err err = text ? check_string(string_fields[i].name, text, why) : DSC_OK;
    if (err) return err;
  }
  if (config->tls.server_name && !is_host(config->tls.server_name))
    return dsc_fail(why, DSC_EINVALID,
                    "tls.server_name: neither a name (letters, digits, '-', '_', '.') nor an address");
  if (config->tls.key && !config->tls.cert) return dsc_fail(why, DSC_EINVALID, "tls.key: is given without tls.cert");
  if (config->probe && (config->probe[0] != '/' || strchr(config->probe, ' ')))
    return dsc_fail(why, DSC_EINVALID, "probe: not a path (it starts with '/' and holds no blank)");
  return DSC_OK;
}

struct token_check {
  dsc_err err;
  dsc_why *why;
};

static void look_at_token(void *ud, dsc_str bytes) {
  struct token_check *check = ud;
  check->err = dsc_headers_check_value(DSC_STR_LITERAL("Access-Token"), bytes, check->why);
}

static dsc_err check_token(dsc_secret *token, dsc_why *why) {
  struct token_check check = {DSC_OK, why};
  if (token && !dsc_secret_use(token, look_at_token, &check))
    return dsc_fail(why, DSC_ENOMEM, "token: its memory can't be opened");
  return check.err;
}

/* Copies what `from` points at; what was copied before a failure belongs to `made`. */
static dsc_err copy_strings(dsc_call_config *made, const dsc_call_config *from) {
  for (size_t i = 0; i < STRING_FIELDS; i++) {
    const char *text = string_of(from, i);
    if (!text) continue;
    char *copy = dsc_mem_strdup(dsc_str_of(text));
    if (!copy) return DSC_ENOMEM;
    *string_place(made, i) = copy;
  }
  return DSC_OK;
}

dsc_err dsc_call_config_new(dsc_call_config **config, const dsc_call_config *from, dsc_why *why) {
  *config = NULL;
  dsc_err err = check_numbers(from, why);
  if (!err) err = check_strings(from, why);
  if (!err) err = check_token(from->token, why);
  if (err) return err;
  dsc_call_config *made = dsc_mem_alloc(sizeof *made);
  if (!made) return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  memcpy(made, from, offsetof(dsc_call_config, refs)); /* refs of a shared `from` may be changing */
  made->refs = 1;
  for (size_t i = 0; i < STRING_FIELDS; i++) *string_place(made, i) = NULL;
  made->token = dsc_secret_length(from->token) > 0 ? dsc_secret_ref(from->token) : NULL;
  if (copy_strings(made, from)) {
    dsc_call_config_unref(made);
    return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  }
  *config = made;
  return DSC_OK;
}

dsc_call_config *dsc_call_config_ref(dsc_call_config *config) {
  if (config) __atomic_fetch_add(&config->refs, 1, __ATOMIC_RELAXED);
  return config;
}

void dsc_call_config_unref(dsc_call_config *config) {
  if (!config || __atomic_fetch_sub(&config->refs, 1, __ATOMIC_ACQ_REL) != 1) return;
  for (size_t i = 0; i < STRING_FIELDS; i++) dsc_mem_free(*string_place(config, i));
  dsc_secret_unref(config->token);
  dsc_mem_free(config);
}

static bool numbers_equal(const dsc_call_config *a, const dsc_call_config *b) {
  return a->timeout_ms == b->timeout_ms && a->connect_timeout_ms == b->connect_timeout_ms &&
         a->deadline_ms == b->deadline_ms && a->http2 == b->http2 && a->ssl == b->ssl &&
         a->tls.no_verify == b->tls.no_verify && a->retry == b->retry && a->max_attempts == b->max_attempts &&
         a->max_body == b->max_body && a->max_in_flight == b->max_in_flight &&
         a->max_in_flight_per_node == b->max_in_flight_per_node && a->queue == b->queue;
}

bool dsc_call_config_equal(const dsc_call_config *a, const dsc_call_config *b) {
  if (!numbers_equal(a, b)) return false;
  for (size_t i = 0; i < STRING_FIELDS; i++) {
    const char *x = string_of(a, i), *y = string_of(b, i);
    if (!x != !y || (x && strcmp(x, y) != 0)) return false;
  }
  return dsc_secret_same(a->token, b->token);
}

void dsc_registry_timing_defaults(dsc_registry_timing *timing) {
  *timing = (dsc_registry_timing){.heartbeat_ms = 5000, .ttl_ms = 10000, .resync_ms = 10000, .stale_grace_ms = 30000};
}

dsc_err dsc_registry_timing_check(const dsc_registry_timing *timing, dsc_why *why) {
  dsc_err err = check_ms("heartbeat", timing->heartbeat_ms, 100, HOUR_MS, why);
  if (!err) err = check_ms("ttl", timing->ttl_ms, 1000, DSC_CONFIG_TIME_MAX_MS, why);
  if (!err) err = check_ms("resync", timing->resync_ms, 100, HOUR_MS, why);
  if (!err) err = check_ms("stale_grace", timing->stale_grace_ms, 0, DSC_CONFIG_TIME_MAX_MS, why);
  if (err) return err;
  /* heartbeats come up to 10 % late on purpose */
  if (timing->ttl_ms <= timing->heartbeat_ms + timing->heartbeat_ms / 10)
    return dsc_fail(why, DSC_EINVALID, "ttl: %.10g seconds is not longer than heartbeat (%.10g) and 10 %% more",
                    timing->ttl_ms / 1000.0, timing->heartbeat_ms / 1000.0);
  return DSC_OK;
}
