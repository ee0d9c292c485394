/*
** config_duration.c - durations with units, as people and Go programs write them.
**
** Everything is added up in whole nanoseconds, without floating point, so that what is written exactly is read exactly.
** What lies below a nanosecond only decides that the result is rounded up. No state: any thread.
*/
#include "model/config.h"

#define NS_PER_MS  UINT64_C(1000000)
#define QUOTE_MAX  ((size_t)40)
#define MICRO_SIGN "\xc2\xb5"
#define GREEK_MU   "\xce\xbc"

/* a unit must stand before those that it starts with */
static const struct unit {
  const char *name;
  uint64_t ns;
} units[] = {
    {"ms", NS_PER_MS},
    {"us", 1000},
    {MICRO_SIGN "s", 1000},
    {GREEK_MU "s", 1000},
    {"ns", 1},
    {"s", 1000 * NS_PER_MS},
    {"m", 60 * 1000 * NS_PER_MS},
    {"h", 3600 * 1000 * NS_PER_MS},
};

typedef struct decimal {
  uint64_t whole;
  dsc_str fraction; /* digits behind the point */
} decimal;

static void skip(dsc_str *s, size_t n) {
  *s = (dsc_str){s->p + n, s->n - n};
}

static dsc_str cut_digits(dsc_str *rest) {
  size_t n = 0;
  while (n < rest->n && rest->p[n] >= '0' && rest->p[n] <= '9') n++;
  dsc_str digits = {rest->p, n};
  skip(rest, n);
  return digits;
}

/* Cuts "12", "1.5", ".5" or "1." off; false when there is no digit or too many of them. */
static bool cut_number(dsc_str *rest, decimal *number) {
  dsc_str whole = cut_digits(rest);
  number->whole = 0;
  number->fraction = (dsc_str){NULL, 0};
  if (rest->n > 0 && rest->p[0] == '.') {
    skip(rest, 1);
    number->fraction = cut_digits(rest);
  }
  for (size_t i = 0; i < whole.n; i++)
    if (__builtin_mul_overflow(number->whole, 10u, &number->whole) ||
        __builtin_add_overflow(number->whole, (unsigned)(whole.p[i] - '0'), &number->whole))
      return false;
  return whole.n + number->fraction.n > 0;
}

/* Cuts a unit off and returns its nanoseconds, 0 when there is none. */
static uint64_t cut_unit(dsc_str *rest) {
  for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
    dsc_str name = dsc_str_of(units[i].name);
    if (!dsc_str_starts(*rest, name)) continue;
    skip(rest, name.n);
    return units[i].ns;
  }
  return 0;
}

/* Adds `number` units to `*ns`; false when it overflows. */
static bool add_up(uint64_t *ns, const decimal *number, uint64_t unit) {
  uint64_t sum, part = 0;
  bool more = false; /* anything below a nanosecond */
  if (__builtin_mul_overflow(number->whole, unit, &sum)) return false;
  for (size_t i = 0; i < number->fraction.n; i++) {
    uint64_t digit = (uint64_t)(number->fraction.p[i] - '0');
    part += digit * unit / 10; /* less than one unit altogether */
    more = more || (unit == 0 ? digit != 0 : digit * unit % 10 != 0);
    unit /= 10;
  }
  return !__builtin_add_overflow(sum, part + more, &sum) && !__builtin_add_overflow(*ns, sum, ns);
}

static bool parse(dsc_str rest, bool bare_ms, uint64_t *ms) {
  uint64_t ns = 0;
  bool first = true;
  do {
    decimal number;
    if (!cut_number(&rest, &number)) return false;
    uint64_t unit = cut_unit(&rest);
    if (unit == 0 && bare_ms && first && rest.n == 0) unit = NS_PER_MS;
    if (unit == 0 || !add_up(&ns, &number, unit)) return false;
    first = false;
  } while (rest.n > 0);
  *ms = ns / NS_PER_MS + (ns % NS_PER_MS != 0);
  return true;
}

static dsc_err fail(dsc_str text, dsc_why *why) {
  if (text.n > QUOTE_MAX) text.n = QUOTE_MAX;
  return dsc_fail(why, DSC_EINVALID, "\"%.*s\" is not a duration: a number with ns, us, ms, s, m or h behind it",
                  (int)text.n, text.n ? text.p : "");
}

dsc_err dsc_config_duration(dsc_str text, uint64_t *ms, dsc_why *why) {
  return parse(text, false, ms) ? DSC_OK : fail(text, why);
}

dsc_err dsc_config_duration_or_ms(dsc_str text, uint64_t *ms, dsc_why *why) {
  return parse(text, true, ms) ? DSC_OK : fail(text, why);
}
