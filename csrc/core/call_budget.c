/*
** call_budget.c - what trying again costs the app, and what a node asks for: the retry budget and Retry-After.
*/
#include "base/clock.h"
#include "core/call.h"
#include "model/budget.h"
#include "model/node_impl.h"
#include "model/retry_after.h"

bool dsc_call_has_untried(const dsc_call *call) {
  size_t tried = 0;
  for (size_t i = 0; i < call->ac.n_tried; i++) tried += dsc_node_get_state(call->ac.tried[i]) != DSC_NODE_GONE;
  return dsc_table_count(call->table, NULL) > tried;
}

bool dsc_call_may_try_again(dsc_call *call) {
  if (!dsc_call_has_untried(call)) return true; /* there will be no retry: nothing is taken */
  if (dsc_table_take_retry(call->table, dsc_clock_now_ms())) return true;
  dsc_why last = call->why;
  dsc_fail(&call->why, call->step.last_err,
           "the retry budget of app \"%.*s\" is used up (%d %% of its calls and %d a second); the last: %s",
           DSC_STR_ARG(call->ac.app.s), DSC_BUDGET_PERCENT, DSC_BUDGET_PER_SECOND, last.text);
  atomic_fetch_add_explicit(&dsc_registry_counters(call->d->registry)->retries_denied, 1, memory_order_relaxed);
  atomic_fetch_add_explicit(&dsc_table_counters(call->table)->retries_denied, 1, memory_order_relaxed);
  dsc_registry_tell_trouble(call->d->registry, call->table, DSC_EVENT_RETRY_BUDGET, (dsc_str){0}, call->why.text);
  return false;
}

static dsc_str value_of(const dsc_headers *headers, dsc_str name) {
  const dsc_header *header = dsc_headers_find(headers, name);
  return header ? header->value : (dsc_str){0};
}

void dsc_call_heed_answer(dsc_call *call) {
  const dsc_result *result = call->result;
  if (call->answer.status != 429 && call->answer.status != 503) return;
  dsc_str value = value_of(&result->headers, DSC_STR_LITERAL("Retry-After"));
  dsc_str date = value_of(&result->headers, DSC_STR_LITERAL("Date"));
  uint64_t ms = value.n ? dsc_retry_after_ms(value, date, dsc_clock_wall()) : 0;
  if (ms == 0 || !dsc_table_avoid(call->table, call->node, dsc_clock_now_ms() + ms)) return;
  dsc_why why;
  dsc_fail(&why, DSC_OK, "node %s answered %d and asks to be left alone for %.0f s", call->node->addr,
           call->answer.status, (double)ms / 1000.0);
  dsc_registry_tell_trouble(call->d->registry, call->table, DSC_EVENT_AVOIDED, dsc_node_addr(call->node), why.text);
}
