/*
** registry_impl.h - what the files of the registry share.
**
**   registry.c         the public face: open, close, stats, nodes
**   registry_own.c     nodes that this process announces: put, heartbeat, goodbye, never again after the goodbye
**   registry_wish.c    what holders ask for about such nodes
**   registry_app.c     apps that are followed: subscribe, messages, their states
**   registry_read.c    whole reads, resync, dead rows
**   registry_run.c     when what is due: the thread, its timer, the end
**   registry_shared.c  what the process knows of its registries: the shared list, those that end by themselves, fork,
**                      exit
**   registry_tell.c    listeners: events, records, changes
**
** Locks, in this order: the process's (registry_shared.c), the registry's `lock`, then a table's or `ears_lock`.
** Functions ending in _locked are called with `lock` held. Store completions and events arrive with it held.
*/
#ifndef DSC_CORE_REGISTRY_IMPL_H
#define DSC_CORE_REGISTRY_IMPL_H

#include <pthread.h>

#include "base/addr.h"
#include "base/list.h"
#include "base/map.h"
#include "core/registry.h"
#include "core/store.h"
#include "net/loop.h"

#define DSC_REGISTRY_NEVER    UINT64_MAX
#define DSC_REGISTRY_SAID_MAX 256

/* A node that this process announces. */
typedef struct dsc_own {
  /* constant */
  dsc_registry *registry;
  size_t app_n, addr_n;
  /* under lock */
  uint32_t count; /* holders that registered it */
  uint32_t weight;
  char *metadata;    /* NULL: none */
  bool stored;       /* the last that is known: the store has it */
  bool sent;         /* a put or touch may have reached the store since the last removal that is known */
  bool busy;         /* something of it is under way in the store */
  bool changed;      /* to be put, though stored */
  bool renewed;      /* its metadata is to be put, not its weight */
  bool kept;         /* the put under way leaves the weight as it is in the store */
  bool announced;    /* listeners were told that it is registered */
  bool troubled;     /* listeners were told that it fails */
  bool unsure;       /* a goodbye may have been missed since the last that went out */
  uint32_t echoes;   /* goodbyes of our own that we are still to hear */
  uint32_t relapses; /* times it was lost in the present second */
  uint64_t relapse_ms;
  uint64_t beat_ms;  /* the next heartbeat */
  uint64_t retry_ms; /* nothing before that, after a refusal; 0: at once */
  uint64_t quiet_ms; /* not announced before that, after many relapses */
  uint64_t trouble_since_ms;
  uint32_t tries;
  /* constant, last: "<app> <addr>", the key in the registry's map */
  char id[];
} dsc_own;

/* An app that is followed, or whose channel is heard for the sake of an own node. */
typedef struct dsc_followed {
  /* constant */
  dsc_registry *registry;
  /* under lock */
  uint32_t refs;    /* the map's and those of what is under way */
  dsc_table *table; /* a reference; NULL: only heard */
  uint32_t owns;    /* own nodes of this app */
  bool gone;        /* no longer in the map */
  bool asked;       /* the store was told to follow it */
  bool subscribed, reading, want_read, was_read, refresh, refused;
  uint64_t resync_ms, sweep_ms; /* due; sweep 0: none */
  uint64_t hold_ms;             /* no read before; 0: at once */
  uint32_t round;               /* of reads, to find dead rows that went */
  dsc_map dead;                 /* address -> dead row */
  dsc_map byes;                 /* address -> who said goodbye and is looked for, see registry_verify.c */
  char why[192];                /* the last trouble */
  /* constant, last */
  size_t n;
  char name[];
} dsc_followed;

struct dsc_registry {
  /* any thread, atomic */
  dsc_counters counters;
  /* constant */
  dsc_registry_config config;
  dsc_registry_timing timing;
  bool shared, signals, verify_push;
  uint32_t generation;
  dsc_directory *directory;
  dsc_loop *loop;        /* NULL: no thread */
  pthread_mutex_t *lock; /* own_lock, or that of all memory registries */
  /* under lock */
  dsc_store *store; /* NULL: kind none, or ended */
  dsc_timer *timer; /* loop's thread only */
  uint64_t due_ms;  /* what the timer is set to */
  uint64_t wake_ms; /* when dsc_registry_shared_expire() has to look; 0: never */
  dsc_map owns, apps;
  bool commands, messages; /* what of the store stands */
  bool failed;             /* the last try to connect did not succeed */
  bool told_down, told_up, told_denied;
  bool unsteady;           /* went down soon after it was told to be back: told again once it has stood for a while */
  uint64_t up_ms, back_ms; /* when it came up; when it was told to be back, 0: never */
  bool closing, no_reap;
  uint64_t close_by_ms;
  uint64_t asked_ms; /* when somebody last began to wait for a goodbye; 0: never */
  uint64_t n_messages, n_bad_messages, n_reads, n_resyncs, n_heartbeats, n_lost;
  uint64_t last_heartbeat_ms;           /* 0: none */
  uint64_t said[DSC_REGISTRY_SAID_MAX]; /* hashes of what was logged once */
  size_t n_said;
  char why[192]; /* the last trouble of the connection */
  pthread_mutex_t own_lock;
  pthread_cond_t told; /* with `lock`: something changed */
  /* under ears_lock */
  pthread_mutex_t ears_lock;
  dsc_link ears;
  /* under the process's lock */
  dsc_link link;
  uint32_t holds;
  uint64_t linger_ms; /* shared, without holders: ends then; 0: not */
  bool leaving, goodbye_done;
};

/* ---- registry_tell.c */

/* Tells listeners of an event. Any thread. `why` may be NULL. */
void dsc_registry_tell_event(dsc_registry *r, dsc_event_kind kind, dsc_str app, dsc_str node, const char *why);

/* Tells listeners what changed in a table, and empties `changes`. Any thread. */
void dsc_registry_tell_changes(dsc_registry *r, dsc_table *table, dsc_changes *changes);

/* Tells listeners and waiting threads that something they may wait for changed. Any thread. */
void dsc_registry_tell_change(dsc_registry *r);

/* Tells listeners a log record. Any thread. */
__attribute__((format(printf, 3, 4))) void dsc_registry_tell_log(dsc_registry *r, dsc_log_level level,
                                                                 const char *format, ...);

/* True when nothing was said yet about `about` in the matter `topic`; from now on it was. Any thread. */
bool dsc_registry_tell_once_locked(dsc_registry *r, const char *topic, dsc_str app, dsc_str about);

/* Attaches a listener. Any thread. Borrowed until it is detached. */
void dsc_registry_tell_attach(dsc_registry *r, dsc_listener *listener);

/* Detaches a listener: it is not called after this returns. Any thread. */
void dsc_registry_tell_detach(dsc_registry *r, dsc_listener *listener);

/* ---- registry_own.c */

/* Finds an own node; `addr` is canonical. Any thread. Fails: NULL. */
dsc_own *dsc_registry_own_find_locked(dsc_registry *r, dsc_str app, dsc_str addr);

/* Makes an own node without a wish, and has its channel heard. Any thread. Fails: NULL: out of memory. */
dsc_own *dsc_registry_own_new_locked(dsc_registry *r, dsc_str app, dsc_str addr);

/* Does what is due for an own node. Loop's thread (memory: any). Returns when it is due again. */
uint64_t dsc_registry_own_step_locked(dsc_own *own, uint64_t now);

/* A goodbye for this address was heard. Loop's thread (memory: any). Returns when it is due again. */
uint64_t dsc_registry_own_heard_goodbye_locked(dsc_own *own, uint64_t now);

/* Frees what has said its goodbye. Returns the number of those that have not (only looked at when closing). Loop's
** thread (memory: any). */
size_t dsc_registry_own_tidy_locked(dsc_registry *r);

/* The channel of `app` is heard from now on: a goodbye before that was missed, so its own nodes look whether they are
** still there. Loop's thread (memory: any). */
void dsc_registry_own_heard_from_locked(dsc_registry *r, dsc_str app);

/* Commands can be sent again: everything is due now. Loop's thread (memory: any). */
void dsc_registry_own_up_locked(dsc_registry *r, bool messages_only);

/* Frees all. Any thread, nothing is under way. */
void dsc_registry_own_free_all(dsc_registry *r);

/* ---- registry_app.c */

/* Finds or makes an entry without asking the store for anything. Any thread. Fails: NULL. */
dsc_followed *dsc_registry_app_open_locked(dsc_registry *r, dsc_str app);

/* Counts an own node in, and subscribes. Any thread (loop kinds: the tick subscribes). Fails: DSC_ENOMEM. */
dsc_err dsc_registry_app_hear_locked(dsc_registry *r, dsc_str app);

/* Counts an own node out. Loop's thread (memory: any). */
void dsc_registry_app_unhear_locked(dsc_registry *r, dsc_str app);

/* Takes out the entries that nobody needs any more. Loop's thread (memory: any). */
void dsc_registry_app_tidy_locked(dsc_registry *r);

/* Gives a reference back. Any thread. */
void dsc_registry_app_unref_locked(dsc_followed *app);

/* Does what is due for an app. Loop's thread (memory: any). Returns when it is due again. */
uint64_t dsc_registry_app_step_locked(dsc_followed *app, uint64_t now);

/* The store heard that an app is subscribed: it is to be read. Loop's thread (memory: any), with the lock. */
void dsc_registry_app_on_subscribed(void *ud, dsc_str name);

/* The store heard that an app cannot be subscribed. Loop's thread (memory: any), with the lock. */
void dsc_registry_app_on_refused(void *ud, dsc_str name, const char *why);

/* The store heard a message of an app. Loop's thread (memory: any), with the lock. */
void dsc_registry_app_on_message(void *ud, dsc_str name, dsc_str text);

/* An own node was put: who follows its app sees it from now on, not only when the store's message arrives (in a Cluster
** that may be later). `metadata` NULL: none. Loop's thread (memory: any). */
void dsc_registry_app_put_locked(dsc_registry *r, dsc_str name, dsc_str addr, uint32_t weight, const char *metadata);

/* What stands changed: reads are wanted, or dead rows are forgotten. Loop's thread (memory: any). */
void dsc_registry_app_state_changed_locked(dsc_registry *r, bool commands_came, bool messages_came);

/* Frees all. Any thread, nothing is under way. */
void dsc_registry_app_free_all(dsc_registry *r);

/* ---- registry_read.c */

/* Begins a read of the whole app. Loop's thread (memory: any). */
void dsc_registry_read_begin_locked(dsc_followed *app, uint64_t now);

/* What a message said may be out of date: in a Cluster messages of two servers overtake each other, a goodbye the
** registration after it for one. The app is read again in a moment. Elsewhere nothing is to be done. Loop's thread. */
void dsc_registry_read_doubt_locked(dsc_followed *app, uint64_t now);

/* Reads the key of one node, for its metadata. Loop's thread (memory: any). */
void dsc_registry_read_node_locked(dsc_followed *app, dsc_str addr);

/* Forgets which rows were seen dead: the registry did not answer without a break. Loop's thread (memory: any). */
void dsc_registry_read_forget_dead_locked(dsc_followed *app);

/* Removes stale nodes that are due, and notes when the next one is. Loop's thread (memory: any). */
void dsc_registry_read_sweep_locked(dsc_followed *app, uint64_t now);

/* Parses a weight of the wire: an integer >= 1, clamped. Any thread. Fails: false. */
bool dsc_registry_read_weight(dsc_str text, uint32_t *weight);

/* ---- registry_run.c */

/* Makes loop, timer and store, and starts the thread. The thread that opens. Fails: DSC_ENOMEM, DSC_EIO with `why`. */
dsc_err dsc_registry_run_start(dsc_registry *r, dsc_why *why);

/* Something was asked for: memory does it now, others wake their thread. Any thread. */
void dsc_registry_run_kick_locked(dsc_registry *r);

/* Makes sure that the timer fires at `due`. Loop's thread. */
void dsc_registry_run_arm_locked(dsc_registry *r, uint64_t due);

/* Asks for the end: goodbyes, then the thread ends. Any thread. Idempotent. */
void dsc_registry_run_close(dsc_registry *r);

/* True when it may not use the registry (the child of a fork). Any thread. */
bool dsc_registry_run_is_forked(const dsc_registry *r);

/* Waits for the end of the thread after dsc_registry_run_close(); a negative time waits as long as that takes. Any
** thread but its own. */
bool dsc_registry_run_join(dsc_registry *r, int64_t timeout_ms);

/* Frees the registry, which has ended. Any thread. */
void dsc_registry_run_free(dsc_registry *r);

/* ---- registry_shared.c */

/* Makes a registry that tells `listener` from the start. The thread that opens. Fails: as dsc_registry_open(). */
typedef dsc_err (*dsc_registry_make)(dsc_registry **r, dsc_registry_options *options, dsc_listener *listener,
                                     dsc_why *why);

/* Finds a shared registry and attaches `listener`, or makes one by `make`; notes it for fork and exit; takes a hold.
** Any thread. Fails: DSC_EINVALID with `why`; as `make`. */
dsc_err dsc_registry_shared_open(dsc_registry **r, dsc_registry_options *options, dsc_listener *listener, dsc_why *why,
                                 dsc_registry_make make);

/* Gives a hold back; the last one ends it (shared: later). Any thread. */
void dsc_registry_shared_close(dsc_registry *r, bool wait);

/* The time of a shared registry without holders may be over: ends it if so. Loop's thread, without the lock. */
void dsc_registry_shared_expire(dsc_registry *r, uint64_t now);

/* The goodbye after a signal is done; the last registry re-raises it. Loop's thread, without the lock. */
void dsc_registry_shared_goodbye_done(dsc_registry *r);

/* registry_verify.c: a message that is not believed by itself: the app is read soon. Under lock. */
void dsc_registry_verify_message_locked(dsc_followed *app, const dsc_addr *addr, uint32_t weight, uint64_t now);

/* A read of the app is sent: it answers what was said until now. Under lock. */
void dsc_registry_verify_begin_locked(dsc_followed *app);

/* It was read: who said goodbye and has no living row is gone. Under lock. */
void dsc_registry_verify_end_locked(dsc_followed *app, const dsc_store_row *rows, size_t n);

/* Forgets what was said. Under lock. */
void dsc_registry_verify_forget_locked(dsc_followed *app);

#endif
