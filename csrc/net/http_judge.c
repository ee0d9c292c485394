/*
** http_judge.c - what the end of a transfer means in our words.
**
** Three questions: whose fault (the node's or this process's), which code, and which sentence. curl's own sentence is
** used only where it says more than we know; it never holds a header's value.
*/
#include "net/http_impl.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

void dsc_http_judge_fail(dsc_http_attempt *attempt, dsc_err err, const char *format, ...) {
  dsc_http_answer *answer = &attempt->answer;
  char text[sizeof answer->why];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  dsc_why why; /* shows control characters as '?' */
  answer->err = dsc_fail(&why, err, "%s", text);
  memcpy(answer->why, why.text, sizeof answer->why - 1);
  answer->why[sizeof answer->why - 1] = '\0';
}

static const char *curl_says(const dsc_http_attempt *attempt, CURLcode result) {
  return attempt->curl_text[0] ? attempt->curl_text : curl_easy_strerror(result);
}

static bool is_ours(int cause) {
  return cause == EMFILE || cause == ENFILE || cause == ENOMEM || cause == EADDRNOTAVAIL || cause == ENOBUFS ||
         cause == EACCES || cause == EPERM || cause == EAFNOSUPPORT;
}

static void judge_unreached(dsc_http_attempt *attempt) {
  const dsc_http_request *request = &attempt->request;
  uint32_t ms = request->connect_timeout_ms < request->timeout_ms ? request->connect_timeout_ms : request->timeout_ms;
  dsc_http_judge_fail(attempt, DSC_ETIMEOUT, "no %sconnection to %s within %u ms", request->tls ? "TLS " : "",
                      request->addr, ms);
}

void dsc_http_judge_crowded(dsc_http_attempt *attempt) {
  const dsc_http_request *request = &attempt->request;
  if (request->http2 && attempt->http->streams < DSC_HTTP_MAX_STREAMS) {
    judge_unreached(attempt);
    return;
  }
  attempt->answer.ours = true;
  dsc_http_judge_fail(attempt, DSC_ETIMEOUT, "all %d %s were in use for %u ms, %s was not called",
                      request->http2 ? DSC_HTTP_MAX_STREAMS : DSC_HTTP_MAX_CONNECTIONS,
                      request->http2 ? "streams" : "connections", request->timeout_ms, request->addr);
}

static void judge_lost(dsc_http_attempt *attempt) {
  dsc_http_judge_fail(attempt, DSC_ECONNECT, "the kept-alive connection to %s was lost", attempt->request.addr);
}

static void judge_connect(dsc_http_attempt *attempt, CURLcode result) {
  const char *addr = attempt->request.addr;
  if (attempt->sent && !attempt->request.may_repeat) {
    judge_lost(attempt);
    return;
  }
  long cause = attempt->socket_errno;
  if (cause == 0) curl_easy_getinfo(attempt->easy, CURLINFO_OS_ERRNO, &cause);
  attempt->answer.ours = is_ours((int)cause);
  attempt->answer.refused = cause == ECONNREFUSED || cause == ECONNRESET;
  if (attempt->answer.ours) {
    dsc_http_judge_fail(attempt, cause == ENOMEM ? DSC_ENOMEM : DSC_EIO,
                        "this process cannot open a connection to %s: %s", addr, strerror((int)cause));
  } else {
    dsc_http_judge_fail(attempt, DSC_ECONNECT, "no connection to %s: %s", addr,
                        cause ? strerror((int)cause) : curl_says(attempt, result));
  }
}

static void judge_timeout(dsc_http_attempt *attempt) {
  const dsc_http_request *request = &attempt->request;
  if (attempt->socket_errno == ENOMEM) {
    attempt->answer.ours = true;
    dsc_http_judge_fail(attempt, DSC_ENOMEM, "out of memory while calling %s", request->addr);
    return;
  }
  if (dsc_http_flow_is_stream(attempt) && attempt->headers_done) {
    dsc_http_judge_fail(attempt, DSC_ETIMEOUT, "%s was silent for %u ms in the middle of its answer", request->addr,
                        request->silence_ms ? request->silence_ms : request->timeout_ms);
    return;
  }
  if (attempt->send_paused) {
    attempt->answer.ours = true;
    dsc_http_judge_fail(attempt, DSC_ETIMEOUT, "the body for %s was not there within %u ms", request->addr,
                        request->timeout_ms);
    return;
  }
  if (attempt->sent) {
    const char *what = attempt->headers_done ? "all of its answer" : "answer";
    dsc_http_judge_fail(attempt, DSC_ETIMEOUT, "%s did not %s%s within %u ms", request->addr,
                        attempt->headers_done ? "send " : "", what, request->timeout_ms);
    return;
  }
  if (!attempt->opened && attempt->http->sockets >= DSC_HTTP_MAX_CONNECTIONS) {
    attempt->answer.ours = true; /* curl itself had it wait */
    dsc_http_judge_fail(attempt, DSC_ETIMEOUT, "all %d connections were in use, %s was not called",
                        DSC_HTTP_MAX_CONNECTIONS, request->addr);
    return;
  }
  judge_unreached(attempt);
}

/* One of our own callbacks broke it off. */
static void judge_broken(dsc_http_attempt *attempt) {
  attempt->answer.ours = attempt->broke == DSC_ENOMEM || attempt->source_failed;
  if (attempt->source_failed) {
    dsc_http_judge_fail(attempt, attempt->broke, "the body for %s cannot be sent: %s", attempt->request.addr,
                        attempt->cause);
    return;
  }
  dsc_http_judge_fail(attempt, attempt->broke, "the answer of %s cannot be taken: %s", attempt->request.addr,
                      attempt->cause);
}

static void judge_receive(dsc_http_attempt *attempt, CURLcode result) {
  const char *addr = attempt->request.addr;
  static const char lost[] = "Recv failure";
  /* curl has one code for a lost connection and for garbage between chunks */
  if (strncmp(attempt->curl_text, lost, sizeof lost - 1) == 0 || attempt->curl_text[0] == '\0') {
    dsc_http_judge_fail(attempt, DSC_ECONNECT, "the connection to %s was lost before the whole answer came: %s", addr,
                        curl_says(attempt, result));
  } else {
    dsc_http_judge_fail(attempt, DSC_EPROTOCOL, "%s broke the protocol: %s", addr, curl_says(attempt, result));
  }
}

static void judge_nothing(dsc_http_attempt *attempt) {
  dsc_http_judge_fail(attempt, DSC_ECONNECT, "%s closed the connection without an answer", attempt->request.addr);
}

static void judge_memory(dsc_http_attempt *attempt) {
  /* curl says "out of memory" of a header line beyond its own ceiling too */
  if (attempt->sent && !attempt->headers_done) {
    dsc_http_judge_fail(attempt, DSC_EPROTOCOL, "%s sent a header line that is too long", attempt->request.addr);
    return;
  }
  if (attempt->recv_paused) {
    dsc_http_judge_fail(attempt, DSC_ETOO_LARGE, "the body of %s unpacks to too much at once", attempt->request.addr);
    return;
  }
  attempt->answer.ours = true;
  dsc_http_judge_fail(attempt, DSC_ENOMEM, "out of memory while calling %s", attempt->request.addr);
}

static void judge_whole(dsc_http_attempt *attempt) {
  if (!attempt->headers_done) {
    dsc_http_judge_fail(attempt, DSC_EPROTOCOL, "%s closed the connection in the middle of its headers",
                        attempt->request.addr);
    return;
  }
  if (dsc_http_flow_is_stream(attempt)) return;
  attempt->answer.body = dsc_buf_take(&attempt->body, &attempt->answer.body_len);
  if (attempt->answer.body) return;
  attempt->answer.ours = true;
  dsc_http_judge_fail(attempt, DSC_ENOMEM, "out of memory for the answer of %s", attempt->request.addr);
}

static void judge_declined(dsc_http_attempt *attempt) {
  dsc_http_judge_fail(attempt, DSC_ECONNECT, "%s sent the request back without beginning with it",
                      attempt->request.addr);
}

static bool is_address(const char *host) {
  unsigned char bytes[16];
  return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

static void judge_tls(dsc_http_attempt *attempt, CURLcode result) {
  const dsc_http_request *request = &attempt->request;
  const char *name = request->tls ? dsc_tls_server_name(request->tls) : NULL;
  const char *reason = attempt->curl_text;
  long verdict = 0;
  curl_easy_getinfo(attempt->easy, CURLINFO_SSL_VERIFYRESULT, &verdict);
  if (verdict == 1) verdict = 0;                                  /* where curl begins: nothing was verified */
  if (result == CURLE_PEER_FAILED_VERIFICATION && verdict == 0) { /* curl's own check of the name */
    verdict = is_address(name ? name : request->host) ? DSC_TLS_WRONG_ADDRESS : DSC_TLS_WRONG_NAME;
  }
  if (strstr(reason, "SSL_ERROR_SYSCALL")) reason = NULL; /* it just ended */
  dsc_why why;
  dsc_tls_explain(&why, request->addr, verdict, reason);
  dsc_http_judge_fail(attempt, DSC_ETLS, "%s", why.text);
}

static bool is_handshake(CURLcode result) {
  switch (result) {
  case CURLE_PEER_FAILED_VERIFICATION:
  case CURLE_SSL_CONNECT_ERROR:
  case CURLE_SSL_CERTPROBLEM:
  case CURLE_SSL_CIPHER:
  case CURLE_SSL_CACERT_BADFILE:
  case CURLE_SSL_ISSUER_ERROR:
  case CURLE_USE_SSL_FAILED: return true;
  default: return false;
  }
}

/* With TLS 1.3 a node refuses the client's certificate after the handshake, when the request is on its way. */
static bool is_refused_late(const dsc_http_attempt *attempt) {
  if (!attempt->request.tls || !attempt->fresh || attempt->header_bytes > 0) return false;
  const char *text = attempt->curl_text;
  return strcasestr(text, " alert ") && (strcasestr(text, "certificate") || strcasestr(text, "unknown ca"));
}

/* Its reason may be lost when curl writes (HTTP/2's settings) before it reads. */
static bool is_ended_early(const dsc_http_attempt *attempt, CURLcode result) {
  bool lost = result == CURLE_HTTP2 || result == CURLE_SEND_ERROR || result == CURLE_RECV_ERROR;
  return attempt->request.tls && lost && !attempt->sent;
}

/* Returns false when TLS is not to blame. */
static bool judge_handshake(dsc_http_attempt *attempt, CURLcode result) {
  if (is_ended_early(attempt, result)) {
    dsc_http_judge_fail(attempt, DSC_ETLS, "%s ended the connection right after the TLS handshake: %s",
                        attempt->request.addr, "it may want a client certificate that it knows");
    return true;
  }
  bool late = is_refused_late(attempt);
  if (!late && !is_handshake(result)) return false;
  judge_tls(attempt, result);
  if (late) attempt->answer.unprocessed = true;
  return true;
}

/* What goes wrong with HTTP/2 alone. Returns false when it is nothing special. */
static bool judge_http2(dsc_http_attempt *attempt, CURLcode result) {
  const dsc_http_request *request = &attempt->request;
  if (attempt->lowered) {
    dsc_http_judge_fail(attempt, DSC_EPROTOCOL, "%s wants this request over HTTP/1.1, not HTTP/2", request->addr);
    return true;
  }
  if (attempt->header_bytes > 0) return false;
  bool unknown = attempt->fresh && !request->tls;
  bool lost = result == CURLE_SEND_ERROR || result == CURLE_RECV_ERROR;
  if (result == CURLE_PARTIAL_FILE || (lost && unknown)) {
    dsc_http_judge_fail(attempt, DSC_ECONNECT, "%s closed the connection without an answer%s", request->addr,
                        unknown ? " (does it speak HTTP/2 without TLS?)" : "");
    return true;
  }
  /* curl before 8.0 forgets an answer that comes together with the RST_STREAM which tells it to send no more */
  if (result == CURLE_HTTP2_STREAM && attempt->curl_text[0] == '\0') {
    dsc_http_judge_fail(attempt, DSC_EPROTOCOL, "%s answered before it had read the request, and the answer was lost",
                        request->addr);
    return true;
  }
  if (!unknown || (result != CURLE_HTTP2 && result != CURLE_GOT_NOTHING)) return false;
  dsc_http_judge_fail(attempt, DSC_EPROTOCOL, "%s did not answer in HTTP/2 (does it speak HTTP/2 without TLS?)",
                      request->addr);
  return true;
}

static void judge_failed(dsc_http_attempt *attempt, CURLcode result) {
  if (attempt->declined) {
    judge_declined(attempt);
    return;
  }
  if (judge_handshake(attempt, result)) return;
  if (attempt->request.http2 && judge_http2(attempt, result)) return;
  switch (result) {
  case CURLE_COULDNT_CONNECT:
  case CURLE_COULDNT_RESOLVE_HOST:
  case CURLE_INTERFACE_FAILED: judge_connect(attempt, result); return;
  case CURLE_OPERATION_TIMEDOUT: judge_timeout(attempt); return;
  case CURLE_GOT_NOTHING: judge_nothing(attempt); return;
  case CURLE_RECV_ERROR: judge_receive(attempt, result); return;
  case CURLE_OUT_OF_MEMORY: judge_memory(attempt); return;
  case CURLE_SEND_FAIL_REWIND:
  case CURLE_ABORTED_BY_CALLBACK: judge_lost(attempt); return;
  case CURLE_UNSUPPORTED_PROTOCOL:
    dsc_http_judge_fail(attempt, DSC_EPROTOCOL, "%s did not answer in HTTP%s", attempt->request.addr,
                        attempt->request.tls ? "" : " (does it expect TLS, ssl = true?)");
    return;
  case CURLE_SEND_ERROR:
    dsc_http_judge_fail(attempt, DSC_ECONNECT, "the connection to %s was lost while sending", attempt->request.addr);
    return;
  case CURLE_URL_MALFORMAT:
    dsc_http_judge_fail(attempt, DSC_EINVALID, "\"%s\" is not an address", attempt->request.addr);
    return;
  case CURLE_FAILED_INIT:
  case CURLE_BAD_FUNCTION_ARGUMENT:
    attempt->answer.ours = true;
    dsc_http_judge_fail(attempt, DSC_EIO, "the call of %s could not be made: %s", attempt->request.addr,
                        curl_says(attempt, result));
    return;
  default:
    dsc_http_judge_fail(attempt, DSC_EPROTOCOL, "%s broke the protocol: %s", attempt->request.addr,
                        curl_says(attempt, result));
  }
}

void dsc_http_judge(dsc_http_attempt *attempt, CURLcode result) {
  attempt->answer.sent = attempt->sent;
  attempt->answer.unprocessed = attempt->declined && result != CURLE_OK;
  if (attempt->answer.http_major > 1) dsc_http_watch_set_http2(attempt->http, attempt->own_port);
  if (attempt->broke != DSC_OK) {
    judge_broken(attempt);
  } else if (result == CURLE_OK) {
    judge_whole(attempt);
  } else {
    judge_failed(attempt, result);
  }
  dsc_http_flow_finish(attempt);
}
