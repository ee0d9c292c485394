/*
** store_redis_op.c - the commands of the store over Redis, byte for byte those of the system it joins.
**
** An op is one thing under way; it may take two round trips (read; a touch that found its entry gone; a reap by single
** commands), and completes exactly once: finish() frees it.
**
** The key always goes first: a reader that sees a field finds its key. HSET only in put: a weight that an operator
** set by hand outlives heartbeats (HSETNX). Threads: the loop's, under the registry's lock; replies take it
** themselves.
*/
#include "core/store_redis_impl.h"

#include <stdio.h>

#include "base/addr.h"
#include "base/mem.h"

#define KEY_MAX (255 + 1 + DSC_ADDR_MAX)
#define L(text) DSC_STR_LITERAL(text)
#define T(text) dsc_str_of(text)

typedef struct op {
  redis_store *store;
  dsc_store_done done;
  void *ud;
  dsc_redis_reply *fields; /* read: the HGETALL while the MGET is under way */
  uint32_t weight;
  size_t app_n, addr_n;
  char names[]; /* app, then addr */
} op;

/* The texts of one node, terminated. */
typedef struct node_texts {
  char key[KEY_MAX + 1], channel[260], message[DSC_ADDR_MAX + 16], weight[16], ttl[16];
} node_texts;

static dsc_str op_app(const op *o) {
  return (dsc_str){o->names, o->app_n};
}

static dsc_str op_addr(const op *o) {
  return (dsc_str){o->names + o->app_n, o->addr_n};
}

static void make_texts(node_texts *t, const op *o) {
  dsc_str app = op_app(o), addr = op_addr(o);
  snprintf(t->key, sizeof t->key, "%.*s_%.*s", DSC_STR_ARG(app), DSC_STR_ARG(addr));
  snprintf(t->channel, sizeof t->channel, "CH_%.*s", DSC_STR_ARG(app));
  snprintf(t->message, sizeof t->message, "%.*s %u", DSC_STR_ARG(addr), o->weight);
  snprintf(t->weight, sizeof t->weight, "%u", o->weight);
  /* Redis takes whole seconds here */
  snprintf(t->ttl, sizeof t->ttl, "%u", (o->store->ttl_ms + 999) / 1000);
}

static dsc_err begin(op **o, dsc_store *base, dsc_str app, dsc_str addr, dsc_store_done done, void *ud) {
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

static void finish(op *o, dsc_store_answer *answer) {
  if (answer->err && !answer->why) answer->why = dsc_err_text(answer->err);
  if (!answer->why) answer->why = "";
  o->done(o->ud, answer);
  dsc_redis_reply_free(o->fields);
  dsc_mem_free(o);
}

static void fail(op *o, dsc_err err, const char *why) {
  finish(o, &(dsc_store_answer){.err = err, .why = why});
}

/* A server that answers what it cannot mean is not asked any further. */
static void fail_odd(op *o) {
  if (o->store->commands.conn) dsc_redis_conn_close(o->store->commands.conn);
  fail(o, DSC_EPROTOCOL, "an odd reply");
}

static void refuse(op *o, const dsc_redis_reply *error) {
  o->store->errors++;
  bool denied = dsc_str_starts(error->str, L("NOPERM")) || dsc_str_starts(error->str, L("NOAUTH"));
  bool refused = !dsc_store_redis_sentinel_doubt(o->store, error->str);
  finish(o, &(dsc_store_answer){.err = DSC_EREGISTRY, .refused = refused, .denied = denied, .why = error->str.p});
}

/* Looks at what is common to all replies; true when there is nothing left to judge. */
static bool settled(op *o, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  const dsc_redis_reply *error = err ? NULL : dsc_redis_conn_error(replies, n);
  if (err) {
    fail(o, err, why);
  } else if (error) {
    refuse(o, error);
  } else {
    return false;
  }
  return true;
}

static dsc_err send(op *o, const dsc_redis_command *commands, size_t n, dsc_redis_done done) {
  o->store->sent += n;
  if (!o->store->commands.ready) return DSC_EREGISTRY;
  return dsc_redis_conn_send(o->store->commands.conn, commands, n, done, o);
}

/* Sends the first commands of an op, which is freed if that fails. */
static dsc_err send_first(op *o, const dsc_redis_command *commands, size_t n, dsc_redis_done done) {
  dsc_err err = send(o, commands, n, done);
  if (err) dsc_mem_free(o);
  return err;
}

/* Sends the second round trip of an op, which fails if that fails. */
static void send_next(op *o, const dsc_redis_command *commands, size_t n, dsc_redis_done done) {
  dsc_err err = send(o, commands, n, done);
  if (err) fail(o, err, NULL);
}

#define WORDS(...)                                                                                                     \
  {                                                                                                                    \
    sizeof((dsc_str[]){__VA_ARGS__}) / sizeof(dsc_str), (dsc_str[]) {                                                  \
      __VA_ARGS__                                                                                                      \
    }                                                                                                                  \
  }

/* ---- put, remove */

static void on_plain(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  op *o = ud;
  pthread_mutex_t *lock = o->store->lock;
  pthread_mutex_lock(lock);
  if (!settled(o, err, why, replies, n)) finish(o, &(dsc_store_answer){.err = DSC_OK});
  pthread_mutex_unlock(lock);
}

dsc_err dsc_store_redis_op_put(dsc_store *base, const dsc_store_node *node, dsc_store_done done, void *ud) {
  op *o;
  dsc_err err = begin(&o, base, node->app, node->addr, done, ud);
  if (err) return err;
  node_texts t;
  o->weight = node->weight;
  make_texts(&t, o);
  dsc_redis_command commands[] = {
      WORDS(L("SETEX"), T(t.key), T(t.ttl), node->metadata.n > 0 ? node->metadata : L("1")),
      WORDS(T(node->keep_weight ? "HSETNX" : "HSET"), node->app, node->addr, T(t.weight)),
      WORDS(L("PUBLISH"), T(t.channel), T(t.message)),
  };
  return send_first(o, commands, 3, on_plain);
}

dsc_err dsc_store_redis_op_remove(dsc_store *base, const dsc_store_node *node, dsc_store_done done, void *ud) {
  op *o;
  dsc_err err = begin(&o, base, node->app, node->addr, done, ud);
  if (err) return err;
  node_texts t;
  make_texts(&t, o);
  dsc_redis_command commands[] = {
      WORDS(L("HDEL"), node->app, node->addr),
      WORDS(L("DEL"), T(t.key)),
      WORDS(L("PUBLISH"), T(t.channel), T(t.message)),
  };
  return send_first(o, commands, 3, on_plain);
}

/* ---- touch */

static void on_republished(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  op *o = ud;
  pthread_mutex_t *lock = o->store->lock;
  pthread_mutex_lock(lock);
  if (!settled(o, err, why, replies, n)) finish(o, &(dsc_store_answer){.err = DSC_OK, .was_lost = true});
  pthread_mutex_unlock(lock);
}

static void on_touched(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  op *o = ud;
  pthread_mutex_t *lock = o->store->lock;
  pthread_mutex_lock(lock);
  if (settled(o, err, why, replies, n)) {
    /* told */
  } else if (replies[1]->type != DSC_REDIS_INTEGER) {
    fail_odd(o);
  } else if (replies[1]->integer == 0) {
    finish(o, &(dsc_store_answer){.err = DSC_OK});
  } else {
    node_texts t;
    make_texts(&t, o);
    dsc_redis_command command = WORDS(L("PUBLISH"), T(t.channel), T(t.message));
    send_next(o, &command, 1, on_republished);
  }
  pthread_mutex_unlock(lock);
}

dsc_err dsc_store_redis_op_touch(dsc_store *base, const dsc_store_node *node, dsc_store_done done, void *ud) {
  op *o;
  dsc_err err = begin(&o, base, node->app, node->addr, done, ud);
  if (err) return err;
  node_texts t;
  o->weight = node->weight;
  make_texts(&t, o);
  dsc_redis_command commands[] = {
      WORDS(L("SETEX"), T(t.key), T(t.ttl), node->metadata.n > 0 ? node->metadata : L("1")),
      WORDS(L("HSETNX"), node->app, node->addr, T(t.weight)),
  };
  return send_first(o, commands, 2, on_touched);
}

/* ---- read: HGETALL, then one MGET */

static bool is_asked(const dsc_redis_reply *field) {
  return field->str.n < DSC_ADDR_MAX; /* a longer one is no address: its key does not matter */
}

static bool are_fields(const dsc_redis_reply *reply) {
  if (reply->type != DSC_REDIS_ARRAY || reply->count % 2 != 0) return false;
  for (size_t i = 0; i < reply->count; i++) {
    if (reply->items[i]->type != DSC_REDIS_STRING) return false;
  }
  return true;
}

static size_t count_asked(const dsc_redis_reply *fields) {
  size_t asked = 0;
  for (size_t i = 0; i < fields->count; i += 2) asked += is_asked(fields->items[i]);
  return asked;
}

static void finish_read(op *o, const dsc_redis_reply *keys) {
  size_t n = o->fields->count / 2, at = 0;
  dsc_store_row *rows = dsc_mem_zalloc(n, sizeof *rows);
  if (!rows) {
    fail(o, DSC_ENOMEM, NULL);
    return;
  }
  for (size_t i = 0; i < n; i++) {
    const dsc_redis_reply *field = o->fields->items[2 * i];
    const dsc_redis_reply *key = is_asked(field) && keys ? keys->items[at++] : NULL;
    rows[i] = (dsc_store_row){.addr = field->str, .weight = o->fields->items[2 * i + 1]->str};
    rows[i].alive = key && key->type == DSC_REDIS_STRING;
    if (rows[i].alive) rows[i].metadata = key->str;
  }
  finish(o, &(dsc_store_answer){.err = DSC_OK, .rows = rows, .n = n});
  dsc_mem_free(rows);
}

static void on_keys(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  op *o = ud;
  pthread_mutex_t *lock = o->store->lock;
  pthread_mutex_lock(lock);
  if (settled(o, err, why, replies, n)) {
    /* told */
  } else if (replies[0]->type != DSC_REDIS_ARRAY || replies[0]->count != count_asked(o->fields)) {
    fail_odd(o);
  } else {
    finish_read(o, replies[0]);
  }
  pthread_mutex_unlock(lock);
}

static void ask_keys(op *o, size_t asked) {
  dsc_str app = op_app(o);
  dsc_buf keys;
  dsc_buf_init(&keys, 0);
  for (size_t i = 0; i < o->fields->count; i += 2) {
    const dsc_redis_reply *field = o->fields->items[i];
    if (is_asked(field)) dsc_buf_addf(&keys, "%.*s_", DSC_STR_ARG(app));
    if (is_asked(field)) dsc_buf_add_str(&keys, field->str);
  }
  dsc_str *words = keys.err ? NULL : dsc_mem_zalloc(asked + 1, sizeof *words);
  if (words) {
    size_t at = 0, w = 0;
    words[w++] = L("MGET");
    for (size_t i = 0; i < o->fields->count; i += 2) {
      const dsc_redis_reply *field = o->fields->items[i];
      if (!is_asked(field)) continue;
      words[w] = (dsc_str){keys.data + at, app.n + 1 + field->str.n};
      at += words[w++].n;
    }
    send_next(o, &(dsc_redis_command){w, words}, 1, on_keys);
  } else {
    fail(o, DSC_ENOMEM, NULL);
  }
  dsc_mem_free(words);
  dsc_buf_clear(&keys);
}

static void on_fields(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  op *o = ud;
  pthread_mutex_t *lock = o->store->lock;
  pthread_mutex_lock(lock);
  if (settled(o, err, why, replies, n)) {
    /* told */
  } else if (!are_fields(replies[0])) {
    fail_odd(o);
  } else {
    o->fields = replies[0];
    replies[0] = NULL;
    size_t asked = count_asked(o->fields);
    if (asked > 0) {
      ask_keys(o, asked);
    } else {
      finish_read(o, NULL);
    }
  }
  pthread_mutex_unlock(lock);
}

dsc_err dsc_store_redis_op_read(dsc_store *base, dsc_str app, dsc_store_done done, void *ud) {
  op *o;
  dsc_err err = begin(&o, base, app, L(""), done, ud);
  if (err) return err;
  dsc_redis_command command = WORDS(L("HGETALL"), app);
  return send_first(o, &command, 1, on_fields);
}

/* ---- fetch */

static void on_fetched(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  op *o = ud;
  pthread_mutex_t *lock = o->store->lock;
  pthread_mutex_lock(lock);
  if (!settled(o, err, why, replies, n)) {
    bool found = replies[0]->type == DSC_REDIS_STRING;
    finish(o, &(dsc_store_answer){.err = DSC_OK, .found = found, .value = replies[0]->str});
  }
  pthread_mutex_unlock(lock);
}

dsc_err dsc_store_redis_op_fetch(dsc_store *base, dsc_str app, dsc_str addr, dsc_store_done done, void *ud) {
  op *o;
  dsc_err err = begin(&o, base, app, addr, done, ud);
  if (err) return err;
  node_texts t;
  make_texts(&t, o);
  dsc_redis_command command = WORDS(L("GET"), T(t.key));
  return send_first(o, &command, 1, on_fetched);
}

/* ---- reap */

static const char reap_script[] = "if redis.call('EXISTS',KEYS[2])==0 and redis.call('HDEL',KEYS[1],ARGV[1])==1 then "
                                  "redis.call('PUBLISH',ARGV[2],ARGV[1]..' 0') return 1 end return 0";

static void on_checked(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  op *o = ud;
  pthread_mutex_t *lock = o->store->lock;
  pthread_mutex_lock(lock);
  if (settled(o, err, why, replies, n)) {
    /* told */
  } else if (replies[0]->type != DSC_REDIS_INTEGER) {
    fail_odd(o);
  } else if (replies[0]->integer != 0) {
    finish(o, &(dsc_store_answer){.err = DSC_OK});
  } else {
    node_texts t;
    make_texts(&t, o);
    dsc_redis_command commands[] = {WORDS(L("HDEL"), op_app(o), op_addr(o)),
                                    WORDS(L("PUBLISH"), T(t.channel), T(t.message))};
    send_next(o, commands, 2, on_plain);
  }
  pthread_mutex_unlock(lock);
}

static bool wants_single_commands(const dsc_redis_reply *reply) {
  return reply->type == DSC_REDIS_ERROR &&
         (dsc_str_starts(reply->str, L("CROSSSLOT")) || dsc_str_starts(reply->str, L("ERR unknown command")));
}

static void on_reaped(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  op *o = ud;
  pthread_mutex_t *lock = o->store->lock;
  pthread_mutex_lock(lock);
  if (!err && wants_single_commands(replies[0])) {
    node_texts t;
    make_texts(&t, o);
    dsc_redis_command command = WORDS(L("EXISTS"), T(t.key));
    send_next(o, &command, 1, on_checked);
  } else if (!settled(o, err, why, replies, n)) {
    finish(o, &(dsc_store_answer){.err = DSC_OK});
  }
  pthread_mutex_unlock(lock);
}

dsc_err dsc_store_redis_op_reap(dsc_store *base, dsc_str app, dsc_str addr, dsc_store_done done, void *ud) {
  op *o;
  dsc_err err = begin(&o, base, app, addr, done, ud);
  if (err) return err;
  node_texts t;
  make_texts(&t, o);
  dsc_redis_command command = WORDS(L("EVAL"), L(reap_script), L("2"), app, T(t.key), addr, T(t.channel));
  return send_first(o, &command, 1, on_reaped);
}
