/*
** store_redis_channel.c - the channels that the store over Redis is subscribed to, one for each app that is followed.
**
** Invariants: a channel is in the map while it is followed; SUBSCRIBEs under way hold references to theirs. Threads:
** the loop's, under the registry's lock; callbacks take it.
*/
#include "base/mem.h"
#include "core/store_redis_impl.h"

struct channel {
  /* constant */
  redis_store *store;
  /* under the registry's lock */
  uint32_t refs;
  bool followed, sent; /* sent: SUBSCRIBE went out on the present connection */
  /* constant, last */
  size_t n;
  char name[]; /* CH_<app> */
};

static dsc_str channel_app(const channel *c) {
  return (dsc_str){c->name + 3, c->n - 3};
}

static void unref_channel(channel *c) {
  if (--c->refs == 0) dsc_mem_free(c);
}

static void on_subscribed(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  channel *c = ud;
  redis_store *store = c->store;
  pthread_mutex_lock(store->lock);
  const dsc_redis_reply *reply = err ? NULL : replies[0];
  (void)why;
  (void)n;
  if (reply && reply->type == DSC_REDIS_ERROR) {
    store->errors++;
    c->sent = false;
    if (c->followed) store->base.events.on_refused(store->base.events.ud, channel_app(c), reply->str.p);
  } else if (reply && reply->type != DSC_REDIS_ARRAY) {
    if (store->messages.conn) dsc_redis_conn_close(store->messages.conn);
  } else if (reply && c->followed) {
    store->base.events.on_subscribed(store->base.events.ud, channel_app(c));
  }
  unref_channel(c);
  pthread_mutex_unlock(store->lock);
}

/* Any answer will do. */
void dsc_store_redis_on_ignored(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  (void)ud;
  (void)err;
  (void)why;
  (void)replies;
  (void)n;
}

static dsc_err send_channel(channel *c, const char *word, dsc_redis_done done) {
  dsc_str words[2] = {dsc_str_of(word), {c->name, c->n}};
  dsc_redis_command command = {2, words};
  c->store->sent++;
  return dsc_redis_conn_send(c->store->messages.conn, &command, 1, done, c);
}

static void subscribe(channel *c) {
  if (!c->store->messages.ready || c->sent) return;
  c->refs++;
  c->sent = true;
  if (send_channel(c, "SUBSCRIBE", on_subscribed) == DSC_OK) return;
  /* without memory for a command: begin anew, all channels are asked for again then */
  c->refs--;
  dsc_redis_conn_close(c->store->messages.conn);
}

dsc_err dsc_store_redis_follow(dsc_store *base, dsc_str app) {
  redis_store *store = (redis_store *)base;
  channel *c = dsc_map_get(&store->channels, app);
  if (!c) {
    c = dsc_mem_zalloc(1, sizeof *c + app.n + 4);
    if (!c) return DSC_ENOMEM;
    c->store = store;
    c->refs = 1;
    c->followed = true;
    c->n = app.n + 3;
    memcpy(c->name, "CH_", 3);
    memcpy(c->name + 3, app.p, app.n);
    if (dsc_map_put(&store->channels, channel_app(c), c, NULL) != DSC_OK) {
      dsc_mem_free(c);
      return DSC_ENOMEM;
    }
  }
  subscribe(c);
  return DSC_OK;
}

void dsc_store_redis_unfollow(dsc_store *base, dsc_str app) {
  redis_store *store = (redis_store *)base;
  channel *c = dsc_map_take(&store->channels, app);
  if (!c) return;
  c->followed = false;
  if (c->sent && store->messages.ready) {
    dsc_err err = send_channel(c, "UNSUBSCRIBE", dsc_store_redis_on_ignored);
    if (err) dsc_redis_conn_close(store->messages.conn);
  }
  unref_channel(c);
}

void dsc_store_redis_subscribe_all(redis_store *store) {
  size_t at = 0;
  channel *c;
  while ((c = dsc_map_next(&store->channels, &at)) != NULL) {
    c->sent = false;
    subscribe(c);
  }
}

void dsc_store_redis_on_message(void *ud, dsc_str name, dsc_str text) {
  side *s = ud;
  redis_store *store = s->store;
  if (!dsc_str_starts(name, DSC_STR_LITERAL("CH_"))) return;
  dsc_str app = {name.p + 3, name.n - 3};
  pthread_mutex_lock(store->lock);
  if (!store->closing && dsc_map_get(&store->channels, app)) {
    store->base.events.on_message(store->base.events.ud, app, text);
  }
  pthread_mutex_unlock(store->lock);
}

void dsc_store_redis_free_channels(redis_store *store) {
  size_t at = 0;
  channel *c;
  while ((c = dsc_map_next(&store->channels, &at)) != NULL) unref_channel(c);
  dsc_map_clear(&store->channels);
}
