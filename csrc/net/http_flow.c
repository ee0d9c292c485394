/*
** http_flow.c - bodies in pieces: a source that is read while it is sent, a stream whose body waits until it is read.
**
** What curl cannot have now it gets later: a source without bytes pauses the sending until dsc_http_resume(), a full
** window pauses the receiving until dsc_http_read() has emptied half of it. curl keeps the piece that found no room;
** of a compressed body that is all that one read of 16 KiB unpacks to (gzip: 17 MiB; beyond 64 MiB curl gives up).
**
** Callbacks of curl tell nobody anything: they note, and the notes are delivered when curl is off the stack, before
** the completions.
**
** Up to the final headers a stream has the time of any attempt, on a timer of ours (curl's would end the body too);
** from then on the same timer watches for silence, and rests while it is us who are waited for. Invariants: a stream's
** bytes from `body_at` on are unread; `given` counts since the last rewind. Threads: the loop's only.
*/
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "net/http_impl.h"

#define WINDOW ((size_t)256 * 1024 - 1) /* with its terminator the buffer is no larger than a power of two */
#define REFILL (WINDOW / 2)

bool dsc_http_flow_is_stream(const dsc_http_attempt *attempt) {
  return attempt->request.flow && attempt->request.flow->stream;
}

void dsc_http_flow_reset(dsc_http_attempt *attempt) {
  dsc_list_remove(&attempt->note_link);
  attempt->opened_noted = attempt->moved_noted = false;
  attempt->recv_paused = attempt->send_paused = attempt->source_failed = false;
  attempt->body_at = 0;
  attempt->given = attempt->received = 0;
  attempt->to_receive = -1;
}

/* ------------------------------------------------------------------ telling */

static void note(dsc_http_attempt *attempt) {
  if (dsc_list_empty(&attempt->note_link)) dsc_list_push(&attempt->http->noted, &attempt->note_link);
}

static void note_moved(dsc_http_attempt *attempt) {
  const dsc_http_flow *flow = attempt->request.flow;
  if (!flow || !flow->moved) return;
  attempt->moved_noted = true;
  note(attempt);
}

void dsc_http_flow_note_opened(dsc_http_attempt *attempt) {
  if (!dsc_http_flow_is_stream(attempt)) return;
  dsc_http_flow_watch(attempt);
  attempt->opened_noted = true;
  note(attempt);
}

/* The transfer may be over by now, badly perhaps: that is told by `done`. */
static void tell_opened(dsc_http_attempt *attempt) {
  dsc_http_answer seen = attempt->answer;
  seen.err = DSC_OK;
  seen.why[0] = '\0';
  seen.ours = false;
  seen.sent = attempt->sent;
  seen.body = NULL;
  seen.body_len = 0;
  attempt->request.flow->opened(attempt->ud, &seen);
  attempt->answer.headers = seen.headers;
}

void dsc_http_flow_deliver(dsc_http *http) {
  dsc_link *link;
  while ((link = dsc_list_pop(&http->noted))) {
    dsc_http_attempt *attempt = DSC_LIST_ENTRY(link, dsc_http_attempt, note_link);
    const dsc_http_flow *flow = attempt->request.flow;
    bool opened = attempt->opened_noted, moved = attempt->moved_noted;
    attempt->opened_noted = attempt->moved_noted = false;
    dsc_loop_stop(http->loop);
    if (opened) tell_opened(attempt);
    if (moved) flow->moved(attempt->ud);
  }
}

/* ------------------------------------------------------------------ sending */

static ptrdiff_t read_flat(void *ud, char *bytes, size_t max) {
  const dsc_http_attempt *attempt = ud;
  memcpy(bytes, (const char *)attempt->request.body + attempt->given, max);
  return (ptrdiff_t)max;
}

static bool rewind_flat(void *ud) {
  (void)ud; /* `given` is the place */
  return true;
}

/* A flat body is read in pieces too if its progress is wanted. */
static bool find_source(dsc_http_attempt *attempt, dsc_http_source *source) {
  const dsc_http_request *request = &attempt->request;
  if (request->source) {
    *source = *request->source;
    return true;
  }
  if (!request->body || !request->flow || !request->flow->progress) return false;
  *source = (dsc_http_source){attempt, (int64_t)request->body_len, read_flat, rewind_flat};
  return true;
}

bool dsc_http_flow_has_source(dsc_http_attempt *attempt) {
  dsc_http_source source;
  return find_source(attempt, &source);
}

static size_t fail_source(dsc_http_attempt *attempt, const char *cause) {
  attempt->broke = DSC_EIO;
  attempt->cause = cause;
  attempt->source_failed = true;
  return CURL_READFUNC_ABORT;
}

/* curl's callback: the next bytes of a source. */
static size_t give(char *bytes, size_t size, size_t count, void *ud) {
  dsc_http_attempt *attempt = ud;
  dsc_http_source source;
  size_t max = size * count;
  if (!find_source(attempt, &source)) return 0;
  attempt->heard_ms = dsc_clock_now_ms(); /* the node took what it got before */
  uint64_t left = source.size < 0 ? UINT64_MAX : (uint64_t)source.size - attempt->given;
  if (left == 0) return 0;
  if (left < max) max = (size_t)left;
  ptrdiff_t n = source.read(source.ud, bytes, max);
  if (n == DSC_HTTP_SOURCE_LATER) {
    attempt->send_paused = true;
    return CURL_READFUNC_PAUSE;
  }
  if (n < 0) return fail_source(attempt, "it could not be read");
  if (n == 0 && source.size >= 0) return fail_source(attempt, "it is shorter than was said");
  attempt->given += (uint64_t)n;
  if (n > 0 && attempt->request.flow && attempt->request.flow->progress) note_moved(attempt);
  return (size_t)n;
}

bool dsc_http_flow_rewind(dsc_http_attempt *attempt) {
  dsc_http_source source;
  if (!find_source(attempt, &source)) return true;
  if (!source.rewind(source.ud)) return false;
  attempt->given = 0;
  attempt->send_paused = false;
  return true;
}

/* curl's callback: it wants to send a source again. */
static int seek(void *ud, curl_off_t offset, int origin) {
  if (offset != 0 || origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  return dsc_http_flow_rewind(ud) ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

void dsc_http_flow_set_constants(dsc_http_attempt *attempt) {
  curl_easy_setopt(attempt->easy, CURLOPT_READFUNCTION, give);
  curl_easy_setopt(attempt->easy, CURLOPT_READDATA, attempt);
  curl_easy_setopt(attempt->easy, CURLOPT_SEEKFUNCTION, seek);
  curl_easy_setopt(attempt->easy, CURLOPT_SEEKDATA, attempt);
}

CURLcode dsc_http_flow_set_body(dsc_http_attempt *attempt) {
  const dsc_http_request *request = &attempt->request;
  dsc_http_source source;
  bool in_pieces = find_source(attempt, &source);
  curl_off_t size = in_pieces ? source.size : request->body ? (curl_off_t)request->body_len : 0;
  const char *flat = in_pieces ? NULL : request->body ? request->body : "";
  curl_easy_setopt(attempt->easy, CURLOPT_POSTFIELDSIZE_LARGE, size);
  return curl_easy_setopt(attempt->easy, CURLOPT_POSTFIELDS, flat);
}

void dsc_http_resume(dsc_http_attempt *attempt) {
  if (!attempt || attempt->phase != DSC_HTTP_RUNNING || !attempt->send_paused) return;
  attempt->send_paused = false;
  dsc_http_flow_watch(attempt);
  curl_easy_pause(attempt->easy, attempt->recv_paused ? CURLPAUSE_RECV : CURLPAUSE_CONT);
}

/* ---------------------------------------------------------------- receiving */

static size_t waiting(const dsc_http_attempt *attempt) {
  return attempt->body.len - attempt->body_at;
}

bool dsc_http_flow_has_room(dsc_http_attempt *attempt, size_t n) {
  if (!dsc_http_flow_is_stream(attempt)) return true;
  if (waiting(attempt) > 0 && waiting(attempt) + n > WINDOW) {
    attempt->recv_paused = true;
    return false;
  }
  if (attempt->body_at > 0 && attempt->body.len + n > WINDOW) {
    dsc_buf_consume(&attempt->body, attempt->body_at);
    attempt->body_at = 0;
  }
  return true;
}

void dsc_http_flow_took(dsc_http_attempt *attempt, size_t n) {
  const dsc_http_flow *flow = attempt->request.flow;
  attempt->received += n;
  if (!flow) return;
  attempt->heard_ms = dsc_clock_now_ms();
  if (flow->stream || flow->progress) note_moved(attempt);
}

void dsc_http_flow_finish(dsc_http_attempt *attempt) {
  dsc_http_answer *answer = &attempt->answer;
  if (answer->err == DSC_OK) attempt->to_receive = (int64_t)attempt->received;
  if (!dsc_http_flow_is_stream(attempt) || waiting(attempt) == 0) return;
  dsc_buf_consume(&attempt->body, attempt->body_at);
  attempt->body_at = 0;
  answer->body = dsc_buf_take(&attempt->body, &answer->body_len);
}

/* Lets curl go on; it hands over at once what it kept. */
static void let_come(dsc_http_attempt *attempt) {
  attempt->recv_paused = false;
  dsc_http_flow_watch(attempt);
  CURLcode rc = curl_easy_pause(attempt->easy, attempt->send_paused ? CURLPAUSE_SEND : CURLPAUSE_CONT);
  if (rc != CURLE_OK) dsc_http_end(attempt, rc);
  /* a note that was made just now has nobody else to deliver it */
  if (!dsc_list_empty(&attempt->http->noted) || rc != CURLE_OK) dsc_http_pump(attempt->http);
}

size_t dsc_http_read(dsc_http_attempt *attempt, char *bytes, size_t max) {
  size_t n = waiting(attempt) < max ? waiting(attempt) : max;
  if (n) memcpy(bytes, attempt->body.data + attempt->body_at, n);
  attempt->body_at += n;
  if (waiting(attempt) == 0) {
    attempt->body_at = 0;
    dsc_buf_reset(&attempt->body);
  }
  if (attempt->recv_paused && attempt->phase == DSC_HTTP_RUNNING && waiting(attempt) <= REFILL) let_come(attempt);
  return n;
}

void dsc_http_get_progress(const dsc_http_attempt *attempt, dsc_http_progress *progress) {
  const dsc_http_request *request = &attempt->request;
  *progress = (dsc_http_progress){.sent = attempt->given, .received = attempt->received};
  progress->to_send = request->source ? request->source->size : request->body ? (int64_t)request->body_len : 0;
  progress->to_receive = attempt->to_receive;
}

/* ----------------------------------------------------------------- the time */

static uint32_t patience_ms(const dsc_http_attempt *attempt) {
  return attempt->request.silence_ms ? attempt->request.silence_ms : attempt->request.timeout_ms;
}

void dsc_http_flow_watch(dsc_http_attempt *attempt) {
  if (!dsc_http_flow_is_stream(attempt) || !attempt->headers_done) return;
  attempt->heard_ms = dsc_clock_now_ms();
  dsc_timer_start(attempt->timer, patience_ms(attempt));
}

bool dsc_http_flow_is_late(dsc_http_attempt *attempt) {
  if (!attempt->headers_done) return true;
  if (attempt->recv_paused || attempt->send_paused) return false; /* it is us who are waited for */
  uint64_t silent_ms = dsc_clock_now_ms() - attempt->heard_ms;
  if (silent_ms >= patience_ms(attempt)) return true;
  dsc_timer_start(attempt->timer, patience_ms(attempt) - silent_ms);
  return false;
}
