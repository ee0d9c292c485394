/*
** discover.h - the seam: what a binding or a host sees of the core.
**
** A discoverer belongs to one thread at a time. A host enters it with a frame on its stack, does one thing, and
** leaves; whatever runs the host's callbacks (route, balancer, response, events, log records) runs inside such a
** frame, in that thread, and gets the frame's `ctx`, so that nobody stores it. Between enter and leave no jump may
** leave the frame (longjmp, lua_error).
**
** Callbacks may enter again (a call within a call, at most DSC_MAX_DEPTH deep) and may stop the discoverer: the
** outermost frame finishes that.
*/
#ifndef DSC_CORE_DISCOVER_H
#define DSC_CORE_DISCOVER_H

#include "base/addr.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/random.h"
#include "base/secret.h"
#include "base/str.h"
#include "base/url.h"
#include "core/app_client.h"
#include "core/body.h"
#include "core/event.h"
#include "core/future.h"
#include "core/stats.h"
#include "core/stream.h"
#include "core/websocket.h"
#include "model/balancer.h"
#include "model/config.h"
#include "model/headers.h"
#include "model/node.h"
#include "model/outcome.h"
#include "model/result.h"
#include "model/traffic.h"
#include "net/host.h"
#include "net/wake.h"

#pragma GCC visibility push(default)

#define DSC_VERSION   "0.1.0"
#define DSC_MAX_DEPTH 8

typedef struct dsc_discoverer dsc_discoverer;

/* One stay of the owner's thread inside a discoverer. Lives on the host's stack. */
typedef struct dsc_frame {
  dsc_discoverer *d;
  void *ctx;
  struct dsc_frame *outer;
  bool in_callback;      /* entered while a callback of an outer frame was running */
  struct dsc_turn *turn; /* what bounds it; NULL: nothing */
} dsc_frame;

/* The host's callbacks; each may be NULL. `ctx` is the frame's, `ud` the one given beside them. None may jump out. */
typedef struct dsc_hooks {
  void *ud;

  /* Before the app is looked up: may change `ac` by its setters. Fails: any code; the call ends
  ** with it and `why`. */
  dsc_err (*route)(void *ctx, void *ud, dsc_app_client *ac, dsc_why *why);

  /* Chooses among `nodes` (not yet tried; not isolated, unless all are): sets `*chosen` to one of them (borrowed),
  ** or NULL for none. Fails: DSC_EBALANCER with `why`: logged, the default balancer picks. */
  dsc_err (*next)(void *ctx, void *ud, dsc_app_client *ac, dsc_node *const *nodes, size_t n, dsc_node **chosen,
                  dsc_why *why);

  /* After each attempt. `status` 0 and `headers` NULL: no answer. */
  void (*response)(void *ctx, void *ud, dsc_app_client *ac, dsc_node *node, dsc_err err, int status,
                   const dsc_headers *headers, double seconds);

  void (*on_event)(void *ctx, void *ud, const dsc_event *event);
  void (*on_log)(void *ctx, void *ud, const dsc_log_record *record);

  /* A message of a WebSocket that listens; `message` NULL: it ended. `listener` is the ud of dsc_websocket_listen(). */
  void (*on_message)(void *ctx, void *ud, dsc_websocket *ws, void *listener, const dsc_ws_message *message);
} dsc_hooks;

typedef struct dsc_options {
  /* all borrowed for dsc_discoverer_new() */
  dsc_str registry; /* "": none */
  const char *user; /* NULL: as in the string */
  dsc_secret *password;
  dsc_registry_timing timing;
  uint32_t call_retry_times; /* 10 */
  uint32_t start_timeout_ms; /* 3 s */
  const dsc_balancer_ops *balancer;
  const char *const *relay; /* NULL: the default list */
  dsc_header_names header_names;
  bool has_log_level;
  dsc_log_level log_level; /* else: warn for the default sink, info for the host's */
  bool signals, shared;
  bool verify_push;       /* believe a message of the registry only after reading it */
  const dsc_hooks *hooks; /* NULL: none yet; the registry may log before a later dsc_discoverer_set_hooks() */
} dsc_options;

/* Returns the version of the library, which may be a later one than DSC_VERSION of the headers a host was built with.
** Any thread. Static string. */
const char *dsc_discoverer_version(void);

/* Fills in the defaults. Any thread. */
void dsc_options_defaults(dsc_options *options);

/* Makes a discoverer and opens its registry; waits for nothing. Any thread, which becomes the owner. Caller owns:
** dsc_discoverer_free(). Fails: DSC_EINVALID, DSC_ENOMEM, DSC_EIO with `why`. */
dsc_err dsc_discoverer_new(dsc_discoverer **d, const dsc_options *options, dsc_why *why);

/* Stops if needed and frees. With `wait` false (garbage collection): no callback, no waiting. Never inside a frame
** of `d`: inside one it is refused (false), the host frees after the outermost left. NULL is allowed. Owner's
** thread. */
bool dsc_discoverer_free(dsc_discoverer *d, bool wait);

/* Enters. Owner's thread. Fails: DSC_EFORKED, DSC_ESTOPPED with `why`; then it was not entered and must not be left. */
dsc_err dsc_discoverer_enter(dsc_discoverer *d, dsc_frame *frame, void *ctx, dsc_why *why);

/* Leaves; the outermost one hands waiting log records and events to the host and finishes a stop. Owner's thread. */
void dsc_discoverer_leave(dsc_frame *frame);

/* Replaces the host's callbacks (copied; NULL: none). Owner's thread. */
void dsc_discoverer_set_hooks(dsc_discoverer *d, const dsc_hooks *hooks);

/* Sets the built-in balancer (NULL: least_used). Owner's thread. */
void dsc_discoverer_set_balancer(dsc_discoverer *d, const dsc_balancer_ops *ops);

/* Announces this process as `addr` of `app`; does not wait. Once per discoverer. `metadata`: "key=value&...",
** percent-encoded, or NULL. Owner's thread, in a frame. Fails: DSC_EINVALID (name, address, weight, twice),
** DSC_ESTOPPED, DSC_ENOMEM with `why`. */
dsc_err dsc_discoverer_register(dsc_frame *frame, dsc_str app, dsc_str addr, uint32_t weight, const char *metadata,
                                dsc_why *why);

/* Sets the config of calls to `app` ("*": of every app without one) and follows it; does not wait. `*changed` (if
** not NULL): false when it was equal. Owner's thread, in a frame. Takes its own reference. Fails: DSC_EINVALID,
** DSC_ENOMEM with `why`. */
dsc_err dsc_discoverer_configure(dsc_frame *frame, dsc_str app, dsc_call_config *config, bool *changed, dsc_why *why);

/* Waits until `app` has been read (or the registry is down), at most `timeout_ms`. Runs the loop. Owner's thread,
** in a frame. Returns true when it was read. */
bool dsc_discoverer_await_app(dsc_frame *frame, dsc_str app, uint32_t timeout_ms);

/* Waits until registered (if it is to be), subscribed and every app of the configs read. 0: only looks. Owner's
** thread, in a frame. Returns DSC_OK, DSC_ETIMEOUT or, when the registry is known to be down at the end,
** DSC_EREGISTRY, with `why`. */
dsc_err dsc_discoverer_ready(dsc_frame *frame, uint32_t timeout_ms, dsc_why *why);

/* True when an own app and address were given. Owner's thread, also when stopped. */
bool dsc_discoverer_is_server(const dsc_discoverer *d);

/* True when calls of an app, or of every app, were configured. Owner's thread, also when stopped. */
bool dsc_discoverer_is_client(const dsc_discoverer *d);

/* True when the registry has this node now. Owner's thread, also when stopped or forked (false). */
bool dsc_discoverer_registered(const dsc_discoverer *d);

/* Borrows the name of this discoverer's own app ("" when none). Owner's thread. */
dsc_str dsc_discoverer_own_app(const dsc_discoverer *d);

/* Borrows this discoverer's own address ("" when none). Owner's thread. */
dsc_str dsc_discoverer_own_addr(const dsc_discoverer *d);

/* Changes the own weight (0: standby); announced at once. Owner's thread, in a frame. Fails: DSC_EINVALID,
** DSC_ENOMEM with `why`. */
dsc_err dsc_discoverer_set_weight(dsc_frame *frame, uint32_t weight, dsc_why *why);

/* Takes this node out of service, to be called again and again by a loop that goes on serving: the first call announces
** weight 0, `*over` becomes true `ms` after that: by then callers have seen it, and dsc_discoverer_stop() may follow.
** Who is registered nowhere is over at once; a weight that is set again ends it. Owner's thread, in a frame. Fails:
** DSC_ENOMEM with `why`. */
dsc_err dsc_discoverer_drain(dsc_frame *frame, uint32_t ms, bool *over, dsc_why *why);

/* Changes the own metadata; announced at once. Owner's thread, in a frame. Fails: DSC_EINVALID, DSC_ENOMEM with
** `why`. */
dsc_err dsc_discoverer_set_metadata(dsc_frame *frame, const char *metadata, dsc_why *why);

/* Forgets the own registration without a goodbye: another process (the next one of a reload) has announced the same app
** and address, and keeps them alive. From then on this one is a client. Owner's thread, in a frame. */
void dsc_discoverer_hand_over(dsc_frame *frame);

/* Sets a node by hand (weight 0 removes it). `metadata` NULL: leave. Owner's thread, in a frame. Fails:
** DSC_EINVALID with `why`, DSC_ENOMEM. */
dsc_err dsc_discoverer_set_node(dsc_frame *frame, dsc_str app, dsc_str addr, uint32_t weight, const char *metadata,
                                dsc_why *why);

/* Returns the nodes of an app. Owner's thread. Caller owns one reference: dsc_node_array_unref(). Fails: NULL:
** unknown app (or out of memory). */
dsc_node_array *dsc_discoverer_nodes(dsc_discoverer *d, dsc_str app);

/* Builds what an incoming request passes on, by this discoverer's relay list and names. Owner's thread. Fails:
** DSC_ENOMEM. */
dsc_err dsc_discoverer_relay(dsc_discoverer *d, dsc_headers *out, const dsc_headers *incoming,
                             const dsc_relay_peer *peer);

/* A call. What it points to is borrowed until the call returns. */
typedef struct dsc_request {
  dsc_str app, method, path;
  const dsc_headers *headers; /* the user's; NULL: none */
  const dsc_headers *relayed; /* by dsc_discoverer_relay(); NULL: none */
  dsc_str body;
  bool has_body;
  dsc_body *source;                               /* instead of `body`; NULL: none; one call's only */
  bool no_body;                                   /* send none, whatever a route sets */
  dsc_str node;                                   /* pinned to this address; "": not */
  dsc_str key;                                    /* for `hash`; p NULL: none */
  uint32_t timeout_ms, deadline_ms, max_attempts; /* 0: as configured */
  bool has_retry;
  dsc_retry retry;
  bool has_max_body;
  uint64_t max_body;
  void *ud; /* becomes the app client's */

  /* How far the bodies are, at most once per turn of the loop and once at the end; totals are -1 while unknown. Fails:
  ** DSC_ECALLBACK with `why`: the call (or its stream) ends with it. May not jump out. NULL: none. In a frame. */
  dsc_err (*on_progress)(void *ctx, void *ud, const dsc_http_progress *progress, dsc_why *why);

  /* A logger of the call's own: gets the records of its attempts, of every level, instead of the discoverer's. May not
  ** jump out. NULL: none. Owner's thread, in a frame. */
  void (*on_log)(void *ctx, void *ud, const dsc_log_record *record);
} dsc_request;

/* Makes a call and waits for its end. Owner's thread, in a frame; runs the loop and callbacks. Caller owns the
** result. Bad arguments are in the result (DSC_EINVALID). Fails: NULL: no memory for a result. */
dsc_result *dsc_discoverer_call(dsc_frame *frame, const dsc_request *request);

/* As dsc_discoverer_call(), but returns when the headers of the answer that counts are there: `*stream` gives its body
** (NULL when there was no answer; the result has no body). No retry after that. Unless the request itself has a
** max_body, the stream has no limit. Owner's thread, in a frame. Caller owns result and stream: dsc_stream_free(). What
** `request` points to is borrowed until this returns; until the stream ends: `source`, and what on_progress needs.
** Fails: NULL. */
dsc_result *dsc_discoverer_call_stream(dsc_frame *frame, const dsc_request *request, dsc_stream **stream);

/* Picks a node of `app` for a call that is made elsewhere: counts it as used and in flight until
** dsc_discoverer_done() or until the app's deadline. Never waits: an app that is not followed is followed from now
** on. Runs the host's balancer, no route. `ud` is the app client's for it. Owner's thread, in a frame. Caller owns
** one reference. Fails: DSC_ENO_NODE, DSC_EINVALID, DSC_EAPP_NOT_FOUND,
** DSC_EREGISTRY, DSC_ECALLBACK (balancers within balancers, too deep), DSC_EFORKED (a child that a balancer forked),
** DSC_ENOMEM with `why`. */
dsc_err dsc_discoverer_pick(dsc_frame *frame, dsc_str app, dsc_str key, void *ud, dsc_node **node, dsc_why *why);

/* Reports the outcome of a node picked by hand. More reports than picks count for health, in_flight stays at 0.
** Owner's thread, in a frame. */
void dsc_discoverer_done(dsc_frame *frame, dsc_node *node, dsc_outcome outcome);

/* Makes the state of a call by hand. Owner's thread. Caller owns: dsc_discoverer_app_client_free(). Fails:
** DSC_EINVALID, DSC_ENOMEM. */
dsc_err dsc_discoverer_app_client_new(dsc_discoverer *d, dsc_str app, dsc_app_client **ac, dsc_why *why);

/* Frees it; NULL is allowed. Owner's thread. */
void dsc_discoverer_app_client_free(dsc_app_client *ac);

/* Returns the next node, never one twice; follows and reads the app first if nobody did (waits at most
** start_timeout). Counts like dsc_discoverer_pick(). `addr` not empty: that node. Owner's thread, in a frame.
** Caller owns one reference. Fails: as dsc_discoverer_pick(). */
dsc_err dsc_discoverer_app_client_next(dsc_frame *frame, dsc_app_client *ac, dsc_str addr, dsc_node **node,
                                       dsc_why *why);

/* Follows and reads the app of `ac` if nobody did. Owner's thread, in a frame. Fails: DSC_EAPP_NOT_FOUND,
** DSC_EREGISTRY, DSC_EINVALID, DSC_ENOMEM with `why`. */
dsc_err dsc_discoverer_app_client_check(dsc_frame *frame, dsc_app_client *ac, dsc_why *why);

/* Writes the record of one attempt made by hand. `error` "": none. Owner's thread, in a frame. */
void dsc_discoverer_app_client_log(dsc_frame *frame, dsc_app_client *ac, dsc_str node, double seconds, dsc_str error);

/* Writes a log line as the core does (a binding's own warnings). Owner's thread, in a frame or not. */
void dsc_discoverer_log(dsc_discoverer *d, dsc_log_level level, const char *text);

/* Takes a picture for stats(). Owner's thread, also when stopped or forked. Caller owns: dsc_stats_free(). Fails:
** NULL. */
dsc_stats *dsc_discoverer_stats(dsc_discoverer *d);

/* Announces this node gone, refuses new calls, lets calls in flight finish for `drain_ms`, ends the registry's
** hold (bounded: 1 s, 0.1 s when not connected). Inside a frame it announces and marks, the outermost frame
** finishes. Idempotent; after a fork it only forgets. Owner's thread. */
void dsc_discoverer_stop(dsc_discoverer *d, void *ctx, uint32_t drain_ms);

/* Runs the loop, handing out events and log records, until stopped, at most `timeout_ms` (negative: no limit).
** Owner's thread, in a frame. Returns true when stopped; false also at once without a limit inside another frame. */
bool dsc_discoverer_wait(dsc_frame *frame, int64_t timeout_ms);

/* How much one dsc_discoverer_poll() may do. */
typedef struct dsc_poll {
  int64_t timeout_ms; /* how long to wait for the first thing to do; 0: not at all, negative: no limit */
  uint32_t max;       /* callbacks to run and calls to step; 0: no limit */
  uint32_t budget_us; /* begin nothing new after that time; 0: no limit */
} dsc_poll;

/* Runs the call loop once and dispatches: steps calls, hands out log records, events and messages, calls for futures
** that are ready. What does not fit into `max` and `budget_us` waits for the next one. Inside a callback it does
** nothing. `poll` NULL: all zero. In a frame, owner's thread. Returns how many futures became ready and how many
** callbacks were run (of WebSockets and futures; not route, balancer, logger, events). */
uint32_t dsc_discoverer_poll(dsc_frame *frame, const dsc_poll *poll);

/* Returns a descriptor that is readable whenever dsc_discoverer_poll() has something to do: for cqueues, luv, select
** and epoll; only to be waited for. It is made at the first use and lives as long as the discoverer; once that has
** stopped it stays readable, so that whoever waits looks. It is right whenever the owner is outside. Owner's thread, in
** a frame. Fails: -1: DSC_EIO, DSC_ENOMEM with `why`. */
int dsc_discoverer_pollfd(dsc_frame *frame, dsc_why *why);

/* Returns in how many milliseconds dsc_discoverer_poll() has something to do without any input: 0: now, -1: never. For
** loops that use libuv's descriptor together with a timer of their own; the descriptor of dsc_discoverer_pollfd()
** covers it already. Owner's thread, in a frame. */
int64_t dsc_discoverer_timeout(dsc_frame *frame);

/* Sets what is called when dsc_discoverer_poll() has something to do: `fn(ud)`, in the watcher's thread, once until the
** next poll; it may not enter the discoverer, only pass it on (write to a pipe, set an event). NULL: nobody; after that
** has returned `fn` is not running and will not be called. Ends with the discoverer. Owner's thread, in a frame. Fails:
** DSC_EIO, DSC_ENOMEM with `why`. */
dsc_err dsc_discoverer_set_wakeup(dsc_frame *frame, void (*fn)(void *ud), void *ud, dsc_why *why);

/* True once stopped (or marked). Owner's thread. */
bool dsc_discoverer_stopped(const dsc_discoverer *d);

#pragma GCC visibility pop

#endif
