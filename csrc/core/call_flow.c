/*
** call_flow.c - the bodies of an attempt that is under way: a source that wants to be fed, progress, headers that came.
**
** The loop's callbacks only note; the host's reader and its on_progress run in the call's step, outside the loop.
*/
#include "core/body_impl.h"
#include "core/call.h"

/* ---------------------------------------------------------- inside the loop */

static void on_hungry(void *ud) {
  dsc_call *call = ud;
  dsc_call_make_ready(call);
  dsc_loop_stop(call->d->loop);
}

static void on_opened(void *ud, dsc_http_answer *answer) {
  dsc_call *call = ud;
  dsc_call_attempt_take(call, answer);
  call->opened = true;
  dsc_stream_open(call->stream);
  dsc_call_make_ready(call);
}

static void on_moved(void *ud) {
  dsc_call *call = ud;
  if (!call->request->on_progress) return; /* whoever reads the stream looks by himself */
  call->moved = true;
  dsc_call_make_ready(call);
}

void dsc_call_flow_look(dsc_call *call) {
  if (call->attempt && call->request->on_progress) dsc_http_get_progress(call->attempt, &call->progress);
}

/* ------------------------------------------------------------- owner's side */

dsc_err dsc_call_flow_keep_body(dsc_call *call) {
  const dsc_text *body = &call->ac.body;
  if (!call->ac.has_body || body->own || call->request->no_body) return DSC_OK;
  return dsc_app_client_set_body(&call->ac, body->s, true, &call->why);
}

static dsc_err begin_source(dsc_call *call, dsc_http_request *request) {
  dsc_body *body = call->request->no_body ? NULL : call->ac.source;
  call->sending = body;
  if (!body) return DSC_OK;
  if (!dsc_body_rewind(body)) return dsc_fail(&call->why, DSC_EINVALID, "the body was already read by another call");
  dsc_body_get_source(body, &call->source);
  dsc_body_on_hungry(body, on_hungry, call);
  request->source = &call->source;
  request->body = NULL;
  request->body_len = 0;
  return DSC_OK;
}

dsc_err dsc_call_flow_begin(dsc_call *call, dsc_http_request *request) {
  call->flow = (dsc_http_flow){.stream = call->stream != NULL,
                               .progress = call->request->on_progress != NULL,
                               .opened = on_opened,
                               .moved = on_moved};
  if (call->flow.stream || call->flow.progress) request->flow = &call->flow;
  if (call->stream) {
    if (!call->request->has_max_body) request->max_body = UINT64_MAX;
    request->silence_ms = call->request->timeout_ms ? call->request->timeout_ms : call->config->timeout_ms;
  }
  call->progress = (dsc_http_progress){.to_send = -1, .to_receive = -1};
  return begin_source(call, request);
}

void dsc_call_flow_end(dsc_call *call) {
  if (call->attempt || !call->sending) return; /* an opened stream may still be sending */
  dsc_body_on_hungry(call->sending, NULL, NULL);
  call->sending = NULL;
}

bool dsc_call_flow_is_spent(const dsc_call *call) {
  return call->sending && !dsc_body_can_rewind(call->sending);
}

static void feed(dsc_frame *frame, dsc_call *call) {
  if (!call->sending || !call->attempt || !dsc_body_is_hungry(call->sending)) return;
  dsc_discoverer_begin_callback(call->d);
  call->flow_err = dsc_body_feed(call->sending, frame->ctx, &call->flow_why);
  dsc_discoverer_end_callback(frame->d);
  if (!call->flow_err && !dsc_discoverer_is_forked(frame->d)) dsc_http_resume(call->attempt);
}

static void tell(dsc_frame *frame, dsc_call *call) {
  dsc_discoverer_begin_callback(frame->d);
  call->flow_why.text[0] = '\0';
  call->flow_err = call->request->on_progress(frame->ctx, call->request->ud, &call->progress, &call->flow_why);
  dsc_discoverer_end_callback(frame->d);
}

void dsc_call_flow_run(dsc_frame *frame, dsc_call *call) {
  if (call->flow_err) return;
  feed(frame, call);
  if (!call->d) return; /* the host closed the stream */
  if (!call->moved || call->flow_err || dsc_discoverer_is_forked(frame->d)) return;
  call->moved = false;
  dsc_call_flow_look(call);
  tell(frame, call);
}

void dsc_call_flow_finish(dsc_frame *frame, dsc_call *call) {
  bool wanted = call->request->on_progress && call->step.attempts > 0 && !call->flow_err && !call->broken;
  if (wanted && !dsc_discoverer_is_forked(frame->d)) tell(frame, call);
}
