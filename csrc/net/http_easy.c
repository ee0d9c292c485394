/*
** http_easy.c - prepared easy handles.
**
** What is the same for all requests is set once; per attempt only what differs, and an option is left alone when it
** already has its value (a reset with all options costs more than a tenth of a local call). Header lines stand in one
** block that is sized before it is written, so that no growing leaves a copy of the secret behind; curl borrows them,
** we wipe them.
*/
#include "net/http_impl.h"

#include <limits.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"

#define IDLE_CONNECTION_S 55L   /* below the 60 to 75 s after which most servers close */
#define LINES_KEPT        16384 /* a larger block is not kept for the next attempt */
#define FIXED_NODES       5     /* Host, Expect, Content-Type, Accept-Encoding, the secret */

/* curl formats its own Accept-Encoding twice per request, byte by byte: a tenth of the work; as one of our lines it
** does once. */
static char accept_encoding[64];

void dsc_http_easy_init(void) {
  static const struct {
    int feature;
    const char *name;
  } known[] = {{CURL_VERSION_LIBZ, "gzip"}, {CURL_VERSION_BROTLI, "br"}, {CURL_VERSION_ZSTD, "zstd"}};
  const curl_version_info_data *curl = curl_version_info(CURLVERSION_NOW);
  int n = 0;
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (!(curl->features & known[i].feature)) continue;
    n += snprintf(accept_encoding + n, sizeof accept_encoding - (size_t)n, "%s%s",
                  n ? ", " : "Accept-Encoding: ", known[i].name);
  }
}

static void set_constants(dsc_http_attempt *attempt) {
  CURL *easy = attempt->easy;
  curl_easy_setopt(easy, CURLOPT_PRIVATE, attempt);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, attempt->curl_text);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_HTTP09_ALLOWED, 0L);
  curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
  curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, IDLE_CONNECTION_S);
  /* addresses come from our resolver with every attempt; they must outlive a long wait */
  curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, 600L);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, dsc_http_watch_open);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, attempt);
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, dsc_http_watch_close);
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, attempt->http);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, dsc_http_answer_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, attempt);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, dsc_http_answer_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, attempt);
  dsc_http_flow_set_constants(attempt);
  dsc_http_wire_init(attempt);
  dsc_http_again_init(attempt);
}

dsc_http_attempt *dsc_http_easy_new(dsc_http *http) {
  dsc_http_attempt *attempt = dsc_mem_zalloc(1, sizeof *attempt);
  if (!attempt) return NULL;
  dsc_list_init(&attempt->link);
  dsc_list_init(&attempt->note_link);
  attempt->http = http;
  dsc_headers_init(&attempt->answer.headers);
  dsc_buf_init(&attempt->body, 0);
  attempt->easy = curl_easy_init();
  attempt->url = curl_url();
  if (!attempt->easy || !attempt->url) {
    curl_easy_cleanup(attempt->easy);
    curl_url_cleanup(attempt->url);
    dsc_mem_free(attempt);
    return NULL;
  }
  set_constants(attempt);
  return attempt;
}

void dsc_http_easy_free(dsc_http_attempt *attempt) {
  dsc_http_answer_reset(attempt);
  dsc_http_easy_wipe(attempt);
  dsc_resolve_cancel(attempt->question);
  dsc_timer_free(attempt->timer);
  curl_easy_cleanup(attempt->easy);
  curl_url_cleanup(attempt->url);
  dsc_mem_free(attempt->lines);
  dsc_mem_free(attempt->nodes);
  dsc_mem_free(attempt);
}

/* ------------------------------------------------------------- header lines */

void dsc_http_easy_wipe(dsc_http_attempt *attempt) {
  dsc_secret_wipe(attempt->lines, attempt->lines_len);
  attempt->lines_len = 0;
  if (attempt->lines_cap <= LINES_KEPT) return;
  dsc_mem_free(attempt->lines);
  attempt->lines = NULL;
  attempt->lines_cap = 0;
}

/* Lengths and transfer are curl's to say; `Expect` would wait a second for servers that do not know it. */
static bool is_passed_on(const dsc_header *header) {
  static const char *const kept_back[] = {"Content-Length", "Transfer-Encoding", "Expect"};
  for (size_t i = 0; i < sizeof kept_back / sizeof kept_back[0]; i++)
    if (dsc_str_equal_nocase(header->name, dsc_str_of(kept_back[i]))) return false;
  return true;
}

static bool reserve(dsc_http_attempt *attempt, size_t bytes, size_t nodes) {
  if (bytes > attempt->lines_cap) {
    dsc_mem_free(attempt->lines);
    attempt->lines_cap = 0;
    attempt->lines = dsc_mem_alloc(bytes);
    if (!attempt->lines) return false;
    attempt->lines_cap = bytes;
  }
  if (nodes > attempt->nodes_cap) {
    dsc_mem_free(attempt->nodes);
    attempt->nodes_cap = 0;
    attempt->nodes = dsc_mem_zalloc(nodes, sizeof *attempt->nodes);
    if (!attempt->nodes) return false;
    attempt->nodes_cap = nodes;
  }
  return true;
}

static bool has_break(dsc_str s) {
  for (size_t i = 0; i < s.n; i++)
    if (s.p[i] == '\r' || s.p[i] == '\n' || s.p[i] == '\0') return true;
  return false;
}

typedef struct writer {
  dsc_http_attempt *attempt;
  size_t count; /* of nodes */
  bool bad;
} writer;

static void put(dsc_http_attempt *attempt, const char *bytes, size_t n) {
  if (n) memcpy(attempt->lines + attempt->lines_len, bytes, n);
  attempt->lines_len += n;
}

static void add_line(writer *w, dsc_str name, dsc_str value) {
  dsc_http_attempt *attempt = w->attempt;
  dsc_str trimmed = dsc_str_trim(value);
  w->bad = w->bad || name.n == 0 || has_break(name) || has_break(trimmed) || memchr(name.p, ':', name.n);
  w->attempt->nodes[w->count++].data = attempt->lines + attempt->lines_len;
  put(attempt, name.p, name.n);
  /* curl takes "Name:" for "leave it out" and "Name;" for an empty value */
  put(attempt, trimmed.n ? ": " : ";", trimmed.n ? 2 : 1);
  put(attempt, trimmed.p, trimmed.n);
  put(attempt, "", 1);
}

static void add_secret(void *ud, dsc_str bytes) {
  writer *w = ud;
  add_line(w, dsc_str_of(w->attempt->request.secret_name), bytes);
}

static void add_text(writer *w, const char *line) {
  w->attempt->nodes[w->count++].data = w->attempt->lines + w->attempt->lines_len;
  put(w->attempt, line, strlen(line) + 1);
}

static dsc_err add_lines(dsc_http_attempt *attempt, bool has_body) {
  static const dsc_headers none = {0};
  const dsc_http_request *request = &attempt->request;
  const dsc_headers *headers = request->headers ? request->headers : &none;
  dsc_str secret_name = dsc_str_of(request->secret_name);
  char host[DSC_ADDR_MAX];
  dsc_http_wire_host(attempt, host, sizeof host);
  size_t bytes = 128 + secret_name.n + dsc_secret_length(request->secret) + strlen(host);
  for (size_t i = 0; i < headers->count; i++) bytes += headers->items[i].name.n + headers->items[i].value.n + 3;
  if (!reserve(attempt, bytes, headers->count + FIXED_NODES)) return DSC_ENOMEM;
  writer w = {.attempt = attempt};
  bool has_type = false, has_encoding = accept_encoding[0] == '\0', has_host = host[0] == '\0';
  for (size_t i = 0; i < headers->count; i++) {
    const dsc_header *header = &headers->items[i];
    if (!is_passed_on(header)) continue;
    if (request->secret_name && dsc_str_equal_nocase(header->name, secret_name)) continue;
    has_type = has_type || dsc_str_equal_nocase(header->name, DSC_STR_LITERAL("content-type"));
    has_encoding = has_encoding || dsc_str_equal_nocase(header->name, DSC_STR_LITERAL("accept-encoding"));
    has_host = has_host || dsc_str_equal_nocase(header->name, DSC_STR_LITERAL("host"));
    add_line(&w, header->name, header->value);
  }
  if (request->secret_name && request->secret) dsc_secret_use(request->secret, add_secret, &w);
  if (!has_host) add_line(&w, DSC_STR_LITERAL("Host"), dsc_str_of(host));
  if (!has_encoding) w.attempt->nodes[w.count++].data = accept_encoding;
  if (has_body) add_text(&w, "Expect:");
  if (has_body && !has_type) add_text(&w, "Content-Type:");
  for (size_t i = 0; i < w.count; i++) attempt->nodes[i].next = i + 1 < w.count ? &attempt->nodes[i + 1] : NULL;
  curl_easy_setopt(attempt->easy, CURLOPT_HTTPHEADER, attempt->nodes);
  return w.bad ? DSC_EINVALID : DSC_OK;
}

/* ------------------------------------------------------- what differs per attempt */

static bool is_token(const char *s) {
  static const char marks[] = "!#$%&'*+-.^_`|~";
  if (!*s) return false;
  for (; *s; s++) {
    bool letter = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9');
    if (!letter && !strchr(marks, *s)) return false;
  }
  return true;
}

static bool is_target(const char *s) {
  if (*s != '/') return false;
  for (; *s; s++)
    if ((unsigned char)*s <= ' ' || *s == 0x7f) return false;
  return true;
}

static bool sends_body(const dsc_http_request *request) {
  const char *method = request->method;
  if (strcmp(method, "HEAD") == 0) return false;
  /* these say how long their body is even when it is empty */
  return request->body || request->source || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
         strcmp(method, "PATCH") == 0;
}

static CURLcode set_mode(dsc_http_attempt *attempt, dsc_http_mode mode) {
  if (attempt->set_mode == mode) return CURLE_OK;
  attempt->set_mode = mode;
  if (mode == DSC_HTTP_HEAD) return curl_easy_setopt(attempt->easy, CURLOPT_NOBODY, 1L);
  if (mode == DSC_HTTP_GET) return curl_easy_setopt(attempt->easy, CURLOPT_HTTPGET, 1L);
  curl_easy_setopt(attempt->easy, CURLOPT_NOBODY, 0L);
  return curl_easy_setopt(attempt->easy, CURLOPT_POST, 1L);
}

static CURLcode set_method(dsc_http_attempt *attempt, bool has_body) {
  const dsc_http_request *request = &attempt->request;
  bool head = strcmp(request->method, "HEAD") == 0;
  CURLcode rc = set_mode(attempt, head ? DSC_HTTP_HEAD : has_body ? DSC_HTTP_POST : DSC_HTTP_GET);
  if (rc == CURLE_OK && strcmp(attempt->set_method, request->method) != 0) {
    rc = curl_easy_setopt(attempt->easy, CURLOPT_CUSTOMREQUEST, head ? NULL : request->method);
    size_t n = strlen(request->method);
    /* a long one is not remembered, and set every time */
    if (n >= sizeof attempt->set_method) n = 0;
    memcpy(attempt->set_method, request->method, n);
    attempt->set_method[n] = '\0';
  }
  if (rc != CURLE_OK || !has_body) return rc;
  return dsc_http_flow_set_body(attempt);
}

void dsc_http_easy_set_fresh(dsc_http_attempt *attempt, bool fresh) {
  if (attempt->set_fresh == fresh) return;
  attempt->set_fresh = fresh;
  curl_easy_setopt(attempt->easy, CURLOPT_FRESH_CONNECT, (long)fresh);
  dsc_http_wire_set_version(attempt);
}

static long as_timeout(uint64_t ms) {
  return ms == 0 ? 1 : ms > INT_MAX ? INT_MAX : (long)ms; /* 0 would mean for ever */
}

void dsc_http_easy_set_time(dsc_http_attempt *attempt) {
  uint64_t now = dsc_clock_now_ms();
  uint64_t left = attempt->deadline_ms > now ? attempt->deadline_ms - now : 0;
  long all = dsc_http_flow_is_stream(attempt) ? 0 : as_timeout(left); /* 0: the timer of ours */
  long connect = as_timeout(attempt->request.connect_timeout_ms < left ? attempt->request.connect_timeout_ms : left);
  if (all != attempt->set_timeout) curl_easy_setopt(attempt->easy, CURLOPT_TIMEOUT_MS, all);
  if (connect != attempt->set_connect_timeout) curl_easy_setopt(attempt->easy, CURLOPT_CONNECTTIMEOUT_MS, connect);
  attempt->set_timeout = all;
  attempt->set_connect_timeout = connect;
}

dsc_err dsc_http_easy_prepare(dsc_http_attempt *attempt, const dsc_resolve_answer *found) {
  const dsc_http_request *request = &attempt->request;
  if (!is_token(request->method) || !is_target(request->target)) {
    dsc_http_judge_fail(attempt, DSC_EINVALID, "the method or the path cannot be sent to %s", request->addr);
    return DSC_EINVALID;
  }
  bool has_body = sends_body(request);
  dsc_err err = add_lines(attempt, has_body);
  if (err == DSC_EINVALID) {
    dsc_http_judge_fail(attempt, err, "a header cannot be sent to %s: it has a line break or a NUL", request->addr);
    return err;
  }
  CURLcode rc = err == DSC_OK ? set_method(attempt, has_body) : CURLE_OUT_OF_MEMORY;
  if (rc == CURLE_OK) rc = dsc_http_wire_set(attempt, found);
  if (rc == CURLE_OK) dsc_http_again_set(attempt);
  if (rc == CURLE_OK) return DSC_OK;
  attempt->set_addr[0] = attempt->set_method[0] = '\0'; /* whether they were taken is not known */
  attempt->set_tls = UINT64_MAX;
  err = rc == CURLE_OUT_OF_MEMORY ? DSC_ENOMEM : DSC_EINVALID;
  attempt->answer.ours = true;
  dsc_http_judge_fail(attempt, err, "the request to %s cannot be built: %s", request->addr, curl_easy_strerror(rc));
  return err;
}
