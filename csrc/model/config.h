/*
** config.h - what a user may set, validated: the config of calls to one app (config.c), the older call
** strings (config_call_string.c), durations (config_duration.c), timing of the registry (config.c).
** Registry strings are in config_registry.h.
**
** A dsc_call_config is immutable and reference-counted, so a call keeps the one it began with while the
** user sets another. Sentences name the option and its range; they never show a token or a password.
*/
#ifndef DSC_MODEL_CONFIG_H
#define DSC_MODEL_CONFIG_H

#include "base/err.h"
#include "base/secret.h"
#include "base/str.h"

#pragma GCC visibility push(default)

#define DSC_WEIGHT_MAX         1000000
#define DSC_CONFIG_TIME_MAX_MS 86400000u /* one day: the longest timeout and deadline */
#define DSC_CONFIG_COUNT_MAX   1000000u  /* max_attempts, max_in_flight*, queue */
#define DSC_CONFIG_TOKEN_MAX   4096      /* bytes of a token in a call string */

typedef enum dsc_retry { DSC_RETRY_IDEMPOTENT, DSC_RETRY_ALWAYS, DSC_RETRY_NEVER } dsc_retry;

typedef struct dsc_tls_config {
  char *ca, *cert, *key, *server_name; /* NULL: not set */
  bool no_verify;
} dsc_tls_config;

typedef struct dsc_call_config {
  /* constant once made by dsc_call_config_new() */
  uint32_t timeout_ms;         /* one attempt: 10 s */
  uint32_t connect_timeout_ms; /* TCP and TLS: 1 s */
  uint32_t deadline_ms;        /* the whole call: 30 s */
  dsc_secret *token;           /* NULL: none */
  bool http2, ssl;
  dsc_tls_config tls;
  dsc_retry retry;
  uint32_t max_attempts;           /* 0: every node once */
  uint64_t max_body;               /* decoded bytes: 64 MiB; never 0 */
  uint32_t max_in_flight;          /* calls of one discoverer to the app; 0: no limit */
  uint32_t max_in_flight_per_node; /* 0: no limit */
  uint32_t queue;                  /* calls that may wait for one of these limits */
  char *probe;                     /* NULL: none */
  /* any thread, by atomic operations only; of a config that is not shared: nothing */
  uint32_t refs;
} dsc_call_config;

/* Fills in the defaults (no allocation). Any thread. */
void dsc_call_config_defaults(dsc_call_config *config);

/* Checks `from` and copies it, strings and secret reference included (an empty token is none). timeout,
** connect_timeout, deadline: 1 ms..1 day; max_body: 1..SIZE_MAX / 2; max_attempts, max_in_flight,
**
** max_in_flight_per_node, queue: 0..DSC_CONFIG_COUNT_MAX; strings not empty, without control characters; probe: a
** path; tls.server_name: a name or an address; tls.key: only with tls.cert; token: a clean header value. Any thread.
** Caller owns one reference. Fails: DSC_EINVALID with `why`, DSC_ENOMEM; `*config` is NULL. */
dsc_err dsc_call_config_new(dsc_call_config **config, const dsc_call_config *from, dsc_why *why);

/* Takes a reference; NULL is allowed. Any thread. Returns `config`. */
dsc_call_config *dsc_call_config_ref(dsc_call_config *config);

/* Gives a reference back; the last one frees. NULL is allowed. Any thread. */
void dsc_call_config_unref(dsc_call_config *config);

/* True when both say the same, secrets included. Any thread. */
bool dsc_call_config_equal(const dsc_call_config *a, const dsc_call_config *b);

/* Parses an older call string ("2:500ms:token") into a config with the older defaults: HTTP/2 without a version,
** and a deadline never shorter than the timeout. Parts stand in any order, empty ones are skipped, at least one
** is needed:
**   `1` `2` version; `s` `https` TLS; `http` = 1 without TLS; `h2c` = 2 without TLS (letters in any case);
**   a number, bare (ms) or with the units of dsc_config_duration(): the timeout, 1 ms..1 day;
**   else the token: letters, digits and -._~+/=!@#$%^&*, at most DSC_CONFIG_TOKEN_MAX bytes.
** No token is what looks like a mistyped duration (a number with nothing but letters behind it, or up to 15
** bytes that begin with a number and a letter) or like a mistyped version (`h2`, `tls`, ...). Parts that
** contradict or repeat one another are refused. Any thread. Caller owns one reference. Fails: DSC_EINVALID
** naming the part's position, never its text; DSC_ENOMEM. */
dsc_err dsc_call_config_parse(dsc_call_config **config, dsc_str text, dsc_why *why);

/* Timing of the registry and the names of headers: what must be equal among handles of a shared registry. */
typedef struct dsc_registry_timing {
  uint32_t heartbeat_ms;   /* 5 s */
  uint32_t ttl_ms;         /* 10 s; sent to Redis in whole seconds, rounded up */
  uint32_t resync_ms;      /* 10 s */
  uint32_t stale_grace_ms; /* 30 s */
} dsc_registry_timing;

/* Fills in the defaults. Any thread. */
void dsc_registry_timing_defaults(dsc_registry_timing *timing);

/* Checks ranges: heartbeat 0.1..3600 s, ttl 1..86400 s and longer than heartbeat with its jitter (+10 %), resync
** 0.1..3600 s, grace 0..86400 s. Any thread. Fails: DSC_EINVALID naming the option. */
dsc_err dsc_registry_timing_check(const dsc_registry_timing *timing, dsc_why *why);

/* Parses a duration, one or more decimal numbers with a unit each: ns, us, µs, ms, s, m, h ("500ms", "1.5s",
** "1m30s"), into milliseconds, rounded up so that nothing above zero becomes zero. Any thread. Fails:
** DSC_EINVALID with `why`, which quotes `text`. */
dsc_err dsc_config_duration(dsc_str text, uint64_t *ms, dsc_why *why);

/* As dsc_config_duration(), and a bare number is milliseconds. Any thread. Fails: DSC_EINVALID. */
dsc_err dsc_config_duration_or_ms(dsc_str text, uint64_t *ms, dsc_why *why);

#pragma GCC visibility pop

#endif
