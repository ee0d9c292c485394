/*
** multi.c - what bench/run measures in C with many calls in flight, as a Lua module: GETs by a plain curl_multi loop, and
** by futures of the core without Lua.
**
** The curl loop is what a good program does without us: handles made once and reused, curl_multi_perform(), then
** curl_multi_poll(), one thread. "wide" is how many are in flight at once.
*/
#include <curl/curl.h>
#include <lauxlib.h>
#include <lua.h>

#include "base/clock.h"
#include "core/discover.h"

#define MAX_WIDE        10000
#define MAX_CONNECTIONS 256 /* as the core's */

int luaopen_discover_bench_multi(lua_State *L);

/* ---- libcurl ---- */

typedef struct pool {
  CURLM *multi;
  CURL *easy[MAX_WIDE];
  int made;
} pool;

static size_t bytes;

static size_t take(char *data, size_t size, size_t n, void *ud) {
  (void)data;
  *(size_t *)ud += size * n;
  return size * n;
}

static CURL *make_easy(const char *url) {
  CURL *easy = curl_easy_init();
  struct curl_slist *headers = curl_slist_append(NULL, "X-Request-Id: 0123456789abcdef");
  curl_easy_setopt(easy, CURLOPT_URL, url);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &bytes);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 600000L);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  return easy;
}

static void need(pool *p, const char *url, int wide) {
  if (!p->multi) p->multi = curl_multi_init();
  curl_multi_setopt(p->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)MAX_CONNECTIONS);
  curl_multi_setopt(p->multi, CURLMOPT_MAXCONNECTS, (long)MAX_CONNECTIONS);
  while (p->made < wide) p->easy[p->made++] = make_easy(url);
}

/* Takes what has ended and starts others in its place. */
static const char *turn_over(pool *p, lua_Integer *left, lua_Integer *ended) {
  CURLMsg *msg;
  int queued;
  while ((msg = curl_multi_info_read(p->multi, &queued))) {
    CURL *easy = msg->easy_handle;
    if (msg->data.result != CURLE_OK) return curl_easy_strerror(msg->data.result);
    curl_multi_remove_handle(p->multi, easy);
    ++*ended;
    if (*left > 0) --*left, curl_multi_add_handle(p->multi, easy);
  }
  return NULL;
}

/* curl(url, wide, n) -> seconds. The handles live as long as the process. */
static int multi_curl(lua_State *L) {
  static pool p;
  const char *url = luaL_checkstring(L, 1), *trouble = NULL;
  int wide = (int)luaL_checkinteger(L, 2);
  lua_Integer n = luaL_checkinteger(L, 3), left = n, ended = 0;
  luaL_argcheck(L, wide >= 1 && wide <= MAX_WIDE, 2, "1 to 10000");
  need(&p, url, wide);
  uint64_t start = dsc_clock_now_ns();
  for (int i = 0; i < wide && left > 0; i++, left--) curl_multi_add_handle(p.multi, p.easy[i]);
  while (ended < n && !trouble) {
    int running;
    curl_multi_perform(p.multi, &running);
    trouble = turn_over(&p, &left, &ended);
    if (!trouble && ended < n) curl_multi_poll(p.multi, NULL, 0, 1000, NULL);
  }
  if (trouble) return luaL_error(L, "curl: %s", trouble);
  lua_pushnumber(L, (double)(dsc_clock_now_ns() - start) / 1e9);
  return 1;
}

/* ---- the core ---- */

typedef struct run {
  dsc_discoverer *d;
  dsc_request request;
  lua_Integer left, ended;
  char trouble[256];
} run;

static void start(dsc_frame *frame, run *r);

static void on_ready(void *ctx, void *ud, dsc_future *future) {
  run *r = ud;
  const dsc_result *result = dsc_future_result(future);
  if (!result || !dsc_result_ok(result))
    snprintf(r->trouble, sizeof r->trouble, "%s", result && result->why ? result->why : "no result");
  r->ended++;
  dsc_future_free(future);
  dsc_frame frame;
  if (r->left <= 0 || dsc_discoverer_enter(r->d, &frame, ctx, NULL)) return;
  start(&frame, r);
  dsc_discoverer_leave(&frame);
}

static void start(dsc_frame *frame, run *r) {
  dsc_future *future = dsc_discoverer_async(frame, &r->request, false);
  r->left--;
  dsc_future_on(future, on_ready, r);
}

static const char *prepare(run *r, dsc_str addr, dsc_why *why) {
  dsc_options options;
  dsc_frame frame;
  dsc_options_defaults(&options);
  if (dsc_discoverer_new(&r->d, &options, why)) return why->text;
  if (dsc_discoverer_enter(r->d, &frame, NULL, why)) return why->text;
  dsc_err err = dsc_discoverer_set_node(&frame, DSC_STR_LITERAL("bench"), addr, 100, NULL, why);
  dsc_discoverer_leave(&frame);
  return err ? why->text : NULL;
}

/* core(addr, path, wide, n) -> seconds */
static int multi_core(lua_State *L) {
  static run r;
  dsc_why why = {""};
  size_t len;
  const char *addr = luaL_checklstring(L, 1, &len);
  r.request = (dsc_request){.app = DSC_STR_LITERAL("bench"),
                            .method = DSC_STR_LITERAL("GET"),
                            .path = dsc_str_of(luaL_checkstring(L, 2)),
                            .timeout_ms = 600000,
                            .deadline_ms = 600000};
  int wide = (int)luaL_checkinteger(L, 3);
  lua_Integer n = luaL_checkinteger(L, 4);
  const char *trouble = r.d ? NULL : prepare(&r, (dsc_str){addr, len}, &why);
  if (trouble) return luaL_error(L, "core: %s", trouble);
  r.left = n;
  r.ended = 0;
  uint64_t begun = dsc_clock_now_ns();
  dsc_frame frame;
  const dsc_poll poll = {.timeout_ms = 1000};
  if (dsc_discoverer_enter(r.d, &frame, NULL, &why)) return luaL_error(L, "core: %s", why.text);
  for (int i = 0; i < wide && r.left > 0; i++) start(&frame, &r);
  while (r.ended < n && !r.trouble[0]) dsc_discoverer_poll(&frame, &poll);
  dsc_discoverer_leave(&frame);
  if (r.trouble[0]) return luaL_error(L, "core: %s", r.trouble);
  lua_pushnumber(L, (double)(dsc_clock_now_ns() - begun) / 1e9);
  return 1;
}

int luaopen_discover_bench_multi(lua_State *L) {
  static const luaL_Reg functions[] = {{"curl", multi_curl}, {"core", multi_core}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
