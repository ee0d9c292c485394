/*
** ws_line.c - a TCP connection of a WebSocket: one socket under a poll handle of the loop.
**
** The socket is ours to read and to write, so that reading can be paused while nothing bounds what the peer sends, and
** a write that the kernel does not take stays with who knows its bound. The wait for the connection is a wait for the
** first writable.
**
** Invariants: after `lost` or a cut the socket is closed and nobody hears of the line; its memory goes when the loop
** has let go of the handle, so a callback may cut the line that called it. Writes raise no SIGPIPE. Threads: the
** loop's.
*/
#include "net/ws_impl.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/mem.h"

#define READ_BYTES  (64 * 1024) /* in one turn of the loop: others shall have theirs */
#define READ_ROUNDS 16          /* of what is left when the peer is gone */

struct dsc_ws_lines {
  dsc_loop *loop;
  dsc_link lines;
  char bytes[READ_BYTES];
};

struct dsc_ws_line {
  dsc_link link; /* in lines->lines */
  dsc_ws_lines *owner;
  uv_poll_t poll;
  int fd;
  const dsc_ws_line_events *events;
  void *ud;
  bool connecting;
  bool cut;         /* the socket is closed, nobody is told any more */
  bool paused;      /* not to be read */
  bool wants_write; /* `writable` is owed */
  int broken;       /* the errno of a write that failed */
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void arm(dsc_ws_line *line) {
  int events = 0;
  if (line->cut) return;
  if (line->connecting || line->wants_write) events |= UV_WRITABLE;
  if (!line->connecting && !line->paused) events |= UV_READABLE;
  if (events) {
    uv_poll_start(&line->poll, events, on_poll);
  } else {
    uv_poll_stop(&line->poll);
  }
}

static void on_closed(uv_handle_t *handle) {
  dsc_mem_free(handle->data);
}

void dsc_ws_line_cut(dsc_ws_line *line) {
  if (!line || line->cut) return;
  line->cut = true;
  dsc_list_remove(&line->link);
  uv_close((uv_handle_t *)&line->poll, on_closed);
  close(line->fd);
}

static void lose(dsc_ws_line *line, int error) {
  if (line->cut) return;
  const dsc_ws_line_events *events = line->events;
  void *ud = line->ud;
  dsc_ws_line_cut(line);
  events->lost(ud, error);
}

/* Reads once and hands it on. Returns false when there is nothing more for now, or ever. */
static bool read_some(dsc_ws_line *line) {
  ssize_t n = recv(line->fd, line->owner->bytes, READ_BYTES, MSG_DONTWAIT);
  if (n > 0) {
    line->events->received(line->ud, (dsc_str){line->owner->bytes, (size_t)n});
    return !line->cut && !line->paused;
  }
  if (n == 0)
    lose(line, 0);
  else if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
    lose(line, errno);
  return false;
}

/* The socket has an error, or a write had one. What came before it is there still: an alert that says why TLS was
** refused, a close frame. */
static void give_up(dsc_ws_line *line) {
  int error = line->broken;
  socklen_t size = sizeof error;
  for (int i = 0; i < READ_ROUNDS && !line->connecting && !line->paused && read_some(line); i++) continue;
  if (line->cut) return;
  if (!error && getsockopt(line->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  lose(line, error);
}

static void on_writable(dsc_ws_line *line) {
  int error = 0;
  socklen_t size = sizeof error;
  line->wants_write = false;
  if (!line->connecting) {
    line->events->writable(line->ud);
    return;
  }
  if (getsockopt(line->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  line->connecting = false;
  if (error) {
    lose(line, error);
  } else {
    line->events->connected(line->ud);
  }
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  dsc_ws_line *line = poll->data;
  if (status < 0 || line->broken) {
    give_up(line);
    return;
  }
  if (events & UV_WRITABLE) on_writable(line);
  if ((events & UV_READABLE) && !line->cut && !line->paused) read_some(line);
  arm(line);
}

dsc_ws_lines *dsc_ws_lines_new(dsc_loop *loop) {
  dsc_ws_lines *lines = dsc_mem_alloc(sizeof *lines);
  if (!lines) return NULL;
  lines->loop = loop;
  dsc_list_init(&lines->lines);
  return lines;
}

void dsc_ws_lines_free(dsc_ws_lines *lines) {
  if (!lines) return;
  while (!dsc_list_empty(&lines->lines)) dsc_ws_line_cut(DSC_LIST_ENTRY(lines->lines.next, dsc_ws_line, link));
  dsc_mem_free(lines);
}

/* Begins to connect. Returns -1 with `*error` when it cannot. */
static int dial(const char *ip, uint16_t port, int *error) {
  struct sockaddr_storage at = {0};
  socklen_t size = sizeof(struct sockaddr_in);
  int on = 1, rc = uv_ip4_addr(ip, port, (struct sockaddr_in *)&at);
  if (rc != 0) {
    size = sizeof(struct sockaddr_in6);
    rc = uv_ip6_addr(ip, port, (struct sockaddr_in6 *)&at);
  }
  int fd = rc == 0 ? socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1;
  if (fd < 0) {
    *error = rc == 0 ? errno : EINVAL;
    return -1;
  }
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(fd, (const struct sockaddr *)&at, size) == 0 || errno == EINPROGRESS) return fd;
  *error = errno;
  close(fd);
  return -1;
}

dsc_ws_line *dsc_ws_line_open(dsc_ws_lines *lines, const char *ip, uint16_t port, const dsc_ws_line_events *events,
                              void *ud, int *error) {
  int fd = dial(ip, port, error);
  if (fd < 0) return NULL;
  dsc_ws_line *line = dsc_mem_zalloc(1, sizeof *line);
  int rc = line ? uv_poll_init(dsc_loop_uv(lines->loop), &line->poll, fd) : UV_ENOMEM;
  if (rc != 0) {
    *error = -rc;
    close(fd);
    dsc_mem_free(line);
    return NULL;
  }
  line->poll.data = line;
  line->owner = lines;
  line->fd = fd;
  line->events = events;
  line->ud = ud;
  line->connecting = true;
  dsc_list_push(&lines->lines, &line->link);
  arm(line);
  return line;
}

ptrdiff_t dsc_ws_line_write(dsc_ws_line *line, const char *bytes, size_t n) {
  if (line->cut || line->broken) return -1;
  ssize_t done = send(line->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (done < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) line->broken = errno;
  if (done < 0 || (size_t)done < n) {
    /* of a broken one too: a line that is not read hears of its end in no other way */
    line->wants_write = true;
    arm(line);
  }
  return line->broken ? -1 : done < 0 ? 0 : done;
}

void dsc_ws_line_read(dsc_ws_line *line, bool on) {
  if (line->paused == !on) return;
  line->paused = !on;
  arm(line);
}

void dsc_ws_line_finish(dsc_ws_line *line) {
  if (!line->cut) shutdown(line->fd, SHUT_WR);
}
