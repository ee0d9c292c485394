/*
** stream.c - a call whose answer is handed out when its headers are there, and which goes on as the body.
**
** A stream holds its call: request body, secret, headers and timer stay until the last byte. In the loop it only notes
** that it is over; that is acted upon in the call's step, as with any call, so that the host's reader and on_progress
** go on working. A callback may close or free the very stream it is told about: it is pinned meanwhile.
**
** Invariants: `node` is held from the opened headers to the end; an ended stream is in no list and touches neither
** discoverer nor loop. Threads: the owner's.
*/
#include "base/clock.h"
#include "base/mem.h"
#include "core/body_impl.h"
#include "core/call.h"

struct dsc_stream {
  /* owner's thread only */
  dsc_call call;
  dsc_request kept; /* what is left of the request once the host's is no longer there */
  uint32_t generation;
  unsigned pins;
  bool doomed; /* freed by the host; goes with the last pin */
  bool open;   /* the headers were there, and the attempt counts */
  bool over;   /* net/http is done with it; `rest` is what was not read */
  bool ended, closed;
  bool ours; /* of `over_err` */
  dsc_err over_err, err;
  dsc_why over_why, why;
  char *rest;
  size_t rest_len, rest_at;
  dsc_node *node; /* a reference */
  uint64_t max_body;
  dsc_body *source; /* a reference; NULL: none */
};

static bool is_forked(const dsc_stream *stream) {
  return dsc_fork_is_stale(stream->generation);
}

static void drop_rest(dsc_stream *stream) {
  dsc_mem_free(stream->rest);
  stream->rest = NULL;
  stream->rest_len = stream->rest_at = 0;
}

static void destroy(dsc_stream *stream) {
  drop_rest(stream);
  dsc_call_fini(&stream->call);
  dsc_body_free(stream->source);
  dsc_mem_free(stream);
}

static void unpin(dsc_stream *stream) {
  if (--stream->pins == 0 && stream->doomed && !is_forked(stream)) destroy(stream);
}

/* ---------------------------------------------------------- inside the loop */

void dsc_stream_open(dsc_stream *stream) {
  stream->open = true;
}

bool dsc_stream_note_over(dsc_stream *stream, dsc_http_answer *answer) {
  if (!stream || !stream->open) return false;
  stream->over = true;
  stream->over_err = answer->err;
  stream->ours = answer->ours;
  dsc_fail(&stream->over_why, answer->err, "%s", answer->why);
  stream->rest = answer->body;
  stream->rest_len = answer->body_len;
  answer->body = NULL;
  return true;
}

/* ------------------------------------------------------------------ its node */

void dsc_stream_hold(dsc_stream *stream) {
  stream->node = dsc_node_ref(stream->call.node);
  dsc_table_hold(stream->node->table, stream->node);
}

/* That a body came to its end says no more than its headers did; that it broke off does. */
static void release_node(dsc_stream *stream, bool failed) {
  dsc_discoverer *d = stream->call.d;
  dsc_node *node = stream->node;
  if (!node) return;
  stream->node = NULL;
  if (failed)
    dsc_registry_node_done(d->registry, node, DSC_OUTCOME_FAILURE, false, d->call_retry_times);
  else
    dsc_registry_node_lapse(d->registry, node, false);
  dsc_node_unref(node);
}

static bool is_nodes_fault(const dsc_stream *stream) {
  dsc_step_event event = {
      .kind = DSC_STEP_ANSWERED, .err = stream->over_err, .status = 200, .sent = true, .ours = stream->ours};
  return stream->over && stream->over_err && dsc_step_outcome(&event) == DSC_OUTCOME_FAILURE;
}

static void cut_attempt(dsc_stream *stream) {
  dsc_call *call = &stream->call;
  if (!is_forked(stream)) dsc_http_cancel(call->attempt);
  call->attempt = NULL;
  dsc_call_flow_end(call);
}

void dsc_stream_drop(dsc_stream *stream) {
  if (!stream || !stream->open) return;
  cut_attempt(stream);
  release_node(stream, false);
  drop_rest(stream);
  stream->open = stream->over = false;
}

/* -------------------------------------------------------------------- its end */

static void end(dsc_stream *stream, dsc_err err, const char *why) {
  dsc_call *call = &stream->call;
  stream->ended = true;
  stream->err = err;
  if (err) dsc_fail(&stream->why, err, "%s", why && why[0] ? why : dsc_err_text(err));
  cut_attempt(stream);
  release_node(stream, is_nodes_fault(stream));
  dsc_timer_free(call->timer);
  call->timer = NULL;
  dsc_call_queue_leave(call);
  dsc_list_remove(&call->link);
  dsc_list_remove(&call->ready_link);
  call->d = NULL;
}

/* Nothing more is read from it. */
static void end_hard(dsc_stream *stream, dsc_err err, const char *why) {
  drop_rest(stream);
  end(stream, err, why);
}

/* net/http is done with it. What it had left is still read, then the reason. */
static void end_over(dsc_frame *frame, dsc_stream *stream) {
  dsc_call *call = &stream->call;
  const char *failure = stream->ours && call->sending ? dsc_body_failure(call->sending) : NULL;
  if (failure) dsc_fail(&stream->over_why, stream->over_err, "%s", failure);
  dsc_call_flow_finish(frame, call);
  if (stream->ended || is_forked(stream)) return; /* by that callback */
  if (call->flow_err)
    end_hard(stream, call->flow_err, call->flow_why.text);
  else
    end(stream, stream->over_err, stream->over_why.text);
}

static void go_on(dsc_frame *frame, dsc_stream *stream) {
  dsc_call *call = &stream->call;
  if (!call->broken) dsc_call_flow_run(frame, call);
  if (stream->ended || is_forked(stream)) return;
  if (call->flow_err)
    end_hard(stream, call->flow_err, call->flow_why.text);
  else if (call->broken)
    end_hard(stream, call->broken, NULL);
  else if (stream->over)
    end_over(frame, stream);
}

void dsc_stream_step(dsc_frame *frame, dsc_stream *stream) {
  stream->pins++;
  stream->call.wait = DSC_CALL_WAITS_NOT;
  go_on(frame, stream);
  if (!stream->ended) stream->call.wait = DSC_CALL_WAITS_STREAM;
  unpin(stream);
}

void dsc_stream_cut_all(dsc_discoverer *d) {
  while (!dsc_list_empty(&d->calls)) {
    dsc_call *call = DSC_LIST_ENTRY(d->calls.next, dsc_call, link);
    dsc_list_remove(&call->link); /* outside of all frames only streams are left */
    if (call->stream) end_hard(call->stream, DSC_ESTOPPED, NULL);
  }
}

/* ---------------------------------------------------------------- its beginning */

/* The host's request is gone when the call returns. */
static void keep_request(dsc_stream *stream) {
  const dsc_request *request = stream->call.request;
  stream->kept = (dsc_request){.on_progress = request->on_progress, .ud = request->ud};
  stream->call.request = &stream->kept;
}

bool dsc_stream_hand_over(dsc_frame *frame, dsc_stream *stream) {
  if (!stream || !stream->open) return false;
  dsc_call *call = &stream->call;
  const dsc_request *request = call->request;
  stream->max_body = request->has_max_body ? request->max_body : call->config->max_body;
  keep_request(stream);
  call->result = NULL;
  call->wait = DSC_CALL_WAITS_STREAM;
  stream->pins++; /* nobody else has it yet */
  if (stream->over || call->broken) dsc_stream_step(frame, stream);
  stream->pins--;
  return true;
}

dsc_stream *dsc_stream_new(dsc_frame *frame, const dsc_request *request, dsc_result *result) {
  dsc_stream *stream = dsc_mem_zalloc(1, sizeof *stream);
  if (!stream) return NULL;
  stream->generation = frame->d->generation;
  stream->source = dsc_body_ref(request->source);
  dsc_call_prepare(frame, &stream->call, request, result);
  stream->call.stream = stream;
  return stream;
}

dsc_call *dsc_stream_call(dsc_stream *stream) {
  return &stream->call;
}

bool dsc_stream_is_open(const dsc_stream *stream) {
  return stream->open;
}

void dsc_stream_discard(dsc_stream *stream) {
  destroy(stream);
}

dsc_result *dsc_discoverer_call_stream(dsc_frame *frame, const dsc_request *request, dsc_stream **out) {
  dsc_discoverer *d = frame->d;
  *out = NULL;
  if (dsc_call_is_refused(d)) return dsc_call_refuse(d);
  dsc_discoverer_sweep_marks(d, dsc_clock_coarse_ms());
  dsc_result *result = dsc_result_new();
  dsc_stream *stream = result ? dsc_stream_new(frame, request, result) : NULL;
  if (!stream) {
    dsc_result_free(result);
    return NULL;
  }
  dsc_call_run(frame, &stream->call);
  if (stream->open)
    *out = stream;
  else
    destroy(stream);
  return result;
}

/* ---------------------------------------------------------------------- methods */

static size_t take_rest(dsc_stream *stream, char *bytes, size_t max) {
  size_t left = stream->rest_len - stream->rest_at, n = left < max ? left : max;
  if (n) memcpy(bytes, stream->rest + stream->rest_at, n);
  stream->rest_at += n;
  if (stream->rest_at == stream->rest_len) drop_rest(stream);
  return n;
}

/* What can be said without waiting. Returns false when it must be waited for. */
static bool look(dsc_stream *stream, char *bytes, size_t max, size_t *n, dsc_err *err, dsc_why *why) {
  *err = DSC_OK;
  if (is_forked(stream)) {
    *err = dsc_fail(why, DSC_EFORKED, "%s", dsc_err_text(DSC_EFORKED));
  } else if (stream->closed) {
    *err = dsc_fail(why, DSC_ECLOSED, "the stream was closed");
  } else if ((*n = take_rest(stream, bytes, max)) > 0) {
    return true;
  } else if (stream->ended) {
    *err = stream->err;
    if (stream->err) *why = stream->why;
  } else if (stream->call.wait != DSC_CALL_WAITS_STREAM) {
    *err = dsc_fail(why, DSC_ECALLBACK, "a stream can't be read by its own callbacks");
  } else if (!stream->call.attempt || (*n = dsc_http_read(stream->call.attempt, bytes, max)) == 0) {
    return false;
  }
  return true;
}

static dsc_err read_some(dsc_frame *frame, dsc_stream *stream, char *bytes, size_t max, size_t *n, dsc_why *why) {
  dsc_err err;
  while (!look(stream, bytes, max, n, &err, why)) {
    err = dsc_discoverer_run_once(frame, frame->in_callback ? &stream->call : NULL, -1);
    if (err && !is_forked(stream) && !stream->ended) end_hard(stream, err, NULL);
  }
  return err;
}

dsc_err dsc_stream_read(dsc_frame *frame, dsc_stream *stream, char *bytes, size_t max, size_t *n, dsc_why *why) {
  *n = 0;
  stream->pins++;
  dsc_err err = read_some(frame, stream, bytes, max, n, why);
  unpin(stream);
  return err;
}

uint64_t dsc_stream_max_body(const dsc_stream *stream) {
  return stream->max_body;
}

bool dsc_stream_ended(const dsc_stream *stream) {
  if (stream->closed || is_forked(stream)) return true;
  return stream->ended && stream->rest_len == 0;
}

void dsc_stream_close(dsc_stream *stream) {
  if (!stream || stream->closed) return;
  stream->closed = true;
  if (is_forked(stream)) return; /* the parent's socket and locks */
  drop_rest(stream);
  if (stream->ended) return;
  dsc_discoverer *d = stream->call.d;
  end(stream, DSC_ECLOSED, NULL);
  dsc_discoverer_touch(d);
}

void dsc_stream_free(dsc_stream *stream) {
  if (!stream) return;
  dsc_stream_close(stream);
  if (is_forked(stream)) return; /* forgotten, not freed */
  stream->doomed = true;
  if (stream->pins == 0) destroy(stream);
}
