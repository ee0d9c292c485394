/*
** http_flow_support.h - what the tests of bodies in pieces share: a shot that streams, a source that a test steers, a
** peer that reads bodies of any framing, a pattern that makes every byte's place known.
*/
#ifndef DSC_SPEC_HTTP_FLOW_SUPPORT_H
#define DSC_SPEC_HTTP_FLOW_SUPPORT_H

#include <dirent.h>

#include "http_support.h"

#define MIB ((size_t)1024 * 1024)

/* The byte at a place of a body. */
static inline char pattern_at(uint64_t place) {
  return (char)((place * 31 + (place >> 8) * 7 + (place >> 16)) & 0xff);
}

static inline void pattern_fill(char *bytes, size_t n, uint64_t place) {
  for (size_t i = 0; i < n; i++) bytes[i] = pattern_at(place + i);
}

static inline bool pattern_is(const char *bytes, size_t n, uint64_t place) {
  for (size_t i = 0; i < n; i++)
    if (bytes[i] != pattern_at(place + i)) return false;
  return true;
}

/* How many times slower than at home things may be. */
static inline int slowness(void) {
  const char *slow = getenv("DISCOVER_TEST_SLOW");
  int times = slow ? atoi(slow) : 1;
  return times > 0 ? times : 1;
}

static inline size_t resident(void) {
  unsigned long pages = 0, all = 0;
  FILE *f = fopen("/proc/self/statm", "r");
  assert_int_equal(fscanf(f, "%lu %lu", &all, &pages), 2);
  fclose(f);
  return pages * 4096;
}

static inline int open_files(void) {
  int n = 0;
  DIR *dir = opendir("/proc/self/fd");
  while (readdir(dir)) n++;
  closedir(dir);
  return n;
}

/* ------------------------------------------------------------------- client */

typedef struct flow_shot {
  shot s; /* the first: on_done() takes it for the whole */
  dsc_http_flow flow;
  int opened, moved, status; /* as `opened` saw it */
  uint64_t got;
  bool wrong;
} flow_shot;

static inline void on_opened(void *ud, dsc_http_answer *answer) {
  flow_shot *f = ud;
  assert_int_equal(f->s.done, 0);
  f->opened++;
  f->status = answer->status;
  assert_true(answer->sent);
}

static inline void on_moved(void *ud) {
  ((flow_shot *)ud)->moved++;
}

static inline void flow_fire(bench *b, dsc_http_request *request, flow_shot *f, bool stream) {
  *f = (flow_shot){.flow = {.stream = stream, .progress = true, .opened = on_opened, .moved = on_moved}};
  request->flow = &f->flow;
  fire(b, request, &f->s);
  assert_int_equal(f->opened + f->moved, 0);
}

static inline void await_opened(bench *b, flow_shot *f) {
  uint64_t until = dsc_clock_now_ms() + 60000;
  while (!f->opened && !f->s.done && dsc_clock_now_ms() < until) dsc_loop_run(b->loop, 1000);
}

static inline void run_for(bench *b, uint64_t ms) {
  uint64_t until = dsc_clock_now_ms() + ms, now;
  while ((now = dsc_clock_now_ms()) < until) dsc_loop_run(b->loop, (int64_t)(until - now));
}

static inline void count(flow_shot *f, const char *bytes, size_t n) {
  f->wrong = f->wrong || !pattern_is(bytes, n, f->got);
  f->got += n;
}

/* Reads a stream to its end, in pieces of `size`. */
static inline void drink(bench *b, flow_shot *f, size_t size) {
  char *bytes = malloc(size);
  uint64_t until = dsc_clock_now_ms() + 60000;
  while (!f->s.done && dsc_clock_now_ms() < until) {
    size_t n = dsc_http_read(f->s.attempt, bytes, size);
    count(f, bytes, n);
    if (n == 0) dsc_loop_run(b->loop, 1000);
  }
  assert_int_equal(f->s.done, 1);
  if (f->s.answer.body) count(f, f->s.answer.body, f->s.answer.body_len);
  free(bytes);
}

/* ------------------------------------------------------------------- source */

typedef struct spring {
  uint64_t size, at, shorter_by; /* the pattern */
  uint64_t stop_at;              /* LATER there, until moved on; UINT64_MAX: never */
  uint64_t fail_at;
  size_t most; /* at once; 0: as asked */
  bool one_way;
  int laters, rewinds;
} spring;

static inline ptrdiff_t spring_read(void *ud, char *bytes, size_t max) {
  spring *s = ud;
  uint64_t end = s->size - s->shorter_by;
  if (s->fail_at && s->at >= s->fail_at) return DSC_HTTP_SOURCE_FAILED;
  if (s->stop_at < end && s->at >= s->stop_at) {
    s->laters++;
    return DSC_HTTP_SOURCE_LATER;
  }
  if (s->stop_at < end) end = s->stop_at;
  if (s->most && max > s->most) max = s->most;
  if (max > end - s->at) max = (size_t)(end - s->at);
  pattern_fill(bytes, max, s->at);
  s->at += max;
  return (ptrdiff_t)max;
}

static inline bool spring_rewind(void *ud) {
  spring *s = ud;
  if (s->one_way && s->at > 0) return false;
  s->rewinds++;
  s->at = 0;
  return true;
}

static inline dsc_http_source spring_of(spring *s, uint64_t size, bool sized) {
  *s = (spring){.size = size, .stop_at = UINT64_MAX};
  return (dsc_http_source){.ud = s, .size = sized ? (int64_t)size : -1, .read = spring_read, .rewind = spring_rewind};
}

/* --------------------------------------------------------------------- peer */

/* Reads a request's head only. */
static inline bool peer_read_head(peer_conn *c) {
  char *end;
  while (!(end = memmem(c->rest, c->rest_len, "\r\n\r\n", 4)))
    if (!peer_fill(c)) return false;
  size_t head = (size_t)(end - c->rest);
  memcpy(c->head, c->rest, head);
  c->head[head] = '\0';
  peer_drop(c, head + 4);
  return true;
}

/* Reads `n` bytes of the pattern that stand at `place`. */
static inline bool peer_check(peer_conn *c, uint64_t n, uint64_t place, bool *right) {
  while (n > 0) {
    if (c->rest_len == 0 && !peer_fill(c)) return false;
    size_t have = c->rest_len < n ? c->rest_len : (size_t)n;
    *right = *right && pattern_is(c->rest, have, place);
    peer_drop(c, have);
    n -= have;
    place += have;
  }
  return true;
}

static inline bool peer_line(peer_conn *c, char *line, size_t size) {
  char *end;
  while (!(end = memmem(c->rest, c->rest_len, "\r\n", 2)))
    if (!peer_fill(c)) return false;
  size_t n = (size_t)(end - c->rest);
  snprintf(line, size, "%.*s", (int)n, c->rest);
  peer_drop(c, n + 2);
  return true;
}

/* Reads the body of the head that was read; answers with "METHOD FRAMING LENGTH right|wrong". */
static inline bool peer_judge_body(peer_conn *c) {
  char value[64] = "", text[256];
  bool right = true;
  uint64_t length = 0;
  const char *framing = "none";
  if (peer_header(c, "Content-Length", value, sizeof value)) {
    framing = "length";
    length = strtoull(value, NULL, 10);
    if (!peer_check(c, length, 0, &right)) return false;
  } else if (peer_header(c, "Transfer-Encoding", value, sizeof value)) {
    framing = value;
    for (;;) {
      char line[32];
      if (!peer_line(c, line, sizeof line)) return false;
      uint64_t n = strtoull(line, NULL, 16);
      if (!peer_check(c, n, length, &right) || !peer_line(c, line, sizeof line)) return false;
      if (n == 0) break;
      length += n;
    }
  }
  atomic_fetch_add(&c->peer->requests, 1);
  snprintf(text, sizeof text, "%.*s %s %llu %s", (int)strcspn(c->head, " "), c->head, framing,
           (unsigned long long)length, right ? "right" : "wrong");
  char answer[400]; /* in one piece: two would wait for each other's acknowledgement */
  snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(text), text);
  return peer_say(c, answer);
}

static inline void script_judge(peer *p, peer_conn *c) {
  (void)p;
  while (peer_read_head(c) && peer_judge_body(c)) continue;
}

/* Writes `n` bytes of the pattern; `flag` of the peer counts the MiB. */
static inline bool peer_write_pattern(peer_conn *c, uint64_t n) {
  static const size_t block = MIB / 16;
  char *bytes = malloc(block);
  bool fine = true;
  for (uint64_t place = 0; fine && place < n; place += block) {
    size_t size = n - place < block ? (size_t)(n - place) : block;
    pattern_fill(bytes, size, place);
    fine = peer_write(c, bytes, size);
    atomic_store(&c->peer->flag, (int)((place + size) / MIB));
  }
  free(bytes);
  return fine;
}

#endif
