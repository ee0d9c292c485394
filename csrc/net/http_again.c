/*
** http_again.c - what is sent a second time, by curl or by us, and what never is.
**
** libcurl repeats by itself when a kept-alive connection ends before the first byte of an answer, POST too. Its
** callback before every sending counts them, and stops what may not be repeated.
**
** Over HTTP/2 it also repeats what the node says it did not begin with (REFUSED_STREAM, or a number beyond the last
** one in GOAWAY), and does not say why it repeats. Both look alike from outside, yet one may be repeated whatever it
** is, the other not. Its rule for lost connections has an exception for RTSP's RECEIVE, a request that HTTP has no
** use for: with it, over HTTP/2, curl repeats after a refused stream only, and lost connections are left to us. A
** GOAWAY that ends the connection, and a node that asks for HTTP/1.1, are told by curl in its log lines alone; where
** another version of curl words them differently the request counts as begun with, and is not repeated.
**
** In 7.88 "prior knowledge" on a connection that speaks HTTP/2 already makes it speak HTTP/2 inside HTTP/2. So without
** TLS such a connection is always made by a run that forces a fresh one and says prior knowledge, and used by runs that
** only say HTTP/2 (which would be an upgrade from 1.1 on others: those are stopped before). While one is being made,
** others to that node wait for it.
**
** Invariants: a request that may not be repeated is sent a second time only when the node said that it did not begin
** with the first; there is no third time.
*/
#include "net/http_impl.h"

void dsc_http_again_reset(dsc_http_attempt *attempt) {
  attempt->calls = 0;
  attempt->fresh = attempt->declined = attempt->lowered = false;
  attempt->own_port = 0;
  if (attempt->set_forbid) curl_easy_setopt(attempt->easy, CURLOPT_FORBID_REUSE, 0L);
  attempt->set_forbid = false;
  attempt->stream = attempt->last_stream = -1;
}

/* ------------------------------------------------------------------- what curl tells */

/* The number behind `mark` in a log line, -1 if it is not there. */
static int64_t number_after(dsc_str line, const char *mark) {
  size_t n = strlen(mark);
  for (size_t i = 0; i + n < line.n; i++) {
    if (memcmp(line.p + i, mark, n) != 0) continue;
    int64_t value = -1;
    for (i += n; i < line.n && line.p[i] >= '0' && line.p[i] <= '9' && value < INT32_MAX; i++) {
      value = (value < 0 ? 0 : value * 10) + (line.p[i] - '0');
    }
    return value;
  }
  return -1;
}

static int on_line(CURL *easy, curl_infotype type, char *bytes, size_t size, void *ud) {
  dsc_http_attempt *attempt = ud;
  dsc_str line = {bytes, size};
  (void)easy;
  if (type != CURLINFO_TEXT) return 0;
  int64_t stream = number_after(line, "Using Stream ID: ");
  int64_t last = number_after(line, "last_stream=");
  if (stream >= 0) attempt->stream = stream;
  if (last >= 0 && (attempt->last_stream < 0 || last < attempt->last_stream)) attempt->last_stream = last;
  if (dsc_str_starts(line, DSC_STR_LITERAL("Downgrades to HTTP/1.1"))) attempt->lowered = true;
  return 0;
}

/* True when curl repeats after a refused stream and for no other reason. */
static bool tells_why(const dsc_http_attempt *attempt) {
  return attempt->request.http2 && attempt->set_told && !attempt->lowered;
}

/* ------------------------------------------------------------------- before a sending */

static bool is_fresh(const dsc_http_attempt *attempt) {
  long made = 0;
  curl_easy_getinfo(attempt->easy, CURLINFO_NUM_CONNECTS, &made);
  return made > 0;
}

void dsc_http_again_forbid(dsc_http_attempt *attempt) {
  attempt->set_forbid = true;
  curl_easy_setopt(attempt->easy, CURLOPT_FORBID_REUSE, 1L);
}

/* Stops a run that would use a connection of HTTP/1.1; it was made in vain and is closed. */
static int leave_connection(dsc_http_attempt *attempt) {
  dsc_http_again_forbid(attempt);
  attempt->restart = true;
  return CURL_PREREQFUNC_ABORT;
}

/* Ends this run of curl's; the next one makes a connection of its own. */
static int begin_anew(dsc_http_attempt *attempt) {
  attempt->restart = true;
  return CURL_PREREQFUNC_ABORT;
}

static bool may_send_again(const dsc_http_attempt *attempt) {
  if (attempt->replaced) return false;
  return attempt->request.may_repeat || (attempt->declined && !attempt->request.once);
}

bool dsc_http_again_may_connect(dsc_http_attempt *attempt) {
  if (attempt->calls == 0) return true;
  if (tells_why(attempt)) attempt->declined = true;
  return attempt->request.may_repeat || may_send_again(attempt);
}

static int before_first(dsc_http_attempt *attempt) {
  attempt->fresh = is_fresh(attempt);
  if (!attempt->fresh && dsc_http_watch_is_spoilt(attempt->http, attempt->own_port)) return begin_anew(attempt);
  attempt->sent = true;
  return CURL_PREREQFUNC_OK;
}

static int before(void *ud, char *peer_ip, char *own_ip, int peer_port, int own_port) {
  dsc_http_attempt *attempt = ud;
  (void)peer_ip;
  (void)own_ip;
  (void)peer_port;
  attempt->calls++;
  attempt->own_port = own_port;
  if (dsc_http_is_h2c(attempt)) {
    if (attempt->set_fresh)
      dsc_http_watch_set_http2(attempt->http, own_port);
    else if (!dsc_http_watch_is_http2(attempt->http, own_port))
      return leave_connection(attempt);
  }
  if (attempt->calls == 1) return before_first(attempt);
  attempt->worn = true;
  if (tells_why(attempt)) attempt->declined = true;
  if (!may_send_again(attempt)) return CURL_PREREQFUNC_ABORT;
  attempt->replaced = true;
  attempt->declined = false;
  attempt->stream = attempt->last_stream = -1;
  /* on another kept-alive one, perhaps as dead as the first? */
  if (!is_fresh(attempt)) return begin_anew(attempt);
  /* a source may have given bytes that curl did not send */
  return dsc_http_flow_has_source(attempt) ? begin_anew(attempt) : CURL_PREREQFUNC_OK;
}

void dsc_http_again_init(dsc_http_attempt *attempt) {
  dsc_http_again_reset(attempt);
  curl_easy_setopt(attempt->easy, CURLOPT_PREREQFUNCTION, before);
  curl_easy_setopt(attempt->easy, CURLOPT_PREREQDATA, attempt);
  curl_easy_setopt(attempt->easy, CURLOPT_DEBUGFUNCTION, on_line);
  curl_easy_setopt(attempt->easy, CURLOPT_DEBUGDATA, attempt);
}

void dsc_http_again_set(dsc_http_attempt *attempt) {
  const dsc_http_request *request = &attempt->request;
  if (request->http2 != attempt->set_told) {
    long what = request->http2 ? CURL_RTSPREQ_RECEIVE : CURL_RTSPREQ_OPTIONS;
    CURLcode rc = curl_easy_setopt(attempt->easy, CURLOPT_RTSP_REQUEST, what);
    attempt->set_told = request->http2 && rc == CURLE_OK;
  }
  /* the lines cost time: only where they decide something */
  curl_easy_setopt(attempt->easy, CURLOPT_VERBOSE, (long)(request->http2 && !request->may_repeat));
}

/* ------------------------------------------------------------------- after the end */

/* Ends that a connection which was kept alive too long can have. Of HTTP/1.1 curl repeats by itself all but one. */
static bool is_lost(const dsc_http_attempt *attempt, CURLcode result) {
  switch (result) {
  case CURLE_SEND_ERROR: return true;
  case CURLE_HTTP2:
  case CURLE_PARTIAL_FILE:
  case CURLE_GOT_NOTHING:
  case CURLE_RECV_ERROR: return attempt->request.http2;
  default: return false;
  }
}

bool dsc_http_again_is_due(dsc_http_attempt *attempt, CURLcode result) {
  if (attempt->restart) return true;
  if (result == CURLE_OK) return false;
  attempt->worn = attempt->worn || attempt->request.http2;
  if (attempt->calls == 0 || attempt->broke != DSC_OK || attempt->header_bytes > 0) return false;
  if (attempt->stream >= 0 && attempt->last_stream >= 0 && attempt->stream > attempt->last_stream) {
    attempt->declined = true;
  }
  /* what a kept-alive connection did with the request may be repeated or was declined; a fresh one is not to blame */
  bool dead = attempt->request.may_repeat && !attempt->fresh;
  if (!is_lost(attempt, result) || !(dead || attempt->declined) || !may_send_again(attempt)) return false;
  attempt->replaced = true;
  return true;
}
