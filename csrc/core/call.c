/*
** call.c - the driver of a call: does what the machine of step.h says and brings it the event.
**
** Between two steps a call waits for exactly one thing (dsc_call_wait). A call that is inside a step (a callback
** of the host may run the loop for another call) is never stepped again from outside: what happens meanwhile is
** noted and looked at afterwards.
*/
#include "core/call.h"

#include "base/addr.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"
#include "core/future_impl.h"

void dsc_call_make_ready(dsc_call *call) {
  if (!dsc_list_empty(&call->ready_link)) return;
  dsc_list_push(&call->d->ready, &call->ready_link);
  dsc_discoverer_touch(call->d);
}

bool dsc_call_is_ready(const dsc_call *call) {
  return !dsc_list_empty(&call->ready_link);
}

static void on_timer(void *ud) {
  dsc_call *call = ud;
  call->timer_fired = true;
  dsc_call_make_ready(call);
  dsc_loop_stop(call->d->loop);
}

/* Without a timer (no memory, no loop) the call goes on at once: worse than waiting, better than never. */
bool dsc_call_start_timer(dsc_call *call, uint64_t ms) {
  if (!call->timer && dsc_discoverer_need_loop(call->d, NULL) == DSC_OK)
    call->timer = dsc_timer_new(call->d->loop, on_timer, call);
  if (!call->timer) return false;
  dsc_timer_start(call->timer, ms);
  return true;
}

static dsc_err take_request(dsc_call *call) {
  const dsc_request *request = call->request;
  dsc_app_client *ac = &call->ac;
  dsc_addr pinned;
  ac->ud = request->ud;
  ac->has_key = request->key.p != NULL;
  if (ac->has_key) ac->key = dsc_str_hash(request->key);
  dsc_err err = dsc_app_client_set_method(ac, request->method, &call->why);
  if (!err) err = dsc_app_client_set_app(ac, request->app, &call->why);
  if (!err) err = dsc_app_client_set_path(ac, request->path, &call->why);
  if (!err) err = dsc_app_client_set_headers(ac, request->headers, &call->why);
  if (!err && request->node.n) err = dsc_addr_parse(&pinned, request->node, &call->why);
  ac->body.s = request->body; /* borrowed: a body may be large */
  ac->has_body = request->has_body;
  ac->source = request->source;
  return err;
}

static dsc_err run_route(dsc_frame *frame, dsc_call *call) {
  dsc_discoverer *d = call->d;
  if (!d->hooks.route) return DSC_OK;
  dsc_discoverer_begin_callback(d);
  dsc_err err = d->hooks.route(frame->ctx, d->hooks.ud, &call->ac, &call->why);
  dsc_discoverer_end_callback(d);
  return err;
}

/* What the app after the route decides: config, deadline, how it may be retried. */
static dsc_err configure(dsc_call *call) {
  const dsc_request *request = call->request;
  call->config = dsc_discoverer_find_config(call->d, call->ac.app.s, &call->tls);
  if (!call->config) return dsc_fail(&call->why, DSC_ENOMEM, "%s", dsc_err_text(DSC_ENOMEM));
  uint32_t deadline_ms = request->deadline_ms ? request->deadline_ms : call->config->deadline_ms;
  dsc_step_init(&call->step, request->has_retry ? request->retry : call->config->retry,
                call->start_ns / 1000000 + deadline_ms);
  call->step.max_attempts = request->max_attempts ? request->max_attempts : call->config->max_attempts;
  call->step.pinned = request->node.n > 0;
  call->step.repeatable = call->websocket || dsc_step_method_is_idempotent(call->ac.method.s) ||
                          dsc_headers_find(&call->ac.headers, DSC_STR_LITERAL("Idempotency-Key")) != NULL;
  return DSC_OK;
}

static dsc_err do_route(dsc_frame *frame, dsc_call *call) {
  dsc_err err = take_request(call);
  if (!err) err = run_route(frame, call);
  if (!err && call->stream) err = dsc_call_flow_keep_body(call);
  return err ? err : configure(call);
}

/* How long to wait for the registry: never past the deadline. */
static uint64_t app_wait_ms(const dsc_call *call) {
  uint64_t now_ms = dsc_clock_now_ms(), deadline_ms = call->step.deadline_ms;
  uint64_t left_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 0;
  return left_ms < call->d->start_timeout_ms ? left_ms : call->d->start_timeout_ms;
}

/* Returns false when the call waits for the registry. */
static bool do_find(dsc_call *call, bool last_look, dsc_step_event *event) {
  dsc_discoverer *d = call->d;
  bool waiting;
  dsc_table_unref(call->table);
  call->table = NULL;
  event->kind = DSC_STEP_FOUND;
  event->err = dsc_discoverer_look_up(d, call->ac.app.s, &call->table, &waiting, &call->why);
  if (!waiting || last_look) return true;
  if (call->wait == DSC_CALL_WAITS_APP) return false;
  if (!dsc_call_start_timer(call, app_wait_ms(call))) return true;
  call->wait = DSC_CALL_WAITS_APP;
  return false;
}

static void say_why(dsc_call *call) {
  dsc_result *result = call->result;
  dsc_err err = call->step.err;
  dsc_why why;
  if (err == DSC_EALL_FAILED)
    dsc_fail(&why, err, "%u attempts failed; the last: %s", call->step.attempts, call->why.text);
  else if (err == DSC_ETIMEOUT && !call->place.timed_out && dsc_clock_now_ms() >= call->step.deadline_ms)
    dsc_fail(&why, err, "the deadline passed after %u attempt%s%s%s", call->step.attempts,
             call->step.attempts == 1 ? "" : "s", call->why.text[0] ? "; the last: " : "", call->why.text);
  else if (err == DSC_ESTOPPED || err == DSC_EFORKED || err == DSC_ECANCELED || !call->why.text[0])
    dsc_fail(&why, err, "%s", dsc_err_text(err));
  else
    why = call->why;
  dsc_result_fail(result, err, why.text);
}

/* A callback of the host's that failed ends the call, whatever the answer. */
static dsc_err last_word(dsc_frame *frame, dsc_call *call) {
  if (!call->stream) dsc_call_flow_finish(frame, call); /* a stream's end is later */
  if (!call->flow_err) return call->step.err;
  call->why = call->flow_why;
  return call->step.err = call->flow_err;
}

static void finish(dsc_frame *frame, dsc_call *call) {
  dsc_result *result = call->result;
  dsc_err err = last_word(frame, call);
  if (call->flow_err) dsc_stream_drop(call->stream);
  if (err)
    say_why(call);
  else if (call->step.denied)
    dsc_result_explain(result, call->why.text);
  if (err == DSC_EALL_FAILED) result->node[0] = '\0';
  uint64_t elapsed_ns = dsc_clock_now_ns() - call->start_ns;
  result->elapsed = (double)elapsed_ns / 1e9;
  dsc_counters_call(dsc_registry_counters(call->d->registry), err, elapsed_ns / 1000);
  if (call->table) dsc_counters_call(dsc_table_counters(call->table), err, elapsed_ns / 1000);
  call->done = true;
  dsc_future *future = call->future;
  call->future = NULL;
  if (!dsc_stream_hand_over(frame, call->stream)) {
    dsc_call_queue_leave(call);
    dsc_list_remove(&call->link);
    dsc_list_remove(&call->ready_link);
  }
  if (future) dsc_future_settle(frame, future); /* the call may be gone then */
}

/* Asks the machine; a call that was broken from outside still ends as it would have if this was its end anyhow. */
static dsc_step_action next_action(dsc_frame *frame, dsc_call *call, const dsc_step_event *event) {
  double chance = event->kind == DSC_STEP_ANSWERED ? dsc_random_unit() : 0; /* for backing off only */
  dsc_step_action action = dsc_step_next(&call->step, event, dsc_clock_now_ms(), chance);
  if (event->kind == DSC_STEP_ANSWERED && action != DSC_STEP_FINISH && !dsc_call_may_try_again(call)) {
    dsc_step_event denied = {.kind = DSC_STEP_DENIED};
    action = dsc_step_next(&call->step, &denied, 0, 0);
  }
  if (dsc_discoverer_is_forked(call->d)) call->broken = DSC_EFORKED; /* by a callback */
  if (action == DSC_STEP_FINISH && call->node)                       /* the deadline passed while it was picked */
    dsc_call_attempt_break(frame, call, call->step.err);
  if (!call->broken || action == DSC_STEP_FINISH) return action;
  dsc_call_attempt_break(frame, call, call->broken);
  dsc_step_event broken = {.kind = DSC_STEP_BROKEN, .err = call->broken};
  return dsc_step_next(&call->step, &broken, 0, 0);
}

/* Does what `action` says, and what follows from it, until the call waits or has ended. */
static void act(dsc_frame *frame, dsc_call *call, dsc_step_action action) {
  for (;;) {
    dsc_step_event event = {.kind = DSC_STEP_SLEPT};
    switch (action) {
    case DSC_STEP_ROUTE: event = (dsc_step_event){.kind = DSC_STEP_ROUTED, .err = do_route(frame, call)}; break;
    case DSC_STEP_FIND:
      if (!do_find(call, false, &event)) return;
      break;
    case DSC_STEP_PICK:
      if (!dsc_call_queue_pick(frame, call, &event)) return;
      break;
    case DSC_STEP_SEND:
      dsc_stream_drop(call->stream); /* only now: with no other node the last answer is the call's */
      if (dsc_call_attempt_send(call)) {
        call->wait = DSC_CALL_WAITS_ANSWER;
        return;
      }
      dsc_call_attempt_end(frame, call, &event);
      break;
    case DSC_STEP_SLEEP:
      if (!dsc_call_has_untried(call)) { /* to wait for nobody would only make the failure late */
        event = (dsc_step_event){.kind = DSC_STEP_PICKED, .err = DSC_ENO_NODE};
        break;
      }
      if (dsc_call_start_timer(call, call->step.sleep_ms)) {
        call->wait = DSC_CALL_WAITS_TIME;
        return;
      }
      break;
    default: finish(frame, call); return;
    }
    action = next_action(frame, call, &event);
  }
}

/* Calls the host for bodies under way; an error of its ends the call. */
static void run_flow(dsc_frame *frame, dsc_call *call) {
  if (call->wait != DSC_CALL_WAITS_ANSWER || call->broken) return;
  call->wait = DSC_CALL_WAITS_NOT; /* the host's callback may run the loop */
  dsc_call_flow_run(frame, call);
  call->wait = DSC_CALL_WAITS_ANSWER;
  if (dsc_discoverer_is_forked(call->d)) call->broken = DSC_EFORKED;
  if (call->flow_err && !call->broken) call->broken = call->flow_err;
}

/* Turns what happened into the machine's event. Returns false when it was nothing that the call waits for. */
static bool next_event(dsc_frame *frame, dsc_call *call, dsc_step_event *event) {
  *event = (dsc_step_event){.kind = DSC_STEP_SLEPT};
  bool fired = call->timer_fired;
  call->timer_fired = false;
  if (call->wait == DSC_CALL_WAITS_ANSWER && (call->answered || call->opened)) {
    call->wait = DSC_CALL_WAITS_NOT; /* the host's callback may run the loop */
    dsc_call_attempt_end(frame, call, event);
    return true;
  }
  if (call->wait == DSC_CALL_WAITS_APP && !call->broken) {
    return do_find(call, fired, event);
  }
  if (call->wait == DSC_CALL_WAITS_SLOT && !call->broken) return dsc_call_queue_look(frame, call, fired, event);
  if (call->wait == DSC_CALL_WAITS_TIME && fired) return true;
  if (!call->broken) return false;
  call->wait = DSC_CALL_WAITS_NOT; /* the host's callback may cancel the call once more, or wait for it */
  dsc_call_attempt_break(frame, call, call->broken);
  *event = (dsc_step_event){.kind = DSC_STEP_BROKEN, .err = call->broken};
  return true;
}

static void step(dsc_frame *frame, dsc_call *call) {
  dsc_step_event event;
  if (call->wait == DSC_CALL_WAITS_STREAM) {
    dsc_stream_step(frame, call->stream);
    return;
  }
  run_flow(frame, call);
  if (!next_event(frame, call, &event)) return;
  if (call->timer) dsc_timer_stop(call->timer);
  call->wait = DSC_CALL_WAITS_NOT;
  act(frame, call, next_action(frame, call, &event));
}

void dsc_call_drain(dsc_frame *frame, dsc_call *only) {
  if (only) {
    if (!dsc_call_is_ready(only)) return;
    dsc_list_remove(&only->ready_link);
    step(frame, only);
    return;
  }
  dsc_link batch; /* what becomes ready meanwhile waits for the next round */
  dsc_list_init(&batch);
  dsc_list_move(&batch, &frame->d->ready);
  while (!dsc_list_empty(&batch) && !dsc_discoverer_is_forked(frame->d) && dsc_turn_take(frame->turn))
    step(frame, DSC_LIST_ENTRY(dsc_list_pop(&batch), dsc_call, ready_link));
  dsc_list_move(&batch, &frame->d->ready);
  dsc_list_move(&frame->d->ready, &batch);
}

void dsc_call_notify_all(dsc_discoverer *d) {
  dsc_call_queue_notify(d);
  for (dsc_link *link = d->calls.next; link != &d->calls; link = link->next) {
    dsc_call *call = DSC_LIST_ENTRY(link, dsc_call, link);
    if (call->wait != DSC_CALL_WAITS_APP) continue;
    dsc_call_make_ready(call);
  }
}

void dsc_call_break_all(dsc_discoverer *d, dsc_err err) {
  for (dsc_link *link = d->calls.next; link != &d->calls; link = link->next) {
    dsc_call *call = DSC_LIST_ENTRY(link, dsc_call, link);
    call->broken = err;
    if (call->wait != DSC_CALL_WAITS_NOT) dsc_call_make_ready(call);
  }
}

void dsc_call_prepare(dsc_frame *frame, dsc_call *call, const dsc_request *request, dsc_result *result) {
  *call = (dsc_call){.d = frame->d, .request = request, .result = result, .start_ns = dsc_clock_now_ns()};
  dsc_app_client_init(&call->ac);
  dsc_headers_init(&call->headers);
  dsc_list_init(&call->ready_link);
  dsc_list_init(&call->link);
}

void dsc_call_begin(dsc_frame *frame, dsc_call *call) {
  dsc_list_push(&frame->d->calls, &call->link);
  dsc_step_init(&call->step, DSC_RETRY_IDEMPOTENT, UINT64_MAX); /* until the route has decided which app */
  dsc_step_event event = {.kind = DSC_STEP_BEGIN};
  act(frame, call, dsc_step_next(&call->step, &event, dsc_clock_now_ms(), 0));
}

void dsc_call_run(dsc_frame *frame, dsc_call *call) {
  dsc_call_begin(frame, call);
  while (!call->done) {
    dsc_err err = dsc_discoverer_run_once(frame, frame->in_callback ? call : NULL, -1);
    if (err == DSC_OK) continue;
    call->broken = err; /* no loop: nothing else could end the call */
    dsc_call_make_ready(call);
    dsc_call_drain(frame, call);
  }
}

void dsc_call_fini(dsc_call *call) {
  dsc_timer_free(call->timer);
  dsc_call_config_unref(call->config);
  dsc_tls_unref(call->tls);
  dsc_table_unref(call->table);
  dsc_headers_clear(&call->headers);
  dsc_app_client_fini(&call->ac);
}

bool dsc_call_is_refused(const dsc_discoverer *d) {
  return d->stopping || d->callbacks > DSC_MAX_DEPTH;
}

/* A result that says why nothing was tried. */
static dsc_result *refuse(dsc_err err, const char *why) {
  dsc_result *result = dsc_result_new();
  if (result) dsc_result_fail(result, err, why);
  return result;
}

dsc_result *dsc_call_refuse(dsc_discoverer *d) {
  if (d->stopping) return refuse(DSC_ESTOPPED, dsc_err_text(DSC_ESTOPPED));
  return refuse(DSC_ECALLBACK, "calls inside callbacks are nested more than 8 deep");
}

dsc_result *dsc_discoverer_call(dsc_frame *frame, const dsc_request *request) {
  dsc_discoverer *d = frame->d;
  if (dsc_call_is_refused(d)) return dsc_call_refuse(d);
  dsc_discoverer_sweep_marks(d, dsc_clock_coarse_ms());
  dsc_result *result = dsc_result_new();
  if (!result) return NULL;
  dsc_call call;
  dsc_call_prepare(frame, &call, request, result);
  dsc_call_run(frame, &call);
  dsc_call_fini(&call);
  return result;
}
