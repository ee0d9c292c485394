/*
** redis.c - hiredis' codec behind caps.
**
** hiredis builds objects by functions of ours, so that every object is ours and counted. Its own reader believes an
** array length of two thousand million and rescans a line without end; both are refused here: `spent` is the memory
** of the reply that is being read, and what waits unparsed may not exceed one line.
**
** Invariant: `fault` says why one of our functions returned NULL, since hiredis calls that out of memory.
** Threads: none of its own; one owner at a time.
*/
#include "net/redis.h"

#include <hiredis/hiredis.h>
#include <limits.h>

#include "base/mem.h"
#include "base/secret.h"

struct dsc_redis_reader {
  redisReader *codec;
  size_t spent;
  dsc_err fault;
};

dsc_err dsc_redis_format(dsc_buf *out, const dsc_redis_command *command) {
  if (command->n > INT_MAX) return DSC_ETOO_LARGE;
  const char **words = dsc_mem_zalloc(command->n, sizeof *words);
  size_t *lengths = dsc_mem_zalloc(command->n, sizeof *lengths);
  dsc_err err = words && lengths ? DSC_OK : DSC_ENOMEM;
  for (size_t i = 0; !err && i < command->n; i++) {
    words[i] = command->words[i].p;
    lengths[i] = command->words[i].n;
  }
  if (!err) {
    char *bytes = NULL;
    int n = redisFormatCommandArgv(&bytes, (int)command->n, words, lengths);
    err = n < 0 ? DSC_ENOMEM : dsc_buf_add(out, bytes, (size_t)n);
    /* it may have been a password */
    if (n > 0) dsc_secret_wipe(bytes, (size_t)n);
    if (n >= 0) redisFreeCommand(bytes);
  }
  dsc_mem_free(words);
  dsc_mem_free(lengths);
  return err;
}

static dsc_redis_type type_of(int type) {
  switch (type) {
  case REDIS_REPLY_ARRAY: return DSC_REDIS_ARRAY;
  case REDIS_REPLY_INTEGER: return DSC_REDIS_INTEGER;
  case REDIS_REPLY_NIL: return DSC_REDIS_NIL;
  case REDIS_REPLY_STATUS: return DSC_REDIS_STATUS;
  case REDIS_REPLY_ERROR: return DSC_REDIS_ERROR;
  default: return DSC_REDIS_STRING;
  }
}

/* Makes an object with `extra` bytes behind it and hangs it into its parent. */
static dsc_redis_reply *make(const redisReadTask *task, size_t extra) {
  dsc_redis_reader *reader = task->privdata;
  size_t size = sizeof(dsc_redis_reply) + extra;
  if (size > DSC_REDIS_MAX_REPLY - reader->spent) {
    reader->fault = DSC_ETOO_LARGE;
    return NULL;
  }
  dsc_redis_reply *reply = dsc_mem_zalloc(1, size);
  if (!reply) {
    reader->fault = DSC_ENOMEM;
    return NULL;
  }
  reader->spent += size;
  reply->type = type_of(task->type);
  reply->str = dsc_str_of("");
  if (task->parent) {
    dsc_redis_reply *parent = task->parent->obj;
    parent->items[task->idx] = reply;
  }
  return reply;
}

static void *create_string(const redisReadTask *task, char *bytes, size_t n) {
  dsc_redis_reply *reply = make(task, n + 1);
  if (!reply) return NULL;
  char *copy = (char *)(reply + 1);
  memcpy(copy, bytes, n);
  reply->str = (dsc_str){copy, n};
  return reply;
}

static void *create_array(const redisReadTask *task, int count) {
  dsc_redis_reader *reader = task->privdata;
  if (count < 0 || count > DSC_REDIS_MAX_ARRAY) {
    reader->fault = DSC_ETOO_LARGE;
    return NULL;
  }
  dsc_redis_reply *reply = make(task, (size_t)count * sizeof(dsc_redis_reply *));
  if (!reply) return NULL;
  reply->items = (dsc_redis_reply **)(void *)(reply + 1);
  reply->count = (size_t)count;
  return reply;
}

static void *create_integer(const redisReadTask *task, long long value) {
  dsc_redis_reply *reply = make(task, 0);
  if (reply) reply->integer = value;
  return reply;
}

static void *create_nil(const redisReadTask *task) {
  dsc_redis_reply *reply = make(task, 0);
  /* the task calls a missing string a string */
  if (reply) reply->type = DSC_REDIS_NIL;
  return reply;
}

void dsc_redis_reply_free(dsc_redis_reply *reply) {
  if (!reply) return;
  /* as deep as the codec reads: 7 levels */
  for (size_t i = 0; i < reply->count; i++) dsc_redis_reply_free(reply->items[i]);
  dsc_mem_free(reply);
}

static void free_object(void *object) {
  dsc_redis_reply_free(object);
}

static redisReplyObjectFunctions functions = {.createString = create_string,
                                              .createArray = create_array,
                                              .createInteger = create_integer,
                                              .createNil = create_nil,
                                              .freeObject = free_object};

dsc_redis_reader *dsc_redis_reader_new(void) {
  dsc_redis_reader *reader = dsc_mem_zalloc(1, sizeof *reader);
  if (!reader) return NULL;
  reader->codec = redisReaderCreateWithFunctions(&functions);
  if (!reader->codec) {
    dsc_mem_free(reader);
    return NULL;
  }
  reader->codec->privdata = reader;
  return reader;
}

void dsc_redis_reader_free(dsc_redis_reader *reader) {
  if (!reader) return;
  redisReaderFree(reader->codec);
  dsc_mem_free(reader);
}

dsc_err dsc_redis_reader_feed(dsc_redis_reader *reader, const char *bytes, size_t n) {
  return redisReaderFeed(reader->codec, bytes, n) == REDIS_OK ? DSC_OK : DSC_ENOMEM;
}

dsc_err dsc_redis_reader_next(dsc_redis_reader *reader, dsc_redis_reply **reply, dsc_why *why) {
  void *object = NULL;
  *reply = NULL;
  if (redisReaderGetReply(reader->codec, &object) != REDIS_OK) {
    if (reader->fault == DSC_ENOMEM) return dsc_fail(why, DSC_ENOMEM, "no memory for a reply");
    if (reader->fault) return dsc_fail(why, reader->fault, "a reply is larger than allowed");
    return dsc_fail(why, DSC_EPROTOCOL, "not Redis' protocol: %s", reader->codec->errstr);
  }
  if (!object && reader->codec->len - reader->codec->pos > DSC_REDIS_MAX_LINE) {
    return dsc_fail(why, DSC_ETOO_LARGE, "a line or string of more than %zu bytes", DSC_REDIS_MAX_LINE);
  }
  if (object) reader->spent = 0;
  *reply = object;
  return DSC_OK;
}
