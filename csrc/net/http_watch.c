/*
** http_watch.c - curl's sockets as poll handles of the loop, curl's time-out as a timer.
**
** A watch is made with its socket and lives until the socket is closed. When curl no longer wants a socket
** (CURL_POLL_REMOVE after every transfer) its poll handle stays registered, because taking it out and putting it back
** costs two epoll_ctl per transfer on a kept-alive connection; it is narrowed only when it fires with something that
** nobody wants.
**
** A kept-alive connection that has something to read is spoilt: closed by its peer, or holding an answer that nobody
** asked for, which would become the answer to the next request. curl sees the first only, so an idle one is looked at
** before it is used again.
**
** Sockets that never got connected are closed by libcurl 7.88 past CLOSESOCKETFUNCTION, before it tells that it no
** longer wants them. Such a socket was wanted for writing only: its watch goes at once, and one that is still there
** when the number comes back belongs to the past.
*/
#include "net/http_impl.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/mem.h"

#define SETTLE_ROUNDS  8
#define SETTLE_SOCKETS 64

typedef struct watch {
  dsc_link link; /* in http->watches */
  uv_poll_t poll;
  dsc_http *http;
  curl_socket_t fd;
  int wanted;    /* by curl, UV_READABLE and UV_WRITABLE */
  int armed;     /* at libuv */
  int port;      /* of this end, 0: not idle yet */
  bool http2;    /* its peer may send whenever it likes */
  uint64_t node; /* hash of the address it was made to; 0: not known */
  uint64_t h2c;  /* made for HTTP/2 without TLS to the address with this hash; 0: not */
} watch;

static void on_poll(uv_poll_t *poll, int status, int events);

static watch *find_watch(dsc_http *http, curl_socket_t fd) {
  dsc_link *head = &http->watches[(unsigned)fd % DSC_HTTP_BUCKETS];
  for (dsc_link *at = head->next; at != head; at = at->next) {
    watch *w = DSC_LIST_ENTRY(at, watch, link);
    if (w->fd == fd) return w;
  }
  return NULL;
}

/* libcurl 7.88 may leave frames that it has read from the socket in its own buffer, and asks a layer of TLS whether it
** has more to read, but not this buffer: without TLS nothing comes back to it, and the rest of a large answer is never
** handed over. So it is asked again until nothing more comes. (Its filter compares the buffer's two ends the wrong way
** round; from 8.0 on the question is harmless.) */
static void settle(dsc_http *http) {
  curl_socket_t fds[SETTLE_SOCKETS];
  int left;
  for (int round = 0; round < SETTLE_ROUNDS && http->h2c_moved; round++) {
    size_t n = 0;
    http->h2c_moved = false;
    for (size_t i = 0; i < DSC_HTTP_BUCKETS; i++) /* the list may change while curl is asked */
      for (dsc_link *at = http->watches[i].next; at != &http->watches[i]; at = at->next) {
        const watch *w = DSC_LIST_ENTRY(at, watch, link);
        if (w->http2 && (w->wanted & UV_READABLE) && n < SETTLE_SOCKETS) fds[n++] = w->fd;
      }
    for (size_t i = 0; i < n; i++)
      if (find_watch(http, fds[i])) curl_multi_socket_action(http->multi, fds[i], CURL_CSELECT_IN, &left);
  }
  if (http->h2c_moved) dsc_timer_start(http->settler, 0); /* the others' turn first */
}

static void on_settle(void *ud) {
  settle(ud);
  dsc_http_pump(ud);
}

static void arm(watch *w, int events) {
  if (events == 0) {
    uv_poll_stop(&w->poll);
  } else if (uv_poll_start(&w->poll, events, on_poll) != 0) {
    events = 0;
  }
  w->armed = events;
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  watch *w = poll->data;
  dsc_http *http = w->http;
  curl_socket_t fd = w->fd;
  int unwanted = events & ~w->wanted;
  if (status == 0 && dsc_loop_is_late(http->loop)) return;
  /* on an error libuv has stopped the handle by itself */
  if (status < 0) w->armed = 0;
  if (unwanted) arm(w, w->wanted);
  if (w->wanted == 0) return;
  int seen = status < 0 ? CURL_CSELECT_ERR : 0;
  /* a node that breaks off while we send may have said why: that is read before the error counts */
  if (status < 0 && (w->wanted & UV_READABLE)) seen |= CURL_CSELECT_IN;
  if (events & UV_READABLE) seen |= CURL_CSELECT_IN;
  if (events & UV_WRITABLE) seen |= CURL_CSELECT_OUT;
  int left;
  curl_multi_socket_action(http->multi, fd, seen, &left);
  settle(http);
  w = find_watch(http, fd);
  if (w && (w->wanted & ~w->armed)) arm(w, w->wanted);
  dsc_http_pump(http);
}

static void on_watch_closed(uv_handle_t *handle) {
  dsc_mem_free(handle->data);
}

/* Out of epoll before the descriptor's number can be another's. */
static void drop(watch *w) {
  w->http->sockets--;
  dsc_list_remove(&w->link);
  uv_close((uv_handle_t *)&w->poll, on_watch_closed);
}

static watch *make_watch(dsc_http *http, curl_socket_t fd) {
  watch *w = dsc_mem_zalloc(1, sizeof *w);
  if (!w) return NULL;
  watch *old = find_watch(http, fd);
  int wanted = old ? old->wanted : 0;
  if (old) drop(old);
  if (uv_poll_init(dsc_loop_uv(http->loop), &w->poll, fd) != 0) {
    dsc_mem_free(w);
    return NULL;
  }
  w->poll.data = w;
  w->http = http;
  w->fd = fd;
  dsc_list_push(&http->watches[(unsigned)fd % DSC_HTTP_BUCKETS], &w->link);
  http->sockets++;
  /* curl compares numbers: it would not say again that it wants the same of the new socket */
  w->wanted = wanted;
  if (wanted) arm(w, wanted);
  return w;
}

static void note_nomem(CURL *easy) {
  char *attempt;
  if (curl_easy_getinfo(easy, CURLINFO_PRIVATE, &attempt) != CURLE_OK) return;
  ((dsc_http_attempt *)(void *)attempt)->socket_errno = ENOMEM;
}

static int own_port(curl_socket_t fd) {
  struct sockaddr_storage own;
  socklen_t size = sizeof own;
  if (getsockname(fd, (struct sockaddr *)&own, &size) != 0) return 0;
  if (own.ss_family == AF_INET6) return ntohs(((struct sockaddr_in6 *)(void *)&own)->sin6_port);
  return own.ss_family == AF_INET ? ntohs(((struct sockaddr_in *)(void *)&own)->sin_port) : 0;
}

static bool has_input(curl_socket_t fd) {
  char byte;
  return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || (errno != EAGAIN && errno != EINTR);
}

bool dsc_http_watch_is_spoilt(dsc_http *http, int port) {
  for (size_t i = 0; i < DSC_HTTP_BUCKETS; i++) {
    for (dsc_link *at = http->watches[i].next; at != &http->watches[i]; at = at->next) {
      const watch *w = DSC_LIST_ENTRY(at, watch, link);
      if (w->port == port && w->wanted == 0) return !w->http2 && has_input(w->fd);
    }
  }
  return false;
}

static watch *find_port(dsc_http *http, int port) {
  for (size_t i = 0; i < DSC_HTTP_BUCKETS; i++) {
    for (dsc_link *at = http->watches[i].next; at != &http->watches[i]; at = at->next) {
      watch *w = DSC_LIST_ENTRY(at, watch, link);
      if (!w->port) w->port = own_port(w->fd);
      if (w->port == port) return w;
    }
  }
  return NULL;
}

void dsc_http_watch_set_http2(dsc_http *http, int port) {
  watch *w = find_port(http, port);
  if (w) w->http2 = true;
}

bool dsc_http_watch_is_http2(dsc_http *http, int port) {
  const watch *w = find_port(http, port);
  return w && w->http2;
}

static bool has_ended(curl_socket_t fd) {
  char byte;
  return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

bool dsc_http_watch_has_h2c(const dsc_http *http, const char *addr) {
  uint64_t key = dsc_str_hash(dsc_str_of(addr));
  for (size_t i = 0; i < DSC_HTTP_BUCKETS; i++) {
    for (dsc_link *at = http->watches[i].next; at != &http->watches[i]; at = at->next) {
      const watch *w = DSC_LIST_ENTRY(at, watch, link);
      if (w->http2 && w->h2c == key && !has_ended(w->fd)) return true;
    }
  }
  return false;
}

/* curl has no way to close one of its idle connections: the socket is shut down under it, which it sees before it uses
** it again, as when the peer had closed. */
void dsc_http_forget(dsc_http *http, const char *addr) {
  uint64_t key = dsc_str_hash(dsc_str_of(addr));
  for (size_t i = 0; i < DSC_HTTP_BUCKETS; i++) {
    for (dsc_link *at = http->watches[i].next; at != &http->watches[i]; at = at->next) {
      const watch *w = DSC_LIST_ENTRY(at, watch, link);
      if (w->node == key && w->port && w->wanted == 0) shutdown(w->fd, SHUT_RDWR);
    }
  }
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ud, void *assigned) {
  (void)assigned;
  watch *w = find_watch(ud, fd);
  if (what == CURL_POLL_REMOVE) {
    if (w && w->wanted == UV_WRITABLE) {
      drop(w);
    } else if (w) {
      w->wanted = 0;
      if (!w->port) w->port = own_port(fd);
    }
    return 0;
  }
  if (!w) w = make_watch(ud, fd);
  if (!w) {
    /* an error from here would make curl give up all transfers; this one ends by its time-out */
    note_nomem(easy);
    return 0;
  }
  w->wanted = 0;
  if (what == CURL_POLL_IN || what == CURL_POLL_INOUT) w->wanted |= UV_READABLE;
  if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT) w->wanted |= UV_WRITABLE;
  if (w->wanted & ~w->armed) arm(w, w->wanted);
  return 0;
}

curl_socket_t dsc_http_watch_open(void *ud, curlsocktype purpose, struct curl_sockaddr *addr) {
  dsc_http_attempt *attempt = ud;
  (void)purpose;
  /* curl wants to send again what may be sent once only: the node need not even be knocked at */
  if (!dsc_http_again_may_connect(attempt)) return CURL_SOCKET_BAD;
  int fd = socket(addr->family, addr->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, addr->protocol);
  if (fd < 0) {
    attempt->socket_errno = errno;
    return CURL_SOCKET_BAD;
  }
  attempt->opened = true;
  watch *w = make_watch(attempt->http, fd);
  if (w) {
    w->node = dsc_str_hash(dsc_str_of(attempt->request.addr));
    bool shared = dsc_http_is_h2c(attempt) && !dsc_http_is_alone(attempt);
    w->h2c = shared ? dsc_str_hash(dsc_str_of(attempt->request.addr)) : 0;
    return fd;
  }
  attempt->socket_errno = ENOMEM;
  close(fd);
  return CURL_SOCKET_BAD;
}

int dsc_http_watch_close(void *ud, curl_socket_t fd) {
  watch *w = find_watch(ud, fd);
  if (w) drop(w);
  return close(fd);
}

static void on_due(void *ud) {
  dsc_http_watch_kick(ud);
  dsc_http_pump(ud);
}

static int on_timer(CURLM *multi, long ms, void *ud) {
  dsc_http *http = ud;
  (void)multi;
  /* within dsc_http_send() what is due at once is done without the timer; it arms what is left over */
  http->due = ms == 0 && http->in_send;
  if (ms < 0) {
    dsc_timer_stop(http->curl_timer);
  } else if (!http->due) {
    dsc_timer_start(http->curl_timer, (uint64_t)ms);
  }
  return 0;
}

void dsc_http_watch_rearm(dsc_http *http) {
  if (http->due) dsc_timer_start(http->curl_timer, 0);
  http->due = false;
}

void dsc_http_watch_kick(dsc_http *http) {
  int left;
  http->due = false;
  curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &left);
  settle(http);
}

dsc_err dsc_http_watch_init(dsc_http *http) {
  for (size_t i = 0; i < DSC_HTTP_BUCKETS; i++) dsc_list_init(&http->watches[i]);
  http->curl_timer = dsc_timer_new(http->loop, on_due, http);
  if (!http->curl_timer) return DSC_ENOMEM;
  http->settler = dsc_timer_new(http->loop, on_settle, http);
  if (!http->settler) return DSC_ENOMEM;
  http->multi = curl_multi_init();
  if (!http->multi) return DSC_EIO;
  curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
  curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
  curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, on_timer);
  curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
  curl_multi_setopt(http->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)DSC_HTTP_MAX_CONNECTIONS);
  /* the default, four times the handles in use, would throw connections to other nodes away */
  curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)DSC_HTTP_MAX_CONNECTIONS);
  curl_multi_setopt(http->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
  return DSC_OK;
}

/* Sockets that curl closed in the turn in which it opened them: it never spoke of them, and a watch that is left keeps
** the loop from closing. */
static void drop_forgotten(dsc_http *http) {
  for (size_t i = 0; i < DSC_HTTP_BUCKETS; i++)
    while (!dsc_list_empty(&http->watches[i])) drop(DSC_LIST_ENTRY(http->watches[i].next, watch, link));
}

void dsc_http_watch_fini(dsc_http *http) {
  if (http->multi) {
    curl_multi_cleanup(http->multi);
    drop_forgotten(http);
  }
  dsc_timer_free(http->settler);
  dsc_timer_free(http->curl_timer);
}
