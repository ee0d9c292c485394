/*
** store_redis.c - the store over Redis: two connections, one for commands, one for messages.
**
** Each connection lives once (net/redis_conn.h); coming back is decided here: full jitter from 0.1 s up to 2 s in the
** first minute of trouble, 5 s after it, 30 s when the credentials are refused. A connection that stood for less than
** STEADY_MS does not count as the end of a trouble, so that a server which greets and hangs up is not asked in a
** tight loop.
**
** What is sent on the commands' connection is in store_redis_op.c; who the master is where Sentinels know it, and that
** the two then come and go together, in store_redis_sentinel.c. With a Cluster the commands' side has no connection of
** its own: commands go by net/cluster.h, and the node that messages come from is chosen in store_redis_cluster.c.
** Which channels are subscribed to is in store_redis_channel.c.
** Threads: the loop's. Every callback takes the registry's lock, so that a store function and a callback never overlap.
*/
#include "core/store_redis_impl.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/random.h"

#define STEADY_MS    5000
#define TROUBLE_MS   60000
#define FIRST_TOP_MS 1000
#define SILENCE_MS   3000 /* of the subscriber, before a PING */
#define PONG_MS      5000

void dsc_store_redis_tell_state(redis_store *store, bool denied, const char *why) {
  store->base.events.on_state(store->base.events.ud, store->commands.ready, store->messages.ready, denied, why);
}

/* ---- coming and going */

uint64_t dsc_store_redis_delay(side *s, bool denied) {
  uint64_t now = dsc_clock_now_ms();
  if (denied) return dsc_random_jitter_ms(30000, 0.2);
  if (s->trouble_since_ms == 0) s->trouble_since_ms = now;
  if (now - s->trouble_since_ms >= TROUBLE_MS) return dsc_random_jitter_ms(5000, 0.2);
  /* wide from the first try on: all clients of a server lose it in the same moment */
  uint64_t top = s->tries < 3 ? FIRST_TOP_MS : 2000;
  s->tries++;
  return dsc_random_between_ms(100, top);
}

static void on_ready(void *ud) {
  side *s = ud;
  redis_store *store = s->store;
  pthread_mutex_lock(store->lock);
  if (!store->closing) {
    s->ready = true;
    s->ready_ms = dsc_clock_now_ms();
    store->connects++;
    if (s == &store->messages) dsc_store_redis_subscribe_all(store);
    if (store->sentinel) dsc_store_redis_sentinel_on_ready(store);
    dsc_store_redis_tell_state(store, false, "");
  }
  pthread_mutex_unlock(store->lock);
}

void dsc_store_redis_note_end(side *s) {
  if (dsc_clock_now_ms() - s->ready_ms < STEADY_MS) return;
  s->trouble_since_ms = 0;
  s->tries = 0;
}

static void on_down(void *ud, dsc_redis_down down, const char *why) {
  side *s = ud;
  redis_store *store = s->store;
  pthread_mutex_lock(store->lock);
  s->conn = NULL;
  if (s->ready) store->disconnects++;
  if (s->ready) dsc_store_redis_note_end(s);
  s->ready = false;
  bool denied = down == DSC_REDIS_DOWN_DENIED;
  if (store->closing) {
    /* told by nobody any more */
  } else if (store->sentinel) {
    dsc_store_redis_sentinel_on_down(store, denied, down == DSC_REDIS_DOWN_CLOSED ? "" : why);
  } else {
    dsc_timer_start(s->retry, dsc_store_redis_delay(s, denied));
    /* that one node of a Cluster is gone is no news: another one will do */
    bool other = store->cluster && !denied && s->tries < 3;
    dsc_store_redis_tell_state(store, denied, other ? "" : why);
  }
  pthread_mutex_unlock(store->lock);
}

static void connect_side(side *s) {
  if (!dsc_store_redis_open_side(s)) dsc_timer_start(s->retry, dsc_store_redis_delay(s, false));
}

static void on_retry(void *ud) {
  side *s = ud;
  redis_store *store = s->store;
  pthread_mutex_lock(store->lock);
  if (store->closing || s->conn) {
    /* not any more */
  } else if (store->sentinel) {
    dsc_store_redis_sentinel_connect(store);
  } else if (store->cluster && s == &store->commands) {
    dsc_cluster_start(store->cluster);
  } else {
    connect_side(s);
  }
  pthread_mutex_unlock(store->lock);
}

static uint32_t command_timeout(uint32_t ttl_ms) {
  uint32_t third = ttl_ms / 3;
  return third < 200 ? 200 : third > 10000 ? 10000 : third;
}

/* ---- names for an operator's eyes */

#define NAME_MAX_BYTES 200

static void make_name(char *name, side *s) {
  redis_store *store = s->store;
  const char *use = s == &store->messages ? "messages" : "commands";
  snprintf(name, NAME_MAX_BYTES, "discover-%s-%d%s%s", use, (int)getpid(), store->who[0] ? "-" : "", store->who);
  s->named = store->who[0] != '\0';
}

/* Names the commands' connection after its node: once, later connections have that name from the start. */
static void introduce(redis_store *store, dsc_str app, dsc_str addr) {
  side *s = &store->commands;
  char name[NAME_MAX_BYTES];
  if (s->named) return;
  snprintf(store->who, sizeof store->who, "%.*s-%.*s", DSC_STR_ARG(app), DSC_STR_ARG(addr));
  /* what Redis does not take in a name */
  for (char *at = store->who; *at; at++) *at = *at < '!' || *at > '~' ? '_' : *at;
  make_name(name, s);
  if (store->cluster) {
    dsc_cluster_set_name(store->cluster, name);
    return;
  }
  dsc_str words[3] = {DSC_STR_LITERAL("CLIENT"), DSC_STR_LITERAL("SETNAME"), dsc_str_of(name)};
  dsc_redis_command command = {3, words};
  dsc_err err = dsc_redis_conn_send(s->conn, &command, 1, dsc_store_redis_on_ignored, store);
  (void)err; /* a courtesy: without memory or the right it goes by its process alone */
}

static dsc_err redis_put(dsc_store *base, const dsc_store_node *node, dsc_store_done done, void *ud) {
  dsc_err err = dsc_store_redis_op_put(base, node, done, ud);
  if (!err) introduce((redis_store *)base, node->app, node->addr);
  return err;
}

bool dsc_store_redis_open_side(side *s) {
  redis_store *store = s->store;
  bool subscriber = s == &store->messages, is_told = store->sentinel != NULL;
  char name[NAME_MAX_BYTES];
  if (store->cluster && !dsc_store_redis_cluster_aim(store)) return false;
  make_name(name, s);
  dsc_redis_conn_options options = {
      .host = is_told          ? store->master.host
              : store->cluster ? store->heard.host
                               : store->config->host,
      .port = is_told          ? store->master.port
              : store->cluster ? store->heard.port
                               : store->config->port,
      .path = store->config->path,
      .tls = store->tls,
      .db = store->config->db,
      .user = store->config->user,
      .password = store->config->password,
      .name = name,
      .connect_timeout_ms = store->config->connect_timeout_ms ? store->config->connect_timeout_ms : 1000,
      .command_timeout_ms = subscriber ? PONG_MS : command_timeout(store->ttl_ms),
      .subscriber = subscriber,
      .silence_ms = SILENCE_MS,
      .master_only = is_told,
  };
  dsc_redis_conn_events events = {s, on_ready, dsc_store_redis_on_message, on_down};
  s->conn = dsc_redis_conn_open(store->loop, store->resolver, &options, &events);
  return s->conn != NULL;
}

static dsc_err redis_start(dsc_store *base) {
  redis_store *store = (redis_store *)base;
  if (store->sentinel) {
    dsc_store_redis_sentinel_connect(store);
    return DSC_OK;
  }
  if (store->cluster) {
    dsc_cluster_start(store->cluster); /* messages follow, when it is known who is there */
    return DSC_OK;
  }
  connect_side(&store->commands);
  connect_side(&store->messages);
  return DSC_OK;
}

static void close_side(side *s) {
  dsc_timer_stop(s->retry);
  s->ready = false;
  if (s->conn) dsc_redis_conn_close(s->conn);
}

static void redis_close(dsc_store *base) {
  redis_store *store = (redis_store *)base;
  store->closing = true;
  close_side(&store->commands);
  close_side(&store->messages);
  if (store->sentinel) dsc_sentinel_close(store->sentinel);
  if (store->cluster) dsc_cluster_close(store->cluster);
}

static bool redis_is_closed(dsc_store *base) {
  redis_store *store = (redis_store *)base;
  bool told = !store->sentinel || dsc_sentinel_is_closed(store->sentinel);
  bool ended = !store->cluster || dsc_cluster_is_closed(store->cluster);
  return told && ended && !store->commands.conn && !store->messages.conn;
}

static void redis_get_stats(dsc_store *base, dsc_store_stats *stats) {
  redis_store *store = (redis_store *)base;
  *stats = (dsc_store_stats){store->connects, store->disconnects, store->sent, store->errors, ""};
  snprintf(stats->server, sizeof stats->server, "%s", store->settled.text);
  if (store->cluster) dsc_cluster_count(store->cluster, &stats->connects, &stats->disconnects);
}

static void redis_free(dsc_store *base) {
  redis_store *store = (redis_store *)base;
  dsc_store_redis_free_channels(store);
  dsc_timer_free(store->commands.retry);
  dsc_timer_free(store->messages.retry);
  dsc_store_redis_sentinel_free(store);
  dsc_cluster_free(store->cluster);
  dsc_resolver_free(store->resolver);
  dsc_tls_unref(store->tls);
  dsc_mem_free(store);
}

static const dsc_store_ops redis_ops = {
    .kind = "redis",
    .lasting = false,
    .start = redis_start,
    .put = redis_put,
    .touch = dsc_store_redis_op_touch,
    .remove = dsc_store_redis_op_remove,
    .read = dsc_store_redis_op_read,
    .fetch = dsc_store_redis_op_fetch,
    .reap = dsc_store_redis_op_reap,
    .follow = dsc_store_redis_follow,
    .unfollow = dsc_store_redis_unfollow,
    .get_stats = redis_get_stats,
    .close = redis_close,
    .is_closed = redis_is_closed,
    .destroy = redis_free,
};

dsc_store *dsc_store_redis_new(dsc_loop *loop, const dsc_registry_config *config, dsc_tls *tls,
                               const dsc_registry_timing *timing, pthread_mutex_t *lock,
                               const dsc_store_events *events) {
  redis_store *store = dsc_mem_zalloc(1, sizeof *store);
  char name[NAME_MAX_BYTES];
  if (!store) return NULL;
  store->base = (dsc_store){&redis_ops, *events};
  store->loop = loop;
  store->config = config;
  store->tls = dsc_tls_ref(tls);
  store->ttl_ms = timing->ttl_ms;
  store->lock = lock;
  store->commands.store = store->messages.store = store;
  dsc_map_init(&store->channels);
  store->resolver = dsc_resolver_new(loop);
  store->commands.retry = dsc_timer_new(loop, on_retry, &store->commands);
  store->messages.retry = dsc_timer_new(loop, on_retry, &store->messages);
  bool made = store->resolver && store->commands.retry && store->messages.retry;
  make_name(name, &store->commands);
  if (made && dsc_store_redis_sentinel_init(store) == DSC_OK &&
      dsc_store_redis_cluster_init(store, name, command_timeout(store->ttl_ms)) == DSC_OK)
    return &store->base;
  redis_free(&store->base);
  return NULL;
}
