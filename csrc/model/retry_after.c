/*
** retry_after.c - seconds and HTTP dates (RFC 9110, 5.6.7). Pure; no locale, no time zone of this machine.
*/
#include "model/retry_after.h"

#include <stdbool.h>
#include <stdio.h>

struct moment {
  char month[4];
  int year, day, hour, minute, second;
};

static int month_of(const char *name) {
  static const char names[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  for (int i = 0; i < 12; i++)
    if (strncmp(&names[3 * i], name, 3) == 0) return i;
  return -1;
}

/* Days since 1970-01-01 in the Gregorian calendar: leap years are those before March, so March begins the year. */
static int64_t days_of(int year, int month, int day) {
  int64_t y = month < 2 ? year - 1 : year, m = (month + 10) % 12; /* March is 0 */
  return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

static bool is_complete(const char *text, int used) {
  return used > 0 && text[used] == '\0';
}

/* The three forms; of a year of two digits the one that is nearest to now is meant. */
static bool read_moment(const char *text, struct moment *m) {
  int used = 0;
  if (sscanf(text, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n", &m->day, m->month, &m->year, &m->hour,
             &m->minute, &m->second, &used) == 6 &&
      is_complete(text, used))
    return true;
  used = 0;
  if (sscanf(text, "%*9[A-Za-z], %2d-%3[A-Za-z]-%2d %2d:%2d:%2d GMT%n", &m->day, m->month, &m->year, &m->hour,
             &m->minute, &m->second, &used) == 6 &&
      is_complete(text, used)) {
    m->year += m->year < 70 ? 2000 : 1900;
    return true;
  }
  used = 0;
  return sscanf(text, "%*3[A-Za-z] %3[A-Za-z] %2d %2d:%2d:%2d %4d%n", m->month, &m->day, &m->hour, &m->minute,
                &m->second, &m->year, &used) == 6 &&
         is_complete(text, used);
}

/* Seconds since 1970; false when it is no date. */
static bool read_date(dsc_str s, int64_t *seconds) {
  char text[64];
  struct moment m;
  s = dsc_str_trim(s);
  if (s.n == 0 || s.n >= sizeof text) return false;
  memcpy(text, s.p, s.n);
  text[s.n] = '\0';
  if (!read_moment(text, &m)) return false;
  int month = month_of(m.month);
  if (month < 0 || m.year < 1970 || m.day < 1 || m.day > 31 || m.hour < 0 || m.hour > 23) return false;
  if (m.minute < 0 || m.minute > 59 || m.second < 0 || m.second > 60) return false;
  *seconds = days_of(m.year, month, m.day) * 86400 + m.hour * 3600 + m.minute * 60 + m.second;
  return true;
}

static bool is_number(dsc_str s) {
  for (size_t i = 0; i < s.n; i++)
    if (s.p[i] < '0' || s.p[i] > '9') return false;
  return s.n > 0;
}

static uint64_t from_digits(dsc_str s) {
  uint64_t seconds = 0;
  for (size_t i = 0; i < s.n && seconds <= DSC_RETRY_AFTER_MAX_MS; i++)
    seconds = seconds * 10 + (uint64_t)(s.p[i] - '0');
  return seconds;
}

uint64_t dsc_retry_after_ms(dsc_str value, dsc_str date, double wall) {
  int64_t until, from;
  uint64_t seconds = 0;
  value = dsc_str_trim(value);
  if (is_number(value)) {
    seconds = from_digits(value);
  } else if (read_date(value, &until)) {
    if (!read_date(date, &from)) from = (int64_t)wall;
    seconds = until > from ? (uint64_t)(until - from) : 0;
  }
  return seconds < DSC_RETRY_AFTER_MAX_MS / 1000 ? seconds * 1000 : DSC_RETRY_AFTER_MAX_MS;
}
