/*
** call.h - one call under way: the machine of step.h with everything it holds, and its driver.
**
** A call belongs to its discoverer's owner. The loop's callbacks only note what happened (`answered`,
** `timer_fired`) and put the call on the discoverer's ready list; steps run outside the loop, in dsc_call_drain().
** Every call that was started ends once.
*/
#ifndef DSC_CORE_CALL_H
#define DSC_CORE_CALL_H

#include "core/discoverer_impl.h"
#include "core/step.h"

typedef enum dsc_call_wait {
  DSC_CALL_WAITS_NOT, /* inside a step, or ended */
  DSC_CALL_WAITS_APP, /* for the registry to read the app */
  DSC_CALL_WAITS_ANSWER,
  DSC_CALL_WAITS_TIME /* backing off */
} dsc_call_wait;

typedef struct dsc_call {
  /* owner's thread only */
  dsc_discoverer *d;
  dsc_link link;              /* in d->calls */
  dsc_link ready_link;        /* in d->ready, or in none */
  const dsc_request *request; /* borrowed */
  dsc_step step;
  dsc_app_client ac;
  dsc_call_config *config; /* a reference, after the route */
  dsc_table *table;        /* a reference, once found */
  dsc_headers headers;     /* as sent, without the token */
  dsc_str request_id;      /* points into `headers` */
  bool headers_built;
  dsc_node *node; /* of the attempt under way: a reference */
  bool is_probe;
  dsc_http_attempt *attempt;
  dsc_websocket *websocket; /* is opened by this call: its attempts are handshakes; NULL: it is HTTP */
  uint64_t start_ns, attempt_ns;
  dsc_timer *timer; /* made when first needed */
  dsc_call_wait wait;
  dsc_result *result;
  dsc_why why; /* of the last trouble */
  bool done;
  /* what happened since the last step */
  bool answered, timer_fired;
  dsc_err broken; /* DSC_OK: not */
  dsc_http_answer answer;
} dsc_call;

/* Prepares a call that is not begun: what tells it from others may be set now. Owner's thread. */
void dsc_call_prepare(dsc_frame *frame, dsc_call *call, const dsc_request *request, dsc_result *result);

/* Begins a prepared call and runs the loop until it has ended. In a frame, owner's thread. */
void dsc_call_run(dsc_frame *frame, dsc_call *call);

/* Begins a call and steps it until it waits or has ended. `result` is borrowed until the end, `request` too. In a
** frame, owner's thread. */
void dsc_call_start(dsc_frame *frame, dsc_call *call, const dsc_request *request, dsc_result *result);

/* Frees what an ended call holds, not the result. Owner's thread. */
void dsc_call_fini(dsc_call *call);

/* True when the call has something to do. Owner's thread. */
bool dsc_call_is_ready(const dsc_call *call);

/* Steps every call that is ready, or with `only` just that one. In a frame, owner's thread, outside the loop's run. */
void dsc_call_drain(dsc_frame *frame, dsc_call *only);

/* Makes all calls that wait for the registry look again. Owner's thread. */
void dsc_call_notify_all(dsc_discoverer *d);

/* Tells all calls to end with `err`. Owner's thread. */
void dsc_call_break_all(dsc_discoverer *d, dsc_err err);

/* Puts the call on the ready list (once). Loop thread. */
void dsc_call_make_ready(dsc_call *call);

/* Builds the headers of the call: the user's; from-app, from-node and the token's place; the relayed ones and a
** request id where there is a gap. Owner's thread. Fails: DSC_ENOMEM. */
dsc_err dsc_call_headers_build(dsc_call *call);

/* Sends the attempt to call->node. Owner's thread. Returns false when it failed at once; then call->answer says how. */
bool dsc_call_attempt_send(dsc_call *call);

/* Reports an ended attempt to health, counters, trace, log and the host's `response`; moves an answer into the
** result; describes it for the machine. In a frame, owner's thread. */
void dsc_call_attempt_end(dsc_frame *frame, dsc_call *call, dsc_step_event *event);

/* Gives the node back that was picked last, if it was not yet. An attempt that is under way ends with `err`, as any
** other does; neutral for the node. In a frame, owner's thread. */
void dsc_call_attempt_break(dsc_frame *frame, dsc_call *call, dsc_err err);

#endif
