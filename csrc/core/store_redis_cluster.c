/*
** store_redis_cluster.c - the store over a Redis Cluster: what stands, and which node messages come from.
**
** Any node hears what is published on any other, so one subscription is enough, on a node that lives; when it goes, or
** belongs to the Cluster no longer, another one is taken. The commands' side is ready while the Cluster's client is up;
** a part of the Cluster may be away even so: the ops on its keys end with `later` (core/store.h).
** Threads: the loop's; callbacks take the registry's lock.
*/
#include "base/clock.h"
#include "core/store_redis_impl.h"

static void on_up(void *ud) {
  redis_store *store = ud;
  side *s = &store->commands;
  pthread_mutex_lock(store->lock);
  if (!store->closing) {
    s->ready = true;
    s->ready_ms = dsc_clock_now_ms();
    dsc_timer_stop(s->retry);
    if (!store->messages.conn && !dsc_store_redis_open_side(&store->messages))
      dsc_timer_start(store->messages.retry, dsc_store_redis_delay(&store->messages, false));
    dsc_store_redis_tell_state(store, false, "");
  }
  pthread_mutex_unlock(store->lock);
}

static void on_down(void *ud, bool denied, const char *why) {
  redis_store *store = ud;
  side *s = &store->commands;
  pthread_mutex_lock(store->lock);
  if (s->ready) dsc_store_redis_note_end(s);
  s->ready = false;
  if (!store->closing) {
    dsc_timer_start(s->retry, dsc_store_redis_delay(s, denied));
    dsc_store_redis_tell_state(store, denied, why);
  }
  pthread_mutex_unlock(store->lock);
}

static void on_renewed(void *ud) {
  redis_store *store = ud;
  pthread_mutex_lock(store->lock);
  if (!store->closing) store->base.events.on_renewed(store->base.events.ud);
  pthread_mutex_unlock(store->lock);
}

/* A node that was taken out of the Cluster may live on, without a word from the others. */
static void on_map(void *ud) {
  redis_store *store = ud;
  pthread_mutex_lock(store->lock);
  bool strange = store->messages.conn && !dsc_cluster_has(store->cluster, store->heard.text);
  if (strange && !store->closing) dsc_redis_conn_close(store->messages.conn);
  pthread_mutex_unlock(store->lock);
}

bool dsc_store_redis_cluster_aim(redis_store *store) {
  return dsc_cluster_get_live(store->cluster, store->heard.text, &store->heard);
}

dsc_err dsc_store_redis_cluster_init(redis_store *store, const char *name, uint32_t command_timeout_ms) {
  const dsc_registry_config *config = store->config;
  if (config->kind != DSC_REGISTRY_CLUSTER) return DSC_OK;
  dsc_cluster_options options = {
      .hosts = config->hosts,
      .n_hosts = config->n_hosts,
      .tls = store->tls,
      .user = config->user,
      .password = config->password,
      .name = name,
      .connect_timeout_ms = config->connect_timeout_ms ? config->connect_timeout_ms : 1000,
      .command_timeout_ms = command_timeout_ms,
  };
  dsc_cluster_events events = {store, on_up, on_down, on_renewed, on_map};
  store->cluster = dsc_cluster_new(store->loop, store->resolver, &options, &events);
  return store->cluster ? DSC_OK : DSC_ENOMEM;
}
