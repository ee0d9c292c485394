/*
** http.c - a client's life and an attempt's.
**
**     send -> look-up (names only) -> waiting (all connections in use) -> running (curl) -> ready -> delivered -> idle
**
** dsc_http_send() lets curl write the request at once, without a turn of the loop. What ends within it (or anywhere
** outside dsc_loop_run()) goes on the `ready` list and the bell, a timer of 0 ms, delivers it in the next run. What
** ends inside a callback of the loop is delivered at the end of that callback, when curl is no longer on the stack.
**
** Invariants: an attempt is in exactly one list, but for the moment of its `done`; `running` handles are in the multi
** handle and no others; the header lines are wiped as soon as curl is done with them. Threads: the loop's only.
*/
#include "net/http_impl.h"

#include <pthread.h>

#include "base/clock.h"
#include "base/mem.h"

#define IDLE_KEPT 256

static pthread_once_t global_once = PTHREAD_ONCE_INIT;
static CURLcode global_rc;

static void init_global(void) {
  dsc_tls_prepare();
  global_rc = curl_global_init(CURL_GLOBAL_DEFAULT);
  dsc_http_easy_init();
}

static void move_to(dsc_http_attempt *attempt, dsc_link *list, dsc_http_phase phase) {
  if (attempt->request.http2 && attempt->phase == DSC_HTTP_WAITING) attempt->http->waiting_shared--;
  if (attempt->request.http2 && phase == DSC_HTTP_WAITING) attempt->http->waiting_shared++;
  dsc_list_remove(&attempt->link);
  dsc_list_push(list, &attempt->link);
  attempt->phase = phase;
}

static void make_ready(dsc_http_attempt *attempt) {
  dsc_http_easy_wipe(attempt);
  if (attempt->timer) dsc_timer_stop(attempt->timer);
  move_to(attempt, &attempt->http->ready, DSC_HTTP_READY);
}

static void recycle(dsc_http_attempt *attempt) {
  dsc_http *http = attempt->http;
  bool worn = attempt->worn;
  dsc_http_answer_reset(attempt);
  if (http->idle_count >= IDLE_KEPT || worn) {
    dsc_list_remove(&attempt->link);
    dsc_http_easy_free(attempt);
    return;
  }
  http->idle_count++;
  move_to(attempt, &http->idle, DSC_HTTP_IDLE);
}

static void deliver(dsc_http *http) {
  dsc_link *link;
  dsc_http_flow_deliver(http);
  while ((link = dsc_list_pop(&http->ready))) {
    dsc_http_attempt *attempt = DSC_LIST_ENTRY(link, dsc_http_attempt, link);
    attempt->phase = DSC_HTTP_DELIVERED;
    http->active--;
    dsc_loop_stop(http->loop);
    attempt->done(attempt->ud, &attempt->answer);
    recycle(attempt);
  }
}

static void on_bell(void *ud) {
  deliver(ud);
}

/* -------------------------------------------------------------- the time */

static void give_up(dsc_http_attempt *attempt) {
  const dsc_http_request *request = &attempt->request;
  if (attempt->phase == DSC_HTTP_LOOKUP) {
    dsc_resolve_cancel(attempt->question);
    attempt->question = NULL;
    dsc_http_judge_fail(attempt, DSC_ETIMEOUT, "the name \"%s\" was not resolved within %u ms", request->host,
                        request->timeout_ms);
  } else {
    dsc_http_judge_crowded(attempt);
  }
  make_ready(attempt);
}

static void on_patience(void *ud) {
  dsc_http_attempt *attempt = ud;
  if (attempt->phase != DSC_HTTP_RUNNING) {
    give_up(attempt);
  } else if (dsc_http_flow_is_late(attempt)) {
    dsc_http_end(attempt, CURLE_OPERATION_TIMEDOUT);
  }
  dsc_http_pump(attempt->http);
}

static bool start_timer(dsc_http_attempt *attempt, uint64_t most_ms) {
  if (!attempt->timer) attempt->timer = dsc_timer_new(attempt->http->loop, on_patience, attempt);
  if (!attempt->timer) return false;
  uint64_t now = dsc_clock_now_ms();
  uint64_t left = attempt->deadline_ms > now ? attempt->deadline_ms - now : 0;
  dsc_timer_start(attempt->timer, left < most_ms ? left : most_ms);
  return true;
}

static void fail_nomem(dsc_http_attempt *attempt) {
  attempt->answer.ours = true;
  dsc_http_judge_fail(attempt, DSC_ENOMEM, "out of memory while calling %s", attempt->request.addr);
  make_ready(attempt);
}

/* ------------------------------------------------------------------ running */

/* True while somebody makes a connection that speaks HTTP/2 without TLS to the same node. */
static bool is_being_made(const dsc_http_attempt *attempt) {
  const dsc_link *busy = &attempt->http->busy;
  if (dsc_http_watch_has_h2c(attempt->http, attempt->request.addr)) return false;
  for (const dsc_link *at = busy->next; at != busy; at = at->next) {
    const dsc_http_attempt *other = DSC_LIST_ENTRY(at, const dsc_http_attempt, link);
    if (other->phase != DSC_HTTP_RUNNING || !dsc_http_is_h2c(other) || other->calls > 0) continue;
    if (dsc_http_is_alone(other)) continue;
    if (strcmp(other->request.addr, attempt->request.addr) == 0) return true;
  }
  return false;
}

/* Streams share connections; curl itself keeps to the number of those. */
static bool has_room(const dsc_http_attempt *attempt) {
  const dsc_http *http = attempt->http;
  if (!attempt->request.http2 || dsc_http_is_alone(attempt)) return http->running < DSC_HTTP_MAX_CONNECTIONS;
  return http->streams < DSC_HTTP_MAX_STREAMS && !(dsc_http_is_h2c(attempt) && is_being_made(attempt));
}

static size_t *place_of(dsc_http_attempt *attempt) {
  bool shares = attempt->request.http2 && !dsc_http_is_alone(attempt);
  return shares ? &attempt->http->streams : &attempt->http->running;
}

static void run(dsc_http_attempt *attempt) {
  dsc_http *http = attempt->http;
  if (attempt->timer) dsc_timer_stop(attempt->timer);
  dsc_http_easy_set_time(attempt);
  if (dsc_http_is_alone(attempt)) {
    dsc_http_easy_set_fresh(attempt, true);
    dsc_http_again_forbid(attempt);
  } else if (dsc_http_is_h2c(attempt) && !dsc_http_watch_has_h2c(http, attempt->request.addr)) {
    dsc_http_easy_set_fresh(attempt, true);
  }
  bool timed = !dsc_http_flow_is_stream(attempt) || start_timer(attempt, UINT64_MAX);
  if (!timed || curl_multi_add_handle(http->multi, attempt->easy) != CURLM_OK) {
    fail_nomem(attempt);
    return;
  }
  ++*place_of(attempt);
  move_to(attempt, &http->busy, DSC_HTTP_RUNNING);
}

/* No connection is free, and nobody waits who could share one: thousands need not be asked one by one. */
static bool is_full(const dsc_http *http) {
  return http->running >= DSC_HTTP_MAX_CONNECTIONS && http->waiting_shared == 0;
}

static void run_waiting(dsc_http *http) {
  for (dsc_link *at = http->waiting.next, *next; at != &http->waiting; at = next) {
    dsc_http_attempt *attempt = DSC_LIST_ENTRY(at, dsc_http_attempt, link);
    next = at->next;
    if (is_full(http)) return;
    if (has_room(attempt)) run(attempt);
  }
}

static void leave_curl(dsc_http_attempt *attempt) {
  curl_multi_remove_handle(attempt->http->multi, attempt->easy);
  --*place_of(attempt);
}

void dsc_http_end(dsc_http_attempt *attempt, CURLcode result) {
  leave_curl(attempt);
  if (dsc_http_again_is_due(attempt, result) && dsc_http_flow_rewind(attempt)) {
    attempt->restart = false;
    attempt->curl_text[0] = '\0';
    dsc_http_again_reset(attempt);
    dsc_http_easy_set_fresh(attempt, true);
    run(attempt);
    return;
  }
  dsc_http_judge(attempt, result);
  make_ready(attempt);
}

void dsc_http_pump(dsc_http *http) {
  CURLMsg *msg;
  int left;
  while ((msg = curl_multi_info_read(http->multi, &left))) {
    char *attempt;
    CURLcode result = msg->data.result;
    if (msg->msg == CURLMSG_DONE && curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &attempt) == CURLE_OK) {
      dsc_http_end((dsc_http_attempt *)(void *)attempt, result);
    }
  }
  run_waiting(http);
  if (dsc_list_empty(&http->ready) && dsc_list_empty(&http->noted)) return;
  if (http->in_send || !dsc_loop_running(http->loop)) {
    dsc_timer_start(http->bell, 0);
  } else {
    deliver(http);
  }
}

/* ---------------------------------------------------------- before curl has it */

static void start(dsc_http_attempt *attempt, const dsc_resolve_answer *found) {
  dsc_http *http = attempt->http;
  bool literal = strcmp(found->addrs[0], attempt->request.host) == 0;
  dsc_http_easy_set_fresh(attempt, false);
  if (dsc_http_easy_prepare(attempt, literal ? NULL : found) != DSC_OK) {
    make_ready(attempt);
  } else if (has_room(attempt)) {
    run(attempt);
  } else if (start_timer(attempt, attempt->request.http2 ? attempt->request.connect_timeout_ms : UINT64_MAX)) {
    /* who waits for a connection that somebody else makes has no more time for it than by making his own */
    move_to(attempt, &http->waiting, DSC_HTTP_WAITING);
  } else {
    fail_nomem(attempt);
  }
}

static void take_found(dsc_http_attempt *attempt, const dsc_resolve_answer *found) {
  if (found->err == DSC_OK && found->count > 0) {
    start(attempt, found);
    return;
  }
  attempt->answer.ours = found->err == DSC_ENOMEM;
  dsc_http_judge_fail(attempt, found->err ? found->err : DSC_ECONNECT, "%s", found->why);
  make_ready(attempt);
}

static void on_found(void *ud, const dsc_resolve_answer *found) {
  dsc_http_attempt *attempt = ud;
  attempt->question = NULL;
  take_found(attempt, found);
  dsc_http_pump(attempt->http);
}

static void begin(dsc_http_attempt *attempt) {
  dsc_http *http = attempt->http;
  dsc_str host = dsc_str_of(attempt->request.host);
  dsc_resolve_answer found;
  if (dsc_resolver_lookup(http->resolver, host, &found)) {
    take_found(attempt, &found);
    return;
  }
  move_to(attempt, &http->busy, DSC_HTTP_LOOKUP);
  attempt->question =
      start_timer(attempt, UINT64_MAX) ? dsc_resolver_ask(http->resolver, host, on_found, attempt) : NULL;
  if (!attempt->question) fail_nomem(attempt);
}

/* ----------------------------------------------------------------- the door */

dsc_http *dsc_http_new(dsc_loop *loop, dsc_resolver *resolver, dsc_err *err) {
  pthread_once(&global_once, init_global);
  dsc_http *http = dsc_mem_zalloc(1, sizeof *http);
  *err = !http ? DSC_ENOMEM : global_rc != CURLE_OK ? DSC_EIO : DSC_OK;
  if (*err != DSC_OK) {
    dsc_mem_free(http);
    return NULL;
  }
  http->loop = loop;
  http->resolver = resolver;
  dsc_list_init(&http->busy);
  dsc_list_init(&http->waiting);
  dsc_list_init(&http->ready);
  dsc_list_init(&http->idle);
  dsc_list_init(&http->noted);
  http->bell = dsc_timer_new(loop, on_bell, http);
  http->share = curl_share_init();
  if (http->share) curl_share_setopt(http->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
  *err = http->bell && http->share ? dsc_http_watch_init(http) : DSC_ENOMEM;
  if (*err == DSC_OK) return http;
  dsc_http_free(http);
  return NULL;
}

static void free_attempts(dsc_link *list) {
  dsc_link *link;
  while ((link = dsc_list_pop(list))) {
    dsc_http_attempt *attempt = DSC_LIST_ENTRY(link, dsc_http_attempt, link);
    if (attempt->phase == DSC_HTTP_RUNNING) leave_curl(attempt);
    dsc_http_easy_free(attempt);
  }
}

void dsc_http_free(dsc_http *http) {
  if (!http) return;
  free_attempts(&http->busy);
  free_attempts(&http->waiting);
  free_attempts(&http->ready);
  free_attempts(&http->idle);
  dsc_http_watch_fini(http);
  curl_share_cleanup(http->share);
  dsc_timer_free(http->bell);
  dsc_mem_free(http);
}

static dsc_http_attempt *take_idle(dsc_http *http) {
  if (dsc_list_empty(&http->idle)) return dsc_http_easy_new(http);
  http->idle_count--;
  /* the last one used: it most likely has the right options already */
  return DSC_LIST_ENTRY(http->idle.prev, dsc_http_attempt, link);
}

dsc_err dsc_http_send(dsc_http *http, const dsc_http_request *request, dsc_http_done done, void *ud,
                      dsc_http_attempt **attempt, dsc_why *why) {
  dsc_http_attempt *a = take_idle(http);
  if (!a) return dsc_fail(why, DSC_ENOMEM, "out of memory while calling %s", request->addr);
  a->request = *request;
  a->done = done;
  a->ud = ud;
  a->deadline_ms = dsc_clock_now_ms() + request->timeout_ms;
  http->active++;
  bool nested = http->in_send;
  http->in_send = true;
  begin(a);
  if (a->phase == DSC_HTTP_RUNNING) dsc_http_watch_kick(http);
  dsc_http_pump(http);
  http->in_send = nested;
  dsc_http_watch_rearm(http);
  if (attempt) *attempt = a;
  return DSC_OK;
}

void dsc_http_cancel(dsc_http_attempt *attempt) {
  if (!attempt || attempt->phase == DSC_HTTP_IDLE || attempt->phase == DSC_HTTP_DELIVERED) return;
  dsc_http *http = attempt->http;
  if (attempt->phase == DSC_HTTP_RUNNING) leave_curl(attempt);
  dsc_resolve_cancel(attempt->question);
  attempt->question = NULL;
  make_ready(attempt);
  http->active--;
  recycle(attempt);
  run_waiting(http);
}

size_t dsc_http_active(const dsc_http *http) {
  return http->active;
}
