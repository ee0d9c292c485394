/*
** peer.h - a scripted TCP server in the test's own process: one thread accepts, one thread per connection plays a
** script.
**
** A script reads requests and writes bytes, right or wrong; the peer counts connections and requests. Header only,
** because each test program is one file.
*/
#ifndef DSC_SPEC_PEER_H
#define DSC_SPEC_PEER_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define PEER_MAX_CONNECTIONS 1024

typedef struct peer peer;
typedef struct peer_conn peer_conn;
typedef void (*peer_script)(peer *p, peer_conn *c);

struct peer_conn {
  peer *peer;
  int fd;
  int number; /* 0: the first */
  pthread_t thread;
  char head[65536]; /* the last request: line and headers, terminated */
  char *body;
  size_t body_len;
  char rest[65536]; /* read ahead */
  size_t rest_len;
};

struct peer {
  int fd;
  uint16_t port;
  char addr[32];
  peer_script script;
  void *ud;
  pthread_t thread;
  atomic_int accepted, requests, stopping;
  atomic_int flag; /* for the script */
  peer_conn *conns[PEER_MAX_CONNECTIONS];
};

static inline void *peer_play(void *arg) {
  peer_conn *c = arg;
  c->peer->script(c->peer, c);
  shutdown(c->fd, SHUT_RDWR);
  return NULL;
}

static inline void *peer_accept(void *arg) {
  peer *p = arg;
  for (;;) {
    int fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      if ((errno == EMFILE || errno == ENFILE) && !atomic_load(&p->stopping)) {
        usleep(1000);
        continue;
      }
      return NULL;
    }
    int n = atomic_load(&p->accepted);
    if (atomic_load(&p->stopping) || n >= PEER_MAX_CONNECTIONS) {
      close(fd);
      continue;
    }
    peer_conn *c = calloc(1, sizeof *c);
    *c = (peer_conn){.peer = p, .fd = fd, .number = n};
    p->conns[n] = c;
    atomic_store(&p->accepted, n + 1);
    pthread_create(&c->thread, NULL, peer_play, c);
  }
}

/* Listens on a free port of `ip` and plays `script` for each connection. */
static inline void peer_start_on(peer *p, const char *ip, peer_script script, void *ud) {
  struct sockaddr_in sin = {.sin_family = AF_INET};
  socklen_t len = sizeof sin;
  int on = 1;
  memset(p, 0, sizeof *p);
  inet_pton(AF_INET, ip, &sin.sin_addr);
  p->script = script;
  p->ud = ud;
  p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  setsockopt(p->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(p->fd, (struct sockaddr *)&sin, sizeof sin) != 0 || listen(p->fd, 1024) != 0) abort();
  getsockname(p->fd, (struct sockaddr *)&sin, &len);
  p->port = ntohs(sin.sin_port);
  snprintf(p->addr, sizeof p->addr, "%s:%u", ip, p->port);
  pthread_create(&p->thread, NULL, peer_accept, p);
}

static inline void peer_start(peer *p, peer_script script, void *ud) {
  peer_start_on(p, "127.0.0.1", script, ud);
}

/* Stops listening, breaks all connections, waits for all threads. */
static inline void peer_stop(peer *p) {
  atomic_store(&p->stopping, 1);
  shutdown(p->fd, SHUT_RDWR);
  pthread_join(p->thread, NULL);
  close(p->fd);
  int n = atomic_load(&p->accepted);
  for (int i = 0; i < n; i++) {
    shutdown(p->conns[i]->fd, SHUT_RDWR);
    pthread_join(p->conns[i]->thread, NULL);
    close(p->conns[i]->fd);
    free(p->conns[i]->body);
    free(p->conns[i]);
  }
}

static inline bool peer_write(peer_conn *c, const char *bytes, size_t n) {
  while (n > 0) {
    ssize_t done = send(c->fd, bytes, n, MSG_NOSIGNAL);
    if (done <= 0) return false;
    bytes += done;
    n -= (size_t)done;
  }
  return true;
}

static inline bool peer_say(peer_conn *c, const char *text) {
  return peer_write(c, text, strlen(text));
}

static inline bool peer_fill(peer_conn *c) {
  if (c->rest_len == sizeof c->rest) return false;
  ssize_t n = recv(c->fd, c->rest + c->rest_len, sizeof c->rest - c->rest_len, 0);
  if (n <= 0) return false;
  c->rest_len += (size_t)n;
  return true;
}

static inline void peer_drop(peer_conn *c, size_t n) {
  memmove(c->rest, c->rest + n, c->rest_len - n);
  c->rest_len -= n;
}

/* Copies the value of a request header of the last request; false when there is none. */
static inline bool peer_header(const peer_conn *c, const char *name, char *value, size_t size) {
  const char *line = strstr(c->head, "\r\n");
  size_t n = strlen(name);
  while (line && line[2]) {
    line += 2;
    const char *end = strstr(line, "\r\n");
    if (!end) end = line + strlen(line);
    if (strncasecmp(line, name, n) == 0 && line[n] == ':') {
      const char *from = line + n + 1;
      while (*from == ' ') from++;
      snprintf(value, size, "%.*s", (int)(end - from), from);
      return true;
    }
    line = *end ? end : NULL;
  }
  return false;
}

/* Reads one whole request (head and body by Content-Length) and counts it; false at the end of the connection. */
static inline bool peer_read(peer_conn *c) {
  char *end;
  while (!(end = memmem(c->rest, c->rest_len, "\r\n\r\n", 4)))
    if (!peer_fill(c)) return false;
  size_t head = (size_t)(end - c->rest);
  memcpy(c->head, c->rest, head);
  c->head[head] = '\0';
  peer_drop(c, head + 4);
  char length[32];
  c->body_len = peer_header(c, "Content-Length", length, sizeof length) ? strtoull(length, NULL, 10) : 0;
  free(c->body);
  c->body = calloc(1, c->body_len + 1);
  size_t have = 0;
  while (have < c->body_len) {
    if (c->rest_len == 0 && !peer_fill(c)) return false;
    size_t n = c->rest_len < c->body_len - have ? c->rest_len : c->body_len - have;
    memcpy(c->body + have, c->rest, n);
    peer_drop(c, n);
    have += n;
  }
  atomic_fetch_add(&c->peer->requests, 1);
  return true;
}

/* Answers 200 with `body`. */
static inline bool peer_answer(peer_conn *c, const char *body) {
  char head[128];
  snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", strlen(body));
  return peer_say(c, head) && peer_say(c, body);
}

/* Waits until the other side closes, or the peer is stopped. */
static inline void peer_linger(peer_conn *c) {
  char bytes[4096];
  while (recv(c->fd, bytes, sizeof bytes, 0) > 0) continue;
}

/* Makes the coming close a reset. */
static inline void peer_reset(peer_conn *c) {
  struct linger hard = {.l_onoff = 1, .l_linger = 0};
  setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  int fd = open("/dev/null", 0);
  dup2(fd, c->fd);
  close(fd);
}

#endif
