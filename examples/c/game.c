/*
** game.c - a game server's main loop: 60 ticks a second, Lua states that call services in every tick, and never wait.
**
**   cc game.c -o game $(pkg-config --cflags --libs lua5.4) -pthread -Wl,--export-dynamic
**   ./game redis://127.0.0.1:6379/15 hello [seconds [states [threads [calls]]]]
**
** The states belong to no thread: in each tick every one of them is run by whichever worker is free, as in skynet. They
** share one registry (`shared = true` in game.lua). At the end a table says how long frames and polls took.
*/
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#define TICKS       60
#define MAX_STATES  64
#define MAX_THREADS 16

typedef struct samples {
  double *ms;
  size_t n, cap;
} samples;

typedef struct actor {
  lua_State *L;
  samples polls, ticks;
  int thread; /* that ran it last */
  int moves;  /* how often that was another one than before */
} actor;

static struct {
  pthread_mutex_t lock;
  pthread_cond_t work, done;
  actor *queue[MAX_STATES];
  int first, n, busy;
  bool over;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void add(samples *s, double seconds) {
  if (s->n == s->cap) s->ms = realloc(s->ms, (s->cap = s->cap ? 2 * s->cap : 1024) * sizeof *s->ms);
  if (!s->ms) abort();
  s->ms[s->n++] = seconds * 1000;
}

/* ---- what a state can ask of its host */

static int l_now(lua_State *L) {
  lua_pushnumber(L, now());
  return 1;
}

static int l_polled(lua_State *L) {
  actor *a = lua_touserdata(L, lua_upvalueindex(1));
  add(&a->polls, luaL_checknumber(L, 1));
  return 0;
}

/* What game.lua returned is at the bottom of the stack. */
static void call(actor *a, const char *name, int results) {
  lua_settop(a->L, 1);
  lua_getfield(a->L, 1, name);
  if (lua_pcall(a->L, 0, results, 0) == LUA_OK) return;
  fprintf(stderr, "game: %s: %s\n", name, lua_tostring(a->L, -1));
  exit(1);
}

static void open_state(actor *a, char **argv, int calls) {
  const char *script = getenv("GAME_LUA");
  lua_State *L = a->L = luaL_newstate();
  a->thread = -1;
  luaL_openlibs(L);
  int failed = luaL_loadfile(L, script ? script : "examples/c/game.lua");
  lua_pushstring(L, argv[1]);
  lua_pushstring(L, argv[2]);
  lua_pushinteger(L, calls);
  lua_pushcfunction(L, l_now);
  lua_pushlightuserdata(L, a);
  lua_pushcclosure(L, l_polled, 1);
  if (!failed && lua_pcall(L, 5, 1, 0) == LUA_OK) return;
  fprintf(stderr, "game: %s\n", lua_tostring(L, failed ? 1 : -1));
  exit(1);
}

/* ---- workers: a queue of states that want to be run */

static void *work(void *arg) {
  int number = *(int *)arg;
  pthread_mutex_lock(&pool.lock);
  while (!pool.over) {
    if (pool.n == 0) {
      pthread_cond_wait(&pool.work, &pool.lock);
      continue;
    }
    actor *a = pool.queue[pool.first];
    pool.first = (pool.first + 1) % MAX_STATES;
    pool.n--;
    pthread_mutex_unlock(&pool.lock);
    double before = now();
    if (a->thread >= 0 && a->thread != number) a->moves++;
    a->thread = number;
    call(a, "tick", 0);
    add(&a->ticks, now() - before);
    pthread_mutex_lock(&pool.lock);
    if (--pool.busy == 0) pthread_cond_signal(&pool.done);
  }
  pthread_mutex_unlock(&pool.lock);
  return NULL;
}

/* One frame: every state once. */
static void run_frame(actor *actors, int n) {
  pthread_mutex_lock(&pool.lock);
  for (int i = 0; i < n; i++) pool.queue[(pool.first + pool.n++) % MAX_STATES] = &actors[i];
  pool.busy = n;
  pthread_cond_broadcast(&pool.work);
  while (pool.busy > 0) pthread_cond_wait(&pool.done, &pool.lock);
  pthread_mutex_unlock(&pool.lock);
}

/* Ticks at fixed times; a late one is not made up for. */
static void play(actor *actors, int n, int frames, samples *times) {
  double next = now();
  for (int i = 0; i < frames; i++) {
    double began = now();
    run_frame(actors, n);
    add(times, now() - began);
    next += 1.0 / TICKS;
    if (next < now()) next = now();
    struct timespec until = {(time_t)next, (long)((next - (double)(time_t)next) * 1e9)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
  }
}

/* Without new calls until all have been answered, at most five seconds. */
static void drain(actor *actors, int n, samples *times) {
  lua_Integer left = 1;
  for (int frame = 0; frame < 5 * TICKS && left > 0; frame++) {
    left = 0;
    for (int i = 0; i < n; i++) {
      call(&actors[i], "rest", 1);
      left += lua_tointeger(actors[i].L, -1);
    }
    play(actors, n, 1, times);
  }
}

/* ---- the table */

static int by_size(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static void row(const char *name, samples *s) {
  double sum = 0;
  qsort(s->ms, s->n, sizeof *s->ms, by_size);
  for (size_t i = 0; i < s->n; i++) sum += s->ms[i];
  printf("%-12s %8zu %9.3f %9.3f %9.3f %9.3f\n", name, s->n, sum / (double)s->n, s->ms[s->n / 2],
         s->ms[s->n * 99 / 100], s->ms[s->n - 1]);
}

static void gather(samples *all, const samples *one) {
  for (size_t i = 0; i < one->n; i++) add(all, one->ms[i] / 1000);
}

static int number(int argc, char **argv, int index, int otherwise, int most) {
  int n = argc > index ? atoi(argv[index]) : otherwise;
  return n < 1 ? 1 : n > most ? most : n;
}

int main(int argc, char **argv) {
  static actor actors[MAX_STATES];
  static samples frames, ticks, polls, last;
  pthread_t threads[MAX_THREADS];
  int numbers[MAX_THREADS], moves = 0;
  lua_Integer ok = 0, failed = 0;
  if (argc < 3) return fprintf(stderr, "game: registry app [seconds [states [threads [calls]]]]\n"), 2;
  int seconds = number(argc, argv, 3, 5, 3600), n = number(argc, argv, 4, 8, MAX_STATES);
  int n_threads = number(argc, argv, 5, 4, MAX_THREADS), calls = number(argc, argv, 6, 2, 1000);
  for (int i = 0; i < n; i++) open_state(&actors[i], argv, calls);
  for (int i = 0; i < n_threads; i++) {
    numbers[i] = i;
    pthread_create(&threads[i], NULL, work, &numbers[i]);
  }
  play(actors, n, seconds * TICKS, &frames);
  drain(actors, n, &last);
  pthread_mutex_lock(&pool.lock);
  pool.over = true;
  pthread_cond_broadcast(&pool.work);
  pthread_mutex_unlock(&pool.lock);
  for (int i = 0; i < n_threads; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < n; i++) {
    call(&actors[i], "stop", 2);
    ok += lua_tointeger(actors[i].L, -2);
    failed += lua_tointeger(actors[i].L, -1);
    moves += actors[i].moves;
    lua_close(actors[i].L);
    gather(&ticks, &actors[i].ticks);
    gather(&polls, &actors[i].polls);
    free(actors[i].ticks.ms);
    free(actors[i].polls.ms);
  }
  printf("%d states in %d threads, %d moves; %lld calls answered, %lld failed\n\n", n, n_threads, moves, (long long)ok,
         (long long)failed);
  printf("%-12s %8s %9s %9s %9s %9s\n", "ms", "times", "mean", "p50", "p99", "max");
  row("frame", &frames);
  row("state's tick", &ticks);
  row("poll", &polls);
  free(frames.ms), free(ticks.ms), free(polls.ms), free(last.ms);
  return failed ? 1 : 0;
}
