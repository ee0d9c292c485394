/*
** ws_line.c - a TCP connection on libwebsockets.
**
** libwebsockets polls the socket, reads it and closes it; we make it, and write to it ourselves: what the kernel does
** not take libwebsockets keeps in a buffer that nobody bounds, and reads nothing until that is gone, so that two peers
** that write much would wait for each other. The wait for the connection is a wait for the first writable.
**
** Invariants: a line lives until libwebsockets says WSI_DESTROY; after `lost` or a cut nobody hears of it. SIGPIPE: the
** context sets it to ignored for the whole process; what it was is set again, and our writes do not raise it.
*/
#include <libwebsockets.h>

#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <uv.h>

#include "base/mem.h"
#include "net/ws_impl.h"

#define READ_BYTES   (64 * 1024)
#define READ_REST    4096
#define REST_ROUNDS  256
#define SPARE_SLOTS  64 /* libwebsockets' own, and of closed connections until the loop has run */
#define CLOSE_ROUNDS 1000

struct dsc_ws_lines {
  dsc_loop *loop;
  struct lws_context *context; /* libwebsockets sets it to NULL when it is gone */
  dsc_link lines;
};

struct dsc_ws_line {
  dsc_link link; /* in lines->lines */
  dsc_ws_lines *owner;
  struct lws *wsi;
  const dsc_ws_line_events *events;
  void *ud;
  bool connecting;
  bool cut;        /* nobody is told any more */
  bool paused;     /* not to be read */
  int broken;      /* the errno of a write that failed */
  bool closing;    /* inside libwebsockets' last word on it: it is not to be asked for anything */
  unsigned inside; /* callbacks of this line on the stack */
};

static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;

static int socket_error(const dsc_ws_line *line) {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(lws_get_socket_fd(line->wsi), SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  return error;
}

static void on_lost(dsc_ws_line *line, int error) {
  if (line->cut) return;
  line->cut = true;
  line->events->lost(line->ud, error);
}

/* After a reset libuv and libwebsockets read no more, though bytes that came before it are there still: an alert that
** says why TLS was refused, a close frame. Returns the error that the reading came to, 0: none. */
static int read_rest(dsc_ws_line *line) {
  char bytes[READ_REST];
  for (int i = 0; i < REST_ROUNDS && !line->cut && !line->paused; i++) {
    ssize_t n = recv(lws_get_socket_fd(line->wsi), bytes, sizeof bytes, MSG_DONTWAIT);
    if (n <= 0) return n < 0 && errno != EAGAIN ? errno : 0;
    line->events->received(line->ud, (dsc_str){bytes, (size_t)n});
  }
  return 0;
}

/* It is over, for libwebsockets or by a write that failed. */
static void lose(dsc_ws_line *line) {
  if (line->cut) return;
  line->closing = true;
  line->inside++;
  int error = line->connecting ? 0 : read_rest(line);
  line->inside--;
  if (line->broken) error = line->broken;
  if (!line->cut) on_lost(line, error ? error : socket_error(line));
}

static void on_writable(dsc_ws_line *line) {
  if (line->broken) {
    lose(line);
    return;
  }
  if (!line->connecting) {
    line->events->writable(line->ud);
    return;
  }
  int error = socket_error(line);
  line->connecting = false;
  if (error) {
    on_lost(line, error);
    return;
  }
  line->paused = false;
  lws_rx_flow_control(line->wsi, 1);
  line->events->connected(line->ud);
}

/* Returns what libwebsockets wants: -1 closes. */
static int tell(dsc_ws_line *line, enum lws_callback_reasons reason, void *in, size_t n) {
  if (line->cut) return -1;
  line->inside++;
  if (reason == LWS_CALLBACK_RAW_RX) line->events->received(line->ud, (dsc_str){in, n});
  if (reason == LWS_CALLBACK_RAW_WRITEABLE) on_writable(line);
  line->inside--;
  return line->cut ? -1 : 0;
}

static int on_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t n) {
  (void)user;
  dsc_ws_line *line = wsi ? lws_get_opaque_user_data(wsi) : NULL;
  if (!line) return 0;
  switch (reason) {
  case LWS_CALLBACK_RAW_ADOPT:
    line->wsi = wsi;
    /* an error of connect() shall be found by us, not by a read that hides which it was */
    line->paused = true;
    lws_rx_flow_control(wsi, 0);
    lws_callback_on_writable(wsi);
    return 0;
  case LWS_CALLBACK_RAW_RX:
  case LWS_CALLBACK_RAW_WRITEABLE: return tell(line, reason, in, n);
  case LWS_CALLBACK_RAW_CLOSE: lose(line); return 0;
  case LWS_CALLBACK_WSI_DESTROY:
    lws_set_opaque_user_data(wsi, NULL);
    dsc_list_remove(&line->link);
    dsc_mem_free(line);
    return 0;
  default: return 0;
  }
}

static const struct lws_protocols protocols[] = {{"discover", on_callback, 0, READ_BYTES, 0, NULL, 0},
                                                 {NULL, NULL, 0, 0, 0, NULL, 0}};

static void make_context(dsc_ws_lines *lines) {
  void *loops[1] = {dsc_loop_uv(lines->loop)};
  struct lws_context_creation_info info = {0};
  info.port = CONTEXT_PORT_NO_LISTEN;
  info.options = LWS_SERVER_OPTION_LIBUV;
  info.foreign_loops = loops;
  info.protocols = protocols;
  info.pcontext = &lines->context;
  info.fd_limit_per_thread = DSC_WS_MAX_CONNECTIONS + SPARE_SLOTS;
  info.pt_serv_buf_size = READ_BYTES;
  info.http_proxy_address = ""; /* else the environment is asked */
  info.gid = -1;
  info.uid = -1;
  lines->context = lws_create_context(&info);
}

dsc_ws_lines *dsc_ws_lines_new(dsc_loop *loop) {
  dsc_ws_lines *lines = dsc_mem_zalloc(1, sizeof *lines);
  if (!lines) return NULL;
  lines->loop = loop;
  dsc_list_init(&lines->lines);
  lws_set_log_level(0, NULL);
  struct sigaction before;
  pthread_mutex_lock(&making); /* two at once would take the other's "ignored" for what was there before */
  bool known = sigaction(SIGPIPE, NULL, &before) == 0;
  make_context(lines);
  if (known) sigaction(SIGPIPE, &before, NULL);
  pthread_mutex_unlock(&making);
  if (lines->context) return lines;
  dsc_mem_free(lines);
  return NULL;
}

static void count_closing(uv_handle_t *handle, void *count) {
  if (uv_is_closing(handle)) ++*(size_t *)count;
}

static bool is_closing(dsc_ws_lines *lines) {
  size_t count = 0;
  uv_walk(dsc_loop_uv(lines->loop), count_closing, &count);
  return count > 0;
}

void dsc_ws_lines_free(dsc_ws_lines *lines) {
  if (!lines) return;
  for (dsc_link *link = lines->lines.next, *next; link != &lines->lines; link = next) {
    next = link->next;
    dsc_ws_line_cut(DSC_LIST_ENTRY(link, dsc_ws_line, link));
  }
  for (int i = 0; i < CLOSE_ROUNDS && !dsc_list_empty(&lines->lines); i++) dsc_loop_run(lines->loop, 0);
  lws_context_destroy(lines->context);
  /* its handles close one after the other, and the second call must not come before the last */
  for (int i = 0; i < 3 || (i < CLOSE_ROUNDS && is_closing(lines)); i++) dsc_loop_run(lines->loop, 0);
  if (lines->context) lws_context_destroy(lines->context);
  dsc_mem_free(lines);
}

static int make_socket(const char *ip, uint16_t port, struct sockaddr_storage *at, int *error) {
  int rc = uv_ip4_addr(ip, port, (struct sockaddr_in *)at);
  if (rc != 0) rc = uv_ip6_addr(ip, port, (struct sockaddr_in6 *)at);
  if (rc != 0) {
    *error = EINVAL;
    return -1;
  }
  int fd = socket(at->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
  if (fd < 0) *error = errno;
  if (fd >= 0) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

static struct lws *adopt(dsc_ws_lines *lines, dsc_ws_line *line, int fd) {
  lws_adopt_desc_t info = {0};
  info.vh = lws_get_vhost_by_name(lines->context, "default");
  info.type = LWS_ADOPT_SOCKET;
  info.fd.sockfd = fd;
  info.opaque = line;
  return lws_adopt_descriptor_vhost_via_info(&info);
}

dsc_ws_line *dsc_ws_line_open(dsc_ws_lines *lines, const char *ip, uint16_t port, const dsc_ws_line_events *events,
                              void *ud, int *error) {
  struct sockaddr_storage at;
  int fd = make_socket(ip, port, &at, error);
  if (fd < 0) return NULL;
  socklen_t size = at.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
  if (connect(fd, (const struct sockaddr *)&at, size) != 0 && errno != EINPROGRESS) {
    *error = errno;
    close(fd);
    return NULL;
  }
  dsc_ws_line *line = dsc_mem_zalloc(1, sizeof *line);
  if (!line) {
    *error = ENOMEM;
    close(fd);
    return NULL;
  }
  *line = (dsc_ws_line){.owner = lines, .events = events, .ud = ud, .connecting = true};
  dsc_list_init(&line->link);
  dsc_list_push(&lines->lines, &line->link);
  line->inside++;                     /* a failure within is told by the return */
  line->wsi = adopt(lines, line, fd); /* closes the socket if it fails */
  if (line->wsi) {
    line->inside--;
    return line;
  }
  *error = ENOMEM;
  dsc_list_remove(&line->link);
  dsc_mem_free(line);
  return NULL;
}

ptrdiff_t dsc_ws_line_write(dsc_ws_line *line, const char *bytes, size_t n) {
  if (line->cut || line->closing || line->broken) return -1;
  ssize_t done = send(lws_get_socket_fd(line->wsi), bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (done < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) line->broken = errno;
  /* of a broken one too: a line that is not read hears of its end in no other way */
  if (done < 0 || (size_t)done < n) lws_callback_on_writable(line->wsi);
  return line->broken ? -1 : done < 0 ? 0 : done;
}

void dsc_ws_line_read(dsc_ws_line *line, bool on) {
  line->paused = !on;
  if (!line->cut && !line->closing) lws_rx_flow_control(line->wsi, on);
}

void dsc_ws_line_finish(dsc_ws_line *line) {
  if (!line->cut) shutdown(lws_get_socket_fd(line->wsi), SHUT_WR);
}

void dsc_ws_line_cut(dsc_ws_line *line) {
  if (!line || line->cut) return;
  line->cut = true;
  /* the descriptor goes when the loop next runs; the peer shall know at once */
  shutdown(lws_get_socket_fd(line->wsi), SHUT_RDWR);
  if (line->inside == 0) lws_set_timeout(line->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
}

void dsc_ws_line_accept_key(char accept[32], const char *key) {
  char text[96];
  unsigned char hash[20];
  int n = snprintf(text, sizeof text, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
  lws_SHA1((unsigned char *)text, (size_t)n, hash);
  lws_b64_encode_string((const char *)hash, sizeof hash, accept, 32);
}

void dsc_ws_line_key(char key[32], const uint8_t bytes[16]) {
  lws_b64_encode_string((const char *)bytes, 16, key, 32);
}
