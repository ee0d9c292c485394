/*
** budget.c - the law of budget.h over an exact window. Pure.
*/
#include "model/budget.h"

enum { CALLS, RETRIES };

void dsc_budget_call(dsc_budget *budget, uint64_t now_ms) {
  dsc_window_add(&budget->window, CALLS, now_ms);
}

bool dsc_budget_take(dsc_budget *budget, uint64_t now_ms) {
  dsc_window_advance(&budget->window, now_ms);
  uint64_t allowed = (uint64_t)budget->window.sum[CALLS] * DSC_BUDGET_PERCENT / 100 +
                     (uint64_t)DSC_BUDGET_PER_SECOND * (DSC_WINDOW_MS / 1000);
  if (budget->window.sum[RETRIES] >= allowed) return false;
  dsc_window_add(&budget->window, RETRIES, now_ms);
  return true;
}
