/*
** result.c - the result of one call.
**
** A result must be made before the call can fail for want of memory, so nothing after dsc_result_new() fails: what
** can't be allocated is left out. Invariants: with err set why is NULL only for want of memory; n_trace <= attempts;
** n_trace <= trace_cap <= DSC_RESULT_TRACE_MAX. Owner's thread.
*/
#include "model/result.h"

#include "base/mem.h"

#define FIRST_TRACE_CAP ((size_t)4)

dsc_result *dsc_result_new(void) {
  dsc_result *result = dsc_mem_zalloc(1, sizeof *result);
  if (result) dsc_headers_init(&result->headers);
  return result;
}

void dsc_result_free(dsc_result *result) {
  if (!result) return;
  dsc_result_clear_answer(result);
  dsc_mem_free(result->why);
  dsc_mem_free(result->trace);
  dsc_mem_free(result);
}

bool dsc_result_ok(const dsc_result *result) {
  return result->err == DSC_OK && result->status > 0 && result->status < 400;
}

void dsc_result_fail(dsc_result *result, dsc_err err, const char *why) {
  char *former = result->why; /* `why` may be just that */
  result->err = err;
  result->why = err ? dsc_mem_strdup(dsc_str_of(why ? why : dsc_err_text(err))) : NULL;
  dsc_mem_free(former);
}

void dsc_result_explain(dsc_result *result, const char *why) {
  char *former = result->why;
  result->why = dsc_mem_strdup(dsc_str_of(why));
  dsc_mem_free(former);
}

/* Makes room for one more entry; false when there is none to be had. */
static bool reserve_trace(dsc_result *result) {
  if (result->n_trace < result->trace_cap) return true;
  if (result->trace_cap >= DSC_RESULT_TRACE_MAX) return false;
  size_t cap = result->trace_cap ? result->trace_cap * 2 : FIRST_TRACE_CAP;
  if (cap > DSC_RESULT_TRACE_MAX) cap = DSC_RESULT_TRACE_MAX;
  dsc_trace *trace = dsc_mem_realloc(result->trace, cap * sizeof *trace);
  if (!trace) return false;
  result->trace = trace;
  result->trace_cap = cap;
  return true;
}

void dsc_result_trace(dsc_result *result, dsc_str node, int status, dsc_err err, double seconds) {
  result->attempts++;
  if (!reserve_trace(result)) return;
  dsc_trace *entry = &result->trace[result->n_trace++];
  size_t n = node.n < sizeof entry->node ? node.n : sizeof entry->node - 1;
  if (n > 0) memcpy(entry->node, node.p, n);
  entry->node[n] = '\0';
  entry->status = status;
  entry->err = err;
  entry->seconds = seconds;
}

void dsc_result_clear_answer(dsc_result *result) {
  result->status = result->http_major = result->http_minor = 0;
  dsc_mem_free(result->reason);
  dsc_mem_free(result->body);
  result->reason = result->body = NULL;
  result->body_len = 0;
  dsc_headers_clear(&result->headers);
}
