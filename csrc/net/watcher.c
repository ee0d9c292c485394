/*
** watcher.c - the watcher's thread: an epoll set with one-shot entries, and an eventfd that ends it.
**
** Each event is looked up by its number under `lock`, so one of a watch that was freed meanwhile finds nothing. `told`
** is the watch whose function is running: freeing that one waits for it. `life` is held by those who make or free
** watches, start and join the thread, all the way; the thread itself takes only `lock`, and calls with neither.
**
** Invariants: there is a thread exactly while there are watches, and no more from the process's exit on; the epoll set
** lives as long as any watch. A watch that is not armed has fired and not been armed since: both sides change `armed`
** before they act, so an event that comes too early is told, never lost.
** Threads: any; order of locks: life, lock.
*/
#include "net/watcher.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/fork.h"
#include "base/list.h"
#include "base/mem.h"

#define THE_END 0 /* the number of the eventfd; watches count from 1 */
#define EXIT_S  1 /* how long the end of the process waits for a function that is running */

struct dsc_watch {
  /* constant */
  uint64_t number;
  uint32_t generation;
  int fd;
  dsc_watch_fn fn;
  void *ud;
  /* any thread, atomic */
  atomic_bool armed;
  /* under lock */
  dsc_link link;
};

static pthread_mutex_t life = PTHREAD_MUTEX_INITIALIZER;
/* under life */
static bool has_thread, exited;
static pthread_t thread;
static uint64_t last_number;
/* constant while there is a thread */
static int set = -1, bell = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* under lock */
static pthread_cond_t changed; /* `told` or `ended` */
static dsc_link all = {&all, &all};
static dsc_link inherited = {&inherited, &inherited}; /* the parent's: never touched, but not lost either */
static uint64_t told;
static uint32_t count;
static bool ended;
/* the watcher's own thread */
static _Thread_local bool is_watcher;

/* ---------------------------------------------------------------- the thread */

static dsc_watch *find_locked(uint64_t number) {
  for (dsc_link *at = all.next; at != &all; at = at->next) {
    dsc_watch *watch = DSC_LIST_ENTRY(at, dsc_watch, link);
    if (watch->number == number) return watch;
  }
  return NULL;
}

static void tell(uint64_t number) {
  pthread_mutex_lock(&lock);
  dsc_watch *watch = find_locked(number);
  /* a hang-up is reported unasked */
  if (watch && !atomic_exchange(&watch->armed, false)) watch = NULL;
  if (watch) told = number;
  pthread_mutex_unlock(&lock);
  if (!watch) return;
  watch->fn(watch->ud);
  pthread_mutex_lock(&lock);
  told = 0;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

static void *thread_main(void *arg) {
  (void)arg;
  is_watcher = true;
  pthread_setname_np(pthread_self(), "discover-watch");
  for (;;) {
    struct epoll_event event;
    int n = epoll_wait(set, &event, 1, -1);
    if (n < 0 && errno != EINTR) break; /* the set is gone: somebody closed a descriptor that is not his */
    if (n == 1 && event.data.u64 == THE_END) break;
    if (n == 1) tell(event.data.u64);
  }
  pthread_mutex_lock(&lock);
  ended = true;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  return NULL;
}

static void close_set(void) {
  if (set >= 0) close(set);
  if (bell >= 0) close(bell);
  set = bell = -1;
}

static bool open_set(void) {
  struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = THE_END}};
  set = epoll_create1(EPOLL_CLOEXEC);
  bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (set >= 0 && bell >= 0 && epoll_ctl(set, EPOLL_CTL_ADD, bell, &event) == 0) return true;
  close_set();
  return false;
}

static dsc_err start_with_life(void) {
  if (has_thread) return DSC_OK;
  if (exited || !open_set()) return DSC_EIO;
  sigset_t every, before;
  sigfillset(&every);
  ended = false;
  /* a thread inherits the mask of its maker: signals stay the program's business */
  pthread_sigmask(SIG_SETMASK, &every, &before);
  has_thread = pthread_create(&thread, NULL, thread_main, NULL) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (!has_thread) close_set();
  return has_thread ? DSC_OK : DSC_EIO;
}

/* Joins the thread, waiting `seconds` for its end (negative: no limit). One that does not end in time is left alone. */
static void end_with_life(int seconds) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += seconds;
  if (!has_thread) return;
  has_thread = false;
  eventfd_write(bell, 1);
  pthread_mutex_lock(&lock);
  int rc = 0;
  while (!ended && rc != ETIMEDOUT)
    rc = seconds < 0 ? pthread_cond_wait(&changed, &lock) : pthread_cond_timedwait(&changed, &lock, &until);
  bool over = ended;
  pthread_mutex_unlock(&lock);
  if (!over) return;
  pthread_join(thread, NULL);
  if (!exited) close_set(); /* else watches may still be armed */
}

/* ---------------------------------------------------------------- process */

static void init_changed(void) {
  pthread_condattr_t attr;
  pthread_condattr_init(&attr);
  pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
  pthread_cond_init(&changed, &attr);
  pthread_condattr_destroy(&attr);
}

static void before_fork(void) {
  pthread_mutex_lock(&life);
  pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void) {
  pthread_mutex_unlock(&lock);
  pthread_mutex_unlock(&life);
}

/* The copies of the descriptors are the child's to close; what is in the set is the parent's. */
static void after_fork_in_child(void) {
  dsc_list_move(&inherited, &all);
  count = 0;
  told = 0;
  has_thread = false;
  init_changed(); /* threads that waited are not in this process */
  close_set();
  pthread_mutex_unlock(&lock);
  pthread_mutex_unlock(&life);
}

static void on_exit_of_process(void) {
  pthread_mutex_lock(&life);
  exited = true;
  end_with_life(EXIT_S);
  pthread_mutex_unlock(&life);
}

static void set_up(void) {
  init_changed();
  pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
  atexit(on_exit_of_process);
}

/* ---------------------------------------------------------------- watches */

static dsc_err add_with_life(dsc_watch *watch) {
  dsc_err err = start_with_life();
  if (err) return err;
  struct epoll_event event = {.events = EPOLLONESHOT, .data = {.u64 = watch->number}};
  if (epoll_ctl(set, EPOLL_CTL_ADD, watch->fd, &event) != 0) err = errno == ENOMEM ? DSC_ENOMEM : DSC_EIO;
  pthread_mutex_lock(&lock);
  if (!err) dsc_list_push(&all, &watch->link);
  if (!err) count++;
  bool last = count == 0;
  pthread_mutex_unlock(&lock);
  if (last) end_with_life(-1);
  return err;
}

dsc_err dsc_watch_new(dsc_watch **out, int fd, dsc_watch_fn fn, void *ud) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  *out = NULL;
  if (is_watcher) return DSC_EIO;
  pthread_once(&once, set_up);
  dsc_watch *watch = dsc_mem_zalloc(1, sizeof *watch);
  if (!watch) return DSC_ENOMEM;
  watch->generation = dsc_fork_generation();
  watch->fd = fd;
  watch->fn = fn;
  watch->ud = ud;
  dsc_list_init(&watch->link);
  pthread_mutex_lock(&life);
  watch->number = ++last_number;
  dsc_err err = add_with_life(watch);
  pthread_mutex_unlock(&life);
  if (err)
    dsc_mem_free(watch);
  else
    *out = watch;
  return err;
}

void dsc_watch_arm(dsc_watch *watch) {
  if (dsc_fork_is_stale(watch->generation) || atomic_load(&watch->armed)) return;
  atomic_store(&watch->armed, true);
  struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data = {.u64 = watch->number}};
  epoll_ctl(set, EPOLL_CTL_MOD, watch->fd, &event);
}

void dsc_watch_free(dsc_watch *watch) {
  if (!watch || dsc_fork_is_stale(watch->generation)) return;
  pthread_mutex_lock(&life);
  if (set >= 0) epoll_ctl(set, EPOLL_CTL_DEL, watch->fd, NULL);
  pthread_mutex_lock(&lock);
  dsc_list_remove(&watch->link);
  bool last = --count == 0;
  while (told == watch->number) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
  if (last) end_with_life(-1);
  pthread_mutex_unlock(&life);
  dsc_mem_free(watch);
}

uint32_t dsc_watch_count(void) {
  pthread_mutex_lock(&lock);
  uint32_t n = count;
  pthread_mutex_unlock(&lock);
  return n;
}
