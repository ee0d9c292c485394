/*
** http_answer.c - curl's callbacks that build the answer: header lines and decoded body.
**
** curl hands over every header line of every block: those of 1xx answers, those of the final one, and trailers. Only
** the final block is kept; all of them count against the cap. A length that curl would misread (negative, two
** different ones) is refused here.
*/
#include "net/http_impl.h"

#include "base/mem.h"

void dsc_http_answer_reset(dsc_http_attempt *attempt) {
  dsc_http_answer *answer = &attempt->answer;
  dsc_headers_clear(&answer->headers);
  dsc_mem_free(answer->body);
  answer->body = NULL;
  answer->body_len = 0;
  answer->err = DSC_OK;
  answer->why[0] = answer->reason[0] = '\0';
  answer->ours = answer->sent = answer->refused = answer->unprocessed = false;
  answer->status = answer->http_major = answer->http_minor = 0;
  dsc_buf_clear(&attempt->body);
  attempt->header_bytes = 0;
  attempt->in_block = attempt->headers_done = false;
  attempt->broke = DSC_OK;
  attempt->cause = NULL;
  attempt->socket_errno = 0;
  attempt->sent = attempt->replaced = attempt->restart = attempt->opened = false;
  dsc_http_again_reset(attempt);
  attempt->curl_text[0] = '\0';
  dsc_http_flow_reset(attempt);
}

static size_t refuse(dsc_http_attempt *attempt, dsc_err err, const char *cause) {
  attempt->broke = err;
  attempt->cause = cause;
  return 0;
}

static int digits(dsc_str *s, int most) {
  int value = 0, n = 0;
  while (n < most && s->n > 0 && s->p[0] >= '0' && s->p[0] <= '9') {
    value = value * 10 + (s->p[0] - '0');
    s->p++;
    s->n--;
    n++;
  }
  return n ? value : -1;
}

static bool skip(dsc_str *s, char c) {
  if (s->n == 0 || s->p[0] != c) return false;
  s->p++;
  s->n--;
  return true;
}

static bool take_status(dsc_http_answer *answer, dsc_str line) {
  line = (dsc_str){line.p + 5, line.n - 5}; /* after "HTTP/" */
  answer->http_major = digits(&line, 1);
  answer->http_minor = skip(&line, '.') ? digits(&line, 1) : 0;
  if (answer->http_major < 0 || answer->http_minor < 0 || !skip(&line, ' ')) return false;
  answer->status = digits(&line, 3);
  if (answer->status < 100) return false;
  dsc_str reason = dsc_str_trim(line);
  size_t n = reason.n < sizeof answer->reason ? reason.n : sizeof answer->reason - 1;
  if (n) memcpy(answer->reason, reason.p, n);
  answer->reason[n] = '\0';
  return true;
}

static bool is_length(dsc_str value) {
  if (value.n == 0 || value.n > 19) return false;
  for (size_t i = 0; i < value.n; i++)
    if (value.p[i] < '0' || value.p[i] > '9') return false;
  return true;
}

static size_t take_header(dsc_http_attempt *attempt, dsc_str line) {
  dsc_headers *headers = &attempt->answer.headers;
  /* a folded line (obsolete since RFC 7230) would continue the value before it; it is left out */
  if (line.p[0] == ' ' || line.p[0] == '\t') return 1;
  dsc_str value = line;
  dsc_str name = dsc_str_trim(dsc_str_cut(&value, ':'));
  if (!value.p || name.n == 0) return refuse(attempt, DSC_EPROTOCOL, "a header line without a name or a colon");
  value = dsc_str_trim(value);
  if (dsc_str_equal_nocase(name, DSC_STR_LITERAL("content-length"))) {
    const dsc_header *other = dsc_headers_find(headers, name);
    if (!is_length(value)) return refuse(attempt, DSC_EPROTOCOL, "its Content-Length is not a number");
    if (other && !dsc_str_equal(other->value, value)) {
      return refuse(attempt, DSC_EPROTOCOL, "it has two different Content-Lengths");
    }
  }
  if (dsc_headers_add(headers, name, value) != DSC_OK) return refuse(attempt, DSC_ENOMEM, "out of memory");
  return 1;
}

static size_t end_block(dsc_http_attempt *attempt) {
  dsc_http_answer *answer = &attempt->answer;
  attempt->in_block = false;
  if (answer->status < 200) return 1;
  attempt->headers_done = true;
  const dsc_header *length = dsc_headers_find(&answer->headers, DSC_STR_LITERAL("content-length"));
  bool has_body = attempt->set_mode != DSC_HTTP_HEAD && answer->status != 204 && answer->status != 304;
  bool known = length && !dsc_headers_find(&answer->headers, DSC_STR_LITERAL("transfer-encoding"));
  int64_t n = 0;
  if (!has_body) {
    attempt->to_receive = 0;
  } else if (known) {
    if (!dsc_str_to_int(length->value, &n) || (uint64_t)n > attempt->request.max_body) {
      return refuse(attempt, DSC_ETOO_LARGE, "its body is larger than max_body");
    }
    if (!dsc_headers_find(&answer->headers, DSC_STR_LITERAL("content-encoding"))) attempt->to_receive = n;
  }
  dsc_http_flow_note_opened(attempt);
  return 1;
}

static size_t take_line(dsc_http_attempt *attempt, dsc_str line) {
  if (!attempt->in_block) {
    if (attempt->headers_done || !dsc_str_starts(line, DSC_STR_LITERAL("HTTP/"))) return 1; /* a trailer */
    attempt->in_block = true;
    dsc_headers_clear(&attempt->answer.headers);
    if (!take_status(&attempt->answer, line)) return refuse(attempt, DSC_EPROTOCOL, "its status line is malformed");
    return 1;
  }
  return line.n == 0 ? end_block(attempt) : take_header(attempt, line);
}

size_t dsc_http_answer_header(char *bytes, size_t size, size_t count, void *ud) {
  dsc_http_attempt *attempt = ud;
  size_t n = size * count;
  attempt->header_bytes += n;
  if (attempt->header_bytes > DSC_HTTP_MAX_HEADER_BYTES) {
    return refuse(attempt, DSC_EPROTOCOL, "its headers are larger than 300 KiB");
  }
  dsc_str line = {bytes, n};
  while (line.n > 0 && (line.p[line.n - 1] == '\n' || line.p[line.n - 1] == '\r')) line.n--;
  return take_line(attempt, line) ? n : 0;
}

size_t dsc_http_answer_body(char *bytes, size_t size, size_t count, void *ud) {
  dsc_http_attempt *attempt = ud;
  size_t n = size * count;
  if (!dsc_http_flow_has_room(attempt, n)) return CURL_WRITEFUNC_PAUSE;
  if (n > attempt->request.max_body - attempt->received)
    return refuse(attempt, DSC_ETOO_LARGE, "its body is larger than max_body");
  if (dsc_buf_add(&attempt->body, bytes, n) != DSC_OK) return refuse(attempt, DSC_ENOMEM, "out of memory");
  dsc_http_flow_took(attempt, n);
  if (dsc_http_is_h2c(attempt)) attempt->http->h2c_moved = true;
  return n;
}
