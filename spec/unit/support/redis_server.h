/*
** redis_server.h - a private redis-server for a test, and a small blocking client to look into it.
**
** The server runs on a free port of 127.0.0.1 with a folder of its own and dies with the test program. Header only:
** each test program has one copy.
*/
#ifndef DSC_SPEC_SUPPORT_REDIS_SERVER_H
#define DSC_SPEC_SUPPORT_REDIS_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAYBE_UNUSED __attribute__((unused))

typedef struct redis_server {
  int port;
  pid_t pid; /* 0: not running */
  char dir[64];
  char password[32]; /* "": none */
  int bus;           /* the second port of a Cluster's node; 0: it is no such node */
} redis_server;

MAYBE_UNUSED static double test_slow(void) {
  const char *slow = getenv("DISCOVER_TEST_SLOW");
  double factor = slow ? atof(slow) : 1;
  return factor < 1 ? 1 : factor;
}

MAYBE_UNUSED static uint64_t test_now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

MAYBE_UNUSED static void test_nap_ms(long ms) {
  struct timespec t = {ms / 1000, (ms % 1000) * 1000000};
  nanosleep(&t, NULL);
}

/* Looks again and again until `condition` holds, at most `ms` (scaled). True when it held. */
#define EVENTUALLY(condition, ms)                                                                                      \
  __extension__({                                                                                                      \
    uint64_t until_ = test_now_ms() + (uint64_t)((ms)*test_slow());                                                    \
    int held_ = 0;                                                                                                     \
    while (!(held_ = !!(condition)) && test_now_ms() < until_) test_nap_ms(2);                                         \
    held_;                                                                                                             \
  })

/* True when `condition` holds all the time for `ms` (not scaled: it may be what ends by a clock). */
#define ALWAYS(condition, ms) (!EVENTUALLY(!(condition), (ms) / test_slow()))

MAYBE_UNUSED static int test_listen(int port, int *found) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 64) != 0) {
    close(fd);
    return -1;
  }
  socklen_t n = sizeof at;
  getsockname(fd, (struct sockaddr *)&at, &n);
  if (found) *found = ntohs(at.sin_port);
  return fd;
}

/* Below the range that the kernel gives out, so that nobody gets it by chance while its server is down. Stages of
** scripts/test that run side by side are told to begin at different ones. */
MAYBE_UNUSED static int test_free_port(void) {
  enum { FIRST = 12000, MANY = 9000 };
  static int at = -1;
  const char *first = getenv("DISCOVER_TEST_PORTS");
  if (at < 0) at = (int)(getpid() * 7L % MANY);
  for (int i = 0; i < MANY; i++) {
    at = (at + 1) % MANY;
    int port = (first ? atoi(first) : FIRST) + at;
    int fd = test_listen(port, NULL);
    if (fd < 0) continue;
    close(fd);
    return port;
  }
  return 0;
}

/* ---- a blocking client */

typedef struct redis_client {
  int fd;
  size_t len, at;
  char buf[65536];
} redis_client;

MAYBE_UNUSED static int test_connect(int port) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0) return fd;
  close(fd);
  return -1;
}

MAYBE_UNUSED static int client_byte(redis_client *c, int timeout_ms) {
  if (c->at == c->len) {
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (poll(&p, 1, (int)(timeout_ms * test_slow())) <= 0) return -1;
    ssize_t n = read(c->fd, c->buf, sizeof c->buf);
    if (n <= 0) return -1;
    c->at = 0;
    c->len = (size_t)n;
  }
  return (unsigned char)c->buf[c->at++];
}

/* Reads a line without its end; false when none came in time. */
MAYBE_UNUSED static int client_line(redis_client *c, char *line, size_t size, int timeout_ms) {
  size_t n = 0;
  int b;
  while ((b = client_byte(c, timeout_ms)) >= 0 && b != '\n') {
    if (n + 1 < size && b != '\r') line[n++] = (char)b;
  }
  line[n] = '\0';
  return b >= 0;
}

/* Reads a reply as text: elements joined by blanks, "(nil)" for nil. */
MAYBE_UNUSED static int client_reply(redis_client *c, char *text, size_t size) {
  char line[4096];
  if (size == 0 || !client_line(c, line, sizeof line, 3000)) return 0;
  size_t n = strlen(text);
  if (line[0] == '$' && line[1] == '-') {
    snprintf(text + n, size - n, "(nil)");
  } else if (line[0] == '$') {
    for (long left = atol(line + 1) + 2; left > 0; left--) {
      int b = client_byte(c, 3000);
      if (b < 0) return 0;
      if (left > 2 && n + 1 < size) text[n++] = (char)b;
    }
    text[n] = '\0';
  } else if (line[0] == '*') {
    for (long i = 0, count = atol(line + 1); i < count; i++) {
      if (i > 0 && (n = strlen(text)) + 1 < size) memcpy(text + n, " ", 2);
      if (!client_reply(c, text, size)) return 0;
    }
  } else {
    snprintf(text + n, size - n, "%s", line + (line[0] == '-' ? 0 : 1));
  }
  return 1;
}

MAYBE_UNUSED static void client_send(redis_client *c, const char *command) {
  char line[8192];
  int n = snprintf(line, sizeof line, "%s\r\n", command);
  ssize_t sent = send(c->fd, line, (size_t)n, MSG_NOSIGNAL);
  (void)sent;
}

/* Runs a command (an inline one: words, quotes) and returns its reply as text in a static buffer; "" when the server
** is not there. */
MAYBE_UNUSED __attribute__((format(printf, 2, 3))) static const char *redis(redis_server *s, const char *format, ...) {
  static char text[1 << 20];
  static redis_client c;
  char command[8000];
  va_list args;
  va_start(args, format);
  vsnprintf(command, sizeof command, format, args);
  va_end(args);
  text[0] = '\0';
  c.at = c.len = 0;
  c.fd = test_connect(s->port);
  if (c.fd < 0) return text;
  if (s->password[0]) {
    char auth[64];
    snprintf(auth, sizeof auth, "AUTH %s", s->password);
    client_send(&c, auth);
    client_reply(&c, text, sizeof text);
    text[0] = '\0';
  }
  client_send(&c, command);
  if (!client_reply(&c, text, sizeof text)) text[0] = '\0';
  close(c.fd);
  return text;
}

/* ---- the server */

MAYBE_UNUSED static int redis_start(redis_server *s) {
  char port[16], pass[64], bus[16];
  if (!s->dir[0]) {
    snprintf(s->dir, sizeof s->dir, "/tmp/discover-redis-XXXXXX");
    if (!mkdtemp(s->dir)) return 0;
  }
  if (!s->port) s->port = test_free_port();
  snprintf(port, sizeof port, "%d", s->port);
  snprintf(pass, sizeof pass, "%s", s->password);
  snprintf(bus, sizeof bus, "%d", s->bus);
  pid_t parent = getpid();
  s->pid = fork();
  if (s->pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(null, 1);
    dup2(null, 2);
    execlp("redis-server", "redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", s->dir, "--save", "",
           "--appendonly", "no", "--enable-debug-command", "yes", "--requirepass", pass,
           s->bus ? "--cluster-enabled" : (char *)NULL, "yes", "--cluster-port", bus, (char *)NULL);
    _exit(127);
  }
  return EVENTUALLY(strcmp(redis(s, "PING"), "PONG") == 0, 5000);
}

MAYBE_UNUSED static void redis_kill(redis_server *s, int signal_number) {
  if (s->pid <= 0) return;
  kill(s->pid, signal_number);
  waitpid(s->pid, NULL, 0);
  s->pid = 0;
}

MAYBE_UNUSED static void redis_stop(redis_server *s) {
  redis_kill(s, SIGKILL);
  static const char *const files[] = {"dump.rdb", "nodes.conf"};
  for (size_t i = 0; i < 2; i++) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", s->dir, files[i]);
    unlink(path);
  }
  rmdir(s->dir);
  s->dir[0] = '\0';
}

#endif
