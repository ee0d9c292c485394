/*
** err.c - names and sentences of the error codes.
**
** Both tables come from DSC_ERR_MAP, so a code can lack neither. Invariant: whatever dsc_fail() wrote
** is terminated and free of control characters. No state: any thread.
*/
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[DSC_ERR_COUNT] = {
#define XX(upper, lower, text) [DSC_E##upper] = #lower,
    [DSC_OK] = "ok", DSC_ERR_MAP(XX)
#undef XX
};

static const char *const texts[DSC_ERR_COUNT] = {
#define XX(upper, lower, text) [DSC_E##upper] = text,
    [DSC_OK] = "no error", DSC_ERR_MAP(XX)
#undef XX
};

const char *dsc_err_name(dsc_err err) {
  return (unsigned)err < DSC_ERR_COUNT ? names[err] : "unknown";
}

const char *dsc_err_text(dsc_err err) {
  return (unsigned)err < DSC_ERR_COUNT ? texts[err] : "unknown error";
}

dsc_err dsc_err_find(const char *name) {
  for (int code = DSC_OK + 1; name && code < DSC_ERR_COUNT; code++)
    if (strcmp(names[code], name) == 0) return (dsc_err)code;
  return DSC_OK;
}

dsc_err dsc_fail(dsc_why *why, dsc_err err, const char *format, ...) {
  if (!why) return err;
  /* beside `why`, because callers prefix: dsc_fail(why, err, "in x: %s", why->text) */
  char text[DSC_WHY_MAX];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (n < 0) snprintf(text, sizeof text, "%s", dsc_err_text(err));
  for (char *p = text; *p; p++)
    if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?';
  memcpy(why->text, text, strlen(text) + 1);
  return err;
}
