/*
** native.c - what specs need of the system and Lua has not: fork, _exit, abort, signals, further Lua states, threads.
**
** Compiled by spec/support/native.lua when a spec asks for it; no part of the library.
*/
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#define STATE "spec.state"

/* fork() -> pid, 0 in the child */
static int l_fork(lua_State *L)
{
  lua_pushinteger(L, (lua_Integer)fork());
  return 1;
}

/* waitpid(pid) -> code or nil, signal */
static int l_waitpid(lua_State *L)
{
  int status = 0;
  pid_t pid = (pid_t)luaL_checkinteger(L, 1);
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) {
    lua_pushinteger(L, WEXITSTATUS(status));
    return 1;
  }
  lua_pushnil(L);
  lua_pushinteger(L, WTERMSIG(status));
  return 2;
}

static int l_quick_exit(lua_State *L)
{
  _exit((int)luaL_optinteger(L, 1, 0));
}

static int l_exit(lua_State *L)
{
  exit((int)luaL_optinteger(L, 1, 0));
}

static int l_abort(lua_State *L)
{
  struct rlimit none = {0, 0};
  (void)L;
  setrlimit(RLIMIT_CORE, &none);
  abort();
}

static int l_raise(lua_State *L)
{
  lua_pushinteger(L, raise((int)luaL_checkinteger(L, 1)));
  return 1;
}

/* Where signals go: handler(number) -> "default", "ignore" or "other" */
static int l_handler(lua_State *L)
{
  struct sigaction action;
  sigaction((int)luaL_checkinteger(L, 1), NULL, &action);
  lua_pushstring(L, action.sa_handler == SIG_DFL ? "default" : action.sa_handler == SIG_IGN ? "ignore" : "other");
  return 1;
}

/* limit_files(n): RLIMIT_NOFILE */
static int l_limit_files(lua_State *L)
{
  struct rlimit limit = {(rlim_t)luaL_checkinteger(L, 1), 0};
  limit.rlim_max = limit.rlim_cur;
  lua_pushinteger(L, setrlimit(RLIMIT_NOFILE, &limit));
  return 1;
}

/* ---- further states */

/* A state, and its allocator, which can be told to fail. */
typedef struct state {
  lua_State *L; /* NULL: closed */
  lua_Alloc alloc;
  void *ud;
  long left; /* allocations until it fails, 0: never */
  int out;   /* it fails, until told otherwise */
} state;

static void *limited(void *ud, void *block, size_t old, size_t size)
{
  state *s = ud;
  int grows = size > 0 && (!block || size > old);
  if (grows && s->left > 0 && --s->left == 0) s->out = 1;
  return grows && s->out ? NULL : s->alloc(s->ud, block, old, size);
}

static state *check_state(lua_State *L)
{
  state *s = luaL_checkudata(L, 1, STATE);
  if (!s->L) luaL_error(L, "the state is closed");
  return s;
}

/* Runs code in a state; returns what its first value is as a string, or nil and the error. */
static int run_in(lua_State *L, lua_State *to, const char *code)
{
  lua_settop(to, 0);
  if (luaL_loadstring(to, code) || lua_pcall(to, 0, 1, 0)) {
    lua_pushnil(L);
    lua_pushstring(L, lua_tostring(to, -1));
    return 2;
  }
  if (lua_isboolean(to, -1)) lua_pushboolean(L, lua_toboolean(to, -1));
  else if (lua_isnil(to, -1)) lua_pushnil(L);
  else lua_pushstring(L, lua_tostring(to, -1));
  return 1;
}

static int state_run(lua_State *L)
{
  return run_in(L, check_state(L)->L, luaL_checkstring(L, 2));
}

/* s:fail_at(n): its n-th allocation from now on fails, and all after it, until this is said again; 0: none. Returns
** whether one has failed since the last time. */
static int state_fail_at(lua_State *L)
{
  state *s = check_state(L);
  lua_pushboolean(L, s->out);
  s->left = (long)luaL_checkinteger(L, 2);
  s->out = 0;
  return 1;
}

static int state_close(lua_State *L)
{
  state *s = luaL_checkudata(L, 1, STATE);
  if (s->L) lua_close(s->L);
  s->L = NULL;
  return 0;
}

/* state() -> a new Lua state with the libraries: s:run(code) s:fail_at(n) s:close() */
static int l_state(lua_State *L)
{
  state *s = lua_newuserdata(L, sizeof *s);
  memset(s, 0, sizeof *s);
  luaL_getmetatable(L, STATE);
  lua_setmetatable(L, -2);
  s->L = luaL_newstate();
  s->alloc = lua_getallocf(s->L, &s->ud);
  lua_setallocf(s->L, limited, s);
  luaL_openlibs(s->L);
  return 1;
}

/* ---- threads, each with a state of its own */

typedef struct worker {
  pthread_t thread;
  char *code;
  char error[512];
} worker;

static void *work(void *ud)
{
  worker *w = ud;
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  if (luaL_loadstring(L, w->code) || lua_pcall(L, 0, 0, 0))
    strncpy(w->error, lua_tostring(L, -1) ? lua_tostring(L, -1) : "?", sizeof w->error - 1);
  lua_close(L);
  return NULL;
}

/* threads(code...) runs all at once, each in a thread and a state of its own -> true or nil, the first error */
static int l_threads(lua_State *L)
{
  int n = lua_gettop(L);
  worker *all = calloc((size_t)n, sizeof *all);
  bool failed = false;
  for (int i = 0; i < n; i++) {
    all[i].code = strdup(luaL_checkstring(L, i + 1));
    pthread_create(&all[i].thread, NULL, work, &all[i]);
  }
  for (int i = 0; i < n; i++) {
    pthread_join(all[i].thread, NULL);
    free(all[i].code);
    if (!all[i].error[0] || failed) continue;
    failed = true;
    lua_pushnil(L);
    lua_pushstring(L, all[i].error);
  }
  free(all);
  if (failed) return 2;
  lua_pushboolean(L, 1);
  return 1;
}

int luaopen_native(lua_State *L);
int luaopen_native(lua_State *L)
{
  static const luaL_Reg funcs[] = {
      {"fork", l_fork},   {"waitpid", l_waitpid}, {"_exit", l_quick_exit}, {"exit", l_exit},
      {"abort", l_abort}, {"raise", l_raise},     {"handler", l_handler},  {"limit_files", l_limit_files},
      {"state", l_state}, {"threads", l_threads}, {NULL, NULL}};
  static const luaL_Reg methods[] = {{"run", state_run}, {"fail_at", state_fail_at}, {"close", state_close}, {NULL, NULL}};
  luaL_newmetatable(L, STATE);
  lua_newtable(L);
  for (const luaL_Reg *r = methods; r->name; r++) {
    lua_pushcfunction(L, r->func);
    lua_setfield(L, -2, r->name);
  }
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
  lua_newtable(L);
  for (const luaL_Reg *r = funcs; r->name; r++) {
    lua_pushcfunction(L, r->func);
    lua_setfield(L, -2, r->name);
  }
  return 1;
}
