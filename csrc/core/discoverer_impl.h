/*
** discoverer_impl.h - what the files discoverer*.c and call*.c share; nobody else includes it.
**
** A discoverer owns its hold on a registry, the configs of calls, the call loop with everything on it, and the queue
** of notices. The loop, the resolver and the HTTP client are made at first use.
*/
#ifndef DSC_CORE_DISCOVERER_IMPL_H
#define DSC_CORE_DISCOVERER_IMPL_H

#include "base/fork.h"
#include "base/list.h"
#include "base/map.h"
#include "core/app_client_impl.h"
#include "core/discover.h"
#include "core/notices.h"
#include "core/prober.h"
#include "core/registry.h"
#include "core/stats_impl.h"
#include "net/http.h"
#include "net/loop_fd.h"
#include "net/watcher.h"
#include "net/ws.h"

/* What a discoverer knows about one app that its user configured. */
typedef struct dsc_app_entry {
  char *name;
  dsc_call_config *config; /* NULL: the default one */
  dsc_tls *tls;            /* what `config` says of TLS, a reference; NULL: plain */
  dsc_table *table;        /* a reference */
} dsc_app_entry;

/* Something that waits to call the host's code (a WebSocket with a message, a future that is ready): run only by
** methods that dispatch, outside of every other callback. */
typedef struct dsc_delivery {
  dsc_link link; /* in d->deliveries, or in none */
  void (*run)(dsc_frame *frame, struct dsc_delivery *delivery);
} dsc_delivery;

/* How much one stay may do: steps of calls, callbacks. */
typedef struct dsc_turn {
  uint64_t until_ns; /* on the clock; 0: no limit */
  uint32_t left;     /* steps and callbacks; UINT32_MAX: no limit */
  bool begun;        /* one thing is done whatever the time */
} dsc_turn;

struct dsc_discoverer {
  /* constant */
  uint32_t generation; /* of the process, see base/fork.h */
  dsc_registry *registry;
  dsc_listener listener;
  uint32_t call_retry_times;
  uint32_t start_timeout_ms;
  bool has_log_level;
  dsc_log_level log_level;
  char **relay;                                        /* NULL-terminated; NULL: the default list */
  char *from_app, *from_node, *client_ip, *user_agent; /* NULL: the default name */
  dsc_header_names names;
  /* owner's thread only */
  dsc_hooks hooks;
  const dsc_balancer_ops *balancer;
  dsc_map apps;                    /* name -> dsc_app_entry */
  dsc_call_config *default_config; /* of "*"; NULL: not given */
  dsc_tls *default_tls;            /* of "*"; NULL: plain */
  dsc_call_config *base_config;    /* the built-in defaults, made when first wanted */
  char *own_app, *own_addr;
  bool handed_over;   /* the own registration is another process's */
  dsc_frame *frame;   /* innermost */
  uint32_t callbacks; /* host's callbacks on the stack */
  bool stopping, stopped;
  uint64_t drain_until_ms;
  uint64_t standby_until_ms; /* dsc_discoverer_drain() has begun; 0: not */
  dsc_loop *loop;
  dsc_resolver *resolver;
  dsc_http *http;
  dsc_ws *ws;          /* made with the first WebSocket */
  dsc_link ready;      /* calls with something to do */
  dsc_link calls;      /* all calls that have not ended, streams among them */
  dsc_map gates;       /* app -> limits on its calls in flight, see call_queue.c */
  dsc_link websockets; /* all that were not freed */
  dsc_link deliveries; /* what waits to call the host's code */
  dsc_link futures;    /* all that were not freed */
  uint32_t settled;    /* futures, ever; wraps */
  uint32_t delivered;  /* deliveries, ever; wraps */
  dsc_link told;       /* notices that a turn had no room for */
  dsc_turn turn;       /* of the poll under way */
  dsc_loop_fd *fd;     /* of dsc_discoverer_pollfd(); NULL: nobody asked */
  dsc_watch *wakeup;   /* of dsc_discoverer_set_wakeup(); NULL: nobody asked */
  bool dispatched;     /* the stay that is ending dispatches */
  bool rang;           /* the bell was heard by a run for the descriptor */
  dsc_map marks;       /* nodes picked by hand, see discoverer_pick.c */
  dsc_link mark_list;
  dsc_map picks; /* app -> what the last pick found, see discoverer_pick.c */
  uint64_t next_sweep_ms;
  dsc_stats *last_stats; /* taken when it stopped */
  /* any thread */
  atomic_bool isolated; /* some node was, since the owner last looked, see discoverer_isolated.c */
  atomic_bool changed;  /* the registry rang since the calls last looked */
  dsc_notices notices;
  /* under prober_lock; changed by the owner's thread alone */
  pthread_mutex_t prober_lock;
  dsc_prober *prober; /* NULL: no config has a probe */
};

struct dsc_call;

/* Makes the call loop if it is not there. Owner's thread. Fails: DSC_ENOMEM, DSC_EIO with `why`. */
dsc_err dsc_discoverer_need_loop(dsc_discoverer *d, dsc_why *why);

/* Makes loop, resolver and HTTP client if they are not there. Owner's thread. Fails: DSC_ENOMEM, DSC_EIO with
** `why`. */
dsc_err dsc_discoverer_need_http(dsc_discoverer *d, dsc_why *why);

/* Runs the loop once (until something happened, at most `timeout_ms`; negative: no limit), then steps the calls
** that became ready: all, with `only` just that one, inside a callback without `only` none. In a frame, owner's
** thread. Fails: DSC_ENOMEM, DSC_EIO: there is no loop; DSC_EFORKED. */
dsc_err dsc_discoverer_run_once(dsc_frame *frame, struct dsc_call *only, int64_t timeout_ms);

/* Runs the loop until `done(ud)` is true, `timeout_ms` has passed (negative: no limit) or the discoverer is
** stopped; steps the calls that become ready in between. In a frame, owner's thread. Returns what `done(ud)` says
** at the end. */
bool dsc_discoverer_run_until(dsc_frame *frame, bool (*done)(void *ud), void *ud, int64_t timeout_ms);

/* Takes one step or callback of a turn (NULL: always). Owner's thread. Returns false when it is spent. */
bool dsc_turn_take(dsc_turn *turn);

/* Hands what waits to the host: log records and events, then deliveries, as the frame's turn allows. In an outermost
** frame, owner's thread. */
void dsc_discoverer_dispatch(dsc_frame *frame);

/* Shortens how long a method that dispatches may wait for the loop: not at all while something is to be delivered, and
** not long while notices wait. Negative: no limit. In an outermost frame, owner's thread. */
int64_t dsc_discoverer_bound_wait(const dsc_frame *frame, int64_t timeout_ms);

/* discoverer_pollfd.c: makes the descriptor right again. At the end of an outermost frame, owner's thread; `d->fd` is
** set. */
void dsc_discoverer_settle_fd(dsc_frame *frame);

/* The call loop is about to go: the descriptor is readable from now on, nobody is woken any more. Owner's thread. */
void dsc_discoverer_detach_fd(dsc_discoverer *d);

/* Stands after whatever makes work for dsc_discoverer_poll() outside of all frames. Owner's thread. */
static inline void dsc_discoverer_touch(dsc_discoverer *d) {
  if (d->fd && !d->frame) dsc_loop_fd_arm(d->fd, 0);
}

/* Calls the host for the log records and events that wait. Outside of callbacks, owner's thread. */
void dsc_discoverer_hand_out(dsc_discoverer *d, void *ctx, dsc_turn *turn);

/* Runs the deliveries that wait, each once; what asks again waits for the next round. In an outermost frame, owner's
** thread. */
void dsc_discoverer_deliver(dsc_frame *frame);

/* True in a child after a fork: nothing of `d` but its own fields may be touched. A callback may fork, so whoever runs
** one asks again afterwards. Any thread. */
static inline bool dsc_discoverer_is_forked(const dsc_discoverer *d) {
  return dsc_fork_is_stale(d->generation);
}

/* Stands before every call of the host's code. Owner's thread. */
void dsc_discoverer_begin_callback(dsc_discoverer *d);

/* Stands after it. Owner's thread. */
void dsc_discoverer_end_callback(dsc_discoverer *d);

/* Frees an entry that is in no map (any more). Owner's thread. */
void dsc_discoverer_free_entry(dsc_app_entry *entry);

/* Finds the table of an app that somebody knows. Owner's thread. Caller owns one reference. Fails: NULL. */
dsc_table *dsc_discoverer_find_table(dsc_discoverer *d, dsc_str app);

/* Returns the config of calls to `app`: its own, "*", or the defaults, and in `*tls` (unless that is NULL) the TLS
** setting that was made of it, NULL: plain. Owner's thread. Caller owns one reference to each. Fails: NULL: out of
** memory. */
dsc_call_config *dsc_discoverer_find_config(dsc_discoverer *d, dsc_str app, dsc_tls **tls);

/* Looks how far an app is, following it if nobody does. `*waiting`: worth looking again when the registry rings.
** Owner's thread. Returns DSC_OK when nodes may be picked (maybe there are none), else why not, with `why`; with
** `*waiting` DSC_EREGISTRY. `*table` (a reference, or NULL) is set in any case. */
dsc_err dsc_discoverer_look_up(dsc_discoverer *d, dsc_str app, dsc_table **table, bool *waiting, dsc_why *why);

/* How a node shall be chosen. */
typedef struct dsc_choice {
  dsc_str addr; /* not empty: that node */
  bool repeatable;
  bool probed;         /* in the background */
  uint32_t slot_ms;    /* how long a probe slot is held */
  uint32_t node_limit; /* max_in_flight_per_node; 0: none */
} dsc_choice;

/* Chooses a node for `ac`: the host's balancer, else the built-in one; counts it and notes it as tried. In a frame,
** owner's thread. Caller owns one reference and owes dsc_registry_node_done(). Fails: DSC_ENO_NODE, DSC_EOVERLOAD
** (there are nodes, all at their limit), DSC_ECALLBACK (nested too deep), DSC_EFORKED, DSC_ENOMEM with `why`. */
dsc_err dsc_discoverer_choose(dsc_frame *frame, dsc_app_client *ac, dsc_table *table, const dsc_choice *choice,
                              dsc_node **node, bool *is_probe, dsc_why *why);

/* Writes the record of an attempt, if anybody wants it: to the call's own logger if it has one, else to the
** discoverer's. In a frame, owner's thread. */
void dsc_discoverer_log_attempt(dsc_frame *frame, const dsc_request *request, const dsc_app_client *ac, dsc_str node,
                                dsc_err err, int status, double seconds, const char *why, dsc_str request_id);

/* discoverer_isolated.c: tells the prober of a config before it is set; makes the prober with the first one that has a
** `probe`. Owner's thread. Fails: DSC_ENOMEM, DSC_EIO with `why`. */
dsc_err dsc_discoverer_set_probe(dsc_discoverer *d, dsc_str app, dsc_call_config *config, dsc_tls *tls, dsc_why *why);

/* discoverer_isolated.c: a node was isolated. Any thread. */
void dsc_discoverer_note_isolated(dsc_discoverer *d);

/* discoverer_isolated.c: ends the prober, before the registry is left. Owner's thread. */
void dsc_discoverer_end_prober(dsc_discoverer *d);

/* Closes the connections that are kept alive to nodes that were isolated since it last looked. Owner's thread, outside
** the loop's run. */
void dsc_discoverer_forget_isolated(dsc_discoverer *d);

/* Forgets what picks found: configs changed. Owner's thread. */
void dsc_discoverer_clear_picks(dsc_discoverer *d);

/* Lapses the marks of nodes picked by hand that are over, looking at most once a second. Owner's thread. */
void dsc_discoverer_sweep_marks(dsc_discoverer *d, uint64_t now_ms);

/* Lapses or drops all marks of nodes picked by hand. Owner's thread. */
void dsc_discoverer_clear_marks(dsc_discoverer *d);

#endif
