/*
** registry.h - what a registry is: register, keep alive, read, follow, resync, say goodbye; and the tables it
** publishes to.
**
** Every discoverer has one, be it of kind `none` (no store: nodes come from the user alone). With `shared` several
** discoverers of a process hold the same one. A registry whose store needs a loop (redis) runs in a thread of its
** own; `memory` works in the caller's thread under one lock. The registry owns the directory of tables and everything
** that is true for all its holders; what belongs to a holder (calls, balancer, callbacks) is core/discoverer's.
**
** Listeners are told from the registry's thread (or the thread that caused it) and must only take notes and wake
** somebody.
*/
#ifndef DSC_CORE_REGISTRY_H
#define DSC_CORE_REGISTRY_H

#include "core/event.h"
#include "core/stats.h"
#include "model/config_registry.h"
#include "model/directory.h"

typedef struct dsc_registry dsc_registry;

typedef struct dsc_registry_options {
  dsc_registry_config config; /* moved into the registry by dsc_registry_open(), emptied on success */
  dsc_registry_timing timing;
  bool shared;
  bool verify_push; /* messages are believed only after a read */
  bool signals;     /* SIGINT and SIGTERM: say goodbye, then end the process as that signal does */
} dsc_registry_options;

/* One holder's ear. Called under the registry's listener lock: no call back into the registry, no waiting. */
typedef struct dsc_listener {
  /* constant */
  void (*on_event)(void *ud, const dsc_event *event);
  void (*on_log)(void *ud, const dsc_log_record *record);
  void (*on_change)(void *ud); /* something that a holder may wait for changed: registered, read, up, down */
  void *ud;
  /* under the registry's listener lock */
  dsc_link link;
} dsc_listener;

/* Opens a registry (or, with `shared`, takes another reference to the one with the same string) and attaches
** `listener`. No waiting: the connection is made by its thread. Any thread. Caller owns one hold:
** dsc_registry_close(). `listener` is borrowed until then and may be told before this returns. Fails: DSC_EINVALID
** (shared options differ: `why` names the first), DSC_ENOMEM, DSC_EIO (no thread, no descriptor). */
dsc_err dsc_registry_open(dsc_registry **registry, dsc_registry_options *options, dsc_listener *listener, dsc_why *why);

/* Detaches `listener` (it is not called after this returns) and gives the hold back. The last hold ends the registry
** (of a shared one: 5 s later): registrations that are left are removed, the store gets at most 1 s for that (0.1 s
** if not connected), the thread is joined. With `wait` false (garbage collection) nothing is waited for: the thread
** says goodbye by itself and is joined at exit, bounded to 1 s. In a forked child it only forgets. Any thread. */
void dsc_registry_close(dsc_registry *registry, dsc_listener *listener, bool wait);

/* Borrows the directory. Any thread, while held. */
dsc_directory *dsc_registry_directory(dsc_registry *registry);

/* Borrows the counters of all calls that went through this registry's holders. Any thread, while held. */
dsc_counters *dsc_registry_counters(dsc_registry *registry);

/* Returns the kind. Any thread. */
dsc_registry_kind dsc_registry_get_kind(const dsc_registry *registry);

/* Announces a node and keeps it alive for ever, until unregistered; at weight 0 it is standby: known, not announced.
** The same app and address again is counted (shared); then weight and metadata of the last one hold. `metadata`:
** "key=value&..." or NULL. Any thread; does not wait. Fails: DSC_EINVALID, DSC_ENOMEM. */
dsc_err dsc_registry_register(dsc_registry *registry, dsc_str app, dsc_str addr, uint32_t weight, const char *metadata);

/* Takes one count back; at 0 the node is announced gone and nothing may register it again. `done_ms`: waits until the
** store has it, at most that long (0: does not wait); returns true when it has. Any thread but the registry's. */
bool dsc_registry_unregister(dsc_registry *registry, dsc_str app, dsc_str addr, uint32_t done_ms);

/* As dsc_registry_unregister(), but says nothing: another process announces the same node and keeps it. Any thread;
** does not wait. */
void dsc_registry_hand_over(dsc_registry *registry, dsc_str app, dsc_str addr);

/* Changes the weight of a registration (0: standby: HDEL, DEL, PUBLISH 0) and announces it at once. Any thread; does
** not wait. Fails: DSC_EINVALID (not registered), DSC_ENOMEM. */
dsc_err dsc_registry_set_weight(dsc_registry *registry, dsc_str app, dsc_str addr, uint32_t weight);

/* Changes the metadata of a registration (NULL: leave) and announces it at once. Any thread; does not wait. Fails:
** DSC_EINVALID (not registered), DSC_ENOMEM. */
dsc_err dsc_registry_set_metadata(dsc_registry *registry, dsc_str app, dsc_str addr, const char *metadata);

/* True when the last thing known is that the store has this registration (standby counts as registered once
** withdrawn). Any thread. */
bool dsc_registry_is_registered(dsc_registry *registry, dsc_str app, dsc_str addr);

/* Follows an app: subscribes, then reads, keeps it in step from then on; idempotent. `configured`: never evicted.
** With `refresh` an app already followed is read once more. Any thread; does not wait. Caller owns the table
** reference. Fails: DSC_EINVALID (bad name), DSC_ENOMEM; and with kind none: DSC_OK with the (maybe empty) table. */
dsc_err dsc_registry_follow(dsc_registry *registry, dsc_str app, bool configured, bool refresh, dsc_table **table,
                            dsc_why *why);

typedef enum dsc_app_state {
  DSC_APP_UNKNOWN, /* not followed */
  DSC_APP_PENDING, /* followed, never read yet; the registry is connected or connecting */
  DSC_APP_DOWN,    /* followed, never read yet; the registry is down (the last try to connect failed) */
  DSC_APP_REFUSED, /* the registry answers, but not for this app (WRONGTYPE, no permission, not a hash, ...) */
  DSC_APP_READ     /* subscribed and read at least once (also while the registry is down now) */
} dsc_app_state;

/* Returns how far an app is; after a follow with `refresh` READ means read since then or the connection is down. Any
** thread. `why` (may be NULL) receives the last trouble, "" when none. */
dsc_app_state dsc_registry_app_state(dsc_registry *registry, dsc_str app, dsc_why *why);

/* True when commands and messages flow. Any thread. kind none and memory: true. */
bool dsc_registry_is_up(dsc_registry *registry);

/* Fills the picture. Any thread. */
void dsc_registry_get_stats(dsc_registry *registry, dsc_registry_stats *stats);

/* Reports the outcome of an attempt or of a hand-made pick: health law, counters of isolation, events. Owner's thread
** of the caller (any). */
void dsc_registry_node_done(dsc_registry *registry, dsc_node *node, dsc_outcome outcome, bool was_probe,
                            uint32_t retry_times);

/* Tells listeners of trouble with an app's calls, as an event and a log record (warn): at most once a second of each
** kind and app. `node` may be empty. Any thread. */
void dsc_registry_tell_trouble(dsc_registry *registry, dsc_table *table, dsc_event_kind kind, dsc_str node,
                               const char *why);

/* Takes one from in_flight of a node without an outcome, and frees its probe slot if that was held: what held it has
** ended. Calls that wait for the node hear of it. After a fork: nothing. Any thread. */
void dsc_registry_node_lapse(dsc_registry *registry, dsc_node *node, bool was_probe);

/* Sets a user's node in the app's table and tells listeners. Any thread. Fails: DSC_EINVALID, DSC_ENOMEM. */
dsc_err dsc_registry_set_node(dsc_registry *registry, dsc_str app, dsc_str addr, uint32_t weight, const char *metadata,
                              dsc_why *why);

#endif
