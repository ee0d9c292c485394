/*
** store_redis_sentinel.c - the store over a Redis that Sentinels watch: which server is the master, now.
**
** Both connections go to one server, so they come and go together: when one ends for whatever reason (also because the
** server says that it is a replica, or because Sentinels name another), the other is closed, and when both are gone the
** master is asked for again. ROLE is part of connecting (net/redis_greet.c). A master that Sentinels announce by
** themselves is connected to without a question, spread over half a second since all clients are told at once.
**
** Invariants: with Sentinels only the timer of the commands' side is used, and it runs only while neither side has a
** connection. Threads: the loop's; callbacks of the Sentinels take the registry's lock.
*/
#include <stdio.h>
#include <unistd.h>

#include "base/random.h"
#include "core/store_redis_impl.h"

#define SPREAD_MS 500

static bool is_connected(const redis_store *store) {
  return store->commands.conn || store->messages.conn;
}

static void retry_after(redis_store *store, uint64_t ms) {
  dsc_timer_start(store->commands.retry, ms);
}

static void drop(redis_store *store) {
  if (store->commands.conn) dsc_redis_conn_close(store->commands.conn);
  if (store->messages.conn) dsc_redis_conn_close(store->messages.conn);
}

static void open_both(redis_store *store) {
  store->moving = store->denied = false;
  if (dsc_store_redis_open_side(&store->commands) && dsc_store_redis_open_side(&store->messages)) return;
  drop(store);
  if (!is_connected(store)) retry_after(store, dsc_store_redis_delay(&store->commands, false));
}

/* ---- what Sentinels say */

static void on_answer(void *ud, const dsc_sentinel_answer *answer) {
  redis_store *store = ud;
  pthread_mutex_lock(store->lock);
  if (store->closing || is_connected(store) || store->moving) {
    /* news overtook the question */
  } else if (answer->err) {
    dsc_store_redis_tell_state(store, answer->denied, answer->why);
    retry_after(store, dsc_store_redis_delay(&store->commands, answer->denied));
  } else {
    store->master = *answer->master;
    open_both(store);
  }
  pthread_mutex_unlock(store->lock);
}

static void on_switch(void *ud, const dsc_addr *master) {
  redis_store *store = ud;
  pthread_mutex_lock(store->lock);
  bool is_news = !is_connected(store) || strcmp(master->text, store->master.text) != 0;
  if (!store->closing && is_news) {
    store->master = *master;
    store->moving = true;
    drop(store);
    if (!is_connected(store)) retry_after(store, dsc_random_between_ms(0, SPREAD_MS));
  }
  pthread_mutex_unlock(store->lock);
}

/* ---- what becomes of the connections */

void dsc_store_redis_sentinel_connect(redis_store *store) {
  if (store->moving) {
    open_both(store);
  } else {
    dsc_sentinel_ask(store->sentinel, store->master.port ? &store->master : NULL);
  }
}

void dsc_store_redis_sentinel_on_ready(redis_store *store) {
  bool both = store->commands.ready && store->messages.ready;
  if (!both && !store->moving) dsc_sentinel_settle(store->sentinel, &store->master);
  if (!both || strcmp(store->settled.text, store->master.text) == 0) return;
  dsc_addr from = store->settled;
  store->settled = store->master;
  if (from.port) store->base.events.on_moved(store->base.events.ud, from.text, store->master.text);
}

void dsc_store_redis_sentinel_on_down(redis_store *store, bool denied, const char *why) {
  char text[DSC_WHY_MAX] = "";
  if (why[0]) snprintf(text, sizeof text, "the master %s: %s", store->master.text, why);
  store->denied |= denied;
  dsc_sentinel_settle(store->sentinel, NULL);
  drop(store);
  if (!is_connected(store)) {
    uint64_t spread = dsc_random_between_ms(0, SPREAD_MS);
    retry_after(store, store->moving ? spread : dsc_store_redis_delay(&store->commands, store->denied));
  }
  dsc_store_redis_tell_state(store, denied, text);
}

bool dsc_store_redis_sentinel_doubt(redis_store *store, dsc_str error) {
  bool is_replica =
      dsc_str_starts(error, DSC_STR_LITERAL("READONLY")) || dsc_str_starts(error, DSC_STR_LITERAL("MASTERDOWN"));
  if (!store->sentinel || !is_replica) return false;
  drop(store);
  return true;
}

/* ---- begin and end */

dsc_err dsc_store_redis_sentinel_init(redis_store *store) {
  const dsc_registry_config *config = store->config;
  if (config->kind != DSC_REGISTRY_SENTINEL) return DSC_OK;
  char name[64];
  snprintf(name, sizeof name, "discover-sentinel-%d", (int)getpid());
  dsc_sentinel_options options = {
      .hosts = config->hosts,
      .n_hosts = config->n_hosts,
      .master = config->name,
      .user = config->sentinel_user,
      .password = config->sentinel_password,
      .tls = store->tls,
      .name = name,
  };
  dsc_sentinel_events events = {store, on_answer, on_switch};
  store->sentinel = dsc_sentinel_new(store->loop, store->resolver, &options, &events);
  return store->sentinel ? DSC_OK : DSC_ENOMEM;
}

void dsc_store_redis_sentinel_free(redis_store *store) {
  dsc_sentinel_free(store->sentinel);
}
