/*
** budget.h - the retry budget of an app: how much trying again may add to the load when much fails. Pure.
**
** Within the window retries are at most a fifth of the calls and ten a second more, so that a few callers are never
** hindered, while an app that is down sees its calls one and a fifth times, not as often as it has nodes. Sources:
** Finagle, RetryBudget; Google SRE book, "Handling overload"; Envoy, retry budgets.
*/
#ifndef DSC_MODEL_BUDGET_H
#define DSC_MODEL_BUDGET_H

#include <stdbool.h>

#include "model/window.h"

#define DSC_BUDGET_PERCENT    20
#define DSC_BUDGET_PER_SECOND 10

/* Zeroed: nobody has called yet. */
typedef struct dsc_budget {
  dsc_window window; /* calls, retries */
} dsc_budget;

/* Counts a call (its first attempt). Any thread (pure). */
void dsc_budget_call(dsc_budget *budget, uint64_t now_ms);

/* Takes one retry out of the budget. Any thread (pure). Returns false when it is used up. */
bool dsc_budget_take(dsc_budget *budget, uint64_t now_ms);

#endif
