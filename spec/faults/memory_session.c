/*
** memory_session.c - a whole session, again and again, each time with one allocation failing: the first and the last
** that each place in the program asks for. Built and run by spec/faults/memory_spec.lua.
**
**     memory_session <registry> <ca or ""> <part> <parts>
**
** The registry knows the apps "web" (HTTP, with TLS if there is a ca) and "chat" (WebSocket echo). A place is the way
** to an allocation, six callers deep, in whatever thread. Sessions without failures write down the places and their
** hits; `part` of `parts` are then tried. After each failure the session must go on: registered in the end, a call
** answered, and every block given back.
*/
#define _GNU_SOURCE
#include <execinfo.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "core/discover.h"

#define L(text) DSC_STR_LITERAL(text)

#define DEPTH      8 /* strikes(), the wrapper and six callers */
#define MAX_PLACES 8192
#define TRIES      4
#define PATIENCE   10000 /* ms that a session has to become well again */

void *__real_dsc_mem_alloc(size_t size);
void *__real_dsc_mem_zalloc(size_t count, size_t size);
void *__real_dsc_mem_realloc(void *block, size_t size);
char *__real_dsc_mem_strdup(dsc_str s);
void *__wrap_dsc_mem_alloc(size_t size);
void *__wrap_dsc_mem_zalloc(size_t count, size_t size);
void *__wrap_dsc_mem_realloc(void *block, size_t size);
char *__wrap_dsc_mem_strdup(dsc_str s);

typedef struct place {
  uint64_t id;
  size_t hits, least; /* in the session under way; in the one that hit it least, not counting those that never did */
  void *frames[DEPTH];
} place;

static struct {
  pthread_mutex_t lock;
  bool watching;
  place places[MAX_PLACES]; /* by hash, open addressing */
  size_t count;
  uint64_t target; /* 0: none */
  size_t target_hit, hits;
  bool failed;
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const char *registry;
static char *ca;

/* ---- places */

static uint64_t id_of(void **frames, int n) {
  uint64_t id = UINT64_C(14695981039346656037);
  for (int i = 1; i < n; i++) id = (id ^ (uint64_t)(uintptr_t)frames[i]) * UINT64_C(1099511628211);
  return id ? id : 1;
}

static place *place_of(uint64_t id) {
  size_t at = id % MAX_PLACES;
  while (watch.places[at].id != 0 && watch.places[at].id != id) at = (at + 1) % MAX_PLACES;
  return &watch.places[at];
}

static void note(uint64_t id, void **frames) {
  place *p = place_of(id);
  if (p->id == 0) {
    if (++watch.count >= MAX_PLACES) abort();
    p->id = id;
    memcpy(p->frames, frames, sizeof p->frames);
  }
  p->hits++;
}

/* True when this allocation is the one to fail. */
static __attribute__((noinline)) bool strikes(void) {
  void *frames[DEPTH] = {NULL};
  if (!watch.watching) return false;
  int n = backtrace(frames, DEPTH);
  uint64_t id = id_of(frames, n);
  bool now = false;
  pthread_mutex_lock(&watch.lock);
  if (watch.target == 0)
    note(id, frames);
  else if (id == watch.target && ++watch.hits == watch.target_hit)
    now = watch.failed = true;
  pthread_mutex_unlock(&watch.lock);
  return now;
}

void *__wrap_dsc_mem_alloc(size_t size) {
  return strikes() ? NULL : __real_dsc_mem_alloc(size);
}

void *__wrap_dsc_mem_zalloc(size_t count, size_t size) {
  return strikes() ? NULL : __real_dsc_mem_zalloc(count, size);
}

void *__wrap_dsc_mem_realloc(void *block, size_t size) {
  return strikes() ? NULL : __real_dsc_mem_realloc(block, size);
}

char *__wrap_dsc_mem_strdup(dsc_str s) {
  return strikes() ? NULL : __real_dsc_mem_strdup(s);
}

/* ---- the session */

static void configure(dsc_frame *frame, const char *app) {
  dsc_why why;
  dsc_call_config defaults, *config = NULL;
  dsc_call_config_defaults(&defaults);
  defaults.timeout_ms = 2000;
  if (ca[0]) {
    defaults.ssl = true;
    defaults.tls.ca = ca;
  }
  if (dsc_call_config_new(&config, &defaults, &why)) return;
  dsc_discoverer_configure(frame, dsc_str_of(app), config, NULL, &why);
  dsc_call_config_unref(config);
}

static dsc_request request_of(const char *app, const char *path) {
  return (dsc_request){.app = dsc_str_of(app), .method = L("GET"), .path = dsc_str_of(path)};
}

/* True when the call was answered well; in any case it says how it went, or there is no result at all. */
static bool call(dsc_frame *frame, bool with_body) {
  dsc_request request = request_of("web", "/");
  request.has_body = with_body;
  request.body = L("body");
  dsc_result *result = dsc_discoverer_call(frame, &request);
  bool well = result && result->err == DSC_OK && result->status == 200;
  if (result && !well && result->err == DSC_OK && result->status == 0) abort();
  dsc_result_free(result);
  return well;
}

static void read_stream(dsc_frame *frame) {
  char bytes[100];
  size_t n = 0;
  dsc_why why;
  dsc_stream *stream = NULL;
  dsc_request request = request_of("web", "/big");
  dsc_result *result = dsc_discoverer_call_stream(frame, &request, &stream);
  while (stream && dsc_stream_read(frame, stream, bytes, sizeof bytes, &n, &why) == DSC_OK && n > 0) continue;
  dsc_stream_free(stream);
  dsc_result_free(result);
}

static void talk(dsc_frame *frame) {
  dsc_why why;
  dsc_websocket *ws = NULL;
  dsc_websocket_options options;
  dsc_ws_message message = {0};
  dsc_request request = request_of("chat", "/echo");
  dsc_websocket_options_defaults(&options);
  if (dsc_websocket_open(frame, &request, &options, &ws, &why)) return;
  if (dsc_websocket_send(frame, ws, DSC_WS_TEXT, L("hello"), 1000, &why) == DSC_OK &&
      dsc_websocket_receive(frame, ws, 2000, &message, &why) == DSC_OK)
    dsc_mem_free(message.data);
  dsc_websocket_close(frame, ws, 1000, L("bye"), &why);
  dsc_websocket_free(ws);
}

static void pick(dsc_frame *frame) {
  dsc_why why;
  dsc_node *node = NULL;
  dsc_app_client *ac = NULL;
  if (dsc_discoverer_pick(frame, L("web"), L("key"), NULL, &node, &why) == DSC_OK)
    dsc_discoverer_done(frame, node, DSC_OUTCOME_SUCCESS);
  dsc_node_unref(node);
  if (dsc_discoverer_app_client_new(frame->d, L("web"), &ac, &why)) return;
  if (dsc_discoverer_app_client_next(frame, ac, (dsc_str){0}, &node, &why) == DSC_OK) dsc_node_unref(node);
  dsc_discoverer_app_client_log(frame, ac, L("10.0.0.1:80"), 1, L("io"));
  dsc_discoverer_app_client_free(ac);
}

static void look(dsc_discoverer *d) {
  dsc_stats *stats = dsc_discoverer_stats(d);
  if (stats) {
    dsc_buf text;
    dsc_buf_init(&text, 0);
    dsc_stats_prometheus(stats, &text);
    dsc_buf_clear(&text);
  }
  dsc_stats_free(stats);
  dsc_node_array_unref(dsc_discoverer_nodes(d, L("web")));
}

/* The failure is over: what was asked for comes true. */
static const char *recover(dsc_frame *frame, bool registers) {
  uint64_t until = dsc_clock_now_ms() + PATIENCE;
  const char *missing = NULL;
  do {
    missing = registers && !dsc_discoverer_registered(frame->d) ? "never registered again" : NULL;
    if (!missing && !call(frame, false)) missing = "no call is answered any more";
    if (missing) usleep(5000);
  } while (missing && dsc_clock_now_ms() < until);
  return missing;
}

/* Returns what did not come back, NULL: all well. */
static const char *work(dsc_discoverer *d) {
  dsc_frame frame;
  dsc_why why;
  if (dsc_discoverer_enter(d, &frame, NULL, &why)) return "cannot be entered";
  bool registers = dsc_discoverer_register(&frame, L("me"), L("127.0.0.1:8001"), 7, "zone=a", &why) == DSC_OK;
  configure(&frame, "web");
  configure(&frame, "chat");
  dsc_discoverer_ready(&frame, 1000, &why);
  call(&frame, false);
  call(&frame, true);
  read_stream(&frame);
  talk(&frame);
  pick(&frame);
  dsc_discoverer_set_weight(&frame, 9, &why);
  dsc_discoverer_set_metadata(&frame, "zone=b", &why);
  look(d);
  configure(&frame, "web"); /* without its config an app over TLS is asked in plain words */
  const char *missing = recover(&frame, registers);
  dsc_discoverer_leave(&frame);
  return missing;
}

static size_t blocks_now(void) {
  size_t blocks;
  dsc_mem_usage(&blocks, NULL);
  return blocks;
}

static const char *session(void) {
  dsc_options options;
  dsc_discoverer *d = NULL;
  dsc_why why;
  dsc_options_defaults(&options);
  options.registry = dsc_str_of(registry);
  options.has_log_level = true;
  options.log_level = DSC_LOG_OFF;
  options.timing =
      (dsc_registry_timing){.heartbeat_ms = 300, .ttl_ms = 3000, .resync_ms = 300, .stale_grace_ms = 30000};
  options.start_timeout_ms = 500;
  if (dsc_discoverer_new(&d, &options, &why)) return d ? "a discoverer that was not made" : NULL;
  const char *missing = work(d);
  dsc_discoverer_stop(d, NULL, 0);
  look(d);
  if (!dsc_discoverer_free(d, true)) return "not freed";
  return missing;
}

/* ---- all of them */

static size_t tried, struck, broken;

static void show(const place *p, size_t hit, const char *what) {
  broken++;
  printf("hit %zu of %zu: %s\n", hit, p->least, what);
  fflush(stdout);
  backtrace_symbols_fd((void *const *)p->frames, DEPTH, 1);
}

static void try_once(const place *p, size_t hit, size_t blocks) {
  watch.target = p->id;
  watch.target_hit = hit;
  watch.hits = 0;
  watch.failed = false;
  watch.watching = true;
  const char *missing = session();
  watch.watching = false;
  if (missing) show(p, hit, missing);
  if (blocks_now() != blocks) show(p, hit, "blocks were not given back");
}

/* Threads do not always go the same way: what was missed is tried again. */
static void try(const place *p, size_t hit, size_t blocks) {
  tried++;
  for (int i = 0; i < TRIES && !watch.failed; i++) try_once(p, hit, blocks);
  if (watch.failed) struck++;
  watch.failed = false;
}

/* A session without failures that writes down its places. Returns what went wrong, NULL: nothing. */
static const char *record(void) {
  watch.watching = true;
  const char *missing = session();
  watch.watching = false;
  for (size_t i = 0; i < MAX_PLACES; i++) {
    place *p = &watch.places[i];
    if (p->hits > 0 && (p->least == 0 || p->hits < p->least)) p->least = p->hits;
    p->hits = 0;
  }
  return missing;
}

int main(int argc, char **argv) {
  void *warm[2];
  if (argc != 5) return 2;
  registry = argv[1];
  ca = argv[2];
  size_t part = strtoul(argv[3], NULL, 10), parts = strtoul(argv[4], NULL, 10);
  backtrace(warm, 2); /* it loads a library at its first use */
  session();          /* what a process makes once */
  size_t blocks = blocks_now();
  for (int i = 0; i < 3; i++) {
    const char *missing = record();
    if (!missing) continue;
    printf("a session without failures: %s\n", missing);
    return 1;
  }
  for (size_t i = 0, n = 0; i < MAX_PLACES; i++) {
    const place *p = &watch.places[i];
    if (p->id == 0 || n++ % parts != part) continue;
    try(p, 1, blocks);
    if (p->least > 1) try(p, p->least, blocks);
    if (broken > 20) break;
  }
  printf("places %zu tried %zu struck %zu broken %zu\n", watch.count, tried, struck, broken);
  return broken > 0;
}
