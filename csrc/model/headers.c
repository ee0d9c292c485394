/*
** headers.c - an ordered list of headers.
**
** A list is short (about ten), so finding is a walk. Name and value share one allocation, which begins with the
** name: freeing name.p frees both. Invariant: names and values are terminated behind their length.
** Owner's thread.
*/
#include "model/headers.h"

#include "base/mem.h"

#define NAME_MAX_BYTES  256
#define VALUE_MAX_BYTES ((size_t)64 * 1024)
#define FIRST_CAP       ((size_t)8)

void dsc_headers_init(dsc_headers *headers) {
  *headers = (dsc_headers){0};
}

/* name.p is const for readers; here alone it is known to be ours */
static void free_item(dsc_header item) {
  dsc_mem_free((void *)(uintptr_t)item.name.p);
}

void dsc_headers_clear(dsc_headers *headers) {
  for (size_t i = 0; i < headers->count; i++) free_item(headers->items[i]);
  dsc_mem_free(headers->items);
  dsc_headers_init(headers);
}

/* RFC 9110, 5.6.2: token */
static bool is_token_char(char c) {
  bool alphanumeric = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  return alphanumeric || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

dsc_err dsc_headers_check_name(dsc_str name, dsc_why *why) {
  if (name.n == 0) return dsc_fail(why, DSC_EINVALID, "a header without a name");
  if (name.n > NAME_MAX_BYTES)
    return dsc_fail(why, DSC_EINVALID, "a header name of %zu bytes, at most %d are allowed", name.n, NAME_MAX_BYTES);
  for (size_t i = 0; i < name.n; i++)
    if (!is_token_char(name.p[i]))
      return dsc_fail(why, DSC_EINVALID, "header name \"%.*s\": byte %zu is not allowed in a name", DSC_STR_ARG(name),
                      i + 1);
  return DSC_OK;
}

dsc_err dsc_headers_check_value(dsc_str name, dsc_str value, dsc_why *why) {
  if (name.n > NAME_MAX_BYTES) name.n = NAME_MAX_BYTES; /* only for the sentence */
  if (value.n > VALUE_MAX_BYTES)
    return dsc_fail(why, DSC_EINVALID, "header %.*s: a value of %zu bytes, at most %zu are allowed", DSC_STR_ARG(name),
                    value.n, VALUE_MAX_BYTES);
  for (size_t i = 0; i < value.n; i++) {
    unsigned char c = (unsigned char)value.p[i];
    if ((c < 0x20 && c != '\t') || c == 0x7f)
      return dsc_fail(why, DSC_EINVALID, "header %.*s: byte %zu of the value is the control character 0x%02x",
                      DSC_STR_ARG(name), i + 1, c);
  }
  return DSC_OK;
}

static bool reserve(dsc_headers *headers) {
  if (headers->count < headers->cap) return true;
  size_t cap = headers->cap ? headers->cap * 2 : FIRST_CAP;
  if (cap > SIZE_MAX / sizeof *headers->items) return false;
  dsc_header *items = dsc_mem_realloc(headers->items, cap * sizeof *items);
  if (!items) return false;
  headers->items = items;
  headers->cap = cap;
  return true;
}

static char *put(char *at, dsc_str s) {
  if (s.n > 0) memcpy(at, s.p, s.n);
  at[s.n] = '\0';
  return at + s.n + 1;
}

dsc_err dsc_headers_add(dsc_headers *headers, dsc_str name, dsc_str value) {
  if (name.n > SIZE_MAX / 4 || value.n > SIZE_MAX / 4 || !reserve(headers)) return DSC_ENOMEM;
  char *block = dsc_mem_alloc(name.n + value.n + 2);
  if (!block) return DSC_ENOMEM;
  char *second = put(block, name);
  put(second, value);
  headers->items[headers->count++] = (dsc_header){{block, name.n}, {second, value.n}};
  return DSC_OK;
}

/* True when `s` lies in the block of `item`. */
static bool owns(dsc_header item, dsc_str s) {
  uintptr_t at = (uintptr_t)s.p, start = (uintptr_t)item.name.p;
  return at >= start && at <= (uintptr_t)(item.value.p + item.value.n);
}

/* Removes `name` among the first `n` items. */
static void remove_among(dsc_headers *headers, size_t n, dsc_str name) {
  dsc_header owner = {0}; /* freed last, because `name` lies in it */
  size_t kept = 0;
  for (size_t i = 0; i < headers->count; i++) {
    dsc_header item = headers->items[i];
    if (i >= n || !dsc_str_equal_nocase(item.name, name))
      headers->items[kept++] = item;
    else if (owns(item, name))
      owner = item;
    else
      free_item(item);
  }
  headers->count = kept;
  free_item(owner);
}

dsc_err dsc_headers_set(dsc_headers *headers, dsc_str name, dsc_str value) {
  size_t before = headers->count;
  dsc_err err = dsc_headers_add(headers, name, value);
  if (err) return err;
  remove_among(headers, before, headers->items[before].name);
  return DSC_OK;
}

void dsc_headers_remove(dsc_headers *headers, dsc_str name) {
  remove_among(headers, headers->count, name);
}

const dsc_header *dsc_headers_find(const dsc_headers *headers, dsc_str name) {
  for (size_t i = 0; i < headers->count; i++)
    if (dsc_str_equal_nocase(headers->items[i].name, name)) return &headers->items[i];
  return NULL;
}

dsc_err dsc_headers_copy(dsc_headers *headers, const dsc_headers *from) {
  size_t n = from->count; /* taken once: both may be the same list */
  for (size_t i = 0; i < n; i++) {
    dsc_err err = dsc_headers_add(headers, from->items[i].name, from->items[i].value);
    if (err) return err;
  }
  return DSC_OK;
}
