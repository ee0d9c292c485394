/*
** call.h - one call under way: the machine of step.h with everything it holds, and its driver.
**
**   call.c          the driver
**   call_queue.c    limits on calls in flight: slots, the line, the choice of a node
**   call_budget.c   the retry budget, Retry-After
**   call_attempt.c  one attempt: sent, ended, told
**   call_flow.c     bodies under way: a source that wants to be fed, progress, headers that came
**   call_headers.c  what is sent
**   stream.c        a call that goes on as the body of its answer
**
** A call belongs to its discoverer's owner. The loop's callbacks only note what happened (`answered`, `opened`,
** `moved`, `timer_fired`) and put the call on the discoverer's ready list; steps run outside the loop, in
** dsc_call_drain(). Every call that was started ends once.
*/
#ifndef DSC_CORE_CALL_H
#define DSC_CORE_CALL_H

#include "core/call_queue.h"
#include "core/discoverer_impl.h"
#include "core/step.h"

typedef enum dsc_call_wait {
  DSC_CALL_WAITS_NOT,  /* inside a step, or ended */
  DSC_CALL_WAITS_APP,  /* for the registry to read the app */
  DSC_CALL_WAITS_SLOT, /* in line, see call_queue.h */
  DSC_CALL_WAITS_ANSWER,
  DSC_CALL_WAITS_TIME,  /* backing off */
  DSC_CALL_WAITS_STREAM /* its result is out; what is left is a stream */
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
  dsc_tls *tls;            /* a reference, made of `config`; NULL: plain */
  dsc_table *table;        /* a reference, once found */
  dsc_headers headers;     /* as sent, without the token */
  dsc_str request_id;      /* points into `headers` */
  bool headers_built;
  dsc_node *node; /* of the attempt under way: a reference */
  bool is_probe;
  dsc_http_attempt *attempt;
  dsc_websocket *websocket; /* is opened by this call: its attempts are handshakes; NULL: it is HTTP */
  dsc_future *future;       /* is settled by its end; NULL: somebody waits in dsc_call_run() */
  uint64_t start_ns, attempt_ns;
  dsc_timer *timer; /* made when first needed */
  dsc_call_wait wait;
  dsc_place place; /* its slot, its place in line */
  dsc_result *result;
  dsc_why why; /* of the last trouble */
  bool done;
  /* what happened since the last step */
  bool answered, opened, moved, timer_fired;
  dsc_err broken; /* DSC_OK: not */
  dsc_http_answer answer;
  /* bodies in pieces */
  dsc_stream *stream; /* this call gives one; NULL: it does not */
  dsc_body *sending;  /* the body that the attempt reads; NULL: none */
  dsc_http_source source;
  dsc_http_flow flow;
  dsc_http_progress progress; /* as last seen */
  dsc_err flow_err;           /* a callback of the host's failed: the call ends with it */
  dsc_why flow_why;
} dsc_call;

/* True when no call may begin now: the discoverer stops, or callbacks are nested too deep. Owner's thread. */
bool dsc_call_is_refused(const dsc_discoverer *d);

/* Makes the result of such a call. Owner's thread. Caller owns it. Fails: NULL. */
dsc_result *dsc_call_refuse(dsc_discoverer *d);

/* Prepares a call that is not begun: what tells it from others may be set now. Owner's thread. */
void dsc_call_prepare(dsc_frame *frame, dsc_call *call, const dsc_request *request, dsc_result *result);

/* Begins a prepared call: it goes as far as it can without waiting, its end included. In a frame, owner's thread. */
void dsc_call_begin(dsc_frame *frame, dsc_call *call);

/* Begins a prepared call and runs the loop until it has ended. In a frame, owner's thread. */
void dsc_call_run(dsc_frame *frame, dsc_call *call);

/* Frees what an ended call holds, not the result. Owner's thread. */
void dsc_call_fini(dsc_call *call);

/* True when the call has something to do. Owner's thread. */
bool dsc_call_is_ready(const dsc_call *call);

/* Steps every call that is ready (as long as the frame's turn allows, if it has one; the rest stays ready), or with
** `only` just that one. In a frame, owner's thread, outside the loop's run. */
void dsc_call_drain(dsc_frame *frame, dsc_call *only);

/* Makes all calls that wait for the registry look again. Owner's thread. */
void dsc_call_notify_all(dsc_discoverer *d);

/* Tells all calls to end with `err`. Owner's thread. */
void dsc_call_break_all(dsc_discoverer *d, dsc_err err);

/* Starts the timer of the call, which makes it ready. Owner's thread. Returns false without a timer (no memory, no
** loop). */
bool dsc_call_start_timer(dsc_call *call, uint64_t ms);

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

/* call_budget.c: true when the app has a node that this call has not tried. Owner's thread. */
bool dsc_call_has_untried(const dsc_call *call);

/* call_budget.c: takes one retry out of the app's budget, if there is a node for it. Owner's thread. Returns false when
** the budget is used up; then call->why says so. */
bool dsc_call_may_try_again(dsc_call *call);

/* call_budget.c: obeys the Retry-After of the answer that was just kept. Owner's thread. */
void dsc_call_heed_answer(dsc_call *call);

/* Takes the answer of the loop's callbacks over. Loop thread. */
void dsc_call_attempt_take(dsc_call *call, dsc_http_answer *answer);

/* Gives the node back that was picked last, if it was not yet. An attempt that is under way ends with `err`, as any
** other does; neutral for the node. In a frame, owner's thread. */
void dsc_call_attempt_break(dsc_frame *frame, dsc_call *call, dsc_err err);

/* call_flow.c: makes the body the call's own: a stream may still be sending it when the host's is gone. Owner's thread.
** Fails: DSC_ENOMEM with `why`. */
dsc_err dsc_call_flow_keep_body(dsc_call *call);

/* Adds to an attempt what bodies in pieces need. Owner's thread. Fails: DSC_EINVALID with `why`: the body
** was read by an earlier call. */
dsc_err dsc_call_flow_begin(dsc_call *call, dsc_http_request *request);

/* The attempt reads its body no more. Owner's thread. */
void dsc_call_flow_end(dsc_call *call);

/* True when the body was begun and can't be read again. Owner's thread. */
bool dsc_call_flow_is_spent(const dsc_call *call);

/* Notes how far the attempt is. Loop thread or owner's. */
void dsc_call_flow_look(dsc_call *call);

/* Feeds the body if it is hungry, tells progress if there was any. What the host says goes into call->flow_err. In a
** frame, owner's thread, outside the loop's run. */
void dsc_call_flow_run(dsc_frame *frame, dsc_call *call);

/* Tells the progress at the end, unless a callback has failed. As dsc_call_flow_run() otherwise. In a frame, owner's
** thread. */
void dsc_call_flow_finish(dsc_frame *frame, dsc_call *call);

/* stream.c: makes one whose call is prepared, not begun; takes a reference to the request's source. Owner's thread.
** Fails: NULL: out of memory. */
dsc_stream *dsc_stream_new(dsc_frame *frame, const dsc_request *request, dsc_result *result);

/* Borrows its call. Owner's thread. */
dsc_call *dsc_stream_call(dsc_stream *stream);

/* True when its headers came and the attempt counts. Owner's thread. */
bool dsc_stream_is_open(const dsc_stream *stream);

/* Frees one that was not opened, when its call has ended. Owner's thread. */
void dsc_stream_discard(dsc_stream *stream);

/* Its headers are there. Loop thread. */
void dsc_stream_open(dsc_stream *stream);

/* Takes the end of an attempt if its stream was opened. Loop thread. Returns false when it was not, or there is no
** stream. */
bool dsc_stream_note_over(dsc_stream *stream, dsc_http_answer *answer);

/* Keeps the node of the opened attempt in flight beyond the attempt's end. Owner's thread. */
void dsc_stream_hold(dsc_stream *stream);

/* Takes an opened attempt back: another one is made, or the call has failed. Owner's thread. NULL is allowed. */
void dsc_stream_drop(dsc_stream *stream);

/* The call's result is out: what is left of it is the stream, if that is open. Returns false when it is not (NULL is
** allowed). In a frame, owner's thread. */
bool dsc_stream_hand_over(dsc_frame *frame, dsc_stream *stream);

/* Steps a call that is a stream. In a frame, owner's thread, outside the loop's run. */
void dsc_stream_step(dsc_frame *frame, dsc_stream *stream);

/* Ends all streams of a discoverer that is shut, without a callback. Owner's thread. */
void dsc_stream_cut_all(dsc_discoverer *d);

#endif
