/*
** future.c - a call on the heap: started with a copy of its request, settled by its last step, told to the host later.
**
** Invariants: `call` is set from the start until it is settled, and then never again; `ready` changes once. It is in
** d->futures as long as the discoverer lives; in d->deliveries from the moment it is ready and somebody asked. A
** callback may free the very future it is told about: it is pinned meanwhile. After a fork the child frees nothing.
** Threads: the owner's.
*/
#include "core/future_impl.h"

#include "base/clock.h"
#include "base/mem.h"
#include "core/websocket_impl.h"

#define DEADLINE_MS 30000u /* where no config was found */

static bool is_forked(const dsc_future *f) {
  return dsc_fork_is_stale(f->generation);
}

/* ------------------------------------------------------------------- its end */

static void leave(dsc_future *f) {
  dsc_list_remove(&f->link);
  dsc_list_remove(&f->delivery.link);
  f->d = NULL;
}

static void destroy(dsc_future *f) {
  leave(f);
  dsc_stream_free(f->stream);
  dsc_websocket_free(f->websocket);
  dsc_result_free(f->result);
  dsc_headers_clear(&f->headers);
  dsc_headers_clear(&f->relayed);
  dsc_body_free(f->source);
  dsc_mem_free(f->protocols);
  dsc_mem_free(f->text);
  dsc_mem_free(f);
}

static void unpin(dsc_future *f) {
  if (--f->pins == 0 && f->forgotten && f->ready && !is_forked(f)) destroy(f);
}

static void ask_delivery(dsc_future *f) {
  if (!f->fn || !f->ready || !f->d || !dsc_list_empty(&f->delivery.link)) return;
  dsc_list_push(&f->d->deliveries, &f->delivery.link);
  dsc_discoverer_touch(f->d);
}

static void run_delivery(dsc_frame *frame, dsc_delivery *delivery) {
  dsc_future *f = DSC_LIST_ENTRY(delivery, dsc_future, delivery);
  dsc_future_fn fn = f->fn;
  if (!fn) return;
  f->fn = NULL;
  f->pins++;
  dsc_discoverer_begin_callback(frame->d);
  fn(frame->ctx, f->fn_ud, f);
  dsc_discoverer_end_callback(frame->d);
  unpin(f);
}

/* A stream whose headers never came is no one's; an opening says how it went. */
static void take_outcome(dsc_future *f) {
  if (f->is_opening) {
    f->open_err = dsc_websocket_opened(f->websocket, f->result, &f->open_why);
    if (f->open_err) {
      dsc_websocket_free(f->websocket);
      f->websocket = NULL;
    }
  }
  if (f->stream && !dsc_stream_is_open(f->stream)) {
    dsc_stream_discard(f->stream);
    f->stream = NULL;
  } else if (!f->stream) {
    dsc_call_fini(&f->own);
  }
}

void dsc_future_settle(dsc_frame *frame, dsc_future *f) {
  f->canceled = f->call->step.err == DSC_ECANCELED;
  f->call = NULL;
  take_outcome(f);
  f->ready = true;
  f->d->settled++;
  if (f->on_settled && !is_forked(f)) f->on_settled(frame->ctx, f->settled_ud, f);
  if (f->forgotten && f->pins == 0)
    destroy(f);
  else
    ask_delivery(f);
}

void dsc_future_silence_all(dsc_discoverer *d) {
  for (dsc_link *link = d->futures.next; link != &d->futures; link = link->next) {
    dsc_future *f = DSC_LIST_ENTRY(link, dsc_future, link);
    f->fn = f->on_settled = NULL;
    f->request.on_log = NULL;
    f->request.on_progress = NULL;
    f->request.ud = NULL;
  }
}

void dsc_future_detach_all(dsc_discoverer *d) {
  while (!dsc_list_empty(&d->futures)) {
    dsc_future *f = DSC_LIST_ENTRY(d->futures.next, dsc_future, link);
    leave(f);
    if (f->forgotten && f->pins == 0) destroy(f);
  }
}

/* ------------------------------------------------------------- its beginning */

static dsc_str keep(char **at, dsc_str s) {
  if (!s.p) return s;
  dsc_str kept = {*at, s.n};
  if (s.n) memcpy(*at, s.p, s.n);
  *at += s.n;
  return kept;
}

static dsc_err copy_request(dsc_future *f, const dsc_request *request) {
  dsc_request *own = &f->request;
  *own = *request;
  own->headers = own->relayed = NULL;
  own->source = dsc_body_ref(request->source);
  f->source = own->source;
  size_t size = own->app.n + own->method.n + own->path.n + own->body.n + own->node.n + own->key.n;
  char *at = f->text = dsc_mem_alloc(size + 1);
  if (!at) return DSC_ENOMEM;
  own->app = keep(&at, own->app);
  own->method = keep(&at, own->method);
  own->path = keep(&at, own->path);
  own->body = keep(&at, own->body);
  own->node = keep(&at, own->node);
  own->key = keep(&at, own->key);
  dsc_err err = request->headers ? dsc_headers_copy(&f->headers, request->headers) : DSC_OK;
  if (!err && request->relayed) err = dsc_headers_copy(&f->relayed, request->relayed);
  if (request->headers) own->headers = &f->headers;
  if (request->relayed) own->relayed = &f->relayed;
  return err;
}

static dsc_future *make(dsc_discoverer *d, const dsc_request *request) {
  dsc_future *f = dsc_mem_zalloc(1, sizeof *f);
  if (!f) return NULL;
  f->generation = d->generation;
  f->d = d;
  f->delivery.run = run_delivery;
  f->deadline_ms = request->deadline_ms ? request->deadline_ms : DEADLINE_MS;
  dsc_list_init(&f->delivery.link);
  dsc_list_init(&f->link);
  dsc_headers_init(&f->headers);
  dsc_headers_init(&f->relayed);
  f->result = dsc_result_new();
  if (f->result && copy_request(f, request) == DSC_OK) return f;
  destroy(f);
  return NULL;
}

dsc_future *dsc_discoverer_async_failed(dsc_frame *frame, dsc_err err, const dsc_why *why) {
  const dsc_request nothing = {0};
  dsc_future *f = make(frame->d, &nothing);
  if (!f) return NULL;
  dsc_list_push(&f->d->futures, &f->link);
  dsc_result_fail(f->result, err, why->text);
  f->open_err = err;
  f->open_why = *why;
  f->is_opening = true; /* or a call: it tells either how it went */
  f->ready = true;
  return f;
}

/* A call that can't be made is ready at once. */
static dsc_future *refuse(dsc_future *f) {
  dsc_result_free(f->result);
  f->result = dsc_call_refuse(f->d);
  f->open_err = f->result ? f->result->err : DSC_ENOMEM;
  dsc_fail(&f->open_why, f->open_err, "%s", f->result && f->result->why ? f->result->why : dsc_err_text(f->open_err));
  f->ready = true;
  return f;
}

static dsc_future *begin(dsc_frame *frame, dsc_future *f, dsc_call *call) {
  dsc_discoverer_sweep_marks(f->d, dsc_clock_coarse_ms());
  call->future = f;
  f->call = call;
  dsc_call_begin(frame, call);
  if (f->call && f->call->config && !f->request.deadline_ms) f->deadline_ms = f->call->config->deadline_ms;
  return f;
}

dsc_future *dsc_discoverer_async(dsc_frame *frame, const dsc_request *request, bool stream) {
  dsc_future *f = make(frame->d, request);
  if (!f) return NULL;
  dsc_list_push(&f->d->futures, &f->link);
  if (dsc_call_is_refused(f->d)) return refuse(f);
  if (!stream) {
    dsc_call_prepare(frame, &f->own, &f->request, f->result);
    return begin(frame, f, &f->own);
  }
  f->stream = dsc_stream_new(frame, &f->request, f->result);
  if (f->stream) return begin(frame, f, dsc_stream_call(f->stream));
  destroy(f);
  return NULL;
}

dsc_future *dsc_discoverer_open_async(dsc_frame *frame, const dsc_request *request,
                                      const dsc_websocket_options *options) {
  dsc_websocket_options own = *options;
  dsc_future *f = make(frame->d, request);
  if (!f) return NULL;
  dsc_list_push(&f->d->futures, &f->link);
  f->is_opening = true;
  if (dsc_call_is_refused(f->d)) return refuse(f);
  f->protocols = own.protocols ? dsc_mem_strdup(dsc_str_of(own.protocols)) : NULL;
  if (own.protocols && !f->protocols) {
    destroy(f);
    return NULL;
  }
  own.protocols = f->protocols;
  f->open_err = dsc_websocket_prepare(frame, &f->own, &f->request, f->result, &own, &f->websocket, &f->open_why);
  if (!f->open_err) return begin(frame, f, &f->own);
  f->ready = true;
  return f;
}

/* ------------------------------------------------------------------- methods */

bool dsc_future_is_ready(const dsc_future *f) {
  return f->ready;
}

uint32_t dsc_future_deadline_ms(const dsc_future *f) {
  return f->deadline_ms;
}

void dsc_future_on(dsc_future *f, dsc_future_fn fn, void *ud) {
  if (is_forked(f)) return;
  f->fn = fn;
  f->fn_ud = ud;
  if (fn)
    ask_delivery(f);
  else
    dsc_list_remove(&f->delivery.link);
}

void dsc_future_on_settled(dsc_future *f, dsc_future_fn fn, void *ud) {
  f->on_settled = fn;
  f->settled_ud = ud;
}

const dsc_result *dsc_future_result(const dsc_future *f) {
  return f->ready ? f->result : NULL;
}

dsc_result *dsc_future_take_result(dsc_future *f) {
  if (!f->ready) return NULL;
  dsc_result *result = f->result;
  f->result = NULL;
  return result;
}

dsc_stream *dsc_future_take_stream(dsc_future *f) {
  if (!f->ready) return NULL;
  dsc_stream *stream = f->stream;
  f->stream = NULL;
  return stream;
}

dsc_err dsc_future_take_websocket(dsc_future *f, dsc_websocket **ws, dsc_why *why) {
  *ws = NULL;
  if (!f->is_opening) return dsc_fail(why, DSC_EINVALID, "the future of a call has no WebSocket");
  if (!f->ready) return dsc_fail(why, DSC_EINVALID, "the future is not ready");
  if (f->open_err) return dsc_fail(why, f->open_err, "%s", f->open_why.text);
  if (!f->websocket) return dsc_fail(why, DSC_EINVALID, "the WebSocket was already taken");
  *ws = f->websocket;
  f->websocket = NULL;
  return DSC_OK;
}

bool dsc_future_cancel(dsc_frame *frame, dsc_future *f) {
  if (f->ready || !f->d || is_forked(f)) return false;
  dsc_call *call = f->call;
  call->broken = DSC_ECANCELED;
  if (call->wait == DSC_CALL_WAITS_NOT) return true; /* inside one of its own callbacks */
  dsc_call_make_ready(call);
  f->pins++;
  dsc_call_drain(frame, call);
  bool canceled = !f->ready || f->canceled; /* an answer that had come and was not looked at yet stays */
  unpin(f);
  return canceled;
}

void dsc_future_free(dsc_future *f) {
  if (!f || is_forked(f)) return; /* the parent's sockets and locks: forgotten, not freed */
  f->forgotten = true;
  f->fn = f->on_settled = NULL;
  dsc_list_remove(&f->delivery.link);
  if (f->ready || !f->d) {
    if (f->pins == 0) destroy(f);
  }
}
