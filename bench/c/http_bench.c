/*
** http_bench.c - net/http against plain libcurl: one at a time and 64 in flight, the same server, interleaved rounds.
**
** The server is a child process with one epoll loop that answers every request with a few hundred fixed bytes. Plain
** libcurl means: a reused easy handle with a write callback, two headers and all encodings; a multi handle with
** curl_multi_perform and curl_multi_poll. Ours does more per call: header list, copied answer, look-up, limits.
*/
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <curl/curl.h>

#include "base/clock.h"
#include "net/http.h"

#define ROUNDS  15
#define WIDTH   64
#define MAX_FDS 4096

static const char answer_text[] =
    "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
    "Content-Length: 64\r\n\r\n"
    "{\"id\":12345,\"name\":\"somebody\",\"roles\":[\"a\",\"b\",\"c\"],\"ok\":true  }";

/* ------------------------------------------------------------------- server */

static void answer_all(int fd, char *rest) {
  char bytes[8192];
  ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
  if (n <= 0) {
    close(fd);
    return;
  }
  for (ssize_t i = 0; i < n; i++) {
    memmove(rest, rest + 1, 3);
    rest[3] = bytes[i];
    if (memcmp(rest, "\r\n\r\n", 4) == 0) send(fd, answer_text, sizeof answer_text - 1, MSG_NOSIGNAL);
  }
}

static void serve(int listener) {
  static char rest[MAX_FDS][4];
  int ep = epoll_create1(0), on = 1;
  struct epoll_event ev = {.events = EPOLLIN, .data.fd = listener}, evs[128];
  epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev);
  for (;;) {
    int n = epoll_wait(ep, evs, 128, -1);
    for (int i = 0; i < n; i++) {
      if (evs[i].data.fd != listener) {
        answer_all(evs[i].data.fd, rest[evs[i].data.fd]);
        continue;
      }
      int fd = accept(listener, NULL, NULL);
      if (fd < 0 || fd >= MAX_FDS) continue;
      setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      ev = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
      epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
    }
  }
}

static pid_t start_server(uint16_t *port) {
  struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof sin;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(fd, (struct sockaddr *)&sin, sizeof sin) != 0 || listen(fd, 1024) != 0) return -1;
  getsockname(fd, (struct sockaddr *)&sin, &len);
  *port = ntohs(sin.sin_port);
  pid_t pid = fork();
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    serve(fd);
  }
  close(fd);
  return pid;
}

/* -------------------------------------------------------------- plain libcurl */

typedef struct plain {
  char url[64];
  struct curl_slist *headers;
  CURL *easy[WIDTH];
  CURLM *multi;
  size_t bytes;
} plain;

static size_t on_plain_body(char *bytes, size_t size, size_t count, void *ud) {
  plain *p = ud;
  (void)bytes;
  p->bytes += size * count;
  return size * count;
}

static void plain_open(plain *p, uint16_t port) {
  snprintf(p->url, sizeof p->url, "http://127.0.0.1:%u/api/verify?a=1", port);
  p->headers = curl_slist_append(NULL, "X-Request-Id: 0123456789");
  p->headers = curl_slist_append(p->headers, "From-App: bench");
  p->multi = curl_multi_init();
  for (int i = 0; i < WIDTH; i++) {
    CURL *easy = p->easy[i] = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, p->url);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, p->headers);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_plain_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, p);
    curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, ""); /* the same bytes on the wire */
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 10000L);
  }
}

static void plain_close(plain *p) {
  for (int i = 0; i < WIDTH; i++) curl_easy_cleanup(p->easy[i]);
  curl_multi_cleanup(p->multi);
  curl_slist_free_all(p->headers);
}

static void plain_one_at_a_time(plain *p, int calls) {
  for (int i = 0; i < calls; i++) curl_easy_perform(p->easy[0]);
}

static void plain_wide(plain *p, int calls) {
  int started = 0, done = 0, running, left;
  for (; started < WIDTH; started++) curl_multi_add_handle(p->multi, p->easy[started]);
  while (done < calls) {
    curl_multi_perform(p->multi, &running);
    CURLMsg *msg;
    bool more = false;
    while ((msg = curl_multi_info_read(p->multi, &left))) {
      CURL *easy = msg->easy_handle;
      curl_multi_remove_handle(p->multi, easy);
      done++;
      if (started < calls) {
        curl_multi_add_handle(p->multi, easy);
        started++;
        more = true;
      }
    }
    if (!more && done < calls) curl_multi_poll(p->multi, NULL, 0, 1000, NULL);
  }
}

/* --------------------------------------------------------------------- ours */

typedef struct ours {
  dsc_loop *loop;
  dsc_resolver *resolver;
  dsc_http *http;
  dsc_headers headers;
  dsc_http_request request;
  char addr[32];
  int finished, failed;
  size_t bytes;
} ours;

static void ours_open(ours *o, uint16_t port) {
  dsc_err err;
  memset(o, 0, sizeof *o);
  o->loop = dsc_loop_new(&err);
  o->resolver = dsc_resolver_new(o->loop);
  o->http = dsc_http_new(o->loop, o->resolver, &err);
  dsc_headers_init(&o->headers);
  dsc_headers_add(&o->headers, dsc_str_of("X-Request-Id"), dsc_str_of("0123456789"));
  dsc_headers_add(&o->headers, dsc_str_of("From-App"), dsc_str_of("bench"));
  snprintf(o->addr, sizeof o->addr, "127.0.0.1:%u", port);
  o->request = (dsc_http_request){.method = "GET",
                                  .host = "127.0.0.1",
                                  .port = port,
                                  .addr = o->addr,
                                  .target = "/api/verify?a=1",
                                  .headers = &o->headers,
                                  .timeout_ms = 10000,
                                  .connect_timeout_ms = 1000,
                                  .max_body = 64 << 20,
                                  .may_repeat = true};
}

static void ours_close(ours *o) {
  dsc_http_free(o->http);
  dsc_resolver_free(o->resolver);
  dsc_loop_free(o->loop);
  dsc_headers_clear(&o->headers);
}

static void on_ours(void *ud, dsc_http_answer *answer) {
  ours *o = ud;
  o->finished++;
  o->failed += answer->err != DSC_OK;
  o->bytes += answer->body_len;
}

static void ours_one_at_a_time(ours *o, int calls) {
  for (int i = 0; i < calls; i++) {
    o->finished = 0;
    dsc_http_send(o->http, &o->request, on_ours, o, NULL, NULL);
    while (!o->finished) dsc_loop_run(o->loop, 10000);
  }
}

static void ours_wide(ours *o, int calls) {
  int started = 0, done = 0;
  o->finished = 0;
  for (; started < WIDTH; started++) dsc_http_send(o->http, &o->request, on_ours, o, NULL, NULL);
  while (done < calls) {
    dsc_loop_run(o->loop, 10000);
    int more = o->finished;
    done += more;
    o->finished = 0;
    for (; more > 0 && started < calls; more--, started++) dsc_http_send(o->http, &o->request, on_ours, o, NULL, NULL);
  }
}

/* ------------------------------------------------------------------- rounds */

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values) {
  qsort(values, ROUNDS, sizeof *values, by_size);
  return values[ROUNDS / 2];
}

static double time_us(void (*plain_run)(plain *, int), void (*ours_run)(ours *, int), plain *p, ours *o, int calls) {
  uint64_t from = dsc_clock_now_ns();
  if (plain_run) plain_run(p, calls);
  if (ours_run) ours_run(o, calls);
  return (double)(dsc_clock_now_ns() - from) / 1000.0 / calls;
}

static void compare(const char *what, void (*plain_run)(plain *, int), void (*ours_run)(ours *, int), plain *p, ours *o,
                    int calls) {
  double a[ROUNDS], b[ROUNDS], ratio[ROUNDS];
  for (int i = -1; i < ROUNDS; i++) {
    bool first = i % 2 == 0; /* whoever runs second finds a warmer machine: take turns */
    double x = first ? time_us(plain_run, NULL, p, o, calls) : 0;
    double y = time_us(NULL, ours_run, p, o, calls);
    if (!first) x = time_us(plain_run, NULL, p, o, calls);
    if (i < 0) continue;
    a[i] = x;
    b[i] = y;
    ratio[i] = y / x;
  }
  double ours_time = median(b), plain_time = median(a), paired = median(ratio);
  printf("%-16s plain curl %7.2f us/call   ours %7.2f us/call   time ratio %.3f   throughput ratio %.3f\n", what,
         plain_time, ours_time, paired, 1 / paired);
}

int main(int argc, char **argv) {
  int calls = argc > 1 ? atoi(argv[1]) : 4000;
  uint16_t port;
  pid_t server = start_server(&port);
  if (server <= 0) return 1;
  curl_global_init(CURL_GLOBAL_DEFAULT);
  plain p = {.bytes = 0};
  ours o;
  plain_open(&p, port);
  ours_open(&o, port);
  compare("one at a time", plain_one_at_a_time, ours_one_at_a_time, &p, &o, calls);
  compare("64 in flight", plain_wide, ours_wide, &p, &o, 4 * calls);
  if (o.failed) printf("%d calls failed\n", o.failed);
  ours_close(&o);
  plain_close(&p);
  kill(server, SIGKILL);
  waitpid(server, NULL, 0);
  return o.failed != 0;
}
