/*
** step.h - one call as a pure machine: (state, event) -> action. No clock, no I/O, no memory.
**
**   route -> find the app -> pick -> send -> judge -> finish | sleep -> pick ...
**
** The driver (call.c) does what an action says and comes back with the event that belongs to it. Time and chance
** come in as arguments, so every case is a row in a table of a test.
*/
#ifndef DSC_CORE_STEP_H
#define DSC_CORE_STEP_H

#include "base/err.h"
#include "model/config.h"
#include "model/health.h"

typedef enum dsc_step_action {
  DSC_STEP_ROUTE,
  DSC_STEP_FIND,
  DSC_STEP_PICK,
  DSC_STEP_SEND,
  DSC_STEP_SLEEP, /* for `sleep_ms` */
  DSC_STEP_FINISH /* with `err` */
} dsc_step_action;

typedef enum dsc_step_event_kind {
  DSC_STEP_BEGIN,
  DSC_STEP_ROUTED,   /* err: the route's */
  DSC_STEP_FOUND,    /* err: why there is no app */
  DSC_STEP_PICKED,   /* err: DSC_ENO_NODE: none is left, DSC_EOVERLOAD: none may be used; or the host's */
  DSC_STEP_ANSWERED, /* err, status, sent, refused, ours, unbegun */
  DSC_STEP_SLEPT,
  DSC_STEP_DENIED, /* the retry that was decided on is not allowed */
  DSC_STEP_BROKEN  /* the call is ended from outside: err says why */
} dsc_step_event_kind;

typedef struct dsc_step_event {
  dsc_step_event_kind kind;
  dsc_err err;
  int status;   /* 0: no answer */
  bool sent;    /* something of the request may have reached the node */
  bool refused; /* the connection was refused */
  bool ours;    /* the fault is this process's */
  bool spent;   /* the request's body was read and can't be read again */
  bool unbegun; /* the node said that it did not begin with the request */
} dsc_step_event;

typedef struct dsc_step {
  /* constant: set after dsc_step_init() */
  dsc_retry retry;
  bool repeatable; /* an idempotent method or a key that makes it so */
  bool pinned;
  uint32_t max_attempts; /* 0: as many as there are nodes */
  uint64_t deadline_ms;  /* on the clock */
  /* progress */
  uint32_t attempts;
  dsc_err last_err; /* of the last attempt; DSC_OK when it was answered */
  bool denied;      /* ended because a retry was not allowed */
  bool last_failed; /* the last attempt failed, answered or not */
  uint64_t sleep_ms;
  dsc_err err; /* final */
} dsc_step;

/* Makes a machine with the defaults of a config; the rest is set field by field. Any thread (pure). */
void dsc_step_init(dsc_step *step, dsc_retry retry, uint64_t deadline_ms);

/* True for methods that RFC 9110, 9.2.2 calls idempotent. Any thread (pure). */
bool dsc_step_method_is_idempotent(dsc_str method);

/* Takes an event, returns what to do next. `chance` in [0, 1). Any thread (pure). */
dsc_step_action dsc_step_next(dsc_step *step, const dsc_step_event *event, uint64_t now_ms, double chance);

/* True when the attempt failed: a transport error, or 502, 503, 504. Any thread (pure). */
bool dsc_step_failed(const dsc_step_event *answer);

/* What an attempt says about its node: faults of our own and what the user did are neutral. Any thread (pure). */
dsc_outcome dsc_step_outcome(const dsc_step_event *answer);

#endif
