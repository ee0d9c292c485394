/*
** config_call_string.c - the older call strings, "2:500ms:token" in any order.
**
** In the older parser whatever was not understood silently became the token. Here a part must be known or look like a
** token, and parts may not contradict or repeat one another. Any part may be meant as the token, so no sentence
** quotes one. No state: any thread.
*/
#include "model/config.h"

#include "base/mem.h"

#define DURATION_LIKE_MAX ((size_t)15) /* longer parts that begin like a duration are hexadecimal tokens and the like */

typedef struct call_string {
  int version;      /* 0: not said */
  int ssl;          /* -1: not said, else 0 or 1 */
  uint64_t timeout; /* ms, 0: not said */
  dsc_str token;    /* empty: not said */
  int position;     /* of the part being read, from 1 */
} call_string;

static const struct word {
  const char *name;
  int version, ssl; /* as above */
} words[] = {
    {"1", 1, -1}, {"2", 2, -1}, {"s", 0, 1}, {"https", 0, 1}, {"http", 1, 0}, {"h2c", 2, 0},
};

/* what one could take for a word above: never a token */
static const char *const near_words[] = {"h1",       "h2",     "h3",     "http1", "http1.1", "http2", "http3",
                                         "http/1.1", "http/2", "http/3", "tls",   "ssl",     "ws",    "wss"};

static dsc_err fail(const call_string *call, const char *sentence, dsc_why *why) {
  return dsc_fail(why, DSC_EINVALID, "call string: part %d %s", call->position, sentence);
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

static bool is_clean_token(dsc_str part) {
  for (size_t i = 0; i < part.n; i++) {
    char c = part.p[i];
    bool alphanumeric = is_digit(c) || (is_letter(c) && (unsigned char)c < 0x80);
    if (!alphanumeric && (c == '\0' || !strchr("-._~+/=!@#$%^&*", c))) return false;
  }
  return part.n <= DSC_CONFIG_TOKEN_MAX;
}

static bool is_near_word(dsc_str part) {
  for (size_t i = 0; i < sizeof near_words / sizeof *near_words; i++)
    if (dsc_str_equal_nocase(part, dsc_str_of(near_words[i]))) return true;
  return false;
}

/* True for what was surely meant as a duration: "10min", "5sec", "-5s", "1h30min"; not for "550e8400-e29b-41d4". */
static bool is_like_duration(dsc_str part) {
  size_t at = 0, end;
  if (part.n > 0 && (part.p[0] == '-' || part.p[0] == '+')) at++;
  size_t start = at;
  while (at < part.n && (is_digit(part.p[at]) || part.p[at] == '.')) at++;
  bool has_number = at > start && (is_digit(part.p[start]) || (at > start + 1 && part.p[start] == '.'));
  if (!has_number) return false;
  if (at == part.n) return true;
  for (end = at; end < part.n && is_letter(part.p[end]); end++) {}
  return end > at && (end == part.n || part.n <= DURATION_LIKE_MAX);
}

static dsc_err take_word(call_string *call, const struct word *word, dsc_why *why) {
  if (word->version != 0 && call->version != 0 && word->version != call->version)
    return fail(call, "names another HTTP version than a part before it", why);
  if (word->ssl >= 0 && call->ssl >= 0 && word->ssl != call->ssl)
    return fail(call, "contradicts a part before it about TLS", why);
  if (word->version != 0) call->version = word->version;
  if (word->ssl >= 0) call->ssl = word->ssl;
  return DSC_OK;
}

static dsc_err take_timeout(call_string *call, uint64_t ms, dsc_why *why) {
  if (ms == 0 || ms > DSC_CONFIG_TIME_MAX_MS) return fail(call, "is a timeout outside 0.001..86400 seconds", why);
  if (call->timeout != 0) return fail(call, "is a second timeout", why);
  call->timeout = ms;
  return DSC_OK;
}

static dsc_err take_token(call_string *call, dsc_str part, dsc_why *why) {
  if (is_like_duration(part))
    return fail(call, "begins like a timeout but is none (a number, bare for ms, or with ns, us, ms, s, m, h)", why);
  if (is_near_word(part)) return fail(call, "is not known; the words are 1, 2, s, https, http, h2c", why);
  if (!is_clean_token(part))
    return fail(call, "is neither known nor a token (letters, digits and -._~+/=!@#$%^&*, up to 4096 bytes)", why);
  if (call->token.n > 0) return fail(call, "is a second token", why);
  call->token = part;
  return DSC_OK;
}

static dsc_err take_part(call_string *call, dsc_str part, dsc_why *why) {
  uint64_t ms;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (dsc_str_equal_nocase(part, dsc_str_of(words[i].name))) return take_word(call, &words[i], why);
  if (dsc_config_duration_or_ms(part, &ms, NULL) == DSC_OK) return take_timeout(call, ms, why);
  return take_token(call, part, why);
}

static dsc_err read_parts(call_string *call, dsc_str text, dsc_why *why) {
  bool any = false;
  while (text.n > 0) {
    dsc_str part = dsc_str_cut(&text, ':');
    call->position++;
    if (part.n == 0) continue;
    any = true;
    dsc_err err = take_part(call, part, why);
    if (err) return err;
  }
  return any ? DSC_OK : dsc_fail(why, DSC_EINVALID, "call string: is empty");
}

dsc_err dsc_call_config_parse(dsc_call_config **config, dsc_str text, dsc_why *why) {
  dsc_call_config from;
  call_string call = {.ssl = -1};
  *config = NULL;
  dsc_err err = read_parts(&call, text, why);
  if (err) return err;
  dsc_call_config_defaults(&from);
  from.http2 = call.version != 1;
  from.ssl = call.ssl == 1;
  if (call.timeout > 0) from.timeout_ms = (uint32_t)call.timeout;
  /* the older programs had no deadline: one that cuts the timeout short would change what the string says */
  if (from.deadline_ms < from.timeout_ms) from.deadline_ms = from.timeout_ms;
  if (call.token.n > 0 && !(from.token = dsc_secret_new(call.token)))
    return dsc_fail(why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  err = dsc_call_config_new(config, &from, why);
  dsc_secret_unref(from.token);
  return err;
}
