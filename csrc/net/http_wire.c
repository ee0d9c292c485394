/*
** http_wire.c - on which wire an attempt travels: plain or TLS, HTTP/1.1 or 2, the URL and where it leads.
**
** libcurl finds a kept-alive connection again by what the URL says, where it leads, and the options it compares; what
** an SSL_CTX callback does is not among them. So that settings never share a connection or a TLS session, each has a
** CApath of its own. There is nothing behind that path (nothing can be below a device), and the authorities are those
** that dsc_tls_apply() sets afterwards. For HTTP/2 without TLS there is a host of its own in the URL: curl would send
** such a request on a connection that speaks 1.1.
**
** Invariant: a URL that does not name the node comes with CURLOPT_CONNECT_TO, which does.
*/
#include "net/http_impl.h"

#include <stdio.h>

#define H2C_HOST       "h2c"
#define H2C_HOST_ALONE "h2c-alone" /* so that others do not find its connection */

static CURLcode on_ssl_ctx(CURL *easy, void *ssl_ctx, void *ud) {
  dsc_http_attempt *attempt = ud;
  (void)easy;
  return attempt->request.tls && dsc_tls_apply(attempt->request.tls, ssl_ctx) ? CURLE_OK : CURLE_OUT_OF_MEMORY;
}

void dsc_http_wire_init(dsc_http_attempt *attempt) {
  CURL *easy = attempt->easy;
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  attempt->set_version = CURL_HTTP_VERSION_NONE;
  dsc_http_wire_set_version(attempt);
  curl_easy_setopt(easy, CURLOPT_SHARE, attempt->http->share);
  /* the authorities of the system would be read for every connection */
  curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
  curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
  curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
  curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_ssl_ctx);
  curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, attempt);
}

void dsc_http_wire_host(const dsc_http_attempt *attempt, char *host, size_t size) {
  const dsc_http_request *request = &attempt->request;
  bool own = request->http2 && !request->tls;
  snprintf(host, size, "%s", own ? request->addr : "");
  size_t n = strlen(host);
  if (own && request->port == 80 && n > 3) host[n - 3] = '\0'; /* as curl does it for the others */
}

/* "::host:port": wherever the URL points to. */
static CURLcode set_connect_to(dsc_http_attempt *attempt, bool elsewhere) {
  CURL *easy = attempt->easy;
  if (!elsewhere) return curl_easy_setopt(easy, CURLOPT_CONNECT_TO, NULL);
  snprintf(attempt->connect_text, sizeof attempt->connect_text, "::%s", attempt->request.addr);
  attempt->connect_node = (struct curl_slist){.data = attempt->connect_text};
  return curl_easy_setopt(easy, CURLOPT_CONNECT_TO, &attempt->connect_node);
}

/* A handle that is parsed once: a text would be taken apart and put together again for every request, which costs an
** eighth of it. */
static CURLcode take_url(dsc_http_attempt *attempt, const char *text) {
  CURLUcode rc = curl_url_set(attempt->url, CURLUPART_URL, text, 0);
  if (rc != CURLUE_OK) return rc == CURLUE_OUT_OF_MEMORY ? CURLE_OUT_OF_MEMORY : CURLE_URL_MALFORMAT;
  return curl_easy_setopt(attempt->easy, CURLOPT_CURLU, attempt->url);
}

static CURLcode set_url(dsc_http_attempt *attempt, const char *name) {
  const dsc_http_request *request = &attempt->request;
  const char *scheme = request->tls ? "https" : "http";
  char url[sizeof "https://[]:65535/" + DSC_ADDR_MAX];
  int n;
  if (!name) {
    n = snprintf(url, sizeof url, "%s://%s/", scheme, request->addr);
  } else {
    bool v6 = strchr(name, ':') != NULL;
    n = snprintf(url, sizeof url, v6 ? "%s://[%s]:%u/" : "%s://%s:%u/", scheme, name, (unsigned)request->port);
  }
  if (n < 0 || (size_t)n >= sizeof url) return CURLE_URL_MALFORMAT;
  CURLcode rc = take_url(attempt, url);
  return rc == CURLE_OK ? set_connect_to(attempt, name != NULL) : rc;
}

static CURLcode set_tls(dsc_http_attempt *attempt) {
  const dsc_tls *tls = attempt->request.tls;
  char token[64];
  snprintf(token, sizeof token, "/dev/null/discover-tls-%llu-%d%s", (unsigned long long)dsc_tls_id(tls),
           attempt->request.http2 ? 2 : 1, dsc_http_is_alone(attempt) ? "-alone" : "");
  bool verifies = dsc_tls_verifies(tls);
  curl_easy_setopt(attempt->easy, CURLOPT_SSL_VERIFYPEER, (long)verifies);
  curl_easy_setopt(attempt->easy, CURLOPT_SSL_VERIFYHOST, verifies ? 2L : 0L);
  return curl_easy_setopt(attempt->easy, CURLOPT_CAPATH, token);
}

void dsc_http_wire_set_version(dsc_http_attempt *attempt) {
  const dsc_http_request *request = &attempt->request;
  long version = CURL_HTTP_VERSION_1_1;
  if (request->http2 && request->tls)
    version = CURL_HTTP_VERSION_2TLS;
  else if (request->http2)
    version = attempt->set_fresh ? CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE : CURL_HTTP_VERSION_2_0;
  if (version == attempt->set_version) return;
  attempt->set_version = version;
  curl_easy_setopt(attempt->easy, CURLOPT_HTTP_VERSION, version);
  /* a second request waits to learn whether the first one's connection can be shared, instead of making its own */
  curl_easy_setopt(attempt->easy, CURLOPT_PIPEWAIT, (long)(version == CURL_HTTP_VERSION_2TLS));
}

static CURLcode set_node(dsc_http_attempt *attempt) {
  const dsc_http_request *request = &attempt->request;
  uint64_t tls = request->tls ? dsc_tls_id(request->tls) : 0;
  bool alone = dsc_http_is_alone(attempt);
  bool same = tls == attempt->set_tls && request->http2 == attempt->set_http2 && alone == attempt->set_alone;
  if (same && strcmp(attempt->set_addr, request->addr) == 0) return CURLE_OK;
  size_t n = strlen(request->addr);
  if (n >= sizeof attempt->set_addr) return CURLE_URL_MALFORMAT;
  const char *name = request->tls     ? dsc_tls_server_name(request->tls)
                     : request->http2 ? (alone ? H2C_HOST_ALONE : H2C_HOST)
                                      : NULL;
  CURLcode rc = set_url(attempt, name);
  if (rc == CURLE_OK && !same && request->tls) rc = set_tls(attempt);
  if (rc != CURLE_OK) return rc;
  attempt->set_tls = tls;
  attempt->set_http2 = request->http2;
  attempt->set_alone = alone;
  memcpy(attempt->set_addr, request->addr, n + 1);
  return CURLE_OK;
}

/* "+host:port:address,address": for a while in curl's own name cache, where it looks first and finds it. */
static CURLcode set_found(dsc_http_attempt *attempt, const dsc_resolve_answer *found) {
  if (!found && !attempt->resolve_set) return CURLE_OK;
  attempt->resolve_set = found != NULL;
  if (!found) return curl_easy_setopt(attempt->easy, CURLOPT_RESOLVE, NULL);
  dsc_buf text;
  dsc_buf_init(&text, sizeof attempt->resolve_text - 1);
  dsc_buf_addf(&text, "+%s:%u:", attempt->request.host, attempt->request.port);
  for (size_t i = 0; i < found->count; i++) {
    bool v6 = strchr(found->addrs[i], ':') != NULL;
    dsc_buf_addf(&text, v6 ? "%s[%s]" : "%s%s", i ? "," : "", found->addrs[i]);
  }
  bool failed = text.err != DSC_OK;
  if (!failed) memcpy(attempt->resolve_text, text.data, text.len + 1);
  dsc_buf_clear(&text);
  if (failed) return CURLE_OUT_OF_MEMORY;
  attempt->resolve_node = (struct curl_slist){.data = attempt->resolve_text};
  return curl_easy_setopt(attempt->easy, CURLOPT_RESOLVE, &attempt->resolve_node);
}

CURLcode dsc_http_wire_set(dsc_http_attempt *attempt, const dsc_resolve_answer *found) {
  CURLcode rc = curl_easy_setopt(attempt->easy, CURLOPT_REQUEST_TARGET, attempt->request.target);
  if (rc == CURLE_OK) rc = set_node(attempt);
  if (rc == CURLE_OK) dsc_http_wire_set_version(attempt);
  return rc == CURLE_OK ? set_found(attempt, found) : rc;
}
