/*
** headers_relay.c - what an incoming request passes on to the calls made for it.
**
** One walk over the relay list, so that the list alone decides what is passed on and in which order. The client's IP
** and the user agent may bear another name (older services); the list speaks of them by either name.
** Foreign input: what is not clean is skipped, never passed on. No state: any thread, one list each.
*/
#include "model/headers.h"

#include <arpa/inet.h>

#include "base/buf.h"

#define FORWARDED_FOR "X-Forwarded-For"

const dsc_header_names dsc_headers_default_names = {
    .from_app = "X-Discover-From-App",
    .from_node = "X-Discover-From-Node",
    .client_ip = "X-Client-Ip",
    .user_agent = "User-Agent",
};

const char *const dsc_headers_relay_default[] = {
    "X-Client-Ip",          "X-Forwarded-For", "X-User-Id",    "X-Device-Id", "X-Client-App-Name",
    "X-Client-App-Version", "X-Session-Id",    "X-Request-Id", "X-Host",      "X-Scheme",
    "User-Agent",           "traceparent",     "tracestate",   "baggage",     NULL,
};

/* credentials; then what belongs to one connection (RFC 9110, 7.6.1) or frames one body: passed on, it would
** let a request be smuggled */
static const char *const never[] = {
    "Cookie",
    "Cookie2",
    "Set-Cookie",
    "Set-Cookie2",
    "Authorization",
    "Access-Token",
    "Connection",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Proxy-Authenticate",
    "Keep-Alive",
    "TE",
    "Trailer",
    "Upgrade",
    "Transfer-Encoding",
    "Content-Length",
    NULL,
};

/* several of these are one list, written over several lines */
static const char *const joined[] = {FORWARDED_FOR, "tracestate", "baggage", NULL};

typedef struct relay_job {
  dsc_headers *out;
  const dsc_headers *incoming;
  const dsc_relay_peer *peer;
  const dsc_header_names *names;
  char ip[INET6_ADDRSTRLEN]; /* the peer's, "" when it has none */
} relay_job;

static bool same(const char *name, const char *other) {
  return dsc_str_equal_nocase(dsc_str_of(name), dsc_str_of(other));
}

static bool is_among(const char *const *list, const char *name) {
  for (; *list; list++)
    if (same(*list, name)) return true;
  return false;
}

static bool is_ip(int family, const char *text) {
  unsigned char binary[sizeof(struct in6_addr)];
  return inet_pton(family, text, binary) == 1;
}

/* Returns the host part of ip, ip:port, [v6] or [v6]:port, without a zone. */
static dsc_str host_part(dsc_str remote) {
  if (remote.n > 0 && remote.p[0] == '[') {
    remote.p++, remote.n--;
    remote = dsc_str_cut(&remote, ']');
  } else if (remote.n > 0) {
    dsc_str rest = remote, host = dsc_str_cut(&rest, ':');
    bool one_colon = rest.p && !memchr(rest.p, ':', rest.n);
    if (one_colon) remote = host;
  }
  return dsc_str_cut(&remote, '%');
}

/* Writes the peer's IP into `ip`; "" when the text is none (a socket's path, a name). A v4-mapped address is written as
** IPv4: that is what the client has. */
static void peer_ip(char *ip, size_t size, dsc_str remote) {
  dsc_str host = host_part(dsc_str_trim(remote));
  ip[0] = '\0';
  if (host.n == 0 || host.n >= size || memchr(host.p, '\0', host.n)) return;
  memcpy(ip, host.p, host.n);
  ip[host.n] = '\0';
  if (is_ip(AF_INET, ip)) return;
  size_t prefix = sizeof "::ffff:" - 1;
  if (dsc_str_equal_nocase((dsc_str){ip, prefix < host.n ? prefix : host.n}, dsc_str_of("::ffff:")) &&
      is_ip(AF_INET, ip + prefix))
    memmove(ip, ip + prefix, host.n - prefix + 1);
  else if (!is_ip(AF_INET6, ip))
    ip[0] = '\0';
}

/* Trims `value`; false when nothing is left or it isn't clean. */
static bool is_usable(const char *name, dsc_str *value) {
  *value = dsc_str_trim(*value);
  return value->n > 0 && dsc_headers_check_value(dsc_str_of(name), *value, NULL) == DSC_OK;
}

/* Finds the next usable value of `name` from item `*at` on; false at the end. */
static bool next_value(const relay_job *job, const char *name, size_t *at, dsc_str *value) {
  while (job->incoming && *at < job->incoming->count) {
    const dsc_header *item = &job->incoming->items[(*at)++];
    *value = item->value;
    if (dsc_str_equal_nocase(item->name, dsc_str_of(name)) && is_usable(name, value)) return true;
  }
  return false;
}

/* Adds under the name `as`, unless that is there already. The one way out: hence the ban stands here. */
static dsc_err add(relay_job *job, const char *as, dsc_str value) {
  if (is_among(never, as)) return DSC_OK;
  if (dsc_headers_find(job->out, dsc_str_of(as))) return DSC_OK;
  return dsc_headers_add(job->out, dsc_str_of(as), value);
}

static dsc_err add_piece(dsc_buf *buf, dsc_str piece) {
  if (buf->len > 0) dsc_buf_add(buf, ", ", 2);
  return dsc_buf_add_str(buf, piece);
}

static dsc_err relay_joined(relay_job *job, const char *name) {
  dsc_buf buf;
  dsc_str value;
  size_t at = 0;
  dsc_buf_init(&buf, 0);
  while (next_value(job, name, &at, &value)) add_piece(&buf, value);
  if (same(name, FORWARDED_FOR) && job->ip[0]) add_piece(&buf, dsc_str_of(job->ip));
  value = dsc_buf_str(&buf);
  dsc_err err = buf.err;
  /* many clean pieces may still be more than one value may hold */
  if (!err && is_usable(name, &value)) err = add(job, name, value);
  dsc_buf_clear(&buf);
  return err;
}

/* Relays the first of `name`, else of `other` (NULL: none), else `fallback` from the peer, under the name `name`. */
static dsc_err relay_first(relay_job *job, const char *name, const char *other, dsc_str fallback) {
  dsc_str value;
  size_t at = 0, other_at = 0;
  if (next_value(job, name, &at, &value)) return add(job, name, value);
  if (other && next_value(job, other, &other_at, &value)) return add(job, name, value);
  return is_usable(name, &fallback) ? add(job, name, fallback) : DSC_OK;
}

static dsc_err relay_name(relay_job *job, const char *name) {
  static const dsc_relay_peer nobody;
  const dsc_header_names *standard = &dsc_headers_default_names, *names = job->names;
  const dsc_relay_peer *peer = job->peer ? job->peer : &nobody;
  if (is_among(joined, name)) return relay_joined(job, name);
  if (same(name, standard->client_ip) || same(name, names->client_ip))
    return relay_first(job, names->client_ip, standard->client_ip, dsc_str_of(job->ip));
  if (same(name, standard->user_agent) || same(name, names->user_agent))
    return relay_first(job, names->user_agent, standard->user_agent, dsc_str_of(""));
  if (same(name, "X-Host")) return relay_first(job, name, NULL, peer->host);
  if (same(name, "X-Scheme")) return relay_first(job, name, NULL, peer->scheme);
  return relay_first(job, name, NULL, dsc_str_of(""));
}

dsc_err dsc_headers_relay(dsc_headers *out, const dsc_headers *incoming, const dsc_relay_peer *peer,
                          const char *const *list, const dsc_header_names *names) {
  relay_job job = {.out = out, .incoming = incoming, .peer = peer, .names = names};
  if (peer) peer_ip(job.ip, sizeof job.ip, peer->remote_addr);
  for (; *list; list++) {
    dsc_err err = relay_name(&job, *list);
    if (err) return err;
  }
  return DSC_OK;
}
