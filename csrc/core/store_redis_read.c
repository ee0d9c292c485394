/*
** store_redis_read.c - reading an app from Redis: HGETALL, then one MGET of the keys of all its nodes.
**
** On a Cluster those keys are in as many slots as there are nodes, so it is a GET for each, in one pipeline to each
** server. Threads: the loop's, under the registry's lock; replies take it themselves.
*/
#include "base/addr.h"
#include "base/mem.h"
#include "core/store_redis_op_impl.h"

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

/* `keys`: the replies for those that were asked for, in the order of the fields. */
static void finish_read(dsc_store_redis_op *o, dsc_redis_reply *const *keys) {
  size_t n = o->fields->count / 2, at = 0;
  dsc_store_row *rows = dsc_mem_zalloc(n, sizeof *rows);
  if (!rows) {
    dsc_store_redis_op_fail(o, DSC_ENOMEM, NULL);
    return;
  }
  for (size_t i = 0; i < n; i++) {
    const dsc_redis_reply *field = o->fields->items[2 * i];
    const dsc_redis_reply *key = is_asked(field) && keys ? keys[at++] : NULL;
    rows[i] = (dsc_store_row){.addr = field->str, .weight = o->fields->items[2 * i + 1]->str};
    rows[i].alive = key && key->type == DSC_REDIS_STRING;
    if (rows[i].alive) rows[i].metadata = key->str;
  }
  dsc_store_redis_op_finish(o, &(dsc_store_answer){.err = DSC_OK, .rows = rows, .n = n});
  dsc_mem_free(rows);
}

static void on_keys(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  dsc_store_redis_op *o = ud;
  pthread_mutex_t *lock = o->store->lock;
  pthread_mutex_lock(lock);
  size_t asked = count_asked(o->fields);
  if (dsc_store_redis_op_settled(o, err, why, replies, n)) {
    /* told */
  } else if (o->store->cluster) {
    if (n == asked) {
      finish_read(o, replies);
    } else {
      dsc_store_redis_op_fail_odd(o);
    }
  } else if (replies[0]->type != DSC_REDIS_ARRAY || replies[0]->count != asked) {
    dsc_store_redis_op_fail_odd(o);
  } else {
    finish_read(o, replies[0]->items);
  }
  pthread_mutex_unlock(lock);
}

/* Sends MGET and the keys, or a GET for each key. `words` has room for one word more than `asked`, or twice as many. */
static void send_keys(dsc_store_redis_op *o, dsc_str *words, size_t asked, const dsc_buf *keys) {
  size_t app_n = o->app_n, at = 0, w = 0;
  bool each = o->store->cluster != NULL;
  dsc_redis_command *commands = dsc_mem_zalloc(each ? asked : 1, sizeof *commands);
  if (!commands) {
    dsc_store_redis_op_fail(o, DSC_ENOMEM, NULL);
    return;
  }
  commands[0] = (dsc_redis_command){asked + 1, words};
  if (!each) words[w++] = L("MGET");
  for (size_t i = 0; i < o->fields->count; i += 2) {
    const dsc_redis_reply *field = o->fields->items[i];
    if (!is_asked(field)) continue;
    if (each) {
      commands[w / 2] = (dsc_redis_command){2, &words[w]};
      words[w++] = L("GET");
    }
    words[w] = (dsc_str){keys->data + at, app_n + 1 + field->str.n};
    at += words[w++].n;
  }
  dsc_store_redis_op_send_next(o, commands, each ? asked : 1, false, on_keys);
  dsc_mem_free(commands);
}

static void ask_keys(dsc_store_redis_op *o, size_t asked) {
  dsc_str app = dsc_store_redis_op_app(o);
  dsc_buf keys;
  dsc_buf_init(&keys, 0);
  for (size_t i = 0; i < o->fields->count; i += 2) {
    const dsc_redis_reply *field = o->fields->items[i];
    if (is_asked(field)) dsc_buf_addf(&keys, "%.*s_", DSC_STR_ARG(app));
    if (is_asked(field)) dsc_buf_add_str(&keys, field->str);
  }
  dsc_str *words = keys.err ? NULL : dsc_mem_zalloc(2 * asked + 1, sizeof *words);
  if (words) {
    send_keys(o, words, asked, &keys);
  } else {
    dsc_store_redis_op_fail(o, DSC_ENOMEM, NULL);
  }
  dsc_mem_free(words);
  dsc_buf_clear(&keys);
}

static void on_fields(void *ud, dsc_err err, const char *why, dsc_redis_reply **replies, size_t n) {
  dsc_store_redis_op *o = ud;
  pthread_mutex_t *lock = o->store->lock;
  pthread_mutex_lock(lock);
  if (dsc_store_redis_op_settled(o, err, why, replies, n)) {
    /* told */
  } else if (!are_fields(replies[0])) {
    dsc_store_redis_op_fail_odd(o);
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
  dsc_store_redis_op *o;
  dsc_err err = dsc_store_redis_op_begin(&o, base, app, L(""), done, ud);
  if (err) return err;
  dsc_redis_command command = WORDS(L("HGETALL"), app);
  return dsc_store_redis_op_send_first(o, &command, 1, on_fields);
}
