/*
** step.c - the machine of step.h.
**
** Back-off: full jitter under a ceiling that doubles from 25 to 250 ms; none before the first retry after a
** refused connection, because the common case is a node that died, with others well (M. Brooker, "Exponential
** Backoff and Jitter").
*/
#include "core/step.h"

#define BACKOFF_FIRST_MS  25
#define BACKOFF_MOST_MS   250
#define DEADLINE_SLACK_MS 5 /* timers fire a little early */

void dsc_step_init(dsc_step *step, dsc_retry retry, uint64_t deadline_ms) {
  *step = (dsc_step){.retry = retry, .deadline_ms = deadline_ms};
}

bool dsc_step_method_is_idempotent(dsc_str method) {
  static const char *const names[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (dsc_str_equal(method, dsc_str_of(names[i]))) return true;
  return false;
}

bool dsc_step_failed(const dsc_step_event *answer) {
  if (answer->err != DSC_OK) return true;
  return answer->status >= 502 && answer->status <= 504;
}

dsc_outcome dsc_step_outcome(const dsc_step_event *answer) {
  if (answer->ours) return DSC_OUTCOME_NEUTRAL;
  switch (answer->err) {
  case DSC_OK: return dsc_step_failed(answer) ? DSC_OUTCOME_FAILURE : DSC_OUTCOME_SUCCESS;
  case DSC_ECONNECT:
  case DSC_ETIMEOUT:
  case DSC_ETLS:
  case DSC_EPROTOCOL: return DSC_OUTCOME_FAILURE;
  default: return DSC_OUTCOME_NEUTRAL;
  }
}

static dsc_step_action finish(dsc_step *step, dsc_err err) {
  step->err = err;
  return DSC_STEP_FINISH;
}

/* What the call ends with when its last attempt failed and there is no other. */
static dsc_step_action give_up(dsc_step *step) {
  return finish(step, step->attempts > 1 ? DSC_EALL_FAILED : step->last_err);
}

/* The last attempt is the call's, whatever came before. */
static dsc_step_action denied(dsc_step *step) {
  step->denied = true;
  return finish(step, step->last_err);
}

static bool may_retry(const dsc_step *step, const dsc_step_event *answer) {
  if (step->pinned || step->retry == DSC_RETRY_NEVER || answer->spent) return false;
  if (step->max_attempts && step->attempts >= step->max_attempts) return false;
  switch (answer->err) {
  case DSC_OK:
  case DSC_ECONNECT:
  case DSC_ETIMEOUT:
  case DSC_ETLS:
  case DSC_EPROTOCOL: break;
  default:
    if (!answer->ours) return false;
  }
  if (step->retry == DSC_RETRY_ALWAYS || step->repeatable) return true;
  return !answer->sent || answer->unbegun || answer->status == 503;
}

static dsc_step_action back_off(dsc_step *step, const dsc_step_event *answer, uint64_t now_ms, double chance) {
  if (step->attempts == 1 && answer->refused) return DSC_STEP_PICK;
  uint64_t ceiling = BACKOFF_FIRST_MS;
  for (uint32_t i = 1; i < step->attempts && ceiling < BACKOFF_MOST_MS; i++) ceiling *= 2;
  if (ceiling > BACKOFF_MOST_MS) ceiling = BACKOFF_MOST_MS;
  uint64_t half_left = (step->deadline_ms - now_ms) / 2;
  if (ceiling > half_left) ceiling = half_left; /* never sleep the deadline away */
  step->sleep_ms = (uint64_t)((double)ceiling * chance);
  return step->sleep_ms ? DSC_STEP_SLEEP : DSC_STEP_PICK;
}

static dsc_step_action judge(dsc_step *step, const dsc_step_event *answer, uint64_t now_ms, double chance) {
  step->last_err = answer->err;
  step->last_failed = dsc_step_failed(answer);
  if (!step->last_failed) return finish(step, DSC_OK);
  uint64_t slack_ms = answer->err == DSC_ETIMEOUT ? DEADLINE_SLACK_MS : 0;
  if (now_ms + slack_ms >= step->deadline_ms) return finish(step, DSC_ETIMEOUT);
  if (answer->spent && answer->ours) return finish(step, answer->err); /* most likely the body itself failed */
  if (!may_retry(step, answer)) return give_up(step);
  return back_off(step, answer, now_ms, chance);
}

static dsc_step_action picked(dsc_step *step, const dsc_step_event *event) {
  if (event->err == DSC_OK) {
    step->attempts++;
    return DSC_STEP_SEND;
  }
  bool none_left = event->err == DSC_ENO_NODE || event->err == DSC_EOVERLOAD;
  if (step->attempts == 0 || !none_left) return finish(step, event->err);
  return give_up(step);
}

dsc_step_action dsc_step_next(dsc_step *step, const dsc_step_event *event, uint64_t now_ms, double chance) {
  if (event->kind == DSC_STEP_BROKEN) return finish(step, event->err);
  if (event->kind == DSC_STEP_DENIED) return denied(step);
  if (event->kind == DSC_STEP_ANSWERED) return judge(step, event, now_ms, chance);
  if (event->kind == DSC_STEP_ROUTED && event->err != DSC_OK) return finish(step, event->err);
  if (now_ms >= step->deadline_ms) return finish(step, DSC_ETIMEOUT);
  switch (event->kind) {
  case DSC_STEP_BEGIN: return DSC_STEP_ROUTE;
  case DSC_STEP_ROUTED: return DSC_STEP_FIND;
  case DSC_STEP_FOUND: return event->err == DSC_OK ? DSC_STEP_PICK : finish(step, event->err);
  case DSC_STEP_PICKED: return picked(step, event);
  default: return DSC_STEP_PICK;
  }
}
