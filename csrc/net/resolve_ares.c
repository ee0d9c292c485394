/*
** resolve_ares.c - the only file that speaks to c-ares: one channel, its sockets as poll handles, its time-outs as a
** timer.
**
** The sockets are made here, close-on-exec, and written with MSG_NOSIGNAL: c-ares's own writev() to a reset TCP peer
** would raise SIGPIPE. A channel older than a minute with nothing open is made anew, so that a changed resolv.conf is
** seen.
**
** Invariant: an `ask` belongs to c-ares until its callback came; ares_destroy() calls those that are left.
** Threads: the loop's only.
*/
#include "net/resolve_ares.h"

#include <ares.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/uio.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/mem.h"

#define TRY_MS             1500 /* per server; doubled at the next try */
#define TRIES              3
#define TTL_MIN_S          1
#define TTL_MAX_S          60
#define CHANNEL_MAX_AGE_MS 60000U

struct dsc_resolve_ares {
  dsc_loop *loop;
  dsc_timer *tick;
  ares_channel channel;
  bool has_channel, closing;
  uint64_t born_ms;
  size_t open;
  dsc_link watches;
};

typedef struct watch {
  dsc_link link;
  uv_poll_t poll;
  dsc_resolve_ares *engine;
  ares_socket_t fd;
} watch;

typedef struct ask {
  dsc_resolve_ares *engine;
  dsc_resolve_found found;
  void *ud;
  char host[256];
} ask;

static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static int library_rc;

static void init_library(void) {
  library_rc = ares_library_init(ARES_LIB_INIT_ALL);
}

/* ------------------------------------------------------------------ answers */

__attribute__((format(printf, 3, 4))) static void fail_answer(dsc_resolve_answer *answer, dsc_err err,
                                                              const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(answer->why, sizeof answer->why, format, args);
  va_end(args);
  answer->err = err;
  answer->count = 0;
}

static const void *bytes_of(const struct sockaddr *sa) {
  if (sa->sa_family == AF_INET) return &((const struct sockaddr_in *)(const void *)sa)->sin_addr;
  return &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;
}

static void take_addrs(dsc_resolve_answer *answer, const struct ares_addrinfo *info, int family, int *ttl) {
  for (const struct ares_addrinfo_node *at = info->nodes; at; at = at->ai_next) {
    if (at->ai_family != family || answer->count >= DSC_RESOLVE_MAX_ADDRS) continue;
    char *text = answer->addrs[answer->count];
    if (!inet_ntop(family, bytes_of(at->ai_addr), text, sizeof answer->addrs[0])) continue;
    answer->count++;
    if (at->ai_ttl < *ttl) *ttl = at->ai_ttl;
  }
}

static void on_ares(void *arg, int status, int timeouts, struct ares_addrinfo *info) {
  ask *a = arg;
  (void)timeouts;
  a->engine->open--;
  dsc_resolve_answer answer = {.err = DSC_OK};
  int ttl = TTL_MAX_S;
  if (status == ARES_SUCCESS && info) {
    take_addrs(&answer, info, AF_INET, &ttl);
    take_addrs(&answer, info, AF_INET6, &ttl);
  }
  if (info) ares_freeaddrinfo(info);
  if (answer.count == 0) {
    dsc_err err = status == ARES_ENOMEM ? DSC_ENOMEM : status == ARES_ETIMEOUT ? DSC_ETIMEOUT : DSC_ECONNECT;
    const char *cause = status == ARES_SUCCESS ? "it has no address" : ares_strerror(status);
    fail_answer(&answer, err, "the name \"%.60s\" cannot be resolved: %s", a->host, cause);
  }
  if (!a->engine->closing) a->found(a->ud, &answer, ttl < TTL_MIN_S ? TTL_MIN_S : ttl);
  dsc_mem_free(a);
}

/* ------------------------------------------------------------------ sockets */

static ares_socket_t sock_open(int family, int type, int protocol, void *ud) {
  (void)ud;
  return socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
}

static int sock_close(ares_socket_t fd, void *ud) {
  (void)ud;
  return close(fd);
}

static int sock_connect(ares_socket_t fd, const struct sockaddr *sa, ares_socklen_t len, void *ud) {
  (void)ud;
  return connect(fd, sa, len);
}

static ares_ssize_t sock_recv(ares_socket_t fd, void *bytes, size_t n, int flags, struct sockaddr *from,
                              ares_socklen_t *from_len, void *ud) {
  (void)ud;
  return recvfrom(fd, bytes, n, flags, from, from_len);
}

static ares_ssize_t sock_send(ares_socket_t fd, const struct iovec *pieces, int count, void *ud) {
  (void)ud;
  struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)pieces, .msg_iovlen = (size_t)count};
  return sendmsg(fd, &msg, MSG_NOSIGNAL);
}

static const struct ares_socket_functions sock_functions = {sock_open, sock_close, sock_connect, sock_recv, sock_send};

/* ------------------------------------------------------------- on the loop */

static void rearm(dsc_resolve_ares *engine) {
  struct timeval tv;
  if (!engine->has_channel || !ares_timeout(engine->channel, NULL, &tv)) {
    dsc_timer_stop(engine->tick);
    return;
  }
  dsc_timer_start(engine->tick, (uint64_t)tv.tv_sec * 1000U + (uint64_t)tv.tv_usec / 1000U + 1U);
}

static void on_tick(void *ud) {
  dsc_resolve_ares *engine = ud;
  if (engine->has_channel) ares_process_fd(engine->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  rearm(engine);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  watch *w = poll->data;
  dsc_resolve_ares *engine = w->engine;
  ares_socket_t fd = w->fd; /* the watch may go away within */
  ares_socket_t in = status < 0 || (events & UV_READABLE) ? fd : ARES_SOCKET_BAD;
  ares_socket_t out = status < 0 || (events & UV_WRITABLE) ? fd : ARES_SOCKET_BAD;
  ares_process_fd(engine->channel, in, out);
  rearm(engine);
}

static void on_watch_closed(uv_handle_t *handle) {
  dsc_mem_free(handle->data);
}

static watch *find_watch(dsc_resolve_ares *engine, ares_socket_t fd) {
  for (dsc_link *at = engine->watches.next; at != &engine->watches; at = at->next) {
    watch *w = DSC_LIST_ENTRY(at, watch, link);
    if (w->fd == fd) return w;
  }
  return NULL;
}

static watch *make_watch(dsc_resolve_ares *engine, ares_socket_t fd) {
  watch *w = dsc_mem_zalloc(1, sizeof *w);
  if (!w) return NULL;
  if (uv_poll_init(dsc_loop_uv(engine->loop), &w->poll, fd) != 0) {
    dsc_mem_free(w);
    return NULL;
  }
  w->poll.data = w;
  w->engine = engine;
  w->fd = fd;
  dsc_list_push(&engine->watches, &w->link);
  return w;
}

static void on_sock_state(void *ud, ares_socket_t fd, int readable, int writable) {
  dsc_resolve_ares *engine = ud;
  watch *w = find_watch(engine, fd);
  if (!readable && !writable) {
    if (!w) return;
    dsc_list_remove(&w->link);
    uv_close((uv_handle_t *)&w->poll, on_watch_closed);
    return;
  }
  /* without a watch (no memory) c-ares hears nothing, and its time-outs end the name */
  if (!w) w = make_watch(engine, fd);
  if (w) uv_poll_start(&w->poll, (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0), on_poll);
}

static bool init_channel(dsc_resolve_ares *engine) {
  pthread_once(&library_once, init_library);
  char lookups[] = "fb"; /* /etc/hosts, then DNS */
  struct ares_options options = {.timeout = TRY_MS,
                                 .tries = TRIES,
                                 .sock_state_cb = on_sock_state,
                                 .sock_state_cb_data = engine,
                                 .lookups = lookups};
  int mask = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | ARES_OPT_LOOKUPS;
  if (library_rc != ARES_SUCCESS || ares_init_options(&engine->channel, &options, mask) != ARES_SUCCESS) return false;
  ares_set_socket_functions(engine->channel, &sock_functions, NULL);
  engine->has_channel = true;
  engine->born_ms = dsc_clock_now_ms();
  return true;
}

static bool open_channel(dsc_resolve_ares *engine) {
  bool old = dsc_clock_now_ms() - engine->born_ms > CHANNEL_MAX_AGE_MS;
  if (engine->has_channel && engine->open == 0 && old) {
    ares_destroy(engine->channel);
    engine->has_channel = false;
  }
  return engine->has_channel || init_channel(engine);
}

dsc_resolve_ares *dsc_resolve_ares_new(dsc_loop *loop) {
  dsc_resolve_ares *engine = dsc_mem_zalloc(1, sizeof *engine);
  if (!engine) return NULL;
  engine->loop = loop;
  dsc_list_init(&engine->watches);
  engine->tick = dsc_timer_new(loop, on_tick, engine);
  if (engine->tick) return engine;
  dsc_mem_free(engine);
  return NULL;
}

void dsc_resolve_ares_free(dsc_resolve_ares *engine) {
  if (!engine) return;
  engine->closing = true;
  if (engine->has_channel) ares_destroy(engine->channel);
  dsc_timer_free(engine->tick);
  dsc_mem_free(engine);
}

void dsc_resolve_ares_ask(dsc_resolve_ares *engine, const char *host, dsc_resolve_found found, void *ud) {
  dsc_resolve_answer failed = {.err = DSC_OK};
  ask *a = dsc_mem_zalloc(1, sizeof *a);
  if (!a || !open_channel(engine)) {
    dsc_mem_free(a);
    fail_answer(&failed, DSC_ENOMEM, "the name \"%.60s\" cannot be resolved: c-ares cannot be set up", host);
    found(ud, &failed, TTL_MIN_S);
    return;
  }
  a->engine = engine;
  a->found = found;
  a->ud = ud;
  memcpy(a->host, host, strnlen(host, sizeof a->host - 1));
  engine->open++;
  /* not sorted: that would connect a socket per address; IPv4 goes first anyway */
  struct ares_addrinfo_hints hints = {.ai_flags = ARES_AI_NOSORT, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  ares_getaddrinfo(engine->channel, a->host, NULL, &hints, on_ares, a);
  rearm(engine);
}
