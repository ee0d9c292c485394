/*
** result.h - what a call ends with: the last answer, the error if any, and a trace of its attempts.
*/
#ifndef DSC_MODEL_RESULT_H
#define DSC_MODEL_RESULT_H

#include "base/addr.h"
#include "base/err.h"
#include "model/headers.h"

#pragma GCC visibility push(default)

#define DSC_RESULT_TRACE_MAX 64 /* further attempts are counted, not traced */

typedef struct dsc_trace {
  char node[DSC_ADDR_MAX];
  int status; /* 0: no answer */
  dsc_err err;
  double seconds;
} dsc_trace;

typedef struct dsc_result {
  /* owner's thread only */
  dsc_err err;
  char *why;  /* NULL when there is nothing to say */
  int status; /* 0: never answered */
  char *reason;
  int http_major, http_minor;
  dsc_headers headers;
  char *body; /* NULL when there is none */
  size_t body_len;
  char node[DSC_ADDR_MAX]; /* "" : none */
  uint32_t attempts;
  dsc_trace *trace;
  size_t n_trace, trace_cap;
  double elapsed; /* seconds */
} dsc_result;

/* Makes an empty result. Any thread. Caller owns: dsc_result_free(). Fails: NULL. */
dsc_result *dsc_result_new(void);

/* Frees it; NULL is allowed. Owner's thread. */
void dsc_result_free(dsc_result *result);

/* True when there is no error and an answer with a status below 400. Owner's thread. */
bool dsc_result_ok(const dsc_result *result);

/* Sets error and sentence (copied; NULL: the general one); DSC_OK takes both away. Owner's thread. When memory
** runs out the sentence is missing (`why` NULL). */
void dsc_result_fail(dsc_result *result, dsc_err err, const char *why);

/* Sets the sentence of an answer that is no error (copied). Owner's thread. When memory runs out it is missing. */
void dsc_result_explain(dsc_result *result, const char *why);

/* Appends to the trace and counts the attempt; a node that is too long is cut; past DSC_RESULT_TRACE_MAX, or out
** of memory, it is only counted. Owner's thread. */
void dsc_result_trace(dsc_result *result, dsc_str node, int status, dsc_err err, double seconds);

/* Forgets the last answer (status, reason, headers, body). Owner's thread. */
void dsc_result_clear_answer(dsc_result *result);

#pragma GCC visibility pop

#endif
