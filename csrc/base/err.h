/*
** err.h - the error codes, one X-macro: enum, name and sentence never drift apart.
**
** A code is what a program tests; the sentence is what a person reads. Functions return a code
** and, where a culprit can be named, write a sentence into a dsc_why that the caller provides.
*/
#ifndef DSC_BASE_ERR_H
#define DSC_BASE_ERR_H

#include <stddef.h>

#pragma GCC visibility push(default)

#define DSC_ERR_MAP(XX)                                                                                                \
  XX(APP_NOT_FOUND, app_not_found, "no such app")                                                                      \
  XX(NO_NODE, no_node, "the app has no node that can be called")                                                       \
  XX(ALL_FAILED, all_failed, "every node that was tried failed")                                                       \
  XX(TIMEOUT, timeout, "time ran out")                                                                                 \
  XX(CONNECT, connect, "the connection could not be made or was lost")                                                 \
  XX(TLS, tls, "TLS failed")                                                                                           \
  XX(PROTOCOL, protocol, "the peer broke the protocol")                                                                \
  XX(TOO_LARGE, too_large, "larger than allowed")                                                                      \
  XX(CANCELED, canceled, "canceled")                                                                                   \
  XX(CLOSED, closed, "closed")                                                                                         \
  XX(STOPPED, stopped, "the discoverer was stopped")                                                                   \
  XX(FORKED, forked, "made before a fork: make a new one in the child")                                                \
  XX(OVERLOAD, overload, "too much is in flight")                                                                      \
  XX(INVALID, invalid, "invalid argument")                                                                             \
  XX(ROUTE, route, "the route callback failed")                                                                        \
  XX(BALANCER, balancer, "the balancer callback failed")                                                               \
  XX(CALLBACK, callback, "a callback failed")                                                                          \
  XX(REGISTRY, registry, "the registry does not answer")                                                               \
  XX(IO, io, "input or output failed")                                                                                 \
  XX(NOMEM, nomem, "out of memory")

typedef enum dsc_err {
  DSC_OK = 0,
#define XX(upper, lower, text) DSC_E##upper,
  DSC_ERR_MAP(XX)
#undef XX
      DSC_ERR_COUNT
} dsc_err;

/* The sentence that goes with an error: always terminated, never longer than this. */
#define DSC_WHY_MAX 512
typedef struct dsc_why {
  char text[DSC_WHY_MAX];
} dsc_why;

/* Returns the name of a code ("no_node"; "ok" for DSC_OK, "unknown" for foreign numbers).
** Any thread. Static string. */
const char *dsc_err_name(dsc_err err);

/* Returns the general sentence of a code. Any thread. Static string. */
const char *dsc_err_text(dsc_err err);

/* Returns the code whose name is `name`, DSC_OK when there is none. Any thread. */
dsc_err dsc_err_find(const char *name);

/* Writes a formatted sentence into `why` (which may be NULL) and returns `err`, so that a function
** can end with `return dsc_fail(why, DSC_EINVALID, ...)`. Control characters are shown as '?'.
** Any thread. Truncates at DSC_WHY_MAX - 1. */
__attribute__((format(printf, 3, 4))) dsc_err dsc_fail(dsc_why *why, dsc_err err, const char *format, ...);

#pragma GCC visibility pop

#endif
