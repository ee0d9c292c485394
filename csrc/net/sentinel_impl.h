/*
** sentinel_impl.h - what sentinel.c (the list, beginning and end), sentinel_ask.c (rounds of questions) and
** sentinel_watch.c (the subscription) share.
*/
#ifndef DSC_NET_SENTINEL_IMPL_H
#define DSC_NET_SENTINEL_IMPL_H

#include "net/sentinel.h"

#define DSC_SENTINEL_MAX 16

/* A Sentinel. */
typedef struct dsc_sentinel_entry {
  dsc_addr addr;
  bool learned;   /* named by another; forgotten when it does not answer */
  uint32_t round; /* the last in which it was asked */
} dsc_sentinel_entry;

/* What Sentinels said in a round. */
typedef struct dsc_sentinel_vote {
  dsc_addr master;
  uint32_t count;
  int64_t epoch; /* the highest of those who said it; 0: not told */
} dsc_sentinel_vote;

/* How one Sentinel took the question. */
typedef enum dsc_sentinel_said {
  DSC_SENTINEL_SAID_NOTHING,
  DSC_SENTINEL_SAID_MASTER,
  DSC_SENTINEL_SAID_UNKNOWN
} dsc_sentinel_said;

struct dsc_sentinel {
  /* constant */
  dsc_loop *loop;
  dsc_resolver *resolver;
  dsc_sentinel_events events;
  char *master, *user, *name;
  dsc_secret *password;
  dsc_tls *tls;
  uint32_t patience_ms;
  /* loop's thread only */
  bool closing;
  dsc_sentinel_entry entries[DSC_SENTINEL_MAX]; /* in the order in which they are asked */
  size_t n_entries;
  dsc_addr settled; /* port 0: none */
  /* loop's thread only: the round under way */
  dsc_redis_conn *asker;
  dsc_timer *patience;
  uint32_t round;
  bool is_asking, wanted; /* wanted: somebody waits for on_answer; else all are asked for the sake of the watch */
  bool outdated;          /* another master was settled on since it began */
  dsc_addr asked;         /* who is being asked */
  dsc_addr avoid;         /* port 0: nobody */
  dsc_sentinel_said said;
  bool has_denied;
  dsc_sentinel_vote votes[DSC_SENTINEL_MAX];
  size_t n_votes, n_asked, n_unknown, n_denied;
  dsc_why why; /* of the last that did not answer */
  /* loop's thread only: the watch */
  dsc_redis_conn *watcher;
  dsc_timer *rewatch, *reask;
  bool watch_begun;
  dsc_addr watched; /* who is being watched */
  uint32_t watch_tries;
};

/* True when both are the same host and port. Any thread. */
bool dsc_sentinel_same(const dsc_addr *a, const dsc_addr *b);

/* Makes an address of host and port as Sentinels write them. Any thread. Fails: false. */
bool dsc_sentinel_read_addr(dsc_addr *addr, dsc_str host, dsc_str port);

/* Opens a connection to a Sentinel. Loop thread. Fails: NULL: out of memory. */
dsc_redis_conn *dsc_sentinel_open(dsc_sentinel *s, const dsc_addr *addr, bool subscriber,
                                  const dsc_redis_conn_events *events);

/* Puts a Sentinel at the front, or at the end. Loop thread. */
void dsc_sentinel_move(dsc_sentinel *s, const dsc_addr *addr, bool to_front);

/* Adds a Sentinel that another one named, if there is room. Loop thread. */
void dsc_sentinel_learn(dsc_sentinel *s, const dsc_addr *addr);

/* Forgets a Sentinel that was learned; others stay. Loop thread. */
void dsc_sentinel_forget(dsc_sentinel *s, const dsc_addr *addr);

/* Begins to ask all Sentinels, unless some are being asked; on_switch follows if another master is the better one. Loop
** thread. */
void dsc_sentinel_compare(dsc_sentinel *s);

/* Begins the watch, unless it has begun. Loop thread. */
void dsc_sentinel_watch_begin(dsc_sentinel *s);

/* The timer between two questions, and the limit of one. Loop thread. */
void dsc_sentinel_on_patience(void *ud);

/* The timer after which another Sentinel is watched. Loop thread. */
void dsc_sentinel_on_rewatch(void *ud);

/* The timer that has all asked again. Loop thread. */
void dsc_sentinel_on_reask(void *ud);

#endif
