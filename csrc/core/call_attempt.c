/*
** call_attempt.c - one attempt of a call: sent to a node, ended, and told to everybody who keeps an account of it.
*/
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "core/body_impl.h"
#include "core/websocket_impl.h"

void dsc_call_attempt_take(dsc_call *call, dsc_http_answer *answer) {
  call->answer = *answer;
  dsc_headers_init(&answer->headers);
  answer->body = NULL;
}

/* Inside the loop: takes the answer over and leaves the rest to the step. */
static void on_done(void *ud, dsc_http_answer *answer) {
  dsc_call *call = ud;
  dsc_call_flow_look(call);
  call->attempt = NULL;
  if (!dsc_stream_note_over(call->stream, answer)) {
    dsc_call_attempt_take(call, answer);
    call->answered = true;
  }
  dsc_call_make_ready(call);
}

static uint32_t time_left(const dsc_call *call, uint64_t now_ms) {
  uint64_t left = call->step.deadline_ms > now_ms ? call->step.deadline_ms - now_ms : 1;
  uint32_t timeout_ms = call->request->timeout_ms ? call->request->timeout_ms : call->config->timeout_ms;
  return left < timeout_ms ? (uint32_t)left : timeout_ms;
}

static dsc_http_request make_request(const dsc_call *call) {
  const dsc_call_config *config = call->config;
  bool has_body = call->ac.has_body && !call->request->no_body;
  dsc_http_request request = {.method = call->ac.method.s.p,
                              .host = call->node->host,
                              .port = call->node->port,
                              .addr = call->node->addr,
                              .target = call->ac.path.s.p,
                              .headers = &call->headers,
                              .secret_name = config->token ? "Access-Token" : NULL,
                              .secret = config->token,
                              .body = has_body ? call->ac.body.s.p : NULL,
                              .body_len = has_body ? call->ac.body.s.n : 0,
                              .tls = call->tls,
                              .http2 = config->http2,
                              .once = call->step.retry == DSC_RETRY_NEVER,
                              .connect_timeout_ms = config->connect_timeout_ms,
                              .max_body = call->request->has_max_body ? call->request->max_body : config->max_body,
                              .may_repeat = call->step.repeatable || call->step.retry == DSC_RETRY_ALWAYS};
  if (call->step.retry == DSC_RETRY_NEVER) request.may_repeat = false;
  request.timeout_ms = time_left(call, dsc_clock_now_ms());
  return request;
}

/* What stands for an answer when there is none, and the node is not to blame. */
static void answer_ourselves(dsc_call *call, dsc_err err, const char *why) {
  call->answer = (dsc_http_answer){.err = err, .ours = true};
  dsc_headers_init(&call->answer.headers);
  snprintf(call->answer.why, sizeof call->answer.why, "%s", why);
}

bool dsc_call_attempt_send(dsc_call *call) {
  dsc_err err = dsc_discoverer_need_http(call->d, &call->why);
  if (!err && (err = dsc_call_headers_build(call))) dsc_fail(&call->why, err, "%s", dsc_err_text(err));
  call->attempt_ns = dsc_clock_now_ns();
  if (!err && call->websocket) {
    err = dsc_websocket_attempt(call, time_left(call, dsc_clock_now_ms()), &call->why);
    if (!err) return true;
  } else if (!err) {
    dsc_http_request request = make_request(call);
    err = dsc_call_flow_begin(call, &request);
    if (!err) err = dsc_http_send(call->d->http, &request, on_done, call, &call->attempt, &call->why);
    if (!err) return true;
  }
  answer_ourselves(call, err, call->why.text);
  return false;
}

/* An answer, even one that is broken off, replaces the one before it; without one the last stays. */
static void keep_answer(dsc_call *call) {
  dsc_http_answer *answer = &call->answer;
  dsc_result *result = call->result;
  if (answer->status) {
    dsc_result_clear_answer(result);
    result->status = answer->status;
    result->reason = dsc_mem_strdup(dsc_str_of(answer->reason));
    result->http_major = answer->http_major;
    result->http_minor = answer->http_minor;
    result->headers = answer->headers;
    result->body = answer->body;
    result->body_len = answer->body_len;
    dsc_headers_init(&answer->headers);
    answer->body = NULL;
  }
  dsc_headers_clear(&answer->headers);
  dsc_mem_free(answer->body);
  answer->body = NULL;
}

static void tell_host(dsc_frame *frame, dsc_call *call, dsc_err err, int status, double seconds) {
  dsc_discoverer *d = call->d;
  if (!d->hooks.response) return;
  dsc_discoverer_begin_callback(d);
  d->hooks.response(frame->ctx, d->hooks.ud, &call->ac, call->node, err, status, status ? &call->result->headers : NULL,
                    seconds);
  dsc_discoverer_end_callback(d);
}

void dsc_call_attempt_end(dsc_frame *frame, dsc_call *call, dsc_step_event *event) {
  dsc_discoverer *d = call->d;
  const dsc_http_answer *answer = &call->answer;
  *event = (dsc_step_event){.kind = DSC_STEP_ANSWERED,
                            .err = answer->err,
                            .status = answer->status,
                            .sent = answer->sent,
                            .refused = answer->refused,
                            .unbegun = answer->unprocessed,
                            .ours = answer->ours,
                            .spent = dsc_call_flow_is_spent(call)};
  double seconds = (double)(dsc_clock_now_ns() - call->attempt_ns) / 1e9;
  const char *body_failure = event->ours && call->sending ? dsc_body_failure(call->sending) : NULL;
  if (event->err)
    dsc_fail(&call->why, event->err, "%s", body_failure ? body_failure : answer->why);
  else if (dsc_step_failed(event))
    dsc_fail(&call->why, DSC_OK, "%s answered %d", call->node->addr, event->status);
  if (call->opened) dsc_stream_hold(call->stream);
  if (call->websocket) dsc_websocket_attempt_end(call);
  call->answered = call->opened = false;
  dsc_call_flow_end(call);
  keep_answer(call);
  dsc_call_heed_answer(call);
  dsc_registry_node_done(d->registry, call->node, dsc_step_outcome(event), call->is_probe, d->call_retry_times);
  dsc_counters_attempt(dsc_registry_counters(d->registry), event->err, event->status, call->step.attempts > 1);
  dsc_counters_attempt(dsc_table_counters(call->table), event->err, event->status, call->step.attempts > 1);
  dsc_result_trace(call->result, dsc_node_addr(call->node), event->status, event->err, seconds);
  dsc_discoverer_log_attempt(frame, call->request, &call->ac, dsc_node_addr(call->node), event->err, event->status,
                             seconds, call->why.text, call->request_id);
  tell_host(frame, call, event->err, event->status, seconds);
  snprintf(call->result->node, sizeof call->result->node, "%s", call->node->addr);
  dsc_node_unref(call->node);
  call->node = NULL;
}

void dsc_call_attempt_break(dsc_frame *frame, dsc_call *call, dsc_err err) {
  dsc_step_event ignored;
  dsc_stream_drop(call->stream);
  if (!call->node) return;
  bool forked = err == DSC_EFORKED; /* sockets and locks are the parent's: the attempt is forgotten */
  bool under_way = !forked && call->attempt;
  if (!forked) dsc_http_cancel(call->attempt);
  call->attempt = NULL;
  if (!forked && dsc_websocket_attempt_break(call)) under_way = true;
  if (under_way) {
    answer_ourselves(call, err, call->flow_err == err ? call->flow_why.text : dsc_err_text(err));
    dsc_call_attempt_end(frame, call, &ignored);
    return;
  }
  dsc_registry_node_done(call->d->registry, call->node, DSC_OUTCOME_NEUTRAL, call->is_probe, call->d->call_retry_times);
  dsc_node_unref(call->node);
  call->node = NULL;
}
