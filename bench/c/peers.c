/*
** peers.c - what bench/run measures in C, as a Lua module: n GETs by raw libcurl, and n GETs by the core without Lua.
**
** Both run in the process of the Lua rounds and take turns with them. The core here is a copy of its own, linked
** statically.
*/
#include <curl/curl.h>
#include <lauxlib.h>
#include <lua.h>

#include "base/clock.h"
#include "core/discover.h"

int luaopen_discover_bench_peers(lua_State *L);

/* ---- raw libcurl: one easy handle of each kind, reused ---- */

typedef enum curl_kind { PLAIN, SAME, H2C, CURL_KINDS } curl_kind;

static size_t bytes;

static size_t take(char *data, size_t size, size_t n, void *ud) {
  (void)data;
  *(size_t *)ud += size * n;
  return size * n;
}

/* PLAIN: nothing but what a call needs; the others send what the core sends. */
static CURL *make_easy(curl_kind kind) {
  CURL *easy = curl_easy_init();
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &bytes);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 600000L);
  if (kind == PLAIN) return easy;
  struct curl_slist *headers = curl_slist_append(NULL, "X-Request-Id: 0123456789abcdef");
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, 1000L);
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                   (long)(kind == H2C ? CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE : CURL_HTTP_VERSION_1_1));
  return easy;
}

/* curl("plain" | "same" | "h2c", url, n) -> seconds. The handles live as long as the process. */
static int peers_curl(lua_State *L) {
  static const char *const names[] = {"plain", "same", "h2c", NULL};
  static CURL *handles[CURL_KINDS];
  int kind = luaL_checkoption(L, 1, NULL, names);
  const char *url = luaL_checkstring(L, 2);
  lua_Integer n = luaL_checkinteger(L, 3);
  bool first = !handles[kind];
  if (first) handles[kind] = make_easy((curl_kind)kind);
  CURL *easy = handles[kind];
  curl_easy_setopt(easy, CURLOPT_URL, url);
  if (first) curl_easy_perform(easy);
  /* libcurl 7.88 would greet anew on a connection that it has greeted already */
  if (kind == H2C) curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2_0);
  uint64_t start = dsc_clock_now_ns();
  for (lua_Integer i = 0; i < n; i++) {
    CURLcode code = curl_easy_perform(easy);
    if (code != CURLE_OK) return luaL_error(L, "curl: %s", curl_easy_strerror(code));
  }
  lua_pushnumber(L, (double)(dsc_clock_now_ns() - start) / 1e9);
  return 1;
}

/* ---- the core ---- */

static dsc_discoverer *core;

static const char *prepare(dsc_str addr, dsc_why *why) {
  dsc_options options;
  dsc_frame frame;
  dsc_options_defaults(&options);
  if (dsc_discoverer_new(&core, &options, why)) return why->text;
  if (dsc_discoverer_enter(core, &frame, NULL, why)) return why->text;
  dsc_err err = dsc_discoverer_set_node(&frame, DSC_STR_LITERAL("bench"), addr, 100, NULL, why);
  dsc_discoverer_leave(&frame);
  return err ? why->text : NULL;
}

static bool get(const dsc_request *request, dsc_why *why) {
  dsc_frame frame;
  if (dsc_discoverer_enter(core, &frame, NULL, why)) return false;
  dsc_result *result = dsc_discoverer_call(&frame, request);
  dsc_discoverer_leave(&frame);
  bool ok = result && dsc_result_ok(result);
  if (!ok) dsc_fail(why, DSC_EIO, "%s", result && result->why ? result->why : "no result");
  dsc_result_free(result);
  return ok;
}

/* core(addr, path, n) -> seconds */
static int peers_core(lua_State *L) {
  dsc_why why = {""};
  size_t len;
  const char *addr = luaL_checklstring(L, 1, &len);
  const char *path = luaL_checkstring(L, 2);
  lua_Integer n = luaL_checkinteger(L, 3);
  const char *trouble = core ? NULL : prepare((dsc_str){addr, len}, &why);
  if (trouble) return luaL_error(L, "core: %s", trouble);
  dsc_request request = {.app = DSC_STR_LITERAL("bench"), .method = DSC_STR_LITERAL("GET"), .path = dsc_str_of(path)};
  uint64_t start = dsc_clock_now_ns();
  for (lua_Integer i = 0; i < n; i++) {
    if (!get(&request, &why)) return luaL_error(L, "core: %s", why.text);
  }
  lua_pushnumber(L, (double)(dsc_clock_now_ns() - start) / 1e9);
  return 1;
}

/* now() -> seconds on a clock that only goes forward, with nanoseconds */
static int peers_now(lua_State *L) {
  lua_pushnumber(L, (double)dsc_clock_now_ns() / 1e9);
  return 1;
}

int luaopen_discover_bench_peers(lua_State *L) {
  static const luaL_Reg functions[] = {{"curl", peers_curl}, {"core", peers_core}, {"now", peers_now}, {NULL, NULL}};
  luaL_newlib(L, functions);
  return 1;
}
