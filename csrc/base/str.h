/*
** str.h - borrowed strings: a pointer and a length, never owned, never terminated by promise.
*/
#ifndef DSC_BASE_STR_H
#define DSC_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#pragma GCC visibility push(default)

typedef struct dsc_str {
  const char *p;
  size_t n;
} dsc_str;

/* For "%.*s": DSC_STR_ARG(s). */
#define DSC_STR_ARG(s)        (int)(s).n, (s).p
#define DSC_STR_LITERAL(text) ((dsc_str){(text), sizeof(text) - 1})

/* Borrows a C string (NULL: the empty string). Any thread. */
static inline dsc_str dsc_str_of(const char *text) {
  return (dsc_str){text ? text : "", text ? strlen(text) : 0};
}

/* True when both hold the same bytes. Any thread. */
static inline bool dsc_str_equal(dsc_str a, dsc_str b) {
  return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* True when both are the same in ASCII, case ignored. Any thread. */
bool dsc_str_equal_nocase(dsc_str a, dsc_str b);

/* True when `s` starts with `prefix`. Any thread. */
bool dsc_str_starts(dsc_str s, dsc_str prefix);

/* Returns the part without blanks and tabs at both ends. Any thread. */
dsc_str dsc_str_trim(dsc_str s);

/* Cuts the part before the first `separator` off `*rest` and returns it; without one, all of `*rest`
** (which becomes empty with p = NULL). Any thread. */
dsc_str dsc_str_cut(dsc_str *rest, char separator);

/* Reads a whole decimal integer with optional sign; no blanks, no overflow. Any thread.
** Fails: false, `*value` untouched. */
bool dsc_str_to_int(dsc_str s, int64_t *value);

/* True when the bytes hold no control character (below 0x20, 0x7f). Any thread. */
bool dsc_str_is_clean(dsc_str s);

/* FNV-1a, 64 bit, then a final mix (splitmix64) so that short keys spread. Any thread.
** Source: Fowler, Noll, Vo, draft-eastlake-fnv; Steele, Lea, Flood, "Fast Splittable PRNGs". */
uint64_t dsc_str_hash(dsc_str s);

#pragma GCC visibility pop

#endif
