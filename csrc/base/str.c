/*
** str.c - borrowed strings: comparing, cutting, reading numbers, hashing.
**
** Nothing here allocates or writes through a dsc_str. Invariant: a string of length 0 may have p = NULL,
** so p is never handed to the C library when n is 0. No state: any thread.
*/
#include "base/str.h"

/* not tolower(): that follows the locale */
static unsigned char lower(char c) {
  return (unsigned char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

bool dsc_str_equal_nocase(dsc_str a, dsc_str b) {
  if (a.n != b.n) return false;
  for (size_t i = 0; i < a.n; i++)
    if (lower(a.p[i]) != lower(b.p[i])) return false;
  return true;
}

bool dsc_str_starts(dsc_str s, dsc_str prefix) {
  return s.n >= prefix.n && dsc_str_equal((dsc_str){s.p, prefix.n}, prefix);
}

static bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

dsc_str dsc_str_trim(dsc_str s) {
  while (s.n > 0 && is_blank(s.p[0])) s.p++, s.n--;
  while (s.n > 0 && is_blank(s.p[s.n - 1])) s.n--;
  return s;
}

dsc_str dsc_str_cut(dsc_str *rest, char separator) {
  dsc_str whole = *rest;
  const char *at = whole.n > 0 ? memchr(whole.p, separator, whole.n) : NULL;
  if (!at) {
    *rest = (dsc_str){NULL, 0};
    return whole;
  }
  size_t n = (size_t)(at - whole.p);
  *rest = (dsc_str){at + 1, whole.n - n - 1};
  return (dsc_str){whole.p, n};
}

bool dsc_str_to_int(dsc_str s, int64_t *value) {
  bool negative = s.n > 0 && s.p[0] == '-';
  if (s.n > 0 && (s.p[0] == '-' || s.p[0] == '+')) s.p++, s.n--;
  if (s.n == 0) return false;
  /* counts downwards, because INT64_MIN has no positive twin */
  int64_t sum = 0;
  for (size_t i = 0; i < s.n; i++) {
    int digit = s.p[i] - '0';
    if (digit < 0 || digit > 9 || sum < (INT64_MIN + digit) / 10) return false;
    sum = sum * 10 - digit;
  }
  if (!negative && sum == INT64_MIN) return false;
  *value = negative ? sum : -sum;
  return true;
}

bool dsc_str_is_clean(dsc_str s) {
  for (size_t i = 0; i < s.n; i++)
    if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f) return false;
  return true;
}

/* the finalizer of splitmix64: FNV-1a alone leaves the low bits of short keys poor */
static uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

uint64_t dsc_str_hash(dsc_str s) {
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  for (size_t i = 0; i < s.n; i++) hash = (hash ^ (unsigned char)s.p[i]) * UINT64_C(0x100000001b3);
  return mix(hash);
}
