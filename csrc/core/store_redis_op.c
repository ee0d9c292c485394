/*
** store_redis_op.c - the commands of the store over Redis, byte for byte those of the system it joins.
**
** An op is one thing under way; it may take two round trips (read; a touch that found its entry gone; a reap by single
** commands), and completes exactly once: dsc_store_redis_op_finish() frees it.
**
** The key always goes first: a reader that sees a field finds its key. HSET only in put: a weight that an operator
** set by hand outlives heartbeats (HSETNX). Threads: the loop's, under the registry's lock; replies take it
** themselves.
*/
#include "core/store_redis_op_impl.h"

#include <stdio.h>

#include "base/addr.h"
#include "base/mem.h"

#define KEY_MAX (255 + 1 + DSC_ADDR_MAX)

/* The texts of one node, terminated. */
typedef struct node_texts {
  char key[KEY_MAX + 1], channel[260], message[DSC_ADDR_MAX + 16], weight[16], ttl[16];
} node_texts;

static void make_texts(node_texts *t, const dsc_store_redis_op *o) {
  dsc_str app = dsc_store_redis_op_app(o), addr = dsc_store_redis_op_addr(o);
  snprintf(t->key, sizeof t->key, "%.*s_%.*s", DSC_STR_ARG(app), DSC_STR_ARG(addr));
  snprintf(t->channel, sizeof t->channel, "CH_%.*s", DSC_STR_ARG(app));
  snprintf(t->message, sizeof t->message, "%.*s %u", DSC_STR_ARG(addr), o->weight);
  snprintf(t->weight, sizeof t->weight, "%u", o->weight);
  /* Redis takes whole seconds here */
  snprintf(t->ttl, sizeof t->ttl, "%u", (o->store->ttl_ms + 999) / 1000);
}

dsc_err dsc_store_redis_op_begin(dsc_store_redis_op **o, dsc_store *base, dsc_str app, dsc_str addr,
                                 dsc_store_done done, void *ud) {
  redis_store *store = (redis_store *)base;
  if (!store->commands.ready) return DSC_EREGISTRY;
  *o = dsc_mem_zalloc(1, sizeof **o + app.n + addr.n + 1);
  if (!*o) return DSC_ENOMEM;
  (*o)->store = store;
  (*o)->done = done;
  (*o)->ud = ud;
  (*o)->app_n = app.n;
  (*o)->addr_n = addr.n;
  memcpy((*o)->names, app.p, app.n);
  memcpy((*o)->names + app.n, addr.p, addr.n);
  return DSC_OK;
}

void dsc_store_redis_op_finish(dsc_store_redis_op *o, dsc_store_answer *answer) {
  if (answer->err && !answer->why) answer->why = dsc_err_text(answer->err);
  if (!answer->why) answer->why = "";
  o->done(o->ud, answer);
  dsc_redis_reply_free(o->fields);
  dsc_mem_free(o);
}

void dsc_store_redis_op_fail(dsc_store_redis_op *o, dsc_err err, const char *why) {
  /* a Cluster of which a part is away stands all the same */
  bool later = o->store->cluster && o->store->commands.ready && err != DSC_ECLOSED;
  dsc_store_redis_op_finish(o, &(dsc_store_answer){.err = err, .later = later, .why = why});
}

/* A server that answers what it cannot mean is not asked any further. */
void dsc_store_redis_op_fail_odd(dsc_store_redis_op *o) {
  if (o->store->commands.conn) dsc_redis_conn_close(o->store->commands.conn);
  dsc_store_redis_op_fail(o, DSC_EPROTOCOL, "an odd reply");
}

static void refuse(dsc_store_redis_op *o, const dsc_redis_reply *error) {
  o->store->errors++;
  bool denied = dsc_str_starts(error->str, L("NOPERM")) || dsc_str_starts(error->str, L("NOAUTH"));
  bool refused = !dsc_store_redis_sentinel_doubt(o->store, error->str);
  dsc_store_redis_op_finish(
      o, &(dsc_store_answer){.err = DSC_EREGISTRY, .refused = refused, .denied = denied, .why = error->str.p});
}

/* Looks at what is common to all replies; true when there is nothing left to judge. */
bool dsc_store_redis_op_settled(dsc_store_redis_op *o, dsc_err err, const char *why, dsc_redis_reply **replies,
                                size_t n) {
  const dsc_redis_reply *error = err ? NULL : dsc_redis_conn_error(replies, n);
  if (err) {
    dsc_store_redis_op_fail(o, err, why);
  } else if (error) {
    refuse(o, error);
  } else {
    return false;
  }
  return true;
}

static dsc_err send(dsc_store_redis_op *o, const dsc_redis_command *commands, size_t n, bool ordered,
                    dsc_redis_done done) {
  o->store->sent += n;
  if (!o->store->commands.ready) return DSC_EREGISTRY;
  if (o->store->cluster) return dsc_cluster_send(o->store->cluster, commands, n, ordered, done, o);
  return dsc_redis_conn_send(o->store->commands.conn, commands, n, done, o);
}

/* Sends the first commands of an op, which is freed if that fails. */
dsc_err dsc_store_redis_op_send_first(dsc_store_redis_op *o, const dsc_redis_command *commands, size_t n,
                                      dsc_redis_done done) {
  dsc_err err = send(o, commands, n, true, done);
  if (err) dsc_mem_free(o);
  return err;
}

/* Sends the second round trip of an op, which fails if that fails. */
void dsc_store_redis_op_send_next(dsc_store_redis_op *o, const dsc_redis_command *commands, size_t n, bool ordered,
                                  dsc_redis_done done) {
  dsc_err err = send(o, commands, n, ordered, done);
  if (err) dsc_store_redis_op_fail(o, err, NULL);
}

/* ---- put, remove */

static void on_plain(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  dsc_store_redis_op *o = ud;
  pthread_mutex_t *lock = o->store->lock;
  pthread_mutex_lock(lock);
  if (!dsc_store_redis_op_settled(o, err, why, replies, n))
    dsc_store_redis_op_finish(o, &(dsc_store_answer){.err = DSC_OK});
  pthread_mutex_unlock(lock);
}

dsc_err dsc_store_redis_op_put(dsc_store *base, const dsc_store_node *node, dsc_store_done done, void *ud) {
  dsc_store_redis_op *o;
  dsc_err err = dsc_store_redis_op_begin(&o, base, node->app, node->addr, done, ud);
  if (err) return err;
  node_texts t;
  o->weight = node->weight;
  make_texts(&t, o);
  dsc_redis_command commands[] = {
      WORDS(L("SETEX"), T(t.key), T(t.ttl), node->metadata.n > 0 ? node->metadata : L("1")),
      WORDS(T(node->keep_weight ? "HSETNX" : "HSET"), node->app, node->addr, T(t.weight)),
      WORDS(L("PUBLISH"), T(t.channel), T(t.message)),
  };
  return dsc_store_redis_op_send_first(o, commands, 3, on_plain);
}

dsc_err dsc_store_redis_op_remove(dsc_store *base, const dsc_store_node *node, dsc_store_done done, void *ud) {
  dsc_store_redis_op *o;
  dsc_err err = dsc_store_redis_op_begin(&o, base, node->app, node->addr, done, ud);
  if (err) return err;
  node_texts t;
  make_texts(&t, o);
  dsc_redis_command commands[] = {
      WORDS(L("HDEL"), node->app, node->addr),
      WORDS(L("DEL"), T(t.key)),
      WORDS(L("PUBLISH"), T(t.channel), T(t.message)),
  };
  return dsc_store_redis_op_send_first(o, commands, 3, on_plain);
}

/* ---- touch */

static void on_republished(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  dsc_store_redis_op *o = ud;
  pthread_mutex_t *lock = o->store->lock;
  pthread_mutex_lock(lock);
  if (!dsc_store_redis_op_settled(o, err, why, replies, n))
    dsc_store_redis_op_finish(o, &(dsc_store_answer){.err = DSC_OK, .was_lost = true});
  pthread_mutex_unlock(lock);
}

static void on_touched(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  dsc_store_redis_op *o = ud;
  pthread_mutex_t *lock = o->store->lock;
  pthread_mutex_lock(lock);
  if (dsc_store_redis_op_settled(o, err, why, replies, n)) {
    /* told */
  } else if (replies[1]->type != DSC_REDIS_INTEGER) {
    dsc_store_redis_op_fail_odd(o);
  } else if (replies[1]->integer == 0) {
    dsc_store_redis_op_finish(o, &(dsc_store_answer){.err = DSC_OK});
  } else {
    node_texts t;
    make_texts(&t, o);
    dsc_redis_command command = WORDS(L("PUBLISH"), T(t.channel), T(t.message));
    dsc_store_redis_op_send_next(o, &command, 1, true, on_republished);
  }
  pthread_mutex_unlock(lock);
}

dsc_err dsc_store_redis_op_touch(dsc_store *base, const dsc_store_node *node, dsc_store_done done, void *ud) {
  dsc_store_redis_op *o;
  dsc_err err = dsc_store_redis_op_begin(&o, base, node->app, node->addr, done, ud);
  if (err) return err;
  node_texts t;
  o->weight = node->weight;
  make_texts(&t, o);
  dsc_redis_command commands[] = {
      WORDS(L("SETEX"), T(t.key), T(t.ttl), node->metadata.n > 0 ? node->metadata : L("1")),
      WORDS(L("HSETNX"), node->app, node->addr, T(t.weight)),
  };
  return dsc_store_redis_op_send_first(o, commands, 2, on_touched);
}

/* ---- fetch */

static void on_fetched(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  dsc_store_redis_op *o = ud;
  pthread_mutex_t *lock = o->store->lock;
  pthread_mutex_lock(lock);
  if (!dsc_store_redis_op_settled(o, err, why, replies, n)) {
    bool found = replies[0]->type == DSC_REDIS_STRING;
    dsc_store_redis_op_finish(o, &(dsc_store_answer){.err = DSC_OK, .found = found, .value = replies[0]->str});
  }
  pthread_mutex_unlock(lock);
}

dsc_err dsc_store_redis_op_fetch(dsc_store *base, dsc_str app, dsc_str addr, dsc_store_done done, void *ud) {
  dsc_store_redis_op *o;
  dsc_err err = dsc_store_redis_op_begin(&o, base, app, addr, done, ud);
  if (err) return err;
  node_texts t;
  make_texts(&t, o);
  dsc_redis_command command = WORDS(L("GET"), T(t.key));
  return dsc_store_redis_op_send_first(o, &command, 1, on_fetched);
}

/* ---- reap */

static const char reap_script[] = "if redis.call('EXISTS',KEYS[2])==0 and redis.call('HDEL',KEYS[1],ARGV[1])==1 then "
                                  "redis.call('PUBLISH',ARGV[2],ARGV[1]..' 0') return 1 end return 0";

static void on_checked(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  dsc_store_redis_op *o = ud;
  pthread_mutex_t *lock = o->store->lock;
  pthread_mutex_lock(lock);
  if (dsc_store_redis_op_settled(o, err, why, replies, n)) {
    /* told */
  } else if (replies[0]->type != DSC_REDIS_INTEGER) {
    dsc_store_redis_op_fail_odd(o);
  } else if (replies[0]->integer != 0) {
    dsc_store_redis_op_finish(o, &(dsc_store_answer){.err = DSC_OK});
  } else {
    node_texts t;
    make_texts(&t, o);
    dsc_redis_command commands[] = {WORDS(L("HDEL"), dsc_store_redis_op_app(o), dsc_store_redis_op_addr(o)),
                                    WORDS(L("PUBLISH"), T(t.channel), T(t.message))};
    dsc_store_redis_op_send_next(o, commands, 2, true, on_plain);
  }
  pthread_mutex_unlock(lock);
}

static bool wants_single_commands(const dsc_redis_reply *reply) {
  return reply->type == DSC_REDIS_ERROR &&
         (dsc_str_starts(reply->str, L("CROSSSLOT")) || dsc_str_starts(reply->str, L("ERR unknown command")));
}

static void on_reaped(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  dsc_store_redis_op *o = ud;
  pthread_mutex_t *lock = o->store->lock;
  pthread_mutex_lock(lock);
  if (!err && wants_single_commands(replies[0])) {
    node_texts t;
    make_texts(&t, o);
    dsc_redis_command command = WORDS(L("EXISTS"), T(t.key));
    dsc_store_redis_op_send_next(o, &command, 1, true, on_checked);
  } else if (!dsc_store_redis_op_settled(o, err, why, replies, n)) {
    dsc_store_redis_op_finish(o, &(dsc_store_answer){.err = DSC_OK});
  }
  pthread_mutex_unlock(lock);
}

dsc_err dsc_store_redis_op_reap(dsc_store *base, dsc_str app, dsc_str addr, dsc_store_done done, void *ud) {
  dsc_store_redis_op *o;
  dsc_err err = dsc_store_redis_op_begin(&o, base, app, addr, done, ud);
  if (err) return err;
  node_texts t;
  make_texts(&t, o);
  dsc_redis_command check = WORDS(L("EXISTS"), T(t.key));
  if (o->store->cluster) return dsc_store_redis_op_send_first(o, &check, 1, on_checked);
  dsc_redis_command command = WORDS(L("EVAL"), L(reap_script), L("2"), app, T(t.key), addr, T(t.channel));
  return dsc_store_redis_op_send_first(o, &command, 1, on_reaped);
}
